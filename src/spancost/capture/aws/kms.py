"""What KMS bills of a call: the kind of key that does the work.

An RSA key's size shows in the length of what it makes: a signature or ciphertext of 256 bytes is that of RSA 2048.
"""

from __future__ import annotations

from typing import Any, Final

from spancost.capture.aws.jobs import Learned
from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params

KEY: Final = "aws.kms.key"
"""str: `SYMMETRIC`, `RSA_2048`, `RSA` (longer, or a pair of any size), `RSA_UNKNOWN` (of unknown size) or `OTHER`."""

_RSA_2048_BYTES: Final = 256
_SYMMETRIC: Final = ("SYMMETRIC", "HMAC")
_WITH_KEYS: Final = frozenset(
    {"Encrypt", "Decrypt", "ReEncrypt", "Sign", "Verify", "GetPublicKey", "DeriveSharedSecret"}
)

_specs: Learned[str] = Learned()
"""Key spec by id and ARN of the key."""


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation.startswith("GenerateDataKeyPair"):
        _note_spec(facts, params.get("KeyPairSpec"))
        return
    if operation not in _WITH_KEYS:
        return
    spec = _specs.get(_key_id(params.get("KeyId")))
    if spec is not None:
        _note_spec(facts, spec)
        return
    algorithm = params.get("SigningAlgorithm") or params.get("KeyAgreementAlgorithm")
    if algorithm is None and operation in ("Encrypt", "Decrypt"):
        algorithm = params.get("EncryptionAlgorithm", "SYMMETRIC_DEFAULT")
    if isinstance(algorithm, str):
        made = params.get("Signature") if operation == "Verify" else params.get("CiphertextBlob")
        _note_algorithm(facts, algorithm, made)


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation in ("CreateKey", "DescribeKey"):
        _learn(part(result, "KeyMetadata"), "Arn")
    elif operation == "GetPublicKey":
        _learn(result, "KeyId")
        _note_spec(facts, result.get("KeySpec"))
    elif operation in ("Sign", "Encrypt") and facts.get(KEY) == "RSA_UNKNOWN":
        _note_rsa(facts, result.get("Signature") if operation == "Sign" else result.get("CiphertextBlob"))
    elif operation == "ReEncrypt":
        both = {str(result.get("SourceEncryptionAlgorithm")), str(result.get("DestinationEncryptionAlgorithm"))}
        if both == {"SYMMETRIC_DEFAULT"}:
            facts[KEY] = "SYMMETRIC"
        elif KEY not in facts:
            facts[KEY] = "RSA_UNKNOWN"


def _note_spec(facts: Facts, spec: Any) -> None:
    if isinstance(spec, str):
        if spec.startswith(_SYMMETRIC):
            facts[KEY] = "SYMMETRIC"
        elif spec == "RSA_2048":
            facts[KEY] = spec
        else:
            facts[KEY] = "RSA" if spec.startswith("RSA") else "OTHER"


def _note_algorithm(facts: Facts, algorithm: str, made: Any) -> None:
    if algorithm.startswith("SYMMETRIC"):
        facts[KEY] = "SYMMETRIC"
    elif algorithm.startswith("RSA"):
        facts[KEY] = "RSA_UNKNOWN"
        _note_rsa(facts, made)
    else:
        facts[KEY] = "OTHER"


def _note_rsa(facts: Facts, made: Any) -> None:
    if isinstance(made, (bytes, bytearray)):
        facts[KEY] = "RSA_2048" if len(made) == _RSA_2048_BYTES else "RSA"


def _learn(key: Params, arn: str) -> None:
    spec, key_id = key.get("KeySpec") or key.get("CustomerMasterKeySpec"), _key_id(key.get(arn))
    if isinstance(spec, str) and key_id:
        _specs.note(key_id, spec)


def _key_id(name: Any) -> str:
    """Return the id in `arn:aws:kms:us-east-1:123456789012:key/id`; an alias stays one."""
    return name.rsplit(":key/", 1)[-1] if isinstance(name, str) else ""

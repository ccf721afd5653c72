"""KMS: the kind of the key sets the rate, and shows in parameters, answers, lengths and earlier calls."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubbed import ARN, answered, refused
from tests.meters.aws.calls import charge, known

_BASIC_USD, _ASYMMETRIC_USD = 0.03 / 10_000, 0.15 / 10_000
_PAIR_ECC_USD, _PAIR_RSA_USD = 0.10 / 10_000, 12.00 / 10_000


@pytest.mark.parametrize(
    ("method", "params", "answer", "usd"),
    [
        ("encrypt", {"Plaintext": b"x"}, {"CiphertextBlob": b"x" * 152}, _BASIC_USD),
        ("encrypt", {"Plaintext": b"x", "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, {}, _BASIC_USD),
        (
            "encrypt",
            {"Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
            {"CiphertextBlob": b"x" * 256},
            _BASIC_USD,
        ),
        (
            "encrypt",
            {"Plaintext": b"x", "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
            {"CiphertextBlob": b"x" * 384},
            _ASYMMETRIC_USD,
        ),
        ("decrypt", {"CiphertextBlob": b"x" * 300}, {}, _BASIC_USD),
        (
            "decrypt",
            {"CiphertextBlob": b"x" * 512, "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
            {},
            _ASYMMETRIC_USD,
        ),
        (
            "sign",
            {"Message": b"x", "SigningAlgorithm": "RSASSA_PSS_SHA_256"},
            {"Signature": b"x" * 256},
            _BASIC_USD,
        ),
        (
            "sign",
            {"Message": b"x", "SigningAlgorithm": "RSASSA_PSS_SHA_256"},
            {"Signature": b"x" * 512},
            _ASYMMETRIC_USD,
        ),
        ("sign", {"Message": b"x", "SigningAlgorithm": "ECDSA_SHA_256"}, {"Signature": b"x" * 71}, _ASYMMETRIC_USD),
        (
            "verify",
            {"Message": b"x", "Signature": b"x" * 256, "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_512"},
            {"SignatureValid": True},
            _BASIC_USD,
        ),
        (
            "verify",
            {"Message": b"x", "Signature": b"x" * 384, "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_512"},
            {},
            _ASYMMETRIC_USD,
        ),
        ("get_public_key", {}, {"KeySpec": "RSA_2048"}, _BASIC_USD),
        ("get_public_key", {}, {"KeySpec": "RSA_4096"}, _ASYMMETRIC_USD),
        ("generate_data_key", {"KeySpec": "AES_256"}, {}, _BASIC_USD),
        ("generate_mac", {"Message": b"x", "MacAlgorithm": "HMAC_SHA_256"}, {}, _BASIC_USD),
        ("generate_data_key_pair", {"KeyPairSpec": "ECC_NIST_P256"}, {}, _PAIR_ECC_USD),
        ("generate_data_key_pair", {"KeyPairSpec": "RSA_2048"}, {}, _PAIR_RSA_USD),
        ("generate_data_key_pair_without_plaintext", {"KeyPairSpec": "RSA_4096"}, {}, _PAIR_RSA_USD),
        ("describe_key", {}, {}, _BASIC_USD),
        (
            "re_encrypt",
            {"CiphertextBlob": b"x", "DestinationKeyId": "b"},
            {"SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT"},
            _BASIC_USD,
        ),
    ],
)
def test_request_costs_the_rate_of_its_key(
    prices: Prices, method: str, params: dict[str, Any], answer: dict[str, Any], usd: float
) -> None:
    key = {} if method == "re_encrypt" else {"KeyId": uuid4().hex}
    (found,) = answered(prices, "kms", method, dict(answer), **key, **params)
    assert (found.quantity, found.usd) == (1, pytest.approx(usd, rel=1e-12))
    assert (status_of(found), found.line.resource) == (("priced", ""), "")


def test_key_spec_is_learned_when_a_key_is_made_or_described(prices: Prices) -> None:
    key_id = str(uuid4())
    arn = ARN.format(service="kms", name=f"key/{key_id}")
    answered(prices, "kms", "create_key", {"KeyMetadata": {"KeyId": key_id, "Arn": arn, "KeySpec": "RSA_3072"}})
    for name in (key_id, arn):
        (found,) = answered(prices, "kms", "sign", {}, KeyId=name, Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")
        assert (found.usd, status_of(found)) == (pytest.approx(_ASYMMETRIC_USD), ("priced", ""))


def test_rsa_key_of_unknown_size_is_taken_for_rsa_2048_and_marked(prices: Prices) -> None:
    (found,) = answered(prices, "kms", "sign", {}, KeyId="x", Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")
    assert (found.usd, status_of(found)) == (pytest.approx(_BASIC_USD), ("estimated", "key:RSA_2048"))


@pytest.mark.parametrize(
    ("operation", "usd", "basis"),
    [
        ("Decrypt", _BASIC_USD, "key:symmetric"),
        ("Sign", _ASYMMETRIC_USD, "key:asymmetric"),
        ("GenerateDataKeyPair", _PAIR_ECC_USD, "key:ECC"),
    ],
)
def test_span_without_hooks_says_which_key_was_assumed(operation: str, usd: float, basis: str) -> None:
    found = charge("KMS", operation)
    assert (found.usd, known(found)) == (pytest.approx(usd), ("estimated", "", basis))


def test_failed_requests_are_counted_unless_throttled(prices: Prices) -> None:
    (found,) = refused(prices, "kms", "decrypt", "AccessDeniedException", 400, CiphertextBlob=b"x")
    assert (found.usd, status_of(found)) == (pytest.approx(_BASIC_USD), ("estimated", "failed_request"))
    (found,) = refused(prices, "kms", "decrypt", "ThrottlingException", 400, CiphertextBlob=b"x")
    assert (found.usd, status_of(found)) == (0, ("free", "not_billed:error"))

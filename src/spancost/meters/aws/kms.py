"""Price KMS requests, USD per request (aws.amazon.com/kms/pricing).

Requests that use symmetric, HMAC or RSA 2048 keys, and those that manage keys, cost the basic rate; requests that
use other asymmetric keys more; new data key pairs have rates by their kind. The hooks tell the kind of the key from
parameters, answers and calls made before; without it a symmetric key is assumed for what only such keys mostly do
(`Encrypt`, `Decrypt`, `ReEncrypt`), and the dearer asymmetric rate for the rest. Throttled calls and answers of 5xx
are free; other refused requests are counted, marked. Left out: keys by the month.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from spancost.capture.aws.kms import KEY
from spancost.meters.aws.call import Call, Measure, Usage, failure

_BASIC: Final = "aws.kms.symmetric_and_rsa2048"
_ASYMMETRIC: Final = "aws.kms.asymmetric"
_PAIR_ECC: Final = "aws.kms.data_key_pair.ecc"
_PAIR_RSA: Final = "aws.kms.data_key_pair.rsa"

_PRICES: Final = {"SYMMETRIC": _BASIC, "RSA_2048": _BASIC, "RSA": _ASYMMETRIC, "OTHER": _ASYMMETRIC}
_PAIR_PRICES: Final = {"RSA_2048": _PAIR_RSA, "RSA": _PAIR_RSA, "OTHER": _PAIR_ECC}


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return _MEASURES.get(operation)


def _encryption(call: Call) -> Sequence[Usage]:
    return _with_key(call, _BASIC, "key:symmetric")


def _asymmetric(call: Call) -> Sequence[Usage]:
    return _with_key(call, _ASYMMETRIC, "key:asymmetric")


def _with_key(call: Call, assumed: str, basis: str) -> Sequence[Usage]:
    key = call.facts.get(KEY, "")
    if key == "RSA_UNKNOWN":
        assumed, basis = _BASIC, "key:RSA_2048"
    price_id = _PRICES.get(key)
    if call.failed:
        return failure(call, price_id=price_id or assumed)
    return (Usage(assumed, basis=basis),) if price_id is None else (Usage(price_id),)


def _pair(call: Call) -> Sequence[Usage]:
    price_id = _PAIR_PRICES.get(call.facts.get(KEY, ""))
    if call.failed:
        return failure(call, price_id=price_id or _PAIR_ECC)
    return (Usage(_PAIR_ECC, basis="key:ECC"),) if price_id is None else (Usage(price_id),)


_MEASURES: Final[Mapping[str, Measure]] = {
    "Encrypt": _encryption,
    "Decrypt": _encryption,
    "ReEncrypt": _encryption,
    "Sign": _asymmetric,
    "Verify": _asymmetric,
    "GetPublicKey": _asymmetric,
    "DeriveSharedSecret": _asymmetric,
    "GenerateDataKeyPair": _pair,
    "GenerateDataKeyPairWithoutPlaintext": _pair,
}

"""What Parameter Store bills of a call: the number of parameters in it, by tier.

Answers with values do not show the tier. It is learned by name from calls that do, made in this process before;
and a value over 4 KB is that of an advanced parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from spancost.capture.aws.jobs import Learned
from spancost.capture.aws.sizes import KB, Facts, Params, text_bytes

ADVANCED: Final = "aws.ssm.advanced"
"""int: advanced parameters in the call."""
TIER_UNKNOWN: Final = "aws.ssm.tier_unknown"
"""True: the tier of a parameter of the call was not seen."""
_NAME: Final = "aws.ssm.name"
"""int: hash of the name of the parameter that is written."""

_READS: Final = frozenset(
    {"GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "DescribeParameters"}
)
_STANDARD_BYTES: Final = 4 * KB

_tiers: Learned[str] = Learned()
"""Tier by name of the parameter."""


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "PutParameter":
        facts[_NAME] = hash(params.get("Name"))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "PutParameter":
        tier = result.get("Tier")
        if isinstance(tier, str):
            _tiers.note(facts[_NAME], tier)
            facts[ADVANCED] = int(tier == "Advanced")
        return
    if operation not in _READS:
        return
    single = result.get("Parameter")
    found: Iterable[Params] = result.get("Parameters") or ()
    if isinstance(single, Mapping):
        found = (cast("Params", single),)
    advanced = 0
    for parameter in found:
        tier = _tier(parameter)
        advanced += tier == "Advanced"
        if tier is None:
            facts[TIER_UNKNOWN] = True
    facts[ADVANCED] = advanced


def _tier(parameter: Params) -> str | None:
    name = hash(parameter.get("Name"))
    shown: Any = parameter.get("Tier")
    if isinstance(shown, str):
        _tiers.note(name, shown)
        return shown
    if text_bytes(parameter.get("Value") or "") > _STANDARD_BYTES:
        return "Advanced"
    return _tiers.get(name)

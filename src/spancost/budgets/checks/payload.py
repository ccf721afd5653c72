"""The result of a check as a message for a webhook."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from spancost.budgets.alert import FIRING, RESOLVED
from spancost.budgets.checks import inputs
from spancost.budgets.checks.results import CheckResult
from spancost.budgets.rules import SEVERITIES

VERSION: Final = 1
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""


def alert_payload(
    result: CheckResult,
    *,
    rule: str,
    at: float,
    key: str = "",
    severity: str = "warning",
    owner: str = "",
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a message about a result: plain values that are valid JSON.

    Its `id` is the same for the same rule, key, status and second, so that a receiver can tell a repetition.

    Args:
        result: What a check has found.

        rule: Name of the rule.

        at: When it was found, Unix seconds.

        key: Value by which the rule is split, such as a tenant.

        severity: `info`, `warning` or `critical`.

        owner: Who answers for the money.

        labels: Further labels.

    Raises:
        ValueError: The rule has no name, a number is impossible, or the severity or a label is none.
    """
    if not isinstance(rule, str) or not rule:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f"rule: {rule!r} is not accepted: the name of a rule")
    seconds = inputs.number("at", at, 0.0, _LATEST, "Unix seconds")
    inputs.one_of("severity", severity, SEVERITIES)
    for name, value in (labels or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"labels: {name!r}: {value!r} is not accepted: texts")  # noqa: TRY004
    status = FIRING if result.is_alarming else RESOLVED
    return {
        "version": VERSION,
        "id": f"{rule}/{key}/{status}/{int(seconds)}",
        "status": status,
        "rule": rule,
        "key": key,
        "kind": result.kind,
        "severity": severity,
        "owner": owner,
        "labels": dict(labels or {}),
        "at": datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "summary": result.explanation,
        "result": result.as_dict(),
    }

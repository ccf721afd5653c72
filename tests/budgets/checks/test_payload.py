"""The message about a result is valid JSON and says the same each time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spancost.budgets.checks import (
    CLOSED_BREAKER,
    CheckResult,
    alert_payload,
    check_budget,
    check_burn_rate,
    check_spike,
    evaluate_breaker,
    evaluate_policy,
    forecast_breach,
)

_RESULTS: tuple[CheckResult, ...] = (
    check_budget(412.5, 500.0),
    check_spike(1000.0, [0.0] * 24),
    check_burn_rate([(0.0, 3600.0, 0.0, 300.0, 14.4)], limit_usd=720.0, window_s=2_592_000.0),
    forecast_breach([], spend_usd=0.0, limit_usd=1.0, now=0.0, window_end=60.0),
    evaluate_policy(1.0, 1.0),
    evaluate_breaker(CLOSED_BREAKER, ratio=None, now=0.0),
)


def test_the_message_has_the_rule_the_result_and_its_sentence() -> None:
    payload = alert_payload(
        _RESULTS[0],
        rule="llm-monthly",
        at=1_800_000_000.9,
        key="acme",
        severity="critical",
        owner="search",
        labels={"cost_center": "4711"},
    )
    assert payload == {
        "version": 1,
        "id": "llm-monthly/acme/firing/1800000000",
        "status": "firing",
        "rule": "llm-monthly",
        "key": "acme",
        "kind": "budget",
        "severity": "critical",
        "owner": "search",
        "labels": {"cost_center": "4711"},
        "at": "2027-01-15T08:00:00Z",
        "summary": "$412.50 of $500.00 is spent (82.5 %): reaches the threshold of 80.0 %.",
        "result": _RESULTS[0].as_dict(),
    }


@pytest.mark.parametrize("result", _RESULTS, ids=lambda result: result.kind)
def test_every_result_makes_valid_json(result: CheckResult) -> None:
    payload = alert_payload(result, rule="a", at=0)
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
    assert payload["status"] == ("firing" if result.is_alarming else "resolved")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": ""}, r"^rule: '' is not accepted"),
        ({"at": float("nan")}, r"^at: nan is not accepted"),
        ({"at": 1e12}, r"^at: .* is not accepted"),
        ({"severity": "high"}, r"^severity: 'high' is not accepted: one of info, warning, critical"),
        ({"labels": {"a": 5}}, r"^labels: 'a': 5 is not accepted: texts"),
    ],
)
def test_what_is_impossible_is_refused_by_its_name(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"rule": "a", "at": 0.0, **settings}
    with pytest.raises(ValueError, match=message):
        alert_payload(_RESULTS[0], **given)

"""The arithmetic of budgets as pure functions: numbers in, a frozen result that explains itself out.

No clock, no file, no state: the caller brings the sums and the time. What is impossible (NaN, infinite or negative
money, a yes for a number, windows in the wrong order) raises `ValueError`. Results are valid JSON: what cannot be known
yet is `None`, with a reason, and never infinite.
"""

from __future__ import annotations

from spancost.budgets.checks.breaker import CLOSED_BREAKER, Breaker, BreakerDecision, evaluate_breaker
from spancost.budgets.checks.budget import BudgetCheck, check_budget
from spancost.budgets.checks.burn_rate import BurnRateCheck, BurnWindows, PairCheck, check_burn_rate
from spancost.budgets.checks.forecast import Forecast, forecast_breach
from spancost.budgets.checks.payload import alert_payload
from spancost.budgets.checks.policy import PolicyDecision, evaluate_policy
from spancost.budgets.checks.results import CheckResult
from spancost.budgets.checks.spike import SpikeCheck, check_spike, check_spike_rule

__all__ = [
    "CLOSED_BREAKER",
    "Breaker",
    "BreakerDecision",
    "BudgetCheck",
    "BurnRateCheck",
    "BurnWindows",
    "CheckResult",
    "Forecast",
    "PairCheck",
    "PolicyDecision",
    "SpikeCheck",
    "alert_payload",
    "check_budget",
    "check_burn_rate",
    "check_spike",
    "check_spike_rule",
    "evaluate_breaker",
    "evaluate_policy",
    "forecast_breach",
]

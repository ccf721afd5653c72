"""A hundred budget rules as a large platform has them: ten are split by tenant, the others are about parts of the work.

Of a request of `tests.benchmarks.cases` about one in four of them takes note.
"""

from __future__ import annotations

from typing import Final

from spancost.budgets.rules import AnyRule, BudgetRule, BurnRateRule, ForecastRule, Match, RequestRule, SpikeRule
from spancost.budgets.windows import DAY, HOUR, MONTH, ROLLING, WEEK, Window

TENANTS: Final = 1000
_NEVER_USD: Final = 1e9
_PER_TENANT: Final = ("tenant",)
_MONTH: Final = Window(MONTH, time_zone="Europe/Berlin")
_DAY: Final = Window(DAY)
_LLM: Final = Match(component=("llm",))


def hundred_rules() -> tuple[AnyRule, ...]:
    """Return the rules."""
    split: list[AnyRule] = [
        BudgetRule(name="tenant-month", limit_usd=_NEVER_USD, window=_MONTH, per=_PER_TENANT),
        BudgetRule(name="tenant-day", limit_usd=_NEVER_USD, window=_DAY, per=_PER_TENANT),
        BudgetRule(name="tenant-24h", limit_usd=_NEVER_USD, window=Window(ROLLING, 86_400), per=_PER_TENANT),
        BudgetRule(name="tenant-llm-month", limit_usd=_NEVER_USD, window=_MONTH, per=_PER_TENANT, match=_LLM),
        BudgetRule(name="tenant-llm-hour", limit_usd=_NEVER_USD, window=Window(HOUR), per=_PER_TENANT, match=_LLM),
        BudgetRule(
            name="tenant-egress",
            limit_usd=_NEVER_USD,
            window=_MONTH,
            per=_PER_TENANT,
            match=Match(component=("egress",)),
        ),
        SpikeRule(name="tenant-spike", per=_PER_TENANT),
        SpikeRule(name="tenant-llm-spike", method="robust", per=_PER_TENANT, match=_LLM),
        BurnRateRule(name="tenant-burn", budget="tenant-llm-month"),
        ForecastRule(name="tenant-forecast", budget="tenant-month"),
    ]
    routes = [
        BudgetRule(
            name=f"route-{number}", limit_usd=_NEVER_USD, window=_DAY, match=Match(route=(f"/groups/{number}/*",))
        )
        for number in range(30)
    ]
    tenants = [
        BudgetRule(
            name=f"tenant-{number}", limit_usd=_NEVER_USD, window=_MONTH, match=Match(tenant=(f"tenant-{number:02d}*",))
        )
        for number in range(20)
    ]
    models = [
        BudgetRule(
            name=f"model-{number}", limit_usd=_NEVER_USD, window=Window(WEEK), match=Match(model=(f"gpt-{number}*",))
        )
        for number in range(10)
    ]
    everything: list[AnyRule] = [
        BudgetRule(name="all-month", limit_usd=_NEVER_USD, window=_MONTH),
        BudgetRule(name="llm-month", limit_usd=_NEVER_USD, window=_MONTH, match=_LLM),
        SpikeRule(name="llm-spike", match=_LLM),
        BurnRateRule(name="llm-burn", budget="llm-month"),
        ForecastRule(name="llm-forecast", budget="llm-month"),
        *(
            BudgetRule(
                name=f"service-{number}", limit_usd=_NEVER_USD, window=_MONTH, match=Match(service=(f"s{number}",))
            )
            for number in range(15)
        ),
        *(
            RequestRule(name=f"dear-{number}", max_request_usd=_NEVER_USD, match=Match(route=(f"/groups/{number}/*",)))
            for number in range(10)
        ),
    ]
    rules = (*split, *routes, *tenants, *models, *everything)
    assert len(rules) == 100
    return rules

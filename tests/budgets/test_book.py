from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost import names
from spancost.budgets.alert import FIRING, RESOLVED
from spancost.budgets.evaluation import Evaluator
from spancost.budgets.rules import (
    ASSUME_USD,
    BLOCK,
    AnyRule,
    BudgetRule,
    BurnRate,
    BurnRateRule,
    ForecastRule,
    Match,
    RequestRule,
    SpikeRule,
)
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING, Changes, Delivery, StoreUnavailableError
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.windows import Window
from spancost.charge import price_line
from spancost.window import IDLE, EntryLabels
from tests.budgets.books import CHAT, NOON, PUT, UNKNOWN, Books, Clock

_DAY = Window("day")
_ALL = BudgetRule(name="all", limit_usd=10.0, window=_DAY)


def test_a_budget_warns_at_each_threshold_and_says_when_it_is_spent() -> None:
    shop = Books([_ALL])
    told: list[tuple[float, str, float | None]] = []
    for _ in range(12):
        shop.spend(1.0)
        told += [(alert.spend_usd, alert.state, alert.threshold) for alert in shop.alerts()]
    assert told == [(5.0, WARNING, 0.5), (8.0, WARNING, 0.8), (10.0, BREACHED, 1.0)]
    assert shop.standing("all").reading.ratio == pytest.approx(1.2, rel=1e-12)


def test_an_alert_says_rule_window_spend_limit_contributors_and_the_costliest_trace() -> None:
    rule = BudgetRule(
        name="chat", limit_usd=1.0, window=_DAY, owner="search", severity="critical", labels=(("cost_center", "47"),)
    )
    shop = Books([rule])
    shop.request(0.75, trace=0xABC)
    shop.spend(0.25, line=PUT)
    shop.spend(0.75)
    alert = shop.alerts()[-1]
    assert (alert.rule, alert.state, alert.severity, alert.owner) == ("chat", BREACHED, "critical", "search")
    assert (alert.spend_usd, alert.limit_usd, alert.ratio, alert.window) == (1.0, 1.0, 1.0, "day")
    assert [(one.name, one.usd) for one in alert.contributors] == [
        ("POST /cart · openai/chat gpt-4o", 0.75),
        ("POST /cart · aws/dynamodb.PutItem", 0.25),
    ]
    assert (alert.costliest_trace_id, alert.costliest_trace_usd) == (f"{0xABC:032x}", 0.75)
    assert (alert.window_start, alert.window_end) == (NOON - 43_200, NOON + 43_200)
    assert dict(alert.labels) == {"cost_center": "47"}
    assert "chat" in alert.summary
    assert "$1.00" in alert.summary


def test_a_warning_is_never_more_severe_than_a_warning() -> None:
    shop = Books([BudgetRule(name="all", limit_usd=10.0, window=_DAY, severity="critical")])
    shop.spend(6.0)
    shop.spend(6.0)
    assert [alert.severity for alert in shop.alerts()] == ["warning", "critical"]


def test_a_rule_counts_only_what_it_matches() -> None:
    rules = [
        BudgetRule(name="llm", limit_usd=10.0, window=_DAY, match=Match(component=("llm",))),
        BudgetRule(name="gpt", limit_usd=10.0, window=_DAY, match=Match(model=("gpt-*",), route=("/cart*",))),
        BudgetRule(name="elsewhere", limit_usd=10.0, window=_DAY, match=Match(service=("api",))),
        BudgetRule(name="tenants", limit_usd=10.0, window=_DAY, match=Match(tenant=("acme", "b*"))),
    ]
    shop = Books(rules)
    shop.spend(1.0, tenant="acme")
    shop.spend(2.0, line=PUT, tenant="bee")
    shop.spend(4.0, labels=EntryLabels(entrypoint="nightly"))
    shop.spend(8.0, line=PUT, tenant="carl")
    spent = {one.rule.name: one.reading.spend.usd for one in shop.book.fresh_standings()}
    assert spent == {"llm": 5.0, "gpt": 1.0, "tenants": 3.0}


def test_a_split_rule_has_one_state_for_each_tenant_and_what_is_beyond_its_bound_goes_to_other() -> None:
    shop = Books([BudgetRule(name="tenants", limit_usd=10.0, window=_DAY, per=("tenant",), max_keys=3)])
    for number in range(6):
        shop.spend(2.0, tenant=f"t{number}")
    shop.spend(10.0, tenant="t1")
    spent = {one.key: (one.reading.spend.usd, one.state.state) for one in shop.book.fresh_standings()}
    assert spent == {"t0": (2.0, OK), "t1": (12.0, BREACHED), "t2": (2.0, OK), "other": (6.0, WARNING)}
    assert sorted((alert.key, alert.per) for alert in shop.alerts()) == [("other", ("tenant",)), ("t1", ("tenant",))]


def test_what_has_no_tenant_is_a_key_of_its_own() -> None:
    shop = Books([BudgetRule(name="pairs", limit_usd=10.0, window=_DAY, per=("tenant", "model"))])
    shop.spend(1.0)
    shop.spend(1.0, tenant="a|b")
    assert {one.key for one in shop.book.fresh_standings()} == {"(none) | gpt-4o", "a/b | gpt-4o"}


def test_duplicates_and_idle_time_do_not_count_unless_idle_is_wanted() -> None:
    duplicate = price_line(names.LLM, "openai", "chat", status=names.DUPLICATE)
    machine = price_line(names.COMPUTE, "aws", "m6i.large", unit="s")
    shop = Books([_ALL, BudgetRule(name="with idle", limit_usd=10.0, window=_DAY, include_idle=True)])
    shop.spend(5.0, line=duplicate)
    shop.spend(1.0, line=machine, position=IDLE)
    shop.spend(1.0, line=machine)
    assert shop.standing("all").reading.spend.usd == 1.0
    assert shop.standing("with idle").reading.spend.usd == 2.0


def test_what_has_no_price_makes_a_budget_incomplete_and_is_no_plain_ok() -> None:
    shop = Books([_ALL])
    shop.spend(0.0, line=UNKNOWN, calls=3)
    standing = shop.standing("all")
    assert standing.state.is_incomplete
    assert standing.reading.spend.unpriced == 3
    assert not shop.alerts()


def test_what_has_no_price_may_block_or_count_as_an_assumed_amount() -> None:
    blocking = BudgetRule(name="blocks", limit_usd=10.0, window=_DAY, on_unpriced=BLOCK)
    assuming = BudgetRule(name="assumes", limit_usd=10.0, window=_DAY, on_unpriced=ASSUME_USD, assume_usd=2.0)
    shop = Books([blocking, assuming])
    shop.spend(0.0, line=UNKNOWN, calls=3)
    assert shop.standing("blocks").state.state == BREACHED
    assumed = shop.standing("assumes").reading.spend
    assert (assumed.usd, assumed.estimated_usd, assumed.unpriced) == (6.0, 6.0, 3)


def test_a_new_day_begins_with_nothing_spent_and_resolves_what_was_told() -> None:
    shop = Books([_ALL])
    shop.spend(11.0)
    assert [alert.status for alert in shop.alerts()] == [FIRING]
    shop.wait(43_200)
    assert [alert.status for alert in shop.alerts()] == [RESOLVED]
    assert shop.standing("all").state.state == OK
    shop.spend(6.0)
    assert [alert.threshold for alert in shop.alerts()] == [0.5]


def test_a_charge_that_comes_late_belongs_to_the_day_on_which_its_span_ended() -> None:
    shop = Books([_ALL])
    shop.wait(43_200 + 60)
    shop.spend(9.0, at=shop.clock.now - 120)
    shop.spend(1.0)
    assert shop.standing("all").reading.spend.usd == 1.0


def test_a_rolling_window_forgets_what_is_older_and_recovers_after_the_cooldown() -> None:
    rule = BudgetRule(name="hour", limit_usd=10.0, window=Window("rolling", 3600), cooldown_s=120.0)
    shop = Books([rule])
    shop.spend(11.0)
    shop.wait(3500)
    assert shop.standing("hour").state.state == BREACHED
    shop.wait(200)
    assert shop.standing("hour").state.state == RECOVERING
    shop.wait(120)
    assert shop.standing("hour").state.state == OK
    assert [alert.status for alert in shop.alerts()] == [FIRING, RESOLVED]


def test_processes_that_share_a_store_see_the_sum_of_all_and_one_of_them_tells_it() -> None:
    clock, store = Clock(), MemoryStore()
    fleet = [Books([_ALL], store, clock) for _ in range(4)]
    for shop in fleet:
        shop.spend(2.0)
    for shop in fleet * 2:
        shop.wait(1.0)
    assert {shop.standing("all").reading.spend.usd for shop in fleet} == {8.0}
    assert {shop.standing("all").state.state for shop in fleet} == {WARNING}
    assert [alert.threshold for alert in fleet[0].alerts()] == [0.5, 0.8]


class _Unreliable(MemoryStore):
    """Away when told; `loses_replies` takes what it is given and does not say so."""

    is_away = False
    loses_replies = False

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        if self.is_away and not self.loses_replies:
            raise StoreUnavailableError("away")
        changes = super().exchange(delivery, cursor)
        if self.is_away:
            raise StoreUnavailableError("the reply was lost")
        return changes


@pytest.mark.parametrize("loses_replies", [False, True])
def test_while_the_store_is_away_spending_goes_on_and_is_sent_once_afterwards(loses_replies: bool) -> None:
    store = _Unreliable()
    store.loses_replies = loses_replies
    shop = Books([_ALL], store)
    shop.spend(1.0)
    store.is_away = True
    for _ in range(3):
        shop.spend(1.0)
    assert shop.book.is_store_away
    assert shop.standing("all").reading.spend.usd == 4.0
    store.is_away = False
    shop.wait(5.0)
    other = Books([_ALL], store, shop.clock)
    other.wait(0.0)
    assert shop.standing("all").reading.spend.usd == 4.0
    assert other.standing("all").reading.spend.usd == 4.0


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(1e-9, 1e3), st.booleans(), st.sampled_from(("", "a", "b"))), max_size=40
    )
)
def test_the_sums_of_all_processes_are_what_was_spent_whatever_the_store_does(
    course: list[tuple[int, float, bool, str]],
) -> None:
    store, clock = _Unreliable(), Clock()
    store.loses_replies = True
    rules: list[AnyRule] = [_ALL, BudgetRule(name="split", limit_usd=5.0, window=_DAY, per=("tenant",))]
    fleet = [Books(rules, store, clock) for _ in range(3)]
    truth: dict[str, list[float]] = {}
    for process, usd, is_away, tenant in course:
        store.is_away = is_away
        fleet[process].spend(usd, tenant=tenant)
        truth.setdefault(tenant, []).append(usd)
    store.is_away = False
    for shop in fleet * 2:
        shop.wait(1.0)
    for shop in fleet:
        if course:
            total = math.fsum(usd for all_of in truth.values() for usd in all_of)
            assert shop.standing("all").reading.spend.usd == pytest.approx(total, rel=1e-12)
        for tenant, amounts in truth.items():
            spent = shop.standing("split", tenant or "(none)").reading.spend
            assert spent.usd == pytest.approx(math.fsum(amounts), rel=1e-12)
            assert spent.calls == len(amounts)


def test_a_spike_is_told_when_the_newest_stretch_costs_much_more_than_those_before() -> None:
    shop = Books([SpikeRule(name="spike", bucket_s=3600.0, history=4, multiplier=3.0, min_usd=0.5, warm_up=3)])
    for _ in range(4):
        for _ in range(6):
            shop.spend(0.1)
            shop.wait(600)
    assert not shop.alerts()
    shop.spend(2.5)
    alert = shop.alerts()[0]
    assert (alert.kind, alert.state) == ("spike", BREACHED)
    assert alert.value >= 2.5


def test_a_spike_is_not_told_before_there_is_a_history() -> None:
    shop = Books([SpikeRule(name="spike", bucket_s=3600.0, history=4, warm_up=3)])
    shop.spend(100.0)
    shop.wait(3600)
    shop.spend(900.0)
    assert not shop.alerts()


def test_a_seasonal_spike_compares_with_the_same_hour_of_the_days_before() -> None:
    rule = SpikeRule(name="spike", bucket_s=3600.0, method="seasonal", history=4, multiplier=2.0, warm_up=3)
    shop = Books([rule])
    for _ in range(5):
        for hour in range(24):
            shop.spend(10.0 if hour == 0 else 1.0)
            shop.wait(3600)
    assert not shop.alerts()
    shop.wait(3600)
    shop.spend(10.0)
    assert [alert.rule for alert in shop.alerts()] == ["spike"]


def test_a_burn_rate_is_told_when_both_windows_burn_too_fast() -> None:
    budget = BudgetRule(name="month", limit_usd=720.0, window=Window("rolling", 720 * 3600))
    pair = BurnRate(long_s=3600.0, short_s=300.0, factor=14.4)
    shop = Books([budget, BurnRateRule(name="burn", budget="month", pairs=(pair,))])
    for _ in range(12):  # a dollar an hour is what it lasts for; this is ten
        shop.spend(10.0 / 12)
        shop.wait(300)
    assert not [alert for alert in shop.alerts() if alert.kind == "burn_rate"]
    for _ in range(12):
        shop.spend(20.0 / 12)
        shop.wait(300)
    alert = next(alert for alert in shop.alerts() if alert.kind == "burn_rate")
    assert alert.value >= 14.4
    shop.wait(900)
    assert shop.standing("burn").state.state == RECOVERING


def test_a_forecast_says_when_a_budget_will_be_gone() -> None:
    budget = BudgetRule(name="day", limit_usd=24.0, window=_DAY)
    shop = Books([budget, ForecastRule(name="forecast", budget="day", over_s=6 * 3600.0)], clock=Clock(NOON - 36_000))
    for _ in range(8):
        shop.spend(0.5)
        shop.wait(3600)
    assert not [alert for alert in shop.alerts() if alert.kind == "forecast"]
    for _ in range(3):
        shop.spend(3.0)
        shop.wait(3600)
    alert = next(alert for alert in shop.alerts() if alert.kind == "forecast")
    assert alert.forecast_at is not None
    assert shop.clock.now - 2 * 3600 < alert.forecast_at < NOON + 43_200
    assert alert.value > 24.0


def test_a_dear_request_is_told_once_in_a_cooldown_with_its_trace() -> None:
    shop = Books([RequestRule(name="dear", max_request_usd=0.5, match=Match(route=("/cart",)))])
    shop.request(0.4)
    shop.request(0.9, labels=EntryLabels("/other", "GET"))
    assert not shop.alerts()
    for _ in range(5):
        shop.request(0.6, trace=0xF00)
        shop.wait(5.0)
    alert = shop.alerts()[0]
    assert (alert.value, alert.limit, alert.costliest_trace_id) == (0.6, 0.5, f"{0xF00:032x}")
    shop.wait(1.0)
    shop.wait(301.0)
    assert [(alert.status, alert.rule) for alert in shop.alerts()] == [(RESOLVED, "dear")]


def test_sums_that_can_count_no_more_are_forgotten_in_the_store_and_here() -> None:
    shop = Books([BudgetRule(name="hour", limit_usd=10.0, window=Window("rolling", 3600), per=("tenant",))])
    shop.spend(1.0, tenant="gone")
    shop.wait(8000)
    shop.spend(1.0, tenant="here")
    assert {one.key for one in shop.book.standings} == {"here"}
    assert {cell.key for cell, _ in shop.store.exchange(None, 0).cells} == {"here"}


def test_an_error_in_an_alert_does_not_bring_the_same_batch_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Books([_ALL])
    shop.book._errors.reraise = False  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as patch:
        patch.setattr("spancost.budgets.book.alert_of", None)
        shop.spend(6.0)
    shop.wait(1.0)
    assert shop.standing("all").reading.spend.usd == 6.0
    assert [alert.threshold for alert in shop.alerts()] == [0.5]


def test_a_charge_of_no_rule_touches_nothing() -> None:
    shop = Books([BudgetRule(name="llm", limit_usd=1.0, window=_DAY, match=Match(component=("llm",)))])
    shop.spend(5.0, line=PUT)
    assert not shop.book.fresh_standings()
    assert CHAT.component == "llm"


def test_a_thousand_tenants_of_a_spike_rule_are_read_anew_at_most_once_a_minute_while_nothing_is_spent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Books([SpikeRule(name="spike", per=("tenant",))])
    for tenant in range(1000):
        shop.spend(1.0, tenant=f"t{tenant}")
    read, reads = Evaluator.read, 0

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(*arguments)

    monkeypatch.setattr(Evaluator, "read", counted)
    for _ in range(24):
        shop.wait(5.0)
    assert reads <= 2 * 1000

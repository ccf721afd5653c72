"""Keys that are far from their limits are not read at each flush: what is said, and when, is the same."""

from __future__ import annotations

from typing import Final, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost.budgets import book as books
from spancost.budgets.rules import (
    SEASONAL,
    AnyRule,
    BudgetRule,
    BurnRate,
    BurnRateRule,
    ForecastRule,
    Match,
    SpikeRule,
)
from spancost.budgets.store import OK
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.windows import Window
from spancost.charge import PriceLine
from tests.budgets.books import CHAT, PUT, UNKNOWN, Books, Clock

_PER: Final = ("tenant",)
_RULES: Final[tuple[AnyRule, ...]] = (
    BudgetRule(name="hour", limit_usd=4.0, window=Window("hour"), per=_PER),
    BudgetRule(name="rolling", limit_usd=6.0, window=Window("rolling", 3600), cooldown_s=60.0),
    BudgetRule(name="chats", limit_usd=3.0, window=Window("day"), match=Match(component=("llm",)), per=_PER),
    SpikeRule(name="mean", bucket_s=600.0, history=4, multiplier=2.0, warm_up=1),
    SpikeRule(name="robust", bucket_s=600.0, method="robust", history=4, warm_up=1, per=_PER),
    SpikeRule(name="seasonal", bucket_s=3600.0, method=SEASONAL, history=2, warm_up=1),
    BurnRateRule(
        name="burn",
        budget="chats",
        pairs=(
            BurnRate(long_s=3600.0, short_s=600.0, factor=3.0),
            BurnRate(long_s=7200.0, short_s=1200.0, factor=1.5, severity="warning"),
        ),
    ),
    ForecastRule(name="forecast", budget="chats", over_s=4 * 3600.0),
)
_STEPS: Final = st.lists(
    st.tuples(
        st.sampled_from([0, 5, 60, 300, 900, 3600, 40_000]),
        st.sampled_from([0.0, 0.001, 0.125, 0.5, 1.0, 2.5]),
        st.sampled_from([CHAT, CHAT, PUT, UNKNOWN]),
        st.sampled_from(["", "acme", "globex"]),
        st.sampled_from([0, 0, 0, 120]),
    ),
    min_size=5,
    max_size=40,
)

_Steps: TypeAlias = "list[tuple[int, float, PriceLine, str, int]]"
_Told: TypeAlias = "list[tuple[str, str, str, str, float | None, float, float]]"
_Shown: TypeAlias = "dict[tuple[str, str], tuple[str, int, float]]"


def _never(*_: object) -> None:
    """Have every key read whenever something changes."""


def _told(steps: _Steps, *, shared: bool) -> tuple[_Told, _Shown]:
    """Let one or two processes spend by turns; return the alerts, and how everything stands in the end."""
    clock, store = Clock(), MemoryStore()
    processes = [Books(_RULES, store, clock) for _ in range(1 + shared)]
    told: _Told = []
    for number, (wait_s, usd, line, tenant, late_s) in enumerate(steps):
        clock.now += wait_s
        for one in processes:
            one.book.tick()
        one = processes[number % len(processes)]
        one.spend(0.0 if line is UNKNOWN else usd, line=line, tenant=tenant, at=clock.now - late_s)
        for alert in processes[0].alerts():
            told.append(
                (alert.rule, alert.key, alert.status, alert.state, alert.threshold, alert.at, round(alert.spend_usd, 9))
            )
    for one in processes:
        one.book.tick()
    shown = {
        (one.rule.name, one.key): (one.state.state, one.state.level, round(one.reading.spend.usd, 9))
        for one in processes[0].book.standings
        if one.reading.spend.usd or one.state.state != OK  # what is forgotten may be shown once more, as nothing
    }
    return told, shown


@pytest.mark.parametrize("shared", [False, True], ids=["one process", "two processes"])
def test_looking_later_says_the_same_at_the_same_time(shared: bool) -> None:
    @settings(max_examples=15, deadline=None)
    @given(_STEPS)
    def check(steps: _Steps) -> None:
        quiet = _told(steps, shared=shared)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(books, "quiet_of", _never)
            always = _told(steps, shared=shared)
        assert sorted(quiet[0], key=repr) == sorted(always[0], key=repr)
        assert quiet[1] == always[1]

    check()


def test_a_key_far_from_its_limit_is_not_read_at_each_flush_but_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Books([BudgetRule(name="all", limit_usd=10.0, window=Window("month"))])
    shop.spend(1.0)
    reads: list[str] = []
    read = shop.book._evaluator.read  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        shop.book._evaluator,  # pyright: ignore[reportPrivateUsage]
        "read",
        lambda rule, key, now: reads.append(key) or read(rule, key, now),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    )
    for _ in range(3):
        shop.spend(1.0)
    assert reads == []
    assert shop.book.standing_of["all", ""].reading.spend.usd == 4.0
    assert len(reads) == 1
    standing = shop.book.standing("all", "")
    assert standing is not None
    assert standing.reading.spend.usd == 4.0
    assert shop.alerts() == []
    shop.spend(1.0)
    assert [alert.threshold for alert in shop.alerts()] == [0.5]

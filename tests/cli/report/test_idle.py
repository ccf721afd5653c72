from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spancost.cli.report.idle import IDLE_KEY, Spent, marked_key, spent
from spancost.cli.report.options import IdleMethod
from spancost.sinks.ledger.query import Condition, Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, INNER, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    ACME,
    CART,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    NOBODY,
    TOKEN_USD,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

SHOP_IDLE_S, JOBS_IDLE_S, LONELY_IDLE_S = 90.0, 50.0, 7.0
CHAT_USD = 1000 * TOKEN_USD


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LedgerReader]:
    """Three origins: a shop (30 s and 10 s of compute), jobs that only call a model, and one that did nothing."""
    path = tmp_path / "idle.sqlite"
    nobody = EntryLabels()
    Ledger(path, Origin("shop", "prod"), now=at_minute).write(
        batch_of(
            charged(charge(MACHINE, 30, MACHINE_USD), CART, ACME),
            charged(charge(MACHINE, 10, MACHINE_USD), HOME),
            charged(charge(CHAT, 1000, TOKEN_USD), CART, ACME, INNER),
            charged(charge(MACHINE, SHOP_IDLE_S, MACHINE_USD), nobody, position=IDLE),
            served(1, CART, ACME),
            served(4, HOME),
        )
    )
    Ledger(path, Origin("jobs", "prod"), now=at_minute).write(
        batch_of(
            charged(charge(CHAT, 1000, TOKEN_USD), EntryLabels("", "", "nightly")),
            charged(charge(CHAT, 1000, TOKEN_USD), EntryLabels("", "", "hourly")),
            charged(charge(MACHINE, JOBS_IDLE_S, MACHINE_USD), nobody, position=IDLE),
        )
    )
    Ledger(path, Origin("lonely", "test"), now=at_minute).write(
        batch_of(charged(charge(MACHINE, LONELY_IDLE_S, MACHINE_USD), nobody, position=IDLE))
    )
    with LedgerReader(path) as reader:
        yield reader


def usd(found: Spent) -> dict[tuple[str, ...], float]:
    return {row.key: row.usd for row in found.rows}


def left(found: Spent) -> dict[tuple[str, ...], float]:
    return {row.key: row.usd for row in found.idle_rows}


def test_separate_idle_compute_has_a_row_for_each_origin(reader: LedgerReader) -> None:
    found = spent(reader, ["service", "entrypoint"], Selection(), IdleMethod.SEPARATE)
    assert left(found) == {
        ("shop", ""): pytest.approx(SHOP_IDLE_S * MACHINE_USD, rel=1e-12),
        ("jobs", ""): pytest.approx(JOBS_IDLE_S * MACHINE_USD, rel=1e-12),
        ("lonely", ""): pytest.approx(LONELY_IDLE_S * MACHINE_USD, rel=1e-12),
    }
    assert not found.borne_usd


def test_proportional_idle_compute_follows_the_compute_cost_of_its_own_origin(reader: LedgerReader) -> None:
    found = spent(reader, ["service", "entrypoint"], Selection(), IdleMethod.PROPORTIONAL)
    assert usd(found) == {
        ("shop", "POST /cart/<int:item>"): pytest.approx(
            (30 + SHOP_IDLE_S * 3 / 4) * MACHINE_USD + CHAT_USD, rel=1e-12
        ),
        ("shop", "GET /"): pytest.approx((10 + SHOP_IDLE_S / 4) * MACHINE_USD, rel=1e-12),
        # no compute of their own: evenly
        ("jobs", "nightly"): pytest.approx(CHAT_USD + JOBS_IDLE_S / 2 * MACHINE_USD, rel=1e-12),
        ("jobs", "hourly"): pytest.approx(CHAT_USD + JOBS_IDLE_S / 2 * MACHINE_USD, rel=1e-12),
    }


def test_what_no_row_can_take_stays_idle(reader: LedgerReader) -> None:
    for method in (IdleMethod.PROPORTIONAL, IdleMethod.EVEN):
        found = spent(reader, ["service"], Selection(), method)
        assert left(found) == {("lonely",): pytest.approx(LONELY_IDLE_S * MACHINE_USD, rel=1e-12)}


def test_even_idle_compute_is_the_same_for_each_request(reader: LedgerReader) -> None:
    found = spent(reader, ["service", "tenant"], Selection(where=(Condition("service", "shop"),)), IdleMethod.EVEN)
    assert usd(found) == {
        ("shop", "acme"): pytest.approx((30 + SHOP_IDLE_S / 5) * MACHINE_USD + CHAT_USD, rel=1e-12),
        ("shop", ""): pytest.approx((10 + SHOP_IDLE_S * 4 / 5) * MACHINE_USD, rel=1e-12),
    }


@pytest.mark.parametrize("method", [IdleMethod.PROPORTIONAL, IdleMethod.EVEN])
def test_by_component_idle_compute_is_compute(reader: LedgerReader, method: IdleMethod) -> None:
    selection = Selection(where=(Condition("service", "shop"),))
    found = spent(reader, ["component"], selection, method)
    assert usd(found) == {
        ("compute",): pytest.approx((40 + SHOP_IDLE_S) * MACHINE_USD, rel=1e-12),
        ("llm",): pytest.approx(CHAT_USD, rel=1e-12),
    }


@pytest.mark.parametrize("method", list(IdleMethod))
def test_a_condition_and_its_opposite_are_everything_together(reader: LedgerReader, method: IdleMethod) -> None:
    whole = spent(reader, ["service"], Selection(), method).usd
    for key, glob in (("tenant", "acme"), ("service", "sh*"), ("component", "compute"), ("entrypoint", "n*")):
        parts = [
            spent(reader, ["entrypoint"], Selection(where=(Condition(key, glob, negated),)), method).usd
            for negated in (False, True)
        ]
        assert sum(parts) == pytest.approx(whole, rel=1e-12)


def test_a_tenants_share_is_the_same_whoever_else_is_looked_at(reader: LedgerReader) -> None:
    alone = spent(reader, ["tenant"], Selection(where=(Condition("tenant", "acme"),)), IdleMethod.PROPORTIONAL)
    among = spent(reader, ["tenant"], Selection(), IdleMethod.PROPORTIONAL)
    assert usd(alone)[("acme",)] == pytest.approx(usd(among)[("acme",)], rel=1e-12)


def test_with_time_keys_idle_compute_stays_in_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "times.sqlite"
    entries = [
        charged(charge(MACHINE, 1, MACHINE_USD), CART, NOBODY, minute=MINUTE),
        charged(charge(MACHINE, 5, MACHINE_USD), EntryLabels(), position=IDLE, minute=MINUTE),
        charged(charge(MACHINE, 2, MACHINE_USD), CART, NOBODY, minute=MINUTE + 1),
        charged(charge(MACHINE, 3, MACHINE_USD), EntryLabels(), position=IDLE, minute=MINUTE + 2),
    ]
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(*entries))
    with LedgerReader(path) as reader:
        found = spent(reader, ["minute"], Selection(), IdleMethod.PROPORTIONAL)
        whole = spent(reader, ["service"], Selection(), IdleMethod.PROPORTIONAL)
    assert usd(found) == {
        ("2025-11-10T23:40Z",): pytest.approx(6 * MACHINE_USD, rel=1e-12),
        ("2025-11-10T23:41Z",): pytest.approx(2 * MACHINE_USD, rel=1e-12),
    }
    assert left(found) == {("2025-11-10T23:42Z",): pytest.approx(3 * MACHINE_USD, rel=1e-12)}
    assert usd(whole) == {("shop",): pytest.approx(11 * MACHINE_USD, rel=1e-12)}


def test_idle_compute_without_a_rate_is_never_given_away_as_nothing(tmp_path: Path) -> None:
    from spancost.charge import price_line

    line = price_line("compute", "", "instance", unit="s", status="unpriced", reason="compute_rate_unknown")
    path = tmp_path / "unknown.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(charged(charge(line, 0.5)), charged(charge(line, 100), EntryLabels(), position=IDLE), served(1))
    )
    with LedgerReader(path) as reader:
        found = spent(reader, ["entrypoint"], Selection(), IdleMethod.PROPORTIONAL)
    (row,) = found.idle_rows
    assert (row.usd, row.quantity, row.unpriced) == (0.0, 100.0, {"compute": 1})


def test_the_mark_stands_where_idle_time_cannot_be_told_apart() -> None:
    assert marked_key(("tenant",), ("",)) == (IDLE_KEY,)
    assert marked_key(("day", "service", "route"), ("2026-11-01", "shop", "")) == ("2026-11-01", "shop", IDLE_KEY)
    assert marked_key(("service",), ("shop",)) == ("shop (idle)",)
    assert marked_key(("service",), ("",)) == (IDLE_KEY,)

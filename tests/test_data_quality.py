"""Counters and ledger say how far figures can be relied on, with the figures of real spans."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.bounds import AT_LEAST, AT_MOST, UNKNOWN
from spancost.charge import Charge, price_line
from spancost.internals import gauges
from spancost.prices.book import shipped_data
from spancost.prices.cache import write_file
from spancost.sinks.ledger.query import Condition, Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import Quality
from spancost.sinks.ledger.schema import DAY
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.window import Origin
from tests.sinks.ledger_batches import MINUTE, PUT, PUT_USD, batch_of, charge, charged
from tests.spans import REGION, chat, chat_usd, put_item, server, sms, start

_WITHOUT_CACHED = "logfire.openai"
"""A scope that does not say how much of the input was cached."""


def _work(world: World) -> None:
    """Three views of one LLM call, one with an unknown cached count, one without a price, a table and a message."""
    outer = world.provider.get_tracer("openinference.instrumentation.openai")
    inner = world.provider.get_tracer("opentelemetry.instrumentation.genai.openai")
    innermost = world.provider.get_tracer("traceloop.openai")
    root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
    first = start(outer, "chat", root, SpanKind.CLIENT, chat(1000, 100))  # type: ignore[arg-type]
    second = start(inner, "chat", first, SpanKind.CLIENT, chat(1000, 100))
    third = start(innermost, "chat", second, SpanKind.CLIENT, chat(1000, 100))
    for span in (third, second, first):
        span.end()
    unknown = {**chat(1, 1), "gen_ai.request.model": "nobody-1", "gen_ai.response.model": "nobody-1"}
    scope = world.provider.get_tracer(_WITHOUT_CACHED)
    start(scope, "chat", root, SpanKind.CLIENT, chat(2000, 200)).end()
    start(world.tracer, "chat", root, SpanKind.CLIENT, unknown).end()
    start(world.tracer, "put", root, SpanKind.CLIENT, put_item()).end()
    start(world.tracer, "sms", root, SpanKind.CLIENT, sms()).end()
    root.end()


def _readings(world: World, name: str) -> dict[tuple[str, ...], float]:
    family = next(family for family in world.totals.counters if family.name == name)
    return {reading.labels: reading.value for reading in world.totals.read(family)}


def test_duplicates_are_counted_by_reason_and_estimates_by_their_bound() -> None:
    with priced_provider(region=REGION) as world:
        _work(world)
        world.publish()
        duplicates = _readings(world, names.METRIC_DUPLICATES)
        assert {labels[:3] for labels in duplicates} == {("outer_span", "llm", "openai")}
        assert sum(duplicates.values()) == 2
        spans = _readings(world, names.METRIC_SPANS)
        assert sum(n for (status, _), n in spans.items() if status == names.DUPLICATE) == sum(duplicates.values())
        estimated = _readings(world, names.METRIC_ESTIMATED)
        assert estimated["llm", AT_MOST] == pytest.approx(chat_usd(2000, 200))
        costs = _readings(world, names.METRIC_COST)
        assert sum(estimated.values()) <= sum(costs.values())


def test_a_reason_to_come_has_its_own_series() -> None:
    with priced_provider(region=REGION) as world:
        line = price_line(names.LLM, "openai", "chat", status=names.DUPLICATE, reason="a reason to come")
        world.engine.book_unattributed([Charge(line, 0.0, 0.0, 0.0)])
        world.publish()
        assert _readings(world, names.METRIC_DUPLICATES) == {("a reason to come", "llm", "openai", "chat"): 1}


def _quality(path: Path, selection: Selection | None = None) -> Quality:
    with LedgerReader(path) as reader:
        return reader.quality() if selection is None else reader.quality(selection)


def test_the_ledger_answers_with_the_same_counts_as_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with priced_provider(region=REGION, ledger=str(path)) as world:
        _work(world)
        world.publish()
        found = _quality(path)
        for (status, component), count in _readings(world, names.METRIC_SPANS).items():
            assert found.spans[component][status] == count
        assert found.duplicates == {"outer_span": 2}
        estimated: dict[str, float] = dict.fromkeys(found.estimated_usd, 0.0)
        for (_, bound), usd in _readings(world, names.METRIC_ESTIMATED).items():
            estimated[bound] += usd
        assert found.estimated_usd == pytest.approx(estimated)
        assert found.estimated_usd[AT_LEAST] + found.estimated_usd[UNKNOWN] < found.estimated_usd[AT_MOST] + 1
        assert (found.sampled_only, found.health) == (False, {})


def test_late_money_and_money_without_a_span_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with priced_provider(region=REGION, ledger=str(path)) as world:
        root = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server())
        late = start(world.tracer, "put", root, SpanKind.CLIENT, put_item())
        root.end()
        late.end()
        line = price_line(names.CUSTOM, "acme", "page", source="test")
        world.engine.book_unattributed([Charge(line, 1.0, 0.5, 0.5)])
        world.publish()
    found = _quality(path)
    assert (found.late_usd, found.unattributed_usd) == pytest.approx((0.625e-6, 0.5))


def _fail(world: World) -> None:
    try:
        int("no number")
    except ValueError:
        world.engine.errors.caught("meter.aws")


def test_what_went_wrong_in_spancost_itself_is_in_the_ledger_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    settings: dict[str, Any] = {"max_values_per_label": 1, "max_root_quiet_s": 10.0, "ledger": str(path)}
    with priced_provider(region=REGION, reraise=False, **settings) as world:
        for number in range(3):
            start(world.tracer, f"work {number}", kind=SpanKind.CLIENT, attributes=put_item()).end()
        start(world.tracer, "never ends")
        world.clock.advance(11.0)
        world.publish()
        _fail(world)
        for _ in range(3):
            world.publish()
        folded = sum(world.totals.folded().values())
    found = _quality(path)
    assert folded > 0
    assert found.health == {"error:meter.aws": 1, "evictions": 1, "series_other": folded}


def test_what_went_wrong_is_told_for_the_days_and_services_asked_for_and_forgotten_with_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    clock = [MINUTE * 60.0]
    shop, jobs = (Ledger(path, Origin(name), now=lambda: clock[0]) for name in ("shop", "jobs"))
    for ledger, count in ((shop, 2), (jobs, 3), (shop, 4)):
        batch = batch_of(charged(charge(PUT, 1, PUT_USD), minute=int(clock[0]) // 60))
        ledger.write(batch._replace(health={"evictions": count}))
    clock[0] += 86_400.0
    shop.write(batch_of()._replace(health={"evictions": 10}))
    today = int(clock[0]) // 60 // DAY * DAY
    assert _quality(path).health == {"evictions": 19}
    assert _quality(path, Selection(since_minute=today)).health == {"evictions": 10}
    assert _quality(path, Selection(until_minute=today)).health == {"evictions": 9}
    assert _quality(path, Selection(where=(Condition("service", "sh*"),))).health == {"evictions": 16}
    assert _quality(path, Selection(where=(Condition("service", "sh*", negated=True),))).health == {"evictions": 3}
    for _ in range(16):  # 400 days on, no month without a write
        clock[0] += 30 * 86_400.0
        shop.write(batch_of()._replace(health={"series_other": 1}))
    assert "evictions" not in _quality(path).health


def test_money_under_other_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with priced_provider(region=REGION, ledger=str(path)) as world:
        root = world.tracer.start_span("GET", kind=SpanKind.SERVER, attributes=server(names.OTHER))
        start(world.tracer, "put", root, SpanKind.CLIENT, put_item()).end()  # type: ignore[arg-type]
        root.end()
        world.publish()
    assert _quality(path).other_usd == pytest.approx(0.625e-6)


def test_age_of_prices_is_a_gauge_of_seconds() -> None:
    with priced_provider(region=REGION, prices_cache="off") as world:
        gauge = next(g for g in gauges(world.engine, world.totals) if g.name == names.METRIC_INTERNAL_PRICE_AGE)
        ((labels, age_s),) = gauge.values
        assert labels == {"prices": "book"}
        # The book says a day, a month or a year.
        told = (str(shipped_data()["as_of"]) + "-01-01")[:10]
        newest_s = datetime.fromisoformat(told).replace(tzinfo=UTC).timestamp()
        assert age_s == pytest.approx(time.time() - newest_s, abs=60.0)


def test_refreshed_prices_have_an_age_of_their_own(tmp_path: Path) -> None:
    write_file(tmp_path / "aws.json", "aws", "2026-11-20T06:00:00Z", {})
    with priced_provider(region=REGION, prices_cache=str(tmp_path)) as world:
        gauge = next(g for g in gauges(world.engine, world.totals) if g.name == names.METRIC_INTERNAL_PRICE_AGE)
        ages = {labels["prices"]: age_s for labels, age_s in gauge.values}
        refreshed_s = datetime(2026, 11, 20, 6, tzinfo=UTC).timestamp()
        assert ages["cache"] == pytest.approx(time.time() - refreshed_s, abs=60.0)
        assert ages.keys() == {"book", "cache"}

"""100 000 routes, tenants, models and operations: series are capped, sums stay whole, memory stays bounded."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from spancost import CostSpanProcessor, attribute, names
from spancost._install import build_engine
from spancost.config import Config
from spancost.engine import CostEngine
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.totals import MetricTotals
from tests.spans import PUT_USD, REGION, put_item, server

pytestmark = pytest.mark.long

_DISTINCT = 100_000
_PER_FLUSH = 5_000


def _request(engine: CostEngine, provider: TracerProvider, number: int) -> None:
    tracer = provider.get_tracer("app")
    route = server(f"/route/{number}", response_bytes=0)
    with (
        attribute(tenant=f"tenant {number}", feature=f"feature {number}"),
        tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=route),
    ):
        tracer.start_span("put", kind=SpanKind.CLIENT, attributes=put_item()).end()
        model = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": f"model {number}",
            "gen_ai.usage.input_tokens": 1,
            "gen_ai.usage.output_tokens": 1,
        }
        tracer.start_span("chat", kind=SpanKind.CLIENT, attributes=model).end()
        call = {**put_item(), "rpc.service": "Made", "rpc.method": f"Operation{number}"}
        tracer.start_span("call", kind=SpanKind.CLIENT, attributes=call).end()


def _grown(engine: CostEngine, provider: TracerProvider, numbers: range) -> int:
    """Return by how many containers the process has grown after so many requests."""
    gc.collect()
    before = len(gc.get_objects())
    for number in numbers:
        _request(engine, provider, number)
        if number % _PER_FLUSH == _PER_FLUSH - 1:
            assert engine.publish()
    gc.collect()
    return len(gc.get_objects()) - before


def test_a_hundred_thousand_of_everything_are_folded_and_none_of_their_money_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    settings = Config(region=REGION, lease="off", detect=False, ledger=str(path), first_value_hold_s=0.0)
    engine = build_engine(settings)
    engine.background = False
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(CostSpanProcessor(engine))
    totals = next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))
    _grown(engine, provider, range(_DISTINCT // 2))
    later = _grown(engine, provider, range(_DISTINCT // 2, _DISTINCT))
    assert later < 20_000, f"{later} objects more in the second half"
    assert engine.publish(final=True)
    for family in totals.families:
        assert len(family) <= settings.max_series_per_metric + 30, family.name
    costs = totals.read(totals.cost)
    assert sum(reading.value for reading in costs) == pytest.approx(_DISTINCT * PUT_USD, rel=1e-9)
    assert sum(reading.value for reading in totals.read(totals.attributed)) == pytest.approx(_DISTINCT * PUT_USD)
    unpriced = sum(reading.value for reading in totals.read(totals.unpriced) if reading.labels[1] == names.LLM)
    assert unpriced == _DISTINCT
    assert engine.errors.counts == {}
    provider.shutdown()
    with LedgerReader(path) as reader:
        found = reader.totals()
        assert found.usd == pytest.approx(_DISTINCT * PUT_USD, rel=1e-9)
        assert found.requests == _DISTINCT
        assert reader.quality().spans[names.LLM][names.UNPRICED] == _DISTINCT

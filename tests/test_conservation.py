"""Conservation: however spans start and end, every sink tells the same sum, and nothing is lost or doubled."""

from __future__ import annotations

import random
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import SpanKind

from spancost import add_usage, attribute, current_cost, names
from spancost.capture import facts as capture_facts
from spancost.charge import SERVER, Charge, price_line
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.window import IDLE, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, Origin
from tests.spans import (
    EGRESS_USD_PER_GB,
    GB,
    PUT_USD,
    REGION,
    SMS_USD,
    chat,
    chat_usd,
    counted_usd,
    exported_usd,
    put_item,
    server,
    sms,
    start,
)

_USD_PER_S = 0.01
_SETTINGS: dict[str, Any] = {"compute": "36usd/h", "region": REGION}
_SCOPES = ("app", "opentelemetry.instrumentation.genai.openai", "openai")


def _all_sums_agree(world: World, ledger_path: Path, began_s: float = 0.0) -> None:
    world.publish()
    ledger = Ledger(ledger_path, Origin("shop"))
    for batch in world.recorded.batches:
        ledger.write(batch)
    if ledger_path.exists():
        with LedgerReader(ledger_path) as reader:
            stored = reader.totals()
    else:
        stored = None
    for component in names.COMPONENTS:
        charged = world.recorded.usd(component)
        where_it_went = (
            exported_usd(world, component)
            + world.recorded.usd(component, LATE_ENTRY, LATE_INNER)
            + world.recorded.usd(component, UNATTRIBUTED)
            + world.engine.evicted_usd.get(component, 0.0)
        )
        assert where_it_went == pytest.approx(charged, rel=1e-9, abs=1e-15), component
        assert counted_usd(world, component) == pytest.approx(charged, rel=1e-9, abs=1e-15), component
        attributed = sum(r.value for r in world.totals.read(world.totals.attributed) if r.labels[3] == component)
        assert attributed == pytest.approx(charged, rel=1e-9, abs=1e-15), component
        in_ledger = 0.0 if stored is None else stored.component_usd.get(component, 0.0)
        assert in_ledger == pytest.approx(charged, rel=1e-9, abs=1e-15), component
    assert world.root_totals_usd() == pytest.approx(
        sum(exported_usd(world, component) for component in names.COMPONENTS), rel=1e-9, abs=1e-15
    )
    idle = world.recorded.usd(names.COMPUTE, IDLE)
    uptime_usd = (world.clock.now - began_s) * _USD_PER_S if world.engine.tree is not None else 0.0
    assert world.recorded.usd(names.COMPUTE) + idle == pytest.approx(uptime_usd, rel=1e-9, abs=1e-15)


@dataclass
class _Run:
    """Starts and ends spans as told, and keeps count of the dollars that are surely due."""

    world: World
    started: list[Span] = field(default_factory=list[Span])
    is_open: list[bool] = field(default_factory=list[bool])
    due_usd: dict[str, float] = field(default_factory=dict[str, float])
    reported_late_usd: float = 0.0
    began_s: float = 0.0
    """When the first span or usage came, which is when the machine began to be paid for here."""

    def due(self, component: str, usd: float) -> None:
        self.due_usd[component] = self.due_usd.get(component, 0.0) + usd

    def start(self, parent: Span | None, what: int, scope: int) -> None:
        if self.world.engine.tree is None:
            self.began_s = self.world.clock.now
        tracer = self.world.provider.get_tracer(_SCOPES[scope % len(_SCOPES)])
        kinds = (SpanKind.INTERNAL, SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.CLIENT, SpanKind.SERVER)
        kind = (
            kinds[what % 5] if parent is not None else (SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CONSUMER)[what % 3]
        )
        attributes: dict[str, Any] = {}
        if kind is SpanKind.SERVER:
            attributes = server("" if what % 2 else f"/r/{what}", response_bytes=what * 1000)
            if parent is None or not self.below_server(parent):
                self.due(names.EGRESS, what * 1000 / GB * EGRESS_USD_PER_GB)
        elif what % 5 == 1:
            attributes = put_item()
            self.due(names.AWS, PUT_USD)
        elif what % 5 == 2:
            attributes = chat(100 * what, 7 * what, cached=10 * what)
        elif what % 5 == 3:
            attributes = sms()
        if what % 7 == 0:
            attributes[names.TENANT] = f"tenant-{what}"
        self.started.append(start(tracer, f"span-{len(self.started)}", parent, kind, attributes))
        self.is_open.append(True)

    def use(self, span: Span | None, what: int, usd: float) -> None:
        """Report usage on a span, open or not, or on none; a third of it for somebody of its own."""
        if self.world.engine.tree is None:
            self.began_s = self.world.clock.now
        with trace.use_span(trace.INVALID_SPAN if span is None else span):
            if what % 3:
                add_usage(f"work-{what}", what, "unit", usd)
            else:
                with attribute(tenant=f"t{what}"):
                    add_usage(f"work-{what}", what, "unit", usd)
            assert (current_cost() is None) == (span is None)
        self.due(names.CUSTOM, usd)
        if span is not None and not span.is_recording():
            self.reported_late_usd += usd

    @staticmethod
    def below_server(span: Span) -> bool:
        """Say whether the local root of a span is a server's: inner server spans send nothing to the internet then."""
        return span._spancost_node.root.kind == SERVER  # type: ignore[attr-defined]

    def end(self, index: int) -> None:
        if not self.is_open[index]:
            return
        self.is_open[index] = False
        if index % 3 == 0:
            self.started[index].set_attribute("http.route", "/found-late")
        self.started[index].end()


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "root",
                "child",
                "child",
                "child",
                "end",
                "end",
                "end",
                "publish",
                "late",
                "nobody",
                "inside",
                "use",
                "use",
            ]
        ),
        st.integers(0, 30),
        st.integers(0, 30),
        st.sampled_from([0.0, 0.001, 0.25, 3.0]),
    ),
    max_size=60,
)


def play(run: _Run, steps: list[tuple[str, int, int, float]]) -> None:
    world = run.world
    for step, one, other, seconds in steps:
        world.clock.advance(seconds)
        some = run.started[one % len(run.started)] if run.started else None
        if step == "root" or (some is None and step == "child"):
            run.start(None, one, other)
        elif step == "child":
            run.start(some, other, one)
        elif step == "inside":
            with attribute(feature=f"f{one % 3}", team="web"):
                run.start(some, other, one)
        elif step == "end" and some is not None:
            run.end(one % len(run.started))
        elif step == "late" and some is not None and some.kind is SpanKind.SERVER and not some.is_recording():
            capture_facts.report_late(some, {"response_bytes": other * 1000})
            if some._spancost_node.is_entry or not run.below_server(some):  # type: ignore[attr-defined]
                late_usd = other * 1000 / GB * EGRESS_USD_PER_GB
                run.due(names.EGRESS, late_usd)
                run.reported_late_usd += late_usd
        elif step == "nobody":
            line = price_line(names.CUSTOM, "geo", "lookup", unit="request", source="test")
            world.engine.book_unattributed([Charge(line, 1.0, 0.002, 0.002)])
            run.due(names.CUSTOM, 0.002)
        elif step == "use":
            run.use(some, one, other * 0.0001)
        elif step == "publish":
            world.publish()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS, st.randoms(use_true_random=False))
def test_every_dollar_is_in_every_sink_once_for_any_tree_and_any_end_order(
    steps: list[tuple[str, int, int, float]], order: random.Random
) -> None:
    with priced_provider(**_SETTINGS) as world, tempfile.TemporaryDirectory() as directory:
        world.engine.connect()
        run = _Run(world)
        play(run, steps)
        rest = [index for index, is_open in enumerate(run.is_open) if is_open]
        order.shuffle(rest)
        for index in rest:
            world.clock.advance(0.125)
            run.end(index)
        _all_sums_agree(world, Path(directory) / "ledger.db", run.began_s)
        for component in (names.AWS, names.EGRESS, names.CUSTOM):
            assert world.recorded.usd(component) == pytest.approx(run.due_usd.get(component, 0.0), rel=1e-9)
        written = sum(float(span.attributes[names.DIRECT_USD]) for span in world.spans)  # type: ignore[index, arg-type]
        outside_of_spans = run.reported_late_usd + world.recorded.usd(None, UNATTRIBUTED)
        assert written + outside_of_spans == pytest.approx(world.recorded.usd(), rel=1e-9, abs=1e-15)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS, st.randoms(use_true_random=False))
def test_roots_that_are_given_up_lose_nothing(steps: list[tuple[str, int, int, float]], order: random.Random) -> None:
    with (
        priced_provider(**_SETTINGS, max_root_quiet_s=1.0, max_open_roots=3) as world,
        tempfile.TemporaryDirectory() as directory,
    ):
        world.engine.connect()
        run = _Run(world)
        play(run, steps)
        rest = [index for index, is_open in enumerate(run.is_open) if is_open]
        order.shuffle(rest)
        for index in rest[: len(rest) // 2]:
            run.end(index)
        world.clock.advance(10.0)
        world.publish()  # whatever is still open is given up
        _all_sums_agree(world, Path(directory) / "before.db", run.began_s)
        for index in rest:
            run.end(index)
        _all_sums_agree(world, Path(directory) / "after.db", run.began_s)


def test_known_calls_of_all_components_add_up_to_the_bill_worked_out_by_hand(tmp_path: Path) -> None:
    with priced_provider(**_SETTINGS) as world:
        request = start(world.tracer, "GET", kind=SpanKind.SERVER, attributes=server(response_bytes=5_000_000))
        for name, attributes in (("put", put_item()), ("chat", chat(1200, 250, cached=1024)), ("sms", sms())):
            call = start(world.tracer, name, request, SpanKind.CLIENT, attributes)
            world.clock.advance(0.5)
            call.end()
        request.end()
        late = start(world.tracer, "late", request, SpanKind.CLIENT, put_item())
        world.clock.advance(0.25)
        late.end()
        _all_sums_agree(world, tmp_path / "ledger.db")
        assert world.attributes("GET")[names.TOTAL_USD] == pytest.approx(
            1.5 * _USD_PER_S
            + 5_000_000 / GB * EGRESS_USD_PER_GB
            + PUT_USD
            + chat_usd(1200, 250, cached=1024)
            + SMS_USD,
            rel=1e-12,
        )
        assert world.recorded.late_usd() == pytest.approx(0.25 * _USD_PER_S + PUT_USD, rel=1e-12)


def test_body_of_an_inner_server_span_that_ends_late_belongs_to_the_open_root_and_is_not_late(tmp_path: Path) -> None:
    with priced_provider(**_SETTINGS) as world:
        world.engine.connect()
        batch = start(world.tracer, "batch")
        inner = start(world.tracer, "GET", batch, SpanKind.SERVER, server(response_bytes=0))
        inner.end()
        capture_facts.report_late(inner, {"response_bytes": GB})
        batch.end()
        capture_facts.report_late(inner, {"response_bytes": 2 * GB})
        _all_sums_agree(world, tmp_path / "ledger.db")
        assert world.attributes("batch")[names.TOTAL_USD] == pytest.approx(EGRESS_USD_PER_GB, rel=1e-12)
        assert world.recorded.late_usd() == pytest.approx(2 * EGRESS_USD_PER_GB, rel=1e-12)


def test_eight_threads_of_concurrent_requests_are_added_up_exactly(tmp_path: Path) -> None:
    threads, requests = 8, 40
    with priced_provider(**_SETTINGS) as world:

        def serve(worker: int) -> None:
            tracer = world.provider.get_tracer("app")
            with attribute(tenant=f"t{worker}"):
                for number in range(requests):
                    with tracer.start_as_current_span("GET", kind=SpanKind.SERVER, attributes=server()) as span:
                        with tracer.start_as_current_span("put", kind=SpanKind.CLIENT, attributes=put_item()):
                            world.clock.advance(0.001)
                        with tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, attributes=chat(1000, 10)):
                            if number % 10 == 0:
                                world.engine.publish()
                        span.set_attribute("worker", worker)

        workers = [threading.Thread(target=serve, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        _all_sums_agree(world, tmp_path / "ledger.db")
        assert world.recorded.usd(names.AWS) == pytest.approx(threads * requests * PUT_USD, rel=1e-9)
        assert world.recorded.usd(names.LLM) == pytest.approx(threads * requests * chat_usd(1000, 10), rel=1e-9)
        by_tenant = {r.labels[1]: r.value for r in world.totals.read(world.totals.attributed) if r.labels[3] == "aws"}
        assert by_tenant == {f"t{n}": pytest.approx(requests * PUT_USD, rel=1e-9) for n in range(threads)}

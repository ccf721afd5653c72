"""Conservation under anything: a state machine drives the real SDK and keeps the truth beside it.

Spans start, end in any order or never, are dropped by the sampler, fork, carry attributions, come late, are reported
twice by several tracers; the clock goes on and sums are published at any moment. Whatever happens, for each component

    sum of direct = sum of root totals + late + unattributed = counters = ledger rows = the test's own truth
                  = what the budgets have added up, whatever was guarded.

`SPANCOST_EXAMPLES` sets how many runs are made. A failing run is printed with its steps, and with what repeats it.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

from spancost import add_usage, attribute, guard, names
from spancost.budgets.rules import AnyRule, BudgetRule, Match
from spancost.budgets.store import Store
from spancost.budgets.windows import TOTAL, Window
from spancost.capture import facts as capture_facts
from spancost.charge import Charge, price_line
from spancost.sampler import MeterAll
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.testing import World, priced_provider
from spancost.usage import get_ready
from spancost.window import IDLE, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, Origin
from tests.spans import EGRESS_USD_PER_GB, GB, PUT_USD, REGION, chat, chat_usd, counted_usd, put_item, server, start

pytestmark = pytest.mark.long

EXAMPLES: Final = int(os.environ.get("SPANCOST_EXAMPLES", "5200"))
_USD_PER_S: Final = 0.01
_LOOKUP_USD: Final = 0.002
_REPORTED_USD: Final = 0.0005
_SCOPES: Final = ("framework", "openai", "another tracer")
_EXACT: Final = 1e-9
_NEAR_ZERO: Final = 1e-15
_ID: Final = "chatcmpl-1"
"""As mocks answer: each call has it."""


_ALL: Final = "all"
_TENANTS: Final = "tenants"
_NEVER_USD: Final = 1e9
_EVER: Final = Window(TOTAL)
_RULES: Final[tuple[AnyRule, ...]] = (
    BudgetRule(name=_ALL, limit_usd=_NEVER_USD, window=_EVER),
    BudgetRule(name=_TENANTS, limit_usd=_NEVER_USD, window=_EVER, per=("tenant",)),
    *(
        BudgetRule(name=f"only-{component}", limit_usd=_NEVER_USD, window=_EVER, match=Match(component=(component,)))
        for component in names.COMPONENTS
    ),
)
_SCOPES_OF_GUARDS: Final = ("*", _ALL, _TENANTS, names.LLM, names.AWS, f"only-{names.CUSTOM}", f"only-{names.COMPUTE}")


class _SometimesSampled(Sampler):
    """Samples a trace or not, as told; children follow their parents."""

    def __init__(self) -> None:
        self.samples = True

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *_: Any, **rest: Any) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        samples = bool(parent.trace_flags.sampled) if parent.is_valid else self.samples
        attributes = rest.get("attributes") if rest else None
        kept = attributes if attributes is not None else (_[1] if len(_) > 1 else None)
        return SamplingResult(Decision.RECORD_AND_SAMPLE, kept) if samples else SamplingResult(Decision.DROP)

    def get_description(self) -> str:
        return "SometimesSampled"


class _Witness(SpanProcessor):
    """Sees every span that ends, sampled or not."""

    def __init__(self) -> None:
        self.ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


@dataclass
class _Call:
    """One real LLM call, and the views of it that tracers have open, outermost first."""

    tokens: int
    cached: int
    open_views: list[Span] = field(default_factory=list[Span])
    waiting: list[str] = field(default_factory=list[str])
    """Scopes whose views begin next."""


def _near(expected: float) -> Any:
    return pytest.approx(expected, rel=_EXACT, abs=_NEAR_ZERO)


class Conservation(RuleBasedStateMachine):
    """One process with its forked children."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        # A context of its own for each run: what earlier runs have begun is not known here.
        token = otel_context.attach(otel_context.Context())
        self.stack.callback(otel_context.detach, token)
        self.world: World = self.stack.enter_context(
            priced_provider(
                compute="36usd/h",
                region=REGION,
                partial_cost_interval_s=5.0,
                budget_rules=_RULES,
                budget_store="memory",
            )
        )
        self.world.engine.connect()
        self.sampler = _SometimesSampled()
        self.world.provider.sampler = MeterAll(self.sampler)
        self.witness = _Witness()
        self.world.provider.add_span_processor(self.witness)
        self.ledger = Ledger(self.directory / "ledger.db", Origin("shop"))
        self.stack.callback(self.ledger.close)
        self.spans: list[Span] = []
        self.calls: list[_Call] = []
        self.guards: list[guard] = []
        """Entered and not left; the innermost is the last."""
        self.truth: dict[str, float] = {}
        self.children: dict[str, float] = {}
        """What forked children have charged, by component."""
        self.began_s: float | None = None
        self.written = 0
        self.call_count = 0

    @initialize(samples=st.booleans())
    def begin(self, samples: bool) -> None:
        self.sampler.samples = samples

    # --- helpers ------------------------------------------------------------------------------------

    def _due(self, component: str, usd: float) -> None:
        self.truth[component] = self.truth.get(component, 0.0) + usd

    def _started(self) -> None:
        if self.began_s is None:
            self.began_s = self.world.clock.now

    def _start(
        self, scope: str, name: str, parent: Span | None, kind: SpanKind, attributes: dict[str, Any], **more: Any
    ) -> Span:
        self._started()
        span = start(self.world.provider.get_tracer(scope), name, parent, kind, attributes, **more)
        self.spans.append(span)
        return span

    def _one(self, number: int) -> Span | None:
        return self.spans[number % len(self.spans)] if self.spans else None

    # --- what may happen ------------------------------------------------------------------------------

    @rule(samples=st.booleans())
    def sampler_changes_its_mind(self, samples: bool) -> None:
        self.sampler.samples = samples

    @rule(seconds=st.sampled_from([0.001, 0.25, 3.0, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(kind=st.sampled_from([SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.INTERNAL]), size=st.integers(0, 9))
    def request_begins(self, kind: SpanKind, size: int) -> None:
        attributes = server(f"/r/{size}", response_bytes=size * 1_000_000) if kind is SpanKind.SERVER else {}
        self._start("app", f"root-{len(self.spans)}", None, kind, attributes)
        if kind is SpanKind.SERVER:
            self._due(names.EGRESS, size * 1_000_000 / GB * EGRESS_USD_PER_GB)

    @precondition(lambda self: self.spans)
    @rule(parent=st.integers(0, 99), tenant=st.sampled_from(["", "acme", "globex"]), is_call=st.booleans())
    def span_begins(self, parent: int, tenant: str, is_call: bool) -> None:
        above = self._one(parent)
        kind, attributes = (SpanKind.CLIENT, put_item()) if is_call else (SpanKind.INTERNAL, {})
        with attribute(tenant=tenant or None):
            self._start("app", f"span-{len(self.spans)}", above, kind, attributes)
        if is_call:
            self._due(names.AWS, PUT_USD)

    @precondition(lambda self: self.spans)
    @rule(number=st.integers(0, 99), tenant=st.booleans())
    def span_ends(self, number: int, tenant: bool) -> None:
        span = self._one(number)
        assert span is not None
        if span.is_recording() and not any(span in call.open_views for call in self.calls):
            if tenant:
                span.set_attribute(names.TENANT, f"tenant-{number % 3}")
            span.end()

    @precondition(lambda self: self.spans)
    @rule(number=st.integers(0, 99), size=st.integers(1, 9))
    def body_goes_on_after_the_end(self, number: int, size: int) -> None:
        span = self._one(number)
        assert span is not None
        if span.kind is SpanKind.SERVER and not span.is_recording():
            capture_facts.report_late(span, {"response_bytes": size * 1000})
            self._due(names.EGRESS, size * 1000 / GB * EGRESS_USD_PER_GB)

    @rule(number=st.integers(0, 99), on_span=st.booleans())
    def usage_is_reported(self, number: int, on_span: bool) -> None:
        self._started()
        span = self._one(number) if on_span else None
        with trace.use_span(trace.INVALID_SPAN if span is None else span):
            add_usage("work", 1, "unit", _REPORTED_USD)
        self._due(names.CUSTOM, _REPORTED_USD)

    @rule()
    def usage_belongs_to_no_span(self) -> None:
        get_ready(self.world.engine)
        line = price_line(names.CUSTOM, "geo", "lookup", unit="request", source="test")
        self.world.engine.book_unattributed([Charge(line, 1.0, _LOOKUP_USD, _LOOKUP_USD)])
        self._due(names.CUSTOM, _LOOKUP_USD)

    @rule(
        scopes=st.permutations(_SCOPES).flatmap(lambda order: st.integers(1, 3).map(lambda n: list(order[:n]))),
        parent=st.integers(0, 99),
        is_nested=st.booleans(),
        has_parent=st.booleans(),
    )
    def model_is_called(self, scopes: list[str], parent: int, is_nested: bool, has_parent: bool) -> None:
        """Begin a call that one to three tracers see: nested, beside each other, or in traces of their own."""
        self.call_count += 1
        call = _Call(int(1000 * 1.3 ** (self.call_count % 40)), 100 if len(scopes) > 1 else 0)
        above = self._one(parent) if has_parent else None
        for scope in scopes:
            request = {
                name: value for name, value in chat(0, 0).items() if "usage" not in name and "response" not in name
            }
            span = self._start(scope, f"chat-{len(self.spans)}", above, SpanKind.CLIENT, request)
            call.open_views.append(span)
            if is_nested:
                above = span
        self.calls.append(call)
        self._due(names.LLM, chat_usd(call.tokens, 10, cached=call.cached))

    @precondition(lambda self: self.calls)
    @rule(number=st.integers(0, 99))
    def innermost_view_of_a_call_ends(self, number: int) -> None:
        call = self.calls[number % len(self.calls)]
        is_innermost = len(call.open_views) > 0 and call.cached > 0
        view = call.open_views.pop()
        cached, call.cached = call.cached if is_innermost else 0, 0
        view.set_attributes(chat(call.tokens, 10, cached=cached, response_id=_ID))
        view.end()
        if not call.open_views:
            self.calls.remove(call)

    @rule(parent=st.integers(0, 99))
    def tracer_reports_a_call_afterwards(self, parent: int) -> None:
        self.call_count += 1
        tokens = int(1000 * 1.3 ** (self.call_count % 40)) + 7
        above = self._one(parent)
        seen = self._start(
            "openai", f"chat-{len(self.spans)}", above, SpanKind.CLIENT, chat(tokens, 10, response_id=_ID)
        )
        seen.end()
        began = (seen.start_time or 0) - 1000
        attributes = chat(tokens, 10, response_id=_ID)
        self._start("back-dating", f"chat-{len(self.spans)}", above, SpanKind.CLIENT, attributes, start_ns=began).end()
        self._due(names.LLM, chat_usd(tokens, 10))

    @rule(
        scope=st.sampled_from(_SCOPES_OF_GUARDS),
        reserve_usd=st.sampled_from([0.0, 1e-6, 0.01, 100.0]),
        tenant=st.sampled_from(["", "acme", "tenant-1"]),
    )
    def guard_is_entered(self, scope: str, reserve_usd: float, tenant: str) -> None:
        """From now on spans start under it, whatever their parents, and may outlive it."""
        entered = guard(scope, reserve_usd, tenant=tenant) if tenant else guard(scope, reserve_usd)
        assert entered.__enter__().is_allowed
        self.guards.append(entered)

    @precondition(lambda self: self.guards)
    @rule()
    def guard_is_left(self) -> None:
        self.guards.pop().__exit__(None, None, None)

    @precondition(lambda self: self.guards)
    @rule()
    def ended_reservations_are_settled(self) -> None:
        budgets = self.world.engine.budgets
        if budgets is not None:
            assert budgets.guards.settle()

    @rule()
    def sums_are_published(self) -> None:
        self._publish()

    @precondition(lambda self: self.spans and hasattr(os, "fork"))
    @rule(number=st.integers(0, 99), puts=st.integers(0, 3))
    def process_forks(self, number: int, puts: int) -> None:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the test runner has threads of its own
            child = os.fork()
        if child == 0:
            code = 1
            try:
                code = self._child(number, puts, writing)
            finally:
                os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0, told
        for component, usd in json.loads(told).items():
            self.children[component] = self.children.get(component, 0.0) + usd

    def _child(self, number: int, puts: int, writing: int) -> int:
        """End a span of the parent, make calls of its own, and tell what they cost."""
        world = self.world
        world.recorded.charges.clear()
        world.recorded.batches.clear()
        inherited = self._one(number)
        assert inherited is not None
        for place in range(puts):
            with_parent = inherited if place % 2 else None
            with guard("*", 0.01) if place else nullcontext():
                start(world.tracer, "child", with_parent, SpanKind.CLIENT, put_item()).end()
        world.clock.advance(1.0)
        if inherited.is_recording():
            inherited.end()
        self.written = 0
        self._publish()
        charged = world.recorded.usd()
        counted = sum(counted_usd(world, component) for component in names.COMPONENTS)
        told = {component: world.recorded.usd(component) for component in names.COMPONENTS}
        os.write(writing, json.dumps(told).encode())
        is_right = abs(world.recorded.usd(names.AWS) - puts * PUT_USD) < _NEAR_ZERO and self._budgets_agree()
        return 0 if is_right and abs(charged - counted) <= _EXACT * max(charged, counted) else 1

    # --- what holds ------------------------------------------------------------------------------------

    def _publish(self) -> None:
        self.world.publish()
        for batch in self.world.recorded.batches[self.written :]:
            self.ledger.write(batch)
        self.written = len(self.world.recorded.batches)

    def teardown(self) -> None:
        try:
            for call in self.calls:
                while call.open_views:
                    view = call.open_views.pop()
                    cached, call.cached = call.cached, 0
                    view.set_attributes(chat(call.tokens, 10, cached=cached, response_id=_ID))
                    view.end()
            order = [span for span in self.spans if span.is_recording()]
            random.Random(len(order)).shuffle(order)
            for span in order:
                self.world.clock.advance(0.125)
                span.end()
            while self.guards:
                self.guards.pop().__exit__(None, None, None)
            self._publish()
            self._sums_agree()
            assert self._budgets_agree()
            assert self._reserved_usd() == 0.0
        finally:
            self.stack.close()

    def _sums_agree(self) -> None:
        world = self.world
        roots = [span for span in self.witness.ended if names.TOTAL_NANO_USD in (span.attributes or {})]
        in_ledger: dict[str, float] = {}
        if (self.directory / "ledger.db").exists():
            with LedgerReader(self.directory / "ledger.db") as reader:
                in_ledger = dict(reader.totals().component_usd)
        for component in names.COMPONENTS:
            charged = world.recorded.usd(component)
            of_roots = _sum(roots, names.COMPONENT_USD[component])
            late = world.recorded.usd(component, LATE_ENTRY, LATE_INNER)
            nobodys = world.recorded.usd(component, UNATTRIBUTED)
            assert of_roots + late + nobodys == _near(charged), component
            assert counted_usd(world, component) == _near(charged), component
            assert in_ledger.get(component, 0.0) == _near(charged + self.children.get(component, 0.0)), component
            if component != names.COMPUTE:
                assert charged == _near(self.truth.get(component, 0.0)), component
        assert _sum(roots, names.TOTAL_USD) == _near(
            sum(_sum(roots, attribute) for attribute in names.COMPONENT_USD.values())
        )
        uptime_s = 0.0 if self.began_s is None else world.clock.now - self.began_s
        busy_usd = world.recorded.usd(names.COMPUTE)
        assert busy_usd + world.recorded.usd(names.COMPUTE, IDLE) == _near(uptime_s * _USD_PER_S)
        sampled = [span for span in self.witness.ended if span.context is not None and span.context.trace_flags.sampled]
        assert len(world.spans) == len(sampled)

    def _budgets_agree(self) -> bool:
        """True if the budgets of this process have added up what was charged in it, each rule its own part."""
        book = self.world.engine.budgets
        if book is None:  # nothing was ever charged
            return self.world.recorded.usd() == 0.0
        summed = _in_store(book.store)
        due = {_ALL: self.world.recorded.usd(), _TENANTS: self.world.recorded.usd()}
        due |= {f"only-{component}": self.world.recorded.usd(component) for component in names.COMPONENTS}
        wrong = {name: (summed.get(name, 0.0), usd) for name, usd in due.items() if summed.get(name, 0.0) != _near(usd)}
        if wrong:
            print("budgets and charges:", wrong)
        return not wrong

    def _reserved_usd(self) -> float:
        book = self.world.engine.budgets
        return 0.0 if book is None else sum(book.store.reserved(time.time()).values())


def _in_store(store: Store) -> dict[str, float]:
    """Return what a store has added up, USD by rule."""
    sums: dict[str, float] = {}
    for cell, added in store.exchange(None, 0).cells:
        sums[cell.rule] = sums.get(cell.rule, 0.0) + added.usd
    return sums


def _sum(spans: Sequence[ReadableSpan], attribute: str) -> float:
    return sum(float((span.attributes or {}).get(attribute, 0.0)) for span in spans)  # type: ignore[arg-type]


_PARTS: Final = 4
"""So that several workers share the runs."""
_SETTINGS: Final = settings(
    max_examples=-(-EXAMPLES // _PARTS),
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("part", range(_PARTS))
def test_whatever_happens_every_dollar_is_in_every_sink_once(part: int, request: pytest.FixtureRequest) -> None:
    given = request.config.getoption("hypothesis_seed", None)
    number = random.SystemRandom().getrandbits(32) if given is None else int(given)
    print(f"seed {number}: repeat with --hypothesis-seed={number}")  # shown where it fails
    run_state_machine_as_test(seed(number + part)(Conservation), settings=_SETTINGS)

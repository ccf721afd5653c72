"""Meters against attributes of any type and value, live, in the exporter and in stored traces."""

from __future__ import annotations

import ast
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.trace import SpanKind, Status, StatusCode

import spancost
from spancost import names
from spancost.meters.llm.dialects import DIALECTS
from spancost.prices.book import PriceBook
from spancost.testing import World, priced_provider
from spancost.window import ChargeKey, ChargeSum
from tests import recorded
from tests.exporting import exporting_world, finished_spans
from tests.fuzz.conftest import Fuzz
from tests.fuzz.mutations import any_values, as_json, attribute_values, json_values
from tests.meters.test_impossible_usage import KINDS
from tests.offline.traces import Span as StoredSpan
from tests.offline.traces import jaeger, otlp, priced
from tests.spans import REGION

_SOURCE: Final = Path(spancost.__file__).parent
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*(\.[a-zA-Z0-9_-]+)+")
_RELATIVE: Final = 1e-9
_MAX_TEXT: Final = 300
_LAST_MINUTE: Final = 2**63 // 60_000_000_000 + 1


_WRITTEN: Final = {
    *(names.DIRECT_USD, names.TOTAL_USD, names.TOTAL_NANO_USD, names.STATUS, names.REASON, names.SOURCE, names.BASIS),
    *names.COMPONENT_USD.values(),
}
"""Ours alone."""


class Made(NamedTuple):
    """A span as somebody may make it."""

    name: str
    kind: str
    scope: str
    attributes: Mapping[str, Any]
    parent: int
    """Place of its parent in the list; -1 for none."""
    start_ns: int
    took_ns: int
    failed: bool
    set_late: bool
    """Attributes are set after the start."""


@cache
def names_read() -> list[str]:
    """Names of attributes that meters and labels look at: texts with dots in their source, and all recorded ones."""
    found: set[str] = set()
    rooms = [*(_SOURCE / "meters").rglob("*.py"), *_SOURCE.glob("*.py")]
    for file in rooms:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
                found.add(node.value)
    for span in _recorded():
        found.update(span.attributes)
    return sorted(found - _WRITTEN)


@cache
def _recorded() -> list[recorded.Recorded]:
    files = sorted(path.name for path in recorded.FOLDER.glob("*.json"))
    return [span for file in files for span in recorded.recorded_spans(file) if span.ended]


@cache
def _starts() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Name, kind, scope and attributes of spans as they should be."""
    found = {
        json.dumps([span.data["name"], span.data["kind"], span.scope, span.attributes], sort_keys=True)
        for span in _recorded()
    }
    starts = [tuple(json.loads(text)) for text in sorted(found)]
    scopes = ["app", *sorted(scope for dialect in DIALECTS for scope in dialect.scopes)]
    starts.extend((kind, given.name, "app", dict(attributes)) for kind, (given, attributes) in KINDS.items())
    starts.extend(("chat", "CLIENT", scope, dict(KINDS["llm"][1])) for scope in scopes)
    operations = {
        name for price_id in PriceBook.shipped().price_ids() for name in PriceBook.shipped().operations(price_id)
    }
    services = [
        "DynamoDB",
        "S3",
        "SQS",
        "SNS",
        "Lambda",
        "Kinesis",
        "KMS",
        "EventBridge",
        "Bedrock Runtime",
        "Firehose",
    ]
    for number, operation in enumerate(sorted(operations)):
        service = services[number % len(services)]
        starts.append(
            (f"{service}.{operation}", "CLIENT", "opentelemetry.instrumentation.botocore",
             {**KINDS["aws"][1], "rpc.service": service, "rpc.method": operation})
        )  # fmt: skip
    return starts  # type: ignore[return-value]


@st.composite
def _spans(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> list[Made]:
    found: list[Made] = []
    for number in range(draw(st.integers(1, 4))):
        name, kind, scope, attributes = draw(st.sampled_from(_starts()))
        attributes = dict(attributes)
        for _ in range(draw(st.integers(0, 6))):
            among = sorted(attributes) if attributes and draw(st.booleans()) else names_read()
            attributes[draw(st.sampled_from(among))] = draw(values)
        for key in draw(st.lists(st.sampled_from(sorted(attributes) or [""]), max_size=2)):
            attributes.pop(key, None)
        if draw(st.integers(0, 9)) == 0:
            kind = draw(st.sampled_from([kind.name for kind in SpanKind]))
        parent = draw(st.integers(-1, number - 1))
        took_ns = draw(st.sampled_from([10**6, 0, -(10**9), 10**18, -(2**62)]))
        start_ns = draw(st.sampled_from([recorded.NOW_NS] * 6 + [0, -1, 1, 2**63, 10**30, -(10**30), 10**18]))
        flags = draw(st.booleans()), draw(st.booleans())
        found.append(Made(name, kind, scope, attributes, parent, start_ns, took_ns, *flags))
    return found


def _all_is_sane(charges: Mapping[ChargeKey, ChargeSum]) -> None:
    for key, sums in charges.items():
        line = key.line
        assert line.component in names.COMPONENTS
        assert line.status in names.STATUSES
        for amount in (sums.usd, sums.list_usd, sums.quantity):
            assert math.isfinite(amount), line
            assert amount >= 0, line
        if line.status in (names.UNPRICED, names.DUPLICATE, names.FREE):
            assert sums.usd == sums.list_usd == 0, line
        if line.status == names.UNPRICED:
            assert line.reason, line
        elif line.status in (names.PRICED, names.ESTIMATED):
            assert line.source, line
            assert sums.usd > 0 or not sums.quantity, line
        texts = (line.provider, line.operation, line.model, line.resource, line.region, line.sku, line.source)
        assert all(len(text) < _MAX_TEXT for text in (*texts, *key.labels, *key.attribution[:3])), line


def _is_ours(name: str) -> bool:
    return name.startswith("spancost.") or name in (names.GEN_AI_USAGE_COST, names.OPERATION_COST)


def _all_is_kept(made: list[Made], charges: Mapping[ChargeKey, ChargeSum]) -> None:
    """Every time is one that a ledger can keep."""
    assert all(0 <= key.minute < _LAST_MINUTE for key in charges), made


def _say_money(span: ReadableSpan) -> Iterator[tuple[str, Any]]:
    for name, value in (span.attributes or {}).items():
        if name in _WRITTEN and not isinstance(value, str):
            yield name, value


def _live(made: list[Made], world: World) -> list[tuple[Span, dict[str, Any]]]:
    """Start all, then end them inside out; return each with what its application had set."""
    started: list[Span] = []
    for one in made:
        tracer = world.provider.get_tracer(one.scope)
        parent = trace.INVALID_SPAN if one.parent < 0 else started[one.parent]
        given: Any = {} if one.set_late else one.attributes
        span = tracer.start_span(
            one.name, trace.set_span_in_context(parent), SpanKind[one.kind], given, start_time=one.start_ns
        )
        assert isinstance(span, Span)
        if one.set_late:
            span.set_attributes(one.attributes)
        if one.failed:
            span.set_status(Status(StatusCode.ERROR))
        started.append(span)
    ended: list[tuple[Span, dict[str, Any]]] = []
    for span, one in reversed(list(zip(started, made, strict=True))):
        before = {name: value for name, value in (span.attributes or {}).items() if not _is_ours(name)}
        world.clock.advance(0.001)
        span.end(one.start_ns + one.took_ns)
        ended.append((span, before))
    return ended


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("opentelemetry")
    was_disabled = [(found, found.disabled) for found in (logger, logging.getLogger("opentelemetry.attributes"))]
    for found, _ in was_disabled:
        found.disabled = True
    yield
    for found, disabled in was_disabled:
        found.disabled = disabled


@pytest.mark.parametrize("compute", ["", "3.6usd/h"], ids=["no machine", "machine"])
def test_live_spans_of_any_attributes_are_priced_sanely_and_keep_them(fuzzed: Fuzz, compute: str) -> None:
    def check(made: list[Made]) -> None:
        with priced_provider(region=REGION, compute=compute) as world:  # errors of ours are raised
            ended = _live(made, world)
            world.publish()
            _all_is_sane(world.recorded.charges)
            _all_is_kept(made, world.recorded.charges)
            for span, before in ended:
                after = dict(span.attributes or {})
                assert {name: repr(after.get(name)) for name in before} == {k: repr(v) for k, v in before.items()}
                assert not [name for name in after if name not in before and not _is_ours(name)]
                for name, value in _say_money(span):
                    assert math.isfinite(value), name
                    assert value >= 0, name
                if not compute and after.get(names.STATUS) == names.UNPRICED:
                    assert names.DIRECT_USD not in after
            total, totals = world.recorded.usd(), world.root_totals_usd()
            assert totals + world.recorded.late_usd() == pytest.approx(total, rel=_RELATIVE)
            assert world.engine.errors.counts == {}

    fuzzed(_spans(attribute_values), check)


def test_finished_spans_with_attributes_of_any_type_are_priced_sanely_by_the_exporter(fuzzed: Fuzz) -> None:
    def check(made: list[Made]) -> None:
        with exporting_world() as world:
            world.exporter.export(list(finished_spans(_stored(made)).values()))
            world.publish(final=True)
            _all_is_sane(world.recorded.charges)
            _all_is_kept(made, world.recorded.charges)
            assert world.engine.errors.counts == {}

    fuzzed(_spans(any_values), check)


def _stored(made: list[Made]) -> list[StoredSpan]:
    return [
        StoredSpan(
            number,
            one.parent + 1,
            one.name,
            one.kind,
            one.attributes,
            one.scope,
            start_ns=one.start_ns,
            end_ns=one.start_ns + one.took_ns,
            failed=one.failed,
        )
        for number, one in enumerate(made, 1)
    ]


def test_stored_spans_with_attributes_of_any_value_are_priced_sanely(fuzzed: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "spans.json"

    def check(made: list[Made]) -> None:
        for write in (otlp, jaeger):
            try:
                document = as_json(write(_stored(made)))
            except TypeError:  # bytes are in no JSON
                continue
            path.write_bytes(document)
            rollup, _ = priced([path], ("component", "entrypoint"))
            assert all(math.isfinite(row.usd) and row.usd >= 0 for row in rollup.rows)

    fuzzed(_spans(st.one_of(attribute_values, json_values)), check)


def test_the_names_that_meters_read_are_found() -> None:
    found = names_read()
    assert {"gen_ai.usage.input_tokens", "aws.dynamodb.consumed_capacity", "http.response.body.size"} <= set(found)
    assert len(_starts()) > 100

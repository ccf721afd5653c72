"""What one kind of service does in a round: its spans priced by spancost itself, and the money they say.

The spans go through the SDK and `CostSpanProcessor` once. What comes out is kept as OTLP and sent again and again under
new trace ids, so that sending costs next to nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.sdk.trace import ReadableSpan

from spancost import names
from spancost.sinks.totals import Family, MetricTotals, Reading
from spancost.testing import World, priced_provider
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.serving import MACHINE, serve
from tests.benchmarks.shop_requests import make_request

SPANS_PER_EXPORT: Final = 512
"""As the SDK's batch processor sends them."""
FRESH_BYTES: Final = 6
"""Of a trace id, new at each sending."""
FEATURES: Final = 4
TEAMS: Final = 5

CostKey = tuple[str, str, str]
"""Component, route and method."""
Attributed = tuple[str, str, str]
"""Feature, tenant and team as a span itself names them."""


@dataclass(frozen=True, slots=True)
class Money:
    """What some spans say they cost, USD."""

    totals: Mapping[CostKey, float]
    """From the local roots: total by component."""
    direct: Mapping[Attributed, float]
    """From every span."""


class Body:
    """One export of spans, without the resource it comes from.

    Args:
        encoded: Field `scope_spans` of a `ResourceSpans`, with `mark` in the second half of every trace id: that half
            is what the Collector's tail sampling remembers a decision by.

        mark: `FRESH_BYTES` bytes that stand nowhere else.

        spans: How many there are.

        money: What they say they cost.

        nano_usd: Total of each local root, as the Collector's tail sampling sees it.
    """

    def __init__(self, encoded: bytes, mark: bytes, spans: int, money: Money, nano_usd: Sequence[int]) -> None:
        self._parts = encoded.split(mark)
        if len(self._parts) != spans + 1:
            raise ValueError(f"{len(self._parts) - 1} trace ids in {spans} spans")
        self.spans = spans
        self.money = money
        self.nano_usd = tuple(nano_usd)

    @property
    def traces(self) -> int:
        return len(self.nano_usd)

    def under(self, fresh: bytes) -> bytes:
        """Return it with other trace ids, made from `FRESH_BYTES` bytes."""
        return fresh.join(self._parts)


@dataclass(frozen=True, slots=True)
class Series:
    """What a round adds to one series."""

    family: Family
    reading: Reading


@dataclass(frozen=True, slots=True)
class Profile:
    """What one kind of service does in a round."""

    bodies: tuple[Body, ...]
    series: tuple[Series, ...]
    """Of all metrics of spancost, as a worker would export them."""

    @property
    def spans(self) -> int:
        return sum(body.spans for body in self.bodies)


def make_profile(fleet: Fleet, number: int, *, priced: bool = True) -> Profile:
    """Serve the requests of a round and keep what spancost makes of them.

    Args:
        fleet: How many routes, tenants and requests there are.

        number: Which profile.

        priced: Whether the spans carry what spancost writes; without, they tell what that adds.
    """
    draw = fleet.draw(number)
    with priced_provider(**MACHINE) as world:
        requests = [_serve(world, fleet, number, request, draw) for request in range(fleet.requests)]
        world.publish()
        series = tuple(_series(world.totals))
    bodies: list[Body] = []
    batch: list[list[ReadableSpan]] = []
    for request in [*requests, None]:
        if batch and (request is None or sum(map(len, batch)) + len(request) > SPANS_PER_EXPORT):
            bodies.append(_body(batch, draw, priced=priced))
            batch = []
        if request is not None:
            batch.append(request)
    return Profile(tuple(bodies), series)


def _serve(world: World, fleet: Fleet, profile: int, number: int, draw: random.Random) -> list[ReadableSpan]:
    """Serve one request: the first ones go through all routes, the others to any of them."""
    route = f"/r{number if number < fleet.routes else draw.randrange(fleet.routes)}/{{id}}"
    tenant = number % fleet.tenants
    spans = list(make_request(draw, draw.choice(("GET", "POST")), route))
    feature, team = f"f{tenant % FEATURES}", f"x{profile % TEAMS}"
    return serve(world, spans, draw, feature=feature, tenant=f"t{tenant}", team=team)


def _series(totals: MetricTotals) -> Iterator[Series]:
    for family in totals.families:
        for reading in totals.read(family):
            yield Series(family, reading)


def _body(traces: Sequence[Sequence[ReadableSpan]], draw: random.Random, *, priced: bool) -> Body:
    spans = [span for one in traces for span in one]
    (of_resource,) = encode_spans(spans).resource_spans
    mark = draw.randbytes(FRESH_BYTES)
    trace_ids: dict[bytes, bytes] = {}
    span_ids: dict[tuple[bytes, bytes], bytes] = {}
    for of_scope in of_resource.scope_spans:
        for span in of_scope.spans:
            known = span.trace_id
            if known not in trace_ids:
                trace_ids[known] = draw.randbytes(8) + mark + len(trace_ids).to_bytes(8 - FRESH_BYTES, "big")
            span.trace_id = trace_ids[known]
            span.span_id = span_ids.setdefault((known, span.span_id), draw.randbytes(8))
            if span.parent_span_id:
                span.parent_span_id = span_ids.setdefault((known, span.parent_span_id), draw.randbytes(8))
            if not priced:
                kept = [pair for pair in span.attributes if not is_ours(pair.key)]
                del span.attributes[:]
                span.attributes.extend(kept)
    encoded = ResourceSpans(scope_spans=of_resource.scope_spans).SerializeToString()
    nano_usd = [nano for span in spans if (nano := _said(span).get(names.TOTAL_NANO_USD)) is not None]
    return Body(encoded, mark, len(spans), money_of(spans), nano_usd)


def _said(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def is_ours(name: str) -> bool:
    """True for an attribute that spancost has written."""
    return name.startswith("spancost.") or name in (names.GEN_AI_USAGE_COST, names.OPERATION_COST)


def money_of(spans: Sequence[ReadableSpan]) -> Money:
    """Add up what spans say they cost."""
    totals: defaultdict[CostKey, float] = defaultdict(float)
    direct: defaultdict[Attributed, float] = defaultdict(float)
    for span in spans:
        said = _said(span)
        whose = (said.get(names.FEATURE, ""), said.get(names.TENANT, ""), said.get(names.TEAM, ""))
        direct[whose] += said.get(names.DIRECT_USD, 0.0)
        if names.TOTAL_NANO_USD in said:
            for component, name in names.COMPONENT_USD.items():
                if name in said:
                    totals[component, said["http.route"], said["http.request.method"]] += said[name]
    return Money(dict(totals), dict(direct))

"""Serves a request in a priced world: its spans through the SDK and spancost, with a clock that is moved by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import time_ns
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from spancost import attribute
from spancost.testing import World
from tests.benchmarks.shop_requests import MadeSpan

MACHINE: Final[dict[str, Any]] = {"compute": "aws:m6i.large", "region": "us-east-1", "egress_clients": "internet"}
"""Settings under which everything in a request has a price."""
_REQUEST_S: Final = 0.08
_GAP_S: Final = 0.02


def serve(
    world: World, spans: Sequence[MadeSpan], draw: random.Random, *, feature: str, tenant: str, team: str
) -> list[ReadableSpan]:
    """Serve one request, and wait a little.

    Args:
        world: Where it is priced.

        spans: Of the request, the root last.

        draw: How long each of its steps takes.

        feature: What it is for.

        tenant: Whom it is for.

        team: Who answers for it.

    Returns:
        Its spans as exported, the root last.
    """
    *inner, served = spans
    provider, clock = world.provider, world.clock
    now, step_s = time_ns(), _REQUEST_S / (len(spans) + 1)
    root = provider.get_tracer(served.scope).start_span(
        served.name, kind=served.kind, attributes=served.attributes, start_time=now
    )
    with trace.use_span(root), attribute(feature=feature, tenant=tenant, team=team):
        for position, span in enumerate(inner):
            begun = now + int((position + 0.5) * step_s * 1e9)
            child = provider.get_tracer(span.scope).start_span(
                span.name, kind=span.kind, attributes=span.attributes, start_time=begun
            )
            clock.advance(step_s * draw.uniform(0.2, 1.0))
            child.end(begun + int(step_s * 1e9))
    clock.advance(step_s)
    root.end(now + int(_REQUEST_S * 1e9))
    clock.advance(_GAP_S)
    made = list(world.spans)
    world.exporter.clear()
    return made

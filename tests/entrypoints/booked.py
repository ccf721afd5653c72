"""What was booked of work without an HTTP route, and instrumentations that are active for one test."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

from spancost.testing import World
from spancost.window import IDLE


class Requests(NamedTuple):
    """Requests of one entrypoint with one outcome."""

    entrypoint: str
    outcome: str
    requests: int
    served: bool = True


@contextmanager
def instrumented(world: World, *instrumentors: Any, **options: Any) -> Generator[None]:
    """Have instrumentors send their spans to the world's provider inside the block."""
    try:
        for instrumentor in instrumentors:
            instrumentor.instrument(tracer_provider=world.provider, skip_dep_check=True, **options)
        yield
    finally:
        for instrumentor in reversed(instrumentors):
            if instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.uninstrument()


def requests_of(world: World) -> set[Requests]:
    """Return the requests booked so far; an HTTP one is named by method and route."""
    found: dict[tuple[str, str, bool], int] = {}
    for batch in world.recorded.batches:
        for key, sums in batch.requests.items():
            name = f"{key.labels.http_request_method} {key.labels.http_route}{key.labels.entrypoint}".strip()
            what = (name, key.outcome, key.served)
            found[what] = found.get(what, 0) + sums.count
    return {Requests(name, outcome, count, served) for (name, outcome, served), count in found.items()}


def usd_by_entrypoint(world: World, component: str) -> dict[str, float]:
    """Return USD of a component by entrypoint; without idle time."""
    found: dict[str, float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component == component and key.position != IDLE:
            name = f"{key.labels.http_request_method} {key.labels.http_route}{key.labels.entrypoint}".strip()
            found[name] = found.get(name, 0.0) + sums.usd
    return found

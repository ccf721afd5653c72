"""Spans of real boto3 calls, priced when they end."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider

from spancost.capture import aws as hooks
from spancost.capture import facts as capture_facts
from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.aws import AwsMeter
from spancost.prices.book import PriceBook

KB = 1024
MB = 1024 * KB


class Prices(SpanProcessor):
    """Gives each span a node for facts and prices it when it ends."""

    def __init__(self) -> None:
        self.meter = AwsMeter(PriceBook.shipped())
        self.spans: list[tuple[str, dict[str, Any], Sequence[Charge]]] = []
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        setattr(span, capture_facts.NODE_ATTRIBUTE, SimpleNamespace(facts=None))

    def _on_ending(self, span: Span) -> None:
        facts: dict[str, Any] = getattr(span, capture_facts.NODE_ATTRIBUTE).facts or {}
        view = SpanView(
            span.name,
            CLIENT,
            "",
            dict(span.attributes or {}),
            span.start_time or 0,
            span.end_time or 0,
            facts,
            not span.status.is_ok,
        )
        with self._lock:
            self.spans.append((span.name, facts, self.meter.measure(view)))

    def take(self) -> list[Charge]:
        """The charges since the last call."""
        with self._lock:
            spans, self.spans = self.spans, []
        return [charge for _, _, charges in spans for charge in charges]

    def one(self) -> Charge:
        """The only charge since the last call."""
        (charge,) = self.take()
        return charge


@contextmanager
def priced_calls() -> Generator[Prices]:
    """The real instrumentation with our hooks; none of them may have failed at the end."""
    prices = Prices()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(prices)
    capture_facts.connect(None, prices.failures.append)
    instrumentor: Any = BotocoreInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider, request_hook=hooks.request_hook, response_hook=hooks.response_hook
    )
    try:
        yield prices
        assert prices.failures == []
    finally:
        instrumentor.uninstrument()
        capture_facts.connect(None, None)
        provider.shutdown()


def status_of(charge: Charge) -> tuple[str, str]:
    """How a price is known, and what was assumed."""
    return charge.line.status, charge.line.basis

"""Exemplars of the request histogram for scrapes: the newest trace of each series and bucket.

The OpenTelemetry SDK keeps exemplars itself. On a scrape by prometheus_client they are ours to give: requests wait in
a queue and are looked at off the span path, so they cost the span path nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.trace import SpanContext, format_span_id, format_trace_id

from spancost import names
from spancost.sinks.totals import MetricTotals
from spancost.window import Batch

if TYPE_CHECKING:
    from spancost.engine import CostEngine
    from spancost.journal import RequestRecord

ENV_FILTER: Final = "OTEL_METRICS_EXEMPLAR_FILTER"
"""Which requests may become exemplars; `trace_based`, the default, takes those whose span is sampled."""
ALWAYS_ON: Final = "always_on"
ALWAYS_OFF: Final = "always_off"


class RequestExemplar(NamedTuple):
    """One request that stands for its bucket."""

    context: SpanContext
    usd: float
    at_s: float
    """Unix seconds of its end."""

    def labels(self) -> dict[str, str]:
        """Return the labels of an exemplar of OpenMetrics."""
        return {"trace_id": format_trace_id(self.context.trace_id), "span_id": format_span_id(self.context.span_id)}


class RequestExemplars:
    """Sink that keeps the newest request of each series and bucket; as many as the histogram has series.

    Args:
        engine: Gives single requests.

        totals: Says under which labels a request is kept.

        which: Value of `OTEL_METRICS_EXEMPLAR_FILTER`.
    """

    name = "exemplars"

    def __init__(self, engine: CostEngine, totals: MetricTotals, which: str) -> None:
        self._totals = totals
        self._takes_all = which.strip().lower() == ALWAYS_ON
        self._queue: deque[RequestRecord] = engine.open_request_queue()
        self._found: dict[tuple[str, ...], dict[int, RequestExemplar]] = {}
        self._is_over = False

    def write(self, batch: Batch, *, final: bool) -> None:
        """Look at the requests that ended since the last time."""
        family = self._totals.request_cost
        while self._queue:
            record = self._queue.popleft()
            context = record.span.get_span_context()
            if self._is_over or not context.is_valid:
                continue
            if not (self._takes_all or context.trace_flags.sampled):
                continue
            buckets = self._found.setdefault(family.label_values((*record.labels, record.outcome)), {})
            bucket = bisect_left(names.REQUEST_COST_BUCKETS_USD, record.total_usd)
            at_s = (getattr(record.span, "end_time", None) or 0) / 1e9
            # Prometheus refuses an exemplar that is older than the one before it.
            if bucket not in buckets or buckets[bucket].at_s <= at_s:
                buckets[bucket] = RequestExemplar(context, record.total_usd, at_s)

    def of(self, labels: tuple[str, ...]) -> Mapping[int, RequestExemplar]:
        """Return the exemplars of a series by the position of their buckets."""
        return dict(self._found.get(labels, {}))

    def stop(self) -> None:
        """Keep none from now on: nobody scrapes here any more."""
        self._is_over = True
        self._found.clear()

    def close(self) -> None:
        """Nothing to release."""

    def after_fork_in_child(self) -> None:
        """The child's requests are its own."""
        self._found.clear()

"""CostSpanExporter: the same pricing for finished spans, where nothing but exporters can be set.

`OTEL_TRACES_EXPORTER=otlp,spancost` charges llm, aws, http and egress from what spans say. A finished span cannot be
changed and says nothing of the machine, so no attributes are written and compute is `unpriced`, reason `exporter`;
facts that only hooks see (sizes of streamed bodies, units of AWS calls that the instrumentation leaves out) are missing
as for stored traces. Exporters see sampled spans only. A span that a `CostSpanProcessor` of this process prices is
left to it.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from spancost._guard import ErrorLog, logger
from spancost.claims import claim, claims, is_claimed
from spancost.finished import FinishedSpan, FinishedSpans
from spancost.journal import is_failed_call
from spancost.prices.days import possible_ns
from spancost.span_attributes import kind_of, mapping_of, scope_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from spancost.engine import CostEngine

_PLACE: Final = "exporter"
_ERROR: Final = StatusCode.ERROR
_EXIT_TIMEOUT_MILLIS: Final = 5_000
_errors: Final = ErrorLog()


class CostSpanExporter(SpanExporter):
    """Charges the finished spans that no `CostSpanProcessor` has priced.

    Put it behind a `BatchSpanProcessor`: then all work is done on that one's thread. A local tree is booked some
    seconds after its local root has been exported, or when the process ends.

    Args:
        engine: Where charges go; the engine of this process by default, made with the first span that is charged.

    Example:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import BatchSpanProcessor
        >>> from spancost import CostSpanExporter
        >>> provider = TracerProvider()
        >>> provider.add_span_processor(BatchSpanProcessor(CostSpanExporter()))
    """

    def __init__(self, engine: CostEngine | None = None) -> None:
        self._given = engine
        self._engine: CostEngine | None = None
        self._spans: FinishedSpans | None = None
        self._errors = ErrorLog() if engine is None else engine.errors
        self._is_off = False
        """The configuration switches spancost off, or is wrong."""
        self._is_shut_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Charge spans; those of a processor of ours are left alone.

        Returns:
            FAILURE after `shutdown`, and where spans could not be taken; never raises.
        """
        if self._is_shut_down:
            return SpanExportResult.FAILURE
        try:
            return SpanExportResult.SUCCESS if self._take(spans) else SpanExportResult.FAILURE
        except Exception:
            self._errors.caught(_PLACE)
            return SpanExportResult.FAILURE

    def _take(self, spans: Sequence[ReadableSpan]) -> bool:
        own = [span for span in spans if not is_claimed(span.context)]
        if not own or self._is_off:
            return True
        engine, held = self._engine, self._spans
        if engine is None or held is None:
            found = self._connected()
            if found is None:
                return True
            engine, held = found
        if engine.is_stopped:
            return False
        engine.begin_without_clock(own[0].resource.attributes)
        now = engine.monotonic()
        all_taken = True
        for span in own:
            try:
                if claim(span.context):
                    all_taken = held.add(_finished(span, now)) and all_taken
            except Exception:
                self._errors.caught(_PLACE)
                all_taken = False
        return all_taken

    def _connected(self) -> tuple[CostEngine, FinishedSpans] | None:
        """Return the engine, found or made with the first span to charge; None where spancost is off.

        Not earlier: an engine made with the exporter would take its settings from nobody who calls `install(config=)`
        afterwards.
        """
        from spancost._install import current_engine, process_engine
        from spancost.config import load_config
        from spancost.errors import ConfigError

        engine = self._given or current_engine()
        if engine is None or (engine.is_stopped and engine is not self._given):
            try:
                config = load_config()
            except ConfigError as error:
                logger.error("spancost is off: %s", error)
                self._is_off = True
                return None
            if not config.enabled:
                self._is_off = True
                return None
            engine = process_engine(config)
        if not engine.config.enabled:
            self._is_off = True
            return None
        with engine.lock:
            held = next((source for source in engine.sources if isinstance(source, FinishedSpans)), None)
            if held is None:
                held = FinishedSpans(engine)
            engine.serve_exporter(self, held)
        self._engine, self._spans, self._errors = engine, held, engine.errors
        engine.meter_sampled_only("CostSpanExporter sees no others, and no compute; spancost.install() meters all")
        return engine, held

    def shutdown(self) -> None:
        """Book everything received, complete or not, and flush; the last user of an engine stops it."""
        if self._is_shut_down:
            return
        self._is_shut_down = True
        if self._engine is None:
            return
        try:
            self._engine.release(self)
        except Exception:
            self._errors.caught("shutdown")

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Publish what was received, but for trees whose local root is still to come.

        Returns:
            False if a sink failed or the time was up. No MeterProvider is pushed: only `spancost.flush` does that.
        """
        if self._engine is None:
            return True
        try:
            return self._engine.flush(timeout_millis / 1000, push=False)
        except Exception:
            self._errors.caught("flush")
            return False


def _finished(span: ReadableSpan, now: float) -> FinishedSpan:
    context: Any = span.context
    attributes = mapping_of(span)
    end_ns = possible_ns(span.end_time or span.start_time)
    start_ns = possible_ns(span.start_time, end_ns)
    is_error = span.status.status_code is _ERROR
    return FinishedSpan(
        context,
        context.trace_id,
        context.span_id,
        span.parent,
        kind_of(span),
        scope_of(span),
        span.name,
        attributes,
        start_ns,
        end_ns,
        is_error,
        is_error or is_failed_call(span, attributes),
        now,
    )


def take_queued_spans() -> None:
    """Have the processors of the global provider hand over what they hold for our exporters, at the process's end.

    Their own time comes with the provider's shutdown, which may be after the last export of metrics. Other exporters
    are not touched: a dead endpoint must not delay the end twice.
    """
    try:
        provider: Any = trace.get_tracer_provider()
        active = getattr(provider, "_active_span_processor", None)
        for processor in getattr(active, "_span_processors", ()):
            if isinstance(getattr(processor, "span_exporter", None), CostSpanExporter):
                processor.force_flush(_EXIT_TIMEOUT_MILLIS)
    except Exception:
        _errors.caught("exit")


claims.wanted = True
# The exporter is made before the MeterProvider, whose `atexit` handler therefore comes first. What `concurrent.futures`
# uses comes before all of those.
getattr(threading, "_register_atexit", atexit.register)(take_queued_spans)

"""MeterAll: spans that the sampler drops are metered, and still not exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

_DROP: Final = Decision.DROP  # looking a member up in its enumeration takes longer than the test


class MeterAll(Sampler):
    """Turns `DROP` of another sampler into `RECORD_ONLY`.

    Exporters skip such spans and the trace flags stay unsampled, so nothing downstream changes. The SDK's own
    `AlwaysRecordSampler` loses the start attributes of dropped spans; this one keeps them. A dropped span then costs as
    much time as a recorded one.

    Args:
        root: The sampler that decides what is exported.
    """

    def __init__(self, root: Sampler) -> None:
        self.root = root

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Return the wrapped sampler's decision, with `DROP` replaced."""
        result = self.root.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is _DROP:
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """Name the sampler and what it wraps."""
        return f"MeterAll{{{self.root.get_description()}}}"


def sees_all(sampler: object) -> bool:
    """True for a sampler that drops nothing."""
    return sampler is ALWAYS_ON or isinstance(sampler, MeterAll)


def meter_all(provider: TracerProvider) -> bool:
    """Wrap a provider's sampler in `MeterAll`, for its tracers made so far, too.

    Returns:
        False if the SDK keeps its sampler elsewhere: only sampled spans are seen then.
    """
    sampler = getattr(provider, "sampler", None)
    if not isinstance(sampler, Sampler):
        return False
    if sees_all(sampler):
        return True
    wrapped = MeterAll(sampler)
    provider.sampler = wrapped
    # A tracer captures its sampler when it is made.
    for tracer in list(cast("Any", getattr(provider, "_tracers", {})).values()):
        if getattr(tracer, "sampler", None) is sampler:
            tracer.sampler = wrapped
    return True

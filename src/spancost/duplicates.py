"""One real call is one charge, however many instrumentations saw it (design rule 2).

Handles what the span tree shows: an LLM span inside an LLM span of another scope, and the HTTP request beneath an LLM
or AWS call. Sibling spans, spans in other traces and back-dated spans are not matched here.
"""

from __future__ import annotations

from typing import Any

from spancost.meters.aws import is_aws
from spancost.meters.llm import PRICED_OPERATIONS, LlmUsage, operation_of
from spancost.nodes import SpanNode
from spancost.same_call import host_of_call, is_same_call
from spancost.span_attributes import mapping_of

_MAX_DEPTH = 64
_SILENT_SCOPES = frozenset({"opentelemetry.util.genai.handler"})
"""Scopes that set no attribute before the call is over: until then only the span's name tells what it is."""


def outermost_llm_span(node: SpanNode, scope: str, usage: LlmUsage) -> SpanNode | None:
    """Return the outermost open LLM span of another scope around this one that is the same call, if any."""
    found: SpanNode | None = None
    ancestor = node.parent
    for _ in range(_MAX_DEPTH):
        if not isinstance(ancestor, SpanNode):
            break
        span = ancestor.span
        if span is not None and ancestor.is_open and _scope_of(span) != scope:
            attributes = mapping_of(span)
            if (operation_of(attributes) or _is_silent_llm(span)) and is_same_call(attributes, usage):
                found = ancestor
        ancestor = ancestor.parent
    return found


def _is_silent_llm(span: Any) -> bool:
    return _scope_of(span) in _SILENT_SCOPES and str(span.name).partition(" ")[0] in PRICED_OPERATIONS


def _scope_of(span: Any) -> str:
    scope = span.instrumentation_scope
    return "" if scope is None else str(scope.name)


def is_transport(node: SpanNode, host: str) -> bool:
    """True if an HTTP request to `host` is how an LLM or AWS call around it travels."""
    ancestor = node.parent
    for _ in range(_MAX_DEPTH):
        if not isinstance(ancestor, SpanNode):
            return False
        call_host = ancestor.call_host
        if call_host is None and ancestor.span is not None:
            attributes = mapping_of(ancestor.span)
            if operation_of(attributes) or is_aws(attributes) or _is_silent_llm(ancestor.span):
                call_host = host_of_call(attributes)
        if call_host is not None and (not call_host or not host or call_host == host):
            return True
        ancestor = ancestor.parent
    return False

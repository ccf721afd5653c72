"""Which LLM and AWS calls were begun in the present thread or task, or in one that it descends from.

A `ContextVar` keeps them. A child task, and a thread that carries the context, inherits what its parent had begun; what
a child begins stays its own. So two calls of concurrent tasks never see each other, and a call never sees one of
another thread, while all that an instrumentation and the libraries below it do for one call share their context,
whatever the parents of their spans are. Greenlets have contexts of their own, too.

Frameworks that report by callbacks may start their spans on a thread of a pool, in a copy of the context that is thrown
away. Those spans are also kept with the span that they hang on.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from weakref import ref

from spancost.nodes import SpanNode

_MAX_OPEN: Final = 32
"""Open calls kept per context; those that began last."""
_MAX_ENDED: Final = 4
"""Calls kept that have ended: a tracer that makes its span after the call makes it at once."""
_MAX_BELOW: Final = 1024
"""Runs of frameworks kept per span: those of one batch hang on one."""
_MAX_SCOPES: Final = 4096

_CALLING: Final = re.compile(
    r"agent|anthropic|autogen|bedrock|botocore|cohere|crewai|dspy|gemini|gen_?ai|google\.?genai|groq|haystack|instructor"
    r"|lang(chain|fuse|graph|smith)|litellm|llama|llm|logfire|mistral|ollama|openai|openinference|openlit|pydantic"
    r"|replicate|sagemaker|smolagents|together|traceloop|vertex|watsonx|\bai\b"
)
"""Names of scopes whose spans may be calls though their attributes come later."""
_FRAMEWORK: Final = re.compile(r"autogen|crewai|dspy|haystack|lang(chain|graph)|llama_?index|smolagents")
"""Names of scopes whose spans may be started by callbacks on another thread."""

order: Final = itertools.count(1)
"""The order in which calls begin and are charged: clocks may stand still, or be set."""
scopes: Final[dict[str, bool]] = {}
"""Names of scopes: whether their spans may be calls."""
_calls: Final[ContextVar[tuple[ref[SpanNode], ...]]] = ContextVar("spancost_calls", default=())
"""Weak: a context may live for as long as its thread, and a span that nobody ends is forgotten with its owner."""


def names_call(attributes: Mapping[str, Any]) -> bool:
    """True if the first attributes of a span say that it is an LLM call, whatever its scope."""
    return "gen_ai.operation.name" in attributes or "gen_ai.system" in attributes


def learn(scope: str) -> None:
    """Remember that spans of a scope are calls: the next one is known from its start."""
    scopes[scope] = True


@lru_cache(maxsize=_MAX_SCOPES)
def is_framework(scope: str) -> bool:
    """True for scopes whose spans may be started on another thread than the call."""
    return _FRAMEWORK.search(scope.lower()) is not None


def begin(node: SpanNode, parent: SpanNode | None, scope: str, attributes: Mapping[str, Any]) -> None:
    """Note in the present context that a call begins, if the span that starts may be one.

    Args:
        node: Node of the span.

        parent: Node of the span it hangs on, if that is one of this process.

        scope: Name of the span's instrumentation scope.

        attributes: Those that it has at its start.
    """
    known = scopes.get(scope)
    if known is None:
        if len(scopes) >= _MAX_SCOPES:
            scopes.clear()
        known = scopes[scope] = _CALLING.search(scope.lower()) is not None
    if not known and not names_call(attributes):
        return
    node.begun = next(order)
    node.call_scope = scope
    around = node.around = _calls.get()
    itself = ref(node)
    _calls.set((*_fresh(around, _MAX_OPEN), itself))
    if parent is not None and is_framework(scope):
        parent.calls_below = (*_fresh(parent.calls_below or (), _MAX_BELOW), itself)


def _fresh(calls: tuple[ref[SpanNode], ...], most: int) -> list[ref[SpanNode]]:
    """Return those that are open, and the last that have ended, in the order in which they began."""
    if len(calls) < _MAX_ENDED:
        return list(calls)
    fresh: list[ref[SpanNode]] = []
    ended = 0
    for itself in reversed(calls):
        call = itself()
        if call is None:
            continue
        if call.span is None:
            ended += 1
            if ended > _MAX_ENDED:
                continue
        fresh.append(itself)
        if len(fresh) >= most:
            break
    fresh.reverse()
    return fresh


def company_of(node: SpanNode, scope: str) -> list[SpanNode]:
    """Return the calls of other scopes in the context of a span, those of frameworks beside it included; latest first.

    They were begun in its context before it, or in the present context; some may have ended.

    Args:
        node: Node of the span.

        scope: Name of its scope.
    """
    present = _calls.get()
    around = node.around
    groups = [present]
    if around and around[-1] not in present:  # it ends in another context than the one it began in
        groups.append(around)
    parent = node.parent
    if isinstance(parent, SpanNode) and parent.calls_below is not None:
        groups.append(parent.calls_below)
    found: list[SpanNode] = []
    for group in groups:
        for itself in group:
            call = itself()
            if call is not None and call.call_scope != scope and call is not node and call not in found:
                found.append(call)
    if len(found) > 1:
        found.sort(key=_begun, reverse=True)
    return found


def _begun(call: SpanNode) -> int:
    return call.begun

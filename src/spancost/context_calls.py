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
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final
from weakref import ref

from spancost.nodes import SpanNode

_MAX_CALLS: Final = 32
"""Calls kept per context; those that began last."""
_KEPT_S: Final = 5.0
"""How long a call that has ended is kept: a tracer that makes its span after the call makes it at once."""
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


def is_framework(scope: str) -> bool:
    """True for scopes whose spans may be started on another thread than the call."""
    return _FRAMEWORK.search(scope.lower()) is not None


def begin(node: SpanNode, parent: SpanNode | None, scope: str, attributes: Mapping[str, Any], now: float) -> None:
    """Note in the present context that a call begins, if the span that starts may be one.

    Args:
        node: Node of the span.

        parent: Node of the span it hangs on, if that is one of this process.

        scope: Name of the span's instrumentation scope.

        attributes: Those that it has at its start.

        now: Monotonic seconds.
    """
    known = scopes.get(scope)
    if known is None:
        if len(scopes) >= _MAX_SCOPES:
            scopes.clear()
        known = scopes[scope] = _CALLING.search(scope.lower()) is not None
    if not known and not names_call(attributes):
        return
    node.begun = next(order)
    around = node.around = _calls.get()
    fresh = [call for call in around[1 - _MAX_CALLS :] if _is_fresh(call(), now)]
    itself = ref(node)
    _calls.set((*fresh, itself))
    if parent is not None and is_framework(scope):
        below = parent.calls_below or ()
        parent.calls_below = (*[call for call in below[1 - _MAX_CALLS :] if _is_fresh(call(), now)], itself)


def _is_fresh(call: SpanNode | None, now: float) -> bool:
    return call is not None and (call.span is not None or call.ended_at > now - _KEPT_S)


def beside(node: SpanNode) -> Iterator[SpanNode]:
    """Yield the calls that were begun before a span in its context, and those of frameworks beside it; latest first.

    Some may have ended. Where nobody has noted the span's start it is the present context that counts.
    """
    around = node.around
    yield from _alive(_calls.get() if around is None else around, node)
    parent = node.parent
    if isinstance(parent, SpanNode) and parent.calls_below is not None:
        yield from _alive(parent.calls_below, node)


def begun_by_now(node: SpanNode) -> Iterator[SpanNode]:
    """Yield the calls that were begun in the present context before or after a span's start; latest first."""
    yield from _alive(_calls.get(), node)


def _alive(calls: tuple[ref[SpanNode], ...], node: SpanNode) -> Iterator[SpanNode]:
    for call in reversed(calls):
        found = call()
        if found is not None and found is not node:
            yield found

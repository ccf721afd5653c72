"""For functions whose process is frozen, or gets no CPU, as soon as they have answered: AWS Lambda, Cloud Run."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, overload

_TIMEOUT_S: Final = 2.0
_PLACE: Final = "flush_before_return"

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def flush_before_return(function: _F, /) -> _F: ...
@overload
def flush_before_return(*, timeout: float = _TIMEOUT_S) -> Callable[[_F], _F]: ...
def flush_before_return(function: Any = None, /, *, timeout: float = _TIMEOUT_S) -> Any:
    """Decorate a handler so that nothing it has cost is lost when its process is frozen after the answer.

    When the handler has returned or raised, and its spans have ended, spans, metrics and ledger are handed over. What
    it returns or raises stays the same, whatever becomes of that. The handler instrumentation of OpenTelemetry for
    AWS Lambda does this by itself; this is for handlers without it, and for other platforms.

    Args:
        function: A function or coroutine function.

        timeout: Longest time that this takes, seconds, except where an exporter of spans takes longer.

    Example:
        >>> from spancost import flush_before_return
        >>> @flush_before_return
        ... def handle(event, context):
        ...     return {"statusCode": 200}
    """
    if function is None:
        return functools.partial(_decorated, timeout=timeout)
    return _decorated(function, timeout=timeout)


def _decorated(function: _F, *, timeout: float) -> _F:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def in_task(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            finally:
                # In a thread: other requests of the same loop go on.
                await asyncio.to_thread(_hand_over, timeout)

        return cast("_F", in_task)

    @functools.wraps(function)
    def in_call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            _hand_over(timeout)

    return cast("_F", in_call)


def _hand_over(timeout: float) -> None:
    """Flush spans first: their export must not wait for that of the metrics."""
    from spancost._install import current_engine, flush, priced_providers

    deadline = time.monotonic() + timeout
    try:
        for provider in priced_providers():
            provider.force_flush(max(1, int((deadline - time.monotonic()) * 1000)))
        flush(max(0.0, deadline - time.monotonic()))
    except Exception:
        engine = current_engine()
        if engine is not None:
            engine.errors.caught(_PLACE)

"""Wrap generator functions so that each step runs inside something, and the consumer outside of it.

Between two steps the context of whoever consumes a generator is in force: another task or thread each time, perhaps.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Session(Protocol):
    """What one run of a generator is inside of."""

    def inside(self) -> AbstractContextManager[Any]:
        """Return what is entered for one step."""
        ...

    def end(self) -> None:
        """The run is over, however it has ended."""
        ...


def wrapped_generator(function: Callable[..., Any], begin: Callable[[], Session]) -> Callable[..., Any]:
    """Return a generator function of which each run begins a session with its first step."""

    @functools.wraps(function)
    def in_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        session = begin()
        try:
            return (yield from _each_step(function(*args, **kwargs), session))
        finally:
            session.end()

    return in_generator


def wrapped_async_generator(
    function: Callable[..., Any], begin: Callable[[], Awaitable[Session]]
) -> Callable[..., Any]:
    """Return an async generator function of which each run begins a session with its first step."""

    @functools.wraps(function)
    async def in_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        session = await begin()
        iterator = function(*args, **kwargs)
        step = iterator.__anext__()
        try:
            while True:
                with session.inside():
                    try:
                        item = await step
                    except StopAsyncIteration:
                        return
                try:
                    step = iterator.asend((yield item))
                except GeneratorExit:
                    raise
                except BaseException as thrown:
                    step = iterator.athrow(thrown)
        finally:
            with session.inside():
                await iterator.aclose()
            session.end()

    return in_async_generator


def _each_step(generator: Generator[Any, Any, Any], session: Session) -> Generator[Any, Any, Any]:
    send: Any = None
    error: BaseException | None = None
    while True:
        with session.inside():
            try:
                item = generator.send(send) if error is None else generator.throw(error)
            except StopIteration as stop:
                return stop.value
        error = None
        try:
            send = yield item
        except GeneratorExit:
            with session.inside():
                generator.close()
            raise
        except BaseException as thrown:
            error = thrown

"""`spancost.guard`: ask the budgets before a call is made, as a context manager or a decorator, sync and async."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from opentelemetry import context as otel_context

from spancost.budgets.decision import ALLOWED, BudgetExceeded, Decision
from spancost.budgets.reservation import KEY, Reservation
from spancost.budgets.rules import DIMENSIONS
from spancost.each_step import wrapped_async_generator, wrapped_generator
from spancost.errors import suggest
from spancost.usage import connected_engine, current_cost, get_ready, present_values

if TYPE_CHECKING:
    from spancost.budgets.guard import Guards

_F = TypeVar("_F", bound=Callable[..., Any])
_THREADS: Final = 8

_entered: Final[ContextVar[tuple[tuple[guard, _Held], ...]]] = ContextVar("spancost-guards", default=())
"""What this context has entered and not left. Objects may be shared, reservations and tokens belong to one context."""
_threads: ThreadPoolExecutor | None = None


class guard:
    """Let a call be made only if its budgets have room, and reserve what it may cost.

    Entering decides: it returns a `Decision`, waits where the call is throttled, and raises `BudgetExceeded` where it
    is refused. What the spans started inside really cost is settled when the last of them has ended. As a decorator
    it guards each call of a function, coroutine function, generator function or async generator function.

    Where no budgets are configured, and where spancost is off, everything is allowed.

    Args:
        scope: Name of a rule, a component (`llm`, `aws`, ...), or `*` for all rules that may be about the call; of a
            rule that is called like a component, the rule. A rule that is no budget refuses while it is breached.

        reserve_usd: The worst case, USD. Without it a rule with `on_unpriced: assume_usd` reserves that; one whose
            guards fail closed refuses; others only look whether the budget is spent.

        **values: What is known of the call: `tenant`, `model`, `provider`, `route`, ... By default what `attribute()`
            and the present request say.

    Raises:
        ValueError: A value is impossible; when entered, also where there is no such rule or scope.

    Example:
        >>> from spancost import guard
        >>> with guard("llm", reserve_usd=0.05) as decision:
        ...     print(decision.action)
        allow
    """

    __slots__ = ("_held", "_reserve_usd", "_scope", "_values")

    def __init__(self, scope: str, reserve_usd: float | None = None, **values: str) -> None:
        if not isinstance(scope, str) or not scope:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"guard: the scope is the name of a rule or a component, not {scope!r}")
        for name, value in values.items():
            if name not in DIMENSIONS:
                raise ValueError(f"guard: {name} is nothing that rules look at: {suggest(name, DIMENSIONS)}")
            if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ValueError(f"guard: {name} is a text, not {value!r}")  # noqa: TRY004
        if reserve_usd is not None:
            is_number = isinstance(reserve_usd, int | float) and not isinstance(reserve_usd, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
            if not is_number or not 0 <= reserve_usd < float("inf"):
                raise ValueError(f"guard: reserve_usd is USD, zero or more, not {reserve_usd!r}")
        self._scope = scope
        self._reserve_usd = reserve_usd
        self._values = values
        self._held: dict[_Held, None] = {}
        """What was reserved by entering and has not been left."""

    def decide(self) -> Decision:
        """Return what would be decided now, without reserving anything, waiting or raising `BudgetExceeded`."""
        guards = present_guards()
        if guards is None:
            return ALLOWED
        return guards.ask(self._scope, self._reserve_usd, self._known(), _request_usd(), _present_reservation())

    # --- as a context manager -------------------------------------------------------------------------------------

    def __enter__(self) -> Decision:
        decision, reservation = self._reserve_and_wait()
        self._attach(reservation)
        return decision

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        entered = _entered.get()
        for place in range(len(entered) - 1, -1, -1):
            if entered[place][0] is self:
                _entered.set(entered[:place] + entered[place + 1 :])
                held = entered[place][1]
                self._held.pop(held, None)
                held.end()
                return
        # Entered in another context, as both halves of a generator that a framework runs in its threads may be.
        for held in reversed(list(self._held)):
            if self._held.pop(held, self) is None:
                held.end_elsewhere()
                return

    async def __aenter__(self) -> Decision:
        decision, reservation = await self._reserve_and_wait_beside()
        self._attach(reservation)
        return decision

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, at)

    def _attach(self, reservation: Reservation | None) -> None:
        held = _Held(reservation)
        if reservation is not None:
            self._held[held] = None
        _entered.set((*_entered.get(), (self, held)))
        held.attach()

    # --- as a decorator -------------------------------------------------------------------------------------------

    def __call__(self, function: _F) -> _F:
        """Decorate a function, coroutine function, generator function or async generator function."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_task(*args: Any, **kwargs: Any) -> Any:
                async with self._again():
                    return await function(*args, **kwargs)

            return cast("_F", in_task)
        if inspect.isasyncgenfunction(function):
            return cast("_F", wrapped_async_generator(function, self._begin_async))
        if inspect.isgeneratorfunction(function):
            return cast("_F", wrapped_generator(function, self.begin))

        @functools.wraps(function)
        def in_call(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return cast("_F", in_call)

    def _again(self) -> guard:
        return guard(self._scope, self._reserve_usd, **self._values)

    def begin(self) -> _Held:
        """Decide, wait where the call is throttled, and return what covers its steps until it is ended."""
        return _Held(self._reserve_and_wait()[1])

    async def _begin_async(self) -> _Held:
        return _Held((await self._reserve_and_wait_beside())[1])

    # --- asking ---------------------------------------------------------------------------------------------------

    def _known(self) -> Mapping[str, str]:
        return {**present_values(), **self._values}

    def _reserve(self) -> tuple[Decision, Reservation | None]:
        return reserved(self._scope, self._reserve_usd, self._known())

    def _reserve_and_wait(self) -> tuple[Decision, Reservation | None]:
        decision, reservation = self._reserve()
        if decision.delay_s:
            try:
                time.sleep(decision.delay_s)
            except BaseException:
                release(reservation)
                raise
        return decision, reservation

    async def _reserve_and_wait_beside(self) -> tuple[Decision, Reservation | None]:
        decision, reservation = await self._reserve_beside()
        if decision.delay_s:
            try:
                await asyncio.sleep(decision.delay_s)
            except BaseException:
                release(reservation)
                raise
        return decision, reservation

    async def _reserve_beside(self) -> tuple[Decision, Reservation | None]:
        """Ask on another thread: the store may take its whole deadline, and the loop has others to serve."""
        if present_guards() is None:
            return ALLOWED, None
        call = functools.partial(copy_context().run, self._reserve)
        try:
            asking = asyncio.get_running_loop().run_in_executor(_pool(), call)
        except RuntimeError:  # the interpreter is ending: no thread is started any more
            return self._reserve()
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_let_go)  # granted to nobody: nothing must stay reserved
            raise


class _Held:
    """A reservation in the context of whoever works under it."""

    __slots__ = ("_reservation", "_token")

    def __init__(self, reservation: Reservation | None) -> None:
        self._reservation = reservation
        self._token: Any = None

    def attach(self) -> None:
        if self._reservation is not None:
            self._token = otel_context.attach(otel_context.set_value(KEY, self._reservation))

    def detach(self) -> None:
        token, self._token = self._token, None
        if token is not None:
            otel_context.detach(token)

    def inside(self) -> _Step:
        """Return what is entered for one step of a generator."""
        return _Step(self._reservation)

    def end(self) -> None:
        """What was guarded is over; spans that go on are waited for."""
        self.detach()
        release(self._reservation)

    def end_elsewhere(self) -> None:
        """The same in a context that it was not attached to."""
        self._token = None
        release(self._reservation)


class _Step:
    """One step of a generator under a reservation."""

    __slots__ = ("_held",)

    def __init__(self, reservation: Reservation | None) -> None:
        self._held = _Held(reservation)

    def __enter__(self) -> None:
        self._held.attach()

    def __exit__(self, *_: object) -> None:
        self._held.detach()


def release(reservation: Reservation | None) -> None:
    """Leave a reservation; spans that were started under it are waited for."""
    if reservation is not None:
        reservation.left()


def _let_go(asking: asyncio.Future[tuple[Decision, Reservation | None]]) -> None:
    if not asking.cancelled() and asking.exception() is None:
        release(asking.result()[1])


def reserved(scope: str, reserve_usd: float | None, values: Mapping[str, str]) -> tuple[Decision, Reservation | None]:
    """Decide whether a call may be made now, and reserve what it may cost; nobody waits where it is throttled.

    Args:
        scope: Name of a rule, a component, or `*`.

        reserve_usd: The worst case, USD; None: not known.

        values: What is known of the call, by dimension.

    Raises:
        BudgetExceeded: It may not.

        ValueError: There is no such rule or scope.
    """
    guards = present_guards()
    if guards is None:
        return ALLOWED, None
    decision, reservation = guards.reserve(scope, reserve_usd, values, _request_usd(), _present_reservation())
    if not decision.is_allowed:
        raise BudgetExceeded(decision)
    return decision, reservation


def _present_reservation() -> Reservation | None:
    found = otel_context.get_value(KEY)
    return found if isinstance(found, Reservation) else None


def present_guards() -> Guards | None:
    """Return the guards of this process; None where there is nothing to guard."""
    engine = connected_engine()
    if engine is None or engine.idle or not engine.config.budget_rules:
        return None
    if engine.budgets is None:
        get_ready(engine)
    return None if engine.budgets is None else engine.budgets.guards


def _request_usd() -> float | None:
    cost = current_cost()
    return None if cost is None else cost.total_usd


def _pool() -> ThreadPoolExecutor:
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="spancost-guard")
    return _threads


def _forget_threads() -> None:
    """The threads of a pool do not live on in a forked child."""
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)

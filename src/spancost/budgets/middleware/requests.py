"""What the middleware of WSGI and ASGI share: options, the guard of one request, the answer to a refused one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.trace import get_current_span

from spancost.budget_guard import guard, release
from spancost.budgets.decision import ALLOWED, REASONS, THROTTLE, BudgetExceeded, Decision
from spancost.budgets.enforcing.guarded_call import mark
from spancost.budgets.guard import SCOPES
from spancost.budgets.reservation import Reservation
from spancost.errors import suggest
from spancost.usage import connected_engine

WAIT: Final = "wait"
REFUSE: Final = "429"
_PLACE: Final = "budgets.middleware"
_TYPE: Final = "urn:spancost:problem:budget-exceeded"
_TITLE: Final = "The budget does not allow this request"
STATUS: Final = 429


class Refusal(NamedTuple):
    """The answer to a request that is not served."""

    headers: list[tuple[str, str]]
    body: bytes


class _RequestGuard(guard):
    """A guard that tells the request's span what it decided, and lets the request pass if something of ours fails."""

    __slots__ = ("_refuses_throttled",)

    def __init__(
        self, scope: str, reserve_usd: float | None, values: dict[str, str], *, refuses_throttled: bool
    ) -> None:
        super().__init__(scope, reserve_usd, **values)
        self._refuses_throttled = refuses_throttled

    def _reserve(self) -> tuple[Decision, Reservation | None]:
        span = get_current_span()
        try:
            decision, reservation = super()._reserve()
            self._refuse_throttled(decision, reservation)
        except BudgetExceeded as refused:
            mark(span, refused.decision)
            raise
        except Exception:
            ours_failed()
            return ALLOWED, None
        mark(span, decision)
        return decision, reservation

    def _refuse_throttled(self, decision: Decision, reservation: Reservation | None) -> None:
        if decision.action == THROTTLE and self._refuses_throttled:
            release(reservation)
            raise BudgetExceeded(decision)


class Options:
    """The options of a middleware, checked once; see `BudgetASGIMiddleware`."""

    def __init__(
        self,
        scope: str,
        reserve_usd: float | None,
        tenant: str | Callable[[Any], str | None] | None,
        route: Callable[[Any], str | None] | None,
        exempt: Sequence[str],
        on_throttle: str,
        *,
        show_amounts: bool,
    ) -> None:
        guard(scope, reserve_usd)  # checks both
        if on_throttle not in (WAIT, REFUSE):
            raise ValueError(f"on_throttle is {WAIT!r} or {REFUSE!r}, not {on_throttle!r}")
        if isinstance(exempt, str) or not all(prefix.startswith("/") for prefix in exempt):
            raise ValueError(f"exempt is a list of beginnings of paths, such as ['/health'], not {exempt!r}")
        if isinstance(tenant, str) and not tenant.strip():
            raise ValueError("tenant is the name of a header, or a callable")
        _check_scope(scope)
        self.tenant_header = tenant.strip() if isinstance(tenant, str) else ""
        self._scope = scope
        self._reserve_usd = reserve_usd
        self._tenant = tenant if callable(tenant) else None
        self._route = route
        self._exempt = tuple(prefix.rstrip("/") for prefix in exempt)
        self._refuses_throttled = on_throttle == REFUSE
        self._show_amounts = show_amounts

    def is_exempt(self, path: str) -> bool:
        """True for a path that is below one of the exempt ones."""
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self._exempt)

    def guard_of(self, request: Any, tenant: str | None) -> guard | None:
        """Return the guard of a request; None if a callable of the options has failed.

        Args:
            request: ASGI scope or WSGI environment.

            tenant: Value of the header; None if the option names none, or the request has none.
        """
        try:
            values: dict[str, str] = {}
            if self._tenant is not None:
                tenant = self._tenant(request)
            if tenant:
                values["tenant"] = tenant
            route = None if self._route is None else self._route(request)
            if route:
                values["route"] = route
            return _RequestGuard(self._scope, self._reserve_usd, values, refuses_throttled=self._refuses_throttled)
        except Exception:
            ours_failed()
            return None

    def refusal(self, decision: Decision) -> Refusal:
        """Return the answer to a request that a guard has refused (RFC 9457)."""
        wait_s = decision.delay_s if decision.action == THROTTLE else decision.retry_after_s
        retry_after = None if wait_s is None else max(1, math.ceil(wait_s))
        problem: dict[str, Any] = {
            "type": _TYPE,
            "title": _TITLE,
            "status": STATUS,
            "detail": REASONS[decision.reason],
            "rule": decision.rule,
            "reason": decision.reason,
        }
        if retry_after is not None:
            problem["retry_after"] = retry_after
        if self._show_amounts:
            problem |= {
                "limit_usd": decision.limit_usd,
                "spent_usd": decision.spent_usd,
                "remaining_usd": decision.remaining_usd,
            }
        body = json.dumps(problem, separators=(",", ":")).encode()
        headers = [
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        ]
        if retry_after is not None:
            headers.append(("Retry-After", str(retry_after)))
        return Refusal(headers, body)


def ours_failed() -> None:
    """Count and log what is being handled; the request goes on. Call it from `except`."""
    engine = connected_engine()
    if engine is not None:
        engine.errors.caught(_PLACE)


def _check_scope(scope: str) -> None:
    """Refuse a scope that is none of the rules that are known by now."""
    engine = connected_engine()
    rules = () if engine is None else engine.config.budget_rules
    known = (*(rule.name for rule in rules), *SCOPES)
    if rules and scope not in known:
        raise ValueError(f"{scope!r} is no rule and no scope: {suggest(scope, known)}")

"""Budgets for ASGI applications: FastAPI, Starlette, Django and others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from opentelemetry.trace import get_current_span

from spancost.budgets.decision import BudgetExceeded, Decision
from spancost.budgets.enforcing.guarded_call import mark
from spancost.budgets.middleware.requests import STATUS, WAIT, Options

_Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[Any, Any, Any], Awaitable[None]]

_TRY_AGAIN_LATER: Final = 1013


class BudgetASGIMiddleware:
    """Ask the budgets before a request is served; a refused one is answered with 429 and never reaches the application.

    What a request may cost stays reserved until the application returns, streams and websockets included. Where no
    budgets are configured every request passes, and so does one for which something of spancost itself fails. A
    `BudgetExceeded` that the application lets through before its answer has begun becomes the same answer.

    Args:
        app: The application.

        scope: Name of a rule, a component (`llm`, `aws`, ...), or `*` for all rules that may be about the request.

        reserve_usd: The most that a request costs, USD; without it the rules say what is assumed.

        tenant: Name of the header that says whose request it is, or a callable of the ASGI scope. A client may write
            any header: set it in a proxy of yours.

        route: Callable of the ASGI scope that returns the route, for rules by route; by default what the span of the
            request says.

        exempt: Beginnings of paths that are always served, such as `/health`.

        on_throttle: `wait` lets a throttled request wait, `429` refuses it.

        show_amounts: Tell limit and spending of the rule in the answer, too.

    Raises:
        ValueError: An option is impossible.

    Example:
        >>> from spancost import BudgetASGIMiddleware
        >>> async def app(scope, receive, send): ...
        >>> guarded = BudgetASGIMiddleware(app, "llm", reserve_usd=0.05, exempt=["/health"])
    """

    def __init__(
        self,
        app: _App,
        scope: str = "*",
        *,
        reserve_usd: float | None = None,
        tenant: str | Callable[[_Scope], str | None] | None = None,
        route: Callable[[_Scope], str | None] | None = None,
        exempt: Sequence[str] = (),
        on_throttle: str = WAIT,
        show_amounts: bool = False,
    ) -> None:
        self._app = app
        self._options = Options(scope, reserve_usd, tenant, route, exempt, on_throttle, show_amounts=show_amounts)
        self._header = self._options.tenant_header.lower().encode("latin-1")

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket") or self._options.is_exempt(scope.get("path", "")):
            await self._app(scope, receive, send)
            return
        guarding = self._options.guard_of(scope, self._tenant_of(scope))
        if guarding is None:
            await self._app(scope, receive, send)
            return
        try:
            await guarding.__aenter__()
        except BudgetExceeded as refused:
            await self._refuse(scope, receive, send, refused.decision, is_connected=False)
            return
        try:
            await self._serve(scope, receive, send)
        finally:
            await guarding.__aexit__(None, None, None)

    async def _serve(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        has_begun = has_received = False

        async def received() -> _Message:
            nonlocal has_received
            has_received = True
            return await receive()

        async def sent(message: _Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, received, sent)
        except BudgetExceeded as refused:
            if has_begun:
                raise
            mark(get_current_span(), refused.decision)
            await self._refuse(scope, receive, send, refused.decision, is_connected=has_received)

    async def _refuse(
        self, scope: _Scope, receive: _Receive, send: _Send, decision: Decision, *, is_connected: bool
    ) -> None:
        if scope["type"] == "websocket":
            if not is_connected:
                await receive()
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "budget"})
            return
        refusal = self._options.refusal(decision)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in refusal.headers]
        await send({"type": "http.response.start", "status": STATUS, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope.get("method") == "HEAD" else refusal.body})

    def _tenant_of(self, scope: _Scope) -> str | None:
        if not self._header:
            return None
        found = [value for name, value in scope.get("headers") or () if name.lower() == self._header]
        return found[0].decode("latin-1").strip() if found else None

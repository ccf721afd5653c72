"""Budgets for WSGI applications: Flask, Django and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

from opentelemetry.trace import get_current_span

from spancost.budgets.decision import BudgetExceeded, Decision
from spancost.budgets.enforcing.guarded_call import mark
from spancost.budgets.middleware.requests import WAIT, Options
from spancost.each_step import Session

_Environ = dict[str, Any]
_StartResponse = Callable[..., Any]
_App = Callable[[Any, Any], Any]

_STATUS_LINE = "429 Too Many Requests"


class BudgetWSGIMiddleware:
    """Ask the budgets before a request is served; a refused one is answered with 429 and never reaches the application.

    What a request may cost stays reserved until the server closes the body of the answer. Where no budgets are
    configured every request passes, and so does one for which something of spancost itself fails. A `BudgetExceeded`
    that the application lets through before its answer has begun becomes the same answer.

    Args:
        app: The application.

        scope: Name of a rule, a component (`llm`, `aws`, ...), or `*` for all rules that may be about the request.

        reserve_usd: The most that a request costs, USD; without it the rules say what is assumed.

        tenant: Name of the header that says whose request it is, or a callable of the WSGI environment. A client may
            write any header: set it in a proxy of yours.

        route: Callable of the WSGI environment that returns the route, for rules by route; by default what the span of
            the request says.

        exempt: Beginnings of paths that are always served, such as `/health`.

        on_throttle: `wait` lets a throttled request wait, `429` refuses it.

        show_amounts: Tell limit and spending of the rule in the answer, too.

    Raises:
        ValueError: An option is impossible.

    Example:
        >>> from spancost import BudgetWSGIMiddleware
        >>> def app(environ, start_response): ...
        >>> guarded = BudgetWSGIMiddleware(app, "llm", reserve_usd=0.05, exempt=["/health"])
    """

    def __init__(
        self,
        app: _App,
        scope: str = "*",
        *,
        reserve_usd: float | None = None,
        tenant: str | Callable[[_Environ], str | None] | None = None,
        route: Callable[[_Environ], str | None] | None = None,
        exempt: Sequence[str] = (),
        on_throttle: str = WAIT,
        show_amounts: bool = False,
    ) -> None:
        self._app = app
        self._options = Options(scope, reserve_usd, tenant, route, exempt, on_throttle, show_amounts=show_amounts)
        self._variable = "HTTP_" + self._options.tenant_header.upper().replace("-", "_")

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self._options.is_exempt(path):
            return self._app(environ, start_response)
        tenant = environ.get(self._variable, "").strip() if self._options.tenant_header else None
        guarding = self._options.guard_of(environ, tenant)
        if guarding is None:
            return self._app(environ, start_response)
        try:
            session = guarding.begin()
        except BudgetExceeded as refused:
            return self._refuse(environ, start_response, refused.decision)
        try:
            return self._serve(environ, start_response, session)
        except BaseException:
            session.end()
            raise

    def _serve(self, environ: _Environ, start_response: _StartResponse, session: Session) -> Iterable[bytes]:
        has_begun = False

        def started(*args: Any, **kwargs: Any) -> Any:
            nonlocal has_begun
            has_begun = True
            return start_response(*args, **kwargs)

        try:
            with session.inside():
                body = self._app(environ, started)
        except BudgetExceeded as refused:
            if has_begun:
                raise
            mark(get_current_span(), refused.decision)
            session.end()
            return self._refuse(environ, start_response, refused.decision)
        files = environ.get("wsgi.file_wrapper")
        if isinstance(body, list | tuple) or (isinstance(files, type) and isinstance(body, files)):
            session.end()  # nothing is worked out any more, and the server may know a short way for it
            return cast("Iterable[bytes]", body)
        return _GuardedBody(body, session)

    def _refuse(self, environ: _Environ, start_response: _StartResponse, decision: Decision) -> Iterable[bytes]:
        refusal = self._options.refusal(decision)
        start_response(_STATUS_LINE, refusal.headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [refusal.body]


class _GuardedBody:
    """The body of an answer, worked out under the reservation of its request."""

    def __init__(self, body: Iterable[bytes], session: Session) -> None:
        self._body = body
        self._session = session
        self._steps: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._session.inside():
            if self._steps is None:
                self._steps = iter(self._body)
            return next(self._steps)

    def close(self) -> None:
        """Close the body and let the reservation go; the server calls it at the end, however that comes."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                with self._session.inside():
                    close()
        finally:
            self._session.end()

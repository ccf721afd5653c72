# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false, reportUnknownVariableType=false, reportPrivateUsage=false
"""Middleware of budgets around real applications: what is let in, what is refused and how, and what it reserves."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

import django
import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from fastapi import FastAPI
from flask import Flask, Response
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from werkzeug.test import Client

from spancost import BudgetASGIMiddleware, BudgetWSGIMiddleware, add_usage, guard, names
from spancost.budgets.rules import BudgetRule, Match
from spancost.budgets.windows import Window
from spancost.testing import World, priced_provider

_MONTH = Window("month")
_RULE = BudgetRule(name="work", limit_usd=1.0, window=_MONTH, match=Match(component=("custom",)))
_TENANTS = BudgetRule(name="tenants", limit_usd=1.0, window=_MONTH, per=("tenant",))
_SLOW = BudgetRule(name="work", limit_usd=1.0, window=_MONTH, throttle_from=0.5, throttle_delay_s=0.01)


@contextmanager
def _world(*rules: BudgetRule, **settings: Any) -> Generator[World]:
    with priced_provider(budget_rules=rules or (_RULE,), budget_store="memory", **settings) as world:
        yield world


def _spent(world: World, rule: str = "work", key: str = "") -> float:
    world.engine.flush()
    book = world.engine.budgets
    assert book is not None
    book.tick()
    standing = book.standing_of.get((rule, key))
    return 0.0 if standing is None else standing.reading.spend.usd


def _reserved(world: World) -> float:
    book = world.engine.budgets
    assert book is not None
    book.guards.settle()
    return sum(book.store.reserved(time.time()).values())


def _spend(world: World, usd: float) -> None:
    with world.tracer.start_as_current_span("earlier"):
        add_usage("work", 1, "unit", usd)
    world.engine.flush()


class _Answer:
    """An answer, whichever client got it."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body

    @property
    def problem(self) -> dict[str, Any]:
        return json.loads(self.body)


_Ask = Callable[..., _Answer]


@contextmanager
def _wsgi(**options: Any) -> Generator[_Ask]:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"begun "
        add_usage("work", 1, "unit", 0.25)
        yield b"done"

    client = Client(BudgetWSGIMiddleware(app, **options))

    def ask(path: str = "/", method: str = "GET", **headers: str) -> _Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with client.open(path, method=method, headers=named) as got:
            return _Answer(got.status_code, dict(got.headers), got.data)

    yield ask


@contextmanager
def _asgi(**options: Any) -> Generator[_Ask]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"begun "
            await asyncio.sleep(0)
            add_usage("work", 1, "unit", 0.25)
            yield b"done"

        await StreamingResponse(body(), media_type="text/plain")(scope, receive, send)

    client = TestClient(BudgetASGIMiddleware(app, **options))

    def ask(path: str = "/", method: str = "GET", **headers: str) -> _Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        got = client.request(method, path, headers=named)
        return _Answer(got.status_code, dict(got.headers), got.content)

    yield ask


_both = pytest.mark.parametrize("serve", [_wsgi, _asgi], ids=["wsgi", "asgi"])
_Serve = Callable[..., Any]


@_both
def test_requests_are_served_until_the_budget_is_spent_and_each_is_settled_once(serve: _Serve) -> None:
    with _world() as world, serve(scope="work", reserve_usd=0.25) as ask:
        for number in range(4):
            assert ask().body == b"begun done"
            assert _reserved(world) == 0.0
            assert _spent(world) == pytest.approx(0.25 * (number + 1))
        refused = ask()
        assert refused.status == 429
        assert _spent(world) == 1.0


@_both
def test_a_refused_request_is_told_why_and_when_to_come_again_but_no_amounts(serve: _Serve) -> None:
    with _world() as world, serve(scope="work", reserve_usd=0.5) as ask:
        _spend(world, 0.75)
        refused = ask()
        assert refused.status == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["cache-control"] == "no-store"
        assert int(refused.headers["content-length"]) == len(refused.body)
        seconds = int(refused.headers["retry-after"])
        assert 1 <= seconds <= 31 * 86_400 + 3600
        assert refused.problem == {
            "type": "urn:spancost:problem:budget-exceeded",
            "title": "The budget does not allow this request",
            "status": 429,
            "detail": "What is left is less than the call may cost.",
            "rule": "work",
            "reason": "too_little_left",
            "retry_after": seconds,
        }
        head = ask(method="HEAD")
        assert (head.status, head.body) == (429, b"")


@_both
def test_amounts_are_told_where_that_is_asked_for_and_no_time_where_there_is_none(serve: _Serve) -> None:
    rule = BudgetRule(name="work", limit_usd=1.0, window=Window("total"))
    with _world(rule) as world, serve(scope="work", reserve_usd=0.5, show_amounts=True) as ask:
        _spend(world, 0.75)
        refused = ask()
        assert "retry-after" not in refused.headers
        assert "retry_after" not in refused.problem
        amounts = {name: refused.problem[name] for name in ("limit_usd", "spent_usd", "remaining_usd")}
        assert amounts == {"limit_usd": 1.0, "spent_usd": 0.75, "remaining_usd": 0.25}


@_both
def test_each_tenant_has_its_own_budget_by_header_or_callable(serve: _Serve) -> None:
    with _world(_TENANTS) as world, serve(scope="tenants", reserve_usd=0.75, tenant="X-Tenant") as ask:
        assert ask(X_Tenant="acme").status == 200
        assert [ask(X_Tenant="acme").status for _ in range(2)] == [200, 429]
        assert ask(X_Tenant="globex").status == 200
        assert ask().status == 200
        assert _spent(world, "tenants", "acme") == 0.5
        assert _spent(world, "tenants", "globex") == 0.25
    with _world(_TENANTS), serve(scope="tenants", reserve_usd=0.75, tenant=lambda _: "acme") as ask:
        assert [ask(X_Tenant=name).status for name in ("a", "b", "c")] == [200, 200, 429]


@_both
def test_rules_by_route_are_asked_for_the_route_that_is_named(serve: _Serve) -> None:
    rule = BudgetRule(name="chat", limit_usd=0.1, window=_MONTH, match=Match(route=("/chat/*",)))

    def route(request: Any) -> str:
        return str(request.get("path") or request.get("PATH_INFO"))

    with _world(rule), serve(scope="*", reserve_usd=0.5, route=route) as ask:
        assert ask("/items/1").status == 200
        assert ask("/chat/1").status == 429


@_both
def test_exempt_paths_are_served_whatever_is_spent(serve: _Serve) -> None:
    with _world() as world, serve(scope="work", reserve_usd=0.5, exempt=["/health", "/live/"]) as ask:
        _spend(world, 2.0)
        assert [ask(path).status for path in ("/health", "/health/db", "/live", "/live/x")] == [200] * 4
        assert [ask(path).status for path in ("/healthy", "/", "/x/health")] == [429] * 3


@_both
def test_near_the_limit_a_request_waits_or_is_refused_as_it_was_chosen(serve: _Serve) -> None:
    with _world(_SLOW) as world:
        _spend(world, 0.5)
        with serve(scope="work", reserve_usd=0.25) as ask:
            assert ask().status == 200
    with _world(_SLOW) as world:
        _spend(world, 0.5)
        with serve(scope="work", reserve_usd=0.25, on_throttle="429") as ask:
            refused = ask()
            assert (refused.status, refused.headers["retry-after"]) == (429, "1")
            assert refused.problem["reason"] == "near_limit"
            assert _reserved(world) == 0.0


@_both
def test_without_budgets_every_request_is_served(serve: _Serve) -> None:
    with priced_provider(), serve(scope="anything", reserve_usd=0.5) as ask:
        assert ask().status == 200


@_both
@pytest.mark.parametrize("part", ["tenant", "guard"])
def test_what_fails_of_ours_lets_the_request_pass_and_is_counted(
    serve: _Serve, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    with _world(reraise=False) as world:
        if part == "guard":
            monkeypatch.setattr("spancost.budgets.guard.Guards.reserve", broken)
        with serve(scope="work", reserve_usd=0.5, tenant=broken if part == "tenant" else None) as ask:
            assert ask().body == b"begun done"
        assert world.engine.errors.counts == {"budgets.middleware": 1}


@pytest.mark.parametrize("middleware", [BudgetWSGIMiddleware, BudgetASGIMiddleware])
def test_impossible_options_are_refused_with_what_is_accepted(middleware: Any) -> None:
    with _world():
        for options, said in [
            ({"scope": "wrok"}, "did you mean 'work'"),
            ({"scope": ""}, "name of a rule"),
            ({"reserve_usd": -1}, "zero or more"),
            ({"exempt": "/health"}, "list of beginnings"),
            ({"exempt": ["health"]}, "list of beginnings"),
            ({"on_throttle": "503"}, "'wait' or '429'"),
            ({"tenant": " "}, "name of a header"),
        ]:
            with pytest.raises(ValueError, match=said):
                middleware(lambda: None, **options)


@_both
def test_while_an_answer_is_streamed_its_worst_case_stays_reserved(serve: _Serve) -> None:
    # The body asks for others: what is reserved for its request leaves too little for them.
    seen: list[bool] = []

    def wsgi(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(2):
            seen.append(Context().run(guard("work", 0.5).decide).is_allowed)
            yield b"x"

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def body() -> AsyncIterator[bytes]:
            for _ in range(2):
                seen.append(Context().run(guard("work", 0.5).decide).is_allowed)
                yield b"x"

        await StreamingResponse(body())(scope, receive, send)

    with _world() as world:
        if serve is _wsgi:
            assert Client(BudgetWSGIMiddleware(wsgi, "work", reserve_usd=0.75)).get("/", buffered=True).data == b"xx"
        else:
            client = TestClient(BudgetASGIMiddleware(asgi, "work", reserve_usd=0.75))
            assert client.get("/").content == b"xx"
        assert seen == [False, False]
        assert _reserved(world) == 0.0


def test_a_body_that_is_closed_early_or_fails_leaves_nothing_reserved() -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            raise RuntimeError("broken")

        def close(self) -> None:
            closed.append("closed")

    with _world() as world:
        for steps in (0, 1, 2):
            body: Any = BudgetWSGIMiddleware(lambda *_: Body(), "work", reserve_usd=0.5)({}, lambda *_: None)
            assert _reserved(world) == 0.5
            iterator = iter(body)
            if steps:
                assert next(iterator) == b"x"
            if steps == 2:
                with pytest.raises(RuntimeError):
                    next(iterator)
            body.close()
            assert _reserved(world) == 0.0
        assert closed == ["closed"] * 3


def test_lists_and_files_go_to_the_server_as_they_are() -> None:
    class Files:
        def __init__(self, chunks: list[bytes]) -> None:
            self.chunks = chunks

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.chunks)

    for body in ([b"x"], Files([b"x"])):
        with _world() as world:
            app = BudgetWSGIMiddleware(lambda *_, body=body: body, "work", reserve_usd=0.5)
            assert app({"wsgi.file_wrapper": Files}, lambda *_: None) is body
            assert _reserved(world) == 0.0


@_both
def test_an_application_that_fails_leaves_nothing_reserved(serve: _Serve) -> None:
    def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
        raise RuntimeError("broken")

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("broken")

    with _world() as world:
        client: Any = Client(BudgetWSGIMiddleware(wsgi, "work", reserve_usd=0.75))
        if serve is _asgi:
            client = TestClient(BudgetASGIMiddleware(asgi, "work", reserve_usd=0.75))
        with pytest.raises(RuntimeError, match="broken"):
            client.get("/")
        assert _reserved(world) == 0.0


@_both
def test_a_call_that_is_refused_inside_of_the_application_becomes_the_same_answer(serve: _Serve) -> None:
    def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
        with guard("work", 5.0):
            raise AssertionError

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async with guard("work", 5.0):
            raise AssertionError

    with _world() as world:
        if serve is _wsgi:
            got = Client(BudgetWSGIMiddleware(wsgi, "work", reserve_usd=0.25)).get("/")
            problem = json.loads(got.data)
        else:
            problem = TestClient(BudgetASGIMiddleware(asgi, "work", reserve_usd=0.25)).get("/").json()
        assert (problem["status"], problem["rule"]) == (429, "work")
        assert _reserved(world) == 0.0


# --- ASGI alone -----------------------------------------------------------------------------------------------------


def _starlette(**options: Any) -> Starlette:
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        add_usage("work", 1, "unit", 0.25)
        await websocket.send_text("hello")
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/chat", chat), Route("/", lambda _: PlainTextResponse("ok"))])
    app.add_middleware(BudgetASGIMiddleware, **options)  # type: ignore[arg-type]
    return app


def test_a_websocket_is_served_under_a_reservation_or_closed_before_it_is_accepted() -> None:
    with _world() as world, TestClient(_starlette(scope="work", reserve_usd=0.5)) as client:
        with client.websocket_connect("/chat") as socket:
            assert socket.receive_text() == "hello"
        assert _reserved(world) == 0.0
        assert _spent(world) == 0.25
        _spend(world, 0.75)
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/chat"):
            pass
        assert closed.value.code == 1013


def test_the_life_of_the_application_is_no_request() -> None:
    lived: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            kind = (await receive())["type"]
            lived.append(kind)
            await send({"type": f"{kind}.complete"})

    with _world() as world:
        _spend(world, 2.0)
        with TestClient(BudgetASGIMiddleware(app, "work", reserve_usd=0.5)):
            pass
    assert lived == ["lifespan.startup", "lifespan.shutdown"]


# --- under the instrumentations -------------------------------------------------------------------------------------


def test_fastapi_under_its_instrumentation_tells_the_span_of_the_request() -> None:
    with _world() as world:
        app = FastAPI()
        app.add_middleware(BudgetASGIMiddleware, scope="work", reserve_usd=0.75)

        @app.get("/items/{item}")
        async def items(item: int) -> dict[str, int]:
            add_usage("work", 1, "unit", 0.5)
            return {"item": item}

        @app.get("/dear")
        async def dear() -> None:
            async with guard("work", 5.0):
                raise AssertionError

        FastAPIInstrumentor.instrument_app(app, tracer_provider=world.provider)
        try:
            client = TestClient(app)
            assert client.get("/dear").status_code == 429
            assert client.get("/items/1").json() == {"item": 1}
            assert _reserved(world) == 0.0
            assert client.get("/items/2").status_code == 429
        finally:
            FastAPIInstrumentor.uninstrument_app(app)
        spans = [dict(span.attributes or {}) for span in world.spans if span.kind is SpanKind.SERVER]
        assert [span[names.GUARD_ACTION] for span in spans] == ["block", "allow", "block"]
        assert [span[names.GUARD_RULE] for span in spans] == ["work"] * 3
        assert [span[names.GUARD_REASON] for span in spans] == ["too_little_left", "within_budget", "too_little_left"]
        assert [span.get("http.status_code", span.get("http.response.status_code")) for span in spans] == [
            429,
            200,
            429,
        ]
        assert _spent(world) == 0.5


def test_flask_under_its_instrumentation_is_settled_once() -> None:
    with _world() as world:
        app = Flask("shop")
        FlaskInstrumentor().instrument_app(app, tracer_provider=world.provider)
        try:

            @app.get("/items/<item>")
            def items(item: str) -> Response:
                def body() -> Iterator[str]:
                    yield "begun "
                    add_usage("work", 1, "unit", 0.5)
                    yield item

                return Response(body())

            app.wsgi_app = BudgetWSGIMiddleware(app.wsgi_app, "work", reserve_usd=0.75)  # type: ignore[method-assign]
            client = app.test_client()
            assert client.get("/items/1", buffered=True).data == b"begun 1"
            assert _reserved(world) == 0.0
            assert client.get("/items/2").status_code == 429
        finally:
            FlaskInstrumentor().uninstrument_app(app)
        assert _spent(world) == 0.5


def test_django_as_a_wsgi_application_under_its_instrumentation_is_settled_once() -> None:
    if not django_settings.configured:
        django_settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x", ROOT_URLCONF="tests.budgets.django_urls")
        django.setup()
    from django.core.wsgi import get_wsgi_application

    with _world() as world:
        instrumentor = DjangoInstrumentor()
        instrumentor.instrument(tracer_provider=world.provider)
        try:
            with override_settings(ROOT_URLCONF="tests.budgets.django_urls"):
                client = Client(BudgetWSGIMiddleware(get_wsgi_application(), "work", reserve_usd=0.75))
                assert client.get("/items/1", buffered=True).data == b"begun 1"
                assert _reserved(world) == 0.0
                assert client.get("/items/2").status_code == 429
        finally:
            instrumentor.uninstrument()
        assert _spent(world) == 0.5

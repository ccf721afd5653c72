"""A real `aiohttp.web` server on loopback with its instrumentation: routes, bytes and outcomes."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor

from spancost import names
from spancost.capture import facts
from spancost.capture.instrumentors import hook_instrumentors
from spancost.testing import World, priced_provider
from spancost.window import LATE_ENTRY
from tests.entrypoints.booked import Requests, instrumented, requests_of, usd_by_entrypoint
from tests.spans import EGRESS_USD_PER_GB, GB, REGION

# aiohttp warns of the subclass that its instrumentation makes.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class _InstrumentedApplication:DeprecationWarning")

_BODY = b"x" * 5000


@pytest.fixture
def world() -> Iterator[World]:
    undo = hook_instrumentors()
    try:
        with (
            priced_provider(region=REGION, egress_clients="internet", compute="aws:m6i.large") as world,
            instrumented(world, AioHttpServerInstrumentor()),
        ):
            world.engine.connect()
            yield world
    finally:
        undo()
        facts.connect(None, None)


def _application(file: Path) -> web.Application:
    async def cart(_: web.Request) -> web.Response:
        return web.Response(body=_BODY)

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(5):
            await response.write(_BODY)
        await response.write_eof()
        return response

    async def packed(_: web.Request) -> web.Response:
        response = web.Response(body=_BODY)
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async def sent(_: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    async def generated(_: web.Request) -> web.Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield _BODY

        return web.Response(body=chunks())

    async def gone(_: web.Request) -> web.Response:
        raise web.HTTPGone(text="gone")

    async def broken(_: web.Request) -> web.Response:
        raise ValueError("nobody catches it")

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        await response.send_str("hello")
        await response.close()
        return response

    application = web.Application()  # the class in `web` at this moment: the instrumented one
    application.router.add_get("/carts/{id}", cart)
    for handler in (stream, packed, sent, generated, gone, broken, socket):
        application.router.add_get(f"/{handler.__name__}/{{id}}", handler)
    return application


def _run(world: World, tmp_path: Path, client: Callable[[aiohttp.ClientSession, str], Awaitable[Any]]) -> Any:
    file = tmp_path / "file.bin"
    file.write_bytes(_BODY)

    async def serve() -> Any:
        runner = web.AppRunner(_application(file))
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            async with aiohttp.ClientSession(auto_decompress=False) as session:
                return await client(session, f"http://127.0.0.1:{port}")
        finally:
            await runner.cleanup()

    result = asyncio.run(serve())
    world.publish()
    return result


def _get(world: World, tmp_path: Path, path: str, method: str = "GET") -> tuple[int, bytes]:
    async def client(session: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
        async with session.request(method, f"{url}{path}") as answer:
            return answer.status, await answer.read()

    return _run(world, tmp_path, client)


def _egress(size_bytes: int) -> Any:
    return pytest.approx(size_bytes / GB * EGRESS_USD_PER_GB, rel=1e-9)


@pytest.mark.parametrize("name", ["carts", "stream"])
def test_bytes_in_memory_or_written_by_the_handler_are_on_the_span(world: World, tmp_path: Path, name: str) -> None:
    status, body = _get(world, tmp_path, f"/{name}/7?secret=1")
    assert (status, len(body)) == (200, 5000 if name == "carts" else 25_000)
    assert usd_by_entrypoint(world, names.EGRESS) == {f"GET /{name}/{{id}}": _egress(len(body))}
    assert requests_of(world) == {Requests(f"GET /{name}/{{id}}", "ok", 1)}
    assert not world.recorded.late_usd()
    attributes = world.attributes(f"GET /{name}/{{id}}")
    assert attributes[names.COMPONENT_USD[names.EGRESS]] == _egress(len(body))


@pytest.mark.parametrize("name", ["sent", "packed"])
def test_bytes_of_files_and_of_compressed_bodies_come_late(world: World, tmp_path: Path, name: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> bytes:
        async with session.get(f"{url}/{name}/7", headers={"Accept-Encoding": "gzip"}) as answer:
            return await answer.read()

    body = _run(world, tmp_path, client)
    assert (gzip.decompress(body) if name == "packed" else body) == _BODY
    assert len(body) < 5000 or name == "sent"
    assert usd_by_entrypoint(world, names.EGRESS) == {f"GET /{name}/{{id}}": _egress(len(body))}
    assert world.recorded.usd(names.EGRESS, LATE_ENTRY) == _egress(len(body))


def test_an_answer_without_a_body_costs_nothing(world: World, tmp_path: Path) -> None:
    assert _get(world, tmp_path, "/carts/7", "HEAD") == (200, b"")
    assert usd_by_entrypoint(world, names.EGRESS) == {"HEAD /carts/{id}": 0.0}


@pytest.mark.parametrize(("name", "status", "outcome"), [("gone", 410, "ok"), ("broken", 500, "error")])
def test_bytes_of_error_pages_count_and_only_the_servers_faults_are_errors(
    world: World, tmp_path: Path, name: str, status: int, outcome: str
) -> None:
    found, body = _get(world, tmp_path, f"/{name}/7")
    assert found == status
    assert body
    assert usd_by_entrypoint(world, names.EGRESS) == {f"GET /{name}/{{id}}": _egress(len(body))}
    assert requests_of(world) == {Requests(f"GET /{name}/{{id}}", outcome, 1)}


def test_a_path_that_no_route_matches_is_not_kept(world: World, tmp_path: Path) -> None:
    status, body = _get(world, tmp_path, "/secret/7")
    assert status == 404
    assert usd_by_entrypoint(world, names.EGRESS) == {f"GET {names.NO_ROUTE}": _egress(len(body))}


@pytest.mark.parametrize("name", ["generated", "socket"])
def test_bytes_that_pass_by_the_answer_are_unpriced_not_free(world: World, tmp_path: Path, name: str) -> None:
    async def client(session: aiohttp.ClientSession, url: str) -> str | bytes:
        if name == "socket":
            async with session.ws_connect(f"{url}/socket/7") as socket:
                return await socket.receive_str()
        async with session.get(f"{url}/{name}/7") as answer:
            return await answer.read()

    assert _run(world, tmp_path, client) in ("hello", _BODY)
    lines = {
        (key.line.status, key.line.reason, sums.count)
        for key, sums in world.recorded.charges.items()
        if key.line.component == names.EGRESS
    }
    assert lines == {(names.UNPRICED, "response_size_unknown", 1)}


def test_a_failing_capture_leaves_the_answer_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.engine.errors.reraise = False

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("spancost.capture.aiohttp_server.server_facts", fail)
    assert _get(world, tmp_path, "/carts/7") == (200, _BODY)
    assert world.engine.errors.counts == {"capture.aiohttp_server": 1}

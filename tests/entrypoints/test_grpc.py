"""A gRPC server and its client on loopback, synchronous and asynchronous, with generic handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from opentelemetry.instrumentation.grpc import (
    GrpcAioInstrumentorServer,
    GrpcInstrumentorClient,
    GrpcInstrumentorServer,
)
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import World, priced_provider
from tests.entrypoints.booked import Requests, instrumented, requests_of, usd_by_entrypoint
from tests.spans import PUT_USD, REGION, put_item

_SERVICE = "shop.Cart"
_TIMEOUT_S = 20.0
_EXPECTED = {
    Requests("shop.Cart/Add", "ok", 2),
    Requests("shop.Cart/List", "ok", 1),
    Requests("shop.Cart/Fail", "error", 1),  # an exception of the method
    Requests("shop.Cart/Break", "error", 1),  # aborts with UNAVAILABLE
    Requests("shop.Cart/Miss", "ok", 1),  # NOT_FOUND is the caller's matter, as a 404 is
}


def _put(world: World) -> None:
    world.tracer.start_span("DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=put_item()).end()


def _call_all(channel: Any) -> None:
    def method(name: str) -> Any:
        return channel.unary_unary(f"/{_SERVICE}/{name}")

    assert [method("Add")(b"x", timeout=_TIMEOUT_S) for _ in range(2)] == [b"done", b"done"]
    assert list(channel.unary_stream(f"/{_SERVICE}/List")(b"x", timeout=_TIMEOUT_S)) == [b"a", b"b"]
    for name, code in (
        ("Fail", grpc.StatusCode.UNKNOWN),
        ("Break", grpc.StatusCode.UNAVAILABLE),
        ("Miss", grpc.StatusCode.NOT_FOUND),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            method(name)(b"x", timeout=_TIMEOUT_S)
        error: Any = raised.value
        assert error.code() == code


def _check(world: World) -> None:
    world.publish()
    assert requests_of(world) == _EXPECTED
    spent = usd_by_entrypoint(world, names.AWS)
    assert spent == {"shop.Cart/Add": pytest.approx(2 * PUT_USD), "shop.Cart/List": pytest.approx(PUT_USD)}


def test_each_method_is_an_entrypoint_and_its_errors_are() -> None:
    with priced_provider(region=REGION) as world:

        def add(request: bytes, context: grpc.ServicerContext) -> bytes:
            _put(world)
            return b"done"

        def listing(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield b"a"
            _put(world)
            yield b"b"

        def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
            raise ValueError("nobody catches it")

        def broken(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            raise AssertionError

        def miss(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such cart")
            raise AssertionError

        with instrumented(world, GrpcInstrumentorServer()):
            server = grpc.server(ThreadPoolExecutor(4))
            server.add_generic_rpc_handlers((_handlers(add, listing, fail, broken, miss),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    _call_all(channel)
            finally:
                server.stop(None).wait(_TIMEOUT_S)
        _check(world)


def test_each_method_of_an_asynchronous_server_is_an_entrypoint_and_its_errors_are() -> None:
    with priced_provider(region=REGION) as world:

        async def add(request: bytes, context: Any) -> bytes:
            _put(world)
            return b"done"

        async def listing(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"a"
            _put(world)
            yield b"b"

        async def fail(request: bytes, context: Any) -> bytes:
            raise ValueError("nobody catches it")

        async def broken(request: bytes, context: Any) -> bytes:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "later")
            raise AssertionError

        async def miss(request: bytes, context: Any) -> bytes:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such cart")
            raise AssertionError

        async def serve() -> None:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((_handlers(add, listing, fail, broken, miss),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                    await asyncio.to_thread(_call_all, channel)
            finally:
                await server.stop(None)

        with instrumented(world, GrpcAioInstrumentorServer()):
            asyncio.run(serve())
        _check(world)


def test_totals_of_client_and_server_stay_apart() -> None:
    with priced_provider(region=REGION) as world:

        def add(request: bytes, context: grpc.ServicerContext) -> bytes:
            _put(world)
            return b"done"

        with instrumented(world, GrpcInstrumentorServer(), GrpcInstrumentorClient()):
            server = grpc.server(ThreadPoolExecutor(2))
            server.add_generic_rpc_handlers((_handlers(add, add, add, add, add),))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                with (
                    grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
                    world.tracer.start_as_current_span("caller"),
                ):
                    channel.unary_unary(f"/{_SERVICE}/Add")(b"x", timeout=_TIMEOUT_S)
            finally:
                server.stop(None).wait(_TIMEOUT_S)
        world.publish()
        assert requests_of(world) == {Requests("caller", "ok", 1, served=False), Requests("shop.Cart/Add", "ok", 1)}
        assert usd_by_entrypoint(world, names.AWS) == {"shop.Cart/Add": pytest.approx(PUT_USD)}
        assert world.attributes("caller")[names.TOTAL_USD] == 0.0


def _handlers(add: Any, listing: Any, fail: Any, broken: Any, miss: Any) -> Any:
    unary: Any = grpc.unary_unary_rpc_method_handler
    stream: Any = grpc.unary_stream_rpc_method_handler
    methods = {"Add": unary(add), "List": stream(listing), "Fail": unary(fail)}
    methods |= {"Break": unary(broken), "Miss": unary(miss)}
    make: Any = grpc.method_handlers_generic_handler
    return make(_SERVICE, methods)

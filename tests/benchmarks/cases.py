"""What is measured: each case is one operation, done many times on one side."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind

from spancost import attribute, names
from spancost.capture import aws as botocore_hooks
from tests.benchmarks.budget_rules import TENANTS
from tests.benchmarks.sides import CPU_MODEL, HUNDRED_RULES, MACHINE, NO_RATE, Patch, Side

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from spancost.config import Config

Run = Callable[[int], None]


@dataclass(frozen=True)
class Case:
    """One benchmark."""

    name: str
    make: Callable[[Side], Run]
    """Makes the function that does the operation n times."""
    block: int
    """Operations in a timed block: fewer spans than wake the batch processor's thread (512)."""
    calls: Mapping[str, int] = field(default_factory=dict[str, int])
    """Calls charged by one operation, by component other than compute."""
    config: Config = MACHINE
    scope: str = "benchmark"
    patch: Patch | None = None
    needs: tuple[str, ...] = ()
    """Modules without which it is left out."""
    base: Callable[[Side], Run] | None = None
    """What the other side does, priced too; None: the same as `make`, on the plain SDK."""
    sampler: Sampler | None = None
    """Sampler of both sides; what it drops is metered on the priced one."""
    base_config: Config | None = None
    """How spancost is set up on the other side where it is priced, too; None: the same."""


def _empty_span(side: Side) -> Run:
    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        for _ in range(count):
            with start("work"):
                pass

    return run


def _internal_span(side: Side) -> Run:
    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        with start("request"):
            for _ in range(count):
                with start("step"):
                    pass

    return run


def _asyncio_step(side: Side) -> Run:
    async def steps(count: int) -> None:
        with side.tracer.start_as_current_span("request"):
            for _ in range(count):
                await asyncio.sleep(0)

    loop = asyncio.new_event_loop()

    def run(count: int) -> None:
        loop.run_until_complete(steps(count))

    side.on_close.append(loop.close)
    return run


_SERVER = {
    "http.request.method": "GET",
    "url.scheme": "http",
    "server.address": "shop.example",
    "server.port": 80,
    "url.path": "/items/7",
    "client.address": "93.184.216.34",
    "client.port": 50_000,
    "user_agent.original": "benchmark",
    "network.protocol.version": "1.1",
    "http.route": "/items/<int:item>",
}
_CLIENT = {
    "http.request.method": "POST",
    "url.full": "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json",
    "server.address": "api.twilio.com",
    "server.port": 443,
}


def _server_client_pair(side: Side) -> Run:
    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        for _ in range(count):
            with start("GET /items/<int:item>", kind=SpanKind.SERVER, attributes=_SERVER) as server:
                with start("POST", kind=SpanKind.CLIENT, attributes=_CLIENT) as client:
                    client.set_attribute("http.response.status_code", 201)
                server.set_attribute("http.response.status_code", 200)
                server.set_attribute("http.response.body.size", 2048)

    return run


_AWS = {
    "rpc.system": "aws-api",
    "rpc.service": "DynamoDB",
    "rpc.method": "PutItem",
    "cloud.region": "us-east-1",
    "server.address": "dynamodb.us-east-1.amazonaws.com",
    "server.port": 443,
    "db.system": "dynamodb",
    "db.operation": "PutItem",
    "aws.dynamodb.table_names": ("orders",),
}
_PUT = {"TableName": "orders", "Item": {"id": {"S": "o-1"}, "note": {"S": "x" * 200}}}
_PUT_DONE = {"ConsumedCapacity": {"TableName": "orders", "CapacityUnits": 1.0}}


def _botocore_span(side: Side) -> Run:
    return _aws_spans(side, _AWS, hooks=side.engine is not None)


def _aws_span_with_hooks(side: Side) -> Run:
    return _aws_spans(side, _AWS, hooks=True)


def _aws_span_unpriced(side: Side) -> Run:
    """The same span, of an operation that the price book does not know."""
    return _aws_spans(side, {**_AWS, "rpc.method": "PutNobodyKnowsWhat"}, hooks=True)


def _aws_span_of_no_meter(side: Side) -> Run:
    """The same span, of a system that no meter looks at."""
    return _aws_spans(side, {**_AWS, "rpc.system": "grpc"}, hooks=True)


def _aws_spans(side: Side, attributes: Mapping[str, Any], *, hooks: bool) -> Run:
    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        with start("request"):
            for _ in range(count):
                with start("DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=attributes) as span:
                    if hooks:
                        botocore_hooks.request_hook(span, "dynamodb", "PutItem", _PUT)
                    span.set_attribute("http.status_code", 200)
                    if hooks:
                        botocore_hooks.response_hook(span, "dynamodb", "PutItem", _PUT_DONE)

    return run


_SERVED = {**_SERVER, "http.route": "/groups/7/items"}
_OPENAI = "opentelemetry.instrumentation.genai.openai"
_LLM = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "server.address": "api.openai.com",
}
_LLM_DONE = {
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 1_200,
    "gen_ai.usage.cache_read.input_tokens": 1_024,
    "gen_ai.usage.output_tokens": 300,
}


def _llm_span(side: Side) -> Run:
    return _llm_spans(side, _LLM, _LLM_DONE)


def _llm_span_unpriced(side: Side) -> Run:
    """The same span, of a model without a price."""
    unknown = {"gen_ai.request.model": "nobody-knows-5", "gen_ai.response.model": "nobody-knows-5"}
    return _llm_spans(side, {**_LLM, **unknown}, {**_LLM_DONE, **unknown})


def _llm_span_of_no_meter(side: Side) -> Run:
    """The same span, with attributes that mean nothing to any meter."""
    asked, done = ({f"x_{key}": value for key, value in attributes.items()} for attributes in (_LLM, _LLM_DONE))
    return _llm_spans(side, asked, done)


def _llm_spans(side: Side, asked: Mapping[str, Any], done: Mapping[str, Any]) -> Run:
    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        with start("request"):
            for _ in range(count):
                with start("chat gpt-5-mini", kind=SpanKind.CLIENT, attributes=asked) as span:
                    span.set_attributes(done)

    return run


_TENANTS = [f"tenant-{number:03d}" for number in range(TENANTS)]


def _requests_of_tenants(side: Side) -> Run:
    """A request with an LLM call in it, of another tenant each time, and at the end what a flush does.

    A block is what a busy worker does between two flushes: its time is that of the requests and of the flush.
    """
    asked, done, tenants = _LLM, _LLM_DONE, itertools.cycle(_TENANTS)

    def run(count: int) -> None:
        start = side.tracer.start_as_current_span
        for tenant in itertools.islice(tenants, count):
            with (
                attribute(tenant=tenant),
                start("GET /groups/7/items", kind=SpanKind.SERVER, attributes=_SERVED) as request,
            ):
                with start("chat gpt-5-mini", kind=SpanKind.CLIENT, attributes=asked) as span:
                    span.set_attributes(done)
                request.set_attribute("http.response.status_code", 200)
                request.set_attribute("http.response.body.size", 2048)
        side.flush()

    return run


_ITEMS = [{"id": number, "name": f"item {number}", "price": 9.5} for number in range(10)]


def _patch_flask() -> Callable[[], None]:
    from spancost.capture.flask import patch

    return patch()


def _flask_request(side: Side) -> Run:
    from flask import Flask, jsonify
    from opentelemetry.instrumentation.flask import FlaskInstrumentor
    from werkzeug.test import EnvironBuilder

    app = Flask("benchmark")

    def items(group: int) -> Any:
        return jsonify(group=group, items=_ITEMS)

    app.add_url_rule("/groups/<int:group>/items", view_func=items)
    instrumentor: Any = FlaskInstrumentor
    instrumentor.instrument_app(app, tracer_provider=side.provider)
    environ = EnvironBuilder(path="/groups/7/items", environ_base={"REMOTE_ADDR": "93.184.216.34"}).get_environ()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        assert status == "200 OK"
        return bytes

    def run(count: int) -> None:
        for _ in range(count):
            body: Any = app({**environ, "wsgi.input": io.BytesIO()}, start_response)
            for _chunk in body:
                pass
            body.close()

    return run


def _patch_asgi() -> Callable[[], None]:
    from spancost.capture.asgi import patch

    return patch()


def _fastapi_request(side: Side) -> Run:
    from fastapi import FastAPI
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    app = FastAPI()

    async def items(group: int) -> dict[str, Any]:
        return {"group": group, "items": _ITEMS}

    app.add_api_route("/groups/{group}/items", items)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=side.provider)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/groups/7/items",
        "raw_path": b"/groups/7/items",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"shop.example"), (b"user-agent", b"benchmark")],
        "client": ("93.184.216.34", 50_000),
        "server": ("shop.example", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def requests(count: int) -> None:
        for _ in range(count):
            await app(dict(scope), receive, send)  # type: ignore[arg-type]

    loop = asyncio.new_event_loop()

    def run(count: int) -> None:
        work: Coroutine[Any, Any, None] = requests(count)
        loop.run_until_complete(work)

    side.on_close.append(loop.close)
    return run


CASES = (
    Case("empty_span", _empty_span, 400),
    Case("empty_span_cpu_model", _empty_span, 400, config=CPU_MODEL),
    Case("asyncio_step", _asyncio_step, 2000),
    Case("asyncio_step_cpu_model", _asyncio_step, 2000, config=CPU_MODEL),
    Case("unpriced_span", _internal_span, 400, config=NO_RATE),
    Case("internal_span_compute", _internal_span, 400),
    Case("dropped_span", _empty_span, 400, sampler=ALWAYS_OFF),
    Case("server_client_pair", _server_client_pair, 200, {names.EGRESS: 1, names.HTTP: 1}),
    Case("botocore_span", _botocore_span, 300, {names.AWS: 1}),
    Case("llm_span", _llm_span, 300, {names.LLM: 1}, scope=_OPENAI),
    Case("aws_over_unpriced", _aws_span_with_hooks, 300, {names.AWS: 1}, base=_aws_span_unpriced),
    Case("aws_over_no_meter", _aws_span_with_hooks, 300, {names.AWS: 1}, base=_aws_span_of_no_meter),
    Case("llm_over_unpriced", _llm_span, 300, {names.LLM: 1}, scope=_OPENAI, base=_llm_span_unpriced),
    Case("llm_over_no_meter", _llm_span, 300, {names.LLM: 1}, scope=_OPENAI, base=_llm_span_of_no_meter),
    Case(
        "budgets_100_rules",
        _requests_of_tenants,
        4000,
        {names.EGRESS: 1, names.LLM: 1},
        config=HUNDRED_RULES,
        scope=_OPENAI,
        base=_requests_of_tenants,
        base_config=MACHINE,
    ),
    Case(
        "flask_request",
        _flask_request,
        100,
        {names.EGRESS: 1},
        patch=_patch_flask,
        needs=("flask", "opentelemetry.instrumentation.flask"),
    ),
    Case(
        "fastapi_request",
        _fastapi_request,
        60,
        {names.EGRESS: 1},
        patch=_patch_asgi,
        needs=("fastapi", "opentelemetry.instrumentation.fastapi"),
    ),
    Case(
        "fastapi_request_cpu_model",
        _fastapi_request,
        60,
        {names.EGRESS: 1},
        config=CPU_MODEL,
        patch=_patch_asgi,
        needs=("fastapi", "opentelemetry.instrumentation.fastapi"),
    ),
)

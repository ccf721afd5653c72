"""Spans are given as instrumentations emit them; those of version 0.66b1 were read off their source where no test of
`tests/entrypoints` runs them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.charge import CLIENT, CONSUMER, INTERNAL, PRODUCER, SERVER
from spancost.entry_labels import entry_labels, message_step, routeless_labels
from spancost.testing import World, priced_provider
from spancost.window import INNER, LATE_INNER, EntryLabels
from tests.spans import PUT_USD, REGION, put_item, server, start

_UUID = "5f0c1a52-33f5-4a0e-9d0e-4f9f4b8f7a11"
_KAFKA = {"messaging.system": "kafka", "messaging.destination": "orders"}


def _entrypoint(name: str) -> EntryLabels:
    return EntryLabels("", "", name)


_HTTP: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (SERVER, "GET /a", server("/a"), EntryLabels("/a", "GET", "")),
    (SERVER, "GET", {"http.method": "GET", "http.route": "/a"}, EntryLabels("/a", "GET", "")),
    (SERVER, "GET", server(""), None),
    # aiohttp-server names no route by an empty text, and WebSockets have a path but no method
    (SERVER, "GET", {"http.method": "GET", "http.route": "", "http.target": "/x/7"}, None),
    (SERVER, "/ws/7", {"http.scheme": "ws", "http.target": "/ws/7", "http.route": "/ws/{id}"}, EntryLabels("/ws/{id}")),
    (SERVER, "/ws/7", {"url.scheme": "wss", "url.path": "/ws/7"}, None),
]
_RPC: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (SERVER, "/x", {"rpc.service": "cart.Cart", "rpc.method": "Add"}, _entrypoint("cart.Cart/Add")),
    (SERVER, "x", {"rpc.system.name": "grpc", "rpc.method": "cart.Cart/Add"}, _entrypoint("cart.Cart/Add")),
    (SERVER, "x", {"rpc.service": "cart.Cart", "rpc.method": "cart.Cart/Add"}, _entrypoint("cart.Cart/Add")),
    (SERVER, "x", {"rpc.system": "jsonrpc", "rpc.method": "add"}, _entrypoint("add")),
    (CLIENT, "S3.PutObject", {"rpc.service": "S3", "rpc.method": "PutObject"}, _entrypoint("S3.PutObject")),
]
_FUNCTIONS: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (SERVER, "resize", {"faas.invocation_id": "1"}, _entrypoint("resize")),
    (SERVER, "x", {"faas.name": "resize"}, _entrypoint("resize")),
    (SERVER, "x", {"faas.trigger": "pubsub", "faas.name": "resize"}, _entrypoint("resize")),
    # REST APIs name the resource; for HTTP APIs the instrumentation takes the raw path for the route
    (
        SERVER,
        "shop",
        {"faas.trigger": "http", "http.method": "GET", "http.route": "/carts/{id}"},
        EntryLabels("/carts/{id}", "GET"),
    ),
    (SERVER, "shop", {"faas.trigger": "http", "http.method": "GET", "http.route": "/carts/7"}, _entrypoint("shop")),
]
_TASKS: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (CONSUMER, "run/shop.send", {"celery.task_name": "shop.send"}, _entrypoint("shop.send")),
    (CONSUMER, "run/shop.send", {}, _entrypoint("shop.send")),  # while it runs
    (INTERNAL, "work", {"celery.task_name": "shop.send"}, _entrypoint("shop.send")),
    (
        PRODUCER,
        "apply_async/shop.send",
        {"celery.action": "apply_async", "celery.task_name": "shop.send", "messaging.destination": "celery"},
        _entrypoint("apply_async/shop.send"),
    ),
    (
        CONSUMER,  # opentelemetry-instrumentation-rq 0.1.4
        "consume default",
        {
            "messaging.operation.name": "consume",
            "messaging.destination.name": "default",
            "rq.job.function": "shop.send",
        },
        _entrypoint("shop.send"),
    ),
    (CONSUMER, "remoulade/process", {"remoulade.action": "run"}, _entrypoint("remoulade/process")),
]
_MESSAGES: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (
        CONSUMER,
        "x",
        {"messaging.operation.name": "process", "messaging.destination.template": "orders.{id}"},
        _entrypoint("process orders.{id}"),
    ),
    (
        CONSUMER,
        "x",
        {
            "messaging.operation.name": "ack",
            "messaging.operation.type": "settle",
            "messaging.destination.name": "orders.7",
            "messaging.destination.template": "orders.{id}",
        },
        _entrypoint("ack orders.{id}"),
    ),
    (
        CONSUMER,
        "poll orders",
        {"messaging.operation.type": "receive", "messaging.destination.name": "orders"},
        _entrypoint("receive orders"),
    ),
    (CONSUMER, "orders process", {**_KAFKA, "messaging.operation": "process"}, _entrypoint("process orders")),
    (CONSUMER, "orders receive", _KAFKA, _entrypoint("receive orders")),  # kafka-python: the name alone says so
    (PRODUCER, "orders send", {**_KAFKA, "messaging.temp_destination": True}, _entrypoint("send orders")),
    (CONSUMER, "orders receive", {"messaging.destination": "mail"}, _entrypoint("mail")),
    (CONSUMER, "orders process", {}, _entrypoint("orders process")),  # boto3 while it receives
    (
        CONSUMER,
        f"ctag1.{_UUID} receive",  # pika, by consumer tag
        {"messaging.destination": "mail", "messaging.operation": "receive"},
        _entrypoint("receive mail"),
    ),
]
_MADE_UP: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (
        CONSUMER,
        "x",
        {"messaging.operation": "receive", "messaging.destination": "x", "messaging.temp_destination": True},
        _entrypoint("receive (temporary)"),
    ),
    (
        CONSUMER,
        "x",
        {"messaging.destination.name": "q7", "messaging.destination.temporary": True},
        _entrypoint("(temporary)"),
    ),
    (
        CONSUMER,
        "x",
        {"messaging.destination.name": "q7", "messaging.destination.anonymous": True},
        _entrypoint("(anonymous)"),
    ),
    (
        CONSUMER,
        "x",
        {
            "messaging.destination.name": "q7",
            "messaging.destination.template": "replies.{id}",
            "messaging.destination.temporary": True,
        },
        _entrypoint("replies.{id}"),
    ),
    (
        PRODUCER,
        "amq.gen-JzTY20BRgKO-HjmUJj0wLg send",
        {"messaging.destination": "amq.gen-JzTY20BRgKO-HjmUJj0wLg"},
        _entrypoint("send (temporary)"),
    ),
    (CONSUMER, f"{_UUID} receive", {"messaging.destination": _UUID}, _entrypoint("receive (temporary)")),
    (CONSUMER, "x", {"messaging.destination": f"reply.{_UUID.replace('-', '')}"}, _entrypoint("(temporary)")),
]
_OTHERS: list[tuple[int, str, dict[str, Any], EntryLabels | None]] = [
    (INTERNAL, "nightly", {}, _entrypoint("nightly")),
    (CLIENT, "POST", {"http.request.method": "POST"}, _entrypoint("POST")),
    (INTERNAL, "x" * 1000, {}, _entrypoint("x" * 200)),
]


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "expected"),
    [*_HTTP, *_RPC, *_FUNCTIONS, *_TASKS, *_MESSAGES, *_MADE_UP, *_OTHERS],
)
def test_labels_of_a_local_root_are_read_from_its_attributes(
    kind: int, name: str, attributes: dict[str, Any], expected: EntryLabels | None
) -> None:
    assert entry_labels(name, kind, attributes) == expected


def test_request_without_a_route_has_one_constant_label_whatever_its_path() -> None:
    labels = routeless_labels({"http.request.method": "GET", "url.path": "/users/7/secret"})
    assert labels == EntryLabels(names.NO_ROUTE, "GET", "")


@pytest.mark.parametrize("kind", [CLIENT, PRODUCER])
def test_calls_without_a_parent_take_the_name_of_their_process(kind: int) -> None:
    attributes = {**put_item(), **_KAFKA, "celery.task_name": "shop.send"}
    assert entry_labels("DynamoDB.PutItem", kind, attributes, "nightly") == _entrypoint("nightly")
    assert entry_labels("x", kind, {}, "y" * 1000) == _entrypoint("y" * 200)


@pytest.mark.parametrize(
    ("kind", "name", "attributes", "expected"),
    [case for case in (*_HTTP, *_RPC, *_FUNCTIONS, *_TASKS, *_MESSAGES, *_OTHERS) if case[0] not in (CLIENT, PRODUCER)],
)
def test_work_with_a_span_around_it_keeps_its_own_name(
    kind: int, name: str, attributes: dict[str, Any], expected: EntryLabels | None
) -> None:
    assert entry_labels(name, kind, attributes, "nightly") == expected


@pytest.mark.parametrize(
    ("name", "attributes", "step"),
    [
        ("orders process", {}, "process"),
        ("process orders", {}, "process"),
        ("orders receive", {}, "receive"),
        ("x", {"messaging.operation": "process"}, "process"),
        ("x", {"messaging.operation.name": "poll", "messaging.operation.type": "receive"}, "receive"),
        ("orders process", {"messaging.operation": "receive"}, "receive"),
        ("recv", {}, "receive"),  # confluent-kafka, around each poll
        ("reprocess", {}, ""),
        ("run/shop.send", {}, ""),
    ],
)
def test_step_of_a_message_is_what_its_attributes_say_or_else_its_name(
    name: str, attributes: dict[str, Any], step: str
) -> None:
    assert message_step(name, attributes) == step


# --- the run of a script ---------------------------------------------------------------------------------


def _script(world: World, calls: int = 3) -> None:
    for _ in range(calls):
        start(world.tracer, "DynamoDB.PutItem", kind=SpanKind.CLIENT, attributes=put_item()).end()
    start(world.tracer, "step of my own").end()


def _requests(world: World) -> dict[tuple[str, str, bool], tuple[int, int]]:
    """Requests and histogram entries by entrypoint, outcome and whether they were served."""
    found: dict[tuple[str, str, bool], tuple[int, int]] = {}
    for batch in world.recorded.batches:
        for key, sums in batch.requests.items():
            what = (key.labels.entrypoint, key.outcome, key.served)
            count, entries = found.get(what, (0, 0))
            found[what] = (count + sums.count, entries + sum(sums.buckets))
    return found


def test_run_of_a_script_is_one_request_at_its_end_with_all_of_its_calls() -> None:
    with priced_provider(region=REGION, entrypoint="nightly") as world:
        _script(world)
        world.publish()
        own = {("step of my own", "ok", False): (1, 1)}
        assert _requests(world) == {("nightly", "ok", False): (0, 0), **own}
        _script(world, 2)
        assert world.engine.leave()
        assert world.engine.leave()  # a signal first, then `atexit`
        assert _requests(world) == {
            ("nightly", "ok", False): (1, 1),
            ("step of my own", "ok", False): (2, 2),
        }
        spent = sum(sums.usd for key, sums in world.recorded.charges.items() if key.labels.entrypoint == "nightly")
        assert spent == pytest.approx(5 * PUT_USD, rel=1e-12)
        totals = sum(sums.total_usd for batch in world.recorded.batches for sums in batch.requests.values())
        assert totals == pytest.approx(5 * PUT_USD, rel=1e-12)
        assert totals == pytest.approx(world.root_totals_usd(), rel=1e-12)


def test_run_that_an_exception_has_ended_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    with priced_provider(region=REGION, entrypoint="nightly") as world:
        _script(world)
        monkeypatch.setattr("sys.last_value", ValueError("nobody caught it"), raising=False)
        world.engine.leave()
        assert _requests(world)["nightly", "error", False] == (1, 1)


def test_run_that_has_spent_nothing_under_its_own_name_is_no_request() -> None:
    with priced_provider(region=REGION, entrypoint="nightly") as world:
        start(world.tracer, "GET /a", kind=SpanKind.SERVER, attributes=server("/a")).end()
        world.engine.leave()
        assert [entrypoint for entrypoint, _, _ in _requests(world)] == [""]


def test_each_call_is_a_request_where_the_process_has_no_name() -> None:
    with priced_provider(region=REGION) as world:
        _script(world)
        world.engine.leave()
        assert _requests(world)["DynamoDB.PutItem", "ok", False] == (3, 3)


# --- one message is work of its own ----------------------------------------------------------------------


@pytest.mark.parametrize("compute", ["", "36usd/h"])
def test_processing_of_a_message_is_a_local_root_though_it_starts_inside_the_receiving_span(compute: str) -> None:
    with priced_provider(region=REGION, compute=compute) as world:
        receive = start(world.tracer, "orders receive", kind=SpanKind.CONSUMER)
        receive.set_attribute("messaging.operation", "receive")
        messages = [start(world.tracer, "orders process", receive, SpanKind.CONSUMER) for _ in range(2)]
        receive.end()
        for message in messages:
            start(world.tracer, "put", message, SpanKind.CLIENT, put_item()).end()
            message.end()
        world.publish()
        puts = {
            (key.labels.entrypoint, key.position): (sums.count, sums.usd)
            for key, sums in world.recorded.charges.items()
            if key.line.component == names.AWS
        }
        assert puts == {("orders process", INNER): (2, pytest.approx(2 * PUT_USD))}
        assert _requests(world) == {("orders receive", "ok", True): (1, 1), ("orders process", "ok", True): (2, 2)}


@pytest.mark.parametrize(
    ("outer", "inner", "kind"),
    [
        ("orders receive", "orders receive", SpanKind.CONSUMER),
        ("run/parent", "run/child", SpanKind.CONSUMER),  # Celery, eager
        ("orders receive", "orders process", SpanKind.INTERNAL),
        ("orders process", "mail process", SpanKind.CONSUMER),
    ],
)
def test_other_work_inside_a_consumer_stays_with_it(outer: str, inner: str, kind: SpanKind) -> None:
    with priced_provider(region=REGION) as world:
        root = start(world.tracer, outer, kind=SpanKind.CONSUMER)
        child = start(world.tracer, inner, root, kind)
        start(world.tracer, "put", child, SpanKind.CLIENT, put_item()).end()
        child.end()
        root.end()
        world.publish()
        assert sum(count for count, _ in _requests(world).values()) == 1
        assert world.attributes(outer)[names.TOTAL_USD] == pytest.approx(PUT_USD)
        assert not world.recorded.usd(None, LATE_INNER)

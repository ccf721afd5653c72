"""Celery with its real instrumentation: eager in process, and prefork workers whose children come and go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from redis import Redis

from spancost import names
from spancost.testing import World, priced_provider
from tests.e2e import zero_code
from tests.e2e.zero_code import LLM_CALL_USD, ROOT, Books, by_component_of_roots, local_roots, otlp_by_component
from tests.entrypoints.apps import celery_tasks
from tests.entrypoints.booked import Requests, instrumented, requests_of
from tests.spans import REGION, server, start
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import ServerProcess
from tests.support.redis_server import RedisServer

_ORDERS = 20
_FAILED = len(range(0, _ORDERS, celery_tasks.FAILING))
_PART = "celery"
_TASKS = "tests.entrypoints.apps.celery_tasks"
_EXACT = 1e-9


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    celery_tasks.app.conf.task_always_eager = True
    with ExitStack() as stack:
        stack.callback(setattr, celery_tasks.app.conf, "task_always_eager", False)
        world = stack.enter_context(priced_provider(region=REGION))
        stack.enter_context(instrumented(world, CeleryInstrumentor()))
        monkeypatch.setattr("tests.e2e.apps.llm_call._tracer", world.tracer)
        yield world


def test_eager_task_without_a_request_is_a_request_named_by_its_task(world: World) -> None:
    celery_tasks.mail.delay()
    assert celery_tasks.bill.delay(celery_tasks.FAILING).failed()
    world.publish()
    assert requests_of(world) == {Requests("shop.mail", "ok", 1), Requests("shop.bill", "error", 1)}
    assert world.root_totals_usd() == pytest.approx(2 * LLM_CALL_USD)


def test_eager_task_inside_a_request_belongs_to_the_request(world: World) -> None:
    from opentelemetry import trace

    request = start(world.tracer, "POST /orders", None, trace.SpanKind.SERVER, server("/orders", method="POST"))
    with trace.use_span(request, end_on_exit=True):
        celery_tasks.mail.delay()
    world.publish()
    assert requests_of(world) == {Requests("POST /orders", "ok", 1)}
    assert world.attributes("POST /orders")[names.TOTAL_USD] == pytest.approx(LLM_CALL_USD)


@pytest.fixture(scope="module", params=["recycled", "kept"])
def books(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Books, OtlpReceiver]]:
    """What two prefork workers have booked, with children that end after three tasks, or only with the worker.

    Children that are replaced get their tasks from Redis: a broker of files has no event loop, and then Celery kills
    them when the worker ends.
    """
    folder = tmp_path_factory.mktemp("celery")
    is_recycled = request.param == "recycled"
    client: Any = None
    with ExitStack() as stack:
        if is_recycled:
            redis = stack.enter_context(RedisServer(folder / "redis"))
            broker = f"redis+socket://{redis.socket}"
            client = stack.enter_context(Redis(unix_socket_path=redis.socket))
        else:
            broker = str(folder / "broker")
            for name in ("broker", "broker-control"):
                (folder / name).mkdir()
        receiver = stack.enter_context(OtlpReceiver())
        environ = zero_code.environment(
            folder,
            otlp=receiver.url,
            instrumentations=frozenset({_PART}),
            SHOP_BROKER=broker,
            SHOP_MAX_TASKS="3" if is_recycled else "0",
            # Whatever arrives was sent at the end of a child.
            SPANCOST_FLUSH_INTERVAL="600",
            OTEL_BSP_SCHEDULE_DELAY="600000",
            OTEL_METRIC_EXPORT_INTERVAL="600000",
        )
        producer = zero_code.under_zero_code(
            Path(sys.executable).name, "-m", "tests.entrypoints.apps.celery_producer", str(_ORDERS)
        )
        subprocess.run(
            producer, cwd=ROOT, env={**environ, "SPANCOST_ENTRYPOINT": "send orders"}, timeout=60, check=True
        )
        waiting = client.llen("celery") if client else len(list((folder / "broker").iterdir()))
        assert waiting == _ORDERS + 1
        command = zero_code.under_zero_code(
            "celery", "-A", _TASKS, "worker", "-c", "2", "--without-mingle", "-l", "info"
        )
        worker = ServerProcess("worker", command, log=folder / "worker.log", cwd=ROOT, environment=environ)
        try:
            done = ("succeeded in", "raised unexpected")
            zero_code.wait_until(
                lambda: sum(worker.output().count(word) for word in done) == _ORDERS + 1,
                "all tasks are done",
                timeout_s=60,
            )
        finally:
            code = worker.stop()
        assert code == 0, worker.output()
        yield Books(folder / "ledger.sqlite"), receiver


@pytest.mark.e2e
def test_every_task_of_every_child_is_counted_and_charged_once(books: tuple[Books, OtlpReceiver]) -> None:
    found = books[0].rows(
        "SELECT b.entrypoint, r.outcome, SUM(r.count), SUM(r.total_usd) FROM requests_minute r "
        "JOIN labels b ON b.id = r.labels_id WHERE r.served GROUP BY 1, 2 ORDER BY 1, 2"
    )
    counts = {(entrypoint, outcome): count for entrypoint, outcome, count, _ in found}
    assert counts == {
        ("shop.bill", "error"): _FAILED,
        ("shop.bill", "ok"): _ORDERS - _FAILED,
        ("shop.mail", "ok"): 1,
    }
    assert books[0].by_component()[names.LLM] == pytest.approx((_ORDERS + 1) * LLM_CALL_USD, rel=_EXACT)


@pytest.mark.e2e
def test_spans_counters_and_ledger_of_all_children_agree(books: tuple[Books, OtlpReceiver]) -> None:
    ledger = books[0].by_component()
    roots = local_roots(books[1].spans)
    assert sum(root.name.startswith("run/") for root in roots) == _ORDERS + 1
    assert by_component_of_roots(books[1].spans) == pytest.approx(ledger, rel=_EXACT)
    assert otlp_by_component(books[1], names.METRIC_COST) == pytest.approx(ledger, rel=_EXACT)


@pytest.mark.e2e
def test_total_of_a_task_stays_in_its_process(books: tuple[Books, OtlpReceiver]) -> None:
    producers = [span for span in local_roots(books[1].spans) if span.name.startswith("apply_async/")]
    assert len(producers) == _ORDERS + 1
    assert all(names.COMPONENT_USD[names.LLM] not in span.attributes for span in producers)
    found = books[0].rows(
        "SELECT SUM(r.count) FROM requests_minute r JOIN labels b ON b.id = r.labels_id "
        "WHERE b.entrypoint = 'send orders'"
    )
    assert found == [(1,)]  # one run of the script

"""Workers that are recycled, reloaded and stopped in the middle of the load: every sink has what the clients count."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.by_worker import (
    assert_answers_charged_once,
    calls,
    in_counters,
    in_files,
    in_ledger,
    in_spans,
)
from tests.e2e.exposition import from_files, repeated, total
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import Books, Program, wait_until
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_CLIENTS = 4
_REQUESTS = 400
_FLASK = "tests.e2e.apps.flask_app:app"
_ASGI = "tests.e2e.apps.asgi_app:app"
_GUNICORN = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--workers", "2")
_RECYCLED = ("--max-requests", "70", "--max-requests-jitter", "20")
_UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2")
_WSGI_PARTS = frozenset({"flask", "threading"})
_ASGI_PARTS = frozenset({"fastapi", "threading"})

Event = Callable[[Program, CountedLoad], None]


def _nothing(_: Program, load: CountedLoad) -> None:
    """Workers end by themselves after so many requests."""
    load.wait_for(_REQUESTS)


def _reload(program: Program, load: CountedLoad) -> None:
    """Have new workers take over while the old ones finish their requests."""
    load.wait_for(_REQUESTS // 3)
    before = set(load.counts)
    os.kill(program.process.pid, signal.SIGHUP)
    wait_until(lambda: len(set(load.counts) - before) >= 2, "two new workers have answered")
    load.wait_for(_REQUESTS)


def _terminate(program: Program, load: CountedLoad) -> None:
    """End everything while all clients wait for an answer."""
    load.wait_for(_REQUESTS // 2)
    program.process.stop()


@dataclass(frozen=True, slots=True)
class Case:
    """A server and what happens to it."""

    command: tuple[str, ...]
    event: Event
    parts: frozenset[str] = _WSGI_PARTS


CASES = {
    "gunicorn sync reloaded": Case((*_GUNICORN, _FLASK), _reload),
    "gunicorn sync terminated": Case((*_GUNICORN, _FLASK), _terminate),
    "gunicorn gthread recycled": Case((*_GUNICORN, "--threads", "4", *_RECYCLED, _FLASK), _nothing),
    "gunicorn gthread preloaded and recycled": Case(
        (*_GUNICORN, "--threads", "4", "--preload", *_RECYCLED, _FLASK), _nothing
    ),
    "gunicorn gthread reloaded": Case((*_GUNICORN, "--threads", "4", _FLASK), _reload),
    "gunicorn gthread terminated": Case((*_GUNICORN, "--threads", "4", _FLASK), _terminate),
    "gunicorn UvicornWorker recycled": Case(
        (*_GUNICORN, "-k", "uvicorn.workers.UvicornWorker", *_RECYCLED, _ASGI), _nothing, _ASGI_PARTS
    ),
    "gunicorn UvicornWorker terminated": Case(
        (*_GUNICORN, "-k", "uvicorn.workers.UvicornWorker", _ASGI), _terminate, _ASGI_PARTS
    ),
    "gunicorn gevent recycled": Case((*_GUNICORN, "-k", "gevent", *_RECYCLED, _FLASK), _nothing),
    "gunicorn gevent reloaded": Case((*_GUNICORN, "-k", "gevent", _FLASK), _reload),
    "gunicorn gevent terminated": Case((*_GUNICORN, "-k", "gevent", _FLASK), _terminate),
    "uvicorn --workers recycled": Case((*_UVICORN, "--limit-max-requests", "70", _ASGI), _nothing, _ASGI_PARTS),
    "uvicorn --workers terminated": Case((*_UVICORN, _ASGI), _terminate, _ASGI_PARTS),
}


@dataclass(frozen=True, slots=True)
class Run:
    """What clients counted and every sink has."""

    load: CountedLoad
    receiver: OtlpReceiver
    books: Books
    files: Path
    log: str


_QUICK = {"gunicorn gthread reloaded", "gunicorn UvicornWorker recycled", "gunicorn gevent recycled"}
"""One of each way to serve; the others take a minute together."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, id=name, marks=() if name in _QUICK else pytest.mark.long) for name, case in CASES.items()
    ],
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    case: Case = request.param
    directory = tmp_path_factory.mktemp("workers")
    files = directory / "prometheus"
    files.mkdir()
    with OtlpReceiver() as receiver:
        environ = zero_code.environment(
            directory,
            otlp=receiver.url,
            instrumentations=case.parts,
            PROMETHEUS_MULTIPROC_DIR=str(files),
            # Exports are under way while workers are forked.
            OTEL_METRIC_EXPORT_INTERVAL="100",
        )
        with (
            Program(directory, case.command, environ) as program,
            CountedLoad(program, "/tenant", clients=_CLIENTS) as load,
        ):
            case.event(program, load)
            load.stop()
        yield Run(load, receiver, Books(program.ledger), files, program.process.output())


def test_every_answer_is_charged_once_in_every_sink(run: Run) -> None:
    others = {
        "files": in_files(run.files),
        "counters": in_counters(run.receiver),
        "spans": in_spans(run.receiver),
    }
    assert_answers_charged_once(run.load, in_ledger(run.books), others, run.log)


def test_requests_are_counted_once(run: Run) -> None:
    files = from_files(run.files)
    assert repeated(files) == []
    charged = calls(in_ledger(run.books)).total()
    assert run.books.served() == charged
    assert total(files, "spancost_requests_total") == charged
    assert total(files, "spancost_request_cost_usd_count") == charged
    assert sum(point.value for point in run.receiver.newest(names.METRIC_REQUESTS)) == charged
    assert sum(point.count for point in run.receiver.newest(names.METRIC_REQUEST_COST)) == charged


def test_workers_came_and_went_and_the_log_says_nothing_of_it(run: Run) -> None:
    assert "spancost" not in run.log
    # Threads that OpenTelemetry had started before gevent patched the process complain at its end.
    assert "Traceback" not in run.log or "Using worker: gevent" in run.log

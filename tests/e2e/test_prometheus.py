"""Every way to scrape shows each series once, with the ledger's money."""

from __future__ import annotations

import http.client
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e import zero_code
from tests.e2e.exposition import by_component, from_files, repeated, samples, total
from tests.e2e.zero_code import Books, Load, Program, wait_until
from tests.support.processes import ReservedPort, answers

pytestmark = pytest.mark.e2e

_EXACT = 1e-9
_REQUESTS = "spancost_request_cost_usd_count"
_GUNICORN = ("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "-w", "2", "tests.e2e.apps.flask_app:app")
_UVICORN = ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "tests.e2e.apps.asgi_app:app")
_FLASK_PARTS = frozenset({"flask", "threading"})
_ASGI_PARTS = frozenset({"fastapi", "threading"})
_PATHS = ["/work/a", "/work/b", "/work/c"] * 5


def _scrape(url: str, **headers: str) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_multiprocess_files_of_two_workers_add_up_to_the_ledger(tmp_path: Path) -> None:
    files = tmp_path / "prometheus"
    files.mkdir()
    environ = zero_code.environment(tmp_path, instrumentations=_FLASK_PARTS, PROMETHEUS_MULTIPROC_DIR=str(files))
    load = Load()
    with Program(tmp_path, _GUNICORN, environ) as program:
        books = Books(program.ledger)
        load.send(program, [*_PATHS, "/stream/d"], workers=2)
        wait_until(
            lambda: total(samples(program.get("/metrics").body.decode()), _REQUESTS) == load.requests,
            "all requests in the scrape of the running application",
        )
        books.wait_for(lambda got: got.served() == load.requests, "all requests in the ledger")
        running = samples(program.get("/metrics").body.decode())
        assert by_component(running) == pytest.approx(books.by_component(), rel=_EXACT)
        assert repeated(running) == []
        load.send(program, _PATHS, workers=2)
    stopped = from_files(files)
    assert by_component(stopped) == pytest.approx(books.by_component(), rel=_EXACT)
    assert by_component(stopped, "spancost_attributed_cost_usd_total") == pytest.approx(
        books.by_component(), rel=_EXACT
    )
    assert total(stopped, _REQUESTS) == books.served() == load.requests
    assert total(stopped, "spancost_idle_cost_usd_total") == pytest.approx(
        sum(books.by_component("position = 'idle'").values()), rel=_EXACT
    )
    assert {dict(sample.labels).get("service_name") for sample in stopped} == {"e2e"}


def test_existing_metrics_page_shows_every_series_once(tmp_path: Path) -> None:
    environ = zero_code.environment(tmp_path, instrumentations=_ASGI_PARTS)
    load = Load()
    with Program(tmp_path, _UVICORN, environ) as program:
        books = Books(program.ledger)
        load.send(program, _PATHS, workers=1)
        books.wait_for(lambda got: got.served() == load.requests, "all requests in the ledger")
        found = samples(program.get("/metrics").body.decode())
    assert repeated(found) == []
    assert total(found, _REQUESTS) == load.requests
    assert by_component(found) == pytest.approx(books.by_component(), rel=_EXACT)


@pytest.mark.parametrize(
    ("command", "parts", "workers"),
    [(_UVICORN, _ASGI_PARTS, 1), (_GUNICORN, _FLASK_PARTS, 2)],
    ids=["one process", "two workers"],
)
def test_own_port_answers_this_machine_only(
    tmp_path: Path, command: tuple[str, ...], parts: frozenset[str], workers: int
) -> None:
    own = ReservedPort()
    files = tmp_path / "prometheus"
    files.mkdir()
    several = {"PROMETHEUS_MULTIPROC_DIR": str(files)} if workers > 1 else {}
    environ = zero_code.environment(
        tmp_path, instrumentations=parts, SPANCOST_PROMETHEUS_PORT=str(own.number), **several
    )
    load = Load()
    with Program(tmp_path, command, environ) as program:
        own.release()
        books = Books(program.ledger)
        load.send(program, _PATHS, workers=workers)
        wait_until(lambda: answers(f"{own.url}/metrics"), "the own port answers")
        books.wait_for(lambda got: got.served() == load.requests, "all requests in the ledger")
        status, text = _scrape(own.url)
        assert status == 200
        assert repeated(samples(text)) == []
        assert by_component(samples(text)) == pytest.approx(books.by_component(), rel=_EXACT)
        assert _scrape(own.url, Host=f"localhost:{own.number}")[0] == 200
        for refused in ({"Host": f"evil.example:{own.number}"}, {"Origin": "http://evil.example"}):
            status, text = _scrape(own.url, **refused)
            assert status == 403
            assert "spancost" not in text


def test_no_series_comes_twice_beside_the_prometheus_exporter_of_opentelemetry(tmp_path: Path) -> None:
    exporter = ReservedPort()
    environ = zero_code.environment(
        tmp_path,
        instrumentations=_ASGI_PARTS,
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_EXPORTER_PROMETHEUS_HOST="127.0.0.1",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(exporter.number),
    )
    exporter.release()
    load = Load()
    with Program(tmp_path, _UVICORN, environ) as program:
        books = Books(program.ledger)
        load.send(program, _PATHS, workers=1)
        books.wait_for(lambda got: got.served() == load.requests, "all requests in the ledger")
        for text in (program.get("/metrics").body.decode(), _scrape(exporter.url)[1]):
            found = samples(text)
            assert repeated(found) == []
            assert by_component(found) == pytest.approx(books.by_component(), rel=_EXACT)
            assert {sample.name for sample in found if sample.name.startswith("spancost_cost")} == {
                "spancost_cost_usd_total"
            }

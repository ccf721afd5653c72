"""A Collector and a Prometheus that are killed in the middle of the load and come back: the counters lose nothing.

Counters are cumulative: whatever was lost on the way, the next export or scrape has all of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest
import yaml

from examples.shop.stack import ROOT
from examples.stack.servers import Collector, Prometheus, Server
from tests.e2e import zero_code
from tests.e2e.by_worker import Money, calls, in_ledger
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import Books, Program, wait_until

pytestmark = pytest.mark.stack

_STEP: Final = 200
"""Answers between two events, at least."""
_EXACT: Final = 1e-9
_INTERVAL: Final = {"scrape_interval": "500ms", "evaluation_interval": "5s"}
_COMMAND: Final = (
    "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--workers", "2", "tests.e2e.apps.flask_app:app",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """What is left of the load; everything is still running."""

    load: CountedLoad
    books: Books
    written: Prometheus
    scraped: Prometheus


def _crash(server: Server, load: CountedLoad) -> None:
    """Kill it, let a part of the load go by without it, and start it again."""
    server.kill()
    load.wait_for(load.answered + _STEP)
    server.start()
    load.wait_for(load.answered + _STEP)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("killed")
    files = folder / "multiprocess"
    files.mkdir()
    received, scraping = folder / "received.yaml", folder / "scraping.yaml"
    received.write_text(yaml.safe_dump({"global": _INTERVAL}), encoding="utf-8")
    with ExitStack() as started:
        written = started.enter_context(Prometheus(folder / "written", received, name="written"))
        gateway = started.enter_context(
            Collector(
                folder / "gateway",
                [ROOT / "collector-config" / "gateway.yaml"],
                {"REMOTE_WRITE_URL": written.remote_write_url, "KEPT_TRACES_EXPORTERS": "[file]"},
                name="gateway",
            )
        )
        environ = zero_code.environment(
            folder,
            otlp=gateway.otlp_http,
            instrumentations=frozenset({"flask", "threading"}),
            PROMETHEUS_MULTIPROC_DIR=str(files),
            OTEL_METRIC_EXPORT_INTERVAL="500",
        )
        program = started.enter_context(Program(folder, _COMMAND, environ))
        targets = [program.url.removeprefix("http://")]
        jobs = [{"job_name": "app", "static_configs": [{"targets": targets}]}]
        scraping.write_text(json.dumps({"global": _INTERVAL, "scrape_configs": jobs}), encoding="utf-8")
        scraped = started.enter_context(Prometheus(folder / "scraped", scraping, name="scraped"))
        with CountedLoad(program, "/tenant", clients=4) as load:
            load.wait_for(_STEP)
            for server in (gateway, written, scraped):
                _crash(server, load)
        yield Run(load, Books(program.ledger), written, scraped)


def _counters(server: Prometheus) -> Money:
    found = server.sums("spancost_attributed_cost_usd_total", "tenant", "component")
    return {(tenant.removeprefix("worker-"), component): usd for (tenant, component), usd in found.items() if usd}


@pytest.mark.parametrize("path", ["written", "scraped"])
def test_the_counters_have_all_of_the_money_after_every_backend_was_killed(run: Run, path: str) -> None:
    server: Prometheus = getattr(run, path)

    def all_arrived() -> bool:
        truth = in_ledger(run.books)
        return calls(truth) == run.load.counts and _counters(server) == pytest.approx(truth, rel=_EXACT)

    wait_until(all_arrived, f"{path} has the money of the ledger", timeout_s=90)
    assert run.load.failed == 0, "the application has not noticed"


@pytest.mark.parametrize("path", ["written", "scraped"])
def test_no_counter_has_fallen(run: Run, path: str) -> None:
    server: Prometheus = getattr(run, path)
    assert [sample for sample in server.query("resets(spancost_cost_usd_total[1h])") if sample.value] == []

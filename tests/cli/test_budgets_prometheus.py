from __future__ import annotations

import json
import subprocess
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily

from spancost.budgets.book import BudgetBook
from spancost.budgets.gauges import gauges_of
from spancost.sinks.prometheus import prometheus_name
from tests.budgets.books import UNKNOWN
from tests.cli.budget_shop import Ask, ask, books, folder
from tests.support.backends import program
from tests.support.processes import ReservedPort

__all__ = ["ask", "folder"]

pytestmark = pytest.mark.e2e
_READY_S: Final = 60.0


class _Gauges:
    """Gives the gauges of a book to a registry."""

    def __init__(self, book: BudgetBook) -> None:
        self._book = book

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for gauge in gauges_of(self._book, 1000):
            family = GaugeMetricFamily(prometheus_name(gauge.name, gauge.unit), gauge.description, labels=gauge.labels)
            for labels, value in gauge.values:
                family.add_metric([labels[name] for name in gauge.labels], value)
            yield family


@contextmanager
def scraped(book: BudgetBook) -> Generator[int]:
    """Show the gauges of a process to Prometheus; gives the port."""
    registry = CollectorRegistry()
    registry.register(_Gauges(book))  # pyright: ignore[reportArgumentType] # any object that can collect
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Generator[str]:
    """Start a Prometheus server that scrapes these ports; gives its URL when each was scraped."""
    targets = [f"127.0.0.1:{port}" for port in ports]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [
        {"job_name": "shop", "static_configs": [{"targets": targets}]},
    ]}  # fmt: skip
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    port = ReservedPort()
    address = f"127.0.0.1:{port.number}"
    command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}"]
    port.release()
    process = subprocess.Popen(
        [*command, f"--storage.tsdb.path={folder / 'data'}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = monotonic() + _READY_S
        while _scraped(address) < len(ports):
            assert process.poll() is None, "Prometheus has ended"
            assert monotonic() < deadline, "Prometheus has not scraped all targets"
            sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=_READY_S)


def _scraped(address: str) -> int:
    try:
        with urlopen(f"http://{address}/api/v1/query?query=spancost_budget_limit_usd", timeout=5) as response:
            found = json.load(response)["data"]["result"]
    except (URLError, OSError):
        return 0
    return len({one["metric"]["instance"] for one in found})


def test_a_real_prometheus_says_what_the_processes_have_said_the_highest_of_each(folder: Path, ask: Ask) -> None:
    behind, ahead = books(folder), books(folder)
    behind.spend(83.0, tenant="acme")
    behind.spend(0.0, tenant="globex", line=UNKNOWN)
    ahead.spend(2.0, tenant="acme")  # the first process does not know yet
    with ExitStack() as stack:
        ports = [stack.enter_context(scraped(shop.book)) for shop in (behind, ahead)]
        url = stack.enter_context(prometheus(folder, ports))
        done = ask("status", "--prometheus", url, "--format", "json")
        checked = ask("check", "llm", "--key", "acme", "--prometheus", url)
        (folder / "spancost.yaml").unlink()
        without_rules = ask("check", "llm", "--prometheus", url)
    found = {(line["rule"], line["key"]): line for line in done.json["budgets"]}
    acme = found["llm", "acme"]
    assert (acme["spend_usd"], acme["limit_usd"], acme["state"], acme["window"]) == (85.0, 100.0, "warning", "total")
    assert found["llm", "globex"]["incomplete"]
    assert found["llm", "globex"]["spend_usd"] is None
    assert checked.code == 1
    assert checked.stdout.splitlines()[0] == (
        "BUDGETS WARNING - llm (acme) at 85 % ($85.00 of $100.00) | 'llm/acme'=85;80;100;0;100"
    )
    assert without_rules.code == 1
    for shop in (behind, ahead):
        shop.book.close()

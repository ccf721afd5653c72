"""The demo's money, read at every place where it arrives, is one and the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.shop.load import run_load
from examples.shop.stack import Stack, executable
from spancost import names
from spancost.charge import SERVER
from spancost.prices.book import PriceBook
from spancost.prices.compute import compute_rate
from spancost.sinks.ledger.reader import LedgerReader
from tests.e2e import exposition
from tests.support.command_line import NOT_RUN, Example, command_on_path, examples, fill, is_success, run_example
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_PER_ROUTE = 5


@dataclass
class _Run:
    """What is left when the demo's apps have ended."""

    stack: Stack
    receiver: OtlpReceiver
    assistant_metrics: str
    requests: int


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Run]:
    directory = tmp_path_factory.mktemp("demo")
    with OtlpReceiver() as receiver:
        stack = Stack(directory, otlp_endpoint=receiver.url)
        with stack:
            result = run_load(stack.urls, per_route=_PER_ROUTE)
            assert not result.failures
            # Its collector lives and dies with the process; cost does not change any more, only idle does.
            assistant_metrics = stack.scrape("assistant")
        sent = sum(route.sent for route in result.routes.values())
        yield _Run(stack, receiver, assistant_metrics, sent)


def _by_component(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for component, usd in pairs:
        sums[component] += usd
    return {component: usd for component, usd in sums.items() if usd}


def _ledger(run: _Run) -> dict[str, float]:
    rows = LedgerReader(run.stack.ledger).rows(by=["component"])
    return _by_component((row.key[0], row.usd) for row in rows)


def _prometheus(run: _Run) -> dict[str, float]:
    found = exposition.samples(run.assistant_metrics)
    for app in ("storefront", "office"):
        found += exposition.from_files(run.stack.multiprocess_directory(app))
    cost = [sample for sample in found if sample.name == "spancost_cost_usd_total"]
    return _by_component((dict(sample.labels)["component"], sample.value) for sample in cost)


def _otlp(run: _Run, metric: str) -> dict[str, float]:
    sums = run.receiver.latest_sum_by(metric, "component")
    return _by_component((str(component), usd) for (component,), usd in sums.items())


def _roots(run: _Run) -> dict[str, float]:
    pairs: list[tuple[str, float]] = []
    for span in run.receiver.spans:
        if names.TOTAL_NANO_USD in span.attributes:
            parts = [(c, float(span.attributes.get(name, 0.0))) for c, name in names.COMPONENT_USD.items()]
            assert sum(usd for _, usd in parts) == pytest.approx(span.attributes[names.TOTAL_USD], rel=1e-12)
            pairs += parts
    return _by_component(pairs)


def test_ledger_prometheus_otlp_and_root_spans_agree_per_component(run: _Run) -> None:
    ledger = _ledger(run)
    assert set(ledger) == {"compute", "egress", "aws", "llm", "http"}
    assert _prometheus(run) == pytest.approx(ledger, rel=1e-9)
    assert _otlp(run, names.METRIC_COST) == pytest.approx(ledger, rel=1e-9)
    assert _otlp(run, names.METRIC_ATTRIBUTED) == pytest.approx(ledger, rel=1e-9)
    late = _otlp(run, names.METRIC_LATE)
    unattributed = _otlp(run, names.METRIC_UNATTRIBUTED)
    exported = _roots(run)
    total = {c: exported.get(c, 0.0) + late.get(c, 0.0) + unattributed.get(c, 0.0) for c in ledger}
    assert total == pytest.approx(ledger, rel=1e-9)
    assert late["egress"] > 0, "bodies streamed by WSGI apps are metered late"


def test_direct_costs_of_all_spans_add_up_to_the_ledger(run: _Run) -> None:
    direct = sum(float(span.attributes.get(names.DIRECT_USD, 0.0)) for span in run.receiver.spans)
    late_egress = _otlp(run, names.METRIC_LATE).get("egress", 0.0)
    assert direct + late_egress == pytest.approx(sum(_ledger(run).values()), rel=1e-9)


def test_attributed_and_idle_compute_of_all_processes_is_the_price_of_the_machine(run: _Run) -> None:
    usd = _ledger(run)["compute"] + sum(row.usd for row in LedgerReader(run.stack.ledger).idle())
    members = json.loads(Path(run.stack.lease).read_text())["members"]
    assert len(members) == 4, "two storefront workers, the assistant, one office worker"
    # The machine is somebody's whenever it has a member; here there is one from the first span to the last exit.
    seconds = max(member["until"] for member in members) - min(member["from"] for member in members)
    rate = compute_rate("aws:m6i.large", "us-east-1", PriceBook.shipped()).usd_per_second
    assert usd == pytest.approx(rate * seconds, rel=1e-9)


def test_every_request_of_the_load_is_counted(run: _Run) -> None:
    counted = sum(point.count for point in run.receiver.newest(names.METRIC_REQUEST_COST))
    exported = sum(names.TOTAL_NANO_USD in span.attributes and span.kind == SERVER for span in run.receiver.spans)
    ledger = sum(row.requests for row in LedgerReader(run.stack.ledger).rows(by=["http_route"]) if row.key[0])
    assert counted == exported == ledger
    assert exported > run.requests, "the apps also call each other"


def test_report_shows_every_route_and_the_same_total(run: _Run) -> None:
    command = [
        str(executable("spancost")),
        "report",
        "--ledger",
        str(run.stack.ledger),
        "--by",
        "service,http_route",
        "--format",
        "json",
    ]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ledger = _ledger(run)
    rows = report["rows"]
    assert sum(row["total_usd"] for row in rows) == pytest.approx(sum(ledger.values()), rel=1e-9)
    routes = {(row["service"], row["http_route"]) for row in rows}
    assert {("storefront", "/checkout"), ("assistant", "/chat"), ("office", "invoices/")} <= routes


@pytest.mark.parametrize("example", [one for one in examples() if one.command not in NOT_RUN], ids=lambda one: one.line)
def test_an_example_of_the_help_runs_on_the_demos_ledger(run: _Run, example: Example, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    fill(folder, Path(run.stack.ledger))
    done = run_example(example, folder, command_on_path(tmp_path / "bin"))
    assert is_success(example, done.returncode), done.stderr or done.stdout


def test_nothing_is_left_running(run: _Run) -> None:
    assert run.stack.alive() == []


def test_apps_import_nothing_of_spancost_but_attribute() -> None:
    shop = Path(sys.modules[Stack.__module__].__file__ or "").parent
    for app in ("storefront.py", "assistant.py", "office.py", "office_settings.py"):
        imports = [
            line.strip() for line in (shop / app).read_text().splitlines() if "import" in line and "spancost" in line
        ]
        assert set(imports) <= {"from spancost import attribute"}, app

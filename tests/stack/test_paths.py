"""One small application on every path to a Prometheus: the same names, the same labels, the same money.

Four runs at once, each against a ledger of its own: a scrape of one process, a scrape of gunicorn with two workers,
OTLP from the SDK into Prometheus, and OTLP through a Collector with remote write. All of it goes into one Prometheus,
with the configuration of grafana/.

What depends on the time of day has the same names, but values of its own on each path: idle cost, compute, the time of
the last flush and the age of prices.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, Final

import pytest
import yaml

from examples.stack.servers import Collector, Prometheus
from tests.e2e import zero_code
from tests.e2e.apps.worker import PREFIX
from tests.e2e.zero_code import LLM_CALL_USD, ROOT, Books, Load, Program
from tests.support.processes import ReservedPort

pytestmark = pytest.mark.stack

_EXACT: Final = 1e-9
_INTERVAL_S: Final = 1
_HOLD_S: Final = 4
"""A new series reads 0 for longer than any interval here."""
_RESOURCE: Final = {
    "deployment.environment.name": "testing",
    "k8s.namespace.name": "sales",
    "cloud.account.id": "123456789012",
    "cloud.region": "us-east-1",
}
_SCOPE: Final = {key.replace(".", "_"): value for key, value in _RESOURCE.items()}
_OF_THE_WAY: Final = frozenset({"__name__", "job", "instance", "otel_scope_name", "otel_scope_version"})
_DIRECT: Final = "direct"
_WORKERS: Final = "workers"
_PUSHED: Final = "pushed"
_COLLECTED: Final = "collected"
_WAYS: Final = (_DIRECT, _WORKERS, _PUSHED, _COLLECTED)
_FLASK: Final = ("flask", "--app", "tests.e2e.apps.flask_app:app", "run", "--host", "127.0.0.1", "--port", "{port}")
_GUNICORN: Final = (
    "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "-w", "2", "tests.e2e.apps.flask_app:app",
)  # fmt: skip
_WORK: Final = [f"/work/{number}" for number in range(12)]


@dataclass(frozen=True, slots=True)
class Runs:
    """The four applications, still running, with all of their money in the Prometheus."""

    prometheus: Prometheus
    books: Mapping[str, Books]
    began: float


def _environment(folder: Path, way: str, **more: str) -> dict[str, str]:
    return zero_code.environment(
        folder,
        instrumentations=frozenset({"flask", "threading"}),
        OTEL_SERVICE_NAME=way,
        OTEL_RESOURCE_ATTRIBUTES=",".join(f"{key}={value}" for key, value in _RESOURCE.items()),
        OTEL_METRIC_EXPORT_INTERVAL=str(_INTERVAL_S * 1000),
        SPANCOST_FIRST_VALUE_HOLD=f"{_HOLD_S}s",
        **more,
    )


def _configuration(folder: Path, targets: list[str]) -> Path:
    """Write the configuration of grafana/ with this test's targets, and with its pace."""
    text = (ROOT / "grafana" / "prometheus" / "prometheus.yaml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text)
    config["global"] = {"scrape_interval": f"{_INTERVAL_S}s", "evaluation_interval": f"{_INTERVAL_S}s"}
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for shipped in (ROOT / "grafana" / "rules").glob("*.yaml"):
        content = shipped.read_text(encoding="utf-8")
        (rules / shipped.name).write_text(
            re.sub(r"interval: \d+m", f"interval: {_INTERVAL_S}s", content), encoding="utf-8"
        )
    config["rule_files"] = ["rules/*.yaml"]
    (folder / "targets").mkdir()
    (folder / "targets" / "apps.yaml").write_text(
        yaml.safe_dump([{"targets": targets, "labels": {"deployment_environment_name": "of the target"}}]),
        encoding="utf-8",
    )
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("paths")
    own = ReservedPort()
    files = folder / "multiprocess"
    files.mkdir()
    for way in _WAYS:
        (folder / way).mkdir()
    programs: dict[str, Program] = {
        _DIRECT: Program(
            folder / _DIRECT, _FLASK, _environment(folder / _DIRECT, _DIRECT, SPANCOST_PROMETHEUS_PORT=str(own.number))
        ),
        _WORKERS: Program(
            folder / _WORKERS,
            _GUNICORN,
            _environment(folder / _WORKERS, _WORKERS, PROMETHEUS_MULTIPROC_DIR=str(files)),
        ),
    }
    targets = [url.removeprefix("http://") for url in (own.url, programs[_WORKERS].url)]
    server = Prometheus(
        folder / "prometheus", _configuration(folder / "config", targets), features=["exemplar-storage"]
    )
    collector = Collector(
        folder / "collector",
        [ROOT / "collector-config" / "gateway.yaml"],
        {"REMOTE_WRITE_URL": server.remote_write_url},
        name="gateway",
    )
    pushed = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": server.otlp_metrics_url}
    through = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_http}
    programs[_PUSHED] = Program(folder / _PUSHED, _FLASK, _environment(folder / _PUSHED, _PUSHED, **pushed))
    programs[_COLLECTED] = Program(
        folder / _COLLECTED, _FLASK, _environment(folder / _COLLECTED, _COLLECTED, **through)
    )
    with ExitStack() as started:
        began = time()
        started.enter_context(server)
        started.enter_context(collector)
        own.release()
        for program in programs.values():
            started.enter_context(program)
        books = {way: Books(program.ledger) for way, program in programs.items()}
        sent: dict[str, int] = {}
        for way, program in programs.items():
            load = Load()
            load.send(program, [*_WORK, "/stream/a"], workers=2 if way == _WORKERS else 1)
            program.get("/tenant")
            sent[way] = load.requests + 1
        for way in _WAYS:
            books[way].wait_for(lambda got, way=way: got.served() == sent[way], f"all requests of {way} in the ledger")
            usd = sum(books[way].by_component().values())
            server.wait_for(
                f'sum(spancost_cost_usd_total{{service_name="{way}"}}) '
                f'and on () sum(spancost_request_cost_usd_count{{service_name="{way}"}}) == {sent[way]}',
                lambda found, usd=usd: [one.value for one in found] == [pytest.approx(usd, rel=_EXACT)],
            )
        yield Runs(server, books, began)


def _series(runs: Runs, way: str) -> list[dict[str, str]]:
    return runs.prometheus.get(
        "series", **{"match[]": f'{{__name__=~"spancost_.+", service_name="{way}"}}', "start": str(runs.began)}
    )


def test_every_path_has_the_same_names_with_the_same_labels(runs: Runs) -> None:
    found: dict[str, dict[str, set[str]]] = {}
    for way in _WAYS:
        labels = found.setdefault(way, {})
        for series in _series(runs, way):
            labels.setdefault(series["__name__"], set()).update(series.keys() - _OF_THE_WAY)
    assert found[_DIRECT].keys() > {
        "spancost_cost_usd_total",
        "spancost_attributed_cost_usd_total",
        "spancost_usage_total",
        "spancost_idle_cost_usd_total",
        "spancost_spans_total",
        "spancost_request_cost_usd_bucket",
        "spancost_requests_total",
        "spancost_internal_last_flush_success",
        "spancost_internal_sampled_only",
    }
    for way in _WAYS[1:]:
        assert found[way] == found[_DIRECT], way


def test_every_series_of_every_path_can_be_split_by_service_and_place(runs: Runs) -> None:
    for way in _WAYS:
        for series in _series(runs, way):
            assert {label: series.get(label) for label in _SCOPE} == _SCOPE, (way, series)


def test_buckets_have_the_same_bounds_on_every_path_however_these_are_written(runs: Runs) -> None:
    bounds = {
        way: {
            float(series["le"])
            for series in _series(runs, way)
            if series["__name__"] == "spancost_request_cost_usd_bucket"
        }
        for way in _WAYS
    }
    assert len(bounds[_DIRECT]) == 16
    assert all(found == bounds[_DIRECT] for found in bounds.values()), bounds


@pytest.mark.parametrize("way", _WAYS)
def test_money_is_that_of_the_ledger_to_the_last_digits(runs: Runs, way: str) -> None:
    truth = runs.books[way].by_component()
    assert truth.keys() == {"compute", "egress", "llm"}
    for metric in ("spancost_cost_usd_total", "spancost_attributed_cost_usd_total"):
        found = runs.prometheus.sums(f'{metric}{{service_name="{way}"}}', "component")
        assert {component: usd for (component,), usd in found.items() if usd} == pytest.approx(truth, rel=_EXACT)
    by_route = dict(
        runs.books[way].rows(
            "SELECT http_route, SUM(usd) FROM ledger_rows WHERE position != 'idle' GROUP BY http_route"
        )
    )
    routes = runs.prometheus.sums(f'spancost_cost_usd_total{{service_name="{way}"}}', "http_route")
    assert {route: usd for (route,), usd in routes.items()} == pytest.approx(by_route, rel=_EXACT)
    [(tokens,)] = runs.books[way].rows("SELECT SUM(quantity) FROM ledger_rows WHERE component = 'llm'")
    used = runs.prometheus.sums(f'spancost_usage_total{{service_name="{way}", component="llm"}}')
    assert used[()] == pytest.approx(tokens, rel=_EXACT)
    requests = runs.prometheus.sums(f'spancost_request_cost_usd_sum{{service_name="{way}"}}')[()]
    [(total_usd,)] = runs.books[way].rows("SELECT SUM(total_usd) FROM requests_minute WHERE served")
    assert requests == pytest.approx(total_usd, rel=_EXACT)


@pytest.mark.parametrize("way", _WAYS)
def test_a_tenant_that_was_seen_once_is_in_increase(runs: Runs, way: str) -> None:
    once = f'spancost_attributed_cost_usd_total{{service_name="{way}", tenant=~"{PREFIX}.+", component="llm"}}'
    usd = runs.prometheus.sums(once)[()]
    assert usd == pytest.approx(LLM_CALL_USD, rel=_EXACT)
    increase = runs.prometheus.sums(f"increase({once}[10m])")[()]
    # Extrapolated by at most one and a tenth of an interval of a growth that began at 0.
    assert usd * (1 - _EXACT) <= increase <= 1.5 * usd


@pytest.mark.parametrize("way", _WAYS)
def test_a_route_that_was_asked_once_is_in_the_increase_of_requests(runs: Runs, way: str) -> None:
    asked = f'spancost_requests_total{{service_name="{way}", http_route="/tenant"}}'
    assert runs.prometheus.sums(asked)[()] == 1
    assert 1 <= runs.prometheus.sums(f"increase({asked}[10m])")[()] <= 1.5


@pytest.mark.parametrize("way", _WAYS)
def test_requests_are_counted_as_often_as_the_histogram_of_their_costs_counts_them(runs: Runs, way: str) -> None:
    by = ("http_route", "http_request_method", "entrypoint", "outcome")
    counted = runs.prometheus.sums(f'spancost_requests_total{{service_name="{way}"}}', *by)
    assert counted
    assert counted == runs.prometheus.sums(f'spancost_request_cost_usd_count{{service_name="{way}"}}', *by)


@pytest.mark.parametrize("way", _WAYS)
def test_recording_rules_keep_what_a_fleet_is_split_by_and_nothing_of_the_way(runs: Runs, way: str) -> None:
    for name in ("service:spancost_cost_usd:rate5m", "service:spancost_idle_cost_usd:rate5m"):
        rule = f'{name}{{service_name="{way}"}}'
        runs.prometheus.wait_for(rule, lambda found: len(found) == 1 and found[0].value > 0)
        [sample] = runs.prometheus.query(rule)
        assert sample.labels == {"__name__": name, "service_name": way, **_SCOPE}


def test_no_path_alone_looks_like_a_service_that_is_counted_twice(runs: Runs) -> None:
    evaluated = 'count(ALERTS{alertname="SpancostServiceCountedTwice"}) or vector(0)'
    assert [one.value for one in runs.prometheus.query(evaluated)] == [0]


def _exemplars(runs: Runs, way: str) -> list[dict[str, Any]]:
    answer = runs.prometheus.get(
        "query_exemplars",
        query=f'spancost_request_cost_usd_bucket{{service_name="{way}"}}',
        start=str(runs.began),
        end=str(time()),
    )
    return [{**one, "series": series["seriesLabels"]} for series in answer for one in series["exemplars"]]


@pytest.mark.parametrize("way", [_DIRECT, _PUSHED, _COLLECTED])
def test_an_exemplar_leads_from_the_cost_of_a_request_to_its_trace(runs: Runs, way: str) -> None:
    found = _exemplars(runs, way)
    assert {one["series"]["http_route"] for one in found} == {"/work/<name>", "/stream/<name>", "/tenant"}
    for one in found:
        assert re.fullmatch("[0-9a-f]{32}", one["labels"]["trace_id"])
        assert re.fullmatch("[0-9a-f]{16}", one["labels"]["span_id"])
        assert {label: one["series"][label] for label in _SCOPE} == _SCOPE
    # The ledger keeps the costliest traces: here all of them.
    [(trace_id, usd)] = runs.books[way].rows(
        "SELECT trace_id, total_usd FROM traces JOIN labels ON labels.id = labels_id WHERE http_route = '/tenant'"
    )
    [once] = [one for one in found if one["series"]["http_route"] == "/tenant"]
    assert once["labels"]["trace_id"] == trace_id
    assert float(once["value"]) == pytest.approx(usd, rel=_EXACT)


def test_several_workers_have_no_exemplars(runs: Runs) -> None:
    assert _exemplars(runs, _WORKERS) == []

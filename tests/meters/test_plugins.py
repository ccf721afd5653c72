"""Third-party meters: loaded by entry point, guarded, and never beside the built-in charge of the same call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from spancost import add_usage, names
from spancost._guard import ErrorLog
from spancost.charge import LLM_SPAN
from spancost.meters import CustomUsage, SpanView, plugins
from spancost.meters.custom import CustomMeter
from spancost.meters.plugins import PluginMeters, joined
from spancost.prices.custom_rates import CustomRate
from spancost.prices.own import OwnPrices
from spancost.testing import World, priced_provider
from spancost.window import ENTRY, INNER
from tests.offline.traces import Span as StoredSpan
from tests.offline.traces import priced_spans
from tests.recorded import NOW_NS
from tests.spans import EGRESS_USD_PER_GB, GB, REGION, chat, put_item, server, sms, start

_OWN = OwnPrices(custom=(CustomRate("ocr", "page", Decimal("0.002"), place="spancost.yaml"),))


class Ocr:
    """Charges what the attribute `ocr.pages` says."""

    keys = frozenset({"ocr.pages"})

    def __init__(self, measure: Callable[[SpanView], Iterable[CustomUsage]] | None = None) -> None:
        self._measure = measure
        self.seen: list[SpanView] = []

    def measure(self, view: SpanView) -> Iterable[CustomUsage]:
        self.seen.append(view)
        if self._measure is not None:
            return self._measure(view)
        pages = view.attributes["ocr.pages"]
        return [CustomUsage("ocr", pages, "page")] if pages else ()


def _world(*meters: Any, reraise: bool = True, own: OwnPrices = _OWN, **more: Any) -> Any:
    return priced_provider(region=REGION, own=own, usage_meters=meters, reraise=reraise, **more)


def _booked(world: World) -> dict[tuple[str, str], float]:
    world.publish()
    booked: dict[tuple[str, str], float] = {}
    for key, sums in world.recorded.charges.items():
        if key.line.component != names.COMPUTE:
            where = (key.line.component, key.position)
            booked[where] = booked.get(where, 0.0) + sums.usd
    return booked


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        (SpanKind.INTERNAL, {}),
        (SpanKind.CLIENT, put_item()),
        (SpanKind.CLIENT, sms()),
        (SpanKind.CLIENT, chat(1000, 10)),
        (SpanKind.PRODUCER, {"messaging.system": "kafka"}),
    ],
)
def test_its_charge_stands_instead_of_the_built_in_one(kind: SpanKind, attributes: dict[str, Any]) -> None:
    with _world(Ocr()) as world:
        root = start(world.tracer, "job")
        start(world.tracer, "call", root, kind, attributes | {"ocr.pages": 3}).end()
        root.end()
        assert _booked(world) == {("custom", INNER): pytest.approx(0.006)}
        told = world.attributes("call")
        assert (told[names.STATUS], told[names.SOURCE]) == ("priced", "configured:spancost.yaml")
        assert told[names.DIRECT_USD] == told[names.OPERATION_COST] == pytest.approx(0.006)
        assert world.attributes("job")["spancost.custom.usd"] == pytest.approx(0.006)


@pytest.mark.parametrize("kind", [SpanKind.SERVER, SpanKind.CONSUMER])
def test_on_a_served_span_it_is_added_beside_egress(kind: SpanKind) -> None:
    with _world(Ocr()) as world:
        start(world.tracer, "GET", kind=kind, attributes=server(response_bytes=GB) | {"ocr.pages": 3}).end()
        charged = _booked(world)
        assert charged.pop(("custom", ENTRY)) == pytest.approx(0.006)
        egress_usd = EGRESS_USD_PER_GB if kind is SpanKind.SERVER else 0.0
        assert sum(charged.values()) == pytest.approx(egress_usd)
        assert world.attributes("GET")[names.TOTAL_USD] == pytest.approx(egress_usd + 0.006)


def test_a_span_that_it_charges_nothing_keeps_its_built_in_charge() -> None:
    with _world(Ocr()) as world:
        start(world.tracer, "put", kind=SpanKind.CLIENT, attributes=put_item() | {"ocr.pages": 0}).end()
        assert list(_booked(world)) == [("aws", ENTRY)]


def test_it_sees_only_spans_with_one_of_its_attributes() -> None:
    meter = Ocr()
    with _world(meter) as world:
        start(world.tracer, "plain", attributes={"other": 1}).end()
        start(world.tracer, "empty").end()
        start(world.tracer, "ocr", kind=SpanKind.CLIENT, attributes={"ocr.pages": 1}).end()
    assert [(view.name, view.kind) for view in meter.seen] == [("ocr", 2)]


def test_usage_of_the_application_is_added_to_that_of_the_meter() -> None:
    from opentelemetry import trace

    with _world(Ocr()) as world:
        span = start(world.tracer, "call", attributes={"ocr.pages": 3})
        with trace.use_span(span):
            add_usage("review", 1, "page", usd=1.0)
        span.end()
        assert sum(_booked(world).values()) == pytest.approx(1.006)
        assert world.attributes("call")[names.DIRECT_USD] == pytest.approx(1.006)
        assert world.attributes("call")[names.OPERATION_COST] == pytest.approx(1.006)


def test_an_llm_span_that_it_charges_does_not_charge_what_it_holds_of_inner_ones() -> None:
    with _world(Ocr()) as world:
        outer = start(world.provider.get_tracer("langchain"), "chat", None, SpanKind.CLIENT, chat(100, 10))
        start(world.provider.get_tracer("openai"), "chat", outer, SpanKind.CLIENT, chat(100, 10)).end()
        outer.set_attribute("ocr.pages", 1)
        outer.end()
        assert {key: usd for key, usd in _booked(world).items() if usd} == {("custom", ENTRY): pytest.approx(0.002)}
        assert world.engine.llm_calls.holders == {}


def _raises(view: SpanView) -> Iterable[CustomUsage]:
    raise RuntimeError("broken")


def _raises_in_the_middle(view: SpanView) -> Iterable[CustomUsage]:
    yield CustomUsage("ocr", 1, "page")
    raise RuntimeError("broken")


def _returns_nothing(view: SpanView) -> Any:
    return None


def _returns_texts(view: SpanView) -> Any:
    return ["ocr"]


def _names_are_numbers(view: SpanView) -> Any:
    return [CustomUsage(3, 1, "page")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "measure", [_raises, _raises_in_the_middle, _returns_nothing, _returns_texts, _names_are_numbers]
)
def test_one_that_fails_is_counted_and_the_span_priced_as_if_it_were_not_there(
    measure: Callable[[SpanView], Any],
) -> None:
    with _world(Ocr(measure), reraise=False) as world:
        start(world.tracer, "put", kind=SpanKind.CLIENT, attributes=put_item() | {"ocr.pages": 1}).end()
        assert world.engine.errors.counts == {"meter.Ocr": 1}
        assert list(_booked(world)) == [("aws", ENTRY)]
        assert len(world.spans) == 1


def test_one_that_fails_leaves_the_others_at_work() -> None:
    with _world(Ocr(_raises), Ocr(), reraise=False) as world:
        start(world.tracer, "call", attributes={"ocr.pages": 2}).end()
        assert _booked(world) == {("custom", ENTRY): pytest.approx(0.004)}


def test_one_that_never_stops_is_stopped() -> None:
    def forever(view: SpanView) -> Iterable[CustomUsage]:
        while True:
            yield CustomUsage("ocr", 1, "page")

    with _world(Ocr(forever)) as world:
        start(world.tracer, "call", attributes={"ocr.pages": 2}).end()
        assert _booked(world) == {("custom", ENTRY): pytest.approx(1000 * 0.002)}


def test_impossible_usage_is_unpriced_and_stands_for_the_call() -> None:
    with _world(Ocr(lambda _: [CustomUsage("ocr", float("nan"), "page")])) as world:
        start(world.tracer, "put", kind=SpanKind.CLIENT, attributes=put_item() | {"ocr.pages": 1}).end()
        assert world.attributes("put")[names.REASON] == "bad_usage"
        assert list(_booked(world)) == [("custom", ENTRY)]


def test_nothing_is_asked_where_no_meter_is_installed() -> None:
    with priced_provider(region=REGION) as world:
        start(world.tracer, "plain", attributes={"ocr.pages": 1}).end()
        assert world.engine.meters.plugins is None


def test_an_llm_span_or_transport_falls_and_egress_stays() -> None:
    meters = PluginMeters([("ocr", Ocr())], CustomMeter())
    view = SpanView("x", 2, "s", {"ocr.pages": 1}, 0, 1)
    used = meters.charges_of(view, ErrorLog())
    assert joined(LLM_SPAN, used) is used


# --- stored traces --------------------------------------------------------------------------------


@pytest.mark.parametrize("attributes", [{}, put_item(), sms(), chat(1000, 10)])
def test_stored_spans_are_charged_by_it_like_live_ones(attributes: dict[str, Any], tmp_path: Path) -> None:
    spans = [
        StoredSpan(1, 0, "job", end_ns=NOW_NS + 10),
        StoredSpan(2, 1, "call", "CLIENT", attributes | {"ocr.pages": 3}, "s", start_ns=NOW_NS, end_ns=NOW_NS + 5),
    ]
    rollup = priced_spans(tmp_path, spans, ["component"], own=_OWN, usage_meters=[Ocr()])
    assert {row.key[0]: row.usd for row in rollup.rows if row.usd} == {"custom": pytest.approx(0.006)}


# --- entry points ---------------------------------------------------------------------------------

_MODULE = """
from spancost.meters import CustomUsage

class Works:
    keys = frozenset({"ocr.pages"})
    def measure(self, view):
        return [CustomUsage("ocr", view.attributes["ocr.pages"], "page", usd=0.5)]

class CannotBeMade(Works):
    def __init__(self):
        raise ValueError("no licence")

class WithoutKeys(Works):
    keys = "ocr.pages"

class WithoutMeasure:
    keys = frozenset({"x"})
    measure = None
"""

_PROGRAM = """
import json, logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import spancost
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
spancost.install(provider)
at_install = "their_meters" in sys.modules
with provider.get_tracer("x").start_as_current_span("call", attributes={"ocr.pages": 2}):
    pass
(span,) = exporter.get_finished_spans()
json.dump([at_install, span.attributes.get("spancost.total.usd"), span.attributes.get("spancost.source")], sys.stdout)
"""


_DOCTOR = "from spancost.cli import main; main()"


def _install(folder: Path, distribution: str, entries: dict[str, str]) -> None:
    """Put a package with entry points where Python finds it."""
    (folder / "their_meters.py").write_text(_MODULE)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    (info / "entry_points.txt").write_text(f"[spancost.meters]\n{lines}")


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANCOST_", "OTEL_"))}
    path = os.pathsep.join([str(folder), *filter(None, [kept.get("PYTHONPATH")])])
    env = kept | {"PYTHONPATH": path, "SPANCOST_LEASE": "off", "SPANCOST_DETECT": "off", "COLUMNS": "500"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


def test_meters_are_found_where_opentelemetry_does_not_keep_the_metadata_of_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found() -> list[str]:
        return sorted(point.name for point in plugins._entry_points())  # pyright: ignore[reportPrivateUsage]

    monkeypatch.setattr(plugins, "GROUP", "opentelemetry_instrumentor")  # of which some are installed
    kept = found()
    monkeypatch.setitem(sys.modules, "opentelemetry.util._importlib_metadata", None)
    monkeypatch.delattr("opentelemetry.util._importlib_metadata")
    assert "botocore" in kept
    assert found() == kept


def test_installed_meters_are_loaded_with_the_first_span_and_broken_ones_are_named(tmp_path: Path) -> None:
    _install(
        tmp_path,
        "acme-meters",
        {
            "works": "their_meters:Works",
            "no_module": "missing_module:Meter",
            "no_licence": "their_meters:CannotBeMade",
            "no_keys": "their_meters:WithoutKeys",
            "no_measure": "their_meters:WithoutMeasure",
        },
    )
    done = _run(tmp_path, "-c", _PROGRAM)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [False, 0.5, "application"]
    for problem in (
        "meter no_module of acme-meters 1.0 is left out: ModuleNotFoundError: No module named 'missing_module'",
        "meter no_licence of acme-meters 1.0 is left out: ValueError: no licence",
        "meter no_keys of acme-meters 1.0 is left out: its `keys` are no set of attribute names",
        "meter no_measure of acme-meters 1.0 is left out: its `measure` cannot be called",
    ):
        assert problem in done.stderr
    assert done.stderr.count("is left out") == 4


def test_of_two_meters_of_one_name_the_first_package_is_taken_and_doctor_says_so(tmp_path: Path) -> None:
    _install(tmp_path, "acme-meters", {"ocr": "their_meters:Works"})
    _install(tmp_path, "zeta-meters", {"ocr": "their_meters:CannotBeMade"})
    done = _run(tmp_path, "-c", _PROGRAM)
    assert json.loads(done.stdout)[1] == 0.5
    assert "meter ocr of zeta-meters 1.0 is left out: the name is taken by acme-meters 1.0" in done.stderr
    doctor = _run(tmp_path, "-c", _DOCTOR, "doctor", "--format", "json")
    checks = [(one["state"], one["text"]) for one in json.loads(doctor.stdout)["checks"] if one["subject"] == "meters"]
    assert checks == [
        ("ok", "ocr (acme-meters 1.0)"),
        ("problem", "ocr of zeta-meters 1.0 is left out: the name is taken by acme-meters 1.0"),
    ]

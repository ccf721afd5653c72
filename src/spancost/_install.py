"""Builds the parts and ties them to a TracerProvider and a MeterProvider."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import metrics as otel_metrics
from opentelemetry import trace

from spancost import names
from spancost._guard import logger
from spancost._last_flush import watch_children
from spancost.capture.aws.dynamodb import inject_capacity
from spancost.capture.http_clients import set_rules
from spancost.capture.instrumentors import hook_instrumentors
from spancost.capture.threads import follow_threads
from spancost.config import Config, load_config
from spancost.engine import CostEngine
from spancost.errors import SpancostError
from spancost.meters.aws.dynamodb import set_provisioned_tables
from spancost.meters.compute import ComputePricing
from spancost.meters.custom import CustomMeter
from spancost.meters.http_api import HttpApiMeter
from spancost.meters.llm import LlmMeter
from spancost.meters.llm.text_estimate import text_estimate
from spancost.meters.meter_set import MeterSet, make_meters
from spancost.meters.plugins import has_plugins, plugin_meters
from spancost.prices.age import prices_since
from spancost.prices.book import PriceBook, shipped_data
from spancost.prices.configured import custom_rates, http_rules, price_book, token_prices
from spancost.prices.discounts import Discounts
from spancost.sinks.sdk_readers import readers_of
from spancost.sinks.totals import MetricTotals
from spancost.window import Origin, as_utf8

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from spancost.detect import Surroundings
    from spancost.meters import UsageMeter
    from spancost.sinks.exemplars import RequestExemplars
    from spancost.sinks.ledger.writer import Ledger

_ENVIRONMENT: Final = "deployment.environment.name"
_CONSTANT_LABELS: Final = (
    "service.name",
    _ENVIRONMENT,
    "k8s.namespace.name",
    "cloud.account.id",
    "cloud.region",
)
_OLD_NAMES: Final = {_ENVIRONMENT: "deployment.environment"}
"""What attributes of a resource were called before; many still are."""
_MULTIPROC: Final = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")

_lock: Final = threading.RLock()
_default: CostEngine | None = None
_installed: weakref.WeakSet[Any] = weakref.WeakSet()
_served: Final[set[tuple[int, int]]] = set()
"""Process and port of each own `/metrics`; they outlive their engine."""


def install(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    config: Config | None = None,
) -> CostEngine:
    """Price the spans of a TracerProvider; calling it again changes nothing.

    Args:
        tracer_provider: An SDK TracerProvider; the global one by default.

        meter_provider: Where metrics go; the global one by default.

        config: Settings; `spancost.yaml` and the environment by default.

    Returns:
        The engine of this process.

    Raises:
        SpancostError: There is no SDK TracerProvider yet.

        ConfigError: A setting is wrong.
    """
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

    from spancost.processor import CostSpanProcessor
    from spancost.sampler import meter_all

    provider: Any = trace.get_tracer_provider() if tracer_provider is None else tracer_provider
    provider = getattr(provider, "_real_provider", None) or provider
    if not isinstance(provider, SdkTracerProvider):
        raise SpancostError(
            f"spancost.install() needs an SDK TracerProvider, and the present one is a {type(provider).__name__}: "
            "call trace.set_tracer_provider(TracerProvider()) first, or pass tracer_provider="
        )
    with _lock:
        engine = default_engine(config)
        if provider in _installed or not engine.config.enabled:
            return engine
        _installed.add(provider)
        if meter_provider is not None:
            engine.upkeep.insert(0, lambda: _attach_meter_provider(engine, meter_provider))
        provider.add_span_processor(CostSpanProcessor(engine))
        if not (engine.config.meter_all and meter_all(provider)):
            engine.meter_sampled_only("SPANCOST_METER_ALL is off or the sampler cannot be wrapped")
        elif not engine.sources:  # else an exporter goes on seeing sampled spans only
            engine.sampled_only = False
    return engine


def default_engine(config: Config | None = None) -> CostEngine:
    """Return the engine of this process with its capture hooks, made at the first call, and anew after a shutdown."""
    with _lock:
        engine = process_engine(config)
        if not engine.is_connected:
            engine.connect()
            if engine.config.enabled:
                hook_instrumentors()
                if engine.config.compute_model == names.CPU_MODEL:  # before the application's event loop runs
                    engine.watch_cpu()
                follow_threads()
                _enforce(engine.config)
        return engine


def _enforce(config: Config) -> None:
    """Guard the calls of known clients where that is asked for and there is a rule to ask."""
    if config.budget_enforce and config.budget_rules:
        from spancost.budgets.enforcing.switch import enforce

        enforce(config.budget_enforce)


def _stop_enforcing() -> None:
    switch = sys.modules.get("spancost.budgets.enforcing.switch")
    if switch is not None:
        switch.let_go()


def process_engine(config: Config | None = None) -> CostEngine:
    """Return the engine of this process as it is, made without capture hooks if there is none."""
    global _default
    with _lock:
        if _default is not None and _default.is_stopped:
            _retire(_default)
            _default = None
        if _default is None:
            _default = build_engine(load_config() if config is None else config)
            _default.sampled_only = True  # until `install` has wrapped the sampler
            _default.upkeep.append(functools.partial(_look_at_sampler, _default))
            if _default.config.enabled:
                watch_children()
            import atexit

            # Registered last, so it runs before the providers' own: their last export then shows every series in full.
            atexit.unregister(_at_exit)
            atexit.register(_at_exit)
        return _default


def _look_at_sampler(engine: CostEngine) -> None:
    """Find out, once spans come, what a processor sees that was added without `install`."""
    if not engine.sampled_only or engine.tree is None or engine.sources:
        return
    from spancost.sampler import sees_all

    if sees_all(getattr(trace.get_tracer_provider(), "sampler", None)):
        engine.sampled_only = False
    else:
        engine.meter_sampled_only("a CostSpanProcessor alone does not wrap the sampler; spancost.install() does")


def _retire(engine: CostEngine) -> None:
    """Make room for a new engine; until then the last sums of a stopped one can still be read."""
    engine.idle = True
    _stop_enforcing()
    _installed.clear()
    if engine.unregister_prometheus is not None:
        engine.unregister_prometheus()
        engine.unregister_prometheus = None


def priced_providers() -> list[Any]:
    """Return the TracerProviders whose spans are priced; the global one where none was installed on."""
    provider: Any = trace.get_tracer_provider()
    return list(_installed) or [provider] * hasattr(provider, "force_flush")


def resource_of_process() -> Mapping[str, Any]:
    """Return the attributes of the resource of a provider that is priced, where no span has told them yet."""
    provider: Any = next(iter(_installed), None) or trace.get_tracer_provider()
    resource = getattr(getattr(provider, "_real_provider", None) or provider, "resource", None)
    return {} if resource is None else resource.attributes


def current_engine() -> CostEngine | None:
    """Return the engine of this process if there is one."""
    return _default


def flush(timeout: float = 10.0) -> bool:
    """Publish everything that was charged so far: metrics, ledger, and the MeterProvider's own export.

    Args:
        timeout: Longest wait, seconds.

    Returns:
        True if everything went out in time, and if there is nothing to flush.
    """
    return True if _default is None else _default.flush(timeout)


def shutdown(timeout: float = 10.0) -> bool:
    """Flush and stop pricing in this process.

    Args:
        timeout: Longest wait, seconds.
    """
    if _default is None:
        return True
    _stop_enforcing()
    return _default.shutdown(timeout)


def _at_exit() -> None:
    engine = _default
    if engine is None or not engine.is_used:
        return
    try:
        leave(engine)
    except Exception:
        engine.errors.caught("exit")


def leave(engine: CostEngine) -> None:
    """Have an engine publish for the last time, with what waits to be exported to it, and be collected once more."""
    exporter = sys.modules.get("spancost.exporter")
    if exporter is not None:
        exporter.take_queued_spans()
    engine.leave()
    provider = _meter_provider_of(engine)
    if provider is not None:
        from spancost.sinks.sdk_at_exit import allow_last_collection

        allow_last_collection(readers_of(provider))


def build_engine(
    config: Config,
    *,
    book: PriceBook | None = None,
    around: Surroundings | None = None,
    usage_meters: Sequence[UsageMeter] | None = None,
) -> CostEngine:
    """Build an engine with its meters and sinks, tied to nothing yet.

    Args:
        config: Settings.

        book: Prices; the shipped and refreshed ones by default. Own prices of the configuration are added.

        around: Where the machine is looked for; this process's own surroundings by default.

        usage_meters: Meters of third parties; those that are installed by default.
    """
    prices = price_book(config) if book is None else config.own.onto(book)
    llm = LlmMeter(token_prices(config), text_estimate(config.estimate_tokens))
    rules = http_rules(config)
    http = HttpApiMeter(rules, config.http_free_hosts, config.http_exclude_hosts, Discounts(config.own.discounts))
    custom = CustomMeter(custom_rates(config), Discounts(config.own.discounts))
    has_plugins()  # looked up here, off the request path; they are imported with the first span
    set_rules(rules)
    inject_capacity(config.inject_consumed_capacity)
    set_provisioned_tables(config.provisioned_tables)
    totals = MetricTotals(
        max_values_per_label=config.max_values_per_label,
        max_series_per_metric=config.max_series_per_metric,
        hold_s=_hold_s(config),
        kept=config.labels,
    )
    engine = CostEngine(
        config,
        MeterSet(ComputePricing(pending=True), llm, custom=custom),
        [totals],
        keep_traces=bool(config.ledger) and config.ledger_costliest_traces + config.ledger_sampled_traces > 0,
    )
    engine.price_date = str(shipped_data()["as_of"])
    engine.prices_since = functools.cache(lambda: prices_since(config))

    def prepare(resource: Mapping[str, Any]) -> None:
        plugins = plugin_meters(usage_meters, custom)
        tell = engine.has_processors
        engine.meters, engine.find_machine = make_meters(
            config, prices, resource, llm, http, around, custom, plugins, tell=tell
        )
        if config.ledger and not _has(engine, "ledger"):  # a child forked in the middle of this does it again
            engine.add_sink(_ledger(config, resource))
        if config.budget_rules and not _has(engine, "budgets"):
            from spancost.budgets.opening import add_budgets

            add_budgets(engine, origin_of(resource))

    engine.prepare = prepare
    engine.upkeep.append(lambda: _attach_what_is_there(engine))
    return engine


def _ledger(config: Config, resource: Mapping[str, Any]) -> Ledger:
    from spancost.sinks.ledger.retention import Retention
    from spancost.sinks.ledger.writer import Ledger

    return Ledger(
        config.ledger,
        origin_of(resource),
        retention=Retention(
            minutes_for=int(config.ledger_minutes_s // 60),
            hours_for=int(config.ledger_hours_s // 60),
            days_for=int(config.ledger_days_s // 60),
        ),
        kept_traces=config.ledger_costliest_traces,
        sampled_traces=config.ledger_sampled_traces,
        flush_interval_seconds=config.flush_interval_s,
    )


def _hold_s(config: Config) -> float:
    if config.first_value_hold_s is not None:
        return config.first_value_hold_s
    try:
        export_s = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "60000")) / 1000
    except ValueError:
        export_s = 60.0
    return max(60.0, export_s)


def origin_of(resource: Mapping[str, Any]) -> Origin:
    """Return what a resource says of where spans come from."""
    return Origin(
        _text(resource, "service.name"),
        _text(resource, _ENVIRONMENT),
        _text(resource, "cloud.account.id"),
        _text(resource, "k8s.namespace.name") or _text(resource, "service.namespace"),
    )


def constant_labels(resource: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels with one value in this process that are known, by Prometheus name."""
    return {name.replace(".", "_"): value for name in _CONSTANT_LABELS if (value := _text(resource, name))}


def _text(resource: Mapping[str, Any], key: str) -> str:
    """An attribute as text, under its old name where the new one says nothing; empty without any."""
    value = resource.get(key)
    if value in (None, "") and key in _OLD_NAMES:
        return _text(resource, _OLD_NAMES[key])
    return "" if value is None else as_utf8(str(value))


# --- metrics: whatever the process has, whenever it appears -------------------------------------------


def _attach_what_is_there(engine: CostEngine) -> None:
    provider: Any = otel_metrics.get_meter_provider()
    _attach_meter_provider(engine, getattr(provider, "_real_meter_provider", None) or provider)
    # Imported by the application itself, or asked for: never imported on our account alone.
    if "prometheus_client" in sys.modules or engine.config.prometheus_port is not None:
        _attach_prometheus(engine)


def _totals_of(engine: CostEngine) -> MetricTotals:
    return next(sink for sink in engine.sinks if isinstance(sink, MetricTotals))


def _has(engine: CostEngine, sink_name: str) -> bool:
    return any(sink.name == sink_name for sink in engine.sinks)


def _meter_provider_of(engine: CostEngine) -> Any:
    """The MeterProvider that metrics go to, None without one."""
    return next((getattr(sink, "provider", None) for sink in engine.sinks if sink.name == "otel_metrics"), None)


def _attach_meter_provider(engine: CostEngine, provider: Any) -> None:
    try:
        from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    except ImportError:
        return
    if not isinstance(provider, SdkMeterProvider) or _has(engine, "otel_metrics"):
        return
    from spancost.sinks.metrics import OtelMetrics, instruments_of

    if _has_prometheus_reader(provider):
        _leave_prometheus_to_otel(engine)
    sink = instruments_of(provider)
    if sink is not None and sink.is_of_stopped_engine():
        sink.take_over(engine, _totals_of(engine))
    else:
        sink = OtelMetrics(engine, _totals_of(engine), provider)
    engine.add_sink(sink)
    engine.on_flush.append(lambda seconds: _push(provider, seconds))


def _push(provider: Any, seconds: float) -> bool:
    """Have a MeterProvider export now; a Prometheus reader is for scrapes alone, and would keep what it is pushed."""
    if not _has_prometheus_reader(provider):
        return bool(provider.force_flush(timeout_millis=max(1.0, seconds * 1000)))
    deadline = time.monotonic() + seconds
    others = [reader for reader in readers_of(provider) if not _is_prometheus_reader(reader)]
    return all(
        [bool(reader.force_flush(timeout_millis=max(1.0, (deadline - time.monotonic()) * 1000))) for reader in others]
    )


def _attach_prometheus(engine: CostEngine) -> None:
    # Looked for each time: readers, and providers with them, appear late.
    if engine.prometheus in (None, "registry") and _has_prometheus_reader(_meter_provider_of(engine)):
        _leave_prometheus_to_otel(engine)
    if engine.prometheus is not None:
        return
    try:
        from spancost.sinks.prometheus import MultiprocessMetrics, TotalsCollector, serve
    except ImportError:
        engine.prometheus = "missing"
        logger.warning("an own /metrics needs prometheus_client: pip install 'spancost[prometheus]'")
        return
    from prometheus_client import REGISTRY

    labels = constant_labels(engine.resource)
    multiprocess = any(os.environ.get(name) for name in _MULTIPROC)
    if multiprocess:
        sink = MultiprocessMetrics(engine, _totals_of(engine), labels)
        engine.add_sink(sink)
        engine.unregister_prometheus = sink.unregister
    else:
        exemplars = _exemplars(engine)
        collector = TotalsCollector(engine, _totals_of(engine), labels, exemplars)
        REGISTRY.register(collector)  # type: ignore[arg-type]
        engine.unregister_prometheus = collector.unregister
    engine.prometheus = "multiprocess" if multiprocess else "registry"
    port = engine.config.prometheus_port
    if port is not None and (os.getpid(), port) not in _served:
        try:
            serve(port, engine.config.prometheus_host, multiprocess=multiprocess)
            _served.add((os.getpid(), port))
        except OSError as error:
            level = logging.INFO if multiprocess else logging.WARNING
            logger.log(level, "port %d for /metrics is taken (%s)", port, error.strerror)


def _exemplars(engine: CostEngine) -> RequestExemplars | None:
    from spancost.sinks.exemplars import ALWAYS_OFF, ENV_FILTER, RequestExemplars

    which = os.environ.get(ENV_FILTER, "")
    if which.strip().lower() == ALWAYS_OFF:
        return None
    exemplars = RequestExemplars(engine, _totals_of(engine), which)
    engine.add_sink(exemplars)
    return exemplars


def _leave_prometheus_to_otel(engine: CostEngine) -> None:
    """Show every series once: an OTel reader serves them on prometheus_client's registry itself."""
    if engine.prometheus == "registry" and engine.unregister_prometheus is not None:
        engine.unregister_prometheus()
        engine.unregister_prometheus = None
    if engine.prometheus in (None, "registry"):
        engine.prometheus = "otel"


def _has_prometheus_reader(provider: Any) -> bool:
    return any(_is_prometheus_reader(reader) for reader in readers_of(provider))


def _is_prometheus_reader(reader: Any) -> bool:
    module = sys.modules.get("opentelemetry.exporter.prometheus")
    return module is not None and isinstance(reader, module.PrometheusMetricReader)

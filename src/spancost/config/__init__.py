"""One validated, frozen configuration: `spancost.yaml`, then the environment, then arguments.

A wrong setting raises `ConfigError` when the configuration is built, naming the file or variable, the
key, the value and what is accepted. Nothing is validated later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from spancost import names
from spancost.attribution_rules import AttributionRule
from spancost.config import attribution, values
from spancost.config.strict_yaml import read_mapping
from spancost.config.values import EgressRule
from spancost.errors import ConfigError, PartError, suggest
from spancost.prices.own import NO_OWN_PRICES, OWN_KEYS, OwnPrices, read_own_prices

if TYPE_CHECKING:
    from spancost.budgets.rules import AnyRule, Channel
    from spancost.prices.book import PriceBook

DEFAULT_FILE: Final = "spancost.yaml"
_NEAR_MISS: Final = "spancost.yml"
_PREFIX: Final = "SPANCOST_"
ASSUMED_COMPUTE: Final = "aws:m6i.large"
ASSUMED_REGION: Final = "us-east-1"

_logger: Final = logging.getLogger(__name__)
_warned: Final[set[str]] = set()


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of one process; see `spancost.yaml` in the documentation for the file's shape."""

    enabled: bool = True
    """Price spans at all."""
    region: str = ""
    """Region for prices when a span or the resource names none; empty if not set."""
    compute: str = ""
    """What the process runs on (`aws:m6i.large`, `0.096usd/h`); empty if not set."""
    compute_model: str = names.OCCUPANCY_MODEL
    """How that is given to spans: `occupancy` splits its time among open spans, `cpu` measures what each used."""
    compute_share: float | None = None
    """Part of that machine that belongs to this process, 0..1; None: shared through the lease file."""
    idle_after_s: float = 30.0
    """A local root without span events leaves the split of compute after this long, seconds."""
    detect: bool = True
    """Ask container and cloud metadata what the process runs on, where neither setting nor resource says so."""
    cpu_request: float | None = None
    """vCPUs that the container asked for; None: not said."""
    memory_request_gib: float | None = None
    """Memory that the container asked for, GiB; None: not said."""
    entrypoint: str = ""
    """What outgoing calls without a parent are done for: the name of a script; empty: each has its own name."""
    egress_clients: str = "auto"
    """Who receives responses: `auto`, `internet`, `private` or `cdn`."""
    egress_proxy: bool = False
    """A load balancer or proxy stands in front: a private peer says nothing about the client."""
    egress_rules: tuple[EgressRule, ...] = ()
    """Other clients for some services or routes; the first that matches wins."""
    attribution_rules: tuple[AttributionRule, ...] = ()
    """Feature, tenant, team and free labels by route, method, entrypoint and attributes; the first that gives a label
    its value wins."""
    attribution_baggage: tuple[tuple[str, str], ...] = ()
    """Baggage keys that may be read, each with its label; of two for one label the first that is there."""
    http_free_hosts: tuple[str, ...] = ()
    """Globs of hosts whose calls cost nothing, for example own services."""
    http_exclude_hosts: tuple[str, ...] = ()
    """Globs of hosts whose calls are not metered at all."""
    inject_consumed_capacity: bool = False
    """Have DynamoDB report the capacity of each call; the application does not see it."""
    provisioned_tables: tuple[str, ...] = ()
    """Globs of DynamoDB tables in provisioned mode: their calls cost nothing beyond the hourly price."""
    estimate_tokens: str = "off"
    """How tokens of LLM calls without usage are estimated from their texts: `off`, `characters` or `tiktoken`."""
    prices_file: str = ""
    """File with own prices beside those of `spancost.yaml`; empty for none."""
    prices_cache: str = ""
    """Folder of refreshed prices; empty for the per-user default, `off` for none."""
    ledger: str = ""
    """Path of the SQLite ledger; empty for none."""
    ledger_minutes_s: float = 2 * 86_400.0
    """The ledger keeps money by the minute for this long, seconds; then by the hour."""
    ledger_hours_s: float = 8 * 86_400.0
    """The ledger keeps money by the hour for this long, seconds; then by the day."""
    ledger_days_s: float = 400 * 86_400.0
    """The ledger forgets what is older than this, seconds."""
    ledger_costliest_traces: int = 20
    """Costliest traces kept whole per hour and service."""
    ledger_sampled_traces: int = 5
    """Traces kept whole per hour and service beside them, drawn at random."""
    lease: str = ""
    """Path of the lease file; empty for the per-user default, `off` for none."""
    flush_interval_s: float = 5.0
    """Counters and ledger are written this often; a killed process loses at most this much, seconds."""
    first_value_hold_s: float | None = None
    """A new counter series reads 0 for this long; None: the longest known export interval, at least 60 s."""
    prometheus_port: int | None = None
    """Port of an own `/metrics`; None for none."""
    prometheus_host: str = "127.0.0.1"
    """Address of the own `/metrics`: loopback unless set."""
    labels: tuple[str, ...] = names.ATTRIBUTION_LABELS
    """Which of feature, tenant and team are kept on metrics."""
    meter_all: bool = True
    """Meter spans that the sampler drops, too (they are not exported)."""
    assume: frozenset[str] = frozenset()
    """Of `compute` and `region`: assume us-east-1 and m6i.large where nothing is known, marked estimated."""
    max_open_roots: int = 10_000
    """Local roots kept open; beyond this the oldest is settled and counted."""
    max_root_quiet_s: float = 3600.0
    """A local root without any event for this long is settled and counted, seconds."""
    partial_cost_interval_s: float = 10.0
    """Charges of a request that has no route yet wait at most this long, seconds."""
    max_values_per_label: int = 1000
    """Distinct values kept per metric label; the rest goes to `other`."""
    max_series_per_metric: int = 1500
    """Distinct label sets kept per metric; the rest goes to `other`."""
    budget_rules: tuple[AnyRule, ...] = ()
    """Rules about money: budgets, spikes, burn rates, forecasts, dear requests; each with a name of its own."""
    budget_channels: tuple[Channel, ...] = ()
    """Who is told by these rules: log, webhook, Slack, PagerDuty, Alertmanager, e-mail, callback."""
    budget_store: str = "auto"
    """Where the sums of budgets are kept; `auto` chooses for the process, `memory` forgets them at its end."""
    budget_enforce: tuple[str, ...] = ()
    """Of `llm` and `aws`: each such call of the known clients is guarded by its budgets; nothing is by default."""
    budget_enforce_output_tokens: int = 4096
    """Tokens of output that are reserved for an LLM call which says no maximum."""
    own: OwnPrices = NO_OWN_PRICES
    """Own prices, discounts, models and rules: those of `spancost.yaml`, then those of the prices file."""
    place: str = ""
    """File the configuration was read from; empty if there was none."""


Parser = Callable[[object], Any]


class _OfBudgets:
    """A parser of `spancost.config.budgets`, which is imported where there is something to read only."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def __wrapped__(self) -> Parser:
        """The parser itself; `inspect.unwrap` finds it, too."""
        from spancost.config import budgets

        return cast("Parser", getattr(budgets, self._name))

    def __call__(self, value: object) -> Any:
        return self.__wrapped__(value)


_FILE_KEYS: Final[Mapping[str, tuple[str, Parser]]] = {
    "enabled": ("enabled", values.boolean),
    "region": ("region", values.text),
    "flush_interval": ("flush_interval_s", values.positive_seconds),
    "compute.machine": ("compute", values.text),
    "compute.model": ("compute_model", values.compute_model),
    "compute.share": ("compute_share", values.share),
    "compute.idle_after": ("idle_after_s", values.positive_seconds),
    "compute.lease": ("lease", values.text),
    "compute.detect": ("detect", values.boolean),
    "compute.cpu_request": ("cpu_request", values.cpus),
    "compute.memory_request": ("memory_request_gib", values.gibibytes),
    "attribution.entrypoint": ("entrypoint", values.text),
    "egress.clients": ("egress_clients", values.clients),
    "egress.proxy": ("egress_proxy", values.boolean),
    "egress.rules": ("egress_rules", values.egress_rules),
    "attribution.rules": ("attribution_rules", attribution.rules),
    "attribution.baggage": ("attribution_baggage", attribution.baggage),
    "http.free_hosts": ("http_free_hosts", values.texts),
    "http.exclude_hosts": ("http_exclude_hosts", values.texts),
    "aws.inject_consumed_capacity": ("inject_consumed_capacity", values.boolean),
    "aws.provisioned_tables": ("provisioned_tables", values.texts),
    "llm.estimate_tokens": ("estimate_tokens", values.token_estimate),
    "prices_file": ("prices_file", values.text),
    "prices_cache": ("prices_cache", values.text),
    "ledger.path": ("ledger", values.text),
    "ledger.keep_minutes": ("ledger_minutes_s", values.hours_or_more),
    "ledger.keep_hours": ("ledger_hours_s", values.hours_or_more),
    "ledger.keep_days": ("ledger_days_s", values.days_or_more),
    "ledger.costliest_traces": ("ledger_costliest_traces", values.count_from_zero),
    "ledger.sampled_traces": ("ledger_sampled_traces", values.count_from_zero),
    "metrics.labels": ("labels", values.labels),
    "metrics.first_value_hold": ("first_value_hold_s", values.parse_seconds),
    "metrics.prometheus_port": ("prometheus_port", values.port),
    "metrics.prometheus_host": ("prometheus_host", values.text),
    "metrics.max_values_per_label": ("max_values_per_label", values.count),
    "metrics.max_series_per_metric": ("max_series_per_metric", values.count),
    "sampling.meter_all": ("meter_all", values.boolean),
    "budgets.rules": ("budget_rules", _OfBudgets("rules")),
    "budgets.notify": ("budget_channels", _OfBudgets("channels")),
    "budgets.store": ("budget_store", _OfBudgets("store")),
    "budgets.enforce": ("budget_enforce", _OfBudgets("enforce")),
    "budgets.enforce_output_tokens": ("budget_enforce_output_tokens", values.count),
    "limits.open_roots": ("max_open_roots", values.count),
    "limits.root_quiet": ("max_root_quiet_s", values.positive_seconds),
    "limits.partial_cost_interval": ("partial_cost_interval_s", values.positive_seconds),
}
_FILE_SECTIONS: Final = frozenset(key.split(".")[0] for key in _FILE_KEYS if "." in key)

_ENVIRONMENT: Final[Mapping[str, tuple[str, Parser]]] = {
    names.ENV_ENABLED: ("enabled", values.boolean),
    names.ENV_REGION: ("region", values.text),
    names.ENV_COMPUTE: ("compute", values.text),
    names.ENV_COMPUTE_MODEL: ("compute_model", values.compute_model),
    names.ENV_COMPUTE_SHARE: ("compute_share", values.share),
    names.ENV_DETECT: ("detect", values.boolean),
    names.ENV_CPU_REQUEST: ("cpu_request", values.cpus),
    names.ENV_MEMORY_REQUEST: ("memory_request_gib", values.gibibytes),
    names.ENV_ENTRYPOINT: ("entrypoint", values.text),
    names.ENV_EGRESS_CLIENTS: ("egress_clients", values.clients),
    names.ENV_INJECT_CONSUMED_CAPACITY: ("inject_consumed_capacity", values.boolean),
    names.ENV_ESTIMATE_TOKENS: ("estimate_tokens", values.token_estimate),
    names.ENV_PRICES: ("prices_file", values.text),
    names.ENV_PRICES_CACHE: ("prices_cache", values.text),
    names.ENV_LEDGER: ("ledger", values.text),
    names.ENV_LEASE: ("lease", values.text),
    names.ENV_FLUSH_INTERVAL: ("flush_interval_s", values.positive_seconds),
    names.ENV_FIRST_VALUE_HOLD: ("first_value_hold_s", values.parse_seconds),
    names.ENV_PROMETHEUS_PORT: ("prometheus_port", values.port),
    "OTEL_EXPORTER_PROMETHEUS_HOST": ("prometheus_host", values.text),
    names.ENV_LABELS: ("labels", values.labels),
    names.ENV_BUDGET_STORE: ("budget_store", _OfBudgets("store")),
    names.ENV_ENFORCE: ("budget_enforce", _OfBudgets("enforce")),
    names.ENV_ASSUME: ("assume", values.assumptions),
    names.ENV_METER_ALL: ("meter_all", values.boolean),
}


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    book: PriceBook | None = None,
    **arguments: object,
) -> Config:
    """Build the configuration from file, environment and arguments, later ones winning.

    Args:
        path: A `spancost.yaml`. Without it `SPANCOST_CONFIG` names one, else `./spancost.yaml` is read if it
            exists.

        environ: Environment to read; `os.environ` by default.

        book: Price book against which machine, region and prices are checked; the shipped one by default.

        **arguments: Fields of `Config`, checked by name.

    Raises:
        ConfigError: A setting is wrong.
    """
    env = os.environ if environ is None else environ
    for warning in config_warnings(env, path):
        if warning not in _warned:  # once per process
            _warned.add(warning)
            _logger.warning("%s", warning)
    settings: dict[str, Any] = {}
    origins: dict[str, tuple[str, str]] = {}
    own: dict[str, object] = {}
    file = _find_file(path, env)
    if file is not None:
        settings["place"] = str(file)
        own = _read_file(file, settings, origins)
    for variable, (field, parser) in _ENVIRONMENT.items():
        raw = env.get(variable, "").strip()
        if raw:
            settings[field] = _parsed(parser, raw, "environment", variable)
            origins[field] = ("environment", variable)
    known = {field.name for field in fields(Config)}
    for name, value in arguments.items():
        if name not in known:
            raise ConfigError("argument", name, value, suggest(name, known))
        settings[name] = value
        origins[name] = ("argument", name)
    _check_budgets(settings, origins, arguments)
    if book is None and (own or any(settings.get(name) for name in ("compute", "region", "prices_file"))):
        from spancost.prices.book import PriceBook

        book = PriceBook.shipped()
    if book is not None:
        if "own" not in settings:
            settings["own"] = _own_prices(own, settings, origins, book)
        _check_machine(settings, origins, book)
    return Config(**settings)


def own_prices_file(file: Path, book: PriceBook) -> OwnPrices:
    """Return the own prices of a prices file.

    Raises:
        ConfigError: The file cannot be read, or something in it is wrong.
    """
    raw = {str(key): value for key, value in read_mapping(file).items()}
    return read_own_prices(raw, str(file), book)


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables `SPANCOST_*` that mean nothing, each with what may have been meant."""
    known = sorted(str(value) for name, value in vars(names).items() if name.startswith("ENV_"))
    return {
        name: suggest(name, known, limit=len(known))
        for name in sorted(environ)
        if name.startswith(_PREFIX) and name not in known
    }


def config_warnings(environ: Mapping[str, str], path: str | os.PathLike[str] | None = None) -> list[str]:
    """Return what is set but not read: unknown variables, and a file whose name is nearly right."""
    found = [f"{name} is no setting of spancost: {hint}" for name, hint in unknown_variables(environ).items()]
    is_named = path is not None or environ.get(names.ENV_CONFIG, "").strip()
    if not is_named and Path(_NEAR_MISS).is_file() and not Path(DEFAULT_FILE).is_file():
        found.append(f"{_NEAR_MISS} is not read: rename it to {DEFAULT_FILE}, or set {names.ENV_CONFIG}={_NEAR_MISS}")
    return found


def _find_file(path: str | os.PathLike[str] | None, env: Mapping[str, str]) -> Path | None:
    named = os.fspath(path) if path is not None else env.get(names.ENV_CONFIG, "").strip()
    if named:
        file = Path(named)
        if not _is_file(file):
            raise ConfigError(
                "argument" if path is not None else "environment",
                "path" if path is not None else names.ENV_CONFIG,
                named,
                "the path of a readable YAML file",
            )
        return file
    file = Path(DEFAULT_FILE)
    return file if file.is_file() else None


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a NUL in it
        return False


def _parsed(parser: Parser, value: object, place: str, key: str) -> Any:
    try:
        return parser(value)
    except PartError as error:
        raise ConfigError(place, key + error.part, error.value, str(error)) from None
    except ValueError as error:
        raise ConfigError(place, key, value, str(error)) from None


def _read_file(file: Path, settings: dict[str, Any], origins: dict[str, tuple[str, str]]) -> dict[str, object]:
    """Read settings from a file, and return what it says about prices, unchecked."""
    place = str(file)
    own: dict[str, object] = {}
    loaded = read_mapping(file)
    for key, value in _flattened(loaded, place):
        if key in OWN_KEYS:
            own[key] = value
            continue
        if key not in _FILE_KEYS:
            raise ConfigError(place, key, value, "unknown key: " + suggest(key, _keys_beside(key), limit=50))
        field, parser = _FILE_KEYS[key]
        settings[field] = _parsed(parser, value, place, key)
        origins[field] = (place, key)
    if "prices_file" in settings:
        # As people expect it: beside the file that names it, wherever the process was started.
        settings["prices_file"] = str(file.parent / settings["prices_file"])
    return own


def _keys_beside(key: str) -> list[str]:
    """Return the keys of the section that a key stands in; all keys for one at the top."""
    section = key.partition(".")[0]
    return [
        known for known in (*_FILE_KEYS, *OWN_KEYS) if section not in _FILE_SECTIONS or known.startswith(f"{section}.")
    ]


def _flattened(loaded: dict[object, object], place: str) -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in loaded.items():
        name = str(key)
        if name in _FILE_SECTIONS:
            if value is None:
                continue
            if not isinstance(value, dict):
                accepted = "a section with " + ", ".join(k for k in _FILE_KEYS if k.startswith(name + "."))
                raise ConfigError(place, name, value, accepted)
            section = cast("dict[object, object]", value)
            flat.extend((f"{name}.{inner}", item) for inner, item in section.items())
        else:
            flat.append((name, value))
    return flat


def _own_prices(
    own: Mapping[str, object], settings: Mapping[str, Any], origins: Mapping[str, tuple[str, str]], book: PriceBook
) -> OwnPrices:
    """Check and join the prices of `spancost.yaml` and of the prices file."""
    found = read_own_prices(own, settings["place"], book) if own else NO_OWN_PRICES
    named = settings.get("prices_file", "")
    if not named:
        return found
    file = Path(named)
    if not _is_file(file):
        raise ConfigError(*origins["prices_file"], named, "the path of a readable YAML file with prices")
    return found.followed_by(own_prices_file(file, book))


def _check_budgets(
    settings: dict[str, Any], origins: Mapping[str, tuple[str, str]], arguments: Mapping[str, object]
) -> None:
    """Check rules, channels and store that are arguments, as those of the file are, and that the channels are there."""
    if not any(name.startswith("budget_") for name in settings):
        return
    from spancost.budgets.validation import validate_channels, validate_notify, validate_rules
    from spancost.config import budgets

    checks = {
        "budget_rules": validate_rules,
        "budget_channels": validate_channels,
        "budget_store": budgets.store,
        "budget_enforce_output_tokens": values.count,
    }
    for name, check in checks.items():
        if name in arguments:
            _parsed(cast("Parser", check), arguments[name], "argument", name)
    if "budget_enforce" in arguments:
        given = arguments["budget_enforce"]
        given = list(cast("tuple[object, ...]", given)) if isinstance(given, tuple) else given
        settings["budget_enforce"] = _parsed(budgets.enforce, given, "argument", "budget_enforce")
    rules: tuple[AnyRule, ...] = settings.get("budget_rules", ())
    if rules:
        channels: tuple[Channel, ...] = settings.get("budget_channels", ())
        _parsed(lambda _: validate_notify(rules, channels), rules, *origins["budget_rules"])


def _check_machine(settings: Mapping[str, Any], origins: Mapping[str, tuple[str, str]], book: PriceBook) -> None:
    """Check region and machine against the price book."""
    region = cast("str", settings.get("region", ""))
    if region and region not in book.regions():
        place, key = origins["region"]
        raise ConfigError(place, key, region, "no prices for this region: " + suggest(region, book.regions()))
    compute = cast("str", settings.get("compute", ""))
    if compute:
        from spancost.prices.compute import compute_rate

        place, key = origins["compute"]
        _parsed(lambda spec: compute_rate(str(spec), region or None, book), compute, place, key)

"""`spancost doctor`: what is active, what is not priced and why, and what to set."""

from __future__ import annotations

import os
import platform
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.table import Table
from rich.text import Text

from spancost import names
from spancost._version import spancost_version
from spancost.attribution_rules import shadowed
from spancost.cli import EXIT_FINDINGS, EXIT_USAGE
from spancost.cli._compute_model import model_in_force
from spancost.cli._format import console, number, print_json, rate, show
from spancost.cli._ledger import LedgerOption, TreeFormat, ledger_path
from spancost.cli._reasons import advice_for
from spancost.cli.report.quality import quality_document, quality_lines
from spancost.cli.report.unpriced import subject
from spancost.config import DEFAULT_FILE, Config, config_warnings, load_config
from spancost.detect import (
    RATE_UNKNOWN,
    SHARE_UNKNOWN,
    Found,
    Limits,
    Surroundings,
    is_enough,
    look,
    look_closer,
    priced,
)
from spancost.errors import LedgerError, SpancostError
from spancost.meters.custom import UNIT_MISMATCH
from spancost.prices.book import matching
from spancost.prices.custom_rates import CustomRate
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import Quality, UnpricedRow
from spancost.window import ERROR as ERROR_OF_OURS

OK: Final = "ok"
NOTE: Final = "note"
PROBLEM: Final = "problem"
ERROR: Final = "error"
_MARKS: Final = {OK: ("ok", "green"), NOTE: ("note", "cyan"), PROBLEM: ("set", "yellow"), ERROR: ("ERROR", "bold red")}
_SHOWN_SUBJECTS: Final = 10
_DAY_S: Final = 86_400
_OLD_PRICES_DAYS: Final = 180
"""Vendors change some price about every month."""
_ENV_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_EXPORTER: Final = "spancost"
"""Name of its entry point."""
_THIS_SHELL: Final = "this shell"
_THE_LEDGER: Final = "the ledger"

_WANTED: Final = {
    "flask": ("opentelemetry-instrumentation-flask", "'spancost[flask]'"),
    "fastapi": ("opentelemetry-instrumentation-fastapi", "'spancost[fastapi]'"),
    "django": ("opentelemetry-instrumentation-django", "'spancost[django]'"),
    "botocore": ("opentelemetry-instrumentation-botocore", "'spancost[botocore]'"),
    "openai": ("opentelemetry-instrumentation-genai-openai", "opentelemetry-instrumentation-genai-openai"),
    "anthropic": ("opentelemetry-instrumentation-genai-anthropic", "opentelemetry-instrumentation-genai-anthropic"),
}
"""Library -> the instrumentation that shows what it costs, and how to install it."""
_TRACES_ITSELF: Final = frozenset({"anthropic"})
"""Libraries whose newer versions make their own spans: an instrumentation is welcome, not needed."""
_NO_CACHED_TOKENS: Final = "opentelemetry-instrumentation-openai-v2"
_OWN_TRACERS: Final = ("openai", "anthropic", "langchain")


class Check(NamedTuple):
    """One thing looked at."""

    subject: str
    state: str
    """`ok`, `note`, `problem` (something to set or install) or `error` (wrong configuration or ledger)."""
    text: str


class Instrumentation(NamedTuple):
    """One installed instrumentation."""

    name: str
    """Name of its entry point."""
    package: str
    version: str
    libraries: tuple[str, ...]
    """Installed libraries it instruments."""
    disabled: bool


class ComputeCharged(NamedTuple):
    """A machine that the ledger has a price for."""

    sku: str
    region: str
    why: str
    """Basis of an estimate; empty if priced."""


class LedgerFound(NamedTuple):
    """What the ledger says."""

    is_there: bool = False
    unpriced: Sequence[UnpricedRow] = ()
    compute: Sequence[ComputeCharged] = ()
    quality: Quality | None = None


class Unpriced(NamedTuple):
    """One reason for missing prices."""

    reason: str
    component: str
    charges: int
    quantity: float
    unit: str
    subjects: dict[str, int]
    """Hosts, models or operations with their counts, most frequent first, the first ten."""
    advice: str


def doctor(
    ledger: LedgerOption = None,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Say what is active, what is not priced, and what to set.

    Exit code 0: all is well; 1: something is not priced or not set; 2: the configuration or the ledger is wrong.

    Example: spancost doctor --ledger spancost.sqlite
    """
    path = ledger_path(ledger)
    ledger_check, found = _ledger(path, asked_for=ledger is not None)
    config, config_check = _configuration()
    shell = [*_versions(), config_check, *_warnings(), *_prices(config), *_attribution(config)]
    shell.extend(_machine(config, found.compute))
    shell.extend(_exporter(config))
    installed = instrumentations()
    shell.extend(_instrumentation_checks(installed))
    shell.extend(_meters())
    shell.extend(_budgets(config, path))
    quality = list(_quality(found.quality))
    checks = [*shell, ledger_check, *quality]
    unpriced = grouped(found.unpriced, () if config is None else config.own.custom)
    states = {check.state for check in checks}
    code = EXIT_USAGE if ERROR in states else EXIT_FINDINGS if PROBLEM in states or unpriced else 0
    if output is TreeFormat.JSON:
        document: dict[str, Any] = {
            "checks": [check._asdict() for check in checks],
            "instrumentations": [one._asdict() for one in installed],
            "unpriced": [one._asdict() for one in unpriced],
            "quality": None if found.quality is None else quality_document(found.quality),
            "exit_code": code,
        }
        print_json(document)
    else:
        _print(shell, [ledger_check, *quality], unpriced, has_ledger=found.is_there)
    raise typer.Exit(code)


# --- the checks ---------------------------------------------------------------------------------


def _versions() -> Iterable[Check]:
    sdk = _version("opentelemetry-sdk")
    text = f"{spancost_version()}, Python {platform.python_version()}"
    yield Check("spancost", OK, text)
    yield Check("OpenTelemetry", OK if sdk else ERROR, f"SDK {sdk}" if sdk else "the SDK is not installed")
    from spancost.prices.book import PriceBook

    book = PriceBook.shipped()
    dates = [record.as_of for price_id in book.price_ids() for record in book.records(price_id)]
    newest = max((day for day in dates if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day)), default="undated")
    tokens = _version("genai-prices") or "missing"
    yield Check("prices", OK, f"book of {newest} ({len(book.price_ids())} prices), genai-prices {tokens}")


def _configuration() -> tuple[Config | None, Check]:
    try:
        config = load_config()
    except SpancostError as error:
        return None, Check("configuration", ERROR, str(error))
    if not config.enabled:
        return config, Check("configuration", PROBLEM, f"spancost is switched off ({names.ENV_ENABLED}=false)")
    if config.place:
        return config, Check("configuration", OK, f"{config.place} is valid")
    return config, Check("configuration", OK, f"no {DEFAULT_FILE}; defaults and environment")


def _warnings() -> Iterable[Check]:
    return (Check("settings", NOTE, warning) for warning in config_warnings(os.environ))


def _prices(config: Config | None) -> Iterable[Check]:
    """Say how old prices are, and which lie over the shipped ones."""
    if config is None:
        return
    from spancost.prices.age import prices_since
    from spancost.prices.book import PriceBook
    from spancost.prices.cache import read_cache

    age = price_age(prices_since(config), time.time())
    if age is not None:
        yield age
    cache = read_cache(config.prices_cache, PriceBook.shipped())
    for file in cache.files:
        yield Check(
            "prices", OK, f"{file.kind} refreshed on {file.refreshed[:10]}: {len(file.records)} of the book's ids"
        )
    yield from (Check("prices", PROBLEM, problem) for problem in cache.problems)
    own = config.own
    if own.place:
        counts = {
            "prices": own.overrides,
            "discounts": own.discounts,
            "models": own.models,
            "HTTP rules": own.http_rules,
            "rates for own units": own.custom,
        }
        entries = ", ".join(f"{len(found)} {what}" for what, found in counts.items() if found)
        yield Check("prices", OK, f"{entries or 'no prices'} of your own in {own.place}")


def price_age(since_s: Mapping[str, float], now_s: float) -> Check | None:
    """Say how old prices are; None if nobody knows.

    Args:
        since_s: `book` and, where there is one, `cache`, with the time of its newest price, Unix seconds.

        now_s: The present time, Unix seconds.
    """
    ages = {kind: max(0, int((now_s - since) // _DAY_S)) for kind, since in since_s.items()}
    if not ages:
        return None
    told = ", ".join(f"{kind} {age} days old" for kind, age in ages.items())
    if min(ages.values()) > _OLD_PRICES_DAYS:
        return Check("prices", PROBLEM, f"{told}: pip install -U spancost, or spancost prices refresh")
    return Check("prices", OK, told)


def _attribution(config: Config | None) -> Iterable[Check]:
    """Say which rules there are, and which of them can never be reached."""
    if config is None or not (config.attribution_rules or config.attribution_baggage):
        return
    rules, keys = config.attribution_rules, [key for key, _ in config.attribution_baggage]
    parts = [f"{len(rules)} rule{'s' if len(rules) != 1 else ''}"] if rules else []
    parts.extend([f"baggage {', '.join(keys)}"] if keys else [])
    yield Check("attribution", OK, "; ".join(parts))
    for rule, first in shadowed(rules).items():
        text = f"attribution.rules[{rule}] can never give anything: rules[{first}] always comes first"
        yield Check("attribution", PROBLEM, text)


def _budgets(config: Config | None, ledger: str) -> Iterable[Check]:
    """Say what there is to know about budgets, where there are any."""
    if config is None or not config.budget_rules:
        return
    from spancost.cli.budgets.findings import findings

    for found in findings(config, ledger if os.path.exists(ledger) else "", time.time(), os.environ):
        state = PROBLEM if found.is_problem else NOTE if found.is_note else OK
        yield Check(found.subject, state, found.text)


def _machine(config: Config | None, charged: Sequence[ComputeCharged]) -> Iterable[Check]:
    """Check machine and region; what the ledger shows as priced needs no setting in this shell."""
    if config is None:
        return
    machines = [
        " ".join(part for part in (one.sku, one.region, f"({one.why})" if one.why else "") if part) for one in charged
    ]
    regions = sorted({one.region for one in charged if one.region})
    resource = _resource(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    found = _found(config, resource)
    if found.rate is not None:
        one = found.rate
        where = f" in {one.region}" if one.region else ""
        basis = f", estimated: {one.basis}" if one.basis else ""
        by = "" if config.compute else f", found by {found.machine.found_by}"
        per_hour = rate(float(one.usd_per_hour))
        yield Check("compute", OK, f"{one.sku}{where}: {per_hour}/h, {one.source}{basis}{by}")
    elif found.reason == SHARE_UNKNOWN:
        yield Check("compute", PROBLEM, f"{found.machine.spec}: {advice_for(SHARE_UNKNOWN)}")
    elif machines:
        text = f"not set in this shell; priced in the ledger as {', '.join(dict.fromkeys(machines))}"
        is_assumed = any(one.why for one in charged)
        yield Check("compute", NOTE, f"{text}; to be exact, set {names.ENV_COMPUTE}" if is_assumed else text)
    else:
        yield Check("compute", PROBLEM, advice_for("compute_rate_unknown"))
    model, is_as_set = model_in_force(config, found.rate)
    yield Check("compute model", OK if is_as_set else NOTE, model)
    if config.region:
        yield Check("region", OK, config.region)
    elif found.machine.region:
        yield Check("region", OK, f"{found.machine.region}, found by {found.machine.found_by}")
    elif regions:
        yield Check("region", NOTE, f"not set in this shell; in the ledger {', '.join(regions)}")
    else:
        yield Check("region", PROBLEM, advice_for("region_unknown"))
    if not config.meter_all:
        yield Check("sampling", NOTE, f"only sampled spans are metered ({names.ENV_METER_ALL}=false)")


def _exporter(config: Config | None) -> Iterable[Check]:
    """Say what the exporter plugin does where it is asked for."""
    exporters = {name.strip() for name in os.environ.get(_ENV_EXPORTER, "").split(",")}
    if config is None or _EXPORTER not in exporters:
        return
    asked = f"{_ENV_EXPORTER} names {_EXPORTER}"
    if config.enabled:
        text = f"{asked}: sampled spans only and no compute, but for processes where spancost is installed, too"
        yield Check("exporter", NOTE, text)
    else:
        yield Check("exporter", PROBLEM, f"{asked}, but spancost is switched off: it charges nothing")


def _found(config: Config, resource: Mapping[str, str]) -> Found:
    """Look for the machine as a process started from this shell would, metadata services included."""
    from spancost.prices.configured import price_book

    around = Surroundings.real()
    machine, limits = look(config, resource, around), Limits()
    if not is_enough(config, machine):
        machine, limits = look_closer(config, machine, around, resource)
    try:
        return priced(config, price_book(config), machine, limits)
    except SpancostError:
        return Found(machine, None, RATE_UNKNOWN)


def _resource(text: str) -> dict[str, str]:
    """Return the attributes of `OTEL_RESOURCE_ATTRIBUTES`, without decoding: names of machines need none."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {key.strip(): value.strip() for key, _, value in pairs}


def instrumentations() -> list[Instrumentation]:
    """Return the installed OpenTelemetry instrumentations with the installed libraries they are for."""
    disabled = {
        name.strip() for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",") if name.strip()
    }
    found: dict[str, Instrumentation] = {}
    for point in metadata.entry_points(group="opentelemetry_instrumentor"):
        if point.dist is None:
            continue
        package = _normal(point.dist.name)
        named = set(_instrumented(point.dist.requires or []))
        if point.name in named:  # one package, several instrumentations: each is for the library of its name
            named = {point.name}
        libraries = tuple(sorted(name for name in named if _version(name)))
        found[point.name] = Instrumentation(
            point.name, package, point.dist.version, libraries, point.name in disabled or "*" in disabled
        )
    return sorted(found.values())


def _instrumented(requirements: Iterable[str]) -> Iterable[str]:
    for requirement in requirements:
        if re.search(r"extra\s*==\s*['\"]instruments(-any)?['\"]", requirement):
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match is not None:
                yield match.group()


def _instrumentation_checks(installed: Sequence[Instrumentation]) -> Iterable[Check]:
    # Some instrument the standard library, and some do not say what they are for.
    active = [one for one in installed if not one.disabled and (one.libraries or not _says_what_it_is_for(one))]
    by_package: dict[str, list[str]] = defaultdict(list)
    for one in active:
        by_package[one.package].append(one.name)
    if active:
        yield Check("active", OK, ", ".join(sorted({one.name for one in active})))
    else:
        yield Check("active", PROBLEM, "no instrumentation is installed: pip install 'spancost[flask,botocore]'")
    disabled = [one.name for one in installed if one.disabled]
    if disabled:
        yield Check("disabled", NOTE, f"{', '.join(disabled)} (OTEL_PYTHON_DISABLED_INSTRUMENTATIONS)")
    packages = {one.package for one in installed}
    for library, (package, install) in _WANTED.items():
        if _version(library) and not _is_covered(library, package, packages):
            yield Check(library, PROBLEM, f"is installed, but nothing instruments it: pip install {install}")
    yield from _conflicts(active)


def _is_covered(library: str, package: str, packages: set[str]) -> bool:
    if package in packages or library in _TRACES_ITSELF:
        return True
    return library in _OWN_TRACERS and any(library in other.split("-") for other in packages)


def _conflicts(active: Sequence[Instrumentation]) -> Iterable[Check]:
    for library in _OWN_TRACERS:
        tracers = sorted({one.package for one in active if library in one.package.split("-")})
        if len(tracers) > 1:
            yield Check(
                library, NOTE, f"{len(tracers)} tracers see each call; it is charged once: {', '.join(tracers)}"
            )
    if any(one.package == _NO_CACHED_TOKENS for one in active):
        yield Check(
            "openai",
            PROBLEM,
            f"{_NO_CACHED_TOKENS} never says how much of the input was cached, so figures are too high: use "
            "opentelemetry-instrumentation-genai-openai",
        )


def _says_what_it_is_for(one: Instrumentation) -> bool:
    try:
        requirements = metadata.requires(one.package) or []
    except metadata.PackageNotFoundError:
        return False
    return any(True for _ in _instrumented(requirements))


def _ledger(path: str, *, asked_for: bool) -> tuple[Check, LedgerFound]:
    if not os.path.exists(path):
        state = ERROR if asked_for else NOTE
        return Check("ledger", state, f"{path}: not there yet; spancost run -- COMMAND writes one"), LedgerFound()
    try:
        with LedgerReader(path) as reader:
            totals, meta, unpriced = reader.totals(), reader.meta(), reader.unpriced()
            rows = reader.rows(["component", "status", "sku", "region", "basis"])
            quality = reader.quality()
    except LedgerError as error:
        return Check("ledger", ERROR, str(error)), LedgerFound()
    is_sampled = any(row.reason == names.EXPORTER for row in unpriced)
    text = (
        f"{path}: {totals.requests:,} requests, {totals.charge_count:,} charges, schema {meta['schema_version']}, "
        f"a killed process loses at most {meta['flush_interval_seconds']} s"
        f"{'; sampled only: written at least in part by CostSpanExporter' if is_sampled else ''}"
    )
    compute = [
        ComputeCharged(sku, region, basis if status == names.ESTIMATED else "")
        for component, status, sku, region, basis in (row.key for row in rows)
        if component == names.COMPUTE and status in (names.PRICED, names.ESTIMATED)
    ]
    return Check("ledger", OK, text), LedgerFound(True, unpriced, compute, quality)


def _quality(quality: Quality | None) -> Iterable[Check]:
    """Say how far the figures of the ledger can be relied on; errors of ours are something to look at."""
    if quality is None:
        return
    for line in quality_lines(quality):
        subject, _, text = line.partition(": ")
        yield Check(subject.lower(), NOTE, text)
    errors = {name for name in quality.health if name.startswith(ERROR_OF_OURS)}
    if errors:
        text = "spancost itself has failed somewhere: the application's log names it; please report it"
        yield Check("errors", PROBLEM, text)


def _meters() -> Iterable[Check]:
    """Say which third-party meters a process started from this shell would load."""
    from spancost.meters.plugins import load_plugins

    plugins = load_plugins()
    loaded = [f"{one.name} ({one.distribution})" for one in plugins if one.meter is not None]
    if loaded:
        yield Check("meters", OK, ", ".join(loaded))
    for one in plugins:
        if one.meter is None:
            yield Check("meters", PROBLEM, f"{one.name} of {one.distribution or '?'} is left out: {one.problem}")


def _unit_advice(rows: Sequence[UnpricedRow], rates: Sequence[CustomRate]) -> str:
    """Return for usage in another unit than its rate which units are meant."""
    units = {
        f"{row.operation}: used in {row.unit}, the rate is for {rate.unit}"
        for row in rows
        for rate in rates
        if rate.unit != row.unit and matching(rate.name, [row.operation])
    }
    return f" {'; '.join(sorted(units)[:_SHOWN_SUBJECTS])}." if units else ""


def grouped(rows: Sequence[UnpricedRow], rates: Sequence[CustomRate] = ()) -> list[Unpriced]:
    """Return one entry per component and reason, most frequent first.

    Args:
        rows: What has no price.

        rates: Your own rates for units of your own.
    """
    groups: dict[tuple[str, str], list[UnpricedRow]] = defaultdict(list)
    for row in rows:
        groups[row.component, row.reason].append(row)
    found: list[Unpriced] = []
    for (component, reason), members in groups.items():
        subjects: Counter[str] = Counter()
        for row in members:
            subjects[subject(row)] += row.charge_count
        named = {name: count for name, count in subjects.most_common() if name}
        shown = dict(list(named.items())[:_SHOWN_SUBJECTS])
        if len(named) > len(shown):
            shown[f"{len(named) - len(shown)} more"] = sum(named.values()) - sum(shown.values())
        units = {row.unit for row in members}
        found.append(
            Unpriced(
                reason or "unknown",
                component,
                sum(row.charge_count for row in members),
                sum(row.quantity for row in members),
                units.pop() if len(units) == 1 else "",
                shown,
                advice_for(reason) + (_unit_advice(members, rates) if reason == UNIT_MISMATCH else ""),
            )
        )
    return sorted(found, key=lambda one: (-one.charges, one.component, one.reason))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


# --- the answer ---------------------------------------------------------------------------------


def _print(shell: Sequence[Check], ledger: Sequence[Check], unpriced: Sequence[Unpriced], *, has_ledger: bool) -> None:
    out = console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if has_ledger:  # which may have been written with other settings than this shell has
        table.add_row("", Text(_THIS_SHELL, style="bold"), "")
    for check in (*shell, *ledger):
        if has_ledger and check is ledger[0]:
            table.add_row("", "", "")
            table.add_row("", Text(_THE_LEDGER, style="bold"), "")
        mark, style = _MARKS[check.state]
        table.add_row(Text(mark, style=style), Text(check.subject), Text(check.text))
    for one in unpriced:
        table.add_row(Text("set", style="yellow"), Text(f"{one.component}: {one.reason}"), Text(_unpriced_text(one)))
    show(out, table)
    findings = sum(check.state in (PROBLEM, ERROR) for check in (*shell, *ledger)) + len(unpriced)
    show(out, "")
    show(out, Text(f"{findings} to look at" if findings else "all is well", style="bold"))


def _unpriced_text(one: Unpriced) -> str:
    if one.component == names.COMPUTE and one.quantity:
        counted = f"{number(one.quantity)} {one.unit or 's'} not priced"
    else:
        counted = f"{one.charges:,} not priced"
    named = ", ".join(f"{name} {count:,}" for name, count in one.subjects.items())
    where = f" ({named})" if named and one.component != names.COMPUTE else ""
    return f"{counted}{where}. {one.advice}".rstrip()

"""`spancost budgets check`: a plugin for Nagios, Icinga and all that understand theirs.

Follows the Monitoring Plugins Development Guidelines: one line with the verdict and performance data, further lines
with details, the verdict as exit code; whatever goes wrong is UNKNOWN, told on stdout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand

from spancost.amounts import times, usd
from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING
from spancost.cli.budgets.lines import BudgetLine, shown
from spancost.cli.budgets.sources import (
    ConfigOption,
    KeyOption,
    LedgerSourceOption,
    PrometheusOption,
    Source,
    StoreOption,
    read_standings,
)
from spancost.config.budgets import part
from spancost.errors import SpancostError

EXIT_OK: Final = 0
EXIT_WARNING: Final = 1
EXIT_CRITICAL: Final = 2
EXIT_UNKNOWN: Final = 3
_WORDS: Final = {EXIT_OK: "OK", EXIT_WARNING: "WARNING", EXIT_CRITICAL: "CRITICAL", EXIT_UNKNOWN: "UNKNOWN"}
_GRAVITY: Final = (EXIT_OK, EXIT_UNKNOWN, EXIT_WARNING, EXIT_CRITICAL)
"""Rising: what is known to be wrong goes before what is not known."""
_BY_SEVERITY: Final = {"critical": EXIT_CRITICAL, "warning": EXIT_WARNING, "info": EXIT_OK}
_SERVICE: Final = "BUDGETS"
_SHOWN: Final = 3
"""Keys that the first line names."""
_DEFAULT_LIMIT: Final = 30


class Incomplete(StrEnum):
    """What a budget is at least that counts something without a price."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


_INCOMPLETE: Final = {
    Incomplete.OK: EXIT_OK,
    Incomplete.WARNING: EXIT_WARNING,
    Incomplete.CRITICAL: EXIT_CRITICAL,
    Incomplete.UNKNOWN: EXIT_UNKNOWN,
}


class PluginCommand(TyperCommand):
    """A command whose every failure is UNKNOWN: other exit codes would be taken for a verdict."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line; a wrong one is UNKNOWN."""
        try:
            return super().make_context(*args, **kwargs)
        except Exception as error:
            said: Callable[[], str] | None = getattr(error, "format_message", None)
            if said is None:  # not about the command line: `--help`
                raise
            _unknown(said())


def check(
    rule: Annotated[list[str] | None, typer.Argument(metavar="RULE", help="Rules; all of them by default.")] = None,
    key: KeyOption = None,
    warning: Annotated[
        str | None,
        typer.Option(
            "--warning", "-w", metavar="PART", help="WARNING from this part of the limit, instead of the thresholds."
        ),
    ] = None,
    critical: Annotated[
        str | None,
        typer.Option("--critical", "-c", metavar="PART", help="CRITICAL from this part of the limit, instead of 100%."),
    ] = None,
    incomplete: Annotated[
        Incomplete,
        typer.Option(
            "--incomplete",
            metavar="STATE",
            help="What a budget is at least that counts something without a price: ok, warning, critical or unknown.",
        ),
    ] = Incomplete.WARNING,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Keys in the details and the performance data.")
    ] = _DEFAULT_LIMIT,
    store: StoreOption = None,
    ledger: LedgerSourceOption = None,
    prometheus: PrometheusOption = None,
    config_file: ConfigOption = None,
) -> None:
    """Check budgets as a plugin of Nagios or Icinga does.

    Exit code 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, also for wrong usage and a store that cannot be read. A budget is
    WARNING from its last threshold below 100 %, and CRITICAL when it is spent; spikes, forecasts and costly requests
    are as bad as their severity. Performance data is in USD, that of burn
    rates in their factor.

    \b
    Examples:
      spancost budgets check
      spancost budgets check llm-daily -w 70% --incomplete unknown
    """
    bounds = (_bound("--warning", warning), _bound("--critical", critical))
    if bounds[0] is not None and bounds[1] is not None and bounds[0] > bounds[1]:
        _unknown("--warning: must not be above --critical")
    try:
        source = Source(config_file=config_file, store=store, ledger=ledger, prometheus=prometheus)
        standings = read_standings(source, rule or [])
        lines = [line for line in standings.lines if key is None or line.key == key]
        notes = [*(f"{name}: nothing that it counts was seen yet" for name in standings.unseen), *standings.notes]
        code, text = verdict(lines, bounds, _INCOMPLETE[incomplete], limit, notes)
    except SpancostError as error:
        _unknown(str(error))
    except Exception as error:  # a traceback would end with the exit code of a warning
        _unknown(f"{type(error).__name__}: {error}")
    if not lines:
        _unknown("nothing is known of these rules" if key is None else f"nothing is known of the key {key!r}")
    _say(text)
    raise typer.Exit(code)


def verdict(
    lines: Sequence[BudgetLine],
    bounds: tuple[float | None, float | None],
    incomplete: int,
    limit: int,
    notes: Sequence[str],
) -> tuple[int, str]:
    """Return exit code and output.

    Args:
        lines: How rules and keys stand, in the order of the configuration.

        bounds: Parts of the limit from which a budget is WARNING and CRITICAL; None for those of its rule.

        incomplete: What one is at least that counts something without a price.

        limit: Keys in the details and the performance data; the gravest stay.

        notes: Further lines.
    """
    codes = {id(line): _worse(_code(line, bounds), incomplete if line.is_incomplete else EXIT_OK) for line in lines}
    ranked = sorted(lines, key=lambda line: (-_GRAVITY.index(codes[id(line)]), -(line.ratio or 0.0)))
    code = codes[id(ranked[0])] if ranked else EXIT_UNKNOWN
    bad = [line for line in ranked if codes[id(line)] != EXIT_OK]
    if bad:
        said = "; ".join(map(_figures, bad[:_SHOWN]))
        said += f"; {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    else:
        counted = f"{len(lines)} {'budget' if len(lines) == 1 else 'budgets'}"
        said = f"{counted}, highest {_figures(ranked[0])}" if ranked else "nothing is known"
    kept = {id(line) for line in ranked[:limit]}
    data = " ".join(filter(None, (_performance(line, bounds) for line in lines if id(line) in kept)))
    output = [f"{_SERVICE} {_WORDS[code]} - {_plain(said)}" + (f" | {data}" if data else "")]
    output += [f"{_WORDS[codes[id(line)]]}: {_plain(_figures(line))}" for line in ranked[:limit]]
    if len(ranked) > limit:
        output.append(f"{len(ranked) - limit} more keys")
    output += [_plain(note) for note in notes]
    return code, "\n".join(output) + "\n"


def _code(line: BudgetLine, bounds: tuple[float | None, float | None]) -> int:
    """Return the verdict on one line, without what is incomplete."""
    if line.kind != "budget":
        if line.state == BREACHED or (line.state == WARNING and line.kind == "burn_rate"):
            return _BY_SEVERITY.get(line.severity, EXIT_CRITICAL)
        return EXIT_WARNING if line.state == WARNING else EXIT_OK
    warning, critical = bounds
    code = EXIT_OK
    if line.ratio is not None:
        warn_at, critical_at = _bounds_of(line, bounds)
        code = EXIT_CRITICAL if line.ratio >= critical_at else EXIT_WARNING if line.ratio >= warn_at else EXIT_OK
    if critical is None and line.state == BREACHED:  # also by what has no price, or not yet well again
        code = EXIT_CRITICAL
    if warning is None and _is_held(line):
        code = _worse(code, EXIT_WARNING)
    return code


def _is_held(line: BudgetLine) -> bool:
    """True if a budget was at its last warning or above, and is not well again yet."""
    if line.state == OK:
        return False
    if not line.thresholds:
        return line.state in (WARNING, RECOVERING)
    below = sum(threshold < 1.0 for threshold in line.thresholds)
    return line.level >= max(1, below)


def _bounds_of(line: BudgetLine, bounds: tuple[float | None, float | None]) -> tuple[float, float]:
    warning, critical = bounds
    critical = 1.0 if critical is None else critical
    if warning is None:
        warning = max((threshold for threshold in line.thresholds if threshold < critical), default=critical)
    return warning, critical


def _figures(line: BudgetLine) -> str:
    """Return one line in words: `llm-monthly at 83 % ($415.00 of $500.00)`."""
    more = ", incomplete" if line.is_incomplete else ""
    if line.kind == "budget" and line.limit_usd is not None:
        if line.spend_usd is None:
            return f"{line.name} at an unknown part of {usd(line.limit_usd)}{more}"
        return f"{line.name} at {_percent(line.ratio or 0.0)} ({usd(line.spend_usd)} of {usd(line.limit_usd)}){more}"
    if line.burn_rates:
        pair, fastest = max(line.burn_rates, key=lambda one: one[1])
        return f"{line.name} {line.state}, burns {times(fastest)}x over {pair}{more}"
    if line.forecast_usd is not None:
        limit = "" if line.limit_usd is None else f" of {usd(line.limit_usd)}"
        return f"{line.name} {line.state}, {usd(line.forecast_usd)}{limit} expected{more}"
    spent = "" if line.spend_usd is None else f", {usd(line.spend_usd)}"
    limit = "" if line.limit_usd is None else f" (limit {usd(line.limit_usd)})"
    return f"{line.name} {line.state}{spent}{limit}{more}"


def _percent(ratio: float) -> str:
    """Return whole percents, rounded down: 99.9 % is not yet 100 %."""
    return f"{int(ratio * 100 + 1e-9)} %"


def _performance(line: BudgetLine, bounds: tuple[float | None, float | None]) -> str:
    """Return `'label'=value;warn;crit;min;max`; `U` for a value that nobody knows, and nothing of single requests."""
    if line.kind == "request":
        return ""
    label = shown(f"{line.rule}/{line.key}" if line.key else line.rule).replace("=", "_").replace("|", "/")
    label = label.replace("'", "''")
    limit = line.limit_usd
    if line.kind == "budget" and limit is not None:
        warning, critical = _bounds_of(line, bounds)
        levels = f"{_decimal(warning * limit)};{_decimal(critical * limit)};0;{_decimal(limit)}"
        return f"'{label}'={_value(line.spend_usd)};{levels}"
    value = line.spend_usd
    if line.kind == "burn_rate":
        value, limit = line.value, line.limit
        value = max((rate for _, rate in line.burn_rates), default=None) if value is None else value
    elif line.kind == "forecast":
        value = line.forecast_usd
    return f"'{label}'={_value(value)};;{'' if limit is None else _decimal(limit)};0"


def _value(number: float | None) -> str:
    return "U" if number is None else _decimal(max(0.0, number))


def _decimal(value: float) -> str:
    """Return a number as the guidelines want it: digits and a point, no exponent, no separators."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return text or "0"


def _worse(one: int, other: int) -> int:
    return max(one, other, key=_GRAVITY.index)


def _bound(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        found = part(text)
    except ValueError as error:
        _unknown(f"{option}: {text!r} is not accepted: {error}")
    if found <= 0:
        _unknown(f"{option}: {text!r} is not accepted: a part above 0, such as 80%")
    return found


def _plain(text: str) -> str:
    """Return text on one line without the bar that begins performance data."""
    return shown(" ".join(text.split())).replace("|", "/")


def _say(text: str) -> None:
    """Print whatever the locale: a key that it does not know must not end the plugin."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    sys.stdout.write(text)


def _unknown(said: str) -> NoReturn:
    _say(f"{_SERVICE} UNKNOWN - {_plain(said)}\n")
    raise typer.Exit(EXIT_UNKNOWN)

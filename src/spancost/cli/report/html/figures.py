"""What the page shows beside the report itself: cost over time, the top entrypoints, the models."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import fsum
from typing import Final, NamedTuple

from spancost import names
from spancost.cli.report.idle import spent
from spancost.cli.report.options import Asked, IdleMethod
from spancost.sinks.ledger.query import UTC_NAME, Condition, zone
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import LedgerRow
from spancost.sinks.ledger.schema import DAY, HOUR, MINUTE

IDLE: Final = "idle"
SERIES: Final = (*names.COMPONENTS, IDLE)
"""What a plot stacks, from below."""
_SPANS: Final = (("minute", MINUTE, 3 * HOUR), ("hour", HOUR, 7 * DAY), ("day", DAY, 400 * DAY))
"""Key, its minutes, and up to which length of data it is used."""
_LAST: Final = ("month", DAY)
_SHOWN: Final = 12


class TimePlot(NamedTuple):
    """Cost over time."""

    key: str
    """`minute`, `hour`, `day` or `month`."""
    times: list[str]
    usd: dict[str, list[float]]
    """Series -> amount at each time; only series that have any."""

    def sum_at(self, index: int) -> float:
        """Return everything at one time."""
        return fsum(amounts[index] for amounts in self.usd.values())


class Bar(NamedTuple):
    """One of several things that cost."""

    name: str
    usd: dict[str, float]
    """Series -> amount; empty for what is no peer of the others and has no bar."""
    total_usd: float
    unknown: bool
    """Something in it has no price."""


def over_time(reader: LedgerReader, asked: Asked) -> TimePlot | None:
    """Return cost over time by component; None for an empty ledger."""
    selection = asked.selection
    stretches = reader.stretches(selection)
    if not stretches:
        return None
    first, end = stretches[0][0], stretches[-1][1]
    key, minutes = next(((key, minutes) for key, minutes, longest in _SPANS if end - first <= longest), _LAST)
    while (coarser := reader.coarser([key], selection)) is not None and coarser[0] != key:
        key, minutes = coarser[0], HOUR if coarser[0] == "hour" else DAY
    found = spent(reader, [key], selection, asked.idle)
    amounts: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in found.rows:
        for component, usd in row.component_usd.items():
            amounts[component][row.key[0]].append(usd)
    for row in found.idle_rows:
        amounts[IDLE][row.key[0]].append(row.usd)
    known = {row.key[0] for row in (*found.rows, *found.idle_rows)}
    times = list(dict.fromkeys(_times(first, end, key, minutes, asked.period.tz)))
    times.extend(sorted(known.difference(times)))
    usd = {name: [fsum(amounts[name].get(time, ())) for time in times] for name in SERIES if name in amounts}
    return TimePlot(key, times, {name: values for name, values in usd.items() if any(values)})


def _times(first: int, end: int, key: str, minutes: int, tz: str) -> Iterator[str]:
    """Yield the names that the ledger gives to times, those without data among them."""
    where = zone(tz)
    text = {"minute": "%Y-%m-%dT%H:%M", "hour": "%Y-%m-%dT%H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}[key]
    step = max(1, minutes // 2)  # no day or hour is missed where clocks change
    for minute in (*range(first, end, step), end - 1):
        at = datetime.fromtimestamp(minute * 60, UTC).astimezone(where)
        if key in ("day", "month"):
            yield at.strftime(text)
        elif tz == UTC_NAME:
            yield f"{at.strftime(text)}Z"
        else:
            offset = at.strftime("%z")
            yield f"{at.strftime(text)}{offset[:3]}:{offset[3:5]}"


def top_entrypoints(reader: LedgerReader, asked: Asked) -> list[Bar]:
    """Return the costliest entrypoints, the rest of them as one, and idle compute that none of them bears."""
    found = spent(reader, ["service", "entrypoint"], asked.selection, asked.idle)
    services = {row.key[0] for row in found.rows}
    bars = [_bar(" ".join(row.key[len(services) < 2 :]).strip(), row) for row in found.rows]
    left = fsum(row.usd for row in found.idle_rows)
    return [*_top(bars), *([Bar(IDLE, {}, left, False)] if left else [])]


def top_models(reader: LedgerReader, asked: Asked) -> list[Bar]:
    """Return what each model of an LLM provider cost."""
    where = (*asked.where, Condition("component", names.LLM))
    found = spent(reader, ["provider", "model"], asked.selection._replace(where=where), IdleMethod.SEPARATE)
    return _top([_bar(" ".join(part for part in row.key if part), row) for row in found.rows])


def _bar(name: str, row: LedgerRow) -> Bar:
    parts = {component: usd for component, usd in row.component_usd.items() if usd}
    return Bar(name, parts, row.usd, bool(row.unpriced))


def _top(bars: Sequence[Bar]) -> list[Bar]:
    if len(bars) <= _SHOWN + 1:
        return list(bars)
    rest = bars[_SHOWN:]
    parts = {name: fsum(bar.usd.get(name, 0.0) for bar in rest) for name in SERIES}
    usd = {name: amount for name, amount in parts.items() if amount}
    total = fsum(bar.total_usd for bar in rest)
    return [*bars[:_SHOWN], Bar(f"({len(rest)} more)", usd, total, any(bar.unknown for bar in rest))]

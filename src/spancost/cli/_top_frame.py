"""What `spancost top` shows: the spending of the last whole minute, read from the ledger, as one frame."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from spancost.cli._format import UNKNOWN, number, share, usd
from spancost.errors import LedgerError
from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import TraceSummary, UnpricedRow

IDLE: Final = "(idle)"
NOTHING: Final = "(none)"
SORTS: Final = ("now", "period", "requests", "change", "name")
_BARS: Final = " ▁▂▃▄▅▆▇█"
_MAX_TRACES: Final = 5
_MAX_UNPRICED: Final = 3
_WIDE: Final = 100
"""Columns of a terminal that has room for everything."""
_NARROW: Final = 70
"""Columns below which only money is shown."""
_DIGITS: Final = 12


class Row(NamedTuple):
    """One key."""

    key: tuple[str, ...]
    now_usd: float
    """In the last whole minute."""
    before_usd: float
    """In the minute before it."""
    period_usd: float
    """Since the beginning of the period."""
    now_requests: int
    before_requests: int
    unknown: bool
    """Something of it has no price, and nothing has one."""

    @property
    def change_usd(self) -> float:
        """USD of the last whole minute, less the minute before."""
        return self.now_usd - self.before_usd


class Reading(NamedTuple):
    """What the ledger said at one moment."""

    now: float
    """Unix seconds."""
    minute: int
    """The last minute of which everything is in the ledger, Unix seconds // 60."""
    flush_seconds: float
    written_at: float | None
    """When the file was last written, Unix seconds."""
    by: tuple[str, ...]
    rows: tuple[Row, ...]
    running_usd: float
    """So far in the minutes after `minute`, idle compute included."""
    per_minute_usd: tuple[float, ...]
    """USD of each minute of the period up to `minute`, oldest first, idle compute included; empty if none is over."""
    traces: tuple[TraceSummary, ...]
    """Costly traces that were kept, newest first."""
    unpriced: tuple[UnpricedRow, ...]

    @property
    def now_usd(self) -> float:
        """All of the last whole minute."""
        return sum(row.now_usd for row in self.rows)


def read(path: str, by: Sequence[str], period_minutes: int, now: Callable[[], float] = time.time) -> Reading:
    """Ask the ledger what is being spent.

    Args:
        path: The file.

        by: Keys of the rows.

        period_minutes: How far back the period reaches.

        now: Clock, Unix seconds.

    Raises:
        LedgerError: It is not there, or cannot be read.
    """
    moment = now()
    with LedgerReader(path) as reader, reader.one_state():
        flush_seconds = _flush_seconds(reader)
        # A minute is whole when the last of it has been written.
        minute = int((moment - flush_seconds) // 60) - 1
        selection = Selection(min(minute - 1, minute + 1 - period_minutes))
        keyed = ["minute", *by]
        sums: dict[tuple[str, ...], list[float]] = {}
        unknown: set[tuple[str, ...]] = set()
        minutes: dict[int, float] = {}
        for row in reader.rows(keyed, selection):
            at, key = _minute_of(row.key[0]), row.key[1:]
            minutes[at] = minutes.get(at, 0.0) + row.usd
            _add(sums, key, at - minute, row.usd, row.requests)
            if row.unpriced and not row.usd:
                unknown.add(key)
        for (text,), amount in reader.idle_rows(["minute"], selection).items():
            at = _minute_of(text)
            minutes[at] = minutes.get(at, 0.0) + amount
            _add(sums, (IDLE, *[""] * (len(by) - 1)), at - minute, amount, 0)
        traces = [one for one in reader.kept_traces(selection) if not one.sampled]
        unpriced = reader.unpriced(selection)
    rows = [
        Row(key, one[0], one[1], one[2], int(one[3]), int(one[4]), key in unknown and not one[2])
        for key, one in sums.items()
    ]
    first = max(selection.since_minute or 0, min(minutes, default=minute + 1))
    return Reading(
        moment,
        minute,
        flush_seconds,
        _written_at(path),
        tuple(by),
        tuple(rows),
        sum(amount for at, amount in minutes.items() if at > minute),
        tuple(minutes.get(at, 0.0) for at in range(first, minute + 1)),
        tuple(sorted(traces, key=lambda one: (-one.minute, -one.total_usd))[:_MAX_TRACES]),
        tuple(unpriced),
    )


def _add(sums: dict[tuple[str, ...], list[float]], key: tuple[str, ...], age: int, amount: float, count: int) -> None:
    """Add to [now, before, period, requests now, requests before]; `age` is 0 for the last whole minute."""
    one = sums.setdefault(key, [0.0, 0.0, 0.0, 0, 0])
    one[2] += amount
    if age in (0, -1):
        one[-age] += amount
        one[3 - age] += count


def _minute_of(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) // 60


def _flush_seconds(reader: LedgerReader) -> float:
    try:
        return float(reader.meta()["flush_interval_seconds"])
    except (KeyError, ValueError):
        return 5.0


def _written_at(path: str) -> float | None:
    times = [os.path.getmtime(name) for name in (path, f"{path}-wal") if os.path.exists(name)]
    return max(times, default=None)


# --- the picture --------------------------------------------------------------------------------


def frame(
    reading: Reading, *, sort: str, period: str, width: int, height: int | None, keys: str = ""
) -> RenderableType:
    """Return the picture of a reading.

    Args:
        reading: What the ledger said.

        sort: One of `SORTS`.

        period: The period as it was asked for: `15m`.

        width: Columns there are.

        height: Lines there are; None for as many as it takes.

        keys: What can be pressed, for the last line; empty for none.
    """
    head = _head(reading, period, width)
    tail = [*_traces(reading, width), *_unpriced(reading)]
    last = [Text(keys, style="dim")] if keys else []
    room = None if height is None else height - len(head) - 2 - len(last)
    if room is not None:  # rows come first; the rest may have a third of the lines
        tail = tail[: max(0, room - len(reading.rows) - 2, room // 3 - 1)]
        room -= len(tail) + (1 if tail else 0)
    table = _table(reading, sort, width, period, room)
    return Group(*head, Text(), table, *([Text(), *tail] if tail else []), *last)


def waiting(path: str, error: LedgerError | None, now: float) -> RenderableType:
    """Return the picture of a ledger that is not there yet, or cannot be read just now."""
    why = (
        str(error)
        if error is not None
        else (
            f"no ledger at {path} yet. It is begun at the first write of an application under "
            "`spancost run -- COMMAND`."
        )
    )
    return Group(Text.assemble(("spancost top", "bold"), f"   {_clock(now)}"), Text(), Text(f"Waiting: {why}"))


def _head(reading: Reading, period: str, width: int) -> list[RenderableType]:
    last = _clock_minute(reading.minute)
    now = Text.assemble(("spancost top", "bold"), f"   {_clock(reading.now)}   ")
    if reading.per_minute_usd:
        now.append(f"{usd(reading.now_usd * 60)}/h", style="bold")
        amount = f" = {usd(reading.now_usd)}" if width >= _NARROW else ""
        now.append(f"{amount} in {last}" + (", the last whole minute" if width >= _WIDE else ""))
    else:
        now.append("the first minute is not over yet: rates come with it")
    total = sum(row.period_usd for row in reading.rows)
    requests = _requests(reading)
    counted = f"; {number(requests)} requests in {last}" if requests else ""
    bars = _sparkline(reading.per_minute_usd, max(10, min(60, width - 30)))
    lines = [
        now,
        Text(
            f"{usd(total)} in {period}{counted}; {_clock_minute(reading.minute + 1)} so far {usd(reading.running_usd)}"
        ),
        Text.assemble(
            f"USD by minute {_clock_minute(reading.minute + 1 - len(reading.per_minute_usd))} ",
            (bars, "green"),
            f" {last}",
        ),
        Text(_freshness(reading), style="dim"),
    ]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return list(lines)


def _requests(reading: Reading) -> int:
    keyed = [row for row in reading.rows if row.key[0] != IDLE]
    return sum(row.now_requests for row in keyed) if reading.by == ("entrypoint",) else 0


def _freshness(reading: Reading) -> str:
    ago = "" if reading.written_at is None else f", last {_ago(reading.now - reading.written_at)} ago"
    return f"written every {reading.flush_seconds:g} s{ago}: what was charged since then is not in it yet"


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _sparkline(amounts: Sequence[float], width: int) -> str:
    """Return a bar per minute, the newest last; several minutes share one where there is no room."""
    if len(amounts) > width:
        step = -(-len(amounts) // width)
        amounts = [sum(amounts[max(0, end - step) : end]) for end in range(len(amounts), 0, -step)][::-1]
    most = max(amounts, default=0.0)
    if not most:
        return _BARS[0] * len(amounts)
    return "".join(_BARS[max(1, round(amount / most * 8)) if amount else 0] for amount in amounts)


def _table(reading: Reading, sort: str, width: int, period: str, room: int | None) -> Table:
    titles = ["USD/H", "CHANGE", "SHARE", "REQ/MIN", f"USD {period}"]
    if width >= _WIDE:
        titles.insert(2, "CHANGE %")
    elif width < _NARROW:
        titles = ["USD/H", "CHANGE", f"USD {period}"]
    count = len(reading.by)
    rows = sorted(reading.rows, key=_ORDERS[sort])
    shown = rows if room is None or len(rows) + 1 <= room else rows[: max(0, room - 2)]
    rest = rows[len(shown) :]
    lines = [
        _cells(row, [part or ("" if row.key[0] == IDLE else NOTHING) for part in row.key], reading, titles)
        for row in shown
    ]
    if rest:
        lines.append(_cells(_sum(rest, count), [f"({len(rest)} more)", *[""] * (count - 1)], reading, titles))
    total = _cells(_sum(rows, count), ["total", *[""] * (count - 1)], reading, titles)
    if "REQ/MIN" in titles and reading.by != ("entrypoint",):
        total[count + titles.index("REQ/MIN")] = Text()  # a request may be in several rows
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_edge=False)
    for key in reading.by:
        table.add_column(key.upper(), no_wrap=True, overflow="ellipsis")
    for place, title in enumerate(titles, count):  # numbers stay whole, keys give way
        widest = max(len(title), *(line[place].cell_len for line in [*lines, total]))
        table.add_column(title, justify="right", no_wrap=True, min_width=widest)
    for line in lines:
        table.add_row(*line)
    table.add_row(*total, style="bold")
    return table


def _sum(rows: Sequence[Row], width: int) -> Row:
    return Row(
        ("",) * width,
        sum(row.now_usd for row in rows),
        sum(row.before_usd for row in rows),
        sum(row.period_usd for row in rows),
        sum(row.now_requests for row in rows),
        sum(row.before_requests for row in rows),
        False,
    )


def _cells(row: Row, keys: Sequence[str], reading: Reading, titles: Sequence[str]) -> list[Text]:
    change = row.change_usd * 60
    noise = 1e-12 + 1e-9 * (row.now_usd + row.before_usd)
    style = "" if abs(change) <= noise else "red" if change > 0 else "green"
    percent = f"{100 * row.change_usd / row.before_usd:+,.0f} %" if row.before_usd and style else ""
    values = {
        "USD/H": Text(UNKNOWN if row.unknown else usd(row.now_usd * 60)),
        "CHANGE": Text(("+" if change > 0 else "") + usd(change) if style else "", style=style),
        "CHANGE %": Text(percent, style=style),
        "SHARE": Text(UNKNOWN if row.unknown else share(row.now_usd, reading.now_usd)),
        "REQ/MIN": Text(number(row.now_requests) if row.now_requests else ""),
    }
    last = Text(UNKNOWN if row.unknown else usd(row.period_usd))
    return [*map(Text, keys), *(values.get(title, last) for title in titles)]


_ORDERS: Final[dict[str, Callable[[Row], tuple[object, ...]]]] = {
    "now": lambda row: (-row.now_usd, -row.period_usd, row.key),
    "period": lambda row: (-row.period_usd, row.key),
    "requests": lambda row: (-row.now_requests, -row.now_usd, row.key),
    "change": lambda row: (-abs(row.change_usd), -row.now_usd, row.key),
    "name": lambda row: row.key,
}


def _traces(reading: Reading, width: int) -> list[Text]:
    if not reading.traces:
        return []
    lines = [Text("Newest costly traces (spancost tree ID)", style="bold")]
    for trace in reading.traces:
        when, digits = _clock_minute(trace.minute), trace.trace_id[:_DIGITS]
        line = Text(f"  {when}  {digits}  {usd(trace.total_usd):>10}  {trace.entrypoint}")
        line.truncate(width, overflow="ellipsis")
        lines.append(line)
    return lines


def _unpriced(reading: Reading) -> list[Text]:
    if not reading.unpriced:
        return [Text("everything is priced")]
    reasons: dict[str, int] = {}
    for row in reading.unpriced:
        what = row.provider if row.component == "http" else row.model or row.operation
        name = f"{row.reason or 'unknown'} of {' '.join(part for part in (row.component, what) if part)}"
        reasons[name] = reasons.get(name, 0) + row.charge_count
    dearest = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    named = ", ".join(f"{number(count)} {name}" for name, count in dearest[:_MAX_UNPRICED])
    more = f", {len(dearest) - _MAX_UNPRICED} other reasons" if len(dearest) > _MAX_UNPRICED else ""
    return [Text(f"Not priced: {named}{more}", style="yellow", no_wrap=True, overflow="ellipsis")]


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S UTC")


def _clock_minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%H:%M")

"""`spancost top`: what is being spent now, again and again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.live import Live

from spancost.cli import EXIT_FINE
from spancost.cli._completion import complete_keys
from spancost.cli._format import console, show
from spancost.cli._key_presses import KeyPresses, key_presses
from spancost.cli._ledger import LedgerOption, fail, ledger_path, open_ledger
from spancost.cli._top_frame import SORTS, frame, read, waiting
from spancost.config.values import positive_seconds
from spancost.errors import LedgerError
from spancost.sinks.ledger.query import TIME_KEYS, canonical_key

_GROUPINGS: Final = ("entrypoint", "service", "component", "tenant", "model", "operation")
"""What the key b goes through."""
_DEFAULT_SINCE: Final = "15m"
_DEFAULT_INTERVAL: Final = "2s"
_MIN_INTERVAL_S: Final = 0.2
_KEYS: Final = "q quit   s sort ({sort})   b group ({by})"


def top(
    by: Annotated[
        str,
        typer.Option("--by", metavar="KEYS", help="Comma-separated keys.", autocompletion=complete_keys),
    ] = _GROUPINGS[0],
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Period of the last column: 15m, 1h.")
    ] = _DEFAULT_SINCE,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Time between two looks at the ledger.")
    ] = _DEFAULT_INTERVAL,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame and end; so it is where the output is no terminal.")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Watch what is being spent now.

    USD/H is the rate of the last whole minute, CHANGE the difference to the minute before it. Below are the newest
    costly traces and what has no price. A ledger that is not there yet is waited for.

    Keys: q ends, s changes the order, b what rows are grouped by.

    Example: spancost top --once

    Example: spancost top --by tenant,model --since 1h
    """
    keys = _keys(by)
    period_minutes = max(1, round(_seconds("--since", since) / 60))
    pause = max(_MIN_INTERVAL_S, _seconds("--interval", interval))
    path = ledger_path(ledger)
    out = console()
    if once or not out.is_terminal:
        _print_once(out, path, keys, period_minutes, since)
        return
    with _ended_by_signals(), key_presses() as pressed:
        _watch(out, pressed, path, keys, period_minutes, since, pause)


def _keys(by: str) -> tuple[str, ...]:
    named = [key.strip() for key in by.split(",") if key.strip()]
    if not named:
        fail(f"--by: names no key, for example {_GROUPINGS[0]} or service,model")
    try:
        keys = tuple(dict.fromkeys(map(canonical_key, named)))
    except LedgerError as error:
        fail(f"--by: {error}")
    for key in keys:
        if key in TIME_KEYS:
            fail(f"--by: {key!r} is a time, and top shows the last minute")
    return keys


def _seconds(option: str, text: str) -> float:
    try:
        return positive_seconds(text)
    except ValueError as error:
        fail(f"{option}: {text!r} is not accepted: {error}")


def _print_once(out: Console, path: str, keys: Sequence[str], period_minutes: int, since: str) -> None:
    if not os.path.exists(path):
        with open_ledger(path):  # says what to do
            pass
    try:
        reading = read(path, keys, period_minutes)
    except LedgerError as error:
        fail(str(error))
    show(out, frame(reading, sort=SORTS[0], period=since, width=out.width, height=None))


def _watch(
    out: Console,
    pressed: KeyPresses,
    path: str,
    keys: tuple[str, ...],
    period_minutes: int,
    since: str,
    pause: float,
) -> None:
    groupings = [keys, *((key,) for key in _GROUPINGS if (key,) != keys)]
    grouping = sort = 0
    has_keys = sys.stdin.isatty()
    with Live(console=out, screen=True, auto_refresh=False, transient=True) as live:
        while True:
            by, order = groupings[grouping], SORTS[sort]
            hint = _KEYS.format(sort=order, by=",".join(by)) if has_keys else "Ctrl-C ends"
            live.update(_picture(out, path, by, order, period_minutes, since, hint), refresh=True)
            key = _next_key(pressed, pause)
            if key == "q":
                return
            if key == "s":
                sort = (sort + 1) % len(SORTS)
            elif key == "b":
                grouping = (grouping + 1) % len(groupings)


def _next_key(pressed: KeyPresses, pause: float) -> str:
    """Return the key that is pressed before the next look at the ledger; q if the terminal is gone."""
    until = time.monotonic() + pause
    while (left := until - time.monotonic()) > 0:
        try:
            key = pressed.wait(left).lower()
        except (EOFError, OSError):
            return "q"
        if key in ("q", "s", "b"):
            return key
    return ""


def _picture(
    out: Console, path: str, by: tuple[str, ...], sort: str, period_minutes: int, since: str, hint: str
) -> RenderableType:
    if not os.path.exists(path):
        return waiting(path, None, time.time())
    try:
        reading = read(path, by, period_minutes)
    except LedgerError as error:
        return waiting(path, error, time.time())
    return frame(reading, sort=sort, period=since, width=out.width, height=out.height, keys=hint)


@contextmanager
def _ended_by_signals() -> Generator[None]:
    """Leave by the way that puts the terminal back, also when asked to end."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise typer.Exit(EXIT_FINE if number == signal.SIGINT else 128 + number)

    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}
    before = {one: signal.signal(one, end) for one in numbers}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)

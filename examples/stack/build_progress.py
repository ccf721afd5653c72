"""How a build shows what it does: bars on a terminal, a line for each step elsewhere; on standard error."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import Final, Protocol

_SHARES: Final = 4
"""Lines that tell how far a long step is, where there is no bar."""


class Progress(Protocol):
    """Told what is being built."""

    def begin(self, name: str) -> None:
        """A recipe is begun."""

    def step(self, text: str, done: int = 0, total: int = 0) -> None:
        """It is here; `total` is 0 where nobody knows how much there is to do."""

    def end(self, text: str) -> None:
        """It is finished."""


def show_progress() -> AbstractContextManager[Progress]:
    """Return bars on a terminal, plain lines elsewhere."""
    return _Bars() if sys.stderr.isatty() else nullcontext(Lines())


class Lines:
    """A line for each step, and some for how far it is."""

    def __init__(self) -> None:
        self._name = ""
        self._text = ""
        self._share = 0
        self._began = 0.0

    def begin(self, name: str) -> None:
        self._name, self._text, self._began = name, "", monotonic()

    def step(self, text: str, done: int = 0, total: int = 0) -> None:
        share = done * _SHARES // total if total else 0
        if text == self._text and share <= self._share:
            return
        far = f" {done} of {total}" if total else ""
        self._say(f"{text}{far} ({monotonic() - self._began:.0f} s)" if share else text)
        self._text, self._share = text, share

    def end(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)


class _Bars:
    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self._progress = Progress(
            TextColumn("{task.fields[name]:<12}", table_column=Column(min_width=12, no_wrap=True)),
            BarColumn(bar_width=12),
            TimeElapsedColumn(table_column=Column(min_width=7, no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", name="", visible=False)

    def begin(self, name: str) -> None:
        self._task = self._progress.add_task("", name=name, total=None)

    def step(self, text: str, done: int = 0, total: int = 0) -> None:
        self._progress.update(self._task, description=text, completed=done, total=total or None)

    def end(self, text: str) -> None:
        self._progress.update(self._task, description=text, completed=1, total=1)
        self._progress.stop_task(self._task)

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

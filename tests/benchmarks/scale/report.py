"""How figures are shown: a table, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from spancost.cli._format import Column, console, number, print_table

JSON: Final = "json"
TABLE: Final = "table"
FORMATS: Final = (TABLE, JSON)


def show(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print figures.

    Args:
        rows: With the same keys each; the names of the columns.

        form: `table` or `json`.
    """
    if form == JSON:
        sys.stdout.write(json.dumps(list(rows), indent=2) + "\n")
        return
    if not rows:
        return
    titles = list(rows[0])
    print_table(
        console(),
        [
            Column(
                title.upper().replace("_", " "),
                [_cell(row[title]) for row in rows],
                is_key=isinstance(rows[0][title], str),
            )
            for title in titles
        ],
    )


def _cell(value: object) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


@contextmanager
def progress(what: str) -> Generator[Callable[[int, float], None] | None]:
    """Yield whom to tell how far something is, from 0 to 1: a bar on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda spans, share: bar.update(task, completed=share, description=f"{spans:,} spans")

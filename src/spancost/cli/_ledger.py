"""Which ledger a command reads, and since when."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Final, NoReturn

import typer

from spancost import names
from spancost.cli import EXIT_USAGE
from spancost.config import load_config
from spancost.config.values import parse_seconds
from spancost.errors import ConfigError, LedgerError
from spancost.sinks.ledger.reader import LedgerReader

DEFAULT_LEDGER: Final = "spancost.sqlite"


class Format(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class TreeFormat(StrEnum):
    """The formats of answers that are no rows."""

    TABLE = "table"
    JSON = "json"


LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help=f"Ledger file; by default ${names.ENV_LEDGER}, spancost.yaml, or ./{DEFAULT_LEDGER}.",
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only the last 90s, 5m, 1h or 7d (whole minutes, UTC)."),
]


def fail(message: str) -> NoReturn:
    """Print to stderr and exit with 2: wrong usage, configuration or ledger."""
    typer.echo(f"spancost: {message}", err=True)
    raise typer.Exit(EXIT_USAGE)


def ledger_path(option: str | None) -> str:
    """Return the ledger that is asked for: option, environment, `spancost.yaml`, or the default."""
    if option:
        return option
    try:
        configured = load_config().ledger
    except ConfigError:
        # A wrong setting elsewhere must not hide what was spent; `spancost doctor` shows it.
        configured = os.environ.get(names.ENV_LEDGER, "").strip()
    return configured or DEFAULT_LEDGER


@contextmanager
def open_ledger(option: str | None) -> Generator[LedgerReader]:
    """Open the ledger for a command; a missing or broken one ends it with exit code 2."""
    path = ledger_path(option)
    if not os.path.exists(path):
        fail(
            f"no ledger at {path}. Run your application under `spancost run -- COMMAND`, or set "
            f"{names.ENV_LEDGER}, or name the file with --ledger"
        )
    try:
        with LedgerReader(path) as reader, reader.one_state():  # an application goes on writing
            yield reader
    except LedgerError as error:
        fail(str(error))


def since_minute(since: str | None, now: Callable[[], float] = time.time) -> int | None:
    """Return the first minute of `--since`, Unix seconds // 60; a malformed one ends the command."""
    if since is None:
        return None
    try:
        seconds = parse_seconds(since)
    except ValueError as error:
        fail(f"--since: {since!r} is not accepted: {error}")
    return int((now() - seconds) // 60)

"""`spancost ledger export`: the ledger's rows under FOCUS column names, as CSV or Parquet."""

from __future__ import annotations

import csv
import importlib
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import IO, Annotated, Any, Final, cast

import typer

from spancost._version import spancost_version
from spancost.cli._completion import complete_keys
from spancost.cli._ledger import LedgerOption, SinceOption, fail, open_ledger
from spancost.cli.report.period import period_of, time_zone
from spancost.errors import LedgerError, MissingExtraError
from spancost.focus_rows import COUNT, DETAIL_KEYS, FLAG, NUMBER, TEXT, TIME, FocusColumn, focus_columns
from spancost.sinks.ledger.query import UTC_NAME, Selection, canonical_key
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import ChargeRow

_STDOUT: Final = "-"
_BATCH_ROWS: Final = 20_000
"""Rows in memory at a time, and in one row group of a Parquet file."""
_PARQUET_ENDS: Final = (".parquet", ".pq")


class ExportFormat(StrEnum):
    """How an export is written."""

    CSV = "csv"
    PARQUET = "parquet"


def export(
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="KEYS",
            help="Sums by comma-separated keys; by default every row of the ledger.",
            autocompletion=complete_keys,
        ),
    ] = None,
    since: SinceOption = None,
    begin: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="From a day or time on: 2026-10-01, 2026-10-01T14:05.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Up to a time, or a day, which is counted whole.")
    ] = None,
    month: Annotated[
        str | None, typer.Option("--month", metavar="MONTH", help="One month: 2026-10, this or last.")
    ] = None,
    tz: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="Time zone of days and months, for example Europe/Berlin.")
    ] = UTC_NAME,
    file: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="File to write, whole or not at all; - for stdout.")
    ] = _STDOUT,
    output: Annotated[
        ExportFormat | None,
        typer.Option("--format", metavar="FORMAT", help="csv or parquet; by default as the file's name ends."),
    ] = None,
    ledger: LedgerOption = None,
) -> None:
    """Export the ledger under the column names of FOCUS 1.2.

    One row per row of the ledger (minute, hour or day, as far back as each is kept), or sums with --by. EffectiveCost
    is what it costs you, ListCost list price; both are empty where no price is known. There is no BilledCost: what
    will be invoiced is not known. Columns that FOCUS does not have begin with x_. Idle compute is in it, so sums equal
    those of `spancost report`.

    Example: spancost ledger export --by day,service,component

    Example: spancost ledger export --since 30d -o costs.parquet
    """
    chosen = output or (ExportFormat.PARQUET if file.endswith(_PARQUET_ENDS) else ExportFormat.CSV)
    if chosen is ExportFormat.PARQUET and file == _STDOUT:
        fail("ledger export: Parquet is not for a terminal or a pipe: name a file with -o FILE")
    wanted = period_of(since, begin, end, month, time_zone(tz))
    selection = Selection(wanted.since_minute, wanted.until_minute, tz=tz)
    with open_ledger(ledger) as reader:
        rows, columns = _answer(reader, by, selection)
        try:
            with closing(rows), _written(file, binary=chosen is ExportFormat.PARQUET) as stream:
                write = _write_csv if chosen is ExportFormat.CSV else _write_parquet
                write(stream, columns, rows)
        except MissingExtraError as error:
            fail(str(error))
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            fail(f"ledger export: {file}: {error.strerror or error}")


def _answer(
    reader: LedgerReader, by: str | None, selection: Selection
) -> tuple[Generator[ChargeRow], list[FocusColumn]]:
    if by is None:
        return reader.each_charge(DETAIL_KEYS, selection), focus_columns(DETAIL_KEYS, sums=False)
    named = [key.strip() for key in by.split(",") if key.strip()]
    if not named:
        fail("--by: names no key, for example day,service,component")
    try:
        keys = list(dict.fromkeys(map(canonical_key, named)))
    except LedgerError as error:
        fail(f"--by: {error}")
    coarser = reader.coarser(keys, selection)
    if coarser is not None:
        level, _ = coarser
        typer.echo(f"some rows are kept by the {level} only: they stand at the {level}'s beginning", err=True)
    first, last = reader.range_minutes or (0, 0)
    since, until = reader.bounds(selection)
    whole = (first if since is None else since, last if until is None else until)
    return reader.each_sum(keys, selection), focus_columns(keys, sums=True, tz=selection.tz, whole=whole)


@contextmanager
def _written(file: str, *, binary: bool = False) -> Generator[IO[Any]]:
    """Yield what is written to; the file is there when all of it is, and untouched after an error."""
    if file == _STDOUT:
        yield sys.stdout
        return
    unfinished = f"{file}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "wb") if binary else open(unfinished, "w", encoding="utf-8", newline="") as out:
            yield out
        os.replace(unfinished, file)
    except BaseException:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise


def _batches(rows: Iterable[ChargeRow]) -> Iterator[list[ChargeRow]]:
    source = iter(rows)
    while batch := list(islice(source, _BATCH_ROWS)):
        yield batch


# --- csv ----------------------------------------------------------------------------------------


def _write_csv(stream: IO[str], columns: Sequence[FocusColumn], rows: Iterable[ChargeRow]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for row in rows:
        writer.writerow([_as_text(column.value(row)) for column in columns])


def _as_text(value: object) -> object:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else value


# --- parquet ------------------------------------------------------------------------------------


def _write_parquet(stream: IO[bytes], columns: Sequence[FocusColumn], rows: Iterable[ChargeRow]) -> None:
    try:
        arrow = cast("Any", importlib.import_module("pyarrow"))
        parquet = cast("Any", importlib.import_module("pyarrow.parquet"))
    except ImportError:
        raise MissingExtraError("Parquet", "parquet") from None
    types = {
        TEXT: arrow.string(),
        NUMBER: arrow.float64(),
        COUNT: arrow.int64(),
        TIME: arrow.timestamp("us", tz="UTC"),
        FLAG: arrow.bool_(),
    }
    schema = arrow.schema(
        [arrow.field(column.name, types[column.kind]) for column in columns],
        metadata={"spancost_version": spancost_version(), "focus_version": "1.2"},
    )
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            arrays = [arrow.array([column.value(row) for row in batch], type=types[column.kind]) for column in columns]
            writer.write_batch(arrow.RecordBatch.from_arrays(arrays, schema=schema))

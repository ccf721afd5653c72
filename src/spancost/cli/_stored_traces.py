"""Traces for `spancost tree --from FILE`: found in files, priced, whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import typer

from spancost.cli._ledger import fail
from spancost.config import Config, load_config
from spancost.errors import MissingExtraError, SpancostError
from spancost.prices.book import PriceBook
from spancost.prices.configured import price_book
from spancost.sinks.ledger.rows import StoredTrace, TraceSummary

_HEX: Final = frozenset("0123456789abcdef")
_LOW_DIGITS: Final = 16


def stored_trace(files: Sequence[str], trace_id: str | None, region: str | None) -> list[StoredTrace]:
    """Return the local roots of one trace, the costliest of all for None; what is not there ends the command."""
    whole_traces = _module()
    try:
        config, book = _settings(region)
        with whole_traces.readable_twice(files) as paths:
            if trace_id is None:
                wanted = [_costliest(whole_traces, paths, files, config, book, 1, region)[0][0]]
            else:
                wanted = [_named(whole_traces, paths, trace_id, config, book)]
            found = whole_traces.read_whole(paths, wanted, config, book, region=region or "")
    except SpancostError as error:
        fail(str(error))
    return found[wanted[0]]


def stored_summaries(files: Sequence[str], count: int, region: str | None) -> list[TraceSummary]:
    """Return the costliest traces of files without their spans."""
    whole_traces = _module()
    try:
        config, book = _settings(region)
        with whole_traces.readable_twice(files) as paths:
            costs = _costliest(whole_traces, paths, files, config, book, count, region)
            whole = whole_traces.read_whole(paths, [low for low, _ in costs], config, book, region=region or "")
    except SpancostError as error:
        fail(str(error))
    return [_summary(whole[low]) for low, _ in costs]


def _module() -> Any:
    try:
        from spancost.offline import whole_traces
    except ImportError as error:
        if error.name != "msgspec":
            raise
        fail(str(MissingExtraError("spancost tree --from", "cli")))
    return whole_traces


def _settings(region: str | None) -> tuple[Config, PriceBook]:
    config = load_config() if region is None else load_config(region=region)
    return config, price_book(config)


def _costliest(
    whole_traces: Any,
    paths: list[str],
    files: Sequence[str],
    config: Config,
    book: PriceBook,
    count: int,
    region: str | None,
) -> list[tuple[int, float]]:
    from spancost.offline.reading import Problems

    problems = Problems()
    costs = whole_traces.find_costliest(paths, config, book, problems, count=count, region=region or "")
    if not costs.costliest:
        first = "".join(f"; line {one.line}: {one.message}" for one in problems.first[:1])
        fail(f"tree: no span of OTLP JSON or Jaeger JSON in {', '.join(files)}{first}")
    if problems.bad_lines or problems.bad_spans:
        typer.echo(f"{problems.bad_lines} lines and {problems.bad_spans} spans not read", err=True)
    return costs.costliest


def _named(whole_traces: Any, paths: list[str], trace_id: str, config: Config, book: PriceBook) -> int:
    digits = trace_id.strip().lower()
    if not digits or not _HEX.issuperset(digits):
        fail(f"tree: {trace_id!r} is no trace id: up to 32 hexadecimal digits")
    found: list[str] = whole_traces.ids_that_begin(paths, digits, config, book)
    if not found:
        fail(f"tree: no trace in these files begins with {trace_id!r}")
    if len(found) > 1:
        fail(f"tree: several traces begin with {trace_id!r}: {', '.join(found)}")
    return int(found[0][-_LOW_DIGITS:], 16)


def _summary(roots: list[StoredTrace]) -> TraceSummary:
    costliest = max(roots, key=lambda root: root.total_usd)
    return TraceSummary(
        costliest.trace_id,
        max(root.minute for root in roots),
        sum(root.total_usd for root in roots),
        costliest.entrypoint,
        len({root.service for root in roots}),
        sampled=False,
    )

"""What the shell offers after Tab: keys of `--by`, ids of kept traces. Whatever goes wrong, it offers nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Final

import typer

_OFFERED_TRACES: Final = 30


def complete_keys(incomplete: str) -> list[str]:
    """Return the keys of the ledger that go on with what is typed, behind those that are typed already."""
    from spancost.sinks.ledger.query import LEDGER_KEYS

    return _continued(incomplete, LEDGER_KEYS)


def complete_trace_keys(incomplete: str) -> list[str]:
    """Return the keys of stored traces that go on with what is typed."""
    try:
        from spancost.offline.rollup import KEYS
    except ImportError:
        return []
    return _continued(incomplete, KEYS)


def _continued(incomplete: str, keys: Sequence[str]) -> list[str]:
    before, comma, begun = incomplete.rpartition(",")
    typed = before.split(",")
    return [f"{before}{comma}{key}" for key in sorted(keys) if key.startswith(begun) and key not in typed]


def complete_traces(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return kept traces of the ledger on the command line, with what they cost."""
    from spancost.cli._format import usd
    from spancost.cli._ledger import ledger_path
    from spancost.errors import SpancostError
    from spancost.sinks.ledger.reader import LedgerReader

    try:
        with closing(LedgerReader(ledger_path(ctx.params.get("ledger")))) as reader:
            kept = reader.kept_traces(limit=_OFFERED_TRACES)
    except (SpancostError, OSError):
        return []
    return [
        (trace.trace_id, f"{usd(trace.total_usd)} {trace.entrypoint}".strip())
        for trace in kept
        if trace.trace_id.startswith(incomplete.lower())
    ]

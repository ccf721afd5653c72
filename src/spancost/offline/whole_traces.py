"""Stored traces whole, span by span with what each is charged, as the ledger keeps its costliest ones.

Files are read twice, so that memory stays bounded whatever their size: once to price everything in columns and find
which traces cost most, once to keep names, times and charges of the wanted ones. A trace that is named needs only the
second reading. Standard input is kept in a temporary file for it.
"""

from __future__ import annotations

import base64
import heapq
import shutil
import sys
import tempfile
from array import array
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

import msgspec

from spancost import names
from spancost.charge import Charge, price_line
from spancost.config import Config
from spancost.offline.calls import settle
from spancost.offline.charges import FALLEN
from spancost.offline.files import STDIN, Moved
from spancost.offline.otlp_shape import Traces
from spancost.offline.pricing import Pricing, Process
from spancost.offline.reading import Problems, read_files
from spancost.offline.rollup import OFFLINE
from spancost.offline.table import REPEATED, TRACE_MASK
from spancost.prices.book import PriceBook
from spancost.sinks.ledger.rows import StoredNode, StoredTrace
from spancost.sinks.ledger.traces import MAX_NODES_PER_TRACE, charge_document

_HEX_DIGITS: Final = 32
_MAX_NAMED: Final = 5
"""Ids told where the digits given are those of several traces."""
_NO_COMPUTE: Final = price_line(names.COMPUTE, "", "", unit="s", status=names.UNPRICED, reason=OFFLINE)

OnMoved = Callable[[str], Moved]


class Costs(NamedTuple):
    """What the traces of some files cost."""

    costliest: list[tuple[int, float]]
    """(low 64 bits of the trace id, USD), costliest first."""
    traces: int
    empty: list[str]
    """Files without a span."""


class _Seen(NamedTuple):
    name: str
    start_ns: int
    end_ns: int
    trace: int


class _Recording(Pricing):
    """Keeps names and times of all spans beside what they are charged."""

    def __init__(self, config: Config, book: PriceBook, region: str) -> None:
        super().__init__(config, book, region=region)
        self.seen: dict[int, _Seen] = {}

    def is_wanted(self, keys: tuple[str, ...]) -> bool:
        return True

    def add(
        self,
        trace: int,
        span_id: int,
        parent_id: int,
        mark: int,
        process: Process,
        scope: str,
        name: str,
        attributes: Mapping[str, Any],
        start_ns: int,
        end_ns: int,
        *,
        failed: bool,
    ) -> int:
        self.seen[len(self.table)] = _Seen(name, start_ns, end_ns, trace)  # replaced where the span is refused
        return super().add(
            trace, span_id, parent_id, mark, process, scope, name, attributes, start_ns, end_ns, failed=failed
        )


@contextmanager
def readable_twice(paths: Sequence[str]) -> Generator[list[str]]:
    """Yield the paths with standard input, if it is among them, in a temporary file."""
    if STDIN not in paths:
        yield list(paths)
        return
    with tempfile.NamedTemporaryFile(prefix="spancost-stdin-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield [copy.name if path == STDIN else path for path in paths]


def find_costliest(
    paths: Iterable[str],
    config: Config,
    book: PriceBook,
    problems: Problems,
    *,
    count: int = 1,
    region: str = "",
    on_moved: OnMoved | None = None,
) -> Costs:
    """Price all traces of files and return which cost most.

    Args:
        paths: Files of OTLP JSON or Jaeger JSON.

        config: Settings, as for `Pricing`.

        book: Prices.

        problems: Where bad lines and spans are counted.

        count: How many traces.

        region: Region of processes whose resource names none.

        on_moved: Returns whom to tell how far a file is read.

    Raises:
        FileUnreadableError: A file is not there, or cannot be read.
    """
    pricing = Pricing(config, book, region=region)
    empty = read_files(paths, pricing, problems, on_moved)
    table, charges = pricing.table, pricing.charges
    # Which trace a span is of is known until parents are found.
    ids, of_span = array("Q"), array("I", bytes(4 * len(table)))
    for trace, numbers in table.by_trace():
        for number in numbers:
            of_span[number] = len(ids)
        ids.append(trace)
    table.resolve()
    settle(table, charges, pricing.held)
    usd = array("d", bytes(8 * len(ids)))
    for number, rule in enumerate(charges.rules):
        if rule != FALLEN:
            usd[of_span[charges.spans[number]]] += charges.usd[number]
    dearest = heapq.nsmallest(count, range(len(ids)), key=lambda place: (-usd[place], ids[place]))
    return Costs([(ids[place], usd[place]) for place in dearest], len(ids), empty)


def ids_that_begin(paths: Iterable[str], prefix: str, config: Config, book: PriceBook) -> list[str]:
    """Return at most five trace ids that begin with these hexadecimal digits, in order.

    Raises:
        FileUnreadableError: A file is not there, or cannot be read.
    """
    found: set[str] = set()

    def is_new(trace_id: str) -> bool:
        if len(found) < _MAX_NAMED and trace_id.startswith(prefix):
            found.add(trace_id)
        return False

    read_files(paths, Pricing(config, book), Problems(), select=lambda document: _selected(document, is_new))
    return sorted(found)


def read_whole(
    paths: Iterable[str],
    wanted: Iterable[int],
    config: Config,
    book: PriceBook,
    *,
    region: str = "",
    on_moved: OnMoved | None = None,
) -> dict[int, list[StoredTrace]]:
    """Read some traces with all their spans.

    Args:
        paths: Files of OTLP JSON or Jaeger JSON.

        wanted: Low 64 bits of their ids.

        config: Settings, as for `Pricing`.

        book: Prices.

        region: Region of processes whose resource names none.

        on_moved: Returns whom to tell how far a file is read.

    Returns:
        Local roots by trace, each with a charge that says that its compute is not priced.

    Raises:
        FileUnreadableError: A file is not there, or cannot be read.
    """
    kept, full_ids = set(wanted), dict[int, str]()

    def is_kept(trace_id: str) -> bool:
        low = int(trace_id, 16) & TRACE_MASK
        if low in kept:
            full_ids[low] = trace_id
        return low in kept

    pricing = _Recording(config, book, region)
    read_files(paths, pricing, Problems(), on_moved, select=lambda document: _selected(document, is_kept))
    pricing.table.resolve()
    settle(pricing.table, pricing.charges, pricing.held)
    traces: dict[int, list[StoredTrace]] = {}
    charges = _charges(pricing)
    for root, spans in _by_root(pricing).items():
        trace = pricing.seen[root].trace
        traces.setdefault(trace, []).append(_stored(pricing, root, spans, charges, full_ids[trace]))
    for roots in traces.values():
        roots.sort(key=lambda one: min(node.start_ns for node in one.nodes))
    return traces


# --- which spans --------------------------------------------------------------------------------


def _selected(document: Any, is_kept: Callable[[str], bool]) -> Any:
    """Return a document with the spans of wanted traces only; what is of another shape as it is."""
    if isinstance(document, Traces):
        return _selected_traces(document, is_kept)
    if isinstance(document, list):
        return [_selected(one, is_kept) for one in cast("list[Any]", document)]
    if not isinstance(document, dict):
        return document
    kept = dict(cast("dict[str, Any]", document))
    for key, value in kept.items():
        if key in _NESTED and isinstance(value, list | dict):
            kept[key] = _selected(value, is_kept)
        elif key == "spans" and isinstance(value, list):
            kept[key] = [span for span in cast("list[Any]", value) if _is_of(span, is_kept)]
    return kept


_NESTED: Final = frozenset(
    {"resourceSpans", "batches", "scopeSpans", "instrumentationLibrarySpans", "data", "trace", "traces"}
)


def _selected_traces(document: Traces, is_kept: Callable[[str], bool]) -> Traces:
    batches = [
        msgspec.structs.replace(
            batch,
            scopeSpans=tuple(
                msgspec.structs.replace(
                    group, spans=tuple(span for span in group.spans or () if is_kept(_hex(span.traceId)))
                )
                for group in batch.scopeSpans
            ),
        )
        for batch in document.resourceSpans
    ]
    return msgspec.structs.replace(document, resourceSpans=tuple(batches))


def _is_of(span: Any, is_kept: Callable[[str], bool]) -> bool:
    if not isinstance(span, dict):
        return False
    found = cast("dict[str, Any]", span)
    return is_kept(_hex(str(found.get("traceId") or found.get("traceID") or "")))


def _hex(trace_id: str) -> str:
    """Return a trace id as 32 hexadecimal digits, also where it is base64; zeros for one that is none."""
    try:
        if trace_id.endswith("="):
            return base64.b64decode(trace_id, validate=True).hex().rjust(_HEX_DIGITS, "0")
        return f"{int(trace_id, 16):0{_HEX_DIGITS}x}"
    except ValueError:
        return "0" * _HEX_DIGITS


# --- whole ---------------------------------------------------------------------------------------


def _by_root(pricing: _Recording) -> dict[int, list[int]]:
    """Return the numbers of spans by that of their local root, without what was read twice."""
    roots: dict[int, list[int]] = {}
    table = pricing.table
    for number, root in enumerate(table.roots):
        if not table.marks[number] & REPEATED:
            roots.setdefault(root, []).append(number)
    return roots


def _stored(
    pricing: _Recording, root: int, spans: Sequence[int], charges: dict[int, list[Charge]], trace_id: str
) -> StoredTrace:
    table = pricing.table
    direct = {span: sum(one.usd for one in charges[span]) for span in spans}
    totals = dict(direct)
    inside = set(spans)
    for span in spans:  # what is below a span is in its total, and in those above it
        if not direct[span]:
            continue
        above, steps = span, 0
        while above != root and steps < len(spans):
            above = table.parents[above]
            if above not in inside:
                break
            totals[above] += direct[span]
            steps += 1
    charges[root].append(Charge(_NO_COMPUTE, 0.0, 0.0, 0.0))
    shown = sorted(spans, key=lambda span: (span != root, -totals[span]))[:MAX_NODES_PER_TRACE]
    nodes = tuple(
        StoredNode(
            f"{table.ids[span]:016x}",
            f"{table.parent_ids[span]:016x}" if table.parent_ids[span] else "",
            pricing.seen[span].name,
            pricing.seen[span].start_ns,
            max(0, pricing.seen[span].end_ns - pricing.seen[span].start_ns),
            direct[span],
            totals[span],
            tuple(map(charge_document, charges[span])),
        )
        for span in shown
    )
    origin = pricing.processes[table.processes[root]].origin
    whose = pricing.of_root(table.attributions[root], table.entries[root], table.processes[root])
    return StoredTrace(
        trace_id,
        origin.service,
        origin.environment,
        pricing.entries.labels[table.entries[root]].shown,
        whose.feature,
        whose.tenant,
        whose.team,
        pricing.seen[root].start_ns // 60_000_000_000,
        totals[root],
        sampled=False,
        nodes=nodes,
        left_out=len(spans) - len(shown),
    )


def _charges(pricing: _Recording) -> dict[int, list[Charge]]:
    """Return the charges that stand, by the number of their span."""
    found: dict[int, list[Charge]] = {number: [] for number in range(len(pricing.table))}
    charges = pricing.charges
    for number, rule in enumerate(charges.rules):
        if rule != FALLEN:
            line = charges.lines[charges.line_numbers[number]]
            one = Charge(line, charges.quantities[number], charges.usd[number], charges.list_usd[number])
            found[charges.spans[number]].append(one)
    return found

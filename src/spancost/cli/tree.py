"""`spancost tree`: one kept trace, span by span, with quantity times rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer
from rich.console import Group
from rich.padding import Padding
from rich.text import Text
from rich.tree import Tree

from spancost import names
from spancost.cli import EXIT_FINE
from spancost.cli._completion import complete_traces
from spancost.cli._format import (
    UNKNOWN,
    Column,
    Hanging,
    clock,
    console,
    number,
    print_json,
    print_table,
    rate,
    show,
    usd,
)
from spancost.cli._ledger import LedgerOption, SinceOption, TreeFormat, fail, open_ledger, since_minute
from spancost.sinks.ledger.query import Selection
from spancost.sinks.ledger.rows import StoredNode, StoredTrace, TraceSummary

NO_SERVICE: Final = "(no service)"
OFFLINE: Final = "offline"
"""Why the compute of stored traces has no price."""
_LISTED: Final = 20
_SHOWN_DIGITS: Final = 16
_YEAR: Final = len("2026-")


@dataclass(slots=True)
class Branch:
    """A span with those below it, across services."""

    trace: StoredTrace
    node: StoredNode
    is_local_root: bool = False
    children: list[Branch] = field(default_factory=list["Branch"])


def tree(
    trace_id: Annotated[
        str | None,
        typer.Argument(
            metavar="TRACE_ID",
            help="Trace id, or its first digits.",
            show_default=False,
            autocompletion=complete_traces,
        ),
    ] = None,
    costliest: Annotated[
        bool, typer.Option("--costliest", help="The costliest trace that is kept; the default.")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List kept traces, costliest first, instead.")] = False,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Out of stored traces (OTLP JSON, Jaeger JSON, plain or gzip; - for stdin) instead of the ledger; "
            "may be given again.",
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="REGION", help="Of stored traces that do not name theirs.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="ROWS", min=1, help="Rows of --list.")] = _LISTED,
    since: SinceOption = None,
    ledger: LedgerOption = None,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Draw one request with the cost of each span.

    Direct, total, and every quantity times its rate. The costliest traces of each hour and service are kept whole, and
    a few at random; --from prices stored traces with the same meters, whether they were kept or not. Totals never
    cross a local root: the part of another service stands below its caller with its own total.

    Example: spancost tree --costliest

    Example: spancost tree --list --since 1d

    Example: spancost tree --from traces.jsonl
    """
    if trace_id is not None and (costliest or listed):
        fail(f"tree: name one TRACE_ID, or ask for {'--costliest' if costliest else '--list'}")
    if files:
        if since is not None or ledger is not None:
            fail("tree: --from reads files; --since and --ledger are for kept traces")
        from spancost.cli._stored_traces import stored_summaries, stored_trace

        if listed:
            _print_list(stored_summaries(files, limit, region), output)
            return
        traces = stored_trace(files, trace_id, region)
    elif listed:
        with open_ledger(ledger) as reader:
            _print_list(reader.kept_traces(Selection(since_minute(since)), limit=limit), output)
        return
    else:
        traces = _kept_trace(trace_id, since, ledger, output)
    roots = joined(traces)
    if output is TreeFormat.JSON:
        print_json(_document(traces, roots))
    else:
        _draw(traces, roots)


def _kept_trace(trace_id: str | None, since: str | None, ledger: str | None, output: TreeFormat) -> list[StoredTrace]:
    with open_ledger(ledger) as reader:
        if trace_id is None:
            found = reader.costliest(1, Selection(since_minute(since)))
            if not found:
                typer.echo("no trace is kept in the ledger yet", err=output is TreeFormat.JSON)
                raise typer.Exit(EXIT_FINE)
        else:
            found = reader.find_traces(trace_id, limit=5)
            if not found:
                known = ", ".join(reader.costliest(3)) or "none"
                fail(
                    f"tree: no kept trace begins with {trace_id!r}. Only the costliest are kept, such as {known}; "
                    "others can be drawn out of stored traces with --from FILE"
                )
            if len(found) > 1:
                fail(f"tree: several kept traces begin with {trace_id!r}: {', '.join(found)}")
        return reader.trace(found[0])


def _print_list(found: Sequence[TraceSummary], output: TreeFormat) -> None:
    if output is TreeFormat.JSON:
        print_json([trace._asdict() | {"time": clock(trace.minute)} for trace in found])
        return
    if not found:
        typer.echo("no trace is kept in the ledger yet")
        return
    out = console()
    columns = [
        Column("TRACE", [trace.trace_id[:_SHOWN_DIGITS] for trace in found]),
        Column("TIME, UTC", [clock(trace.minute).removesuffix(" UTC")[_YEAR:] for trace in found]),
        Column("ENTRYPOINT", [trace.entrypoint or NO_SERVICE for trace in found], is_key=True),
        Column("SERVICES", [number(trace.services) for trace in found]),
        Column("TOTAL", [usd(trace.total_usd) for trace in found]),
    ]
    if any(trace.sampled for trace in found):
        columns.append(Column("KEPT", ["at random" if trace.sampled else "costly" for trace in found]))
    print_table(out, columns)


def joined(traces: list[StoredTrace]) -> list[Branch]:
    """Put every span below its parent, whichever service recorded it; spans without one are roots."""
    branches: dict[str, Branch] = {}
    for trace in traces:
        own = {node.span_id for node in trace.nodes}
        for node in trace.nodes:
            branches.setdefault(node.span_id, Branch(trace, node, is_local_root=node.parent_span_id not in own))
    roots: list[Branch] = []
    for branch in branches.values():
        parent = branches.get(branch.node.parent_span_id)
        (parent.children if parent is not None and parent is not branch else roots).append(branch)
    for branch in branches.values():
        branch.children.sort(key=lambda child: child.node.start_ns)
    return sorted(roots, key=lambda branch: branch.node.start_ns)


def _draw(traces: list[StoredTrace], roots: list[Branch]) -> None:
    out = console()
    first = traces[0]
    total = sum(trace.total_usd for trace in traces)
    spans = sum(len(trace.nodes) for trace in traces)
    show(out, Text.assemble("trace ", (first.trace_id, "bold"), f"   {clock(first.minute)}"))
    charges = [charge for trace in traces for node in trace.nodes for charge in node.charges]
    is_stored = any(charge.get("reason") == OFFLINE for charge in charges)
    unpriced = sum(_is_unpriced(charge) for charge in charges if charge.get("reason") != OFFLINE)
    # Nothing known is not nothing spent.
    summary = f"{usd(total) if total or not unpriced else UNKNOWN} in {spans} {'span' if spans == 1 else 'spans'}"
    first_service = roots[0].trace.service if roots else first.service
    others = {trace.service for trace in traces} - {first_service}
    if others and total:
        own = sum(trace.total_usd for trace in traces if trace.service == first_service)
        elsewhere = f"{len(others)} other {'service' if len(others) == 1 else 'services'}"
        summary += f": {usd(own)} in {first_service or NO_SERVICE} + {usd(total - own)} in {elsewhere}"
    show(out, Text(f"{summary}; {unpriced} not priced" if unpriced else summary))
    for root in roots:
        drawn = Tree(_label(root, parent_is_kept=False), guide_style="dim")
        _grow(drawn, root)
        show(out, drawn)
    left_out = sum(trace.left_out for trace in traces)
    if left_out:
        show(out, Text(f"{left_out} cheaper spans were not kept; their parents' totals include them."))
    if is_stored:
        show(out, Text("Compute is not in it: stored traces do not say what else ran on the machine."))


def _grow(drawn: Tree, branch: Branch) -> None:
    open_branches = [(drawn, branch)]
    while open_branches:  # no recursion: some traces are a thousand calls deep
        drawn, branch = open_branches.pop()
        open_branches += [(drawn.add(_label(child, parent_is_kept=True)), child) for child in branch.children]


def _label(branch: Branch, *, parent_is_kept: bool) -> Group:
    node, trace = branch.node, branch.trace
    label = Text()
    if branch.is_local_root:
        label.append(f"{trace.service} " if trace.service else "", style="cyan")
    label.append(node.name, style="bold")
    # Nothing known is not nothing spent.
    unknown = any(map(_is_unpriced, node.charges))
    label.append(f"  total {UNKNOWN if unknown and not node.total_usd else usd(node.total_usd)}")
    if branch.children or node.direct_usd != node.total_usd:
        label.append(f"  direct {UNKNOWN if unknown and not node.direct_usd else usd(node.direct_usd)}")
    label.append(f"  {number(node.duration_ns / 1e6)} ms", style="dim")
    if branch.is_local_root:
        known = (("feature", trace.feature), ("tenant", trace.tenant), ("team", trace.team))
        for name, value in known:
            if value:
                label.append(f"  {name}={value}", style="dim")
        if node.parent_span_id and not parent_is_kept:
            label.append("  (its caller is not kept)", style="dim")
    charges = (Padding(Hanging(Text(*_charge(charge))), (0, 0, 0, 2)) for charge in node.charges)
    return Group(label, *charges)


def _is_unpriced(charge: dict[str, Any]) -> bool:
    return charge.get("status") == names.UNPRICED


def _charge(charge: dict[str, Any]) -> tuple[str, str]:
    """Return a line such as `dynamodb.PutItem carts  301 WRU x $0.000000625 = $0.0001881  spancost:2026-07-28`."""
    component, status = charge.get("component", ""), charge.get("status", "")
    words = [component] if component in (names.COMPUTE, names.EGRESS) else [component, charge.get("provider", "")]
    if component != names.COMPUTE:
        words.append(charge.get("operation", ""))
    words.extend((charge.get("model", ""), charge.get("resource", "")))
    what = " ".join(dict.fromkeys(word for word in words if word))
    quantity = f"{number(charge['quantity'])} {charge.get('unit', '')}".rstrip()
    if charge.get("reason") == OFFLINE:
        return f"{what}  not priced: {OFFLINE}", "dim"
    if status == names.UNPRICED:
        return f"{what}  {quantity}  not priced: {charge.get('reason', 'unknown')}", "yellow"
    if status in (names.FREE, names.DUPLICATE):
        why = charge.get("reason") or charge.get("basis") or ""
        return f"{what}  {quantity}  {status}{f': {why}' if why else ''}", "dim"
    text = what
    if "rate_usd" in charge:
        text += f"  {quantity} x {rate(charge['rate_usd'])} = {usd(charge['usd'])}"
    if charge["list_usd"] != charge["usd"]:
        text += f" (list {usd(charge['list_usd'])})"
    text += f"  {charge.get('source', '')}".rstrip()
    if status == names.ESTIMATED:
        text += f"  estimated: {charge.get('basis', '')}"
    return text, "green"


def _document(traces: list[StoredTrace], roots: list[Branch]) -> dict[str, Any]:
    return {
        "trace_id": traces[0].trace_id,
        "total_usd": sum(trace.total_usd for trace in traces),
        "left_out": sum(trace.left_out for trace in traces),
        "roots": [_branch_document(root) for root in roots],
    }


def _branch_document(branch: Branch) -> dict[str, Any]:
    document = branch.node._asdict()
    if branch.is_local_root:
        kept = ("service", "environment", "entrypoint", "feature", "tenant", "team")
        document |= {name: getattr(branch.trace, name) for name in kept}
    document["is_local_root"] = branch.is_local_root
    document["children"] = [_branch_document(child) for child in branch.children]
    return document

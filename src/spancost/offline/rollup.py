"""Add charges up by any keys: rows as `spancost report` has them, and what is not priced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from spancost import names
from spancost.charge import CONSUMER, SERVER, PriceLine
from spancost.offline.calls import settle
from spancost.offline.charges import FALLEN
from spancost.offline.pricing import Pricing
from spancost.offline.table import KIND_BITS, REPEATED
from spancost.sinks.ledger.rows import EstimatedRow, LedgerRow, UnpricedRow
from spancost.sinks.ledger.schema import LINE_COLUMNS
from spancost.window import ENTRY, INNER, Attribution, EntryLabels, Origin, filled

_TIME_SECONDS: Final = {"minute": 60, "hour": 3600, "day": 86_400}
_TIME_FORMATS: Final = {"minute": "%Y-%m-%dT%H:%MZ", "hour": "%Y-%m-%dT%H:00Z", "day": "%Y-%m-%d"}
_ALIASES: Final = {"route": "http_route", "method": "http_request_method"}
REQUEST_KEYS: Final = (
    *_TIME_SECONDS,
    "service",
    "environment",
    "cloud_account",
    *_ALIASES,
    *_ALIASES.values(),
    "entrypoint",
    "feature",
    "tenant",
    "team",
)
"""Keys that a request has, whatever it was charged for."""
KEYS: Final = (*REQUEST_KEYS, *LINE_COLUMNS, "position")
"""Everything `roll_up` can split by. `entrypoint` is `METHOD route` for HTTP; `route` and `method` are short for
`http_route` and `http_request_method`; times are those of the spans, UTC."""
OFFLINE: Final = "offline"
"""Why compute has no price here."""
_REQUEST_KINDS: Final = (SERVER, CONSUMER)
_NS: Final = 1_000_000_000


class Rollup(NamedTuple):
    """What stored traces cost."""

    by: tuple[str, ...]
    rows: list[LedgerRow]
    """Costliest first; by time where the first key is one."""
    spans: int
    requests: int
    """SERVER and CONSUMER local roots."""
    roots: int
    """Local roots: pieces of work of one process."""
    charge_count: int
    usd: float
    list_usd: float
    component_usd: dict[str, float]
    unpriced: list[UnpricedRow]
    estimated: list[EstimatedRow]
    duplicates: int
    """LLM spans that are the same call as another one."""
    repeated: int
    """Spans read more than once."""
    requests_by_key: dict[tuple[str, ...], int]
    """Requests by those keys asked for that requests have."""


class _Facts(NamedTuple):
    """Everything a charge or a request can be split by."""

    labels: EntryLabels
    attribution: Attribution
    origin: Origin
    second: int
    line: PriceLine | None = None
    position: str = ""


class _Sums:
    __slots__ = ("by_component", "calls", "direct_usd", "list_usd", "quantity", "unpriced", "usd")

    def __init__(self) -> None:
        self.calls = 0
        self.quantity = self.direct_usd = self.usd = self.list_usd = 0.0
        self.by_component: dict[str, float] = {component: 0.0 for component in names.COMPONENTS}
        self.unpriced: Counter[str] = Counter()


def roll_up(pricing: Pricing, by: Sequence[str], *, at_list_price: bool = False) -> Rollup:
    """Find local roots, charge each call once and add everything up; to be called once, when all is read.

    Args:
        pricing: What was read.

        by: Names out of `KEYS`.

        at_list_price: Amounts are list prices, not what it costs you.
    """
    pricing.table.resolve()
    duplicates = settle(pricing.table, pricing.charges, pricing.held)
    adding = _Adding(pricing, by, at_list_price=at_list_price)
    adding.add_requests()
    adding.add_charges()
    return adding.result(duplicates)


class _Adding:
    def __init__(self, pricing: Pricing, by: Sequence[str], *, at_list_price: bool) -> None:
        self._pricing = pricing
        self._by = tuple(dict.fromkeys(by))
        self._at_list_price = at_list_price
        self._keys = [_GETTERS[key] for key in self._by]
        self._shared = [place for place, key in enumerate(self._by) if key in REQUEST_KEYS]
        self._shows_duplicates = not {"status", "reason"}.isdisjoint(self._by)
        self._step = min((_TIME_SECONDS[key] for key in self._by if key in _TIME_SECONDS), default=0)
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._request_count = self._root_count = 0
        self._rows: dict[tuple[str, ...], _Sums] = {}
        self._unpriced: dict[tuple[str, ...], list[float]] = {}
        self._estimated: dict[tuple[str, ...], list[float]] = {}

    def add_requests(self) -> None:
        """Count requests by the keys that they have."""
        table = self._pricing.table
        found: Counter[tuple[int, int, int, int]] = Counter()
        step = self._step
        for number, root in enumerate(table.roots):
            if root != number or table.marks[number] & REPEATED:
                continue
            self._root_count += 1
            if table.marks[number] & KIND_BITS in _REQUEST_KINDS:
                second = table.seconds[number] // step if step else 0
                found[table.entries[number], table.attributions[number], table.processes[number], second] += 1
        for (entry, attribution, process, second), count in found.items():
            facts = _Facts(
                self._pricing.entries.labels[entry],
                self._pricing.of_root(attribution, entry, process),
                self._pricing.processes[process].origin,
                second * step,
            )
            self._requests[tuple(self._keys[place](facts) for place in self._shared)] += count
            self._request_count += count

    def add_charges(self) -> None:
        """Add charges up under their local roots."""
        table, charges = self._pricing.table, self._pricing.charges
        step_ns = self._step * _NS
        groups: dict[tuple[int, ...], list[float]] = {}
        paid = charges.list_usd if self._at_list_price else charges.usd
        lines = charges.lines
        for number, rule in enumerate(charges.rules):
            if rule == FALLEN:
                continue
            if lines[charges.line_numbers[number]].status is names.DUPLICATE and not self._shows_duplicates:
                continue  # the call is counted where it is charged
            span = charges.spans[number]
            root = table.roots[span]
            key = (
                table.entries[root],
                table.attributions[span],
                table.attributions[root],
                table.processes[root],
                charges.line_numbers[number],
                charges.starts[number] // step_ns if step_ns else 0,
                span == root,
            )
            sums = groups.get(key)
            if sums is None:
                sums = groups[key] = [0.0, 0.0, 0.0, 0.0]
            sums[0] += charges.calls[number]
            sums[1] += charges.quantities[number]
            sums[2] += paid[number]
            sums[3] += charges.list_usd[number]
        for key, sums in groups.items():
            self._add_group(key, sums)

    def _add_group(self, key: tuple[int, ...], sums: list[float]) -> None:
        entry, own, of_root, process, line_number, period, is_entry = key
        calls, quantity, usd, list_usd = sums
        attribution = self._pricing.of_root(of_root, entry, process)
        if not is_entry:
            said, ruled, _ = self._pricing.attributions.values[own]
            attribution = filled(filled(said, ruled.attribution), attribution)
        line = self._pricing.charges.lines[line_number]
        facts = _Facts(
            self._pricing.entries.labels[entry],
            attribution,
            self._pricing.processes[process].origin,
            period * self._step,
            line,
            ENTRY if is_entry else INNER,
        )
        row = self._rows.setdefault(tuple(getter(facts) for getter in self._keys), _Sums())
        row.calls += int(calls)
        row.quantity += quantity
        row.usd += usd
        row.list_usd += list_usd
        row.by_component[line.component] += usd
        if is_entry:
            row.direct_usd += usd
        if line.status == names.UNPRICED:
            row.unpriced[line.component] += int(calls)
            what = (line.component, line.provider, line.operation, line.model, line.unit, line.reason)
            _add(self._unpriced, what, calls, quantity)
        elif line.status == names.ESTIMATED:
            _add(self._estimated, (line.component, line.basis, line.region, line.sku, line.source), calls, usd)

    def result(self, duplicates: int) -> Rollup:
        """Return rows and sums."""
        rows = [
            LedgerRow(
                key,
                self._requests.get(tuple(key[place] for place in self._shared), 0),
                sums.calls,
                sums.quantity,
                sums.direct_usd,
                sums.usd,
                sums.list_usd,
                sums.by_component,
                dict(sums.unpriced),
            )
            for key, sums in self._all_rows().items()
        ]
        rows.sort(key=lambda row: (-row.usd, -row.requests, -row.charge_count, row.key))
        if self._by and self._by[0] in _TIME_SECONDS:
            rows.sort(key=lambda row: row.key[0])  # stable: within a time still the costliest first
        unpriced = [
            UnpricedRow(*what, charge_count=int(calls), quantity=quantity)
            for what, (calls, quantity) in self._unpriced.items()
        ]
        unpriced.sort(key=lambda row: (-row.charge_count, row))
        if self._root_count:
            unpriced.append(UnpricedRow(names.COMPUTE, "", "", "", "s", OFFLINE, self._root_count, 0.0))
        estimated = [
            EstimatedRow(*what, charge_count=int(calls), usd=usd) for what, (calls, usd) in self._estimated.items()
        ]
        return Rollup(
            self._by,
            rows,
            len(self._pricing.table) - self._pricing.table.repeated,
            self._request_count,
            self._root_count,
            sum(row.charge_count for row in rows),
            sum(row.usd for row in rows),
            sum(row.list_usd for row in rows),
            {component: sum(row.component_usd[component] for row in rows) for component in names.COMPONENTS},
            unpriced,
            sorted(estimated, key=lambda row: (-row.usd, row)),
            duplicates,
            self._pricing.table.repeated,
            dict(self._requests),
        )

    def _all_rows(self) -> dict[tuple[str, ...], _Sums]:
        """Return the rows, with one for each kind of request that was charged nothing if only such keys are asked."""
        if len(self._shared) == len(self._by):
            for key in self._requests:
                self._rows.setdefault(key, _Sums())
        return self._rows


def _add(sums: dict[tuple[str, ...], list[float]], key: tuple[str, ...], calls: float, amount: float) -> None:
    found = sums.setdefault(key, [0.0, 0.0])
    found[0] += calls
    found[1] += amount


_Getter = Callable[[_Facts], str]


def _getters() -> dict[str, _Getter]:
    getters: dict[str, _Getter] = {"entrypoint": lambda facts: facts.labels.shown}
    for key in ("http_route", "http_request_method"):
        getters[key] = _of_labels(key)
    for alias, key in _ALIASES.items():
        getters[alias] = getters[key]
    for key in names.ATTRIBUTION_LABELS:
        getters[key] = _of_attribution(key)
    for key in Origin._fields:
        getters[key] = _of_origin(key)
    for key in _TIME_SECONDS:
        getters[key] = _of_time(key)
    for key in LINE_COLUMNS:
        getters[key] = _of_line(key)
    getters["position"] = lambda facts: facts.position
    return getters


def _of_labels(key: str) -> _Getter:
    return lambda facts: getattr(facts.labels, key)


def _of_attribution(key: str) -> _Getter:
    return lambda facts: getattr(facts.attribution, key)


def _of_origin(key: str) -> _Getter:
    return lambda facts: getattr(facts.origin, key)


def _of_line(key: str) -> _Getter:
    return lambda facts: getattr(facts.line, key)


def _of_time(key: str) -> _Getter:
    step, shape = _TIME_SECONDS[key], _TIME_FORMATS[key]
    return lambda facts: datetime.fromtimestamp(facts.second // step * step, UTC).strftime(shape)


_GETTERS: Final = _getters()

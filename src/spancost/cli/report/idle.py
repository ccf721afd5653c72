"""Who bears compute that nobody used.

Idle time belongs to a process: to its service, environment, account and namespace (its *origin*), and to a time. By
default it stands beside the rows. It can be given to the rows of the same origin, and of the same time where times are
keys; then the rows add up to the same total. What no row can take stays idle.

Conditions choose rows after idle time was given out: a tenant's share is the same, whoever else is looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Final, NamedTuple

from spancost import names
from spancost.cli.report.options import IdleMethod
from spancost.sinks.ledger.query import TIME_KEYS, Selection, is_request_key
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import IdleSums, LedgerRow
from spancost.sinks.ledger.schema import ORIGIN_COLUMNS

IDLE_KEY: Final = "(idle)"
POOL_KEYS: Final = frozenset((*ORIGIN_COLUMNS, *TIME_KEYS))
"""Keys that tell idle time apart."""
METHOD_IDS: Final = {
    IdleMethod.SEPARATE: "spancost:idle-separate",
    IdleMethod.PROPORTIONAL: "spancost:idle-by-compute-cost",
    IdleMethod.EVEN: "spancost:idle-by-request",
}
"""FOCUS AllocatedMethodId."""
METHOD_DETAILS: Final = {
    IdleMethod.SEPARATE: "idle compute is in no row",
    IdleMethod.PROPORTIONAL: "idle compute of each service, environment, account and namespace is given to its own "
    "rows in proportion to their compute cost, evenly where they have none",
    IdleMethod.EVEN: "idle compute of each service, environment, account and namespace is given to its own requests, "
    "the same to each, and within them in proportion to compute cost",
}
"""FOCUS AllocatedMethodDetails."""

_Key = tuple[str, ...]


class _Share(NamedTuple):
    """Idle compute that a row bears."""

    usd: float
    list_usd: float


class Spent(NamedTuple):
    """Rows with the idle compute they bear, and what nobody bears."""

    rows: list[LedgerRow]
    """Costliest first."""
    idle_rows: list[LedgerRow]
    """Key under the same keys; those that cannot tell idle time apart are empty."""
    borne_usd: dict[_Key, float]
    """Key -> how much of a row is idle compute of others' making; empty with `separate`."""

    @property
    def idle_usd(self) -> float:
        """All idle compute, borne or not."""
        return fsum((*self.borne_usd.values(), *(row.usd for row in self.idle_rows)))

    @property
    def usd(self) -> float:
        """Everything."""
        return fsum(row.usd for row in (*self.rows, *self.idle_rows))


def spent(reader: LedgerReader, by: Sequence[str], selection: Selection, method: IdleMethod) -> Spent:
    """Ask for rows, and give idle compute to who bears it.

    Args:
        reader: The ledger.

        by: Canonical keys.

        selection: Period, conditions and price.

        method: Who bears it.

    Raises:

        LedgerError: The file cannot be read.
    """
    rows = reader.rows(by, selection)
    if method is IdleMethod.SEPARATE:
        # Without the keys that idle time never has the ledger answers from a smaller cut.
        known = [key for key in by if key in POOL_KEYS or not is_request_key(key)]
        return Spent(rows, _idle_rows(by, known, reader.idle_sums(known, selection)), {})
    beside = [condition.key for condition in selection.where if condition.key not in ORIGIN_COLUMNS]
    fine = tuple(dict.fromkeys((*by, *beside, *ORIGIN_COLUMNS)))
    whole = selection._replace(where=tuple(one for one in selection.where if one.key in ORIGIN_COLUMNS))
    everyone = reader.rows(fine, whole)
    chosen = {row.key for row in (reader.rows(fine, selection) if beside else everyone)}
    pools: dict[_Key, list[LedgerRow]] = defaultdict(list)
    for row in everyone:
        pools[_pool(fine, row.key)].append(row)
    left: dict[_Key, IdleSums] = {}
    borne: dict[_Key, list[_Share]] = defaultdict(list)
    width = len(by)
    idle = reader.idle_sums(fine, whole)
    chosen_idle = reader.idle_sums(fine, selection) if beside else idle
    for key, sums in idle.items():
        receivers = pools.get(_pool(fine, key))
        if not receivers or (not sums.usd and not sums.list_usd):
            if key in chosen_idle:
                left[key] = sums
            continue
        weights = _weights(fine, receivers, method)
        total = fsum(weights.values())
        for receiver, weight in weights.items():
            if receiver in chosen:
                part = weight / total
                borne[receiver[:width]].append(_Share(sums.usd * part, sums.list_usd * part))
    shares = {
        key: _Share(fsum(one.usd for one in parts), fsum(one.list_usd for one in parts)) for key, parts in borne.items()
    }
    return Spent(
        sorted(
            (_with_share(row, shares.get(row.key)) for row in rows), key=lambda row: (-row.usd, -row.requests, row.key)
        ),
        _idle_rows(by, fine, left),
        {key: share.usd for key, share in shares.items()},
    )


def _pool(keys: Sequence[str], key: _Key) -> _Key:
    return tuple(value for name, value in zip(keys, key, strict=True) if name in POOL_KEYS)


def _weights(keys: Sequence[str], rows: Sequence[LedgerRow], method: IdleMethod) -> dict[_Key, float]:
    """Return what each row of a pool bears, relative to the others; the sum is above zero."""
    if method is IdleMethod.PROPORTIONAL:
        return _by_compute(rows)
    groups: dict[_Key, list[LedgerRow]] = defaultdict(list)
    for row in rows:
        own = tuple(value for name, value in zip(keys, row.key, strict=True) if is_request_key(name))
        groups[own].append(row)
    if not any(group[0].requests for group in groups.values()):
        return _by_compute(rows)
    weights: dict[_Key, float] = {}
    for group in groups.values():
        parts = _by_compute(group)
        total = fsum(parts.values())
        weights.update((key, group[0].requests * part / total) for key, part in parts.items())
    return weights


def _by_compute(rows: Sequence[LedgerRow]) -> dict[_Key, float]:
    weights = {row.key: row.component_usd[names.COMPUTE] for row in rows}
    return weights if any(weights.values()) else dict.fromkeys(weights, 1.0)


def _with_share(row: LedgerRow, share: _Share | None) -> LedgerRow:
    if share is None:
        return row
    components = dict(row.component_usd)
    components[names.COMPUTE] += share.usd
    return row._replace(usd=row.usd + share.usd, list_usd=row.list_usd + share.list_usd, component_usd=components)


def _idle_rows(by: Sequence[str], keys: Sequence[str], sums: Mapping[_Key, IdleSums]) -> list[LedgerRow]:
    grouped: dict[_Key, list[IdleSums]] = defaultdict(list)
    for key, one in sums.items():
        found = dict(zip(keys, key, strict=True))
        grouped[tuple("" if is_request_key(name) and name not in POOL_KEYS else found[name] for name in by)].append(one)
    rows = [_idle_row(key, parts) for key, parts in grouped.items()]
    return sorted(rows, key=lambda row: (-row.usd, row.key))


def _idle_row(key: _Key, parts: Sequence[IdleSums]) -> LedgerRow:
    usd, unpriced = fsum(one.usd for one in parts), sum(one.unpriced for one in parts)
    return LedgerRow(
        key,
        0,
        0,
        fsum(one.seconds for one in parts),
        0.0,
        usd,
        fsum(one.list_usd for one in parts),
        {name: usd if name == names.COMPUTE else 0.0 for name in names.COMPONENTS},
        {names.COMPUTE: unpriced} if unpriced else {},
    )


def marked_key(by: Sequence[str], key: _Key) -> _Key:
    """Return the key of idle compute for people: `(idle)` stands under the first key that cannot tell it apart."""
    for index, name in enumerate(by):
        if name not in POOL_KEYS:
            return (*key[:index], IDLE_KEY, *key[index + 1 :])
    return (*key[:-1], f"{key[-1]} {IDLE_KEY}".lstrip())


def merged(rows: Iterable[LedgerRow], key: _Key, *, requests: bool) -> LedgerRow:
    """Return one row that stands for several.

    Args:
        rows: Rows of the same keys.

        key: Of the new row.

        requests: False where rows share requests: adding them would count one several times.
    """
    rows = list(rows)
    unpriced: dict[str, int] = {}
    for row in rows:
        for name, count in row.unpriced.items():
            unpriced[name] = unpriced.get(name, 0) + count
    return LedgerRow(
        key,
        sum(row.requests for row in rows) if requests else 0,
        sum(row.charge_count for row in rows),
        fsum(row.quantity for row in rows),
        fsum(row.direct_usd for row in rows),
        fsum(row.usd for row in rows),
        fsum(row.list_usd for row in rows),
        {name: fsum(row.component_usd[name] for row in rows) for name in names.COMPONENTS},
        unpriced,
    )

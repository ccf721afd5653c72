"""What got dearer from A to B, and why: volume, usage, price, or other things that are called.

Per key (an entrypoint, say) `N` is its requests; per price line of it (component, provider, operation, model, unit)
`Q` is the quantity and `C` the USD, 0 before and 1 after. Its rate before is `p = C0 / Q0`, and `g = N1 / N0` is how
requests have grown. The change of a line that is there before and after is, exactly:

    C1 - C0  =  (g - 1) x C0           volume: more requests, each as before
             +  (Q1 - g x Q0) x p      usage: more per request, at the rate before
             +  (C1 - Q1 x p)          price: another rate, for all that is used now

Where one side has no requests, g is 1: all change of the quantity is usage. A line that is on one side only, under a
key that is on both, is *mix* (another model, an operation that was not called before): C1 where it is new, and where it
is gone -g x C0 beside its volume of (g - 1) x C0. So the volume of a key is always (g - 1) times what it cost before. A
key that is on one side only is *new* (C1) or *gone* (-C0). Rates are averages over regions, SKUs and resources of a
line. What has no known price on a side has no USD there, and how many charges that are stands beside it; a line that
is without a price on one side and has one on the other is *known* where it would be mix: C1 or -g x C0, which says
nothing of what was spent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from spancost import names
from spancost.sinks.ledger.rows import LedgerRow

LINE_KEYS: Final = ("component", "provider", "operation", "model", "unit")
"""What one price line is told by."""
ROW_KEYS: Final = (*LINE_KEYS, "status")
"""What stands behind the keys asked for, in the key of a row."""


class Side(NamedTuple):
    """A or B: what was spent."""

    rows: Sequence[LedgerRow]
    """By the keys asked for, then `ROW_KEYS`."""
    requests: Mapping[tuple[str, ...], int]
    """By the keys asked for."""
    scale: float = 1.0
    """Every amount, quantity and count is multiplied by it: what makes periods of different length comparable."""


class Parts(NamedTuple):
    """A change in USD, split: the parts add up to it."""

    volume: float = 0.0
    usage: float = 0.0
    price: float = 0.0
    mix: float = 0.0
    new: float = 0.0
    gone: float = 0.0
    known: float = 0.0

    @property
    def change(self) -> float:
        """The sum of the parts."""
        return sum(self)

    def plus(self, other: Parts) -> Parts:
        """Return both added up."""
        return Parts(*(one + more for one, more in zip(self, other, strict=True)))


class LineChange(NamedTuple):
    """One price line of one key."""

    line: tuple[str, ...]
    """Values of `LINE_KEYS`."""
    quantity_before: float
    quantity_after: float
    before_usd: float
    after_usd: float
    parts: Parts
    unpriced_before: int
    """Charges without a price, which are not in the USD."""
    unpriced_after: int

    @property
    def rate_before(self) -> float | None:
        """USD per unit; None where nothing was used."""
        return self.before_usd / self.quantity_before if self.quantity_before else None

    @property
    def rate_after(self) -> float | None:
        """USD per unit; None where nothing was used."""
        return self.after_usd / self.quantity_after if self.quantity_after else None


class KeyChange(NamedTuple):
    """One key with all its price lines."""

    key: tuple[str, ...]
    requests_before: float
    requests_after: float
    before_usd: float
    after_usd: float
    parts: Parts
    lines: tuple[LineChange, ...]
    """The largest change first."""
    unpriced_before: int
    """Charges without a price, which are not in the USD; at least 1 where there are any."""
    unpriced_after: int

    @property
    def is_unknown(self) -> bool:
        """Whether a side has charges but none with a price: its USD of 0 are not $0."""
        return known_usd(self.before_usd, self.unpriced_before) is None or (
            known_usd(self.after_usd, self.unpriced_after) is None
        )


class _Used(NamedTuple):
    quantity: float
    usd: float


_Line = tuple[str, ...]


class _Key(NamedTuple):
    used: dict[_Line, _Used]
    unpriced: dict[_Line, int]

    def unpriced_of(self, line: _Line) -> int:
        """Charges of a line without a price; what has no usage has no unit either."""
        return self.unpriced.get(line, 0) or self.unpriced.get((*line[:-1], ""), 0)


_NOTHING: Final = _Used(0.0, 0.0)
_NOT_THERE: Final = _Key({}, {})


def changes(before: Side, after: Side) -> list[KeyChange]:
    """Compare two sides that were asked for the same keys.

    Returns:
        Every key of either, the largest change first.
    """
    olds, news = _by_key(before), _by_key(after)
    found: list[KeyChange] = []
    for key in {*olds, *news, *before.requests, *after.requests}:
        old, new = olds.get(key, _NOT_THERE), news.get(key, _NOT_THERE)
        n0, n1 = before.requests.get(key, 0) * before.scale, after.requests.get(key, 0) * after.scale
        was_there, is_there = bool(any(old) or n0), bool(any(new) or n1)
        lines = [
            _line_change(line, old, new, n0, n1, is_new=not was_there, is_gone=not is_there)
            for line in {*old.used, *new.used}
        ]
        lines.sort(key=lambda one: (-abs(one.parts.change), one.line))
        found.append(
            KeyChange(
                key,
                n0,
                n1,
                sum(one.before_usd for one in lines),
                sum(one.after_usd for one in lines),
                summed(one.parts for one in lines),
                tuple(lines),
                sum(old.unpriced.values()),
                sum(new.unpriced.values()),
            )
        )
    return sorted(found, key=lambda one: (-abs(one.parts.change), -one.after_usd, one.key))


def summed(parts: Iterable[Parts]) -> Parts:
    """Return all of them added up."""
    total = Parts()
    for one in parts:
        total = total.plus(one)
    return total


def known_usd(amount: float, unpriced: int) -> float | None:
    """Return an amount in USD; None where it is 0 beside charges without a price, which is not $0."""
    return None if unpriced and not amount else amount


def _by_key(side: Side) -> dict[tuple[str, ...], _Key]:
    keys: dict[tuple[str, ...], _Key] = {}
    for row in side.rows:
        key, (*parts, status) = row.key[: -len(ROW_KEYS)], row.key[-len(ROW_KEYS) :]
        used, unpriced = keys.setdefault(key, _Key({}, {}))
        line = tuple(parts)
        if status == names.UNPRICED:  # nobody knows what it costs; a span's second charge counts none
            unpriced[line] = unpriced.get(line, 0) + max(1, sum(row.unpriced.values()))
            continue
        if status == names.DUPLICATE:  # charged elsewhere
            continue
        # What was reported as a sum has no quantity: then calls are its unit.
        quantity = row.quantity or (row.charge_count if row.usd else 0.0)
        so_far = used.get(line, _NOTHING)
        used[line] = _Used(so_far.quantity + quantity * side.scale, so_far.usd + row.usd * side.scale)
    return keys


def _line_change(line: _Line, old: _Key, new: _Key, n0: float, n1: float, *, is_new: bool, is_gone: bool) -> LineChange:
    (q0, c0), (q1, c1) = old.used.get(line, _NOTHING), new.used.get(line, _NOTHING)
    unpriced = old.unpriced_of(line), new.unpriced_of(line)
    if is_new:
        parts = Parts(new=c1)
    elif is_gone:
        parts = Parts(gone=-c0)
    else:
        growth = n1 / n0 if n0 and n1 else 1.0
        volume, other = (growth - 1) * c0, c1 - growth * c0
        if q0 and q1:
            rate = c0 / q0
            parts = Parts(volume, (q1 - growth * q0) * rate, c1 - q1 * rate)
        elif (unpriced[0] and not q0) or (unpriced[1] and not q1):
            parts = Parts(volume, known=other)
        else:
            parts = Parts(volume, mix=other)
    return LineChange(line, q0, q1, c0, c1, parts, *unpriced)

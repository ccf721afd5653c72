"""Ask the ledger, and keep the answer as one value that every format is written from."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum
from typing import Final, NamedTuple

from spancost.cli.report.idle import Spent, spent
from spancost.cli.report.options import Asked, IdleMethod
from spancost.cli.report.period import Period, local_time, time_order
from spancost.sinks.ledger.query import TIME_KEYS, is_request_key
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import EstimatedRow, IdleRow, LedgerRow, Quality, Totals, UnpricedRow
from spancost.sinks.ledger.schema import LINE_COLUMNS

HOURS_PER_MONTH: Final = 730
"""As vendors count a month."""
_MIN_COVERED_MINUTES: Final = 5
"""Below this the rate says nothing."""
COVERED_DETAIL: Final = (
    "minutes in which the ledger has charges, gaps of up to an hour included; rows kept by the hour or day count whole"
)
_SPLIT_HIDING_KEYS: Final = frozenset((*LINE_COLUMNS, "cloud_service")) - {"region"}


class Answer(NamedTuple):
    """What was spent in one period."""

    asked: Asked
    by: tuple[str, ...]
    spent: Spent
    totals: Totals
    idle: list[IdleRow]
    """Per service, whoever bears it."""
    unpriced: list[UnpricedRow]
    estimated: list[EstimatedRow]
    counted: tuple[int | None, int | None]
    """First and end minute that were really counted."""
    coarser: tuple[str, int] | None
    """`hour` or `day`, and the minute up to which rows stand for that much time, where keys are finer."""
    quality: Quality
    covered_minutes: int
    """Time of the period that has data."""

    @property
    def rows(self) -> list[LedgerRow]:
        """In the order of their time where that is the first key, else costliest first."""
        return self.spent.rows

    @property
    def usd(self) -> float:
        """Everything, idle compute included."""
        return self.spent.usd

    @property
    def is_empty(self) -> bool:
        """Nothing was charged, nobody was served and nothing was idle."""
        return not (self.rows or self.spent.idle_rows)

    @property
    def split(self) -> bool:
        """Components are columns: no key splits below a component already."""
        return not _SPLIT_HIDING_KEYS.intersection(self.by)

    @property
    def rows_share_requests(self) -> bool:
        """A key splits requests: their number stands in several rows."""
        return not all(map(is_request_key, self.by))

    @property
    def per_month(self) -> float | None:
        """By what an amount is multiplied for a month at this rate; None where there is too little data."""
        if self.covered_minutes < _MIN_COVERED_MINUTES:
            return None
        return HOURS_PER_MONTH * 60 / self.covered_minutes

    @property
    def rows_per_month(self) -> float | None:
        """The same for single rows: none where they are times."""
        return None if any(key in TIME_KEYS for key in self.by) else self.per_month

    def notes(self) -> list[str]:
        """Say where the ledger knows times less exactly than was asked."""
        found: list[str] = []
        period = self.asked.period
        for name, wanted, real in zip(
            ("begins", "ends"), (period.since_minute, period.until_minute), self.counted, strict=True
        ):
            if wanted is not None and real is not None and wanted != real:
                found.append(
                    f"The period {name} at {local_time(real, period.tz)} {period.tz}: "
                    "the ledger keeps hours or days there, not minutes."
                )
        if self.coarser is not None:
            level, end = self.coarser
            found.append(
                f"Up to {local_time(end, period.tz)} {period.tz} the ledger keeps {level}s: "
                f"what was charged there stands at the beginning of its {level}{_utc(period, level)}."
            )
        return found


def _utc(period: Period, level: str) -> str:
    return " (UTC)" if level == "day" and period.tz != "UTC" else ""


def keys_or_default(reader: LedgerReader, asked: Asked) -> tuple[str, ...]:
    """Return the keys that rows are split by."""
    if asked.by is not None:
        return asked.by
    services = reader.rows(["service"], asked.selection)
    return ("service", "entrypoint") if len(services) > 1 else ("entrypoint",)


def ask(reader: LedgerReader, asked: Asked, by: Sequence[str] | None = None) -> Answer:
    """Ask for one period.

    Args:
        reader: The ledger.

        asked: What is wanted.

        by: Other keys than those of `asked`.

    Raises:

        LedgerError: The file cannot be read.
    """
    keys = keys_or_default(reader, asked) if by is None else tuple(by)
    selection = asked.selection
    found = spent(reader, keys, selection, asked.idle)
    if keys and keys[0] in TIME_KEYS:
        found.rows.sort(key=lambda row: time_order(row.key[0]))  # stable: within a time still the costliest first
    return Answer(
        asked,
        keys,
        found,
        reader.totals(selection),
        reader.idle(selection),
        reader.unpriced(selection),
        reader.estimated(selection),
        reader.bounds(selection),
        reader.coarser(keys, selection),
        reader.quality(selection),
        sum(end - begin for begin, end in reader.stretches(selection)),
    )


def borne(answer: Answer) -> float:
    """Return the idle compute that rows bear, USD."""
    return fsum(answer.spent.borne_usd.values())


def is_separate(answer: Answer) -> bool:
    """Say whether idle compute stands beside the rows."""
    return answer.asked.idle is IdleMethod.SEPARATE

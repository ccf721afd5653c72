"""What a report is asked for: keys, conditions and methods, checked before the ledger is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from spancost.cli._ledger import fail
from spancost.cli.report.period import Period
from spancost.errors import LedgerError, suggest
from spancost.sinks.ledger.query import LABEL_KEY, LEDGER_KEYS, TIME_KEYS, Condition, Selection, canonical_key

_SHORT_KEYS: Final = ("route", "method", "cloud-service", f"{LABEL_KEY}NAME")
_CONDITION: Final = re.compile(r"([^=!]+)(!=|=)(.*)", re.DOTALL)


class ReportFormat(StrEnum):
    """How the answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    PROMETHEUS = "prometheus"


class Cost(StrEnum):
    """Which of the two amounts is meant."""

    EFFECTIVE = "effective"
    LIST = "list"


class IdleMethod(StrEnum):
    """Who bears compute that nobody used."""

    SEPARATE = "separate"
    """Nobody: it has rows of its own."""
    PROPORTIONAL = "proportional"
    """Rows of the same process's origin, as their compute cost."""
    EVEN = "even"
    """Every request of the same origin as much as any other."""


class Asked(NamedTuple):
    """One question to the ledger."""

    by: tuple[str, ...] | None
    """Canonical keys; None: service and entrypoint, the service only where there are several."""
    where: tuple[Condition, ...]
    period: Period
    cost: Cost = Cost.EFFECTIVE
    idle: IdleMethod = IdleMethod.SEPARATE

    @property
    def selection(self) -> Selection:
        """The same for the ledger."""
        period = self.period
        return Selection(
            period.since_minute, period.until_minute, self.where, period.tz, at_list_price=self.cost is Cost.LIST
        )


def key_of(text: str, option: str) -> str:
    """Return a key as the ledger knows it; an unknown one ends the command with the near miss."""
    try:
        return canonical_key(text)
    except LedgerError as error:
        if text.startswith(LABEL_KEY):
            fail(f"{option}: {error}")
        known = (*LEDGER_KEYS, *_SHORT_KEYS)
        fail(f"{option}: {text!r} is not a key: {suggest(text, known, limit=len(known))}")


def keys_of(text: str | None) -> tuple[str, ...] | None:
    """Read `--by`: keys with commas between them, each of them once."""
    if text is None:
        return None
    keys = tuple(dict.fromkeys(key_of(part.strip(), "--by") for part in text.split(",") if part.strip()))
    if not keys:
        fail(f"--by: names no key: one of {', '.join(sorted(LEDGER_KEYS))}")
    return keys


def conditions_of(texts: Sequence[str]) -> tuple[Condition, ...]:
    """Read every `--where`: `tenant=acme*` or `tenant!=acme`."""
    found: list[Condition] = []
    for text in texts:
        match = _CONDITION.fullmatch(text)
        if match is None:
            fail(f"--where: {text!r} is not KEY=GLOB or KEY!=GLOB, for example tenant=acme* or component!=llm")
        key = key_of(match[1].strip(), "--where")
        if key in TIME_KEYS:
            fail(f"--where: {match[1].strip()!r} is a time: bound it by --from and --to, --month or --since")
        found.append(Condition(key, match[3], negated=match[2] == "!="))
    return tuple(found)

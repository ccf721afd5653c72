"""Which series a match of a rule means: the cut of the metrics that has its labels, and its matchers in PromQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spancost import names
from spancost.budgets.rules import AnyRule

_PROCESS: Final = ("service", "environment")
LABEL_OF: Final[Mapping[str, str]] = {"route": "http_route"}
"""Labels of the metrics that are called otherwise than the dimension."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One way in which the counters split all money."""

    name: str
    """Part of the names of its recorded series."""
    source: str
    """Cumulative series of single processes, in PromQL."""
    dimensions: tuple[str, ...]
    """What it can be matched and split by, apart from service and environment."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that its recorded series have."""
        return (*_PROCESS, *(label_of(name) for name in self.dimensions))


COST: Final = Cut(
    "cost_usd", "spancost_cost_usd_total", ("component", "provider", "operation", "model", "route", "entrypoint")
)
ATTRIBUTED: Final = Cut(
    "attributed_cost_usd",
    "spancost_attributed_cost_usd_total",
    (*names.ATTRIBUTION_LABELS, "component"),
)
CUTS: Final = (COST, ATTRIBUTED)


def label_of(dimension: str) -> str:
    """Return the label of the metrics that holds a dimension."""
    return LABEL_OF.get(dimension, dimension)


def cut_of(rule: AnyRule) -> Cut | None:
    """Return the first cut that has all dimensions of a rule's match and split; None if none has."""
    asked = {*rule.match.given(), *rule.per} - set(_PROCESS)
    return next((cut for cut in CUTS if asked <= set(cut.dimensions)), None)


def selector(metric: str, globs: Mapping[str, Iterable[str]], **equal: str) -> str:
    """Return a metric with matchers.

    Args:
        metric: Its name.

        globs: By dimension, of which one must match.

        equal: Further labels with the value that they must have.
    """
    matchers = [f"{name}={quoted(value)}" for name, value in equal.items()]
    for dimension, patterns in globs.items():
        given = tuple(patterns)
        label = label_of(dimension)
        if len(given) == 1 and not _has_wildcard(given[0]):
            matchers.append(f"{label}={quoted(given[0])}")
        else:
            matchers.append(f"{label}=~{quoted('|'.join(map(re2, given)))}")
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def quoted(text: str) -> str:
    """Return text as a string of PromQL, in which anything may stand."""
    return '"' + "".join(_QUOTED.get(char) or (char if char.isprintable() else _escape(char)) for char in text) + '"'


_QUOTED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _has_wildcard(glob: str) -> bool:
    return any(char in glob for char in "*?[")


def re2(glob: str) -> str:
    """Return a glob (`*`, `?`, `[seq]`, `[!seq]`) as a regular expression of RE2, which PromQL anchors.

    It means what `fnmatch` does, save that before Prometheus 3 `*` and `?` do not match line breaks.
    """
    parts: list[str] = []
    place = 0
    while place < len(glob):
        char = glob[place]
        end = _end_of_set(glob, place) if char == "[" else -1
        if end >= 0:
            parts.append(_set(glob[place + 1 : end]))
            place = end
        elif char == "*":
            if parts[-1:] != [".*"]:
                parts.append(".*")
        else:
            parts.append("." if char == "?" else _literal(char))
        place += 1
    return "".join(parts)


def _end_of_set(glob: str, begin: int) -> int:
    """Return where the `]` of a set stands; -1 if it is none."""
    place = begin + 1
    place += glob[place : place + 1] == "!"
    place += glob[place : place + 1] == "]"
    return glob.find("]", place)


def _set(body: str) -> str:
    negated = body.startswith("!")
    ranges = list(_ranges(body.removeprefix("!") if negated else body))
    if not ranges:
        return "." if negated else r"[^\x{0}-\x{10FFFF}]"
    inner = "".join(_in_set(low) if low == high else f"{_in_set(low)}-{_in_set(high)}" for low, high in ranges)
    return f"[{'^' if negated else ''}{inner}]"


def _ranges(body: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(body):
        if body[place + 1 : place + 2] == "-" and place + 2 < len(body):
            if body[place] <= body[place + 2]:
                yield body[place], body[place + 2]
            place += 3
        else:
            yield body[place], body[place]
            place += 1


def _in_set(char: str) -> str:
    return char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):X}}}"


def _literal(char: str) -> str:
    return f"\\{char}" if char in r"\.+*?()|[]{}^$" else char

"""Labels of stored spans, each kept once and bounded in number."""

from __future__ import annotations

from typing import Final, NamedTuple

from spancost import names
from spancost.attribution_rules import NOT_RULED, Ruled
from spancost.window import NOBODY, Attribution, EntryLabels

MAX_LABELS: Final = 20_000
_MAX_LENGTH: Final = 200
_OTHER: Final = 0


class Entries:
    """Entry labels by number. Routes and entrypoints have one bound, names of spans that may be roots another."""

    def __init__(self) -> None:
        self.labels = [EntryLabels(entrypoint=names.OTHER)]
        self._numbers: dict[EntryLabels, int] = {}
        self.by_name: dict[str, int] = {}
        """Names that `of_name` has numbered."""

    def of_labels(self, labels: EntryLabels) -> int:
        """Return the number of a local root's labels."""
        number = self._numbers.get(labels)
        if number is None:
            if len(self._numbers) >= MAX_LABELS:
                return _OTHER
            number = self._numbers[labels] = len(self.labels)
            self.labels.append(labels)
        return number

    def of_name(self, name: str) -> int:
        """Return the number of the labels that a span without better ones has."""
        number = self.by_name.get(name)
        if number is None:
            if len(self.by_name) >= MAX_LABELS:
                return _OTHER
            number = len(self.labels)
            self.labels.append(EntryLabels(entrypoint=name[:_MAX_LENGTH]))
            self.by_name[name[:_MAX_LENGTH]] = number
        return number


class Whose(NamedTuple):
    """Whose cost a stored span is; 0 is nobody, and what the rules say of a root is not known by its span alone."""

    said: Attribution = NOBODY
    """By its own attributes."""
    ruled: Ruled = NOT_RULED
    """By the rules, as a span inside a local root."""
    ruled_root: Ruled | None = None
    """By the rules, as a local root; None where only its labels and its resource matter."""


class Attributions:
    """Whose cost spans are, by number; 0 is nobody."""

    def __init__(self) -> None:
        self.values = [Whose()]
        self._numbers = {Whose(): 0}

    def number(self, whose: Whose) -> int:
        """Return the number of an attribution; beyond the bound all that are set become `other`."""
        number = self._numbers.get(whose)
        if number is not None:
            return number
        if len(self._numbers) >= MAX_LABELS:
            root = whose.ruled_root
            whose = Whose(_other(whose.said), _other_ruled(whose.ruled), None if root is None else _other_ruled(root))
            if whose in self._numbers:
                return self._numbers[whose]
        number = self._numbers[whose] = len(self.values)
        self.values.append(whose)
        return number


def _other(attribution: Attribution) -> Attribution:
    feature, tenant, team = (names.OTHER if value else "" for value in attribution[:3])
    return Attribution(feature, tenant, team)


def _other_ruled(ruled: Ruled) -> Ruled:
    return Ruled(_other(ruled.attribution), ruled.rules)

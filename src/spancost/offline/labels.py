"""Labels of stored spans, each kept once and bounded in number."""

from __future__ import annotations

from typing import Final

from spancost import names
from spancost.nodes import NOBODY
from spancost.window import Attribution, EntryLabels

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


class Attributions:
    """Feature, tenant and team by number; 0 is nobody."""

    def __init__(self) -> None:
        self.values = [NOBODY]
        self._numbers = {NOBODY: 0}

    def number(self, attribution: Attribution) -> int:
        """Return the number of an attribution; beyond the bound all that are set become `other`."""
        number = self._numbers.get(attribution)
        if number is not None:
            return number
        if len(self._numbers) >= MAX_LABELS:
            feature, tenant, team = (names.OTHER if value else "" for value in attribution[:3])
            attribution = Attribution(feature, tenant, team)
            if attribution in self._numbers:
                return self._numbers[attribution]
        number = self._numbers[attribution] = len(self.values)
        self.values.append(attribution)
        return number

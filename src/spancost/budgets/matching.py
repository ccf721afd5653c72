"""Which rules a charge or a request is about, and whose key it counts for.

Each distinct price line, set of labels and attribution is compared with the globs once; after that a charge costs one
look-up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from fnmatch import translate
from typing import Any, Final, NamedTuple

from spancost.budgets.rules import DIMENSIONS, REQUEST_DIMENSIONS, AnyRule
from spancost.charge import PriceLine
from spancost.window import Attribution, EntryLabels, Origin, as_utf8, label_text

NOTHING: Final = "(none)"
"""Key of a split rule for what has no value."""
BETWEEN: Final = " | "
"""Stands between the values of a key of several dimensions."""
_LINE: Final = ("component", "provider", "operation", "model")
_LABELS: Final = ("route", "entrypoint")
_WHOSE: Final = ("feature", "tenant", "team")
_PROCESS: Final = ("service", "environment")
_MAX_KNOWN: Final = 20_000


class Hit(NamedTuple):
    """A rule that is about something."""

    rule: int
    """Its place among the rules."""
    key: str
    """Value by which it is split; empty if it is not."""


class Source(NamedTuple):
    """What rules that are not split know of a charge: one object for all charges of which they know the same."""

    places: tuple[int, ...]
    """Of those rules."""
    line: PriceLine
    labels: EntryLabels


class Parts(NamedTuple):
    """The rules that are about something, by whether they are split."""

    source: Source
    """Those that are not."""
    split: tuple[Hit, ...]
    """Those that are: one object for all that the same of them are about, with the same keys."""


_NO_HITS: Final[tuple[Hit, ...]] = ()


class Matcher:
    """Says which rules are about what.

    Args:
        rules: All rules. Those whose money another rule adds up (`burn_rate`, `forecast`) have its match and split.

        origin: The process's service and environment.
    """

    def __init__(self, rules: Sequence[AnyRule], origin: Origin) -> None:
        self._rules = rules
        self._origin = {"service": origin.service, "environment": origin.environment}
        self._line_globs = [_compiled(rule, _LINE) for rule in rules]
        self._label_globs = [_compiled(rule, _LABELS) for rule in rules]
        self._whose_globs = [_compiled(rule, _WHOSE) for rule in rules]
        self._here = self._mask([_compiled(rule, _PROCESS) for rule in rules], self._origin)
        """Bit mask of rules that are about this process at all."""
        self._all_globs = [_compiled(rule, DIMENSIONS) for rule in rules]
        self._by_line: dict[PriceLine, int] = {}
        self._by_labels: dict[EntryLabels, int] = {}
        self._by_whose: dict[tuple[str, str, str], int] = {}
        self._known: dict[tuple[PriceLine | None, EntryLabels, tuple[str, str, str]], tuple[Hit, ...]] = {}
        self._known_parts: dict[tuple[PriceLine, EntryLabels, tuple[str, str, str]], Parts] = {}
        self._sources: dict[Source, Source] = {}
        self._splits: dict[tuple[Hit, ...], tuple[Hit, ...]] = {}

    @property
    def is_idle(self) -> bool:
        """True if no rule is about this process."""
        return not self._here

    def of_charge(self, line: PriceLine, labels: EntryLabels, attribution: Attribution) -> tuple[Hit, ...]:
        """Return the rules that a charge counts for, each with the key."""
        whose = attribution[:3]
        known = self._known.get((line, labels, whose))
        return self._find(line, labels, whose) if known is None else known

    def parts_of_charge(self, line: PriceLine, labels: EntryLabels, attribution: Attribution) -> Parts:
        """Return the rules that a charge counts for, those that are split apart from the others."""
        place = (line, labels, attribution[:3])
        known = self._known_parts.get(place)
        return self._find_parts(*place) if known is None else known

    def of_request(self, labels: EntryLabels, attribution: Attribution) -> tuple[Hit, ...]:
        """Return the rules whose route, entrypoint and attribution are those of a request, whatever it pays for."""
        whose = attribution[:3]
        known = self._known.get((None, labels, whose))
        return self._find(None, labels, whose) if known is None else known

    def may_be_about(self, place: int, values: Mapping[str, str]) -> bool:
        """True if a rule matches what is known of a call; what is not known may match.

        Args:
            place: Of the rule.

            values: By dimension.
        """
        known = {**self._origin, **values}
        return all(name not in known or glob.match(known[name]) for name, glob in self._all_globs[place].items())

    def key_with(
        self,
        place: int,
        line: PriceLine,
        labels: EntryLabels,
        attribution: Attribution,
        known: Sequence[tuple[str, str]],
    ) -> str | None:
        """Return the key of a charge of which more is known than it says; None if a rule is not about it.

        Args:
            place: Of the rule.

            line: What is charged.

            labels: The local root's.

            attribution: Whose it is.

            known: Dimensions and their values, which stand above the charge's.
        """
        values = self._origin | _label_values(labels) | _whose_values(attribution[:3]) | _line_values(line)
        spoken = {name: value for name, value in known if name not in _LINE}
        values |= spoken
        if not all(glob.match(values[name]) for name, glob in self._all_globs[place].items()):
            return None
        return key_of(self._rules[place].per, values)

    def is_about_line(self, place: int, line: PriceLine) -> bool:
        """True if a rule is about what a price line charges for."""
        return bool(self._line_mask(line) >> place & 1)

    def _line_mask(self, line: PriceLine) -> int:
        return _remembered(self._by_line, line, lambda: self._mask(self._line_globs, _line_values(line)))

    def _find(self, line: PriceLine | None, labels: EntryLabels, whose: tuple[str, str, str]) -> tuple[Hit, ...]:
        mask = self._here
        if mask and line is not None:
            mask &= self._line_mask(line)
        if mask:
            mask &= _remembered(self._by_labels, labels, lambda: self._mask(self._label_globs, _label_values(labels)))
        if mask:
            mask &= _remembered(self._by_whose, whose, lambda: self._mask(self._whose_globs, _whose_values(whose)))
        hits = _NO_HITS
        if mask:
            values = self._origin | _label_values(labels) | _whose_values(whose)
            if line is not None:
                values |= _line_values(line)
            hits = tuple(
                Hit(place, key_of(rule.per, values)) for place, rule in enumerate(self._rules) if mask >> place & 1
            )
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[line, labels, whose] = hits
        return hits

    def _find_parts(self, line: PriceLine, labels: EntryLabels, whose: tuple[str, str, str]) -> Parts:
        hits = self._find(line, labels, whose)
        source = Source(tuple(hit.rule for hit in hits if not self._rules[hit.rule].per), line, labels)
        split = tuple(hit for hit in hits if self._rules[hit.rule].per)
        if max(len(self._sources), len(self._splits)) >= _MAX_KNOWN:
            self._sources.clear()
            self._splits.clear()
        parts = Parts(self._sources.setdefault(source, source), self._splits.setdefault(split, split))
        if len(self._known_parts) >= _MAX_KNOWN:
            self._known_parts.clear()
        self._known_parts[line, labels, whose] = parts
        return parts

    def _mask(self, globs: Sequence[Mapping[str, re.Pattern[str]]], values: Mapping[str, str]) -> int:
        mask = 0
        for place, patterns in enumerate(globs):
            if all(pattern.match(values[name]) for name, pattern in patterns.items()):
                mask |= 1 << place
        return mask


def key_of(per: Sequence[str], values: Mapping[str, str]) -> str:
    """Return the key of a rule that is split by some dimensions: their values with a bar between."""
    if not per:
        return ""
    texts = [as_utf8(label_text(values.get(name, ""))) or NOTHING for name in per]
    if len(per) == 1:
        return texts[0]
    return BETWEEN.join(text.replace("|", "/") for text in texts)


def needs_only_request(rule: AnyRule) -> bool:
    """True if a rule looks only at what a whole request has."""
    return {*rule.match.given(), *rule.per} <= set(REQUEST_DIMENSIONS)


def _compiled(rule: AnyRule, dimensions: Sequence[str]) -> dict[str, re.Pattern[str]]:
    """Return one pattern for each of these dimensions that the rule matches by; case matters."""
    given = rule.match.given()
    return {name: re.compile("|".join(map(translate, given[name]))) for name in dimensions if name in given}


def _line_values(line: PriceLine) -> dict[str, str]:
    return {name: getattr(line, name) for name in _LINE}


def _label_values(labels: EntryLabels) -> dict[str, str]:
    return {"route": labels.http_route, "entrypoint": labels.entrypoint}


def _whose_values(whose: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(_WHOSE, whose, strict=True))


def _remembered(known: dict[Any, int], key: Hashable, find: Callable[[], int]) -> int:
    mask = known.get(key)
    if mask is None:
        if len(known) >= _MAX_KNOWN:
            known.clear()
        mask = known[key] = find()
    return mask

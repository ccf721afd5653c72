"""Rules of the configuration that say whose cost it is, without a line of code in the application.

A rule has matchers and targets. Matchers are globs: `route`, `method` and `entrypoint` of the local root, attributes of
the span, attributes of the resource; all of a rule's matchers must match. Targets are feature, tenant, team and free
labels. For each label the first rule that matches and gives it a value holds, so one rule may name the feature and a
later one the team.

Pure: no OpenTelemetry, no clock, no lock; live spans and stored ones ask the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any, Final, NamedTuple, cast

from spancost import names
from spancost.window import MAX_LABEL_VALUE, NOBODY, Attribution, EntryLabels, free_labels

ROOT_MATCHERS: Final = ("route", "method", "entrypoint")
"""Matchers that look at the local root: their rules say nothing of a single span inside it."""
FREE_LABEL: Final = "label."
"""Stands before the name of a free label where labels of both kinds are named."""
PLACEHOLDER: Final = re.compile(r"([^{}]*)(?:\{([^{}\s]+)\}([^{}]*))?")
"""A target's value: a constant, or one reference to an attribute in braces, with a constant around it."""
_MAX_KNOWN: Final = 1024
_MAX_TEXT: Final = 1000
_MAX_BOUND: Final = 256
_ANY: Final = "*"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AttributionRule:
    """One rule: what it looks at, and what it says. Made by `spancost.config.attribution.rules`, which checks it."""

    route: str = ""
    """Glob of the local root's `http.route`; empty: any."""
    method: str = ""
    """Glob of its HTTP method."""
    entrypoint: str = ""
    """Glob of what reports call the entrypoint: `POST /cart/{id}`, `nightly-import`."""
    span: Pairs = ()
    """Attributes of the span by name, with a glob each; of a list the first item counts."""
    resource: Pairs = ()
    """Attributes of the resource by name, with a glob each."""
    feature: str = ""
    tenant: str = ""
    team: str = ""
    labels: Pairs = ()
    """Free labels. Values of all four may hold one reference such as `{http.request.header.x_tenant}`."""

    @property
    def is_of_root(self) -> bool:
        """It looks at the local root as a whole."""
        return bool(self.route or self.method or self.entrypoint)

    @property
    def matchers(self) -> dict[str, str]:
        """Globs by what they look at: `route`, `span.<attribute>`, `resource.<attribute>`."""
        of_root = {name: glob for name in ROOT_MATCHERS if (glob := cast("str", getattr(self, name)))}
        of_span = {f"span.{name}": glob for name, glob in self.span}
        return of_root | of_span | {f"resource.{name}": glob for name, glob in self.resource}

    @property
    def targets(self) -> dict[str, str]:
        """Values by label; free labels are `label.<name>`."""
        fields = {name: value for name in names.ATTRIBUTION_LABELS if (value := cast("str", getattr(self, name)))}
        return fields | {FREE_LABEL + name: value for name, value in self.labels}

    @property
    def references(self) -> frozenset[str]:
        """Attributes that its values refer to."""
        parts = (PLACEHOLDER.fullmatch(value) for value in self.targets.values())
        return frozenset(part[2] for part in parts if part is not None and part[2])


class Ruled(NamedTuple):
    """What the rules say."""

    attribution: Attribution
    rules: tuple[tuple[str, int], ...]
    """Label, and the number of the rule that has given it its value; free labels are `label.<name>`."""


NOT_RULED: Final = Ruled(NOBODY, ())


class Piece(NamedTuple):
    """Some work or money with one answer of the rules, for whoever asks what they catch."""

    labels: EntryLabels
    """Those of the local root."""
    ruled: Ruled
    """What the rules say, whoever else says something."""
    attribution: Attribution
    """Whose it is in the end: what attributes, `attribute()` and baggage say goes before rules."""
    requests: int
    usd: float
    unpriced: int
    """Charges without a price: without USD, but not free."""


def value_of(attribution: Attribution, label: str) -> str:
    """Return the value of one label; free labels are `label.<name>`."""
    if label.startswith(FREE_LABEL):
        return dict(attribution.labels).get(label.removeprefix(FREE_LABEL), "")
    return cast("str", getattr(attribution, label))


def attribution_from(values: Iterable[tuple[str, str]]) -> Attribution:
    """Return the attribution of some labels with their values; free labels are `label.<name>`."""
    fields: dict[str, str] = dict.fromkeys(names.ATTRIBUTION_LABELS, "")
    free: list[tuple[str, str]] = []
    for label, value in values:
        if label.startswith(FREE_LABEL):
            free.append((label.removeprefix(FREE_LABEL), value))
        else:
            fields[label] = value
    feature, tenant, team = fields.values()
    return Attribution(feature, tenant, team, free_labels(free) if free else ())


def attribute_text(value: Any) -> str:
    """Return an attribute's value as globs see it: the first item of a list; empty if there is none."""
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        value = items[0] if items else None
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)[:_MAX_TEXT]


def shadowed(rules: Sequence[AttributionRule]) -> dict[int, int]:
    """Return the rules that can never give anything, each with an earlier rule that always comes first.

    Only what is certain at sight: the earlier rule asks for no more, and gives each of the labels a constant value.
    """
    found: dict[int, int] = {}
    for number, rule in enumerate(rules):
        asked, wanted = rule.matchers, rule.targets.keys()
        for earlier, other in enumerate(rules[:number]):
            implied = all(asked.get(name) == glob or (glob == _ANY and name in asked) for name, glob in _asked(other))
            constant = {label for label, value in other.targets.items() if "{" not in value}
            if implied and wanted <= constant:
                found[number] = earlier
                break
    return found


def _asked(rule: AttributionRule) -> Iterable[tuple[str, str]]:
    return rule.matchers.items()


_Match = Callable[[str], object]


class _Template(NamedTuple):
    label: str
    before: str
    reference: str
    """Attribute whose value stands in the middle; empty for a constant, which is `before`."""
    after: str


class _Compiled(NamedTuple):
    number: int
    of_root: tuple[tuple[int, _Match], ...]
    """Place in `_texts_of`, and glob."""
    span: tuple[tuple[str, _Match], ...]
    resource: tuple[tuple[str, _Match], ...]
    targets: tuple[_Template, ...]


class AttributionRules:
    """The rules of one configuration, compiled once.

    Args:
        rules: In the order in which they are asked.

        left_out: Numbers of rules that are not asked.
    """

    def __init__(self, rules: Sequence[AttributionRule], *, left_out: Collection[int] = ()) -> None:
        self.rules = tuple(rules)
        kept = [(number, rule) for number, rule in enumerate(rules) if number not in left_out]
        self._compiled = [_compiled(number, rule) for number, rule in kept]
        self.span_names = frozenset(name for _, rule in kept for name in _names_of(rule))
        """Attributes of spans that the rules look at."""
        self.inner_names = frozenset(name for _, rule in kept if not rule.is_of_root for name in _names_of(rule))
        """Those that may say something of a span inside a local root."""
        self._resource_names = sorted({name for _, rule in kept for name, _ in rule.resource} | self.span_names)
        self._bound: dict[tuple[str, ...], BoundRules] = {}

    def bound(self, resource: Mapping[str, Any]) -> BoundRules:
        """Return the rules as they hold for one resource."""
        values = tuple([attribute_text(resource.get(name)) for name in self._resource_names])
        bound = self._bound.get(values)
        if bound is None:
            said = dict(zip(self._resource_names, values, strict=True))
            matching = [
                rule for rule in self._compiled if all(said[name] and glob(said[name]) for name, glob in rule.resource)
            ]
            bound = BoundRules(matching, self.span_names, self.inner_names, said)
            if len(self._bound) >= _MAX_BOUND:
                self._bound.clear()
            self._bound[values] = bound
        return bound


class BoundRules:
    """The rules that match one resource. Answers are remembered, bounded; threads may ask at once."""

    def __init__(
        self,
        rules: Sequence[_Compiled],
        span_names: Collection[str],
        inner_names: Collection[str],
        resource: Mapping[str, str],
    ) -> None:
        self._rules = rules
        self._inner_rules = [rule for rule in rules if not rule.of_root]
        self._span_names = tuple(sorted(span_names))
        self._inner_names = tuple(sorted(inner_names))
        self._resource = resource
        self._known: dict[tuple[Any, ...], Ruled] = {}

    def of_root(self, labels: EntryLabels, attributes: Mapping[str, Any]) -> Ruled:
        """Return what the rules say of a local root.

        Args:
            labels: Its route and method, or its entrypoint.

            attributes: Those of its own span.
        """
        get = attributes.get
        key = (labels, *[attribute_text(get(name)) for name in self._span_names])
        known = self._known.get(key)
        if known is None:
            asked = (labels.http_route, labels.http_request_method, labels.shown)
            known = self._remember(key, _asked_of(self._rules, asked, self._span_names, key[1:], self._resource))
        return known

    def of_span(self, attributes: Mapping[str, Any]) -> Ruled:
        """Return what the rules say of a span inside a local root by its own attributes.

        Rules that look at the local root are not asked. A label that a rule gives by the resource alone is left to the
        local root, which has it from the same rule, or from something that goes before rules.
        """
        get = attributes.get
        key = (None, *[attribute_text(get(name)) for name in self._inner_names])
        known = self._known.get(key)
        if known is None:
            known = self._remember(key, _asked_of(self._inner_rules, None, self._inner_names, key[1:], self._resource))
        return known

    def _remember(self, key: tuple[Any, ...], ruled: Ruled) -> Ruled:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[key] = ruled
        return ruled


def _asked_of(
    rules: Sequence[_Compiled],
    of_root: tuple[str, str, str] | None,
    span_names: Sequence[str],
    texts: Sequence[str],
    resource: Mapping[str, str],
) -> Ruled:
    """Ask the rules one after the other.

    Args:
        rules: Those that match the resource.

        of_root: Route, method and entrypoint; None where a span inside a local root is asked about.

        span_names: Attributes that the rules look at.

        texts: Their values.

        resource: Values of the resource's attributes.
    """
    said = dict(zip(span_names, texts, strict=True))
    found: dict[str, tuple[str, int]] = {}
    for rule in rules:
        if of_root is not None and not all(of_root[place] and glob(of_root[place]) for place, glob in rule.of_root):
            continue
        if not all(said[name] and glob(said[name]) for name, glob in rule.span):
            continue
        for label, before, reference, after in rule.targets:
            if label in found:
                continue
            value = before
            is_of_span = bool(rule.span)
            if reference:
                text = said[reference] or resource.get(reference, "")
                is_of_span = is_of_span or bool(said[reference])
                value = f"{before}{text}{after}" if text else ""
            if value:
                found[label] = (value if of_root is not None or is_of_span else "", rule.number)
    given = [(label, value) for label, (value, _) in found.items() if value]
    if not given:
        return NOT_RULED
    attribution = attribution_from((label, value[:MAX_LABEL_VALUE]) for label, value in given)
    return Ruled(attribution, tuple((label, found[label][1]) for label, _ in given if value_of(attribution, label)))


def _names_of(rule: AttributionRule) -> set[str]:
    return {name for name, _ in rule.span} | rule.references


def _compiled(number: int, rule: AttributionRule) -> _Compiled:
    globs = (rule.route, rule.method, rule.entrypoint)
    return _Compiled(
        number,
        tuple((place, _glob(glob)) for place, glob in enumerate(globs) if glob),
        tuple((name, _glob(glob)) for name, glob in rule.span),
        tuple((name, _glob(glob)) for name, glob in rule.resource),
        tuple(_template(label, value) for label, value in rule.targets.items()),
    )


def _glob(glob: str) -> _Match:
    return re.compile(translate(glob)).match


def _template(label: str, value: str) -> _Template:
    parts = PLACEHOLDER.fullmatch(value)
    if parts is None or parts[2] is None:
        return _Template(label, value, "", "")
    return _Template(label, parts[1], parts[2], parts[3])

"""Whose cost a live span is: its own attributes, then `attribute()`, then baggage, then rules, label by label.

A span inside a local root has an attribution of its own only where one of these says something about it; everything
else follows the local root. Reading a span's attributes for that costs one look-up of their names, which are the same
for all spans of an instrumentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import baggage
from opentelemetry.context import Context

from spancost import names
from spancost.attribution import from_attributes, names_label
from spancost.attribution_rules import FREE_LABEL, AttributionRules, BoundRules, attribute_text, attribution_from
from spancost.entry_labels import final_labels
from spancost.nodes import LocalRoot, SpanNode
from spancost.window import NOBODY, Attribution, EntryLabels, filled

if TYPE_CHECKING:
    from spancost.attribution_rules import Pairs
    from spancost.config import Config

PLACE: Final = "attribution"
"""Where errors of rules and baggage are counted."""
_SAYS: Final = 1
"""An attribute says whose cost it is."""
_RULED: Final = 2
"""A rule may say something of a span with these attributes, wherever it stands."""
_MAX_SHAPES: Final = 4096
_BAGGAGE_KEY: Final = next(iter(baggage.set_baggage("a", "b", Context())))
"""Where a context keeps its baggage; looked at first, since most contexts have none."""


class Attributing:
    """Says whose cost spans are.

    Args:
        config: Rules, and the baggage keys that may be read.

        failed: Called in `except` with the place; nothing reaches the application.
    """

    def __init__(self, config: Config, failed: Callable[[str], None]) -> None:
        self.baggage: Pairs = tuple(
            (key, label if label in names.ATTRIBUTION_LABELS else FREE_LABEL + label)
            for key, label in config.attribution_baggage
        )
        """Baggage keys that are read, each with its label."""
        self.rules = AttributionRules(config.attribution_rules) if config.attribution_rules else None
        self.looks_at_roots: bool = bool(self.rules or self.baggage)
        """A local root's end must ask `of_root`."""
        self.shapes: dict[tuple[str, ...], int] = {}
        """Names of attributes, in the order of a span's, with what such a span may say; 0 for nothing."""
        self._process = config.entrypoint
        self._failed = failed
        self._bound: BoundRules | None = None

    def bind(self, resource: Mapping[str, Any]) -> None:
        """Settle which rules match the process's resource."""
        if self.rules is not None:
            self._bound = self.rules.bound(resource)

    def carried(self, context: Context) -> Attribution | None:
        """Return what the baggage of a context says, None if nothing."""
        if _BAGGAGE_KEY not in context:
            return None
        try:
            held = baggage.get_all(context)
            found: dict[str, str] = {}
            for key, label in self.baggage:
                text = attribute_text(held.get(key))
                if text:
                    found.setdefault(label, text)
            return attribution_from(found.items()) if found else None
        except Exception:  # in the process itself anything may be put into it
            self._failed(PLACE)
            return None

    def shape_of(self, attributes: Mapping[str, Any]) -> int:
        """Return what a span with these attributes may say, by their names alone."""
        keys = tuple(attributes)
        shape = self.shapes.get(keys)
        if shape is None:
            shape = _SAYS if names_label(keys) else 0
            if self.rules is not None and not self.rules.inner_names.isdisjoint(keys):
                shape |= _RULED
            if len(self.shapes) >= _MAX_SHAPES:
                self.shapes.clear()
            self.shapes[keys] = shape
        return shape

    def of_span(self, node: SpanNode, attributes: Mapping[str, Any], *, is_charged: bool) -> Attribution | None:
        """Return a span's own attribution, or None if it follows its local root.

        Args:
            node: Its node.

            attributes: What it has at its end.

            is_charged: It is charged something beyond its time: only then are the rules asked.
        """
        shape = self.shape_of(attributes) if attributes else 0
        own = node.tags or NOBODY
        if shape & _SAYS:
            own = filled(from_attributes(attributes), own)
        carried = node.baggage or NOBODY
        if carried is not NOBODY:
            # What the local root has carried from its start goes behind what `attribute()` has told it since.
            own = filled(own, _without(carried, getattr(node.root, "baggage", None) or NOBODY, equal=True))
        if shape & _RULED and is_charged and self._bound is not None:
            try:
                ruled = self._bound.of_span(attributes).attribution
            except Exception:
                self._failed(PLACE)
            else:
                own = filled(own, _without(ruled, carried, equal=False))
        return None if own == NOBODY else own

    def of_root(self, root: LocalRoot, attributes: Mapping[str, Any], labels: EntryLabels) -> Attribution:
        """Return a local root's attribution as everything says it now.

        Args:
            root: The local root.

            attributes: Those of its own span.

            labels: Its route and method, or its entrypoint.
        """
        whose = root.attribution
        if attributes and self.shape_of(attributes) & _SAYS:
            whose = filled(from_attributes(attributes), whose)
        if root.baggage is not None:
            whose = filled(whose, root.baggage)
        if self._bound is not None:
            try:
                ruled = self._bound.of_root(labels, attributes).attribution
            except Exception:
                self._failed(PLACE)
            else:
                whose = filled(whose, ruled)
        return whose

    def settle_root(self, root: LocalRoot, name: str, attributes: Mapping[str, Any]) -> Attribution:
        """Settle the labels and the attribution of a local root whose own span is ending, named `name`."""
        try:
            labels = root.labels = final_labels(name, root.kind, attributes, self._process)
            root.attribution = self.of_root(root, attributes, labels)
        except Exception:
            self._failed(PLACE)
        return root.attribution


def _without(attribution: Attribution, other: Attribution, *, equal: bool) -> Attribution:
    """Return an attribution without labels that another one has: all of them, or those of equal value."""
    if other is NOBODY or attribution is NOBODY:
        return attribution
    kept = ["" if (mine == its if equal else its) else mine for mine, its in _pairs(attribution, other)]
    theirs = dict(other.labels)
    free = tuple(
        (name, value)
        for name, value in attribution.labels
        if (theirs.get(name) != value if equal else name not in theirs)
    )
    return Attribution(*kept, labels=free)


def _pairs(one: Attribution, other: Attribution) -> zip[tuple[str, str]]:
    return zip(cast("tuple[str, ...]", one[:3]), cast("tuple[str, ...]", other[:3]), strict=True)

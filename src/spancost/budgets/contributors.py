"""Who has spent the most of a budget, and on which trace: what this process has seen, for the text of alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spancost.budgets.alert import Contributor
from spancost.charge import PriceLine
from spancost.window import EntryLabels

_MAX_NAMES: Final = 24
_MAX_PLACES: Final = 5000
_SHOWN: Final = 5
_KEEP_S: Final = 86_400.0
_MAX_KNOWN: Final = 20_000

Place = tuple[int, str]
"""Place of a rule, and key."""


class Contributors:
    """The largest shares of each key of each rule in the last one to two days; belongs to one thread at a time.

    Args:
        now: Clock, Unix seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = now()
        self._recent: dict[Place, dict[str, float]] = {}
        self._before: dict[Place, dict[str, float]] = {}
        self._traces: dict[Place, tuple[float, int]] = {}
        self._traces_before: dict[Place, tuple[float, int]] = {}
        self._names: dict[tuple[EntryLabels, PriceLine], str] = {}

    def add(self, place: Place, labels: EntryLabels, line: PriceLine, usd: float) -> None:
        """Add what a route or other work has spent on something."""
        if not usd:
            return
        shares = self._recent.get(place)
        if shares is None:
            if len(self._recent) >= _MAX_PLACES:
                return
            shares = self._recent[place] = {}
        name = self._names.get((labels, line))
        if name is None:
            name = self._name(labels, line)
        if name in shares or len(shares) < _MAX_NAMES:
            shares[name] = shares.get(name, 0.0) + usd
        else:
            # The smallest makes room and leaves what it had: a large one is never missed, a small one may look larger.
            least = min(shares, key=shares.__getitem__)
            shares[name] = shares.pop(least) + usd

    def _name(self, labels: EntryLabels, line: PriceLine) -> str:
        if len(self._names) >= _MAX_KNOWN:
            self._names.clear()
        operation = "/".join(filter(None, (line.provider, line.operation))) or line.component
        parts = (labels.shown, " ".join(filter(None, (operation, line.model))))
        name = self._names[labels, line] = " · ".join(filter(None, parts))
        return name

    def see_trace(self, place: Place, usd: float, trace_id: int) -> None:
        """Remember a request if none has cost more."""
        known = self._traces.get(place)
        if known is None and len(self._traces) >= _MAX_PLACES:
            return
        if known is None or usd > known[0]:
            self._traces[place] = (usd, trace_id)

    def top(self, place: Place) -> tuple[Contributor, ...]:
        """Return the largest shares, largest first."""
        shares = dict(self._before.get(place, {}))
        for name, usd in self._recent.get(place, {}).items():
            shares[name] = shares.get(name, 0.0) + usd
        largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
        return tuple(Contributor(name=name, usd=usd) for name, usd in largest)

    def costliest(self, place: Place) -> tuple[float, int] | None:
        """Return USD and trace id of the costliest request."""
        return max((self._traces.get(place, (0.0, 0)), self._traces_before.get(place, (0.0, 0)))) or None

    def forget(self) -> None:
        """Let go of what is older than a day, once a day."""
        now = self._now()
        if not 0 <= now - self._since < _KEEP_S:
            self._since = now
            self._before, self._recent = self._recent, {}
            self._traces_before, self._traces = self._traces, {}

"""Who has spent the most of a budget, and on which trace: what this process has seen, for the text of alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spancost.budgets.alert import Contributor
from spancost.budgets.matching import Hit, Parts
from spancost.charge import PriceLine
from spancost.window import EntryLabels

_MAX_NAMES: Final = 24
_MAX_PLACES: Final = 5000
_SHOWN: Final = 5
_KEEP_S: Final = 86_400.0
_MAX_KNOWN: Final = 20_000

Place = tuple[int, str]
"""Place of a rule, and key."""


class _Waiting:
    """Money that is not yet added to the keys that it is about."""

    __slots__ = ("parts", "usd")

    def __init__(self, parts: Parts, usd: float) -> None:
        self.parts = parts
        self.usd = usd


class Contributors:
    """The largest shares of each key of each rule in the last one to two days; belongs to one thread at a time.

    Args:
        now: Clock, Unix seconds.

        admitted_key: Returns the key under which a rule keeps another one.
    """

    def __init__(self, now: Callable[[], float], admitted_key: Callable[[int, str], str]) -> None:
        self._now = now
        self._admitted_key = admitted_key
        self._waiting: dict[int, _Waiting] = {}
        self._waiting_traces: dict[int, tuple[tuple[Hit, ...], float, int]] = {}
        """Both by the identity of what they hold."""
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

    def add_later(self, parts: Parts, usd: float) -> None:
        """Add to all keys of what a charge is about: as soon as somebody asks, or when too much waits."""
        waiting = self._waiting.get(id(parts))
        if waiting is not None:
            waiting.usd += usd
            return
        if len(self._waiting) >= _MAX_KNOWN:
            self._catch_up()
        self._waiting[id(parts)] = _Waiting(parts, usd)

    def see_trace_later(self, hits: tuple[Hit, ...], usd: float, trace_id: int) -> None:
        """Remember a request for all keys that it is about, as soon as somebody asks."""
        waiting = self._waiting_traces.get(id(hits))
        if waiting is None:
            if len(self._waiting_traces) >= _MAX_KNOWN:
                self._catch_up()
            self._waiting_traces[id(hits)] = (hits, usd, trace_id)
        elif usd > waiting[1]:
            self._waiting_traces[id(hits)] = (hits, usd, trace_id)

    def _catch_up(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for one in waiting.values():
            source, split = one.parts
            for rule in source.places:
                self.add((rule, ""), source.labels, source.line, one.usd)
            for rule, key in split:
                self.add((rule, self._admitted_key(rule, key)), source.labels, source.line, one.usd)
        traces, self._waiting_traces = self._waiting_traces, {}
        for hits, usd, trace_id in traces.values():
            for rule, key in hits:
                self.see_trace((rule, self._admitted_key(rule, key)), usd, trace_id)

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
        self._catch_up()
        shares = dict(self._before.get(place, {}))
        for name, usd in self._recent.get(place, {}).items():
            shares[name] = shares.get(name, 0.0) + usd
        largest = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
        return tuple(Contributor(name=name, usd=usd) for name, usd in largest)

    def costliest(self, place: Place) -> tuple[float, int] | None:
        """Return USD and trace id of the costliest request."""
        self._catch_up()
        return max((self._traces.get(place, (0.0, 0)), self._traces_before.get(place, (0.0, 0)))) or None

    def forget(self) -> None:
        """Let go of what is older than a day, once a day."""
        now = self._now()
        if not 0 <= now - self._since < _KEEP_S:
            self._catch_up()
            self._since = now
            self._before, self._recent = self._recent, {}
            self._traces_before, self._traces = self._traces, {}

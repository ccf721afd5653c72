"""Finds, loads and asks meters of third parties: entry points of the group `spancost.meters`.

Which there are is looked up once, without importing them; they are imported and made with the first span of the
process, after the application's own imports. One that cannot be loaded is logged by name and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Any, Final, NamedTuple

from spancost import names
from spancost._guard import ErrorLog, logger
from spancost.charge import LLM_SPAN, Charge, SpanView
from spancost.meters import UsageMeter
from spancost.meters.custom import CustomMeter, beside

GROUP: Final = "spancost.meters"
_MAX_USAGES: Final = 1000
"""Usages taken of one span."""
_STANDS_INSTEAD: Final = frozenset({names.AWS, names.HTTP, names.LLM})
"""Components whose charge of a span falls where a third-party meter charges that span."""


class Plugin(NamedTuple):
    """One entry point, and what came of it."""

    name: str
    distribution: str
    """Name and version of the package it comes from; empty if unknown."""
    meter: UsageMeter | None
    problem: str = ""
    """Why there is no meter."""


class PluginMeters:
    """Meters of third parties.

    Args:
        meters: Each with the name by which it is known in messages.

        custom: Prices what they report.
    """

    def __init__(self, meters: Iterable[tuple[str, UsageMeter]], custom: CustomMeter) -> None:
        self._meters = [(f"meter.{name}", frozenset(meter.keys), meter) for name, meter in meters]
        self._custom = custom
        self.keys = frozenset[str]().union(*(keys for _, keys, _ in self._meters))
        """Attribute names that any of them wants to see."""

    def charges_of(self, view: SpanView, errors: ErrorLog) -> list[Charge]:
        """Return what a span is charged; a meter that raises is counted, and has charged nothing."""
        charges: list[Charge] = []
        for place, keys, meter in self._meters:
            if keys.isdisjoint(view.attributes):
                continue
            try:
                charges += [
                    self._custom.charge(one.name, one.quantity, one.unit, one.usd, view.start_ns, errors)
                    for one in islice(meter.measure(view), _MAX_USAGES)
                ]
            except Exception:
                errors.caught(place)
        return charges


def joined(charges: Sequence[Charge], used: Sequence[Charge]) -> Sequence[Charge]:
    """Return what a span is charged where third-party meters charge it, too.

    Args:
        charges: Charges of the built-in meter, or `LLM_SPAN`: of these only egress stays.

        used: Charges of third-party meters; not empty.
    """
    if charges is LLM_SPAN:
        return used
    return beside([charge for charge in charges if charge.line.component not in _STANDS_INSTEAD], used)


def _entry_points() -> Iterable[EntryPoint]:
    try:
        # OpenTelemetry has read the metadata of all packages at its own start, and keeps it.
        from opentelemetry.util import _importlib_metadata as kept
    except ImportError:  # its own affair, and it may end
        return entry_points(group=GROUP)
    return kept.entry_points(group=GROUP)  # pyright: ignore[reportUnknownMemberType]


@cache
def _installed() -> Mapping[str, tuple[EntryPoint, tuple[EntryPoint, ...]]]:
    """Return entry points by name: the one that is taken, and others of the same name."""
    found: dict[str, list[EntryPoint]] = {}
    try:
        points = _entry_points()
    except Exception as error:  # the metadata of some package is broken
        logger.warning("third-party meters are left out, they cannot be looked up: %s", error)
        return {}
    for point in sorted(points, key=lambda point: (point.name, _distribution(point))):
        same = found.setdefault(point.name, [])
        if all(point.value != other.value for other in same):
            same.append(point)
    return {name: (same[0], tuple(same[1:])) for name, same in found.items()}


def has_plugins() -> bool:
    """Say whether any third-party meter is installed; looked up once per process."""
    return bool(_installed())


def plugin_meters(given: Iterable[UsageMeter] | None, custom: CustomMeter) -> PluginMeters | None:
    """Return third-party meters, or None if there are none.

    Args:
        given: Meters to take; None: load those that are installed.

        custom: Prices what they report.
    """
    if given is None:
        meters = working(load_plugins()) if has_plugins() else []
    else:
        meters = [(type(meter).__name__, meter) for meter in given]
    return PluginMeters(meters, custom) if meters else None


def load_plugins() -> list[Plugin]:
    """Import and make the installed meters; problems are returned, not raised."""
    plugins: list[Plugin] = []
    for name, (point, others) in _installed().items():
        plugins.append(_loaded(point))
        plugins += [
            Plugin(name, _distribution(other), None, f"the name is taken by {_distribution(point) or point.value}")
            for other in others
        ]
    return plugins


def working(plugins: Iterable[Plugin]) -> list[tuple[str, UsageMeter]]:
    """Return the meters that could be loaded, and log the others."""
    meters: list[tuple[str, UsageMeter]] = []
    for plugin in plugins:
        if plugin.meter is not None:
            meters.append((plugin.name, plugin.meter))
        else:
            logger.warning("meter %s of %s is left out: %s", plugin.name, plugin.distribution or "?", plugin.problem)
    return meters


def _loaded(point: EntryPoint) -> Plugin:
    distribution = _distribution(point)
    try:
        meter: Any = point.load()()
        problem = _wrong(meter)
    except Exception as error:
        return Plugin(point.name, distribution, None, f"{type(error).__name__}: {error}")
    return Plugin(point.name, distribution, None if problem else meter, problem)


def _wrong(meter: Any) -> str:
    keys = meter.keys
    if not isinstance(keys, set | frozenset) or not keys or not all(isinstance(key, str) for key in keys):  # pyright: ignore[reportUnknownVariableType]
        return "its `keys` are no set of attribute names"
    return "" if callable(meter.measure) else "its `measure` cannot be called"


def _distribution(point: EntryPoint) -> str:
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"

"""How values look in a panel: unit, names and colours of values, from the panel's defaults and overrides."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from spancost.amounts import significant, usd
from spancost.dashboards.model import Panel

_COLORS: Final = ("green", "yellow", "orange", "red", "blue", "purple")
_BYTES: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL_BYTES: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_PER_SECOND: Final = frozenset({"cps", "ops", "reqps", "rps", "wps", "iops", "pps"})
_TIMES: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


class Shown(NamedTuple):
    """One value as people read it."""

    text: str
    color: str = ""
    """Name of a colour; empty for that of text."""


class Look(NamedTuple):
    """How the values of one field look."""

    unit: str
    mappings: Mapping[str, Shown]
    steps: tuple[tuple[float, str], ...]
    """From which value which colour holds, rising."""
    cell: str = ""
    """Kind of a table's cell, such as `color-text`."""

    def show(self, value: float) -> Shown:
        """Return a value with its colour."""
        mapped = self.mappings.get(_plain(value))
        if mapped is not None:
            return mapped
        return Shown(in_unit(value, self.unit), self.color(value))

    def color(self, value: float) -> str:
        """Return the colour of a value; empty for that of text."""
        found = ""
        for least, color in self.steps:
            if value >= least:
                found = color
        return found


def look_of(panel: Panel, field: str = "") -> Look:
    """Return how the values of a field look.

    Args:
        panel: Its panel.

        field: Name of the field, for overrides; of no special one if empty.
    """
    found: dict[str, Any] = dict(panel.defaults)
    for override in panel.overrides:
        if field and _matches(cast("object", override.get("matcher")), field):
            for one in _list(override.get("properties")):
                found[str(one.get("id"))] = one.get("value")
    cell = _mapping(found.get("custom.cellOptions"))
    return Look(
        unit=str(found.get("unit") or ""),
        mappings=_mappings(found.get("mappings")),
        steps=_steps(found.get("thresholds")),
        cell=str(cell.get("type") or ""),
    )


def in_unit(value: float, unit: str) -> str:
    """Return a value with its unit.

    Args:
        value: NaN is shown as such.

        unit: As Grafana calls it; one that is not known here is left away.
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if unit == "currencyUSD":
        return usd(value)
    if unit in ("percentunit", "percent"):
        return f"{_short(value * 100 if unit == 'percentunit' else value)} %"
    if unit in ("s", "ms", "dtdurations"):
        return _time(value / 1000 if unit == "ms" else value)
    if unit in ("bytes", "decbytes"):
        return _scaled(value, 1024 if unit == "bytes" else 1000, _BYTES if unit == "bytes" else _DECIMAL_BYTES)
    return f"{_short(value)}/s" if unit in _PER_SECOND else _short(value)


def base_color(name: str) -> str:
    """Return the plain colour that a name of Grafana's is a shade of; empty for other colours."""
    return next((color for color in _COLORS if name == color or name.endswith(f"-{color}")), "")


def _short(value: float) -> str:
    if value == 0:
        return "0"
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size >= 1000:
        return f"{sign}{size:,.0f}"
    if size < 1e-9:
        return f"{sign}{size:.2e}"
    return f"{sign}{significant(size, 3, at_least_decimals=0)}"


def _time(value: float) -> str:
    size = abs(value)
    for unit_s, name in _TIMES:
        if size >= unit_s * (2 if name in ("d", "h", "min") else 1):
            return f"{_short(value / unit_s)} {name}"
    return f"{_short(value)} s"


def _scaled(value: float, base: int, names: tuple[str, ...]) -> str:
    for name in names[:-1]:
        if abs(value) < base:
            return f"{_short(value)} {name}"
        value /= base
    return f"{_short(value)} {names[-1]}"


def _plain(value: float) -> str:
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def _matches(matcher: object, field: str) -> bool:
    found = _mapping(matcher)
    options = found.get("options")
    if found.get("id") == "byName":
        return options == field
    if found.get("id") == "byRegexp" and isinstance(options, str):
        try:
            return re.search(options.strip("/"), field) is not None
        except re.error:
            return False
    return False


def _mappings(found: object) -> dict[str, Shown]:
    """Return texts by value; ranges and patterns are left to Grafana."""
    mapped: dict[str, Shown] = {}
    for one in _list(found):
        if one.get("type") == "value":
            for value, result in _mapping(one.get("options")).items():
                given = _mapping(result)
                mapped[value] = Shown(str(given.get("text") or value), base_color(str(given.get("color") or "")))
    return mapped


def _steps(found: object) -> tuple[tuple[float, str], ...]:
    steps: list[tuple[float, str]] = []
    for one in _list(_mapping(found).get("steps")):
        least = one.get("value")
        value = float(least) if isinstance(least, int | float) else -math.inf
        steps.append((value, base_color(str(one.get("color") or ""))))
    return tuple(sorted(steps, key=lambda step: step[0]))


def _mapping(found: object) -> dict[str, Any]:
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _list(found: object) -> list[dict[str, Any]]:
    return [_mapping(one) for one in cast("list[object]", found)] if isinstance(found, list) else []

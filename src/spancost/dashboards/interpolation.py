"""Puts values in the place of variables, in the formats that Grafana knows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from spancost.dashboards.times import Span, duration_text

_PLACE: Final = re.compile(
    r"\$([a-zA-Z_]\w*)|\[\[([a-zA-Z_]\w*?)(?::([^\]]+))?\]\]|\$\{([a-zA-Z_]\w*)(?:\.[^:}]+)?(?::([^}]+))?\}"
)
"""A number is none: `$1` belongs to `label_replace`."""
_JS_SPECIAL: Final = re.compile(r"[\\^$*+?.()|\[\]{}/]")
_PROM_SPECIAL: Final = re.compile(r"[$^*{}\[\]'+?.()|]")
_LUCENE_SPECIAL: Final = re.compile(r'([!*+\-=<>\s&|()\[\]{}^~?:\\/"])')
_DATE_PARTS: Final = {
    "YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "HH": "%H", "mm": "%M", "ss": "%S",
}  # fmt: skip
_DATE_WORD: Final = re.compile("|".join(_DATE_PARTS))


class UnknownVariableError(ValueError):
    """A query has a variable or a format that there is not; the message says which."""


class Chosen(NamedTuple):
    """A variable with what is chosen."""

    values: tuple[str, ...]
    is_regex: bool
    """Several may be chosen: values are escaped as parts of a regular expression."""
    all_value: str = ""
    """What stands for all of them, unescaped; empty if not all are chosen, or all are listed."""
    is_all: bool = False
    name: str = ""


class Clock(NamedTuple):
    """What variables of time stand for."""

    span: Span
    step_s: float
    rate_interval_s: float


def interpolate(text: str, variables: Mapping[str, Chosen], clock: Clock) -> str:
    """Return a query as the server gets it.

    Args:
        text: With `$name`, `${name:format}` and `[[name]]`.

        variables: By name.

        clock: For `$__interval`, `$__range` and their kin.

    Raises:

        UnknownVariableError: It has a variable or a format that there is not.
    """

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2] or found[4]
        shape = found[3] or found[5] or ""
        if (chosen := variables.get(name)) is not None:
            return _formatted(chosen, shape)
        if (time := _of_clock(name, shape, clock)) is not None:
            return time
        raise UnknownVariableError(f"no variable ${name}")

    return _PLACE.sub(value, text)


def names_in(text: str) -> set[str]:
    """Return the names of the variables in a text."""
    return {found[1] or found[2] or found[4] for found in _PLACE.finditer(text)}


def _of_clock(name: str, shape: str, clock: Clock) -> str | None:
    start_ms, end_ms = round(clock.span.start * 1000), round(clock.span.end * 1000)
    times = {
        "__interval": duration_text(clock.step_s),
        "__interval_ms": str(round(clock.step_s * 1000)),
        "__rate_interval": duration_text(clock.rate_interval_s),
        "__rate_interval_ms": str(round(clock.rate_interval_s * 1000)),
        "__range": f"{max(1, round(clock.span.length_s))}s",
        "__range_s": str(round(clock.span.length_s)),
        "__range_ms": str(end_ms - start_ms),
        "__timezone": "utc",
    }
    if name in ("__from", "__to"):
        at = start_ms if name == "__from" else end_ms
        return _date(at, shape) if shape.startswith("date") else str(at)
    return times.get(name)


def _date(at_ms: int, shape: str) -> str:
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    how = shape.partition(":")[2] or "iso"
    if how == "iso":
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if how == "seconds":
        return str(at_ms // 1000)
    return at.strftime(_DATE_WORD.sub(lambda word: _DATE_PARTS[word[0]], how.replace("%", "%%")))


def _formatted(chosen: Chosen, shape: str) -> str:
    if chosen.all_value and shape not in ("text", "queryparam"):
        return chosen.all_value
    if not shape:
        return _for_prometheus(chosen)
    if shape == "queryparam":
        values = ("$__all",) if chosen.is_all else chosen.values
        return "&".join(f"var-{chosen.name}={quote(value, safe='')}" for value in values)
    if shape == "text":
        return "All" if chosen.is_all else " + ".join(chosen.values)
    formatter = _FORMATS.get(shape)
    if formatter is None:
        raise UnknownVariableError(f"no format {shape!r} of ${chosen.name}: one of {', '.join(sorted(_FORMATS))}")
    return formatter(chosen.values)


def _for_prometheus(chosen: Chosen) -> str:
    """Return values within the quotes of a matcher, as Grafana's data source for Prometheus does."""
    if not chosen.is_regex:
        return chosen.values[0].replace("\\", "\\\\").replace('"', '\\"') if chosen.values else ""
    escaped = [
        _PROM_SPECIAL.sub(r"\\\\\g<0>", value.replace("\\", "\\\\\\\\").replace('"', '\\"')) for value in chosen.values
    ]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})" if escaped else ""


def _regex(values: Sequence[str]) -> str:
    escaped = [_JS_SPECIAL.sub(r"\\\g<0>", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _glob(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{{{','.join(values)}}}"


def _lucene(values: Sequence[str]) -> str:
    escaped = [_LUCENE_SPECIAL.sub(r"\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else "(" + " OR ".join(f'"{value}"' for value in escaped) + ")"


def _quoted(mark: str, escaped: str) -> Callable[[Sequence[str]], str]:
    return lambda values: ",".join(mark + value.replace(mark, escaped) + mark for value in values)


_FORMATS: Final[Mapping[str, Callable[[Sequence[str]], str]]] = {
    "csv": ",".join,
    "distributed": ",".join,
    "doublequote": _quoted('"', '\\"'),
    "glob": _glob,
    "json": lambda values: json.dumps(list(values)),
    "lucene": _lucene,
    "percentencode": lambda values: quote(_glob(values), safe=""),
    "pipe": "|".join,
    "raw": _glob,
    "regex": _regex,
    "singlequote": _quoted("'", "\\'"),
    "sqlstring": _quoted("'", "''"),
}

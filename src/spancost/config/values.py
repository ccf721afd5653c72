"""Values of settings: each function reads one kind, and raises ValueError(what is accepted)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from spancost import names
from spancost.errors import PartError, suggest

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|min|h|d)?")
_SECONDS_PER: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S: Final = 100 * 366 * 86_400.0
_LONGEST_NUMBER: Final = 18
"""Digits."""
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?|k)?B?")
_BYTES_PER: Final = {
    None: 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_TOKEN_ESTIMATES: Final = ("off", "characters", "tiktoken")
_CLIENTS: Final = ("auto", "internet", "private", "cdn")
_MAX_GLOB: Final = 200

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class EgressRule:
    """Who receives the responses of some routes of some services."""

    clients: str
    """`auto`, `internet`, `private` or `cdn`."""
    service: str = "*"
    """Glob of `service.name`."""
    route: str = "*"
    """Glob of `http.route`."""


def boolean(value: object) -> bool:
    """Read a yes or no."""
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("true or false")


def parse_seconds(value: object) -> float:
    """Read a duration: a number of seconds, or text such as `500ms`, `30s`, `5m`, `1h`, `7d`."""
    match = _DURATION.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if match is None:
        raise ValueError("a duration such as 500ms, 30s, 5m or 1h")
    seconds = float(match.group(1)) * _SECONDS_PER[match.group(2) or "s"]
    if seconds > _LONGEST_S:
        raise ValueError("a duration of at most 100 years, such as 30s, 5m or 400d")
    return seconds


def positive_seconds(value: object) -> float:
    """Read a duration above zero, in seconds."""
    seconds = parse_seconds(value)
    if seconds <= 0:
        raise ValueError("a duration above zero, such as 30s")
    return seconds


def hours_or_more(value: object) -> float:
    """Read a duration of at least an hour, in seconds."""
    seconds = parse_seconds(value)
    if seconds < 3600:
        raise ValueError("a duration of an hour or more, such as 48h")
    return seconds


def days_or_more(value: object) -> float:
    """Read a duration of at least a day, in seconds."""
    seconds = parse_seconds(value)
    if seconds < 86_400:
        raise ValueError("a duration of a day or more, such as 400d")
    return seconds


def share(value: object) -> float:
    """Read a share such as `1/4`, `25%` or `0.25`."""
    text = str(value).strip()
    try:
        if "/" in text:
            part, whole = text.split("/", 1)
            share = float(part) / float(whole)
        elif text.endswith("%"):
            share = float(text[:-1]) / 100
        else:
            share = float(text)
    except (ValueError, ZeroDivisionError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError("a share above 0 and at most 1, such as 1/4, 0.25 or 25%")
    return share


def port(value: object) -> int:
    """Read a TCP port."""
    number = _whole(value)
    if number is None or not 0 < number < 65536:
        raise ValueError("a port number from 1 to 65535")
    return number


def count(value: object) -> int:
    """Read a whole number from 1."""
    number = _whole(value)
    if number is None or number < 1:
        raise ValueError("a whole number from 1")
    return number


def count_from_zero(value: object) -> int:
    """Read a whole number from 0 to 1 000."""
    number = _whole(value)
    if number is None or number > 1000:
        raise ValueError("a whole number from 0 to 1000")
    return number


def _whole(value: object) -> int | None:
    """Return a whole number of ordinary digits, and of not too many; None for anything else."""
    if isinstance(value, bool) or (isinstance(value, int) and value >= 10**_LONGEST_NUMBER):
        return None  # the text of a longer one takes Python seconds, or is refused
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None


def text(value: object) -> str:
    """Read one text."""
    if not isinstance(value, str) or not value.strip():
        given = "list" if isinstance(value, list) else "section" if isinstance(value, dict) else ""
        raise ValueError(f"one text, not a {given}" if given else "text")
    return value.strip()


def clients(value: object) -> str:
    """Read who receives responses."""
    if value not in _CLIENTS:
        raise ValueError(f"one of {', '.join(_CLIENTS)}")
    return str(value)


def token_estimate(value: object) -> str:
    """Read how tokens are estimated."""
    if value is False:  # `off` in YAML
        return _TOKEN_ESTIMATES[0]
    if value not in _TOKEN_ESTIMATES:
        raise ValueError(f"one of {', '.join(_TOKEN_ESTIMATES)}")
    return str(value)


def compute_model(value: object) -> str:
    """Read how the time of the machine is given to spans."""
    model = str(value).strip().lower()
    if model not in names.COMPUTE_MODELS:
        raise ValueError(f"one of {', '.join(names.COMPUTE_MODELS)}")
    return model


def egress_rules(value: object) -> tuple[EgressRule, ...]:
    """Read the list of rules about who receives responses."""
    accepted = (
        "a list of rules, each with clients and service or route, such as {route: '/internal/*', clients: private}"
    )
    if not isinstance(value, list):
        raise ValueError(accepted)  # noqa: TRY004
    rules: list[EgressRule] = []
    for entry in cast("list[object]", value):
        if not isinstance(entry, dict):
            raise ValueError(accepted)  # noqa: TRY004
        given = {str(key): item for key, item in cast("dict[object, object]", entry).items()}
        if not {"clients"} < given.keys() <= {"clients", "service", "route"}:
            raise ValueError(accepted)
        rules.append(EgressRule(clients(given.pop("clients")), **{key: text(item) for key, item in given.items()}))
    return tuple(rules)


def cpus(value: object) -> float:
    """Read a number of vCPUs, as Kubernetes writes it too."""
    text = str(value).strip()
    try:
        cpus = float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        cpus = math.nan
    if isinstance(value, bool) or not 0 < cpus < math.inf:
        raise ValueError("a number of vCPUs above 0, such as 0.5 or 500m")
    return cpus


def gibibytes(value: object) -> float:
    """Read a quantity of memory as Kubernetes writes it; a plain number is bytes, as the Downward API gives it."""
    match = _MEMORY.fullmatch(str(value).strip())
    size = 0.0 if match is None or isinstance(value, bool) else float(match[1]) * _BYTES_PER[match[2]]
    if not 0 < size < math.inf:
        raise ValueError("an amount of memory, such as 512Mi, 2Gi or a number of bytes")
    return size / 2**30


def texts(value: object) -> tuple[str, ...]:
    """Read a list of texts, or one text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value)):
        return tuple(cast("list[str]", value))
    raise ValueError("a list of texts")


def labels(value: object) -> tuple[str, ...]:
    """Read which attribution labels are kept."""
    labels = texts(value)
    for label in labels:
        if label not in names.ATTRIBUTION_LABELS:
            raise ValueError(f"{label!r} is no label: {suggest(label, names.ATTRIBUTION_LABELS)}")
    return tuple(label for label in names.ATTRIBUTION_LABELS if label in labels)


def assumptions(value: object) -> frozenset[str]:
    """Read what `spancost run` may assume."""
    chosen = frozenset(texts(value))
    if not chosen <= {"compute", "region"}:
        raise ValueError("a comma-separated subset of compute, region")
    return chosen


def scalar(value: object, accepted: str) -> str:
    """Return text; a number or a yes, as YAML reads 4711 and true, is what it was written as."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = str(value).strip() if isinstance(value, (str, int, float)) else ""
    except ValueError:  # a whole number of thousands of digits
        text = ""
    if not text:
        raise ValueError(accepted)
    return text


def glob(value: object) -> str:
    """Read a glob."""
    text = scalar(value, "a glob such as '/cart/*'")
    if len(text) > _MAX_GLOB:
        raise ValueError(f"a glob of at most {_MAX_GLOB} characters")
    return text


def mapping(value: object, accepted: str) -> Mapping[str, object]:
    """Return a mapping by the texts of its keys."""
    if not isinstance(value, dict):
        raise ValueError(accepted)  # noqa: TRY004
    return {str(key): item for key, item in cast("dict[object, object]", value).items()}


def within(part: str, parser: Callable[[object], _T], value: object) -> _T:
    """Parse a part of a setting; a mistake in it says where it is."""
    try:
        return parser(value)
    except PartError as error:
        raise PartError(part + error.part, error.value, str(error)) from None
    except ValueError as error:
        raise PartError(part, value, str(error)) from None

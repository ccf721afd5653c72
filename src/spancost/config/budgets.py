"""Read the section `budgets:` of `spancost.yaml`: rules, channels that are told, and the store of sums.

Each function raises `ValueError(what is accepted)`, as those of `spancost.config.values` do; where a part of the
setting is wrong it is a `PartError` that names it. Here texts become values; whether these make sense is asked of
`spancost.budgets.validation`, which the rules made in Python pass, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final, cast

from spancost import names
from spancost.budgets.rules import (
    ASSUME_USD,
    BLOCK,
    DIMENSIONS,
    FORECAST_METHODS,
    LINEAR,
    SEASONAL,
    SEVERITIES,
    SPIKE_METHODS,
    WARN,
    AnyRule,
    BudgetRule,
    BurnRate,
    BurnRateRule,
    Channel,
    ForecastRule,
    Match,
    RequestRule,
    SpikeRule,
)
from spancost.budgets.tracks import SEASON_S
from spancost.budgets.validation import MAX_CHANNELS, MAX_RULES, validate_name, validate_rules
from spancost.budgets.windows import CALENDAR, ROLLING, TOTAL, UTC_NAME, Window
from spancost.config import values
from spancost.config.values import glob, mapping, scalar, within
from spancost.errors import PartError, suggest

Parser = Callable[[object], Any]
Keys = Mapping[str, tuple[str, Parser]]
"""Key of the file: field of the rule, and who reads it."""

ENFORCED: Final = (names.LLM, names.AWS)
"""Whose calls can be guarded without a change of the application."""
_THROTTLE_DELAY_S: Final = 1.0
SEASONAL_OVER_S: Final = 28 * 86_400.0
"""What a seasonal forecast is taken from unless `over` is given, seconds."""

_RULE: Final = (
    "a rule with name and one of budget, spike, burn_rate, forecast, max_request_usd, such as "
    "{name: llm, budget: {limit_usd: 500, window: month}}"
)
_AMOUNT: Final = re.compile(r"\$?\s*(\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_LONGEST_NUMBER: Final = 40
"""Characters."""
_STORES: Final = ("auto", "memory")
_STORE: Final = re.compile(r"(?:sqlite|redis-env|redis-file):\S.*|rediss?://\S+|unix:///\S+")
_SECRET: Final = re.compile(r"(?<=://)[^/\s]*@")
_FIELD: Final = re.compile(r"(\[\d+\])(?:\.(\w+))?(.*)", re.DOTALL)


def usd(value: object) -> float:
    """Read an amount of USD, such as `500`, `$500` or `0.25`."""
    number = _number(value, _AMOUNT)
    if number is None:
        raise ValueError("an amount of USD, such as 500, $500 or 0.25")
    return number


def part(value: object) -> float:
    """Read a part, such as `80%` or `0.8`."""
    text = str(value).strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.endswith("%"):
        number = _number(text[:-1].rstrip(), _PLAIN)
        number = None if number is None else number / 100
    else:
        number = _number(text, _PLAIN)
    if number is None:
        raise ValueError("a part, such as 80% or 0.8")
    return number


def number(value: object) -> float:
    """Read a number, such as `14.4`."""
    found = _number(value, _PLAIN)
    if found is None:
        raise ValueError("a number, such as 14.4")
    return found


def window(value: object) -> tuple[str, int]:
    """Read `minute`, `hour`, `day`, `week`, `month`, `total` or `rolling DURATION`."""
    accepted = f"one of {', '.join(CALENDAR)}, {TOTAL}, or rolling and a duration, such as rolling 24h"
    if not isinstance(value, str):
        raise ValueError(accepted)  # noqa: TRY004
    kind, _, length = value.strip().partition(" ")
    if kind in (*CALENDAR, TOTAL) and not length:
        return kind, 0
    if kind != ROLLING or not length.strip():
        raise ValueError(accepted)
    seconds = values.parse_seconds(length)
    if seconds % 60:
        raise ValueError("a rolling window of whole minutes, such as rolling 90m")
    return ROLLING, int(seconds)


def thresholds(value: object) -> tuple[float, ...]:
    """Read a list of rising parts of the limit, such as `[50%, 80%]`; 100 % is always among them."""
    if not isinstance(value, list) or not value:
        raise ValueError("a list of rising parts of the limit, such as [50%, 80%, 100%]")
    given = [within(f"[{index}]", part, item) for index, item in enumerate(cast("list[object]", value))]
    for index, (before, after) in enumerate(pairwise(given), start=1):
        if after <= before:
            raise PartError(f"[{index}]", cast("list[object]", value)[index], "a part above the one before it")
    return tuple(given) if 1.0 in given else tuple(sorted([*given, 1.0]))


def throttle(value: object) -> tuple[float, float]:
    """Read from which part of the limit guards delay calls, and for how long at most: `{from: 90%, delay: 2s}`."""
    accepted = "from which part of the limit guards delay calls, and how long, such as {from: 90%, delay: 2s}"
    given = mapping(value, accepted)
    _check_keys(given, ("from", "delay"))
    if "from" not in given:
        raise ValueError(accepted)
    delay_s = within(".delay", values.positive_seconds, given["delay"]) if "delay" in given else _THROTTLE_DELAY_S
    return within(".from", part, given["from"]), delay_s


def on_unpriced(value: object) -> tuple[str, float]:
    """Read `warn`, `block` or `{assume_usd: 0.01}`."""
    if isinstance(value, str) and value in (WARN, BLOCK):
        return value, 0.0
    given = mapping(value, f"{WARN}, {BLOCK}, or what such a call is taken to cost, such as {{assume_usd: 0.01}}")
    _check_keys(given, (ASSUME_USD,))
    if ASSUME_USD not in given:
        raise ValueError("an amount, such as {assume_usd: 0.01}")
    return ASSUME_USD, within(f".{ASSUME_USD}", usd, given[ASSUME_USD])


def match(value: object) -> Match:
    """Read globs by dimension, such as `{component: llm, tenant: [acme, "b*"]}`."""
    given = mapping(value, "globs by dimension, such as {component: llm, tenant: [acme, 'b*']}")
    _check_keys(given, DIMENSIONS)
    return Match(**{name: within(f".{name}", _globs, item) for name, item in given.items()})


def per(value: object) -> tuple[str, ...]:
    """Read one dimension or a list of them: one state for each combination of their values."""
    given = cast("list[object]", value) if isinstance(value, list) else [value]
    for name in given:
        if not isinstance(name, str) or name not in DIMENSIONS:
            raise ValueError(f"a dimension or a list of them: {suggest(str(name), DIMENSIONS)}")
    return tuple(cast("list[str]", given))


def labels(value: object) -> tuple[tuple[str, str], ...]:
    """Read labels of alerts, such as `{cost_center: "4711"}`."""
    accepted = "names of labels with a value each, such as {cost_center: '4711'}"
    given = mapping(value, accepted)
    return tuple((name, within(f".{name}", lambda item: scalar(item, "text"), given[name])) for name in sorted(given))


def pairs(value: object) -> tuple[BurnRate, ...]:
    """Read a list of windows, such as `[{long: 1h, short: 5m, factor: 14.4, severity: critical}]`."""
    if not isinstance(value, list) or not value:
        raise ValueError("a list, such as [{long: 1h, short: 5m, factor: 14.4, severity: critical}]")
    return tuple(within(f"[{index}]", _pair, item) for index, item in enumerate(cast("list[object]", value)))


def _choice(choices: tuple[str, ...]) -> Parser:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    read.__doc__ = f"Read {', '.join(f'`{choice}`' for choice in choices[:-1])} or `{choices[-1]}`."
    return read


COMMON_KEYS: Final[Keys] = {
    "name": ("name", values.text),
    "match": ("match", match),
    "per": ("per", per),
    "max_keys": ("max_keys", values.count),
    "severity": ("severity", _choice(SEVERITIES)),
    "owner": ("owner", values.text),
    "labels": ("labels", labels),
    "notify": ("notify", values.texts),
    "on_unpriced": ("on_unpriced", on_unpriced),
    "include_idle": ("include_idle", values.boolean),
    "cooldown": ("cooldown_s", values.parse_seconds),
    "hysteresis": ("hysteresis", part),
    "runbook": ("runbook", values.text),
}
KIND_KEYS: Final[Mapping[str, Keys]] = {
    "budget": {
        "limit_usd": ("limit_usd", usd),
        "window": ("window", window),
        "time_zone": ("time_zone", values.text),
        "thresholds": ("thresholds", thresholds),
        "when_unavailable": ("when_unavailable", _choice(("open", "closed"))),
        "throttle": ("throttle_from", throttle),
    },
    "spike": {
        "bucket": ("bucket_s", values.positive_seconds),
        "method": ("method", _choice(SPIKE_METHODS)),
        "history": ("history", values.count),
        "multiplier": ("multiplier", number),
        "z": ("z", number),
        "min_mad_usd": ("min_mad_usd", usd),
        "percentile": ("percentile", part),
        "season": ("season", _choice(tuple(SEASON_S))),
        "min_baseline_usd": ("min_baseline_usd", usd),
        "min_usd": ("min_usd", usd),
        "warm_up": ("warm_up", values.count_from_zero),
    },
    "burn_rate": {
        "budget": ("budget", values.text),
        "pairs": ("pairs", pairs),
        "min_usd_per_hour": ("min_usd_per_hour", usd),
    },
    "forecast": {
        "budget": ("budget", values.text),
        "method": ("method", _choice(FORECAST_METHODS)),
        "over": ("over_s", values.positive_seconds),
        "confidence": ("confidence", part),
    },
}
_BESIDE: Final = ("thresholds", "when_unavailable", "throttle")
"""Keys of a budget that may as well stand beside its section."""
_REQUEST: Final = "max_request_usd"
_KINDS: Final = (*KIND_KEYS, _REQUEST)
_CLASSES: Final[Mapping[str, Callable[..., AnyRule]]] = {
    "budget": BudgetRule,
    "spike": SpikeRule,
    "burn_rate": BurnRateRule,
    "forecast": ForecastRule,
}
_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "budget": ("limit_usd", "window"),
    "burn_rate": ("budget",),
    "forecast": ("budget",),
}
_INNER_KEYS: Final = {
    ("window", ".time_zone"): "time_zone",
    ("window", ".length_s"): "window",
    ("throttle_from", ""): "throttle.from",
    ("throttle_delay_s", ""): "throttle.delay",
    ("assume_usd", ""): "on_unpriced.assume_usd",
}
"""Fields, and parts of them, that stand under another key than that of the field."""


def rules(value: object) -> tuple[AnyRule, ...]:
    """Read the list of rules."""
    if not isinstance(value, list):
        raise ValueError(f"a list of rules; each is {_RULE}")  # noqa: TRY004
    entries = cast("list[object]", value)
    if len(entries) > MAX_RULES:
        raise PartError("", f"{len(entries)} rules", f"at most {MAX_RULES} rules")
    found = tuple(within(f"[{index}]", _rule, entry) for index, entry in enumerate(entries))
    try:
        validate_rules(found)
    except PartError as error:
        raise PartError(_part_in_file(entries, found, error.part), error.value, str(error)) from None
    return found


def channels(value: object) -> tuple[Channel, ...]:
    """Read channels by name, such as `{ops: {type: slack, url_env: SLACK_WEBHOOK_URL}}`."""
    given = mapping(value, "channels by name, such as {ops: {type: slack, url_env: SLACK_WEBHOOK_URL}}")
    if len(given) > MAX_CHANNELS:
        raise PartError("", f"{len(given)} channels", f"at most {MAX_CHANNELS} channels")
    return tuple(_channel(name, settings) for name, settings in given.items())


def store(value: object) -> str:
    """Read `auto`, `memory`, `sqlite:PATH`, a URL of a Redis server, `redis-env:NAME` or `redis-file:PATH`."""
    text = value.strip() if isinstance(value, str) else ""
    hidden = _SECRET.sub("***@", text)
    if hidden != text:
        accepted = "a URL without a password: redis-env:NAME and redis-file:PATH say where one with it stands"
        raise PartError("", hidden, accepted)
    if text not in _STORES and not _STORE.fullmatch(text):
        raise ValueError(
            "one of auto, memory, sqlite:PATH, redis://HOST:PORT/DB, unix:///SOCKET (a Redis server on this machine), "
            "redis-env:NAME (a variable with the URL), redis-file:PATH (a file with it)"
        )
    return text


def enforce(value: object) -> tuple[str, ...]:
    """Read a list of `llm` and `aws`, or `off`."""
    accepted = f"a list of {', '.join(ENFORCED)}, or off"
    if value is False or (isinstance(value, str) and value.strip().lower() == "off"):
        return ()
    try:
        given = [part.strip() for part in values.texts(value)]
    except ValueError:
        raise ValueError(accepted) from None
    for index, name in enumerate(given):
        if name not in ENFORCED:
            raise PartError(f"[{index}]" if isinstance(value, list) else "", name, accepted)
    return tuple(name for name in ENFORCED if name in given)


def _part_in_file(entries: list[object], read: tuple[AnyRule, ...], where: str) -> str:
    """Return how the file calls a part of the rules that has a name in Python: `[0].budget.limit_usd`."""
    found = _FIELD.fullmatch(where)
    if found is None or found[2] is None:
        return where
    place, field, rest = found.groups()
    number = int(place[1:-1])
    kind = read[number].kind
    given = cast("dict[str, object]", entries[number])
    keys = KIND_KEYS.get(kind, {})
    own = {known: key for key, (known, _) in keys.items()}
    key = _INNER_KEYS.get((field, rest), "")
    if not key and field in own:
        key = own[field] + rest.removesuffix("_s")
    if key:
        is_outer = re.split(r"[.\[]", key)[0] in (given if kind == "budget" else COMMON_KEYS)
        return f"{place}.{key}" if is_outer else f"{place}.{kind}.{key}"
    common = {known: key for key, (known, _) in COMMON_KEYS.items()}
    return f"{place}.{common.get(field, field)}{rest}"


def _rule(value: object) -> AnyRule:
    given = mapping(value, _RULE)
    _check_keys(given, (*COMMON_KEYS, *_KINDS, *_BESIDE))
    if "name" not in given:
        raise ValueError(_RULE)
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1:
        raise ValueError(f"one of {', '.join(_KINDS)}" + (f", not {' and '.join(kinds)}" if kinds else ""))
    (kind,) = kinds
    for key in _BESIDE:
        inner = given[kind]
        if key in given and (kind != "budget" or (isinstance(inner, dict) and key in inner)):
            raise PartError(f".{key}", given[key], "this key once, and only of a budget")
    read = _read(given, COMMON_KEYS)
    if "on_unpriced" in read:
        read["on_unpriced"], read["assume_usd"] = read["on_unpriced"]
    if kind == _REQUEST:
        return RequestRule(**read, max_request_usd=within(f".{_REQUEST}", usd, given[_REQUEST]))
    own = within(f".{kind}", lambda item: _of_kind(kind, item), given[kind])
    if kind == "budget":
        own.update(_read(given, {key: KIND_KEYS[kind][key] for key in _BESIDE}))
        if "throttle_from" in own:
            own["throttle_from"], own["throttle_delay_s"] = own["throttle_from"]
    return _CLASSES[kind](**read, **own)


def _of_kind(kind: str, value: object) -> dict[str, Any]:
    keys = KIND_KEYS[kind]
    if value is None and kind not in _REQUIRED:
        return {}  # `spike:` alone takes the defaults
    given = mapping(value, f"a section with {', '.join(keys)}")
    _check_keys(given, tuple(keys))
    for key in _REQUIRED.get(kind, ()):
        if key not in given:
            raise ValueError(f"a section with at least {' and '.join(_REQUIRED[kind])}")
    read = _read(given, keys)
    if kind == "budget":
        name, length_s = read["window"]
        read["window"] = Window(name, length_s, read.pop("time_zone", UTC_NAME))
    elif kind == "forecast" and read.get("method", LINEAR) == SEASONAL:
        read.setdefault("over_s", SEASONAL_OVER_S)
    return read


def _read(given: Mapping[str, object], keys: Keys) -> dict[str, Any]:
    return {field: within(f".{key}", parser, given[key]) for key, (field, parser) in keys.items() if key in given}


def _pair(value: object) -> BurnRate:
    accepted = "windows and a factor, such as {long: 1h, short: 5m, factor: 14.4, severity: critical}"
    given = mapping(value, accepted)
    _check_keys(given, ("long", "short", "factor", "severity"))
    if not {"long", "short", "factor"} <= given.keys():
        raise ValueError(accepted)
    return BurnRate(
        long_s=within(".long", values.positive_seconds, given["long"]),
        short_s=within(".short", values.positive_seconds, given["short"]),
        factor=within(".factor", number, given["factor"]),
        severity=within(".severity", _choice(SEVERITIES), given["severity"]) if "severity" in given else SEVERITIES[-1],
    )


def _channel(name: str, settings: object) -> Channel:
    from spancost.budgets.notify.channels import read_channel

    validate_name(f".{name}", name)
    accepted = "a channel with its type, such as {type: slack, url_env: SLACK_WEBHOOK_URL}"
    return within(f".{name}", lambda item: read_channel(name, mapping(item, accepted)), settings)


def _globs(value: object) -> tuple[str, ...]:
    if isinstance(value, list) and value:
        return tuple(within(f"[{index}]", glob, item) for index, item in enumerate(cast("list[object]", value)))
    if isinstance(value, (list, dict)):
        raise ValueError("a glob or a list of them, such as [acme, 'b*']")  # noqa: TRY004
    return (glob(value),)


def _check_keys(given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key, item in given.items():
        if key not in known:
            raise PartError(f".{key}", item, "unknown key: " + suggest(key, known, limit=len(known)))


def _number(value: object, pattern: re.Pattern[str]) -> float | None:
    """Return a finite number from 0, of a number or of text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST_NUMBER or not pattern.fullmatch(text):
            return None
        found = float(text.removeprefix("$"))
    else:
        found = float(value) if abs(value) < 10**_LONGEST_NUMBER else math.inf
    return found if 0 <= found < math.inf else None

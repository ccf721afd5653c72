"""Whether budget rules make sense, one by one and together; the same for those of the file and those made in Python.

Each mistake is a `PartError` that names the field by its name in Python (`[2].limit_usd`), its value and what is
accepted. Money beyond `MAX_USD` and windows beyond `LONGEST_S` are refused, so that no later sum is infinite.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

from spancost.budgets.rules import (
    ASSUME_USD,
    CLOSED,
    DIMENSIONS,
    EVERYTHING,
    FORECAST_METHODS,
    MAX_CONFIDENCE,
    ON_UNPRICED,
    OPEN,
    PERCENTILE,
    REQUEST_DIMENSIONS,
    ROBUST,
    SEASONAL,
    SEVERITIES,
    SPIKE_METHODS,
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
from spancost.budgets.windows import CALENDAR, KINDS, ROLLING, TOTAL, UTC_NAME, Window
from spancost.errors import PartError, suggest

MAX_RULES: Final = 200
MAX_CHANNELS: Final = 50
MAX_NAME: Final = 60
MAX_USD: Final = 1e12
MIN_LIMIT_USD: Final = 1e-9
MAX_THRESHOLD: Final = 10.0
LONGEST_S: Final = 400 * 86_400

RESERVED_LABELS: Final = ("alertname", "severity", "owner", "budget", "key", "service", "state", "threshold")
"""Labels that alerts have anyway."""
_MAX_GLOBS: Final = 100
_MAX_GLOB: Final = 200
_MAX_TEXT: Final = 200
_MAX_URL: Final = 2000
_MAX_LABELS: Final = 20
_MAX_THRESHOLDS: Final = 20
_MAX_PAIRS: Final = 10
_MAX_HISTORY: Final = 500
_MAX_KEYS: Final = 100_000
_MAX_DELAY_S: Final = 3600.0
_NAME: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME}}}")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_URL: Final = re.compile(r"https?://[^\s/]\S*")
_A_NAME: Final = f"a name of at most {MAX_NAME} letters, digits and any of _.-"
_MINUTE_S: Final = 60


def validate_rules(rules: Sequence[AnyRule]) -> None:
    """Check rules, each alone and all together.

    Args:
        rules: Rules of one configuration.

    Raises:
        PartError: A rule is wrong; the error names it by its place, as in `[2].limit_usd`.
    """
    if not isinstance(rules, (tuple, list)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PartError("", rules, "a tuple of rules, such as (BudgetRule(...),)")
    if len(rules) > MAX_RULES:
        raise PartError("", f"{len(rules)} rules", f"at most {MAX_RULES} rules")
    places: dict[str, int] = {}
    for number, rule in enumerate(rules):
        try:
            _validate_rule(rule)
        except PartError as error:
            raise PartError(f"[{number}]{error.part}", error.value, str(error)) from None
        if rule.name in places:
            accepted = f"a name of its own; [{places[rule.name]}] has this one already"
            raise PartError(f"[{number}].name", rule.name, accepted)
        places[rule.name] = number
    budgets = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
    for number, rule in enumerate(rules):
        if isinstance(rule, (BurnRateRule, ForecastRule)):
            _check_budget_of(f"[{number}]", rule, budgets)


def validate_channels(channels: Sequence[Channel]) -> None:
    """Check names of channels: right, and each once.

    Raises:
        PartError: A channel is wrong; the error names it by its place.
    """
    if not isinstance(channels, (tuple, list)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PartError("", channels, "a tuple of channels, such as (Channel(name='ops', type='log'),)")
    if len(channels) > MAX_CHANNELS:
        raise PartError("", f"{len(channels)} channels", f"at most {MAX_CHANNELS} channels")
    seen: set[str] = set()
    for number, channel in enumerate(channels):
        if not isinstance(channel, Channel):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PartError(f"[{number}]", channel, "a Channel")
        validate_name(f"[{number}].name", channel.name)
        if channel.name in seen:
            raise PartError(f"[{number}].name", channel.name, "a name of its own; an earlier channel has this one")
        seen.add(channel.name)


def validate_notify(rules: Sequence[AnyRule], channels: Sequence[Channel]) -> None:
    """Check that the channels which rules name are there.

    Raises:
        PartError: A rule names another one; the error says which rule by its place.
    """
    known = [channel.name for channel in channels]
    for number, rule in enumerate(rules):
        for index, name in enumerate(rule.notify):
            if name not in known:
                accepted = f"the name of a channel: {suggest(name, known)}" if known else "no name: there is no channel"
                raise PartError(f"[{number}].notify[{index}]", name, accepted)


def validate_name(part: str, name: object) -> None:
    """Check the name of a rule or channel.

    Raises:
        PartError: It is empty, too long, or has characters that do not belong.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PartError(part, name, _A_NAME)


def _validate_rule(rule: object) -> None:
    if not isinstance(rule, (BudgetRule, SpikeRule, BurnRateRule, ForecastRule, RequestRule)):
        raise PartError("", rule, "a BudgetRule, SpikeRule, BurnRateRule, ForecastRule or RequestRule")
    _check_common(rule)
    if isinstance(rule, BudgetRule):
        _check_budget(rule)
    elif isinstance(rule, SpikeRule):
        _check_spike(rule)
    elif isinstance(rule, BurnRateRule):
        _check_burn_rate(rule)
    elif isinstance(rule, ForecastRule):
        _check_forecast(rule)
    else:
        _limit(".max_request_usd", rule.max_request_usd)


def _check_common(rule: AnyRule) -> None:
    validate_name(".name", rule.name)
    is_request = isinstance(rule, RequestRule)
    _check_match(rule.match, is_request=is_request)
    _check_dimensions(rule.per, is_request=is_request)
    _whole(".max_keys", rule.max_keys, 1, _MAX_KEYS)
    _one_of(".severity", rule.severity, SEVERITIES)
    _text(".owner", rule.owner)
    _check_labels(rule.labels)
    _texts(".notify", rule.notify)
    _one_of(".on_unpriced", rule.on_unpriced, ON_UNPRICED)
    if rule.on_unpriced == ASSUME_USD:
        _limit(".assume_usd", rule.assume_usd)
    else:
        _usd(".assume_usd", rule.assume_usd)
    _yes_or_no(".include_idle", rule.include_idle)
    _number(".cooldown_s", rule.cooldown_s, 0, LONGEST_S, "seconds from 0 to 400 days")
    hysteresis = _number(".hysteresis", rule.hysteresis, 0, 1, "a part from 0 to below 1, such as 5% or 0.05")
    if hysteresis >= 1:
        raise PartError(".hysteresis", rule.hysteresis, "a part from 0 to below 1, such as 5% or 0.05")
    if rule.runbook != "" and (
        not isinstance(rule.runbook, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        or len(rule.runbook) > _MAX_URL
        or not _URL.fullmatch(rule.runbook)
    ):
        raise PartError(".runbook", rule.runbook, "a URL that begins with http:// or https://")


def _check_match(match: object, *, is_request: bool) -> None:
    if not isinstance(match, Match):
        raise PartError(".match", match, "a Match, such as Match(component=('llm',))")
    for name in DIMENSIONS:
        accepted = f"a tuple of at most {_MAX_GLOBS} globs of 1 to {_MAX_GLOB} characters, such as ('acme', 'b*')"
        globs = _tuple(f".match.{name}", getattr(match, name), accepted)
        if len(globs) > _MAX_GLOBS:
            raise PartError(f".match.{name}", f"{len(globs)} globs", accepted)
        for index, glob in enumerate(globs):
            if not isinstance(glob, str) or not 0 < len(glob) <= _MAX_GLOB:
                raise PartError(f".match.{name}[{index}]", glob, accepted)
        if globs and is_request and name not in REQUEST_DIMENSIONS:
            raise PartError(f".match.{name}", globs, _of_requests())


def _check_dimensions(per: object, *, is_request: bool) -> None:
    given = _tuple(".per", per, "a tuple of dimensions, such as ('tenant',)")
    for index, name in enumerate(given):
        if not isinstance(name, str) or name not in DIMENSIONS:
            raise PartError(f".per[{index}]", name, suggest(str(name), DIMENSIONS))
        if is_request and name not in REQUEST_DIMENSIONS:
            raise PartError(f".per[{index}]", name, _of_requests())
    if len(set(given)) < len(given):
        raise PartError(".per", given, "each dimension once")


def _of_requests() -> str:
    return f"a dimension that a whole request has: one of {', '.join(REQUEST_DIMENSIONS)}"


def _check_labels(labels: object) -> None:
    accepted = "a tuple of pairs of texts, such as (('cost_center', '4711'),)"
    pairs = _tuple(".labels", labels, accepted)
    if len(pairs) > _MAX_LABELS:
        raise PartError(".labels", f"{len(pairs)} labels", f"at most {_MAX_LABELS} labels")
    seen: set[str] = set()
    for pair in pairs:
        both = _tuple(".labels", pair, accepted)
        if len(both) != 2:
            raise PartError(".labels", both, accepted)
        name, value = both
        part = f".labels.{name}"
        if not isinstance(name, str) or len(name) > MAX_NAME or not _LABEL.fullmatch(name):
            accepted = f"a name of at most {MAX_NAME} letters, digits and _, as Prometheus takes it"
            raise PartError(part, name, accepted + "; it begins with a letter or one _")
        if name in RESERVED_LABELS:
            raise PartError(part, name, f"another name: alerts have {', '.join(RESERVED_LABELS)} of their own")
        if name in seen:
            raise PartError(part, name, "each label once")
        seen.add(name)
        _text(part, value)


def _check_budget(rule: BudgetRule) -> None:
    _limit(".limit_usd", rule.limit_usd)
    _check_window(rule.window)
    _check_thresholds(rule.thresholds)
    _one_of(".when_unavailable", rule.when_unavailable, (OPEN, CLOSED))
    if rule.throttle_from is not None:
        accepted = "a part of the limit above 0 and below 1, such as 90% or 0.9"
        if not 0 < _number(".throttle_from", rule.throttle_from, 0, 1, accepted) < 1:
            raise PartError(".throttle_from", rule.throttle_from, accepted)
    accepted = "a delay above 0 and of at most an hour, such as 2s"
    if not _number(".throttle_delay_s", rule.throttle_delay_s, 0, _MAX_DELAY_S, accepted) > 0:
        raise PartError(".throttle_delay_s", rule.throttle_delay_s, accepted)


def _check_window(window: object) -> None:
    if not isinstance(window, Window):
        raise PartError(".window", window, "a Window, such as Window('month', time_zone='Europe/Berlin')")
    if window.kind not in KINDS:
        raise PartError(".window.kind", window.kind, suggest(str(window.kind), KINDS))
    if window.kind == ROLLING:
        _minutes(".window.length_s", window.length_s, LONGEST_S)
    elif window.length_s:
        raise PartError(".window.length_s", window.length_s, f"0: only a {ROLLING} window has a length of its own")
    _check_time_zone(window.time_zone)
    if window.kind not in CALENDAR and window.time_zone != UTC_NAME:
        accepted = f"no time zone: a {window.kind} window does not begin at midnight"
        raise PartError(".window.time_zone", window.time_zone, accepted)


def _check_time_zone(name: object) -> None:
    if name == UTC_NAME:
        return
    import zoneinfo

    if isinstance(name, str):
        try:
            zoneinfo.ZoneInfo(name)
        except (LookupError, ValueError, OSError):
            pass
        else:
            return
    known = zoneinfo.available_timezones()
    if not known:
        raise PartError(".window.time_zone", name, "UTC: this machine has no time zones; pip install tzdata adds them")
    accepted = "an IANA time zone, such as Europe/Berlin: " + suggest(str(name), known, limit=5)
    raise PartError(".window.time_zone", name, accepted)


def _check_thresholds(thresholds: object) -> None:
    accepted = "a tuple of rising parts of the limit, 1.0 among them, such as (0.5, 0.8, 1.0)"
    parts = _tuple(".thresholds", thresholds, accepted)
    if not 0 < len(parts) <= _MAX_THRESHOLDS:
        raise PartError(".thresholds", parts, accepted)
    last = 0.0
    for index, item in enumerate(parts):
        part = f".thresholds[{index}]"
        given = _number(part, item, 0, MAX_THRESHOLD, "a part of the limit above 0 and at most 10, such as 80% or 0.8")
        if given <= last:
            raise PartError(part, item, "a part above 0 and above the one before it: thresholds rise")
        last = given
    if 1.0 not in parts:
        raise PartError(".thresholds", parts, accepted)


def _check_spike(rule: SpikeRule) -> None:
    _minutes(".bucket_s", rule.bucket_s, 30 * 86_400)
    _one_of(".method", rule.method, SPIKE_METHODS)
    _whole(".history", rule.history, 1, _MAX_HISTORY)
    _whole(".warm_up", rule.warm_up, 0, _MAX_HISTORY)
    if rule.warm_up > rule.history:
        raise PartError(".warm_up", rule.warm_up, f"at most the history: {rule.history}")
    accepted = "a number above 1 and at most 1000000"
    if not _number(".multiplier", rule.multiplier, 1, 1e6, accepted) > 1:
        raise PartError(".multiplier", rule.multiplier, accepted)
    accepted = "a number above 0 and at most 1000000"
    if not _number(".z", rule.z, 0, 1e6, accepted) > 0:
        raise PartError(".z", rule.z, accepted)
    _usd(".min_mad_usd", rule.min_mad_usd)
    accepted = "a part above 0 and at most 1, such as 95% or 0.95"
    if not _number(".percentile", rule.percentile, 0, 1, accepted) > 0:
        raise PartError(".percentile", rule.percentile, accepted)
    _one_of(".season", rule.season, SEASON_S)
    if rule.method == SEASONAL and SEASON_S[rule.season] % rule.bucket_s:
        accepted = f"a length of which a {rule.season} is a whole number of times, such as 1h"
        raise PartError(".bucket_s", rule.bucket_s, accepted)
    _usd(".min_baseline_usd", rule.min_baseline_usd)
    _usd(".min_usd", rule.min_usd)
    if rule.method == ROBUST and rule.history < 3:
        raise PartError(".history", rule.history, f"at least 3 for the method {ROBUST}")
    if rule.method == PERCENTILE and rule.history < 2:
        raise PartError(".history", rule.history, f"at least 2 for the method {PERCENTILE}")


def _check_burn_rate(rule: BurnRateRule) -> None:
    accepted = f"a tuple of 1 to {_MAX_PAIRS} BurnRate"
    pairs = _tuple(".pairs", rule.pairs, accepted)
    if not 0 < len(pairs) <= _MAX_PAIRS:
        raise PartError(".pairs", f"{len(pairs)} pairs", accepted)
    for index, pair in enumerate(pairs):
        part = f".pairs[{index}]"
        if not isinstance(pair, BurnRate):
            raise PartError(part, pair, accepted)
        _minutes(f"{part}.long_s", pair.long_s, LONGEST_S)
        _minutes(f"{part}.short_s", pair.short_s, LONGEST_S)
        if not pair.short_s < pair.long_s:
            raise PartError(f"{part}.short_s", pair.short_s, f"shorter than the long window of {pair.long_s:g} s")
        expected = "a number above 0 and at most 1000000, such as 14.4"
        if not _number(f"{part}.factor", pair.factor, 0, 1e6, expected) > 0:
            raise PartError(f"{part}.factor", pair.factor, expected)
        _one_of(f"{part}.severity", pair.severity, SEVERITIES)
    _usd(".min_usd_per_hour", rule.min_usd_per_hour)


def _check_forecast(rule: ForecastRule) -> None:
    _one_of(".method", rule.method, FORECAST_METHODS)
    _minutes(".over_s", rule.over_s, LONGEST_S)
    least = SEASON_S["week"] if rule.method == SEASONAL else 3600.0
    if rule.over_s < least:
        accepted = "at least a week, such as 28d, for the method seasonal" if rule.method == SEASONAL else "at least 1h"
        raise PartError(".over_s", rule.over_s, accepted)
    accepted = "a part above 0 and at most 99.9%, such as 90% or 0.9"
    if not _number(".confidence", rule.confidence, 0, MAX_CONFIDENCE, accepted) > 0:
        raise PartError(".confidence", rule.confidence, accepted)


def _check_budget_of(place: str, rule: BurnRateRule | ForecastRule, budgets: Mapping[str, BudgetRule]) -> None:
    """Check the budget that a rule is about: it is there, has an end, and the rule leaves its match to it."""
    part = f"{place}.budget"
    if not isinstance(rule.budget, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PartError(part, rule.budget, "the name of a budget rule")
    if rule.budget not in budgets:
        hint = suggest(rule.budget, budgets) if budgets else "there is none"
        raise PartError(part, rule.budget, f"the name of a budget rule: {hint}")
    window = budgets[rule.budget].window
    if window.kind == TOTAL or (window.kind == ROLLING and isinstance(rule, ForecastRule)):
        accepted = f"a budget whose window has an end: one of {', '.join(CALENDAR)}"
        if isinstance(rule, BurnRateRule):
            accepted += f", {ROLLING}"
        raise PartError(part, rule.budget, f"{accepted}; that of {rule.budget} is {window.kind}")
    if rule.match != EVERYTHING:
        raise PartError(f"{place}.match", rule.match.given(), f"none: that of the budget {rule.budget} is used")
    if rule.per:
        raise PartError(f"{place}.per", rule.per, f"none: that of the budget {rule.budget} is used")


def _number(part: str, value: object, least: float, most: float, accepted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise PartError(part, value, accepted)
    return float(value)


def _usd(part: str, value: object) -> None:
    _number(part, value, 0, MAX_USD, "an amount of USD from 0 to 1e12, such as 0.25")


def _limit(part: str, value: object) -> None:
    _number(part, value, MIN_LIMIT_USD, MAX_USD, "an amount of USD above zero (1e-9 to 1e12), such as 500 or 0.25")


def _minutes(part: str, value: object, most: float) -> None:
    accepted = f"whole minutes, from 1m to {most / 86_400:g}d"
    if _number(part, value, _MINUTE_S, most, accepted) % _MINUTE_S:
        raise PartError(part, value, accepted)


def _whole(part: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PartError(part, value, f"a whole number from {least} to {most}")


def _yes_or_no(part: str, value: object) -> None:
    if not isinstance(value, bool):
        raise PartError(part, value, "true or false")


def _one_of(part: str, value: object, choices: Collection[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise PartError(part, value, f"one of {', '.join(choices)}")


def _text(part: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or any(ord(letter) < 32 for letter in value):
        raise PartError(part, value, f"one line of text of at most {_MAX_TEXT} characters")


def _texts(part: str, value: object) -> None:
    names = _tuple(part, value, "a tuple of names")
    for index, name in enumerate(names):
        if not isinstance(name, str):
            raise PartError(f"{part}[{index}]", name, "a name")
    if len(set(names)) < len(names):
        raise PartError(part, names, "each name once")


def _tuple(part: str, value: object, accepted: str) -> tuple[object, ...]:
    if not isinstance(value, tuple):
        raise PartError(part, value, accepted)
    return cast("tuple[object, ...]", value)

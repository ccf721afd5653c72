"""What a budget file says: rules, whom they concern, and when they speak. Plain frozen values.

`spancost.budgets.validation` says whether they make sense: of those of the file, and of those made in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from spancost.budgets.windows import Window, duration_text

DIMENSIONS: Final = (
    "service",
    "environment",
    "route",
    "entrypoint",
    "component",
    "provider",
    "operation",
    "model",
    "feature",
    "tenant",
    "team",
)
"""What money can be matched and split by. `route` is `http.route`, `entrypoint` the name of any other work."""

WARN: Final = "warn"
BLOCK: Final = "block"
ASSUME_USD: Final = "assume_usd"
ON_UNPRICED: Final = (WARN, BLOCK, ASSUME_USD)
"""What a charge without a price does: is told, counts as a breach, or counts as so many USD."""

SEVERITIES: Final = ("info", "warning", "critical")

OPEN: Final = "open"
CLOSED: Final = "closed"
"""What a guard does when the store cannot answer in time: lets the call through (`open`), or refuses it (`closed`)."""

MEAN: Final = "mean"
ROBUST: Final = "robust"
PERCENTILE: Final = "percentile"
SEASONAL: Final = "seasonal"
SPIKE_METHODS: Final = (MEAN, ROBUST, PERCENTILE, SEASONAL)

LINEAR: Final = "linear"
FORECAST_METHODS: Final = (LINEAR, SEASONAL)
MAX_CONFIDENCE: Final = 0.999

DEFAULT_THRESHOLDS: Final = (0.5, 0.8, 1.0)
DEFAULT_MAX_KEYS: Final = 1000
OVERFLOW_KEY: Final = "other"
"""Key of a split rule for all values beyond `max_keys`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which charges a rule is about: for each dimension globs of which one must match; an empty one matches all."""

    service: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    component: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    operation: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    feature: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    team: tuple[str, ...] = ()

    def given(self) -> Mapping[str, tuple[str, ...]]:
        """Return the dimensions that are not empty, with their globs."""
        return {name: globs for name in DIMENSIONS if (globs := getattr(self, name))}


EVERYTHING: Final = Match()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all kinds of rules have."""

    kind: ClassVar[str] = ""

    name: str
    """Unique in a configuration: letters, digits and any of `_.-`. Processes with the same name share its sums."""
    match: Match = EVERYTHING
    per: tuple[str, ...] = ()
    """Dimensions by which it is split: one state for each combination of their values."""
    max_keys: int = DEFAULT_MAX_KEYS
    """Combinations kept; what is beyond goes to the key `other`."""
    severity: str = "warning"
    """Of the most serious thing it can say: one of `SEVERITIES`. Warnings before a breach are never above `warning`."""
    owner: str = ""
    """Who answers for the money; travels as a label."""
    labels: tuple[tuple[str, str], ...] = ()
    """Further labels of its alerts."""
    notify: tuple[str, ...] = ()
    """Names of the channels that are told; empty: all of them."""
    on_unpriced: str = WARN
    """One of `ON_UNPRICED`."""
    assume_usd: float = 0.0
    """USD that a charge without a price counts as, and that a guard reserves without a price, where that is wanted."""
    include_idle: bool = False
    """Also count the machine's time that no request used."""
    cooldown_s: float = 300.0
    """A rule that is below its threshold again is well after this long, seconds."""
    hysteresis: float = 0.05
    """Part of a threshold by which the value must fall below it before the rule recovers."""
    runbook: str = ""
    """URL for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRule(Rule):
    """At most so much money in a window of time."""

    kind: ClassVar[str] = "budget"

    limit_usd: float
    window: Window
    thresholds: tuple[float, ...] = DEFAULT_THRESHOLDS
    """Parts of the limit at which it speaks, rising; 1.0 is always among them."""
    when_unavailable: str = OPEN
    """What its guards do when the store cannot answer in time: `open` or `closed`."""
    throttle_from: float | None = None
    """Part of the limit from which guards delay calls; None: never."""
    throttle_delay_s: float = 1.0
    """The longest such delay, reached at the limit, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeRule(Rule):
    """The newest stretch of time costs much more than those before it."""

    kind: ClassVar[str] = "spike"

    bucket_s: float = 3600.0
    """Length of a stretch, seconds."""
    method: str = MEAN
    """One of `SPIKE_METHODS`."""
    history: int = 24
    """Stretches before the newest that make the baseline; of `seasonal`: seasons."""
    multiplier: float = 3.0
    """`mean`, `percentile` and `seasonal`: how many times the baseline is too much."""
    z: float = 6.0
    """`robust`: how many scaled deviations above the median are too much."""
    min_mad_usd: float = 0.0
    """`robust`: a floor for the median absolute deviation, USD; 5 % of the median is one anyway."""
    percentile: float = 0.95
    """`percentile`: which part of the history is the baseline, 0..1."""
    season: str = "day"
    """`seasonal`: `day` or `week`."""
    min_baseline_usd: float = 0.0
    """A baseline below this counts as this, USD."""
    min_usd: float = 0.01
    """Less than this in a stretch is never a spike, USD."""
    warm_up: int = 3
    """Stretches of the history that must have seen money before it speaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRate:
    """One pair of windows: both must burn the budget faster than `factor`."""

    long_s: float
    short_s: float
    factor: float
    severity: str = "critical"

    @property
    def name(self) -> str:
        """How the pair is called in labels: `1h/5m`."""
        return f"{duration_text(self.long_s)}/{duration_text(self.short_s)}"


DEFAULT_BURN_RATES: Final = (
    BurnRate(long_s=3600.0, short_s=300.0, factor=14.4, severity="critical"),
    BurnRate(long_s=6 * 3600.0, short_s=1800.0, factor=6.0, severity="critical"),
    BurnRate(long_s=86_400.0, short_s=7200.0, factor=3.0, severity="warning"),
    BurnRate(long_s=3 * 86_400.0, short_s=6 * 3600.0, factor=1.0, severity="warning"),
)
"""The pairs of the SRE workbook: fast burns page, slow ones make a ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnRateRule(Rule):
    """A budget is spent faster than it lasts: rate of spending over limit / window length."""

    kind: ClassVar[str] = "burn_rate"

    budget: str
    """Name of the budget rule: its match, split and limit are used."""
    pairs: tuple[BurnRate, ...] = DEFAULT_BURN_RATES
    min_usd_per_hour: float = 0.0
    """Slower spending than this never alarms, USD per hour: quiet tenants do not page at night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRule(Rule):
    """A budget will be gone before its window ends."""

    kind: ClassVar[str] = "forecast"

    budget: str
    """Name of the budget rule; its window must have an end."""
    method: str = LINEAR
    """`linear`: the rate of `over_s`; `seasonal`: the same hours of the week in the history."""
    over_s: float = 86_400.0
    """What the rate is taken from, seconds; of `seasonal`: 4 weeks."""
    confidence: float = 0.9
    """Of the interval that is told, above 0 and at most `MAX_CONFIDENCE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRule(Rule):
    """One request costs too much; told while it runs."""

    kind: ClassVar[str] = "request"

    max_request_usd: float
    """Matched by service, environment, route, entrypoint, feature, tenant and team."""


AnyRule: TypeAlias = "BudgetRule | SpikeRule | BurnRateRule | ForecastRule | RequestRule"

REQUEST_DIMENSIONS: Final = ("service", "environment", "route", "entrypoint", "feature", "tenant", "team")
"""Dimensions that a whole request has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way of telling people: `budgets.notify` of the configuration."""

    name: str
    type: str
    """`log`, `webhook`, `slack`, `pagerduty`, `alertmanager`, `email` or `callback`."""
    settings: tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    """What that type needs, sorted by name; secrets only as `..._env` and `..._file`."""

"""What people are told: one frozen value that every channel writes in its own form."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

FIRING: Final = "firing"
RESOLVED: Final = "resolved"
STATUSES: Final = (FIRING, RESOLVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """Who spent how much of it, as far as this process knows."""

    name: str
    """`POST /cart · openai/chat gpt-4o`: entrypoint and operation."""
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One transition of one key of a rule."""

    id: str
    """The same for every attempt to deliver it: a receiver can tell a repetition by it."""
    episode: str
    """The same for all alerts from the first warning to the end: receivers group by it."""
    status: str
    """`FIRING` or `RESOLVED`."""
    rule: str
    kind: str
    """`budget`, `spike`, `burn_rate`, `forecast` or `request`."""
    key: str = ""
    """Value by which the rule is split: `acme`; empty if it is not."""
    per: tuple[str, ...] = ()
    """The dimensions of the key."""
    previous_state: str = "ok"
    state: str
    """One of `store.STATES`."""
    severity: str = "warning"
    owner: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    threshold: float | None = None
    """The part of the limit that was reached: 0.8."""
    value: float
    """What the rule compares: of a budget USD spent, of a spike USD in the newest stretch, of a burn rate its factor,
    of a forecast USD at the end of the window, of a request its USD."""
    limit: float
    """What it is compared with, in the same unit."""
    spend_usd: float
    """Spent in the window."""
    limit_usd: float | None = None
    ratio: float | None = None
    """spend / limit."""
    window: str = ""
    """`month`, `rolling 24h`, for people."""
    window_start: float | None = None
    """Unix seconds."""
    window_end: float | None = None
    estimated_usd: float = 0.0
    """How much of the spend rests on an assumption."""
    unpriced: int = 0
    """Calls without a price in the window: the true spend is higher."""
    is_incomplete: bool = False
    contributors: tuple[Contributor, ...] = ()
    """Largest first, as this process has seen them."""
    costliest_trace_id: str = ""
    """32 hexadecimal digits; empty if no trace is known."""
    costliest_trace_usd: float | None = None
    forecast_at: float | None = None
    """When the budget will be gone, Unix seconds."""
    service: str = ""
    environment: str = ""
    scope: str = "process"
    """Whose money the store knows: `process`, `machine` or `fleet`."""
    at: float
    """When it was seen, Unix seconds."""
    summary: str
    """One sentence for people."""
    runbook: str = ""
    is_test: bool = False
    """Sent by `spancost budgets test --send`."""
    notify: tuple[str, ...] = ()
    """Names of the channels that are told; empty: all of them."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values that are valid JSON."""
        plain = asdict(self)
        plain["labels"] = dict(self.labels)
        return plain

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self.as_dict(), allow_nan=False, separators=(",", ":"))


_FIELDS: Final = frozenset(field.name for field in fields(Alert))


def alert_from_json(text: str) -> Alert:
    """Return the alert that `as_json` has written; names that a newer version has added are left out."""
    plain = {name: value for name, value in json.loads(text).items() if name in _FIELDS}
    plain["labels"] = tuple(sorted(plain.get("labels", {}).items()))
    plain["per"] = tuple(plain.get("per", ()))
    plain["notify"] = tuple(plain.get("notify", ()))
    plain["contributors"] = tuple(Contributor(**one) for one in plain.get("contributors", ()))
    return Alert(**plain)

"""What the ledger answers with. Amounts are USD, quantities are in the unit of their line, times are UTC."""

from __future__ import annotations

from typing import Any, NamedTuple


class LedgerRow(NamedTuple):
    """Sums of one combination of keys."""

    key: tuple[str, ...]
    """One value per key asked for, in that order; empty where it does not apply."""
    requests: int
    """Local roots that share the keys which requests have (service, route, tenant, ...), whatever the others."""
    charge_count: int
    """Charges."""
    quantity: float
    """Only meaningful where `unit` is among the keys."""
    direct_usd: float
    """Charged on the local roots' own spans."""
    usd: float
    """Everything: direct, below, late and unattributed."""
    list_usd: float
    """The same at list price."""
    component_usd: dict[str, float]
    """`usd` by component of `names.COMPONENTS`."""
    unpriced: dict[str, int]
    """Charges without a price by component; components that have none are left out."""


class Totals(NamedTuple):
    """Sums over everything asked for."""

    requests: int
    charge_count: int
    usd: float
    """Without idle compute."""
    list_usd: float
    """Without idle compute."""
    idle_usd: float
    late_usd: float
    unattributed_usd: float
    component_usd: dict[str, float]


class UnpricedRow(NamedTuple):
    """What has no price, and why."""

    component: str
    provider: str
    """The host, for third-party HTTP."""
    operation: str
    model: str
    unit: str
    reason: str
    charge_count: int
    quantity: float


class EstimatedRow(NamedTuple):
    """What is priced on an assumption."""

    component: str
    basis: str
    region: str
    sku: str
    source: str
    charge_count: int
    usd: float


class Quality(NamedTuple):
    """How far the figures can be relied on; idle compute is not in it."""

    spans: dict[str, dict[str, int]]
    """Component -> status -> charged spans."""
    estimated_usd: dict[str, float]
    """USD that rests on an assumption, by which bound it is (`spancost.bounds`)."""
    duplicates: dict[str, int]
    """Spans whose call is charged on another span, by reason."""
    late_usd: float
    unattributed_usd: float
    other_usd: float
    """Under routes and entrypoints that were folded into `other`."""
    sampled_only: bool
    """Some of it is from processes that saw sampled spans only."""
    health: dict[str, int]
    """What went wrong in spancost itself: evictions, additions to metrics that went to `other`, errors by place."""

    def of_status(self, status: str) -> int:
        """Return the spans of one status, of all components."""
        return sum(counts.get(status, 0) for counts in self.spans.values())


class IdleRow(NamedTuple):
    """Compute of a service that nobody used."""

    service: str
    seconds: float
    usd: float
    list_usd: float
    unpriced: int
    """Charges without a price; their `seconds` count all the same."""


class IdleSums(NamedTuple):
    """Compute that nobody used, of one combination of keys."""

    seconds: float
    usd: float
    list_usd: float
    unpriced: int
    """Charges without a price; their `seconds` count all the same."""


class StoredNode(NamedTuple):
    """One span of a kept trace."""

    span_id: str
    parent_span_id: str
    name: str
    start_ns: int
    duration_ns: int
    direct_usd: float
    total_usd: float
    charges: tuple[dict[str, Any], ...]
    """Per charge: the fields of its price line that are not empty, `quantity`, `usd`, `list_usd`, `rate_usd`."""


class StoredTrace(NamedTuple):
    """One local root kept whole."""

    trace_id: str
    service: str
    environment: str
    entrypoint: str
    feature: str
    tenant: str
    team: str
    minute: int
    total_usd: float
    sampled: bool
    """Kept as part of the random sample; False: as one of the costliest."""
    nodes: tuple[StoredNode, ...]
    left_out: int
    """Spans of a huge trace that were not kept; their money is in the totals of their parents."""


class TraceSummary(NamedTuple):
    """A kept trace without its spans."""

    trace_id: str
    minute: int
    """Of its newest local root."""
    total_usd: float
    """All its kept local roots together."""
    entrypoint: str
    """Of its costliest local root."""
    services: int
    sampled: bool
    """Kept as part of the random sample only."""


class ChargeRow(NamedTuple):
    """One row of money as the ledger keeps it, or the sum of several."""

    key: tuple[str, ...]
    """One value per key asked for."""
    labels: str
    """JSON object of the free labels; empty without any, and in sums."""
    begin_minute: int
    """Unix seconds // 60."""
    end_minute: int
    """The first minute behind the row; in sums, behind the beginning of the last one."""
    is_idle: bool
    """Compute that nobody used."""
    quantity: float
    """In sums only meaningful where `unit` is among the keys."""
    usd: float
    list_usd: float
    charge_count: int
    unpriced_count: int
    """Charges among them without a price."""

"""What has been charged since the last flush: the keys and sums that sinks receive.

The span path adds to one window under the engine's lock; a flush swaps the window for an empty one
and hands the full one to the sinks, which fold it into their own totals off the span path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from spancost.charge import Charge, PriceLine

MAX_FREE_LABELS: Final = 10
"""Free labels that one attribution keeps."""
MAX_LABEL_NAME: Final = 60
"""Characters of a free label's name."""
MAX_LABEL_VALUE: Final = 200
"""Characters of any label's value."""

_NOTHING: Final[Mapping[str, float]] = {}
_NO_COUNTS: Final[Mapping[str, int]] = {}

EVICTIONS: Final = "evictions"
"""Local roots settled before they ended."""
OTHER: Final = "series_other"
"""Additions to metrics that went to `other`."""
ERROR: Final = "error:"
"""Errors of ours, by the place behind the colon."""

ENTRY = "entry"
"""Charged on the local root's own span."""
INNER = "inner"
"""Charged on a span below the local root."""
LATE_ENTRY = "late_entry"
"""Belongs to the local root's own span, known only after it was exported (a streamed WSGI body)."""
LATE_INNER = "late_inner"
"""Charged on a span below a local root that was already exported."""
UNATTRIBUTED = "unattributed"
"""Usage without any span."""
IDLE = "idle"
"""Compute that nobody used: no request was open."""
POSITIONS = (ENTRY, INNER, LATE_ENTRY, LATE_INNER, UNATTRIBUTED, IDLE)


def label_text(value: object) -> str:
    """Return a label's value as text of bounded length; empty for None."""
    return "" if value is None else str(value)[:MAX_LABEL_VALUE]


def as_utf8(text: str) -> str:
    """Return text that can be written everywhere; a lone surrogate would break every scrape, export and transaction."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class EntryLabels(NamedTuple):
    """Labels of the local root: an HTTP route and method, or an entrypoint for any other work."""

    http_route: str = ""
    http_request_method: str = ""
    entrypoint: str = ""

    @property
    def shown(self) -> str:
        """Both kinds as one text: `POST /cart/<int:item>`, or the name of other work."""
        if self.http_route:
            return f"{self.http_request_method} {self.http_route}".lstrip()
        return self.entrypoint


class Attribution(NamedTuple):
    """Who made us spend it."""

    feature: str = ""
    tenant: str = ""
    team: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    """Free labels, made by `free_labels`: sorted by name, bounded."""


NOBODY: Final = Attribution()


def free_labels(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return free labels as an `Attribution` keeps them.

    The first value that a name has stands; empty ones are left out, and so is everything beyond ten labels.
    """
    kept: dict[str, str] = {}
    for name, value in pairs:
        if name and value:
            kept.setdefault(name[:MAX_LABEL_NAME], value[:MAX_LABEL_VALUE])
            if len(kept) == MAX_FREE_LABELS:
                break
    return tuple(sorted(kept.items()))


def filled(first: Attribution, second: Attribution) -> Attribution:
    """Return `first` with what it leaves empty taken from `second`, label by label."""
    if first == second or second == NOBODY:
        return first
    labels = first.labels
    if second.labels and labels != second.labels:
        labels = free_labels((*labels, *second.labels))
    return Attribution(
        first.feature or second.feature, first.tenant or second.tenant, first.team or second.team, labels
    )


class Origin(NamedTuple):
    """Where the spans come from: constant for a process."""

    service: str = ""
    """`service.name`"""
    environment: str = ""
    """`deployment.environment.name`"""
    cloud_account: str = ""
    """`cloud.account.id`"""
    namespace: str = ""
    """`k8s.namespace.name`, else `service.namespace`"""


class ChargeKey(NamedTuple):
    """Everything by which money can be split later."""

    minute: int
    """UTC minute of the span's end: Unix seconds // 60."""
    line: PriceLine
    labels: EntryLabels
    attribution: Attribution
    position: str
    """One of `POSITIONS`."""


class CostlyRequest(NamedTuple):
    """A request that goes on, with what it has cost so far."""

    labels: EntryLabels
    attribution: Attribution
    usd: float
    trace_id: int


class RequestKey(NamedTuple):
    """Local roots counted together (SERVER, CONSUMER and parentless ones of any kind)."""

    minute: int
    labels: EntryLabels
    attribution: Attribution
    outcome: str
    """`ok` or `error`."""
    served: bool
    """True for SERVER and CONSUMER local roots, which the request-cost histogram counts."""


class GuardedRule(NamedTuple):
    """A rule with whose budget a guard settles charges."""

    name: str
    key: str
    """Under which it has reserved and settles."""
    known: tuple[tuple[str, str], ...] | None = None
    """What was known of the call, by dimension, where that was not all that the rule looks at: whether the charges are
    the rule's, and whose, is seen when they are booked. None where all was known."""


class GuardedKey(NamedTuple):
    """Charges that a guard has settled with its budgets already."""

    minute: int
    line: PriceLine
    labels: EntryLabels
    attribution: Attribution
    rules: frozenset[GuardedRule]
    """Those of those budgets."""


class ChargeSum:
    """Sums of one `ChargeKey`."""

    __slots__ = ("count", "list_usd", "quantity", "usd")

    def __init__(self, quantity: float = 0.0, list_usd: float = 0.0, usd: float = 0.0, count: int = 0) -> None:
        self.quantity = quantity
        self.list_usd = list_usd
        self.usd = usd
        self.count = count

    def add(self, other: ChargeSum) -> None:
        """Add another sum to this one."""
        self.quantity += other.quantity
        self.list_usd += other.list_usd
        self.usd += other.usd
        self.count += other.count


class RequestSum:
    """Sums of one `RequestKey`."""

    __slots__ = ("buckets", "costliest_trace", "costliest_usd", "count", "total_usd")

    def __init__(self, bucket_count: int) -> None:
        self.count = 0
        self.total_usd = 0.0
        """Sum of the local roots' totals as exported, USD."""
        self.buckets = [0] * bucket_count
        """Requests per bucket of `names.REQUEST_COST_BUCKETS_USD`, not cumulative; the last is +Inf."""
        self.costliest_usd = 0.0
        """Total of the local root that has cost the most, USD."""
        self.costliest_trace = 0
        """Its trace id; 0 if none has cost anything."""

    def add(self, other: RequestSum) -> None:
        """Add another sum to this one."""
        self.count += other.count
        self.total_usd += other.total_usd
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]
        if other.costliest_usd > self.costliest_usd:
            self.costliest_usd, self.costliest_trace = other.costliest_usd, other.costliest_trace


class KeptNode(NamedTuple):
    """One span of a trace that is kept whole."""

    span_id: int
    parent_span_id: int
    """0 for a span without a parent."""
    name: str
    start_ns: int
    end_ns: int
    direct_usd: float
    total_usd: float
    charges: tuple[Charge, ...]


class KeptTrace(NamedTuple):
    """One local root with all of its spans, children before parents as they ended."""

    trace_id: int
    labels: EntryLabels
    attribution: Attribution
    total_usd: float
    end_ns: int
    nodes: tuple[KeptNode, ...]


_NO_GUARDED: Final[Mapping[GuardedKey, ChargeSum]] = {}


class Batch(NamedTuple):
    """What a flush hands to the sinks."""

    charges: dict[ChargeKey, ChargeSum]
    requests: dict[RequestKey, RequestSum]
    traces: list[KeptTrace]
    not_exported: Mapping[str, float] = _NOTHING
    """USD by component among the charges that lie below local roots given up before they were exported: late money."""
    health: Mapping[str, int] = _NO_COUNTS
    """What went wrong in ourselves since the batch before: `EVICTIONS`, `OTHER`, and `ERROR` with a place behind it."""
    guarded: Mapping[GuardedKey, ChargeSum] = _NO_GUARDED
    """What of the charges is not to be added to the budgets of these rules: their guards have done it."""

"""The value types that travel along the span path: what was used, and what it costs.

A `PriceLine` says *what* is charged and where its price comes from; it is made once per distinct
combination and shared, so that the span path compares it by identity. A `Charge` is one quantity
of it. A `SpanView` is what a meter sees of a span, live or stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple, cast

from spancost import names

_MAX_LINES = 8192
_EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True, eq=False)
class PriceLine:
    """What is charged, and how its price is known. Compared by identity: get it from `price_line`."""

    component: str
    """One of `names.COMPONENTS`."""
    provider: str
    """Who bills it: `aws`, `openai`, `twilio`."""
    operation: str
    """What was called: `dynamodb.PutItem`, `chat`, `messages.create`."""
    model: str = ""
    """LLM model as priced; empty for everything else."""
    unit: str = ""
    """Unit of the quantity: `WRU`, `request`, `GB`, `token`, `s`."""
    region: str = ""
    """Charged region, where a price depends on one."""
    sku: str = ""
    """Price id in the book, or the vendor's SKU id where known."""
    resource: str = ""
    """Table, bucket, queue, topic or function; never a key or an id of a person."""
    status: str = names.PRICED
    """One of `names.STATUSES`."""
    reason: str = ""
    """Why it is unpriced (`unknown_model`, `no_usage`, ...); empty otherwise."""
    basis: str = ""
    """What was assumed when estimated (`size:1`, `region_fallback`, ...); empty otherwise."""
    source: str = ""
    """Where the price comes from: `spancost:2026-07-28`, `genai-prices:0.2.3`, `override:spancost.yaml`."""


_lines: dict[tuple[str, ...], PriceLine] = {}


def price_line(
    component: str,
    provider: str,
    operation: str,
    *,
    model: str = "",
    unit: str = "",
    region: str = "",
    sku: str = "",
    resource: str = "",
    status: str = names.PRICED,
    reason: str = "",
    basis: str = "",
    source: str = "",
) -> PriceLine:
    """Return the one `PriceLine` with these values.

    Beyond 8 192 distinct lines the resource name is folded into `other`; the table never grows past
    twice that.
    """
    key = (component, provider, operation, model, unit, region, sku, resource, status, reason, basis, source)
    line = _lines.get(key)
    if line is None:
        if len(_lines) >= _MAX_LINES and resource not in ("", names.OTHER):
            return price_line(
                component,
                provider,
                operation,
                model=model,
                unit=unit,
                region=region,
                sku=sku,
                resource=names.OTHER,
                status=status,
                reason=reason,
                basis=basis,
                source=source,
            )
        if len(_lines) >= 2 * _MAX_LINES:
            _lines.clear()  # lines in use stay alive where they are held; only sharing starts anew
        line = _lines[key] = PriceLine(*key)
    return line


def changed_line(line: PriceLine, **changes: str) -> PriceLine:
    """Return the shared line that differs from `line` in these fields only."""
    fields = {name: getattr(line, name) for name in PriceLine.__slots__}
    return price_line(**{**fields, **changes})


def joined_basis(*bases: str) -> str:
    """Return several assumptions as one basis; empty ones are left out."""
    return ",".join(filter(None, bases))


def described(line: PriceLine) -> dict[str, str]:
    """Return the span attributes that say how a line is priced (status, source, basis, reason), without empty ones."""
    said = {names.STATUS: line.status, names.SOURCE: line.source, names.BASIS: line.basis, names.REASON: line.reason}
    return {name: value for name, value in said.items() if value}


class Charge(NamedTuple):
    """One quantity of one price line."""

    line: PriceLine
    quantity: float
    """In units of `line.unit`."""
    usd: float
    """What it costs you. 0.0 where `line.status` is free, duplicate or unpriced."""
    list_usd: float
    """List price, first paid tier, before free tiers and overrides."""

    def plus(self, other: Charge) -> Charge:
        """Return the sum with another charge of the same line."""
        line, quantity, usd, list_usd = self
        _, more, more_usd, more_list_usd = other
        return new_charge((line, quantity + more, usd + more_usd, list_usd + more_list_usd))


new_charge: Final = cast("Callable[[tuple[PriceLine, float, float, float]], Charge]", partial(tuple.__new__, Charge))  # pyright: ignore[reportUnknownMemberType]
"""Makes a `Charge` of all its four fields, without the Python call of the class."""

_ONE_CALL: Final = (1,)


def calls_of(charges: Sequence[Charge]) -> Sequence[int]:
    """Return for each charge of a span how many calls it stands for: 1 or 0.

    Kinds of tokens, or a request and its bytes, are one call. Each component of a span counts it once, on its first
    unpriced line if it has one, so that no unknown part is lost from the counts, else on its first line. A fee beside
    other charges counts none: the request is counted with its seconds.
    """
    if len(charges) <= 1:
        return _ONE_CALL[: len(charges)]
    component = charges[0].line.component
    for line, _, _, _ in charges:
        if line.component != component or line.status == names.UNPRICED:
            break
    else:  # kinds of tokens: by far the most
        return (1,) + (0,) * (len(charges) - 1)
    counted: dict[str, int] = {}
    for place, (line, _, _, _) in enumerate(charges):
        first = counted.get(line.component)
        if first is None:
            if not place or line.component != names.COMPUTE:
                counted[line.component] = place
        elif line.status == names.UNPRICED and charges[first].line.status != names.UNPRICED:
            counted[line.component] = place
    places = counted.values()
    return [int(place in places) for place in range(len(charges))]


LLM_SPAN: Final[Sequence[Charge]] = []
"""What measuring an LLM span yields at first: no charges yet. Compared by identity."""


class SpanView(NamedTuple):
    """What a meter may look at: a live span at its end, or a stored one."""

    name: str
    kind: int
    """OpenTelemetry SpanKind value: 0 internal, 1 server, 2 client, 3 producer, 4 consumer."""
    scope: str
    """Name of the instrumentation scope."""
    attributes: Mapping[str, Any]
    start_ns: int
    """Start, Unix nanoseconds: prices are chosen by it."""
    end_ns: int
    facts: Mapping[str, Any] = _EMPTY
    """What our capture hooks saw (sizes, counts, names of resources); empty for stored spans."""
    failed: bool = False
    """The span's status is ERROR."""


new_view: Final = cast("Callable[[tuple[Any, ...]], SpanView]", partial(tuple.__new__, SpanView))  # pyright: ignore[reportUnknownMemberType]
"""Makes a `SpanView` of all its eight fields, without the Python call of the class."""
NO_FACTS: Final = _EMPTY

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = range(5)

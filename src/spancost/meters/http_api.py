"""Price calls of third-party HTTP APIs by host, method and path.

Reads method, host, path and status code of HTTP CLIENT spans in the old and the stable conventions. How many units
of the vendor's price (`prices/data/http_apis.yaml`, checked 2026-10 to 2026-11) a call used says the rule's quantity:
computed by the capture hooks where it needs bodies or headers, else from the span. Where nobody saw what it needs, or
the rule has none and the unit is no call, the call is taken for one unit: `estimated`, and the basis says so.

Each span is one call, since the instrumentations make a span per attempt (requests and aiohttp: per call with its
redirects). Calls without an answer are not charged. Answers of 400 and above are `free`: Twilio, SendGrid, Google Maps,
Stripe, Pinecone and most others bill only what they accepted. Left out: the question whether the span only carries an
LLM or AWS call, which the engine answers.

Path, query and URL are read and forgotten; a host is kept as a name without port.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.charge import CLIENT, Charge, PriceLine, SpanView, price_line
from spancost.meters.http_parts import SpanParts, host_and_path
from spancost.prices.discounts import NO_DISCOUNTS, Discounts
from spancost.prices.http_rules import HttpMatch, HttpRules
from spancost.prices.quantity import Quantity, is_possible

HTTP_QUANTITY: Final = "http.quantity"
"""Fact, float: units that a call used, by its rule; NaN where the call says something impossible."""

MAX_UNKNOWN_HOSTS: Final = 200
"""Unknown hosts named one by one; all further ones are `other`."""
_MAX_CACHED_HOSTS = 2048
_FIRST_FAILURE_STATUS = 400
_STATUS_DIGITS = 3
_FIRST_STATUS, _LAST_STATUS = 100, 999

BAD_USAGE: Final = "bad_usage"
UNKNOWN_HOST: Final = "unknown_host"
UNKNOWN_OPERATION: Final = "unknown_operation"
TOKENS_NOT_SEEN: Final = "tokens_not_seen"
PLAN_PRICE: Final = "plan_price"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"))
_NO_CHARGE: list[Charge] = []


class _Price(NamedTuple):
    """What a kind of call costs in an interval of time."""

    counted: PriceLine
    """The number of units is known."""
    assumed: PriceLine
    """One unit is assumed."""
    refused: PriceLine
    bad: PriceLine
    quantity: Quantity | None
    usd: float
    """Per unit, what it costs you."""
    list_usd: float
    """Per unit."""
    list_usd_per_call: float
    """Where the vendor's unit is another than that of the own price."""
    from_ns: int
    until_ns: int


class HttpApiMeter:
    """Charges HTTP CLIENT spans that went to a third party."""

    def __init__(
        self,
        rules: HttpRules,
        free_hosts: Sequence[str] = (),
        exclude_hosts: Sequence[str] = (),
        discounts: Discounts = NO_DISCOUNTS,
    ) -> None:
        """Make a meter.

        Args:
            rules: Known hosts and operations.

            free_hosts: Globs of hosts that bill nothing, such as `*.svc.cluster.local`; case does not matter.

            exclude_hosts: Globs of hosts that are not metered at all.

            discounts: Percentages off the list price; an own price is what you pay, and stays as it is.
        """
        self.rules = rules
        """What the capture hooks are to measure by."""
        self._free_hosts = _HostGlobs(free_hosts) if free_hosts else None
        self._exclude_hosts = _HostGlobs(exclude_hosts) if exclude_hosts else None
        self._discounts = discounts
        self._unknown_hosts: set[str] = set()
        self._prices: dict[HttpMatch, _Price] = {}

    def measure(self, view: SpanView) -> list[Charge]:
        """Return the one charge of an answered HTTP call; empty for other spans and calls without an answer."""
        attributes = view.attributes
        if view.kind != CLIENT:
            return _NO_CHARGE
        method = attributes.get("http.request.method") or attributes.get("http.method")
        if not isinstance(method, str):
            return _NO_CHARGE
        status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
        if type(status) is not int:
            status = _status_of(status)
        if status <= 0:
            return _NO_CHARGE
        host, path = host_and_path(attributes)
        if not host or (self._exclude_hosts is not None and self._exclude_hosts.has(host)):
            return _NO_CHARGE
        method = method.upper()
        if method not in _METHODS:
            method = "_OTHER"
        if self._free_hosts is not None and self._free_hosts.has(host):
            return [Charge(self._host_line(host, method, names.FREE, ""), 1.0, 0.0, 0.0)]
        start_ns = view.start_ns
        match = self.rules.match(host, method, path, start_ns)
        if match is None:
            reason = UNKNOWN_OPERATION if self.rules.knows_host(host) else UNKNOWN_HOST
            return [Charge(self._host_line(host, method, names.UNPRICED, reason), 1.0, 0.0, 0.0)]
        price = self._prices.get(match)
        if price is None or not price.from_ns <= start_ns < price.until_ns:
            price = self._prices[match] = _price_of(match, self._discounts, start_ns)
        if status >= _FIRST_FAILURE_STATUS:
            return [Charge(price.refused, 1.0, 0.0, 0.0)]
        return [_charge(price, view)]

    def _host_line(self, host: str, method: str, status: str, reason: str) -> PriceLine:
        hosts = self._unknown_hosts
        if host not in hosts:
            if len(hosts) >= MAX_UNKNOWN_HOSTS:
                host = names.OTHER
            else:
                hosts.add(host)
        return price_line(names.HTTP, host, method, unit="request", status=status, reason=reason)


def _status_of(value: object) -> int:
    """Return a status that some exporters write as a text or a float; 0 for what is none."""
    if isinstance(value, str) and len(value) == _STATUS_DIGITS and value.isascii() and value.isdigit():
        return int(value)
    return int(value) if isinstance(value, float) and _FIRST_STATUS <= value <= _LAST_STATUS else 0


class _HostGlobs:
    """Some hosts, by globs; remembers what it has been asked."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._pattern = re.compile("|".join(translate(glob.lower()) for glob in globs))
        self._known: dict[str, bool] = {}

    def has(self, host: str) -> bool:
        found = self._known.get(host)
        if found is None:
            found = self._pattern.match(host) is not None
            if len(self._known) >= _MAX_CACHED_HOSTS:
                self._known.clear()
            self._known[host] = found
        return found


def _charge(price: _Price, view: SpanView) -> Charge:
    expression = price.quantity
    if expression is None:
        return Charge(price.assumed, 1.0, price.usd, price.list_usd + price.list_usd_per_call)
    quantity: Any = view.facts.get(HTTP_QUANTITY)
    if quantity is None:
        quantity = expression.of(SpanParts(view.attributes))
    if quantity is None:
        return Charge(price.assumed, 1.0, price.usd, price.list_usd + price.list_usd_per_call)
    if not isinstance(quantity, float) or not is_possible(quantity):
        return Charge(price.bad, 1.0, 0.0, 0.0)
    return Charge(price.counted, quantity, quantity * price.usd, quantity * price.list_usd + price.list_usd_per_call)


def _price_of(match: HttpMatch, discounts: Discounts, start_ns: int) -> _Price:
    rule, listed = match.rule, match.listed
    source, from_ns, until_ns = rule.source, 0, 2**63 - 1
    usd = list_usd = rule.usd or 0.0
    per_call = 0.0
    has_price = rule.kind == "request"
    if match.is_own:
        if listed.usd is not None and listed is not rule:
            has_price = has_price or listed.usd > 0  # a vendor's price that is 0 for you is a price
            same_unit = listed.unit == rule.unit
            list_usd, per_call = (listed.usd, 0.0) if same_unit else (0.0, listed.usd)
    elif has_price and discounts:
        applied = discounts.applied(names.HTTP, rule.provider, rule.operation, "", start_ns)
        usd, from_ns, until_ns = usd * applied.factor, applied.from_ns, applied.until_ns
        if applied.names:
            source = f"{source}+discount:{applied.names}"

    def line(status: str, reason: str = "", basis: str = "") -> PriceLine:
        return price_line(
            names.HTTP,
            rule.provider,
            rule.operation,
            unit=rule.unit,
            status=status,
            reason=reason,
            basis=basis,
            source=source,
        )

    refused, bad = line(names.FREE), line(names.UNPRICED, BAD_USAGE)
    if not has_price:
        if rule.usd is None or rule.kind == "llm":
            answered = line(names.UNPRICED, TOKENS_NOT_SEEN if rule.kind == "llm" else PLAN_PRICE)
        else:
            answered = refused
        return _Price(answered, answered, refused, bad, None, 0.0, 0.0, 0.0, from_ns, until_ns)
    basis = rule.basis
    return _Price(
        line(names.ESTIMATED if rule.quantity_basis else names.PRICED, basis=rule.quantity_basis),
        line(names.ESTIMATED if basis else names.PRICED, basis=basis),
        refused,
        bad,
        rule.quantity,
        usd,
        list_usd,
        per_call,
        from_ns,
        until_ns,
    )

"""Price calls of third-party HTTP APIs by host, method and path.

Reads method, host, path and status code of HTTP CLIENT spans in the old and the stable conventions. One call is
taken for one unit of the vendor's price (`prices/data/http_apis.yaml`, checked 2026-10 to 2026-11); where the vendor
bills something else (segments, recipients, minutes) the charge is `estimated` and its basis says so.

Calls without an answer are not charged. Answers of 400 and above are `free`: Twilio, SendGrid, Google Maps, Stripe,
Pinecone and most others bill only what they accepted. Left out: quantities above 1, and the question whether the
span only carries an LLM or AWS call, which the engine answers.

Path, query and URL are read and forgotten; a host is kept as a name without port.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Any, Final

from spancost import names
from spancost.charge import CLIENT, Charge, PriceLine, SpanView, price_line
from spancost.prices.http_rules import HttpRule, HttpRules

MAX_UNKNOWN_HOSTS: Final = 200
"""Unknown hosts named one by one; all further ones are `other`."""
_MAX_CACHED_HOSTS = 2048
_FIRST_FAILURE_STATUS = 400

UNKNOWN_HOST: Final = "unknown_host"
UNKNOWN_OPERATION: Final = "unknown_operation"
TOKENS_NOT_SEEN: Final = "tokens_not_seen"
PLAN_PRICE: Final = "plan_price"

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"))
_URL = re.compile(r"[^:/?#]*://([^/?#]*)([^?#]*)")
_NO_CHARGE: list[Charge] = []


class HttpApiMeter:
    """Charges HTTP CLIENT spans that went to a third party."""

    def __init__(self, rules: HttpRules, free_hosts: Sequence[str] = ()) -> None:
        """Make a meter.

        Args:
            rules: Known hosts and operations.

            free_hosts: Globs of hosts that bill nothing, such as `*.svc.cluster.local`; case does not matter.
        """
        self._rules = rules
        patterns = "|".join(translate(glob.lower()) for glob in free_hosts)
        self._free_hosts = re.compile(patterns) if patterns else None
        self._host_is_free: dict[str, bool] = {}
        self._unknown_hosts: set[str] = set()
        self._lines: dict[int, tuple[HttpRule, PriceLine, PriceLine]] = {}

    def measure(self, view: SpanView) -> list[Charge]:
        """Return the one charge of an answered HTTP call; empty for other spans and calls without an answer."""
        attributes = view.attributes
        if view.kind != CLIENT:
            return _NO_CHARGE
        method = attributes.get("http.request.method") or attributes.get("http.method")
        if not isinstance(method, str):
            return _NO_CHARGE
        status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
        if not isinstance(status, int) or status <= 0:
            return _NO_CHARGE
        host, path = host_and_path(attributes)
        if not host:
            return _NO_CHARGE
        method = method.upper()
        if method not in _METHODS:
            method = "_OTHER"
        if self._free_hosts is not None and self._is_free(host):
            return [Charge(self._host_line(host, method, names.FREE, ""), 1.0, 0.0, 0.0)]
        rule = self._rules.find(host, method, path)
        if rule is None:
            reason = UNKNOWN_OPERATION if self._rules.knows_host(host) else UNKNOWN_HOST
            return [Charge(self._host_line(host, method, names.UNPRICED, reason), 1.0, 0.0, 0.0)]
        _, answered, refused = self._lines.get(id(rule)) or self._lines_of(rule)
        if status >= _FIRST_FAILURE_STATUS:
            return [Charge(refused, 1.0, 0.0, 0.0)]
        usd = rule.usd or 0.0
        return [Charge(answered, 1.0, usd, usd)]

    def _is_free(self, host: str) -> bool:
        free = self._host_is_free.get(host)
        if free is None:
            assert self._free_hosts is not None
            free = self._free_hosts.match(host) is not None
            if len(self._host_is_free) >= _MAX_CACHED_HOSTS:
                self._host_is_free.clear()
            self._host_is_free[host] = free
        return free

    def _host_line(self, host: str, method: str, status: str, reason: str) -> PriceLine:
        hosts = self._unknown_hosts
        if host not in hosts:
            if len(hosts) >= MAX_UNKNOWN_HOSTS:
                host = names.OTHER
            else:
                hosts.add(host)
        return price_line(names.HTTP, host, method, unit="request", status=status, reason=reason)

    def _lines_of(self, rule: HttpRule) -> tuple[HttpRule, PriceLine, PriceLine]:
        basis = ""
        if rule.usd is None or rule.kind == "llm":
            status, reason = names.UNPRICED, TOKENS_NOT_SEEN if rule.kind == "llm" else PLAN_PRICE
        elif rule.usd == 0:
            status, reason = names.FREE, ""
        else:
            basis = rule.basis
            status, reason = names.ESTIMATED if basis else names.PRICED, ""

        def line(status: str, reason: str, basis: str) -> PriceLine:
            return price_line(
                names.HTTP,
                rule.provider,
                rule.operation,
                unit=rule.unit,
                status=status,
                reason=reason,
                basis=basis,
                source=rule.source,
            )

        # Keyed by identity, which is valid as long as the rule lives: so the entry holds it.
        lines = self._lines[id(rule)] = (rule, line(status, reason, basis), line(names.FREE, "", ""))
        return lines


def host_and_path(attributes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the host (lower case, without port or user) and the path of an HTTP CLIENT span; empty if not shown.

    Parsed by hand: `urllib.parse` keeps the last URLs, with their queries, in a cache.
    """
    url = attributes.get("url.full") or attributes.get("http.url")
    authority = path = ""
    if isinstance(url, str):
        found = _URL.match(url)
        if found is not None:
            authority, path = found.groups()
    if not path:
        shown = attributes.get("url.path") or attributes.get("http.target")
        path = shown if isinstance(shown, str) else "/"
    for key in ("server.address", "http.host", "net.peer.name"):
        if authority:
            break
        named = attributes.get(key)
        if isinstance(named, str):
            authority = named
    return _host_of(authority), path or "/"


def _host_of(authority: str) -> str:
    host = authority.rpartition("@")[2].lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")

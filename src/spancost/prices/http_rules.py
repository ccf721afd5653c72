"""Which third-party HTTP API a request goes to, and what one unit of it costs.

Reads the `http` part of the shipped price book (made from `data/http_apis.yaml`) and the `http_rules` of a
configuration, which come first. Prices are USD list prices of the first paid plan. Rules that a path alone cannot
decide (a tool used inside a request, an MMS instead of an SMS) carry a `variant`: they are kept as data and never
matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from typing import Any, Final, Literal, cast

from spancost.errors import ConfigError, PriceBookError, suggest
from spancost.prices.days import midnight_ns
from spancost.prices.quantity import Quantity, QuantityError
from spancost.prices.usd import usd_per

HttpKind = Literal["request", "llm", "free", "unpriced"]

_MAX_HOSTS: Final = 2048
_ANY: Final = "*"
_FOREVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One operation of a third-party HTTP API."""

    host: str
    """Host as in the price file: a name or a glob such as `*.pinecone.io`."""
    method: str
    """HTTP method in capitals, or `*`."""
    path: str
    """Path glob: `*` stands for any text including slashes, `{id}` for one part between slashes."""
    provider: str
    """Who bills it: `twilio`."""
    operation: str
    """What was called: `sms.us.outbound`."""
    kind: HttpKind
    """`llm`: metered by tokens, no price per request. `unpriced`: known, but no public price per unit."""
    usd: float | None
    """USD per `unit`; 0.0 for kind `free`; None for `llm` and `unpriced`."""
    unit: str
    """What is billed: `request`, `segment`, `minute`, `1000 characters`, ..."""
    note: str
    """Billing rule, for people."""
    source: str
    """Where and when the price was checked: `spancost:2026-10`; `override:<file>` for an own price."""
    confidence: str
    """`verified-3`, `verified-2`, `single` or `memory`; empty for an own price."""
    variant: str = ""
    """Circumstance that makes this rule apply, where the path alone does not tell; empty otherwise."""
    quantity: Quantity | None = None
    """How many units a call used; None: one, which is exact where a call *is* the unit."""
    quantity_basis: str = ""
    """What `quantity` assumes, where it is no exact count; empty otherwise."""
    from_ns: int = 0
    """Valid from, Unix nanoseconds, inclusive."""
    until_ns: int = _FOREVER_NS
    """Valid until, Unix nanoseconds, exclusive."""

    @property
    def basis(self) -> str:
        """What is assumed when one call is taken for one unit; empty where a call *is* the unit."""
        if self.kind != "request" or (self.unit == "request" and self.quantity is None):
            return ""
        return f"quantity:1_{self.unit.replace(' ', '_')}"


@dataclass(frozen=True, slots=True, eq=False)
class HttpMatch:
    """What prices one kind of request. Compared by identity: one object per rule, or pair of rules."""

    rule: HttpRule
    """What you pay."""
    listed: HttpRule
    """The shipped rule about the same request, where `rule` is an own one; else `rule`."""

    @property
    def is_own(self) -> bool:
        """The price comes from the configuration."""
        return self.rule.source.startswith("override:")


_Compiled = tuple[str, "re.Pattern[str]", HttpMatch]


class _HostRules:
    """Rules of one host or glob of hosts, compiled when such a host is first met: most never are."""

    __slots__ = ("_compiled", "_rules")

    def __init__(self, rules: Sequence[HttpRule]) -> None:
        self._rules = rules
        self._compiled: tuple[_Compiled, ...] | None = None

    def compiled(self) -> tuple[_Compiled, ...]:
        """Return them most specific first; the same objects each time."""
        if self._compiled is None:
            # Two threads at once make two of each, which says the same: no lock on the way of a request.
            self._compiled = tuple(
                (rule.method.upper(), _path_pattern(rule.path), HttpMatch(rule, rule))
                for rule in sorted(self._rules, key=_specificity, reverse=True)
            )
        return self._compiled


class HttpRules:
    """Rules by host, own ones first, then most specific first."""

    __slots__ = ("_by_host", "_cache", "_globs", "_measured", "_own", "_pairs", "rules")

    def __init__(self, rules: Iterable[HttpRule], *, own: HttpRules | None = None) -> None:
        """Sort rules by their hosts.

        Args:
            rules: Rules of a price book, or own ones.

            own: Rules that come before these.
        """
        self.rules: tuple[HttpRule, ...] = tuple(rules)
        """All rules but own ones, with those that are never matched because they carry a variant."""
        self._own = own
        self._by_host: dict[str, _HostRules] = {}
        self._globs: list[tuple[re.Pattern[str], _HostRules]] = []
        self._cache: dict[str, tuple[_Compiled, ...]] = {}
        self._measured: dict[str, bool] = {}
        self._pairs: dict[tuple[HttpMatch, HttpMatch], HttpMatch] = {}
        hosts: dict[str, list[HttpRule]] = {}
        for rule in self.rules:
            if not rule.variant:
                hosts.setdefault(rule.host.lower(), []).append(rule)
        for host in sorted(hosts, key=_literal_length, reverse=True):
            of_host = _HostRules(hosts[host])
            if _ANY in host:
                self._globs.append((_glob(host), of_host))
            else:
                self._by_host[host] = of_host

    @classmethod
    def shipped(cls) -> HttpRules:
        """Return the rules of the shipped price book; made once per process."""
        return _shipped()

    def with_own(self, rules: Iterable[HttpRule]) -> HttpRules:
        """Return these rules with own ones in front of them."""
        own = tuple(rules)
        return HttpRules(self.rules, own=HttpRules(own)) if own else self

    def match(self, host: str, method: str, path: str, at_ns: int | None = None) -> HttpMatch | None:
        """Return what prices a request, or None for an unknown host, method or path.

        Args:
            host: Host name, with or without a port, in any case.

            method: HTTP method; an empty one matches rules for any method only.

            path: Path with or without a query string, which is ignored.

            at_ns: Time of the request, Unix nanoseconds: rules of other times are passed over. None: whatever the time.
        """
        shipped = self._match(host, method, path, at_ns)
        if self._own is None:
            return shipped
        own = self._own.match(host, method, path, at_ns)
        if own is None or shipped is None:
            return own or shipped
        pair = self._pairs.get((own, shipped))
        return pair or self._paired(own, shipped)

    def _paired(self, own: HttpMatch, shipped: HttpMatch) -> HttpMatch:
        rule = own.rule
        if rule.quantity is None and rule.unit == shipped.rule.unit:  # another price for the same thing
            rule = replace(rule, quantity=shipped.rule.quantity, quantity_basis=shipped.rule.quantity_basis)
        pair = self._pairs[own, shipped] = HttpMatch(rule, shipped.rule)
        return pair

    def _match(self, host: str, method: str, path: str, at_ns: int | None) -> HttpMatch | None:
        rules = self._cache.get(host)
        if rules is None:
            rules = self._rules_of(host)
        if not rules:
            return None
        method = method.upper()
        if "?" in path:
            path = path[: path.index("?")]
        path = path.rstrip("/") or "/"
        for rule_method, pattern, match in rules:
            if (
                rule_method in (method, _ANY)
                and (at_ns is None or match.rule.from_ns <= at_ns < match.rule.until_ns)
                and pattern.fullmatch(path) is not None
            ):
                return match
        return None

    def find(self, host: str, method: str, path: str, at_ns: int | None = None) -> HttpRule | None:
        """Return the most specific rule for a request, own ones first; arguments as for `match`."""
        match = self.match(host, method, path, at_ns)
        return None if match is None else match.rule

    def knows_host(self, host: str) -> bool:
        """Say whether any rule is about this host."""
        rules = self._cache.get(host)
        found = bool(self._rules_of(host) if rules is None else rules)
        return found or (self._own is not None and self._own.knows_host(host))

    def measures(self, host: str) -> bool:
        """Say whether a rule about this host (small letters, no port) needs bodies or headers for its quantity."""
        needed = self._measured.get(host)
        if needed is None:
            found = any(_needs_bodies(match.rule) for _, _, match in self._rules_of(host))
            needed = found or (self._own is not None and self._own.measures(host))
            if len(self._measured) >= _MAX_HOSTS:
                self._measured.clear()
            self._measured[host] = needed
        return needed

    def _rules_of(self, host: str) -> tuple[_Compiled, ...]:
        name = host.lower().rstrip(".")
        if name.count(":") == 1:  # a second colon would be an IPv6 address
            name = name[: name.index(":")]
        groups = [group for pattern, group in self._globs if pattern.fullmatch(name) is not None]
        if name in self._by_host:
            groups.insert(0, self._by_host[name])
        rules = tuple(rule for group in groups for rule in group.compiled())
        if len(self._cache) >= _MAX_HOSTS:
            self._cache.clear()
        self._cache[host] = rules
        return rules


def _needs_bodies(rule: HttpRule) -> bool:
    return rule.quantity is not None and not rule.quantity.from_span


def rule_from_data(data: Mapping[str, Any]) -> HttpRule:
    """Make a rule from one entry of the price book.

    Raises:
        PriceBookError: Its quantity cannot be read.
    """
    usd = data.get("usd")
    kind: HttpKind = data.get("kind") or ("unpriced" if usd is None else "request" if float(usd) else "free")
    text = data.get("quantity")
    try:
        quantity = None if text is None else Quantity(text)
    except QuantityError as error:
        raise PriceBookError(f"{data['host']} {data['method']} {data['path']}: quantity {text!r}: {error}") from error
    since, until = data.get("valid_from"), data.get("valid_until")
    return HttpRule(
        host=data["host"],
        method=data["method"],
        path=data["path"],
        provider=data["provider"],
        operation=data["operation"],
        kind=kind,
        usd=None if usd is None else float(usd),
        unit=data.get("unit", "request"),
        note=data.get("note", ""),
        source=f"spancost:{data['as_of']}",
        confidence=data["confidence"],
        variant=data.get("variant", ""),
        quantity=quantity,
        quantity_basis=data.get("quantity_basis", ""),
        from_ns=0 if since is None else midnight_ns(date.fromisoformat(since)),
        until_ns=_FOREVER_NS if until is None else midnight_ns(date.fromisoformat(until)),
    )


@cache
def _shipped() -> HttpRules:
    from spancost.prices.book import shipped_data

    return HttpRules(map(rule_from_data, shipped_data()["http"]))


# --- own rules -----------------------------------------------------------------------------------

_OWN_KEYS: Final = (
    "host", "method", "path", "provider", "operation", "usd", "unit", "quantity", "valid_from", "note",
)  # fmt: skip
_METHODS: Final = (_ANY, "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
_HOST: Final = re.compile(r"[a-z0-9*_.:-]+", re.IGNORECASE)
_MAX_TEXT: Final = 100


def rules_from(raw: object, place: str) -> tuple[HttpRule, ...]:
    """Read the `http_rules` of a configuration.

    Args:
        raw: What stands in the file: a list of mappings with host and usd, and maybe method, path, provider, operation,
            unit, quantity, valid_from and note.

        place: The file, for messages and as the source of the price.

    Raises:
        ConfigError: An entry is wrong.
    """
    if not isinstance(raw, list):
        raise ConfigError(place, "http_rules", raw, "a list of rules, each with host and usd")
    entries = cast("list[object]", raw)
    return tuple(_own_rule(entry, place, f"http_rules[{index}]") for index, entry in enumerate(entries))


class _Entry:
    """One own rule as it stands in the file."""

    def __init__(self, entry: object, place: str, key: str) -> None:
        if not isinstance(entry, dict):
            raise ConfigError(place, key, entry, "a mapping with host and usd")
        self.place, self.key = place, key
        self.given = {str(name): value for name, value in cast("dict[object, object]", entry).items()}
        for name, value in self.given.items():
            if name not in _OWN_KEYS:
                raise ConfigError(place, f"{key}.{name}", value, "unknown key: " + suggest(name, _OWN_KEYS))
        for name in ("host", "usd"):
            if name not in self.given:
                error = ConfigError(place, f"{key}.{name}", None, "it is required")
                error.args = (f"{place}: {key}.{name}: it is required",)
                raise error

    def wrong(self, name: str, accepted: str) -> ConfigError:
        return ConfigError(self.place, f"{self.key}.{name}", self.given[name], accepted)

    def text(self, name: str, default: str = "") -> str:
        value = self.given.get(name, default)
        if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT:
            raise self.wrong(name, f"text of at most {_MAX_TEXT} characters")
        return value.strip()

    def host(self) -> str:
        host = self.text("host")
        if _HOST.fullmatch(host) is None or host.count(":") == 1:
            raise self.wrong("host", "a host without scheme, port and path, or a glob such as *.example.com")
        return host

    def method(self) -> str:
        method = self.text("method", _ANY).upper()
        if method not in _METHODS:
            raise self.wrong("method", suggest(method, _METHODS))
        return method

    def path(self) -> str:
        path = self.text("path", "/*")
        literals = _TEMPLATE.sub("", path)
        if not path.startswith(("/", _ANY)) or any(sign in literals for sign in "?#{}"):
            raise self.wrong("path", "a path that begins with /, such as /v1/messages/{id} or /v1/*")
        return path

    def usd(self) -> float:
        try:
            return float(usd_per("unit", self.given["usd"]))
        except ValueError as error:
            raise self.wrong("usd", str(error)) from None

    def quantity(self) -> Quantity | None:
        value = self.given.get("quantity")
        try:
            return None if value is None else Quantity(str(value))
        except QuantityError as error:
            raise self.wrong("quantity", str(error)) from None

    def from_ns(self) -> int:
        value = self.given.get("valid_from")
        if value is None:
            return 0
        day = _day(value)
        if day is None:
            raise self.wrong("valid_from", "a date such as 2026-01-31")
        return midnight_ns(day)


def _own_rule(entry: object, place: str, key: str) -> HttpRule:
    given = _Entry(entry, place, key)
    host, method, usd = given.host(), given.method(), given.usd()
    return HttpRule(
        host=host,
        method=method,
        path=given.path(),
        provider=given.text("provider", host),
        operation=given.text("operation", "any" if method == _ANY else method),
        kind="request" if usd else "free",
        usd=usd,
        unit=given.text("unit", "request"),
        note=given.text("note", "own price"),
        source=f"override:{place}",
        confidence="",
        quantity=given.quantity(),
        from_ns=given.from_ns(),
    )


def _day(value: object) -> date | None:
    if isinstance(value, datetime):
        return None
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


# --- patterns ------------------------------------------------------------------------------------

_TEMPLATE: Final = re.compile(r"\{[^{}/]*\}|\*")


def _path_pattern(path: str) -> re.Pattern[str]:
    # A trailing slash is no part of an operation's identity; `find` strips it from paths as well.
    text = path if path == "/" else path.rstrip("/")
    pattern, end = "", 0
    for found in _TEMPLATE.finditer(text):
        pattern += re.escape(text[end : found.start()]) + (".*" if found.group() == _ANY else "[^/]+")
        end = found.end()
    return re.compile(pattern + re.escape(text[end:]), re.DOTALL)


def _glob(host: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in host.split(_ANY)), re.DOTALL)


def _literal_length(pattern: str) -> int:
    return len(_TEMPLATE.sub("", pattern))


def _specificity(rule: HttpRule) -> tuple[bool, bool, int, bool, int]:
    """Exact paths before templates and globs, longer literals first, a named method before any, newer before older."""
    wild = _TEMPLATE.search(rule.path) is not None
    return (not wild, _ANY not in rule.path, _literal_length(rule.path), rule.method != _ANY, rule.from_ns)

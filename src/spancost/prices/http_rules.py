"""Which third-party HTTP API a request goes to, and what one unit of it costs.

Reads the `http` part of the shipped price book (made from `data/http_apis.yaml`). Prices are USD list
prices of the first paid plan. Rules that a path alone cannot decide (a tool used inside a request, an
MMS instead of an SMS) carry a `variant`: they are kept as data and never matched by `find`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

HttpKind = Literal["request", "llm", "free", "unpriced"]

_MAX_HOSTS: Final = 2048
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One operation of a third-party HTTP API."""

    host: str
    """Host as in the price file: a name or a glob such as `*.pinecone.io`."""
    method: str
    """HTTP method in capitals, or `*`."""
    path: str
    """Path glob; `*` stands for any text including slashes."""
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
    """Where and when the price was checked: `spancost:2026-10`."""
    confidence: str
    """`verified-3`, `verified-2`, `single` or `memory`."""
    variant: str = ""
    """Circumstance that makes this rule apply, where the path alone does not tell; empty otherwise."""

    @property
    def basis(self) -> str:
        """What is assumed when one call is taken for one unit; empty where a call *is* the unit."""
        return "" if self.unit == "request" or self.kind != "request" else f"quantity:1_{self.unit.replace(' ', '_')}"


_Compiled = tuple[str, "re.Pattern[str]", HttpRule]


class HttpRules:
    """Compiled rules, most specific first per host."""

    __slots__ = ("_by_host", "_cache", "_globs", "rules")

    def __init__(self, rules: Iterable[HttpRule]) -> None:
        self.rules: tuple[HttpRule, ...] = tuple(rules)
        """All rules, with those that `find` never returns because they carry a variant."""
        self._by_host: dict[str, tuple[_Compiled, ...]] = {}
        self._globs: list[tuple[re.Pattern[str], tuple[_Compiled, ...]]] = []
        self._cache: dict[str, tuple[_Compiled, ...]] = {}
        hosts: dict[str, list[HttpRule]] = {}
        for rule in self.rules:
            if not rule.variant:
                hosts.setdefault(rule.host.lower(), []).append(rule)
        for host in sorted(hosts, key=_literal_length, reverse=True):
            compiled = tuple(
                (rule.method.upper(), _glob(rule.path), rule)
                for rule in sorted(hosts[host], key=_specificity, reverse=True)
            )
            if _ANY in host:
                self._globs.append((_glob(host), compiled))
            else:
                self._by_host[host] = compiled

    @classmethod
    def shipped(cls) -> HttpRules:
        """Return the rules of the shipped price book; made once per process."""
        return _shipped()

    def find(self, host: str, method: str, path: str) -> HttpRule | None:
        """Return the most specific rule for a request, or None for an unknown host, method or path.

        Args:
            host: Host name, with or without a port, in any case.

            method: HTTP method; an empty one matches rules for any method only.

            path: Path with or without a query string, which is ignored.
        """
        rules = self._cache.get(host)
        if rules is None:
            rules = self._rules_of(host)
        if not rules:
            return None
        method = method.upper()
        if "?" in path:
            path = path[: path.index("?")]
        path = path.rstrip("/") or "/"
        for rule_method, pattern, rule in rules:
            if rule_method in (method, _ANY) and pattern.fullmatch(path) is not None:
                return rule
        return None

    def knows_host(self, host: str) -> bool:
        """Say whether any rule is about this host."""
        rules = self._cache.get(host)
        return bool(self._rules_of(host) if rules is None else rules)

    def _rules_of(self, host: str) -> tuple[_Compiled, ...]:
        name = host.lower().rstrip(".")
        if name.count(":") == 1:  # a second colon would be an IPv6 address
            name = name[: name.index(":")]
        exact = self._by_host.get(name, ())
        rules = exact + tuple(
            compiled for pattern, group in self._globs if pattern.fullmatch(name) is not None for compiled in group
        )
        if len(self._cache) >= _MAX_HOSTS:
            self._cache.clear()
        self._cache[host] = rules
        return rules


def rule_from_data(data: Mapping[str, Any]) -> HttpRule:
    """Make a rule from one entry of the price book."""
    usd = data.get("usd")
    kind: HttpKind = data.get("kind") or ("unpriced" if usd is None else "request" if float(usd) else "free")
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
    )


@cache
def _shipped() -> HttpRules:
    from spancost.prices.book import shipped_data

    return HttpRules(map(rule_from_data, shipped_data()["http"]))


def _glob(pattern: str) -> re.Pattern[str]:
    # A trailing slash is no part of an operation's identity; `find` strips it from paths as well.
    text = pattern if pattern == "/" else pattern.rstrip("/")
    return re.compile(".*".join(re.escape(part) for part in text.split(_ANY)), re.DOTALL)


def _literal_length(pattern: str) -> int:
    return len(pattern.replace(_ANY, ""))


def _specificity(rule: HttpRule) -> tuple[bool, int, bool]:
    """Exact paths before globs, longer literals first, a named method before any method."""
    return (_ANY not in rule.path, _literal_length(rule.path), rule.method != _ANY)

"""Price the bytes that leave the cloud: answers of servers to clients, and uploads of clients to public hosts.

Answers: the body size of HTTP SERVER spans, as our capture hooks counted it, else `http.response.body.size`, else a
recorded Content-Length header. Uploads: the body size of HTTP CLIENT spans (`http.request_bytes` of a capture hook,
else `http.request.body.size`, else a recorded Content-Length) where the host is public.

Unit: GB of 2^30 bytes. AWS, GCP and Azure print "GB" (GCP: GiB) and mean powers of 1024, as the tier edges of their
price lists show: "10 TB" ends at 10 240 GB. The rate is the first paid tier of the region
(`<provider>.egress.internet` in the price book, checked 2024-09 to 2026).

Who receives the answers is said by `egress.clients`, or by `egress.rules` for some services and routes:

    internet   everything goes to the internet
    private    nothing does: free
    cdn        to a CDN in front. The way from an AWS origin to CloudFront is free; the bytes are charged at
               CloudFront's price, once: what it serves from its cache is never seen here, hence `estimated`
    auto       a public peer is the internet. Instrumentations report the socket's peer, which behind a load balancer
               is private though the bytes go to the internet; so a private peer is free only where no proxy is
               configured and no forwarding header was seen. Else, and where no peer is known, it is the internet,
               `estimated`, basis `client_assumed_internet`

Traffic to AWS of the same region is free, and so is what goes to a host of the own network; from AWS to a host of AWS
in another region it costs what the way between regions does (`aws.egress.inter_region`). Left out: headers and TLS (a
few hundred bytes), and the path between zones, NAT gateways and private links, which no span shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any, Final, NamedTuple, cast

from spancost import names
from spancost.charge import CLIENT, SERVER, Charge, PriceLine, SpanView, price_line
from spancost.client_address import CLIENT_PRIVATE, FORWARDED, is_public_host, privacy_of
from spancost.config.values import EgressRule
from spancost.prices.book import PriceBook, Rate, Unpriced

BYTES_PER_GB: Final = 2**30

AUTO, INTERNET, PRIVATE, CDN = "auto", "internet", "private", "cdn"
INTER_REGION: Final = "inter_region"

REQUEST_BYTES: Final = "http.request_bytes"
"""Fact, int: bytes of the request's body that an HTTP client has sent."""
_MAX_REMEMBERED: Final = 1024
_MAX_HOST: Final = 255
_AWS_HOST: Final = re.compile(
    r"(?:^|\.)([a-z]{2}(?:-[a-z]+)+-\d)\.(?:[a-z0-9-]+\.)*(?:amazonaws\.com(?:\.cn)?|api\.aws|on\.aws)$"
)
_OWN_CLOUD: Final = {
    "aws": (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws"),
    "gcp": (".googleapis.com",),
    "azure": (".core.windows.net",),
}
"""Hosts of the cloud itself: in the same region nothing is charged for the way to them."""
_UNIT = "GB"
_MAX_BYTES = 2**63
_FOREVER_NS = 2**63

CDN_CACHE: Final = "cdn_cache_not_seen"
NO_CDN_PRICE: Final = "no_cdn_price"
REGION_UNKNOWN: Final = "region_unknown"
SIZE_UNKNOWN: Final = "response_size_unknown"
BAD_SIZE: Final = "bad_size"
CLIENT_ASSUMED: Final = "client_assumed_internet"
REGION_FALLBACK: Final = "region_fallback"
ASSUMED_REGION: Final = "assumed_region"
ANY_REGION: Final = "to_any_region"
"""The price is that of the way to most regions; a few near ones cost less."""

_PRICE_OF: Final = {INTERNET: "internet", CDN: "cloudfront", INTER_REGION: "inter_region"}
_BASIS_OF: Final = {INTERNET: "", CDN: CDN_CACHE, INTER_REGION: ANY_REGION}

_HTTP_KEYS = (
    "http.request.method",
    "http.method",
    "http.response.status_code",
    "http.status_code",
    "url.scheme",
    "http.scheme",
)
_FORWARDED_HEADER_KEYS = frozenset(
    {
        "http.request.header.x_forwarded_for",
        "http.request.header.x-forwarded-for",
        "http.request.header.forwarded",
        "http.request.header.via",
        "http.request.header.x_real_ip",
        "http.request.header.x-real-ip",
    }
)
"""As instrumentations record headers where they are told to; for spans without facts of ours."""
_PEER_KEYS = ("client.address", "net.peer.ip", "net.sock.peer.addr", "http.client_ip")
_FORWARDED_KEYS = ("client.address", "http.client_ip")
_NO_CHARGE: list[Charge] = []


class _Compiled(NamedTuple):
    """What holds between two changes of price; replaced as a whole, so that threads never see a mixture."""

    from_ns: int
    until_ns: int
    public_client: PriceLine
    unknown_client: PriceLine
    usd_per_gb: float
    list_usd_per_gb: float


class EgressMeter:
    """Charges HTTP SERVER spans for their answers, and HTTP CLIENT spans for their uploads."""

    def __init__(
        self,
        book: PriceBook,
        provider: str,
        region: str,
        clients: str = AUTO,
        *,
        assumed_region: bool = False,
        proxy: bool = False,
        rules: Sequence[EgressRule] = (),
        service: str = "",
    ) -> None:
        """Make a meter for one process.

        Args:
            book: Where rates come from.

            provider: Cloud the process runs in: `aws`, `gcp` or `azure`; empty if unknown.

            region: Its region; empty if unknown.

            clients: Who receives answers: `auto`, `internet`, `private` or `cdn`.

            assumed_region: The region was assumed, not stated: charges are marked `estimated`.

            proxy: A load balancer or proxy stands in front.

            rules: Other receivers for some services and routes; the first that matches wins.

            service: `service.name` of the process.
        """
        self._book = book
        self._provider = provider
        self._region = region
        self._clients = clients
        self._proxy = proxy
        self._rules = tuple(rule for rule in rules if fnmatchcase(service, rule.service))
        self._of_route: dict[str, str] = {}
        self._ways: dict[str, str] = {}
        self._assumed_region = assumed_region
        unknown = self._unpriced(REGION_UNKNOWN)
        until_ns = 0 if provider and region else _FOREVER_NS
        self._compiled = _Compiled(0, until_ns, unknown, unknown, 0.0, 0.0)
        self._cdn = _Compiled(0, until_ns, unknown, unknown, 0.0, 0.0)
        self._to_region = _Compiled(0, until_ns, unknown, unknown, 0.0, 0.0)
        self._size_unknown = self._unpriced(SIZE_UNKNOWN)
        self._bad_size = self._unpriced(BAD_SIZE)
        self._free_line = price_line(names.EGRESS, provider, "private", unit=_UNIT, region=region, status=names.FREE)

    def behind_proxy(self) -> EgressMeter:
        """Return this meter for spans without facts of ours: a private peer may be a load balancer."""
        meter = copy(self)
        meter._proxy = True
        return meter

    def measure(self, view: SpanView) -> list[Charge]:
        """Return the charge for a span's response bytes; empty for other spans and while a body is still streamed."""
        if view.kind != SERVER:
            return _NO_CHARGE
        facts = view.facts
        size: Any = facts.get("response_bytes")
        clients = self._receivers(view) if self._rules else self._clients
        if size is None:
            size = _attribute_size(view)
            if size is None:
                if facts.get("response_streaming") or not _is_http(view):
                    return _NO_CHARGE
                return [Charge(self._free_line if clients == PRIVATE else self._size_unknown, 0.0, 0.0, 0.0)]
        if not isinstance(size, (int, float)) or isinstance(size, bool) or not 0 <= size < _MAX_BYTES:
            return [Charge(self._bad_size, 0.0, 0.0, 0.0)]
        quantity = size / BYTES_PER_GB
        is_known = True
        if clients == AUTO:
            is_private = _peer_is_private(view)
            if is_private and not self._proxy and not _is_forwarded(view):
                clients = PRIVATE
            else:
                is_known = is_private is False
        if clients == PRIVATE:
            return [Charge(self._free_line, quantity, 0.0, 0.0)]
        compiled = self._cdn if clients == CDN else self._compiled
        if not compiled.from_ns <= view.start_ns < compiled.until_ns:
            compiled = self._compile(view.start_ns, CDN if clients == CDN else INTERNET)
        line = compiled.public_client if is_known else compiled.unknown_client
        return [Charge(line, quantity, quantity * compiled.usd_per_gb, quantity * compiled.list_usd_per_gb)]

    def measure_upload(self, view: SpanView) -> list[Charge]:
        """Return the charge for the request body that an HTTP client has sent to a public host.

        Empty where the size is not known, nobody answered, the host is not public, or the way to it is free: nothing is
        assumed.
        """
        attributes = view.attributes
        if view.kind != CLIENT or not (
            attributes.get("http.response.status_code") or attributes.get("http.status_code")
        ):
            return _NO_CHARGE
        size: Any = view.facts.get(REQUEST_BYTES)
        if size is None:
            size = _request_size(view)
        if not size:
            return _NO_CHARGE
        host = _host_of(view)
        way = self._ways.get(host)
        if way is None:
            way = self._way_to(host)
            if len(self._ways) < _MAX_REMEMBERED:
                self._ways[host] = way
        if not way:
            return _NO_CHARGE
        if not isinstance(size, (int, float)) or isinstance(size, bool) or not 0 <= size < _MAX_BYTES:
            return [Charge(self._bad_size, 0.0, 0.0, 0.0)]
        compiled = self._compiled if way == INTERNET else self._to_region
        if not compiled.from_ns <= view.start_ns < compiled.until_ns:
            compiled = self._compile(view.start_ns, way)
        quantity = size / BYTES_PER_GB
        return [
            Charge(
                compiled.public_client, quantity, quantity * compiled.usd_per_gb, quantity * compiled.list_usd_per_gb
            )
        ]

    def _way_to(self, host: str) -> str:
        """Return the way to a host: `internet`, `inter_region`, or nothing where it is free."""
        if not is_public_host(host):
            return ""
        if not host.endswith(_OWN_CLOUD.get(self._provider, ("\0",))):
            return INTERNET
        # Another region's host is not the same region; one without a region is taken for the own one.
        found = _AWS_HOST.search(host)
        return INTER_REGION if found is not None and self._region and found[1] != self._region else ""

    def _receivers(self, view: SpanView) -> str:
        """Return who receives the answers of a route, by rule."""
        route = view.attributes.get("http.route")
        key = route if isinstance(route, str) else ""
        clients = self._of_route.get(key)
        if clients is None:
            clients = next((rule.clients for rule in self._rules if fnmatchcase(key, rule.route)), self._clients)
            if len(self._of_route) < _MAX_REMEMBERED:
                self._of_route[key] = clients
        return clients

    def _compile(self, at_ns: int, way: str) -> _Compiled:
        rate = self._book.price(f"{self._provider}.egress.{_PRICE_OF[way]}", self._region, at_ns)
        if isinstance(rate, Unpriced):
            line = self._unpriced(NO_CDN_PRICE if way == CDN else rate.reason)
            compiled = _Compiled(rate.valid_from_ns, rate.valid_until_ns, line, line, 0.0, 0.0)
        else:
            compiled = _Compiled(
                rate.valid_from_ns,
                rate.valid_until_ns,
                self._priced(rate, way, _BASIS_OF[way]),
                self._priced(rate, way, _BASIS_OF[way] or CLIENT_ASSUMED),
                rate.usd,
                rate.list_usd,
            )
        if way == CDN:
            self._cdn = compiled
        elif way == INTER_REGION:
            self._to_region = compiled
        else:
            self._compiled = compiled
        return compiled

    def _priced(self, rate: Rate, way: str, basis: str) -> PriceLine:
        assumed = [basis] if basis else []
        if self._assumed_region:
            assumed.append(ASSUMED_REGION)
        if rate.region_fallback:
            assumed.append(REGION_FALLBACK)
        return price_line(
            names.EGRESS,
            self._provider,
            way,
            unit=_UNIT,
            region=rate.region,
            sku=rate.sku,
            status=names.ESTIMATED if assumed else names.PRICED,
            basis=",".join(assumed),
            source=rate.source,
        )

    def _unpriced(self, reason: str) -> PriceLine:
        return price_line(
            names.EGRESS,
            self._provider,
            INTERNET,
            unit=_UNIT,
            region=self._region,
            status=names.UNPRICED,
            reason=reason,
        )


def _is_http(view: SpanView) -> bool:
    attributes = view.attributes
    return any(key in attributes for key in _HTTP_KEYS)


def _attribute_size(view: SpanView) -> Any:
    """Return the body size that the attributes show, valid or not; None if they show none."""
    attributes = view.attributes
    size = attributes.get("http.response.body.size")
    if size is None:
        size = attributes.get("http.response.header.content_length")
        if size is None:
            size = attributes.get("http.response_content_length")
            if size is None:
                return None
        if _answers_without_body(view):
            return 0  # Content-Length is then the size of the body that was not sent
        size = _content_length(size)
    return _finite(size)


def _request_size(view: SpanView) -> Any:
    """Return the size of the request's body that the attributes show, valid or not; None if they show none."""
    attributes = view.attributes
    size = attributes.get("http.request.body.size")
    if size is None:
        size = attributes.get("http.request.header.content_length")
        if size is None:
            size = attributes.get("http.request_content_length")
        size = _content_length(size)
    return _finite(size)


def _content_length(size: Any) -> Any:
    """Return a recorded Content-Length as a number where it is one."""
    if isinstance(size, (list, tuple)):
        size = cast("Sequence[Any]", size)
        size = size[0] if size else "none"
    if isinstance(size, str) and len(size) < 20 and size.isascii() and size.strip().isdigit():
        return int(size)
    return size


def _finite(size: Any) -> Any:
    return -1 if isinstance(size, float) and not isfinite(size) else size


def _host_of(view: SpanView) -> str:
    """Return the host that a client span talks to, without port."""
    get = view.attributes.get
    host = get("server.address") or get("net.peer.name") or get("http.host")
    if not host:
        url = str(get("url.full") or get("http.url") or "")[:2048]
        host = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2]
    text = str(host)[:_MAX_HOST].lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 else text.partition(":")[0]


def _answers_without_body(view: SpanView) -> bool:
    attributes = view.attributes
    method = attributes.get("http.request.method") or attributes.get("http.method")
    status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
    return method == "HEAD" or status in (204, 304)


def _peer_is_private(view: SpanView) -> bool | None:
    """Say whether the answer goes to a private address; None if no address is known.

    A public one wins: the client that a proxy has reported.
    """
    private = view.facts.get(CLIENT_PRIVATE)
    if private is False:
        return False
    attributes = view.attributes
    for key in _FORWARDED_KEYS if private else _PEER_KEYS:
        address = attributes.get(key)
        if address is not None:
            seen = privacy_of(address)
            if seen is False:
                return False
            private = private or seen
    return private


def _is_forwarded(view: SpanView) -> bool:
    if view.facts.get(FORWARDED):
        return True
    return not _FORWARDED_HEADER_KEYS.isdisjoint(view.attributes)

"""Price the response bytes that a server sends to the internet.

Reads the body size of HTTP SERVER spans: what our capture hooks counted, else `http.response.body.size`, else a
recorded Content-Length header. Unit: GB of 2^30 bytes. AWS, GCP and Azure print "GB" (GCP: GiB) and mean powers
of 1024, as the tier edges of their price lists show: "10 TB" ends at 10 240 GB. The rate is the first paid tier of
the region (`<provider>.egress.internet` in the price book, checked 2024-09 to 2026).

Left out: response headers and TLS (a few hundred bytes an answer), uploads to other hosts, traffic between zones and
regions, NAT and CDN: a span does not show the path. So a private peer, which may be a load balancer in front of the
internet, is charged and marked `estimated`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, Literal, NamedTuple, cast

from spancost import names
from spancost.charge import SERVER, Charge, PriceLine, SpanView, price_line
from spancost.client_address import is_private_address
from spancost.prices.book import PriceBook, Rate, Unpriced

Clients = Literal["internet", "private"]

BYTES_PER_GB: Final = 2**30

_OPERATION = "internet"
_UNIT = "GB"
_MAX_BYTES = 2**63
_FOREVER_NS = 2**63

REGION_UNKNOWN: Final = "region_unknown"
SIZE_UNKNOWN: Final = "response_size_unknown"
BAD_SIZE: Final = "bad_size"
CLIENT_ASSUMED: Final = "client_assumed_internet"
REGION_FALLBACK: Final = "region_fallback"
ASSUMED_REGION: Final = "assumed_region"

_HTTP_KEYS = (
    "http.request.method",
    "http.method",
    "http.response.status_code",
    "http.status_code",
    "url.scheme",
    "http.scheme",
)
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
    """Charges HTTP SERVER spans for their response bytes."""

    def __init__(
        self,
        book: PriceBook,
        provider: str,
        region: str,
        clients: Clients = "internet",
        *,
        assumed_region: bool = False,
    ) -> None:
        """Make a meter for one process.

        Args:
            book: Where rates come from.

            provider: Cloud the process runs in: `aws`, `gcp` or `azure`; empty if unknown.

            region: Its region; empty if unknown.

            clients: `private` if no client is reached over the internet: all bytes are free then.

            assumed_region: The region was assumed, not stated: charges are marked `estimated`.
        """
        self._book = book
        self._provider = provider
        self._region = region
        self._price_id = f"{provider}.egress.internet"
        self._clients_private = clients == "private"
        self._assumed_region = assumed_region
        unknown = self._unpriced(REGION_UNKNOWN)
        self._compiled = _Compiled(0, 0 if provider and region else _FOREVER_NS, unknown, unknown, 0.0, 0.0)
        self._size_unknown = self._unpriced(SIZE_UNKNOWN)
        self._bad_size = self._unpriced(BAD_SIZE)
        self._free_line = price_line(names.EGRESS, provider, "private", unit=_UNIT, region=region, status=names.FREE)

    def measure(self, view: SpanView) -> list[Charge]:
        """Return the charge for a span's response bytes; empty for other spans and while a body is still streamed."""
        if view.kind != SERVER:
            return _NO_CHARGE
        facts = view.facts
        size: Any = facts.get("response_bytes")
        if size is None:
            size = _attribute_size(view)
            if size is None:
                if facts.get("response_streaming") or not _is_http(view):
                    return _NO_CHARGE
                return [Charge(self._free_line if self._clients_private else self._size_unknown, 0.0, 0.0, 0.0)]
        if not isinstance(size, (int, float)) or isinstance(size, bool) or not 0 <= size < _MAX_BYTES:
            return [Charge(self._bad_size, 0.0, 0.0, 0.0)]
        quantity = size / BYTES_PER_GB
        if self._clients_private:
            return [Charge(self._free_line, quantity, 0.0, 0.0)]
        compiled = self._compiled
        if not compiled.from_ns <= view.start_ns < compiled.until_ns:
            compiled = self._compiled = self._compile(view.start_ns)
        line = compiled.unknown_client if _client_is_private(view) else compiled.public_client
        return [Charge(line, quantity, quantity * compiled.usd_per_gb, quantity * compiled.list_usd_per_gb)]

    def _compile(self, at_ns: int) -> _Compiled:
        rate = self._book.price(self._price_id, self._region, at_ns)
        if isinstance(rate, Unpriced):
            line = self._unpriced(rate.reason)
            return _Compiled(rate.valid_from_ns, rate.valid_until_ns, line, line, 0.0, 0.0)
        return _Compiled(
            rate.valid_from_ns,
            rate.valid_until_ns,
            self._priced(rate, client_known=True),
            self._priced(rate, client_known=False),
            rate.usd,
            rate.list_usd,
        )

    def _priced(self, rate: Rate, *, client_known: bool) -> PriceLine:
        assumed = [] if client_known else [CLIENT_ASSUMED]
        if self._assumed_region:
            assumed.append(ASSUMED_REGION)
        if rate.region_fallback:
            assumed.append(REGION_FALLBACK)
        return price_line(
            names.EGRESS,
            self._provider,
            _OPERATION,
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
            _OPERATION,
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
        if isinstance(size, (list, tuple)):
            size = cast("Sequence[Any]", size)
            size = size[0] if size else "none"
        if isinstance(size, str) and len(size) < 20 and size.isascii() and size.strip().isdigit():
            size = int(size)
    return -1 if isinstance(size, float) and not isfinite(size) else size


def _answers_without_body(view: SpanView) -> bool:
    attributes = view.attributes
    method = attributes.get("http.request.method") or attributes.get("http.method")
    status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
    return method == "HEAD" or status in (204, 304)


def _client_is_private(view: SpanView) -> bool:
    """Return False if the peer, or the client that a proxy reported, has a public address."""
    private = view.facts.get("client_private")
    if private is False:
        return False
    attributes = view.attributes
    for key in _FORWARDED_KEYS if private else _PEER_KEYS:
        address = attributes.get(key)
        if address is not None and not is_private_address(address):
            return False
    return True

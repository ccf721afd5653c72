"""Whether an address can be reached over the internet. Addresses are looked at and never kept."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_PRIVATE_PREFIXES = ("127.", "10.", "192.168.")  # the usual peers, decided without parsing
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"({_OCTET})(?:\.{_OCTET}){{3}}")
# First octets below which some network is reserved (IANA special-purpose registry); all others are global throughout.
# `ip_address` takes some microseconds, which every request would pay.
_FIRST_OCTETS_WITH_RESERVED = frozenset(map(str, (0, 10, 100, 127, 169, 172, 192, 198, 203, *range(224, 256))))


CLIENT_PRIVATE = "client_private"
"""Fact of a server span, bool: the peer has a private address; absent where it has none at all."""
FORWARDED = "forwarded"
"""Fact of a server span, True: the request has a forwarding header, so something stands between client and server."""

# What load balancers, proxies and CDNs add to a request that they pass on. Only that one is there is kept.
# Trace headers of clouds are not among them: clients inside of the own network set these, too.
FORWARDING_HEADERS = frozenset(
    {
        "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-client-ip",
        "x-cluster-client-ip", "x-original-forwarded-for", "x-envoy-external-address", "true-client-ip",
        "cf-connecting-ip", "cf-ray", "cdn-loop", "fastly-client-ip", "fly-client-ip", "x-amz-cf-id",
        "cloudfront-viewer-address", "x-azure-clientip", "x-azure-fdid", "x-appengine-user-ip",
        "x-arr-log-id",
    }
)  # fmt: skip
_LOCAL_SUFFIXES = (".local", ".localhost", ".internal", ".svc", ".lan", ".home.arpa")


def privacy_of(peer: object) -> bool | None:
    """Say whether a peer has a private address; None where it has none at all, as behind a Unix socket."""
    if peer == "localhost":
        return True
    if not isinstance(peer, str) or not peer or not (peer[0].isdigit() or ":" in peer) or peer.startswith("unix:"):
        return None
    return is_private_address(peer)


def is_public_host(host: str) -> bool:
    """Say whether a host name or address, without port, can be one on the internet.

    Names without a dot and those below `.local`, `.internal`, `.svc` and the like are of the own network.
    """
    host = host.strip("[]").rstrip(".").lower()
    if not host:
        return False
    if ":" in host or host.replace(".", "").isdigit():
        return not is_private_address(host)
    return "." in host and not host.endswith(_LOCAL_SUFFIXES) and ".svc." not in host


def is_private_address(address: object) -> bool:
    """Return True for loopback, private, link-local and reserved addresses, and for anything that is no IP address.

    Behind a load balancer or a Unix socket the peer says nothing about the client, so unknown counts as private.
    """
    if not isinstance(address, str) or not address or address.startswith(_PRIVATE_PREFIXES):
        return True
    ipv4 = _IPV4.fullmatch(address)
    if ipv4 is not None and ipv4[1] not in _FIRST_OCTETS_WITH_RESERVED:
        return False
    try:
        parsed = ip_address(address)
    except ValueError:
        return True
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return not parsed.is_global

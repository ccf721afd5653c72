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

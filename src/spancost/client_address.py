"""Whether an address can be reached over the internet. Addresses are looked at and never kept."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

_PRIVATE_PREFIXES = ("127.", "10.", "192.168.")  # the usual peers, decided without parsing


def is_private_address(address: object) -> bool:
    """Return True for loopback, private, link-local and reserved addresses, and for anything that is no IP address.

    Behind a load balancer or a Unix socket the peer says nothing about the client, so unknown counts as private.
    """
    if not isinstance(address, str) or not address or address.startswith(_PRIVATE_PREFIXES):
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return True
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return not parsed.is_global

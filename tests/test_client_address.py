from __future__ import annotations

from ipaddress import ip_address

import pytest

from spancost.client_address import is_private_address, privacy_of


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "172.32.0.1", "100.128.0.1"])
def test_global_addresses_are_public(address: str) -> None:
    assert not is_private_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "100.64.0.1",
        "169.254.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "",
        "unix:",
        "testclient",
        "8.8.8.8:80",
        None,
        b"8.8.8.8",
        5,
    ],
)
def test_everything_else_counts_as_private(address: object) -> None:
    assert is_private_address(address)


@pytest.mark.parametrize(
    "rest", ["0.0.0", "0.0.1", "16.0.1", "51.100.1", "64.0.1", "168.1.2", "254.3.4", "255.255.255"]
)
def test_the_short_way_for_usual_addresses_agrees_with_ipaddress(rest: str) -> None:
    for first in range(256):
        address = f"{first}.{rest}"
        assert is_private_address(address) == (not ip_address(address).is_global), address


@pytest.mark.parametrize("address", ["8.8.8.08", "8.8.8", "8.8.8.8.8", "8.8.8.256", "8.8.8.8\n", " 8.8.8.8", "٨.8.8.8"])
def test_what_only_looks_like_an_address_counts_as_private(address: str) -> None:
    assert is_private_address(address)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("8.8.8.8", False),
        ("2001:4860:4860::8888", False),
        ("10.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("testclient", None),
        ("unix:/run/app.sock", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_peer_without_an_address_is_neither_private_nor_public(peer: object, expected: bool | None) -> None:
    assert privacy_of(peer) is expected

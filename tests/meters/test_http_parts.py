"""What a span shows of its HTTP call, and in which order its attributes are asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.meters.http_parts import SpanParts, host_and_path, host_of
from spancost.prices.quantity_values import UNSEEN

ORDER = ("server.address", "url.full", "http.url", "http.host", "net.peer.name")


def test_the_host_is_what_was_asked_for_and_the_peer_comes_last_for_it_may_be_a_proxy() -> None:
    attributes = {name: f"host{n}.example" for n, name in enumerate(ORDER)}
    for name in ("url.full", "http.url"):
        attributes[name] = f"https://{attributes[name]}/p"
    for n, name in enumerate(ORDER):
        assert host_and_path(attributes)[0] == f"host{n}.example"
        del attributes[name]
    assert host_and_path(attributes)[0] == ""


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        ("Api.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:443", "api.example.com"),
        ("user:secret@api.example.com:443", "api.example.com"),
        ("us@er:pw@api.example.com", "api.example.com"),
        ("[2001:DB8::1]:8443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.0.0.1:80", "10.0.0.1"),
        (" api.example.com ", "api.example.com"),
        ("", ""),
        ("@", ""),
        (":80", ""),
        ("[", ""),
        ("münchen.example", "münchen.example"),
    ],
)
def test_a_host_is_a_name_without_user_port_and_final_dot(authority: str, host: str) -> None:
    assert host_of(authority) == host
    assert host_and_path({"server.address": authority})[0] == host
    if host and authority.strip() == authority and authority != "2001:db8::1":
        assert host_and_path({"url.full": f"https://{authority}/a?b=c"})[0] == host


@pytest.mark.parametrize(
    "junk", [None, 5, 1.5, True, b"api.example.com", ["api.example.com"], ("a",), {}, object(), ""]
)
def test_a_junk_value_is_passed_over(junk: Any) -> None:
    attributes = {
        "url.full": junk,
        "http.url": junk,
        "server.address": junk,
        "http.host": "b.example",
        "url.path": junk,
    }
    assert host_and_path(attributes) == ("b.example", "/")


@given(
    st.dictionaries(
        st.sampled_from([*ORDER, "url.path", "http.target"]), st.text() | st.integers() | st.lists(st.text())
    )
)
def test_any_attributes_give_a_host_and_a_path(attributes: dict[str, Any]) -> None:
    host, path = host_and_path(attributes)
    assert host == host.lower()
    assert path


def test_a_span_shows_query_sizes_and_captured_headers() -> None:
    parts = SpanParts(
        {
            "url.full": "https://x.example/a/b?q=1&q=2&e=#f",
            "http.request.body.size": 10,
            "http.response_content_length": 20,
            "http.request.header.x-units": ("3", "4"),
            "http.response.header.x_cost": ["5"],
        }
    )
    assert parts.path() == "/a/b"
    assert parts.query() == {"q": ["1", "2"], "e": [""]}
    assert (parts.body_bytes("request"), parts.body_bytes("response")) == (10, 20)
    assert (parts.header("request", "x-units"), parts.header("response", "x-cost")) == ("3", "5")


def test_a_span_without_a_query_may_have_lost_it() -> None:
    parts = SpanParts({"url.full": "https://x.example/a"})
    assert parts.query() is UNSEEN
    assert SpanParts({"url.path": "/a", "url.query": "q=1"}).query() == {"q": ["1"]}
    assert SpanParts({"http.target": "/a?q=1"}).query() == {"q": ["1"]}
    assert SpanParts({"http.target": "/a?q=1"}).path() == "/a"


def test_what_no_span_shows_is_unseen() -> None:
    parts = SpanParts({"http.request.body.size": True, "http.response.body.size": "7", "http.request.header.x": []})
    assert parts.json("request") is parts.json("response") is parts.form() is UNSEEN
    assert parts.body_bytes("request") is parts.body_bytes("response") is UNSEEN
    assert parts.header("request", "x") is UNSEEN
    assert parts.attribute("x") is UNSEEN
    assert SpanParts({"url.full": "https://x.example/?" + "a&" * 2000}).query() is UNSEEN

"""What an HTTP CLIENT span shows of its call: host, path, query, sizes, captured headers.

URLs are parsed by hand: `urllib.parse.urlsplit` keeps the last ones, with their queries, in a cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import parse_qs

from spancost.prices.quantity_values import UNSEEN, Missing

_URL: Final = re.compile(r"[^:/?#]*://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_MAX_FIELDS: Final = 1000
_MAX_HOST: Final = 260
"""Characters: the longest name there is, with its port."""
_BODY_SIZES: Final = {
    "request": ("http.request.body.size", "http.request_content_length"),
    "response": ("http.response.body.size", "http.response_content_length"),
}


def host_and_path(attributes: Mapping[str, Any]) -> tuple[str, str]:
    """Return the host (lower case, without port or user) and the path of an HTTP CLIENT span; empty if not shown.

    `server.address` is the host that was asked for, even where a filter shortened the URL, which comes next; then
    `http.host`, and last `net.peer.name`, which may be a proxy.
    """
    authority = _first_text(attributes, "server.address")
    path = ""
    url = _first_text(attributes, "url.full", "http.url")
    if url:
        shown, path, _ = split_url(url)
        authority = authority or shown
    if not path:
        path = _first_text(attributes, "url.path", "http.target")
    return host_of(authority or _first_text(attributes, "http.host", "net.peer.name")), path or "/"


def split_url(url: str) -> tuple[str, str, str]:
    """Return authority, path and query of an absolute URL; empty ones for anything else."""
    found = _URL.match(url)
    return ("", "", "") if found is None else (found[1], found[2], found[3] or "")


def host_of(authority: str) -> str:
    """Return the host of `user@Host.:port` in small letters; an IPv6 address stays whole, without brackets."""
    host = authority.rpartition("@")[2][:_MAX_HOST].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")


def fields_of(text: str) -> Mapping[str, Sequence[str]] | Missing:
    """Return the fields of a query or an urlencoded body."""
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return UNSEEN


class SpanParts:
    """The parts of a call that its span shows; bodies are not among them."""

    __slots__ = ("_attributes",)

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._attributes = attributes

    def json(self, side: str) -> Any:
        """Return `UNSEEN`: spans carry no bodies."""
        return UNSEEN

    def form(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return `UNSEEN`, likewise."""
        return UNSEEN

    def query(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return the parameters of the URL. Instrumentations may leave the query out: none at all is unseen."""
        attributes = self._attributes
        url = _first_text(attributes, "url.full", "http.url")
        text = split_url(url)[2] if url else ""
        if not text:
            text = _first_text(attributes, "url.query") or _first_text(attributes, "http.target").partition("?")[2]
        return fields_of(text) if text else UNSEEN

    def path(self) -> str | Missing:
        """Return the path of the URL."""
        return host_and_path(self._attributes)[1].partition("?")[0]

    def header(self, side: str, name: str) -> str | Missing:
        """Return a header that the instrumentation was told to capture."""
        get = self._attributes.get
        value = get(f"http.{side}.header.{name}") or get(f"http.{side}.header.{name.replace('-', '_')}")
        if isinstance(value, (list, tuple)) and value:
            value = cast("Sequence[object]", value)[0]
        return value if isinstance(value, str) else UNSEEN

    def body_bytes(self, side: str) -> int | Missing:
        """Return the size of a body, bytes."""
        for name in _BODY_SIZES[side]:
            value = self._attributes.get(name)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        return UNSEEN

    def attribute(self, name: str) -> Any:
        """Return an attribute of the span."""
        value = self._attributes.get(name)
        return UNSEEN if value is None else list(cast("Sequence[Any]", value)) if isinstance(value, tuple) else value


def _first_text(attributes: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return ""

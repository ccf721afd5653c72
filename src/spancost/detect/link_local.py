"""Short questions to metadata services. Their answers are untrusted: bounded in size and in time.

Proxies of the environment are never used: link-local addresses mean this machine, not the proxy's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import socket

MAX_ANSWER_BYTES: Final = 65_536
_OK: Final = 200


class NoAnswerError(Exception):
    """The service is not there, is too slow, or says something else than 200."""


class Answer:
    """What a metadata service has answered."""

    __slots__ = ("headers", "text")

    def __init__(self, text: str, headers: Mapping[str, str]) -> None:
        self.text = text
        self.headers = headers
        """By lower-case name."""


def ask(base_url: str, path: str, headers: Mapping[str, str], *, seconds: float, method: str = "GET") -> Answer:
    """Ask a metadata service once; follows no redirect and uses no proxy.

    Args:
        base_url: `http://host:port`, with a path if the service lies below one.

        path: Appended to it.

        headers: Sent with the question.

        seconds: Longest time for all of it.

        method: `GET`, or `PUT` for the token of EC2.

    Raises:
        NoAnswerError: There is no answer that can be used.
    """
    import http.client  # takes a tenth of all that spancost may take to be imported, and runs on its own thread here

    deadline = time.monotonic() + seconds
    host, port, folder = _parts(base_url)
    connection = http.client.HTTPConnection(host, port, timeout=seconds)
    hang_up: threading.Timer | None = None
    try:
        connection.connect()
        # The time-out of a socket starts anew with each byte: a service that drips is hung up on.
        hang_up = threading.Timer(seconds, _hang_up, [connection.sock])
        hang_up.daemon = True
        hang_up.start()
        connection.request(method, folder + path, headers=dict(headers))
        response = connection.getresponse()
        if response.status != _OK:
            raise NoAnswerError(f"{response.status}")
        body = response.read(MAX_ANSWER_BYTES + 1)
        answered = {name.lower(): value for name, value in response.getheaders()}
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswerError(str(error)) from None
    finally:
        if hang_up is not None:
            hang_up.cancel()
        connection.close()
    if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
        raise NoAnswerError("too long")
    return Answer(body.decode("utf-8", "replace"), answered)


def _parts(base_url: str) -> tuple[str, int | None, str]:
    try:
        url = urlsplit(base_url)
        if url.scheme == "http" and url.hostname:
            return url.hostname, url.port, url.path.rstrip("/")
    except ValueError:
        pass
    raise NoAnswerError(base_url)


def _hang_up(connected: socket.socket) -> None:
    import socket

    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)

"""One POST to a receiver of alerts: bounded in time and in size, and unseen by instrumentations.

The answer is untrusted. Errors name the host alone: the path of a webhook is its secret. Redirects are not followed,
they would carry the alert and its credentials to somebody else.
"""

from __future__ import annotations

import base64
import math
import re
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, unquote, urlsplit

from spancost.budgets.notify.sending import DeliveryError

if TYPE_CHECKING:
    import http.client
    import socket
    import ssl

MAX_ANSWER_BYTES: Final = 65_536
_RETRIED: Final = frozenset({408, 425, 429})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_WORD: Final = re.compile(r"[a-z_]{3,60}")
"""An answer such as Slack's `invalid_blocks` is told; anything longer could repeat what was sent."""
_NOT_IN_TIME: Final = "no answer in time"
_LONGEST_WAIT_S: Final = 86_400.0
_PLAIN_KEY: Final = "suppress_instrumentation"


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float,
    needs_https: bool = True,
    ca_file: str | None = None,
) -> None:
    """Send a body; returns when the receiver has answered with 2xx.

    Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`) are used, except for loopback addresses.

    Args:
        url: Of the receiver.

        body: JSON.

        headers: Beside `Content-Type`, `Content-Length` and `User-Agent`.

        timeout_s: Longest time for all of it.

        needs_https: The URL or the headers are a secret: plain HTTP is refused, except on loopback addresses.

        ca_file: Certificates to trust instead of those of the system.

    Raises:
        DeliveryError: Any other answer, or none in time.
    """
    import http.client  # takes a tenth of all that spancost may take to be imported, and is used on threads of its own
    import ssl

    parts, host = _checked(url, needs_https=needs_https)
    given = {"Content-Type": "application/json", "User-Agent": "spancost", **headers}
    try:
        context = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
    except OSError:  # ssl.SSLError is one
        raise DeliveryError(f"{host}: the certificates of ca_file cannot be read") from None
    deadline = time.monotonic() + timeout_s
    hang_up: threading.Timer | None = None
    with without_instrumentation():
        connection, target = _connection(parts, host, context, timeout_s, given)
        try:
            connection.connect()
            # The time-out of a socket starts anew with each byte: a receiver that drips is hung up on.
            hang_up = hang_up_after(deadline - time.monotonic(), connection.sock)
            connection.request("POST", target, body=body, headers=given)
            answer = connection.getresponse()
            is_taken = 200 <= answer.status < 300  # whatever becomes of the rest of the answer
            said = b"" if is_taken else answer.read(MAX_ANSWER_BYTES)
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{host}: its certificate is not trusted: {error.verify_message}") from None
        except OSError as error:
            raise DeliveryError(f"{host}: {_why(error, deadline)}") from None
        except (http.client.HTTPException, ValueError) as error:  # their texts may hold the path
            in_time = time.monotonic() < deadline
            why = f"no HTTP answer ({type(error).__name__})" if in_time else _NOT_IN_TIME
            raise DeliveryError(f"{host}: {why}") from None
        finally:
            if hang_up is not None:
                hang_up.cancel()
            connection.close()
    _judge(host, answer.status, said, answer.getheader("Retry-After"))


@contextmanager
def without_instrumentation() -> Generator[None]:
    """Let instrumentations make no spans, so that what tells of money costs none by itself."""
    from opentelemetry import context

    present = context.get_current()
    # The first two are made anew in each process; the last is what older instrumentations look for.
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
        key = getattr(context, name, None)
        if key is not None:
            present = context.set_value(key, True, present)
    token = context.attach(context.set_value(_PLAIN_KEY, True, present))
    try:
        yield
    finally:
        context.detach(token)


def hang_up_after(seconds: float, connected: socket.socket) -> threading.Timer:
    """Return a running timer that ends a connection; cancel it."""
    timer = threading.Timer(max(0.0, seconds), _hang_up, [connected])
    timer.daemon = True
    with suppress(RuntimeError):  # the interpreter is ending: the time-out of the socket is left
        timer.start()
    return timer


def _hang_up(connected: socket.socket) -> None:
    import socket

    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _checked(url: str, *, needs_https: bool) -> tuple[SplitResult, str]:
    """Return the parts of a URL and its host; errors show nothing of it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    if host is None or parts.scheme not in ("http", "https"):
        raise DeliveryError("its URL is none: https://HOST/PATH is needed")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise DeliveryError(f"{host}: its URL has characters that must be written as %XX")
    if parts.scheme == "http" and needs_https and host not in _LOOPBACK:
        raise DeliveryError(f"{host}: https is needed, the alert and its secret would travel in clear")
    return parts, host


def _connection(
    parts: SplitResult, host: str, context: ssl.SSLContext | None, timeout_s: float, headers: dict[str, str]
) -> tuple[http.client.HTTPConnection, str]:
    """Return a connection that is not open yet, and what is asked of it."""
    import http.client

    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    port = parts.port or (443 if context else 80)
    proxy = _proxy(parts.scheme, host)
    if proxy is None or proxy.hostname is None:
        if context is None:
            return http.client.HTTPConnection(host, port, timeout=timeout_s), path
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context), path
    authorization = _basic(proxy)
    if context is None:
        headers.update({**authorization, "Host": parts.netloc.rpartition("@")[2]})
        through = http.client.HTTPConnection(proxy.hostname, proxy.port or 80, timeout=timeout_s)
        return through, f"http://{headers['Host']}{path}"
    tunnel = http.client.HTTPSConnection(proxy.hostname, proxy.port or 80, timeout=timeout_s, context=context)
    tunnel.set_tunnel(host, port, headers=authorization)
    return tunnel, path


def _proxy(scheme: str, host: str) -> SplitResult | None:
    import urllib.request

    url = urllib.request.getproxies().get(scheme)
    if not url or host in _LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def _basic(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    return {"Proxy-Authorization": basic_authorization(unquote(proxy.username), unquote(proxy.password or ""))}


def basic_authorization(user: str, password: str) -> str:
    """Return the value of an `Authorization` header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _judge(host: str, status: int, said: bytes, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise DeliveryError(f"{host} redirects ({status}), which is not followed", is_final=True)
    word = said.decode("utf-8", "replace").strip()
    why = f"{host} answered {status}" + (f" {word}" if _WORD.fullmatch(word) else "")
    is_final = 400 <= status < 500 and status not in _RETRIED
    raise DeliveryError(why, is_final=is_final, retry_after_s=_seconds(retry_after))


def _seconds(retry_after: str | None) -> float | None:
    """Return what `Retry-After` says: seconds, or a date."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S) if math.isfinite(seconds) else None


def _why(error: OSError, deadline: float) -> str:
    """Return what has gone wrong without what was sent."""
    if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
        return _NOT_IN_TIME
    return error.strerror or type(error).__name__

"""A receiver of alerts on a loopback port that can answer badly, late or not at all, and can be restarted."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

WAIT_S: Final = 20.0


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What the receiver does with a request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b"ok"
    takes: bool = True
    """It keeps what was posted."""
    hangs: bool = False
    """It answers nothing until the receiver is stopped."""
    hangs_up: bool = False
    """It closes the connection without an answer."""
    drips: bool = False
    """It sends a byte of its answer now and then."""


def always(reply: Reply) -> Callable[[int, Posted], Reply]:
    """Return what gives the same reply to every request."""

    def give(number: int, posted: Posted) -> Reply:
        return reply

    return give


class AlertReceiver:
    """A context manager; listens on the same port after each `start`.

    Args:
        reply: Called for each request with its number from 0; 200 to all without it.
    """

    def __init__(self, reply: Callable[[int, Posted], Reply] | None = None) -> None:
        self.reply: Callable[[int, Posted], Reply] = reply or always(Reply())
        self.seen: list[Posted] = []
        """All requests, whatever became of them."""
        self.taken: dict[str, list[Posted]] = {}
        """What was kept, by `Idempotency-Key`; a receiver acts upon the first of each."""
        self.tls: ssl.SSLContext | None = None
        """Set it before `start`."""
        self._changed = threading.Condition()
        self._ends = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        held = socket.socket()
        held.bind(("127.0.0.1", 0))
        self.port: int = held.getsockname()[1]
        held.close()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._answer(self)

            def do_GET(self) -> None:
                receiver._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Stay quiet."""

        self._ends.clear()
        self._server = _Server(("127.0.0.1", self.port), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._ends.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def wait_for(self, holds: Callable[[], bool], what: str, *, deadline_s: float = WAIT_S) -> None:
        """Return as soon as something holds; asked after each request."""
        with self._changed:
            if not self._changed.wait_for(holds, deadline_s):
                raise AssertionError(f"{what} did not come: {len(self.seen)} requests, {len(self.taken)} taken")

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        posted = Posted(handler.path, headers, body)
        with self._changed:
            reply = self.reply(len(self.seen), posted)
            self.seen.append(posted)
            if reply.takes and reply.status < 300:
                self.taken.setdefault(headers.get("idempotency-key", ""), []).append(posted)
            self._changed.notify_all()
        if reply.hangs:
            self._ends.wait()
        while reply.drips and not self._ends.wait(0.05):
            handler.wfile.write(b"H")
        if reply.drips or reply.hangs or reply.hangs_up:
            handler.close_connection = True
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has hung up is no news."""

"""A local HTTP server that answers prepared JSON and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    """One request."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class Status(NamedTuple):
    """An answer with a status of its own."""

    code: int
    body: Any
    """A JSON value."""


@dataclass
class JsonServer:
    """What the server has to say, in this order; the last answer is given again and again."""

    url: str
    answers: list[Any] = field(default_factory=list[Any])
    """JSON values; an int is a status without a body, `Status` one with it, bytes are sent as they are."""
    asked: list[Asked] = field(default_factory=list[Asked])


@contextmanager
def json_server(answers: Sequence[Any] = ()) -> Generator[JsonServer]:
    """Serve on a free loopback port for the duration of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.asked.append(Asked(parts.path, parse_qs(parts.query), headers))
            answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            if isinstance(answer, int):
                self.send_error(answer)
                return
            status = answer if isinstance(answer, Status) else Status(200, answer)
            body = status.body if isinstance(status.body, bytes) else json.dumps(status.body).encode()
            self.send_response(status.code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = JsonServer(f"http://127.0.0.1:{server.server_port}", list(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Local servers that speak the protocols of the clouds' metadata services."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

TOKEN = "AQAEANHV-test-token=="


class Reply(NamedTuple):
    """What a service answers."""

    text: str
    status: int = 200
    headers: Mapping[str, str] = {}


Service = Callable[[str, str, Mapping[str, str]], Reply]
"""(method, path with query, headers by lower-case name) -> reply."""

_MISSING = Reply("not found", 404)


@dataclass
class Server:
    """A running service."""

    url: str
    asked: list[str] = field(default_factory=list[str])
    """`METHOD path` of every question."""


@contextmanager
def serve(service: Service) -> Generator[Server]:
    """Run a metadata service on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            server.asked.append(f"{self.command} {self.path}")
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = service(self.command, self.path, headers)
            body = reply.text.encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server = Server(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def ec2(size: str = "m6i.large", region: str = "eu-west-1", life_cycle: str | None = "on-demand") -> Service:
    """EC2 with IMDSv2 only: without the token of a PUT everything is 401."""
    texts = {"instance-type": size, "placement/region": region, "instance-life-cycle": life_cycle}

    def answer(method: str, path: str, headers: Mapping[str, str]) -> Reply:
        if path == "/latest/api/token":
            asked_well = method == "PUT" and headers.get("x-aws-ec2-metadata-token-ttl-seconds", "").isdigit()
            return Reply(TOKEN) if asked_well else Reply("", 400)
        if headers.get("x-aws-ec2-metadata-token") != TOKEN:
            return Reply("", 401)
        text = texts.get(path.removeprefix("/latest/meta-data/"))
        return _MISSING if text is None else Reply(text)

    return answer


def gce(size: str = "e2-standard-2", zone: str = "europe-west1-b", preemptible: str = "FALSE") -> Service:
    """Compute Engine: questions need the header `Metadata-Flavor: Google`, and answers have it."""
    texts = {
        "machine-type": f"projects/123456/machineTypes/{size}",
        "zone": f"projects/123456/zones/{zone}",
        "scheduling/preemptible": preemptible,
    }
    return _google(texts)


def cloud_run(region: str = "europe-west3") -> Service:
    """Cloud Run has a region and no machine type."""
    return _google({"region": f"projects/123456/regions/{region}"})


def _google(texts: Mapping[str, str]) -> Service:
    def answer(_: str, path: str, headers: Mapping[str, str]) -> Reply:
        if headers.get("metadata-flavor") != "Google":
            return Reply("Missing Metadata-Flavor:Google header.", 403)
        text = texts.get(path.removeprefix("/computeMetadata/v1/instance/"))
        return _MISSING if text is None else Reply(text, headers={"Metadata-Flavor": "Google"})

    return answer


def azure(size: str = "Standard_D2s_v5", location: str = "westeurope", priority: str = "Regular") -> Service:
    """Azure: one JSON document, for questions with the header `Metadata: true` and a version."""
    document = {"vmSize": size, "location": location, "priority": priority, "osType": "Linux"}

    def answer(_: str, path: str, headers: Mapping[str, str]) -> Reply:
        if headers.get("metadata") != "true" or not path.startswith("/metadata/instance/compute?api-version="):
            return Reply("{}", 400)
        return Reply(json.dumps(document))

    return answer


def ecs(task: Mapping[str, Any], container: Mapping[str, Any]) -> Service:
    """ECS task metadata v4 below `/v4/<id>`."""

    def answer(_: str, path: str, __: Mapping[str, str]) -> Reply:
        if path == "/v4/abc":
            return Reply(json.dumps(container))
        return Reply(json.dumps(task)) if path == "/v4/abc/task" else _MISSING

    return answer


def fixed(reply: Reply) -> Service:
    """Say the same to everybody."""
    return lambda _, __, ___: reply


@contextmanager
def dripping(header: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") -> Generator[str]:
    """Run a server that sends a byte every 20 ms and never comes to an end."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(header)
                while not stopped.wait(0.02):
                    connection.sendall(b"x")
            except OSError:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        listener.close()
        thread.join(5.0)


def closed_port() -> str:
    """Return the address of a port on which nobody listens."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def elapsed_s(call: Callable[[], object]) -> float:
    """Return how long a call takes, seconds."""
    began = time.monotonic()
    call()
    return time.monotonic() - began

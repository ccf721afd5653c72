"""AWS on loopback: moto's server in a thread of the test process, on a free port."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

REGION = "us-east-1"


class MotoServer:
    """Where the server listens, and clients for it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, service: str, *, region: str = REGION) -> Any:
        """A boto3 client that talks to this server and to nothing else."""
        session: Any = boto3.session.Session(
            aws_access_key_id="local", aws_secret_access_key="local", region_name=region
        )
        return session.client(service, endpoint_url=self.url)


@contextmanager
def moto_server() -> Generator[MotoServer]:
    """Run moto's server as long as the block runs. Its state is that of the process: reset at both ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        moto = MotoServer(f"http://{host}:{port}")
        _reset(moto.url)
        yield moto
        _reset(moto.url)
    finally:
        server.stop()


def _reset(url: str) -> None:
    import urllib.request

    request = urllib.request.Request(f"{url}/moto-api/reset", method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()

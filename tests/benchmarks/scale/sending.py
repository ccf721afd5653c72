"""OTLP over HTTP to one receiver, by default on this machine only."""

from __future__ import annotations

import gzip
import http.client
import ipaddress
from time import sleep
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
"""What the OTLP specification lets a client send again."""
_TRIES: Final = 300
_WAIT_S: Final = 0.1
_TIMEOUT_S: Final = 30.0
_FAST: Final = 1
"""Level of gzip."""


class LoadError(Exception):
    """The load cannot be sent; the message says where and why."""


class Address(NamedTuple):
    """Where a receiver is."""

    host: str
    port: int
    path: str
    """In front of `/v1/traces`."""


def address_of(endpoint: str, *, anywhere: bool = False) -> Address:
    """Return the parts of an endpoint.

    Args:
        endpoint: `http://HOST:PORT`, with a path or not.

        anywhere: Let it be another machine.

    Raises:
        LoadError: It is no such URL, or not on this machine.
    """
    parts = urlsplit(endpoint)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or port is None or parts.query or parts.fragment or parts.username:
        raise LoadError(f"--endpoint {endpoint}: not http://HOST:PORT")
    if not anywhere and not _is_loopback(parts.hostname):
        raise LoadError(f"--endpoint {endpoint}: {parts.hostname} is not this machine; --anywhere sends there, too")
    return Address(parts.hostname, port, parts.path.rstrip("/"))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Sender:
    """One connection to a receiver. A context manager; for one thread.

    Args:
        endpoint: `http://HOST:PORT`, with a path or not.

        compressed: Send gzip.

        anywhere: Let it be another machine.
    """

    def __init__(self, endpoint: str, *, compressed: bool = False, anywhere: bool = False) -> None:
        address = address_of(endpoint, anywhere=anywhere)
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
        self._path = address.path
        self._compressed = compressed
        self._endpoint = endpoint
        self.bytes = 0
        """Sent so far, as they travelled."""
        self.refusals = 0
        """How often it was told to come again later."""

    def traces(self, body: bytes) -> None:
        """Send spans.

        Raises:
            LoadError: They were not taken.
        """
        answer = self._send("/v1/traces", body)
        if answer:
            told = ExportTraceServiceResponse.FromString(answer).partial_success
            self._whole(told.rejected_spans, told.error_message)

    def metrics(self, body: bytes) -> None:
        """Send metrics.

        Raises:
            LoadError: They were not taken.
        """
        answer = self._send("/v1/metrics", body)
        if answer:
            told = ExportMetricsServiceResponse.FromString(answer).partial_success
            self._whole(told.rejected_data_points, told.error_message)

    def _whole(self, rejected: int, why: str) -> None:
        if rejected:
            raise LoadError(f"{self._endpoint}: {rejected} rejected: {why}")

    def _send(self, path: str, body: bytes) -> bytes:
        headers = {"Content-Type": "application/x-protobuf"}
        if self._compressed:
            body = gzip.compress(body, _FAST)
            headers["Content-Encoding"] = "gzip"
        for _ in range(_TRIES):
            status, answer = self._post(f"{self._path}{path}", body, headers)
            if status == 200:
                self.bytes += len(body)
                return answer
            if status not in _TRY_AGAIN:
                raise LoadError(f"{self._endpoint}{path}: {status} {answer[:300].decode('utf-8', 'replace')}")
            self.refusals += 1
            sleep(_WAIT_S)
        raise LoadError(f"{self._endpoint}{path}: refused {_TRIES} times")

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise LoadError(f"{self._endpoint}: {error or type(error).__name__}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

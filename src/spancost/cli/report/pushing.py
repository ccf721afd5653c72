"""Hand a report to a Prometheus Pushgateway: for jobs that end before anybody scrapes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from spancost.cli._ledger import fail
from spancost.cli.report.asking import Answer
from spancost.cli.report.exposition import gauges
from spancost.errors import MissingExtraError

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

_TIMEOUT_S: Final = 10.0


class _Collector:
    """Gives the gauges of an answer to a registry."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def collect(self) -> Iterable[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        for gauge in gauges(self._answer):
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for values, value in gauge.samples:
                family.add_metric(values, value)
            yield family


def push(answer: Answer, url: str, job: str) -> None:
    """Replace what the Pushgateway holds of this job by the answer; a refusal ends the command.

    Args:
        answer: What is pushed.

        url: Of the gateway; may carry user and password.

        job: Group of the metrics there.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail("--pushgateway: not a URL such as http://localhost:9091")
    try:
        from prometheus_client import (
            CollectorRegistry,
            push_to_gateway,  # pyright: ignore[reportUnknownVariableType] # the handler's type is open
        )
        from prometheus_client.exposition import basic_auth_handler, default_handler
    except ImportError:
        fail(f"--pushgateway: {MissingExtraError('it', 'prometheus')}")
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path, "", ""))

    def handler(url: str, method: str, timeout: float | None, headers: Any, data: bytes) -> Callable[[], None]:
        if parts.username is None:
            return default_handler(url, method, timeout, headers, data)
        return basic_auth_handler(
            url, method, timeout, headers, data, unquote(parts.username), unquote(parts.password or "")
        )

    registry = CollectorRegistry()
    registry.register(_Collector(answer))  # pyright: ignore[reportArgumentType] # any object that can collect
    try:
        push_to_gateway(plain, job, registry, timeout=_TIMEOUT_S, handler=handler)
    except OSError as error:
        why = getattr(error, "reason", error)
        if isinstance(error, HTTPError):
            why = f"HTTP {error.code} {why}"
            error.close()
        fail(f"--pushgateway: {plain} did not take the report: {why}")

"""Collector, Prometheus and Alertmanager on free loopback ports: start, ask, kill, start again on the same port.

with Prometheus(folder, config) as prometheus, Collector(folder, [config], environment) as collector:
    prometheus.query("sum(spancost_cost_usd_total)")
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self

from examples.shop.processes import ReservedPort, ServerProcess, StackError, answers
from examples.stack.binaries import program

_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.1


class Server:
    """One program that is started on ports of its own. A context manager; a subclass says how it is started.

    Args:
        name: Of its log file and in errors.

        folder: For its log and its data; made if missing.
    """

    start_timeout_s: float = 60.0
    """Seconds it has to answer."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: ServerProcess | None = None
        self._starts = 0

    def command(self) -> list[str]:
        """What is run."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Variables beside those of this process."""
        return {}

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    @property
    def process(self) -> ServerProcess:
        """The running process.

        Raises:
            StackError: It has not been started.
        """
        if self._process is None:
            raise StackError(f"{self.name} has not been started")
        return self._process

    @property
    def log(self) -> Path:
        """What it has written since its last start."""
        return self.folder / f"{self.name}-{self._starts}.log"

    def start(self) -> Self:
        """Start it, again too: on the same ports and with the same data.

        Raises:
            StackError: It did not answer in time; the message holds the end of its log.
        """
        self._starts += 1
        self._process = ServerProcess(
            self.name, self.command(), log=self.log, cwd=self.folder, environment={**os.environ, **self.environment()}
        )
        try:
            self._process.wait_until(self.is_ready, self.name, deadline_s=self.start_timeout_s)
        except BaseException:
            self._process.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop it gracefully."""
        if self._process is not None:
            self._process.stop(timeout_s=20)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self.process.kill()
        self.process.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Collector(Server):
    """An OpenTelemetry Collector with one or more of the configurations of `collector-config/`.

    Args:
        folder: For its log, and where its files go.

        configs: Configuration files, merged in this order.

        variables: What `${env:...}` in them stands for, beside the receiver's and the health check's addresses,
            which are `OTLP_GRPC_ENDPOINT`, `OTLP_HTTP_ENDPOINT`, `HEALTH_ENDPOINT`, `SELF_METRICS_PORT`.

        binary: `otelcol` or `otelcol-router`.

        name: Of its log file and in errors.
    """

    def __init__(
        self,
        folder: Path,
        configs: Sequence[Path],
        variables: Mapping[str, str] | None = None,
        *,
        binary: str = "otelcol",
        name: str = "collector",
    ) -> None:
        super().__init__(name, folder)
        self._binary = program(binary)
        self._configs = [config.resolve() for config in configs]
        self._variables = dict(variables or {})
        self._ports = {key: ReservedPort() for key in ("grpc", "http", "health", "metrics")}
        self.otlp_grpc = f"127.0.0.1:{self._ports['grpc'].number}"
        """What an OTLP/gRPC exporter is pointed at."""
        self.otlp_http = self._ports["http"].url
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to."""
        self.health = self._ports["health"].url
        self.metrics_port = self._ports["metrics"].number
        """Of its own `/metrics`."""

    def command(self) -> list[str]:
        for port in self._ports.values():
            port.release()
        return [self._binary, *(f"--config=file:{config}" for config in self._configs)]

    def environment(self) -> Mapping[str, str]:
        return {
            "OTLP_GRPC_ENDPOINT": self.otlp_grpc,
            "OTLP_HTTP_ENDPOINT": self.otlp_http.removeprefix("http://"),
            "HEALTH_ENDPOINT": self.health.removeprefix("http://"),
            "SELF_METRICS_PORT": str(self.metrics_port),
            **self._variables,
        }

    def is_ready(self) -> bool:
        return answers(f"{self.health}/")

    def own_metrics(self) -> str:
        """Return what it says of itself, as text of Prometheus."""
        return _get(f"http://127.0.0.1:{self.metrics_port}/metrics").decode()


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer, with its last value."""

    labels: Mapping[str, str]
    value: float


class Prometheus(Server):
    """Prometheus with its OTLP and remote-write receivers on.

    Args:
        folder: For its log and its data.

        config: Configuration file.

        features: Names for `--enable-feature`.

        retention: How long it keeps samples, as `--storage.tsdb.retention.time` takes it.
    """

    def __init__(
        self,
        folder: Path,
        config: Path,
        *,
        features: Sequence[str] = (),
        retention: str = "1d",
        name: str = "prometheus",
    ) -> None:
        super().__init__(name, folder)
        self._path = program("prometheus")
        self._config = config.resolve()
        self._features = tuple(features)
        self._retention = retention
        self._port = ReservedPort()
        self.url = self._port.url

    def command(self) -> list[str]:
        self._port.release()
        return [
            self._path,
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--storage.tsdb.retention.time={self._retention}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--web.enable-otlp-receiver",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
            *(["--enable-feature=" + ",".join(self._features)] if self._features else []),
        ]

    def is_ready(self) -> bool:
        return answers(f"{self.url}/-/ready")

    @property
    def otlp_metrics_url(self) -> str:
        """What `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` is set to."""
        return f"{self.url}/api/v1/otlp/v1/metrics"

    @property
    def remote_write_url(self) -> str:
        return f"{self.url}/api/v1/write"

    def get(self, path: str, **parameters: str) -> Any:
        """Return `data` of an answer of the HTTP API.

        Raises:
            StackError: Prometheus refused the question.
        """
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.loads(_get(asked))
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise StackError(f"{self.name}: {parameters or path}: {error.code} {said}") from error
        return answer["data"]

    def query(self, expression: str, *, at: float | None = None) -> list[Sample]:
        """Return an instant vector; a scalar is one sample without labels.

        Args:
            expression: PromQL.

            at: Unix seconds; now if not given.
        """
        data = self.get("query", query=expression, **({} if at is None else {"time": repr(at)}))
        if data["resultType"] == "scalar":
            return [Sample({}, float(data["result"][1]))]
        return [Sample(one["metric"], float(one["value"][1])) for one in data["result"]]

    def sums(self, expression: str, *labels: str, at: float | None = None) -> dict[tuple[str, ...], float]:
        """Return the samples of an expression by some of their labels, added up; a missing label is empty."""
        sums: dict[tuple[str, ...], float] = {}
        for sample in self.query(expression, at=at):
            key = tuple(sample.labels.get(label, "") for label in labels)
            sums[key] = sums.get(key, 0.0) + sample.value
        return sums

    def wait_for(self, expression: str, holds: Callable[[list[Sample]], bool], *, deadline_s: float = 60.0) -> None:
        """Return as soon as a condition holds for what an expression says.

        Raises:
            StackError: It did not hold in time.
        """
        ends = monotonic() + deadline_s
        while True:
            found = self.query(expression)
            if holds(found):
                return
            if monotonic() > ends:
                raise StackError(f"{self.name}: {expression} not in {deadline_s:g} s: {found[:10]}")
            sleep(_POLL_S)


class Alertmanager(Server):
    """Alertmanager, alone in its cluster.

    Args:
        folder: For its log and its data.

        config: Configuration file.

        path: Of another Alertmanager than the built one.
    """

    def __init__(self, folder: Path, config: Path, *, path: str = "") -> None:
        super().__init__("alertmanager", folder)
        self._path = path or program("alertmanager")
        self._config = config.resolve()
        self._port = ReservedPort()
        self.url = self._port.url

    def command(self) -> list[str]:
        self._port.release()
        return [
            self._path,
            f"--config.file={self._config}",
            f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--cluster.listen-address=",
        ]

    def is_ready(self) -> bool:
        return answers(f"{self.url}/-/ready")

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that it shows as active."""
        return json.loads(_get(f"{self.url}/api/v2/alerts?active=true"))


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        return answer.read()

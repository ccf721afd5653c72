"""Programs under `opentelemetry-instrument` with spancost installed, and what they leave behind."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from spancost import names
from spancost.errors import LedgerError
from spancost.sinks.ledger.schema import connect_to_read
from tests.support.otlp_receiver import OtlpReceiver, ReceivedSpan
from tests.support.processes import ReservedPort, ServerProcess

ROOT: Final = Path(__file__).resolve().parents[2]
SERVER_KIND: Final = 1
USD_PER_HOUR: Final = 0.36
USD_PER_S: Final = USD_PER_HOUR / 3600
EGRESS_USD_PER_GB: Final = 0.09
"""First paid tier of us-east-1."""
LLM_CALL_USD: Final = 1200 * 0.15 / 1e6 + 300 * 0.60 / 1e6
"""What one `call_llm` costs: gpt-4o-mini at $0.15 and $0.60 per million tokens."""

_FOREIGN = ("OTEL_", "SPANCOST_", "PROMETHEUS_", "GUNICORN_", "UVICORN_", "FLASK_", "PYTHON")
_WAIT_S = 20.0


def under_zero_code(*command: str) -> list[str]:
    """Return the command line of a program of this environment under `opentelemetry-instrument`."""
    commands = Path(sys.executable).parent
    return [str(commands / "opentelemetry-instrument"), "--", str(commands / command[0]), *command[1:]]


def installed(*command: str) -> list[str]:
    """Return the command line of a program of this environment."""
    return [str(Path(sys.executable).parent / command[0]), *command[1:]]


def environment(
    directory: Path, *, otlp: str = "", instrumentations: frozenset[str] = frozenset(), **more: str
) -> dict[str, str]:
    """Return the environment of a priced program whose files go below `directory`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    installed = {point.name for point in entry_points(group="opentelemetry_instrumentor")}
    exporter = "otlp" if otlp else "none"
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "OTEL_SERVICE_NAME": "e2e",
        "OTEL_TRACES_EXPORTER": exporter,
        "OTEL_METRICS_EXPORTER": exporter,
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp or "http://127.0.0.1:9",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        # Last values come from the end of each process.
        "OTEL_METRIC_EXPORT_INTERVAL": "20000",
        "OTEL_PYTHON_EXCLUDED_URLS": "/health$,/metrics$",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(sorted(installed - instrumentations)),
        "SPANCOST_COMPUTE": f"{USD_PER_HOUR}usd/h",
        "SPANCOST_REGION": "us-east-1",
        "SPANCOST_EGRESS_CLIENTS": "internet",  # the load comes from 127.0.0.1
        "SPANCOST_LEDGER": str(directory / "ledger.sqlite"),
        "SPANCOST_LEASE": str(directory / "lease.json"),
        "SPANCOST_FLUSH_INTERVAL": "0.3",
        "SPANCOST_FIRST_VALUE_HOLD": "0",
        **more,
    }


class Program:
    """A server on a free loopback port, under zero-code unless `plain`; `{port}` in its command is replaced."""

    def __init__(
        self, directory: Path, command: Sequence[str], environ: Mapping[str, str], *, plain: bool = False
    ) -> None:
        self.directory = directory
        self.ledger = directory / "ledger.sqlite"
        self._port = ReservedPort()
        self.url = self._port.url
        self._command = [part.replace("{port}", str(self._port.number)) for part in command]
        self._environ = environ
        self._is_plain = plain
        self.process: ServerProcess

    def __enter__(self) -> Program:
        self._port.release()
        self.process = ServerProcess(
            "app",
            installed(*self._command) if self._is_plain else under_zero_code(*self._command),
            log=self.directory / "app.log",
            cwd=ROOT,
            environment=self._environ,
        )
        try:
            self.process.wait_ready(f"{self.url}/health")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def get(self, path: str) -> Answer:
        """Ask once, on a connection of its own, so that any worker may take it."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            body = answer.read()
            return Answer(path, body, str(answer.headers.get("X-Worker", "")))


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answered."""

    path: str
    body: bytes
    worker: str
    """Process that made it."""


@dataclass(slots=True)
class Load:
    """What was asked of a server, counted at the client."""

    requests: int = 0
    body_bytes: int = 0
    by_path: Counter[str] = field(default_factory=Counter[str])
    workers: set[str] = field(default_factory=set[str])

    def send(self, program: Program, paths: Sequence[str], *, workers: int, at_most: int = 600) -> None:
        """Send all paths, four at a time, and again until so many workers have answered."""
        with ThreadPoolExecutor(4) as pool:
            while True:
                for answer in pool.map(program.get, paths):
                    self.requests += 1
                    self.body_bytes += len(answer.body)
                    self.by_path[answer.path] += 1
                    self.workers.add(answer.worker)
                if len(self.workers) >= workers:
                    return
                assert self.requests < at_most, f"only {len(self.workers)} of {workers} workers have answered"


@dataclass(frozen=True, slots=True)
class Books:
    """The money of one run as its ledger has it."""

    ledger: Path

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(connect_to_read(str(self.ledger))[0]) as connection:
            return connection.execute(statement).fetchall()

    def by_component(self, where: str = "position != 'idle'") -> dict[str, float]:
        """USD per component; without idle time unless asked."""
        found = self.rows(f"SELECT component, SUM(usd) FROM ledger_rows WHERE {where} GROUP BY component")
        return {component: usd for component, usd in found if usd}

    def wait_for(self, condition: Callable[[Books], bool], what: str) -> None:
        """Return as soon as a condition holds, which may be before the first row is there."""

        def holds() -> bool:
            try:
                return condition(self)
            except LedgerError:
                return False

        wait_until(holds, what)

    def served(self) -> int:
        """Server requests counted."""
        return int(self.rows("SELECT COALESCE(SUM(count), 0) FROM requests_minute WHERE served")[0][0])


def lease_members(path: Path) -> list[dict[str, Any]]:
    """Return the memberships of a lease file."""
    return json.loads(path.read_text())["members"]


def local_roots(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """Return the spans that carry a total for a whole request."""
    return [span for span in spans if names.TOTAL_NANO_USD in span.attributes]


def by_component_of_roots(spans: Sequence[ReceivedSpan]) -> dict[str, float]:
    """USD per component over local roots, as exported."""
    sums: defaultdict[str, float] = defaultdict(float)
    for span in local_roots(spans):
        for component, attribute in names.COMPONENT_USD.items():
            sums[component] += float(span.attributes.get(attribute, 0.0))
    return {component: usd for component, usd in sums.items() if usd}


def otlp_by_component(receiver: OtlpReceiver, metric: str) -> dict[str, float]:
    """Newest values of a counter over all processes, per component."""
    return {key[0]: usd for key, usd in receiver.latest_sum_by(metric, "component").items() if usd}


def added(*parts: Mapping[str, float]) -> dict[str, float]:
    """Add mappings up, key by key."""
    sums: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        for key, value in part.items():
            sums[key] += value
    return dict(sums)


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = _WAIT_S) -> None:
    """Poll until a condition holds."""
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)

"""Sends the work of a fleet, bounded in spans and time, and knows what money it has sent."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, process_time, sleep, time_ns
from typing import Final

from spancost import names
from tests.benchmarks.scale.fleet import Fleet, Worker
from tests.benchmarks.scale.otlp import export, metrics_part, resource_part
from tests.benchmarks.scale.profile import FRESH_BYTES, Body, Profile, make_profile
from tests.benchmarks.scale.sending import Sender

TRACES: Final = "traces"
METRICS: Final = "metrics"
SIGNALS: Final = (TRACES, METRICS)
MAX_SECONDS: Final = 900.0
MAX_SPANS: Final = 50_000_000

Told = Callable[[int, float], None]
"""Is told how many spans have been sent and which share of the load that is."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a load ends: at whichever comes first."""

    spans: int = 200_000
    """Points of metrics where no spans are sent."""
    seconds: float = 10.0
    rate: float = 0.0
    """Spans (points) a second; 0 for as fast as they are taken."""
    rounds: int = 0
    """Of every worker; 0 for any number."""

    def __post_init__(self) -> None:
        if not 1 <= self.spans <= MAX_SPANS:
            raise ValueError(f"spans: {self.spans} is not between 1 and {MAX_SPANS:,}")
        if not 0 < self.seconds <= MAX_SECONDS:
            raise ValueError(f"seconds: {self.seconds:g} is not between 0 and {MAX_SECONDS:g}")
        if self.rate < 0 or self.rounds < 0:
            raise ValueError("rate and rounds: not below 0")


class Sent:
    """What was taken, and what it costs."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = profiles
        self._bodies: Counter[tuple[str, int, int]] = Counter()
        self._rounds: dict[Worker, int] = {}
        self._lock = threading.Lock()
        self.bytes = 0
        self.refusals = 0
        self.metric_exports = 0
        self.points = 0
        """Of metrics, a histogram's buckets one point."""
        self.seconds = 0.0
        self.cpu_s = 0.0
        """Of the generator itself."""

    def add_body(self, worker: Worker, number: int) -> None:
        """Note down that the receiver has taken an export of spans."""
        with self._lock:
            self._bodies[worker.service, worker.profile, number] += 1

    def add_metrics(self, worker: Worker, rounds: int) -> None:
        """Note down that it has taken the metrics of a worker after so many rounds."""
        with self._lock:
            self._rounds[worker] = rounds
            self.metric_exports += 1
            self.points += len(self._profiles[worker.profile].series)

    def add_traffic(self, sender: Sender) -> None:
        """Add what one connection has sent."""
        with self._lock:
            self.bytes += sender.bytes
            self.refusals += sender.refusals

    def _each(self) -> list[tuple[str, Body, int]]:
        with self._lock:
            return [
                (service, self._profiles[profile].bodies[number], times)
                for (service, profile, number), times in self._bodies.items()
            ]

    @property
    def spans(self) -> int:
        return sum(body.spans * times for _, body, times in self._each())

    @property
    def traces(self) -> int:
        return sum(body.traces * times for _, body, times in self._each())

    def costly(self, from_nano_usd: int) -> int:
        """Return how many traces cost at least so much."""
        return sum(times * sum(nano >= from_nano_usd for nano in body.nano_usd) for _, body, times in self._each())

    def totals(self, *labels: str) -> dict[tuple[str, ...], float]:
        """Return what the local roots say, USD.

        Args:
            labels: Of `service_name`, `component`, `http_route`, `http_request_method`.
        """
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for service, body, times in self._each():
            for (component, route, method), usd in body.money.totals.items():
                known = {
                    "service_name": service,
                    "component": component,
                    "http_route": route,
                    "http_request_method": method,
                }
                sums[tuple(known[label] for label in labels)] += usd * times
        return dict(sums)

    def direct(self, *labels: str) -> dict[tuple[str, ...], float]:
        """Return what all spans say of themselves, USD.

        Args:
            labels: Of `service_name`, `feature`, `tenant`, `team`.
        """
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for service, body, times in self._each():
            for whose, usd in body.money.direct.items():
                known = {"service_name": service, **dict(zip(names.ATTRIBUTION_LABELS, whose, strict=True))}
                sums[tuple(known[label] for label in labels)] += usd * times
        return dict(sums)

    def counted(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the values of a metric as last exported by each worker, added up.

        Args:
            metric: OpenTelemetry name.

            labels: `service_name` or labels of the metric.
        """
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for worker, rounds in self._rounds.items():
            for one in self._profiles[worker.profile].series:
                if one.family.name == metric:
                    known = dict(zip(one.family.labels, one.reading.labels, strict=True))
                    known["service_name"] = worker.service
                    sums[tuple(known[label] for label in labels)] += one.reading.value * rounds
        return dict(sums)

    @property
    def series(self) -> int:
        """Points in the newest exports of all workers."""
        return sum(len(self._profiles[worker.profile].series) for worker in self._rounds)


class Load:
    """The work of a fleet, sent in rounds.

    Args:
        fleet: Who sends.

        endpoint: `http://HOST:PORT` of an OTLP/HTTP receiver.

        signals: `traces`, `metrics` or both.

        connections: Threads that send, each over its own connection; a worker stays with one of them.

        compressed: Send gzip.

        anywhere: Let the receiver be on another machine.

        priced: Whether the spans carry what spancost writes.
    """

    def __init__(
        self,
        fleet: Fleet,
        endpoint: str,
        *,
        signals: Sequence[str] = SIGNALS,
        connections: int = 2,
        compressed: bool = False,
        anywhere: bool = False,
        priced: bool = True,
    ) -> None:
        self._endpoint = endpoint
        self._signals = frozenset(signals)
        self._connections = connections
        self._settings = {"compressed": compressed, "anywhere": anywhere}
        self._fleet = fleet
        self._runs = 0
        self.profiles = [make_profile(fleet, number, priced=priced) for number in range(fleet.kinds)]
        self._workers = list(fleet.all_workers())
        self._resources = [resource_part(worker.resource) for worker in self._workers]

    def send_to(self, endpoint: str) -> None:
        """Send to another receiver from now on."""
        self._endpoint = endpoint

    def run(self, limits: Limits, tell: Told | None = None) -> Sent:
        """Send until a limit is reached.

        Args:
            limits: Where it ends.

            tell: Is told now and then how far it is.

        Raises:
            LoadError: The receiver did not take something.
        """
        sent = Sent(self.profiles)
        self._runs += 1  # with trace ids of its own
        run = _Run(limits, sent, tell)
        cpu_s = process_time()
        threads = [
            threading.Thread(target=self._send, args=(number, run), name=f"fleet-{number}", daemon=True)
            for number in range(min(self._connections, len(self._workers)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent.seconds = monotonic() - run.began
        sent.cpu_s = process_time() - cpu_s
        if run.error is not None:
            raise run.error
        return sent

    def _send(self, number: int, run: _Run) -> None:
        try:
            with Sender(self._endpoint, **self._settings) as sender:
                try:
                    self._rounds(number, run, sender)
                finally:
                    run.sent.add_traffic(sender)
        except Exception as error:
            run.fail(error)

    def _rounds(self, number: int, run: _Run, sender: Sender) -> None:
        mine = range(number, len(self._workers), self._connections)
        draw = self._fleet.draw(-1, self._runs, number)
        begun_ns = time_ns()
        done = 0
        while not run.is_over and (not run.limits.rounds or done < run.limits.rounds):
            done += 1
            encoded: dict[int, bytes] = {}
            for position in mine:
                worker, resource = self._workers[position], self._resources[position]
                profile = self.profiles[worker.profile]
                if TRACES in self._signals:
                    for body_number, body in enumerate(profile.bodies):
                        if not run.takes(body.spans):
                            return
                        sender.traces(export(resource, body.under(draw.randbytes(FRESH_BYTES))))
                        run.sent.add_body(worker, body_number)
                elif not run.takes(len(profile.series)):
                    return
                if METRICS in self._signals:
                    part = encoded.get(worker.profile)
                    if part is None:
                        part = encoded[worker.profile] = metrics_part(profile.series, done, begun_ns, time_ns())
                    sender.metrics(export(resource, part))
                    run.sent.add_metrics(worker, done)


class _Run:
    """What the threads of one load share."""

    def __init__(self, limits: Limits, sent: Sent, tell: Told | None) -> None:
        self.limits = limits
        self.sent = sent
        self.began = monotonic()
        self.error: Exception | None = None
        self._tell = tell
        self._spans = 0
        self._lock = threading.Lock()
        self._told_at = self.began

    @property
    def is_over(self) -> bool:
        return self.error is not None or monotonic() - self.began >= self.limits.seconds

    def takes(self, spans: int) -> bool:
        """Wait for the turn of so many spans; False if they are beyond a limit."""
        with self._lock:
            if self.is_over or self._spans + spans > self.limits.spans:
                return False
            self._spans += spans
            so_far, now = self._spans, monotonic()
            says = self._tell is not None and now - self._told_at >= 0.2
            if says:
                self._told_at = now
        if says and self._tell is not None:
            done = max(so_far / self.limits.spans, (now - self.began) / self.limits.seconds)
            self._tell(so_far, min(1.0, done))
        if self.limits.rate:
            ahead_s = so_far / self.limits.rate - (now - self.began)
            if ahead_s > 0:
                sleep(min(ahead_s, max(0.0, self.limits.seconds - (now - self.began))))
        return True

    def fail(self, error: Exception) -> None:
        """Stop all threads; the first error stands."""
        with self._lock:
            self.error = self.error or error

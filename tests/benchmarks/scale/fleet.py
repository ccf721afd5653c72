"""How large a simulated fleet is, and who is in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_WORKERS: Final = 100_000
MAX_REQUESTS: Final = 5_000
MAX_LABELS: Final = 20_000
MAX_PROFILES: Final = 64


class Worker(NamedTuple):
    """One process of a service."""

    service: str
    number: int
    """Of the worker within its service."""
    profile: int
    """What it does: services with the same number do the same work."""

    @property
    def resource(self) -> dict[str, str]:
        """Attributes of its resource, as a process in a cluster has them."""
        pod = f"{self.service}-{self.number:04d}"
        return {
            "service.name": self.service,
            "service.instance.id": f"{pod}:8000",
            "service.version": "1.4.2",
            "deployment.environment.name": "production",
            "k8s.namespace.name": f"team-{self.profile}",
            "k8s.pod.name": pod,
            "cloud.provider": "aws",
            "cloud.account.id": "123456789012",
            "cloud.region": "us-east-1",
            "host.name": f"ip-10-0-{self.profile}-{self.number % 256}",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
            "telemetry.sdk.version": "1.45.1",
        }


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated; the same numbers send the same spans and the same money."""

    services: int = 10
    workers: int = 2
    """Processes of each service."""
    routes: int = 20
    """Of each service."""
    tenants: int = 50
    requests: int = 100
    """That a worker serves in one round, spread over its routes and tenants."""
    profiles: int = 4
    """How many kinds of services there are: each is priced by spancost once, at the start."""
    seed: int = 8

    def __post_init__(self) -> None:
        limits = {
            "services": MAX_WORKERS,
            "workers": MAX_WORKERS,
            "routes": MAX_LABELS,
            "tenants": MAX_LABELS,
            "requests": MAX_REQUESTS,
            "profiles": MAX_PROFILES,
        }
        for name, most in limits.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {getattr(self, name)} is not between 1 and {most:,}")
        if self.services * self.workers > MAX_WORKERS:
            raise ValueError(f"services x workers: {self.services * self.workers:,} is more than {MAX_WORKERS:,}")

    @property
    def kinds(self) -> int:
        """Profiles in use."""
        return min(self.profiles, self.services)

    def all_workers(self) -> Iterator[Worker]:
        """Yield every process, a service after the other."""
        for service in range(self.services):
            for number in range(self.workers):
                yield Worker(f"service-{service:05d}", number, service % self.kinds)

    def draw(self, *of: int) -> random.Random:
        """Return the randomness for a part of the work, told apart by numbers."""
        return random.Random(":".join(map(str, (self.seed, *of))))

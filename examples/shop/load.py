"""A bounded, seeded load on the shop: the same requests in the same order at every run."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import requests

from examples.shop.stack import ASSISTANT, OFFICE, PRODUCTS, STOREFRONT

_SEED: Final = 7
_CONCURRENCY: Final = 4
_TIMEOUT_S: Final = 30.0
_TENANTS: Final = ("acme", "blue-door", "cobbler")
PASSING_TENANT: Final = "passing-"
"""How the names of tenants begin that come a single time."""
_LINE_EVERY: Final = 40
"""Requests between two plain progress lines."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to send."""

    path: str
    body: Mapping[str, Any] | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request; `make` gets a number that is unique within the route."""

    app: str
    method: str
    route: str
    """As spancost reports it: the framework's own template; empty when no route matches."""
    make: Callable[[int, random.Random], Call]
    expected_status: int = 200


@dataclass(slots=True)
class Sent:
    """What became of the requests of one route."""

    sent: int = 0
    answered: int = 0
    """With the status that was expected."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Requests by route, those an app sends to another one not among them."""

    routes: Mapping[Route, Sent]
    failures: tuple[str, ...]
    """One line for each request that was not answered as expected."""
    tenants: Mapping[str, int]
    """Requests by the tenant they named."""

    @property
    def sent(self) -> int:
        return sum(counts.sent for counts in self.routes.values())

    @property
    def answered(self) -> int:
        return sum(counts.answered for counts in self.routes.values())


class Progress(Protocol):
    """Told about each finished request."""

    def advance(self) -> None: ...


def _product(chance: random.Random) -> str:
    return f"p{chance.randint(1, PRODUCTS)}"


def _order(number: int, chance: random.Random) -> Call:
    lines = [{"price": "9.90", "count": chance.randint(1, 3)} for _ in range(chance.randint(1, 4))]
    body = {"order_id": f"o{number}", "lines": lines, "note": "Ring twice. " * chance.randint(1, 300)}
    return Call("/checkout", body, chance.choice(_TENANTS))


ROUTES: Final = (
    Route(STOREFRONT, "GET", "/", lambda n, chance: Call("/")),
    Route(
        STOREFRONT, "GET", "/products/<product_id>", lambda n, chance: Call(f"/products/{_product(chance)}")
    ),
    Route(
        STOREFRONT,
        "GET",
        "/products/<product_id>/picture",
        lambda n, chance: Call(f"/products/{_product(chance)}/picture"),
    ),
    Route(STOREFRONT, "GET", "/catalogue.csv", lambda n, chance: Call("/catalogue.csv")),
    Route(STOREFRONT, "POST", "/checkout", _order),
    Route(STOREFRONT, "GET", "", lambda n, chance: Call(f"/nowhere/{n}"), expected_status=404),
    Route(ASSISTANT, "POST", "/chat", lambda n, chance: Call("/chat", {"question": f"Is it blue? {n}"})),
    Route(ASSISTANT, "POST", "/chat/stream", lambda n, chance: Call("/chat/stream", {"question": f"Why? {n}"})),
    Route(
        ASSISTANT,
        "POST",
        "/search",
        lambda n, chance: Call("/search", {"question": f"a red bucket {n}"}, chance.choice(_TENANTS)),
    ),
    Route(ASSISTANT, "POST", "/summaries", lambda n, chance: Call("/summaries", {"question": "Sum up: "})),
    Route(
        ASSISTANT,
        "POST",
        "/feedback",
        lambda n, chance: Call("/feedback", {"feedback_id": f"f{n}", "text": "Well made. " * 30}),
        expected_status=202,
    ),
    Route(
        OFFICE,
        "POST",
        "invoices/",
        lambda n, chance: Call("/invoices/", {"order_id": f"i{n}", "total": "9.90"}),
        expected_status=201,
    ),
    Route(OFFICE, "POST", "reviews/", lambda n, chance: Call("/reviews/", {"text": f"It holds water. {n}"})),
    Route(OFFICE, "POST", "letters/", lambda n, chance: Call("/letters/", {"text": f"Where is my bucket? {n}"})),
    Route(OFFICE, "GET", "export/", lambda n, chance: Call("/export/")),
)  # fmt: skip
"""Every kind of request of the load. Reading an invoice back follows each invoice: see `run_load`."""

READ_INVOICE: Final = Route(OFFICE, "GET", "invoices/<str:invoice_id>/", lambda n, chance: Call(f"/invoices/i{n}/"))


def run_load(
    urls: Mapping[str, str],
    *,
    per_route: int = 10,
    concurrency: int = _CONCURRENCY,
    seed: int = _SEED,
    passing_tenants: int = 0,
    progress: Progress | None = None,
) -> LoadResult:
    """Send `per_route` requests of each route and wait for all answers.

    Args:
        urls: Base URL of each app by name.

        per_route: Requests of each kind.

        concurrency: Requests under way at once.

        seed: The same seed gives the same requests in the same order of sending.

        passing_tenants: So many requests each come from a tenant that comes this one time.

        progress: Told about each finished request.
    """
    chance = random.Random(seed)
    plan = [(route, number, route.make(number, chance)) for route in ROUTES for number in range(per_route)]
    with_tenant = [place for place, (_, _, call) in enumerate(plan) if call.tenant]
    for number, place in enumerate(chance.sample(with_tenant, min(passing_tenants, len(with_tenant)))):
        route, of_route, call = plan[place]
        plan[place] = (route, of_route, replace(call, tenant=f"{PASSING_TENANT}{number}"))
    chance.shuffle(plan)
    results = {route: Sent() for route in (*ROUTES, READ_INVOICE)}
    failures: list[str] = []
    lock = threading.Lock()
    local = threading.local()

    def send(route: Route, call: Call) -> None:
        session: requests.Session | None = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
            session.trust_env = False
        failure = ""
        try:
            headers = {"X-Tenant": call.tenant} if call.tenant else {}
            answer = session.request(
                route.method, urls[route.app] + call.path, json=call.body, headers=headers, timeout=_TIMEOUT_S
            )
            if answer.status_code != route.expected_status:
                failure = f"{route.app} {route.method} {call.path}: status {answer.status_code}"
        except requests.RequestException as error:
            failure = f"{route.app} {route.method} {call.path}: {error}"
        with lock:
            results[route].sent += 1
            if failure:
                failures.append(failure)
            else:
                results[route].answered += 1
            if progress is not None:
                progress.advance()

    def carry_out(item: tuple[Route, int, Call]) -> None:
        route, number, call = item
        send(route, call)
        if route.route == "invoices/":
            send(READ_INVOICE, READ_INVOICE.make(number, chance))

    with ThreadPoolExecutor(concurrency, thread_name_prefix="load") as pool:
        list(pool.map(carry_out, plan))
    tenants = Counter(call.tenant for _, _, call in plan if call.tenant)
    return LoadResult(results, tuple(failures), tenants)


def request_count(per_route: int) -> int:
    """Requests that `run_load` sends."""
    return per_route * (len(ROUTES) + 1)


class _Lines:
    """Progress for a pipe or a log file: one line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def advance(self) -> None:
        self._done += 1
        if self._done % _LINE_EVERY == 0 or self._done == self._total:
            print(f"  {self._done} of {self._total} requests", file=sys.stderr, flush=True)


def show_progress(total: int) -> AbstractContextManager[Progress]:
    """A progress bar on a terminal, plain lines elsewhere; on standard error."""
    if not sys.stderr.isatty():
        return nullcontext(_Lines(total))
    return _Bar(total)


class _Bar:
    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("  requests"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("requests", total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

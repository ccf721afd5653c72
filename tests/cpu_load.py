"""A mixed load whose requests know themselves how much CPU time they used.

Every kind of request spins for the same time; what differs is how: at once, between sleeps, in four child tasks, or in
thread pools. What a request is charged in instance-seconds of one vCPU is its CPU time in seconds.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NamedTuple

import anyio.to_thread
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from spancost import names
from spancost._guard import ErrorLog
from spancost._install import build_engine
from spancost.config import Config
from spancost.processor import CostSpanProcessor
from spancost.testing import RecordingSink
from spancost.tree import Tree
from spancost.window import IDLE

KINDS: Final = ("spin", "sleep", "fan_out", "pool")
SYNC_KINDS: Final = ("spin", "sleep")
NAME: Final = "load.name"
_STEPS: Final = 8


class Outcome(NamedTuple):
    """What one request used, and what it was charged; CPU-seconds."""

    kind: str
    true_s: float
    measured_s: float

    @property
    def ratio(self) -> float:
        """Measured time as a multiple of the true one."""
        return self.measured_s / self.true_s


class Load:
    """A priced provider, the requests sent through it, and the truth about them."""

    def __init__(self, model: str, spin_s: float, **settings: Any) -> None:
        self.spin_s = spin_s
        """CPU time of one request: much more than what it takes to make a request of it."""
        config = Config(
            compute="3600usd/h",  # 1 USD an instance-second
            cpu_request=1.0,
            compute_share=1.0,
            lease="off",
            detect=False,
            compute_model=model,
            **settings,
        )
        self.engine = build_engine(config)
        self.engine.errors = ErrorLog(reraise=True)
        self.engine.background = False
        self.engine.upkeep.clear()
        self.recorded = RecordingSink()
        self.engine.add_sink(self.recorded)
        self._started_s = self._now_s = 0.0
        self.engine.monotonic = self._read_clock
        begin = self.engine.begin

        def begin_at(now: float) -> Tree:
            self._started_s = now
            return begin(now)

        self.engine.begin = begin_at  # type: ignore[method-assign]
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.provider.add_span_processor(CostSpanProcessor(self.engine))
        self.tracer: Tracer = self.provider.get_tracer("load")
        self.true_s: dict[str, float] = {}
        self._true_lock = threading.Lock()
        if model == names.CPU_MODEL:
            self.engine.watch_cpu()

    def _read_clock(self) -> float:
        self._now_s = time.monotonic()
        return self._now_s

    def spin(self, name: str, seconds: float) -> None:
        """Use the CPU of this thread, and remember how much."""
        begun_ns = time.thread_time_ns()
        end_ns = begun_ns + round(seconds * 1e9)
        while time.thread_time_ns() < end_ns:
            pass
        used_s = (time.thread_time_ns() - begun_ns) * 1e-9
        with self._true_lock:
            self.true_s[name] = self.true_s.get(name, 0.0) + used_s

    def outcomes(self) -> list[Outcome]:
        """Return what became of each request, and forget them."""
        spans = {_name(span): span for span in self.exporter.get_finished_spans() if _is_local_root(span)}
        true_s, self.true_s = self.true_s, {}
        self.exporter.clear()
        return [
            Outcome(name.partition("-")[0], seconds, float(spans[name].attributes[names.TOTAL_USD]))  # type: ignore[index,arg-type]
            for name, seconds in sorted(true_s.items())
        ]

    def books(self) -> tuple[float, float, float]:
        """Publish, and return what was attributed, what was idle, and the uptime; instance-seconds."""
        assert self.engine.publish(final=True)
        idle_s = self.recorded.usd(names.COMPUTE, IDLE)
        return self.recorded.usd(names.COMPUTE), idle_s, self._now_s - self._started_s


@contextmanager
def loaded(model: str = names.CPU_MODEL, *, spin_s: float, **settings: Any) -> Generator[Load]:
    """Make a load for one model of compute; meanwhile garbage is not collected, which would be some request's time."""
    load = Load(model, spin_s, **settings)
    gc.collect()
    gc.disable()
    try:
        yield load
    finally:
        gc.enable()
        load.provider.shutdown()


def _name(span: ReadableSpan) -> str:
    attributes = span.attributes or {}
    return str(attributes.get(NAME) or span.name)


def _is_local_root(span: ReadableSpan) -> bool:
    return names.TOTAL_NANO_USD in (span.attributes or {})


# --- requests -----------------------------------------------------------------------------------


def request(load: Load, name: str) -> None:
    """Serve a request in this thread."""
    with load.tracer.start_as_current_span(name):
        view(load, name)


def view(load: Load, name: str) -> None:
    """What a request does in one thread."""
    for _ in range(_STEPS):
        load.spin(name, load.spin_s / _STEPS)
        if name.startswith("sleep"):
            time.sleep(0.002)


async def async_request(load: Load, name: str) -> None:
    """Serve a request in this task."""
    with load.tracer.start_as_current_span(name):
        await async_view(load, name)


async def async_view(load: Load, name: str) -> None:
    """What a request does in one task and those that it starts."""
    kind = name.partition("-")[0]
    if kind == "fan_out":
        await asyncio.gather(*(_child(load, name) for _ in range(4)))
    elif kind == "pool":
        loop = asyncio.get_running_loop()
        third = partial(load.spin, name, load.spin_s / 3)
        await asyncio.gather(
            loop.run_in_executor(None, third), asyncio.to_thread(third), anyio.to_thread.run_sync(third)
        )
    else:
        for _ in range(_STEPS):
            load.spin(name, load.spin_s / _STEPS)
            await asyncio.sleep(0.002 if kind == "sleep" else 0)


async def _child(load: Load, name: str) -> None:
    with load.tracer.start_as_current_span("part"):
        for _ in range(2):
            load.spin(name, load.spin_s / 8)
            await asyncio.sleep(0.001)


# --- what serves them ---------------------------------------------------------------------------


async def _async_requests(load: Load, each: int) -> None:
    await anyio.to_thread.run_sync(int)  # its worker and its imports are nobody's
    await asyncio.gather(*(async_request(load, f"{kind}-{number}") for number in range(each) for kind in KINDS))


def on_asyncio(load: Load, each: int) -> None:
    """Serve requests of every kind at once in one event loop of asyncio."""
    asyncio.run(_async_requests(load, each))


def on_uvloop(load: Load, each: int) -> None:
    """The same in one of uvloop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_async_requests(load, each))


def on_threads(load: Load, each: int) -> None:
    """Serve requests at once in threads of their own pool, as a server with threads does."""
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(request, load, f"{kind}-{number}") for number in range(each) for kind in SYNC_KINDS]
        for one in done:
            one.result()


def on_fastapi(load: Load, each: int) -> None:
    """Serve requests at once by FastAPI: sync views, which run in its thread pool, and async ones."""
    from fastapi import FastAPI
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    app = FastAPI()

    def in_pool(name: str) -> str:
        view(load, name)
        return name

    async def in_loop(name: str) -> str:
        await async_view(load, name)
        return name

    app.add_api_route("/sync/{name}", in_pool)
    app.add_api_route("/async/{name}", in_loop)

    def note_name(span: Any, scope: dict[str, Any]) -> None:
        span.set_attribute(NAME, scope["path"].rpartition("/")[2])

    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=load.provider, server_request_hook=note_name, exclude_spans=["receive", "send"]
    )

    async def requests() -> None:
        names_of_sync = [f"{kind}-sync{number}" for number in range(each) for kind in SYNC_KINDS]
        names_of_async = [f"{kind}-async{number}" for number in range(each) for kind in KINDS]
        spin_s, load.spin_s = load.spin_s, 0.001
        for path in ("/sync/spin", *(f"/async/{kind}" for kind in KINDS)):
            await _asgi(app, path)  # what is imported and made with a first request is nobody's
        load.spin_s = spin_s
        load.true_s.clear()
        sync = (_asgi(app, f"/sync/{name}") for name in names_of_sync)
        await asyncio.gather(*sync, *(_asgi(app, f"/async/{name}") for name in names_of_async))

    asyncio.run(requests())


async def _asgi(app: Callable[..., Awaitable[None]], path: str) -> None:
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": [],
        "client": ("93.184.216.34", 50_000), "server": ("shop.example", 80),
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200, message

    # A task of its own, as servers have it: its steps are what is measured.
    await asyncio.get_running_loop().create_task(_call(app, scope, receive, send))


async def _call(app: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    await app(*arguments)


SERVERS: Final[dict[str, Callable[[Load, int], None]]] = {
    "asyncio": on_asyncio,
    "uvloop": on_uvloop,
    "threads": on_threads,
    "fastapi": on_fastapi,
}

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from billiard.util import set_pdeathsig  # pyright: ignore[reportUnknownVariableType]

import spancost._install as spancost_install
from spancost import _last_flush
from spancost.testing import World, priced_provider
from tests.e2e.zero_code import wait_until
from tests.spans import REGION


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(_last_flush, "_hooked", set[str]())
    with priced_provider(region=REGION, reraise=False) as world:
        monkeypatch.setattr(spancost_install, "_default", world.engine)
        yield world


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("of another version")


def _hook() -> None:
    _last_flush._hook_libraries()  # pyright: ignore[reportPrivateUsage]


class _Signal:
    def __init__(self) -> None:
        self.receivers: list[Callable[..., None]] = []

    def connect(self, receiver: Callable[..., None], **_: Any) -> None:
        self.receivers.append(receiver)


def test_library_that_has_changed_does_not_keep_others_from_telling_when_a_child_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[Any] = []

    def register_after_fork(*given: Any) -> None:
        hooked.append(given)

    util = SimpleNamespace(register_after_fork=register_after_fork)
    monkeypatch.setitem(sys.modules, "celery.signals", SimpleNamespace(worker_process_shutdown=None))
    monkeypatch.setitem(sys.modules, "multiprocessing.util", util)
    _hook()
    assert len(hooked) == 1
    assert world.engine.errors.counts == {"fork": 1}


def test_each_library_is_hooked_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = _Signal()
    monkeypatch.setitem(sys.modules, "celery.signals", SimpleNamespace(worker_process_shutdown=signal))
    _hook()
    _hook()
    assert len(signal.receivers) == 1


def test_flush_that_fails_lets_the_child_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    signal = _Signal()
    monkeypatch.setitem(sys.modules, "celery.signals", SimpleNamespace(worker_process_shutdown=signal))
    _hook()
    monkeypatch.setattr(_last_flush, "flush_in_time", _fail)
    (end,) = signal.receivers
    end(sender=None, pid=1, exitcode=0)
    assert not world.engine.errors.counts  # nothing was priced yet, so nothing is flushed
    world.tracer.start_span("work").end()
    end(sender=None, pid=1, exitcode=0)
    assert world.engine.errors.counts == {"exit": 1}


def test_flush_goes_on_when_a_signal_asks_the_process_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[str] = []

    def flush() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.1)
        did.append("flushed")

    def end(*_: object) -> None:
        did.append("asked to end")
        sys.exit(0)

    monkeypatch.setattr(_last_flush, "_flush", flush)
    before: Callable[[int, FrameType | None], Any] | int | None = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(SystemExit):
            _last_flush.flush_in_time()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert did == ["asked to end", "flushed"]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills children of threads on Linux only")
def test_flush_of_a_celery_child_outlives_the_thread_that_has_forked_it(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutdown = _Signal()
    monkeypatch.setitem(sys.modules, "celery.signals", SimpleNamespace(worker_process_shutdown=shutdown))
    _hook()
    worker = os.getpid()
    flushing, flushed = tmp_path / "flushing", tmp_path / "flushed"
    pids: list[int] = []

    def supervise() -> None:
        thread = Path(f"/proc/{worker}/task/{threading.get_native_id()}")

        def flush() -> None:
            flushing.touch()
            wait_until(lambda: not thread.exists(), "the forking thread has ended")
            time.sleep(0.1)
            flushed.touch()

        pid = os.fork()
        if pid == 0:
            try:
                set_pdeathsig(signal.SIGKILL)  # as Celery does in each child
                world.tracer.start_span("task").end()
                monkeypatch.setattr(_last_flush, "_flush", flush)
                shutdown.receivers[0](sender=None, pid=os.getpid(), exitcode=0)
            finally:
                os._exit(0)
        pids.append(pid)
        wait_until(flushing.exists, "the child flushes")

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    supervisor.join()
    _, status = os.waitpid(pids[0], 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert flushed.exists()

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import spancost._install as spancost_install
from spancost import _last_flush
from spancost.testing import World, priced_provider
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

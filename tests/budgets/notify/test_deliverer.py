"""Alerts leave the store once they are delivered, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spancost._guard import ErrorLog
from spancost.budgets.alert import Alert
from spancost.budgets.notify import deliverer as module
from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.deliverer import BackOff, Deliverer
from spancost.budgets.notify.outbox import channel_of, outbox_entries
from spancost.budgets.notify.sending import DeliveryError, SendsAlerts
from spancost.budgets.store import OutboxEntry
from tests.budgets.notify.alerts import alert, resolved
from tests.budgets.notify.waiting import Waiting
from tests.support.alert_receiver import AlertReceiver, Reply, always

WAIT_S = 10.0
FAST = BackOff(0.005, 0.02)


class Channel:
    """Keeps what it is sent; `answer` may raise, or wait."""

    def __init__(self, answer: Callable[[Alert], None] | None = None) -> None:
        self.answer = answer
        self.tried: list[str] = []
        self.sent: list[str] = []
        self.threads: set[str] = set()

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        self.threads.add(threading.current_thread().name)
        self.tried.append(alert.id)
        if self.answer is not None:
            self.answer(alert)
        self.sent.append(alert.id)


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.002)


def ours() -> set[threading.Thread]:
    """Return the threads that deliver."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("spancost-alerts")}


def fails(times: int, *, is_final: bool = False, retry_after_s: float | None = None) -> Callable[[Alert], None]:
    """Return an answer that fails so many times for each alert."""
    seen: dict[str, int] = {}

    def answer(alert: Alert) -> None:
        seen[alert.id] = seen.get(alert.id, 0) + 1
        if seen[alert.id] <= times:
            raise DeliveryError("not now", is_final=is_final, retry_after_s=retry_after_s)

    return answer


def waits_for(gate: threading.Event) -> Callable[[Alert], None]:
    def answer(alert: Alert) -> None:
        gate.wait(WAIT_S)

    return answer


@contextmanager
def delivering(
    store: Waiting, *, back_off: BackOff = FAST, errors: ErrorLog | None = None, **channels: SendsAlerts
) -> Generator[Deliverer]:
    deliverer = Deliverer(
        store.as_store(), channels, errors=errors or ErrorLog(), now=store.now, worker_id="w", back_off=back_off
    )
    try:
        yield deliverer
    finally:
        deliverer.close()


def test_an_entry_is_made_for_each_channel_that_is_told() -> None:
    entries = outbox_entries(alert(id="e:1"), ["ops", "pager"])
    assert [entry.id for entry in entries] == ["e:1:ops", "e:1:pager"]
    assert [channel_of(entry) for entry in entries] == ["ops", "pager"]
    assert [entry.id for entry in outbox_entries(alert(notify=("pager",)), ["ops", "pager"])] == ["a1f0.3:pager"]


def test_each_channel_is_told_and_the_store_is_empty_then() -> None:
    store, ops, pager = Waiting(), Channel(), Channel()
    store.put(alert(), ["ops", "pager"])
    with delivering(store, ops=ops, pager=pager) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        until(lambda: deliverer.held == 0)
        assert (ops.sent, pager.sent) == (["a1f0.3"], ["a1f0.3"])
        assert deliverer.counts == (2, 0, 0, 0)
        assert ops.threads == {"spancost-alerts-ops"}
        assert threading.current_thread().name not in pager.threads


def test_nothing_is_started_before_the_first_alert_and_no_thread_sends_when_all_is_done() -> None:
    before = ours()
    store, ops = Waiting(), Channel()
    with delivering(store, ops=ops) as deliverer:
        assert ours() == before
        store.put(alert())
        deliverer.wake()
        until(lambda: ops.sent == ["a1f0.3"])
        until(lambda: [thread.name for thread in ours() - before] == ["spancost-alerts"])
        looks = store.looks
        time.sleep(0.1)
        assert store.looks == looks, "it waits to be woken"
    until(lambda: not ours() - before)


def test_a_failure_is_tried_again_until_it_succeeds() -> None:
    store, ops = Waiting(), Channel(fails(4))
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        assert ops.tried == ["a1f0.3"] * 5
        assert deliverer.counts == (1, 4, 0, 0)


def test_pauses_grow_to_their_bound_and_a_receiver_may_want_a_longer_one() -> None:
    pauses = [BackOff(1.0, 300.0).pause_s(failures, None) for failures in range(1, 40)]
    for failures, pause_s in enumerate(pauses):
        assert 0.5 * min(300.0, 2.0**failures) <= pause_s <= min(300.0, 2.0**failures)
    assert BackOff(1.0, 300.0).pause_s(1, 120.0) == 120.0
    assert BackOff(1.0, 300.0).pause_s(1, 1e9) == 3600.0
    assert BackOff(1.0, 300.0).pause_s(10**6, 1.0) >= 150.0


def test_a_receiver_is_left_alone_for_as_long_as_it_wants() -> None:
    store, ops = Waiting(), Channel(fails(1, retry_after_s=0.3))
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        began = time.monotonic()
        deliverer.wake()
        until(lambda: not store.entries)
        assert time.monotonic() - began >= 0.3


def test_what_is_refused_for_good_is_given_up_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    store, ops = Waiting(), Channel(fails(99, is_final=True))
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        assert deliverer.counts == (0, 1, 1, 0)
    assert "an alert of llm-monthly is given up, channel ops does not take it: not now" in caplog.text


def test_an_alert_is_given_up_when_it_fails_after_a_day() -> None:
    store = Waiting(now=lambda: alert().at + 86_401.0)
    ops = Channel(lambda told: fails(99)(told) if told.id == "a1f0.3" else None)
    store.put(alert())
    store.put(alert(id="late.1", episode="late"))
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        assert ops.sent == ["late.1"], "it is tried however old it is"
        assert deliverer.counts == (1, 1, 1, 0)


def test_what_resolves_waits_for_what_it_resolves_and_other_episodes_do_not() -> None:
    store = Waiting()
    gate = threading.Event()

    def answer(told: Alert) -> None:
        if told.id == "a1f0.3" and not gate.is_set():
            raise DeliveryError("not now")

    ops = Channel(answer)
    store.put(alert())
    store.put(resolved())
    store.put(alert(id="b.1", episode="b"))
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: ops.tried.count("a1f0.3") > 3 and ops.sent == ["b.1"])
        gate.set()
        until(lambda: not store.entries)
        assert ops.sent == ["b.1", "a1f0.3", "a1f0.4"]


def test_a_channel_that_hangs_holds_up_no_other() -> None:
    store, gate = Waiting(), threading.Event()
    stuck, ops = Channel(waits_for(gate)), Channel()
    ids = [f"e{number}.1" for number in range(50)]
    for id in ids:
        store.put(alert(id=id, episode=id), ["stuck", "ops"])
    with delivering(store, stuck=stuck, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: ops.sent == ids and stuck.tried == ["e0.1"])
        assert stuck.sent == []
        gate.set()
        until(lambda: stuck.sent == ids)


def test_a_full_line_leaves_the_rest_in_the_store_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 8)
    monkeypatch.setattr(module, "_FULL_PAUSE_S", 0.02)
    store, gate = Waiting(), threading.Event()
    ops = Channel(waits_for(gate))
    ids = [f"e.{number}" for number in range(60)]
    for id in ids:
        store.put(alert(id=id, episode="e"))
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: deliverer.held == 8)
        assert len(store.entries) == 60
        gate.set()
        until(lambda: not store.entries)
        assert ops.sent == ids
        assert deliverer.held == 0


def test_nothing_overtakes_what_a_full_line_has_left_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 1)
    clock, gate = [alert().at], threading.Event()
    store, ops = Waiting(now=lambda: clock[0]), Channel(waits_for(gate))
    for id in ("e.0", "e.1", "e.2"):
        store.put(alert(id=id, episode="e"))
    with delivering(store, ops=ops) as deliverer:
        assert not deliverer.flush(0.05)
        gate.set()
        until(lambda: ops.sent == ["e.0"] and deliverer.held == 0)
        store.put(alert(id="e.3", episode="e"))
        deliverer.flush(WAIT_S)
        assert ops.sent == ["e.0"], "its line is looked at again in a second"
        for _ in range(20):
            clock[0] += 61.0
            deliverer.flush(WAIT_S)
        assert ops.sent == ["e.0", "e.1", "e.2", "e.3"]


def test_what_a_killed_process_held_is_delivered_by_another_when_its_lease_is_over() -> None:
    clock = [alert().at]
    store, ops = Waiting(now=lambda: clock[0]), Channel()
    store.put(alert())
    assert store.take_alerts("killed", now=clock[0], lease_s=60.0)
    with delivering(store, ops=ops) as deliverer:
        assert deliverer.flush(1.0)
        assert ops.sent == []
        clock[0] += 61.0
        assert deliverer.flush(1.0)
        assert ops.sent == ["a1f0.3"]


def test_a_process_that_lives_keeps_what_it_has_taken() -> None:
    clock, gate = [alert().at], threading.Event()
    store, slow, other = Waiting(now=lambda: clock[0]), Channel(waits_for(gate)), Channel()
    store.put(alert())
    with delivering(store, ops=slow) as first, delivering(store, ops=other) as second:
        first.wake()
        until(lambda: slow.tried == ["a1f0.3"])
        for _ in range(4):
            clock[0] += 40.0
            second.flush(0.05)
            first.flush(0.05)
        gate.set()
        until(lambda: not store.entries)
        assert (slow.sent, other.sent) == (["a1f0.3"], [])


def test_what_was_sent_is_not_sent_again_when_the_store_is_away_meanwhile() -> None:
    clock = [alert().at]
    store, ops = Waiting(now=lambda: clock[0]), Channel()

    def leave(told: Alert) -> None:
        store.is_away = True

    ops.answer = leave
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        assert not deliverer.flush(1.0)
        assert ops.sent == ["a1f0.3"]
        clock[0] += 120.0
        assert not deliverer.flush(0.1)
        store.is_away = False
        assert deliverer.flush(1.0)
        assert store.entries == {}
        assert ops.sent == ["a1f0.3"]
        assert deliverer.counts == (1, 0, 0, 0)


def test_what_was_taken_anew_while_it_was_finished_is_not_sent_again() -> None:
    store, ops = Waiting(), Channel()
    store.put(alert())
    [taken] = store.entries.values()
    with delivering(store, ops=ops) as deliverer:
        assert deliverer.flush(WAIT_S)
        store.entries[taken[0].id] = taken[0]._replace(attempts=1), 0.0  # somebody's lease was over in between
        deliverer.flush(WAIT_S)
        assert deliverer.flush(WAIT_S)
        assert (ops.sent, store.entries) == (["a1f0.3"], {})
        store.put(alert())
        assert deliverer.flush(WAIT_S)
        assert ops.sent == ["a1f0.3"] * 2, "what nobody has taken is new"


def test_an_alert_of_a_channel_that_only_others_have_is_left_to_them() -> None:
    clock = [alert().at]
    store, ops, pager = Waiting(now=lambda: clock[0]), Channel(), Channel()
    store.put(alert(), ["pager"])
    with delivering(store, ops=ops) as first, delivering(store, pager=pager) as second:
        first.flush(1.0)
        clock[0] += 1.5
        assert second.flush(1.0)
        assert pager.sent == ["a1f0.3"]
        store.put(alert(id="b.1"), ["nobody"])
        clock[0] += 86_400.0
        first.flush(1.0)
        assert store.entries == {}
        assert first.counts == (0, 0, 1, 0)


def test_an_entry_that_cannot_be_read_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    store, ops = Waiting(), Channel()
    store.entries["x:ops"] = OutboxEntry("x:ops", "{"), 0.0
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        assert deliverer.flush(1.0)
        assert ops.sent == ["a1f0.3"]
        assert deliverer.counts == (1, 0, 1, 0)


def test_an_unknown_error_is_retried_and_its_text_kept_back(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def answer(told: Alert) -> None:
        calls.append(told.id)
        if len(calls) == 1:
            raise RuntimeError("SECRET")

    store, ops = Waiting(), Channel(answer)
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        assert deliverer.counts == (1, 1, 0, 0)
    assert "channel ops fails: RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_callback_that_ends_its_thread_is_tried_again() -> None:
    calls: list[str] = []

    def answer(told: Alert) -> None:
        calls.append(told.id)
        if len(calls) == 1:
            raise SystemExit

    store, ops = Waiting(), Channel(answer)
    store.put(alert())
    with delivering(store, ops=ops) as deliverer:
        deliverer.wake()
        until(lambda: not store.entries)
        assert ops.sent == ["a1f0.3"]


def test_flush_tries_what_is_due_once_and_keeps_its_time() -> None:
    store, ops = Waiting(), Channel(fails(1))
    gate = threading.Event()
    stuck = Channel(waits_for(gate))
    store.put(alert(), ["ops"])
    with delivering(store, back_off=BackOff(60.0, 60.0), ops=ops, stuck=stuck) as deliverer:
        assert not deliverer.flush(WAIT_S)
        assert not deliverer.flush(WAIT_S)
        assert ops.tried == ["a1f0.3"], "the next attempt is due in a minute"
        store.put(alert(id="b.1", episode="b"), ["stuck", "ops"])
        began = time.monotonic()
        assert not deliverer.flush(0.2)
        assert time.monotonic() - began < 5.0
        until(lambda: ops.tried == ["a1f0.3", "b.1"])
        gate.set()


def test_flush_sends_on_its_own_thread_where_no_other_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    store, ops, pager = Waiting(), Channel(), Channel(fails(1))
    for number in range(3):
        store.put(alert(id=f"e{number}", episode=f"e{number}"), ["ops", "pager"])
    with delivering(store, back_off=BackOff(60.0, 60.0), ops=ops, pager=pager) as deliverer:
        monkeypatch.setattr(threading.Thread, "start", start)
        deliverer.wake()
        assert not deliverer.flush(WAIT_S)
        assert ops.sent == ["e0", "e1", "e2"]
        assert pager.tried == ["e0", "e1", "e2"]


def test_close_gives_back_what_is_held() -> None:
    store, ops, other = Waiting(), Channel(fails(99)), Channel()
    store.put(alert())
    with delivering(store, back_off=BackOff(60.0, 60.0), ops=ops) as first, delivering(store, ops=other) as second:
        assert not first.flush(WAIT_S)
        second.flush(WAIT_S)
        assert other.sent == []
        first.close()
        assert second.flush(WAIT_S)
        assert other.sent == ["a1f0.3"]


def test_a_store_that_is_away_breaks_nothing() -> None:
    store, ops = Waiting(), Channel()
    store.put(alert())
    store.is_away = True
    errors = ErrorLog()
    with delivering(store, errors=errors, ops=ops) as deliverer:
        deliverer.wake()
        assert not ops.sent
        deliverer.flush(0.1)
        store.is_away = False
        deliverer.wake()
        until(lambda: ops.sent == ["a1f0.3"])
        assert errors.counts == {}


FORKING = """
import os, sys, time
from spancost._guard import ErrorLog
from spancost.budgets.notify.deliverer import Deliverer
from tests.budgets.notify.alerts import alert
from tests.budgets.notify.waiting import Waiting

class Channel:
    def send(self, alert, *, timeout_s):
        os.write(1, f"{os.getpid() == parent} {alert.id}\\n".encode())
        time.sleep(0.2)

parent = os.getpid()
store = Waiting()
deliverer = Deliverer(store, {"ops": Channel()}, errors=ErrorLog(reraise=True))
for number in range(3):
    store.put(alert(id=f"p{number}", episode=f"p{number}"))
deliverer.wake()
while deliverer.held == 0:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    store.after_fork_in_child()
    store.put(alert(id="c0"))
    deliverer.wake()
    assert deliverer.flush(10.0)
    assert deliverer.counts.sent == 1, deliverer.counts
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert deliverer.flush(10.0)
assert deliverer.counts.sent == 3
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_delivers_its_own_alerts_and_none_of_its_parent() -> None:
    done = run(FORKING)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == ["", "False c0", "True p0", "True p1", "True p2"]


EXIT = """
import atexit, sys
from spancost._guard import ErrorLog
from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.deliverer import Deliverer
from tests.budgets.notify.alerts import alert
from tests.budgets.notify.waiting import Waiting

store = Waiting()
channel = open_channel(read_channel("ops", {"type": "webhook", "url": sys.argv[1]}))
deliverer = Deliverer(store, {"ops": channel}, errors=ErrorLog(reraise=True))
atexit.register(lambda: print(deliverer.flush(float(sys.argv[2]))))
store.put(alert())
"""


def test_what_is_put_there_last_is_delivered_when_the_process_ends() -> None:
    with AlertReceiver() as receiver:
        done = run(EXIT, receiver.url, "10")
        assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
        assert list(receiver.taken) == ["a1f0.3"]


def test_a_receiver_that_hangs_does_not_keep_a_process_from_ending() -> None:
    with AlertReceiver(always(Reply(hangs=True))) as receiver:
        done = run(EXIT, receiver.url, "0.3")
        assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")
        assert len(receiver.seen) == 1


def test_no_log_shows_a_secret_whatever_a_receiver_does(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(0)
    replies = [
        Reply(500, body=b"/services/SECRET"),
        Reply(hangs_up=True),
        Reply(429, {"Retry-After": "0"}),
        Reply(503, body=b"SECRET"),
        Reply(302, {"Location": "/services/SECRET"}),
    ]
    with AlertReceiver(lambda number, posted: replies[number % len(replies)]) as receiver:
        monkeypatch.setenv("SLACK_URL", f"{receiver.url}/services/SECRET")
        slack = open_channel(read_channel("ops", {"type": "slack", "url_env": "SLACK_URL"}))
        store, errors = Waiting(), ErrorLog()
        monkeypatch.setattr(errors, "log_once", _log_each_time(errors))
        store.put(alert())
        with delivering(store, errors=errors, ops=slack) as deliverer:
            deliverer.wake()
            until(lambda: not store.entries)
            assert deliverer.counts == (0, 5, 1, 0)
        assert len(caplog.records) == 5
        assert "127.0.0.1 answered 500" in caplog.text
        assert "SECRET" not in caplog.text
        assert "SECRET" not in repr(slack)


def _log_each_time(errors: ErrorLog) -> Callable[..., None]:
    log_once = errors.log_once

    def log(kind: str, message: str, *args: object, **options: int) -> None:
        errors._logged_at.clear()  # pyright: ignore[reportPrivateUsage]
        log_once(kind, message, *args, **options)

    return log

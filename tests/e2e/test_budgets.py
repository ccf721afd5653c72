"""Monthly budgets of a whole server, and of several: one sum and one voice, whatever becomes of the processes."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import budget_files, zero_code
from tests.e2e.budget_files import EVERYTHING, LLM_MONTHLY, THRESHOLDS, calls, calls_by_worker, spent, told
from tests.e2e.exposition import from_files, repeated, samples
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import LLM_CALL_USD, Books, Program, wait_until
from tests.support.alert_receiver import AlertReceiver
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.e2e

_EXACT = 1e-9
_FLUSH_S = 0.3
_PARTS = frozenset({"flask", "threading"})
_EACH_ONCE = [(LLM_MONTHLY, "firing", threshold) for threshold in THRESHOLDS]


def _gunicorn(workers: int) -> tuple[str, ...]:
    return (
        *("gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "--workers", str(workers)),
        *("--threads", "2", "tests.e2e.apps.flask_app:app"),
    )


def _environ(directory: Path, config: str, **more: str) -> dict[str, str]:
    state = directory / "state"
    return zero_code.environment(
        directory,
        instrumentations=_PARTS,
        SPANCOST_CONFIG=config,
        SPANCOST_FLUSH_INTERVAL=str(_FLUSH_S),
        XDG_STATE_HOME=str(state),
        **more,
    )


def _wait_for_calls(store: str, count: int) -> None:
    wait_until(lambda: calls(store) == count, f"{count} calls in the store")


def _wait_for_alerts(receiver: AlertReceiver, count: int) -> None:
    receiver.wait_for(lambda: len(receiver.taken) >= count, f"alert {count}")


def _load(program: Program, answers: int) -> int:
    """Ask so many times, and return the answers."""
    with CountedLoad(program, "/tenant", clients=4, at_most=answers) as load:
        load.join()
    assert load.failed == 0
    return load.answered


def _budget_series(text: str, name: str = "spancost_budget_spend_usd") -> dict[tuple[str, str], float]:
    found = [sample for sample in samples(text) if sample.name == name]
    assert repeated(found) == []
    return {(dict(one.labels)["budget"], dict(one.labels)["key"]): one.value for one in found}


def test_monthly_budget_of_four_workers_survives_kills_deploys_and_reloads(tmp_path: Path) -> None:
    files = tmp_path / "prometheus"
    files.mkdir()
    store = f"sqlite:{tmp_path / 'state' / 'spancost' / 'budgets.sqlite'}"  # where `auto` keeps it
    with AlertReceiver() as receiver:
        config = budget_files.write_budgets(tmp_path, receiver, limit_calls=400)
        environ = _environ(tmp_path, config, PROMETHEUS_MULTIPROC_DIR=str(files))
        with Program(tmp_path, _gunicorn(4), environ) as program:
            answered = _load(program, 220)  # 55 %
            _wait_for_calls(store, answered)
            _wait_for_alerts(receiver, 1)
            # All that was charged is in the store: a worker that is killed now takes nothing with it.
            victim = calls_by_worker(store).most_common(1)[0][0]
            os.kill(int(victim), signal.SIGKILL)
            answered += _load(program, 40)  # 65 %
            _wait_for_calls(store, answered)
            wait_until(
                lambda: (
                    _budget_series(program.get("/metrics").body.decode()).get((LLM_MONTHLY, ""))
                    == pytest.approx(answered * LLM_CALL_USD, rel=_EXACT)
                ),
                "the sum of all workers in the scrape of one of them, once",
            )
        assert spent(store)[LLM_MONTHLY, ""] == pytest.approx(answered * LLM_CALL_USD, rel=_EXACT)
        with Program(tmp_path, _gunicorn(4), environ) as program:  # the next version
            answered += _load(program, 80)  # 85 %
            _wait_for_alerts(receiver, 2)
            with CountedLoad(program, "/tenant", clients=4) as load:
                load.wait_for(20)
                before = set(load.counts)
                os.kill(program.process.pid, signal.SIGHUP)
                wait_until(lambda: len(set(load.counts) - before) >= 2, "new workers have answered")
                load.wait_for(100)  # 110 %
            _wait_for_alerts(receiver, 3)
        sums = spent(store)
        charged = calls(store)
        assert answered + load.answered <= charged <= answered + load.answered + load.failed
        assert sums[LLM_MONTHLY, ""] == pytest.approx(charged * LLM_CALL_USD, rel=_EXACT)
        assert calls_by_worker(store).total() == charged
        # Compute of the killed worker's last moments is in neither or in both but for one flush.
        booked = Books(program.ledger).by_component()
        assert booked[names.LLM] == pytest.approx(sums[LLM_MONTHLY, ""], rel=_EXACT)
        assert told(receiver) == _EACH_ONCE
        assert len(receiver.seen) == len(THRESHOLDS)
        assert "Traceback" not in program.process.output()
    assert repeated(from_files(files)) == []


def test_killed_worker_takes_at_most_what_it_charged_since_its_last_flush(tmp_path: Path) -> None:
    grace_s, flush_s, flushes = 1.0, 0.5, 4
    store = f"sqlite:{tmp_path / 'budgets.sqlite'}"
    with AlertReceiver() as receiver:
        config = budget_files.write_budgets(tmp_path, receiver, limit_calls=10**6)
        environ = _environ(tmp_path, config, SPANCOST_BUDGET_STORE=store) | {"SPANCOST_FLUSH_INTERVAL": str(flush_s)}
        with (
            Program(tmp_path, _gunicorn(2), environ) as program,
            CountedLoad(program, "/tenant", clients=3) as load,
        ):
            wait_until(lambda: len(calls_by_worker(store)) == 2, "both workers have written to the store")
            victim = load.counts.most_common(1)[0][0]
            for _ in range(flushes):
                seen = calls_by_worker(store)[victim]
                wait_until(lambda seen=seen: calls_by_worker(store)[victim] > seen, "the victim has flushed once more")
            os.kill(int(victim), signal.SIGKILL)
            killed_at = time.monotonic()
            wait_until(lambda: len(load.counts) == 3, "the worker that takes its place has answered")
            load.stop()
    charged, answered = calls_by_worker(store), load.counts
    others = answered.total() - answered[victim]
    assert others <= charged.total() - charged[victim] <= others + load.failed
    at_risk = sum(answer > killed_at - flush_s - grace_s for answer in load.times(victim))
    assert at_risk < answered[victim]
    assert answered[victim] - at_risk <= charged[victim] <= answered[victim] + load.failed
    assert spent(store)[LLM_MONTHLY, ""] == pytest.approx(charged.total() * LLM_CALL_USD, rel=_EXACT)


@pytest.mark.parametrize("event", [pytest.param("nothing", marks=pytest.mark.long), "redis killed"])
def test_two_servers_share_one_sum_and_tell_each_threshold_once(tmp_path: Path, event: str) -> None:
    with AlertReceiver() as receiver, RedisServer(tmp_path / "redis") as redis, ExitStack() as stack:
        config = budget_files.write_budgets(tmp_path, receiver, limit_calls=400)
        programs: list[Program] = []
        for number in range(2):
            directory = tmp_path / f"server-{number}"
            directory.mkdir()
            environ = _environ(directory, config, SPANCOST_BUDGET_STORE=redis.url)
            programs.append(stack.enter_context(Program(directory, _gunicorn(2), environ)))
        loads = [stack.enter_context(CountedLoad(program, "/tenant", clients=2)) for program in programs]
        _wait_for_alerts(receiver, 1)
        if event == "redis killed":
            for _ in range(2):
                redis.kill()
                waited_for = [load.answered + 20 for load in loads]
                for load, answers in zip(loads, waited_for, strict=True):
                    load.wait_for(answers)  # nothing waits for the store
                redis.start()
                seen = calls(redis.url)
                wait_until(lambda seen=seen: calls(redis.url) > seen, "the store has got something again")
        for load in loads:
            load.wait_for(240)
        for load in loads:
            load.stop()
        for program in programs:
            program.process.stop()
        charged = calls(redis.url)
        assert charged == sum(load.answered for load in loads)
        assert [load.failed for load in loads] == [0, 0]
        sums = spent(redis.url)
        assert sums[LLM_MONTHLY, ""] == pytest.approx(charged * LLM_CALL_USD, rel=_EXACT)
        ledgers = [Books(program.ledger).by_component() for program in programs]
        assert sums[EVERYTHING, ""] == pytest.approx(sum(map(sum, (one.values() for one in ledgers))), rel=_EXACT)
        _wait_for_alerts(receiver, 1)
        firing = told(receiver)
        assert len(firing) == len(set(firing)) == len(receiver.seen), firing
        assert firing[-1] == _EACH_ONCE[-1]
        assert set(firing) <= set(_EACH_ONCE)

"""A process of many threads or tasks that spend under one hard limit, and write down what before it is settled.

    python -m tests.e2e.apps.guarded CONFIG.json

Each call writes a line with what it costs to `truth` in one system call, which survives a kill -9, before anything can
be settled. A few calls of a process that is to be killed are begun and never ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind

import spancost
from spancost import BudgetExceeded, add_usage, guard
from spancost.budgets import guard as guards
from spancost.budgets.decision import EXHAUSTED, TOO_LITTLE
from spancost.budgets.rules import CLOSED, BudgetRule, Match
from spancost.budgets.windows import Window
from spancost.config import Config
from tests.spans import chat, chat_usd

RULE: Final = "hard"
RESERVE_USD: Final = 0.01
_TOKENS_IN: Final = 20_000
_MOST_TOKENS_OUT: Final = 2500
assert chat_usd(_TOKENS_IN, _MOST_TOKENS_OUT) <= RESERVE_USD
_RETRY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process is told."""

    store: str
    truth: str
    """File with one line of USD for each call."""
    limit_usd: float
    workers: int
    is_async: bool
    lease_s: float
    hangs: int
    """Calls that are begun first and never end."""


def rule(limit_usd: float) -> BudgetRule:
    """Return the hard limit: of calls and of usage, not of the machine's time."""
    match = Match(component=("llm", "custom"))
    return BudgetRule(name=RULE, limit_usd=limit_usd, window=Window("month"), match=match, when_unavailable=CLOSED)


class _Work:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tracer = trace.get_tracer("guarded")
        self._truth = os.open(settings.truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._streams: list[threading.Thread] = []
        self._hanging = threading.Semaphore(0)

    def spend(self, dice: random.Random) -> Callable[[], None] | None:
        """Make one call of a random kind; return what ends it where that comes after the guard."""
        kind = dice.randrange(3)
        if kind == 0:
            usd = dice.uniform(0.0, RESERVE_USD)
            self._note(usd)
            with self.tracer.start_as_current_span("work"):
                add_usage("work", 1, "unit", usd)
            return None
        tokens_out = dice.randrange(_MOST_TOKENS_OUT)
        self._note(chat_usd(_TOKENS_IN, tokens_out))
        span = self.tracer.start_span("chat", kind=SpanKind.CLIENT)
        span.set_attributes(chat(_TOKENS_IN, tokens_out))
        if kind == 1:
            span.end()
            return None
        return lambda: self._end_stream(span)

    def _end_stream(self, span: Span) -> None:
        timer = threading.Timer(0.005, span.end)  # on another thread, after the `with`
        timer.start()

    def _note(self, usd: float) -> None:
        os.write(self._truth, f"{usd!r}\n".encode())

    def hang(self) -> None:
        """Reserve, and never come back."""
        while True:
            asked_at = time.time()
            with suppress(BudgetExceeded), guard(RULE, RESERVE_USD):  # refused while the store is busy
                os.write(1, f"hangs {asked_at!r}\n".encode())  # in one piece: others write, too
                self._hanging.release()
                threading.Event().wait()
            time.sleep(_RETRY_S)

    def in_thread(self, seed: int) -> None:
        dice = random.Random(seed)
        while True:
            try:
                with guard(RULE, RESERVE_USD):
                    ends = self.spend(dice)
                if ends is not None:
                    ends()
            except BudgetExceeded as refused:
                if refused.decision.reason in (EXHAUSTED, TOO_LITTLE):
                    return
                time.sleep(dice.uniform(0.5, 1.5) * _RETRY_S)

    async def in_task(self, seed: int) -> None:
        dice = random.Random(seed)
        while True:
            try:
                async with guard(RULE, RESERVE_USD):
                    await asyncio.sleep(0)
                    ends = self.spend(dice)
                if ends is not None:
                    ends()
            except BudgetExceeded as refused:
                if refused.decision.reason in (EXHAUSTED, TOO_LITTLE):
                    return
                await asyncio.sleep(dice.uniform(0.5, 1.5) * _RETRY_S)

    def run(self) -> None:
        hanging = [threading.Thread(target=self.hang, daemon=True) for _ in range(self.settings.hangs)]
        for thread in hanging:
            thread.start()
        for _ in hanging:  # before others have spent what they reserve
            self._hanging.acquire()
        seeds = [os.getpid() * 1000 + number for number in range(self.settings.workers)]
        if self.settings.is_async:

            async def all_of_them() -> None:
                await asyncio.gather(*map(self.in_task, seeds))

            asyncio.run(all_of_them())
            return
        threads = [threading.Thread(target=self.in_thread, args=(seed,)) for seed in seeds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main() -> None:
    """Spend until nothing fits any more."""
    told: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    settings = Settings(**told)
    guards.LEASE_S = settings.lease_s  # pyright: ignore[reportConstantRedefinition]
    trace.set_tracer_provider(TracerProvider())
    config = Config(
        budget_rules=(rule(settings.limit_usd),),
        budget_store=settings.store,
        flush_interval_s=0.3,
        lease="off",
        detect=False,
    )
    spancost.install(config=config)
    work = _Work(settings)
    print("ready", flush=True)
    sys.stdin.readline()  # all processes begin at once
    work.run()
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and any(isinstance(one, threading.Timer) for one in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert spancost.shutdown() is not False
    print("done", flush=True)


if __name__ == "__main__":
    main()

"""Clients that go on asking while a server is reloaded, recycled or killed, and count what they were answered."""

from __future__ import annotations

import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from threading import Condition, Thread
from typing import Self
from urllib.parse import urlsplit

from tests.e2e.zero_code import Program

_WORKER = "X-Worker"
_KEPT_REQUESTS = 50
_PAUSE_S = 0.01
"""After a failed request: a server that starts again refuses connections for a moment."""


class CountedLoad:
    """Asks for one path until told to stop, or until so many answers have come.

    A connection is kept for fifty requests at most: by chance all of them may be those of one worker. A request that
    fails is not counted as answered, but the server may have worked on it: `failed` is how many answers the truth may
    be higher.

    Args:
        program: Whom to ask.

        path: What to ask for; its answer names the worker in `X-Worker`.

        clients: How many ask at the same time.

        at_most: Answers after which all clients stop.
    """

    def __init__(self, program: Program, path: str, *, clients: int, at_most: int | None = None) -> None:
        parts = urlsplit(program.url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._path = path
        self._left = at_most
        self._changed = Condition()
        self._is_over = False
        self._times: dict[str, list[float]] = {}
        self._failed = 0
        self._threads = [Thread(target=self._ask, name=f"client-{number}") for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let every client finish its request, and wait for it."""
        with self._changed:
            self._is_over = True
        self.join()

    def join(self) -> None:
        """Wait until all clients have finished."""
        for thread in self._threads:
            thread.join()

    @property
    def counts(self) -> Counter[str]:
        """Answers so far by worker."""
        with self._changed:
            return Counter({worker: len(times) for worker, times in self._times.items()})

    @property
    def answered(self) -> int:
        """Answers so far."""
        return self.counts.total()

    @property
    def failed(self) -> int:
        """Requests so far that no answer came to."""
        with self._changed:
            return self._failed

    def times(self, worker: str) -> list[float]:
        """When a worker has answered, seconds of the monotonic clock."""
        with self._changed:
            return list(self._times[worker])

    def wait_for(self, answers: int, *, timeout_s: float = 60.0) -> None:
        """Return as soon as so many answers have come.

        Raises:
            TimeoutError: They did not come in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: sum(map(len, self._times.values())) >= answers, timeout_s):
                raise TimeoutError(f"not {answers} answers within {timeout_s:g} s; so far {self._times.keys()}")

    def _takes_one(self) -> bool:
        with self._changed:
            if self._is_over or self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def _ask(self) -> None:
        connection = HTTPConnection(self._host, self._port, timeout=30)
        asked = 0
        while self._takes_one():
            asked += 1
            if asked % _KEPT_REQUESTS == 0:
                connection.close()  # and opened again by the next request
            try:
                connection.request("GET", self._path)
                answer = connection.getresponse()
                worker = str(answer.headers.get(_WORKER, ""))
                answer.read()
                assert answer.status == 200, answer.status
            except (HTTPException, OSError):
                connection.close()
                with self._changed:
                    self._failed += 1
                    if self._left is not None:
                        self._left += 1  # another one is asked instead
                time.sleep(_PAUSE_S)
                continue
            now = time.monotonic()
            with self._changed:
                self._times.setdefault(worker, []).append(now)
                self._changed.notify_all()
        connection.close()

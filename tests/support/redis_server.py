"""Debian's redis-server on a Unix socket in a folder of the test: started, killed, started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from tests.support.backends import program

_READY_S = 20.0
_POLL_S = 0.02


class RedisServer:
    """One server, ready when `start` returns.

    Args:
        folder: Where its log and its data are; those outlive it if `persistent`.

        persistent: Keep an append-only file. Otherwise it comes back empty.

        options: Further options of its command line.
    """

    def __init__(self, folder: Path, *, persistent: bool = True, options: Sequence[str] = ()) -> None:
        self._program = program("redis-server")
        self._folder = folder
        self._persistent = persistent
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._short = tempfile.mkdtemp(prefix="redis-")  # the name of a socket has to be short
        self.socket = os.path.join(self._short, "socket")

    @property
    def url(self) -> str:
        """Where it listens, also after it was started again."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it has read its data and answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [self._program, "--port", "0", "--unixsocket", self.socket, "--dir", str(self._folder)]
        command += ["--appendonly", "yes" if self._persistent else "no", "--save", "", "--daemonize", "no"]
        command += self._options  # the last one counts
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = monotonic() + _READY_S
        while not self._answers():
            if self._process.poll() is not None or monotonic() > deadline:
                said = (self._folder / "redis.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"redis-server does not answer:\n{said}")
            sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1.0)
                client.connect(self.socket)
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, and remove its socket."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self._short, ignore_errors=True)

    def restart(self) -> None:
        """Kill it and start it again with what it has kept."""
        self.kill()
        self.start()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(how)
            self._process.wait(timeout=_READY_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

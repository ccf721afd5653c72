"""Server processes on loopback: start, wait until they answer, stop exactly what was started."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_LOOPBACK = "127.0.0.1"
_PORTS = range(15_000, 32_000)
"""Below those that systems give to connections: from 32 768 on Linux, from 49 152 elsewhere."""
_TRIES = 100
_POLL_S = 0.05
_SHOWN_LOG_LINES = 40


class StackError(Exception):
    """A server of the example could not be started, or ended by itself."""


class ReservedPort:
    """A free loopback port that is held until its server is about to take it.

    Holding it keeps the other servers of the same stack from being given the same number.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.number = self._bound()
        """What its server is told to listen at."""

    def _bound(self) -> int:
        # Not one that the system would choose: between release and the server's own bind, any connection of any
        # process may be given such a port.
        said = ""
        for number in random.SystemRandom().sample(_PORTS, _TRIES):
            try:
                self._socket.bind((_LOOPBACK, number))
            except OSError as error:
                said = str(error)
            else:
                return number
        self._socket.close()
        raise StackError(f"no free TCP port on {_LOOPBACK} from {_PORTS.start} to {_PORTS.stop - 1}: {said}")

    @property
    def url(self) -> str:
        """Base URL of the server that will listen here, without a slash at the end."""
        return f"http://{_LOOPBACK}:{self.number}"

    def release(self) -> None:
        """Give the port up, for the server to bind it."""
        self._socket.close()


class ServerProcess:
    """One server in its own process group, with its output in a file.

    The own group keeps the terminal's Ctrl-C away from it: it is always stopped by `stop`, in order
    and with time for its last flush.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._asked_to_stop = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    list(command),
                    cwd=cwd,
                    env=None if environment is None else dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StackError(f"{name}: cannot start {command[0]}: {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Everything it wrote so far, standard output and error together."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_ready(self, url: str, *, deadline_s: float = 60.0) -> None:
        """Return as soon as `url` answers with 2xx.

        Args:
            url: Asked again and again.

            deadline_s: Seconds from now.

        Raises:
            StackError: It ended, or did not answer in time; the message holds the end of its log.
        """
        self.wait_until(lambda: answers(url), url, deadline_s=deadline_s)

    def wait_listening(self, port: int, *, deadline_s: float = 60.0) -> None:
        """Return as soon as a loopback port takes connections; for servers that do not speak HTTP.

        Args:
            port: Asked again and again.

            deadline_s: Seconds from now.

        Raises:
            StackError: It ended, or did not listen in time; the message holds the end of its log.
        """
        self.wait_until(lambda: _listens(port), f"at port {port}", deadline_s=deadline_s)

    def wait_until(self, is_ready: Callable[[], bool], what: str, *, deadline_s: float = 60.0) -> None:
        """Return as soon as a condition holds.

        Args:
            is_ready: Asked again and again.

            what: What it says, for the error.

            deadline_s: Seconds from now.

        Raises:
            StackError: It ended, or the condition did not hold in time; the message holds the end of its log.
        """
        ends = monotonic() + deadline_s
        while monotonic() < ends:
            if is_ready():
                return
            try:
                code = self._process.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                continue
            raise StackError(f"{self.name} ended with exit code {code} before it answered\n{self._log_end()}")
        raise StackError(f"{self.name} did not answer {what} within {deadline_s:g} s\n{self._log_end()}")

    def ask_to_stop(self) -> None:
        """Send its stop signal and return at once, so that several servers can stop side by side.

        Only once: a second signal makes servers give up on a graceful end.
        """
        if self.running and not self._asked_to_stop:
            self._asked_to_stop = True
            self._process.send_signal(self._stop_signal)

    def stop(self, *, timeout_s: float = 15.0) -> int:
        """Stop it gracefully and return its exit code.

        Its process group is killed when the signal has not ended it within `timeout_s` seconds.
        """
        self.ask_to_stop()
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Send SIGKILL to the process and all it has started."""
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _log_end(self) -> str:
        lines = self.output().splitlines()[-_SHOWN_LOG_LINES:]
        return "\n".join([f"--- end of {self.log}", *lines, "---"])


def answers(url: str, *, timeout_s: float = 1.0) -> bool:
    """Say whether a GET of `url` gives a 2xx answer within `timeout_s` seconds."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or _LOOPBACK, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return 200 <= connection.getresponse().status < 300
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False

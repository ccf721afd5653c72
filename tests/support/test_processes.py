"""Server processes start, are waited for, and are stopped with everything they started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from time import monotonic

import pytest

from tests.support.processes import ReservedPort, ServerProcess, StackError, answers

_STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
import http.server
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_server_answers_after_wait_ready_and_not_after_stop(tmp_path: Path) -> None:
    port = ReservedPort()
    port.release()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port.number)]
    with ServerProcess("files", command, log=tmp_path / "log", cwd=tmp_path) as server:
        server.wait_ready(port.url)
        assert answers(port.url)
    assert not answers(port.url)
    assert server.exit_code == -signal.SIGTERM
    assert "GET / HTTP" in server.output()


def test_server_that_ends_before_it_answers_is_an_error_with_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('the port is taken')"]
    server = ServerProcess("broken", command, log=tmp_path / "log", cwd=tmp_path)
    with pytest.raises(StackError, match=r"(?s)broken ended with exit code 1 .*the port is taken"):
        server.wait_ready("http://127.0.0.1:9/")


def test_server_that_never_answers_is_an_error_when_time_is_up(tmp_path: Path) -> None:
    port = ReservedPort()
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with (
        ServerProcess("silent", command, log=tmp_path / "log", cwd=tmp_path) as server,
        pytest.raises(StackError, match=r"silent did not answer .* within 0\.2 s"),
    ):
        server.wait_ready(port.url, deadline_s=0.2)
    port.release()


def test_command_that_is_not_there_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot start no-such-command"):
        ServerProcess("nothing", ["no-such-command"], log=tmp_path / "log", cwd=tmp_path)


def test_server_that_ignores_the_signal_is_killed_with_its_children(tmp_path: Path) -> None:
    port = ReservedPort()
    port.release()
    command = [sys.executable, "-c", _STUBBORN, str(port.number)]
    server = ServerProcess("stubborn", command, log=tmp_path / "log", cwd=tmp_path)
    try:
        server.wait_ready(port.url)
    finally:
        code = server.stop(timeout_s=0.2)
    assert code == -signal.SIGKILL
    child = int(server.output().split()[0])
    assert _ends(child)


def test_reserved_ports_differ_while_they_are_held() -> None:
    ports = [ReservedPort() for _ in range(20)]
    assert len({port.number for port in ports}) == 20
    for port in ports:
        port.release()


def _ends(pid: int, *, within_s: float = 5.0) -> bool:
    """An orphan is reaped by init, or stays a zombie where the first process reaps nothing: both have ended."""
    ends = monotonic() + within_s
    while monotonic() < ends:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state in "ZX":
            return True
    return False


def test_reserved_port_is_none_that_the_system_gives_to_connections() -> None:
    ranges = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(ranges.read_text().split()[0]) if ranges.exists() else 49_152
    ports = [ReservedPort() for _ in range(20)]
    for port in ports:
        port.release()
    assert len({port.number for port in ports}) == 20
    assert max(port.number for port in ports) < lowest

"""The command of `examples/deploy/systemd/shop.service`, run as systemd would: notified, reloaded, stopped, whole."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from spancost import names
from tests.deploy import DEPLOY, environment_of
from tests.e2e import zero_code
from tests.e2e.zero_code import Books, otlp_by_component, wait_until
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import ReservedPort, ServerProcess

pytestmark = pytest.mark.stack

_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
_REQUESTS = 24
_WORKERS = 2
"""Of `gunicorn.conf.py`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The started service."""

    url: str
    process: ServerProcess
    notified: socket.socket
    ledger: Path

    def ask(self, times: int) -> None:
        for item in range(times):
            with urllib.request.urlopen(f"{self.url}/items/{item}", timeout=10) as answer:
                assert answer.status == 200

    def wait_until_ready(self) -> None:
        """Wait until the service has told systemd that it is."""
        self.notified.settimeout(30)
        while "READY=1" not in self.notified.recv(4096).decode():
            pass


@contextmanager
def _started(folder: Path, receiver: OtlpReceiver) -> Generator[Unit]:
    unit = (DEPLOY / "systemd" / "shop.service").read_text(encoding="utf-8")
    found = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert found is not None
    environment_file = re.search(r"^EnvironmentFile=.*/(.*)$", unit, re.MULTILINE)
    assert environment_file is not None
    # What a package or a playbook would put into its places.
    for file in ("app/shop.py", "gunicorn/gunicorn.conf.py"):
        shutil.copy(DEPLOY / file, folder)
    commands = str(Path(sys.executable).parent)
    command = [part.replace("/opt/shop/venv/bin", commands) for part in shlex.split(found[1])]
    places = {"/var/lib/spancost": str(folder), "/run/spancost": str(folder), "http://127.0.0.1:4318": receiver.url}
    variables = environment_of(DEPLOY / "systemd" / environment_file[1])
    for ours, here in places.items():
        variables = {name: value.replace(ours, here) for name, value in variables.items()}
    port = ReservedPort()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        # Its name is in no folder: those of tests may be too long for one.
        notified.bind(f"\0spancost-{os.getpid()}-{port.number}")
        variables |= {
            "BIND": f"127.0.0.1:{port.number}",
            "NOTIFY_SOCKET": f"@{notified.getsockname()[1:].decode()}",
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            # This environment has those of every library there is.
            _DISABLED: zero_code.environment(folder, instrumentations=frozenset({"flask", "threading"}))[_DISABLED],
        }
        port.release()
        with ServerProcess("shop", command, log=folder / "shop.log", cwd=folder, environment=variables) as process:
            yield Unit(port.url, process, notified, folder / "ledger.sqlite")


def test_service_tells_systemd_when_it_is_ready_and_its_money_is_whole_after_reload_and_stop(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        with _started(tmp_path, receiver) as unit:
            unit.wait_until_ready()
            unit.process.wait_ready(f"{unit.url}/health")
            unit.ask(_REQUESTS)
            os.kill(unit.process.pid, signal.SIGHUP)  # ExecReload=
            wait_until(lambda: unit.process.output().count("Worker exiting") == _WORKERS, "old workers are gone")
            unit.ask(_REQUESTS)
            assert unit.process.stop(timeout_s=45) == 0, unit.process.output()  # KillMode=mixed: the master alone
        books = Books(unit.ledger)
        assert books.served() == 2 * _REQUESTS
        ledger = books.by_component()
        assert set(ledger) == {names.COMPUTE}
        assert ledger[names.COMPUTE] > 0
        assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=1e-9)
        requests = receiver.newest(names.METRIC_REQUEST_COST)
        assert sum(point.count for point in requests) == 2 * _REQUESTS
        assert {point.resource["deployment.environment.name"] for point in requests} == {"production"}
        log = unit.process.output()
        assert "Traceback" not in log, log
        assert "spancost" not in log, log

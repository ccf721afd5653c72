"""A real Alertmanager on a free loopback port, asked by its API v2."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self, cast

from tests.support.backends import program
from tests.support.processes import ReservedPort, ServerProcess

_POLL_S: Final = 0.05
_CONFIGURATION: Final = """\
route: {{receiver: test, group_by: [alertname, budget, key], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers:
  - name: test
{receiver}
"""


class AlertmanagerServer:
    """A context manager.

    Args:
        folder: For its configuration, its data and its log.

        webhook: URL that it tells in turn; nobody without it.
    """

    def __init__(self, folder: Path, *, webhook: str = "") -> None:
        self._path = program("alertmanager")
        self._folder = folder
        self._port = ReservedPort()
        self.url = self._port.url
        receiver = f"    webhook_configs: [{{url: '{webhook}', send_resolved: true}}]" if webhook else ""
        self._configuration = folder / "alertmanager.yml"
        self._configuration.write_text(_CONFIGURATION.format(receiver=receiver), encoding="utf-8")
        self._process: ServerProcess | None = None

    def alerts(self, *, active: bool = True) -> list[dict[str, Any]]:
        """Return the alerts that it shows as active."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active={str(active).lower()}", timeout=5) as answer:
            return cast("list[dict[str, Any]]", json.load(answer))

    def wait_for(self, holds: Callable[[list[dict[str, Any]]], bool], *, deadline_s: float = 20.0) -> Any:
        """Return the alerts as soon as a condition holds for them.

        Raises:
            AssertionError: It did not hold in time.
        """
        ends = monotonic() + deadline_s
        while not holds(shown := self.alerts()):
            if monotonic() > ends:
                raise AssertionError(f"not in {deadline_s:g} s: {shown}")
            sleep(_POLL_S)
        return shown

    def __enter__(self) -> Self:
        self._port.release()
        command = [
            self._path,
            f"--config.file={self._configuration}",
            f"--storage.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port.number}",
            "--cluster.listen-address=",
        ]
        self._process = ServerProcess("alertmanager", command, log=self._folder / "alertmanager.log", cwd=self._folder)
        try:
            self._process.wait_ready(f"{self.url}/-/ready")
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stop()

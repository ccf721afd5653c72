"""A real Alertmanager on a free loopback port, whose one route tells a webhook at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from examples.stack.servers import Alertmanager
from tests.support.backends import program

_POLL_S: Final = 0.05
_CONFIGURATION: Final = """\
route: {{receiver: test, group_by: [alertname, budget, key], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers:
  - name: test
{receiver}
"""


class AlertmanagerServer(Alertmanager):
    """The installed Alertmanager, a context manager.

    Args:
        folder: For its configuration, its data and its log.

        webhook: URL that it tells in turn; nobody without it.
    """

    def __init__(self, folder: Path, *, webhook: str = "") -> None:
        receiver = f"    webhook_configs: [{{url: '{webhook}', send_resolved: true}}]" if webhook else ""
        configuration = folder / "alertmanager.yml"
        configuration.write_text(_CONFIGURATION.format(receiver=receiver), encoding="utf-8")
        super().__init__(folder, configuration, path=program("alertmanager"))

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

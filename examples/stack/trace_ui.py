"""Phoenix, a trace UI that receives OTLP, as a process: start it, and ask what it knows of a trace."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

from examples.shop.processes import ReservedPort, StackError, answers
from examples.stack.binaries import program
from examples.stack.servers import Server

PROJECT: Final = "default"
"""Where Phoenix puts spans whose resource names none of its projects."""
_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.5
_SPANS_A_PAGE: Final = 1000


class TraceUi(Server):
    """Phoenix on free loopback ports, with its database in a folder. It sends nothing anywhere.

    Args:
        folder: For its log and its database.
    """

    # At the very first start Python compiles its packages, and it makes a hundred tables each time.
    start_timeout_s = 240.0

    def __init__(self, folder: Path) -> None:
        super().__init__("trace-ui", folder)
        self._path = program("phoenix")
        self._ports = {name: ReservedPort() for name in ("http", "grpc")}
        self.url = self._ports["http"].url
        """Of its pages and its API; OTLP/HTTP goes to `/v1/traces` below it."""
        self.otlp_grpc = f"127.0.0.1:{self._ports['grpc'].number}"
        """What a gateway's `TRACES_ENDPOINT` is set to."""

    def command(self) -> list[str]:
        for port in self._ports.values():
            port.release()
        return [self._path, "serve"]

    def environment(self) -> Mapping[str, str]:
        return {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self._ports["http"].number),
            "PHOENIX_GRPC_PORT": str(self._ports["grpc"].number),
            "PHOENIX_WORKING_DIR": str(self.folder),
            # The user's own settings may name a database and a login.
            "PHOENIX_SQL_DATABASE_URL": f"sqlite:///{self.folder / 'phoenix.db'}",
            "PHOENIX_ENABLE_AUTH": "false",
            "PHOENIX_LOG_MIGRATIONS": "false",
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }

    def is_ready(self) -> bool:
        return answers(f"{self.url}/readyz")

    def spans(self) -> list[dict[str, Any]]:
        """Return every span it has, as its API tells them: OTLP in JSON."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self._get(f"/v1/projects/{PROJECT}/spans/otlpv1?limit={_SPANS_A_PAGE}{cursor}")
            found += page["data"]
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def wait_for_spans(self, count: int, *, deadline_s: float = 60.0) -> list[dict[str, Any]]:
        """Return all spans as soon as there are so many.

        Args:
            count: At least.

            deadline_s: Seconds from now.

        Raises:
            StackError: There were not so many in time.
        """
        ends = monotonic() + deadline_s
        while len(found := self.spans()) < count:
            if monotonic() > ends:
                raise StackError(f"{self.name} has {len(found)} of {count} spans after {deadline_s:g} s")
            sleep(_POLL_S)
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read())

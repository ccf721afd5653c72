"""What every channel does: sends one alert, or says why it could not."""

from __future__ import annotations

from typing import Final, Protocol

from spancost.budgets.alert import Alert
from spancost.errors import SpancostError

SEND_TIMEOUT_S: Final = 10.0
"""How long one attempt may take."""


class DeliveryError(SpancostError):
    """An alert was not delivered, or nobody knows whether it was.

    Its text is for logs: it names hosts, variables and files, and holds no path of a URL and nothing secret.
    """

    def __init__(self, said: str, *, is_final: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(said)
        self.is_final = is_final
        """True if it would be refused again."""
        self.retry_after_s = retry_after_s
        """How long the receiver wants to be left alone, seconds."""


class SendsAlerts(Protocol):
    """A way of telling people."""

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Tell about one alert; the same one again after an error.

        Args:
            alert: Receivers know a repetition by its id.

            timeout_s: Longest time for all of it.

        Raises:
            DeliveryError: It did not arrive, or nobody knows.
        """
        ...

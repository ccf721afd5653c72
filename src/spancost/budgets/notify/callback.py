"""Tells a function of the application, on the thread that delivers."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from spancost.budgets.alert import Alert
from spancost.budgets.notify.sending import DeliveryError

_registered: Final[dict[str, Callable[[Alert], object]]] = {}


def register_callback(name: str, function: Callable[[Alert], object]) -> None:
    """Make a function known that channels of the type `callback` name.

    It is called on a thread of its own channel, again after an error, and with the same `Alert.id` then. It may raise
    `DeliveryError(..., is_final=True)` where another attempt is of no use.

    Args:
        name: What `function:` of the channel says. A name that is known already is given the new function.

        function: Gets each alert.

    Raises:
        ValueError: The name is empty or has a colon: those are `module:function`.
    """
    if not name or ":" in name:
        raise ValueError("a name without a colon, such as stop-the-import")
    _registered[name] = function


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackChannel:
    """A function, by `module:function` or by the name it is registered under."""

    function: str

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Call the function. It cannot be interrupted: one that hangs holds up this channel and no other.

        Args:
            alert: What is told.

            timeout_s: Is not kept.

        Raises:
            DeliveryError: There is no such function, or it has raised.
        """
        function = self._found()
        try:
            function(alert)
        except DeliveryError:
            raise
        except Exception as error:  # its text is the application's, and may hold anything
            raise DeliveryError(f"{self.function} raised {type(error).__name__}") from error

    def _found(self) -> Callable[[Alert], object]:
        module_name, colon, path = self.function.partition(":")
        if not colon:
            function = _registered.get(self.function)
            if function is None:
                raise DeliveryError(f"no function is registered as {self.function}")
            return function
        try:
            found: object = importlib.import_module(module_name)
            for name in path.split("."):
                found = getattr(found, name)
        except Exception as error:
            raise DeliveryError(f"{self.function} cannot be imported ({type(error).__name__})") from error
        if not callable(found):
            raise DeliveryError(f"{self.function} is no function")
        return found

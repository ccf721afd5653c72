"""Where a secret is: in a variable or a file, read each time it is used, so that it can be changed while we run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, TypeAlias

from spancost.budgets.notify.sending import DeliveryError

ENV: Final = "env"
FILE: Final = "file"
_MAX_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True)
class Reference:
    """Says where a value is; never holds it."""

    kind: str
    """`ENV` or `FILE`."""
    place: str
    """Name of the variable, or path of the file."""

    def read(self) -> str:
        """Return the value as it is now.

        Raises:
            DeliveryError: There is none, or it is not one line of text. To be tried again: it may be put there yet.
        """
        if self.kind == ENV:
            value, place = os.environ.get(self.place, ""), f"the variable {self.place}"
        else:
            value, place = self._content(), f"the file {self.place}"
        value = value.strip()
        if not value:
            raise DeliveryError(f"{place} is empty or not there")
        if not value.isprintable():
            raise DeliveryError(f"{place} does not hold one line of text")
        return value

    def _content(self) -> str:
        try:
            with open(self.place, encoding="utf-8") as file:
                return file.read(_MAX_BYTES)
        except OSError as error:
            raise DeliveryError(f"the file {self.place}: {error.strerror}") from None
        except ValueError:  # its text would show a part of the content
            raise DeliveryError(f"the file {self.place} does not hold one line of text") from None


Value: TypeAlias = "Reference | str"
"""A reference, or a value that is no secret."""


def read(value: Value) -> str:
    """Return a value, wherever it is.

    Raises:
        DeliveryError: What it refers to is not there.
    """
    return value if isinstance(value, str) else value.read()

"""Exceptions of spancost.

SpancostError
├── ConfigError          a configuration file, variable or argument is wrong
├── PriceBookError       a price file is wrong
├── LedgerError          the ledger cannot be opened, read or written
└── MissingExtraError    an optional dependency is not installed

`PartError` is the ValueError of a part of a setting; it becomes a `ConfigError` where place and key are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SpancostError(Exception):
    """Base class of all errors raised by spancost."""


class ConfigError(SpancostError):
    """A setting is wrong.

    The message names the place (file or variable), the key, the value, and what is accepted.
    """

    def __init__(self, place: str, key: str, value: object, accepted: str) -> None:
        key = key or "''"  # YAML has empty keys
        self.place = place
        self.key = key
        self.value = value
        self.accepted = accepted
        super().__init__(f"{place}: {key}: {value!r} is not accepted: {accepted}")


class PriceBookError(SpancostError):
    """A price file is wrong."""


class LedgerError(SpancostError):
    """The ledger cannot be opened, read or written."""


class MissingExtraError(SpancostError):
    """An optional dependency is missing; the message is its install command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the '{extra}' extra: pip install 'spancost[{extra}]'")


class PartError(ValueError):
    """A part of a setting is wrong, such as one rule of a list; its text is what is accepted."""

    def __init__(self, part: str, value: object, accepted: str) -> None:
        super().__init__(accepted)
        self.part = part
        """Where it is in the setting: `[2].route`."""
        self.value = value


def suggest(value: str, choices: Iterable[str], *, limit: int = 12) -> str:
    """Say which choices there are, nearest first: `did you mean 'a'? one of a, b, c`."""
    names = sorted(choices)
    near = get_close_matches(value, names, n=3, cutoff=0.6) or [name for name in names if value and value in name][:3]
    shown = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    hint = f"did you mean {', '.join(repr(name) for name in near)}? " if near else ""
    return f"{hint}one of {shown}"

"""How stores write down what they keep: cursors as one number, states as JSON."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final, cast

from spancost.budgets.store import Claim, Grant, Standing, StateRecord

_SEQUENCE_BITS: Final = 53
"""Redis counts exactly up to here."""
_FIELDS: Final = frozenset(field.name for field in fields(StateRecord))


def new_mark() -> int:
    """Return a number that tells one content of a store from every other."""
    return secrets.randbits(62) | 1


def cursor_at(mark: int, sequence: int) -> int:
    """Return the cursor of a place in the feed of a store, so that it is known whose place it is."""
    return (mark << _SEQUENCE_BITS) | sequence


def place_of(cursor: int) -> tuple[int, int]:
    """Return the mark of the store that gave a cursor out, and the place in its feed."""
    return cursor >> _SEQUENCE_BITS, cursor & ((1 << _SEQUENCE_BITS) - 1)


def state_as_json(state: StateRecord) -> str:
    """Return a state as one line of JSON."""
    return json.dumps(asdict(state), separators=(",", ":"))


def state_from_json(text: str | bytes) -> StateRecord:
    """Return the state that `state_as_json` has written; names that a newer version has added are left out."""
    loaded = cast("dict[str, Any]", json.loads(text))
    return StateRecord(**{name: value for name, value in loaded.items() if name in _FIELDS})


def wanted_in_all(claims: Sequence[Claim]) -> dict[tuple[str, str], float]:
    """Return what one reservation takes of each rule and key: several of its claims may be about the same one."""
    wanted: dict[tuple[str, str], float] = {}
    for claim in claims:
        place = (claim.cell.rule, claim.cell.key)
        wanted[place] = wanted.get(place, 0.0) + claim.usd
    return wanted


def decide(claims: Sequence[Claim], standings: Sequence[Standing]) -> Grant:
    """Return whether all claims fit below their limits."""
    wanted = wanted_in_all(claims)
    fits = all(
        standing.spent_usd + standing.reserved_usd + wanted[claim.cell.rule, claim.cell.key] <= claim.limit_usd
        for claim, standing in zip(claims, standings, strict=True)
    )
    return Grant(fits, tuple(standings))

"""What this process has given to a shared store, kept in case the store loses it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from spancost.budgets.store import Cell, Delivery, Sums

_MAX_CELLS: Final = 200_000
_MAX_RING_DELIVERIES: Final = 1024
_MAX_RING_CELLS: Final = 50_000
_NOTHING: Final = Sums()


class Contribution:
    """Everything that one writer has had acknowledged: all its sums together, and the newest deliveries one by one.

    A store that has lost everything gets the sums, one that has lost the end of its log the deliveries that it misses.
    Bounded: of more cells than 200 000 those that have not changed for longest are given up, and so are all but the
    newest 1 024 deliveries or 50 000 cells of them.

    Args:
        epoch: The content of the store that has acknowledged them.
    """

    def __init__(self, epoch: bytes) -> None:
        self.epoch = epoch
        self.acknowledged = 0
        self.seen_at = 0.0
        """When the store last knew this writer, Unix seconds."""
        self.restoring = b""
        """The content of the store that the sums are being brought back to."""
        self.parts: list[list[tuple[Cell, Sums]]] | None = None
        """How the sums are brought back in steps, while they are."""
        self.taken_parts = 0
        """How many of them the store has taken."""
        self._sums: dict[Cell, Sums] = {}
        self._ring: deque[Delivery] = deque()
        self._ring_cells = 0

    def took(self, delivery: Delivery) -> None:
        """Remember a delivery that the store has acknowledged."""
        if delivery.number <= self.acknowledged:
            return
        self.acknowledged = delivery.number
        for cell, sums in delivery.adds.items():
            self._sums[cell] = self._sums.pop(cell, _NOTHING).plus(sums)
        while len(self._sums) > _MAX_CELLS:
            del self._sums[next(iter(self._sums))]
        self._ring.append(delivery)
        self._ring_cells += len(delivery.adds)
        while len(self._ring) > _MAX_RING_DELIVERIES or (self._ring_cells > _MAX_RING_CELLS and len(self._ring) > 1):
            self._ring_cells -= len(self._ring.popleft().adds)

    def after(self, number: int) -> list[Delivery]:
        """Return the remembered deliveries that come after one."""
        return [delivery for delivery in self._ring if delivery.number > number]

    def is_complete_after(self, number: int) -> bool:
        """Say whether every delivery after one is still remembered."""
        first = self._ring[0].number if self._ring else self.acknowledged + 1
        return first <= number + 1

    def in_parts(self, size: int) -> list[list[tuple[Cell, Sums]]]:
        """Return all sums in parts, the same ones until `parts` is put to None: each is sent until it is taken."""
        if self.parts is None:
            items = list(self._sums.items())
            self.parts = [items[at : at + size] for at in range(0, len(items), size)] or [[]]
        return self.parts

    def forget(self, oldest_slots: Mapping[tuple[str, int], int]) -> None:
        """Give up the sums of slots older than these."""
        for cell in [cell for cell in self._sums if cell.slot < oldest_slots.get((cell.rule, cell.track), cell.slot)]:
            del self._sums[cell]

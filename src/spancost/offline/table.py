"""All spans of all files in columns: some 40 bytes a span, and 130 a trace."""

from __future__ import annotations

from array import array
from collections.abc import Generator
from typing import Final

from spancost.charge import CLIENT, CONSUMER, PRODUCER, SERVER

TRACE_MASK: Final = 2**64 - 1
"""The half of a trace id that is always random tells traces apart."""
KIND_BITS: Final = 7
REMOTE: Final = 8
"""The span says that its parent is in another process."""
LOCAL: Final = 16
"""The span says that its parent is in the same process."""
REPEATED: Final = 32
"""The span was read before, from another line or file."""
RECEIVES: Final = 64
"""The span receives messages."""
ONE_MESSAGE: Final = 128
"""The span is the processing of one message."""
NO_SPAN: Final = -1
_ON_PATH: Final = -2
_MAX_HOSTS: Final = 65_535

NO_CALL: Final = 0
UNNAMED_HOST: Final = 1


class SpanTable:
    """Spans by number, in the order in which they were read."""

    def __init__(self) -> None:
        self.ids = array("Q")
        self.parent_ids = array("Q")
        """0 where the span has no parent."""
        self.marks = array("B")
        """SpanKind value and the bits above."""
        self.processes = array("I")
        self.entries = array("I")
        """Number of the labels the span has as a local root."""
        self.attributions = array("I")
        self.seconds = array("I")
        """Start of SERVER and CONSUMER spans, Unix seconds; 0 for all others."""
        self.call_hosts = array("H")
        """Number of the host that an LLM or AWS call went to; `NO_CALL` for all other spans."""
        self.parents = array("i")
        """Number of the parent, or `NO_SPAN`; after `resolve`."""
        self.roots = array("i")
        """Number of the local root; after `resolve`."""
        self.repeated = 0
        """Spans read more than once, without the first time; after `resolve`."""
        self._previous = array("i")
        self._last_of_trace: dict[int, int] = {}
        self._hosts: dict[str, int] = {"": UNNAMED_HOST}

    def __len__(self) -> int:
        return len(self.ids)

    def add(
        self,
        trace: int,
        span_id: int,
        parent_id: int,
        mark: int,
        process: int,
        entry: int,
        attribution: int = 0,
        second: int = 0,
    ) -> int:
        """Add a span and return its number.

        Raises:
            OverflowError: An id has more than 64 bits or is negative; nothing is added then.
        """
        number = len(self.ids)
        self.parent_ids.append(parent_id)
        try:
            self.ids.append(span_id)
        except OverflowError:
            self.parent_ids.pop()
            raise
        self.marks.append(mark)
        self.processes.append(process)
        self.entries.append(entry)
        self.attributions.append(attribution)
        self.seconds.append(second)
        self.call_hosts.append(NO_CALL)
        self._previous.append(self._last_of_trace.get(trace, NO_SPAN))
        self._last_of_trace[trace] = number
        return number

    def host_number(self, host: str) -> int:
        """Return the number of a host; beyond 65,000 hosts all are unnamed."""
        number = self._hosts.get(host)
        if number is None:
            if len(self._hosts) >= _MAX_HOSTS - 1:
                return UNNAMED_HOST
            number = self._hosts[host] = len(self._hosts) + 1
        return number

    def kind(self, number: int) -> int:
        """Return the SpanKind value of a span."""
        return self.marks[number] & KIND_BITS

    def by_trace(self) -> Generator[tuple[int, list[int]]]:
        """Yield each trace (the low 64 bits of its id) with the numbers of its spans; until `resolve`."""
        for trace, last in self._last_of_trace.items():
            numbers: list[int] = []
            while last >= 0:
                numbers.append(last)
                last = self._previous[last]
            yield trace, numbers

    def ancestors(self, number: int) -> Generator[int]:
        """Yield the spans above one, the parent first, across processes; ends also where parents form a ring."""
        parents = self.parents
        seen = {number}
        number = parents[number]
        while number >= 0 and number not in seen:
            yield number
            seen.add(number)
            number = parents[number]

    def resolve(self) -> None:
        """Find parents and local roots; to be called once, after the last span."""
        self._find_parents()
        self._find_roots()
        self._previous, self._last_of_trace = array("i"), {}

    def _find_parents(self) -> None:
        ids, parent_ids, previous, marks = self.ids, self.parent_ids, self._previous, self.marks
        parents = self.parents = array("i", (NO_SPAN,)) * len(ids)
        for last in self._last_of_trace.values():
            if previous[last] < 0:
                continue
            of_trace: dict[int, int] = {}
            shared: list[int] = []
            number = last
            while number >= 0:
                span_id = ids[number]
                later = of_trace.get(span_id)
                if later is not None:
                    if self._is_repetition(later, number):
                        marks[later] |= REPEATED
                        self.repeated += 1
                    else:  # Zipkin's two sides of one call
                        shared.append(later)
                of_trace[span_id] = number
                number = previous[number]
            for number in (*of_trace.values(), *shared):
                parent_id = parent_ids[number]
                if parent_id:
                    parents[number] = of_trace.get(parent_id, NO_SPAN)

    def _is_repetition(self, one: int, other: int) -> bool:
        return self.processes[one] == self.processes[other] and self.kind(one) == self.kind(other)

    def _find_roots(self) -> None:
        parents, marks = self.parents, self.marks
        roots = self.roots = array("i", (NO_SPAN,)) * len(parents)
        for number, parent in enumerate(parents):
            if roots[number] >= 0:
                continue
            if parent >= 0 and roots[parent] >= 0 and marks[number] & LOCAL and not marks[number] & ONE_MESSAGE:
                roots[number] = roots[parent]  # what most are; the same as below, sooner
                continue
            path: list[int] = []
            at = number
            while True:
                parent = parents[at]
                if parent < 0 or self._starts_here(at, parent) or roots[parent] == _ON_PATH or parent == at:
                    root = roots[at] = at
                    break
                path.append(at)
                roots[at] = _ON_PATH
                at = parent
                if roots[at] >= 0:
                    root = roots[at]
                    break
            for at in path:
                roots[at] = root

    def _starts_here(self, number: int, parent: int) -> bool:
        """True if a span whose parent is known begins the work of its process all the same."""
        mark = self.marks[number]
        if mark & ONE_MESSAGE and self.marks[parent] & RECEIVES:
            return True
        if mark & (REMOTE | LOCAL):
            return bool(mark & REMOTE)
        if self.processes[number] != self.processes[parent]:
            return True
        return mark & KIND_BITS in (SERVER, CONSUMER) and self.kind(parent) in (CLIENT, PRODUCER)

"""Read files of stored traces into `Pricing`, and remember what could not be read."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, cast

from spancost.offline.files import Moved, documents
from spancost.offline.jaeger import JaegerReader, is_jaeger
from spancost.offline.otlp import OtlpReader, is_otlp
from spancost.offline.otlp_shape import Traces
from spancost.offline.pricing import Pricing

_SHOWN_PROBLEMS: Final = 5
_MAX_MESSAGE: Final = 120
_OTHER_SIGNALS: Final = ("resourceMetrics", "resourceLogs", "resourceProfiles")


class Problem(NamedTuple):
    """Something that could not be read."""

    path: str
    line: int
    message: str


class Problems:
    """What could not be read: all of it counted, the first of it named."""

    def __init__(self) -> None:
        self.bad_lines = 0
        """Lines that are no JSON, or neither OTLP nor Jaeger JSON."""
        self.bad_spans = 0
        """Spans of a wrong shape."""
        self.first: list[Problem] = []

    def add(self, path: str, line: int, message: str, *, span: bool = False) -> None:
        """Count a problem."""
        if span:
            self.bad_spans += 1
        else:
            self.bad_lines += 1
        if len(self.first) < _SHOWN_PROBLEMS:
            self.first.append(Problem(path, line, message[:_MAX_MESSAGE]))


def read_files(
    paths: Iterable[str],
    pricing: Pricing,
    problems: Problems,
    on_moved: Callable[[str], Moved] | None = None,
    select: Callable[[Any], Any] | None = None,
) -> list[str]:
    """Read all files.

    Args:
        paths: Files, or `-` for standard input.

        pricing: Who measures spans.

        problems: Where bad lines and spans are counted.

        on_moved: Returns whom to tell how far a file is read.

        select: Returns the part of a document that is taken.

    Returns:
        Files without a single span.

    Raises:
        FileUnreadableError: A file is not there, or cannot be read.
    """
    empty: list[str] = []
    with _no_collections():
        for path in paths:
            before = len(pricing.table)
            _File(path, pricing, problems, select).read(*((on_moved(path),) if on_moved is not None else ()))
            if len(pricing.table) == before:
                empty.append(path)
    return empty


@contextmanager
def _no_collections() -> Generator[None]:
    """Keep the cyclic garbage collector away: parsed documents have no cycles, and it would walk all of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _File:
    def __init__(self, path: str, pricing: Pricing, problems: Problems, select: Callable[[Any], Any] | None) -> None:
        self._path = path
        self._select = select
        self._problems = problems
        self._line = 0
        self._otlp = OtlpReader(pricing, self._bad_span)
        self._jaeger = JaegerReader(pricing, self._bad_span)

    def read(self, *on_moved: Moved) -> None:
        def on_bad(line: int, message: str) -> None:
            self._problems.add(self._path, line, message)

        for document in documents(self._path, on_bad, *on_moved):
            self._line = document.line
            try:
                self._take(document.value if self._select is None else self._select(document.value))
            except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
                on_bad(document.line, "not of the shape of OTLP or Jaeger JSON")

    def _take(self, value: Any) -> None:
        if isinstance(value, list):
            for one in cast("list[Any]", value):
                self._take(one)
            return
        if isinstance(value, Traces):
            self._otlp.read(value)
            return
        if not isinstance(value, dict):
            raise TypeError
        document = cast("dict[str, Any]", value)
        if is_otlp(document):
            self._otlp.read(document)
        elif is_jaeger(document):
            self._jaeger.read(document)
        elif isinstance(document.get("trace"), dict):  # Tempo
            self._take(document["trace"])
        elif not any(signal in document for signal in _OTHER_SIGNALS):
            raise TypeError

    def _bad_span(self) -> None:
        self._problems.add(self._path, self._line, "a span of a wrong shape", span=True)

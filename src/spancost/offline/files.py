"""The JSON documents of a file: one a line, or the whole file as one; plain or gzip, told by content.

A document larger than 64 MiB is cut into the elements of its list of spans or traces, so that memory stays bounded
unless one element alone (all spans of one process, or one trace) is that large.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from itertools import chain
from typing import Any, BinaryIO, Final, NamedTuple, cast

import msgspec

from spancost.errors import SpancostError
from spancost.offline.otlp_shape import traces_of

STDIN: Final = "-"
loads: Final = msgspec.json.decode
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MAX_DOCUMENT_BYTES: Final = 64 * 2**20
_CHUNK_BYTES: Final = 2**20
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_LISTS: Final = ("resourceSpans", "batches", "data")
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["{}\[\]]', re.DOTALL)

Bad = Callable[[int, str], None]
"""Called with a line number and what is wrong there."""
Moved = Callable[[int], None]
"""Called with the bytes of the file that are read."""


class FileUnreadableError(SpancostError):
    """A file cannot be opened or read."""


class Document(NamedTuple):
    """One JSON document."""

    line: int
    """Where it begins, from 1."""
    value: Any


def documents(path: str, on_bad: Bad, on_moved: Moved = lambda _: None) -> Generator[Document]:
    """Yield the documents of a file.

    Args:
        path: The file, or `-` for standard input.

        on_bad: Told of lines that are no JSON; reading goes on behind them.

        on_moved: Told how far reading is, compressed bytes of the file.

    Raises:
        FileUnreadableError: It is not there, or cannot be read.
    """
    try:
        with _Source(path, on_moved) as source:
            yield from _documents(source.stream, on_bad)
    except OSError as error:
        raise FileUnreadableError(f"{path}: {error.strerror or error}") from error


class _Source:
    """An open file that tells how far it is read."""

    def __init__(self, path: str, on_moved: Moved) -> None:
        self._opened = None if path == STDIN else open(path, "rb")  # noqa: SIM115  # closed by __exit__
        raw = cast("io.BufferedReader", sys.stdin.buffer if self._opened is None else self._opened)
        counted = io.BufferedReader(_Counted(raw, on_moved), _CHUNK_BYTES)
        self.stream: BinaryIO = counted
        if counted.peek(2)[:2] == _GZIP:
            self.stream = cast("BinaryIO", io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=counted)), _CHUNK_BYTES))

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()


class _Counted(io.RawIOBase):
    def __init__(self, raw: io.BufferedReader, on_moved: Moved) -> None:
        self._raw = raw
        self._on_moved = on_moved
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read1(len(buffer))
        buffer[: len(data)] = data
        self._bytes += len(data)
        self._on_moved(self._bytes)
        return len(data)


def _documents(stream: BinaryIO, on_bad: Bad) -> Generator[Document]:
    lines: Iterator[bytes] = iter(lambda: stream.readline(MAX_DOCUMENT_BYTES), b"")
    number, seen = 0, False
    try:
        while line := next(lines, b""):
            number += 1
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.isspace():
                continue
            if len(line) >= MAX_DOCUMENT_BYTES:
                yield from _elements(line, stream, number, on_bad)
                return
            traces = traces_of(line)
            if traces is not None:
                yield Document(number, traces)
                seen = True
                continue
            try:
                value = loads(line)
            except NOT_JSON as error:
                if not seen:
                    second = next(lines, b"")
                    if second and not _is_document(second):
                        yield from _spread(line + second, stream, number, on_bad)
                        return
                    lines = chain((second,) if second else (), lines)
                on_bad(number, str(error))
            else:
                yield Document(number, value)
            seen = True
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        on_bad(number + 1, f"the compressed data break off: {error}")


def _is_document(line: bytes) -> bool:
    """True for a line that is an object by itself, with something in it."""
    try:
        value = loads(line)
    except NOT_JSON:
        return False
    return isinstance(value, dict) and bool(cast("dict[str, Any]", value))


def _spread(head: bytes, stream: BinaryIO, number: int, on_bad: Bad) -> Generator[Document]:
    """Read one document that is spread over lines; else the lines that are documents by themselves."""
    data = head + stream.read(MAX_DOCUMENT_BYTES)
    if len(data) >= MAX_DOCUMENT_BYTES:
        yield from _elements(data, stream, number, on_bad)
        return
    try:
        value = loads(data)
    except NOT_JSON as error:
        found = {place for place, line in enumerate(data.splitlines(), number) if _is_document(line)}
        if not found:
            on_bad(number, str(error))
            return
        for place, line in enumerate(data.splitlines(), number):
            if place in found:
                yield Document(place, loads(line))
            elif line.strip():
                on_bad(place, "not a JSON document")
    else:
        yield Document(number, value)


def _elements(head: bytes, stream: BinaryIO, number: int, on_bad: Bad) -> Generator[Document]:
    """Cut a document into the elements of its list of spans or traces, each a document of one element."""
    buffer = bytearray(head)
    at = begin = depth = 0
    list_depth, key = 0, ""
    while True:
        for token in _TOKEN.finditer(buffer, at):
            text = token.group()
            if text == b'"':
                break  # a string that goes on in the next chunk
            at = token.end()
            if text in (b"{", b"["):
                depth += 1
                if text == b"[" and depth == 2 and key in _LISTS:
                    list_depth = depth
                elif list_depth and depth == list_depth + 1:
                    begin = token.start()
            elif text in (b"}", b"]"):
                if list_depth and depth == list_depth + 1:
                    try:
                        yield Document(number, {key: [loads(memoryview(buffer)[begin:at])]})
                    except NOT_JSON as error:
                        on_bad(number, str(error))
                elif depth == list_depth:
                    list_depth = 0
                depth -= 1
            elif depth == 1:
                key = text[1:-1].decode(errors="replace")
        else:
            at = len(buffer)
        keep = begin if list_depth and depth > list_depth else at
        del buffer[:keep]
        at, begin = at - keep, 0
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            if depth:
                on_bad(number, "the document breaks off")
            return
        buffer += chunk

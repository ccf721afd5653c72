"""Files that `spancost price` is given: read, or counted as unreadable; never an exception, never a wrong number."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import ConsoleSpanExporter

from spancost.offline.files import FileUnreadableError
from tests import recorded
from tests.exporting import finished_spans
from tests.fuzz.conftest import Fuzz
from tests.fuzz.mutations import as_json, json_values, mutated, mutated_bytes, names_in
from tests.fuzz.running import result_or_error
from tests.offline.traces import Span, from_recorded, jaeger, otlp, otlp_lines, priced

_PIECE: Final = 5


@cache
def _pieces() -> list[list[Span]]:
    """Recorded spans, some of each file together."""
    found: list[list[Span]] = []
    for path in sorted(recorded.FOLDER.glob("*.json")):
        spans = [from_recorded(span) for span in recorded.recorded_spans(path.name) if span.ended]
        found.extend(spans[place : place + _PIECE] for place in range(0, len(spans), 4 * _PIECE))
    return found


def _console(spans: Sequence[Span]) -> bytes:
    """What the SDK's console exporter prints: documents over many lines, one behind another."""
    formatter = ConsoleSpanExporter().formatter
    return "".join(map(formatter, finished_spans(spans).values())).encode()


def _protobuf(spans: Sequence[Span]) -> bytes:
    return encode_spans(list(finished_spans(spans).values())).SerializeToString()


def _read(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    answer, error = result_or_error(lambda: priced([path], ("component", "entrypoint")), FileUnreadableError)
    if answer is None:
        assert str(error).startswith(str(path))
        return
    rollup, problems = answer
    assert problems.bad_lines + problems.bad_spans >= len(problems.first)
    for row in rollup.rows:
        assert math.isfinite(row.usd)
        assert row.usd >= 0
        assert math.isfinite(row.list_usd)
    for row in rollup.unpriced:
        assert row.reason
    assert math.isfinite(rollup.usd)


def _documents(make: Any) -> list[Any]:
    return [json.loads(json.dumps(make(piece))) for piece in _pieces()]


def _fuzz_trees(fuzzed: Fuzz, folder: Path, documents: list[Any]) -> None:
    keys = sorted(names_in(documents))
    trees = mutated(documents, json_values, keys=keys)
    several = st.lists(trees.map(as_json), min_size=1, max_size=3).map(b"\n".join)
    whole = trees.map(lambda tree: json.dumps(tree, indent=1, default=str).encode("utf-8", "surrogatepass"))
    broken = mutated_bytes([as_json(document) for document in documents])
    path = folder / "traces.json"
    fuzzed(st.one_of(several, whole, broken), lambda data: _read(path, data))


def test_otlp_json(fuzzed: Fuzz, tmp_path: Path) -> None:
    _fuzz_trees(fuzzed, tmp_path, _documents(otlp))


def test_jaeger_json(fuzzed: Fuzz, tmp_path: Path) -> None:
    _fuzz_trees(fuzzed, tmp_path, _documents(jaeger))


def test_otlp_protobuf_and_console_output_and_broken_compression(fuzzed: Fuzz, tmp_path: Path) -> None:
    pieces = _pieces()
    originals = [_protobuf(piece) for piece in pieces] + [_console(piece) for piece in pieces]
    originals += [gzip.compress(otlp_lines(piece).encode()) for piece in pieces[:10]]
    path = tmp_path / "traces.bin"
    fuzzed(mutated_bytes(originals), lambda data: _read(path, data))

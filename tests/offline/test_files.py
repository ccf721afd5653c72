"""Files as they are found: mixed, compressed, broken, huge."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spancost.offline import files
from spancost.offline.files import FileUnreadableError
from tests.offline.traces import Span, jaeger, otlp, otlp_lines, priced
from tests.spans import PUT_USD, put_item, server

_SPANS = [
    Span(1, 0, "GET", "SERVER", server("/carts/{id}")),
    Span(2, 1, "put", "CLIENT", put_item()),
    Span(3, 1, 'say "{[\\', attributes={"quoted": 'a "b" {[ \\ \n é'}),
    Span(4, 0, "put", "CLIENT", put_item(), trace=2),
]
_LINES = otlp_lines(_SPANS)


def _read(folder: Path, content: bytes) -> tuple[int, float, list[tuple[int, str]]]:
    """Return spans, USD and problems of a file with this content."""
    path = folder / "file"
    path.write_bytes(content)
    rollup, problems = priced([path])
    return rollup.spans, rollup.usd, [(one.line, one.message) for one in problems.first]


def test_bad_lines_are_counted_with_their_numbers_and_the_rest_is_read(tmp_path: Path) -> None:
    lines = _LINES.splitlines()
    content = "\n".join([lines[0], '{"resourceSpans": [', lines[1], "", "[1, 2]", lines[2], '{"a": 1}', lines[3]])
    spans, usd, problems = _read(tmp_path, content.encode())
    assert (spans, usd) == (4, pytest.approx(2 * PUT_USD))
    assert [line for line, _ in problems] == [2, 5, 7]
    assert problems[2][1] == "not of the shape of OTLP or Jaeger JSON"


@pytest.mark.parametrize("broken", ['{"resourceSpans": [', "null", "garbage"])
def test_a_broken_first_line_does_not_hide_the_others(tmp_path: Path, broken: str) -> None:
    spans, _, problems = _read(tmp_path, f"{broken}\n{_LINES}".encode())
    assert (spans, [line for line, _ in problems]) == (4, [1])


def test_two_broken_first_lines_do_not_hide_the_others(tmp_path: Path) -> None:
    spans, _, problems = _read(tmp_path, f"{{cut\n{{cut\n{_LINES}".encode())
    assert (spans, [line for line, _ in problems]) == (4, [1, 2])


def test_bad_spans_are_counted_and_their_neighbours_read(tmp_path: Path) -> None:
    document = otlp(_SPANS)
    spans: list[Any] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    good = spans[0]
    spans.extend(
        [
            None,
            {},
            {**good, "spanId": "no id"},
            {**good, "spanId": "1" * 40},
            {**good, "kind": "SPAN_KIND_OTHER"},
            {**good, "attributes": [{"key": ["list"], "value": {"stringValue": ""}}]},
            {**good, "startTimeUnixNano": "-5"},
            {**good, "startTimeUnixNano": "1" * 5000},
            {**good, "attributes": [{"key": "http.method", "value": {"intValue": "x"}}]},
        ]
    )
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    rollup, problems = priced([path])
    assert (rollup.spans, problems.bad_spans, problems.bad_lines) == (4, 9, 0)


def test_metrics_and_logs_between_traces_are_passed_over(tmp_path: Path) -> None:
    spans, _, problems = _read(tmp_path, f'{{"resourceMetrics": []}}\n{_LINES}{{"resourceLogs": []}}\n'.encode())
    assert (spans, problems) == (4, [])


def test_byte_order_mark_blank_lines_and_missing_last_line_end_do_no_harm(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf\n" + _LINES.replace("\n", "\r\n\n").rstrip().encode()
    assert _read(tmp_path, content) == (4, pytest.approx(2 * PUT_USD), [])


def test_compressed_data_that_break_off_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    compressed = gzip.compress(_LINES.encode() * 2000)
    spans, _, problems = _read(tmp_path, compressed[: len(compressed) // 2])
    assert spans == 4  # read again and again, counted once
    assert len(problems) == 1
    assert problems[0][0] > 2
    assert "break off" in problems[0][1]


def test_several_compressed_members_are_one_file(tmp_path: Path) -> None:
    content = b"".join(gzip.compress(line.encode()) for line in _LINES.splitlines(keepends=True))
    assert _read(tmp_path, content) == (4, pytest.approx(2 * PUT_USD), [])


def test_a_missing_file_and_a_folder_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match=r"no such\.json: No such file"):
        priced([tmp_path / "no such.json"])
    with pytest.raises(FileUnreadableError, match="Is a directory"):
        priced([tmp_path])


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(_LINES.encode()))))
    rollup, problems = priced([Path("-")])
    assert (rollup.spans, problems.first) == (4, [])


_DOCUMENTS = {
    "otlp": otlp(_SPANS),
    "otlp of several processes": {"resourceSpans": [otlp([span])["resourceSpans"][0] for span in _SPANS]},
    "jaeger": jaeger(_SPANS),
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", _DOCUMENTS)
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_a_document_too_large_for_memory_is_cut_into_its_elements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, indent: int | None, chunk: int
) -> None:
    monkeypatch.setattr(files, "MAX_DOCUMENT_BYTES", 64)
    monkeypatch.setattr(files, "_CHUNK_BYTES", chunk)
    text = json.dumps(_DOCUMENTS[name], indent=indent, ensure_ascii=False)
    assert _read(tmp_path, text.encode()) == (4, pytest.approx(2 * PUT_USD), [])


def test_a_large_document_that_breaks_off_is_read_as_far_as_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_DOCUMENT_BYTES", 64)
    text = json.dumps(_DOCUMENTS["otlp of several processes"])
    spans, _, problems = _read(tmp_path, text[: len(text) * 2 // 3].encode())
    assert spans == 2
    assert problems == [(1, "the document breaks off")]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ("resourceSpans", "scopeSpans", "spans", "data", "processes", "traceID", "traceId", "spanId", "attributes",
             "resource", "scope", "key", "value", "intValue", "tags", "references", "batches", "trace", "kind", "flags")
        ),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_JSON, max_size=4))
def test_no_document_stops_the_reading_of_the_next(tmp_path: Path, documents: list[Any]) -> None:
    content = "".join(json.dumps(document) + "\n" for document in documents) + _LINES
    path = tmp_path / "any"
    path.write_text(content, encoding="utf-8")
    rollup, _ = priced([path])
    assert rollup.spans >= 4

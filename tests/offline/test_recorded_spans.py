"""Recorded spans cost the same whether they end under the SDK or are read from a file."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from spancost import names
from spancost.offline.rollup import Rollup
from spancost.testing import priced_provider
from tests.offline.traces import REGION, Span, from_recorded, jaeger, otlp, otlp_lines, priced
from tests.recorded import FOLDER, recorded_spans, replay

_FILES = sorted(file.name for file in FOLDER.glob("*.json"))
_BY = ("component", "provider", "operation", "model", "unit", "status", "reason", "basis")


def _live(file: str) -> dict[tuple[str, ...], tuple[float, float]]:
    with priced_provider(region=REGION, egress_proxy=True) as world:
        replay(world, recorded_spans(file))
        world.publish()
        found: dict[tuple[str, ...], tuple[float, float]] = {}
        for key, sums in world.recorded.charges.items():
            if key.line.component == names.COMPUTE:
                continue
            row = tuple(str(getattr(key.line, name)) for name in _BY)
            calls, usd = found.get(row, (0.0, 0.0))
            found[row] = (calls + sums.count, usd + sums.usd)
        return found


def _spans(file: str) -> list[Span]:
    return [from_recorded(span) for span in recorded_spans(file) if span.ended]


def _moved(span: Span, by: int) -> Span:
    """Return a span with other ids: those of two recordings are the same."""
    return span._replace(trace=span.trace + by, id=span.id + by, parent=span.parent and span.parent + by)


def _offline(rollup: Rollup) -> dict[tuple[str, ...], tuple[float, float]]:
    return {row.key: (float(row.charge_count), row.usd) for row in rollup.rows}


def _assert_same(
    found: dict[tuple[str, ...], tuple[float, float]], expected: dict[tuple[str, ...], tuple[float, float]]
) -> None:
    assert set(found) == set(expected)
    for key, (calls, usd) in expected.items():
        assert found[key] == (calls, pytest.approx(usd, rel=1e-9)), key


@pytest.mark.parametrize("file", _FILES)
def test_recorded_spans_cost_the_same_stored_as_live(file: str, tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(otlp_lines(_spans(file), batch=4), encoding="utf-8")
    rollup, problems = priced([path], _BY)
    assert problems.first == []
    _assert_same(_offline(rollup), _live(file))


@pytest.mark.parametrize("file", _FILES)
def test_otlp_and_jaeger_cost_the_same_in_one_document_and_compressed(file: str, tmp_path: Path) -> None:
    spans = _spans(file)
    written = {
        "one.json": json.dumps(otlp(spans)).encode(),
        "pretty.json": json.dumps(otlp(spans), indent=2).encode(),
        "lines.json.gz": gzip.compress(otlp_lines(spans).encode()),
        "jaeger.json": json.dumps(jaeger(spans), indent=4).encode(),
        "jaeger.jsonl": b"".join(json.dumps(trace).encode() + b"\n" for trace in jaeger(spans)["data"]),
        "jaeger.gz": gzip.compress(json.dumps(jaeger(spans)).encode()),
    }
    found: dict[str, dict[tuple[str, ...], tuple[float, float]]] = {}
    for name, content in written.items():
        (tmp_path / name).write_bytes(content)
        rollup, problems = priced([tmp_path / name], _BY)
        assert problems.first == []
        assert rollup.spans == len(spans)
        found[name] = _offline(rollup)
    for name in written:
        _assert_same(found[name], found["one.json"])


def test_any_order_over_any_number_of_files_costs_the_same(tmp_path: Path) -> None:
    spans = [_moved(span, number * 10**6) for number, file in enumerate(_FILES) for span in _spans(file)]
    (tmp_path / "all.jsonl").write_text(otlp_lines(spans, batch=50), encoding="utf-8")
    expected, _ = priced([tmp_path / "all.jsonl"], _BY)
    random.Random(4).shuffle(spans)
    third = len(spans) // 3
    (tmp_path / "a.jsonl").write_text(otlp_lines(spans[:third], batch=7), encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps(otlp(spans[third : 2 * third])), encoding="utf-8")
    (tmp_path / "c.gz").write_bytes(gzip.compress(json.dumps(otlp(spans[2 * third :]), indent=1).encode()))
    found, problems = priced([tmp_path / name for name in ("c.gz", "a.jsonl", "b.json")], _BY)
    assert problems.first == []
    _assert_same(_offline(found), _offline(expected))
    statuses: Counter[str] = Counter(row.key[_BY.index("status")] for row in found.rows)
    assert {names.PRICED, names.ESTIMATED, names.UNPRICED} <= set(statuses)

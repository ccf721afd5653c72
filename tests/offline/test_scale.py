"""Memory and time stay in proportion to the number of spans."""

from __future__ import annotations

from pathlib import Path

import pytest

from spancost.config import Config
from spancost.offline.pricing import Pricing
from spancost.offline.reading import Problems, read_files
from spancost.offline.rollup import roll_up
from spancost.prices.book import PriceBook
from tests.benchmarks.offline import write_traces
from tests.offline.traces import Span, priced_spans
from tests.recorded import NOW_NS
from tests.spans import chat, chat_usd


def test_a_span_is_kept_in_less_than_64_bytes_and_every_request_has_its_row(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    write_traces(path, 4_000)
    pricing, problems = Pricing(Config(region="us-east-1"), PriceBook.shipped()), Problems()
    assert read_files([str(path)], pricing, problems) == []
    rollup = roll_up(pricing, ["service", "entrypoint"])
    assert problems.first == []
    table = pricing.table
    columns = (
        table.ids, table.parent_ids, table.marks, table.processes, table.entries, table.attributions, table.seconds,
        table.call_hosts, table.parents, table.roots,
    )  # fmt: skip
    assert sum(column.itemsize for column in columns) < 64
    assert {len(column) for column in columns} == {rollup.spans}
    assert len(rollup.rows) == 6
    assert rollup.requests == rollup.roots == sum(row.requests for row in rollup.rows)
    assert rollup.usd == pytest.approx(sum(row.usd for row in rollup.rows), rel=1e-12)


def test_a_trace_of_thousands_of_concurrent_calls_is_settled_in_a_moment(tmp_path: Path) -> None:
    count = 3_000
    root = Span(1, 0, "job")
    inner = [
        Span(
            10 + number,
            1,
            "chat",
            "CLIENT",
            chat(100 + number % 7, 10),
            "openai" if number % 2 else "langchain",
            start_ns=NOW_NS + number,
            end_ns=NOW_NS + 10_000_000 + number,
        )
        for number in range(count)
    ]
    rollup = priced_spans(tmp_path, [root, *inner])
    assert rollup.duplicates == 0
    assert rollup.usd == pytest.approx(sum(chat_usd(100 + number % 7, 10) for number in range(count)))

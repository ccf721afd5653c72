from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from spancost.config import Config
from spancost.offline.reading import Problems
from spancost.offline.rollup import OFFLINE
from spancost.offline.whole_traces import find_costliest, ids_that_begin, read_whole, readable_twice
from spancost.prices.book import PriceBook
from spancost.sinks.ledger.rows import StoredTrace
from tests.offline.traces import REGION, Span, jaeger, otlp, otlp_lines, priced
from tests.recorded import NOW_NS

CONFIG, BOOK = Config(region=REGION), PriceBook.shipped()
_RANDOM = random.Random(7)
IDS = [_RANDOM.getrandbits(128) | 1 << 127 for _ in range(4)]
MILLION = 1e6


def chat(number: int, parent: int, trace: int, tokens: int, scope: str = "openai") -> Span:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 0,
    }
    return Span(number, parent, "chat gpt-5-mini", "CLIENT", attributes, scope, trace=trace, end_ns=NOW_NS + 500_000)


def spans_of(trace: int, tokens: int) -> list[Span]:
    """A request of the shop that calls a recommender, which calls a model; seen by two instrumentations."""
    first = trace % 1_000_003 * 100
    route = {"http.request.method": "POST", "http.route": "/chat"}
    return [
        Span(first + 1, 0, "POST /chat", "SERVER", route, trace=trace),
        Span(first + 2, first + 1, "render", trace=trace),
        Span(first + 3, first + 1, "POST", "CLIENT", {"http.request.method": "POST"}, trace=trace),
        Span(first + 4, first + 3, "POST /ask", "SERVER", route, service="recommender", trace=trace),
        chat(first + 5, first + 4, trace, tokens)._replace(service="recommender"),
        chat(first + 6, first + 5, trace, tokens, "openllmetry")._replace(service="recommender"),
    ]


def all_spans() -> list[Span]:
    spans = [span for place, trace in enumerate(IDS) for span in spans_of(trace, 1000 * (place + 1))]
    random.Random(1).shuffle(spans)
    return spans


@pytest.fixture(params=["lines", "one document", "jaeger"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path, spans = tmp_path / "traces.json", all_spans()
    texts = {"lines": otlp_lines(spans, 2), "one document": json.dumps(otlp(spans), indent=1)}
    path.write_text(texts.get(request.param) or json.dumps(jaeger(spans)), encoding="utf-8")
    return path


def costliest(paths: Sequence[str | Path], count: int = 1) -> list[tuple[int, float]]:
    return find_costliest(map(str, paths), CONFIG, BOOK, Problems(), count=count).costliest


def whole(path: Path, trace: int) -> list[StoredTrace]:
    low = trace & (2**64 - 1)
    return read_whole([str(path)], [low], CONFIG, BOOK)[low]


def test_the_costliest_traces_are_found_in_order(file: Path) -> None:
    found = costliest([file], count=3)
    assert [low for low, _ in found] == [trace & (2**64 - 1) for trace in reversed(IDS[1:])]
    assert [usd for _, usd in found] == pytest.approx([n * 1000 * 0.25 / MILLION for n in (4, 3, 2)])


def test_whole_traces_cost_what_pricing_all_of_them_says(file: Path) -> None:
    rollup, _ = priced([file])
    found = sum(root.total_usd for trace in IDS for root in whole(file, trace))
    assert found == pytest.approx(rollup.usd, rel=1e-9)
    assert dict(costliest([file], count=9)) == pytest.approx(
        {trace & (2**64 - 1): sum(root.total_usd for root in whole(file, trace)) for trace in IDS}
    )


def test_a_trace_has_all_its_spans_under_their_local_roots(file: Path) -> None:
    shop, recommender = sorted(whole(file, IDS[0]), key=lambda root: root.service, reverse=True)
    assert (shop.trace_id, shop.service, shop.entrypoint) == (f"{IDS[0]:032x}", "shop", "POST /chat")
    assert {node.name for node in shop.nodes} == {"POST /chat", "render", "POST"}
    root, *_ = recommender.nodes
    assert (root.name, root.direct_usd) == ("POST /ask", 0)
    assert root.total_usd == recommender.total_usd == pytest.approx(1000 * 0.25 / MILLION)
    charges = [charge for node in recommender.nodes for charge in node.charges]
    assert sorted(charge["status"] for charge in charges) == ["duplicate", "priced", "unpriced", "unpriced"]
    by_reason = {charge.get("reason"): charge for charge in charges}
    assert by_reason[OFFLINE]["component"] == "compute"


def test_several_files_are_one(tmp_path: Path) -> None:
    spans = all_spans()
    paths = [tmp_path / f"{place}.jsonl" for place in range(3)]
    for place, path in enumerate(paths):
        path.write_text(otlp_lines(spans[place::3], 2), encoding="utf-8")
    together = tmp_path / "all.jsonl"
    together.write_text(otlp_lines(spans, 2), encoding="utf-8")
    assert dict(costliest(paths, 4)) == pytest.approx(dict(costliest([together], 4)))


def test_a_span_that_is_read_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text(otlp_lines(all_spans(), 2), encoding="utf-8")
    low = IDS[0] & (2**64 - 1)
    once = read_whole([str(path)], [low], CONFIG, BOOK)[low]
    twice = read_whole([str(path), str(path)], [low], CONFIG, BOOK)[low]
    assert twice == once


def test_ids_are_found_by_their_first_digits(file: Path) -> None:
    wanted = f"{IDS[2]:032x}"
    assert ids_that_begin([str(file)], wanted[:9], CONFIG, BOOK) == [wanted]
    assert len(ids_that_begin([str(file)], "", CONFIG, BOOK)) == 4
    assert ids_that_begin([str(file)], "0", CONFIG, BOOK) == []


def test_a_huge_trace_is_cut_and_keeps_its_money(tmp_path: Path) -> None:
    trace = IDS[0]
    spans = [Span(1, 0, "job", "CONSUMER", {}, trace=trace)]
    spans += [chat(number, number - 1, trace, 10) for number in range(2, 2_502)]
    path = tmp_path / "deep.jsonl"
    path.write_text(otlp_lines(spans, 100), encoding="utf-8")
    (root,) = whole(path, trace)
    assert (len(root.nodes), root.left_out) == (2_000, 501)
    assert root.total_usd == pytest.approx(2_500 * 10 * 0.25 / MILLION)


def test_standard_input_can_be_read_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    with readable_twice(["-"]) as paths:
        assert dict(costliest(paths, 4)) == pytest.approx(dict(costliest([file], 4)))
        assert len(ids_that_begin(paths, "", CONFIG, BOOK)) == 4
    assert not Path(paths[0]).exists()

"""One real call is one charge, told from parents and times."""

from __future__ import annotations

from pathlib import Path

import pytest

from spancost import names
from tests.offline.traces import Span, priced_spans
from tests.recorded import NOW_NS
from tests.spans import PUT_USD, SMS_USD, chat, chat_usd, put_item, sms

_MS = 1_000_000


def _span(number: int, parent: int, scope: str, first_ms: int, last_ms: int, tokens: int = 100, **more: int) -> Span:
    return Span(
        number,
        parent,
        "chat",
        "CLIENT",
        chat(tokens, 10, **more),  # pyright: ignore[reportArgumentType]
        scope,
        start_ns=NOW_NS + first_ms * _MS,
        end_ns=NOW_NS + last_ms * _MS,
    )


_ROOT = Span(1, 0, "job", end_ns=NOW_NS + 1000 * _MS)


def test_a_nested_view_of_another_scope_is_the_same_call_priced_from_the_richest_counts(tmp_path: Path) -> None:
    spans = [_ROOT, _span(2, 1, "langchain", 0, 10), Span(3, 2), _span(4, 3, "openai", 1, 9, cached=64)]
    rollup = priced_spans(tmp_path, spans, ["status"])
    assert rollup.duplicates == 1
    assert rollup.usd == pytest.approx(chat_usd(100, 10, cached=64))
    assert {row.key[0]: row.charge_count for row in rollup.rows} == {names.PRICED: 1, names.DUPLICATE: 1}


def test_a_view_beside_another_one_and_within_its_time_is_the_same_call(tmp_path: Path) -> None:
    beside = [_ROOT, _span(2, 1, "langchain", 0, 10), _span(3, 1, "openai", 1, 9)]
    assert priced_spans(tmp_path, beside).usd == pytest.approx(chat_usd(100, 10))
    below_a_sibling = [_ROOT, _span(2, 1, "langchain", 0, 10), Span(3, 1), _span(4, 3, "openai", 1, 9)]
    assert priced_spans(tmp_path, below_a_sibling).duplicates == 1


def test_a_call_beside_another_one_that_outlasts_it_is_a_second_call(tmp_path: Path) -> None:
    spans = [_ROOT, _span(2, 1, "langchain", 0, 10), _span(3, 1, "openai", 5, 15)]
    assert priced_spans(tmp_path, spans).usd == pytest.approx(2 * chat_usd(100, 10))


def test_concurrent_calls_with_two_views_each_are_matched_one_to_one(tmp_path: Path) -> None:
    spans = [_ROOT]
    for number in range(5):
        spans.append(_span(10 + number, 1, "langchain", number, 50 + number, tokens=100 + number))
        spans.append(_span(20 + number, 1, "openai", 10 + number, 45 + number, tokens=100 + number))
    rollup = priced_spans(tmp_path, spans)
    assert rollup.duplicates == 5
    assert rollup.usd == pytest.approx(sum(chat_usd(100 + number, 10) for number in range(5)))


def test_fifty_equal_calls_of_one_scope_are_fifty_charges(tmp_path: Path) -> None:
    spans = [_ROOT, *(_span(10 + number, 1, "openai", 0, 10) for number in range(50))]
    rollup = priced_spans(tmp_path, spans)
    assert rollup.duplicates == 0
    assert rollup.usd == pytest.approx(50 * chat_usd(100, 10))


def test_calls_to_different_models_are_never_the_same(tmp_path: Path) -> None:
    inner = _span(3, 2, "openai", 1, 9)
    other = {**inner.attributes, "gen_ai.request.model": "gpt-4o", "gen_ai.response.model": "gpt-4o-2024-08-06"}
    spans = [_ROOT, _span(2, 1, "langchain", 0, 10), inner._replace(attributes=other)]
    rollup = priced_spans(tmp_path, spans, ["model"])
    assert rollup.duplicates == 0
    assert len(rollup.rows) == 2


def test_a_gateway_that_repeats_the_call_of_its_client_is_charged_once_at_the_client(tmp_path: Path) -> None:
    spans = [
        _ROOT,
        _span(2, 1, "openai", 0, 10),
        Span(3, 2, "POST", "CLIENT"),
        Span(4, 3, "POST", "SERVER", service="gateway"),
        _span(5, 4, "litellm", 1, 9)._replace(service="gateway"),
    ]
    rollup = priced_spans(tmp_path, spans, ["service", "status"])
    assert {row.key: row.usd for row in rollup.rows if row.usd} == {
        ("shop", names.PRICED): pytest.approx(chat_usd(100, 10))
    }


def test_calls_of_other_traces_are_never_the_same(tmp_path: Path) -> None:
    spans = [_span(2, 1, "langchain", 0, 10), _span(2, 1, "openai", 1, 9)._replace(trace=2)]
    assert priced_spans(tmp_path, spans).usd == pytest.approx(2 * chat_usd(100, 10))


def test_http_below_an_aws_call_to_its_host_is_transport(tmp_path: Path) -> None:
    below = {
        **sms(),
        "server.address": "dynamodb.us-east-1.amazonaws.com",
        "url.full": "https://dynamodb.us-east-1.amazonaws.com/",
    }
    spans = [_ROOT, Span(2, 1, "put", "CLIENT", put_item()), Span(3, 2, "POST", "CLIENT", below)]
    rollup = priced_spans(tmp_path, spans, ["component"])
    assert [(row.key, row.usd) for row in rollup.rows] == [(("aws",), pytest.approx(PUT_USD))]


def test_http_below_an_llm_call_to_another_host_is_a_call_of_its_own(tmp_path: Path) -> None:
    called = _span(2, 1, "openai", 0, 10)
    called = called._replace(attributes={**called.attributes, "server.address": "api.openai.com"})
    spans = [_ROOT, called, Span(3, 2, "POST", "CLIENT", sms())]
    assert priced_spans(tmp_path, spans).usd == pytest.approx(chat_usd(100, 10) + SMS_USD)


def test_http_beside_an_llm_call_is_its_transport_only_within_its_time(tmp_path: Path) -> None:
    attributes = {**sms(), "server.address": "api.openai.com", "url.full": "https://api.openai.com/v1/chat/completions"}
    transport = Span(3, 1, "POST", "CLIENT", attributes, start_ns=NOW_NS + _MS, end_ns=NOW_NS + 9 * _MS)
    late = transport._replace(id=4, start_ns=NOW_NS + 20 * _MS, end_ns=NOW_NS + 30 * _MS)
    rollup = priced_spans(tmp_path, [_ROOT, transport, _span(2, 1, "openai", 0, 10), late], ["component", "reason"])
    counts = {row.key: row.charge_count for row in rollup.rows}
    assert counts == {("llm", ""): 1, ("http", "transport"): 1, ("http", "tokens_not_seen"): 1}


def test_bedrock_that_shows_no_tokens_is_unpriced(tmp_path: Path) -> None:
    attributes = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "InvokeModel"}
    rollup = priced_spans(tmp_path, [Span(1, 0, "invoke", "CLIENT", attributes)])
    llm = [row for row in rollup.unpriced if row.component == names.LLM]
    assert [(row.operation, row.reason) for row in llm] == [("InvokeModel", "no_usage")]


def test_impossible_usage_is_unpriced_and_never_a_number(tmp_path: Path) -> None:
    bad: list[dict[str, object]] = [
        {"gen_ai.usage.input_tokens": -1},
        {"gen_ai.usage.input_tokens": "many"},
        {"gen_ai.usage.output_tokens": float("nan")},
        {"gen_ai.response.model": "x" * 100_000, "gen_ai.request.model": ""},
    ]
    spans = [
        Span(number, 0, "chat", "CLIENT", {**chat(10, 1), **more}, trace=number) for number, more in enumerate(bad, 1)
    ]
    rollup = priced_spans(tmp_path, spans)
    assert rollup.usd == 0.0
    assert sum(row.charge_count for row in rollup.unpriced if row.component == names.LLM) == len(bad)

"""Each recorded span (tests/data/spans) gets the charge worked out here, when it goes through the real SDK."""

from __future__ import annotations

from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price
from opentelemetry.sdk.trace import ReadableSpan

from spancost import names
from spancost.testing import priced_provider
from tests.meters.aws.test_recorded_spans import _expected as expected_of_aws  # pyright: ignore[reportPrivateUsage]
from tests.recorded import FOLDER, Recorded, recorded_spans, replay
from tests.spans import EGRESS_USD_PER_GB, GB, REGION

_FILES = sorted(file.name for file in FOLDER.glob("*.json"))
_HTTP_CLIENTS = [name for name in _FILES if name.split(".")[0] in ("aiohttp", "httpx", "requests", "urllib3")]
_SERVERS = [name for name in _FILES if name.split(".")[0] in ("django", "fastapi", "flask")]


def _mtok(usd: str, tokens: int) -> Decimal:
    return Decimal(usd) * tokens / 1_000_000


# The provider's figures: 1200 tokens in, of which 1024 cached; 250 out (reasoning is part of it).
_CHAT_USD = _mtok("0.25", 1200 - 1024) + _mtok("0.025", 1024) + _mtok("2", 250)
_CHAT_WITHOUT_CACHE_USD = _mtok("0.25", 1200) + _mtok("2", 250)
_EMBEDDING_USD = _mtok("0.02", 321)
# 2350 in, of which 2000 read from the cache, 100 written for 5 minutes and 200 for an hour; 120 out.
_MESSAGE_USD = _mtok("3", 50) + _mtok("0.3", 2000) + _mtok("3.75", 100) + _mtok("6", 200) + _mtok("15", 120)


def test_hand_written_rates_are_those_of_genai_prices() -> None:
    chat = calc_price(
        Usage(input_tokens=1200, cache_read_tokens=1024, output_tokens=250), "gpt-5-mini", provider_id="openai"
    )
    assert chat.total_price == _CHAT_USD
    plain = calc_price(Usage(input_tokens=1200, output_tokens=250), "gpt-5-mini", provider_id="openai")
    assert plain.total_price == _CHAT_WITHOUT_CACHE_USD
    embedding = calc_price(Usage(input_tokens=321), "text-embedding-3-small", provider_id="openai")
    assert embedding.total_price == _EMBEDDING_USD
    usage = Usage(
        input_tokens=2350,
        cache_read_tokens=2000,
        cache_write_tokens=300,
        cache_write_1h_tokens=200,
        output_tokens=120,
    )
    assert calc_price(usage, "claude-sonnet-4-5-20250929", provider_id="anthropic").total_price == _MESSAGE_USD


def _replayed(file: str) -> list[tuple[Recorded, ReadableSpan]]:
    spans = recorded_spans(file)
    with priced_provider(region=REGION, egress_clients="internet") as world:  # recorded with clients on 127.0.0.1
        exported = replay(world, spans)
        world.publish()
        assert len(exported) == sum(span.ended for span in spans)
        charged = world.recorded.usd()
        written = sum(_direct_usd(span) for span in exported.values())
        assert written == pytest.approx(charged, rel=1e-9)
        assert world.root_totals_usd() + world.recorded.late_usd() == pytest.approx(charged, rel=1e-9)
    return [(span, exported[span.id]) for span in spans if span.ended]


def _direct_usd(span: ReadableSpan) -> float:
    return float((span.attributes or {}).get(names.DIRECT_USD, 0.0))  # type: ignore[arg-type]


def _known(span: ReadableSpan) -> tuple[object, object]:
    """Status, and reason or basis; (None, None) for a span that is charged nothing."""
    attributes = span.attributes or {}
    status, reason = attributes.get(names.STATUS), attributes.get(names.REASON) or attributes.get(names.BASIS)
    return (None, None) if reason == "compute_rate_unknown" else (status, reason)


_LLM: dict[str, tuple[str, str | None, Decimal]] = {
    "genai_openai chat": ("priced", None, _CHAT_USD),
    "genai_openai chat with audio": ("estimated", "audio_at_text_rate", _CHAT_USD),
    "genai_openai embeddings": ("priced", None, _EMBEDDING_USD),
    "openai_v2 chat": ("estimated", "cached_tokens_not_reported", _CHAT_WITHOUT_CACHE_USD),
    "openai_v2 embeddings": ("priced", None, _EMBEDDING_USD),
    "no usage": ("unpriced", "no_usage", Decimal(0)),
    "azure": ("unpriced", "unknown_model", Decimal(0)),
}


def _expected_of_openai(recorded: Recorded) -> tuple[str, str | None, Decimal]:
    scenario = recorded.scenario
    if "without include_usage" in scenario or "closed after" in scenario:
        return _LLM["no usage"]
    if scenario == "azure chat":
        return _LLM["azure"]
    kind = "embeddings" if scenario == "embeddings" else "chat"
    if "gen_ai.usage.audio.input_tokens" in recorded.attributes:
        kind += " with audio"
    return _LLM[f"{recorded.file.split('.')[0]} {kind}"]


@pytest.mark.parametrize("file", ["genai_openai.default.json", "openai_v2.default.json", "openai_v2.latest.json"])
def test_openai_call_is_charged_once_on_its_llm_span_and_its_transport_never(file: str) -> None:
    scopes = {span.id: span.scope for span in recorded_spans(file)}
    seen: set[str] = set()
    for recorded, span in _replayed(file):
        if recorded.scope.endswith("httpx"):
            beneath_llm = scopes.get(recorded.parent_id or "") is not None
            known = ("duplicate", "transport") if beneath_llm else ("unpriced", "unknown_host")
            assert _known(span) == known, recorded.scenario
            continue
        status, why, usd = _expected_of_openai(recorded)
        assert _known(span) == (status, why), recorded.scenario
        assert _direct_usd(span) == pytest.approx(float(usd), rel=1e-12), recorded.scenario
        if status in ("priced", "estimated"):
            attributes = span.attributes or {}
            assert attributes[names.GEN_AI_USAGE_COST] == attributes[names.OPERATION_COST] == _direct_usd(span)
            assert str(attributes[names.SOURCE]).startswith("genai-prices:")
        seen.add(recorded.scenario)
    assert {"chat", "embeddings", "azure chat", "chat stream closed after one chunk"} <= seen


def test_anthropic_call_seen_by_two_tracers_is_charged_once_on_the_outer_span_with_both_kinds_of_cache_writes() -> None:
    by_scope: dict[str, int] = {}
    for recorded, span in _replayed("genai_anthropic.default.json"):
        by_scope[recorded.scope] = by_scope.get(recorded.scope, 0) + 1
        if recorded.scope.endswith("httpx"):
            assert _known(span) == ("duplicate", "transport")
        elif recorded.parent_id is None:
            assert _known(span) == ("priced", None)
            assert _direct_usd(span) == pytest.approx(float(_MESSAGE_USD), rel=1e-12)
        else:
            assert _known(span) == ("duplicate", "outer_span")
            assert _direct_usd(span) == 0.0
    assert sorted(by_scope.values()) == [4, 4, 4]


def test_botocore_spans_are_charged_by_units_through_the_sdk() -> None:
    by_scenario: dict[str, list[tuple[Recorded, ReadableSpan]]] = {}
    for recorded, span in sorted(_replayed("botocore.json"), key=lambda pair: pair[0].data["end_order"]):
        if recorded.scope == "app.manual":
            assert _known(span) == (None, None)
            continue
        by_scenario.setdefault(recorded.scenario, []).append((recorded, span))
    for scenario, pairs in by_scenario.items():
        expected = [pytest.approx(usd, rel=1e-12) for usd in expected_of_aws(scenario)]
        assert [_direct_usd(span) for _, span in pairs] == expected, scenario


@pytest.mark.parametrize("file", _HTTP_CLIENTS)
def test_answered_call_to_an_unknown_host_is_unpriced_and_one_without_an_answer_is_no_charge(file: str) -> None:
    for recorded, span in _replayed(file):
        status = recorded.attributes.get("http.response.status_code") or recorded.attributes.get("http.status_code")
        assert _known(span) == (("unpriced", "unknown_host") if status else (None, None)), recorded.scenario
        assert _direct_usd(span) == 0.0


@pytest.mark.parametrize("file", _SERVERS)
def test_server_span_is_charged_for_the_bytes_it_shows_and_its_inner_spans_for_nothing(file: str) -> None:
    shown = 0
    for recorded, span in _replayed(file):
        if recorded.data["kind"] != "SERVER":
            assert _known(span) == (None, None), recorded.scenario
            continue
        length = recorded.attributes.get("http.response.header.content_length")
        if length is None:
            assert _known(span) == ("unpriced", "response_size_unknown"), recorded.scenario
            continue
        shown += 1
        assert _known(span) == ("priced", None), recorded.scenario
        assert _direct_usd(span) == pytest.approx(int(length[0]) / GB * EGRESS_USD_PER_GB, rel=1e-12)
    assert (shown > 0) == (file in ("fastapi.http_headers.json", "flask.http_headers.json"))


def test_every_recorded_file_is_covered_here() -> None:
    others = {
        name for name in _FILES if name.split(".")[0] in ("genai_openai", "openai_v2", "genai_anthropic", "botocore")
    }
    assert others | set(_HTTP_CLIENTS) | set(_SERVERS) == set(_FILES)

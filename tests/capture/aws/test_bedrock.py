"""Bedrock beside tokens: guardrails, re-ranking, what only headers tell."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor

from spancost.capture import aws as hooks
from spancost.capture.aws import bedrock_runtime as seen
from spancost.testing import priced_provider
from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_CONTENT_USD, _TOPIC_USD, _SENSITIVE_USD, _REASONING_USD = 0.00015, 0.00015, 0.0001, 0.00017
_COUNTS = (
    "topicPolicyUnits",
    "contentPolicyUnits",
    "wordPolicyUnits",
    "sensitiveInformationPolicyUnits",
    "sensitiveInformationPolicyFreeUnits",
    "contextualGroundingPolicyUnits",
)


@pytest.fixture
def runtime(prices: Prices) -> Generator[Stubbed]:
    with stubbed("bedrock-runtime") as runtime:
        yield runtime


@pytest.fixture
def agents(prices: Prices) -> Generator[Stubbed]:
    with stubbed("bedrock-agent-runtime") as agents:
        yield agents


def _apply(runtime: Stubbed, *texts: str, **units: int) -> None:
    usage = {**dict.fromkeys(_COUNTS, 0), **units}
    runtime.call(
        "apply_guardrail",
        {"usage": usage, "action": "NONE", "outputs": [], "assessments": []},
        guardrailIdentifier="arn:aws:bedrock:us-east-1:123456789012:guardrail/g1",
        guardrailVersion="1",
        source="INPUT",
        content=[{"text": {"text": text}} for text in texts],
    )


def test_a_guardrail_costs_each_of_its_policies(runtime: Stubbed, prices: Prices) -> None:
    _apply(
        runtime,
        "x" * 2500,
        contentPolicyUnits=3,
        topicPolicyUnits=3,
        wordPolicyUnits=3,
        sensitiveInformationPolicyUnits=3,
        sensitiveInformationPolicyFreeUnits=3,
    )
    charges = prices.take()
    assert sum(charge.usd for charge in charges) == pytest.approx(3 * (_CONTENT_USD + _TOPIC_USD + _SENSITIVE_USD))
    assert {(charge.line.status, charge.line.resource) for charge in charges} == {("priced", "g1")}


def test_word_filters_are_free(runtime: Stubbed, prices: Prices) -> None:
    _apply(runtime, "x", wordPolicyUnits=1)
    assert status_of(prices.one()) == ("free", "")


def test_automated_reasoning_costs_its_units_for_each_policy(runtime: Stubbed, prices: Prices) -> None:
    _apply(runtime, "x", automatedReasoningPolicyUnits=2, automatedReasoningPolicies=1)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(2 * _REASONING_USD), ("priced", ""))
    _apply(runtime, "x", automatedReasoningPolicyUnits=2, automatedReasoningPolicies=3)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (
        pytest.approx(6 * _REASONING_USD),
        ("estimated", "units:per_policy"),
    )


def test_a_refused_guardrail_is_free(runtime: Stubbed, prices: Prices) -> None:
    runtime.refuse("apply_guardrail", "ValidationException", 400)
    with pytest.raises(ClientError):
        runtime.client.apply_guardrail(
            guardrailIdentifier="g1", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "x"}}]
        )
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_tokens_of_any_model_are_read_from_the_header(runtime: Stubbed, prices: Prices) -> None:
    headers = {"x-amzn-bedrock-input-token-count": "11", "x-amzn-bedrock-output-token-count": "0"}
    runtime.call(
        "invoke_model",
        {
            "body": b"{}",
            "contentType": "application/json",
            "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": headers},
        },
        modelId="amazon.titan-embed-text-v2:0",
        body=json.dumps({"inputText": "hello"}),
    )
    ((_, facts, charges),) = prices.spans
    assert (facts[seen.INPUT_TOKENS], facts[seen.OUTPUT_TOKENS]) == (11, 0)
    assert list(charges) == []  # the LLM meter's


@pytest.mark.parametrize("model", ["amazon.nova-canvas-v1:0", "stability.sd3-5-large-v1:0"])
def test_a_model_that_makes_pictures_is_unpriced_and_not_nothing(model: str) -> None:
    answer = {"body": b'{"images": []}', "contentType": "application/json"}
    instrumentor: Any = BotocoreInstrumentor()
    with priced_provider() as world, stubbed("bedrock-runtime") as runtime:
        instrumentor.instrument(
            tracer_provider=world.provider, request_hook=hooks.request_hook, response_hook=hooks.response_hook
        )
        try:
            runtime.call("invoke_model", answer, modelId=model, body=json.dumps({"prompt": "a cat"}))
        finally:
            instrumentor.uninstrument()
        (span,) = world.spans
    attributes = span.attributes or {}
    assert (attributes["spancost.status"], attributes["spancost.reason"]) == ("unpriced", "no_usage")


def test_counting_tokens_is_free_and_videos_are_unpriced(runtime: Stubbed, prices: Prices) -> None:
    runtime.call(
        "count_tokens",
        {"inputTokens": 3},
        modelId="anthropic.claude-3-haiku-20240307-v1:0",
        input={"invokeModel": {"body": b"{}"}},
    )
    runtime.call(
        "start_async_invoke",
        {"invocationArn": "arn:aws:bedrock:us-east-1:123456789012:async-invoke/abcdefghijkl"},
        modelId="amazon.nova-reel-v1:0",
        modelInput={},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://films/out"}},
    )
    free, video = prices.take()
    assert (free.line.status, video.line.reason) == ("free", "duration_not_seen")
    assert video.line.resource == "amazon.nova-reel-v1:0"


def _rerank(agents: Stubbed, model: str, documents: int) -> None:
    source: dict[str, Any] = {
        "type": "INLINE",
        "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "x"}},
    }
    agents.call(
        "rerank",
        {"results": []},
        queries=[{"type": "TEXT", "textQuery": {"text": "q"}}],
        sources=[source] * documents,
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {
                "modelConfiguration": {"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{model}"}
            },
        },
    )


@pytest.mark.parametrize(("documents", "queries"), [(1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
@pytest.mark.parametrize(("model", "usd"), [("amazon.rerank-v1:0", 0.001), ("cohere.rerank-v3-5:0", 0.002)])
def test_reranking_costs_a_query_per_hundred_documents(
    agents: Stubbed, prices: Prices, model: str, usd: float, documents: int, queries: int
) -> None:
    _rerank(agents, model, documents)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(queries * usd), ("priced", ""))
    assert charge.line.resource == model


def test_reranking_by_another_model_is_unpriced(agents: Stubbed, prices: Prices) -> None:
    _rerank(agents, "acme.rerank-v9:0", 150)
    charge = prices.one()
    assert (charge.line.reason, charge.quantity, charge.line.unit) == ("unknown_model", 2, "query")


def test_knowledge_bases_cost_tokens_that_nobody_sees(agents: Stubbed, prices: Prices) -> None:
    agents.call(
        "retrieve", {"retrievalResults": []}, knowledgeBaseId="ABCDEFGHIJ", retrievalQuery={"text": "what is it?"}
    )
    agents.call("list_sessions", {"sessionSummaries": []})
    asked, free = prices.take()
    assert (asked.line.reason, free.line.status) == ("model_calls_not_seen", "free")

"""Athena, SES, Textract, Rekognition, Comprehend, Translate, Polly, Bedrock: stored spans, rounding, bad usage."""

from __future__ import annotations

import math
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import bedrock_agent_runtime as rerank_facts
from spancost.capture.aws import bedrock_runtime as bedrock_facts
from spancost.capture.aws import comprehend as comprehend_facts
from spancost.capture.aws import mail as mail_facts
from spancost.capture.aws import polly as polly_facts
from spancost.capture.aws import translate as translate_facts
from spancost.capture.aws import work
from spancost.capture.aws.facts import RESOURCE
from spancost.meters.aws import athena, bedrock_runtime, comprehend, rekognition
from tests.meters.aws.calls import METER, charge, charges, known

_CLIENTS = (
    "athena",
    "bedrock-agent-runtime",
    "bedrock-runtime",
    "comprehend",
    "polly",
    "rekognition",
    "ses",
    "sesv2",
    "textract",
    "transcribe",
    "translate",
)
_BAD = [-1, math.nan, math.inf, "many", True]


@pytest.mark.parametrize("client", _CLIENTS)
def test_every_operation_of_the_service_is_decided(client: str) -> None:
    operations = botocore.session.get_session().get_service_model(client).operation_names
    undecided = [
        operation
        for operation in operations
        if any(usage.reason in ("unknown_operation", "unknown_service") for usage in METER.usages(client, operation))
    ]
    assert operations
    assert undecided == []


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("Athena", "StartQueryExecution", ("unpriced", "usage_comes_later", "")),
        ("Athena", "GetQueryExecution", ("unpriced", "no_usage", "")),
        ("Athena", "StartSession", ("unpriced", "duration_not_seen", "")),
        ("SES", "SendEmail", ("estimated", "", "recipients:1,attachments:0")),
        ("SESv2", "SendBulkEmail", ("estimated", "", "recipients:1,attachments:0")),
        ("Textract", "DetectDocumentText", ("priced", "", "")),
        ("Textract", "AnalyzeID", ("estimated", "", "pages:1")),
        ("Textract", "AnalyzeDocument", ("unpriced", "no_usage", "")),
        ("Rekognition", "DetectLabels", ("estimated", "", "features:labels")),
        ("Rekognition", "GetFaceSearch", ("unpriced", "no_usage", "")),
        ("Comprehend", "DetectEntities", ("estimated", "", "size:3_units")),
        ("Translate", "TranslateText", ("unpriced", "no_usage", "")),
        ("Polly", "SynthesizeSpeech", ("unpriced", "no_usage", "")),
        ("Transcribe", "StartTranscriptionJob", ("unpriced", "duration_not_seen", "")),
        ("Bedrock Runtime", "ApplyGuardrail", ("unpriced", "no_usage", "")),
        ("Bedrock Agent Runtime", "Rerank", ("unpriced", "no_usage", "")),
        ("Bedrock Agent Runtime", "InvokeFlow", ("unpriced", "transitions_not_seen", "")),
    ],
)
def test_a_span_that_nobody_looked_at_says_what_is_missing(
    service: str, operation: str, expected: tuple[str, str, str]
) -> None:
    assert known(charge(service, operation)) == expected


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"])
def test_tokens_are_left_to_the_llm_meter(operation: str) -> None:
    assert list(charges("Bedrock Runtime", operation)) == []


@pytest.mark.parametrize("bad", _BAD)
@pytest.mark.parametrize(
    ("service", "operation", "fact", "facts"),
    [
        ("SES", "SendEmail", mail_facts.RECIPIENTS, {}),
        ("Translate", "TranslateText", translate_facts.CHARACTERS, {}),
        ("Polly", "SynthesizeSpeech", polly_facts.CHARACTERS, {polly_facts.ENGINE: "neural"}),
        (
            "Bedrock Agent Runtime",
            "Rerank",
            rerank_facts.DOCUMENTS,
            {rerank_facts.QUERIES: 1, RESOURCE: "amazon.rerank-v1:0"},
        ),
    ],
)
def test_an_impossible_count_is_unpriced(
    service: str, operation: str, fact: str, facts: dict[str, Any], bad: object
) -> None:
    assert known(charge(service, operation, facts={**facts, fact: bad})) == ("unpriced", "bad_usage", "")


@pytest.mark.parametrize("bad", [*_BAD, None])
@pytest.mark.parametrize(
    ("service", "operation", "fact", "before"),
    [
        ("Athena", "GetQueryExecution", work.AMOUNTS, ()),
        ("Rekognition", "GetLabelDetection", work.AMOUNTS, ()),
        ("Textract", "GetExpenseAnalysis", work.AMOUNTS, ()),
        ("Comprehend", "BatchDetectSyntax", comprehend_facts.CHARACTERS, (5,)),
        ("Bedrock Runtime", "ApplyGuardrail", bedrock_facts.GUARDRAIL_CHARACTERS, (7,)),
    ],
)
def test_an_impossible_answer_is_unpriced(
    service: str, operation: str, fact: str, before: tuple[int, ...], bad: object
) -> None:
    assert known(charge(service, operation, facts={fact: (*before, bad)})) == ("unpriced", "bad_usage", "")


@pytest.mark.parametrize("bad", _BAD)
def test_an_impossible_count_of_a_guardrail_is_unpriced(bad: object) -> None:
    facts = {bedrock_facts.GUARDRAIL_UNITS: {"topicPolicyUnits": bad}}
    assert known(charge("Bedrock Runtime", "ApplyGuardrail", facts=facts)) == ("unpriced", "bad_usage", "")


def test_attachments_of_an_impossible_size_leave_the_recipients_priced() -> None:
    facts = {mail_facts.RECIPIENTS: 2, mail_facts.ATTACHMENT_BYTES: "big"}
    sent, attachments = charges("SES", "SendRawEmail", facts=facts)
    assert (known(sent), known(attachments)) == (("priced", "", ""), ("unpriced", "bad_usage", ""))


def test_an_unknown_engine_is_unpriced() -> None:
    facts = {polly_facts.CHARACTERS: 7, polly_facts.ENGINE: "quantum"}
    found = charge("Polly", "SynthesizeSpeech", facts=facts)
    assert (known(found), found.quantity) == (("unpriced", "unknown_engine", ""), 7)


def test_an_unknown_guardrail_policy_is_unpriced() -> None:
    facts = {bedrock_facts.GUARDRAIL_UNITS: {"astrologyPolicyUnits": 2}}
    assert known(charge("Bedrock Runtime", "ApplyGuardrail", facts=facts)) == ("unpriced", "unknown_policy", "")


@pytest.mark.parametrize(("sizes", "units"), [((), 0), ((1000,), 1), ((1001,), 2), ((1, 1), 2), ((1000, 2001), 4)])
def test_a_guardrail_without_counts_rounds_each_text(sizes: tuple[int, ...], units: int) -> None:
    found = charge("Bedrock Runtime", "ApplyGuardrail", facts={bedrock_facts.GUARDRAIL_CHARACTERS: sizes})
    assert found.quantity == units
    assert known(found) == ("estimated", "", "policy:content")


def test_a_region_without_a_price_of_its_own_is_marked() -> None:
    assert known(charge("Textract", "DetectDocumentText", region="ap-south-1")) == ("estimated", "", "region_fallback")


@given(st.integers(0, 2**50))
def test_athena_bills_whole_megabytes_and_less_than_one_too_many(scanned: int) -> None:
    billed = athena.billed_bytes(scanned)
    assert billed % athena.MB == 0
    assert billed >= max(scanned, 10 * athena.MB)
    assert billed - scanned < athena.MB or billed == 10 * athena.MB


@given(st.integers(0, 10**7))
def test_comprehend_bills_whole_hundreds(characters: int) -> None:
    units = comprehend.billed_units(characters)
    assert units >= comprehend.MIN_UNITS
    assert 0 <= units * 100 - characters < 100 or units == comprehend.MIN_UNITS


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_splitting_a_document_never_makes_it_cheaper(one: int, other: int) -> None:
    split = comprehend.billed_units(one) + comprehend.billed_units(other)
    assert split >= comprehend.billed_units(one + other)


@given(st.integers(0, 10**9))
def test_rekognition_bills_less_than_a_second_too_many(duration_ms: int) -> None:
    assert -1e-6 <= rekognition.billed_minutes(duration_ms) * 60 - duration_ms / 1000 < 1


@given(st.integers(0, 10**7))
def test_guardrails_bill_whole_text_units(characters: int) -> None:
    assert 0 <= bedrock_runtime.billed_units(characters) * 1000 - characters < 1000

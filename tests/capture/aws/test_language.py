"""Comprehend, Translate and Polly: characters of real calls."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_NLP_USD, _SYNTAX_USD, _CONTAINS_USD = 0.0001, 0.00005, 0.000002
_TRANSLATE_USD = 0.000015


@pytest.fixture
def comprehend(prices: Prices) -> Generator[Stubbed]:
    with stubbed("comprehend") as comprehend:
        yield comprehend


@pytest.fixture
def translate(prices: Prices) -> Generator[Stubbed]:
    with stubbed("translate") as translate:
        yield translate


@pytest.fixture
def polly(prices: Prices) -> Generator[Stubbed]:
    with stubbed("polly") as polly:
        yield polly


# --- Comprehend ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("characters", "units"), [(1, 3), (300, 3), (301, 4), (400, 4), (401, 5), (5000, 50)])
@pytest.mark.parametrize("letter", ["x", "ß", "😀"])
def test_a_document_costs_started_hundreds_of_characters_and_three_at_least(
    comprehend: Stubbed, prices: Prices, characters: int, units: int, letter: str
) -> None:
    comprehend.call("detect_sentiment", {}, Text=letter * characters, LanguageCode="en")
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(units * _NLP_USD), ("priced", ""))


@pytest.mark.parametrize(
    ("method", "usd"),
    [
        ("detect_entities", _NLP_USD),
        ("detect_key_phrases", _NLP_USD),
        ("detect_pii_entities", _NLP_USD),
        ("detect_targeted_sentiment", _NLP_USD),
        ("detect_syntax", _SYNTAX_USD),
        ("contains_pii_entities", _CONTAINS_USD),
    ],
)
def test_each_analysis_has_its_rate(comprehend: Stubbed, prices: Prices, method: str, usd: float) -> None:
    comprehend.call(method, {}, Text="x" * 1000, LanguageCode="en")
    assert prices.one().usd == pytest.approx(10 * usd)


def test_a_batch_rounds_each_document_and_leaves_out_failed_ones(comprehend: Stubbed, prices: Prices) -> None:
    failed = [{"Index": 2, "ErrorCode": "TEXT_SIZE_LIMIT_EXCEEDED", "ErrorMessage": "too long"}]
    comprehend.call(
        "batch_detect_sentiment",
        {"ResultList": [], "ErrorList": failed},
        TextList=["x", "x" * 301, "x" * 9000],
        LanguageCode="en",
    )
    assert prices.one().quantity == 3 + 4


def test_a_batch_of_which_all_failed_is_free(comprehend: Stubbed, prices: Prices) -> None:
    failed = [{"Index": 0, "ErrorCode": "INTERNAL_SERVER_ERROR", "ErrorMessage": "sorry"}]
    comprehend.call("batch_detect_syntax", {"ResultList": [], "ErrorList": failed}, TextList=["x"], LanguageCode="en")
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_an_endpoint_of_ones_own_is_free_by_the_call(comprehend: Stubbed, prices: Prices) -> None:
    arn = "arn:aws:comprehend:us-east-1:123456789012:document-classifier-endpoint/tickets"
    comprehend.call("classify_document", {}, Text="x" * 500, EndpointArn=arn)
    charge = prices.one()
    assert (charge.line.status, charge.line.resource) == ("free", "tickets")


def test_safety_models_have_no_known_price(comprehend: Stubbed, prices: Prices) -> None:
    arn = "arn:aws:comprehend:us-east-1:aws:document-classifier-endpoint/prompt-safety"
    comprehend.call("classify_document", {}, Text="x" * 500, EndpointArn=arn)
    comprehend.call("detect_toxic_content", {}, TextSegments=[{"Text": "x" * 301}], LanguageCode="en")
    assert [(charge.line.reason, charge.quantity) for charge in prices.take()] == [("no_price", 5), ("no_price", 4)]


def test_a_job_over_s3_is_unpriced(comprehend: Stubbed, prices: Prices) -> None:
    comprehend.call(
        "start_sentiment_detection_job",
        {"JobId": "1"},
        InputDataConfig={"S3Uri": "s3://texts/in"},
        OutputDataConfig={"S3Uri": "s3://texts/out"},
        DataAccessRoleArn="arn:aws:iam::123456789012:role/comprehend",
        LanguageCode="en",
    )
    assert prices.one().line.reason == "size_not_seen"


# --- Translate ----------------------------------------------------------------------------------


def _text(text: str, source: str = "en", target: str = "de") -> dict[str, Any]:
    return {"Text": text, "SourceLanguageCode": source, "TargetLanguageCode": target}


def _translated(source: str = "en", target: str = "de") -> dict[str, Any]:
    return {"TranslatedText": "", "SourceLanguageCode": source, "TargetLanguageCode": target}


@pytest.mark.parametrize("text", ["x", "two words", "Straße 😀"])
def test_a_text_costs_each_character(translate: Stubbed, prices: Prices, text: str) -> None:
    translate.call("translate_text", _translated(), **_text(text), TerminologyNames=["brands"])
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(len(text) * _TRANSLATE_USD), ("priced", ""))


def test_the_same_language_costs_nothing(translate: Stubbed, prices: Prices) -> None:
    translate.call("translate_text", _translated("de"), **_text("hallo", "de"))
    assert prices.one().line.status == "free"


def test_finding_out_the_language_costs_units_of_comprehend(translate: Stubbed, prices: Prices) -> None:
    translate.call("translate_text", _translated(), **_text("x" * 301, "auto"))
    text, detection = prices.take()
    assert text.usd == pytest.approx(301 * _TRANSLATE_USD)
    assert (detection.usd, status_of(detection)) == (
        pytest.approx(4 * _NLP_USD),
        ("estimated", "detection:whole_text"),
    )


@pytest.mark.parametrize(
    ("kind", "content", "expected"),
    [
        ("text/plain", "Straße".encode(), (6, ("priced", ""), "")),
        ("text/html", b"<p>hello</p>", (12, ("estimated", "characters:with_markup"), "")),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            b"PK",
            (1, ("unpriced", ""), "size_not_seen"),
        ),
    ],
)
def test_a_document_costs_its_characters_where_they_can_be_counted(
    translate: Stubbed, prices: Prices, kind: str, content: bytes, expected: tuple[float, tuple[str, str], str]
) -> None:
    translate.call(
        "translate_document",
        {"TranslatedDocument": {"Content": b""}, "SourceLanguageCode": "en", "TargetLanguageCode": "de"},
        Document={"Content": content, "ContentType": kind},
        SourceLanguageCode="en",
        TargetLanguageCode="de",
    )
    charge = prices.one()
    assert (charge.quantity, status_of(charge), charge.line.reason) == expected


# --- Polly --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "usd"),
    [(None, 0.000004), ("standard", 0.000004), ("neural", 0.000016), ("generative", 0.00003), ("long-form", 0.0001)],
)
def test_speech_costs_the_characters_that_the_service_counts(
    polly: Stubbed, prices: Prices, engine: str | None, usd: float
) -> None:
    params = {} if engine is None else {"Engine": engine}
    polly.call(
        "synthesize_speech",
        {"RequestCharacters": 5},
        Text="<speak>hello</speak>",
        TextType="ssml",
        OutputFormat="mp3",
        VoiceId="Joanna",
        **params,
    )
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(5 * usd), ("priced", ""))


def test_an_answer_without_a_count_costs_the_plain_text(polly: Stubbed, prices: Prices) -> None:
    polly.call("synthesize_speech", {}, Text="hello", OutputFormat="mp3", VoiceId="Joanna")
    charge = prices.one()
    assert (charge.quantity, status_of(charge)) == (5, ("estimated", "characters:text"))
    polly.call(
        "synthesize_speech",
        {},
        Text="<speak>hello</speak>",
        TextType="ssml",
        OutputFormat="mp3",
        VoiceId="Joanna",
    )
    assert prices.one().line.reason == "no_usage"


def _task(task_id: str, status: str, **more: Any) -> dict[str, Any]:
    return {"SynthesisTask": {"TaskId": task_id, "TaskStatus": status, "Engine": "neural", **more}}


def _start_task(polly: Stubbed, answer: dict[str, Any]) -> None:
    polly.call(
        "start_speech_synthesis_task",
        answer,
        Engine="neural",
        Text="hello",
        OutputFormat="mp3",
        VoiceId="Joanna",
        OutputS3BucketName="speech",
    )


def test_a_task_that_tells_its_characters_at_the_start_is_charged_there(polly: Stubbed, prices: Prices) -> None:
    _start_task(polly, _task("told", "scheduled", RequestCharacters=5))
    assert prices.one().usd == pytest.approx(5 * 0.000016)
    polly.call("get_speech_synthesis_task", _task("told", "completed", RequestCharacters=5), TaskId="told")
    assert prices.one().line.status == "free"


def test_a_task_that_does_not_is_charged_when_it_is_done(polly: Stubbed, prices: Prices) -> None:
    _start_task(polly, _task("later", "scheduled"))
    assert prices.one().line.reason == "usage_comes_later"
    polly.call("get_speech_synthesis_task", _task("later", "inProgress"), TaskId="later")
    assert prices.one().line.status == "free"
    for usd in (5 * 0.000016, 0):
        polly.call("get_speech_synthesis_task", _task("later", "completed", RequestCharacters=5), TaskId="later")
        assert prices.one().usd == pytest.approx(usd)


def test_refused_texts_are_free(comprehend: Stubbed, translate: Stubbed, polly: Stubbed, prices: Prices) -> None:
    comprehend.refuse("detect_syntax", "TextSizeLimitExceededException", 400)
    translate.refuse("translate_text", "ServiceUnavailableException", 503)
    polly.refuse("synthesize_speech", "TextLengthExceededException", 400)
    with pytest.raises(ClientError):
        comprehend.client.detect_syntax(Text="x", LanguageCode="en")
    with pytest.raises(ClientError):
        translate.client.translate_text(**_text("x"))
    with pytest.raises(ClientError):
        polly.client.synthesize_speech(Text="x", OutputFormat="mp3", VoiceId="Joanna")
    assert [status_of(charge) for charge in prices.take()] == [("free", "not_billed:error")] * 3

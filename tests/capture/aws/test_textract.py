"""Textract: pages, features, documents analysed later."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_DOCUMENT = {"Bytes": b"%PDF-"}
_LOCATION = {"S3Object": {"Bucket": "scans", "Name": "a.pdf"}}
_ONE_PAGE = {"DocumentMetadata": {"Pages": 1}}
_FORMS, _TABLES, _QUERIES, _QUERIES_ADDED = 0.05, 0.015, 0.015, 0.005
_LAYOUT, _SIGNATURES, _TEXT, _EXPENSE, _ID, _LENDING = 0.004, 0.0035, 0.0015, 0.01, 0.025, 0.07


@pytest.fixture
def textract(prices: Prices) -> Generator[Stubbed]:
    with stubbed("textract") as textract:
        yield textract


def _usd(prices: Prices) -> float:
    charges = prices.take()
    assert {charge.line.status for charge in charges} == {"priced"}
    return sum(charge.usd for charge in charges)


@pytest.mark.parametrize(
    ("features", "usd"),
    [
        ("FORMS", _FORMS),
        ("TABLES", _TABLES),
        ("QUERIES", _QUERIES),
        ("LAYOUT", _LAYOUT),
        ("SIGNATURES", _SIGNATURES),
        ("FORMS TABLES", _FORMS + _TABLES),
        ("TABLES QUERIES", _TABLES + _QUERIES_ADDED),
        ("FORMS QUERIES", _FORMS + _QUERIES_ADDED),
        ("FORMS TABLES QUERIES LAYOUT SIGNATURES", _FORMS + _TABLES + _QUERIES_ADDED),
        ("QUERIES LAYOUT", _QUERIES),
        ("TABLES SIGNATURES", _TABLES),
        ("LAYOUT SIGNATURES", _LAYOUT),
    ],
)
def test_an_analysed_page_costs_its_features(textract: Stubbed, prices: Prices, features: str, usd: float) -> None:
    textract.call("analyze_document", _ONE_PAGE, Document=_DOCUMENT, FeatureTypes=features.split())
    assert _usd(prices) == pytest.approx(usd, rel=1e-12)


def test_queries_with_an_adapter_have_no_known_price(textract: Stubbed, prices: Prices) -> None:
    textract.call(
        "analyze_document",
        _ONE_PAGE,
        Document=_DOCUMENT,
        FeatureTypes=["QUERIES"],
        AdaptersConfig={"Adapters": [{"AdapterId": "123456789012", "Version": "1"}]},
    )
    charge = prices.one()
    assert (charge.line.reason, charge.line.sku) == ("no_price", "aws.textract.analyze.custom_queries")


def test_synchronous_calls_cost_a_page(textract: Stubbed, prices: Prices) -> None:
    textract.call("detect_document_text", _ONE_PAGE, Document=_DOCUMENT)
    assert _usd(prices) == pytest.approx(_TEXT)
    textract.call("analyze_expense", _ONE_PAGE, Document=_DOCUMENT)
    assert _usd(prices) == pytest.approx(_EXPENSE)
    textract.call("analyze_id", {"DocumentMetadata": {"Pages": 2}}, DocumentPages=[_DOCUMENT, _DOCUMENT])
    assert _usd(prices) == pytest.approx(2 * _ID)


def _start(textract: Stubbed, prices: Prices, kind: str, job: str, **params: Any) -> None:
    textract.call(f"start_{kind}", {"JobId": job}, DocumentLocation=_LOCATION, **params)
    assert prices.one().line.reason == "usage_comes_later"


@pytest.mark.parametrize(
    ("kind", "usd"),
    [("document_text_detection", _TEXT), ("expense_analysis", _EXPENSE), ("lending_analysis", _LENDING)],
)
def test_a_long_document_is_charged_when_it_is_first_seen_done(
    textract: Stubbed, prices: Prices, kind: str, usd: float
) -> None:
    job = f"job-{kind}"
    _start(textract, prices, kind, job)
    textract.call(f"get_{kind}", {"JobStatus": "IN_PROGRESS"}, JobId=job)
    assert prices.one().line.status == "free"
    done = {"JobStatus": "SUCCEEDED", "DocumentMetadata": {"Pages": 37}, "NextToken": "more"}
    textract.call(f"get_{kind}", done, JobId=job)
    assert _usd(prices) == pytest.approx(37 * usd)
    textract.call(f"get_{kind}", done, JobId=job, NextToken="more")
    assert prices.one().line.status == "free"


def test_a_long_analysis_costs_the_features_of_its_start(textract: Stubbed, prices: Prices) -> None:
    _start(textract, prices, "document_analysis", "analysis-1", FeatureTypes=["FORMS", "TABLES"])
    _start(textract, prices, "document_analysis", "analysis-2", FeatureTypes=["LAYOUT"])
    for job, usd in (("analysis-2", _LAYOUT), ("analysis-1", _FORMS + _TABLES)):
        done = {"JobStatus": "SUCCEEDED", "DocumentMetadata": {"Pages": 4}}
        textract.call("get_document_analysis", done, JobId=job)
        assert _usd(prices) == pytest.approx(4 * usd)


def test_features_asked_for_elsewhere_are_not_guessed(textract: Stubbed, prices: Prices) -> None:
    done = {"JobStatus": "SUCCEEDED", "DocumentMetadata": {"Pages": 4}}
    textract.call("get_document_analysis", done, JobId="foreign")
    charge = prices.one()
    assert (charge.line.reason, charge.quantity, charge.line.unit) == ("features_not_seen", 4, "page")


def test_a_document_done_in_part_is_marked_and_a_failed_one_is_free(textract: Stubbed, prices: Prices) -> None:
    for job in ("partial", "failed"):
        _start(textract, prices, "document_text_detection", job)
    partial = {"JobStatus": "PARTIAL_SUCCESS", "DocumentMetadata": {"Pages": 4}}
    textract.call("get_document_text_detection", partial, JobId="partial")
    assert status_of(prices.one()) == ("estimated", "pages:partial")
    textract.call("get_document_text_detection", {"JobStatus": "FAILED"}, JobId="failed")
    assert status_of(prices.one()) == ("free", "")


def test_a_refused_document_is_free(textract: Stubbed, prices: Prices) -> None:
    textract.refuse("analyze_document", "UnsupportedDocumentException", 400)
    with pytest.raises(ClientError):
        textract.client.analyze_document(Document=_DOCUMENT, FeatureTypes=["FORMS"])
    assert status_of(prices.one()) == ("free", "not_billed:error")

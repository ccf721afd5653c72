"""S3: request tiers, storage classes, retrievals, failures."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from tests.meters.aws.calls import GB, charge, charges, known
from tests.meters.aws.operations import undecided

_PUT_USD = 0.005 / 1000
_GET_USD = 0.004 / 10_000
_TIER_1 = ["PutObject", "CreateMultipartUpload", "UploadPart"]
_LISTS_AND_BUCKETS = ["CompleteMultipartUpload", "ListObjectsV2", "ListBuckets", "CreateBucket", "PutBucketPolicy"]
_RARE = ["PutBucketEncryption", "UpdateObjectEncryption", "CreateBucketMetadataConfiguration"]
_TIER_2 = ["GetObject", "HeadObject", "HeadBucket", "GetObjectAcl", "GetBucketLocation", "GetBucketEncryption"]


@pytest.mark.parametrize("operation", _TIER_1 + _LISTS_AND_BUCKETS + _RARE)
def test_writes_and_lists_cost_half_a_cent_per_thousand(operation: str) -> None:
    found = charge("S3", operation, facts={aws_facts.RESOURCE: "pictures"})
    assert found.usd == pytest.approx(_PUT_USD)
    assert (known(found), found.line.resource) == (("priced", "", ""), "pictures")


@pytest.mark.parametrize("operation", _TIER_2)
def test_reads_cost_two_fifths_of_a_cent_per_ten_thousand(operation: str) -> None:
    found = charge("S3", operation, facts={})
    assert (found.usd, known(found)) == (pytest.approx(_GET_USD), ("priced", "", ""))


@pytest.mark.parametrize("operation", ["DeleteObject", "DeleteObjects", "DeleteBucket", "AbortMultipartUpload"])
def test_deletes_are_free(operation: str) -> None:
    found = charge("S3", operation, facts={})
    assert (found.usd, known(found)) == (0, ("free", "", ""))


@pytest.mark.parametrize("operation", ["PutObject", "GetObject", "UploadPart"])
def test_storage_class_of_a_stored_span_is_assumed(operation: str) -> None:
    assert known(charge("S3", operation)) == ("estimated", "", "class:STANDARD")


@pytest.mark.parametrize(
    ("storage_class", "usd"),
    [
        ("STANDARD", 0.000005),
        ("INTELLIGENT_TIERING", 0.000005),
        ("STANDARD_IA", 0.00001),
        ("GLACIER_IR", 0.00002),
        ("GLACIER", 0.00003),
        ("DEEP_ARCHIVE", 0.00005),
    ],
)
def test_put_costs_the_rate_of_its_class(storage_class: str, usd: float) -> None:
    found = charge("S3", "PutObject", facts={aws_facts.STORAGE_CLASS: storage_class})
    assert (found.usd, found.line.status) == (pytest.approx(usd), "priced")


@pytest.mark.parametrize(
    ("storage_class", "request_usd", "gb_usd"), [("STANDARD_IA", 0.000001, 0.01), ("GLACIER_IR", 0.00001, 0.03)]
)
def test_get_of_a_cold_class_adds_the_bytes_returned(storage_class: str, request_usd: float, gb_usd: float) -> None:
    facts = {aws_facts.STORAGE_CLASS: storage_class, aws_facts.RESPONSE_BYTES: 5_000_000}
    request, retrieval = charges("S3", "GetObject", facts=facts)
    assert request.usd == pytest.approx(request_usd)
    assert (retrieval.usd, retrieval.line.unit) == (pytest.approx(gb_usd * 5_000_000 / GB), "GB")


def test_head_of_a_cold_class_retrieves_nothing() -> None:
    assert charge("S3", "HeadObject", facts={aws_facts.STORAGE_CLASS: "STANDARD_IA"}).usd == pytest.approx(0.000001)


def test_get_of_a_cold_class_without_size_says_that_the_retrieval_is_missing() -> None:
    _, retrieval = charges("S3", "GetObject", facts={aws_facts.STORAGE_CLASS: "STANDARD_IA"})
    assert known(retrieval) == ("unpriced", "no_usage", "")


def test_one_zone_takes_the_rates_of_standard_ia_marked() -> None:
    found = charge("S3", "PutObject", facts={aws_facts.STORAGE_CLASS: "ONEZONE_IA"})
    assert (found.usd, known(found)) == (pytest.approx(0.00001), ("estimated", "", "class:STANDARD_IA"))


def test_unknown_class_is_unpriced() -> None:
    found = charge("S3", "PutObject", facts={aws_facts.STORAGE_CLASS: "SNOW"})
    assert known(found) == ("unpriced", "unknown_storage_class", "")


def test_parts_of_an_archive_upload_cost_the_standard_rate_and_completing_it_that_of_the_archive() -> None:
    facts: dict[str, Any] = {aws_facts.STORAGE_CLASS: "DEEP_ARCHIVE"}
    assert charge("S3", "UploadPart", facts=facts).usd == pytest.approx(_PUT_USD)
    assert charge("S3", "CompleteMultipartUpload", facts=facts).usd == pytest.approx(0.00005)


def test_directory_bucket_charges_requests_and_all_bytes() -> None:
    facts = {aws_facts.RESOURCE: "fast--use1-az4--x-s3", aws_facts.REQUEST_BYTES: 1_000_000}
    request, upload = charges("S3", "PutObject", facts=facts)
    assert (request.usd, upload.usd) == (pytest.approx(0.00000113), pytest.approx(0.0032 * 1_000_000 / GB))
    facts = {aws_facts.RESOURCE: "fast--use1-az4--x-s3", aws_facts.RESPONSE_BYTES: 1_000_000}
    request, download = charges("S3", "GetObject", facts=facts)
    assert (request.usd, download.usd) == (pytest.approx(0.00000003), pytest.approx(0.0006 * 1_000_000 / GB))


def test_select_is_a_request_and_bytes_that_nobody_has_counted() -> None:
    request, scanned = charges("S3", "SelectObjectContent", facts={})
    assert request.usd == pytest.approx(_GET_USD)
    assert known(scanned) == ("unpriced", "no_usage", "")


@pytest.mark.parametrize("status", [304, 403, 404, 412])
def test_refused_requests_are_billed(status: int) -> None:
    found = charge("S3", "GetObject", status=status, facts={aws_facts.ERROR_CODE: "NoSuchKey"})
    assert (found.usd, found.line.status) == (pytest.approx(_GET_USD), "priced")


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("operation", ["GetObject", "PutObject", "ListObjectsV2"])
def test_server_errors_are_free(operation: str, status: int) -> None:
    assert known(charge("S3", operation, status=status, facts={})) == ("free", "", "not_billed:error")


def test_unknown_operation_is_unpriced() -> None:
    assert known(charge("S3", "FrobnicateObject")) == ("unpriced", "unknown_operation", "")


def test_every_operation_is_decided() -> None:
    assert undecided("s3") == []


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
def test_copy_costs_the_class_it_makes_and_the_retrieval_of_the_class_it_reads(operation: str) -> None:
    facts: dict[str, Any] = {aws_facts.SOURCE_CLASS: "STANDARD", aws_facts.COPIED_BYTES: 5000}
    assert known(charge("S3", operation, facts=facts)) == ("priced", "", "")
    request, retrieval = charges("S3", operation, facts={**facts, aws_facts.SOURCE_CLASS: "GLACIER_IR"})
    assert (request.usd, retrieval.usd) == (pytest.approx(_PUT_USD), pytest.approx(0.03 * 5000 / GB))
    request, retrieval = charges("S3", operation, facts={aws_facts.SOURCE_CLASS: "STANDARD_IA"})
    assert known(retrieval) == ("unpriced", "no_usage", "")
    _, retrieval = charges("S3", operation, facts={**facts, aws_facts.SOURCE_CLASS: "SNOW"})
    assert known(retrieval) == ("unpriced", "unknown_storage_class", "")
    assert known(charge("S3", operation, facts={})) == ("estimated", "", "source_class:STANDARD")
    assert known(charge("S3", operation)) == ("estimated", "", "class:STANDARD,source_class:STANDARD")
    assert known(charge("S3", operation, status=404, facts={})) == ("priced", "", "")


def test_copy_into_a_directory_bucket_charges_the_bytes_that_are_known() -> None:
    facts: dict[str, Any] = {aws_facts.RESOURCE: "fast--use1-az4--x-s3", aws_facts.SOURCE_CLASS: "STANDARD"}
    _, upload = charges("S3", "CopyObject", facts=facts)
    assert known(upload) == ("unpriced", "no_usage", "")
    request, upload = charges("S3", "CopyObject", facts={**facts, aws_facts.COPIED_BYTES: 1_000_000})
    assert (request.usd, upload.usd) == (pytest.approx(0.00000113), pytest.approx(0.0032 * 1_000_000 / GB))


def test_unchanged_object_of_a_directory_bucket_retrieves_nothing() -> None:
    facts: dict[str, Any] = {aws_facts.RESOURCE: "fast--use1-az4--x-s3", aws_facts.ERROR_CODE: "304"}
    assert charge("S3", "GetObject", status=304, facts=facts).usd == pytest.approx(0.00000003)


def test_restore_is_billed_by_gb_that_the_call_does_not_show() -> None:
    assert known(charge("S3", "RestoreObject")) == ("unpriced", "billed_by_gb", "")
    refused = charge("S3", "RestoreObject", status=409, facts={})
    assert (refused.usd, known(refused)) == (pytest.approx(_PUT_USD), ("estimated", "", "failed_request"))
    assert known(charge("S3", "RestoreObject", status=503, facts={})) == ("free", "", "not_billed:error")


def test_session_of_a_directory_bucket_is_taken_for_a_get() -> None:
    found = charge("S3", "CreateSession", facts={aws_facts.RESOURCE: "fast--use1-az4--x-s3"})
    assert (found.usd, known(found)) == (pytest.approx(0.00000003), ("estimated", "", "tier:GET"))


def test_answer_of_object_lambda_has_no_published_price() -> None:
    found = charge("S3", "WriteGetObjectResponse", facts={aws_facts.REQUEST_BYTES: GB})
    assert (known(found), found.quantity, found.line.unit) == (("unpriced", "no_price", ""), 1, "GB")


@given(st.integers(0, 2**40), st.integers(1, 10_000))
def test_parts_of_a_retrieval_cost_what_the_whole_costs(size_bytes: int, parts: int) -> None:
    def retrieved(size: int) -> float:
        facts = {aws_facts.STORAGE_CLASS: "STANDARD_IA", aws_facts.RESPONSE_BYTES: size}
        return charges("S3", "GetObject", facts=facts)[1].usd

    part, rest = divmod(size_bytes, parts)
    assert parts * retrieved(part) + retrieved(rest) == pytest.approx(retrieved(size_bytes))


def test_region_has_its_own_rate() -> None:
    assert charge("S3", "ListObjectsV2", region="sa-east-1").usd == pytest.approx(0.007 / 1000)

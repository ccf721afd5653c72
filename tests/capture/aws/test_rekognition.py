"""Rekognition: images by group, videos by the minute once they are done."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_IMAGE = {"Bytes": b"jpeg"}
_VIDEO = {"S3Object": {"Bucket": "films", "Name": "a.mp4"}}
_IMAGE_USD = 0.001
_MINUTE_USD = 0.1


@pytest.fixture
def rekognition(prices: Prices) -> Generator[Stubbed]:
    with stubbed("rekognition") as rekognition:
        yield rekognition


@pytest.mark.parametrize(
    ("method", "params", "sku"),
    [
        ("detect_labels", {"Image": _IMAGE}, "group2"),
        ("detect_faces", {"Image": _IMAGE}, "group2"),
        ("detect_moderation_labels", {"Image": _IMAGE}, "group2"),
        ("compare_faces", {"SourceImage": _IMAGE, "TargetImage": _IMAGE}, "group1"),
        ("index_faces", {"CollectionId": "staff", "Image": _IMAGE}, "group1"),
        ("search_faces_by_image", {"CollectionId": "staff", "Image": _IMAGE}, "group1"),
    ],
)
def test_an_image_costs_its_group(
    rekognition: Stubbed, prices: Prices, method: str, params: dict[str, Any], sku: str
) -> None:
    rekognition.call(method, {}, **params)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (_IMAGE_USD, ("priced", ""))
    assert charge.line.sku == f"aws.rekognition.image.{sku}"
    assert charge.line.resource == params.get("CollectionId", "")


def test_image_properties_are_billed_beside_labels(rekognition: Stubbed, prices: Prices) -> None:
    rekognition.call("detect_labels", {}, Image=_IMAGE, Features=["GENERAL_LABELS", "IMAGE_PROPERTIES"])
    labels, properties = prices.take()
    assert (labels.usd, properties.line.reason) == (_IMAGE_USD, "no_price")
    rekognition.call("detect_labels", {}, Image=_IMAGE, Features=["IMAGE_PROPERTIES"])
    assert prices.one().line.sku == "aws.rekognition.image.properties"


def test_moderation_by_a_model_of_ones_own_has_another_price(rekognition: Stubbed, prices: Prices) -> None:
    arn = "arn:aws:rekognition:us-east-1:123456789012:project/p/version/v/1700000000000"
    rekognition.call("detect_moderation_labels", {}, Image=_IMAGE, ProjectVersion=arn)
    assert prices.one().line.sku == "aws.rekognition.image.custom_moderation"


@pytest.mark.parametrize(
    ("duration_ms", "seconds"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (60_000, 60), (60_001, 61), (3_600_000, 3600)]
)
def test_a_video_costs_the_seconds_that_have_begun(
    rekognition: Stubbed, prices: Prices, duration_ms: int, seconds: int
) -> None:
    job = f"video-{duration_ms}"
    rekognition.call("start_label_detection", {"JobId": job}, Video=_VIDEO)
    assert prices.one().line.reason == "usage_comes_later"
    rekognition.call("get_label_detection", {"JobStatus": "IN_PROGRESS"}, JobId=job)
    assert prices.one().line.status == "free"
    done = {"JobStatus": "SUCCEEDED", "VideoMetadata": {"DurationMillis": duration_ms}}
    rekognition.call("get_label_detection", done, JobId=job)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(seconds / 60 * _MINUTE_USD), ("priced", ""))
    rekognition.call("get_label_detection", done, JobId=job, NextToken="2")
    assert prices.one().line.status == "free"


def test_a_failed_video_is_free(rekognition: Stubbed, prices: Prices) -> None:
    rekognition.call("start_face_detection", {"JobId": "failed"}, Video=_VIDEO)
    rekognition.call("get_face_detection", {"JobStatus": "FAILED"}, JobId="failed")
    assert [charge.line.status for charge in prices.take()] == ["unpriced", "free"]


def test_segments_are_minutes_of_each_kind_without_a_known_price(rekognition: Stubbed, prices: Prices) -> None:
    done = {
        "JobStatus": "SUCCEEDED",
        "VideoMetadata": [{"DurationMillis": 90_000}],
        "SelectedSegmentTypes": [{"Type": "SHOT"}, {"Type": "TECHNICAL_CUE"}],
    }
    rekognition.call("get_segment_detection", done, JobId="segments")
    charge = prices.one()
    assert (charge.quantity, charge.line.unit, charge.line.reason) == (3.0, "minute", "no_price")


def test_live_video_and_own_models_cost_time_that_nobody_sees(rekognition: Stubbed, prices: Prices) -> None:
    rekognition.call("start_stream_processor", {}, Name="door")
    assert prices.one().line.reason == "duration_not_seen"
    arn = "arn:aws:rekognition:us-east-1:123456789012:project/p/version/v/1700000000000"
    rekognition.call("detect_custom_labels", {}, ProjectVersionArn=arn, Image=_IMAGE)
    assert prices.one().line.status == "free"


def test_a_liveness_check_is_charged_when_its_result_is_first_seen(rekognition: Stubbed, prices: Prices) -> None:
    session = "1" * 36
    rekognition.call("create_face_liveness_session", {"SessionId": session})
    assert prices.one().line.reason == "usage_comes_later"
    for status in ("IN_PROGRESS", "SUCCEEDED", "SUCCEEDED"):
        answer = {"SessionId": session, "Status": status}
        rekognition.call("get_face_liveness_session_results", answer, SessionId=session)
    assert [charge.usd for charge in prices.take()] == pytest.approx([0, 0.015, 0])


def test_a_refused_image_is_free(rekognition: Stubbed, prices: Prices) -> None:
    rekognition.refuse("detect_faces", "InvalidImageFormatException", 400)
    with pytest.raises(ClientError):
        rekognition.client.detect_faces(Image=_IMAGE)
    assert status_of(prices.one()) == ("free", "not_billed:error")

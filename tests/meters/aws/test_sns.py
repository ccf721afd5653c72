"""SNS: 64 KB chunks, FIFO by payload, mobile push, SMS."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws import AwsMeter
from spancost.prices.book import PriceBook, PriceOverride
from tests.meters.aws.calls import GB, KB, charge, charges, known
from tests.meters.aws.operations import undecided

_PUBLISH_USD = 0.50 / 1e6


@pytest.mark.parametrize(("size_bytes", "requests"), [(0, 1), (64 * KB, 1), (64 * KB + 1, 2), (256 * KB, 4)])
@pytest.mark.parametrize("operation", ["Publish", "PublishBatch"])
def test_publish_costs_one_request_per_started_64_kb(operation: str, size_bytes: int, requests: int) -> None:
    found = charge("SNS", operation, facts={aws_facts.RESOURCE: "news", aws_facts.REQUEST_BYTES: size_bytes})
    assert found.usd == pytest.approx(requests * _PUBLISH_USD)
    assert known(found) == ("priced", "", "")


def test_publish_to_a_fifo_topic_costs_a_request_and_its_payload() -> None:
    facts = {aws_facts.RESOURCE: "news.fifo", aws_facts.REQUEST_BYTES: 200 * KB}
    request, payload = charges("SNS", "Publish", facts=facts)
    assert request.usd == pytest.approx(0.30 / 1e6)
    assert payload.usd == pytest.approx(0.017 * 200 * KB / GB)
    assert payload.line.unit == "GB"


def test_fifo_publish_without_size_assumes_1_kb() -> None:
    arn = "arn:aws:sns:us-east-1:123456789012:news.fifo"
    request, payload = charges("SNS", "Publish", attributes={"aws.sns.topic.arn": arn})
    assert known(request) == ("priced", "", "")
    assert known(payload) == ("estimated", "", "size:1_KB")
    assert payload.usd == pytest.approx(0.017 * KB / GB)
    assert request.line.resource == "news.fifo"


def test_publish_to_a_mobile_endpoint_adds_a_delivery() -> None:
    publish, delivery = charges("SNS", "Publish", facts={aws_facts.MOBILE_PUSH: True, aws_facts.REQUEST_BYTES: 10})
    assert (publish.usd, delivery.usd) == (pytest.approx(0.5e-6), pytest.approx(0.5e-6))


@pytest.mark.parametrize(
    "arguments",
    [{"facts": {aws_facts.SMS: True}}, {"attributes": {"messaging.destination.name": "phone_number:**"}}],
)
def test_sms_has_no_public_price(arguments: dict[str, Any]) -> None:
    found = charge("SNS", "Publish", **arguments)
    assert known(found) == ("unpriced", "no_price", "")
    assert (found.line.unit, found.usd) == ("message", 0)


def test_publish_without_size_is_one_estimated_request() -> None:
    assert known(charge("SNS", "Publish")) == ("estimated", "", "size:1_chunk")


def test_other_calls_are_one_request() -> None:
    assert charge("SNS", "CreateTopic").usd == pytest.approx(_PUBLISH_USD)


def test_unknown_operation_is_unpriced() -> None:
    assert known(charge("SNS", "Shout")) == ("unpriced", "unknown_operation", "")


def test_failed_publish_is_counted_marked_and_a_5xx_is_free() -> None:
    assert known(charge("SNS", "Publish", status=404, facts={})) == ("estimated", "", "failed_request")
    assert known(charge("SNS", "Publish", status=500, facts={})) == ("free", "", "not_billed:error")


def test_every_operation_is_decided() -> None:
    assert undecided("sns") == []


def test_refused_publish_to_a_fifo_topic_is_counted_at_its_rate() -> None:
    found = charge("SNS", "Publish", status=400, facts={aws_facts.RESOURCE: "news.fifo"})
    assert (found.usd, known(found)) == (pytest.approx(0.30 / 1e6), ("estimated", "", "failed_request"))


def test_sms_costs_what_an_override_says() -> None:
    override = PriceOverride("aws.sns.sms", Decimal("0.0075"), "message", place="spancost.yaml")
    meter = AwsMeter(PriceBook.shipped().with_overrides([override]))
    assert charge("SNS", "Publish", meter, facts={aws_facts.SMS: True}).usd == pytest.approx(0.0075)


@pytest.mark.parametrize("size", [-1, float("nan"), "big", True])
def test_impossible_size_is_unpriced(size: object) -> None:
    assert known(charge("SNS", "Publish", facts={aws_facts.REQUEST_BYTES: size})) == ("unpriced", "bad_usage", "")
    facts = {aws_facts.RESOURCE: "news.fifo", aws_facts.REQUEST_BYTES: size}
    assert known(charges("SNS", "Publish", facts=facts)[1]) == ("unpriced", "bad_usage", "")

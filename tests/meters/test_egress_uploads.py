"""Bodies that HTTP clients send: what leaves the cloud costs, what stays inside does not."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.charge import CLIENT, SERVER, SpanView
from spancost.meters.egress import EgressMeter
from spancost.prices.book import PriceBook
from spancost.testing import priced_provider

BOOK = PriceBook.shipped()
NOV_2026_NS = 1_793_500_000_000_000_000
GB = 2**30


def upload(host: str, size: Any = GB, *, kind: int = CLIENT, **attributes: Any) -> SpanView:
    said = {"http.request.method": "PUT", "server.address": host, "http.response.status_code": 200} | attributes
    facts = {} if size is None else {"http.request_bytes": size}
    return SpanView("PUT", kind, "test", said, NOV_2026_NS, NOV_2026_NS + 1, facts)


def usd(view: SpanView, provider: str = "aws", region: str = "us-east-1") -> float:
    return sum(charge.usd for charge in EgressMeter(BOOK, provider, region).measure_upload(view))


@pytest.mark.parametrize(
    "host", ["api.openai.com", "example.com", "8.8.8.8", "2001:4860:4860::8888", "storage.googleapis.com", "a.b.co.uk"]
)
def test_upload_to_a_public_host_is_internet_egress(host: str) -> None:
    (charge,) = EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload(host, 3 * GB))
    assert charge.usd == pytest.approx(3 * 0.09)
    assert (charge.line.component, charge.line.operation, charge.line.status) == ("egress", "internet", names.PRICED)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.0.0.1", "10.0.0.7", "172.16.1.1", "192.168.0.9", "169.254.169.254", "::1", "fd00::5",
        "cart", "cart.shop.svc", "cart.shop.svc.cluster.local", "printer.local", "db.internal",
        "metadata.google.internal", "box.lan", "",
        "s3.us-east-1.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com", "sqs.us-east-1.amazonaws.com",
        "bucket.s3.amazonaws.com", "id.execute-api.us-east-1.amazonaws.com",
        "id.lambda-url.us-east-1.on.aws", "lambda.us-east-1.api.aws",
    ],
)  # fmt: skip
def test_upload_that_stays_inside_is_free(host: str) -> None:
    assert EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload(host)) == []


@pytest.mark.parametrize(
    "host",
    ["bucket.s3.eu-west-1.amazonaws.com", "id.execute-api.eu-west-1.amazonaws.com", "id.lambda-url.eu-west-1.on.aws"],
)
def test_upload_to_aws_of_another_region_costs_the_way_between_regions_and_not_the_internet(host: str) -> None:
    (charge,) = EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload(host))
    assert charge.usd == charge.list_usd == pytest.approx(0.02)
    assert (charge.line.operation, charge.line.status, charge.line.basis) == (
        "inter_region",
        names.ESTIMATED,
        "to_any_region",
    )


def test_internet_and_another_region_are_told_apart_whichever_comes_first() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1")
    hosts = ("example.com", "s3.eu-west-1.amazonaws.com", "example.com", "s3.eu-west-1.amazonaws.com")
    assert [meter.measure_upload(upload(host))[0].usd for host in hosts] == pytest.approx([0.09, 0.02, 0.09, 0.02])


def test_upload_from_another_cloud_to_aws_goes_over_the_internet() -> None:
    assert usd(upload("bucket.s3.us-east-1.amazonaws.com"), "gcp", "us-central1") == pytest.approx(0.12)


def test_other_clouds_do_not_charge_the_way_to_themselves() -> None:
    assert usd(upload("storage.googleapis.com"), "gcp", "us-central1") == 0
    assert usd(upload("shop.blob.core.windows.net"), "azure", "eastus") == 0


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.request.body.size": GB},
        {"http.request.header.content_length": [str(GB)]},
        {"http.request_content_length": GB},
    ],
)
def test_size_is_also_taken_from_attributes(attributes: dict[str, Any]) -> None:
    assert usd(upload("example.com", None, **attributes)) == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"url.full": "https://user:pw@example.com:8443/a?b=c"}, 0.09),
        ({"http.url": "http://10.1.2.3:80/a"}, 0.0),
        ({"url.full": "http://[fd00::1]:8080/"}, 0.0),
        ({"url.full": "http://[2001:4860:4860::8888]/"}, 0.09),
        ({"net.peer.name": "example.com:443"}, 0.09),
        ({}, 0.0),
    ],
)
def test_host_is_taken_from_what_the_span_has(attributes: dict[str, Any], expected: float) -> None:
    assert usd(upload("", **attributes)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [None, 0])
def test_unknown_size_and_empty_body_are_no_charge(size: int | None) -> None:
    assert EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload("example.com", size)) == []


@pytest.mark.parametrize("size", [-1, True, "many", 2**63, float("nan"), float("inf")])
def test_impossible_size_is_unpriced(size: Any) -> None:
    (charge,) = EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload("example.com", size))
    assert (charge.line.reason, charge.usd) == ("bad_size", 0)


def test_answers_are_not_uploads() -> None:
    assert EgressMeter(BOOK, "aws", "us-east-1").measure_upload(upload("example.com", kind=SERVER)) == []


def test_unknown_region_is_unpriced_with_the_quantity() -> None:
    (charge,) = EgressMeter(BOOK, "", "").measure_upload(upload("example.com"))
    assert (charge.line.reason, charge.quantity) == ("region_unknown", 1)


def test_private_clients_do_not_make_uploads_private() -> None:
    meter = EgressMeter(BOOK, "aws", "us-east-1", clients="private")
    assert sum(charge.usd for charge in meter.measure_upload(upload("example.com"))) == pytest.approx(0.09)


def test_what_nobody_answered_was_perhaps_never_sent() -> None:
    assert usd(upload("example.com")) > 0
    assert usd(upload("example.com", **{"http.response.status_code": 0})) == 0


def test_an_upload_without_a_price_does_not_hide_what_the_call_costs() -> None:
    call = {
        "http.request.method": "POST",
        "url.full": "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json",
        "server.address": "api.twilio.com",
        "http.request.body.size": 1000,
        "http.response.status_code": 201,
    }
    with priced_provider() as world:
        world.tracer.start_span("POST", kind=SpanKind.CLIENT, attributes=call).end()
        world.publish()
        said = world.attributes("POST")
        unpriced = {key.line.component for key in world.recorded.charges if key.line.status == names.UNPRICED}
    assert (said[names.STATUS], said[names.OPERATION_COST]) == (names.ESTIMATED, pytest.approx(0.0083))
    assert names.EGRESS in unpriced

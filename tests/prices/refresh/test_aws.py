"""The AWS Price List API, answered by botocore's Stubber in the shapes that it has."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.stub import Stubber

from spancost.prices.book import PriceBook, PriceRecord, Tier
from spancost.prices.refresh import Refreshed, RefreshError
from spancost.prices.refresh.aws import PRODUCTS, products, refresh

_SAMPLE = Path(__file__).parents[2] / "data" / "prices" / "aws_get_products.json"
_BOOK = PriceBook.shipped()
_TODAY = date(2026, 11, 21)
_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
_ITEMS: list[dict[str, Any]] = [json.loads(text) for text in json.loads(_SAMPLE.read_text())["PriceList"]]

Answer = Callable[[str, Mapping[str, str]], list[dict[str, Any]]]


class _Pages:
    """A real client whose answers are prepared as the questions come: the stub checks both against the API's model."""

    def __init__(self, answer: Answer, page_size: int = 100) -> None:
        self._client: Any = cast("Any", boto3).client(
            "pricing", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self._answer = answer
        self._page_size = page_size
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get_products(self, **arguments: Any) -> Any:
        filters = {one["Field"]: one["Value"] for one in arguments["Filters"]}
        first = int(arguments.get("NextToken", "0"))
        items = self._answer(arguments["ServiceCode"], filters)
        page: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(item) for item in items[first : first + self._page_size]],
        }
        if first + self._page_size < len(items):
            page["NextToken"] = str(first + self._page_size)
        self.asked.append((arguments["ServiceCode"], filters))
        with Stubber(self._client) as stubber:
            stubber.add_response("get_products", page, arguments)
            return self._client.get_products(**arguments)


def _matching(items: list[dict[str, Any]]) -> Answer:
    """Answer as the API does: products whose attributes have all the values."""

    def answer(service: str, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            item
            for item in items
            if item["serviceCode"] == service
            and all(
                {**item["product"]["attributes"], "productFamily": item["product"].get("productFamily")}.get(field)
                == value
                for field, value in filters.items()
            )
        ]

    return answer


def _refresh(items: list[dict[str, Any]], *regions: str, page_size: int = 100) -> Refreshed:
    return refresh(_BOOK, regions, _TODAY, _NOW_NS, client=_Pages(_matching(items), page_size))


def _one(found: Refreshed, price_id: str) -> PriceRecord:
    (record,) = found.records[price_id]
    return record


def _item(
    service: str,
    usage_type: str,
    unit: str,
    *dimensions: tuple[str, str, str],
    region: str = "us-east-1",
    family: str | None = None,
    effective: str = "2026-07-01T00:00:00Z",
    **attributes: str,
) -> dict[str, Any]:
    named = {"usagetype": usage_type, "regionCode": region, "servicecode": service} | attributes
    product: dict[str, Any] = {"sku": f"SKU-{usage_type}-{region}", "attributes": named}
    if family is not None:
        product["productFamily"] = family
    prices = {
        f"R{index}": {"beginRange": begin, "endRange": end, "unit": unit, "pricePerUnit": {"USD": usd}}
        for index, (begin, end, usd) in enumerate(dimensions)
    }
    return {
        "serviceCode": service,
        "product": product,
        "terms": {"OnDemand": {"T": {"effectiveDate": effective, "priceDimensions": prices}}},
    }


def _flat(usd: str) -> tuple[str, str, str]:
    return ("0", "Inf", usd)


# --- the documented shapes ----------------------------------------------------------------------


def test_an_s3_get_is_a_price_per_request_not_per_ten_thousand() -> None:
    record = _one(_refresh(_ITEMS), "aws.s3.tier2.standard")
    assert record.usd == Decimal("0.0000004")
    assert (record.regions, record.sku, record.valid_from) == (("us-east-1",), "ZWQ6Q48CRJXX4FXE", date(2026, 7, 1))
    assert (record.origin, record.as_of, record.confidence) == ("aws-price-list", "2026-11-21", "vendor")


def test_machines_on_demand_units_and_lambda_tiers_are_found() -> None:
    found = _refresh(_ITEMS)
    assert _one(found, "aws.ec2.m6i.large").usd == Decimal("0.096")
    assert _one(found, "aws.dynamodb.on_demand.read").usd == Decimal("0.000000125")
    duration = _one(found, "aws.lambda.duration.x86")
    assert duration.tiers == (
        Tier(Decimal(0), Decimal(6_000_000_000), Decimal("0.0000166667")),
        Tier(Decimal(6_000_000_000), Decimal(15_000_000_000), Decimal("0.000015")),
        Tier(Decimal(15_000_000_000), None, Decimal("0.0000133334")),
    )
    assert duration.usd == Decimal("0.0000166667")


def test_a_gb_hour_of_lambda_is_3600_gb_seconds_of_the_price_list() -> None:
    record = _one(_refresh(_ITEMS), "aws.lambda.x86.gb_hour")
    assert record.usd == Decimal("0.0000166667") * 3600
    assert record.tiers[0].to_quantity == Decimal(6_000_000_000) / 3600


def test_what_the_price_list_does_not_answer_is_named() -> None:
    found = _refresh(_ITEMS)
    assert found.missing["aws.sqs.standard"] == "no product of the price list matches"
    assert not found.missing.keys() & found.records.keys()


# --- traps --------------------------------------------------------------------------------------


def test_provisioned_and_on_demand_units_of_one_group_are_told_apart() -> None:
    items = [
        _item("AmazonDynamoDB", "ReadRequestUnits", "ReadRequestUnits", _flat("0.000000125"), group="DDB-ReadUnits"),
        _item(
            "AmazonDynamoDB",
            "ReadCapacityUnit-Hrs",
            "ReadCapacityUnit-Hrs",
            ("0", "18600", "0"),
            ("18600", "Inf", "0.00013"),
            group="DDB-ReadUnits",
        ),
        _item("AmazonDynamoDB", "IA-ReadRequestUnits", "ReadRequestUnits", _flat("0.000000155"), group="DDB-ReadUnits"),
    ]
    found = _refresh(items)
    assert _one(found, "aws.dynamodb.on_demand.read").usd == Decimal("0.000000125")
    assert _one(found, "aws.dynamodb.provisioned.rcu_hour").usd == Decimal("0.00013")


def test_an_embedded_free_tier_is_not_the_list_price() -> None:
    sqs = _item(
        "AWSQueueService",
        "Requests-RBP",
        "Requests",
        ("0", "1000000", "0.0000000000"),
        ("1000000", "100000000000", "0.0000004000"),
        ("100000000000", "Inf", "0.0000003000"),
        group="SQS-APIRequest-Tier1",
        queueType="Standard",
    )
    record = _one(_refresh([sqs]), "aws.sqs.standard")
    assert record.usd == Decimal("0.0000004")
    assert len(record.tiers) == 3


@pytest.mark.parametrize(
    ("region", "usage_type"),
    [
        ("us-east-1", "Requests-Tier1"),
        ("us-east-1", "USE1-Requests-Tier1"),
        ("eu-west-1", "EU-Requests-Tier1"),
        ("eu-west-2", "EUW2-Requests-Tier1"),
        ("ap-northeast-1", "APN1-Requests-Tier1"),
    ],
)
def test_usage_types_are_known_with_every_regions_prefix(region: str, usage_type: str) -> None:
    item = _item("AmazonS3", usage_type, "Requests", _flat("0.0000053"), region=region, group="S3-API-Tier1")
    assert _one(_refresh([item]), "aws.s3.tier1.standard").regions == (region,)


def test_kms_writes_the_whole_region_before_its_usage_type() -> None:
    items = [
        _item("awskms", "us-east-1-KMS-Requests", "Requests", ("0", "20000", "0"), ("20000", "Inf", "0.000003")),
        _item("awskms", "us-east-1-KMS-Requests-Asymmetric", "Requests", _flat("0.000015")),
        _item("awskms", "us-east-1-KMS-Requests-Asymmetric-RSA_2048", "Requests", _flat("0.000003")),
    ]
    found = _refresh(items)
    assert _one(found, "aws.kms.symmetric_and_rsa2048").usd == Decimal("0.000003")
    assert _one(found, "aws.kms.asymmetric").usd == Decimal("0.000015")


def test_a_price_a_thousand_times_too_high_is_not_taken() -> None:
    item = _item("AmazonS3", "Requests-Tier2", "Requests", _flat("0.0004"), group="S3-API-Tier2")
    found = _refresh([item])
    assert "aws.s3.tier2.standard" not in found.records
    assert "too far off" in found.missing["aws.s3.tier2.standard"]


def test_two_products_with_different_prices_are_none() -> None:
    items = [
        _item("AmazonS3", "Requests-Tier1", "Requests", _flat(usd), group="S3-API-Tier1", operation=usd)
        for usd in ("0.000005", "0.000006")
    ]
    assert "aws.s3.tier1.standard" not in _refresh(items).records


def test_a_product_of_nothing_but_a_free_tier_is_no_price_and_hides_none() -> None:
    free, paid = (
        _item("AmazonS3", "Requests-Tier1", "Requests", _flat(usd), group="S3-API-Tier1", operation=usd)
        for usd in ("0", "0.000005")
    )
    assert "aws.s3.tier1.standard" not in _refresh([free]).records
    assert _one(_refresh([free, paid]), "aws.s3.tier1.standard").usd == Decimal("0.000005")


@pytest.mark.parametrize(
    "dimensions",
    [
        [("0", "100", "0.000005"), ("200", "Inf", "0.000004")],
        [("0", "100", "0.000005")],
        [("5", "Inf", "0.000005")],
        [("0", "Inf", "-1")],
        [("0", "Inf", "cheap")],
        [("0", "Inf", "NaN")],
        [],
    ],
)
def test_tiers_with_gaps_and_prices_that_are_none_are_not_taken(dimensions: list[tuple[str, str, str]]) -> None:
    item = _item("AmazonS3", "Requests-Tier1", "Requests", *dimensions, group="S3-API-Tier1")
    assert "aws.s3.tier1.standard" not in _refresh([item]).records


def test_of_several_terms_the_newest_is_taken() -> None:
    item = _item("AmazonS3", "Requests-Tier1", "Requests", _flat("0.000005"), group="S3-API-Tier1")
    newer = _item("AmazonS3", "Requests-Tier1", "Requests", _flat("0.000004"), effective="2026-10-01T00:00:00Z")
    item["terms"]["OnDemand"]["U"] = newer["terms"]["OnDemand"]["T"]
    record = _one(_refresh([item]), "aws.s3.tier1.standard")
    assert (record.usd, record.valid_from) == (Decimal("0.000004"), date(2026, 10, 1))


def test_egress_goes_by_the_region_it_leaves() -> None:
    item = _item(
        "AWSDataTransfer",
        "EU-DataTransfer-Out-Bytes",
        "GB",
        ("0", "10240", "0.09"),
        ("10240", "Inf", "0.085"),
        region="",
        fromRegionCode="eu-west-1",
        transferType="AWS Outbound",
        toLocation="External",
    )
    record = _one(_refresh([item], "eu-west-1"), "aws.egress.internet")
    assert (record.regions, record.usd) == (("eu-west-1",), Decimal("0.09"))


@pytest.mark.parametrize(
    ("group", "price_id", "usd"),
    [
        ("SIA-Tier1", "aws.s3.tier1.standard_ia", "0.00001"),
        ("SIA-Tier2", "aws.s3.tier2.standard_ia", "0.000001"),
        ("GIR-Tier2", "aws.s3.tier2.glacier_ir", "0.00001"),
        ("GDA-Tier1", "aws.s3.tier1.deep_archive", "0.00005"),
    ],
)
def test_storage_classes_of_s3_have_groups_of_their_own(group: str, price_id: str, usd: str) -> None:
    item = _item("AmazonS3", f"Requests-{group}", "Requests", _flat(usd), group=f"S3-API-{group}")
    assert _one(_refresh([item]), price_id).usd == Decimal(usd)


def test_logs_and_insights_are_two_prices_of_one_question() -> None:
    items = [
        _item("AmazonCloudWatch", usage, "GB", ("0", "5", "0"), ("5", "Inf", usd), family="Data Payload")
        for usage, usd in (("USE1-DataProcessing-Bytes", "0.50"), ("USE1-DataScanned-Bytes", "0.005"))
    ]
    found = _refresh(items)
    assert _one(found, "aws.logs.ingest.standard").usd == Decimal("0.5")
    assert _one(found, "aws.logs.insights.scanned").usd == Decimal("0.005")


# --- asking -------------------------------------------------------------------------------------


def test_all_pages_are_read() -> None:
    items = [
        _item("AmazonS3", "EU-Requests-Tier1", "Requests", _flat("0.000005"), region=region, group="S3-API-Tier1")
        for region in ("eu-west-1", "eu-west-2", "eu-central-1", "eu-north-1", "eu-south-1")
    ]
    records = _refresh(items, page_size=2).records["aws.s3.tier1.standard"]
    assert len(records) == 5


def test_one_region_is_asked_for_by_its_code() -> None:
    pages = _Pages(_matching(_ITEMS))
    found = refresh(_BOOK, ["us-east-1"], _TODAY, _NOW_NS, client=pages)
    assert all(filters["regionCode"] == "us-east-1" for service, filters in pages.asked if service != "AWSDataTransfer")
    assert _one(found, "aws.s3.tier2.standard").usd == Decimal("0.0000004")


def test_regions_that_nobody_asked_for_are_left_out() -> None:
    assert _refresh(_ITEMS, "eu-west-1", "eu-west-2").records == {}


def test_prices_of_one_product_family_are_one_question() -> None:
    pages = _Pages(_matching([]))
    refresh(_BOOK, [], _TODAY, _NOW_NS, client=pages)
    assert len([service for service, _ in pages.asked if service == "AmazonKinesis"]) == 1
    assert len(pages.asked) < 100


def test_progress_is_told_with_every_question() -> None:
    seen: list[tuple[int, int]] = []
    pages = _Pages(_matching([]))
    refresh(_BOOK, [], _TODAY, _NOW_NS, client=pages, progress=lambda _, done, total: seen.append((done, total)))
    assert seen[0][0] == 0
    assert seen[-1] == (len(pages.asked), len(pages.asked))


def test_a_refusal_by_aws_is_one_error() -> None:
    client: Any = cast("Any", boto3).client(
        "pricing", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stubber:
        stubber.add_client_error(
            "get_products", "AccessDeniedException", "not authorized to perform pricing:GetProducts"
        )
        with pytest.raises(RefreshError, match="pricing:GetProducts"):
            refresh(_BOOK, [], _TODAY, _NOW_NS, client=client)


def test_an_item_that_is_no_json_is_one_error() -> None:
    class Broken:
        def get_products(self, **_: Any) -> dict[str, Any]:
            return {"PriceList": ["{"]}

    with pytest.raises(RefreshError, match="no JSON"):
        refresh(_BOOK, [], _TODAY, _NOW_NS, client=Broken())


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(RefreshError, match=r"need boto3: pip install boto3$"):
        refresh(_BOOK, [], _TODAY, _NOW_NS)


def test_pages_without_end_are_one_error() -> None:
    class Endless:
        def get_products(self, **_: Any) -> dict[str, Any]:
            return {"PriceList": [], "NextToken": "again"}

    with pytest.raises(RefreshError, match="more than 500 pages"):
        refresh(_BOOK, [], _TODAY, _NOW_NS, client=Endless())


def test_every_query_is_for_a_price_of_the_book_and_none_is_there_twice() -> None:
    assert {product.price_id for product in PRODUCTS} <= set(_BOOK.price_ids())
    found = products(_BOOK)
    assert len({product.price_id for product in found}) == len(found) > 80

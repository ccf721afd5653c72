"""Prices of AWS from the Price List Query API: boto3 client `pricing`, permission `pricing:GetProducts`, no charge.

One question serves all regions: products are asked for by attributes that are the same everywhere, and told apart by
`regionCode`, by their usage type less its region prefix (`EU-`, `USE1-`, none in us-east-1) and by their unit:
DynamoDB's `DDB-ReadUnits`, for one, finds on-demand and provisioned products. A price id takes a region's price only
where exactly one product is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final, cast

from spancost.prices.book import PriceBook, PriceRecord, Tier
from spancost.prices.cache import CONFIDENCE, ORIGINS, first_paid
from spancost.prices.refresh import Progress, Refreshed, RefreshError, no_progress, take

ENDPOINT_REGION: Final = "us-east-1"

_PREFIX: Final = r"(?:(?!IA-)(?:[A-Z]{2,4}\d?|[a-z]{2}-[a-z-]+-\d)-)?"
_MAX_PAGES: Final = 500
_EC2: Final = "aws.ec2."


@dataclass(frozen=True, slots=True)
class Product:
    """How a price id is found in the price list."""

    price_id: str
    service: str
    filters: tuple[tuple[str, str], ...]
    """Attributes that are the same in every region."""
    usage_type: str
    """Regular expression for the usage type without its region prefix."""
    units: frozenset[str]
    """What the price list calls the unit."""
    factor: Decimal = Decimal(1)
    """How many of the price list's units make one of ours."""
    region_attribute: str = "regionCode"


def _products(
    service: str, filters: Mapping[str, str], units: str, prices: Mapping[str, str], **how: Any
) -> list[Product]:
    shared = tuple(filters.items())
    accepted = frozenset(units.split("|"))
    return [Product(price_id, service, shared, usage, accepted, **how) for price_id, usage in prices.items()]


_REQUESTS: Final = "Requests|Request|API Requests|API Calls|Count"
PRODUCTS: Final[Sequence[Product]] = (
    *_products("AmazonS3", {"group": "S3-API-Tier1"}, _REQUESTS, {"aws.s3.tier1.standard": "Requests-Tier1"}),
    *_products("AmazonS3", {"group": "S3-API-Tier2"}, _REQUESTS, {"aws.s3.tier2.standard": "Requests-Tier2"}),
    *(
        product
        for storage_class, code, tiers in (
            ("standard_ia", "SIA", (1, 2)),
            ("glacier_ir", "GIR", (1, 2)),
            ("glacier_flexible", "GLACIER", (1,)),
            ("deep_archive", "GDA", (1,)),
        )
        for tier in tiers
        for product in _products(
            "AmazonS3", {"group": f"S3-API-{code}-Tier{tier}"}, _REQUESTS,
            {f"aws.s3.tier{tier}.{storage_class}": f"Requests-{code}-Tier{tier}"},
        )
    ),
    *_products(
        "AWSQueueService", {"group": "SQS-APIRequest-Tier1", "queueType": "Standard"}, _REQUESTS,
        {"aws.sqs.standard": ".*"},
    ),
    *_products(
        "AWSQueueService", {"group": "SQS-APIRequest-Tier1", "queueType": "FIFO (first-in, first-out)"}, _REQUESTS,
        {"aws.sqs.fifo": ".*"},
    ),
    *_products(
        "AmazonDynamoDB", {"group": "DDB-ReadUnits"}, "ReadRequestUnits",
        {"aws.dynamodb.on_demand.read": "ReadRequestUnits"},
    ),
    *_products(
        "AmazonDynamoDB", {"group": "DDB-WriteUnits"}, "WriteRequestUnits",
        {"aws.dynamodb.on_demand.write": "WriteRequestUnits"},
    ),
    *_products(
        "AmazonDynamoDB", {"group": "DDB-ReadUnits"}, "ReadCapacityUnit-Hrs",
        {"aws.dynamodb.provisioned.rcu_hour": "ReadCapacityUnit-Hrs"},
    ),
    *_products(
        "AmazonDynamoDB", {"group": "DDB-WriteUnits"}, "WriteCapacityUnit-Hrs",
        {"aws.dynamodb.provisioned.wcu_hour": "WriteCapacityUnit-Hrs"},
    ),
    *_products(
        "AWSLambda", {"group": "AWS-Lambda-Requests"}, _REQUESTS, {"aws.lambda.invoke.request": "Request"}
    ),
    *_products(
        "AWSLambda", {"group": "AWS-Lambda-Duration"}, "Lambda-GB-Second|seconds|Second",
        {"aws.lambda.duration.x86": "Lambda-GB-Second"},
    ),
    *_products(
        "AWSLambda", {"group": "AWS-Lambda-Duration"}, "Lambda-GB-Second|seconds|Second",
        {"aws.lambda.x86.gb_hour": "Lambda-GB-Second"}, factor=Decimal(3600),
    ),
    *_products(
        "AWSLambda", {"group": "AWS-Lambda-Duration-ARM"}, "Lambda-GB-Second|seconds|Second",
        {"aws.lambda.duration.arm": "Lambda-GB-Second-ARM"},
    ),
    *_products(
        "AWSLambda", {"group": "AWS-Lambda-Duration-ARM"}, "Lambda-GB-Second|seconds|Second",
        {"aws.lambda.arm.gb_hour": "Lambda-GB-Second-ARM"}, factor=Decimal(3600),
    ),
    *_products(
        "AmazonSNS", {"productFamily": "API Request"}, _REQUESTS,
        {"aws.sns.standard.publish": "Requests-Tier1", "aws.sns.standard.other_api": "Requests-Tier1"},
    ),
    *_products(
        "AmazonSNS", {"productFamily": "Message Delivery"}, "Notifications|Notification|Requests",
        {
            "aws.sns.delivery.http": "DeliveryAttempts-HTTP",
            "aws.sns.delivery.email": "DeliveryAttempts-SMTP",
            "aws.sns.delivery.mobile_push": "DeliveryAttempts-APNS",
            "aws.sns.delivery.firehose": "DeliveryAttempts-FIREHOSE",
        },
    ),
    *_products(
        "awskms", {}, _REQUESTS,
        {
            "aws.kms.symmetric_and_rsa2048": "KMS-Requests",
            "aws.kms.asymmetric": "KMS-Requests-Asymmetric",
            "aws.kms.data_key_pair.ecc": "KMS-Requests-GenerateDatakeyPair-ECC",
        },
    ),
    *_products(
        "AWSSecretsManager", {"productFamily": "API Request"}, _REQUESTS, {"aws.secretsmanager.api": ".*"}
    ),
    *_products(
        "AmazonStates", {"productFamily": "AWS Step Functions"}, "StateTransitions|StateTransition",
        {"aws.stepfunctions.standard.transition": "StateTransition"},
    ),
    *_products(
        "AmazonStates", {"productFamily": "AWS Step Functions"}, _REQUESTS,
        {"aws.stepfunctions.express.request": "StepFunctions-Request"},
    ),
    *_products(
        "AmazonKinesis", {"productFamily": "Kinesis Streams"}, "PutRequest|PutRequestPayloadUnits|Requests|Count",
        {"aws.kinesis.provisioned.put_unit": "PutRequestPayloadUnits"},
    ),
    *_products(
        "AmazonKinesis", {"productFamily": "Kinesis Streams"}, "GB|ShardHour|Hrs|Hours",
        {
            "aws.kinesis.on_demand.ingest": "OnDemand-BilledIncomingBytes",
            "aws.kinesis.on_demand.retrieval": "OnDemand-BilledOutgoingBytes",
            "aws.kinesis.shard_hour": "Storage-ShardHour",
        },
    ),
    *_products(
        "AmazonECS", {"productFamily": "Compute"}, "hours|Hours|Hrs|vCPU-Hours|GB-Hours",
        {
            "aws.fargate.x86.vcpu_hour": "Fargate-vCPU-Hours:perCPU",
            "aws.fargate.x86.gb_hour": "Fargate-GB-Hours",
            "aws.fargate.arm.vcpu_hour": "Fargate-ARM-vCPU-Hours:perCPU",
            "aws.fargate.arm.gb_hour": "Fargate-ARM-GB-Hours",
        },
    ),
    *_products(
        "AWSEvents", {"productFamily": "EventBridge", "eventType": "Custom Event"}, "64K-Chunks|64K Chunks|Events",
        {"aws.events.put_events.custom": "Event-64K-Chunks"},
    ),
    *_products(
        "AmazonCloudWatch", {"productFamily": "Data Payload"}, "GB",
        {"aws.logs.ingest.standard": "DataProcessing-Bytes", "aws.logs.insights.scanned": "DataScanned-Bytes"},
    ),
    *_products(
        "AmazonApiGateway", {"productFamily": "API Calls"}, _REQUESTS,
        {"aws.apigateway.rest.request": "ApiGatewayRequest", "aws.apigateway.http.request": "ApiGatewayHttpRequest"},
    ),
    *_products(
        "AWSDataTransfer", {"transferType": "AWS Outbound"}, "GB", {"aws.egress.internet": "DataTransfer-Out-Bytes"},
        region_attribute="fromRegionCode",
    ),
)  # fmt: skip
_EC2_FILTERS: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}


def products(book: PriceBook) -> list[Product]:
    """Return how the prices of a book are found, EC2 machines included."""
    known = set(book.price_ids())
    found = [product for product in PRODUCTS if product.price_id in known]
    for price_id in book.price_ids():
        template = book.template(price_id)
        if price_id.startswith(_EC2) and template is not None and template.unit == "hour":
            machine = price_id.removeprefix(_EC2)
            filters = {"instanceType": machine, **_EC2_FILTERS}
            found += _products("AmazonEC2", filters, "Hrs", {price_id: f"BoxUsage:{re.escape(machine)}"})
    return found


def refresh(
    book: PriceBook,
    regions: Iterable[str],
    today: date,
    at_ns: int,
    *,
    url: str = "",
    client: Any = None,
    progress: Progress = no_progress,
) -> Refreshed:
    """Ask for the prices of all regions, or of some.

    Args:
        book: Which ids there are, and what they cost so far.

        regions: Only these; none for all that the book knows.

        today: Day of the refresh.

        at_ns: The same, Unix nanoseconds.

        url: Another address of the API: an endpoint of your own.

        client: A boto3 client `pricing`; made from the environment's credentials by default.

        progress: Told about each question.

    Raises:
        RefreshError: boto3 is missing, or AWS did not answer.
    """
    wanted = frozenset(regions) or frozenset(book.regions("aws"))
    pricing = make_client(url) if client is None else client
    questions: dict[tuple[str, tuple[tuple[str, str], ...]], list[Product]] = {}
    for product in products(book):
        questions.setdefault((product.service, product.filters), []).append(product)
    found = Refreshed()
    for done, ((service, filters), asked) in enumerate(questions.items()):
        progress(f"{service} {' '.join(value for _, value in filters[:1])}".rstrip(), done, len(questions))
        if len(wanted) == 1 and all(product.region_attribute == "regionCode" for product in asked):
            filters = (*filters, ("regionCode", next(iter(wanted))))
        items = list(_items(pricing, service, filters))
        for product in asked:
            template = book.template(product.price_id)
            assert template is not None  # `products` takes ids of the book only
            records = list(_records(product, template, items, wanted, today))
            if not records:
                found.missing[product.price_id] = "no product of the price list matches"
            take(found, records, book, at_ns)
    progress("", len(questions), len(questions))
    return found


def make_client(url: str = "") -> Any:
    """Return a client for the Price List API, which answers for all regions from us-east-1.

    Raises:
        RefreshError: boto3 is missing, or its configuration is broken.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise RefreshError("prices of AWS need boto3: pip install boto3") from None
    try:
        return cast("Any", boto3).client(
            "pricing",
            region_name=ENDPOINT_REGION,
            endpoint_url=url or None,
            config=Config(retries={"mode": "standard", "max_attempts": 8}, connect_timeout=10, read_timeout=60),
        )
    except (BotoCoreError, ValueError) as error:
        raise RefreshError(f"AWS: {error}") from None


def _items(client: Any, service: str, filters: tuple[tuple[str, str], ...]) -> Iterator[Mapping[str, Any]]:
    """Yield all products that match; each is a JSON text of its own."""
    from botocore.exceptions import BotoCoreError, ClientError

    arguments: dict[str, Any] = {
        "ServiceCode": service,
        "Filters": [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in filters],
        "FormatVersion": "aws_v1",
        "MaxResults": 100,
    }
    for _ in range(_MAX_PAGES):
        try:
            page = client.get_products(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise RefreshError(f"AWS, {service}: {error}") from None
        for text in page.get("PriceList", ()):
            try:
                item: Any = json.loads(text)
            except (TypeError, ValueError):
                raise RefreshError(f"AWS, {service}: a product is no JSON") from None
            yield item
        token = page.get("NextToken")
        if not token:
            return
        arguments["NextToken"] = token
    raise RefreshError(f"AWS, {service}: more than {_MAX_PAGES} pages")


def _records(
    product: Product,
    template: PriceRecord,
    items: Iterable[Mapping[str, Any]],
    regions: frozenset[str],
    today: date,
) -> Iterator[PriceRecord]:
    """Yield a record for each region in which exactly one product is left."""
    usage_type = re.compile(_PREFIX + product.usage_type)
    by_region: dict[str, list[PriceRecord]] = {}
    for item in items:
        attributes: Mapping[str, Any] = item.get("product", {}).get("attributes", {})
        region = str(attributes.get(product.region_attribute, ""))
        if region not in regions or usage_type.fullmatch(str(attributes.get("usagetype", ""))) is None:
            continue
        if product.region_attribute == "fromRegionCode" and attributes.get("toLocation", "External") != "External":
            continue
        record = _record(product, template, item, region, today)
        if record is not None:
            by_region.setdefault(region, []).append(record)
    for records in by_region.values():
        if len({(record.usd, record.tiers) for record in records}) == 1:
            yield records[0]


def _record(
    product: Product, template: PriceRecord, item: Mapping[str, Any], region: str, today: date
) -> PriceRecord | None:
    """Return the on-demand price of a product; None where it is not of our unit or cannot be read."""
    terms: Mapping[str, Any] = item.get("terms", {}).get("OnDemand", {})
    newest = max(terms.values(), key=lambda term: str(term.get("effectiveDate", "")), default=None)
    if newest is None:
        return None
    dimensions: list[Mapping[str, Any]] = list(newest.get("priceDimensions", {}).values())
    if not dimensions or any(dimension.get("unit") not in product.units for dimension in dimensions):
        return None
    try:
        tiers = tuple(sorted((_tier(one, product.factor) for one in dimensions), key=lambda tier: tier.from_quantity))
        effective = date.fromisoformat(str(newest["effectiveDate"])[:10])
    except (KeyError, TypeError, ValueError, InvalidOperation):
        return None
    if not _is_whole(tiers) or not first_paid(tiers):
        return None  # products of nothing but a free tier stand beside those with the price
    return replace(
        template,
        regions=(region,),
        usd=first_paid(tiers),
        tiers=tiers if len(tiers) > 1 else (),
        valid_from=effective,
        sku=str(item.get("product", {}).get("sku", "")),
        source=f"AWS Price List API, {product.service}",
        as_of=today.isoformat(),
        confidence=CONFIDENCE,
        origin=ORIGINS["aws"],
    )


def _tier(dimension: Mapping[str, Any], factor: Decimal) -> Tier:
    end = str(dimension["endRange"])
    usd = Decimal(str(dimension["pricePerUnit"]["USD"]))
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"{usd} is no price")
    # Bounds are in the vendor's units; 3,600 of its GB-seconds are one GB-hour.
    to = None if end == "Inf" else Decimal(end) / factor
    return Tier(Decimal(str(dimension["beginRange"])) / factor, to, (usd * factor).normalize())


def _is_whole(tiers: Sequence[Tier]) -> bool:
    """Say whether tiers begin at 0, follow each other without a gap, and never end."""
    starts = [tier.from_quantity for tier in tiers]
    ends: list[Decimal | None] = [tier.to_quantity for tier in tiers]
    return starts[0] == 0 and ends[-1] is None and ends[:-1] == starts[1:]

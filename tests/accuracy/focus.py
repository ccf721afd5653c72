"""Reads the FOCUS sample and says which price of ours each of its lines is billed with."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

SAMPLE: Final = Path(__file__).parents[1] / "data" / "focus" / "focus_1_0_sample.csv.gz"

PRICES: Final = (
    # (ServiceName, PricingUnit, pattern of ChargeDescription, price id); groups fill the id
    ("Amazon Simple Queue Service", "Requests", r"SQS standard requests in Tier1", "aws.sqs.standard"),
    ("Amazon Simple Storage Service", "Requests", r"PUT, COPY, POST, or LIST requests$", "aws.s3.tier1.standard"),
    ("Amazon Simple Storage Service", "Requests", r"GET and all other requests( to Intelligent-Tiering)?$",
     "aws.s3.tier2.standard"),
    ("Amazon DynamoDB", "ReadRequestUnits", r"read request units", "aws.dynamodb.on_demand.read"),
    ("Amazon DynamoDB", "WriteRequestUnits", r"write request units", "aws.dynamodb.on_demand.write"),
    ("Amazon DynamoDB", "WriteCapacityUnit-Hours", r"beyond the free tier", "aws.dynamodb.provisioned.wcu_hour"),
    ("AWS Lambda", "Requests", r"Total Requests", "aws.lambda.invoke.request"),
    ("AWS Lambda", "Seconds", r"Total Compute - .*Tier-1", "aws.lambda.duration.x86"),
    ("AWS Lambda", "Lambda-GB-Seconds", r"Total Compute \(Provisioned\)", "aws.lambda.provisioned_duration.x86"),
    ("Amazon CloudFront", "Lambda-GB-Seconds", r"Lambda-Edge-GB-Second", "aws.lambda.lambda_at_edge.duration"),
    ("Amazon CloudFront", "Requests", r"per 10,000 HTTP Requests$", "aws.cloudfront.http_request.us"),
    ("Amazon CloudFront", "Requests", r"per 10,000 HTTPS Requests$", "aws.cloudfront.https_request.us"),
    ("AWS Step Functions", "StateTransitions", r"per state transition", "aws.stepfunctions.standard.transition"),
    ("AWS Systems Manager", "API Requests", r"Higher throughput", "aws.ssm.parameter.advanced_or_higher_throughput"),
    ("AmazonCloudWatch", "Metrics", r"metrics requested using GetMetricData", "aws.cloudwatch.get_metric_data"),
    ("AmazonCloudWatch", "Requests", r"per 1,000 requests$", "aws.cloudwatch.other_api"),
    ("AmazonCloudWatch", "GB", r"custom log data ingested in Standard log class", "aws.logs.ingest.standard"),
    ("Amazon Route 53", "Queries", r"queries for the first 1 Billion", "aws.route53.dns_query.standard"),
    ("Amazon Relational Database Service", "IOs", r"I/O requests \(Aurora", "aws.rds.aurora_io"),
    ("Amazon Elastic Container Service", "Hours", r"Fargate - vCPU", "aws.fargate.x86.vcpu_hour"),
    ("Amazon Elastic Container Service", "Hours", r"Fargate - Memory", "aws.fargate.x86.gb_hour"),
    ("Amazon Elastic Container Service", "Hours", r"Fargate - ARM - Memory", "aws.fargate.arm.gb_hour"),
    ("Amazon Elastic Compute Cloud", "Hours", r"per On Demand Linux (\S+) Instance Hour", r"aws.ec2.\1"),
    ("", "GB", r"data transfer out beyond the global free tier", "aws.egress.internet"),
    ("", "GB", r"next 40 TB / month data transfer out", "aws.egress.internet@10240"),
    ("", "GB", r"regional data transfer - in/out/between EC2 AZs", "aws.egress.inter_az"),
    ("", "GB", r"Data Processed by NAT Gateways", "aws.egress.nat_gateway"),
)  # fmt: skip
REQUEST_UNITS: Final = frozenset(
    {"Requests", "API Requests", "ReadRequestUnits", "WriteRequestUnits", "StateTransitions", "Queries", "Seconds"}
    | {"Lambda-GB-Seconds", "IOs", "Units"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill."""

    service: str
    description: str
    unit: str
    region: str
    quantity: Decimal
    list_unit_price: Decimal
    list_cost: Decimal
    at_ns: int

    @property
    def price_id(self) -> str:
        """Our price, with `@` and the lower bound of its tier in GB where it is not the first paid one; or empty."""
        for service, unit, pattern, price_id in PRICES:
            if service in ("", self.service) and unit == self.unit:
                found = re.search(pattern, self.description)
                if found is not None and not (service == "" and self.service == "Amazon CloudFront"):
                    return found.expand(price_id)
        return ""

    @property
    def is_free_tier(self) -> bool:
        """Our prices are those before free tiers."""
        return self.list_unit_price == 0

    @property
    def is_request_type(self) -> bool:
        """Billed by what callers do, not by what stands there."""
        return self.unit in REQUEST_UNITS or (self.unit == "Metrics" and "GetMetricData" in self.description)


def lines() -> Iterator[Line]:
    """Return the usage lines of the sample."""
    with gzip.open(SAMPLE) as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed, encoding="utf-8")):
            if row["ChargeCategory"] != "Usage":
                continue
            start = datetime.fromisoformat(row["ChargePeriodStart"]).replace(tzinfo=UTC)
            yield Line(
                service=row["ServiceName"],
                description=row["ChargeDescription"],
                unit=row["PricingUnit"],
                region=row["RegionId"],
                quantity=_decimal(row["PricingQuantity"]),
                list_unit_price=_decimal(row["ListUnitPrice"]),
                list_cost=_decimal(row["ListCost"]),
                at_ns=int(start.timestamp()) * 1_000_000_000,
            )


def _decimal(text: str) -> Decimal:
    return Decimal(0) if text == "NULL" else Decimal(text)

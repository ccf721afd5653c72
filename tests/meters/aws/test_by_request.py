"""Operations decided by the price book alone: names, globs, free, priced, failed."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.by_request import ByRequest
from spancost.meters.aws.call import Call, Usage
from spancost.prices.book import PriceBook
from tests.meters.aws.calls import charge, known


def _book(**prices: tuple[str, str | None, list[str]]) -> PriceBook:
    """Prices by id: unit, USD, operations."""
    rate = {"regions": ["*"], "source": 0, "as_of": "2026", "confidence": "single"}
    data: dict[str, Any] = {
        "sources": ["here"],
        "default_regions": {"aws": "us-east-1"},
        "regions": {"aws": ["us-east-1"]},
        "prices": {
            f"aws.shop.{name}": {"unit": unit, "operations": operations, "rates": [{**rate, "usd": usd}]}
            for name, (unit, usd, operations) in prices.items()
        },
    }
    return PriceBook(data)


def _usages(book: PriceBook, operation: str, *, status: int = 200, code: str = "", client: str = "shop") -> Any:
    call = Call(operation, {}, {aws_facts.ERROR_CODE: code}, status, status >= 400)
    return ByRequest(book).decide(client, operation).measure(call)


_SHOP = _book(
    buy=("request", "0.5", ["Buy", "Get*"]),
    manage=("request", "0", ["Get*Policy", "List*"]),
    weigh=("GB", "0.1", ["Weigh"]),
    ask=("request", None, ["Ask*"]),
)


@pytest.mark.parametrize(
    ("operation", "price"),
    [("Buy", "buy"), ("GetItem", "buy"), ("GetItemPolicy", "manage"), ("ListItems", "manage"), ("AskPrice", "ask")],
)
def test_a_name_goes_before_a_glob_and_a_long_glob_before_a_short_one(operation: str, price: str) -> None:
    assert _usages(_SHOP, operation) == (Usage(f"aws.shop.{price}"),)


@pytest.mark.parametrize(
    ("client", "operation", "reason"),
    [
        ("shop", "Sell", "unknown_operation"),
        ("shop", "buy", "unknown_operation"),
        ("bank", "Buy", "unknown_service"),
        ("shop", "Weigh", "no_usage"),
    ],
)
def test_what_the_book_does_not_decide_has_a_reason(client: str, operation: str, reason: str) -> None:
    (usage,) = _usages(_SHOP, operation, client=client)
    assert (usage.price_id, usage.reason) == ("", reason)


def test_two_prices_of_one_operation_need_a_module() -> None:
    book = _book(a=("request", "1", ["Buy"]), b=("request", "2", ["Buy"]))
    (usage,) = _usages(book, "Buy")
    assert usage.reason == "no_usage"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "ValidationException", Usage("aws.shop.buy", basis="failed_request")),
        (400, "ThrottlingException", Usage("", basis="not_billed:error", free=True)),
        (429, "TooManyRequestsException", Usage("", basis="not_billed:error", free=True)),
        (500, "InternalError", Usage("", basis="not_billed:error", free=True)),
        (503, "", Usage("", basis="not_billed:error", free=True)),
    ],
)
def test_refused_requests_are_counted_and_throttled_ones_are_not(status: int, code: str, expected: Usage) -> None:
    assert _usages(_SHOP, "Buy", status=status, code=code) == (expected,)


@pytest.mark.parametrize(
    ("service", "operation", "usd"),
    [
        ("Secrets Manager", "GetSecretValue", 0.05 / 10_000),
        ("Secrets Manager", "ListSecretVersionIds", 0.05 / 10_000),
        ("Cost Explorer", "GetCostAndUsage", 0.01),
        ("Cost Explorer", "GetSavingsPlansCoverage", 0.01),
        ("CloudWatch", "PutMetricData", 0.01 / 1_000),
        ("CloudWatch", "DescribeAlarms", 0.01 / 1_000),
        ("KMS", "GenerateDataKey", 0.03 / 10_000),
        ("KMS", "ListAliases", 0.03 / 10_000),
    ],
)
def test_services_billed_by_the_request_cost_their_rate(service: str, operation: str, usd: float) -> None:
    found = charge(service, operation)
    assert (found.quantity, found.usd, found.line.unit) == (1, pytest.approx(usd, rel=1e-12), "request")
    assert known(found) == ("priced", "", "")


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("STS", "AssumeRole"),
        ("Pricing", "GetProducts"),
        ("EC2", "RunInstances"),
        ("RDS", "CreateDBCluster"),
        ("ECR", "BatchGetImage"),
        ("Route 53", "ChangeResourceRecordSets"),
        ("Scheduler", "CreateSchedule"),
        ("CloudWatch Logs", "FilterLogEvents"),
        ("SFN", "GetExecutionHistory"),
        ("DynamoDB Streams", "GetShardIterator"),
        ("XRay", "GetSamplingRules"),
        ("SSM", "SendCommand"),
    ],
)
def test_calls_that_manage_are_free_in_every_region(service: str, operation: str) -> None:
    for region in ("us-east-1", "eu-south-1", ""):
        found = charge(service, operation, region=region)
        assert (found.usd, known(found)) == (0, ("free", "", ""))


@pytest.mark.parametrize(
    ("service", "operation"),
    [("EC2", "PurchaseHostReservation"), ("SSM", "CreateOpsItem"), ("IoT Data Plane", "GetThingShadow")],
)
def test_calls_that_cost_something_the_book_does_not_know_are_not_free(service: str, operation: str) -> None:
    assert known(charge(service, operation)) == ("unpriced", "no_price", "")

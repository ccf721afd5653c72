"""Every operation of the services in the price book is decided."""

from __future__ import annotations

from collections import Counter, defaultdict
from fnmatch import fnmatchcase

import botocore.loaders
import pytest

from spancost.meters.aws.coverage import UNDECIDED, Coverage, coverage
from spancost.prices.book import PriceBook
from spancost.prices.lint import problems

_BOOK = PriceBook.shipped()
_COVERAGE = coverage(_BOOK)


def _of(client: str, operation: str) -> Coverage:
    (found,) = (one for one in _COVERAGE if (one.client, one.operation) == (client, operation))
    return found


def test_no_operation_of_a_known_service_is_undecided() -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in _COVERAGE:
        counts[one.client][one.status] += 1
        counts["total"][one.status] += 1
    for client, count in counts.items():
        print(client, dict(count))
    assert [(one.client, one.operation) for one in _COVERAGE if one.reason in UNDECIDED] == []


@pytest.mark.parametrize(
    ("client", "operation", "status", "price_ids", "reason"),
    [
        ("kms", "ListAliases", "priced", ("aws.kms.symmetric_and_rsa2048",), ""),
        ("ce", "GetCostAndUsage", "priced", ("aws.ce.api",), ""),
        ("sts", "AssumeRole", "free", ("aws.sts.control_plane",), ""),
        ("kinesis", "SubscribeToShard", "priced", ("aws.kinesis.enhanced_fan_out.retrieval",), ""),
        ("stepfunctions", "DescribeExecution", "free", ("aws.stepfunctions.control_plane",), ""),
        ("logs", "GetQueryResults", "priced", ("aws.logs.insights.scanned",), ""),
        ("ec2", "PurchaseHostReservation", "unpriced", (), "no_price"),
        ("events", "StartReplay", "unpriced", (), "events_not_seen"),
    ],
)
def test_operation_is_what_the_book_and_the_meters_say(
    client: str, operation: str, status: str, price_ids: tuple[str, ...], reason: str
) -> None:
    found = _of(client, operation)
    assert (found.status, found.price_ids, found.reason) == (status, price_ids, reason)


def test_price_that_depends_on_the_call_counts_as_priced() -> None:
    assert _of("kinesis", "PutRecord").price_ids == (
        "aws.kinesis.provisioned.put_unit",
        "aws.kinesis.on_demand.ingest",
    )
    assert _of("ssm", "GetParameter").status == "priced"


def test_only_the_asked_for_clients_are_looked_at() -> None:
    assert {one.client for one in coverage(_BOOK, ["sts", "ce"])} == {"sts", "ce"}


def test_every_operation_in_the_book_exists_in_botocore() -> None:
    loader = botocore.loaders.create_loader()
    available = set(loader.list_available_services("service-2"))
    for price_id in _BOOK.price_ids():
        vendor, client, *_ = price_id.split(".")
        named = _BOOK.operations(price_id)
        if vendor != "aws" or not named:
            continue
        assert client in available, price_id
        known = loader.load_service_model(client, "service-2")["operations"]
        idle = [name for name in named if not any(fnmatchcase(operation, name) for operation in known)]
        assert not idle, (price_id, idle)


@pytest.mark.parametrize(
    ("operations", "other", "problem"),
    [
        (["Get*", "Put"], ["Get", "Put"], ""),
        (["Get*"], ["Get*"], "a.yaml: aws.shop.b: operations 'Get*' are also those of aws.shop.a"),
        (["Get", "Get"], [], "a.yaml: aws.shop.a: operation 'Get' is there twice"),
        (["get-item"], [], "a.yaml: aws.shop.a: operation 'get-item' is no name and no glob such as 'Describe*'"),
    ],
)
def test_linter_finds_globs_that_decide_twice(operations: list[str], other: list[str], problem: str) -> None:
    rate = {"region": "r", "usd": "1", "source": "s", "as_of": "2026", "confidence": "single"}
    prices = [
        {"id": f"aws.shop.{name}", "unit": "request", "operations": named, "rates": [rate]}
        for name, named in (("a", operations), ("b", other))
    ]
    found = problems({"a.yaml": {"vendor": "aws", "default_region": "r", "regions": ["r"], "prices": prices}})
    assert found == ([problem] if problem else [])


def test_no_operation_is_left_between_two_globs_of_the_same_length() -> None:
    for one in _COVERAGE:
        prices = [
            (price_id, name)
            for price_id in _BOOK.price_ids()
            if price_id.startswith(f"aws.{one.client}.")
            for name in _BOOK.operations(price_id)
            if "*" in name and fnmatchcase(one.operation, name)
        ]
        longest = max((len(name) for _, name in prices), default=0)
        assert len({price_id for price_id, name in prices if len(name) == longest}) <= 1, (one.operation, prices)

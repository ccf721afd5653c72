"""DynamoDB: units by size, consistency, transactions and batches; consumed capacity; failures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.dynamodb import set_provisioned_tables
from tests.meters.aws.calls import KB, NOW_NS, charge, charges, known
from tests.meters.aws.operations import undecided

_RRU_USD = 0.125 / 1e6
_WRU_USD = 0.625 / 1e6


def _sized(*sizes: int, table: str = "t", more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {aws_facts.RESOURCE: table, aws_facts.ITEM_BYTES: {table: list(sizes)}, **(more or {})}


@pytest.mark.parametrize(
    ("size_bytes", "units"),
    [(0, 1), (1, 1), (KB, 1), (KB + 1, 2), (2 * KB, 2), (2 * KB + 1, 3), (301 * KB, 301), (400 * KB, 400)],
)
def test_put_costs_one_write_unit_per_started_kb(size_bytes: int, units: int) -> None:
    found = charge("DynamoDB", "PutItem", facts=_sized(size_bytes))
    assert (found.quantity, found.usd) == (units, pytest.approx(units * _WRU_USD, rel=1e-12))
    assert known(found) == ("priced", "", "")
    assert (found.line.unit, found.line.resource, found.line.operation) == ("WRU", "t", "dynamodb.PutItem")


def test_put_item_of_301_kb_costs_301_write_units() -> None:
    assert charge("DynamoDB", "PutItem", facts=_sized(301 * KB)).quantity == 301


@pytest.mark.parametrize(
    ("size_bytes", "units"), [(0, 0.5), (1, 0.5), (4 * KB, 0.5), (4 * KB + 1, 1.0), (8 * KB + 1, 1.5), (400 * KB, 50)]
)
@pytest.mark.parametrize("operation", ["GetItem", "Query", "Scan"])
def test_eventually_consistent_read_costs_half_a_unit_per_started_4_kb(
    operation: str, size_bytes: int, units: float
) -> None:
    found = charge("DynamoDB", operation, facts=_sized(size_bytes, more={aws_facts.CONSISTENT: frozenset[str]()}))
    assert found.usd == pytest.approx(units * _RRU_USD)


@pytest.mark.parametrize(("size_bytes", "units"), [(4 * KB, 1), (4 * KB + 1, 2)])
def test_consistent_read_costs_a_whole_unit(size_bytes: int, units: int) -> None:
    found = charge("DynamoDB", "GetItem", facts=_sized(size_bytes, more={aws_facts.CONSISTENT: frozenset({"t"})}))
    assert found.usd == pytest.approx(units * _RRU_USD)


def test_batches_round_each_item() -> None:
    assert charge("DynamoDB", "BatchWriteItem", facts=_sized(1, KB, KB + 1)).quantity == 1 + 1 + 2
    assert charge("DynamoDB", "BatchGetItem", facts=_sized(1, 4 * KB, 4 * KB + 1)).quantity == 0.5 + 0.5 + 1


def test_transactions_count_double() -> None:
    assert charge("DynamoDB", "TransactWriteItems", facts=_sized(1, KB + 1)).quantity == 2 * (1 + 2)
    assert charge("DynamoDB", "TransactGetItems", facts=_sized(1, 4 * KB + 1)).quantity == 2 * (1 + 2)


def test_each_table_is_charged_by_itself() -> None:
    facts = {aws_facts.ITEM_BYTES: {"orders": [1], "lines": [KB + 1, 1]}}
    orders, lines = charges("DynamoDB", "BatchWriteItem", facts=facts)
    assert (orders.line.resource, orders.quantity, lines.line.resource, lines.quantity) == ("orders", 1, "lines", 3)


def test_consumed_capacity_wins_over_sizes() -> None:
    facts = _sized(KB, more={aws_facts.CAPACITY: {"t": 7.0}})
    found = charge("DynamoDB", "PutItem", facts=facts)
    assert (found.quantity, known(found)) == (7, ("priced", "", ""))


def test_consumed_capacity_of_a_stored_span_is_read_from_its_attribute() -> None:
    reported = ('{"TableName": "a", "CapacityUnits": 12.5}', '{"TableName": "b", "CapacityUnits": 3.0}')
    first, second = charges("DynamoDB", "BatchGetItem", attributes={"aws.dynamodb.consumed_capacity": reported})
    assert (first.quantity, first.line.resource, first.usd) == (12.5, "a", pytest.approx(12.5 * _RRU_USD))
    assert (second.quantity, second.line.resource) == (3, "b")


def test_table_arn_is_shortened_to_its_name() -> None:
    reported = '{"TableName": "arn:aws:dynamodb:us-east-1:123456789012:table/orders", "CapacityUnits": 1}'
    assert (
        charge("DynamoDB", "PutItem", attributes={"aws.dynamodb.consumed_capacity": reported}).line.resource == "orders"
    )


@pytest.mark.parametrize(
    "reported", [["{"], ["[]"], [1], ['{"CapacityUnits": "1"}'], ['{"CapacityUnits": -1}'], ['{"CapacityUnits": NaN}']]
)
def test_unreadable_capacity_is_unpriced(reported: Any) -> None:
    found = charge("DynamoDB", "PutItem", attributes={"aws.dynamodb.consumed_capacity": reported})
    assert known(found) == ("unpriced", "bad_usage", "")


def test_capacity_attribute_of_10_mb_is_unpriced() -> None:
    found = charge("DynamoDB", "PutItem", attributes={"aws.dynamodb.consumed_capacity": ["[" * 10_000_000]})
    assert known(found) == ("unpriced", "bad_usage", "")


@pytest.mark.parametrize(
    ("operation", "units", "unit"),
    [
        ("PutItem", 1, "WRU"),
        ("DeleteItem", 1, "WRU"),
        ("GetItem", 0.5, "RRU"),
        ("Query", 0.5, "RRU"),
        ("TransactWriteItems", 2, "WRU"),
        ("TransactGetItems", 2, "RRU"),
    ],
)
def test_call_without_size_is_one_estimated_unit(operation: str, units: float, unit: str) -> None:
    found = charge("DynamoDB", operation, attributes={"aws.dynamodb.table_names": ("orders",)})
    assert (found.quantity, found.line.unit, found.line.resource) == (units, unit, "orders")
    assert known(found) == ("estimated", "", "size:1_unit")


def test_consistent_read_of_a_stored_span_is_one_unit() -> None:
    assert charge("DynamoDB", "GetItem", attributes={"aws.dynamodb.consistent_read": True}).quantity == 1


def test_assumed_sizes_are_marked() -> None:
    found = charge("DynamoDB", "UpdateItem", facts=_sized(300, more={aws_facts.ASSUMED: "size:update"}))
    assert known(found) == ("estimated", "", "size:update")


def test_call_a_nanosecond_before_the_price_was_halved_costs_the_old_rate() -> None:
    cut_ns = int(datetime(2024, 11, 1, tzinfo=UTC).timestamp()) * 10**9  # - 1: 2024-10-31 23:59:59.999999999
    for start_ns, usd in ((cut_ns - 1, 0.25 / 1e6), (cut_ns, 0.125 / 1e6)):
        facts = _sized(1, more={aws_facts.CONSISTENT: frozenset({"t"})})
        assert charge("DynamoDB", "GetItem", facts=facts, start_ns=start_ns).usd == pytest.approx(usd)
    assert charge("DynamoDB", "PutItem", facts=_sized(1), start_ns=cut_ns - 1).usd == pytest.approx(1.25 / 1e6)
    assert charge("DynamoDB", "PutItem", facts=_sized(1), start_ns=cut_ns).usd == pytest.approx(0.625 / 1e6)
    assert charge("DynamoDB", "PutItem", facts=_sized(1), start_ns=NOW_NS).usd == pytest.approx(0.625 / 1e6)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ConditionalCheckFailedException", 400, "priced"),
        ("TransactionCanceledException", 400, "priced"),
        ("ValidationException", 400, "free"),
        ("ProvisionedThroughputExceededException", 400, "free"),
        ("InternalServerError", 500, "free"),
    ],
)
def test_failed_write_follows_the_rule(code: str, status: int, expected: str) -> None:
    facts = _sized(300, more={aws_facts.ERROR_CODE: code})
    found = charge("DynamoDB", "PutItem", status=status, facts=facts)
    assert (found.line.status, found.usd > 0) == (expected, expected == "priced")


def test_failed_write_of_a_stored_span_is_taken_for_a_failed_condition() -> None:
    found = charge("DynamoDB", "PutItem", status=400)
    assert (found.quantity, known(found)) == (1, ("estimated", "", "error:failed_condition,size:1_unit"))


def test_failed_read_is_free() -> None:
    assert charge("DynamoDB", "GetItem", status=400).line.status == "free"


def test_statement_is_priced_by_what_it_does() -> None:
    facts = _sized(KB + 1, more={aws_facts.WRITES: True})
    assert charge("DynamoDB", "ExecuteStatement", facts=facts).line.unit == "WRU"
    facts = _sized(4 * KB + 1, more={aws_facts.WRITES: False})
    assert charge("DynamoDB", "ExecuteStatement", facts=facts).usd == pytest.approx(1.0 * _RRU_USD)
    assert known(charge("DynamoDB", "ExecuteStatement")) == ("unpriced", "unknown_statement", "")


@pytest.mark.parametrize("operation", ["CreateTable", "DescribeTable", "ListTables", "UpdateTimeToLive", "TagResource"])
def test_managing_tables_is_free(operation: str) -> None:
    assert charge("DynamoDB", operation).line.status == "free"


@pytest.mark.parametrize(
    "operation", ["ExportTableToPointInTime", "CreateBackup", "RestoreTableFromBackup", "ImportTable"]
)
def test_work_on_whole_tables_is_billed_by_gb_that_no_call_shows(operation: str) -> None:
    assert known(charge("DynamoDB", operation)) == ("unpriced", "billed_by_gb", "")
    assert known(charge("DynamoDB", operation, status=400, facts={})) == ("free", "", "not_billed:error")


@pytest.mark.parametrize("operation", ["SearchVectors", "StartBulkPutItems"])
def test_operation_whose_price_nobody_published_is_unpriced_and_can_be_overridden(operation: str) -> None:
    assert known(charge("DynamoDB", operation)) == ("unpriced", "no_price", "")


def test_unknown_operation_is_unpriced() -> None:
    assert known(charge("DynamoDB", "Frobnicate")) == ("unpriced", "unknown_operation", "")


def test_every_operation_is_decided() -> None:
    assert undecided("dynamodb") == []


@pytest.fixture
def provisioned() -> Iterator[None]:
    set_provisioned_tables(["orders-*", "stock"])
    yield
    set_provisioned_tables([])


@pytest.mark.usefixtures("provisioned")
def test_tables_named_as_provisioned_cost_nothing_by_the_call() -> None:
    found = charge("DynamoDB", "PutItem", facts=_sized(3 * KB, table="orders-2026"))
    assert (known(found), found.usd, found.quantity) == (("free", "", "provisioned"), 0, 3)
    assert (found.line.unit, found.line.resource) == ("WRU", "orders-2026")
    assert known(charge("DynamoDB", "GetItem", facts=_sized(1, table="Stock")))[0] == "priced"
    both = {aws_facts.ITEM_BYTES: {"stock": [1], "lines": [1]}}
    stock, lines = charges("DynamoDB", "BatchGetItem", facts=both)
    assert (stock.line.status, lines.usd) == ("free", pytest.approx(0.5 * _RRU_USD))
    stored = charge("DynamoDB", "GetItem", attributes={"aws.dynamodb.table_names": ("stock",)})
    assert known(stored) == ("free", "", "provisioned")
    reported = '{"TableName": "stock", "CapacityUnits": 12.5}'
    capacity = charge("DynamoDB", "Query", attributes={"aws.dynamodb.consumed_capacity": reported})
    assert (known(capacity), capacity.quantity) == (("free", "", "provisioned"), 12.5)


@pytest.mark.usefixtures("provisioned")
def test_impossible_size_of_a_provisioned_table_is_still_said() -> None:
    found = charge("DynamoDB", "PutItem", facts={aws_facts.ITEM_BYTES: {"stock": [math.nan]}})
    assert known(found) == ("unpriced", "bad_usage", "")


def test_tables_are_on_demand_again_when_the_setting_is_gone() -> None:
    set_provisioned_tables(["t"])
    assert known(charge("DynamoDB", "PutItem", facts=_sized(1)))[0] == "free"
    set_provisioned_tables([])
    assert known(charge("DynamoDB", "PutItem", facts=_sized(1)))[0] == "priced"


def test_read_units_of_a_write_cost_the_read_rate() -> None:
    facts = _sized(1, more={aws_facts.CAPACITY: {"t": 6.0}, aws_facts.READ_CAPACITY: {"t": 2.0}})
    reads, writes = charges("DynamoDB", "TransactWriteItems", facts=facts)
    assert (reads.usd, writes.usd) == (pytest.approx(2 * _RRU_USD), pytest.approx(4 * _WRU_USD))
    reported = '{"TableName": "t", "CapacityUnits": 2, "ReadCapacityUnits": 2}'
    stored = charge("DynamoDB", "TransactWriteItems", attributes={"aws.dynamodb.consumed_capacity": reported})
    assert (stored.line.unit, stored.usd) == ("RRU", pytest.approx(2 * _RRU_USD))


@given(st.integers(0, 400 * KB), st.integers(0, 400 * KB))
def test_two_items_never_cost_less_than_one_of_their_size_nor_a_unit_more_than_it(first: int, second: int) -> None:
    apart = charge("DynamoDB", "BatchWriteItem", facts=_sized(first, second)).quantity
    together = charge("DynamoDB", "PutItem", facts=_sized(first + second)).quantity
    assert together <= apart <= together + 1


@given(st.integers(0, 400 * KB))
def test_read_rounds_up_to_4_kb_and_consistency_doubles_it(size_bytes: int) -> None:
    eventual = charge("DynamoDB", "GetItem", facts=_sized(size_bytes)).quantity
    assert (eventual * 2 - 1) * 4 * KB < max(1, size_bytes) <= eventual * 2 * 4 * KB
    strong = charge("DynamoDB", "GetItem", facts=_sized(size_bytes, more={aws_facts.CONSISTENT: frozenset({"t"})}))
    transaction = charge("DynamoDB", "TransactGetItems", facts=_sized(size_bytes))
    assert (strong.quantity, transaction.quantity) == (2 * eventual, 4 * eventual)


@pytest.mark.parametrize("sizes", [[-1], [math.nan], ["1"], "1", [None]])
def test_impossible_size_is_unpriced(sizes: object) -> None:
    found = charge("DynamoDB", "PutItem", facts={aws_facts.ITEM_BYTES: {"t": sizes}})
    assert known(found) == ("unpriced", "bad_usage", "")

"""PartiQL: which table, read or write, and how much, as far as statements and answers show it."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import Stubber

from spancost.capture.aws import facts as keys
from spancost.capture.aws.dynamodb_statements import note_statements
from spancost.charge import Charge
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.support.moto_server import MotoServer

_RRU_USD, _WRU_USD = 1.25e-7, 6.25e-7


def _item(key: str, size_bytes: int) -> dict[str, Any]:
    return {"pk": {"S": key}, "v": {"S": "x" * (size_bytes - 3 - len(key))}}


@pytest.fixture
def stubbed(moto: MotoServer, prices: Prices) -> Any:
    client = moto.client("dynamodb")

    def run(method: str, answer: dict[str, Any], **arguments: Any) -> Charge:
        with Stubber(client) as stub:
            stub.add_response(method, answer)
            getattr(client, method)(**arguments)
        return prices.one()

    return run


@pytest.mark.parametrize(
    ("text", "table", "writes"),
    [
        ('SELECT * FROM "orders"', "orders", False),
        ('select "pk", v from "orders"."by_day" where pk = ?', "orders", False),
        ("SELECT * FROM orders WHERE v = 'FROM \"secret\"'", "orders", False),
        ("INSERT INTO \"my-orders.2026\" VALUE {'pk': ?}", "my-orders.2026", True),
        ("  UPDATE orders\n SET v = ? WHERE pk = ?", "orders", True),
        ('DELETE FROM "orders" WHERE pk = ?', "orders", True),
        ('EXISTS(SELECT * FROM "orders" WHERE pk = ?)', "orders", True),
        ("DROP TABLE orders", "", None),
        ("", "", None),
        ("SELECT", "", None),
    ],
)
def test_statement_shows_its_table_and_whether_it_writes(text: str, table: str, writes: bool | None) -> None:
    facts: dict[str, Any] = {}
    note_statements(facts, "ExecuteStatement", {"Statement": text})
    assert (facts.get(keys.RESOURCE), facts.get(keys.WRITES)) == (table, writes)
    assert "secret" not in repr(facts)


@pytest.mark.parametrize(
    ("text", "size_bytes", "more", "usd", "status"),
    [
        ('SELECT * FROM "orders"', 4 * KB, {}, 0.5 * _RRU_USD, ("priced", "")),
        ('SELECT * FROM "orders"', 4 * KB + 1, {}, 1.0 * _RRU_USD, ("priced", "")),
        ('SELECT * FROM "orders"', 4 * KB + 1, {"ConsistentRead": True}, 2 * _RRU_USD, ("priced", "")),
        ('SELECT v FROM "orders"', 4 * KB, {}, 0.5 * _RRU_USD, ("estimated", "size:returned_items")),
        ('SELECT * FROM "orders" WHERE v = 1', 4 * KB, {}, 0.5 * _RRU_USD, ("estimated", "size:returned_items")),
    ],
)
def test_select_costs_what_it_returned_marked_where_it_may_have_read_more(
    stubbed: Any, text: str, size_bytes: int, more: dict[str, Any], usd: float, status: tuple[str, str]
) -> None:
    charge = stubbed("execute_statement", {"Items": [_item("a", size_bytes)]}, Statement=text, **more)
    assert (charge.usd, status_of(charge), charge.line.resource) == (pytest.approx(usd), status, "orders")


def test_select_of_a_full_page_has_read_1_mb(stubbed: Any) -> None:
    answer = {"Items": [_item("a", 100)], "LastEvaluatedKey": {"pk": {"S": "a"}}}
    text = 'SELECT * FROM "orders" WHERE v = 1'
    charge = stubbed("execute_statement", answer, Statement=text)
    assert (charge.quantity, status_of(charge)) == (128, ("estimated", "size:1_MB_page"))
    charge = stubbed("execute_statement", answer, Statement=text, Limit=1)
    assert (charge.quantity, status_of(charge)) == (0.5, ("estimated", "size:returned_items"))


def test_insert_costs_its_text_and_parameters(stubbed: Any) -> None:
    text = "INSERT INTO \"orders\" VALUE {'pk': 'a', 'v': ?}"
    charge = stubbed("execute_statement", {}, Statement=text, Parameters=[{"S": "x" * (300 * KB)}])
    assert (charge.usd, status_of(charge)) == (pytest.approx(301 * _WRU_USD), ("estimated", "size:statement"))


def test_update_and_delete_say_that_the_item_was_not_seen(stubbed: Any) -> None:
    text = 'UPDATE "orders" SET v = ? WHERE pk = ?'
    charge = stubbed("execute_statement", {}, Statement=text, Parameters=[{"S": "x" * 2000}, {"S": "a"}])
    assert (charge.quantity, status_of(charge)) == (2, ("estimated", "size:updates_and_deletes"))
    charge = stubbed("execute_statement", {}, Statement='DELETE FROM "orders" WHERE pk = ?', Parameters=[{"S": "a"}])
    assert (charge.quantity, status_of(charge)) == (1, ("estimated", "size:updates_and_deletes"))


def test_batch_of_reads_rounds_each_item(stubbed: Any) -> None:
    statements = [{"Statement": 'SELECT * FROM "orders" WHERE pk = ?', "Parameters": [{"S": key}]} for key in "abc"]
    responses = [
        {"TableName": "orders", "Item": _item("a", 4 * KB)},
        {"TableName": "orders", "Item": _item("b", 4 * KB + 1)},
        {"TableName": "orders"},
    ]
    charge = stubbed("batch_execute_statement", {"Responses": responses}, Statements=statements)
    assert (charge.quantity, status_of(charge)) == (0.5 + 1.0 + 0.5, ("priced", ""))


def test_transaction_of_reads_counts_double_per_table(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("dynamodb")
    statements = [{"Statement": f"SELECT * FROM \"{table}\" WHERE pk = 'a'"} for table in ("orders", "lines")]
    with Stubber(client) as stub:
        answers = [{"Item": _item("a", 4 * KB + 1)}, {"Item": _item("a", 10)}]
        stub.add_response("execute_transaction", {"Responses": answers})
        client.execute_transaction(TransactStatements=statements)
    assert [(charge.line.resource, charge.quantity) for charge in prices.take()] == [("orders", 4), ("lines", 2)]


def test_batch_of_writes_is_one_unit_each_at_least(stubbed: Any) -> None:
    statements = [{"Statement": 'DELETE FROM "orders" WHERE pk = ?', "Parameters": [{"S": "a"}]}] * 3
    charge = stubbed("batch_execute_statement", {}, Statements=statements)
    assert (charge.quantity, status_of(charge)) == (3, ("estimated", "size:updates_and_deletes"))


def test_statement_of_another_language_is_unpriced(stubbed: Any) -> None:
    charge = stubbed("execute_statement", {}, Statement="DROP TABLE orders")
    assert (charge.line.status, charge.line.reason) == ("unpriced", "unknown_statement")


def test_statement_of_100_kb_without_a_table_is_unpriced(stubbed: Any) -> None:
    charge = stubbed("execute_statement", {}, Statement="SELECT " + "a, " * 30_000 + "FRO orders")
    assert charge.line.reason == "unknown_statement"

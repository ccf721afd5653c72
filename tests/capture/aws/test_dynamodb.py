"""DynamoDB: real calls against moto, or answers by a stub where moto does not count as the service does."""

from __future__ import annotations

import copy
import json
from collections.abc import Generator
from typing import Any

import boto3
import botocore.session
import pytest
from boto3.dynamodb.conditions import Key
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from spancost.capture import facts as capture_facts
from spancost.capture.aws import dynamodb as capture
from tests.capture.aws.pricing import KB, Prices, status_of
from tests.support.moto_server import MotoServer

_RRU_USD, _WRU_USD = 1.25e-7, 6.25e-7


@pytest.fixture
def table(moto: MotoServer, prices: Prices) -> Generator[str]:
    client = moto.client("dynamodb")
    name = "orders"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    prices.take()
    yield name
    client.delete_table(TableName=name)


def _item(key: str, size_bytes: int) -> dict[str, Any]:
    """An item of exactly this size: `pk` + key + `v` + padding."""
    return {"pk": {"S": key}, "v": {"S": "x" * (size_bytes - 3 - len(key))}}


@pytest.mark.parametrize(("size_bytes", "units"), [(1 * KB, 1), (1 * KB + 1, 2), (301 * KB, 301)])
def test_put_item_costs_its_kb(moto: MotoServer, prices: Prices, table: str, size_bytes: int, units: int) -> None:
    moto.client("dynamodb").put_item(TableName=table, Item=_item("a", size_bytes))
    charge = prices.one()
    assert (charge.quantity, charge.usd) == (units, pytest.approx(units * _WRU_USD))
    assert (status_of(charge), charge.line.resource) == (("priced", ""), table)


@pytest.mark.parametrize(("size_bytes", "units"), [(4 * KB, 0.5), (4 * KB + 1, 1.0)])
def test_get_item_costs_half_a_unit_per_4_kb(
    moto: MotoServer, prices: Prices, table: str, size_bytes: int, units: float
) -> None:
    client = moto.client("dynamodb")
    client.put_item(TableName=table, Item=_item("a", size_bytes))
    prices.take()
    client.get_item(TableName=table, Key={"pk": {"S": "a"}})
    assert prices.one().usd == pytest.approx(units * _RRU_USD)
    client.get_item(TableName=table, Key={"pk": {"S": "a"}}, ConsistentRead=True)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(2 * units * _RRU_USD), ("priced", ""))
    client.get_item(TableName=table, Key={"pk": {"S": "nobody"}})
    assert prices.one().usd == pytest.approx(0.5 * _RRU_USD)
    client.get_item(TableName=table, Key={"pk": {"S": "a"}}, ProjectionExpression="pk")
    assert status_of(prices.one()) == ("estimated", "size:projection")


def _resource(moto: MotoServer) -> Any:
    session: Any = boto3.session.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    return session.resource("dynamodb", endpoint_url=moto.url)


def test_boto3_resource_is_sized_like_the_client(moto: MotoServer, prices: Prices, table: str) -> None:
    orders = _resource(moto).Table(table)
    orders.put_item(Item={"pk": "a", "v": "x" * (2 * KB)})
    assert prices.one().quantity == 3
    orders.get_item(Key={"pk": "a"})
    assert prices.one().quantity == 0.5


def test_consumed_capacity_wins(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    answer = client.put_item(TableName=table, Item=_item("a", 5 * KB), ReturnConsumedCapacity="TOTAL")
    units = answer["ConsumedCapacity"]["CapacityUnits"]
    assert prices.one().quantity == units  # moto's count, not the item's 5 KB


def test_update_and_delete_know_the_item_if_it_is_returned(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    client.put_item(TableName=table, Item=_item("a", 2 * KB + 1))
    prices.take()
    # UpdateItem of moto reports a capacity unasked, so the stub answers here.
    with Stubber(client) as stub:
        stub.add_response("update_item", {"Attributes": _item("a", 2 * KB + 1)})
        client.update_item(
            TableName=table, Key={"pk": {"S": "a"}}, UpdateExpression="SET n = n", ReturnValues="ALL_NEW"
        )
        charge = prices.one()
        assert (charge.quantity, status_of(charge)) == (3, ("priced", ""))
        stub.add_response("update_item", {})
        client.update_item(
            TableName=table,
            Key={"pk": {"S": "a"}},
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"S": "x" * KB}},
        )
        charge = prices.one()
        assert (charge.quantity, status_of(charge)) == (2, ("estimated", "size:update"))
    client.delete_item(TableName=table, Key={"pk": {"S": "a"}}, ReturnValues="ALL_OLD")
    charge = prices.one()
    assert (charge.quantity, status_of(charge)) == (3, ("priced", ""))
    client.delete_item(TableName=table, Key={"pk": {"S": "a"}})
    assert status_of(prices.one()) == ("estimated", "size:1_unit")


def test_query_and_scan_cost_the_sum_of_what_they_read(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    for key in "abc":
        client.put_item(TableName=table, Item=_item(key, 3 * KB))
    prices.take()
    client.scan(TableName=table)
    charge = prices.one()
    assert (charge.quantity, status_of(charge)) == (3 * 0.5, ("priced", ""))  # 9 KB = 3 started 4 KB
    client.query(
        TableName=table,
        KeyConditionExpression="pk = :k",
        ExpressionAttributeValues={":k": {"S": "a"}},
        ConsistentRead=True,
    )
    assert prices.one().quantity == 1
    client.scan(TableName=table, FilterExpression="pk = :k", ExpressionAttributeValues={":k": {"S": "a"}})
    charge = prices.one()
    assert (charge.quantity, status_of(charge)) == (3 * 0.5, ("estimated", "size:average_item"))


@pytest.mark.parametrize("method", ["scan", "query"])
def test_filtered_page_that_no_limit_cut_has_read_1_mb(
    moto: MotoServer, prices: Prices, table: str, method: str
) -> None:
    client = moto.client("dynamodb")
    more: dict[str, Any] = {"LastEvaluatedKey": {"pk": {"S": "a"}}}
    seen: dict[str, Any] = {"Items": [_item("a", 3 * KB)], "Count": 1, "ScannedCount": 400, **more}
    hidden: dict[str, Any] = {"Items": [], "Count": 0, "ScannedCount": 400, **more}
    counted: dict[str, Any] = {"Count": 400, "ScannedCount": 400, **more}
    arguments = {"TableName": table, **({} if method == "scan" else _BY_KEY)}
    with Stubber(client) as stub:
        for answer in (seen, hidden, counted):
            stub.add_response(method, answer)
            getattr(client, method)(**arguments, FilterExpression="v = :v")
            charge = prices.one()
            assert (charge.usd, status_of(charge)) == (
                pytest.approx(1024 / 4 * 0.5 * _RRU_USD),
                ("estimated", "size:1_MB_page"),
            )
        stub.add_response(method, seen)
        getattr(client, method)(**arguments, FilterExpression="v = :v", Limit=400)
        charge = prices.one()
        assert (charge.quantity, status_of(charge)) == (400 * 3 / 4 / 2, ("estimated", "size:average_item"))


def test_each_page_of_a_paginator_is_a_charge(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    for key in "abc":
        client.put_item(TableName=table, Item=_item(key, 100))
    prices.take()
    pages = list(client.get_paginator("scan").paginate(TableName=table, PaginationConfig={"PageSize": 1}))
    assert [charge.quantity for charge in prices.take()] == [0.5] * len(pages)
    assert len(pages) >= 3


def test_batches_round_each_item_and_skip_what_was_not_done(prices: Prices, moto: MotoServer, table: str) -> None:
    client = moto.client("dynamodb")
    writes = [{"PutRequest": {"Item": _item(key, size)}} for key, size in (("a", 100), ("b", KB + 1), ("c", 10 * KB))]
    with Stubber(client) as stub:
        stub.add_response("batch_write_item", {"UnprocessedItems": {table: writes[2:]}})
        client.batch_write_item(RequestItems={table: writes})
        charge = prices.one()
        assert (charge.quantity, status_of(charge)) == (1 + 2, ("priced", ""))
        stub.add_response("batch_write_item", {})
        client.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": {"pk": {"S": "a"}}}}]})
        assert status_of(prices.one()) == ("estimated", "size:deletes_1_unit")
        keys = [{"pk": {"S": key}} for key in "abcd"]
        stub.add_response(
            "batch_get_item",
            {
                "Responses": {table: [_item("a", 4 * KB), _item("b", 4 * KB + 1)]},
                "UnprocessedKeys": {table: {"Keys": keys[3:]}},
            },
        )
        client.batch_get_item(RequestItems={table: {"Keys": keys}})
        charge = prices.one()
        assert (charge.quantity, status_of(charge)) == (0.5 + 1.0 + 0.5, ("priced", ""))  # c does not exist, d not done


def test_transactions_count_double_per_table(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": table, "Item": _item(key, size)}} for key, size in (("a", 10), ("b", 2000))
        ]
    )
    charge = prices.one()
    assert (charge.quantity, status_of(charge), charge.line.resource) == (2 * (1 + 2), ("priced", ""), table)
    client.transact_get_items(TransactItems=[{"Get": {"TableName": table, "Key": {"pk": {"S": "b"}}}}])
    charge = prices.one()
    assert (charge.quantity, charge.usd) == (2, pytest.approx(2 * _RRU_USD))


def test_failed_condition_is_billed_by_the_item_that_stands(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    client.put_item(TableName=table, Item=_item("a", 100))
    prices.take()
    with pytest.raises(ClientError):
        client.put_item(TableName=table, Item=_item("a", 5 * KB), ConditionExpression="attribute_not_exists(pk)")
    charge = prices.one()
    assert (charge.quantity, status_of(charge)) == (1, ("estimated", "size:1_unit"))


def test_refused_call_is_free(moto: MotoServer, prices: Prices) -> None:
    with pytest.raises(ClientError):
        moto.client("dynamodb").put_item(TableName="no_such_table", Item=_item("a", 100))
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_failing_hook_is_counted_and_the_call_is_made(moto: MotoServer, prices: Prices, table: str) -> None:
    class Odd(dict[str, Any]):
        def values(self) -> Any:
            raise RuntimeError("odd")

    failures: list[str] = []
    capture_facts.connect(None, failures.append)
    moto.client("dynamodb").put_item(TableName=table, Item=Odd(_item("a", 100)))
    assert failures == ["capture.botocore"]
    charge = prices.one()
    assert status_of(charge) == ("estimated", "size:1_unit")


@pytest.mark.parametrize(("size_bytes", "units"), [(300 * KB, 300), (300 * KB + 1, 301)])
def test_put_of_300_kb_costs_300_units_or_301(
    moto: MotoServer, prices: Prices, table: str, size_bytes: int, units: int
) -> None:
    moto.client("dynamodb").put_item(TableName=table, Item=_item("a", size_bytes))
    assert prices.one().usd == pytest.approx(units * _WRU_USD)


def test_each_page_of_a_query_is_a_charge(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("dynamodb")
    client.create_table(
        TableName="lines",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for key in "abc":
        client.put_item(TableName="lines", Item={**_item("o", 5 * KB), "sk": {"S": key}})
    prices.take()
    pages = client.get_paginator("query").paginate(
        TableName="lines",
        KeyConditionExpression="pk = :k",
        ExpressionAttributeValues={":k": {"S": "o"}},
        PaginationConfig={"PageSize": 2},
    )
    assert [page["Count"] for page in pages] == [2, 1]
    # Two items of 5 KB and 3 bytes are 3 started 4 KB, one is 2; half a unit each.
    assert [charge.usd for charge in prices.take()] == [pytest.approx(1.5 * _RRU_USD), pytest.approx(1.0 * _RRU_USD)]


def test_polls_of_a_waiter_are_free(moto: MotoServer, prices: Prices, table: str) -> None:
    moto.client("dynamodb").get_waiter("table_exists").wait(TableName=table)
    assert [status_of(charge) for charge in prices.take()] == [("free", "")]


def test_total_of_a_capacity_by_indexes_is_counted_once(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    by_index = {
        "TableName": table,
        "CapacityUnits": 5.0,
        "Table": {"CapacityUnits": 2.0},
        "GlobalSecondaryIndexes": {"by_day": {"CapacityUnits": 2.0}},
        "LocalSecondaryIndexes": {"by_size": {"CapacityUnits": 1.0}},
    }
    with Stubber(client) as stub:
        stub.add_response("put_item", {"ConsumedCapacity": by_index})
        client.put_item(TableName=table, Item=_item("a", 100), ReturnConsumedCapacity="INDEXES")
    assert prices.one().usd == pytest.approx(5 * _WRU_USD)


def test_capacity_without_a_total_leaves_the_sizes(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    with Stubber(client) as stub:
        stub.add_response("put_item", {"ConsumedCapacity": {"TableName": table}})
        client.put_item(TableName=table, Item=_item("a", 2 * KB), ReturnConsumedCapacity="TOTAL")
    assert prices.one().quantity == 2


def test_transaction_sent_again_with_its_token_is_billed_as_a_read(
    moto: MotoServer, prices: Prices, table: str
) -> None:
    client = moto.client("dynamodb")
    with Stubber(client) as stub:
        stub.add_response(
            "transact_write_items",
            {"ConsumedCapacity": [{"TableName": table, "CapacityUnits": 2.0, "ReadCapacityUnits": 2.0}]},
        )
        client.transact_write_items(
            TransactItems=[{"Put": {"TableName": table, "Item": _item("a", 100)}}],
            ClientRequestToken="t",
            ReturnConsumedCapacity="TOTAL",
        )
    charge = prices.one()
    assert (charge.line.unit, charge.usd) == ("RRU", pytest.approx(2 * _RRU_USD))


# --- provisioned tables -------------------------------------------------------------------------

_KEYS: dict[str, Any] = {
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
}


def test_table_that_was_seen_to_be_provisioned_costs_nothing_by_the_call(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("dynamodb")
    throughput = {"ReadCapacityUnits": 5, "WriteCapacityUnits": 5}
    client.create_table(TableName="hourly", ProvisionedThroughput=throughput, **_KEYS)
    prices.take()
    client.put_item(TableName="hourly", Item=_item("a", 3 * KB))
    charge = prices.one()
    assert (status_of(charge), charge.usd, charge.quantity) == (("free", "provisioned"), 0, 3)
    assert (charge.line.unit, charge.line.resource) == ("WRU", "hourly")
    moto.client("dynamodb", region="eu-west-1").create_table(TableName="hourly", BillingMode="PAY_PER_REQUEST", **_KEYS)
    client.get_item(TableName="hourly", Key={"pk": {"S": "a"}})
    assert status_of(prices.take()[-1]) == ("free", "provisioned")  # a table of that name elsewhere is another one
    client.update_table(TableName="hourly", BillingMode="PAY_PER_REQUEST")
    prices.take()
    client.put_item(TableName="hourly", Item=_item("a", 3 * KB))
    assert prices.one().usd == pytest.approx(3 * _WRU_USD)


def test_description_of_a_table_is_enough_to_know_its_mode(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("dynamodb")
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/described"
    with Stubber(client) as stub:
        for description, status in (
            ({"ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}, ("free", "provisioned")),
            ({"ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0}}, ("priced", "")),
            ({"BillingModeSummary": {"BillingMode": "PROVISIONED"}}, ("free", "provisioned")),
            (
                {
                    "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
                    "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS"},
                },
                ("estimated", "table_class:STANDARD"),
            ),
        ):
            stub.add_response("describe_table", {"Table": {"TableArn": arn, **description}})
            client.describe_table(TableName="described")
            prices.take()
            stub.add_response("put_item", {})
            client.put_item(TableName="described", Item=_item("a", 100))
            assert status_of(prices.one()) == status


# --- capacity that the application did not ask for ----------------------------------------------


@pytest.fixture
def injecting() -> Generator[None]:
    capture.inject_capacity(True)
    yield
    capture.inject_capacity(False)


def _sent(client: Any) -> list[dict[str, Any]]:
    """The bodies of the client's calls, as they go out."""
    bodies: list[dict[str, Any]] = []

    def keep(params: dict[str, Any], **_: Any) -> None:
        bodies.append(json.loads(params["body"]))

    client.meta.events.register("before-call.dynamodb", keep)
    return bodies


_KEY = {"pk": {"S": "a"}}
_BY_KEY: dict[str, Any] = {"KeyConditionExpression": "pk = :k", "ExpressionAttributeValues": {":k": {"S": "a"}}}
_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("put_item", {"TableName": "orders", "Item": {"pk": {"S": "a"}, "v": {"S": "x" * 3000}}}),
    ("get_item", {"TableName": "orders", "Key": _KEY}),
    ("query", {"TableName": "orders", **_BY_KEY}),
    ("scan", {"TableName": "orders"}),
    ("update_item", {"TableName": "orders", "Key": _KEY, "UpdateExpression": "REMOVE v"}),
    ("batch_get_item", {"RequestItems": {"orders": {"Keys": [_KEY]}}}),
    ("batch_write_item", {"RequestItems": {"orders": [{"PutRequest": {"Item": _KEY}}]}}),
    ("transact_get_items", {"TransactItems": [{"Get": {"TableName": "orders", "Key": _KEY}}]}),
    ("transact_write_items", {"TransactItems": [{"Put": {"TableName": "orders", "Item": _KEY}}]}),
    ("execute_statement", {"Statement": "SELECT * FROM orders"}),
    ("delete_item", {"TableName": "orders", "Key": _KEY}),
]


@pytest.mark.usefixtures("injecting")
@pytest.mark.parametrize(("method", "arguments"), _CALLS)
def test_injected_capacity_is_sent_and_the_application_does_not_see_it(
    moto: MotoServer, prices: Prices, table: str, method: str, arguments: dict[str, Any]
) -> None:
    client = moto.client("dynamodb")
    sent = _sent(client)
    before = copy.deepcopy(arguments)
    answer = getattr(client, method)(**arguments)
    assert [body["ReturnConsumedCapacity"] for body in sent] == ["TOTAL"]
    assert "ConsumedCapacity" not in answer
    assert arguments == before
    assert prices.one().line.resource in (table, "")


@pytest.mark.usefixtures("injecting")
def test_injected_capacity_is_what_is_charged(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    with Stubber(client) as stub:
        stub.add_response(
            "put_item",
            {"ConsumedCapacity": {"TableName": table, "CapacityUnits": 7.0}},
            {"TableName": table, "Item": _KEY, "ReturnConsumedCapacity": "TOTAL"},
        )
        assert client.put_item(TableName=table, Item=_KEY) == {}
        charge = prices.one()
        assert (charge.usd, status_of(charge)) == (pytest.approx(7 * _WRU_USD), ("priced", ""))
        stub.add_response(
            "batch_get_item",
            {
                "Responses": {},
                "ConsumedCapacity": [
                    {"TableName": table, "CapacityUnits": 1.5},
                    {"TableName": "lines", "CapacityUnits": 0.5},
                ],
            },
        )
        keys = {"Keys": [_KEY]}
        assert client.batch_get_item(RequestItems={table: keys, "lines": keys}) == {"Responses": {}}
        assert [(charge.line.resource, charge.quantity) for charge in prices.take()] == [(table, 1.5), ("lines", 0.5)]


@pytest.mark.usefixtures("injecting")
@pytest.mark.parametrize("asked", ["TOTAL", "INDEXES"])
def test_capacity_that_the_application_asked_for_stays_in_the_answer(
    moto: MotoServer, prices: Prices, table: str, asked: str
) -> None:
    client = moto.client("dynamodb")
    sent = _sent(client)
    answer = client.put_item(TableName=table, Item=_item("a", 100), ReturnConsumedCapacity=asked)
    assert answer["ConsumedCapacity"]["CapacityUnits"] == prices.one().quantity
    assert [body["ReturnConsumedCapacity"] for body in sent] == [asked]
    client.put_item(TableName=table, Item=_item("a", 100), ReturnConsumedCapacity="NONE")
    assert sent[-1]["ReturnConsumedCapacity"] == "NONE"


@pytest.mark.usefixtures("injecting")
def test_boto3_resource_and_its_batch_writer_do_not_see_the_capacity(
    moto: MotoServer, prices: Prices, table: str
) -> None:
    orders = _resource(moto).Table(table)
    sent = _sent(orders.meta.client)
    assert "ConsumedCapacity" not in orders.put_item(Item={"pk": "a", "v": "x" * (2 * KB)})
    assert orders.get_item(Key={"pk": "a"})["Item"]["pk"] == "a"
    with orders.batch_writer() as batch:
        for number in range(30):  # two calls: 25 and 5
            batch.put_item(Item={"pk": str(number)})
    assert orders.query(KeyConditionExpression=Key("pk").eq("a"))["Count"] == 1
    assert [body["ReturnConsumedCapacity"] for body in sent] == ["TOTAL"] * 5
    assert len(prices.take()) == 5


@pytest.mark.usefixtures("injecting")
def test_paginator_gives_the_same_result_with_injected_capacity(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    for key in "abc":
        client.put_item(TableName=table, Item=_item(key, 100))

    def scanned() -> dict[str, Any]:
        pages = client.get_paginator("scan").paginate(TableName=table, PaginationConfig={"PageSize": 1})
        return pages.build_full_result()

    prices.take()
    with_capacity = scanned()
    charged = len(prices.take())
    capture.inject_capacity(False)
    assert with_capacity == scanned()
    assert len(prices.take()) == charged


@pytest.mark.usefixtures("injecting")
def test_dictionary_passed_below_the_client_is_given_back_as_it_was(
    moto: MotoServer, prices: Prices, table: str
) -> None:
    client = moto.client("dynamodb")
    own: dict[str, Any] = {"TableName": table, "Item": _item("a", 100)}
    before = copy.deepcopy(own)
    assert "ConsumedCapacity" not in client._make_api_call("PutItem", own)
    assert own == before
    own["ConditionExpression"] = "attribute_not_exists(pk)"
    with pytest.raises(ClientError) as raised:
        client._make_api_call("PutItem", own)
    assert "ReturnConsumedCapacity" not in own
    assert "ConsumedCapacity" not in raised.value.response
    assert len(prices.take()) == 2


@pytest.mark.usefixtures("injecting")
def test_calls_without_the_parameter_are_sent_as_they_are(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    sent = _sent(client)
    client.describe_table(TableName=table)
    client.list_tables()
    assert not any("ReturnConsumedCapacity" in body for body in sent)
    assert {status_of(charge) for charge in prices.take()} == {("free", "")}


@pytest.mark.usefixtures("injecting")
def test_old_botocore_is_not_asked_for_the_capacity_of_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.__version__", "1.29.5")
    params: dict[str, Any] = {"Statement": "SELECT * FROM orders"}
    capture.request({}, "ExecuteStatement", params)
    assert "ReturnConsumedCapacity" not in params
    item: dict[str, Any] = {"TableName": "orders", "Item": {}}
    capture.request({}, "PutItem", item)
    assert item["ReturnConsumedCapacity"] == "TOTAL"


def test_every_operation_that_can_report_its_capacity_is_asked_to() -> None:
    model: Any = botocore.session.get_session().get_service_model("dynamodb")
    reporting = {
        name
        for name in model.operation_names
        if "ReturnConsumedCapacity" in model.operation_model(name).input_shape.members
    }
    assert reporting - {"SearchVectors"} == capture._REPORTING  # pyright: ignore[reportPrivateUsage]


def test_nothing_is_injected_unless_asked(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    sent = _sent(client)
    client.put_item(TableName=table, Item=_item("a", 100))
    assert "ReturnConsumedCapacity" not in sent[0]
    assert prices.one().quantity == 1

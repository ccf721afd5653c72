"""Real boto3 calls under the real instrumentation, against moto's server, priced when the span ends."""

from __future__ import annotations

import base64
import io
import tempfile
import threading
from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.threading import ThreadingInstrumentor
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider

from spancost.capture import aws as hooks
from spancost.capture import facts as capture_facts
from spancost.charge import CLIENT, Charge, SpanView
from spancost.meters.aws import AwsMeter
from spancost.prices.book import PriceBook
from tests.support.moto_server import MotoServer, moto_server

KB = 1024
MB = 1024 * KB
_PUT_USD, _GET_USD = 5e-6, 4e-7
_RRU_USD, _WRU_USD = 1.25e-7, 6.25e-7
_SQS_USD, _SNS_USD, _INVOKE_USD = 4e-7, 5e-7, 2e-7


class Prices(SpanProcessor):
    """Gives each span a node for facts and prices it when it ends."""

    def __init__(self) -> None:
        self.meter = AwsMeter(PriceBook.shipped())
        self.spans: list[tuple[str, dict[str, Any], Sequence[Charge]]] = []
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: otel_context.Context | None = None) -> None:
        setattr(span, capture_facts.NODE_ATTRIBUTE, SimpleNamespace(facts=None))

    def _on_ending(self, span: Span) -> None:
        facts: dict[str, Any] = getattr(span, capture_facts.NODE_ATTRIBUTE).facts or {}
        view = SpanView(
            span.name,
            CLIENT,
            "",
            dict(span.attributes or {}),
            span.start_time or 0,
            span.end_time or 0,
            facts,
            not span.status.is_ok,
        )
        with self._lock:
            self.spans.append((span.name, facts, self.meter.measure(view)))

    def take(self) -> list[Charge]:
        """The charges since the last call."""
        with self._lock:
            spans, self.spans = self.spans, []
        return [charge for _, _, charges in spans for charge in charges]

    def one(self) -> Charge:
        (charge,) = self.take()
        return charge


@pytest.fixture(scope="module")
def moto() -> Generator[MotoServer]:
    with moto_server() as server:
        yield server


@pytest.fixture
def prices() -> Generator[Prices]:
    prices = Prices()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(prices)
    capture_facts.connect(None, prices.failures.append)
    instrumentor: Any = BotocoreInstrumentor()
    instrumentor.instrument(
        tracer_provider=provider, request_hook=hooks.request_hook, response_hook=hooks.response_hook
    )
    try:
        yield prices
        assert prices.failures == []
    finally:
        instrumentor.uninstrument()
        capture_facts.connect(None, None)
        provider.shutdown()


def _status(charge: Charge) -> tuple[str, str]:
    return charge.line.status, charge.line.basis


# --- DynamoDB -----------------------------------------------------------------------------------


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
    assert (_status(charge), charge.line.resource) == (("priced", ""), table)


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
    assert (charge.usd, _status(charge)) == (pytest.approx(2 * units * _RRU_USD), ("priced", ""))
    client.get_item(TableName=table, Key={"pk": {"S": "nobody"}})
    assert prices.one().usd == pytest.approx(0.5 * _RRU_USD)
    client.get_item(TableName=table, Key={"pk": {"S": "a"}}, ProjectionExpression="pk")
    assert _status(prices.one()) == ("estimated", "size:projection")


def test_boto3_resource_is_sized_like_the_client(moto: MotoServer, prices: Prices, table: str) -> None:
    session: Any = boto3.session.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    orders = session.resource("dynamodb", endpoint_url=moto.url).Table(table)
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
        assert (charge.quantity, _status(charge)) == (3, ("priced", ""))
        stub.add_response("update_item", {})
        client.update_item(
            TableName=table,
            Key={"pk": {"S": "a"}},
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"S": "x" * KB}},
        )
        charge = prices.one()
        assert (charge.quantity, _status(charge)) == (2, ("estimated", "size:update"))
    client.delete_item(TableName=table, Key={"pk": {"S": "a"}}, ReturnValues="ALL_OLD")
    charge = prices.one()
    assert (charge.quantity, _status(charge)) == (3, ("priced", ""))
    client.delete_item(TableName=table, Key={"pk": {"S": "a"}})
    assert _status(prices.one()) == ("estimated", "size:1_unit")


def test_query_and_scan_cost_the_sum_of_what_they_read(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    for key in "abc":
        client.put_item(TableName=table, Item=_item(key, 3 * KB))
    prices.take()
    client.scan(TableName=table)
    charge = prices.one()
    assert (charge.quantity, _status(charge)) == (3 * 0.5, ("priced", ""))  # 9 KB = 3 started 4 KB
    client.query(
        TableName=table,
        KeyConditionExpression="pk = :k",
        ExpressionAttributeValues={":k": {"S": "a"}},
        ConsistentRead=True,
    )
    assert prices.one().quantity == 1
    client.scan(TableName=table, FilterExpression="pk = :k", ExpressionAttributeValues={":k": {"S": "a"}})
    charge = prices.one()
    assert (charge.quantity, _status(charge)) == (3 * 0.5, ("estimated", "size:average_item"))


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
        assert (charge.quantity, _status(charge)) == (1 + 2, ("priced", ""))
        stub.add_response("batch_write_item", {})
        client.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": {"pk": {"S": "a"}}}}]})
        assert _status(prices.one()) == ("estimated", "size:deletes_1_unit")
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
        assert (charge.quantity, _status(charge)) == (0.5 + 1.0 + 0.5, ("priced", ""))  # c does not exist, d not done


def test_transactions_count_double_per_table(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": table, "Item": _item(key, size)}} for key, size in (("a", 10), ("b", 2000))
        ]
    )
    charge = prices.one()
    assert (charge.quantity, _status(charge), charge.line.resource) == (2 * (1 + 2), ("priced", ""), table)
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
    assert (charge.quantity, _status(charge)) == (1, ("estimated", "size:1_unit"))


def test_refused_call_is_free(moto: MotoServer, prices: Prices) -> None:
    with pytest.raises(ClientError):
        moto.client("dynamodb").put_item(TableName="no_such_table", Item=_item("a", 100))
    assert _status(prices.one()) == ("free", "not_billed:error")


def test_statement_tells_reads_from_writes(moto: MotoServer, prices: Prices, table: str) -> None:
    client = moto.client("dynamodb")
    with Stubber(client) as stub:
        stub.add_response("execute_statement", {"Items": [_item("a", 4 * KB + 1)]})
        client.execute_statement(Statement=f'select * from "{table}"')
        assert prices.one().usd == pytest.approx(1.0 * _RRU_USD)
        stub.add_response("execute_statement", {})
        client.execute_statement(Statement=f"INSERT INTO \"{table}\" VALUE {{'pk': 'z'}}")
        charge = prices.one()
        assert (charge.usd, _status(charge)) == (pytest.approx(_WRU_USD), ("estimated", "size:1_unit"))
        stub.add_response("batch_execute_statement", {})
        client.batch_execute_statement(Statements=[{"Statement": f'DELETE FROM "{table}" WHERE pk = ?'}] * 3)
        assert prices.one().quantity == 3


# --- S3 -----------------------------------------------------------------------------------------


@pytest.fixture
def bucket(moto: MotoServer, prices: Prices) -> str:
    moto.client("s3").create_bucket(Bucket="pictures")
    prices.take()
    return "pictures"


def test_put_get_list_and_delete_cost_their_tier(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="a", Body=b"x" * 5000)
    charge = prices.one()
    assert (charge.usd, _status(charge), charge.line.resource) == (pytest.approx(_PUT_USD), ("priced", ""), bucket)
    client.get_object(Bucket=bucket, Key="a")["Body"].read()
    charge = prices.one()
    assert (charge.usd, _status(charge)) == (pytest.approx(_GET_USD), ("priced", ""))
    client.list_objects_v2(Bucket=bucket)
    assert prices.one().usd == pytest.approx(_PUT_USD)
    client.delete_object(Bucket=bucket, Key="a")
    assert _status(prices.one()) == ("free", "")


def test_storage_class_is_read_from_the_call_and_from_the_answer(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="ia", Body=b"x" * 5000, StorageClass="STANDARD_IA")
    assert prices.one().usd == pytest.approx(1e-5)
    client.get_object(Bucket=bucket, Key="ia")["Body"].read()
    request, retrieval = prices.take()
    assert request.usd == pytest.approx(1e-6)
    assert retrieval.usd == pytest.approx(0.01 * 5000 / 2**30)
    client.get_object(Bucket=bucket, Key="ia", Range="bytes=0-99")["Body"].read()
    _, retrieval = prices.take()
    assert retrieval.usd == pytest.approx(0.01 * 100 / 2**30)


@pytest.mark.parametrize(("storage_class", "usd"), [("STANDARD", _PUT_USD), ("STANDARD_IA", 1e-5)])
def test_each_part_of_an_upload_in_threads_is_a_request_of_its_class(
    moto: MotoServer, prices: Prices, bucket: str, storage_class: str, usd: float
) -> None:
    threads: Any = ThreadingInstrumentor()
    threads.instrument()
    try:
        moto.client("s3").upload_fileobj(
            io.BytesIO(b"x" * (12 * MB)),
            bucket,
            "big",
            ExtraArgs={"StorageClass": storage_class},
            Config=TransferConfig(multipart_threshold=5 * MB, multipart_chunksize=5 * MB, max_concurrency=2),
        )
    finally:
        threads.uninstrument()
    sizes = [facts.get("aws.request_bytes") for name, facts, _ in prices.spans if name == "S3.UploadPart"]
    assert sorted(size or 0 for size in sizes) == [2 * MB, 5 * MB, 5 * MB]
    charges = prices.take()
    assert [charge.usd for charge in charges] == [pytest.approx(usd)] * 5  # create, three parts, complete
    assert {_status(charge) for charge in charges} == {("priced", "")}


def test_missing_key_is_billed(moto: MotoServer, prices: Prices, bucket: str) -> None:
    with pytest.raises(ClientError):
        moto.client("s3").get_object(Bucket=bucket, Key="nothing")
    charge = prices.one()
    assert (charge.usd, _status(charge)) == (pytest.approx(_GET_USD), ("priced", ""))


def test_body_is_measured_without_being_read(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 3000)
        file.seek(1000)
        client.put_object(Bucket=bucket, Key="file", Body=file)
    memory = io.BytesIO(b"x" * 3000)
    memory.seek(500)
    client.put_object(Bucket=bucket, Key="memory", Body=memory)
    assert [facts["aws.request_bytes"] for _, facts, _ in prices.spans] == [2000, 2500]
    assert client.head_object(Bucket=bucket, Key="file")["ContentLength"] == 2000


# --- SQS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size_bytes", "requests"), [(64 * KB, 1), (64 * KB + 1, 2)])
def test_send_and_receive_cost_their_64_kb(moto: MotoServer, prices: Prices, size_bytes: int, requests: int) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName=f"jobs-{size_bytes}")["QueueUrl"]
    assert prices.one().usd == pytest.approx(_SQS_USD)
    client.send_message(QueueUrl=url, MessageBody="x" * size_bytes)
    charge = prices.one()
    assert (charge.usd, _status(charge)) == (pytest.approx(requests * _SQS_USD), ("priced", ""))
    assert charge.line.resource == f"jobs-{size_bytes}"
    (message,) = client.receive_message(QueueUrl=url)["Messages"]
    assert prices.one().usd == pytest.approx(requests * _SQS_USD)
    client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert prices.one().usd == pytest.approx(_SQS_USD)
    client.receive_message(QueueUrl=url)
    charge = prices.one()
    assert (charge.usd, _status(charge)) == (pytest.approx(_SQS_USD), ("priced", ""))  # empty, and billed


def test_batch_is_one_request_per_64_kb_of_all_messages(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="batches")["QueueUrl"]
    prices.take()

    def send(size_bytes: int) -> Charge:
        client.send_message_batch(
            QueueUrl=url, Entries=[{"Id": str(index), "MessageBody": "x" * size_bytes} for index in range(10)]
        )
        return prices.one()

    assert send(6 * KB).quantity == 1
    assert send(7 * KB).quantity == 2


def test_message_attributes_count_as_payload(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    url = client.create_queue(QueueName="attributes")["QueueUrl"]
    prices.take()
    attributes = {"k": {"DataType": "String", "StringValue": "v"}}  # 1 + 6 + 1 bytes
    client.send_message(QueueUrl=url, MessageBody="x" * (64 * KB - 8), MessageAttributes=attributes)
    assert prices.one().quantity == 1
    client.send_message(QueueUrl=url, MessageBody="x" * (64 * KB - 7), MessageAttributes=attributes)
    assert prices.one().quantity == 2


def test_fifo_queue_and_message_group_have_their_rates(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sqs")
    fifo = client.create_queue(QueueName="jobs.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
    plain = client.create_queue(QueueName="fair")["QueueUrl"]
    prices.take()
    client.send_message(QueueUrl=fifo, MessageBody="x", MessageGroupId="g", MessageDeduplicationId="d")
    assert prices.one().usd == pytest.approx(5e-7)
    with Stubber(client) as stub:  # moto refuses groups on standard queues
        stub.add_response("send_message", {})
        client.send_message(QueueUrl=plain, MessageBody="x", MessageGroupId="g")
    base, surcharge = prices.take()
    assert (base.usd, surcharge.usd) == (pytest.approx(_SQS_USD), pytest.approx(1e-7))


# --- SNS ----------------------------------------------------------------------------------------


def test_publish_costs_its_64_kb_and_carries_the_trace_header(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("sns")
    arn = client.create_topic(Name="news")["TopicArn"]
    assert prices.one().usd == pytest.approx(_SNS_USD)
    client.publish(TopicArn=arn, Message="x" * (60 * KB))
    charge = prices.one()
    assert (charge.usd, _status(charge), charge.line.resource) == (pytest.approx(_SNS_USD), ("priced", ""), "news")
    client.publish(TopicArn=arn, Message="x" * (64 * KB + 1))
    assert prices.one().usd == pytest.approx(2 * _SNS_USD)
    entries = [{"Id": str(index), "Message": "x" * (30 * KB)} for index in range(3)]
    client.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
    assert prices.one().usd == pytest.approx(2 * _SNS_USD)


def test_sms_is_unpriced_and_its_number_is_not_kept(moto: MotoServer, prices: Prices) -> None:
    moto.client("sns").publish(PhoneNumber="+15550100", Message="hello")
    assert "15550100" not in repr(prices.spans[-1][1])
    charge = prices.one()
    assert (charge.line.status, charge.line.reason) == ("unpriced", "no_price")


# --- Lambda -------------------------------------------------------------------------------------

_LOG_TAIL = (
    b"START RequestId: 1 Version: $LATEST\nEND RequestId: 1\n"
    b"REPORT RequestId: 1\tDuration: 102.25 ms\tBilled Duration: 103 ms\tMemory Size: 512 MB\tMax Memory Used: 36 MB\n"
)


def _payload() -> StreamingBody:
    return StreamingBody(io.BytesIO(b"{}"), 2)


def test_log_tail_tells_the_billed_duration(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        log = base64.b64encode(_LOG_TAIL).decode()
        stub.add_response("invoke", {"StatusCode": 200, "LogResult": log, "Payload": _payload()})
        arn = "arn:aws:lambda:us-east-1:123456789012:function:resize:live"
        client.invoke(FunctionName=arn, LogType="Tail", Payload=b"{}")
    request, duration = prices.take()
    assert (request.usd, request.line.resource) == (pytest.approx(_INVOKE_USD), "resize")
    assert duration.usd == pytest.approx(0.5 * 0.103 * 0.0000166667)


def test_asynchronous_invocation_costs_its_chunks(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        for size_bytes, requests in ((256 * KB, 1), (256 * KB + 1, 2)):
            stub.add_response("invoke", {"StatusCode": 202, "Payload": _payload()})
            client.invoke(FunctionName="resize", InvocationType="Event", Payload=b"x" * size_bytes)
            charge = prices.one()
            assert (charge.usd, _status(charge)) == (pytest.approx(requests * _INVOKE_USD), ("priced", ""))


# --- calls without an answer, and the guard -----------------------------------------------------


def test_call_to_a_closed_port_is_free(prices: Prices) -> None:
    session: Any = boto3.session.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1"
    )
    no_retries = Config(retries={"total_max_attempts": 1})
    client = session.client("sqs", endpoint_url="http://127.0.0.1:9", config=no_retries)
    with pytest.raises(EndpointConnectionError):
        client.list_queues()
    assert _status(prices.one()) == ("free", "not_sent")


def test_call_with_wrong_parameters_is_free(moto: MotoServer, prices: Prices) -> None:
    with pytest.raises(ParamValidationError):
        moto.client("dynamodb").get_item(TableName="t")
    assert _status(prices.one()) == ("free", "not_sent")


class _Node:
    """A span as far as the hooks see it."""

    def __init__(self) -> None:
        self._spancost_node = SimpleNamespace(facts=None)


@pytest.mark.parametrize("service", ["s3", "dynamodb", "sqs", "sns", "lambda", "kms"])
@pytest.mark.parametrize(
    "operation", ["PutItem", "BatchGetItem", "SendMessageBatch", "Publish", "Invoke", "UploadPart"]
)
@pytest.mark.parametrize("params", [None, {}, {"Item": 1, "RequestItems": [], "Entries": 3, "Body": 5}, [], "x", 1.5])
def test_hooks_never_raise_and_change_nothing(service: str, operation: str, params: Any) -> None:
    failures: list[str] = []
    capture_facts.connect(None, failures.append)
    before = repr(params)
    try:
        span = _Node()
        hooks.request_hook(span, service, operation, params)
        hooks.response_hook(span, service, operation, params)
    finally:
        capture_facts.connect(None, None)
    assert repr(params) == before
    assert set(failures) <= {"capture.botocore"}


def test_failing_hook_is_counted_and_the_call_is_made(moto: MotoServer, prices: Prices, table: str) -> None:
    class Odd(dict[str, Any]):
        def values(self) -> Any:
            raise RuntimeError("odd")

    failures: list[str] = []
    capture_facts.connect(None, failures.append)
    moto.client("dynamodb").put_item(TableName=table, Item=Odd(_item("a", 100)))
    assert failures == ["capture.botocore"]
    charge = prices.one()
    assert _status(charge) == ("estimated", "size:1_unit")


def test_spans_without_a_node_are_left_alone() -> None:
    hooks.request_hook(None, "s3", "PutObject", {"Bucket": "b"})
    hooks.response_hook(object(), "s3", "PutObject", {})

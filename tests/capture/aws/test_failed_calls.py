"""Which refused calls are billed, service by service, under the real instrumentation."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tests.capture.aws.pricing import Prices, status_of
from tests.support.moto_server import MotoServer

_GET_USD, _PUT_USD = 4e-7, 5e-6
_RRU_USD, _WRU_USD = 1.25e-7, 6.25e-7
_SQS_USD, _FIFO_USD, _SNS_USD = 4e-7, 5e-7, 5e-7

_FREE = ("free", "not_billed:error")
_COUNTED = ("estimated", "failed_request")

_GET = ("s3", "get_object", {"Bucket": "b", "Key": "k"})
_PUT = ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x"})
_DELETE = ("s3", "delete_object", {"Bucket": "b", "Key": "k"})
_ITEM = ("dynamodb", "put_item", {"TableName": "t", "Item": {"pk": {"S": "x" * 5000}}})
_READ = ("dynamodb", "get_item", {"TableName": "t", "Key": {"pk": {"S": "x"}}})
_TRANSACTION = ("dynamodb", "transact_write_items", {"TransactItems": [{"Put": {**_ITEM[2]}}]})
_SEND = ("sqs", "send_message", {"QueueUrl": "https://sqs/1/q", "MessageBody": "x"})
_SEND_FIFO = ("sqs", "send_message", {"QueueUrl": "https://sqs/1/q.fifo", "MessageBody": "x", "MessageGroupId": "g"})
_PUBLISH = ("sns", "publish", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Message": "x"})
_INVOKE = ("lambda", "invoke", {"FunctionName": "f"})


@pytest.mark.parametrize(
    ("call", "code", "status", "usd", "known"),
    [
        (_GET, "NoSuchKey", 404, _GET_USD, ("priced", "")),
        (_GET, "AccessDenied", 403, _GET_USD, ("priced", "")),
        (_GET, "304", 304, _GET_USD, ("priced", "")),
        (_GET, "InternalError", 500, 0, _FREE),
        (_GET, "SlowDown", 503, 0, _FREE),
        (_PUT, "PreconditionFailed", 412, _PUT_USD, ("priced", "")),
        (_PUT, "SlowDown", 503, 0, _FREE),
        (_DELETE, "AccessDenied", 403, 0, ("free", "")),
        (_ITEM, "ConditionalCheckFailedException", 400, _WRU_USD, ("estimated", "size:1_unit")),
        (_ITEM, "ProvisionedThroughputExceededException", 400, 0, _FREE),
        (_ITEM, "ValidationException", 400, 0, _FREE),
        (_ITEM, "InternalServerError", 500, 0, _FREE),
        (_READ, "ResourceNotFoundException", 400, 0, _FREE),
        (_TRANSACTION, "TransactionCanceledException", 400, 2 * 5 * _WRU_USD, ("priced", "")),
        (_TRANSACTION, "TransactionInProgressException", 400, 0, _FREE),
        (_SEND, "QueueDoesNotExist", 400, _SQS_USD, _COUNTED),
        (_SEND, "RequestThrottled", 403, 0, _FREE),
        (_SEND, "ServiceUnavailable", 503, 0, _FREE),
        (_SEND_FIFO, "InvalidMessageContents", 400, _FIFO_USD, _COUNTED),
        (_PUBLISH, "NotFound", 404, _SNS_USD, _COUNTED),
        (_PUBLISH, "Throttled", 429, 0, _FREE),
        (_PUBLISH, "InternalError", 500, 0, _FREE),
        (_INVOKE, "ResourceNotFoundException", 404, 0, _FREE),
        (_INVOKE, "TooManyRequestsException", 429, 0, _FREE),
        (_INVOKE, "ServiceException", 500, 0, _FREE),
    ],
)
def test_refused_call_costs_what_the_service_bills_for_it(
    moto: MotoServer,
    prices: Prices,
    call: tuple[str, str, dict[str, Any]],
    code: str,
    status: int,
    usd: float,
    known: tuple[str, str],
) -> None:
    service, method, arguments = call
    client = moto.client(service)
    with Stubber(client) as stub:
        stub.add_client_error(method, code, http_status_code=status)
        with pytest.raises(ClientError):
            getattr(client, method)(**arguments)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(usd), known)

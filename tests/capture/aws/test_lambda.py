"""Lambda: real boto3 calls, answered by a stub."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from tests.capture.aws.pricing import KB, Prices, status_of
from tests.support.moto_server import MotoServer

_INVOKE_USD = 2e-7


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
        for size_bytes, requests in ((256 * KB, 1), (256 * KB + 1, 2), (320 * KB, 2), (320 * KB + 1, 3)):
            stub.add_response("invoke", {"StatusCode": 202, "Payload": _payload()})
            client.invoke(FunctionName="resize", InvocationType="Event", Payload=b"x" * size_bytes)
            charge = prices.one()
            assert (charge.usd, status_of(charge)) == (pytest.approx(requests * _INVOKE_USD), ("priced", ""))


def _invoke(client: Any, stub: Stubber, function: str) -> None:
    log = base64.b64encode(_LOG_TAIL).decode()
    stub.add_response("invoke", {"StatusCode": 200, "LogResult": log, "Payload": _payload()})
    client.invoke(FunctionName=function, LogType="Tail", Payload=b"{}")


def _configuration(name: str, *architectures: str, **more: Any) -> dict[str, Any]:
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
    return {"FunctionName": name, "FunctionArn": arn, "Architectures": list(architectures), **more}


@pytest.mark.parametrize(
    ("operation", "key"),
    [
        ("get_function", "Configuration"),
        ("get_function_configuration", ""),
        ("update_function_code", ""),
        ("list_functions", "Functions"),
    ],
)
def test_function_that_was_seen_to_run_on_arm_costs_the_arm_rate(
    moto: MotoServer, prices: Prices, operation: str, key: str
) -> None:
    client = moto.client("lambda")
    name = f"arm-{operation}"
    with Stubber(client) as stub:
        _invoke(client, stub, name)
        assert status_of(prices.take()[1]) == ("estimated", "architecture:x86")
        shown = _configuration(name, "arm64")
        answers = {"": shown, "Configuration": {key: shown}, "Functions": {key: [shown]}}
        stub.add_response(operation, answers[key])
        getattr(client, operation)(**({} if operation == "list_functions" else {"FunctionName": name}))
        assert status_of(prices.one()) == ("free", "")
        _invoke(client, stub, name)
    _, duration = prices.take()
    assert (duration.usd, status_of(duration)) == (pytest.approx(0.5 * 0.103 * 0.0000133334), ("priced", ""))


def test_function_that_was_seen_to_run_on_x86_is_priced(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        stub.add_response("get_function", {"Configuration": _configuration("plain", "x86_64")})
        client.get_function(FunctionName="plain")
        prices.take()
        _invoke(client, stub, "plain")
    _, duration = prices.take()
    assert (duration.usd, status_of(duration)) == (pytest.approx(0.5 * 0.103 * 0.0000166667), ("priced", ""))


def test_versions_on_different_processors_leave_it_open(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    versions = [_configuration("mixed", "arm64", Version="$LATEST"), _configuration("mixed", "x86_64", Version="1")]
    for version in versions:
        version["FunctionArn"] += ":" + version["Version"]
    with Stubber(client) as stub:
        stub.add_response("list_versions_by_function", {"Versions": versions})
        client.list_versions_by_function(FunctionName="mixed")
        prices.take()
        _invoke(client, stub, "mixed")
    assert status_of(prices.take()[1]) == ("estimated", "architecture:x86")


def test_storage_over_512_mb_is_charged_with_the_duration(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        configuration = _configuration("large", "x86_64", EphemeralStorage={"Size": 1536})
        stub.add_response("get_function", {"Configuration": configuration})
        client.get_function(FunctionName="large")
        prices.take()
        _invoke(client, stub, "large")
    _, _, storage = prices.take()
    assert storage.usd == pytest.approx(1.0 * 0.103 * 0.0000000309)


def test_streamed_response_is_taken_to_be_short(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        stub.add_response("invoke_with_response_stream", {"StatusCode": 200})
        client.invoke_with_response_stream(FunctionName="stream", Payload=b"{}")
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_INVOKE_USD), ("estimated", "response:6_MB"))


def test_dry_run_and_refused_invocation_are_free(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        stub.add_response("invoke", {"StatusCode": 204, "Payload": _payload()})
        client.invoke(FunctionName="resize", InvocationType="DryRun")
    assert status_of(prices.one()) == ("free", "")
    with pytest.raises(ClientError):
        client.invoke(FunctionName="nobody")
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_error_inside_the_function_is_billed(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("lambda")
    with Stubber(client) as stub:
        stub.add_response("invoke", {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": _payload()})
        client.invoke(FunctionName="resize", Payload=b"{}")
    assert prices.one().usd == pytest.approx(_INVOKE_USD)

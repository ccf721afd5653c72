"""Whole calls to moto's server, one service after the other: what is sent is what is charged."""

from __future__ import annotations

import time

import pytest

from spancost.charge import Charge
from tests.capture.aws.pricing import KB, Prices
from tests.capture.aws.stubbed import answered, stubbed_client
from tests.support.moto_server import MotoServer

GB = 2**30


def _known(charge: Charge) -> tuple[str, str, str]:
    return charge.line.operation, charge.line.status, charge.line.reason or charge.line.basis


def test_kinesis(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("kinesis")
    for name, mode in (("on-demand", "ON_DEMAND"), ("provisioned", "PROVISIONED")):
        shards = {"ShardCount": 1} if mode == "PROVISIONED" else {}
        client.create_stream(StreamName=name, StreamModeDetails={"StreamMode": mode}, **shards)
        client.put_record(StreamName=name, Data=b"x" * (25 * KB + 1), PartitionKey="k")
    created, on_demand, _, provisioned = prices.take()
    assert _known(created) == ("kinesis.CreateStream", "free", "")
    assert on_demand.usd == pytest.approx(26 * KB / GB * 0.08, rel=1e-12)
    assert (provisioned.quantity, provisioned.line.resource) == (2, "provisioned")

    for shard in client.list_shards(StreamName="on-demand")["Shards"]:
        iterator = client.get_shard_iterator(
            StreamName="on-demand", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        client.get_records(ShardIterator=iterator["ShardIterator"])
    assert sum(charge.usd for charge in prices.take()) == pytest.approx((25 * KB + 1) / GB * 0.04, rel=1e-12)


def test_events(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("events")
    event = {"Source": "shop", "DetailType": "order", "Detail": '{"id": 1}'}
    client.put_events(Entries=[event, {**event, "Detail": '{"id": "%s"}' % ("x" * 64 * KB)}])
    client.list_rules()
    put, listed = prices.take()
    assert (put.quantity, put.usd) == (3, pytest.approx(3e-6, rel=1e-12))
    assert _known(listed) == ("events.ListRules", "free", "")


def test_keys(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("kms")
    symmetric = client.create_key()["KeyMetadata"]["KeyId"]
    long_rsa = client.create_key(KeySpec="RSA_4096", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    sealed = client.encrypt(KeyId=symmetric, Plaintext=b"x")["CiphertextBlob"]
    client.decrypt(CiphertextBlob=sealed)
    client.sign(KeyId=long_rsa, Message=b"x", SigningAlgorithm="RSASSA_PSS_SHA_256")
    assert [charge.usd * 10_000 for charge in prices.take()] == [
        pytest.approx(usd, rel=1e-12) for usd in (0.03, 0.03, 0.03, 0.03, 0.15)
    ]


def test_parameters_and_secrets(moto: MotoServer, prices: Prices) -> None:
    ssm, secrets = moto.client("ssm"), moto.client("secretsmanager")
    ssm.put_parameter(Name="/small", Value="v", Type="String", Tier="Standard")
    ssm.put_parameter(Name="/big", Value="v" * 5 * KB, Type="String", Tier="Advanced")
    ssm.get_parameters(Names=["/small", "/big"])
    secrets.create_secret(Name="db", SecretString="s")
    secrets.get_secret_value(SecretId="db")
    assert [charge.usd for charge in prices.take()] == [0] + [pytest.approx(5e-6, rel=1e-12)] * 4


def test_logs(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("logs")
    client.create_log_group(logGroupName="/shop")
    client.create_log_stream(logGroupName="/shop", logStreamName="s")
    prices.take()
    events = [{"timestamp": int(time.time() * 1000), "message": "x" * 1000}] * 10
    client.put_log_events(logGroupName="/shop", logStreamName="s", logEvents=events)
    found = prices.one()
    assert (found.line.status, found.line.unit) == ("priced", "GB")
    assert found.usd == pytest.approx(10 * 1026 / GB * 0.5, rel=1e-12)


def test_machines(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("stepfunctions")
    definition = '{"StartAt": "a", "States": {"a": {"Type": "Pass", "End": true}}}'
    role = "arn:aws:iam::123456789012:role/r"
    machine = client.create_state_machine(name="orders", definition=definition, roleArn=role, type="STANDARD")
    client.start_execution(stateMachineArn=machine["stateMachineArn"])
    created, started = prices.take()
    assert _known(created) == ("stepfunctions.CreateStateMachine", "free", "")
    assert _known(started) == ("stepfunctions.StartExecution", "unpriced", "transitions_not_seen")


def test_metrics(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("cloudwatch")
    client.put_metric_data(Namespace="Shop", MetricData=[{"MetricName": "Orders", "Value": 1}])
    assert prices.one().usd == pytest.approx(1e-5, rel=1e-12)


def test_calls_that_manage_are_free(moto: MotoServer, prices: Prices) -> None:
    moto.client("sts").get_caller_identity()
    moto.client("ec2").describe_regions()
    moto.client("route53").list_hosted_zones()
    moto.client("ecr").describe_repositories()
    assert [charge.line.status for charge in prices.take()] == ["free"] * 4


def test_each_page_is_a_request(prices: Prices) -> None:
    with stubbed_client("secretsmanager") as (client, stubber):
        for token in ("second", "third", None):
            more = {"NextToken": token} if token else {}
            stubber.add_response("list_secrets", {**more, "ResponseMetadata": {"HTTPStatusCode": 200}})
        assert len(list(client.get_paginator("list_secrets").paginate())) == 3
    assert [charge.usd for charge in prices.take()] == [pytest.approx(5e-6, rel=1e-12)] * 3


def test_each_page_of_cost_explorer_costs_a_cent(prices: Prices) -> None:
    period = {"Start": "2026-11-01", "End": "2026-11-02"}
    arguments = {"TimePeriod": period, "Granularity": "DAILY", "Metrics": ["UnblendedCost"]}
    for page in ({"NextPageToken": "second"}, {}):
        (found,) = answered(prices, "ce", "get_cost_and_usage", page, **arguments)
        assert (found.usd, found.line.status) == (0.01, "priced")

"""S3: real calls against moto, single and in parts, with and without threads."""

from __future__ import annotations

import io
import tempfile
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

from tests.capture.aws.pricing import MB, Prices, status_of
from tests.support.moto_server import MotoServer

_PUT_USD, _GET_USD = 5e-6, 4e-7


@pytest.fixture
def bucket(moto: MotoServer, prices: Prices) -> str:
    moto.client("s3").create_bucket(Bucket="pictures")
    prices.take()
    return "pictures"


def test_put_get_list_and_delete_cost_their_tier(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="a", Body=b"x" * 5000)
    charge = prices.one()
    assert (charge.usd, status_of(charge), charge.line.resource) == (pytest.approx(_PUT_USD), ("priced", ""), bucket)
    client.get_object(Bucket=bucket, Key="a")["Body"].read()
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_GET_USD), ("priced", ""))
    client.list_objects_v2(Bucket=bucket)
    assert prices.one().usd == pytest.approx(_PUT_USD)
    client.delete_object(Bucket=bucket, Key="a")
    assert status_of(prices.one()) == ("free", "")


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


@pytest.fixture(params=["threads_traced", "threads_not_traced"])
def _threads(request: pytest.FixtureRequest) -> Generator[None]:
    """boto3 sends parts from threads, which know their parent span only with the instrumentation of threads."""
    if request.param == "threads_not_traced":
        yield
        return
    threads: Any = ThreadingInstrumentor()
    threads.instrument()
    yield
    threads.uninstrument()


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("storage_class", "usd"), [("STANDARD", _PUT_USD), ("STANDARD_IA", 1e-5)])
def test_each_part_of_an_upload_in_threads_is_a_request_of_its_class(
    moto: MotoServer, prices: Prices, bucket: str, storage_class: str, usd: float
) -> None:
    moto.client("s3").upload_fileobj(
        io.BytesIO(b"x" * (12 * MB)),
        bucket,
        "big",
        ExtraArgs={"StorageClass": storage_class},
        Config=TransferConfig(multipart_threshold=5 * MB, multipart_chunksize=5 * MB, max_concurrency=2),
    )
    sizes = [facts.get("aws.request_bytes") for name, facts, _ in prices.spans if name == "S3.UploadPart"]
    assert sorted(size or 0 for size in sizes) == [2 * MB, 5 * MB, 5 * MB]
    charges = prices.take()
    assert [charge.usd for charge in charges] == [pytest.approx(usd)] * 5  # create, three parts, complete
    assert {status_of(charge) for charge in charges} == {("priced", "")}


def test_missing_key_is_billed(moto: MotoServer, prices: Prices, bucket: str) -> None:
    with pytest.raises(ClientError):
        moto.client("s3").get_object(Bucket=bucket, Key="nothing")
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_GET_USD), ("priced", ""))


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


def test_body_that_is_spooled_in_memory_is_measured_and_stays_there(
    moto: MotoServer, prices: Prices, bucket: str
) -> None:
    client = moto.client("s3")
    with tempfile.SpooledTemporaryFile(max_size=MB) as spooled:
        spooled.write(b"x" * 3000)
        spooled.seek(1000)
        client.put_object(Bucket=bucket, Key="spooled", Body=spooled)
        assert prices.spans[-1][1]["aws.request_bytes"] == 2000
        assert vars(spooled)["_rolled"] is False
        spooled.rollover()
        spooled.seek(500)
        client.put_object(Bucket=bucket, Key="rolled", Body=spooled)
        assert prices.spans[-1][1]["aws.request_bytes"] == 2500
    assert client.get_object(Bucket=bucket, Key="spooled")["ContentLength"] == 2000


def test_each_of_three_pages_of_a_list_is_a_tier_1_request(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    for number in range(5):
        client.put_object(Bucket=bucket, Key=f"pages/{number}", Body=b"")
    prices.take()
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix="pages/", PaginationConfig={"PageSize": 2}
    )
    assert [page["KeyCount"] for page in pages] == [2, 2, 1]
    charges = prices.take()
    assert sum(charge.usd for charge in charges) == pytest.approx(3 * _PUT_USD)
    assert len(charges) == 3


def test_each_poll_of_a_waiter_is_a_tier_2_request(moto: MotoServer, prices: Prices, bucket: str) -> None:
    moto.client("s3").get_waiter("bucket_exists").wait(Bucket=bucket)
    assert prices.one().usd == pytest.approx(_GET_USD)


def test_copy_of_an_object_that_was_looked_at_costs_its_retrieval(
    moto: MotoServer, prices: Prices, bucket: str
) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="cold", Body=b"x" * 5000, StorageClass="GLACIER_IR")
    client.put_object(Bucket=bucket, Key="warm", Body=b"x" * 5000)
    prices.take()
    client.copy({"Bucket": bucket, "Key": "cold"}, bucket, "copy")
    head, request, retrieval = prices.take()
    assert (head.line.operation, head.usd) == ("s3.HeadObject", pytest.approx(1e-5))
    assert (request.usd, status_of(request)) == (pytest.approx(_PUT_USD), ("priced", ""))
    assert (retrieval.usd, status_of(retrieval)) == (pytest.approx(0.03 * 5000 / 2**30), ("priced", ""))
    client.copy({"Bucket": bucket, "Key": "warm"}, bucket, "copy")
    _, request = prices.take()
    assert (request.usd, status_of(request)) == (pytest.approx(_PUT_USD), ("priced", ""))
    assert not any("cold" in repr(facts) for _, facts, _ in prices.spans)


def test_copy_in_parts_costs_the_retrieval_of_each_range(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="large", Body=b"x" * (12 * MB), StorageClass="STANDARD_IA")
    prices.take()
    parts = TransferConfig(multipart_threshold=5 * MB, multipart_chunksize=5 * MB, max_concurrency=2)
    client.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy", Config=parts)
    charges = prices.take()
    retrieved = [charge.usd for charge in charges if charge.line.unit == "GB"]
    assert sorted(retrieved) == [pytest.approx(0.01 * size / 1024) for size in (2, 5, 5)]
    requests = [charge.usd for charge in charges if charge.line.unit == "request"]
    assert sum(requests) == pytest.approx(1e-6 + 5 * _PUT_USD)  # look, create, three parts, complete


def test_copy_of_an_object_that_nobody_looked_at_assumes_standard(
    moto: MotoServer, prices: Prices, bucket: str
) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="unseen", Body=b"x")
    prices.take()
    client.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/unseen")
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(_PUT_USD), ("estimated", "source_class:STANDARD"))
    client.head_object(Bucket=bucket, Key="unseen")
    prices.take()
    client.copy_object(Bucket=bucket, Key="copy", CopySource=f"/{bucket}/unseen")
    assert status_of(prices.one()) == ("priced", "")


def test_unchanged_and_missing_objects_are_billed_as_requests(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    tag = client.put_object(Bucket=bucket, Key="a", Body=b"x")["ETag"]
    prices.take()
    for call in (
        lambda: client.get_object(Bucket=bucket, Key="a", IfNoneMatch=tag),
        lambda: client.head_object(Bucket=bucket, Key="a", IfNoneMatch=tag),
        lambda: client.head_object(Bucket=bucket, Key="nothing"),
        lambda: client.get_object(Bucket="no-such-bucket", Key="a"),
    ):
        with pytest.raises(ClientError):
            call()
        charge = prices.one()
        assert (charge.usd, status_of(charge)) == (pytest.approx(_GET_USD), ("priced", ""))


def test_presigned_url_is_no_aws_call(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="a", Body=b"abc")
    prices.take()
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a"})
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"abc"
    assert prices.take() == []


def test_restore_is_billed_by_gb_that_the_call_does_not_show(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.put_object(Bucket=bucket, Key="frozen", Body=b"x", StorageClass="GLACIER")
    assert prices.one().usd == pytest.approx(3e-5)
    client.restore_object(Bucket=bucket, Key="frozen", RestoreRequest={"Days": 1})
    charge = prices.one()
    assert (charge.line.status, charge.line.reason) == ("unpriced", "billed_by_gb")
    client.get_object(Bucket=bucket, Key="frozen")["Body"].read()
    assert prices.one().usd == pytest.approx(_GET_USD)  # the restored copy is read like a standard object


def test_deletes_are_free_one_by_one_and_in_batches(moto: MotoServer, prices: Prices, bucket: str) -> None:
    client = moto.client("s3")
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    upload = client.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]
    prices.spans.pop()
    client.abort_multipart_upload(Bucket=bucket, Key="a", UploadId=upload)
    assert [status_of(charge) for charge in prices.take()] == [("free", "")] * 2


def test_directory_bucket_charges_its_session_and_all_bytes(moto: MotoServer, prices: Prices) -> None:
    client = moto.client("s3")
    bucket = "fast--use1-az4--x-s3"
    with Stubber(client) as stub:
        credentials = {"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c", "Expiration": 0}
        stub.add_response("create_session", {"Credentials": credentials})
        client.create_session(Bucket=bucket)
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (pytest.approx(3e-8), ("estimated", "tier:GET"))

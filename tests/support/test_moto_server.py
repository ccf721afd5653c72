"""Each block of `moto_server` is an empty AWS of its own."""

from __future__ import annotations

from tests.support.moto_server import moto_server


def test_real_boto3_talks_to_the_server_and_finds_it_empty_next_time() -> None:
    with moto_server() as moto:
        s3 = moto.client("s3")
        s3.create_bucket(Bucket="things")
        s3.put_object(Bucket="things", Key="a", Body=b"12345")
        stored = s3.get_object(Bucket="things", Key="a")
        assert stored["ContentLength"] == 5
        stored["Body"].close()
        s3.close()
    with moto_server() as moto:
        s3 = moto.client("s3")
        assert s3.list_buckets()["Buckets"] == []
        s3.close()

"""A cron script without traces: `nightly.py URL [PROCESSES] [fail]` stores an object in S3 per process."""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

import boto3


def store(url: str, key: str) -> None:
    """Store one object."""
    session: Any = boto3.session.Session("local", "local", region_name="us-east-1")
    session.client("s3", endpoint_url=url).put_object(Bucket="nightly", Key=key, Body=b"x")


def main(url: str, processes: int, *, fails: bool) -> None:
    """Store objects, the first in this process and the others in children."""
    store(url, "first")
    fork = multiprocessing.get_context("fork")
    children = [fork.Process(target=store, args=(url, f"child {number}")) for number in range(processes - 1)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if fails:
        raise ValueError("the last step is wrong")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), fails="fail" in sys.argv[3:])

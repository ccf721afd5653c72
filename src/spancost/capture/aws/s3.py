"""What S3 bills of a call: storage class of the object, bytes sent, received and copied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.jobs import Learned
from spancost.capture.aws.sizes import Facts, Params, body_bytes, note_name

_COPY_RANGE: Final = re.compile(r"bytes=(\d{1,15})-(\d{1,15})")
_PARTS: Final = frozenset({"UploadPart", "UploadPartCopy", "CompleteMultipartUpload"})
_OBJECT: Final = "aws.s3.object"
"""Fact that passes from the request to the response only: hash of the object's name, never the name."""

_upload_classes: Final[Learned[str]] = Learned()
"""Storage class by upload id, for parts: their call does not name it."""
_sources: Final[Learned[tuple[str, int]]] = Learned()
"""Storage class and size of objects that were looked at, for copies: boto3's `copy` does so first."""


def request(facts: Facts, operation: str, params: Params) -> None:
    """Note bucket, storage class and what is sent."""
    note_name(facts, params.get("Bucket"))
    storage_class = params.get("StorageClass")
    if isinstance(storage_class, str):
        facts[keys.STORAGE_CLASS] = storage_class
    if operation in _PARTS:
        known = _upload_classes.get(str(params.get("UploadId")))
        if known is None:
            facts[keys.CLASS_UNKNOWN] = True
        else:
            facts[keys.STORAGE_CLASS] = known
    elif operation == "HeadObject":
        facts[_OBJECT] = _object_hash(params.get("Bucket"), params.get("Key"), params.get("VersionId"))
    if "CopySource" in params:
        _note_source(facts, params["CopySource"], params.get("CopySourceRange"))
    if "Body" in params:
        size = params.get("ContentLength")
        size = size if isinstance(size, int) else body_bytes(params["Body"])
        if size is not None:
            facts[keys.REQUEST_BYTES] = size


def response(facts: Facts, operation: str, result: Params) -> None:
    """Note what the answer shows of the object: an absent storage class is STANDARD."""
    if operation == "CreateMultipartUpload":
        _upload_classes.note(str(result.get("UploadId")), facts.get(keys.STORAGE_CLASS, "STANDARD"))
    elif operation in ("GetObject", "HeadObject"):
        storage_class = result.get("StorageClass")
        if isinstance(storage_class, str):
            facts[keys.STORAGE_CLASS] = storage_class
        length = result.get("ContentLength")
        if not isinstance(length, int):
            return
        if operation == "GetObject":
            facts[keys.RESPONSE_BYTES] = length
        else:
            _sources.note(facts.pop(_OBJECT), (facts.get(keys.STORAGE_CLASS, "STANDARD"), length))


def _note_source(facts: Facts, source: Any, copied_range: Any) -> None:
    if isinstance(source, Mapping):
        named = cast("Params", source)
        bucket, key, version = named.get("Bucket"), named.get("Key"), named.get("VersionId")
    else:
        path, _, version = str(source).lstrip("/").partition("?versionId=")
        bucket, _, key = path.partition("/")
    known = _sources.get(_object_hash(bucket, key, version))
    if known is not None:
        facts[keys.SOURCE_CLASS], facts[keys.COPIED_BYTES] = known
    elif isinstance(bucket, str) and bucket.endswith("--x-s3"):
        facts[keys.SOURCE_CLASS] = "EXPRESS_ONEZONE"
    copied = _COPY_RANGE.fullmatch(copied_range) if isinstance(copied_range, str) else None
    if copied is not None:
        facts[keys.COPIED_BYTES] = int(copied[2]) - int(copied[1]) + 1


def _object_hash(bucket: Any, key: Any, version: Any) -> str:
    return str(hash((bucket, key, version or None)))

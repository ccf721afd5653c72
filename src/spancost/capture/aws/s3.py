"""What S3 bills of a call: storage class of the object, bytes sent and received."""

from __future__ import annotations

from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params, body_bytes, note_name

_MAX_UPLOADS: Final = 4096

_upload_classes: dict[int, str] = {}
"""Storage class by hash of the upload id, for parts: their call does not name it."""


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("Bucket"))
    storage_class = params.get("StorageClass")
    if isinstance(storage_class, str):
        facts[keys.STORAGE_CLASS] = storage_class
    if operation in ("UploadPart", "UploadPartCopy", "CompleteMultipartUpload"):
        known = _upload_classes.get(hash(params.get("UploadId")))
        if known is None:
            facts[keys.CLASS_UNKNOWN] = True
        else:
            facts[keys.STORAGE_CLASS] = known
    if "Body" in params:
        size = params.get("ContentLength")
        size = size if isinstance(size, int) else body_bytes(params["Body"])
        if size is not None:
            facts[keys.REQUEST_BYTES] = size


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "CreateMultipartUpload":
        if len(_upload_classes) >= _MAX_UPLOADS:
            _upload_classes.clear()
        _upload_classes[hash(result.get("UploadId"))] = facts.get(keys.STORAGE_CLASS, "STANDARD")
    elif operation in ("GetObject", "HeadObject"):
        storage_class = result.get("StorageClass")
        if isinstance(storage_class, str):
            facts[keys.STORAGE_CLASS] = storage_class
        length = result.get("ContentLength")
        if operation == "GetObject" and isinstance(length, int):
            facts[keys.RESPONSE_BYTES] = length

"""Price S3 requests and retrievals, USD per request and GB (aws.amazon.com/s3/pricing).

PUT, COPY, POST and LIST requests are tier 1, GET and all others tier 2, DELETE and abort are free; each
part of an upload and each page of a list is a request. Rates depend on the storage class of the object,
which the hooks read; without them STANDARD is assumed. Infrequent-access and instant-retrieval classes add
the bytes returned per GB, directory buckets (`--x-s3`) all bytes both ways. Answers of 4xx are billed, 5xx
are not. Left out: storage, tags, early deletion, restores from archive by GB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from spancost.capture.aws import facts as aws_facts
from spancost.meters.aws.call import GB, NO_USAGE, Call, Measure, Usage, free, resource_of, text

_ASSUMED_CLASS: Final = "class:STANDARD"


class _Class(NamedTuple):
    """Price ids of one storage class."""

    tier1: str
    tier2: str
    retrieval: str = ""
    upload: str = ""
    basis: str = ""


_STANDARD: Final = _Class("aws.s3.tier1.standard", "aws.s3.tier2.standard")
_IA: Final = _Class("aws.s3.tier1.standard_ia", "aws.s3.tier2.standard_ia", "aws.s3.retrieval.standard_ia")
_CLASSES: Final = {
    "STANDARD": _STANDARD,
    "REDUCED_REDUNDANCY": _STANDARD,
    "INTELLIGENT_TIERING": _STANDARD,
    "STANDARD_IA": _IA,
    # The book has no own rows for One Zone-IA, whose request and retrieval prices are those of Standard-IA.
    "ONEZONE_IA": _IA._replace(basis="class:STANDARD_IA"),
    "GLACIER_IR": _Class("aws.s3.tier1.glacier_ir", "aws.s3.tier2.glacier_ir", "aws.s3.retrieval.glacier_ir"),
    # A restored copy is read at STANDARD rates; the restore itself is billed per GB when it is asked for.
    "GLACIER": _Class("aws.s3.tier1.glacier_flexible", "aws.s3.tier2.standard"),
    "DEEP_ARCHIVE": _Class("aws.s3.tier1.deep_archive", "aws.s3.tier2.standard"),
    "EXPRESS_ONEZONE": _Class(
        "aws.s3.express_one_zone.put",
        "aws.s3.express_one_zone.get",
        "aws.s3.express_one_zone.retrieval",
        "aws.s3.express_one_zone.upload",
    ),
}
_UPLOADS: Final = frozenset({"PutObject", "UploadPart"})
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_OBJECT_WRITES: Final = _UPLOADS | {"CopyObject", "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload"}
_OBJECT_READS: Final = frozenset({"GetObject", "HeadObject"})
_FREE: Final = re.compile(r"(Delete|Abort)[A-Z][A-Za-z]*")
_TIER1: Final = re.compile(r"(Put|Copy|Create|Upload|Complete|List|Restore|Rename)[A-Z][A-Za-z0-9]*")
_TIER2: Final = re.compile(r"(Get|Head)[A-Z][A-Za-z]*")
_UNDECIDED: Final = re.compile(r"CreateSession|Create\w*Metadata\w*")
"""Operations with prices of their own that the book does not have."""


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if S3 has no such operation that we know."""
    if operation in _OBJECT_WRITES:
        return _write
    if operation in _OBJECT_READS:
        return _read
    if operation == "SelectObjectContent":
        return _select
    if _UNDECIDED.fullmatch(operation) is not None:
        return None
    if _FREE.fullmatch(operation) is not None:
        return _free
    if _TIER1.fullmatch(operation) is not None:
        return _tier1
    return _tier2 if _TIER2.fullmatch(operation) is not None else None


def _write(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, "not_billed:error")
    found, basis = _class_of(call, bucket)
    if found is None:
        return (Usage("", resource=bucket, reason="unknown_storage_class"),)
    if call.operation in ("CreateMultipartUpload", "UploadPart") and found.tier1 in _ARCHIVE_TIER1:
        found = _STANDARD  # parts of an archive upload wait in STANDARD; only completing it costs the class's rate
    request = Usage(found.tier1, 1.0, bucket, basis)
    size = call.size(aws_facts.REQUEST_BYTES)
    if found.upload and call.operation in _UPLOADS and not call.failed:
        if size is None:
            return (request, Usage("", resource=bucket, reason=NO_USAGE, unit="GB"))
        return (request, Usage(found.upload, size / GB, bucket, basis))
    return (request,)


def _read(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, "not_billed:error")
    found, basis = _class_of(call, bucket)
    if found is None:
        return (Usage("", resource=bucket, reason="unknown_storage_class"),)
    request = Usage(found.tier2, 1.0, bucket, "" if call.failed and call.seen else basis)
    if call.operation == "GetObject" and found.retrieval and not call.failed:
        size = call.size(aws_facts.RESPONSE_BYTES)
        if size is None:
            return (request, Usage("", resource=bucket, reason=NO_USAGE, unit="GB"))
        return (request, Usage(found.retrieval, size / GB, bucket, basis))
    return (request,)


def _select(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, "not_billed:error")
    request = Usage(_STANDARD.tier2, 1.0, bucket)
    # The bytes scanned come at the end of the result's stream, after the span.
    return (request,) if call.failed else (request, Usage("", resource=bucket, reason=NO_USAGE, unit="GB"))


def _free(call: Call) -> Sequence[Usage]:
    return free(resource_of(call))


def _tier1(call: Call) -> Sequence[Usage]:
    return _plain(call, tier1=True)


def _tier2(call: Call) -> Sequence[Usage]:
    return _plain(call, tier1=False)


def _plain(call: Call, *, tier1: bool) -> Sequence[Usage]:
    """Requests about buckets, lists and properties: the object's class plays no part."""
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, "not_billed:error")
    found = _CLASSES["EXPRESS_ONEZONE"] if bucket.endswith("--x-s3") else _STANDARD
    return (Usage(found.tier1 if tier1 else found.tier2, 1.0, bucket),)


def _class_of(call: Call, bucket: str) -> tuple[_Class | None, str]:
    """Return the storage class of a call's object, None if it is unknown to us, and what was assumed."""
    if bucket.endswith("--x-s3"):
        return _CLASSES["EXPRESS_ONEZONE"], ""
    name = text(call.facts.get(aws_facts.STORAGE_CLASS))
    if not name:
        certain = call.seen and aws_facts.CLASS_UNKNOWN not in call.facts
        return _STANDARD, "" if certain else _ASSUMED_CLASS
    found = _CLASSES.get(name)
    return found, "" if found is None else found.basis


_ARCHIVE_TIER1: Final = frozenset(_CLASSES[name].tier1 for name in _ARCHIVES)

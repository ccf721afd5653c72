"""Price S3 requests and retrievals, USD per request and GB (aws.amazon.com/s3/pricing).

PUT, COPY, POST and LIST requests are tier 1, GET and all others tier 2, DELETE and abort are free; each part of an
upload and each page of a list is a request. Rates depend on the storage class of the object, which the hooks read
(an answer without one is STANDARD); without them STANDARD is assumed. Infrequent-access and instant-retrieval
classes add the bytes returned or copied per GB, directory buckets (`--x-s3`) all bytes both ways.

A copy costs a request of the class it makes, and the retrieval from the class it reads. That class is known if the
process has looked at the object before (HeadObject, as boto3's `copy` does); else STANDARD is assumed. A restore from
an archive is billed by GB and tier of the archive, which the call does not show: `billed_by_gb`. The bytes that
SelectObjectContent scanned come at the end of its stream, after the span.

Failed calls: 3xx and 4xx answers are billed as requests, 5xx are not. Since May 2024 refusals of strangers' requests
are not billed to a bucket's owner; the calls of one's own applications are none of these. Left out: storage, tags,
early deletion, metadata tables, transfer acceleration, and presigned URLs, which no AWS client calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from spancost.capture.aws import facts as aws_facts
from spancost.charge import joined_basis
from spancost.meters.aws.call import (
    FAILED_REQUEST,
    GB,
    NO_USAGE,
    NOT_BILLED,
    Call,
    Measure,
    Usage,
    free,
    resource_of,
    text,
    unpriced,
)

_BILLED_BY_GB: Final = "billed_by_gb"
_OBJECT_LAMBDA: Final = "aws.s3.object_lambda.returned"
_ASSUMED_SOURCE: Final = "source_class:STANDARD"
_ASSUMED_TIER: Final = "tier:GET"
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
_ARCHIVE_AT_STANDARD: Final = frozenset({"CreateMultipartUpload", "UploadPart", "UploadPartCopy"})
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_COPIES: Final = frozenset({"CopyObject", "UploadPartCopy"})
_OBJECT_WRITES: Final = _UPLOADS | _COPIES | {"CreateMultipartUpload", "CompleteMultipartUpload"}
_OBJECT_READS: Final = frozenset({"GetObject", "HeadObject"})
_FREE: Final = re.compile(r"(Delete|Abort)[A-Z][A-Za-z]*")
_TIER1: Final = re.compile(r"(Put|Create|Update|List|Rename)[A-Z][A-Za-z0-9]*")
_TIER2: Final = re.compile(r"(Get|Head)[A-Z][A-Za-z]*")


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if S3 has no such operation that we know."""
    if operation in _OBJECT_WRITES:
        return _write
    if operation in _OBJECT_READS:
        return _read
    if operation in _ODD_ONES:
        return _ODD_ONES[operation]
    if _FREE.fullmatch(operation) is not None:
        return _free
    if _TIER1.fullmatch(operation) is not None:
        return _tier1
    return _tier2 if _TIER2.fullmatch(operation) is not None else None


def _write(call: Call) -> Sequence[Usage]:
    operation, bucket = call.operation, resource_of(call)
    if call.http_status >= 500:
        return free(bucket, NOT_BILLED)
    found, basis = _class_of(call, bucket)
    if found is None:
        return (Usage("", resource=bucket, reason="unknown_storage_class"),)
    if operation in _ARCHIVE_AT_STANDARD and found.tier1 in _ARCHIVE_TIER1:
        found = _STANDARD  # parts of an archive upload wait in STANDARD; only completing it costs the class's rate
    if operation in _COPIES:
        return _copied(call, bucket, found, basis)
    request = Usage(found.tier1, 1.0, bucket, basis)
    if found.upload and operation in _UPLOADS and not call.failed:
        return (request, _bytes(call, aws_facts.REQUEST_BYTES, found.upload, bucket, basis))
    return (request,)


def _copied(call: Call, bucket: str, made: _Class, basis: str) -> Sequence[Usage]:
    if call.failed:
        return (Usage(made.tier1, 1.0, bucket, basis),)
    name = text(call.facts.get(aws_facts.SOURCE_CLASS))
    source = _CLASSES.get(name) if name else _STANDARD
    if not name:
        basis = joined_basis(basis, _ASSUMED_SOURCE)
    usages = [Usage(made.tier1, 1.0, bucket, basis)]
    if source is None:
        usages.append(Usage("", resource=bucket, reason="unknown_storage_class"))
    elif source.retrieval:
        usages.append(_bytes(call, aws_facts.COPIED_BYTES, source.retrieval, bucket, source.basis))
    if made.upload:
        usages.append(_bytes(call, aws_facts.COPIED_BYTES, made.upload, bucket))
    return usages


def _bytes(call: Call, fact: str, price_id: str, bucket: str, basis: str = "") -> Usage:
    size = call.size(fact)
    if size is None:
        return Usage("", resource=bucket, reason=NO_USAGE)
    return Usage(price_id, size / GB, bucket, basis)


def _read(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, NOT_BILLED)
    found, basis = _class_of(call, bucket)
    if found is None:
        return (Usage("", resource=bucket, reason="unknown_storage_class"),)
    request = Usage(found.tier2, 1.0, bucket, "" if call.failed and call.seen else basis)
    if call.operation == "GetObject" and found.retrieval and not call.failed and call.http_status != 304:
        return (request, _bytes(call, aws_facts.RESPONSE_BYTES, found.retrieval, bucket, basis))
    return (request,)


def _select(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, NOT_BILLED)
    request = Usage(_STANDARD.tier2, 1.0, bucket)
    # The bytes scanned come at the end of the result's stream, after the span.
    return (request,) if call.failed else (request, Usage("", resource=bucket, reason=NO_USAGE))


def _session(call: Call) -> Sequence[Usage]:
    """botocore opens a session with a directory bucket every five minutes; the price page has no line of its own."""
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, NOT_BILLED)
    return (Usage(_CLASSES["EXPRESS_ONEZONE"].tier2, 1.0, bucket, _ASSUMED_TIER),)


def _restore(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.http_status >= 500:
        return free(bucket, NOT_BILLED)
    if call.failed:
        return (Usage(_STANDARD.tier1, 1.0, bucket, FAILED_REQUEST),)
    return unpriced(_BILLED_BY_GB, bucket)


def _object_lambda(call: Call) -> Sequence[Usage]:
    bucket = resource_of(call)
    if call.failed:
        return free(bucket, NOT_BILLED)
    return (_bytes(call, aws_facts.REQUEST_BYTES, _OBJECT_LAMBDA, bucket),)


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
        return free(bucket, NOT_BILLED)
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
_ODD_ONES: Final[Mapping[str, Measure]] = {
    "CreateSession": _session,
    "RestoreObject": _restore,
    "SelectObjectContent": _select,
    "WriteGetObjectResponse": _object_lambda,
}

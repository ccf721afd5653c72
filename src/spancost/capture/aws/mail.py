"""What SES bills of a call, for both its APIs: number of recipients, bytes of attachments.

Addresses are counted and not kept. Of a raw message only the header is read: who gets it, where the call does not
say so, and whether it has attachments.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses
from typing import Any, Final

from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params, body_bytes, note_name

RECIPIENTS: Final = "aws.ses.recipients"
"""int: recipients that the service took the message for; absent where they are not known."""
ATTACHMENT_BYTES: Final = "aws.ses.attachment_bytes"
"""int: bytes of attachments as they are sent, times recipients; absent where there are none."""
WHOLE_MESSAGE: Final = "aws.ses.whole_message"
"""True: the size of attachments is that of the whole raw message."""
_ENTRIES: Final = "aws.ses.entries"
"""tuple of int, recipients of each message of a bulk call: from the request to the answer only."""
_EACH_BYTES: Final = "aws.ses.each_bytes"
"""int, attachments of one message: from the request to the answer only."""

_MAX_HEADER_BYTES: Final = 256 * 1024
_FIELDS: Final = ("ToAddresses", "CcAddresses", "BccAddresses")
_HEADERS: Final = ("to", "cc", "bcc")

_parser: Final = BytesHeaderParser()


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("ConfigurationSetName"))
    if operation in ("SendEmail", "SendTemplatedEmail"):
        content = part(params, "Content")
        raw: Params | None = content.get("Raw")
        if raw is not None:
            _raw(facts, raw.get("Data"), _recipients(params.get("Destination")))
            return
        facts[RECIPIENTS] = _recipients(params.get("Destination"))
        _attach(facts, _attachments(part(content, "Simple") or part(content, "Template")), facts[RECIPIENTS])
    elif operation == "SendRawEmail":
        _raw(facts, part(params, "RawMessage").get("Data"), len(params.get("Destinations") or ()))
    elif operation == "SendBulkEmail":
        facts[_ENTRIES] = tuple(_recipients(entry.get("Destination")) for entry in params["BulkEmailEntries"])
        facts[_EACH_BYTES] = _attachments(part(part(params, "DefaultContent"), "Template"))
    elif operation == "SendBulkTemplatedEmail":
        facts[_ENTRIES] = tuple(_recipients(entry.get("Destination")) for entry in params["Destinations"])


def response(facts: Facts, operation: str, result: Params) -> None:
    entries: tuple[int, ...] | None = facts.pop(_ENTRIES, None)
    if entries is None:
        return
    answers: Iterable[Params] = result.get("BulkEmailEntryResults") or result.get("Status") or ()
    taken = [str(answer.get("Status", "")).upper() == "SUCCESS" for answer in answers]
    if len(taken) == len(entries):
        entries = tuple(count for count, was_taken in zip(entries, taken, strict=True) if was_taken)
    facts[RECIPIENTS] = sum(entries)
    _attach(facts, facts.pop(_EACH_BYTES, 0), facts[RECIPIENTS])


def _recipients(destination: Params | None) -> int:
    return 0 if destination is None else sum(len(destination.get(field) or ()) for field in _FIELDS)


def _raw(facts: Facts, data: Any, recipients: int) -> None:
    header = _header(data)
    if header is not None and not recipients:
        addresses = getaddresses([str(value) for name in _HEADERS for value in header.get_all(name, ())])
        recipients = sum(1 for _, address in addresses if address)
    if recipients:
        facts[RECIPIENTS] = recipients
    size = body_bytes(data)
    if size and (header is None or header.get_content_type() == "multipart/mixed"):
        facts[WHOLE_MESSAGE] = True
        _attach(facts, size, max(1, recipients))


def _header(data: Any) -> Message | None:
    """Return the header of a raw message; None where it cannot be read without moving the body."""
    if isinstance(data, str):
        head = data[:_MAX_HEADER_BYTES].encode("utf-8", "surrogateescape")
    elif isinstance(data, (bytes, bytearray)):
        head = bytes(data[:_MAX_HEADER_BYTES])
    else:
        return None
    ends = [end for end in (head.find(b"\r\n\r\n"), head.find(b"\n\n")) if end >= 0]
    return _parser.parsebytes(head[: min(ends)] if ends else head)


def _attachments(content: Params) -> int:
    """Return the bytes of attachments as they are sent: base64 makes four of three."""
    return sum(-(-(body_bytes(item.get("RawContent")) or 0) // 3) * 4 for item in content.get("Attachments") or ())


def _attach(facts: Facts, size_bytes: int, recipients: int) -> None:
    if size_bytes and recipients:
        facts[ATTACHMENT_BYTES] = size_bytes * recipients

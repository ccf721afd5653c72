"""Price mail sent through both APIs of SES, USD per recipient and GB of attachments (aws.amazon.com/ses/pricing).

Each recipient in To, Cc and Bcc is one; of a bulk call those whose message was accepted. Attachments are billed as
they are sent, base64 and once per recipient; in a raw message with attachments the whole message stands for them.
Mails that the service writes itself (bounces, verification) are taken for one recipient. Prices are those of the
plan by usage: for the Essentials plan override `aws.ses.outbound` and `aws.sesv2.outbound`. Failed calls are not
billed. Left out: mail sent by SMTP, dedicated addresses, Virtual Deliverability Manager, global endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import mail as seen
from spancost.meters.aws.call import GB, NOT_BILLED, Call, Measure, Usage, failure, free, resource_of

_ATTACHMENTS: Final = "aws.ses.attachments"
_SENDS: Final = frozenset(
    {"SendEmail", "SendRawEmail", "SendTemplatedEmail", "SendBulkTemplatedEmail", "SendBulkEmail"}
)
_OWN_MAIL: Final = frozenset({"SendBounce", "SendCustomVerificationEmail"})


def mail_measure_of(operation: str, price_id: str) -> Measure | None:
    """Return what measures an operation of SES; None if the price book alone says it.

    Args:
        operation: `SendEmail`.

        price_id: Price of a recipient.
    """
    if operation in _OWN_MAIL:
        return _own_mail(price_id)
    return _send(price_id) if operation in _SENDS else None


def _own_mail(price_id: str) -> Measure:
    def measure(call: Call) -> Sequence[Usage]:
        name = resource_of(call)
        return failure(call, name) if call.failed else (Usage(price_id, 1.0, name, "billed:as_mail"),)

    return measure


def _send(price_id: str) -> Measure:
    def measure(call: Call) -> Sequence[Usage]:
        name = resource_of(call)
        if call.failed:
            return failure(call, name)
        recipients = call.size(seen.RECIPIENTS)
        attachments = call.size(seen.ATTACHMENT_BYTES)
        if recipients == 0:
            return free(name, NOT_BILLED)
        if recipients is None:
            sent = Usage(price_id, 1.0, name, "recipients:1" if call.seen else "recipients:1,attachments:0")
        else:
            sent = Usage(price_id, recipients, name)
        if attachments is None:
            return (sent,)
        basis = "size:whole_message" if call.facts.get(seen.WHOLE_MESSAGE) else "size:base64"
        return (sent, Usage(_ATTACHMENTS, attachments / GB, name, basis))

    return measure

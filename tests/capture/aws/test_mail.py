"""Mail through both APIs of SES: recipients, attachments, what was not accepted."""

from __future__ import annotations

import base64
from collections.abc import Generator
from email.message import EmailMessage
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_USD = 0.0001
_ATTACHMENT_USD_PER_GB = 0.12
_GB = 2**30
_BODY = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}


@pytest.fixture
def ses(prices: Prices) -> Generator[Stubbed]:
    with stubbed("ses") as ses:
        yield ses


@pytest.fixture
def sesv2(prices: Prices) -> Generator[Stubbed]:
    with stubbed("sesv2") as sesv2:
        yield sesv2


def _to(*counts: int) -> dict[str, list[str]]:
    fields = ("ToAddresses", "CcAddresses", "BccAddresses")
    return {
        field: [f"{field}{n}@example.com" for n in range(count)] for field, count in zip(fields, counts, strict=False)
    }


def _raw(*, attachment_bytes: int = 0) -> bytes:
    message = EmailMessage()
    message["From"] = "shop@example.com"
    message["To"] = '"Doe, Jane" <jane@example.com>, joe@example.com'
    message["Cc"] = "ann@example.com"
    message.set_content("To: nobody@example.com is text here")
    if attachment_bytes:
        message.add_attachment(b"x" * attachment_bytes, maintype="application", subtype="pdf", filename="a.pdf")
    return message.as_bytes()


@pytest.mark.parametrize(("counts", "recipients"), [((1,), 1), ((1, 1, 1), 3), ((0, 0, 50), 50)])
def test_a_mail_costs_each_recipient(
    ses: Stubbed, sesv2: Stubbed, prices: Prices, counts: tuple[int, ...], recipients: int
) -> None:
    ses.call("send_email", {"MessageId": "m"}, Source="a@example.com", Destination=_to(*counts), Message=_BODY)
    sesv2.call("send_email", {"MessageId": "m"}, Destination=_to(*counts), Content={"Simple": _BODY})
    for charge in prices.take():
        assert (charge.usd, status_of(charge)) == (pytest.approx(recipients * _USD), ("priced", ""))
        assert charge.line.unit == "recipient"


def test_a_templated_mail_costs_each_recipient(ses: Stubbed, sesv2: Stubbed, prices: Prices) -> None:
    template = {"Source": "a@example.com", "Template": "welcome", "TemplateData": "{}"}
    ses.call("send_templated_email", {"MessageId": "m"}, Destination=_to(2), **template)
    sesv2.call("send_email", {"MessageId": "m"}, Destination=_to(2), Content={"Template": {"TemplateName": "welcome"}})
    assert [charge.usd for charge in prices.take()] == pytest.approx([2 * _USD, 2 * _USD])


def test_a_bulk_call_costs_what_was_accepted(ses: Stubbed, sesv2: Stubbed, prices: Prices) -> None:
    entries = [{"Destination": _to(1)}, {"Destination": _to(2, 1)}, {"Destination": _to(5)}]
    sesv2.call(
        "send_bulk_email",
        {"BulkEmailEntryResults": [{"Status": "SUCCESS"}, {"Status": "SUCCESS"}, {"Status": "MESSAGE_REJECTED"}]},
        DefaultContent={"Template": {"TemplateName": "news"}},
        BulkEmailEntries=entries,
    )
    ses.call(
        "send_bulk_templated_email",
        {"Status": [{"Status": "Success"}, {"Status": "Success"}, {"Status": "AccountThrottled"}]},
        Source="a@example.com",
        Template="news",
        DefaultTemplateData="{}",
        Destinations=entries,
    )
    assert [charge.usd for charge in prices.take()] == pytest.approx([4 * _USD, 4 * _USD])


def test_a_bulk_call_of_which_nothing_was_accepted_is_free(sesv2: Stubbed, prices: Prices) -> None:
    sesv2.call(
        "send_bulk_email",
        {"BulkEmailEntryResults": [{"Status": "FAILED"}]},
        DefaultContent={"Template": {"TemplateName": "news"}},
        BulkEmailEntries=[{"Destination": _to(1)}],
    )
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_attachments_cost_their_base64_once_per_recipient(sesv2: Stubbed, prices: Prices) -> None:
    content = b"x" * 100_000
    attachments = [{"FileName": "a.bin", "RawContent": content}, {"FileName": "b.bin", "RawContent": b"y"}]
    sesv2.call(
        "send_email",
        {"MessageId": "m"},
        Destination=_to(2),
        Content={"Simple": {**_BODY, "Attachments": attachments}},
    )
    recipients, data = prices.take()
    sent_bytes = 2 * (len(base64.b64encode(content)) + len(base64.b64encode(b"y")))
    assert recipients.usd == pytest.approx(2 * _USD)
    assert data.usd == pytest.approx(sent_bytes / _GB * _ATTACHMENT_USD_PER_GB)
    assert (status_of(data), data.line.unit) == (("estimated", "size:base64"), "GB")


@pytest.mark.parametrize("as_text", [False, True])
def test_recipients_of_a_raw_message_are_those_of_the_call_or_of_its_header(
    ses: Stubbed, sesv2: Stubbed, prices: Prices, as_text: bool
) -> None:
    data: Any = _raw().decode() if as_text else _raw()
    ses.call("send_raw_email", {"MessageId": "m"}, Destinations=["only@example.com"], RawMessage={"Data": data})
    ses.call("send_raw_email", {"MessageId": "m"}, RawMessage={"Data": data})
    sesv2.call("send_email", {"MessageId": "m"}, Destination=_to(4), Content={"Raw": {"Data": data}})
    sesv2.call("send_email", {"MessageId": "m"}, Content={"Raw": {"Data": data}})
    charges = prices.take()
    assert [charge.quantity for charge in charges] == [1, 3, 4, 3]
    assert {status_of(charge) for charge in charges} == {("priced", "")}


def test_a_raw_message_with_attachments_costs_its_size(ses: Stubbed, prices: Prices) -> None:
    data = _raw(attachment_bytes=1_000_000)
    ses.call("send_raw_email", {"MessageId": "m"}, RawMessage={"Data": data})
    recipients, sent = prices.take()
    assert recipients.usd == pytest.approx(3 * _USD)
    assert sent.usd == pytest.approx(3 * len(data) / _GB * _ATTACHMENT_USD_PER_GB)
    assert status_of(sent) == ("estimated", "size:whole_message")


def test_a_raw_message_without_recipients_is_taken_for_one(ses: Stubbed, prices: Prices) -> None:
    ses.call("send_raw_email", {"MessageId": "m"}, RawMessage={"Data": b"Subject: hello\r\n\r\nhello"})
    assert status_of(prices.one()) == ("estimated", "recipients:1")


def test_no_address_is_kept(ses: Stubbed, prices: Prices) -> None:
    ses.call("send_raw_email", {"MessageId": "m"}, RawMessage={"Data": _raw()})
    ((_, facts, charges),) = prices.spans
    assert "example.com" not in repr(facts) + repr([charge.line for charge in charges])


def test_a_verification_mail_is_taken_for_one_mail(sesv2: Stubbed, prices: Prices) -> None:
    sesv2.call(
        "send_custom_verification_email", {"MessageId": "m"}, EmailAddress="a@example.com", TemplateName="verify"
    )
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (_USD, ("estimated", "billed:as_mail"))


@pytest.mark.parametrize(("code", "status"), [("MessageRejected", 400), ("Throttling", 400), ("InternalFailure", 500)])
def test_a_refused_mail_is_free(ses: Stubbed, prices: Prices, code: str, status: int) -> None:
    ses.refuse("send_email", code, status)
    with pytest.raises(ClientError):
        ses.client.send_email(Source="a@example.com", Destination=_to(1), Message=_BODY)
    assert status_of(prices.one()) == ("free", "not_billed:error")


def test_managing_identities_is_free_and_paid_insights_are_unpriced(sesv2: Stubbed, prices: Prices) -> None:
    sesv2.call("get_account", {})
    sesv2.call("get_email_address_insights", {}, EmailAddress="a@example.com")
    free, insights = prices.take()
    assert free.line.status == "free"
    assert (insights.line.status, insights.line.reason) == ("unpriced", "no_price")

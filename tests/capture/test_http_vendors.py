# pyright: reportMissingTypeStubs=false
"""Calls of vendors by requests, answered in process: from the real instrumentation to the money of the engine."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from requests.adapters import BaseAdapter

from spancost import names
from spancost.capture import http_clients
from spancost.capture.instrumentors import hook_instrumentors
from spancost.charge import PriceLine
from spancost.prices.http_rules import HttpRules
from spancost.testing import World, priced_provider

TWILIO = "https://api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
SENDGRID = "https://api.sendgrid.com/v3/mail/send"
PINECONE = "https://shop-1.svc.us-east-1.pinecone.io/query"


class Vendor(BaseAdapter):
    """Answers every request with one body, as a vendor would."""

    def __init__(self, answer: object, status: int) -> None:
        super().__init__()
        self.answer, self.status = answer, status

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = self.status, request, request.url or ""
        response._content = json.dumps(self.answer).encode()
        return response

    def close(self) -> None:
        pass


@contextmanager
def vendor(answer: object = None, status: int = 200) -> Generator[tuple[World, requests.Session]]:
    """A session to a vendor, whose calls are measured and priced."""
    with priced_provider() as world, requests.Session() as session:
        http_clients.set_rules(HttpRules.shipped())
        undo = hook_instrumentors()
        RequestsInstrumentor().instrument(tracer_provider=world.provider)
        session.mount("https://", Vendor(answer, status))
        try:
            yield world, session
        finally:
            RequestsInstrumentor().uninstrument()
            undo()
            http_clients.set_rules(None)


def booked(world: World) -> tuple[PriceLine, float]:
    """The only line of HTTP cost, with its quantity."""
    world.publish()
    ((line, quantity),) = [
        (key.line, sums.quantity) for key, sums in world.recorded.charges.items() if key.line.component == names.HTTP
    ]
    return line, quantity


def test_two_segments_are_charged_as_two() -> None:
    with vendor({"sid": "SM1", "num_segments": "2"}, 201) as (world, session):
        session.post(TWILIO, data={"Body": "a" * 161, "To": "+15550001"})
        line, quantity = booked(world)
        assert (line.operation, line.status, quantity) == ("sms.us.outbound", "priced", 2)
        assert world.recorded.usd(names.HTTP) == pytest.approx(2 * 0.0083, rel=1e-12)


def test_each_recipient_of_a_mail_is_charged() -> None:
    mail = {
        "personalizations": [{"to": [{"email": "a@x.example"}, {"email": "b@x.example"}]}, {"to": [{"email": "c"}]}]
    }
    with vendor(status=202) as (world, session):
        session.post(SENDGRID, json=mail)
        line, quantity = booked(world)
        assert (line.provider, line.unit, quantity) == ("sendgrid", "recipient", 3)
        assert world.recorded.usd(names.HTTP) == pytest.approx(3 * 0.0004, rel=1e-12)


def test_read_units_come_from_the_answer() -> None:
    with vendor({"matches": [], "usage": {"readUnits": 6}}) as (world, session):
        session.post(PINECONE, json={"vector": [0.1] * 8, "topK": 3})
        line, quantity = booked(world)
        assert (line.unit, line.basis, quantity) == ("read unit", "read_units:rounded_up", 6)
        assert world.recorded.usd(names.HTTP) == pytest.approx(6 * 16e-6, rel=1e-12)


def test_an_impossible_number_in_an_answer_is_unpriced() -> None:
    with vendor({"usage": {"readUnits": -6}}) as (world, session):
        session.post(PINECONE, json={"topK": 3})
        line, _ = booked(world)
        assert (line.status, line.reason) == (names.UNPRICED, "bad_usage")
        assert world.recorded.usd(names.HTTP) == 0


def test_a_refused_mail_is_free() -> None:
    with vendor({"errors": []}, 401) as (world, session):
        session.post(SENDGRID, json={"personalizations": [{"to": [{"email": "a@x.example"}]}]})
        line, _ = booked(world)
        assert line.status == names.FREE


def test_nothing_that_was_sent_is_kept_anywhere() -> None:
    with vendor({"num_segments": "1"}, 201) as (world, session):
        session.post(TWILIO, data={"Body": "our-secret-text", "To": "+15550001"}, auth=("AC1", "token-9"))
        line, _ = booked(world)
        kept = repr([span.attributes for span in world.spans]) + repr(line) + repr(world.recorded.charges)
        assert not [word for word in ("our-secret-text", "15550001", "token-9") if word in kept]

"""Every shipped quantity: a call as the vendor documents it, how much of its unit that is, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from spancost.charge import CLIENT, SpanView
from spancost.meters.http_api import HTTP_QUANTITY, HttpApiMeter
from spancost.prices.http_rules import HttpRule, HttpRules
from spancost.prices.quantity import Quantity
from tests.prices.http_calls import call

RULES = HttpRules.shipped()

MB_OF_VECTORS = {"vectors": [{"id": str(n), "values": [0.1] * 1024} for n in range(3)]}
MATRIX = "maps.googleapis.com/maps/api/distancematrix/json?origins=A|B&destinations=C|D|E&key=k"
MAPBOX = "api.mapbox.com/directions-matrix/v1/mapbox/driving/1,2;3,4;5,6?access_token=t"
LISTEN = "api.deepgram.com/v1/listen"

IMAGES = "api.openai.com/v1/images/generations"
AUDIO = "api.openai.com/v1/audio/transcriptions"
TTS = "api.openai.com/v1/audio/speech"
MESSAGES = "api.twilio.com/2010-04-01/Accounts/AC1/Messages.json"
TRANSLATE = "translation.googleapis.com/language/translate/v2"
SPEECH = "api.elevenlabs.io/v1/text-to-speech/v1"
RERANK = "api.cohere.com/v2/rerank"

AUDIO_30_S = {"metadata": {"duration": 30.0, "channels": 2}}

CASES: list[tuple[str, str, dict[str, Any], float, float]] = [
    # method, URL, parts of the call, quantity, USD
    ("POST", IMAGES, {"request": {"n": 2}}, 2, 2 * 0.042),
    ("POST", IMAGES, {"request": {}}, 1, 1 * 0.042),
    ("POST", IMAGES, {"request": {}, "response": {"data": [1, 2]}}, 2, 2 * 0.042),
    ("POST", AUDIO, {"response": {"duration": 90.0}}, 1.5, 1.5 * 0.006),
    ("POST", AUDIO, {"response": {"usage": {"seconds": 30}}}, 0.5, 0.5 * 0.006),
    ("POST", TTS, {"request": {"model": "tts-1", "input": "x" * 2500}}, 2.5, 2.5 * 0.015),
    ("POST", TTS, {"request": {"model": "tts-1-hd", "input": "x" * 2500}}, 5, 2.5 * 0.030),
    (
        "POST",
        MESSAGES,
        {"form": "To=%2B15550001&Body=" + "a" * 161, "response": {"num_segments": "2"}},
        2,
        2 * 0.0083,
    ),
    (
        "POST",
        MESSAGES,
        {"form": "Body=" + "a" * 307 + "&MessagingServiceSid=MG1", "response": {"num_segments": "0"}},
        3,
        3 * 0.0083,
    ),
    (
        "POST",
        "api.sendgrid.com/v3/mail/send",
        {
            "request": {
                "personalizations": [{"to": [{"email": "a"}, {"email": "b"}], "cc": [{}]}, {"to": [{}], "bcc": [{}]}]
            }
        },
        5,
        5 * 0.0004,
    ),
    ("POST", "api.resend.com/emails", {"request": {"to": ["a", "b"], "cc": "c"}}, 3, 3 * 0.0004),
    ("POST", "api.resend.com/emails/batch", {"request": [{"to": "a"}, {"to": "b"}]}, 2, 2 * 0.0004),
    (
        "POST",
        "api.mailgun.net/v3/mg.x.example/messages",
        {"form": "to=%22Doe%2C+Jo%22+%3Cj%40x.example%3E%2C+k%40x.example&cc=l%40x.example"},
        3,
        3 * 0.0007,
    ),
    (
        "POST",
        "api.postmarkapp.com/email",
        {"request": {"To": "a@x.example,b@x.example", "Bcc": "c@x.example"}},
        3,
        3 * 0.0015,
    ),
    (
        "POST",
        "email.eu-west-1.amazonaws.com/v2/email/outbound-emails",
        {"request": {"Destination": {"ToAddresses": ["a", "b"], "BccAddresses": ["c"]}}},
        3,
        3 * 0.0001,
    ),
    ("POST", "i-1.svc.pinecone.io/query", {"response": {"matches": [], "usage": {"readUnits": 6}}}, 6, 6 * 16e-6),
    ("POST", "i-1.svc.pinecone.io/vectors/upsert", {"request": MB_OF_VECTORS}, 12, 12 * 4e-6),
    ("POST", "i-1.svc.pinecone.io/vectors/upsert", {"request": {"vectors": [{"values": [1.0]}]}}, 5, 5 * 4e-6),
    (
        "POST",
        "i-1.svc.pinecone.io/vectors/upsert",
        {"headers": {"content-length": str(10 * 1024 + 1)}},
        11,
        11 * 4e-6,
    ),
    ("GET", "i-1.svc.pinecone.io/vectors/fetch?" + "ids=a&" * 11, {}, 2, 2 * 16e-6),
    ("GET", MATRIX, {}, 6, 6 * 0.005),
    ("POST", TRANSLATE, {"request": {"q": ["Hallo", "Welt"]}}, 0.009, 0.009 * 0.02),
    ("POST", TRANSLATE, {"form": "q=Hallo&target=en"}, 0.005, 0.005 * 0.02),
    ("POST", TRANSLATE + "?q=Hallo", {"request": {}}, 0.005, 0.005 * 0.02),
    (
        "POST",
        "vision.googleapis.com/v1/images:annotate",
        {"request": {"requests": [{"features": [{}, {}]}, {"features": [{}]}]}},
        3,
        3 * 0.0015,
    ),
    ("GET", MAPBOX, {}, 9, 9 * 0.002),
    ("GET", MAPBOX + "&sources=0;1", {}, 6, 6 * 0.002),
    ("GET", MAPBOX + "&sources=all&destinations=2", {}, 3, 3 * 0.002),
    ("POST", LISTEN, {"response": AUDIO_30_S}, 0.5, 0.5 * 0.0043),
    ("POST", LISTEN + "?multichannel=true", {"response": AUDIO_30_S}, 1, 1 * 0.0043),
    ("POST", SPEECH, {"answer_headers": {"Character-Cost": "500"}}, 0.5, 0.5 * 0.08),
    ("POST", SPEECH, {"request": {"text": "x" * 250}}, 0.25, 0.25 * 0.08),
    ("POST", "google.serper.dev/search", {"request": {"q": "x"}, "response": {"credits": 1}}, 1, 1 * 0.001),
    ("POST", "google.serper.dev/search", {"request": {"q": "x", "num": 10}}, 1, 1 * 0.001),
    ("POST", "api.tavily.com/search", {"request": {"query": "x"}}, 1, 1 * 0.008),
    ("POST", "api.tavily.com/search", {"request": {"search_depth": "advanced"}}, 2, 2 * 0.008),
    ("POST", "api.tavily.com/extract", {"request": {"urls": ["u"] * 6}}, 2, 2 * 0.008),
    ("POST", "api.tavily.com/extract", {"request": {"urls": "u", "extract_depth": "advanced"}}, 2, 2 * 0.008),
    ("POST", "api.exa.ai/search", {"request": {"query": "x", "numResults": 25}}, 1, 1 * 0.005),
    ("POST", "api.exa.ai/search", {"request": {"query": "x", "numResults": 26}}, 5, 5 * 0.005),
    ("POST", "api.firecrawl.dev/v2/scrape", {"response": {"data": {"metadata": {"creditsUsed": 5}}}}, 5, 5 * 0.00083),
    ("POST", "api.firecrawl.dev/v1/scrape", {"response": {"data": {"metadata": {}}}}, 1, 1 * 0.00083),
    ("POST", "api.firecrawl.dev/v2/search", {"request": {"limit": 11}}, 4, 4 * 0.00083),
    ("POST", "api.firecrawl.dev/v2/search", {"request": {}, "response": {"creditsUsed": 7}}, 7, 7 * 0.00083),
    ("POST", "api.linkup.so/v1/search", {"request": {"depth": "deep"}}, 10, 10 * 0.00587),
    ("POST", "api.linkup.so/v1/search", {"request": {"depth": "standard"}}, 1, 1 * 0.00587),
    ("POST", RERANK, {"response": {"meta": {"billed_units": {"search_units": 3}}}}, 3, 3 * 0.002),
    ("POST", RERANK, {"request": {"documents": ["d"] * 100}}, 1, 1 * 0.002),
    ("POST", RERANK, {"request": {"documents": ["d"] * 101}}, 2, 2 * 0.002),
    ("POST", "eu1-x.upstash.io/", {}, 1, 1 * 2e-6),
    ("POST", "eu1-x.upstash.io/pipeline", {"request": [["SET", "k", "v"], ["INCR", "n"]]}, 2, 2 * 2e-6),
    ("POST", "eu1-x.upstash.io/multi-exec", {"request": [["SET", "k", "v"]] * 3}, 3, 3 * 2e-6),
    ("POST", "api.mistral.ai/v1/ocr", {"response": {"usage_info": {"pages_processed": 12}}}, 12, 12 * 0.004),
    ("POST", "api.telnyx.com/v2/messages", {"response": {"data": {"parts": 2}}}, 2, 2 * 0.004),
    ("POST", "api.telnyx.com/v2/messages", {"request": {"text": "ж" * 71}}, 2, 2 * 0.004),
]


def _rule(method: str, url: str) -> HttpRule:
    host, slash, path = url.partition("?")[0].partition("/")
    rule = RULES.find(host, method, slash + path)
    assert rule is not None
    return rule


def _quantity(rule: HttpRule) -> Quantity:
    assert rule.quantity is not None
    return rule.quantity


@pytest.mark.parametrize(("method", "url", "parts", "quantity", "usd"), CASES)
def test_a_call_costs_its_quantity_times_the_price(
    method: str, url: str, parts: dict[str, Any], quantity: float, usd: float
) -> None:
    rule = _rule(method, url)
    counted = _quantity(rule).of(call(url=f"https://{url}", **parts))
    assert counted == pytest.approx(quantity, rel=1e-12)
    attributes = {"http.request.method": method, "url.full": f"https://{url}", "http.response.status_code": 200}
    (charge,) = HttpApiMeter(RULES).measure(SpanView(method, CLIENT, "t", attributes, 0, 1, {HTTP_QUANTITY: counted}))
    assert charge.quantity == pytest.approx(quantity, rel=1e-12)
    assert charge.usd == pytest.approx(usd, rel=1e-12)
    assert charge.list_usd == charge.usd
    assert charge.line.status == ("estimated" if rule.quantity_basis else "priced")
    assert charge.line.basis == rule.quantity_basis


def test_every_shipped_quantity_has_a_case() -> None:
    tried = {_quantity(_rule(method, url)) for method, url, *_ in CASES}
    shipped = {rule.quantity for rule in RULES.rules if rule.quantity is not None}
    assert {quantity.text for quantity in shipped - tried} == set()
    print(f"{len(shipped)} shipped quantities, {len(CASES)} calls")


def test_a_search_whose_results_are_scraped_is_known_by_its_answer_alone() -> None:
    quantity = _quantity(_rule("POST", "api.firecrawl.dev/v2/search"))
    assert quantity.of(call({"limit": 3, "scrapeOptions": {"formats": ["markdown"]}})) is None


def test_a_message_with_media_is_no_sms() -> None:
    quantity = _quantity(_rule("POST", MESSAGES))
    assert (
        quantity.of(call(form="Body=hi&MediaUrl=https%3A%2F%2Fx.example%2Fa.png", response={"num_segments": "1"}))
        is None
    )


def test_a_voice_model_that_is_billed_by_tokens_is_not_counted_in_characters() -> None:
    assert _quantity(_rule("POST", TTS)).of(call({"model": "gpt-4o-mini-tts", "input": "hello"})) is None


def test_units_other_than_the_call_have_a_quantity_or_are_known_not_to() -> None:
    """What a call does not tell: minutes of a call still to come, pages of a file, what a person confirms later."""
    without = {rule.operation for rule in RULES.rules if rule.basis and rule.quantity is None and not rule.variant}
    assert without == {"voice.us.outbound", "verify", "best", "scribe", "message", "page", "read.page"}

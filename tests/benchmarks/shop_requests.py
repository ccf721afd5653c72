"""Requests of one shop as instrumentations show them: attributes of their spans, children before the root.

A server span, two internal ones, a query, an AWS call, and now and then a call of a language model and an SMS.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from opentelemetry.trace import SpanKind

MODEL: Final = "gpt-5-mini-2025-08-07"
CALLS: Final = ("GetItem", "PutItem", "Query")
"""What is called of DynamoDB."""
LLM_SHARE: Final = 0.2
SMS_SHARE: Final = 0.3


class MadeSpan(NamedTuple):
    """One span as it is sent."""

    scope: str
    """Name of the instrumentation scope."""
    name: str
    kind: SpanKind
    attributes: Mapping[str, str | int]

    @property
    def is_root(self) -> bool:
        """True for the server span, which comes last."""
        return self.kind is SpanKind.SERVER


def make_request(
    draw: random.Random,
    method: str,
    route: str,
    *,
    calls: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
    sends_sms: bool | None = None,
) -> Iterator[MadeSpan]:
    """Yield the spans of a request, the server span last.

    Args:
        draw: What is not said is drawn.

        method: Of the request.

        route: Template, with `{id}` in it or not.

        calls: Operations of DynamoDB; one is drawn by default.

        models: Language models that answer; by default one in five requests asks one.

        sends_sms: Whether it sends an SMS; by default three in ten do.
    """
    code: dict[str, str | int] = {
        "code.function.name": "shop.views.handle",
        "code.file.path": "/srv/shop/views.py",
        "thread.id": 1234,
        "code.line.number": 17,
        "thread.name": "MainThread",
        "shop.items": 3,
    }
    for step in ("load", "render"):
        yield MadeSpan("shop", step, SpanKind.INTERNAL, {**code, "shop.step": step})
    query: dict[str, str | int] = {
        "db.system": "postgresql",
        "db.name": "shop",
        "db.user": "shop",
        "db.statement": "SELECT id, name, price FROM item WHERE basket = %s ORDER BY added LIMIT 50",
        "net.peer.name": "db.internal",
        "net.peer.port": 5432,
        "db.operation": "SELECT",
        "db.sql.table": "item",
    }
    yield MadeSpan("opentelemetry.instrumentation.psycopg", "SELECT shop", SpanKind.CLIENT, query)
    for call in calls or (draw.choice(CALLS),):
        aws: dict[str, str | int] = {
            "rpc.system": "aws-api",
            "rpc.service": "DynamoDB",
            "rpc.method": call,
            "cloud.region": "us-east-1",
            "server.address": "dynamodb.us-east-1.amazonaws.com",
            "server.port": 443,
            "aws.request_id": f"{draw.getrandbits(128):032X}",
            "retry_attempts": 0,
            "http.status_code": 200,
        }
        yield MadeSpan("opentelemetry.instrumentation.botocore", "DynamoDB", SpanKind.CLIENT, aws)
    for model in models or (MODEL,) * (draw.random() < LLM_SHARE):
        llm: dict[str, str | int] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.response.id": f"chatcmpl-{draw.getrandbits(64):x}",
            "server.address": "api.openai.com",
            "server.port": 443,
            "gen_ai.usage.input_tokens": draw.randrange(200, 4000),
            "gen_ai.usage.output_tokens": draw.randrange(20, 900),
            "gen_ai.usage.cache_read.input_tokens": 0,
        }
        yield MadeSpan("opentelemetry.instrumentation.genai.openai", f"chat {model}", SpanKind.CLIENT, llm)
    if draw.random() < SMS_SHARE if sends_sms is None else sends_sms:
        sms: dict[str, str | int] = {
            "http.request.method": "POST",
            "url.full": "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages.json",
            "server.address": "api.twilio.com",
            "server.port": 443,
            "http.response.status_code": 201,
            "network.protocol.version": "1.1",
            "url.scheme": "https",
            "user_agent.original": "twilio-python",
        }
        yield MadeSpan("opentelemetry.instrumentation.requests", "POST", SpanKind.CLIENT, sms)
    served: dict[str, str | int] = {
        "http.request.method": method,
        "url.scheme": "https",
        "url.path": route.replace("{id}", str(draw.randrange(10_000))),
        "http.route": route,
        "network.protocol.version": "1.1",
        "server.address": "shop.example.com",
        "server.port": 443,
        "client.address": "81.2.69.142",
        "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
        "http.response.status_code": 200,
        "http.response.body.size": draw.randrange(500, 60_000),
    }
    yield MadeSpan("opentelemetry.instrumentation.flask", f"{method} {route}", SpanKind.SERVER, served)

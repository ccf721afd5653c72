"""Office: Django under gunicorn. Writes invoices, checks reviews, answers letters."""

# Django ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import boto3
from anthropic import Anthropic
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from opentelemetry import trace
from prometheus_client import Counter

from examples.shop.exposition import all_workers
from spancost import attribute

tracer = trace.get_tracer("shop.office")
invoices_written = Counter("shop_invoices_written", "Invoices written.")

anthropic = Anthropic()
aws: Any = boto3.session.Session()
s3 = aws.client("s3")
sns = aws.client("sns")
products = aws.resource("dynamodb").Table("shop-products")

TOPIC_ARN = os.environ["SHOP_TOPIC_ARN"]
REVIEW_RULES = "A review is kept when it speaks of the thing and harms nobody. " * 80
REVIEW_SAMPLES = "Good: it holds water. Bad: the seller is a fool. " * 40


def write_invoice(request: HttpRequest) -> HttpResponse:
    order = json.loads(request.body)
    with tracer.start_as_current_span("typeset invoice"):
        text = f"Invoice for order {order['order_id']}: {order['total']}\n" + "Thank you.\n" * 200
    s3.put_object(Bucket="shop-assets", Key=f"invoices/{order['order_id']}", Body=text.encode())
    sns.publish(TopicArn=TOPIC_ARN, Message=f"invoice {order['order_id']}")
    invoices_written.inc()
    return JsonResponse({"invoice_id": order["order_id"]}, status=201)


def read_invoice(request: HttpRequest, invoice_id: str) -> HttpResponse:
    stored = s3.get_object(Bucket="shop-assets", Key=f"invoices/{invoice_id}")
    return HttpResponse(stored["Body"].read(), content_type="text/plain")


def check_review(request: HttpRequest) -> HttpResponse:
    review = json.loads(request.body)
    with attribute(feature="moderation", team="trust"):
        message = anthropic.messages.create(
            model="claude-haiku-4-5",
            max_tokens=20,
            system=[{"type": "text", "text": REVIEW_RULES, "cache_control": {"type": "ephemeral"}}],
            messages=[
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": REVIEW_SAMPLES,
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        },
                        {"type": "text", "text": review["text"], "cache_control": {"type": "ephemeral"}},
                    ],
                }
            ],
        )
    return JsonResponse({"verdict": message.stop_reason})


def answer_letter(request: HttpRequest) -> StreamingHttpResponse:
    letter = json.loads(request.body)["text"]

    def words() -> Iterator[str]:
        with anthropic.messages.stream(
            model="claude-sonnet-5", max_tokens=100, messages=[{"role": "user", "content": letter}]
        ) as stream:
            yield from stream.text_stream

    return StreamingHttpResponse(words(), content_type="text/plain")


def export(request: HttpRequest) -> StreamingHttpResponse:
    rows = products.scan(Limit=10)["Items"]
    lines = (f"{row['product_id']},{row['name']},{row['price']}\n" * 20 for row in rows)
    return StreamingHttpResponse(lines, content_type="text/csv")


def metrics(request: HttpRequest) -> HttpResponse:
    body, content_type = all_workers()
    return HttpResponse(body, content_type=content_type)


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [
    path("invoices/", write_invoice),
    path("invoices/<str:invoice_id>/", read_invoice),
    path("reviews/", check_review),
    path("letters/", answer_letter),
    path("export/", export),
    path("metrics", metrics),
    path("health", health),
]

application = get_wsgi_application()

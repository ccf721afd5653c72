"""Storefront: Flask under gunicorn with two workers. Sells things; asks the assistant and the office."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import boto3
import requests
from flask import Flask, Response, jsonify, request
from opentelemetry import trace
from prometheus_client import Counter

from examples.shop.exposition import all_workers
from spancost import attribute

app = Flask(__name__)
tracer = trace.get_tracer("shop.storefront")
http = requests.Session()
orders_placed = Counter("shop_orders_placed", "Orders placed.")

aws: Any = boto3.session.Session()
s3 = aws.client("s3")
sqs = aws.client("sqs")
products = aws.resource("dynamodb").Table("shop-products")
orders = aws.resource("dynamodb").Table("shop-orders")

ASSISTANT_URL = os.environ["SHOP_ASSISTANT_URL"]
OFFICE_URL = os.environ["SHOP_OFFICE_URL"]
PAYMENTS_URL = os.environ["SHOP_PAYMENTS_URL"]
QUEUE_URL = os.environ["SHOP_QUEUE_URL"]
# api.twilio.com is answered by the local server, which plays the proxy on the way there.
TWILIO_PROXIES = {"http": os.environ["SHOP_TWILIO_PROXY"]}
TWILIO_MESSAGES = "http://api.twilio.com/2010-04-01/Accounts/AC0/Messages.json"


@app.get("/")
def home() -> str:
    return "<h1>Shop</h1>" + "<p>Things of all kinds.</p>" * 40


@app.get("/products/<product_id>")
def product(product_id: str) -> Response:
    item = products.get_item(Key={"product_id": product_id})["Item"]
    return jsonify(name=item["name"], price=str(item["price"]), text=item["text"])


@app.get("/products/<product_id>/picture")
def picture(product_id: str) -> Response:
    stored = s3.get_object(Bucket="shop-assets", Key=f"pictures/{product_id}")
    return Response(stored["Body"].read(), mimetype="image/png")


@app.get("/catalogue.csv")
def catalogue() -> Response:
    def lines() -> Iterator[str]:
        for page in range(20):
            yield f"{page},a page of the catalogue,9.90\n" * 50

    return Response(lines(), mimetype="text/csv")


@app.post("/checkout")
def checkout() -> Response:
    order = request.get_json()
    tenant = request.headers.get("X-Tenant", "nobody")
    order_id = str(order["order_id"])
    with attribute(feature="checkout", tenant=tenant):
        with tracer.start_as_current_span("price basket") as span:
            total = sum((Decimal(line["price"]) * line["count"] for line in order["lines"]), Decimal(0))
            span.set_attribute("shop.lines", len(order["lines"]))
        paid = http.post(f"{PAYMENTS_URL}/v1/charges", json={"amount": str(total)}, timeout=10)
        paid.raise_for_status()
        orders.put_item(Item={"tenant": tenant, "order_id": order_id, "total": total, "note": order["note"]})
        sqs.send_message(QueueUrl=QUEUE_URL, MessageBody=order["note"])
        invoice = http.post(f"{OFFICE_URL}/invoices/", json={"order_id": order_id, "total": str(total)}, timeout=10)
        invoice.raise_for_status()
        thanks = http.post(f"{ASSISTANT_URL}/chat", json={"question": "Thank this customer."}, timeout=10)
        thanks.raise_for_status()
        http.post(TWILIO_MESSAGES, data={"Body": "On its way."}, proxies=TWILIO_PROXIES, timeout=10).raise_for_status()
    orders_placed.inc()
    return jsonify(order_id=order_id, invoice=invoice.json()["invoice_id"], thanks=thanks.json()["answer"])


@app.get("/metrics")
def metrics() -> Response:
    body, content_type = all_workers()
    return Response(body, content_type=content_type)


@app.get("/health")
def health() -> str:
    return "ok"

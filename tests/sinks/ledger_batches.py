"""Small batches for the tests of the ledger and the command line, with money worked out from rates."""

from __future__ import annotations

from spancost.charge import Charge, PriceLine, price_line
from spancost.window import (
    ENTRY,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    RequestKey,
    RequestSum,
)

MINUTE = 29_380_300
"""2025-11-10 23:40 UTC; 20 minutes before an hour and a day end."""
BUCKETS = 16

PUT_USD = 0.625e-6
"""One DynamoDB write request unit in us-east-1 since 2024-11-01."""
TOKEN_USD = 0.25e-6
"""One input token of gpt-5-mini."""
MACHINE_USD = 0.096 / 3600
"""One second of an m6i.large in us-east-1."""

PUT = price_line(
    "aws",
    "aws",
    "dynamodb.PutItem",
    unit="WRU",
    region="us-east-1",
    sku="aws.dynamodb.on_demand.write",
    resource="carts",
    source="spancost:2026-07-28",
)
CHAT = price_line("llm", "openai", "chat", model="gpt-5-mini", unit="input_token", source="genai-prices:0.2.3")
MACHINE = price_line(
    "compute",
    "aws",
    "instance",
    unit="s",
    region="us-east-1",
    sku="m6i.large",
    status="estimated",
    basis="assumed_machine",
    source="spancost:2026-07-28",
)
UNKNOWN_HOST = price_line("http", "127.0.0.1", "POST", unit="request", status="unpriced", reason="unknown_host")
NO_USAGE = price_line("llm", "openai", "chat", model="gpt-5-mini", status="unpriced", reason="no_usage")

CART = EntryLabels("/cart/<int:item>", "POST", "")
HOME = EntryLabels("/", "GET", "")
NIGHTLY = EntryLabels("", "", "nightly-report")
ACME = Attribution("checkout", "acme", "web")
NOBODY = Attribution()


def charge(line: PriceLine, quantity: float, rate_usd: float = 0.0) -> Charge:
    return Charge(line, quantity, quantity * rate_usd, quantity * rate_usd)


def charged(
    one: Charge,
    labels: EntryLabels = CART,
    attribution: Attribution = NOBODY,
    position: str = ENTRY,
    minute: int = MINUTE,
    times: int = 1,
) -> tuple[ChargeKey, ChargeSum]:
    key = ChargeKey(minute, one.line, labels, attribution, position)
    return key, ChargeSum(times * one.quantity, times * one.list_usd, times * one.usd, times)


def served(
    count: int,
    labels: EntryLabels = CART,
    attribution: Attribution = NOBODY,
    minute: int = MINUTE,
    outcome: str = "ok",
    total_usd: float = 0.0,
) -> tuple[RequestKey, RequestSum]:
    sums = RequestSum(BUCKETS)
    sums.count, sums.total_usd = count, total_usd
    return RequestKey(minute, labels, attribution, outcome, served=True), sums


def batch_of(*entries: tuple[ChargeKey, ChargeSum] | tuple[RequestKey, RequestSum]) -> Batch:
    batch = Batch({}, {}, [])
    for key, sums in entries:
        if isinstance(key, ChargeKey):
            assert isinstance(sums, ChargeSum)
            batch.charges[key] = sums
        else:
            assert isinstance(sums, RequestSum)
            batch.requests[key] = sums
    return batch


def at_minute() -> float:
    """A clock that stands a few minutes after `MINUTE`: what these batches hold is kept by the minute."""
    return (MINUTE + 10) * 60.0

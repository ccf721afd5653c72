"""Measure the ledger after a month: its size, and how long reports take.

    python -m tests.benchmarks.ledger [REQUESTS] [DAYS]

By default 10 million requests over 30 days of simulated time: 50 routes and 1 000 tenants (both by Zipf's law), and 20
models. Each request costs compute, egress and two AWS calls; a route in three calls one of its two models (three kinds
of tokens). The ledger is written once a simulated minute by the real sink with its default retention. Each report runs
in a process of its own.
"""

from __future__ import annotations

import math
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Final

from spancost.charge import PriceLine, price_line
from spancost.sinks.ledger.schema import DAY, MINUTE, money_tables
from spancost.sinks.ledger.writer import Ledger
from spancost.window import (
    ENTRY,
    INNER,
    Attribution,
    Batch,
    ChargeKey,
    ChargeSum,
    EntryLabels,
    Origin,
    RequestKey,
    RequestSum,
)

REQUESTS: Final = 10_000_000
DAYS: Final = 30
ROUTES: Final = 50
TENANTS: Final = 1_000
MODELS: Final = 20
_FIRST_MINUTE: Final = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) // 60
_SEED: Final = 5
_TOKENS: Final = (("input_token", 1_500, 0.25e-6), ("cached_input_token", 800, 0.025e-6), ("output_token", 250, 2e-6))
REPORTS: Final = (
    ("--month", "2026-10"),
    ("--month", "2026-10", "--by", "day,component"),
    ("--month", "2026-10", "--by", "model"),
    ("--month", "2026-10", "--by", "tenant"),
    ("--month", "2026-10", "--by", "tenant,route"),
)


class _Shop:
    """Makes what one minute of the shop's requests is charged."""

    def __init__(self, requests: int, days: int) -> None:
        self._random = random.Random(_SEED)
        self._per_minute = requests / (days * DAY)
        self._routes = [EntryLabels(f"/v1/thing{n}/{{id}}", "GET" if n % 3 else "POST") for n in range(ROUTES)]
        self._tenants = [Attribution(f"feature{n % 12}", f"tenant-{n:04}", f"team{n % 5}") for n in range(TENANTS)]
        self._route_weights = list(accumulate(1 / (n + 1) for n in range(ROUTES)))
        self._tenant_weights = list(accumulate(1 / (n + 1) for n in range(TENANTS)))
        self._compute = price_line("compute", "aws", "instance", unit="s", sku="m6i.large", source="book")
        self._egress = price_line("egress", "aws", "internet", unit="GB", sku="egress", source="book")
        calls = (("dynamodb.GetItem", "RRU"), ("dynamodb.PutItem", "WRU"))
        self._aws = [
            [price_line("aws", "aws", call, unit=unit, resource=f"table{n % 9}", source="book") for call, unit in calls]
            for n in range(ROUTES)
        ]
        self._models = [
            [_lines_of(f"model-{model % MODELS}") for model in (2 * route, 2 * route + 1)] for route in range(ROUTES)
        ]

    def minute(self, minute: int) -> Batch:
        """Return what a minute's requests are charged."""
        draw = self._random
        batch = Batch({}, {}, [])
        by_hour = 1 + 0.6 * math.sin((minute % DAY) / DAY * 2 * math.pi)
        count = int(self._per_minute * by_hour + draw.random())
        routes = draw.choices(range(ROUTES), cum_weights=self._route_weights, k=count)
        tenants = draw.choices(range(TENANTS), cum_weights=self._tenant_weights, k=count)
        for route, tenant in zip(routes, tenants, strict=True):
            labels, whose, usd = self._routes[route], self._tenants[tenant], 0.0
            for line, position, quantity, rate in self._charges(route):
                sums = batch.charges.setdefault(ChargeKey(minute, line, labels, whose, position), ChargeSum())
                sums.quantity += quantity
                sums.usd += quantity * rate
                sums.list_usd += quantity * rate
                sums.count += 1
                usd += quantity * rate
            key = RequestKey(minute, labels, whose, "error" if draw.random() < 0.01 else "ok", served=True)
            record = batch.requests.setdefault(key, RequestSum(16))
            record.count += 1
            record.total_usd += usd
        return batch

    def _charges(self, route: int) -> Iterator[tuple[PriceLine, str, float, float]]:
        draw = self._random
        yield self._compute, ENTRY, draw.random() * 0.05, 0.107 / 3600
        yield self._egress, ENTRY, draw.randrange(500, 60_000) / 2**30, 0.09
        for line, rate in zip(self._aws[route], (0.1415e-6, 0.705e-6), strict=True):
            yield line, INNER, draw.randrange(1, 5), rate
        if route % 3 == 0:
            for line, (_, most, rate) in zip(draw.choice(self._models[route]), _TOKENS, strict=True):
                yield line, INNER, draw.randrange(most), rate


def _lines_of(model: str) -> list[PriceLine]:
    return [
        price_line("llm", "openai", "chat", model=model, unit=unit, source="genai-prices") for unit, _, _ in _TOKENS
    ]


def write_month(path: Path, requests: int, days: int, *, progress: bool = False) -> tuple[int, float]:
    """Write the ledger of the simulated time; returns how many requests that were, and their cost in USD."""
    clock = [0.0]
    shop = _Shop(requests, days)
    ledger = Ledger(path, Origin("shop", "prod", "123456789012"), now=lambda: clock[0])
    counted, usd, began = 0, 0.0, time.monotonic()
    for minute in range(_FIRST_MINUTE, _FIRST_MINUTE + days * DAY):
        clock[0] = (minute + MINUTE) * 60.0
        batch = shop.minute(minute)
        ledger.write(batch)
        counted += sum(record.count for record in batch.requests.values())
        usd += sum(sums.usd for sums in batch.charges.values())
        if progress and (minute + 1) % DAY == 0:
            done = (minute + 1 - _FIRST_MINUTE) // DAY
            print(
                f"day {done}: {counted:,} requests, {size_mb(path):,.0f} MB, {time.monotonic() - began:,.0f} s",
                flush=True,
            )
    return counted, usd


def size_mb(path: Path) -> float:
    """Return the size of a ledger with its log, MB."""
    return sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")) / 2**20


def rows_of(path: Path) -> dict[str, int]:
    """Return how many rows each table has."""
    connection = sqlite3.connect(path)
    try:
        return {
            table: int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
            for table, _, _ in money_tables()
        }
    finally:
        connection.close()


def time_report(path: Path, arguments: tuple[str, ...]) -> float:
    """Return the seconds that a report takes as a command, start of Python included."""
    began = time.monotonic()
    command = [
        sys.executable,
        "-c",
        "from spancost.cli import main; main()",
        "report",
        "--ledger",
        str(path),
        *arguments,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Write the month, measure and print."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    days = int(sys.argv[2]) if len(sys.argv) > 2 else DAYS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.sqlite")
        counted, usd = write_month(path, requests, days, progress=True)
        whole_mb = size_mb(path)
        print(f"{counted:,} requests, ${usd:,.2f}, {whole_mb:,.0f} MB: {whole_mb / counted * 1e6:,.1f} MB per million")
        for table, rows in rows_of(path).items():
            print(f"  {table:28} {rows:12,} rows")
        for arguments in REPORTS:
            print(f"report {' '.join(arguments):45} {time_report(path, arguments):6.2f} s", flush=True)


if __name__ == "__main__":
    main()

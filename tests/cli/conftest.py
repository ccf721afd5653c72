"""One small ledger of two services, and a way to run the real command in a real process environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spancost.charge import price_line
from spancost.sinks.ledger.writer import Ledger
from spancost.window import (
    ENTRY,
    IDLE,
    INNER,
    LATE_ENTRY,
    UNATTRIBUTED,
    Attribution,
    Batch,
    EntryLabels,
    KeptNode,
    KeptTrace,
    Origin,
)
from tests.sinks.ledger_batches import (
    ACME,
    CART,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    NIGHTLY,
    NO_USAGE,
    NOBODY,
    PUT,
    PUT_USD,
    TOKEN_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

EGRESS_USD = 0.09
EGRESS = price_line(
    "egress",
    "aws",
    "internet",
    unit="GB",
    region="us-east-1",
    sku="aws.egress.internet",
    status="estimated",
    basis="client_assumed_internet",
    source="spancost:2026-07-28",
)
TRACE_ID = 0x5B8EFFF798038103D269B633813FC60C
GLOBEX = Attribution("checkout", "globex", "web")

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    """Write a shop with two tenants that calls a recommender, which has a nightly job and unpriced calls."""
    path = tmp_path / "spancost.sqlite"
    shop, recommender = (
        Ledger(path, Origin("shop", "prod"), now=at_minute),
        Ledger(path, Origin("recommender", "prod"), now=at_minute),
    )
    shop.write(
        batch_of(
            charged(charge(MACHINE, 0.02, MACHINE_USD), attribution=ACME, times=40),
            charged(charge(MACHINE, 0.02, MACHINE_USD), attribution=GLOBEX, times=10),
            charged(charge(PUT, 301, PUT_USD), attribution=ACME, position=INNER, times=40),
            charged(charge(PUT, 2, PUT_USD), attribution=GLOBEX, position=INNER, times=10),
            charged(charge(EGRESS, 48_213 / 2**30, EGRESS_USD), attribution=ACME, position=LATE_ENTRY, times=40),
            charged(charge(UNKNOWN_HOST, 1), attribution=ACME, position=INNER, times=30),
            charged(charge(MACHINE, 0.0005, MACHINE_USD), labels=HOME, times=400),
            charged(charge(MACHINE, 100, MACHINE_USD), labels=EntryLabels(), position=IDLE),
            served(40, attribution=ACME),
            served(10, attribution=GLOBEX),
            served(390, labels=HOME),
            served(10, labels=HOME, outcome="error"),
        )
    )
    recommend = EntryLabels("/recommend/{user_id}", "POST")
    recommender.write(
        batch_of(
            charged(charge(CHAT, 1200, TOKEN_USD), labels=recommend, position=INNER, times=38),
            charged(charge(NO_USAGE, 1), labels=recommend, position=INNER, times=12),
            charged(charge(CHAT, 4000, TOKEN_USD), labels=NIGHTLY, position=INNER, minute=MINUTE + 10),
            charged(charge(PUT, 1, PUT_USD), labels=EntryLabels(), position=UNATTRIBUTED),
            served(50, labels=recommend),
            served(1, labels=NIGHTLY, minute=MINUTE + 10),
        )
    )
    start = MINUTE * 60 * 10**9
    machine, put, bytes_out = charge(MACHINE, 0.02, MACHINE_USD), charge(PUT, 301, PUT_USD), charge(EGRESS, 1e-5, 0.09)
    chat = charge(CHAT, 1200, TOKEN_USD)
    entry_usd = machine.usd + bytes_out.usd
    shop_total = entry_usd + put.usd
    shop.write(
        Batch(
            {},
            {},
            [
                KeptTrace(
                    TRACE_ID,
                    CART,
                    ACME,
                    shop_total,
                    start,
                    (
                        KeptNode(2, 1, "DynamoDB.PutItem", start + 10**6, start + 9 * 10**6, put.usd, put.usd, (put,)),
                        KeptNode(3, 1, "POST", start + 10**7, start + 18 * 10**6, 0.0, 0.0, (charge(UNKNOWN_HOST, 1),)),
                        KeptNode(
                            1,
                            0,
                            "POST /cart/<int:item>",
                            start,
                            start + 2 * 10**7,
                            entry_usd,
                            shop_total,
                            (machine, bytes_out),
                        ),
                    ),
                )
            ],
        )
    )
    recommender.write(
        Batch(
            {},
            {},
            [
                KeptTrace(
                    TRACE_ID,
                    recommend,
                    NOBODY,
                    chat.usd,
                    start,
                    (
                        KeptNode(
                            5, 4, "chat gpt-5-mini", start + 12 * 10**6, start + 16 * 10**6, chat.usd, chat.usd, (chat,)
                        ),
                        KeptNode(
                            4, 3, "POST /recommend/{user_id}", start + 11 * 10**6, start + 17 * 10**6, 0.0, chat.usd, ()
                        ),
                    ),
                )
            ],
        )
    )
    assert ENTRY  # the default position of `charged`
    return path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run `spancost ARGUMENTS` in an empty folder, without any spancost or OTel setting of this process."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SPANCOST_", "OTEL_")) and name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
        }
        return subprocess.run(
            [sys.executable, "-c", "from spancost.cli import main; main()", *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment | variables,
            timeout=60,
            check=False,
        )

    return run

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from spancost.cli._format import usd
from spancost.cli.report.asking import ask
from spancost.cli.report.comparing import Comparison, compare, comparison_csv, comparison_document, comparison_markdown
from spancost.cli.report.options import Asked
from spancost.cli.report.period import Period
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    CART,
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    NIGHTLY,
    PUT,
    PUT_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

_NOW, _BEFORE = MINUTE, MINUTE - 10


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Ten minutes against the ten before: the cart costs double, the nightly job is gone, the home page is new."""
    path = tmp_path / "two.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            charged(charge(PUT, 1000, PUT_USD), CART, minute=_BEFORE),
            charged(charge(PUT, 2000, PUT_USD), CART, minute=_NOW),
            charged(charge(PUT, 3000, PUT_USD), NIGHTLY, minute=_BEFORE),
            charged(charge(PUT, 500, PUT_USD), HOME, minute=_NOW),
            charged(charge(UNKNOWN_HOST, 1), EntryLabels("/unknown", "GET"), minute=_NOW),
            charged(charge(MACHINE, 30, MACHINE_USD), EntryLabels(), position=IDLE, minute=_BEFORE),
            charged(charge(MACHINE, 15, MACHINE_USD), EntryLabels(), position=IDLE, minute=_NOW),
            served(7, CART, minute=_BEFORE),
            served(9, CART, minute=_NOW),
        )
    )
    with LedgerReader(path) as reader:
        now, before = (
            ask(reader, Asked(("entrypoint",), (), period))
            for period in (Period(_NOW, _NOW + 10), Period(_BEFORE, _NOW))
        )
    return compare(now, before)


def test_the_biggest_movers_stand_first_whichever_way_they_moved(comparison: Comparison) -> None:
    assert [(change.key[0], change.change_usd, change.state) for change in comparison.changes] == [
        ("nightly-report", pytest.approx(-3000 * PUT_USD), "gone"),
        ("POST /cart/<int:item>", pytest.approx(1000 * PUT_USD), ""),
        ("(idle)", pytest.approx(-15 * MACHINE_USD), ""),
        ("GET /", pytest.approx(500 * PUT_USD), "new"),
        ("GET /unknown", 0.0, "new"),
    ]


def test_json_has_both_amounts_the_change_and_its_part(comparison: Comparison) -> None:
    document = comparison_document(comparison)
    (cart,) = (row for row in document["rows"] if row["entrypoint"].startswith("POST"))
    assert cart == {
        "entrypoint": "POST /cart/<int:item>",
        "before_requests": 7,
        "requests": 9,
        "before_usd": pytest.approx(1000 * PUT_USD),
        "total_usd": pytest.approx(2000 * PUT_USD),
        "change_usd": pytest.approx(1000 * PUT_USD),
        "change_ratio": pytest.approx(1.0),
        "state": "",
        "unpriced": 0,
    }
    (home,) = (row for row in document["rows"] if row["entrypoint"] == "GET /")
    assert home["change_ratio"] is None
    before_usd = 4000 * PUT_USD + 30 * MACHINE_USD
    assert document["before_usd"] == pytest.approx(before_usd)
    assert document["change_usd"] == pytest.approx(-1500 * PUT_USD - 15 * MACHINE_USD)
    assert document["change_ratio"] == pytest.approx((-1500 * PUT_USD - 15 * MACHINE_USD) / before_usd)
    assert sum(row["change_usd"] for row in document["rows"]) == pytest.approx(document["change_usd"])
    assert document["compared"]["period"]["from"] == "2025-11-10T23:30:00+00:00"


def test_csv_has_the_same_rows(comparison: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(comparison_csv(comparison))))
    assert [row["state"] for row in rows] == ["gone", "", "", "new", "new"]
    assert float(rows[0]["change_usd"]) == pytest.approx(-3000 * PUT_USD)


def test_markdown_says_new_and_gone_and_never_zero_for_unknown(comparison: Comparison) -> None:
    lines = comparison_markdown(comparison).splitlines()
    assert f"| nightly-report | {usd(3000 * PUT_USD)} |  | -{usd(3000 * PUT_USD)} | gone |" in lines
    (unknown,) = (line for line in lines if "/unknown" in line)
    assert unknown == "| GET /unknown |  | ? | ? | new |"


def test_periods_that_are_not_equally_long_are_said(comparison: Comparison) -> None:
    assert comparison.notes() == []
    longer = comparison.before._replace(counted=(_BEFORE - 5, _NOW))
    assert comparison._replace(before=longer).notes()[-1] == (
        "The periods are not equally long: 15 minutes and 10 minutes."
    )

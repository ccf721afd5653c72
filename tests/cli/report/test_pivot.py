from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from spancost.cli._format import usd
from spancost.cli.report.asking import ask
from spancost.cli.report.options import Asked, IdleMethod
from spancost.cli.report.period import Period
from spancost.cli.report.pivot import Pivot, pivot_csv, pivot_document, pivot_markdown, pivoted, print_pivot
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, Attribution, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    CART,
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    PUT,
    PUT_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
)


def pivot_of(path: Path, *keys: str, columns: int = 8, idle: IdleMethod = IdleMethod.SEPARATE) -> Pivot:
    """Five tenants, the first one the cheapest; the last one also calls a host without a price."""
    tenants = [Attribution("", f"tenant-{number}", "") for number in range(5)]
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            *(charged(charge(PUT, n + 1, PUT_USD), CART, owner, minute=MINUTE + n) for n, owner in enumerate(tenants)),
            charged(charge(PUT, 7, PUT_USD), HOME, tenants[0]),
            charged(charge(UNKNOWN_HOST, 1), HOME, tenants[4]),
            charged(charge(MACHINE, 1, MACHINE_USD), EntryLabels(), position=IDLE),
        )
    )
    with LedgerReader(path) as reader:
        return pivoted(ask(reader, Asked(None, (), Period(), idle=idle), keys), columns)


def test_the_dearest_values_have_a_column_and_the_rest_is_other(tmp_path: Path) -> None:
    pivot = pivot_of(tmp_path / "a.sqlite", "entrypoint", "tenant", columns=2)
    rows = {row["entrypoint"]: row for row in csv.DictReader(io.StringIO(pivot_csv(pivot)))}
    assert list(rows["GET /"]) == ["entrypoint", "(none)", "tenant-0", "OTHER", "total"]
    cart = rows["POST /cart/<int:item>"]
    assert float(cart["tenant-0"]) == pytest.approx(PUT_USD)
    assert float(cart["OTHER"]) == pytest.approx((2 + 3 + 4 + 5) * PUT_USD)
    assert float(cart["total"]) == pytest.approx(15 * PUT_USD)
    assert float(rows["(idle)"]["(none)"]) == pytest.approx(MACHINE_USD)


def test_json_has_all_values_and_the_sums_of_rows_and_columns(tmp_path: Path) -> None:
    document = pivot_document(pivot_of(tmp_path / "a.sqlite", "entrypoint", "tenant", columns=2))
    assert document["pivot"] == "tenant"
    assert document["usd"]["tenant-0"] == pytest.approx(8 * PUT_USD)
    assert sum(document["usd"].values()) == pytest.approx(document["total_usd"])
    assert sum(row["total_usd"] for row in document["rows"]) == pytest.approx(document["total_usd"])


def test_of_times_the_newest_have_a_column_in_their_order(tmp_path: Path) -> None:
    pivot = pivot_of(tmp_path / "a.sqlite", "entrypoint", "minute", columns=2)
    assert pivot.parts(2) == (
        ["2025-11-10T23:43Z", "2025-11-10T23:44Z"],
        ["2025-11-10T23:40Z", "2025-11-10T23:41Z", "2025-11-10T23:42Z"],
    )


def test_rows_of_times_are_in_order_and_idle_compute_stands_behind_its_own_time(tmp_path: Path) -> None:
    pivot = pivot_of(tmp_path / "a.sqlite", "minute", "component")
    assert [key[0] for key in pivot.rows][:3] == [
        "2025-11-10T23:40Z",
        "2025-11-10T23:40Z (idle)",
        "2025-11-10T23:41Z",
    ]
    assert pivot.rows[("2025-11-10T23:40Z (idle)",)]["compute"].usd == pytest.approx(MACHINE_USD)


def test_what_has_no_price_is_a_question_mark(tmp_path: Path) -> None:
    text = pivot_markdown(pivot_of(tmp_path / "a.sqlite", "entrypoint", "component"))
    (home,) = (line for line in text.splitlines() if line.startswith("| GET /"))
    assert home == f"| GET / |  | {usd(7 * PUT_USD)} | ? | {usd(7 * PUT_USD)} |"


def test_what_has_no_price_is_empty_in_csv_and_null_in_json_and_never_zero(tmp_path: Path) -> None:
    priced = pivot_of(tmp_path / "a.sqlite", "entrypoint", "component", columns=2)
    (home,) = (row for row in csv.DictReader(io.StringIO(pivot_csv(priced))) if row["entrypoint"] == "GET /")
    assert home == {"entrypoint": "GET /", "compute": "0.0", "aws": home["aws"], "OTHER": "", "total": home["total"]}
    assert float(home["aws"]) == float(home["total"]) == pytest.approx(7 * PUT_USD)
    document = pivot_document(priced)
    (row,) = (row for row in document["rows"] if row["entrypoint"] == "GET /")
    assert row["usd"] == {"aws": pytest.approx(7 * PUT_USD), "http": None}
    assert row["total_usd"] == pytest.approx(7 * PUT_USD)  # what is known of it
    assert document["usd"]["http"] is None

    path = tmp_path / "unknown.sqlite"
    ledger = Ledger(path, Origin("shop"), now=at_minute)
    ledger.write(batch_of(charged(charge(UNKNOWN_HOST, 1), HOME)))
    with LedgerReader(path) as reader:
        unknown = pivoted(ask(reader, Asked(None, (), Period()), ("entrypoint", "component")), 8)
    assert pivot_csv(unknown) == "entrypoint,http,total\nGET /,,\n"
    document = pivot_document(unknown)
    assert document["rows"] == [{"entrypoint": "GET /", "usd": {"http": None}, "total_usd": None}]
    assert (document["usd"], document["total_usd"]) == ({"http": None}, None)


@pytest.mark.parametrize("width", [60, 80, 90])
def test_columns_that_do_not_fit_are_other(
    tmp_path: Path, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_pivot(pivot_of(tmp_path / "a.sqlite", "entrypoint", "tenant"), 40, wide=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert "OTHER" in lines[0]
    print_pivot(pivot_of(tmp_path / "b.sqlite", "entrypoint", "tenant"), 40, wide=True)
    assert "OTHER" not in capsys.readouterr().out

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from spancost.cli._format import usd
from spancost.cli.report.unpriced import not_priced
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.rows import UnpricedRow
from spancost.sinks.ledger.writer import Ledger
from spancost.window import EntryLabels, Origin
from tests.cli.conftest import EGRESS, EGRESS_USD, Cli
from tests.sinks.ledger_batches import (
    CHAT,
    MACHINE,
    MACHINE_USD,
    PUT,
    PUT_USD,
    TOKEN_USD,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

ACME_USD = 40 * (0.02 * MACHINE_USD + 301 * PUT_USD + 48_213 / 2**30 * EGRESS_USD)
GLOBEX_USD = 10 * (0.02 * MACHINE_USD + 2 * PUT_USD)
CART_USD = ACME_USD + GLOBEX_USD
CART_DIRECT_USD = 50 * 0.02 * MACHINE_USD + 40 * 48_213 / 2**30 * EGRESS_USD
HOME_USD = 400 * 0.0005 * MACHINE_USD
RECOMMEND_USD = 38 * 1200 * TOKEN_USD
NIGHTLY_USD = 4000 * TOKEN_USD
UNATTRIBUTED_USD = PUT_USD
IDLE_USD = 100 * MACHINE_USD
GRAND_USD = CART_USD + HOME_USD + RECOMMEND_USD + NIGHTLY_USD + UNATTRIBUTED_USD + IDLE_USD


def as_json(cli: Cli, ledger_file: Path, *arguments: str) -> dict[str, Any]:
    done = cli("report", "--ledger", str(ledger_file), "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_by_default_each_service_and_entrypoint_has_a_row_with_its_dollars(cli: Cli, ledger_file: Path) -> None:
    answer = as_json(cli, ledger_file)
    assert answer["by"] == ["service", "entrypoint"]
    assert {(row["service"], row["entrypoint"]): row["total_usd"] for row in answer["rows"]} == {
        ("shop", "POST /cart/<int:item>"): pytest.approx(CART_USD, rel=1e-9),
        ("shop", "GET /"): pytest.approx(HOME_USD, rel=1e-9),
        ("recommender", "POST /recommend/{user_id}"): pytest.approx(RECOMMEND_USD, rel=1e-9),
        ("recommender", "nightly-report"): pytest.approx(NIGHTLY_USD, rel=1e-9),
        ("recommender", ""): pytest.approx(UNATTRIBUTED_USD, rel=1e-9),
    }


def test_direct_total_requests_and_share_of_a_row(cli: Cli, ledger_file: Path) -> None:
    answer = as_json(cli, ledger_file, "--by", "service,http_route")
    (row,) = (row for row in answer["rows"] if row["http_route"] == "/cart/<int:item>")
    assert row["requests"] == 50
    assert row["direct_usd"] == pytest.approx(CART_DIRECT_USD, rel=1e-9)
    assert row["total_usd"] == pytest.approx(CART_USD, rel=1e-9)
    assert row["usd_per_1000_requests"] == pytest.approx(CART_USD / 50 * 1000, rel=1e-9)
    assert row["share"] == pytest.approx(CART_USD / GRAND_USD, rel=1e-9)
    assert row["component_usd"]["egress"] == pytest.approx(40 * 48_213 / 2**30 * EGRESS_USD, rel=1e-9)
    assert row["unpriced"] == {"http": 30}


def test_the_grand_total_is_rows_and_idle(cli: Cli, ledger_file: Path) -> None:
    answer = as_json(cli, ledger_file, "--by", "tenant")
    assert answer["idle_usd"] == pytest.approx(IDLE_USD, rel=1e-9)
    assert answer["total_usd"] == pytest.approx(GRAND_USD, rel=1e-9)
    rows_usd = sum(row["total_usd"] or 0.0 for row in answer["rows"])
    assert rows_usd + answer["idle_usd"] == pytest.approx(GRAND_USD, rel=1e-9)
    assert sum(usd or 0.0 for usd in answer["component_usd"].values()) + answer["idle_usd"] == pytest.approx(
        GRAND_USD, rel=1e-9
    )


def test_json_says_what_is_unpriced_and_what_is_estimated(cli: Cli, ledger_file: Path) -> None:
    answer = as_json(cli, ledger_file)
    assert {(row["provider"], row["reason"]): row["charge_count"] for row in answer["unpriced"]} == {
        ("127.0.0.1", "unknown_host"): 30,
        ("openai", "no_usage"): 12,
    }
    assert {row["basis"] for row in answer["estimated"]} == {"assumed_machine", "client_assumed_internet"}


def test_csv_has_full_precision_and_an_idle_row(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", "tenant", "--format", "csv")
    rows = {row["tenant"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert float(rows["acme"]["total_usd"]) == pytest.approx(ACME_USD, rel=1e-12)
    assert float(rows["(idle)"]["total_usd"]) == pytest.approx(IDLE_USD, rel=1e-12)
    assert float(rows["acme"]["aws_usd"]) == pytest.approx(40 * 301 * PUT_USD, rel=1e-12)


def test_the_table_ends_with_the_total_and_what_is_not_priced(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == (
        "Total $0.0228, $0.00267 of it idle; 42 spans not priced: unknown_host 30 (127.0.0.1), no_usage 12 (gpt-5-mini)"
    )
    assert "m6i.large us-east-1 (assumed_machine)" in done.stdout
    assert "\x1b[" not in done.stdout


def test_usage_without_a_price_is_a_question_mark_and_never_zero_dollars(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", "component")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("http "))
    assert line.split()[-2:] == ["?", "?"] or "?" in line.split()


@pytest.mark.parametrize("width", ["80", "100", "140"])
def test_no_line_is_wider_than_the_terminal_and_no_key_is_cut_by_default(
    cli: Cli, ledger_file: Path, width: str
) -> None:
    done = cli("report", "--ledger", str(ledger_file), COLUMNS=width)
    assert max(map(len, done.stdout.splitlines())) <= int(width)
    assert "…" not in done.stdout
    for amount in ("$0.00773", "$0.0000267", "$0.00000533", "$0.1545", "33.9 %"):
        assert amount in done.stdout


_KEYS = ("component", "provider", "operation", "model", "status", "reason", "service")


@pytest.mark.parametrize("width", ["60", "80", "100"])
@pytest.mark.parametrize("count", range(1, 8))
def test_every_number_is_whole_however_many_keys_there_are(cli: Cli, ledger_file: Path, width: str, count: int) -> None:
    arguments = ("report", "--ledger", str(ledger_file), "--by", ",".join(_KEYS[:count]))
    printed = cli(*arguments, COLUMNS=width).stdout
    narrow = _table(printed)
    whole = _table(cli(*arguments, COLUMNS="400").stdout)
    assert len(narrow) == len(whole) >= 7
    left_out = 1 if "PER MONTH is left out" in printed else 0
    for line, wide_line in zip(narrow, whole, strict=True):
        numbers, all_numbers = _numbers(line), _numbers(wide_line)
        remaining = iter(all_numbers)
        assert all(number in remaining for number in numbers), (line, wide_line)
        assert len(all_numbers) - len(numbers) <= left_out


def _table(stdout: str) -> list[str]:
    """Return the lines of the first table; of a folded key only the first line, which has the numbers."""
    lines = stdout.split("\n\n", maxsplit=1)[0].splitlines()
    return [line for line in lines if "%" in line or line.rstrip().endswith("?") or "REQUESTS" in line]


def _numbers(line: str) -> list[str]:
    words = line.replace(" %", "%").split()
    return [word for word in words if word[0] in "$?" or word.endswith("%") or word.replace(",", "").isdigit()]


@pytest.mark.parametrize("width", ["60", "80", "100"])
def test_a_narrow_terminal_gets_the_sums_first_and_then_one_more_table(cli: Cli, ledger_file: Path, width: str) -> None:
    tables = cli("report", "--ledger", str(ledger_file), COLUMNS=width).stdout.split("\n\n")
    assert len(tables) == 3  # the last one is the notes
    first, second = (table.splitlines()[0] for table in tables[:2])
    assert first.split()[2:4] == ["REQUESTS", "TOTAL"]
    assert first.endswith("SHARE")
    assert "LLM" in second
    assert "REQUESTS" not in second


def test_components_below_a_thousandth_share_a_column_where_space_is_short(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "small.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            charged(charge(CHAT, 10_000_000, TOKEN_USD)),
            charged(charge(PUT, 1, PUT_USD)),
            charged(charge(EGRESS, 1e-6, EGRESS_USD)),
            charged(charge(MACHINE, 0.001, MACHINE_USD)),
            served(3),
        )
    )
    narrow = cli("report", "--ledger", str(path), COLUMNS="100").stdout
    header = narrow.splitlines()[0].split()
    assert header[-2:] == ["LLM", "OTHER"]
    other = 1 * PUT_USD + 1e-6 * EGRESS_USD + 0.001 * MACHINE_USD
    assert narrow.splitlines()[1].split()[-1] == usd(other)
    assert "--wide" in narrow
    wide = cli("report", "--ledger", str(path), "--wide", COLUMNS="60").stdout
    assert wide.splitlines()[0].split()[-4:] == ["COMPUTE", "EGRESS", "AWS", "LLM"]
    assert "OTHER" not in wide


@pytest.mark.parametrize("keys", ["component", "service,sku", "position", "unit", "basis"])
def test_direct_is_no_column_where_rows_are_parts_of_a_request(cli: Cli, ledger_file: Path, keys: str) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", keys)
    assert "DIRECT" not in done.stdout.splitlines()[0]


def test_a_key_that_no_row_has_gets_no_column(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", "cloud_account,service")
    assert done.stdout.splitlines()[0].split()[0] == "SERVICE"
    assert "cloud_account: (none) everywhere" in done.stdout
    assert done.stdout.count("total") == 1


def test_a_ledger_without_anything_says_how_often_it_is_written(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    Ledger(path, Origin()).create()
    done = cli("report", "--ledger", str(path))
    assert (done.returncode, done.stdout) == (0, "nothing in the ledger yet: written every 5 s\n")


def test_a_component_key_counts_charges_and_shares_the_requests(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", "service,component")
    header = done.stdout.splitlines()[0].split()
    assert "CHARGES" in header
    assert "EGRESS" not in header


def test_rows_beyond_the_limit_are_one_row_with_their_sum(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "many.sqlite"
    entries = [charged(charge(PUT, n + 1, PUT_USD), EntryLabels(f"/r{n:03}", "GET")) for n in range(100)]
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(*entries, *(served(1, EntryLabels(f"/r{n:03}", "GET")) for n in range(100)))
    )
    done = cli("report", "--ledger", str(path), "--limit", "10")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("(90 more)"))
    assert line.split()[2:4] == ["90", f"${sum(range(1, 91)) * PUT_USD:.5f}".rstrip("0")]
    assert "--limit 100" in done.stdout


def test_time_keys_are_in_order_of_time(cli: Cli, ledger_file: Path) -> None:
    answer = as_json(cli, ledger_file, "--by", "minute")
    assert [row["minute"] for row in answer["rows"]] == ["2025-11-10T23:40Z", "2025-11-10T23:50Z"]


def test_markup_in_a_route_is_printed_as_it_stands(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "markup.sqlite"
    labels = EntryLabels("/files/[bold]{name}", "GET")
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(charged(charge(PUT, 1, PUT_USD), labels)))
    assert "/files/[bold]{name}" in cli("report", "--ledger", str(path)).stdout


def test_compute_without_a_rate_is_said_with_what_to_set(cli: Cli, tmp_path: Path) -> None:
    from spancost.charge import price_line

    path = tmp_path / "unknown.sqlite"
    line = price_line("compute", "", "instance", unit="s", status="unpriced", reason="compute_rate_unknown")
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(charged(charge(line, 0.5), times=3), charged(charge(line, 100), position="idle"), served(3))
    )
    done = cli("report", "--ledger", str(path))
    assert "compute of 101.5 s not priced: compute_rate_unknown (set SPANCOST_COMPUTE)" in done.stdout
    (idle,) = (line for line in done.stdout.splitlines() if line.startswith("(idle)"))
    assert "?" in idle


def test_a_wrong_key_is_wrong_usage_with_the_near_miss(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--by", "service,tennant")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'tennant' is not a key: did you mean 'tenant'?" in done.stderr
    assert "http_route" in done.stderr


def test_route_and_method_are_short_for_the_names_of_the_attributes(cli: Cli, ledger_file: Path) -> None:
    short = cli("report", "--ledger", str(ledger_file), "--by", "method,route", "--format", "csv")
    long = cli("report", "--ledger", str(ledger_file), "--by", "http_request_method,http_route", "--format", "csv")
    assert short.returncode == 0
    assert short.stdout == long.stdout


def test_a_wrong_since_is_wrong_usage(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--since", "yesterday")
    assert done.returncode == 2
    assert "30s, 5m or 1h" in done.stderr


def test_since_leaves_out_what_is_older(cli: Cli, ledger_file: Path) -> None:
    assert as_json(cli, ledger_file, "--since", "5m")["rows"] == []
    assert len(as_json(cli, ledger_file, "--since", "36500d")["rows"]) == 5


def test_a_missing_ledger_is_an_error_that_says_what_to_do(cli: Cli) -> None:
    done = cli("report")
    assert done.returncode == 2
    assert "spancost run -- COMMAND" in done.stderr
    assert "SPANCOST_LEDGER" in done.stderr


def test_a_file_that_is_no_ledger_is_an_error(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("text " * 500)
    done = cli("report", "--ledger", str(path))
    assert done.returncode == 2
    assert "not an SQLite database" in done.stderr


def test_an_empty_period_says_so_and_is_fine(cli: Cli, ledger_file: Path) -> None:
    done = cli("report", "--ledger", str(ledger_file), "--since", "5m")
    assert (done.returncode, done.stdout) == (0, "nothing in the ledger for the last 5m\n")


def test_the_ledger_is_found_through_the_environment_and_the_default_name(cli: Cli, ledger_file: Path) -> None:
    assert cli("report", SPANCOST_LEDGER=str(ledger_file)).returncode == 0
    ledger_file.rename(ledger_file.parent / "work" / "spancost.sqlite")
    assert cli("report").returncode == 0


def test_the_reader_and_the_report_agree(cli: Cli, ledger_file: Path) -> None:
    with LedgerReader(ledger_file) as reader:
        totals = reader.totals()
    answer = as_json(cli, ledger_file)
    assert totals.usd + totals.idle_usd == pytest.approx(answer["total_usd"], rel=1e-12)
    assert totals.requests == answer["requests"] == 501


def test_compute_that_nobody_sees_is_told_by_requests_without_advice() -> None:
    seen = UnpricedRow("compute", "", "instance", "", "s", "compute_rate_unknown", 3, 1.5)
    unseen = UnpricedRow("compute", "", "", "", "s", "exporter", 2, 0.0)
    assert not_priced([unseen]) == "compute of 2 requests not priced: exporter"
    assert not_priced([seen, unseen]) == (
        "compute of 1.5 s not priced: compute_rate_unknown (set SPANCOST_COMPUTE); "
        "compute of 2 requests not priced: exporter"
    )

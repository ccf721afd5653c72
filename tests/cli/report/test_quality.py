"""What report and doctor say of how far figures can be relied on."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from spancost import names
from spancost.bounds import AT_LEAST, AT_MOST, UNKNOWN
from spancost.charge import Charge, price_line
from spancost.cli.doctor import Check, price_age
from spancost.cli.report.quality import quality_document, quality_lines
from spancost.sinks.ledger.rows import Quality
from spancost.sinks.ledger.writer import Ledger
from spancost.window import EntryLabels, Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import MINUTE, batch_of, charge, charged, served


def _counts(**counts: int) -> dict[str, int]:
    return dict.fromkeys(names.STATUSES, 0) | counts


_NO_RISK = {AT_MOST: 0.0, AT_LEAST: 0.0, UNKNOWN: 0.0}
_MIXED = Quality(
    {"llm": _counts(priced=6, estimated=2, unpriced=1, duplicate=4), "aws": _counts(priced=1)},
    {AT_MOST: 1.0, AT_LEAST: 0.0, UNKNOWN: 0.25},
    {"outer_span": 3, "other_trace": 1},
    0.5,
    0.0,
    2.0,
    sampled_only=True,
    health={"evictions": 2, "error:sink.ledger": 3, "error:meter.aws": 1, "series_other": 7},
)


def test_lines_say_shares_risk_and_the_rest() -> None:
    assert quality_lines(_MIXED) == [
        "Data quality: of 10 charged spans 70.0 % priced, 20.0 % estimated, 10.0 % without a price.",
        "At risk: estimated $1.00 at most, $0.25 more or less; no bound is known for 1 without a price.",
        "Besides: $0.50 late, 4 duplicates withheld (outer_span 3, other_trace 1), $2.00 under `other`, sampled spans "
        "only, 2 requests settled before they ended, 4 errors of spancost itself (sink.ledger 3, meter.aws 1).",
    ]


def test_nothing_is_said_where_everything_has_a_price() -> None:
    all_known = Quality({"aws": _counts(priced=3, free=1)}, _NO_RISK, {}, 0.0, 0.0, 0.0, sampled_only=False, health={})
    assert quality_lines(all_known) == []
    assert quality_lines(all_known._replace(spans={}, late_usd=1.0, duplicates={"transport": 2})) == []


def test_document_has_all_of_it_and_no_duplicate_in_a_share() -> None:
    found = quality_document(_MIXED)
    assert found["spans"] == 10
    assert found["share"] == {"priced": 0.7, "estimated": 0.2, "free": 0.0, "unpriced": 0.1}
    llm = found["by_component"]["llm"]
    assert (llm["spans"], llm["duplicate"], llm["priced_share"]) == (9, 4, pytest.approx(8 / 9))
    assert found["at_risk_usd"] == {AT_MOST: 1.0, AT_LEAST: 0.0, UNKNOWN: 0.25}
    assert (found["no_bound_known"], found["duplicates"]) == (1, {"outer_span": 3, "other_trace": 1})
    assert (found["evictions"], found["series_other"]) == (2, 7)
    assert found["errors"] == {"sink.ledger": 3, "meter.aws": 1}
    assert (found["late_usd"], found["other_usd"], found["sampled_only"]) == (0.5, 2.0, True)


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    path = tmp_path / "ledger.sqlite"
    unknown = price_line(names.LLM, "openai", "chat", model="nobody", status=names.UNPRICED, reason="unknown_model")
    estimated = price_line(
        names.AWS, "aws", "dynamodb.PutItem", status=names.ESTIMATED, basis="size:1_unit", source="s"
    )
    asked, put = EntryLabels("/ask", "POST"), EntryLabels("/put", "POST")
    batch = batch_of(
        charged(Charge(unknown, 10.0, 0.0, 0.0), asked),
        charged(charge(estimated, 1, 0.25), put),
        served(1, asked),
        served(1, put),
    )
    Ledger(path, Origin("shop"), now=lambda: (MINUTE + 10) * 60.0).write(
        batch._replace(health={"error:sink.ledger": 2, "evictions": 1})
    )
    return str(path)


def _json(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = cli(*arguments, "--format", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_an_amount_of_which_nothing_is_known_is_null_in_json_and_empty_in_csv(cli: Cli, ledger: str) -> None:
    document = _json(cli, "report", "--by", "route", "--ledger", ledger)
    rows = {row["http_route"]: row for row in document["rows"]}
    for name in ("total_usd", "direct_usd", "list_usd", "usd_per_1000_requests", "share"):
        assert rows["/ask"][name] is None, name
    assert rows["/ask"]["component_usd"]["llm"] is None
    assert rows["/ask"]["component_usd"]["aws"] == 0.0
    assert rows["/put"]["total_usd"] == rows["/put"]["component_usd"]["aws"] == 0.25
    assert (document["total_usd"], document["component_usd"]["llm"]) == (0.25, None)
    done = cli("report", "--by", "route", "--ledger", ledger, "--format", "csv")
    table = {row["http_route"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert (table["/ask"]["total_usd"], table["/ask"]["llm_usd"], table["/ask"]["unpriced"]) == ("", "", "1")
    assert float(table["/put"]["total_usd"]) == 0.25


def test_report_says_it_above_the_total_and_as_an_object(cli: Cli, ledger: str) -> None:
    lines = cli("report", "--by", "route", "--ledger", ledger).stdout.splitlines()
    at = lines.index("Data quality: of 2 charged spans 50.0 % estimated, 50.0 % without a price.")
    assert lines[at + 1] == "At risk: estimated $0.25 at least; no bound is known for 1 without a price."
    assert lines[at + 2].startswith("Besides: 1 requests settled before they ended, 2 errors of spancost itself (sink.")
    assert lines[at + 3].startswith("Total $0.25")
    quality = _json(cli, "report", "--by", "route", "--ledger", ledger)["quality"]
    assert quality["at_risk_usd"] == {AT_MOST: 0.0, AT_LEAST: 0.25, UNKNOWN: 0.0}
    assert quality["errors"] == {"sink.ledger": 2}


def test_doctor_says_the_same_of_the_ledger_and_how_old_prices_are(cli: Cli, ledger: str) -> None:
    document = _json(cli, "doctor", "--ledger", ledger, code=1)
    assert document["quality"]["no_bound_known"] == 1
    checks = {(check["subject"], check["state"]): check["text"] for check in document["checks"]}
    assert checks["data quality", "note"].startswith("of 2 charged spans")
    assert checks["errors", "problem"].startswith("spancost itself has failed somewhere")
    assert any("days old" in check["text"] and check["state"] == "ok" for check in document["checks"])


def test_old_prices_are_something_to_look_at() -> None:
    day_s = 86_400.0
    fresh = price_age({"book": 0.0, "cache": 170 * day_s}, 180 * day_s)
    assert fresh == Check("prices", "ok", "book 180 days old, cache 10 days old")
    old = price_age({"book": 0.0}, 181 * day_s)
    assert old == Check("prices", "problem", "book 181 days old: pip install -U spancost, or spancost prices refresh")
    assert price_age({}, 0.0) is None

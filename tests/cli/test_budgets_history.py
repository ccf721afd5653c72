from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import pytest

from spancost.cli.budgets.bars import length_bar, used_bar
from tests.budgets.books import UNKNOWN
from tests.cli.budget_shop import Ask, ask, books, folder

__all__ = ["ask", "folder"]

DAY_S = 86_400
RULES = """\
budgets:
  store: sqlite:budgets.sqlite
  rules:
    - {name: day, budget: {limit_usd: 50, window: day}}
    - {name: tenants, budget: {limit_usd: 50, window: day}, per: tenant}
    - {name: ever, budget: {limit_usd: 500, window: total}}
    - {name: roll, budget: {limit_usd: 100, window: rolling 24h}}
    - {name: spike, spike: {bucket: 1h}}
    - {name: burn, burn_rate: {budget: day}}
    - {name: dear, max_request_usd: 1}
"""


@pytest.fixture
def week(folder: Path) -> float:
    """Have two tenants spend at noon of each of five days, but the third; return noon of the last, Unix seconds."""
    (folder / "spancost.yaml").write_text(RULES, encoding="utf-8")
    today = time.time() // DAY_S * DAY_S
    shop = books(folder, at=today)
    for back in (4, 3, 1):
        shop.clock.now = today - back * DAY_S + DAY_S / 2
        shop.spend(10.0 * back, tenant="acme", calls=3)
        shop.spend(20.0, tenant="globex")
    shop.spend(0.0, tenant="globex", line=UNKNOWN)
    shop.clock.now = time.time()
    shop.spend(1.25, tenant="acme")
    shop.book.close()
    return today


def test_each_period_is_shown_oldest_first_also_those_without_money(week: float, ask: Ask) -> None:
    found = ask("history", "day", "--format", "json").json
    assert [row["spend_usd"] for row in found["periods"]] == [60.0, 50.0, 0.0, 30.0, 1.25]
    assert [row["start"] for row in found["periods"]] == [week - back * DAY_S for back in (4, 3, 2, 1, 0)]
    assert [row["ratio"] for row in found["periods"]] == [1.2, 1.0, 0.0, 0.6, 0.025]
    assert [row["unpriced"] for row in found["periods"]] == [0, 0, 0, 1, 0]
    assert found["periods"][0]["calls"] == 4
    assert found["limit_usd"] == 50.0


def test_a_key_has_its_own_periods_and_together_they_are_the_sum_without_a_limit(week: float, ask: Ask) -> None:
    one = ask("history", "tenants", "--key", "acme", "--format", "json").json
    assert [row["spend_usd"] for row in one["periods"]] == [40.0, 30.0, 0.0, 10.0, 1.25]
    assert one["limit_usd"] == 50.0
    both = ask("history", "tenants", "--format", "json").json
    assert [row["spend_usd"] for row in both["periods"]] == [60.0, 50.0, 0.0, 30.0, 1.25]
    assert both["limit_usd"] is None
    assert "2 keys" in both["notes"][0]
    assert "'nobody'" in ask("history", "tenants", "--key", "nobody").stderr


def test_the_plot_marks_the_limit_and_the_period_that_goes_on(week: float, ask: Ask) -> None:
    lines = ask("history", "day").stdout.splitlines()
    assert lines[0] == "day: window day, limit $50.00"
    rows = [line for line in lines if "%" in line]
    assert len(rows) == 5
    # The longest bar is $60, 40 characters; the mark is at 50/60 of them.
    assert rows[0].count("█") == 40
    assert "│" not in rows[0]
    assert rows[2].count("█") == 0
    marks = [row.index("│") for row in rows if "│" in row]
    assert len(marks) == 3
    assert len(set(marks)) == 1
    assert "(so far)" in rows[4]
    assert "≥ $30.00" in rows[3]


def test_only_the_newest_periods_are_shown_if_wanted(week: float, ask: Ask) -> None:
    rows = list(csv.DictReader(io.StringIO(ask("history", "day", "--limit", "2", "--format", "csv").stdout)))
    assert [float(row["spend_usd"]) for row in rows] == [30.0, 1.25]


def test_every_kind_of_rule_shows_its_money_once(week: float, ask: Ask) -> None:
    assert [row["spend_usd"] for row in ask("history", "ever", "--format", "json").json["periods"]] == [141.25]
    rolling = ask("history", "roll", "--format", "json", "--limit", "1000").json
    # Kept for two lengths of the window: yesterday's noon is, the days before are forgotten in time.
    assert sum(row["spend_usd"] or 0.0 for row in rolling["periods"][-48:]) == pytest.approx(31.25, rel=1e-12)
    assert "$100.00 is for rolling 24h in all" in rolling["notes"][0]
    spike = ask("history", "spike", "--format", "json", "--limit", "1").json
    assert [row["spend_usd"] for row in spike["periods"]] == [1.25]
    burn = ask("history", "burn", "--format", "json").json
    assert burn["rule"] == "day"
    assert [row["spend_usd"] for row in burn["periods"]] == [60.0, 50.0, 0.0, 30.0, 1.25]
    assert "single requests" in ask("history", "dear").stderr


def test_an_empty_history_says_so(folder: Path, ask: Ask) -> None:
    (folder / "spancost.yaml").write_text(RULES, encoding="utf-8")
    shop = books(folder)
    shop.spend(0.0)
    shop.book.tick()
    shop.book.close()
    (folder / "spancost.yaml").write_text(RULES.replace("name: ever", "name: never"), encoding="utf-8")
    assert "nothing that it counts is kept" in ask("history", "never").stdout


def test_bars_show_what_is_little_and_never_more_than_there_is() -> None:
    assert used_bar(0.0, 4) == "░░░░"
    assert used_bar(0.001, 4) == "▏░░░"
    assert used_bar(0.5, 4) == "██░░"
    assert used_bar(0.999, 4) == "███░"
    assert used_bar(1.0, 4) == "████"
    assert used_bar(1.001, 4) == "███▶"
    assert used_bar(None, 4) == ""
    assert (length_bar(0.0, 8), length_bar(1e-9, 8), length_bar(0.5, 8), length_bar(7.0, 8)) == (
        "",
        "▏",
        "████",
        "█" * 8,
    )

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spancost.budgets.store import BREACHED, OK, RECOVERING, WARNING
from spancost.cli.budgets.check import EXIT_CRITICAL, EXIT_OK, EXIT_UNKNOWN, EXIT_WARNING, verdict
from spancost.cli.budgets.lines import BudgetLine
from tests.budgets.books import UNKNOWN
from tests.cli.budget_shop import Ask, ask, books, folder
from tests.cli.conftest import Cli

__all__ = ["ask", "folder"]

NUMBER: Final = r"-?\d+(?:\.\d+)?"
PERFORMANCE: Final = re.compile(
    rf"'((?:[^'=]|'')+)'=({NUMBER}|U);({NUMBER})?;({NUMBER})?(?:;({NUMBER})?)?(?:;({NUMBER})?)?"
)
"""Of the Monitoring Plugins Development Guidelines: 'label'=value[UOM];[warn];[crit];[min];[max], label quoted."""
NO_BOUNDS: Final = (None, None)


def line(
    spend_usd: float | None = 415.0,
    *,
    limit_usd: float = 500.0,
    thresholds: tuple[float, ...] = (0.5, 0.8, 1.0),
    key: str = "",
    is_incomplete: bool = False,
    state: str = "",
) -> BudgetLine:
    """Return a budget whose state is what its spend says."""
    level = sum((spend_usd or 0.0) / limit_usd >= threshold for threshold in thresholds)
    by_level = BREACHED if level == len(thresholds) else WARNING if level else OK
    return BudgetLine(
        rule="llm-monthly", kind="budget", key=key, state=state or by_level, level=level, is_incomplete=is_incomplete,
        spend_usd=spend_usd, limit_usd=limit_usd, thresholds=thresholds, severity="critical", window="month",
    )  # fmt: skip


def test_one_line_says_what_is_wrong_with_performance_data() -> None:
    code, text = verdict([line()], NO_BOUNDS, EXIT_WARNING, 30, [])
    assert code == EXIT_WARNING
    first = text.splitlines()[0]
    assert first == ("BUDGETS WARNING - llm-monthly at 83 % ($415.00 of $500.00) | 'llm-monthly'=415;400;500;0;500")


@pytest.mark.parametrize(
    ("spend_usd", "expected"),
    [(0.0, 0), (399.99, 0), (400.0, 1), (499.99, 1), (500.0, 2), (1e6, 2)],
)
def test_a_budget_warns_from_its_last_threshold_below_the_limit(spend_usd: float, expected: int) -> None:
    assert verdict([line(spend_usd)], NO_BOUNDS, EXIT_WARNING, 30, [])[0] == expected


@pytest.mark.parametrize(
    ("bounds", "spend_usd", "expected"),
    [
        ((0.9, None), 415.0, 0),
        ((0.2, None), 110.0, 1),
        ((None, 0.8), 415.0, 2),
        ((0.9, 1.5), 600.0, 1),
        ((2.0, 3.0), 600.0, 0),
    ],
)
def test_bounds_of_the_command_line_go_before_those_of_the_rule(
    bounds: tuple[float | None, float | None], spend_usd: float, expected: int
) -> None:
    assert verdict([line(spend_usd)], bounds, EXIT_WARNING, 30, [])[0] == expected


def test_what_recovers_is_not_well_yet_and_what_is_held_breached_is_critical() -> None:
    recovering = line(1.0, state=RECOVERING)
    assert verdict([replace(recovering, level=3)], NO_BOUNDS, EXIT_WARNING, 30, [])[0] == EXIT_WARNING
    assert verdict([replace(recovering, level=1)], NO_BOUNDS, EXIT_WARNING, 30, [])[0] == EXIT_OK  # from 50 %
    assert verdict([line(1.0, state=BREACHED)], NO_BOUNDS, EXIT_WARNING, 30, [])[0] == EXIT_CRITICAL


@pytest.mark.parametrize("choice", [EXIT_OK, EXIT_WARNING, EXIT_CRITICAL, EXIT_UNKNOWN])
def test_an_incomplete_budget_is_at_least_what_was_chosen(choice: int) -> None:
    code, text = verdict([line(1.0, is_incomplete=True)], NO_BOUNDS, choice, 30, [])
    assert code == choice
    assert "incomplete" in text.splitlines()[0]
    assert verdict([line(600.0, is_incomplete=True)], NO_BOUNDS, choice, 30, [])[0] == EXIT_CRITICAL


def test_a_spend_that_nobody_knows_is_no_number() -> None:
    _, text = verdict([line(None, is_incomplete=True)], NO_BOUNDS, EXIT_WARNING, 30, [])
    first = text.splitlines()[0]
    assert "'llm-monthly'=U;400;500;0;500" in first
    assert "$0" not in first


@pytest.mark.parametrize(
    ("kind", "state", "severity", "expected"),
    [
        ("spike", BREACHED, "warning", 1), ("spike", BREACHED, "critical", 2), ("forecast", BREACHED, "info", 0),
        ("burn_rate", WARNING, "warning", 1), ("burn_rate", BREACHED, "critical", 2), ("request", OK, "critical", 0),
        ("request", RECOVERING, "critical", 0),
    ],
)  # fmt: skip
def test_other_rules_are_as_bad_as_their_severity(kind: str, state: str, severity: str, expected: int) -> None:
    one = BudgetLine(rule="x", kind=kind, key="", state=state, level=1, spend_usd=3.0, limit_usd=2.0, severity=severity)
    assert verdict([one], NO_BOUNDS, EXIT_WARNING, 30, [])[0] == expected


def test_performance_data_of_rates_and_forecasts_is_in_their_own_terms() -> None:
    lines = [
        BudgetLine(rule="burn", kind="burn_rate", key="", state=OK, spend_usd=9.0, limit_usd=500.0,
                   value=2.5, limit=14.4, burn_rates=(("1h/5m", 2.5),)),
        BudgetLine(rule="soon", kind="forecast", key="", state=OK, spend_usd=9.0, limit_usd=500.0, forecast_usd=120.0),
        BudgetLine(rule="dear", kind="request", key="", state=OK, spend_usd=None, limit_usd=0.25),
    ]  # fmt: skip
    first = verdict(lines, NO_BOUNDS, EXIT_WARNING, 30, [])[1].splitlines()[0]
    assert first.endswith(" | 'burn'=2.5;;14.4;0 'soon'=120;;500;0")


@settings(max_examples=60)
@given(
    key=st.text(max_size=40),
    spend_usd=st.floats(min_value=0, max_value=1e12),
    limit_usd=st.floats(min_value=1e-6, max_value=1e12),
)
def test_whatever_a_key_and_its_money_are_the_output_is_one_line_with_one_bar(
    key: str, spend_usd: float, limit_usd: float
) -> None:
    _, text = verdict([line(spend_usd, limit_usd=limit_usd, key=key)], NO_BOUNDS, EXIT_WARNING, 30, [])
    first, detail, *more = text.split("\n")
    assert more == [""]
    assert first.count("|") == 1
    assert "|" not in detail
    data = first.partition(" | ")[2]
    found = PERFORMANCE.fullmatch(data)
    assert found is not None, data
    assert float(found.group(2)) == pytest.approx(spend_usd, abs=1e-9, rel=1e-9)
    assert float(found.group(6)) == pytest.approx(limit_usd, abs=1e-9, rel=1e-9)


def test_only_the_gravest_keys_are_told_in_full() -> None:
    lines = [line(float(index), key=f"tenant {index:03}") for index in range(0, 500, 5)]
    code, text = verdict(lines, NO_BOUNDS, EXIT_WARNING, 10, ["a note"])
    first, *details = text.splitlines()
    assert code == EXIT_WARNING
    assert first.startswith("BUDGETS WARNING - llm-monthly (tenant 495) at 99 % ($495.00 of $500.00); ")
    assert "; 17 more | " in first  # 400, 405, ... 495 are 20, of which three are named
    assert len(PERFORMANCE.findall(first)) == 10
    assert details[-2:] == ["90 more keys", "a note"]
    assert len(details) == 12


def test_the_verdict_is_the_exit_code(folder: Path, cli: Cli) -> None:
    shop = books(folder)
    shop.spend(83.0, tenant="acme")
    shop.spend(1.0, tenant="globex")
    shop.book.close()
    done = cli(
        "budgets",
        "check",
        "llm",
        "--config",
        str(folder / "spancost.yaml"),
        "--store",
        f"sqlite:{folder}/budgets.sqlite",
    )
    assert (done.returncode, done.stderr) == (1, "")
    first, *details = done.stdout.splitlines()
    said, _, data = first.partition(" | ")
    assert said == "BUDGETS WARNING - llm (acme) at 83 % ($83.00 of $100.00)"
    assert data == "'llm/acme'=83;80;100;0;100 'llm/globex'=1;80;100;0;100"
    assert details == ["WARNING: llm (acme) at 83 % ($83.00 of $100.00)", "OK: llm (globex) at 1 % ($1.00 of $100.00)"]


def test_a_key_that_the_locale_does_not_know_ends_no_check(folder: Path, cli: Cli) -> None:
    shop = books(folder)
    shop.spend(101.0, tenant="münchen")
    shop.book.close()
    store = f"sqlite:{folder}/budgets.sqlite"
    config = str(folder / "spancost.yaml")
    done = cli("budgets", "check", "llm", "--config", config, "--store", store, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.startswith("BUDGETS CRITICAL - llm (m?nchen) at 101 %")


def test_each_verdict_comes_from_a_real_store(folder: Path, ask: Ask) -> None:
    shop = books(folder)
    shop.spend(1.0, tenant="globex")
    assert ask("check", "llm").code == 0
    assert ask("check", "llm").stdout.startswith(
        "BUDGETS OK - 1 budget, highest llm (globex) at 1 % ($1.00 of $100.00)"
    )
    shop.spend(0.0, line=UNKNOWN, tenant="globex")
    assert ask("check", "llm").code == 1
    assert ask("check", "llm", "--incomplete", "ok").code == 0
    assert ask("check", "llm", "--incomplete", "unknown").code == 3
    shop.spend(101.0, tenant="acme")
    assert ask("check", "llm").code == 2
    assert ask("check", "llm", "--key", "globex", "--incomplete", "ok").code == 0
    shop.book.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",), ("--bogus",), ("--incomplete", "maybe"), ("-w", "x"), ("-w", "90%", "-c", "50%"), ("-c", "0"),
        ("--store", "memory"), ("--store", "redis://127.0.0.1:1/0"), ("--ledger", "none.sqlite"), ("--key", "nobody"),
        ("--prometheus", "http://127.0.0.1:1"), ("--config", "none.yaml"), ("--limit", "0"), ("--store", "sqlite:text"),
        ("--config", "wrong.yaml"), ("--config", "empty.yaml"), ("--config", "binary.yaml"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_unknown_in_one_line(folder: Path, ask: Ask, arguments: tuple[str, ...]) -> None:
    books(folder).book.close()
    (folder / "text").write_text("no database " * 100, encoding="utf-8")
    (folder / "wrong.yaml").write_text("budgets: {rules: [{name: x, budget: {limit_usd: -1}}]}", encoding="utf-8")
    (folder / "empty.yaml").write_text("region: us-east-1\n", encoding="utf-8")
    (folder / "binary.yaml").write_bytes(b"\xff\x00\xfe")
    done = ask("check", *arguments)
    assert done.code == 3
    assert done.stdout.startswith("BUDGETS UNKNOWN - ")
    assert done.stdout.count("\n") == 1
    assert "|" not in done.stdout
    assert done.stderr == ""

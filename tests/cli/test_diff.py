from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest

from spancost.charge import changed_line
from spancost.sinks.ledger.schema import DAY
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, INNER, EntryLabels, Origin
from tests.cli.conftest import Cli
from tests.offline.traces import Span, otlp_lines
from tests.sinks.ledger_batches import (
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    TOKEN_USD,
    UNKNOWN_HOST,
    batch_of,
    charge,
    charged,
    served,
)

OCTOBER = 29_321_280
"""First minute of October 2025, UTC."""
OCTOBER_DAYS, NOVEMBER_DAYS = 31, 30
CHAT_LABELS = EntryLabels("/chat", "POST", "")


def write(path: Path, first: int, days: int, *, requests: int, tokens: int, usd: float, chat: bool = True) -> None:
    """Write a day's requests for some days, and a last minute so that the period is covered whole."""
    for day in range(days):
        minute = first + day * DAY
        ledger = Ledger(path, Origin("shop", "prod"), now=lambda minute=minute: minute * 60.0)
        entries = [
            charged(charge(CHAT, tokens, usd), labels=CHAT_LABELS, position=INNER, minute=minute, times=requests),
            served(requests, labels=CHAT_LABELS, minute=minute),
            charged(charge(MACHINE, 60, MACHINE_USD), labels=EntryLabels(), position=IDLE, minute=minute + DAY - 1),
        ]
        if not chat:
            entries[0] = charged(charge(UNKNOWN_HOST, 1), labels=HOME, position=INNER, minute=minute)
        ledger.write(batch_of(*entries))


@pytest.fixture(scope="module")
def two_months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """October: 100 requests a day of 1 000 tokens. November: 150 of 1 200, of a token a tenth dearer."""
    path = tmp_path_factory.mktemp("months") / "months.sqlite"
    write(path, OCTOBER, OCTOBER_DAYS, requests=100, tokens=1000, usd=TOKEN_USD)
    write(path, OCTOBER + OCTOBER_DAYS * DAY, NOVEMBER_DAYS, requests=150, tokens=1200, usd=1.1 * TOKEN_USD)
    return path


def compared(cli: Cli, *arguments: object) -> dict[str, Any]:
    done = cli("diff", *map(str, arguments), "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def row_of(document: dict[str, Any], entrypoint: str) -> dict[str, Any]:
    (found,) = [row for row in document["rows"] if row["entrypoint"] == entrypoint]
    return found


def test_months_of_different_length_are_compared_per_day_and_split_exactly(cli: Cli, two_months: Path) -> None:
    found = compared(cli, "2025-10", "2025-11", "--ledger", two_months)
    assert found["per"] == "day"
    assert (found["before"]["minutes"], found["after"]["minutes"]) == (OCTOBER_DAYS * DAY, NOVEMBER_DAYS * DAY)
    chat = row_of(found, "POST /chat")
    parts = chat["parts_usd"]
    assert parts["volume"] == pytest.approx(50 * 1000 * TOKEN_USD)
    assert parts["usage"] == pytest.approx(150 * 200 * TOKEN_USD)
    assert parts["price"] == pytest.approx(150 * 1200 * 0.1 * TOKEN_USD)
    assert math.fsum(parts.values()) == pytest.approx(chat["change_usd"], rel=1e-9)
    idle = row_of(found, "(idle)")
    assert idle["after_usd"] == pytest.approx(60 * MACHINE_USD)
    assert idle["change_usd"] == pytest.approx(0, abs=1e-12)


def test_absolute_compares_sums(cli: Cli, two_months: Path) -> None:
    found = compared(cli, "2025-10", "2025-11", "--ledger", two_months, "--absolute")
    assert found["per"] == "period"
    october = OCTOBER_DAYS * (100 * 1000 * TOKEN_USD + 60 * MACHINE_USD)
    assert found["before"]["usd"] == pytest.approx(october, rel=1e-9)
    assert math.fsum(found["parts_usd"].values()) == pytest.approx(found["change_usd"], rel=1e-9)


def test_sides_are_what_the_report_says_of_the_same_ledger(cli: Cli, two_months: Path, ledger_file: Path) -> None:
    found = compared(cli, ledger_file, ledger_file, "--absolute", "--by", "service,component")
    report = json.loads(cli("report", "--ledger", str(ledger_file), "--format", "json").stdout)
    assert found["before"]["usd"] == pytest.approx(report["total_usd"], rel=1e-9)
    assert found["before"]["requests"] == report["requests"]
    assert found["change_usd"] == 0


def test_two_ledgers_are_compared(cli: Cli, two_months: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    write(other, OCTOBER, 2, requests=100, tokens=2000, usd=TOKEN_USD)
    found = compared(cli, two_months, other)
    assert (found["before"]["kind"], found["after"]["name"]) == ("ledger", str(other))
    assert row_of(found, "POST /chat")["after_usd"] == pytest.approx(100 * 2000 * TOKEN_USD)


def chat_spans(requests: int, tokens: int, model: str = "gpt-5-mini") -> list[Span]:
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 0,
    }
    spans: list[Span] = []
    for number in range(1, requests + 1):
        root = Span(2 * number, 0, "POST /chat", "SERVER", {"http.request.method": "POST", "http.route": "/chat"})
        inner = Span(2 * number + 1, 2 * number, "chat", "CLIENT", call, "openai")
        spans += [root._replace(trace=number), inner._replace(trace=number)]
    return spans


def traces(folder: Path, name: str, *spans: Span) -> Path:
    path = folder / name
    path.write_text(otlp_lines(spans, batch=3), encoding="utf-8")
    return path


def test_two_files_of_traces_are_compared_by_request(cli: Cli, tmp_path: Path) -> None:
    main = traces(tmp_path, "main.jsonl", *chat_spans(10, 1000))
    branch = traces(tmp_path, "branch.jsonl", *chat_spans(20, 1500))
    found = compared(cli, main, branch)
    parts = row_of(found, "POST /chat")["parts_usd"]
    assert parts["volume"] == pytest.approx(10 * 1000 * TOKEN_USD)
    assert parts["usage"] == pytest.approx(20 * 500 * TOKEN_USD)
    assert (found["before"]["requests"], found["after"]["requests"]) == (10, 20)
    shown = cli("diff", str(main), str(branch)).stdout
    assert "usage +$0.0025 (1,000 to 1,500 input_token a request)" in " ".join(shown.split())
    assert "Compute is not in it" in shown


def test_another_model_is_mix(cli: Cli, tmp_path: Path) -> None:
    main = traces(tmp_path, "main.jsonl", *chat_spans(10, 1000))
    branch = traces(tmp_path, "branch.jsonl", *chat_spans(10, 1000, "gpt-5"))
    parts = row_of(compared(cli, main, branch), "POST /chat")["parts_usd"]
    # gpt-5 takes 1.25 USD per million input tokens, gpt-5-mini 0.25.
    assert parts["mix"] == pytest.approx(10 * 1000 * (1.25e-6 - 0.25e-6))
    assert math.fsum(parts.values()) == pytest.approx(parts["mix"])


@pytest.mark.parametrize(
    ("limit", "code"),
    [("10%", 1), ("250%", 0), ("0.01usd", 0), ("0.0049usd", 1), ("49%/request", 1), ("51%/request", 0), ("5", 2)],
)
def test_a_pipeline_fails_above_its_limit(cli: Cli, tmp_path: Path, limit: str, code: int) -> None:
    main = traces(tmp_path, "main.jsonl", *chat_spans(10, 1000))  # 0.0025 USD
    branch = traces(tmp_path, "branch.jsonl", *chat_spans(20, 1500))  # 0.0075 USD, half as much more a request
    done = cli("diff", str(main), str(branch), "--fail-over", limit)
    assert done.returncode == code, done.stderr
    assert ("over " + limit in done.stderr) == (code == 1)


def test_what_got_cheaper_is_never_over_a_limit(cli: Cli, tmp_path: Path) -> None:
    main = traces(tmp_path, "main.jsonl", *chat_spans(10, 1500))
    branch = traces(tmp_path, "branch.jsonl", *chat_spans(10, 1000))
    assert cli("diff", str(main), str(branch), "--fail-over", "0%").returncode == 0
    assert cli("diff", str(main), str(main), "--fail-over", "0usd").returncode == 0


def test_csv_and_markdown_have_the_figures_of_json(cli: Cli, two_months: Path) -> None:
    arguments = ("2025-10", "2025-11", "--ledger", str(two_months))
    found = compared(cli, *arguments)
    rows = list(csv.DictReader(io.StringIO(cli("diff", *arguments, "--format", "csv").stdout)))
    assert [float(row["change_usd"]) for row in rows] == [row["change_usd"] for row in found["rows"]]
    assert [float(row["usage_usd"]) for row in rows] == [row["parts_usd"]["usage"] for row in found["rows"]]
    lines = cli("diff", *arguments, "--format", "markdown").stdout.splitlines()
    assert lines[0].startswith("| ENTRYPOINT | BEFORE A DAY | AFTER A DAY | CHANGE |")
    assert lines[2].startswith(
        "| POST /chat | $0.025 | $0.0495 | +$0.0245 | +98.0 % | +$0.0125 | +$0.0075 | +$0.0045 |"
    )
    assert any(line.startswith("| **total** |") for line in lines)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_tables_fit_the_terminal(cli: Cli, two_months: Path, width: int) -> None:
    done = cli("diff", "2025-10", "2025-11", "--ledger", str(two_months), COLUMNS=str(width))
    assert max(map(len, done.stdout.splitlines())) <= width
    assert "amounts are per day; --absolute shows sums" in " ".join(done.stdout.split())


def test_a_period_without_money_is_no_error(cli: Cli, two_months: Path) -> None:
    done = cli("diff", "2024-01", "2024-02", "--ledger", str(two_months))
    assert (done.returncode, done.stdout) == (0, "nothing was spent, neither in 2024-01 nor in 2024-02\n")
    found = compared(cli, "2024-10", "2025-10", "--ledger", two_months)
    assert row_of(found, "POST /chat")["parts_usd"]["new"] == pytest.approx(3100 * 1000 * TOKEN_USD)


def test_unpriced_charges_are_counted_and_not_compared(cli: Cli, two_months: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    write(other, OCTOBER, 1, requests=100, tokens=0, usd=0, chat=False)
    found = compared(cli, two_months, other)
    assert (found["before"]["unpriced"], found["after"]["unpriced"]) == (0, 1)
    assert "Not priced, and not in it" in cli("diff", str(two_months), str(other)).stdout


def test_a_key_without_a_price_is_a_question_mark_and_null_and_a_price_that_became_known_is_no_spending(
    cli: Cli, tmp_path: Path
) -> None:
    unknown = traces(tmp_path, "main.jsonl", *chat_spans(10, 1000, "nobody-knows-this-model"))
    known_file = tmp_path / "known.sqlite"
    unknown_file = tmp_path / "unknown.sqlite"
    unpriced = changed_line(CHAT, status="unpriced", reason="unknown_model", source="")
    for file, line, usd in ((unknown_file, unpriced, 0.0), (known_file, CHAT, TOKEN_USD)):
        call = charged(charge(line, 1000, usd), labels=CHAT_LABELS, position=INNER, minute=OCTOBER, times=10)
        ledger = Ledger(file, Origin("shop", "prod"), now=lambda: OCTOBER * 60.0)
        ledger.write(batch_of(call, served(10, labels=CHAT_LABELS, minute=OCTOBER)))

    for one in (unknown, unknown_file):
        found = compared(cli, one, one)
        row = row_of(found, "POST /chat")
        assert (row["before_usd"], row["after_usd"], row["change_usd"]) == (None, None, None)
        assert row["unpriced_before"] == row["unpriced_after"] > 0
        assert (found["before"]["usd"], found["after"]["usd"], found["change_usd"]) == (None, None, None)

    row = row_of(compared(cli, unknown_file, known_file), "POST /chat")
    assert (row["before_usd"], row["change_usd"]) == (None, None)
    assert row["after_usd"] == row["parts_usd"]["known"] == pytest.approx(10 * 1000 * TOKEN_USD)
    assert row["parts_usd"]["mix"] == 0
    assert row["lines"][0]["before_usd"] is None
    (shown,) = csv.DictReader(io.StringIO(cli("diff", str(unknown_file), str(known_file), "--format", "csv").stdout))
    assert (shown["before_usd"], shown["change_usd"], shown["unpriced_before"]) == ("", "", "10")
    table = cli("diff", str(unknown_file), str(known_file), "--format", "markdown").stdout
    assert "| POST /chat | ? | $0.0025 | ? |  | +$0.0025 |" in table.splitlines()
    assert "$0 before" not in table

    done = cli("diff", str(unknown_file), str(known_file), "--fail-over", "0usd")
    assert done.returncode == 0
    assert "--fail-over leaves out +$0.0025 of what is priced on one side only" in done.stderr
    assert "1 key has no known price on a side" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fortnight", "2025-11"), "'fortnight' is no file and no period"),
        (("2025-13", "2025-11"), "'2025-13': month must be in 1..12"),
        (("2025-10", "LEDGER"), "compare two of one kind"),
        (("2025-10", "2025-11", "--by", "tennant"), "did you mean 'tenant'"),
        (("2025-10", "2025-11", "--by", "day"), "'day' is a time"),
        (("2025-10", "2025-11", "--by", ","), "names no key"),
        (("2025-10", "2025-11", "--cost", "gross"), "one of effective, list"),
        (("2025-10", "2025-11", "--tz", "Mars"), "is not a time zone"),
        (("TEXT", "TEXT"), "no span of OTLP JSON or Jaeger JSON"),
    ],
)
def test_what_cannot_be_compared_is_named(
    cli: Cli, two_months: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello\n")
    files = {"LEDGER": str(two_months), "TEXT": str(text)}
    done = cli("diff", *(files.get(one, one) for one in arguments), "--ledger", str(two_months))
    assert done.returncode == 2
    assert said in done.stderr

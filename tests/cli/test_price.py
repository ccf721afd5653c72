"""`spancost price`: stored traces, as somebody tries it before installing anything."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spancost.cli._app import application
from tests.cli.conftest import Cli
from tests.offline.traces import Span, jaeger, otlp_lines
from tests.spans import PUT_USD, SMS_USD, chat, chat_usd, put_item, server, sms

_UNKNOWN = {**sms(), "server.address": "partner.example", "url.full": "https://partner.example/orders"}
_SPANS = [
    Span(1, 0, "GET", "SERVER", server("/carts/{id}", response_bytes=None)),
    Span(2, 1, "put", "CLIENT", put_item()),
    Span(3, 1, "sms", "CLIENT", sms()),
    Span(4, 1, "POST", "CLIENT", _UNKNOWN),
    Span(11, 0, "POST", "SERVER", server("/ask", method="POST", response_bytes=0), trace=2),
    Span(12, 11, "chat", "CLIENT", chat(1000, 100), trace=2),
    Span(13, 12, "chat", "CLIENT", chat(1000, 100), "another tracer", trace=2),
]
_CART_USD, _ASK_USD = PUT_USD + SMS_USD, chat_usd(1000, 100)


@pytest.fixture
def traces(tmp_path: Path) -> str:
    path = tmp_path / "traces.jsonl"
    path.write_text(otlp_lines(_SPANS, batch=2), encoding="utf-8")
    return str(path)


def _document(cli: Cli, *arguments: str) -> dict[str, Any]:
    done = cli("price", *arguments, "--format", "json", "--region", "us-east-1")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_table_shows_each_route_and_says_what_is_not_priced_and_why(cli: Cli, traces: str) -> None:
    done = cli("price", traces, "--region", "us-east-1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    titles = ("ENTRYPOINT", "REQUESTS", "TOTAL", "PER 1000", "SHARE", "UNPRICED", "EGRESS", "AWS", "LLM", "HTTP")
    assert lines[0].split() == " ".join(titles).split()
    assert lines[1].split()[:4] == ["GET", "/carts/{id}", "1", "$0.0083"]
    assert lines[1].split()[-3:] == ["?", "$0.000000625", "$0.0083"]
    assert lines[2].split()[:4] == ["POST", "/ask", "1", "$0.00045"]
    assert lines[3].split()[:3] == ["total", "2", "$0.00875"]
    assert lines[5] == (
        f"Total $0.00875 for 2 requests, 7 spans of {traces}; 2 spans not priced: response_size_unknown 1, "
        "unknown_host 1 (partner.example)."
    )
    assert lines[6].startswith("$0.0083 of it is estimated: http (quantity:1")
    assert "Compute is not in it: stored traces do not say what else ran on the machine." in lines
    assert "1 LLM span seen by two instrumentations, charged once." in lines


def test_json_is_one_object_whose_rows_add_up_to_its_total(cli: Cli, traces: str) -> None:
    document = _document(cli, traces)
    assert document["by"] == ["entrypoint"]
    assert [(row["entrypoint"], row["requests"]) for row in document["rows"]] == [
        ("GET /carts/{id}", 1),
        ("POST /ask", 1),
    ]
    assert document["total_usd"] == pytest.approx(_CART_USD + _ASK_USD, rel=1e-9)
    assert document["total_usd"] == pytest.approx(sum(row["total_usd"] for row in document["rows"]), rel=1e-12)
    assert document["usd_per_request"] == pytest.approx((_CART_USD + _ASK_USD) / 2)
    assert {(row["component"], row["reason"]) for row in document["unpriced"]} == {
        ("egress", "response_size_unknown"),
        ("http", "unknown_host"),
        ("compute", "offline"),
    }
    assert (document["spans"], document["requests"], document["duplicates"]) == (7, 2, 1)
    assert (document["bad_lines"], document["bad_spans"], document["repeated_spans"]) == (0, 0, 0)


def test_csv_has_one_row_a_key_and_no_notes(cli: Cli, traces: str) -> None:
    done = cli("price", traces, "--by", "service,component", "--format", "csv", "--region", "us-east-1")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {row["component"]: float(row["total_usd"]) for row in rows if row["total_usd"]} == {
        "aws": pytest.approx(PUT_USD),
        "llm": pytest.approx(_ASK_USD),
        "http": pytest.approx(SMS_USD),
    }
    assert [row["total_usd"] for row in rows if row["component"] == "egress"] == [""]
    assert {row["component"]: row["unpriced"] for row in rows} == {"aws": "0", "llm": "0", "http": "1", "egress": "1"}


def test_files_of_both_formats_are_one_set_of_traces(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(otlp_lines(_SPANS[1:4]), encoding="utf-8")
    (tmp_path / "b.gz").write_bytes(gzip.compress(json.dumps(jaeger([_SPANS[0], *_SPANS[4:]])).encode()))
    document = _document(cli, str(tmp_path / "a.jsonl"), str(tmp_path / "b.gz"), "--by", "entrypoint")
    # Jaeger's process is another one than the resource of OTLP: what hangs below it has roots of its own.
    assert document["total_usd"] == pytest.approx(_CART_USD + _ASK_USD, rel=1e-9)


def test_standard_input_is_read(traces: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from spancost.cli import main; main()", "price", "-", "--format", "json"],
        input=Path(traces).read_bytes(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["spans"] == 7


@pytest.mark.parametrize(
    ("limit", "code"),
    [("0.01usd/request", 0), ("0.005 USD / request", 1), ("0.0001usd/request", 1), ("1usd", 0), ("0.008usd", 1)],
)
def test_fail_over_exits_with_1_and_still_prints(cli: Cli, traces: str, limit: str, code: int) -> None:
    done = cli("price", traces, "--fail-over", limit)
    assert done.returncode == code
    assert "GET /carts/{id}" in done.stdout
    assert ("over " in done.stderr) == bool(code)


def test_fail_over_names_the_route_that_is_over(cli: Cli, traces: str) -> None:
    done = cli("price", traces, "--fail-over", "0.005usd/request")
    assert done.stderr == "over $0.005 a request: $0.0083 a request: GET /carts/{id}\n"


def test_fail_over_per_request_without_requests_is_an_error(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "job.jsonl"
    path.write_text(otlp_lines([Span(1, 0, "job")]), encoding="utf-8")
    done = cli("price", str(path), "--fail-over", "1usd/request")
    assert done.returncode == 2
    assert "no requests in these traces" in done.stderr


def test_prices_of_another_day_and_own_prices(cli: Cli, traces: str, tmp_path: Path) -> None:
    before = _document(cli, traces, "--at", "2024-10-04", "--by", "component")
    assert before["at"] == "2024-10-04"
    usd = {row["component"]: row["total_usd"] for row in before["rows"]}
    assert usd["aws"] == pytest.approx(2 * PUT_USD)  # twice as much until November 2024
    own = tmp_path / "own.yaml"
    own.write_text("prices:\n- price: aws.dynamodb.on_demand.write\n  usd: 0.5\n  unit: WRU\n", encoding="utf-8")
    for cost, expected in (("effective", 0.5), ("list", PUT_USD)):
        document = _document(cli, traces, "--prices", str(own), "--by", "component", "--cost", cost)
        usd = {row["component"]: row["total_usd"] for row in document["rows"]}
        assert usd["aws"] == pytest.approx(expected)


def test_a_whole_spancost_yaml_may_be_a_what_if(cli: Cli, traces: str, tmp_path: Path) -> None:
    own = tmp_path / "other.yaml"
    content = "region: us-east-1\nprices:\n- price: aws.dynamodb.on_demand.write\n  usd: 0.5\n  unit: WRU\n"
    own.write_text(content, encoding="utf-8")
    document = _document(cli, traces, "--prices", str(own), "--by", "component")
    assert {row["component"]: row["total_usd"] for row in document["rows"]}["aws"] == pytest.approx(0.5)


def test_a_total_of_which_nothing_has_a_price_is_a_question_mark(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "unknown.jsonl"
    call = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "nobody-knows"}
    call |= {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5}
    path.write_text(otlp_lines([Span(1, 0, "chat", "CLIENT", call)]), encoding="utf-8")
    done = cli("price", str(path))
    assert f"Total ? for 1 span of {path}; 1 span not priced: unknown_model 1 (nobody-knows)." in done.stdout.replace(
        "\n", " "
    )


def test_bad_lines_are_named_below_the_table(cli: Cli, traces: str) -> None:
    with Path(traces).open("a", encoding="utf-8") as file:
        file.write("{cut\n")
    done = cli("price", traces)
    assert done.returncode == 0
    assert "1 line not read:" in done.stdout
    assert f"  {traces}:5: " in done.stdout


def test_top_adds_the_rest_up_in_one_row(cli: Cli, tmp_path: Path) -> None:
    spans = [Span(n, 0, "GET", "SERVER", server(f"/r{n}"), trace=n) for n in range(1, 9)]
    path = tmp_path / "many.jsonl"
    path.write_text(otlp_lines(spans), encoding="utf-8")
    done = cli("price", str(path), "--top", "3", "--region", "us-east-1", "--by", "service,route")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["SERVICE", "shop", "shop", "shop", "(5", "total"]
    assert lines[4].split()[:3] == ["(5", "more)", "5"]
    assert "5 more rows: --top 8, or --format csv for all of them." in lines


def test_a_narrow_terminal_gets_components_in_a_table_of_their_own(cli: Cli, traces: str) -> None:
    done = cli("price", traces, COLUMNS="60")
    assert [line.split()[0] for line in done.stdout.splitlines() if line].count("ENTRYPOINT") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "rout"], "--by: 'rout' is not a key: did you mean 'route'"),
        (["--by", ","], "--by: names no key"),
        (["--at", "soon"], "--at: 'soon' is not a date"),
        (["--region", "us-east-9"], "us-east-9"),
        (["--cost", "free"], "--cost: 'free': one of effective, list"),
        (["--fail-over", "5eur"], "--fail-over: '5eur' is not a limit such as 0.05usd/request or 20usd"),
        (["--prices", "missing.yaml"], "missing.yaml: the file: 'No such file or directory' is not accepted"),
        (["missing.jsonl"], "missing.jsonl: No such file or directory"),
    ],
)
def test_wrong_arguments_are_named_with_exit_code_2(traces: str, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(application(), ["price", traces, *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize("content", ["", "\n", "not json", '{"a": 1}', '{"resourceSpans": []}', "\x00\x01"])
def test_a_file_without_a_span_is_an_error_that_names_it(traces: str, tmp_path: Path, content: str) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text(content, encoding="utf-8")
    done = CliRunner().invoke(application(), ["price", traces, str(empty)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"no span of OTLP JSON or Jaeger JSON in {empty}" in done.stderr


def test_neither_the_sdk_nor_boto3_is_imported(traces: str) -> None:
    program = (
        "import sys; sys.argv = ['spancost', 'price', sys.argv[1]]\n"
        "from spancost.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'boto'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, traces], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"

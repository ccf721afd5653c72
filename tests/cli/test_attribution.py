"""`spancost attribution test`: rules tried on a ledger and on stored traces, before and after they are in force."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import EGRESS_USD, Cli
from tests.offline.traces import Span, otlp_lines
from tests.sinks.ledger_batches import MACHINE_USD, PUT_USD, TOKEN_USD
from tests.spans import PUT_USD as STORED_PUT_USD
from tests.spans import put_item, server

_RULES = """
region: us-east-1
attribution:
  rules:
    - {route: "/cart/*", feature: checkout, team: web}
    - {entrypoint: "nightly-*", feature: reporting, labels: {cost_center: 4711}}
    - {span: {http.request.header.x_tenant: "*"}, tenant: "{http.request.header.x_tenant}"}
    - {resource: {service.name: recommender}, team: ai}
"""
_DEAD = _RULES + '    - {route: "/cart/*", method: POST, feature: never}\n    - {route: /gone, feature: gone}\n'
_CART_USD = 50 * 0.02 * MACHINE_USD + (40 * 301 + 10 * 2) * PUT_USD + 40 * 48_213 / 2**30 * EGRESS_USD
_HOME_USD = 400 * 0.0005 * MACHINE_USD
_NIGHTLY_USD = 4000 * TOKEN_USD
_ASK_USD = 38 * 1200 * TOKEN_USD
_TOTAL_USD = _CART_USD + _HOME_USD + _NIGHTLY_USD + _ASK_USD + PUT_USD


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(_RULES)
    return str(path)


@pytest.fixture
def traces(tmp_path: Path) -> str:
    header = {"http.request.header.x_tenant": ("acme",)}
    spans = [
        Span(1, 0, "POST", "SERVER", {**server("/cart/1", method="POST"), **header}),
        Span(2, 1, "put", "CLIENT", put_item()),
        Span(11, 0, "nightly-import", trace=2),
        Span(12, 11, "put", "CLIENT", put_item(), trace=2),
        Span(13, 11, "put", "CLIENT", {**put_item(), "spancost.feature": "by-hand"}, trace=2),
        Span(21, 0, "GET", "SERVER", server("/other"), trace=3, service="recommender"),
    ]
    path = tmp_path / "traces.jsonl"
    path.write_text(otlp_lines(spans))
    return str(path)


def _document(cli: Cli, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = cli("attribution", "test", *arguments, "--format", "json")
    assert (done.returncode, done.stderr) == (code, "")
    return json.loads(done.stdout)


def _rows(document: dict[str, Any], label: str) -> dict[Any, tuple[Any, ...]]:
    return {
        row["matches"] if row["rule"] is None else row["rule"]: (row["requests"], row["usd"])
        for row in document["rows"]
        if row["label"] == label
    }


def test_ledger_shows_what_each_rule_catches_and_what_nothing_does(cli: Cli, ledger_file: Path, rules: str) -> None:
    document = _document(cli, "--ledger", str(ledger_file), "--config", rules)
    nothing = _HOME_USD + _ASK_USD + PUT_USD
    assert _rows(document, "feature") == {
        0: (50, pytest.approx(_CART_USD)),
        1: (1, pytest.approx(_NIGHTLY_USD)),
        "(nothing)": (450, pytest.approx(nothing)),
    }
    assert _rows(document, "team") == {
        0: (50, pytest.approx(_CART_USD)),
        3: (51, pytest.approx(_ASK_USD + _NIGHTLY_USD + PUT_USD)),
        "(nothing)": (400, pytest.approx(_HOME_USD)),
    }
    assert (document["usd"], document["unpriced"]) == (pytest.approx(_TOTAL_USD), 42)


def test_rows_of_each_label_add_up_to_the_total(cli: Cli, ledger_file: Path, traces: str, rules: str) -> None:
    for source in (("--ledger", str(ledger_file)), ("--from", traces)):
        document = _document(cli, *source, "--config", rules)
        for label in ("feature", "tenant", "team", "label.cost_center"):
            rows = [row for row in document["rows"] if row["label"] == label]
            assert sum(row["usd"] or 0.0 for row in rows) == pytest.approx(document["usd"], rel=1e-9)
            assert sum(row["requests"] or 0 for row in rows) == document["requests"]


def test_rule_about_attributes_of_spans_cannot_be_told_from_a_ledger_and_the_answer_names_the_way(
    cli: Cli, ledger_file: Path, rules: str
) -> None:
    document = _document(cli, "--ledger", str(ledger_file), "--config", rules)
    assert document["rules_not_told"] == [2]
    assert document["rules_that_catch_nothing"] == []
    assert _rows(document, "tenant")[2] == (None, None)
    # What the application has said of it stands in the ledger.
    assert _rows(document, "tenant")["(the application)"] == (50, pytest.approx(_CART_USD))
    done = cli("attribution", "test", "--ledger", str(ledger_file), "--config", rules)
    assert "rules[2] needs attributes that the ledger does not keep" in done.stdout
    assert "--from TRACES.json" in done.stdout


def test_stored_traces_show_rules_about_attributes_too(cli: Cli, traces: str, rules: str) -> None:
    document = _document(cli, "--from", traces, "--config", rules)
    put = STORED_PUT_USD
    assert document["counted"] == "local roots"
    assert _rows(document, "tenant") == {2: (1, pytest.approx(put)), "(nothing)": (2, pytest.approx(2 * put))}
    assert _rows(document, "label.cost_center") == {
        1: (1, pytest.approx(2 * put)),
        "(nothing)": (2, pytest.approx(put)),
    }
    reporting = next(row for row in document["rows"] if (row["label"], row["rule"]) == ("feature", 1))
    assert reporting["usd"] == pytest.approx(2 * put)
    assert reporting["said_otherwise_usd"] == pytest.approx(put)
    assert reporting["examples"] == ["nightly-import"]


def test_rule_that_catches_nothing_is_a_finding_and_says_why_if_it_can(
    cli: Cli, ledger_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "dead.yaml"
    path.write_text(_DEAD)
    done = cli("attribution", "test", "--ledger", str(ledger_file), "--config", str(path))
    assert done.returncode == 1
    assert "rules[4] catches nothing: rules[0] always comes first." in done.stdout
    assert "rules[5] catches nothing." in done.stdout
    assert _document(cli, "--ledger", str(ledger_file), "--config", str(path), code=1)["rules_that_catch_nothing"] == [
        4,
        5,
    ]


def test_table_shows_label_rule_value_share_and_examples(cli: Cli, ledger_file: Path, rules: str) -> None:
    lines = cli("attribution", "test", "--ledger", str(ledger_file), "--config", rules).stdout.splitlines()
    assert lines[0].split() == ["LABEL", "CAUGHT", "BY", "VALUE", "REQUESTS", "TOTAL", "SHARE", "EXAMPLES"]
    first = next(line for line in lines if line.startswith("feature") and "rules[0]" in line)
    assert "rules[0]: route=/cart/*" in lines
    assert "checkout" in first
    assert "POST /cart/<int:item>" in first
    assert f"for 501 requests of {ledger_file}." in "\n".join(lines)


def test_what_has_no_price_is_unknown_and_not_free(cli: Cli, rules: str, tmp_path: Path) -> None:
    path = tmp_path / "unpriced.jsonl"
    path.write_text(otlp_lines([Span(1, 0, "GET", "SERVER", server("/cart/1", response_bytes=None))]))
    shown = cli("attribution", "test", "--from", str(path), "--config", rules).stdout.splitlines()
    assert shown[1].split()[:6] == ["feature", "rules[0]", "checkout", "1", "?", "?"]
    assert shown[2].split()[3:5] == ["0", "$0"]


def test_csv_has_one_line_for_each_row(cli: Cli, ledger_file: Path, rules: str) -> None:
    done = cli("attribution", "test", "--ledger", str(ledger_file), "--config", rules, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    document = _document(cli, "--ledger", str(ledger_file), "--config", rules)
    assert [row["label"] for row in rows] == [row["label"] for row in document["rows"]]
    assert float(rows[0]["usd"]) == document["rows"][0]["usd"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "none.yaml"), "none.yaml"),
        ((), "no attribution rules: add attribution.rules to spancost.yaml"),
        (("--config", "{rules}", "--ledger", "none.sqlite"), "no ledger at none.sqlite"),
        (("--config", "{rules}", "--from", "none.json"), "none.json"),
        (("--config", "{rules}", "--from", "{rules}"), "no span of OTLP JSON or Jaeger JSON"),
        (("--config", "{rules}", "--from", "a", "--ledger", "b"), "not both"),
    ],
)
def test_wrong_usage_is_told_and_is_exit_code_2(cli: Cli, rules: str, arguments: tuple[str, ...], message: str) -> None:
    done = cli("attribution", "test", *(argument.format(rules=rules) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr


def test_mistake_in_a_rule_is_named_with_its_place(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("attribution: {rules: [{route: /a, feature: a}, {rout: /b, feature: b}]}")
    done = cli("attribution", "test", "--config", str(path))
    assert done.returncode == 2
    assert "attribution.rules[1].rout: '/b' is not accepted: unknown key: did you mean 'route'?" in done.stderr


def test_price_and_report_split_by_what_the_rules_say(cli: Cli, traces: str, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text(_RULES)
    done = cli("price", traces, "--by", "feature,tenant", "--format", "json")
    found = {(row["feature"], row["tenant"]): row["total_usd"] for row in json.loads(done.stdout)["rows"]}
    put = pytest.approx(STORED_PUT_USD)
    assert found == {("checkout", "acme"): put, ("reporting", ""): put, ("by-hand", ""): put, ("", ""): 0.0}
    script = tmp_path / "app.py"
    script.write_text(
        "from opentelemetry import trace\n"
        "tracer = trace.get_tracer('t')\n"
        f"with tracer.start_as_current_span('nightly-import'):\n"
        f"    with tracer.start_as_current_span('put', kind=trace.SpanKind.CLIENT, attributes={put_item()!r}): pass\n"
    )
    ran = cli("run", "--ledger", "shop.sqlite", "--", "python", str(script))
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(cli("report", "--ledger", "shop.sqlite", "--by", "feature", "--format", "json").stdout)
    assert [row["feature"] for row in shown["rows"]] == ["reporting"]
    again = _document(cli, "--ledger", "shop.sqlite", code=1)
    costs = next(row for row in again["rows"] if row["label"] == "label.cost_center")
    assert (costs["rule"], costs["value"], costs["said_otherwise_usd"]) == (1, "4711", 0.0)
    assert costs["usd"] == pytest.approx(shown["rows"][0]["total_usd"])


def test_doctor_names_a_rule_that_is_never_reached(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text(_DEAD)
    checks = json.loads(cli("doctor", "--format", "json").stdout)["checks"]
    found = [(check["state"], check["text"]) for check in checks if check["subject"] == "attribution"]
    assert found == [
        ("ok", "6 rules"),
        ("problem", "attribution.rules[4] can never give anything: rules[0] always comes first"),
    ]


def test_help_has_an_example(cli: Cli) -> None:
    assert "Example: spancost attribution test" in cli("attribution", "test", "--help").stdout

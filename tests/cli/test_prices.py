"""`spancost prices ...` as people use it, in processes of its own."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.support.json_server import JsonServer, json_server

_SAMPLES = Path(__file__).parents[1] / "data" / "prices"
_WRITE = "aws.dynamodb.on_demand.write"
_OWN = """
prices:
  - {price: aws.sqs.*, usd: 0.0000003, unit: request}
  - {price: aws.dynamodb.on_demand.write, usd: 0.0000005, unit: WRU, region: eu-*}
discounts:
  - {name: edp, percent: 10, price: aws.s3.*}
  - {name: commitment, percent: 40, coverage: 50%, component: compute}
currency: {code: EUR, per_usd: 0.92, date: 2026-11-20}
"""


@pytest.fixture
def own_file(tmp_path: Path) -> str:
    """Write a file with own prices."""
    path = tmp_path / "prices.yaml"
    path.write_text(_OWN, encoding="utf-8")
    return str(path)


# --- list ---------------------------------------------------------------------------------------


def test_list_shows_price_unit_day_and_confidence(cli: Cli) -> None:
    done = cli("prices", "list", "--service", "sqs")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["PRICE", "USD", "PER", "REGIONS", "CHECKED", "CONFIDENCE"]
    assert lines[1].split()[:3] == ["aws.sqs.standard", "$0.0000004", "request"]
    assert "\x1b" not in done.stdout


def test_list_shows_what_you_pay_beside_the_list_price(cli: Cli, own_file: str) -> None:
    done = cli("prices", "list", "--filter", "aws.s[3q]*", "--format", "json", SPANCOST_PRICES=own_file)
    rows = {row["price"]: row for row in json.loads(done.stdout)["rows"]}
    sqs, s3 = rows["aws.sqs.standard"], rows["aws.s3.tier1.standard"]
    assert (sqs["usd"], sqs["list_usd"], sqs["note"]) == ("0.0000003", "0.0000004", "your price")
    assert (s3["usd"], s3["list_usd"], s3["note"]) == ("0.0000045", "0.000005", "discount edp")


def test_list_says_where_a_region_has_no_price_of_its_own(cli: Cli) -> None:
    done = cli("prices", "list", "--filter", "aws.sqs.standard", "--region", "eu-north-1", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["region"], row["note"]) == ("eu-north-1", "price of us-east-1")


def test_no_summary_of_a_command_is_cut(cli: Cli) -> None:
    assert "..." not in cli("prices", "--help", COLUMNS="80").stdout.partition("Commands:")[2]


def test_list_of_an_old_day_shows_the_old_price(cli: Cli) -> None:
    done = cli("prices", "list", "--filter", _WRITE, "--at", "2024-10-31", "--format", "json")
    assert json.loads(done.stdout)["rows"][0]["usd"] == "0.00000125"


def test_list_in_a_narrow_terminal_cuts_no_price_id(cli: Cli) -> None:
    done = cli("prices", "list", "--service", "s3", COLUMNS="80")
    assert "aws.s3.express_one_zone.retrieval" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_price_that_nobody_publishes_is_a_question_mark_not_zero(cli: Cli) -> None:
    done = cli("prices", "list", "--filter", "aws.sns.sms")
    assert done.stdout.splitlines()[1].split()[:2] == ["aws.sns.sms", "?"]
    assert "1 without a price" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "--service", "dynamo"], "--service 'dynamo': did you mean 'dynamodb'"),
        (["list", "--vendor", "oracle"], "--vendor 'oracle': one of aws, azure, cloudflare, gcp"),
        (["list", "--filter", "nothing"], "no price matches --filter 'nothing'"),
        (["show", "gpt-5-mini"], "of LLM models and HTTP APIs: spancost explain llm|http"),
        (["list", "--region", "eu-wset-1"], "did you mean 'eu-west-1'"),
        (["list", "--at", "soon"], "--at: 'soon' is not a date such as 2026-11-01"),
        (["show", "aws.sqs.standrad"], "did you mean 'aws.sqs.standard'"),
        (["check", "nowhere.yaml"], "no file nowhere.yaml"),
        (["diff"], "two files, or --at DATE --at DATE"),
        (["diff", "--at", "2024-01-01"], "two files, or --at DATE --at DATE"),
        (["refresh", "aws", "--region", "us-central1"], "--region 'us-central1'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], message: str, cli: Cli) -> None:
    done = cli("prices", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# --- show ---------------------------------------------------------------------------------------


def test_show_has_every_record_with_days_tiers_and_sources(cli: Cli) -> None:
    shown = cli("prices", "show", _WRITE).stdout
    assert "until 2024-11-01" in shown
    assert "from 2024-11-01" in shown
    assert "$0.000000625 in us-east-1, spancost:2024-11-15" in shown
    assert "operations" in shown
    assert "tiers, us-east-1" in cli("prices", "show", "aws.sqs.standard").stdout


def test_show_says_what_you_pay_and_the_list_price(cli: Cli, own_file: str) -> None:
    done = cli("prices", "show", _WRITE, "--region", "eu-west-1", "--format", "json", SPANCOST_PRICES=own_file)
    in_force = json.loads(done.stdout)["in_force"]
    assert (in_force["usd"], in_force["list_usd"], in_force["override"]) == ("0.0000005", "0.00000070675", own_file)


def test_the_default_region_is_no_fallback(cli: Cli) -> None:
    def in_force(*arguments: str) -> dict[str, Any]:
        done = cli("prices", "show", "aws.sqs.standard", *arguments, "--format", "json")
        return json.loads(done.stdout)["in_force"]

    assert in_force()["region_fallback"] is False
    assert in_force("--region", "eu-north-1")["region_fallback"] is True


# --- check --------------------------------------------------------------------------------------


def test_check_says_what_each_entry_matches(cli: Cli, own_file: str) -> None:
    done = cli("prices", "check", own_file, "--format", "json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    entries = {entry["entry"]: entry for entry in document["entries"]}
    assert entries["price aws.sqs.*"]["matches"] == "3 prices"
    assert entries[f"price {_WRITE} in eu-*"]["list_usd"] == "$0.00000070675"
    assert entries["discount commitment component=compute"]["you_pay"] == "80 %"
    assert entries["currency EUR"]["you_pay"] == "EUR 0.92"
    assert document["findings"] == []


def test_check_of_a_file_without_prices_says_so(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n")
    assert cli("prices", "check", str(path)).stdout.replace("\n", " ").strip() == f"{path}: no prices in it"


def test_check_reads_a_whole_spancost_yaml_and_what_is_configured(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "work" / "spancost.yaml"
    path.write_text("region: eu-west-1\n" + _OWN)
    assert "aws.sqs.*" in cli("prices", "check", str(path)).stdout
    assert "aws.sqs.*" in cli("prices", "check").stdout


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("prices: [{price: aws.sqs.fifo, usd: 0.50, unit: request}]", "far from the list price of $0.0000005"),
        ("prices: [{price: aws.sqs.fifo, usd: 0.0000004, unit: request, valid_to: 2025-12-31}]", "ended on 2025-12-31"),
        ("discounts: [{name: old, percent: 5, valid_to: 2025-12-31}]", "discount old: ended on 2025-12-31"),
        ("discounts: [{name: none, percent: 5, component: aws, provider: gcp}]", "discount none: it matches nothing"),
        ("discounts: [{name: n, percent: 5, component: llm, price: aws.s3.*}]", "discount n: it matches nothing"),
        (
            "{prices: [{price: aws.sqs.*, usd: 0.0000004, unit: request}], "
            "discounts: [{name: d, percent: 5, price: aws.sqs.*}]}",
            "all its prices have a price of your own",
        ),
        (
            "prices: [{price: aws.sqs.fifo, usd: 0.0000004, unit: request}, "
            "{price: aws.sqs.fifo, usd: 0.0000003, unit: request}]",
            "a later entry for the same region and day replaces this one",
        ),
        (
            "models: [{model: a, same_as: openai/gpt-99}]",
            "same_as openai/gpt-99: genai-prices does not know this model",
        ),
    ],
)
def test_check_finds_what_is_probably_meant_otherwise(content: str, finding: str, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(content)
    done = cli("prices", "check", str(path))
    assert done.returncode == 1
    assert finding in " ".join(done.stdout.split())


def test_check_of_a_wrong_file_names_file_key_and_value(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices: [{price: aws.sqs.fifo, usd: -1, unit: request}]")
    done = cli("prices", "check", str(path))
    assert done.returncode == 2
    assert done.stderr == f"spancost: {path}: prices[0].usd: -1 is not accepted: USD per request, zero or more\n"


# --- diff ---------------------------------------------------------------------------------------


def test_diff_of_two_days_shows_that_dynamodb_was_halved(cli: Cli) -> None:
    done = cli("prices", "diff", "--at", "2024-10-31", "--at", "2024-11-01", "--format", "csv")
    rows = {(row["price"], row["region"]): row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert done.returncode == 1
    row = rows[_WRITE, "us-east-1"]
    assert (row["old_usd"], row["new_usd"], float(row["change"])) == ("0.00000125", "0.000000625", -0.5)


def test_diff_of_a_file_shows_what_it_changes_and_no_list_price(cli: Cli, own_file: str) -> None:
    done = cli("prices", "diff", own_file, "--format", "json")
    rows = {(row["price"], row["region"]): row for row in json.loads(done.stdout)["rows"]}
    assert rows["aws.sqs.standard", "us-east-1"]["new_usd"] == "0.0000003"
    assert rows["aws.ec2.m5.large", "us-east-1"]["new_usd"] == "0.0768"
    listed = cli("prices", "diff", own_file, "--list")
    assert (listed.returncode, listed.stdout) == (0, "no price changed\n")


def test_diff_of_a_file_with_itself_is_empty(cli: Cli, own_file: str) -> None:
    assert cli("prices", "diff", own_file, own_file).returncode == 0


# --- coverage -----------------------------------------------------------------------------------


def test_coverage_counts_operations_by_service(cli: Cli) -> None:
    done = cli("prices", "coverage", "--service", "sqs", "--format", "json")
    sqs, total = json.loads(done.stdout)["rows"]
    assert done.returncode == 0
    assert sqs["service"] == "sqs"
    assert sqs["priced"] == total["priced"] > 20
    assert sqs["unpriced"] == 0


def test_coverage_lists_operations_with_their_prices(cli: Cli) -> None:
    done = cli("prices", "coverage", "--service", "sqs", "--operations", "--format", "csv")
    rows = {row["operation"]: row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert rows["SendMessage"]["status"] == "priced"
    assert "aws.sqs.standard" in rows["SendMessage"]["prices"]


# --- refresh ------------------------------------------------------------------------------------

Refresh = Callable[..., Any]


@pytest.fixture
def api() -> Generator[JsonServer]:
    """Stand in for a vendor's price list."""
    with json_server() as made:
        yield made


@pytest.fixture
def refresh(cli: Cli, api: JsonServer, tmp_path: Path) -> Refresh:
    """Run `spancost prices refresh` against that server, with a cache folder of its own."""

    def run(*arguments: str, **variables: str) -> Any:
        return cli(
            "prices",
            *arguments,
            *(["--url", api.url] if arguments[0] == "refresh" else []),
            SPANCOST_PRICES_CACHE=str(tmp_path / "cache"),
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            AWS_EC2_METADATA_DISABLED="true",
            **variables,
        )

    return run


def _aws_page(get_usd: str = "0.0000004000") -> dict[str, Any]:
    page = json.loads((_SAMPLES / "aws_get_products.json").read_text())
    texts = [text.replace("0.0000004000", get_usd) for text in page["PriceList"]]
    return {"FormatVersion": "aws_v1", "PriceList": texts}


def test_refreshed_prices_of_aws_are_used_by_the_next_command(
    refresh: Refresh, api: JsonServer, tmp_path: Path
) -> None:
    api.answers = [_aws_page("0.0000005000")]
    done = refresh("refresh", "aws", "--region", "us-east-1", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["price"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["aws.s3.tier2.standard"]["old_usd"] == "0.0000004"
    assert rows["aws.s3.tier2.standard"]["new_usd"] == "0.0000005"
    assert rows["aws.s3.tier2.standard"]["change"] == 0.25
    assert f"written to {tmp_path / 'cache' / 'aws.json'}" in done.stderr
    shown = json.loads(refresh("list", "--filter", "aws.s3.tier2.standard", "--format", "json").stdout)["rows"][0]
    assert shown["usd"] == "0.0000005"
    assert shown["source"].startswith("aws-price-list:")


def test_a_dry_run_writes_nothing(refresh: Refresh, api: JsonServer, tmp_path: Path) -> None:
    api.answers = [_aws_page()]
    done = refresh("refresh", "aws", "--region", "us-east-1", "--dry-run")
    assert done.returncode == 0
    assert "would be written to" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_refresh_that_fails_half_way_leaves_the_old_file(refresh: Refresh, api: JsonServer, tmp_path: Path) -> None:
    api.answers = [_aws_page()]
    assert refresh("refresh", "aws", "--region", "us-east-1").returncode == 0
    path = tmp_path / "cache" / "aws.json"
    before = path.read_bytes()
    api.answers = [_aws_page("0.0000005000"), 403]
    done = refresh("refresh", "aws", "--region", "us-east-1")
    assert done.returncode == 2
    assert "Nothing was changed." in done.stderr
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path / "cache") == ["aws.json"]


def test_a_broken_cache_is_said_and_replaced(refresh: Refresh, api: JsonServer, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "aws.json").write_text("{")
    assert "aws.sqs.standard" in refresh("list", "--service", "sqs").stdout
    api.answers = [_aws_page()]
    done = refresh("refresh", "aws", "--region", "us-east-1")
    assert done.returncode == 0
    assert "no JSON: it is replaced" in done.stderr


def test_azure_is_refreshed_without_any_key(refresh: Refresh, api: JsonServer, tmp_path: Path) -> None:
    page = json.loads((_SAMPLES / "azure_retail_prices.json").read_text())
    page["Items"][1]["retailPrice"] = 0.0104
    api.answers = [page | {"NextPageLink": None}, {"Items": []}]
    done = refresh("refresh", "azure")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "cache" / "azure.json").read_text())["kind"] == "azure"


def test_gcp_without_a_key_says_what_to_set(refresh: Refresh) -> None:
    done = refresh("refresh", "gcp")
    assert done.returncode == 2
    assert "set GOOGLE_API_KEY" in done.stderr


def test_changed_models_are_named(refresh: Refresh, api: JsonServer, tmp_path: Path) -> None:
    model: dict[str, Any] = {"id": "acme-1", "match": {"equals": "acme-1"}, "prices": {"input_mtok": 0.25}}
    provider: dict[str, Any] = {"id": "acme", "name": "Acme", "api_pattern": "acme", "models": [model]}
    api.answers = [[provider]]
    assert refresh("refresh", "llm").returncode == 0
    assert json.loads((tmp_path / "cache" / "llm.json").read_text())["providers"][0]["id"] == "acme"
    api.answers = [[provider | {"models": [model | {"prices": {"input_mtok": 0.5}}]}]]
    done = refresh("refresh", "llm")
    assert done.stdout == "changed: acme/acme-1\n"


def test_refreshing_is_refused_where_the_cache_is_off(cli: Cli) -> None:
    done = cli("prices", "refresh", "azure", SPANCOST_PRICES_CACHE="off")
    assert done.returncode == 2
    assert "SPANCOST_PRICES_CACHE" in done.stderr


# --- doctor ------


def test_doctor_says_which_prices_lie_over_the_shipped_ones(cli: Cli, own_file: str, tmp_path: Path) -> None:
    (tmp_path / "gcp.json").write_text("{")
    done = cli("doctor", SPANCOST_PRICES=own_file, SPANCOST_PRICES_CACHE=str(tmp_path))
    shown = " ".join(done.stdout.split())
    assert f"4 prices, 2 discounts of your own in {own_file}" in shown
    assert "gcp.json: no JSON: run spancost prices refresh gcp" in shown
    assert done.returncode == 1


# --- explain ------


_MODELS_AND_RULES = """
models: [{model: gpt-5-mini, provider: openai, usd_per_million: {input: 0.1, output: 1}}]
http_rules: [{host: api.example.com, path: /v1/*, provider: example, operation: call, usd: 0.002, unit: request}]
discounts: [{name: edp, percent: 10}]
"""


def test_explain_uses_own_models_rules_and_discounts(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(_MODELS_AND_RULES)

    def charges(*arguments: str) -> list[dict[str, Any]]:
        done = cli("explain", *arguments, "--format", "json", SPANCOST_PRICES=str(path))
        return json.loads(done.stdout)["charges"]

    (call,) = charges("http", "GET", "api.example.com/v1/x")
    assert (call["usd"], call["source"], call["as_of"]) == ("0.002", f"override:{path}", "")
    assert [charge["usd"] for charge in charges("llm", "openai", "gpt-5-mini")] == ["0.0001", "0.001"]
    assert [charge["usd"] for charge in charges("llm", "openai", "gpt-4o")] == ["0.00225", "0.009"]
    (put,) = charges("aws", "s3.PutObject")
    assert (put["usd"], put["list_usd"]) == ("0.0000045", "0.000005")


# --- currency -----------------------------------------------------------------------------------


def test_explain_and_report_show_a_second_figure(cli: Cli, own_file: str, ledger_file: Path) -> None:
    explained = cli("explain", "aws", "sqs.SendMessage", SPANCOST_PRICES=own_file)
    assert "= EUR 0.000000276 at 0.92 of 2026-11-20" in explained.stdout
    report = cli("report", "--ledger", str(ledger_file), SPANCOST_PRICES=own_file)
    assert " at 0.92 of 2026-11-20" in report.stdout.splitlines()[-1]
    assert "EUR" not in cli("report", "--ledger", str(ledger_file)).stdout


# --- rates for own units ------------------------------------------------------------------------

_CUSTOM = """
custom:
  - {name: pdf.render, unit: page, usd: 0.001, valid_from: 2026-01-01}
  - {name: pdf.render, unit: page, usd: 0.002, valid_from: 2026-01-01}
  - {name: "gpu.*", unit: s, usd: 0.0006, provider: acme, valid_to: 2026-01-31}
discounts: [{name: edp, percent: 10, component: custom}]
"""


def test_check_lists_rates_for_own_units_and_what_is_wrong_with_them(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(_CUSTOM)
    done = cli("prices", "check", str(path), "--format", "json")
    found = json.loads(done.stdout)
    entries = {(one["entry"], one["you_pay"]): (one["matches"], one["valid"]) for one in found["entries"]}
    assert entries["custom pdf.render", "$0.002/page"] == ("usage in page", "from 2026-01-01")
    assert entries["custom gpu.*", "$0.0006/s"] == ("usage in s of acme", "to 2026-01-31")
    assert entries["discount edp component=custom", "90 %"][0] == "custom calls"
    assert found["findings"] == [
        "custom gpu.*: ended on 2026-01-31",
        "custom pdf.render: a later entry for the same unit and day replaces this one",
    ]


def test_list_shows_rates_for_own_units_that_are_in_force(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(_CUSTOM)
    done = cli("prices", "list", "--filter", "custom.*", "--format", "json", SPANCOST_PRICES=str(path))
    rows = [
        (one["price"], one["unit"], one["usd"], one["list_usd"], one["note"]) for one in json.loads(done.stdout)["rows"]
    ]
    assert rows[-1] == ("custom.pdf.render", "page", "0.0018", "0.002", "your price, discount edp")
    assert {row[0] for row in rows} == {"custom.pdf.render"}
    assert "custom." not in cli("prices", "list", "--vendor", "aws", SPANCOST_PRICES=str(path)).stdout

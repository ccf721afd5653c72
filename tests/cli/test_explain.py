from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spancost.prices.book import PriceBook
from spancost.prices.http_rules import HttpRules
from tests.cli.conftest import Cli


def document(cli: Cli, *arguments: str, code: int = 0, **variables: str) -> dict[str, Any]:
    done = cli("explain", *arguments, "--format", "json", **variables)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def total(cli: Cli, *arguments: str) -> Decimal:
    return Decimal(document(cli, *arguments)["total_usd"])


def test_cached_tokens_are_part_of_the_input(cli: Cli) -> None:
    found = total(
        cli,
        "llm",
        "openai",
        "gpt-5-mini",
        "--input",
        "1200",
        "--cache-read",
        "1024",
        "--output",
        "250",
        "--at",
        "2026-11-01",
    )
    million = Decimal(1_000_000)
    expected = (176 * Decimal("0.25") + 1024 * Decimal("0.025") + 250 * Decimal(2)) / million
    assert found == expected


def test_a_put_of_300_kb_is_300_write_units(cli: Cli) -> None:
    found = document(cli, "aws", "dynamodb.PutItem", "--size", "300KB", "--region", "us-east-1", "--at", "2026-11-01")
    (charge,) = found["charges"]
    assert (charge["quantity"], charge["unit"], charge["status"]) == ("300", "WRU", "priced")
    assert Decimal(charge["usd"]) == 300 * Decimal("0.625") / 1_000_000
    assert charge["source"].startswith("spancost:")
    assert charge["confidence"]


def test_a_date_before_the_price_change_takes_the_old_price(cli: Cli) -> None:
    old = total(cli, "aws", "dynamodb.PutItem", "--size", "1KB", "--at", "2024-10-31")
    new = total(cli, "aws", "dynamodb.PutItem", "--size", "1KB", "--at", "2024-11-01")
    assert (old, new) == (Decimal("0.00000125"), Decimal("0.000000625"))


def test_without_a_size_one_unit_is_assumed_and_said(cli: Cli) -> None:
    done = cli("explain", "aws", "dynamodb.PutItem")
    assert done.returncode == 0
    assert "size:1_unit" in done.stdout


def test_parameters_and_answer_are_sized_by_the_hooks_of_live_calls(cli: Cli) -> None:
    mail = {"Destination": {"ToAddresses": ["a", "b"], "CcAddresses": ["c"]}, "Message": {}}
    assert total(cli, "aws", "ses.SendEmail", "--params", json.dumps(mail)) == 3 * Decimal("0.0001")
    tables: dict[str, Any] = {"FeatureTypes": ["TABLES"], "Document": {}}
    pages = {"DocumentMetadata": {"Pages": 3}}
    both = ("--params", json.dumps(tables), "--answer", json.dumps(pages))
    assert total(cli, "aws", "textract.AnalyzeDocument", *both) == 3 * Decimal("0.015")
    assert total(cli, "aws", "kinesis.PutRecords", "--size", "30KB", "--count", "2") == 4 * Decimal("0.000000014")


def test_a_gigabyte_of_egress_is_2_to_the_30_bytes(cli: Cli) -> None:
    assert total(cli, "egress", "--bytes", "1GB", "--region", "us-east-1") == Decimal("0.09")
    assert total(cli, "egress", "--bytes", "512MB", "--region", "us-east-1") == Decimal("0.045")


def test_seconds_of_a_machine_cost_their_part_of_an_hour(cli: Cli) -> None:
    found = total(cli, "compute", "aws:m6i.large", "--seconds", "3600", "--region", "us-east-1")
    assert found == Decimal("0.096")
    assert total(cli, "compute", "0.36usd/h", "--seconds", "10") == Decimal("0.001")


def test_a_known_api_is_priced_by_the_unit_of_its_vendor(cli: Cli) -> None:
    found = document(cli, "http", "POST", "api.twilio.com/2010-04-01/Accounts/AC1/Messages.json")
    (charge,) = found["charges"]
    assert (charge["status"], charge["quantity"], charge["unit"]) == ("estimated", "1", "segment")
    assert Decimal(charge["usd"]) == Decimal("0.0083")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("llm", "openai", "gpt-99"), "unknown_model"),
        (("aws", "dynamodb.PutThing"), "unknown_operation"),
        (("http", "GET", "example.com/"), "unknown_host"),
    ],
)
def test_what_has_no_price_is_a_finding_with_a_reason(cli: Cli, arguments: tuple[str, ...], reason: str) -> None:
    found = document(cli, *arguments, code=1)
    assert [(charge["status"], charge["why"], charge["usd"]) for charge in found["charges"]] == [
        ("unpriced", reason, None)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compute", "aws:m6i.lrge"), "did you mean 'm6i.large'"),
        (("aws", "PutItem"), "dynamodb.PutItem"),
        (("aws", "dynamodb.PutItem", "--size", "big"), "300KB"),
        (("aws", "dynamodb.PutItem", "--region", "us-esat-1"), "'us-east-1'"),
        (("aws", "polly.SynthesizeSpeech", "--params", "[1]"), "JSON object"),
        (("aws", "polly.SynthesizeSpeech", "--answer", "{"), "--answer: not JSON"),
        (("llm", "openai", "gpt-5-mini", "--input", "10", "--cache-read", "11"), "11 are more than 10"),
        (("llm", "openai", "gpt-5-mini", "--at", "soon"), "2026-11-01"),
        (("egress", "--bytes", "1GB", "--provider", "ibm"), "aws, azure, gcp"),
    ],
)
def test_wrong_usage_says_what_is_accepted(cli: Cli, arguments: tuple[str, ...], message: str) -> None:
    done = cli("explain", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_an_own_price_is_used_and_the_list_price_shown(cli: Cli, tmp_path: object) -> None:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    (tmp_path / "work" / "spancost.yaml").write_text(
        "prices:\n  - {price: aws.egress.internet, usd: 0.05, unit: GB, region: us-east-1}\n"
    )
    (charge,) = document(cli, "egress", "--bytes", "2GB", "--region", "us-east-1")["charges"]
    assert (Decimal(charge["usd"]), Decimal(charge["list_usd"])) == (Decimal("0.10"), Decimal("0.18"))
    assert charge["source"].startswith("override:")


def test_a_rate_that_never_ends_has_12_digits_for_people_and_more_in_json(cli: Cli) -> None:
    arguments = ("explain", "compute", "aws:m6i.large", "--region", "us-east-1")
    shown = cli(*arguments).stdout
    assert "$0.0000266666666667/s" in shown
    assert "$0.00002666666666667" not in shown
    assert '"0.0000266666666666667"' in cli(*arguments, "--format", "json").stdout


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        ("ec2.RunInstances", "the call is free; what it starts is billed elsewhere"),
        ("s3.DeleteObject", "the call is free"),
    ],
)
def test_a_free_call_says_why(cli: Cli, operation: str, why: str) -> None:
    done = cli("explain", "aws", operation)
    assert done.returncode == 0
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("free "))
    assert line.split(maxsplit=1)[1] == why


def test_how_sure_a_price_is_is_said_in_words(cli: Cli) -> None:
    shown = cli("explain", "compute", "aws:m6i.large").stdout
    assert "3 independent sources" in shown
    assert "verified-3" not in shown


def test_a_date_may_be_given_for_a_third_party_call(cli: Cli) -> None:
    arguments = ("http", "POST", "api.twilio.com/2010-04-01/Accounts/AC1/Messages.json", "--at", "2026-11-01")
    found = document(cli, *arguments)
    assert found["date"] == "2026-11-01 UTC"
    assert found["charges"][0]["valid"] == "one price, whatever the day"


def test_notes_of_prices_speak_of_the_vendor_and_not_of_other_tools() -> None:
    rules = HttpRules.shipped()
    book = PriceBook.shipped()
    notes = [rule.note for rule in rules.rules]
    notes.extend(record.billing for price_id in book.price_ids() for record in book.records(price_id))
    assert not [note for note in notes if re.search("recost|litellm|infracost|genai-prices", note or "")]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("llm", "openai", "gpt-5-minii"), "openai gpt-5-mini"),
        (("llm", "opnai", "gpt-5-mini"), "openai gpt-5-mini"),
        (("aws", "dynamodb.PutItm"), "dynamodb.PutItem"),
        (("aws", "dynamo.PutItem"), "dynamodb.PutItem"),
    ],
)
def test_a_near_miss_gets_a_suggestion(cli: Cli, arguments: tuple[str, ...], meant: str) -> None:
    done = cli("explain", *arguments)
    assert done.returncode == 1
    assert f"did you mean {meant}" in done.stdout


def test_a_call_billed_by_tokens_says_which_command_prices_it(cli: Cli) -> None:
    done = cli("explain", "aws", "bedrock-runtime.Converse")
    assert done.returncode == 2
    assert "is billed by tokens: spancost explain llm aws.bedrock MODEL" in done.stderr


@pytest.mark.parametrize(
    ("machine", "region"),
    [("lambda:512mb", "us-east-1"), ("cloudrun:1vcpu-512mb", "us-central1"), ("azure:D2s_v5", "eastus")],
)
def test_the_default_region_of_a_platform_is_no_fallback(cli: Cli, machine: str, region: str) -> None:
    (charge,) = json.loads(cli("explain", "compute", machine, "--format", "json").stdout)["charges"]
    assert (charge["status"], charge["region"], charge["why"]) == ("priced", region, "")


def test_the_configured_region_holds_for_platforms_without_machines(cli: Cli) -> None:
    done = cli("explain", "compute", "lambda:512mb", "--format", "json", SPANCOST_REGION="eu-west-1")
    assert json.loads(done.stdout)["charges"][0]["region"] == "eu-west-1"


def test_a_model_on_a_machine_of_your_own_is_priced_by_seconds(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text('models: [{model: "llama-*", provider: vllm, usd_per_hour: 4.1}]\n', encoding="utf-8")
    arguments = ("explain", "llm", "vllm", "llama-3", "--seconds", "3.6", "--format", "json")
    (charge,) = json.loads(cli(*arguments, SPANCOST_PRICES=str(own)).stdout)["charges"]
    assert (charge["quantity"], charge["unit"], charge["usd"]) == ("3.6", "s", "0.0041")


def test_an_own_price_has_no_source_of_the_list_price(cli: Cli) -> None:
    done = cli("explain", "compute", "aws:m6i.large@0.05usd/h")
    assert "checked" not in done.stdout
    assert "list price" in done.stdout


_CUSTOM = """
custom:
  - {name: pdf.render, unit: page, usd: 0.002, valid_from: 2026-01-01}
  - {name: "gpu.*", unit: s, usd: 0.0006, provider: acme}
discounts: [{name: edp, percent: 10, component: custom}]
"""


def test_usage_in_an_own_unit_is_priced_by_its_rate_with_its_discount(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text(_CUSTOM)
    (charge,) = document(cli, "custom", "pdf.render", "--quantity", "3", "--unit", "page", "--at", "2026-11-01")[
        "charges"
    ]
    assert (charge["usd"], charge["list_usd"], charge["unit"]) == ("0.0054", "0.006", "page")
    assert charge["source"].endswith("spancost.yaml+discount:edp")
    shown = cli("explain", "custom", "gpu.a100", "--quantity", "100", "--unit", "s").stdout
    assert "$0.00054/s" in shown
    assert "$0.054" in shown


def test_usage_without_a_rate_says_what_to_set_and_what_may_have_been_meant(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text(_CUSTOM)
    unit = cli("explain", "custom", "pdf.render", "--unit", "pages")
    assert unit.returncode == 1
    assert "unit_mismatch: The rate under `custom:` is for another unit" in " ".join(unit.stdout.split())
    assert "did you mean --unit page?" in unit.stdout
    name = cli("explain", "custom", "pdf.rendr", "--unit", "page")
    assert (name.returncode, "did you mean pdf.render?" in name.stdout) == (1, True)
    assert "no_rate" in cli("explain", "custom", "pdf.render", "--unit", "page", "--at", "2025-12-31").stdout


def test_compute_says_what_a_cpu_second_is_where_that_is_what_requests_bear(cli: Cli) -> None:
    arguments = ("explain", "compute", "aws:m6i.large", "--region", "us-east-1")
    assert "CPU" not in cli(*arguments).stdout
    shown = " ".join(cli(*arguments, SPANCOST_COMPUTE_MODEL="cpu").stdout.split())
    assert "requests bear the CPU time they use; 2 CPU-seconds are a second of the machine" in shown

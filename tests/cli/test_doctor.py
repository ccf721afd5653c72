from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spancost.charge import price_line
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import PUT, PUT_USD, at_minute, batch_of, charge, charged

ALL_SET = {"SPANCOST_COMPUTE": "aws:m6i.large", "SPANCOST_REGION": "us-east-1"}


def checks(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {check["subject"]: (check["state"], check["text"]) for check in document["checks"]}


def test_it_names_hosts_and_models_without_price_and_what_to_do(cli: Cli, ledger_file: Path) -> None:
    done = cli("doctor", "--ledger", str(ledger_file), "--format", "json", **ALL_SET)
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 1
    assert [(one["reason"], one["charges"], one["subjects"]) for one in document["unpriced"]] == [
        ("unknown_host", 30, {"127.0.0.1": 30}),
        ("no_usage", 12, {"gpt-5-mini": 12}),
    ]
    assert "free_hosts" in document["unpriced"][0]["advice"]


def test_all_set_and_all_priced_is_fine(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "priced.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(charged(charge(PUT, 1, PUT_USD))))
    done = cli("doctor", "--ledger", str(path), **ALL_SET)
    assert done.returncode == 0, done.stdout
    assert "m6i.large in us-east-1: $0.096/h" in done.stdout
    assert done.stdout.splitlines()[-1] == "all is well"


def test_a_machine_that_is_not_known_is_a_finding_with_the_variable_to_set(cli: Cli) -> None:
    done = cli("doctor", "--format", "json")
    found = checks(json.loads(done.stdout))
    assert done.returncode == 1
    assert found["compute"][0] == "problem"
    assert "SPANCOST_COMPUTE" in found["compute"][1]
    assert found["ledger"][0] == "note"


@pytest.mark.parametrize(
    ("machine", "model", "state", "said"),
    [
        ("aws:m6i.large", "occupancy", "ok", "occupancy: the time of the machine is split evenly among open requests"),
        ("aws:m6i.large", "cpu", "ok", "cpu: requests bear the CPU time they use; 2 CPU-seconds are a second"),
        ("0.1usd/h", "cpu", "ok", "the machine has as many vCPUs as a process sees"),
        ("lambda:512mb", "cpu", "note", "occupancy; cpu is ignored where the price depends on whether a request is"),
    ],
)
def test_the_model_of_compute_that_is_in_force_is_named(
    cli: Cli, machine: str, model: str, state: str, said: str
) -> None:
    settings = {"SPANCOST_COMPUTE": machine, "SPANCOST_REGION": "us-east-1", "SPANCOST_COMPUTE_MODEL": model}
    found = checks(json.loads(cli("doctor", "--format", "json", **settings).stdout))
    assert found["compute model"][0] == state
    assert said in found["compute model"][1]


def test_a_wrong_configuration_is_shown_in_one_line_and_is_exit_code_2(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text("regoin: us-east-1\n")
    done = cli("doctor", "--format", "json")
    state, text = checks(json.loads(done.stdout))["configuration"]
    assert (done.returncode, state) == (2, "error")
    assert "regoin" in text
    assert "'region'" in text


def test_a_valid_file_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text("region: eu-west-1\n")
    done = cli("doctor", "--format", "json")
    found = checks(json.loads(done.stdout))
    assert found["configuration"] == ("ok", "spancost.yaml is valid")
    assert found["region"] == ("ok", "eu-west-1")


def test_a_named_ledger_that_is_missing_is_an_error(cli: Cli) -> None:
    assert cli("doctor", "--ledger", "none.sqlite").returncode == 2


def test_active_instrumentations_are_those_whose_library_is_there(cli: Cli) -> None:
    pytest.importorskip("opentelemetry.instrumentation.flask")
    done = cli("doctor", "--format", "json", OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="urllib3")
    document = json.loads(done.stdout)
    flask = next(one for one in document["instrumentations"] if one["name"] == "flask")
    assert flask["libraries"] == ["flask"]
    assert "flask" in checks(document)["active"][1].split(", ")
    assert "urllib3" in checks(document)["disabled"][1]


def test_narrow_output_stays_within_the_terminal(cli: Cli, ledger_file: Path) -> None:
    done = cli("doctor", "--ledger", str(ledger_file), COLUMNS="80")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_with_a_ledger_the_part_about_the_shell_says_so(cli: Cli, ledger_file: Path) -> None:
    lines = [line.strip() for line in cli("doctor", "--ledger", str(ledger_file), **ALL_SET).stdout.splitlines()]
    assert lines[0] == "this shell"
    assert "the ledger" in lines
    assert "this shell" not in cli("doctor", **ALL_SET).stdout


def test_compute_that_the_ledger_has_priced_need_not_be_set_in_this_shell(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "priced.sqlite"
    priced = price_line("compute", "aws", "instance", unit="s", sku="m6i.xlarge", region="eu-west-1", source="x")
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(charged(charge(priced, 1, 0.001))))
    done = cli("doctor", "--ledger", str(path), "--format", "json")
    found = checks(json.loads(done.stdout))
    assert found["compute"] == ("note", "not set in this shell; priced in the ledger as m6i.xlarge eu-west-1")
    assert found["region"] == ("note", "not set in this shell; in the ledger eu-west-1")


def test_an_assumed_machine_in_the_ledger_is_said_with_what_to_set(cli: Cli, ledger_file: Path) -> None:
    state, text = checks(json.loads(cli("doctor", "--ledger", str(ledger_file), "--format", "json").stdout))["compute"]
    assert state == "note"
    assert "m6i.large us-east-1 (assumed_machine)" in text
    assert "SPANCOST_COMPUTE" in text


def test_settings_that_nobody_reads_are_noted(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yml").write_text("region: eu-west-1\n")
    done = cli("doctor", SPANCOST_REGON="eu-west-1")
    assert "SPANCOST_REGON is no setting of spancost: did you mean 'SPANCOST_REGION'" in " ".join(done.stdout.split())
    assert "spancost.yml is not read" in done.stdout
    assert done.stderr == ""


def test_usage_in_another_unit_than_its_rate_is_told_with_both_units(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text("custom: [{name: 'pdf.*', unit: page, usd: 0.002}]\n")
    path = tmp_path / "units.sqlite"
    line = price_line("custom", "", "pdf.render", unit="pages", status="unpriced", reason="unit_mismatch")
    Ledger(path, Origin("shop")).write(batch_of(charged(charge(line, 7, 0.0))))
    shown = " ".join(cli("doctor", "--ledger", str(path), COLUMNS="300").stdout.split())
    assert "1 rates for own units of your own in" in shown
    assert "custom: unit_mismatch" in shown
    assert "pdf.render: used in pages, the rate is for page." in shown


@pytest.mark.parametrize(
    ("enabled", "state", "said"), [("true", "note", "sampled spans only and no compute"), ("false", "problem", "off")]
)
def test_the_exporter_plugin_is_named_where_the_environment_asks_for_it(
    cli: Cli, enabled: str, state: str, said: str
) -> None:
    done = cli("doctor", "--format", "json", OTEL_TRACES_EXPORTER="otlp, spancost", SPANCOST_ENABLED=enabled)
    found = checks(json.loads(done.stdout))["exporter"]
    assert found[0] == state
    assert said in found[1]
    assert "exporter" not in checks(json.loads(cli("doctor", "--format", "json", OTEL_TRACES_EXPORTER="otlp").stdout))


def test_a_ledger_of_the_exporter_plugin_says_sampled_only_and_what_to_do(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "exported.sqlite"
    unpriced = price_line("compute", "", "instance", unit="s", status="unpriced", reason="exporter")
    Ledger(path, Origin("shop")).write(batch_of(charged(charge(PUT, 1, PUT_USD)), charged(charge(unpriced, 0))))
    done = cli("doctor", "--ledger", str(path), COLUMNS="200", **ALL_SET)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "sampled only: written at least in part by CostSpanExporter" in said
    assert "1 not priced. CostSpanExporter sees finished spans only" in said

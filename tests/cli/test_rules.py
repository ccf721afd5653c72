"""`spancost rules`: what stands in `spancost.yaml` becomes files for Prometheus and Alertmanager."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli
from tests.support.promtool import run_promtool

_RULES = """
budgets:
  rules:
    - name: llm-daily
      budget: {limit_usd: 50, window: rolling 1h}
      match: {component: llm, model: "gpt-*"}
      owner: search-team
    - name: llm-monthly
      budget: {limit_usd: 500, window: month, time_zone: Europe/Berlin}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "budgets.yaml"
    path.write_text(_RULES)
    return str(path)


def test_rules_go_to_stdout_and_nothing_else_does(cli: Cli, config: str) -> None:
    done = cli("rules", "prometheus", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert [group["name"] for group in yaml.safe_load(done.stdout)["groups"]] == ["spancost-budgets", "spancost-data"]
    assert "# llm-monthly: gauges: its window (month) does not roll\n" in done.stdout
    assert cli("rules", "prometheus", "--config", config).stdout == done.stdout


def test_options_are_what_the_file_says(cli: Cli, config: str) -> None:
    done = cli("rules", "prometheus", "--config", config, "--group-interval", "30s", "--for", "5m", "--no-data")
    (group,) = yaml.safe_load(done.stdout)["groups"]
    assert group["interval"] == "30s"
    assert {rule["for"] for rule in group["rules"] if "alert" in rule} == {"5m"}


def test_cases_find_the_rules_from_where_they_are(cli: Cli, config: str, tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    rules, cases = tmp_path / "rules.yaml", tmp_path / "cases" / "tests.yaml"
    done = cli("rules", "prometheus", "--config", config, "--output", str(rules), "--tests", str(cases))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tested = run_promtool("test", "rules", str(cases))
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_routes_name_the_owners(cli: Cli, config: str) -> None:
    done = cli("rules", "alertmanager", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    receivers = [receiver["name"] for receiver in yaml.safe_load(done.stdout)["receivers"]]
    assert receivers == ["search-team: page", "search-team: ticket", "others"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--group-interval", "1s"), "--group-interval '1s': from 5s to 4m"),
        (("--group-interval", "soon"), "--group-interval 'soon': "),
        (("--for", "-5m"), "--for '-5m': "),
        (("--tests", "cases.yaml"), "--tests needs --output"),
        (("--output", "no/such/folder.yaml"), "no/such/folder.yaml: No such file or directory"),
    ],
)
def test_wrong_option_is_refused_with_what_is_accepted(
    cli: Cli, config: str, arguments: tuple[str, ...], said: str
) -> None:
    done = cli("rules", "prometheus", "--config", config, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("command", ["prometheus", "alertmanager"])
def test_without_rules_it_says_where_they_belong(cli: Cli, command: str) -> None:
    done = cli("rules", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no budget rules: add budgets.rules to spancost.yaml" in done.stderr


def test_wrong_rule_is_refused_with_its_place(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("budgets: {rules: [{name: a, budget: {limit_usd: 5, window: fortnight}}]}\n")
    done = cli("rules", "prometheus", "--config", str(path))
    assert done.returncode == 2
    assert "budgets.rules[0].budget.window" in done.stderr

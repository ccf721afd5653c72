"""The example for Alertmanager: amtool accepts it, and it sends alerts to those who answer for the money."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from spancost.budgets.prometheus.routes import routes_yaml
from spancost.budgets.rules import BudgetRule
from spancost.budgets.windows import ROLLING, Window
from tests.support.backends import program

_STRANGE = 'se"arch {{ \\ team'


def _rule(owner: str) -> BudgetRule:
    return BudgetRule(name=f"r{len(owner)}", limit_usd=1, window=Window(ROLLING, 3600), owner=owner)


def _amtool(*arguments: str) -> str:
    command = [program("amtool"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "alertmanager.yaml"
    path.write_text(routes_yaml([_rule("payments"), _rule(""), _rule(_STRANGE), _rule("payments")]), encoding="utf-8")
    return str(path)


def test_configuration_is_accepted(config: str) -> None:
    said = _amtool("check-config", config)
    assert "2 inhibit rules" in said
    assert "5 receivers" in said


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=SpancostBudgetBreached", "owner=payments", "severity=critical"), "payments: page"),
        (("alertname=SpancostBudgetWarning", "owner=payments", "severity=warning"), "payments: ticket"),
        (("alertname=SpancostNoData", "severity=warning"), "others"),
        (("alertname=DiskFull", "owner=payments", "severity=critical"), "others"),
    ],
)
def test_alert_goes_to_its_owner_and_what_is_critical_pages(
    config: str, labels: tuple[str, ...], receiver: str
) -> None:
    assert _amtool("config", "routes", "test", f"--config.file={config}", *labels).strip() == receiver


def test_owner_of_any_name_has_a_route(config: str) -> None:
    owner = 'owner="se\\"arch {{ \\\\ team"'
    found = _amtool("config", "routes", "test", f"--config.file={config}", "alertname=SpancostSpike", owner)
    assert found.strip() == f"{_STRANGE}: ticket"


def test_without_owners_there_is_one_receiver(tmp_path: Path) -> None:
    path = tmp_path / "alertmanager.yaml"
    path.write_text(routes_yaml([_rule("")]), encoding="utf-8")
    assert "1 receivers" in _amtool("check-config", str(path))

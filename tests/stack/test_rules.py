"""Rules, alerts and configurations of grafana/: the real programs take them, and each is seen to speak and be quiet."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import pytest
import yaml

from examples.stack.binaries import program
from examples.stack.servers import Alertmanager
from spancost.budgets.prometheus import alerts as budget_alerts
from tests.e2e.zero_code import ROOT, wait_until

pytestmark = pytest.mark.stack

_GRAFANA: Final = ROOT / "grafana"
_RULE_FILES: Final = sorted((_GRAFANA / "rules").glob("*.yaml"))
_CASE_FILES: Final = sorted((_GRAFANA / "tests").glob("*.yaml"))
_SCOPE: Final = (
    "service_name",
    "deployment_environment_name",
    "k8s_namespace_name",
    "cloud_account_id",
    "cloud_region",
)
_VARIANTS: Final = ("how", "burn", "label")
"""Labels by which several rules of one alert differ."""
_LOOK_BACK_S: Final = 300
_METRIC: Final = re.compile(r"\b(?:\w+:)?(?:spancost|otelcol)_[a-z0-9_]+(?::\w+)?\b")


class Rule(NamedTuple):
    """A recording rule, or one of the rules of an alert."""

    name: str
    variant: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def expression(self) -> str:
        return str(self.document["expr"])

    def __str__(self) -> str:
        return " ".join([self.name, *self.variant.values()])


class Case(NamedTuple):
    """One question of a test file, and what is expected."""

    about: str
    """Name of an alert, or an expression."""
    inputs: frozenset[str]
    """Metrics that there are."""
    expected: list[Mapping[str, Any]]


def _groups() -> Iterator[Mapping[str, Any]]:
    for path in _RULE_FILES:
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]


def _rules(kind: str) -> list[Rule]:
    return [
        Rule(rule[kind], {key: rule["labels"][key] for key in _VARIANTS if key in rule.get("labels", {})}, rule)
        for group in _groups()
        for rule in group["rules"]
        if kind in rule
    ]


def _cases(kind: str, subject: str, expected: str) -> list[Case]:
    found: list[Case] = []
    for path in _CASE_FILES:
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            inputs = frozenset(one["series"].partition("{")[0] for one in test["input_series"])
            found.extend(Case(one[subject], inputs, one[expected]) for one in test.get(kind, ()))
    return found


_RECORDED: Final = _rules("record")
_ALERTS: Final = _rules("alert")
_ALERT_CASES: Final = _cases("alert_rule_test", "alertname", "exp_alerts")
_VALUE_CASES: Final = _cases("promql_expr_test", "expr", "exp_samples")


def _run(name: str, *arguments: str | Path) -> str:
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_rules_are_accepted_with_every_lint_there_is() -> None:
    said = _run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *_RULE_FILES)
    assert f"{len(_ALERTS)} rules found" in said
    assert f"{len(_RECORDED)} rules found" in said


def test_configuration_of_prometheus_is_accepted_with_its_rules_and_targets() -> None:
    said = _run(
        "promtool", "check", "config", "--lint=all", "--lint-fatal", _GRAFANA / "prometheus" / "prometheus.yaml"
    )
    assert f"{len(_RULE_FILES)} rule files found" in said


def test_configuration_of_alertmanager_is_accepted() -> None:
    _run("amtool", "check-config", _GRAFANA / "prometheus" / "alertmanager.yaml")


@pytest.mark.parametrize("path", _CASE_FILES, ids=lambda path: path.stem)
def test_rules_do_what_their_cases_say(path: Path) -> None:
    _run("promtool", "test", "rules", path)


def test_cases_are_named_by_sentences() -> None:
    for path in _CASE_FILES:
        tests = yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
        names = [test.get("name", "") for test in tests]
        assert all(len(name.split()) >= 5 for name in names), (path, names)
        assert len(set(names)) == len(names), (path, names)


def _family(recorded: str) -> str:
    """Return the name of a recorded series without its window: all windows of it are one expression."""
    return re.sub(r"(rate|p\d+_)\d+[mhd]$", r"\1", recorded)


@pytest.mark.parametrize("rule", _RECORDED, ids=str)
def test_every_recording_rule_has_a_case_with_a_value(rule: Rule) -> None:
    assert any(
        rule.name in _METRIC.findall(case.about) and any(sample["value"] for sample in case.expected)
        for case in _VALUE_CASES
    )


@pytest.mark.parametrize("family", sorted({_family(rule.name) for rule in _RECORDED}))
def test_every_recorded_family_has_a_case_with_nothing_to_say(family: str) -> None:
    named = {rule.name for rule in _RECORDED if _family(rule.name) == family}
    read = {name for rule in _RECORDED if rule.name in named for name in _METRIC.findall(rule.expression)}
    read |= {name for rule in _RECORDED if rule.name in read for name in _METRIC.findall(rule.expression)}
    assert any(
        named & set(_METRIC.findall(case.about)) and case.expected == [] and read & case.inputs for case in _VALUE_CASES
    )


def _is_of(rule: Rule, labels: Mapping[str, Any]) -> bool:
    return all(labels.get(key) == value for key, value in rule.variant.items())


def _firing(rule: Rule) -> list[Mapping[str, Any]]:
    return [
        one["exp_labels"]
        for case in _ALERT_CASES
        if case.about == rule.name
        for one in case.expected
        if _is_of(rule, one["exp_labels"])
    ]


def _reads(expression: str) -> set[str]:
    """Return the metrics that an expression reads, through recording rules as well."""
    found = set(_METRIC.findall(expression))
    found |= {f"{name}_total" for name in re.findall(r"(\w+)\(_total\)\?", expression)}
    for rule in _RECORDED:
        if rule.name in found:
            found |= _reads(rule.expression)
    return found


@pytest.mark.parametrize("rule", _ALERTS, ids=str)
def test_every_alert_has_a_case_in_which_it_fires_with_all_that_it_is_routed_by(rule: Rule) -> None:
    assert any(all(labels.get(label) for label in _SCOPE) for labels in _firing(rule))


@pytest.mark.parametrize("rule", _ALERTS, ids=str)
def test_every_alert_has_a_case_in_which_it_is_quiet_though_its_metrics_are_there(rule: Rule) -> None:
    assert any(
        case.about == rule.name
        and not any(_is_of(rule, one["exp_labels"]) for one in case.expected)
        and case.inputs & _reads(rule.expression)
        for case in _ALERT_CASES
    )


@pytest.mark.parametrize("rule", [*_RECORDED, *_ALERTS], ids=str)
def test_every_rule_keeps_what_a_fleet_is_split_by(rule: Rule) -> None:
    kept = re.findall(r"\b(?:sum|min|max|count) by \(([^)]*)\)", rule.expression)
    outer = [set(re.split(r",\s*", labels)) for labels in kept]
    assert all(
        set(_SCOPE) <= labels or labels <= {"service_name", "deployment_environment_name"} for labels in outer
    ), rule.expression
    assert any(set(_SCOPE) <= labels for labels in outer) or "service:spancost_cost_usd:" in rule.expression


def test_windows_of_a_recorded_family_differ_in_nothing_but_their_length() -> None:
    found: dict[str, set[str]] = {}
    for rule in _RECORDED:
        window = re.search(r"(\d+[mhd])$", rule.name)
        if window is not None:
            said = rule.expression.replace(f"[{window[1]}]", "[WINDOW]")
            assert "[WINDOW]" in said, rule.name
            found.setdefault(_family(rule.name), set()).add(said)
    assert len(found) > 10
    assert all(len(expressions) == 1 for expressions in found.values()), found


def test_a_recorded_series_is_never_out_of_sight_between_two_evaluations() -> None:
    for group in _groups():
        count, unit = re.fullmatch(r"(\d+)([sm])", group["interval"]).groups()  # type: ignore[union-attr]
        assert int(count) * {"s": 1, "m": 60}[unit] < _LOOK_BACK_S, group["name"]


@pytest.mark.parametrize("rule", _ALERTS, ids=str)
def test_every_alert_says_how_bad_it_is_and_where_to_read_on(rule: Rule) -> None:
    assert rule.document["labels"]["severity"] in {"critical", "warning", "info"}
    annotations: Mapping[str, str] = rule.document["annotations"]
    assert "{{" in annotations["summary"]
    assert len(annotations["description"]) > 40
    page, _, heading = annotations["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert heading in {re.sub(r"[^\w -]", "", one).strip().lower().replace(" ", "-") for one in headings}
    assert heading == rule.name.lower()


def test_names_are_not_those_of_the_rules_that_are_made_from_budgets() -> None:
    made = {value for name, value in vars(budget_alerts).items() if name.endswith("_ALERT")}
    assert len(made) > 5
    assert not made & {rule.name for rule in _ALERTS}
    assert not any(rule.name.startswith("spancost:") for rule in _RECORDED)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ({"alertname": "SpancostSpendAboveLastDay", "owner": "shop-team", "severity": "critical"}, "shop-team: page"),
        ({"alertname": "SpancostSpendAboveLastDay", "owner": "shop-team", "severity": "warning"}, "shop-team: ticket"),
        ({"alertname": "SpancostSpendAboveLastDay", "severity": "critical"}, "page"),
        ({"alertname": "SpancostBurnRate", "owner": "shop-team", "severity": "critical"}, "shop-team: page"),
        ({"alertname": "SpancostPriceBookOld", "owner": "shop-team", "severity": "info"}, "log"),
        ({"alertname": "SpancostFlushOld", "severity": "warning"}, "others"),
        ({"alertname": "DiskFull", "owner": "shop-team", "severity": "critical"}, "others"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_alerts_go_to_the_owner_of_the_service_and_at_night_only_what_is_critical(
    labels: Mapping[str, str], receiver: str
) -> None:
    config = _GRAFANA / "prometheus" / "alertmanager.yaml"
    said = _run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        *(f"{key}={text}" for key, text in labels.items()),
    )
    assert said.strip().strip('"') == receiver


def test_a_fast_burn_makes_the_slow_one_of_the_same_service_quiet(tmp_path: Path) -> None:
    now = datetime.now(UTC)

    def burn(speed: str, service: str) -> dict[str, Any]:
        name = "SpancostSpendAboveLastDay"
        labels = {"alertname": name, "burn": speed, "service_name": service, "cloud_region": "eu-west-1"}
        return {"labels": labels, "endsAt": (now + timedelta(hours=1)).isoformat()}

    with Alertmanager(tmp_path, _GRAFANA / "prometheus" / "alertmanager.yaml") as server:
        sent = [burn("slow", "shop"), burn("slow", "other"), burn("fast", "shop")]
        request = urllib.request.Request(
            f"{server.url}/api/v2/alerts", json.dumps(sent).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

        def states() -> dict[tuple[str, str], str]:
            with urllib.request.urlopen(f"{server.url}/api/v2/alerts", timeout=10) as answer:
                alerts = cast("list[dict[str, Any]]", json.load(answer))
            return {(one["labels"]["burn"], one["labels"]["service_name"]): one["status"]["state"] for one in alerts}

        expected = {("slow", "shop"): "suppressed", ("slow", "other"): "active", ("fast", "shop"): "active"}
        wait_until(lambda: states() == expected, "the slow burn of the shop is suppressed")

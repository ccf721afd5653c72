"""Alert rules that Grafana evaluates itself are those of Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana._make.__main__ import ALERTS, FOLDER
from grafana._make.alerting import alert_rules


def _alerts(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


def _made() -> list[dict[str, Any]]:
    text = (FOLDER / "provisioning" / "alerting" / "spancost.yaml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_every_alert_is_there_with_its_expression_times_labels_and_texts() -> None:
    alerts, made = _alerts(ALERTS.read_text("utf-8")), _made()
    assert len(alerts) == len(made) > 0
    for alert, rule in zip(alerts, made, strict=True):
        assert rule["title"].startswith(alert["alert"])
        assert rule["data"][0]["model"]["expr"] == alert["expr"].strip()
        assert rule["for"] == alert.get("for", "0s")
        assert rule.get("keepFiringFor") == alert.get("keep_firing_for")
        assert rule["labels"] == alert.get("labels", {})
        assert set(rule["annotations"]) == set(alert.get("annotations", {}))


def test_every_rule_has_a_uid_and_a_title_of_its_own_and_grafana_can_tell_its_texts() -> None:
    made = _made()
    assert len({rule["uid"] for rule in made}) == len({rule["title"] for rule in made}) == len(made)
    assert all(re.fullmatch(r"[\w-]{1,40}", rule["uid"]) for rule in made)
    texts = [text for rule in made for text in rule["annotations"].values()]
    assert [text for text in texts if re.search(r"\$value\b", text)] == []


def test_every_rule_asks_a_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "spancost.yaml").read_text("utf-8"))
    known = {"__expr__", *(one["uid"] for one in sources["datasources"])}
    assert {part["datasourceUid"] for rule in _made() for part in rule["data"]} <= known
    for rule in _made():
        parts = {part["refId"]: part["model"] for part in rule["data"]}
        assert rule["condition"] in parts
        used = {model["expression"] for model in parts.values() if model.get("type") == "threshold"}
        assert used <= set(parts)


def _rules(folder: Path, *rules: dict[str, Any]) -> Path:
    file = folder / "alerts.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shop", "rules": list(rules)}]}), "utf-8")
    return file


def test_a_value_is_that_of_the_query_and_variants_of_an_alert_are_told_apart(tmp_path: Path) -> None:
    rule = {"alert": "Dear", "expr": "x > 1\n", "annotations": {"summary": "{{ $value | humanize }} now"}}
    other = {**rule, "labels": {"how": "at_night"}}
    (group,) = yaml.safe_load(alert_rules(_rules(tmp_path, rule, other, {"record": "x", "expr": "y"})))["groups"]
    assert [one["title"] for one in group["rules"]] == ["Dear (1)", "Dear (at night)"]
    assert group["rules"][0]["annotations"] == {"summary": "{{ $values.A.Value | humanize }} now"}
    assert (group["interval"], group["rules"][0]["data"][0]["model"]["expr"]) == ("1m", "x > 1")


def test_a_text_that_asks_for_itself_is_refused(tmp_path: Path) -> None:
    rule = {"alert": "Dear", "expr": "x", "annotations": {"summary": '{{ with query "up" }}{{ . }}{{ end }}'}}
    with pytest.raises(ValueError, match="shop/Dear"):
        alert_rules(_rules(tmp_path, rule))

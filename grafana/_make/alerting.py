"""Alert rules of Prometheus, as rules that Grafana evaluates itself, for those who have no Alertmanager.

Same expressions, same waiting times, same labels and texts. A rule of Prometheus fires for whatever its expression
returns, also for 0 and NaN; so does the rule made of it here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

DATASOURCE_UID: Final = "prometheus"
FOLDER: Final = "spancost"
_HEAD: Final = "# Made by `python -m grafana._make` from grafana/rules/alerts.yaml; do not edit.\n"
_LOOKS_BACK_S: Final = 600
_VALUE: Final = re.compile(r"\$value\b")
_LABEL_OF_VARIANT: Final = "how"
_DEFAULT_INTERVAL: Final = "1m"


class _Text(str):
    """Written as a block, so that an expression can be read."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", str(text), style="|" if "\n" in text else None)


_Dumper.add_representer(_Text, _block)


def alert_rules(file: Path) -> str:
    """Return the provisioning file with the rules of a rule file of Prometheus.

    Args:
        file: With alerts; recording rules in it are left out.

    Raises:

        ValueError: A rule asks for more in its texts than Grafana can give.
    """
    groups = [
        {
            "orgId": 1,
            "name": group["name"],
            "folder": FOLDER,
            "interval": group.get("interval", _DEFAULT_INTERVAL),
            "rules": rules,
        }
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        if (rules := list(_rules(group)))
    ]
    document = {"apiVersion": 1, "groups": groups}
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _rules(group: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    rules = [rule for rule in group["rules"] if "alert" in rule]
    names = Counter(str(rule["alert"]) for rule in rules)
    seen: Counter[str] = Counter()
    for rule in rules:
        name = str(rule["alert"])
        seen[name] += 1
        title = name if names[name] == 1 else f"{name} ({_variant(rule) or seen[name]})"
        yield _rule(f"{group['name']}/{title}", title, rule)


def _variant(rule: Mapping[str, Any]) -> str:
    labels = rule.get("labels", {})
    return str(labels.get(_LABEL_OF_VARIANT, "")).replace("_", " ")


def _rule(path: str, title: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    waits = {"keepFiringFor": rule["keep_firing_for"]} if "keep_firing_for" in rule else {}
    return {
        "uid": f"spancost-{hashlib.sha256(path.encode()).hexdigest()[:16]}",
        "title": title,
        "condition": "fires",
        "data": [
            _part("A", DATASOURCE_UID, {"expr": _Text(str(rule["expr"]).strip()), "instant": True, "range": False}),
            _part("any", "__expr__", {"type": "math", "expression": "is_number($A) || is_nan($A) || is_inf($A)"}),
            _part(
                "fires",
                "__expr__",
                {
                    "type": "threshold",
                    "expression": "any",
                    "conditions": [{"evaluator": {"type": "gt", "params": [0]}}],
                },
            ),
        ],
        "for": rule.get("for", "0s"),
        **waits,
        "noDataState": "OK",
        "execErrState": "Error",
        "isPaused": False,
        "labels": dict(rule.get("labels", {})),
        "annotations": {key: _Text(_text(path, str(text))) for key, text in rule.get("annotations", {}).items()},
    }


def _part(ref_id: str, source: str, model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "refId": ref_id,
        "relativeTimeRange": {"from": _LOOKS_BACK_S, "to": 0},
        "datasourceUid": source,
        "model": {"refId": ref_id, **model},
    }


def _text(path: str, text: str) -> str:
    """Return a text as Grafana fills it in: a value is that of a query there."""
    if re.search(r"\{\{[^}]*\bquery\b", text):
        raise ValueError(f"{path}: a text that asks a query of its own cannot be told by Grafana")
    return _VALUE.sub("$values.A.Value", text).strip()

"""A `spancost.yaml` with budgets for the applications of these tests, and what a store says in the end."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

from spancost.budgets.rules import DEFAULT_THRESHOLDS
from tests.e2e.apps.worker import PREFIX
from tests.e2e.zero_code import LLM_CALL_USD
from tests.support.alert_receiver import AlertReceiver
from tests.support.patient_store import patient_store

EVERYTHING: Final = "all-monthly"
LLM_MONTHLY: Final = "llm-monthly"
BY_WORKER: Final = "llm-by-worker"
THRESHOLDS: Final = list(DEFAULT_THRESHOLDS)
_NEVER_USD: Final = 1e6
_CONFIG: Final = f"""\
budgets:
  notify:
    ops: {{type: webhook, url: "{{url}}/alerts"}}
  rules:
    - name: {LLM_MONTHLY}
      budget: {{limit_usd: {{limit_usd}}, window: month, time_zone: Europe/Berlin}}
      match: {{component: llm}}
      thresholds: [50%, 80%, 100%]
    - name: {BY_WORKER}
      budget: {{limit_usd: {_NEVER_USD}, window: month}}
      match: {{component: llm}}
      per: tenant
    - name: {EVERYTHING}
      budget: {{limit_usd: {_NEVER_USD}, window: month}}
"""


def write_budgets(directory: Path, receiver: AlertReceiver, *, limit_calls: int) -> str:
    """Write a configuration whose monthly LLM budget is gone after so many calls, and return its path."""
    path = directory / "spancost.yaml"
    limit_usd = limit_calls * LLM_CALL_USD
    text = _CONFIG.replace("{{", "{").replace("}}", "}")
    path.write_text(text.replace("{url}", receiver.url).replace("{limit_usd}", repr(limit_usd)))
    return str(path)


def spent(store: str) -> dict[tuple[str, str], float]:
    """Return what a store has added up, USD by rule and key."""
    sums: dict[tuple[str, str], float] = {}
    with closing(patient_store(store)) as opened:
        for cell, added in opened.exchange(None, 0).cells:
            if cell.track == 0:
                sums[cell.rule, cell.key] = sums.get((cell.rule, cell.key), 0.0) + added.usd
    return sums


def calls_by_worker(store: str) -> Counter[str]:
    """Return the LLM calls in a store by the process that made them."""
    return Counter(
        {
            key.removeprefix(PREFIX): round(usd / LLM_CALL_USD)
            for (rule, key), usd in spent(store).items()
            if rule == BY_WORKER
        }
    )


def calls(store: str) -> int:
    """Return the LLM calls in a store."""
    return round(spent(store).get((LLM_MONTHLY, ""), 0.0) / LLM_CALL_USD)


def told(receiver: AlertReceiver) -> list[tuple[str, str, float | None]]:
    """Return rule, status and threshold of each alert that was taken, one for each time."""
    bodies = [json.loads(posted.body) for several in receiver.taken.values() for posted in several]
    return sorted((one["rule"], one["status"], one["threshold"]) for one in bodies)

"""Configuration: whatever stands in file and environment, it is read, or refused with place, key and value."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import strategies as st

from spancost import names
from spancost.budgets.validation import validate_rules
from spancost.config import Config, load_config
from spancost.errors import ConfigError
from spancost.testing import priced_provider
from tests.fuzz.conftest import Fuzz
from tests.fuzz.mutations import (
    NUMBERS_AS_TEXT,
    TEXTS_THAT_MEAN_SOMETHING,
    as_yaml,
    mutated,
    mutated_bytes,
    names_in,
    yaml_values,
)
from tests.fuzz.running import result_or_error

_FILE: Final = """
region: eu-west-1
enabled: true
flush_interval: 5s
compute: {machine: aws:m6i.large, share: 1/4, idle_after: 60, lease: "off", detect: false, cpu_request: 500m}
attribution:
  entrypoint: nightly
  baggage: [tenant, {key: customer-id, label: tenant}]
  rules:
    - {route: "/cart/*", method: POST, feature: checkout, team: web}
    - {span: {http.request.header.x_tenant: "*"}, tenant: "{http.request.header.x_tenant}", labels: {cost_center: 4711}}
    - {resource: {service.name: "shop-*"}, team: shop}
egress: {clients: private, proxy: true, rules: [{route: "/internal/*", clients: private}, {service: a, clients: cdn}]}
http: {free_hosts: ["*.svc.cluster.local"], exclude_hosts: [a.example]}
aws: {inject_consumed_capacity: false, provisioned_tables: [orders, "t-*"]}
prices_cache: "off"
ledger:
  {path: spancost.sqlite, keep_minutes: 48h, keep_hours: 8d, keep_days: 400d, costliest_traces: 20, sampled_traces: 5}
metrics:
  labels: [feature, team]
  first_value_hold: 0
  prometheus_port: 9465
  prometheus_host: 127.0.0.1
  max_values_per_label: 10
  max_series_per_metric: 100
sampling: {meter_all: true}
budgets:
  store: memory
  notify:
    log: {type: log}
  rules:
    - name: llm
      budget: {limit_usd: 500, window: month, time_zone: Europe/Berlin}
      match: {component: llm, tenant: [acme, "b*"]}
      per: [tenant, model]
      max_keys: 50
      thresholds: [50%, 80%, 100%]
      throttle: {from: 90%, delay: 2s}
      labels: {cost_center: 4711}
      on_unpriced: {assume_usd: 0.01}
      cooldown: 5m
      hysteresis: 5%
      runbook: https://wiki.example/llm
      notify: [log]
    - {name: day, budget: {limit_usd: "$5", window: rolling 24h, when_unavailable: closed}, severity: critical}
    - {name: spike, spike: {bucket: 1h, method: seasonal, history: 14, multiplier: 2.5, season: week, warm_up: 2}}
    - {name: burn, burn_rate: {budget: llm, pairs: [{long: 1h, short: 5m, factor: 14.4}], min_usd_per_hour: 0.5}}
    - {name: forecast, forecast: {budget: llm, method: linear, over: 24h, confidence: 90%}, owner: search}
    - {name: dear, max_request_usd: 0.25, match: {route: "/chat/*"}, include_idle: false}
limits: {open_roots: 100, root_quiet: 10m, partial_cost_interval: 5s}
prices: [{price: aws.sqs.*, usd: 0.0000003, unit: request}]
discounts: [{name: edp, percent: 12}]
"""
_DOCUMENT: Final[Any] = yaml.safe_load(_FILE)
_VARIABLES: Final = sorted(
    str(value) for name, value in vars(names).items() if name.startswith("ENV_") and name != "ENV_CONFIG"
)


def _is_usable(config: Config) -> None:
    """What was accepted is a number where one is meant, and prices spans."""
    for field in fields(Config):
        value = getattr(config, field.name)
        if isinstance(value, float):
            assert math.isfinite(value), field.name
            assert value >= 0, field.name
    validate_rules(config.budget_rules)
    unsafe = {
        "budget_store",
        "compute_share",
        "lease",
        "detect",
        "first_value_hold_s",
        "ledger",
        "prometheus_port",
        "prices_file",
    }
    settings = {one.name: getattr(config, one.name) for one in fields(Config) if one.name not in unsafe}
    settings["budget_store"] = "memory"  # nothing outside of this process
    with priced_provider(**settings) as world:
        world.tracer.start_span("work").end()
        world.publish()
        assert world.engine.errors.counts == {}


def test_files_are_read_or_refused_with_file_key_and_value(
    fuzzed: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "spancost.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        config, error = result_or_error(lambda: load_config(path, environ={}), ConfigError)
        if config is not None:
            _is_usable(config)
            return
        assert error is not None
        assert str(error).startswith((f"{path}: ", str(tmp_path)))
        assert error.key
        assert error.accepted

    trees = mutated([_DOCUMENT], yaml_values, keys=sorted(names_in(_DOCUMENT)), most=3).map(as_yaml)
    fuzzed(st.one_of(trees, trees, mutated_bytes([_FILE.encode()])), check)


def test_variables_are_read_or_refused_by_their_name(
    fuzzed: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values = st.one_of(
        st.sampled_from([text for text in (*TEXTS_THAT_MEAN_SOMETHING, *NUMBERS_AS_TEXT) if "\x00" not in text]),
        st.sampled_from(["500ms", "1/4", "m6i.large", "aws:m6i.large", "fargate:1vcpu-2gb", "0.1usd/h", "512Mi"]),
        st.text(st.characters(exclude_characters="\x00"), max_size=15),
    )  # fmt: skip

    def check(environ: dict[str, str]) -> None:
        config, error = result_or_error(lambda: load_config(environ=environ), ConfigError)
        if config is not None:
            _is_usable(config)
            return
        assert error is not None
        assert (error.place == "environment" and error.key in environ) or error.place in environ.values()
        assert error.accepted

    fuzzed(st.dictionaries(st.sampled_from(_VARIABLES), values, min_size=1, max_size=4), check)

"""A configuration's prices of models and of HTTP APIs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spancost.config import Config
from spancost.prices.book import PriceBook
from spancost.prices.configured import http_rules, token_prices
from spancost.prices.own import read_own_prices
from spancost.prices.tokens import TokenCounts, TokenRates

_NOW_NS = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
_OWN: dict[str, object] = {
    "models": [{"model": "acme-2", "usd_per_million": {"input": 1, "output": 2}}],
    "http_rules": [
        {"host": "api.example.com", "path": "/v1/*", "provider": "x", "operation": "y", "usd": 0.002, "unit": "request"}
    ],
    "discounts": [{"name": "half", "percent": 50}],
}


def _config(folder: Path) -> Config:
    model: dict[str, Any] = {
        "id": "acme-1",
        "match": {"equals": "acme-1"},
        "prices": {"input_mtok": 4, "output_mtok": 8},
    }
    provider: dict[str, Any] = {"id": "acme", "name": "Acme", "api_pattern": "acme", "models": [model]}
    (folder / "llm.json").write_text(json.dumps({"date": "2026-11-20", "providers": [provider]}))
    return Config(prices_cache=str(folder), own=read_own_prices(_OWN, "prices.yaml", PriceBook.shipped()))


def test_refreshed_model_prices_are_used_with_their_day_and_discounted(tmp_path: Path) -> None:
    rates = token_prices(_config(tmp_path)).rates("acme", "acme-1", "", _NOW_NS)
    assert isinstance(rates, TokenRates)
    assert rates.source == "genai-prices:2026-11-20+discount:half"
    assert rates.split(TokenCounts(1_000_000, 0)) is not None


def test_own_models_and_rules_are_used(tmp_path: Path) -> None:
    config = _config(tmp_path)
    rates = token_prices(config).rates("acme", "acme-2", "", _NOW_NS)
    assert isinstance(rates, TokenRates)
    assert rates.source == "override:prices.yaml"
    rule = http_rules(config).find("api.example.com", "GET", "/v1/x")
    assert rule is not None
    assert (rule.usd, rule.source) == (0.002, "override:prices.yaml")
    assert http_rules(config).find("api.twilio.com", "POST", "/2010-04-01/Accounts/A/Messages.json") is not None

"""The schema of price files, for editors and for people who write one, against the files as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from spancost.prices import lint
from spancost.prices.build import DATA

SCHEMA: dict[str, Any] = json.loads((DATA / "schema.json").read_text(encoding="utf-8"))
FILES = sorted(path.relative_to(DATA) for path in DATA.rglob("*.yaml"))
VALIDATOR: Any = Draft202012Validator(SCHEMA)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_price_file_keeps_to_the_schema(file: Path) -> None:
    document = yaml.safe_load((DATA / file).read_text(encoding="utf-8"))
    assert [error.message for error in VALIDATOR.iter_errors(document)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"usd": 0.5},
        {"usd": "-1"},
        {"usd": "1", "tiers": [{"from": 0, "usd": "1"}]},
        {"source": ""},
        {"confidence": "sure"},
        {"valid_from": "soon"},
        {"colour": "red"},
    ],
)
def test_what_the_linter_refuses_of_one_rate_the_schema_refuses(change: dict[str, Any]) -> None:
    rate = {"region": "us-east-1", "usd": "1", "source": "page", "as_of": "2026", "confidence": "single", **change}
    price = {"id": "aws.x.y", "unit": "request", "rates": [rate]}
    document = {"vendor": "aws", "default_region": "us-east-1", "regions": ["us-east-1"], "prices": [price]}
    assert list(VALIDATOR.iter_errors(document))
    assert lint.problems({"aws.yaml": document})


def test_schema_and_linter_know_the_same_keys() -> None:
    defs = SCHEMA["$defs"]
    assert set(defs["price"]["properties"]) == lint._PRICE_KEYS  # pyright: ignore[reportPrivateUsage]
    assert set(defs["rate"]["properties"]) == lint._RATE_KEYS  # pyright: ignore[reportPrivateUsage]
    assert set(defs["http_rule"]["properties"]) == lint._HTTP_KEYS  # pyright: ignore[reportPrivateUsage]
    assert set(defs["confidence"]["enum"]) == lint.CONFIDENCES

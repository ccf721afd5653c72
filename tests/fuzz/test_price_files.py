"""Price files: whatever stands in them, they are read, or refused with an error of ours that names the place."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import strategies as st

from spancost.config import Config, own_prices_file
from spancost.errors import ConfigError, PriceBookError
from spancost.prices.book import PriceBook, Rate
from spancost.prices.build import DATA, build, read_sources
from spancost.prices.cache import read_cache, read_file, write_file
from spancost.prices.configured import http_rules, token_prices
from spancost.prices.http_rules import HttpRules, rule_from_data
from spancost.prices.own import OWN_KEYS, OwnPrices
from tests.fuzz.conftest import Fuzz
from tests.fuzz.mutations import as_json, as_yaml, json_values, mutated, mutated_bytes, names_in, yaml_values
from tests.fuzz.running import result_or_error

_BOOK: Final = PriceBook.shipped()
_NOW_NS: Final = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp()) * 10**9
_WRITE: Final = "aws.dynamodb.on_demand.write"
_OWN: Final[list[dict[str, Any]]] = [
    {
        "prices": [
            {"price": _WRITE, "usd": "0.0000005", "unit": "WRU", "region": "eu-*", "valid_from": "2026-01-01"},
            {"price": "aws.sqs.*", "usd": 3e-7, "unit": "request", "valid_to": date(2026, 12, 31)},
        ],
        "currency": {"code": "EUR", "per_usd": 0.92, "date": "2026-11-20"},
    },
    {
        "discounts": [
            {"name": "edp", "percent": 12},
            {"name": "plan", "percent": "30%", "coverage": "70%", "component": "compute", "region": "us-east-1"},
            {"name": "s3", "percent": 5, "price": "aws.s3.*", "provider": "aws", "valid_from": "2026-01-01"},
        ]
    },
    {
        "models": [
            {"model": "prod-*", "provider": "azure*", "same_as": "openai/gpt-5-mini"},
            {"model": "gpt-5*", "usd_per_million": {"input": 1, "output": "8.5", "cache_read": 0.1}},
            {"model": "llama3", "provider": "vllm", "usd_per_hour": 4.1, "valid_from": date(2026, 2, 1)},
        ]
    },
    {
        "http_rules": [
            {"host": "api.x.example", "usd": "0.01"},
            {
                "host": "*.y.example", "method": "POST", "path": "/v1/messages/{id}", "provider": "y", "operation": "m",
                "usd": 0.002, "unit": "credit", "quantity": "response.json.credits or 1", "valid_from": "2026-03-01",
                "note": "contract",
            },
            {"host": "z.example", "path": "/a/*", "usd": 1, "quantity": "ceil(request.header.x-size / 160) or 2"},
        ]
    },
    {"custom": [{"name": "pdf.render", "unit": "page", "usd": 0.002, "provider": "acme", "valid_to": "2027-01-01"}]},
]  # fmt: skip


_OWN_NAMES: Final = sorted({*OWN_KEYS, *(name for document in _OWN for name in names_in(document))})
_OWN_TEXTS: Final = [yaml.safe_dump(document).encode() for document in _OWN]


def _use(own: OwnPrices) -> None:
    """Whatever was accepted gives prices that are numbers."""
    book = own.onto(_BOOK)
    for price_id in (_WRITE, "aws.sqs.standard", "aws.s3.get", "aws.ec2.m6i.large"):
        for region in ("us-east-1", "eu-west-1", ""):
            found = book.price(price_id, region, _NOW_NS)
            if isinstance(found, Rate):
                assert 0 <= found.usd < float("inf")
                assert 0 < found.list_usd < float("inf") or found.list_usd == 0
    config = Config(own=own, prices_cache="off")
    for model in ("prod-1", "gpt-5-mini", "llama3"):
        token_prices(config).rates("openai", model, "", _NOW_NS)
    rules = http_rules(config)
    for call in (
        ("api.x.example", "GET", "/"),
        ("a.y.example", "POST", "/v1/messages/5"),
        ("z.example", "GET", "/a/b"),
    ):
        rule = rules.find(*call, _NOW_NS)
        assert rule is None or rule.usd is None or 0 <= rule.usd < float("inf")
    if own.currency is not None:
        assert own.currency.per_usd > 0


def test_own_prices_are_read_or_refused_with_file_key_and_value(fuzzed: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        own, error = result_or_error(lambda: own_prices_file(path, _BOOK), ConfigError)
        if own is not None:
            _use(own)
            return
        assert error is not None
        assert str(error).startswith(f"{path}: ")
        assert error.key
        assert error.accepted

    trees = mutated(_OWN, yaml_values, keys=_OWN_NAMES).map(as_yaml)
    fuzzed(st.one_of(trees, trees, mutated_bytes(_OWN_TEXTS)), check)


def _cached(folder: Path) -> Any:
    ids = (_WRITE, "aws.sqs.standard", "aws.s3.get", "aws.lambda.requests")
    records = {price_id: _BOOK.records(price_id) for price_id in ids if _BOOK.template(price_id) is not None}
    write_file(folder / "made.json", "aws", "2026-11-20T06:00:00Z", records)
    return json.loads((folder / "made.json").read_bytes())


def test_refreshed_prices_are_read_or_refused_with_the_file(fuzzed: Fuzz, tmp_path: Path) -> None:
    document = _cached(tmp_path)
    assert len(document["prices"]) >= 2
    path = tmp_path / "aws.json"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        file, error = result_or_error(lambda: read_file(path, _BOOK), PriceBookError)
        assert file is not None or str(path) in str(error)
        for records in () if file is None else file.records.values():
            assert all(record.usd is None or (record.usd.is_finite() and record.usd >= 0) for record in records)
        cache = read_cache(str(tmp_path), _BOOK)  # as a process does at its start
        book = cache.onto(_BOOK)
        for price_id in document["prices"]:
            for region in ("us-east-1", "eu-west-1", ""):
                found = book.price(price_id, region, _NOW_NS)
                assert not isinstance(found, Rate) or 0 <= found.usd < float("inf")

    trees = mutated([document], json_values, keys=sorted(names_in(document))).map(as_json)
    fuzzed(st.one_of(trees, mutated_bytes([as_json(document)])), check)


def _small(document: Any) -> Any:
    """Return a file of the book with its first entries only."""
    whole: dict[str, Any] = document
    return {key: value[:3] if key in ("prices", "http") else value for key, value in whole.items()}


def test_files_of_the_book_are_built_or_refused_with_the_file(fuzzed: Fuzz, tmp_path: Path) -> None:
    sources = [_small(document) for document in read_sources(DATA).values()]
    names = sorted({name for document in sources for name in names_in(document)})
    name = "made.yaml"

    def check(data: bytes) -> None:
        (tmp_path / name).write_bytes(data)
        text, error = result_or_error(lambda: build(read_sources(tmp_path)), PriceBookError)
        assert text is not None or name in str(error)
        if text is None:
            return
        parsed: Any = json.loads(text)
        book = PriceBook(parsed)
        for price_id in book.price_ids():
            for region in ("us-east-1", ""):
                found = book.price(price_id, region, _NOW_NS)
                assert not isinstance(found, Rate) or 0 <= found.usd < float("inf")
        HttpRules(map(rule_from_data, parsed["http"]))

    trees = mutated(sources, yaml_values, keys=names).map(as_yaml)
    originals = [as_yaml(document) for document in sources]
    fuzzed(st.one_of(trees, mutated_bytes(originals)), check)

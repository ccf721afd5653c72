"""Make `data/book.json` from the YAML files beside it, and in the folders of vendors.

python -m spancost.prices.build            write it
python -m spancost.prices.build --check    say whether it is up to date; 1 if not
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from spancost.errors import PriceBookError
from spancost.prices.lint import UNDATED, problems

DATA: Final = Path(__file__).parent / "data"
BOOK: Final = DATA / "book.json"

_GENERATED: Final = "by `python -m spancost.prices.build` from the YAML files beside it; do not edit"


def read_sources(folder: Path = DATA) -> dict[str, Mapping[str, Any]]:
    """Return the parsed YAML price files by name: `http_apis.yaml`, `aws/s3.yaml`.

    A vendor is one file, or a folder with a `vendor.yaml` that says what holds for all files in it.

    Raises:
        PriceBookError: A file cannot be read, or is no YAML mapping.
    """
    documents = {path.name: _read(path, path.name) for path in sorted(folder.glob("*.yaml"))}
    for vendor in sorted(folder.glob("*/vendor.yaml")):
        place = vendor.parent.name
        common = _read(vendor, f"{place}/{vendor.name}")
        for path in sorted(vendor.parent.glob("*.yaml")):
            if path != vendor:
                name = f"{place}/{path.name}"
                documents[name] = {**common, **_read(path, name)}
    return documents


def _read(path: Path, name: str) -> Mapping[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (yaml.YAMLError, ValueError, OSError) as error:  # ValueError: no UTF-8, the 30th of February
        raise PriceBookError(f"{name}: {error}") from error
    except RecursionError:
        raise PriceBookError(f"{name}: hundreds of levels") from None
    if not isinstance(document, dict):
        raise PriceBookError(f"{name}: a mapping is expected")
    return cast("dict[str, Any]", document)


def build(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the text of `book.json`.

    Raises:
        PriceBookError: The price files have problems; the message lists all of them.
    """
    found = problems(documents)
    if found:
        raise PriceBookError("\n".join(found))
    prices: dict[str, Any] = {}
    sources: dict[str, int] = {}
    http: list[Any] = []
    days: list[str] = []
    for document in documents.values():
        for rule in document.get("http", ()):
            http.append({key: value for key, value in rule.items() if key != "source"})
        for price in document.get("prices", ()):
            entry = {key: value for key, value in price.items() if key != "id"}
            entry["rates"] = [_rate(rate, sources) for rate in price["rates"]]
            days.extend(rate["as_of"] for rate in price["rates"] if rate["as_of"] != UNDATED)
            prices[price["id"]] = entry
    vendors = [document for document in documents.values() if "prices" in document]
    book = {
        "_generated": _GENERATED,
        "as_of": max(days, default=""),
        "default_regions": {document["vendor"]: document["default_region"] for document in vendors},
        "regions": {document["vendor"]: document["regions"] for document in vendors},
        "sources": list(sources),
        "prices": prices,
        "http": http,
    }
    return json.dumps(book, separators=(",", ":"), ensure_ascii=False) + "\n"


def _rate(rate: Mapping[str, Any], sources: dict[str, int]) -> dict[str, Any]:
    compact = dict(rate)
    compact["source"] = sources.setdefault(rate["source"], len(sources))
    if "tiers" in rate:
        compact["tiers"] = [{key: tier[key] for key in ("from", "to", "usd") if key in tier} for tier in rate["tiers"]]
    return compact


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the book; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m spancost.prices.build", description="Make book.json.")
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if the book is out of date")
    check = parser.parse_args(arguments).check
    try:
        text = build(read_sources())
    except PriceBookError as error:
        print(error, file=sys.stderr)
        return 2
    return write_or_check(BOOK, text, check, "book.json is out of date: run python -m spancost.prices.build")


def write_or_check(file: Path, text: str, check: bool, out_of_date: str) -> int:
    """Write a made file; or only compare it, and return 1 if it is out of date."""
    if not check:
        file.write_text(text, encoding="utf-8")
        return 0
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return 0
    print(out_of_date, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

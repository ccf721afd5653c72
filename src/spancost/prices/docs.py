"""Make `docs/prices.md`, the page with every price of the shipped book.

python -m spancost.prices.docs            write it
python -m spancost.prices.docs --check    say whether it is up to date; 1 if not
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from spancost.prices.book import PriceBook, PriceRecord, shipped_data
from spancost.prices.build import write_or_check

PAGE: Final = Path(__file__).parents[3] / "docs" / "prices.md"

_HTTP_FILE: Final = Path(__file__).with_name("data") / "http_apis.yaml"
_WIDTH: Final = 120
_VENDORS: Final = {"aws": "AWS", "gcp": "Google Cloud", "azure": "Azure", "cloudflare": "Cloudflare"}
_HEAD: Final = """\
<!-- Made by `python -m spancost.prices.docs` from the shipped price book; do not edit. -->

# Prices

{prices} prices of clouds and {rules} of HTTP APIs are shipped with spancost; the youngest was checked on {as_of}.
Prices of LLM models come from [genai-prices](https://github.com/pydantic/genai-prices) and are not listed here:
`spancost explain llm PROVIDER MODEL` shows one.

All are USD list prices: first paid tier, before free tiers, taxes and discounts. They are figures of a day, checked
as the column says: `verified-3` and `verified-2` in that many independent sources, `single` in one, `memory` in none:
confirm those with `spancost prices refresh`. `?` is a thing that is known and has no public price: it is reported as
`unpriced`, never as $0.

## How a price is found

1. Your own price: `prices:`, `models:` or `http_rules:` in `spancost.yaml`, or in a separate file that `prices_file:`
   or `SPANCOST_PRICES` names. It is what you pay: no discount is taken off it.
2. A cost that the provider itself reported on the span.
3. A price that `spancost prices refresh` fetched for that region. It holds from the vendor's effective date.
4. The shipped price of that region.
5. The price of the vendor's default region, refreshed before shipped, marked `region_fallback`.
6. None of these: `unpriced`, with a reason.

A price is chosen by the start of the span: prices have a first and a last day, and old ones stay in the book. Most
have no first day: what they were before the day they were checked on is not known, and they are used for it all the
same.
`discounts:` are taken off list prices of 3 to 5. Two amounts are kept: `list_usd`, which neither your own prices nor
discounts change, and `usd`, what you pay.

`spancost prices show ID` shows regions, tiers, dates and sources of one price, `spancost prices list` all of them.
"""
_TAIL: Final = """\
## Attribution

Token prices: genai-prices, MIT. Bill lines: FOCUS-Sample-Data of the FinOps Open Cost and Usage Specification, CC BY
4.0. Test data of Infracost, Apache-2.0. All other sources are named with the prices. The prices themselves are facts
that the vendors publish; their pages are what counts.
"""


def page(book: PriceBook, data: Mapping[str, Any]) -> str:
    """Return the text of the page.

    Args:
        book: Prices of clouds.

        data: The parsed book, for the prices of HTTP APIs and the date.
    """
    rules: Sequence[Mapping[str, Any]] = data["http"]
    parts = [_HEAD.format(prices=len(book.price_ids()), rules=len(rules), as_of=data["as_of"])]
    sources: dict[str, int] = {}
    for vendor in dict.fromkeys((*_VENDORS, *map(_vendor, book.price_ids()))):
        ids = [price_id for price_id in book.price_ids() if _vendor(price_id) == vendor]
        parts.append("\n".join(_vendor_lines(book, vendor, ids, sources)))
    parts.append("\n".join(_http_lines(rules, sources)))
    parts.append("\n".join(_source_lines(sources)))
    return "\n".join([*parts, _TAIL])


def _vendor(price_id: str) -> str:
    return price_id.split(".", maxsplit=1)[0]


def _service(price_id: str) -> str:
    return price_id.split(".", maxsplit=2)[1]


def _vendor_lines(book: PriceBook, vendor: str, ids: Sequence[str], sources: dict[str, int]) -> Iterator[str]:
    default = book.default_region(vendor)
    yield f"## {_VENDORS.get(vendor, vendor)}"
    yield ""
    yield f"USD for one unit in {default}, where there is a price for it." if default else "USD for one unit."
    yield ""
    for service in sorted(set(map(_service, ids))):
        yield f"### {vendor}.{service}"
        yield ""
        rows = [_row(book, price_id, default, sources) for price_id in ids if _service(price_id) == service]
        yield from table(("Price", "USD", "per", "Regions", "Since", "Checked", "Confidence", "Source"), rows)
        yield ""


def _row(book: PriceBook, price_id: str, default: str, sources: dict[str, int]) -> tuple[str, ...]:
    records = book.records(price_id)
    record = _shown(records, default)
    count = len(book.regions_of(price_id))
    return (
        f"`{price_id.partition('.')[2].partition('.')[2]}`",
        "?" if record.usd is None else _plain(record.usd),
        record.unit,
        "all" if "*" in book.regions_of(price_id) else str(count),
        str(record.valid_from or ""),
        record.as_of,
        record.confidence,
        _reference(record.source, sources),
    )


def _reference(source: str, sources: dict[str, int]) -> str:
    number = sources.setdefault(source, len(sources) + 1)
    # No Markdown link: the anchors are plain HTML, which a Markdown tool does not look at.
    return f'<a href="#source-{number}">{number}</a>'


def _shown(records: Sequence[PriceRecord], default: str) -> PriceRecord:
    """Return the newest price of the default region, else of the first region there is."""
    current = [record for record in records if record.valid_until is None] or list(records)
    return next((record for record in current if default in record.regions), current[0])


def _http_lines(rules: Sequence[Mapping[str, Any]], sources: dict[str, int]) -> Iterator[str]:
    yield "## HTTP APIs"
    yield ""
    yield "Recognised by host, method and path. Where one call is not one unit, the quantity is read from the request"
    yield "or the response, else one unit is assumed and the charge is `estimated`."
    yield ""
    rows = [
        (
            str(rule["provider"]),
            f"`{rule['operation']}`" + (f" ({rule['variant']})" if rule.get("variant") else ""),
            f"`{rule['method']} {rule['host']}{rule['path']}`",
            _http_usd(rule),
            str(rule["unit"]),
            str(rule["as_of"]),
            str(rule["confidence"]),
            _reference(source, sources),
        )
        for rule, source in zip(rules, _http_sources(), strict=True)
    ]
    yield from table(("Provider", "Operation", "Call", "USD", "per", "Checked", "Confidence", "Source"), rows)
    yield ""


def _http_sources() -> list[str]:
    """Return the source of each rule, which only the YAML file has: at run time nobody asks for it."""
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(_HTTP_FILE.read_text(encoding="utf-8"))
    return [str(rule["source"]) for rule in loaded["http"]]


def _http_usd(rule: Mapping[str, Any]) -> str:
    if rule.get("kind") == "llm":
        return "by tokens"
    return "?" if rule.get("usd") is None else _plain(Decimal(rule["usd"]))


def _source_lines(sources: Mapping[str, int]) -> Iterator[str]:
    yield "## Sources"
    yield ""
    for text, number in sources.items():
        anchor = f'- <a id="source-{number}"></a>{number}. {_escaped(text)}'
        yield from wrap(anchor, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    yield ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(_escaped(cell) for cell in row)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(usd: Decimal) -> str:
    text = f"{usd:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m spancost.prices.docs", description="Make docs/prices.md.")
    parser.add_argument("--check", action="store_true", help="compare only; exit with 1 if the page is out of date")
    check = parser.parse_args(arguments).check
    text = page(PriceBook(shipped_data()), shipped_data())
    return write_or_check(PAGE, text, check, "docs/prices.md is out of date: run python -m spancost.prices.docs")


if __name__ == "__main__":
    sys.exit(main())

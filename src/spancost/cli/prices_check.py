"""`spancost prices check` and `diff`: is a file with own prices right, and what does it change?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from spancost import names
from spancost.cli import EXIT_FINDINGS
from spancost.cli._books import at_ns, configured_book, exact_usd, own_prices_of, percent, plain, print_csv
from spancost.cli._format import Column, console, print_json, print_table, show
from spancost.cli._ledger import Format, TreeFormat, fail
from spancost.config import load_config, own_prices_file
from spancost.config.strict_yaml import read_mapping
from spancost.errors import ConfigError, PriceBookError
from spancost.prices.book import PriceBook, PriceOverride, Rate, component_of, matching
from spancost.prices.cache import Cache, read_file
from spancost.prices.changes import Change, changes
from spancost.prices.configured import price_book
from spancost.prices.discounts import Discount
from spancost.prices.own import OWN_KEYS, OwnPrices

_SUSPICIOUS: Final = 20
"""An own price that differs from list price by more than this factor was probably typed in another unit."""
_SHOWN_CHANGES: Final = 200


class _Entry(NamedTuple):
    """One entry of a prices file, and what it does today."""

    entry: str
    matches: str
    list_usd: str
    you_pay: str
    valid: str


def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help=f"Prices file, or a whole spancost.yaml; what is configured here if not given (${names.ENV_PRICES}).",
        ),
    ] = None,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Check own prices, and say what each entry matches.

    Exit code 0: fine. 1: fine as written, but something looks wrong. 2: the file is wrong.

    Example: spancost prices check prices.yaml
    """
    own = _own_prices(file)
    book = PriceBook.shipped()
    now_ns = at_ns(None)
    entries = [
        *_override_entries(own, book, now_ns),
        *_discount_entries(own, book),
        *_custom_entries(own),
        *_other_entries(own),
    ]
    findings = list(_findings(own, book, now_ns))
    if output is TreeFormat.JSON:
        print_json({"file": own.place, "entries": [one._asdict() for one in entries], "findings": findings})
    else:
        _print_check(own, entries, findings)
    if findings:
        raise typer.Exit(EXIT_FINDINGS)


def _own_prices(file: Path | None) -> OwnPrices:
    try:
        if file is None:
            return load_config().own
        if not file.is_file():
            fail(f"no file {file}")
        return own_prices_of(file)
    except ConfigError as error:
        fail(str(error))


def _grouped(overrides: Iterable[PriceOverride]) -> list[list[PriceOverride]]:
    """Return overrides as they were written: a glob is one entry of several prices."""
    groups: list[list[PriceOverride]] = []
    for override in overrides:
        last = groups[-1][-1] if groups else None
        belongs = last is not None and override.pattern and _written(last) == _written(override)
        if belongs and override.price_id not in {one.price_id for one in groups[-1]}:
            groups[-1].append(override)
        else:
            groups.append([override])
    return groups


def _written(override: PriceOverride) -> tuple[object, ...]:
    return (override.pattern, override.usd, override.region, override.valid_from, override.valid_to, override.place)


def _override_entries(own: OwnPrices, book: PriceBook, now_ns: int) -> Iterator[_Entry]:
    for group in _grouped(own.overrides):
        first = group[0]
        listed = sorted({usd for one in group for usd in _listed(one, book, now_ns)})
        where = f" in {first.region}" if first.region else ""
        yield _Entry(
            f"price {first.pattern or first.price_id}{where}",
            f"{len(group)} price{'s' if len(group) > 1 else ''}",
            " to ".join(exact_usd(usd) for usd in dict.fromkeys(listed[:1] + listed[-1:])) or "?",
            f"{exact_usd(first.usd)}/{first.unit}",
            _validity(first.valid_from, first.valid_to),
        )


def _listed(override: PriceOverride, book: PriceBook, now_ns: int) -> list[Decimal]:
    """Return the list prices that an override replaces, of the regions for which there is one."""
    regions = matching(override.region or "*", book.regions_of(override.price_id))
    found = (book.price(override.price_id, region, now_ns) for region in regions or ("",))
    return [rate.listed for rate in found if isinstance(rate, Rate)]


def _discount_entries(own: OwnPrices, book: PriceBook) -> Iterator[_Entry]:
    for discount in own.discounts:
        count = len(_discounted(discount, book))
        others = _other_components(discount, book)
        parts = [f"{count} prices" if count else "", *(f"{name} calls" for name in others)]
        factor = 1 - discount.percent / 100 * discount.coverage
        globs = {
            "component": discount.component,
            "provider": discount.provider,
            "price": discount.price,
            "region": discount.region,
        }
        yield _Entry(
            " ".join([f"discount {discount.name}", *(f"{key}={glob}" for key, glob in globs.items() if glob != "*")]),
            ", ".join(part for part in parts if part) or "nothing",
            "100 %",
            f"{plain(factor * 100)} %",
            _validity(discount.valid_from, discount.valid_to),
        )


def _discounted(discount: Discount, book: PriceBook) -> list[str]:
    """Return the ids of the book whose prices a discount may change."""
    return [
        price_id
        for price_id in matching(discount.price, book.price_ids())
        if matching(discount.component, [component_of(price_id)])
        and matching(discount.provider, [price_id.partition(".")[0]])
    ]


def _other_components(discount: Discount, book: PriceBook) -> list[str]:
    """Return the components without price ids that a discount may change: its glob is of models or operations then."""
    vendors = {price_id.partition(".")[0] for price_id in book.price_ids()}
    if discount.price.partition(".")[0] in vendors:
        return []
    return [name for name in (names.LLM, names.HTTP, names.CUSTOM) if matching(discount.component, [name])]


def _custom_entries(own: OwnPrices) -> Iterator[_Entry]:
    for rate in own.custom:
        whose = f" of {rate.provider}" if rate.provider else ""
        matches = f"usage in {rate.unit}{whose}"
        per_unit = f"{exact_usd(rate.usd)}/{rate.unit}"
        yield _Entry(f"custom {rate.name}", matches, per_unit, per_unit, _validity(rate.valid_from, rate.valid_to))


def _custom_findings(own: OwnPrices, today: date) -> Iterator[str]:
    replaced: set[tuple[object, ...]] = set()
    for rate in reversed(own.custom):
        key = (rate.name, rate.unit, rate.valid_from)
        if key in replaced:
            yield f"custom {rate.name}: a later entry for the same unit and day replaces this one"
        replaced.add(key)
        if rate.valid_to is not None and rate.valid_to < today:
            yield f"custom {rate.name}: ended on {rate.valid_to}"


def _other_entries(own: OwnPrices) -> Iterator[_Entry]:
    for what, found in (("models", own.models), ("http_rules", own.http_rules)):
        if found:
            yield _Entry(what, f"{len(found)} {'entry' if len(found) == 1 else 'entries'}", "", "", "")
    if own.currency is not None:
        yield _Entry(f"currency {own.currency.code}", "display only", "$1", own.currency.amount(1.0), "")


def _validity(first: date | None, last: date | None) -> str:
    since = f"from {first}" if first else ""
    until = f"to {last}" if last else ""
    return " ".join(part for part in (since, until) if part)


def _findings(own: OwnPrices, book: PriceBook, now_ns: int) -> Iterator[str]:
    today = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).date()
    replaced: set[tuple[object, ...]] = set()
    for override in reversed(own.overrides):
        key = (override.price_id, override.pattern, override.region, override.valid_from)
        if key in replaced:
            yield f"{override.price_id}: a later entry for the same region and day replaces this one"
        replaced.add(key)
    for group in _grouped(own.overrides):
        first = group[0]
        for one in group:
            listed = _listed(one, book, now_ns)
            if listed and one.usd and not min(listed) / _SUSPICIOUS <= one.usd <= max(listed) * _SUSPICIOUS:
                yield (
                    f"{one.price_id}: {exact_usd(one.usd)} is far from the list price of {exact_usd(listed[0])}: "
                    f"it is for one {one.unit}, not for a thousand or a million"
                )
        if first.valid_to is not None and first.valid_to < today:
            yield f"price {first.pattern or first.price_id}: ended on {first.valid_to}"
    for model in own.models:
        if model.same_as and _is_unknown_alias(model.same_as):
            yield f"model {model.model}: same_as {model.same_as}: genai-prices does not know this model"
    yield from _custom_findings(own, today)
    overridden = {one.price_id for one in own.overrides if one.region is None}
    for discount in own.discounts:
        if discount.valid_to is not None and discount.valid_to < today:
            yield f"discount {discount.name}: ended on {discount.valid_to}"
        matched = set(_discounted(discount, book))
        if matched and matched <= overridden:
            yield f"discount {discount.name}: all its prices have a price of your own, from which nothing is taken off"
        elif not matched and not _other_components(discount, book):
            yield f"discount {discount.name}: it matches nothing"


def _is_unknown_alias(same_as: str) -> bool:
    from spancost.prices.model_names import UnknownPrice
    from spancost.prices.tokens import TokenPrices

    provider, _, model = same_as.partition("/")
    return isinstance(TokenPrices().rates(provider, model, "", at_ns(None)), UnknownPrice)


def _print_check(own: OwnPrices, entries: Sequence[_Entry], findings: Sequence[str]) -> None:
    out = console()
    if entries:
        columns = [
            Column("ENTRY", [one.entry for one in entries], is_key=True),
            Column("MATCHES", [one.matches for one in entries], is_key=True),
            Column("LIST", [one.list_usd for one in entries]),
            Column("YOU PAY", [one.you_pay for one in entries]),
            Column("VALID", [one.valid for one in entries], is_key=True),
        ]
        print_table(out, columns)
        show(out, "")
    for finding in findings:
        show(out, Text(f"! {finding}"))
    if entries:
        said = f"{own.place}: {len(findings) or 'no'} finding{'s' if len(findings) > 1 else ''}"
    else:
        said = f"{own.place}: no prices in it" if own.place else "no own prices are configured"
    show(out, Text(said))


# --- diff ---------------------------------------------------------------------------------------


def diff(
    old: Annotated[
        Path | None,
        typer.Argument(metavar="[OLD]", help="File with own prices (YAML), of refreshed prices, or a book.json."),
    ] = None,
    new: Annotated[Path | None, typer.Argument(metavar="[NEW]", help="The other file.")] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="DATE", help="Day of the prices; twice to compare two days."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Compare list prices instead of what you pay.")] = False,
    output: Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Compare two files with prices, or the prices of two days.

    One file is compared with the prices that are shipped. Exit code 1 if something differs.

    Example: spancost prices diff --at 2024-10-31 --at 2024-11-01
    """
    days = [at_ns(day) for day in at or ()]
    if len(days) > 2 or (old is None and len(days) != 2):
        fail("diff: two files, or --at DATE --at DATE")
    moments = (days * 2)[:2] or [at_ns(None)] * 2
    if old is None:
        before = after = configured_book()[0]
    elif new is None:
        before, after = PriceBook.shipped(), book_of(old)
    else:
        before, after = book_of(old), book_of(new)
    found = changes(before, after, moments[0], moments[1], kind="list" if listed else "usd")
    show_changes(found, output)
    if found:
        raise typer.Exit(EXIT_FINDINGS)


def book_of(file: Path) -> PriceBook:
    """Return the prices of a file: own prices or refreshed ones on top of the shipped book, or a whole book."""
    shipped = PriceBook.shipped()
    if not file.is_file():
        fail(f"no file {file}")
    try:
        if file.suffix != ".json":
            if {str(key) for key in read_mapping(file)} <= set(OWN_KEYS):
                return own_prices_file(file, shipped).onto(shipped)
            return price_book(load_config(file, environ={}))
        document: Any = json.loads(file.read_bytes())
        if isinstance(document, dict) and "default_regions" in document:
            return PriceBook(document)  # pyright: ignore[reportUnknownArgumentType]
        refreshed = read_file(file, shipped)
    except (ConfigError, PriceBookError) as error:
        fail(str(error))
    except (OSError, ValueError, KeyError) as error:
        fail(f"{file}: {error}")
    return Cache(records=refreshed.records).onto(shipped)


def show_changes(found: Sequence[Change], output: Format) -> None:
    """Print changed prices."""
    rows = [
        {
            "price": one.price_id,
            "region": one.region,
            "unit": one.unit,
            "old_usd": None if one.old_usd is None else plain(one.old_usd),
            "new_usd": None if one.new_usd is None else plain(one.new_usd),
            "change": None if one.ratio is None else float(one.ratio),
            "old_source": one.old_source,
            "new_source": one.new_source,
        }
        for one in found
    ]
    if output is Format.JSON:
        print_json({"rows": rows})
        return
    if output is Format.CSV:
        print_csv(rows)
        return
    out = console()
    shown = found[:_SHOWN_CHANGES]
    if shown:
        columns = [
            Column("PRICE", [one.price_id for one in shown], is_key=True),
            Column("REGION", [one.region for one in shown], is_key=True),
            Column("OLD", [exact_usd(one.old_usd, "none") for one in shown]),
            Column("NEW", [exact_usd(one.new_usd, "none") for one in shown]),
            Column("CHANGE", [percent(one.ratio) for one in shown]),
            Column("PER", [one.unit for one in shown], is_key=True),
        ]
        print_table(out, columns)
        show(out, "")
    more = f", {len(found) - len(shown)} not shown: --format csv" if len(found) > len(shown) else ""
    changed = f"{len(found)} price{'s' if len(found) > 1 else ''} changed"
    show(out, Text(f"{changed}{more}" if found else "no price changed"))

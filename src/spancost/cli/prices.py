"""`spancost prices list|show|coverage`: what is in the price book; the other commands have modules of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from spancost import names
from spancost.cli import EXIT_FINDINGS
from spancost.cli._books import at_ns, configured_book, day_of, exact_usd, plain, print_csv
from spancost.cli._format import UNKNOWN, Column, console, print_json, print_table, show
from spancost.cli._ledger import Format, TreeFormat, fail
from spancost.cli.prices_check import check, diff
from spancost.cli.prices_refresh import refresh
from spancost.config import Config
from spancost.errors import suggest
from spancost.prices.book import PriceBook, PriceRecord, Rate, Tier, Unpriced, matching
from spancost.prices.discounts import Discounts

if TYPE_CHECKING:
    from spancost.meters.aws.coverage import Coverage

prices = typer.Typer(
    help="Look at prices, check your own ones, fetch new ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help="Region; the vendor's default one if not given.")
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="DATE", help="Prices of this day (2026-11-01, UTC); today by default.")
]
TableOption = Annotated[Format, typer.Option("--format", metavar="FORMAT", help="table, json or csv.")]


@prices.command("list")
def list_prices(
    chosen: Annotated[
        str, typer.Option("--filter", metavar="GLOB", help="Only prices whose id matches, such as 'aws.s3.*'.")
    ] = "*",
    vendor: Annotated[str | None, typer.Option(metavar="NAME", help="aws, azure, gcp or cloudflare.")] = None,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="s3, sqs, ec2, egress, ...")] = None,
    region: RegionOption = None,
    at: AtOption = None,
    output: TableOption = Format.TABLE,
) -> None:
    """List prices with what you pay for one unit.

    Example: spancost prices list --service dynamodb --region eu-west-1
    """
    book, config = configured_book()
    moment = at_ns(at)
    if region is not None and region not in book.regions():
        fail(f"--region {region!r}: {suggest(region, book.regions())}")
    for option, given, place in (("--vendor", vendor, 0), ("--service", service, 1)):
        known = {_part(price_id, place) for price_id in book.price_ids()}
        if given is not None and given not in known:
            fail(f"{option} {given!r}: {suggest(given, known, limit=len(known))}")
    ids = [
        price_id
        for price_id in matching(chosen, book.price_ids())
        if vendor in (None, _part(price_id, 0)) and service in (None, _part(price_id, 1))
    ]
    own = _custom_rows(config, chosen, moment) if vendor is None and service is None else []
    if not ids and not own:
        fail(f"no price matches --filter {chosen!r} and what else is asked; ids are such as aws.s3.tier1.standard")
    rows = [*(_row(book, price_id, region or "", moment) for price_id in ids), *own]
    if output is Format.JSON:
        print_json({"date": day_of(moment), "rows": rows})
    elif output is Format.CSV:
        print_csv(rows)
    else:
        _print_list(rows, day_of(moment))


def _row(book: PriceBook, price_id: str, region: str, moment: int) -> dict[str, Any]:
    found = book.price(price_id, region, moment)
    row: dict[str, Any] = {
        "price": price_id,
        "unit": found.unit,
        "usd": None,
        "list_usd": None,
        "region": region,
        "regions": len(book.regions_of(price_id)),
    }
    if isinstance(found, Unpriced):
        return row | {"checked": "", "confidence": "", "source": "", "note": found.reason}
    notes = [
        "your price" if found.override is not None else "",
        f"discount {found.discounts}" if found.discounts else "",
        f"price of {found.rate_region}" if region and found.region_fallback else "",
    ]
    return row | {
        "usd": plain(found.paid),
        "list_usd": plain(found.listed),
        "region": found.region,
        "checked": found.price.as_of,
        "confidence": found.price.confidence,
        "source": found.source,
        "note": ", ".join(note for note in notes if note),
    }


def _custom_rows(config: Config, chosen: str, moment: int) -> list[dict[str, Any]]:
    """Return your own rates for units of your own that are in force."""
    rows: list[dict[str, Any]] = []
    for rate in config.own.custom:
        if not rate.from_ns <= moment < rate.until_ns or not matching(chosen, [f"{names.CUSTOM}.{rate.name}"]):
            continue
        applied = Discounts(config.own.discounts).applied(names.CUSTOM, rate.provider, rate.name, "", moment)
        rows.append(
            {
                "price": f"{names.CUSTOM}.{rate.name}",
                "unit": rate.unit,
                "usd": plain(rate.usd * applied.exact_factor),
                "list_usd": plain(rate.usd),
                "region": "",
                "regions": 0,
                "checked": "",
                "confidence": "",
                "source": f"configured:{rate.place}",
                "note": ", ".join(["your price", *([f"discount {applied.names}"] if applied.names else [])]),
            }
        )
    return rows


def _print_list(rows: Sequence[dict[str, Any]], day: str) -> None:
    columns = [
        Column("PRICE", [row["price"] for row in rows], is_key=True),
        Column("USD", [_dollars(row["usd"]) for row in rows]),
        Column("PER", [row["unit"] for row in rows], is_key=True),
    ]
    if any(row["usd"] != row["list_usd"] for row in rows):
        columns.insert(2, Column("LIST", [_dollars(row["list_usd"]) for row in rows]))
    columns += [
        Column("REGIONS", [str(row["regions"]) for row in rows]),
        Column("CHECKED", [row["checked"] for row in rows], is_key=True),
        Column("CONFIDENCE", [row["confidence"] for row in rows], is_key=True),
    ]
    if any(row["note"] for row in rows):
        columns.append(Column("NOTE", [row["note"] for row in rows], is_key=True))
    out = console()
    print_table(out, _that_fit(columns, out.width))
    unknown = sum(row["usd"] is None for row in rows)
    without = f", {unknown} without a price" if unknown else ""
    show(out, "")
    show(out, Text(f"{len(rows)} prices of {day}{without}. LLM models and HTTP APIs: spancost explain llm|http."))


def _that_fit(columns: Sequence[Column], width: int) -> list[Column]:
    """Return columns without those that a narrow terminal has no room for: an id that is cut is of no use."""
    kept = list(columns)
    for title in ("REGIONS", "CONFIDENCE", "CHECKED"):
        if sum(max(map(len, (column.title, *column.cells))) + 2 for column in kept) > width:
            kept = [column for column in kept if column.title != title]
    return kept


def _dollars(amount: str | None) -> str:
    return UNKNOWN if amount is None else f"${amount}"


def _part(price_id: str, index: int) -> str:
    """Return the vendor (0) or the service (1) of a price id."""
    return price_id.split(".", maxsplit=2)[index]


# --- show ---------------------------------------------------------------------------------------


@prices.command("show")
def show_price(
    price_id: Annotated[str, typer.Argument(metavar="PRICE", help="Id of a price, such as aws.sqs.standard.")],
    region: RegionOption = None,
    at: AtOption = None,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Show one price: regions, days, tiers, sources, and what you pay.

    Example: spancost prices show aws.dynamodb.on_demand.write
    """
    book, _ = configured_book()
    template = book.template(price_id)
    if template is None:
        elsewhere = "; of LLM models and HTTP APIs: spancost explain llm|http"
        fail(f"{price_id!r} is no price: {suggest(price_id, book.price_ids())}{elsewhere}")
    if region is not None and region not in book.regions():
        fail(f"--region {region!r}: {suggest(region, book.regions())}")
    moment = at_ns(at)
    found = book.price(price_id, region or "", moment)
    if output is TreeFormat.JSON:
        print_json(_document(book, template, found, moment, fell_back=region is not None))
    else:
        _print_price(book, template, _said(found, region), moment)


def _document(
    book: PriceBook, template: PriceRecord, found: Rate | Unpriced, moment: int, *, fell_back: bool
) -> dict[str, Any]:
    return {
        "price": template.id,
        "unit": template.unit,
        "billing": template.billing,
        "operations": list(template.operations),
        "date": day_of(moment),
        "in_force": _in_force(found, fell_back=fell_back),
        "records": [
            {
                "regions": list(record.regions),
                "usd": None if record.usd is None else plain(record.usd),
                "tiers": [
                    {
                        "from": plain(tier.from_quantity),
                        "to": None if tier.to_quantity is None else plain(tier.to_quantity),
                        "usd": plain(tier.usd),
                    }
                    for tier in record.tiers
                ],
                "valid_from": None if record.valid_from is None else record.valid_from.isoformat(),
                "valid_until": None if record.valid_until is None else record.valid_until.isoformat(),
                "sku": record.sku,
                "origin": record.origin,
                "source": record.source,
                "checked": record.as_of,
                "confidence": record.confidence,
            }
            for record in book.records(template.id)
        ],
    }


def _in_force(found: Rate | Unpriced, *, fell_back: bool) -> dict[str, Any]:
    if isinstance(found, Unpriced):
        return {"usd": None, "reason": found.reason}
    return {
        "usd": plain(found.paid),
        "list_usd": plain(found.listed),
        "region": found.region,
        "region_fallback": fell_back and found.region_fallback,
        "source": found.source,
        "discounts": found.discounts,
        "override": None if found.override is None else found.override.place,
    }


def _print_price(book: PriceBook, template: PriceRecord, said: str, moment: int) -> None:
    out = console()
    records = book.records(template.id)
    sources = list(dict.fromkeys(record.source for record in records))
    columns = [
        Column("REGION", [" ".join(record.regions) for record in records], is_key=True),
        Column("USD", [exact_usd(record.usd) for record in records]),
        Column("VALID", [_validity(record) for record in records], is_key=True),
        Column("CHECKED", [record.as_of for record in records], is_key=True),
        Column("CONFIDENCE", [record.confidence for record in records], is_key=True),
        Column("SOURCE", [f"[{sources.index(record.source) + 1}]" for record in records], is_key=True),
    ]
    if any(record.sku for record in records):
        columns.append(Column("SKU", [record.sku for record in records], is_key=True))
    print_table(out, columns)
    show(out, "")
    notes = Table.grid(padding=(0, 2, 0, 0))
    notes.add_column(no_wrap=True)
    notes.add_column(overflow="fold")
    lines = {
        f"on {day_of(moment)}": said,
        "per": template.unit,
        "billed": template.billing,
        "operations": ", ".join(template.operations),
    }
    for record in records:
        if record.tiers:
            lines[f"tiers, {record.regions[0]}"] = "; ".join(map(_tier, record.tiers))
    for index, source in enumerate(sources):
        lines[f"[{index + 1}]"] = source
    for name, value in lines.items():
        if value:
            notes.add_row(Text(name), Text(value))
    show(out, notes)


def _said(found: Rate | Unpriced, region: str | None) -> str:
    if isinstance(found, Unpriced):
        return f"no price: {found.reason}"
    said = f"{exact_usd(found.paid)} in {found.region or 'every region'}, {found.source}"
    if found.paid != found.listed:
        said += f"; list price {exact_usd(found.listed)}"
    return said + (f"; price of {found.rate_region}" if region and found.region_fallback else "")


def _validity(record: PriceRecord) -> str:
    since = f"from {record.valid_from}" if record.valid_from else ""
    until = f"until {record.valid_until}" if record.valid_until else ""
    return " ".join(part for part in (since, until) if part)


def _tier(tier: Tier) -> str:
    until = f" to {tier.to_quantity:,f}" if tier.to_quantity is not None else " on"
    return f"{exact_usd(tier.usd)} from {tier.from_quantity:,f}{until}"


# --- coverage -----------------------------------------------------------------------------------


@prices.command()
def coverage(
    operations: Annotated[bool, typer.Option("--operations", help="List every operation.")] = False,
    service: Annotated[str | None, typer.Option(metavar="NAME", help="Only this botocore client, such as s3.")] = None,
    output: TableOption = Format.TABLE,
) -> None:
    """Say which AWS operations are priced, free or unpriced.

    Asked are all operations of the installed botocore, of the services in the book. Exit code 1 if one is undecided.

    Example: spancost prices coverage --service dynamodb --operations
    """
    from spancost.meters.aws.coverage import UNDECIDED
    from spancost.meters.aws.coverage import coverage as operations_of

    try:
        found = operations_of(PriceBook.shipped())
    except ImportError:
        fail("coverage needs botocore: pip install botocore")
    if service is not None:
        clients = {one.client for one in found}
        if service not in clients:
            fail(f"--service {service!r}: {suggest(service, clients)}")
        found = [one for one in found if one.client == service]
    undecided = sum(one.reason in UNDECIDED for one in found)
    rows = [_coverage_row(one) for one in found] if operations else _coverage_counts(found)
    if output is Format.JSON:
        print_json({"rows": rows})
    elif output is Format.CSV:
        print_csv(rows)
    else:
        _print_coverage(rows, found, undecided)
    if undecided:
        raise typer.Exit(EXIT_FINDINGS)


def _coverage_row(one: Coverage) -> dict[str, Any]:
    return {
        "service": one.client,
        "operation": one.operation,
        "status": one.status,
        "reason": one.reason,
        "prices": " ".join(one.price_ids),
    }


def _coverage_counts(found: Sequence[Coverage]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = {}
    for one in found:
        counts.setdefault(one.client, Counter())[one.status] += 1
    rows = [
        {"service": client, **{status: count[status] for status in ("priced", "free", "unpriced")}}
        for client, count in sorted(counts.items())
    ]
    total = {status: sum(int(row[status]) for row in rows) for status in ("priced", "free", "unpriced")}
    return [*rows, {"service": "total", **total}]


def _print_coverage(rows: Sequence[dict[str, Any]], found: Sequence[Coverage], undecided: int) -> None:
    is_number = {name: isinstance(rows[0][name], int) for name in rows[0]}
    columns = [Column(name.upper(), [str(row[name]) for row in rows], is_key=not is_number[name]) for name in rows[0]]
    out = console()
    print_table(out, columns, sum_rows=int(any(is_number.values())))
    reasons = Counter(one.reason for one in found if one.status == "unpriced")
    show(out, "")
    if reasons:
        show(out, Text(f"unpriced: {', '.join(f'{reason} {count}' for reason, count in reasons.most_common())}"))
    show(out, Text(f"{len(found)} operations of the installed botocore, {undecided or 'none'} undecided"))


prices.command()(check)
prices.command()(diff)
prices.command()(refresh)

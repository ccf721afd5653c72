"""`spancost explain`: quantity times rate for one call, priced by the meters that price spans.

Each subcommand describes a call, builds the span that an instrumentation would make of it, and hands it
to the real meter. Amounts are exact: `Decimal`, no rounding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import Context, Decimal, localcontext
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Annotated, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import typer
from rich.table import Table
from rich.text import Text

from spancost import names
from spancost.charge import CLIENT, SERVER, Charge, SpanView
from spancost.cli import EXIT_FINDINGS
from spancost.cli._books import at_ns as start_of
from spancost.cli._books import configured_book, day_of, plain
from spancost.cli._compute_model import model_in_force
from spancost.cli._currency import display_currency
from spancost.cli._format import Column, console, print_json, print_table, show
from spancost.cli._ledger import TreeFormat, fail
from spancost.cli._near import near_model, near_operation
from spancost.cli._reasons import advice_for
from spancost.config import ASSUMED_REGION, Config
from spancost.errors import SpancostError, suggest
from spancost.prices.book import PriceBook, PriceRecord, Rate
from spancost.prices.configured import custom_rates, http_rules, token_prices
from spancost.prices.currency import Currency
from spancost.prices.discounts import Discounts

explain = typer.Typer(
    help="Show quantity x rate = USD of a call, with source and date.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_BYTES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_LONGEST: Final = 25
_DIGITS_FOR_PEOPLE: Final = 12
_STARTS_SOMETHING: Final = re.compile(r"[\w-]+\.(Run|Create|Start|Launch|Allocate)[A-Z]")
_UNKNOWN_NAMES: Final = frozenset(
    {"unknown_model", "unknown_provider", "unknown_service", "unknown_operation", "no_rate", "unit_mismatch"}
)
_CONFIDENCE: Final = {
    "verified-3": "3 independent sources",
    "verified-2": "2 independent sources",
    "single": "one source",
    "memory": "from memory: check",
    "vendor": "the vendor's price list",
}
_PROVIDERS: Final = ("aws", "azure", "gcp")
_OWN_SOURCES: Final = ("override:", "configured")

AtOption = Annotated[
    str | None, typer.Option("--at", metavar="DATE", help="Price of this day (2026-11-01, UTC); today by default.")
]
RegionOption = Annotated[
    str | None, typer.Option("--region", metavar="REGION", help=f"Region; configured, else {ASSUMED_REGION}.")
]
FormatOption = Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")]


class Explained(NamedTuple):
    """One charge as people read it."""

    what: str
    quantity: Decimal
    unit: str
    rate_usd: Decimal | None
    """USD per unit; None if unpriced."""
    usd: Decimal | None
    list_usd: Decimal | None
    status: str
    why: str
    """Reason or basis."""
    region: str
    price_id: str
    source: str
    published: str
    """Where the vendor's price was read, for people."""
    as_of: str
    valid: str
    """Days on which the price holds."""
    confidence: str
    billing: str
    """How the vendor counts."""


@explain.command()
def llm(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="openai, anthropic, google, ...")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model, as the answer names it.")],
    tokens_in: Annotated[
        int, typer.Option("--input", metavar="TOKENS", min=0, help="Input tokens, cached ones included.")
    ] = 1000,
    cache_read: Annotated[int, typer.Option(metavar="TOKENS", min=0, help="Input tokens read from the cache.")] = 0,
    cache_write: Annotated[int, typer.Option(metavar="TOKENS", min=0, help="Input tokens written to the cache.")] = 0,
    tokens_out: Annotated[
        int, typer.Option("--output", metavar="TOKENS", min=0, help="Output tokens, reasoning included.")
    ] = 1000,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Duration, for a model on a machine of your own.")
    ] = 1.0,
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price the tokens of one LLM call.

    Example: spancost explain llm openai gpt-5-mini --input 1200 --cache-read 1024 --output 250
    """
    from spancost.meters.llm import LlmMeter

    if cache_read + cache_write > tokens_in:
        fail(f"explain llm: --input includes cached tokens: {cache_read + cache_write} are more than {tokens_in}")
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens_in,
        "gen_ai.usage.output_tokens": tokens_out,
        "gen_ai.usage.cache_read.input_tokens": cache_read,
        "gen_ai.usage.cache_write.input_tokens": cache_write,
    }
    at_ns = start_of(at)
    view = _view(attributes, at_ns, seconds=seconds)
    charges = LlmMeter(token_prices(configured_book()[1])).measure(view)
    _show([_explained(charge, None, at_ns) for charge in charges], at_ns, output, near_model(provider, model))


@explain.command()
def aws(
    operation: Annotated[
        str,
        typer.Argument(metavar="OPERATION", help="service.Operation, for example dynamodb.PutItem or s3.GetObject."),
    ],
    size: Annotated[str | None, typer.Option(metavar="BYTES", help="Item, message or body: 300KB, 5MB.")] = None,
    count: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, help="Items or messages of one call, of that size each.")
    ] = 1,
    params: Annotated[
        str | None, typer.Option(metavar="JSON", help="Parameters of the call as boto3 takes them, instead of a size.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its answer, where that tells what is billed (pages, capacity).")
    ] = None,
    region: RegionOption = None,
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price one AWS call by its billed units.

    Example: spancost explain aws dynamodb.PutItem --size 300KB --region eu-west-1

    Example: spancost explain aws polly.SynthesizeSpeech --params '{"Text": "Hello", "Engine": "neural"}'
    """
    from spancost.capture.aws import facts as aws_facts
    from spancost.meters.aws import AwsMeter

    service, dot, method = operation.partition(".")
    if not dot or not method:
        fail(f"explain aws: {operation!r} is not service.Operation, such as dynamodb.PutItem or s3.GetObject")
    book, config = configured_book()
    attributes = {
        "rpc.system": "aws-api",
        "rpc.service": service,
        "rpc.method": method,
        "cloud.region": _region(region, config, book, "aws"),
        "http.status_code": 200,
    }
    facts: dict[str, Any] = {aws_facts.SEEN: True, aws_facts.MESSAGES: count, aws_facts.COUNT: count}
    if size is not None:
        size_bytes = int(_size_bytes(size))
        facts[aws_facts.ITEM_BYTES] = {"": [size_bytes] * count}
        facts[aws_facts.RECORD_BYTES] = [size_bytes] * count
        facts[aws_facts.REQUEST_BYTES] = facts[aws_facts.RESPONSE_BYTES] = size_bytes * count
    facts |= _seen_by_hooks(service, method, _object("--params", params), _object("--answer", answer))
    at_ns = start_of(at)
    charges = AwsMeter(book).measure(_view(attributes, at_ns, facts=facts))
    if not charges:
        fail(f"explain aws: {operation} is billed by tokens: spancost explain llm aws.bedrock MODEL")
    _show([_explained(charge, book, at_ns) for charge in charges], at_ns, output, near_operation(operation, book))


def _object(option: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value: object = json.loads(text)
    except ValueError as error:
        fail(f"explain aws: {option}: not JSON: {error}")
    if not isinstance(value, dict):
        fail(f'explain aws: {option}: {text[:40]!r} is no JSON object, such as \'{{"Text": "Hello"}}\'')
    return cast("dict[str, Any]", value)


def _seen_by_hooks(
    client: str, operation: str, params: dict[str, Any] | None, answer: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the facts that the capture hooks of live calls note of these parameters and this answer."""
    from spancost.capture.aws import request_hook, response_hook
    from spancost.capture.facts import NODE_ATTRIBUTE

    node = SimpleNamespace(facts=None)
    span = SimpleNamespace(**{NODE_ATTRIBUTE: node})
    if params is not None or answer is not None:
        request_hook(span, client, operation, params or {})
    if answer is not None:
        response_hook(span, client, operation, answer)
    return node.facts or {}


@explain.command()
def egress(
    size: Annotated[str, typer.Option("--bytes", metavar="BYTES", help="Bytes sent to the internet: 1GB, 48KB.")],
    region: RegionOption = None,
    provider: Annotated[str, typer.Option(metavar="PROVIDER", help="aws, azure or gcp.")] = "aws",
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price bytes sent to the internet; 1 GB is 2^30 bytes.

    Example: spancost explain egress --bytes 1GB --region us-east-1
    """
    from spancost.meters.egress import EgressMeter

    if provider not in _PROVIDERS:
        fail(f"explain egress: provider {provider!r}: {suggest(provider, _PROVIDERS)}")
    book, config = configured_book()
    attributes = {"http.request.method": "GET", "http.response.status_code": 200}
    facts = {"response_bytes": int(_size_bytes(size)), "client_private": False}
    at_ns = start_of(at)
    view = _view(attributes, at_ns, kind=SERVER, facts=facts)
    charges = EgressMeter(book, provider, _region(region, config, book, provider)).measure(view)
    _show([_explained(charge, book, at_ns) for charge in charges], at_ns, output)


@explain.command()
def compute(
    machine: Annotated[
        str, typer.Argument(metavar="MACHINE", help="aws:m6i.large, gcp:e2-standard-2, fargate:1vcpu-2gb, 0.096usd/h.")
    ],
    seconds: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Seconds of the whole machine.")] = 1.0,
    region: RegionOption = None,
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price seconds of a machine.

    Example: spancost explain compute aws:m6i.large --seconds 10
    """
    from spancost.prices.compute import compute_rate

    book, config = configured_book()
    at_ns = start_of(at)
    try:
        found = compute_rate(machine, region or config.region or None, book, at_ns)
        if found.provider in _PROVIDERS:
            found = compute_rate(machine, _region(region, config, book, found.provider), book, at_ns)
    except SpancostError as error:
        fail(f"explain {error}")
    quantity = Decimal(str(seconds))
    record = _record(book, f"{found.provider}.{_FAMILIES.get(found.provider, '')}.{found.sku}", found.region, at_ns)
    basis = ",".join(part for part in (found.basis, _fallback(found.basis, found.region_fallback)) if part)
    one = Explained(
        what=f"compute {found.sku}",
        quantity=quantity,
        unit="s",
        rate_usd=found.usd_per_hour / 3600,
        usd=quantity * found.usd_per_hour / 3600,
        list_usd=quantity * found.list_usd_per_hour / 3600,
        status=names.ESTIMATED if basis else names.PRICED,
        why=basis,
        region=found.region,
        price_id=f"{record.id if record else found.sku} (${_plain(found.usd_per_hour)}/hour)",
        source=found.source,
        **_provenance(record, is_own=found.source.startswith(_OWN_SOURCES)),
    )
    model = model_in_force(config, found)[0] if config.compute_model == names.CPU_MODEL else ""
    one = one._replace(billing="; ".join(part for part in (one.billing, model) if part))
    _show([one], at_ns, output)


@explain.command()
def http(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, ...")],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Host and path: api.twilio.com/2010-04-01/Accounts/AC1/Messages.json")
    ],
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price one call of a third-party HTTP API.

    Example: spancost explain http POST api.twilio.com/2010-04-01/Accounts/AC1/Messages.json
    """
    from spancost.meters.http_api import HttpApiMeter

    full = url if "://" in url else f"https://{url}"
    parts = urlsplit(full)
    if not parts.hostname:
        fail(f"explain http: {url!r} names no host")
    _, config = configured_book()
    attributes = {
        "http.request.method": method.upper(),
        "http.response.status_code": 200,
        "server.address": parts.hostname,
        "url.full": full,
    }
    rules = http_rules(config)
    at_ns = start_of(at)
    meter = HttpApiMeter(rules, config.http_free_hosts, config.http_exclude_hosts, Discounts(config.own.discounts))
    charges = meter.measure(_view(attributes, at_ns))
    rule = rules.find(parts.hostname, method, parts.path, at_ns)
    explained = [_explained(charge, None, at_ns) for charge in charges]
    if rule is not None:
        provenance = {
            "valid": "one price, whatever the day" if at is not None else "",
            "confidence": rule.confidence,
            "billing": rule.note,
            "as_of": "" if rule.source.startswith("override:") else rule.source.rpartition(":")[2],
        }
        explained = [one._replace(**provenance) for one in explained]
    _show(explained, at_ns, output)


@explain.command()
def custom(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the usage, as add_usage or a meter reports it.")],
    quantity: Annotated[float, typer.Option(metavar="NUMBER", min=0, help="How much.")] = 1.0,
    unit: Annotated[str, typer.Option(metavar="UNIT", help="Unit of the quantity.")] = "unit",
    at: AtOption = None,
    output: FormatOption = TreeFormat.TABLE,
) -> None:
    """Price usage in a unit of your own, by your custom rates.

    Example: spancost explain custom pdf.render --quantity 3 --unit page
    """
    from spancost.meters.custom import UNIT_MISMATCH, CustomMeter

    config = configured_book()[1]
    rates = custom_rates(config)
    at_ns = start_of(at)
    charge = CustomMeter(rates, Discounts(config.own.discounts)).charge(name, quantity, unit, None, at_ns)
    near = get_close_matches(name, [rate.name for rate in config.own.custom])
    if charge.line.reason == UNIT_MISMATCH:
        near = [f"--unit {rates.find(name, unit, at_ns).other_unit}"]
    _show([_explained(charge, None, at_ns)], at_ns, output, near)


# --- from a charge to what people read ----------------------------------------------------------

_FAMILIES: Final = {"aws": "ec2", "gcp": "gce", "azure": "vm"}


def _fallback(basis: str, region_fallback: bool) -> str:
    """Return `region_fallback` where it holds and the basis does not say so yet."""
    return "region_fallback" if region_fallback and "region_fallback" not in basis else ""


def _explained(charge: Charge, book: PriceBook | None, at_ns: int) -> Explained:
    line = charge.line
    quantity = _exact(charge.quantity)
    known = line.status in (names.PRICED, names.ESTIMATED, names.FREE)
    is_own = line.source.startswith(_OWN_SOURCES)
    rate_usd: Decimal | None = None
    list_rate: Decimal | None = None
    record = _record(book, line.sku, line.region, at_ns) if book is not None and known else None
    if line.status == names.FREE:
        rate_usd = list_rate = Decimal(0)
    elif known:
        rate_usd, list_rate = _rates(charge, record, book, at_ns)
    words = (line.component, line.provider if line.component != names.AWS else "", line.operation, line.model)
    return Explained(
        what=" ".join(word for word in words if word),
        quantity=quantity,
        unit=line.unit,
        rate_usd=rate_usd,
        usd=None if rate_usd is None else quantity * rate_usd if record else _exact(charge.usd),
        list_usd=None if list_rate is None else quantity * list_rate if record else _exact(charge.list_usd),
        status=line.status,
        why=line.reason or line.basis,
        region=line.region,
        price_id=record.id if record else line.sku,
        source=line.source,
        **_provenance(record, is_own=is_own),
    )


def _rates(charge: Charge, record: PriceRecord | None, book: PriceBook | None, at_ns: int) -> tuple[Decimal, Decimal]:
    """Return the rate you pay and the list rate: as written in the book, else from the charge."""
    quantity = charge.quantity or 1.0
    paid, listed = _exact(charge.usd / quantity), _exact(charge.list_usd / quantity)
    if record is not None and book is not None:
        found = book.price(record.id, charge.line.region, at_ns)
        if isinstance(found, Rate):
            return found.paid, found.listed
    return paid, listed


def _record(book: PriceBook, sku: str, region: str, at_ns: int) -> PriceRecord | None:
    """Return the price record behind a charge; its line carries the price id or the vendor's SKU id."""
    ids = (
        [sku]
        if sku in book.price_ids()
        else [price_id for price_id in book.price_ids() if any(record.sku == sku for record in book.records(price_id))]
    )
    for price_id in ids if sku else ():
        found = book.price(price_id, region, at_ns)
        record = getattr(found, "price", None)
        if isinstance(record, PriceRecord) and sku in (record.id, record.sku):
            return record
    return None


def _provenance(record: PriceRecord | None, *, is_own: bool = False) -> dict[str, str]:
    """Return who published a price and when; of your own price nobody did, so that only the unit's rule is left."""
    nothing: dict[str, str] = dict.fromkeys(("published", "as_of", "valid", "confidence", "billing"), "")
    if record is None:
        return nothing
    if is_own:
        return nothing | {"billing": record.billing}
    since = f"from {record.valid_from}" if record.valid_from else ""
    until = f"until {record.valid_until}" if record.valid_until else ""
    return {
        "published": record.source,
        "as_of": record.as_of,
        "valid": " ".join(part for part in (since, until) if part),
        "confidence": record.confidence,
        "billing": record.billing,
    }


def _exact(value: float) -> Decimal:
    """Return a float as people wrote it: 15 digits hold what a rate in a file had, without binary noise."""
    return Decimal(f"{value:.15g}")


def _view(
    attributes: dict[str, Any],
    at_ns: int,
    *,
    kind: int = CLIENT,
    facts: dict[str, Any] | None = None,
    seconds: float = 0.0,
) -> SpanView:
    end_ns = at_ns + round(seconds * 1_000_000_000)
    return SpanView("explain", kind, "spancost.explain", attributes, at_ns, end_ns, facts or {})


def _region(option: str | None, config: Config, book: PriceBook, vendor: str) -> str:
    known = book.regions(vendor)
    if option and option not in known:
        fail(f"--region {option!r}: {suggest(option, known)}")
    if option:
        return option
    return config.region if config.region in known else book.default_region(vendor)


def _size_bytes(text: str) -> Decimal:
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        fail(f"{text!r} is not a size such as 300KB, 5MB or 1GB (1 KB is 1024 bytes, as clouds bill)")
    return Decimal(match.group(1)) * 1024 ** _POWERS[match.group(2).upper()]


# --- printing -----------------------------------------------------------------------------------


def _show(explained: Sequence[Explained], at_ns: int, output: TreeFormat, near: Sequence[str] = ()) -> None:
    """Print charges; `near` are names that may have been meant by one that is unknown."""
    if not explained:
        fail("explain: no meter prices this call")
    with localcontext() as context:
        context.prec = 40
        total = sum((one.usd for one in explained if one.usd is not None), Decimal(0))
    if output is TreeFormat.JSON:
        charges = [
            {key: _plain(value) if isinstance(value, Decimal) else value for key, value in one._asdict().items()}
            for one in explained
        ]
        print_json({"date": f"{day_of(at_ns)} UTC", "charges": charges, "total_usd": _plain(total)})
    else:
        _print(explained, total, at_ns, display_currency())
        if near and any(one.why in _UNKNOWN_NAMES for one in explained):
            show(console(), Text(f"\ndid you mean {', '.join(near)}?"))
    if any(one.status == names.UNPRICED for one in explained):
        raise typer.Exit(EXIT_FINDINGS)


def _print(explained: Sequence[Explained], total: Decimal, at_ns: int, currency: Currency | None) -> None:
    out = console()
    columns = [
        Column("WHAT", [one.what for one in explained], is_key=True),
        Column("QUANTITY", [f"{_for_people(one.quantity)} {one.unit}".rstrip() for one in explained]),
        Column("RATE", ["?" if one.rate_usd is None else _rate(one) for one in explained]),
        Column("USD", ["?" if one.usd is None else f"${_for_people(one.usd)}" for one in explained]),
        Column("STATUS", [one.status for one in explained]),
    ]
    if len(explained) > 1:
        for column, cell in zip(columns, ("total", "", "", f"${_for_people(total)}", ""), strict=True):
            column.cells.append(cell)
    print_table(out, columns, sum_rows=len(explained) > 1)
    show(out, "")
    notes = Table.grid(padding=(0, 2, 0, 0))
    notes.add_column(no_wrap=True)
    notes.add_column(overflow="fold")
    own_currency = {} if currency is None else {"currency": [currency.figure(float(total))]}
    for name, values in {"date": [f"{day_of(at_ns)} UTC"], **own_currency, **_notes(explained)}.items():
        notes.add_row(Text(name), Text("; ".join(values)))
    show(out, notes)


def _notes(explained: Sequence[Explained]) -> dict[str, list[str]]:
    """Return what there is to say about the charges, each thing once."""
    notes: dict[str, list[str]] = {}
    for one in explained:
        reason = one.why if one.status == names.UNPRICED else ""
        price = one.price_id if not reason else ""
        for name, parts in (
            ("not priced", (f"{reason}: {advice_for(reason)}".rstrip(": "),)),
            ("assumed", (one.why if one.status == names.ESTIMATED else "",)),
            ("free", (_why_free(one),)),
            ("list price", (f"${_for_people(one.list_usd)}" if one.list_usd not in (None, one.usd) else "",)),
            ("price", (price,)),
            ("region", (one.region,)),
            ("source", (one.source, one.published)),
            ("checked", (one.as_of, _CONFIDENCE.get(one.confidence, one.confidence))),
            ("valid", (one.valid,)),
            ("billed", (one.billing,)),
        ):
            value = ", ".join(part for part in parts if part)
            if value and value not in notes.setdefault(name, []):
                notes[name].append(value)
    return {name: values for name, values in notes.items() if values}


def _why_free(one: Explained) -> str:
    if one.status != names.FREE:
        return ""
    if one.why or not one.what.startswith(f"{names.AWS} "):
        return one.why
    starts = _STARTS_SOMETHING.match(one.what.removeprefix(f"{names.AWS} ")) is not None
    return "the call is free; what it starts is billed elsewhere" if starts else "the call is free"


def _rate(one: Explained) -> str:
    assert one.rate_usd is not None
    if one.unit.endswith("token"):
        return f"${_for_people(one.rate_usd * 1_000_000)}/1M"
    return f"${_for_people(one.rate_usd)}/{one.unit}" if one.unit else f"${_for_people(one.rate_usd)}"


def _for_people(value: Decimal | None) -> str:
    """Return a number as `_plain` does, but 12 digits of one that never ends."""
    if value is not None and len(value.as_tuple().digits) > _LONGEST:
        value = Context(prec=_DIGITS_FOR_PEOPLE).plus(value)
    return _plain(value)


def _plain(value: Decimal | None) -> str:
    """Return all digits, no exponent, no zeros at the end; 15 digits of a number that never ends."""
    if value is None:
        return ""
    if len(value.as_tuple().digits) > _LONGEST:
        value = Context(prec=15).plus(value)
    return plain(value)

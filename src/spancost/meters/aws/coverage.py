"""Which operations of the AWS services in the price book are priced, free or unpriced.

Asks the meters about every operation of the installed botocore, by its name alone: an operation that a call's
parameters make free or dear counts as priced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from spancost.meters.aws import AwsMeter
from spancost.meters.aws.by_request import ByRequest
from spancost.meters.aws.call import NO_USAGE, UNKNOWN_OPERATION, UNKNOWN_SERVICE, Usage
from spancost.meters.aws.services import MODULES
from spancost.prices.book import PriceBook

Status = Literal["priced", "free", "unpriced"]

UNDECIDED: Final = frozenset({UNKNOWN_OPERATION, UNKNOWN_SERVICE})
"""Reasons that say that nobody has looked at an operation; all others say why it has no price."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What spancost does with one operation."""

    client: str
    """Name of the boto3 client: `dynamodb`."""
    operation: str
    """`PutItem`"""
    status: Status
    price_ids: tuple[str, ...] = ()
    """Prices that its calls may take, or why it is free; empty where it is unpriced, or free without a price."""
    reason: str = ""
    """Why it is unpriced."""


def coverage(book: PriceBook, clients: Iterable[str] = ()) -> list[Coverage]:
    """Return every operation of the given clients, by client and name; without clients, of all in the book.

    Raises:
        ImportError: botocore is not installed.
    """
    import botocore.loaders

    loader: Any = botocore.loaders.create_loader()
    meter, table = AwsMeter(book), ByRequest(book)
    wanted = set(clients) or (table.clients() | MODULES.keys()) & set(loader.list_available_services("service-2"))
    found: list[Coverage] = []
    for client in sorted(wanted):
        operations: Iterable[str] = loader.load_service_model(client, "service-2")["operations"]
        for operation in sorted(operations):
            named = table.price_ids(client, operation)
            found.append(_cover(book, client, operation, meter.usages(client, operation), named))
    return found


def _cover(book: PriceBook, client: str, operation: str, usages: Sequence[Usage], named: Sequence[str]) -> Coverage:
    used = dict.fromkeys(usage.price_id for usage in usages if usage.price_id)
    possible = tuple(dict.fromkeys((*used, *named)))
    billed = tuple(price_id for price_id in possible if _is_billed(book, price_id))
    reason = next((usage.reason for usage in usages if usage.reason), "")
    if any(price_id in billed for price_id in used) or (billed and (reason == NO_USAGE or not reason)):
        return Coverage(client, operation, "priced", billed)
    if not usages:  # tokens, which the LLM meter prices
        return Coverage(client, operation, "priced", possible)
    if not reason and all(usage.free or _is_free(book, usage.price_id) for usage in usages):
        return Coverage(client, operation, "free", tuple(used))
    return Coverage(client, operation, "unpriced", (), reason or "no_price")


def _is_billed(book: PriceBook, price_id: str) -> bool:
    return any(record.usd for record in book.records(price_id))


def _is_free(book: PriceBook, price_id: str) -> bool:
    records = book.records(price_id)
    return bool(records) and all(record.usd == 0 for record in records)

"""Price calls of which each costs the same, or nothing: the price book alone decides.

The `operations` of the prices `aws.<client>.*` name botocore operations, or globs of them (`Describe*`). A name
goes before a glob, a longer glob before a shorter. A price of 0 makes the call free. Any other price must be per
`request`: one call is one of it. What the book says with another unit, or with several prices, takes a module
of its own; without one the call is unpriced (`no_usage`).

Failed calls: throttled ones and answers of 5xx are free, other errors are counted and marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from spancost.meters.aws.call import (
    NO_USAGE,
    UNKNOWN_OPERATION,
    UNKNOWN_SERVICE,
    Call,
    Measure,
    Usage,
    failure,
    unpriced,
)
from spancost.prices.book import PriceBook

_UNIT: Final = "request"


class Decision(NamedTuple):
    """What the book says of an operation."""

    measure: Measure
    free: bool = False
    """Free whatever the call does, and whether it is answered or not."""


class _Service(NamedTuple):
    names: dict[str, list[str]]
    """Operation -> price ids."""
    globs: dict[str, list[str]]


class ByRequest:
    """The operations that a price book names, by client; read once."""

    __slots__ = ("_book", "_services")

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._services: Mapping[str, _Service] | None = None

    def price_ids(self, client: str, operation: str) -> Sequence[str]:
        """Return the prices that name an operation: of the best kind of name only."""
        service = self._known().get(client)
        if service is None:
            return ()
        found = service.names.get(operation)
        if found is None:
            matching = [glob for glob in service.globs if fnmatchcase(operation, glob)]
            found = service.globs[max(matching, key=len)] if matching else []
        return found

    def clients(self) -> frozenset[str]:
        """Return the boto3 clients of which the book names operations."""
        return frozenset(self._known())

    def decide(self, client: str, operation: str, *, known: bool = False) -> Decision:
        """Return what measures the calls of an operation; `known` says that a module knows the service."""
        price_ids = self.price_ids(client, operation)
        if not price_ids:
            known = known or client in self._known()
            return Decision(_constant(unpriced(UNKNOWN_OPERATION if known else UNKNOWN_SERVICE)))
        records = self._book.records(price_ids[0])
        if len(price_ids) > 1 or records[0].unit != _UNIT:
            return Decision(_constant(unpriced(NO_USAGE)))
        free = all(record.usd == 0 for record in records)
        return Decision(_constant((Usage(price_ids[0]),)) if free else _each_call(price_ids[0]), free)

    def _known(self) -> Mapping[str, _Service]:
        if self._services is None:
            services: dict[str, _Service] = {}
            for price_id in self._book.price_ids():
                vendor, _, rest = price_id.partition(".")
                operations = self._book.operations(price_id)
                if vendor != "aws" or not operations:
                    continue
                service = services.setdefault(rest.partition(".")[0], _Service({}, {}))
                for operation in operations:
                    table = service.globs if "*" in operation else service.names
                    table.setdefault(operation, []).append(price_id)
            self._services = services
        return self._services


def _each_call(price_id: str) -> Measure:
    done = (Usage(price_id),)

    def measure(call: Call) -> Sequence[Usage]:
        return failure(call, price_id=price_id) if call.failed else done

    return measure


def _constant(usages: Sequence[Usage]) -> Measure:
    def measure(_: Call) -> Sequence[Usage]:
        return usages

    return measure

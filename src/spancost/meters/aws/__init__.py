"""Price calls to AWS APIs seen by the botocore instrumentation.

Reads `rpc.service`, `rpc.method`, `cloud.region` and the HTTP status of spans with `rpc.system` =
`aws-api`, and the facts of `spancost.capture.aws`. One module per service turns a call into billed
units; rates are USD per unit from the price book. Left out: tokens of Bedrock (the LLM meter prices
them), storage and hourly charges (a span cannot see them), deliveries by SNS to its subscribers.

Failed calls follow the vendor's rule, per service. A call that never reached the service is free; one
that failed without an answer is unpriced (`no_answer`), because the service may have done the work.
Attempts that botocore retried are not billed: it retries throttled calls, 5xx answers and lost
connections, which none of these services bills.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.capture.aws import facts as aws_facts
from spancost.charge import Charge, PriceLine, SpanView, price_line
from spancost.meters.aws.call import (
    BAD_USAGE,
    FREE,
    NO_ANSWER,
    UNKNOWN_OPERATION,
    UNKNOWN_SERVICE,
    Call,
    Measure,
    Usage,
    free,
    unpriced,
)
from spancost.meters.aws.services import MODULES, client_of
from spancost.prices.book import PriceBook, Unpriced

_MAX_COMPILED: Final = 4096
_NO_CHARGES: Final[Sequence[Charge]] = ()

_AWS: Final = "aws-api"
_PRICED_ELSEWHERE: Final = frozenset({"bedrock-runtime"})


class _Plan(NamedTuple):
    """What to do with calls of one operation; made at its first call."""

    operation: str
    """As it is shown: `dynamodb.PutItem`."""
    method: str
    measure: Measure


class _Compiled(NamedTuple):
    line: PriceLine
    usd: float
    list_usd: float
    valid_from_ns: int
    valid_until_ns: int


def is_aws(attributes: Mapping[str, Any]) -> bool:
    """True if the attributes are those of a call to AWS, by the old conventions or the new ones."""
    return attributes.get("rpc.system") == _AWS or attributes.get("rpc.system.name") == _AWS


class AwsMeter:
    """Turns AWS API calls into charges."""

    __slots__ = ("_book", "_compiled", "_default_region", "_free", "_plans")

    def __init__(self, book: PriceBook, default_region: str = "") -> None:
        """Make a meter.

        Args:
            book: Where rates are looked up.

            default_region: Region of spans that name none; empty takes us-east-1, marked.
        """
        self._book = book
        self._default_region = default_region
        self._plans: dict[tuple[str, str], _Plan | None] = {}
        self._compiled: dict[tuple[str, str, str, str, str], _Compiled] = {}
        self._free: frozenset[tuple[str, str]] | None = None

    @staticmethod
    def load() -> None:
        """Import all services now: a lazy import can be re-entered by a span that the garbage collector ends."""
        for module in MODULES.values():
            import_module(module)

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of this span; empty if it is no AWS call, or one priced by another meter."""
        attributes = view.attributes
        service = attributes.get("rpc.service")
        method = attributes.get("rpc.method")
        if attributes.get("rpc.system") != _AWS:
            if attributes.get("rpc.system.name") != _AWS:
                return _NO_CHARGES
            if service is None and isinstance(method, str):
                service, _, method = method.partition("/")
        if not isinstance(service, str) or not isinstance(method, str):
            return _NO_CHARGES
        try:
            plan = self._plans[(service, method)]
        except KeyError:
            plan = self._make_plan(service, method)
        if plan is None:
            return _NO_CHARGES

        status = attributes.get("http.status_code", 0) or attributes.get("http.response.status_code", 0)
        if not isinstance(status, int):
            status = 0
        if status == 0 and (view.failed or aws_facts.NOT_SENT in view.facts):
            usages = free(basis="not_sent") if view.facts.get(aws_facts.NOT_SENT) else unpriced(NO_ANSWER)
        else:
            usages = plan.measure(Call(plan.method, attributes, view.facts, status, status >= 400))
        region = attributes.get("cloud.region")
        if not isinstance(region, str) or not region:
            region = self._default_region
        return [self._charge(plan.operation, region, usage, view.start_ns) for usage in usages]

    def _charge(self, operation: str, region: str, usage: Usage, at_ns: int) -> Charge:
        quantity = usage.quantity
        if not 0 <= quantity < math.inf:  # NaN too
            usage = Usage("", 1.0, resource=usage.resource, reason=BAD_USAGE)
            quantity = 1.0
        key = (operation, region, usage.price_id or usage.reason or "free", usage.resource, usage.basis)
        compiled = self._compiled.get(key)
        if compiled is None or not compiled.valid_from_ns <= at_ns < compiled.valid_until_ns:
            compiled = self._compile(operation, region, usage, at_ns)
            if len(self._compiled) >= _MAX_COMPILED:
                self._compiled.clear()
            self._compiled[key] = compiled
        return Charge(compiled.line, quantity, quantity * compiled.usd, quantity * compiled.list_usd)

    def _compile(self, operation: str, region: str, usage: Usage, at_ns: int) -> _Compiled:
        def line(status: str, *, unit: str, region: str, **extra: str) -> PriceLine:
            return price_line(
                names.AWS,
                "aws",
                operation,
                status=status,
                unit=unit,
                region=region,
                resource=usage.resource,
                **extra,
            )

        if not usage.price_id:
            status = names.FREE if usage.free else names.UNPRICED
            made = line(status, unit=usage.unit, region=region, reason=usage.reason, basis=usage.basis)
            return _Compiled(made, 0.0, 0.0, 0, 2**63 - 1)
        rate = self._book.price(usage.price_id, region, at_ns)
        if isinstance(rate, Unpriced):
            unit = rate.unit or usage.unit
            made = line(names.UNPRICED, unit=unit, region=region, sku=usage.price_id, reason=rate.reason)
            return _Compiled(made, 0.0, 0.0, rate.valid_from_ns, rate.valid_until_ns)
        basis = ",".join(filter(None, (usage.basis, "region_fallback" if rate.region_fallback else "")))
        status = names.ESTIMATED if basis else names.PRICED
        made = line(status, unit=rate.unit, region=rate.region, sku=rate.sku, basis=basis, source=rate.source)
        return _Compiled(made, rate.usd, rate.list_usd, rate.valid_from_ns, rate.valid_until_ns)

    def _make_plan(self, service: str, method: str) -> _Plan | None:
        client = client_of(service)
        plan: _Plan | None = None
        if client not in _PRICED_ELSEWHERE:
            plan = _Plan(f"{client}.{method}", method, self._measure_of(client, method))
        if len(self._plans) >= _MAX_COMPILED:
            self._plans.clear()
        self._plans[(service, method)] = plan
        return plan

    def _measure_of(self, client: str, method: str) -> Measure:
        module = MODULES.get(client)
        if module is not None:
            measure_of: Callable[[str], Measure | None] = import_module(module).measure_of
            return measure_of(method) or _constant(unpriced(UNKNOWN_OPERATION))
        if self._free is None:
            self._free = _free_operations(self._book)
        if (client, method) in self._free:
            return _constant(FREE)
        return _constant(unpriced(UNKNOWN_SERVICE))


def _free_operations(book: PriceBook) -> frozenset[tuple[str, str]]:
    """Return service and operation of every call that the book knows to be free whatever its parameters."""
    free: set[tuple[str, str]] = set()
    billed: set[tuple[str, str]] = set()
    for price_id in book.price_ids():
        operations = book.operations(price_id) if price_id.startswith("aws.") else ()
        if operations:
            known = {(price_id.split(".", 2)[1], operation) for operation in operations}
            (free if book.records(price_id)[0].usd == 0 else billed).update(known)
    return frozenset(free - billed)


def _constant(usages: Sequence[Usage]) -> Measure:
    def measure(_: Call) -> Sequence[Usage]:
        return usages

    return measure


__all__ = ["AwsMeter"]

"""Price calls to AWS APIs seen by the botocore instrumentation.

Reads `rpc.service`, `rpc.method`, `cloud.region`, `retry_attempts` and the HTTP status of spans with
`rpc.system` = `aws-api`, and the facts of `spancost.capture.aws`. One module per service turns a call into
billed units; calls that it leaves, and services without one, are decided by the price book (`by_request`).
Rates are USD per unit from the price book. Left out: tokens of Bedrock (the LLM meter prices
them), storage and hourly charges (a span cannot see them), deliveries by SNS to its subscribers.

Failed calls follow the vendor's rule, per service. A call that never reached the service is free; one
that failed without an answer is unpriced (`no_answer`), because the service may have done the work.
A span holds all attempts of a call. botocore retries throttled calls and answers of 5xx, which no service
bills, and lost connections, after which the work may have been done: the call is one charge, marked `retried`,
for the span says how often it was retried and not why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from spancost import names
from spancost.capture.aws import facts as aws_facts
from spancost.charge import Charge, PriceLine, SpanView, joined_basis, price_line
from spancost.meters.aws.by_request import ByRequest, Decision
from spancost.meters.aws.call import BAD_USAGE, NO_ANSWER, RETRIED, Call, Measure, Usage, free, unpriced
from spancost.meters.aws.services import MODULES, client_of
from spancost.prices.book import PriceBook, Unpriced

_MAX_COMPILED: Final = 4096
_MAX_NAME: Final = 100
"""Characters; names of services, operations and regions are far shorter."""
_NO_CHARGES: Final[Sequence[Charge]] = ()
_UNANSWERED: Final = unpriced(NO_ANSWER)
_new: Final[Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
"""Makes a named tuple in half the time of calling its class."""

_AWS: Final = "aws-api"


class _Plan(NamedTuple):
    """What to do with calls of one operation; made at its first call."""

    operation: str
    """As it is shown: `dynamodb.PutItem`."""
    method: str
    measure: Measure
    free: bool
    """Free whether the call is answered or not."""


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

    __slots__ = ("_book", "_by_request", "_compiled", "_default_region", "_plans")

    def __init__(self, book: PriceBook, default_region: str = "") -> None:
        """Make a meter.

        Args:
            book: Where rates are looked up.

            default_region: Region of spans that name none; empty takes us-east-1, marked.
        """
        self._book = book
        self._by_request = ByRequest(book)
        self._default_region = default_region
        # By service and method as the attributes have them.
        self._plans: dict[tuple[Any, Any], _Plan | None] = {}
        self._compiled: dict[tuple[str, str, str, str, str, str], _Compiled] = {}

    @staticmethod
    def load() -> None:
        """Import all services now: a lazy import can be re-entered by a span that the garbage collector ends."""
        for module in MODULES.values():
            import_module(module)

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of this span; empty if it is no AWS call, or one priced by another meter."""
        attributes = view.attributes
        get = attributes.get
        if get("rpc.system") != _AWS and get("rpc.system.name") != _AWS:
            return _NO_CHARGES
        try:
            plan = self._plans[get("rpc.service"), get("rpc.method")]
        except (KeyError, TypeError):  # a new one, or values of odd types
            plan = self._new_plan(attributes)
        if plan is None:
            return _NO_CHARGES

        facts = view.facts
        status = get("http.status_code") or get("http.response.status_code") or 0
        if not isinstance(status, int):
            status = 0
        if status == 0 and not plan.free and (view.failed or aws_facts.NOT_SENT in facts):
            usages = free(basis="not_sent") if facts.get(aws_facts.NOT_SENT) else _UNANSWERED
        else:
            usages = plan.measure(_new(Call, (plan.method, attributes, facts, status, status >= 400)))
            if get("retry_attempts"):
                usages = [_retried(usage) for usage in usages]
        region = get("cloud.region")
        if not region or not isinstance(region, str) or len(region) > _MAX_NAME:
            region = self._default_region

        operation, start_ns, known = plan.operation, view.start_ns, self._compiled
        charges: list[Charge] = []
        for usage in usages:
            price_id, quantity, resource, basis, reason, _, _ = usage
            compiled = known.get((operation, region, price_id, resource, basis, reason))
            if compiled is None or not compiled.valid_from_ns <= start_ns < compiled.valid_until_ns:
                compiled = self._compile(operation, region, usage, start_ns)
            if not 0 <= quantity < math.inf:  # NaN too
                usage = Usage("", resource=resource, reason=BAD_USAGE)
                compiled, quantity = self._compile(operation, region, usage, start_ns), 1.0
            line, usd, list_usd, _, _ = compiled
            charges.append(_new(Charge, (line, quantity, quantity * usd, quantity * list_usd)))
        return charges

    def usages(self, client: str, operation: str) -> Sequence[Usage]:
        """Return what a call of this operation that was answered would use, as far as its name alone tells."""
        measure = self._decide(client, operation).measure
        return measure(Call(operation, {}, {}, 200, failed=False))

    def _compile(self, operation: str, region: str, usage: Usage, at_ns: int) -> _Compiled:
        if len(self._compiled) >= _MAX_COMPILED:
            self._compiled.clear()
        key = (operation, region, usage.price_id, usage.resource, usage.basis, usage.reason)
        made = self._compiled[key] = self._price(operation, region, usage, at_ns)
        return made

    def _price(self, operation: str, region: str, usage: Usage, at_ns: int) -> _Compiled:
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
        if rate.usd == 0 == rate.list_usd:
            made = line(names.FREE, unit=rate.unit, region=region, sku=rate.sku, source=rate.source)
            return _Compiled(made, 0.0, 0.0, rate.valid_from_ns, rate.valid_until_ns)
        basis = joined_basis(usage.basis, "region_fallback" if rate.region_fallback else "")
        status = names.ESTIMATED if basis else names.PRICED
        made = line(status, unit=rate.unit, region=rate.region, sku=rate.sku, basis=basis, source=rate.source)
        return _Compiled(made, rate.usd, rate.list_usd, rate.valid_from_ns, rate.valid_until_ns)

    def _new_plan(self, attributes: Mapping[str, Any]) -> _Plan | None:
        service, method = attributes.get("rpc.service"), attributes.get("rpc.method")
        if service is None and isinstance(method, str):  # the new conventions name both in one
            service_id, _, name = method.partition("/")
        elif isinstance(service, str) and isinstance(method, str):
            service_id, name = service, method
        else:
            return None
        is_long = len(service_id) > _MAX_NAME or len(name) > _MAX_NAME
        if is_long:  # no service has such a name: said, but not remembered
            service_id, name = service_id[:_MAX_NAME], name[:_MAX_NAME]
        client = client_of(service_id)
        plan: _Plan | None = None
        if self.usages(client, name):  # none: another meter prices it, answered or not
            decision = self._decide(client, name)
            plan = _Plan(f"{client}.{name}", name, decision.measure, decision.free)
        if is_long:
            return plan
        if len(self._plans) >= _MAX_COMPILED:
            self._plans.clear()
        self._plans[service, method] = plan
        return plan

    def _decide(self, client: str, method: str) -> Decision:
        module = MODULES.get(client)
        if module is not None:
            measure_of: Callable[[str], Measure | None] = import_module(module).measure_of
            measure = measure_of(method)
            if measure is not None:
                return Decision(measure)
        return self._by_request.decide(client, method, known=module is not None)


def _retried(usage: Usage) -> Usage:
    if not usage.price_id:
        return usage
    return usage._replace(basis=f"{usage.basis},{RETRIED}" if usage.basis else RETRIED)


__all__ = ["AwsMeter"]

"""The LLM meter: usage times rates.

Order of prices: your own (`models:`), then a cost that the provider reported on the span, then the price list; a cost
that the instrumentation computed stands in, as an estimate, where the list has no price.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost import names
from spancost.charge import Charge, PriceLine, SpanView, price_line
from spancost.meters.llm.operations import EMBEDDINGS, IMAGE, RERANK, SPEECH, TRANSCRIPTION, VIDEO
from spancost.meters.llm.reported import ReportedCost
from spancost.meters.llm.text_estimate import TextEstimate
from spancost.meters.llm.usage import LlmUsage, read_usage
from spancost.prices.tokens import MachineRate, TokenCounts, TokenPrices, TokenRates, UnknownPrice

_CACHE_UNKNOWN: Final = "cached_tokens_not_reported"
_REQUEST_MODEL: Final = "request_model"
_MACHINE_TIME: Final = "machine_time"
_AUDIO_INPUT: Final = "audio_input"
"""All input of a transcription is taken for speech."""
_COMPUTED: Final = "computed_by_instrumentation"
_BAD_COST: Final = "bad_reported_cost"
_OTHER_UNITS: Final = frozenset({IMAGE, RERANK, SPEECH, TRANSCRIPTION, VIDEO})
"""Operations billed by searches, images, characters or seconds, which their spans do not show as a rule."""
_MAX_LINES: Final = 4096

_Lines = dict[str, PriceLine]


class LlmMeter:
    """Meter of LLM tokens.

    Args:
        prices: Where token prices come from; genai-prices by default, imported at the first LLM span.

        texts: Estimates tokens where a span has none; by default nothing is estimated.
    """

    def __init__(self, prices: TokenPrices | None = None, texts: TextEstimate | None = None) -> None:
        self._prices = TokenPrices() if prices is None else prices
        self.texts = texts
        """Estimates the tokens of spans without usage; None: nothing is estimated."""
        self._lines: dict[tuple[TokenRates, str, tuple[str, ...], str], _Lines] = {}

    def warm_up(self) -> None:
        """Load the prices now, off the span path."""
        self._prices.load()
        if self.texts is not None:
            self.texts.load()

    def measure(self, view: SpanView) -> Sequence[Charge]:
        """Return the charges of an LLM span, one per kind of token."""
        usage = read_usage(view, self.texts)
        return () if usage is None else self.charges_of(usage, view.start_ns)

    def charges_of(self, usage: LlmUsage, start_ns: int) -> Sequence[Charge]:
        """Price usage as of a span's start (Unix nanoseconds)."""
        if usage.rejected:
            return (_without_price(usage, names.FREE, basis="rejected"),)
        rates, basis = self._rates(usage, start_ns)
        if isinstance(rates, MachineRate):
            return (_machine_time(usage, rates),)
        cost = usage.cost
        is_own = isinstance(rates, TokenRates) and rates.is_own
        if cost is not None and not is_own:
            if cost.by_provider and cost.usd:
                return self._as_reported(usage, rates, cost, ())
            if cost.usd and (isinstance(rates, UnknownPrice) or usage.problem):
                return self._as_reported(usage, rates, cost, (_COMPUTED,))
            if not cost.usd:
                basis = (*basis, _BAD_COST)
        counts = usage.counts
        if usage.estimate is not None and self.texts is not None:
            counts = usage.estimate
            usage = usage._replace(problem="", assumed=self.texts.basis)
        if usage.problem:
            reason = usage.problem
            if reason == "no_usage" and usage.operation in _OTHER_UNITS:
                reason = "quantity_not_seen"
            return (_without_price(usage, names.UNPRICED, reason=reason),)
        if isinstance(rates, UnknownPrice):
            return (_without_price(usage, names.UNPRICED, reason=rates.reason),)
        if rates.audio is not None and usage.audio_s and not rates.leaves:
            return (_audio(usage, rates, basis),)
        if counts is None or (not rates.leaves and not rates.per_request_usd):
            return (_without_price(usage, names.UNPRICED, reason="quantity_not_seen"),)
        if usage.operation != EMBEDDINGS and rates.lacks(counts):
            return (_without_price(usage, names.UNPRICED, reason="no_price"),)
        return self._by_tokens(usage, counts, rates, basis)

    def _rates(self, usage: LlmUsage, start_ns: int) -> tuple[TokenRates | MachineRate | UnknownPrice, tuple[str, ...]]:
        """Return the rates of the model that answered, else those of the model that was asked for."""
        provider, tier = usage.provider, usage.tier
        rates = self._prices.rates(provider, usage.model, tier, start_ns)
        asked = usage.request_model
        if asked and asked != usage.model and (self._prices.has_own or isinstance(rates, UnknownPrice)):
            of_request = self._prices.rates(provider, asked, tier, start_ns)
            if not isinstance(of_request, UnknownPrice):
                if isinstance(of_request, MachineRate) or of_request.is_own:
                    # Your own price may stand under the name of a deployment that hides the model.
                    return of_request, ()
                if isinstance(rates, UnknownPrice):
                    # With an alias of yours the requested name is as good as the model's own.
                    return of_request, () if of_request.is_alias else (_REQUEST_MODEL,)
        return rates, ()

    def _by_tokens(
        self, usage: LlmUsage, counts: TokenCounts, rates: TokenRates, basis: tuple[str, ...]
    ) -> Sequence[Charge]:
        if usage.operation == TRANSCRIPTION and not counts.audio_in and "audio_in" in rates.rated:
            counts = counts._replace(audio_in=counts.input)
            basis = (*basis, _AUDIO_INPUT)
        parts = rates.split(counts)
        if parts is None:
            return (_without_price(usage, names.UNPRICED, reason="bad_usage"),)
        if assumed := rates.assumed(counts):
            basis = (*assumed, *basis)
        if usage.cache_unknown:
            basis = (_CACHE_UNKNOWN, *basis)
        if usage.assumed:
            basis = (usage.assumed, *basis)
        charges = self._charged(usage, rates, parts, basis, rates.source, rates.factor)
        return charges if rates.list_rates is None else _with_list_price(charges, rates.list_rates, counts)

    def _charged(
        self,
        usage: LlmUsage,
        rates: TokenRates,
        parts: list[tuple[str, float, float]],
        basis: tuple[str, ...],
        source: str,
        factor: float,
    ) -> list[Charge]:
        lines = self._lines_of(rates, usage.operation, basis, source)
        charges: list[Charge] = []
        for kind, quantity, usd_per_token in parts:
            line = lines.get(kind) if usd_per_token else None
            if line is None:
                line = _line(usage.operation, rates, kind, basis, source, is_free=not usd_per_token)
                if usd_per_token:
                    lines[kind] = line
            list_usd = quantity * usd_per_token
            charges.append(Charge(line, quantity, list_usd * factor, list_usd))
        if not charges:
            line = _line(usage.operation, rates, "token", basis, source)
            charges.append(Charge(line, 0.0, 0.0, 0.0))
        return charges

    def _lines_of(self, rates: TokenRates, operation: str, basis: tuple[str, ...], source: str) -> _Lines:
        key = (rates, operation, basis, source)
        lines = self._lines.get(key)
        if lines is None:
            if len(self._lines) >= _MAX_LINES:
                self._lines = {}
            lines = self._lines[key] = {}
        return lines

    def _as_reported(
        self, usage: LlmUsage, rates: TokenRates | UnknownPrice, cost: ReportedCost, basis: tuple[str, ...]
    ) -> Sequence[Charge]:
        """Charge a stated cost, over the kinds of tokens as the list price would; the list price stays beside it."""
        source = f"reported:{cost.attribute}"
        counts = usage.counts
        if isinstance(rates, TokenRates) and counts is not None and not usage.problem:
            parts = rates.split(counts)
            list_usd = sum(quantity * usd for _, quantity, usd in parts or ())
            if parts and list_usd > 0:
                return self._charged(usage, rates, parts, basis, source, cost.usd / list_usd)
        status = names.ESTIMATED if basis else names.PRICED
        charge = _without_price(usage, status, basis=",".join(basis), source=source)
        return (charge._replace(usd=cost.usd, list_usd=cost.usd),)


def _line(
    operation: str, rates: TokenRates, unit: str, basis: tuple[str, ...], source: str, *, is_free: bool = False
) -> PriceLine:
    status = names.ESTIMATED if basis else names.PRICED
    return price_line(
        names.LLM,
        rates.provider,
        operation,
        model=rates.model,
        unit=unit,
        sku="" if unit == "token" else f"{rates.model}/{unit}",
        status=names.FREE if is_free else status,
        basis=",".join(basis),
        source=source,
    )


def _with_list_price(charges: list[Charge], listed: TokenRates, counts: TokenCounts) -> list[Charge]:
    """Put the list price beside your own: in proportion, for the two may not know the same kinds of tokens."""
    list_usd = sum(quantity * usd for _, quantity, usd in listed.split(counts) or ())
    usd = sum(charge.usd for charge in charges)
    if usd:
        return [charge._replace(list_usd=charge.usd * (list_usd / usd)) for charge in charges]
    return [charges[0]._replace(list_usd=list_usd), *charges[1:]]


def _machine_time(usage: LlmUsage, rates: MachineRate) -> Charge:
    line = price_line(
        names.LLM,
        rates.provider,
        usage.operation,
        model=rates.model,
        unit="s",
        sku=f"{rates.model}/s",
        status=names.ESTIMATED,
        basis=_MACHINE_TIME,
        source=rates.source,
    )
    usd = usage.seconds * rates.usd_per_s
    return Charge(line, usage.seconds, usd, usd)


def _audio(usage: LlmUsage, rates: TokenRates, basis: tuple[str, ...]) -> Charge:
    assert rates.audio is not None
    seconds = max(usage.audio_s, rates.audio.least_s)
    list_usd = seconds * rates.audio.usd_per_s
    line = _line(usage.operation, rates, "audio_s", (*rates.basis, *basis), rates.source)
    return Charge(line, seconds, list_usd * rates.factor, list_usd)


def _without_price(usage: LlmUsage, status: str, *, reason: str = "", basis: str = "", source: str = "") -> Charge:
    counts = usage.counts
    quantity = float(counts.input + counts.output) if counts is not None else 0.0
    line = price_line(
        names.LLM,
        usage.provider[:100],
        usage.operation,
        model=usage.model[:100],
        unit="token",
        status=status,
        reason=reason,
        basis=basis,
        source=source,
    )
    return Charge(line, quantity, 0.0, 0.0)

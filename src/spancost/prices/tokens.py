"""Token prices from genai-prices, compiled once per price record.

genai-prices (https://github.com/pydantic/genai-prices, MIT) prices one call in some 60 microseconds with Decimals. Here
each of its price records becomes a handful of float rates with the interval in which it holds: a look-up is a
dictionary access and a comparison, whatever the number of dated prices, daily windows and tiers. Your own prices
(`models:`) and discounts are compiled into the same rates: they change what you pay, the list price stays beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from spancost import names
from spancost._guard import logger
from spancost.errors import PriceBookError
from spancost.prices.days import midnight_ns
from spancost.prices.discounts import NO_DISCOUNTS, Discounts
from spancost.prices.model_names import Found, ModelNames, UnknownPrice, canonical_provider
from spancost.prices.token_rates import (
    FIELD_OF_USAGE_KEY,
    AudioRate,
    MachineRate,
    TokenCounts,
    TokenRates,
    compiled_leaves,
)

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo
    from genai_prices.types import ModelPrice as ListedPrice

    from spancost.prices.models import ModelPrice

__all__ = [
    "AudioRate",
    "MachineRate",
    "TokenCounts",
    "TokenPrices",
    "TokenRates",
    "UnknownPrice",
    "canonical_provider",
]

_DAY_NS: Final = 86_400_000_000_000
_FIRST_NS: Final = -(2**63)
_LAST_NS: Final = 2**63
_MAX_ENTRIES: Final = 2048

_TIERS: Final = frozenset({"batch", "fast", "flex", "priority", "reserved", "scale"})
"""Service tiers by name; any other is `other`, so that a span cannot invent basis words."""


Rates = TokenRates | MachineRate | UnknownPrice


class _Dated(NamedTuple):
    """Rates of one record and the interval [from_ns, until_ns) of span starts for which they were chosen."""

    from_ns: int
    until_ns: int
    rates: Rates


class _PriceList(NamedTuple):
    """A version of genai-prices."""

    names: ModelNames
    source: str


class TokenPrices:
    """Compiled token prices; safe to use from several threads.

    Args:
        models: Your own prices and names of models, in the order of the file.

        discounts: Percentages off list prices. An own price is what you pay: nothing is taken off it.

        snapshot_file: Refreshed data of genai-prices, see `load`; a file that cannot be read is logged and the shipped
            data used.
    """

    def __init__(
        self,
        models: Sequence[ModelPrice] = (),
        discounts: Discounts = NO_DISCOUNTS,
        snapshot_file: Path | None = None,
    ) -> None:
        self._models = tuple(models)
        self._discounts = discounts
        self._snapshot_file = snapshot_file
        self._list: _PriceList | None = None
        self._entries: dict[tuple[str, str, str], list[_Dated]] = {}

    def load(self, snapshot_file: Path | None = None) -> None:
        """Read the prices now instead of at the first LLM span.

        Args:
            snapshot_file: Data of genai-prices as its project publishes it (a JSON list of providers), or
                `{"date": ..., "providers": [...]}`. Without it the file given at the start, else the shipped data.

        Raises:
            PriceBookError: `snapshot_file` cannot be read.
        """
        if snapshot_file is not None:
            self._list = _read_snapshot(snapshot_file)
            self._entries = {}
        else:
            self._price_list()

    @property
    def has_own(self) -> bool:
        """There are prices or names of your own."""
        return bool(self._models)

    def rates(self, provider: str, model: str, tier: str, at_ns: int) -> Rates:
        """Return the rates of a model for a call that started at `at_ns` (Unix nanoseconds).

        Args:
            provider: As the span says: `openai`, `aws.bedrock`; may be empty.

            model: Response or request model.

            tier: Service tier other than the standard one (`flex`, `priority`, `batch`), or empty.

            at_ns: Start of the call.
        """
        known = self._entries.get((provider, model, tier))
        if known is not None:
            for from_ns, until_ns, rates in known:
                if from_ns <= at_ns < until_ns:
                    return rates
        return self._compile(provider, model, tier, at_ns)

    def _compile(self, provider: str, model: str, tier: str, at_ns: int) -> Rates:
        dated = self._dated(provider, model, tier, at_ns)
        # No lock, which a forked child could inherit while it is held: what two threads lose here is compiled again.
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries = {}
        known = self._entries.get((provider, model, tier), [])
        # A model has a few dated prices and at most two windows a day; old days are dropped first.
        self._entries[(provider, model, tier)] = [dated, *known[:63]]
        return dated.rates

    def _price_list(self) -> _PriceList:
        listed = self._list
        if listed is None:
            listed = self._list = self._first_price_list()
        return listed

    def _first_price_list(self) -> _PriceList:
        if self._snapshot_file is not None:
            try:
                return _read_snapshot(self._snapshot_file)
            except PriceBookError as error:
                logger.warning("refreshed LLM prices are not used: %s", error)
        import genai_prices
        from genai_prices import data_snapshot

        return _PriceList(
            ModelNames(data_snapshot.get_snapshot().providers), f"genai-prices:{genai_prices.__version__}"
        )

    def _dated(self, provider: str, model: str, tier: str, at_ns: int) -> _Dated:
        listed = self._price_list()
        found = listed.names.find(provider, model)
        edges = _Edges(at_ns)
        own = self._own(_names_of(provider, model, found), edges)
        is_alias = own is not None and bool(own.same_as)
        if own is not None and own.same_as:
            to_provider, _, to_model = own.same_as.partition("/")
            found = listed.names.find(to_provider, to_model)
            if isinstance(found, UnknownPrice):
                return edges.dated(UnknownPrice("unknown_alias"))
            own = self._own(_names_of(to_provider, to_model, found), edges, with_aliases=False)
        rates: Rates = found if isinstance(found, UnknownPrice) else _listed_rates(found, tier, listed.source, edges)
        if is_alias and isinstance(rates, TokenRates):
            rates = replace(rates, is_alias=True)
        if own is not None:
            return edges.dated(_own_rates(own, provider, model, tier, rates))
        if self._discounts and isinstance(rates, TokenRates):
            applied = self._discounts.applied(names.LLM, rates.provider, rates.model, "", at_ns)
            edges.add(applied.from_ns, applied.until_ns)
            if applied.names:
                source = f"{rates.source}+discount:{applied.names}"
                rates = replace(rates, factor=applied.factor, source=source)
        return edges.dated(rates)

    def _own(
        self, known_as: tuple[list[str], list[str]], edges: _Edges, *, with_aliases: bool = True
    ) -> ModelPrice | None:
        best: ModelPrice | None = None
        for own in self._models:
            if (own.same_as and not with_aliases) or not own.matches(*known_as):
                continue
            edges.add(own.from_ns)
            if own.from_ns > edges.at_ns:
                continue
            is_newer = best is not None and own.from_ns > best.from_ns
            if best is None or (is_newer and (own.provider, own.model) == (best.provider, best.model)):
                best = own
        return best


class _Edges:
    """The interval around a moment in which nothing that was looked at changes."""

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns
        self._from_ns = _FIRST_NS
        self._until_ns = _LAST_NS

    def add(self, *edges_ns: int) -> None:
        for edge in edges_ns:
            if edge <= self.at_ns:
                self._from_ns = max(self._from_ns, edge)
            else:
                self._until_ns = min(self._until_ns, edge)

    def dated(self, rates: Rates) -> _Dated:
        return _Dated(self._from_ns, self._until_ns, rates)


def _names_of(provider: str, model: str, found: Found | UnknownPrice) -> tuple[list[str], list[str]]:
    providers, models = [provider.strip().lower(), canonical_provider(provider)], [model.strip().lower()]
    if not isinstance(found, UnknownPrice):
        providers.append(found.provider.id)
        models.append(found.model.id.lower())
    return providers, models


def _own_rates(own: ModelPrice, provider: str, model: str, tier: str, listed: Rates) -> Rates:
    """Return your own rates of a model; the list price, where there is one, goes with them."""
    source = f"override:{own.place}"
    is_listed = isinstance(listed, TokenRates)
    label = (listed.provider, listed.model) if is_listed else (canonical_provider(provider), model[:100])
    if own.usd_per_hour is not None:
        return MachineRate(*label, source, float(own.usd_per_hour / 3600))
    million = own.usd_per_million or {}
    usage_key_of = {field: key for key, field in FIELD_OF_USAGE_KEY.items()}
    rated = [(usage_key_of[field], usd, 1_000_000) for field, usd in million.items()]
    return TokenRates(
        *label,
        source,
        compiled_leaves(rated),
        list_rates=listed if is_listed else None,
        is_own=True,
        basis=(f"tier:{_tier_word(tier)}",) if tier else (),
        rated=frozenset(million),
    )


def _listed_rates(found: Found, tier: str, source: str, edges: _Edges) -> TokenRates | UnknownPrice:
    owner, info, owned, basis = found
    edges.add(*_edges_of(info, edges.at_ns))
    at = _utc(edges.at_ns)
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    # A context speaks of the maker's own prices: another provider that serves the model has its own.
    if (
        tier
        and owned
        and any(
            variant.when.items() <= context.items() and (variant.constraint is None or variant.constraint.active(at))
            for variant in info.price_variants or ()
        )
    ):
        price = info.get_prices(at, context)
    else:
        price = info.get_prices(at)
        if tier:
            basis = (*basis, f"tier:{_tier_word(tier)}")
    return _compiled(owner.id, info.id, price, source, basis)


def _tier_word(tier: str) -> str:
    return tier if tier in _TIERS else names.OTHER


def _read_snapshot(path: Path) -> _PriceList:
    from genai_prices.types import _providers_from_raw  # pyright: ignore[reportPrivateUsage]  # as its own updater does

    try:
        raw: Any = json.loads(path.read_bytes())
        day = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        if isinstance(raw, dict):
            given = cast(dict[str, Any], raw)
            day, raw = str(given["date"])[:10], given["providers"]
        providers = _providers_from_raw(raw)
    except (OSError, ValueError, KeyError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise PriceBookError(f"{path}: no price data of genai-prices: {type(error).__name__}") from error
    if not providers:
        raise PriceBookError(f"{path}: no price data of genai-prices: no providers")
    return _PriceList(ModelNames(providers), f"genai-prices:{day}")


_LATEST_US: Final = 253_402_300_799_000_000
"""Last moment that a `datetime` can be: the end of the year 9999."""


def _utc(at_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(at_ns // 1000, 0), _LATEST_US))


def _edges_of(info: ModelInfo, at_ns: int) -> list[int]:
    """Return the moments around `at_ns` at which a model's prices may change."""
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    constraints: list[object] = []
    if isinstance(info.prices, list):
        constraints += [conditional.constraint for conditional in info.prices]
    constraints += [variant.constraint for variant in info.price_variants or ()]
    edges: list[int] = []
    today_ns = at_ns // _DAY_NS * _DAY_NS
    for constraint in constraints:
        if isinstance(constraint, StartDateConstraint):
            edges.append(midnight_ns(constraint.start_date))
        elif isinstance(constraint, TimeOfDateConstraint):
            edges += [today_ns, today_ns + _DAY_NS]
            for time in (constraint.start_time, constraint.end_time):
                offset = time.utcoffset() or timedelta(0)
                seconds = time.hour * 3600 + time.minute * 60 + time.second - int(offset.total_seconds())
                edges.append(today_ns + seconds % 86_400 * 1_000_000_000 + time.microsecond * 1000)
    return edges


_FREE: Final = ":free"
"""Variants that a gateway lists as free of charge: the list has them without any price."""
_GROQ_LEAST_S: Final = 10.0
"""Groq bills shorter recordings as ten seconds (genai-prices, `ModelInfo.calc_price`)."""


def _compiled(
    provider: str, model: str, price: ListedPrice, source: str, basis: tuple[str, ...]
) -> TokenRates | UnknownPrice:
    from genai_prices.data_units import unit_data

    units: Mapping[str, Mapping[str, Any]] = unit_data
    usage_key_of = {str(unit.get("price_key", key)): key for key, unit in units.items()}
    per_request = 0.0
    audio: AudioRate | None = None
    rated: list[tuple[str, Any, int]] = []
    for price_key, value in vars(price).items():
        usage_key = usage_key_of.get(price_key)
        if value is None or usage_key is None:
            continue
        per = int(units[usage_key]["per"])
        if usage_key == "requests":
            per_request = float(Decimal(value) / per)
        elif usage_key in ("audio_seconds", "input_audio_seconds"):
            audio = AudioRate(float(Decimal(value) / per), _GROQ_LEAST_S if provider == "groq" else 0.0)
        elif usage_key in FIELD_OF_USAGE_KEY:
            rated.append((usage_key, value, per))
    if not rated and model.endswith(_FREE):
        rated = [("input_tokens", 0, 1), ("output_tokens", 0, 1)]
    if not rated and audio is None:
        return UnknownPrice("not_priced_by_tokens")
    fields = frozenset(FIELD_OF_USAGE_KEY[usage_key] for usage_key, _, _ in rated)
    return TokenRates(provider, model, source, compiled_leaves(rated), per_request, audio, basis=basis, rated=fields)

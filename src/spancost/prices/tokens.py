"""Token prices from genai-prices, compiled once per price record.

genai-prices (https://github.com/pydantic/genai-prices, MIT) prices one call in some 60 microseconds with Decimals. Here
each of its price records becomes a handful of float rates with the interval in which it holds: a look-up is a
dictionary access and a comparison, whatever the number of dated prices, daily windows and tiers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

_DAY_NS: Final = 86_400_000_000_000
_MAX_ENTRIES: Final = 2048

_PROVIDER_ALIASES: Final = {
    "gemini": "google",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "google_genai": "google",
    "google_vertexai": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "amazon_bedrock": "aws",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "fireworks_ai": "fireworks",
}
"""Provider names of OpenTelemetry and of instrumentations, and the one that genai-prices has for them."""


class TokenCounts(NamedTuple):
    """Tokens of one call. `input` and `output` are totals; all others are parts of them."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    audio_out: int = 0
    reasoning: int = 0
    cache_read_audio: int = 0
    """What is both `cache_read` and `audio_in`: no span says; `TokenRates.split` works out how much it must be."""


_FIELD_OF_USAGE_KEY: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_audio_read_tokens": "cache_read_audio",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "input_audio_tokens": "audio_in",
    "output_audio_tokens": "audio_out",
    "output_reasoning_tokens": "reasoning",
}
_KIND_OF_FIELD: Final = {
    "input": "input_token",
    "output": "output_token",
    "cache_read": "cache_read_token",
    "cache_write": "cache_write_token",
    "cache_write_1h": "cache_write_1h_token",
    "audio_in": "audio_input_token",
    "audio_out": "audio_output_token",
    "reasoning": "reasoning_token",
    "cache_read_audio": "cache_audio_read_token",
}

AUDIO_AT_TEXT_RATE: Final = "audio_at_text_rate"
"""The model has no rate for audio tokens, and the call has some."""
AUDIO_CACHE_OVERLAP: Final = "audio_cache_overlap"
"""How many of the cached tokens were audio is not known: as few as the counts allow."""


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """No price, and why."""

    reason: str


class _Leaf(NamedTuple):
    """One rate and what it applies to: a count less the counts that have a rate of their own."""

    kind: str
    field: int
    minus: tuple[int, ...]
    tiers: tuple[tuple[int, float], ...]
    """(total input above which it holds, USD per token), dearest condition first; the last holds from -1."""


@dataclass(frozen=True, slots=True)
class TokenRates:
    """Rates of one model in one interval."""

    provider: str
    model: str
    source: str
    leaves: tuple[_Leaf, ...]
    per_request_usd: float

    def split(self, counts: TokenCounts) -> list[tuple[str, float, float]] | None:
        """Return (kind of token, quantity, USD per token) for a call; None if the counts contradict each other."""
        if counts.audio_in and (counts.cache_read or counts.cache_write):
            counts = self._told_apart(counts)
        values: dict[int, int] = {}
        parts: list[tuple[str, float, float]] = []
        for leaf in self.leaves:
            quantity = counts[leaf.field]
            for other in leaf.minus:
                quantity -= values[other]
            if quantity < 0:
                return None
            values[leaf.field] = quantity
            usd = next((usd for above, usd in leaf.tiers if counts.input > above), leaf.tiers[-1][1])
            parts.append((leaf.kind, quantity, usd))
        if self.per_request_usd:
            parts.append(("request", 1, self.per_request_usd))
        return parts

    def assumed(self, counts: TokenCounts) -> tuple[str, ...]:
        """Return what `split` has to assume about a call, as words for a charge's basis; empty if nothing."""
        if not counts.audio_in and not counts.audio_out:
            return ()
        rated = self._rated()
        found: list[str] = []
        if (counts.audio_in and "audio_in" not in rated) or (counts.audio_out and "audio_out" not in rated):
            found.append(AUDIO_AT_TEXT_RATE)
        if "audio_in" in rated:
            read, write = _cached(counts, rated)
            least = max(0, read + write + counts.audio_in - counts.input)
            most = min(read + write, counts.audio_in)
            exact = least == most and (not least or (not write and "cache_read_audio" in rated))
            if not exact:
                found.append(AUDIO_CACHE_OVERLAP)
        return tuple(found)

    def _told_apart(self, counts: TokenCounts) -> TokenCounts:
        """Say how many cached tokens must have been audio, where both have a rate: text is taken to be cached first."""
        rated = self._rated()
        read, write = _cached(counts, rated)
        overlap = read + write + counts.audio_in - counts.input
        if "audio_in" not in rated or overlap <= 0 or read + write > counts.input or counts.audio_in > counts.input:
            return counts
        read_audio = min(overlap, read)
        if "cache_read_audio" in rated:
            counts = counts._replace(cache_read_audio=read_audio)
        else:
            # Without a rate of its own, cached audio costs what audio costs.
            counts = counts._replace(cache_read=read - read_audio)
        if overlap > read_audio:
            write -= overlap - read_audio
            counts = counts._replace(cache_write=write, cache_write_1h=min(counts.cache_write_1h, write))
        return counts

    def _rated(self) -> set[str]:
        return {TokenCounts._fields[leaf.field] for leaf in self.leaves}


def _cached(counts: TokenCounts, rated: set[str]) -> tuple[int, int]:
    """Return the tokens read from and written to the cache that have a rate of their own."""
    return counts.cache_read if "cache_read" in rated else 0, counts.cache_write if "cache_write" in rated else 0


class _Dated(NamedTuple):
    """Rates of one record and the interval [from_ns, until_ns) of span starts for which they were chosen."""

    from_ns: int
    until_ns: int
    rates: TokenRates | UnknownPrice


class TokenPrices:
    """Compiled token prices; safe to use from several threads."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], list[_Dated]] = {}

    def load(self) -> None:
        """Import genai-prices now instead of at the first LLM span."""
        self._snapshot()

    def rates(self, provider: str, model: str, tier: str, at_ns: int) -> TokenRates | UnknownPrice:
        """Return the rates of a model for a call that started at `at_ns` (Unix nanoseconds).

        Args:
            provider: As the span says: `openai`, `aws.bedrock`; may be empty.

            model: Response or request model.

            tier: Service tier other than the standard one, or empty.

            at_ns: Start of the call.
        """
        known = self._entries.get((provider, model, tier))
        if known is not None:
            for dated in known:
                if dated.from_ns <= at_ns < dated.until_ns:
                    return dated.rates
        return self._compile(provider, model, tier, at_ns)

    def _compile(self, provider: str, model: str, tier: str, at_ns: int) -> TokenRates | UnknownPrice:
        dated = self._dated(provider, model, tier, at_ns)
        # No lock, which a forked child could inherit while it is held: what two threads lose here is compiled again.
        if len(self._entries) >= _MAX_ENTRIES:
            self._entries = {}
        known = self._entries.get((provider, model, tier), [])
        # A model has a few dated prices and at most two windows a day; old days are dropped first.
        self._entries[(provider, model, tier)] = [dated, *known[:63]]
        return dated.rates

    @staticmethod
    def _snapshot() -> Any:
        from genai_prices import data_snapshot

        return data_snapshot.get_snapshot()

    def _dated(self, provider: str, model: str, tier: str, at_ns: int) -> _Dated:
        always = (-(2**63), 2**63)
        if not model:
            return _Dated(*always, UnknownPrice("no_model"))
        try:
            found: tuple[Provider, ModelInfo] = self._snapshot().find_provider_model(
                model, None, canonical_provider(provider) or None, None
            )
        except LookupError as error:
            reason = "unknown_provider" if "provider" in str(error).split("=")[0] else "unknown_model"
            return _Dated(*always, UnknownPrice(reason))
        owner, info = found
        from_ns, until_ns = _interval(info, at_ns)
        price = info.get_prices(_utc(at_ns), {"service_tier": tier} if tier else None)
        return _Dated(from_ns, until_ns, _compiled(owner.id, info.id, price))


def _utc(at_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)


def _interval(info: ModelInfo, at_ns: int) -> tuple[int, int]:
    """Return the interval around `at_ns` in which the same conditions of a model's prices hold."""
    from genai_prices.types import StartDateConstraint, TimeOfDateConstraint

    constraints: list[object] = []
    if isinstance(info.prices, list):
        constraints += [conditional.constraint for conditional in info.prices]
    constraints += [variant.constraint for variant in info.price_variants or ()]
    edges = [-(2**63), 2**63]
    midnight_ns = at_ns // _DAY_NS * _DAY_NS
    for constraint in constraints:
        if isinstance(constraint, StartDateConstraint):
            day = constraint.start_date
            edges.append(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000_000)
        elif isinstance(constraint, TimeOfDateConstraint):
            edges += [midnight_ns, midnight_ns + _DAY_NS]
            for time in (constraint.start_time, constraint.end_time):
                offset = time.utcoffset() or timedelta(0)
                seconds = time.hour * 3600 + time.minute * 60 + time.second - int(offset.total_seconds())
                edges.append(midnight_ns + seconds % 86_400 * 1_000_000_000 + time.microsecond * 1000)
    return max(edge for edge in edges if edge <= at_ns), min(edge for edge in edges if edge > at_ns)


def _compiled(provider: str, model: str, price: ModelPrice) -> TokenRates | UnknownPrice:
    import genai_prices
    from genai_prices.data_units import unit_data

    units: Mapping[str, Mapping[str, Any]] = unit_data
    usage_key_of = {str(unit.get("price_key", key)): key for key, unit in units.items()}
    per_request = 0.0
    rated: list[tuple[str, Mapping[str, str], Any, int]] = []
    for price_key, value in vars(price).items():
        usage_key = usage_key_of.get(price_key)
        if value is None or usage_key is None:
            continue
        per = int(units[usage_key]["per"])
        if usage_key == "requests":
            per_request = float(Decimal(value) / per)
        elif usage_key in _FIELD_OF_USAGE_KEY:
            rated.append((usage_key, units[usage_key]["dimensions"], value, per))
    if not rated:
        return UnknownPrice("not_priced_by_tokens")
    # Most specific first: what has a rate of its own is taken out of what contains it.
    rated.sort(key=lambda item: -len(item[1]))
    leaves: list[_Leaf] = []
    for position, (usage_key, dimensions, value, per) in enumerate(rated):
        within = [
            TokenCounts._fields.index(_FIELD_OF_USAGE_KEY[other])
            for other, other_dimensions, _, _ in rated[:position]
            if dimensions.items() <= other_dimensions.items()
        ]
        field = _FIELD_OF_USAGE_KEY[usage_key]
        leaves.append(_Leaf(_KIND_OF_FIELD[field], TokenCounts._fields.index(field), tuple(within), _tiers(value, per)))
    source = f"genai-prices:{genai_prices.__version__}"
    return TokenRates(provider, model, source, tuple(leaves), per_request)


def _tiers(value: Any, per: int) -> tuple[tuple[int, float], ...]:
    base = getattr(value, "base", None)
    if base is None:
        return ((-1, float(Decimal(value) / per)),)
    above = [(int(tier.start), float(Decimal(tier.price) / per)) for tier in reversed(value.tiers)]
    return (*above, (-1, float(Decimal(base) / per)))


def canonical_provider(provider: str) -> str:
    """Return one name for the names that a provider goes by."""
    name = provider.strip().lower()
    return _PROVIDER_ALIASES.get(name, name)

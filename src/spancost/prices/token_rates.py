"""Arithmetic of token prices: counts of one call, and the rates of one model by which they are charged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple


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
    """What is both `cache_read` and `audio_in`. Where no span says, `TokenRates.split` works it out."""
    image_in: int = 0
    image_out: int = 0
    cache_read_image: int = 0
    """What is both `cache_read` and `image_in`."""


FIELD_OF_USAGE_KEY: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cache_read",
    "cache_audio_read_tokens": "cache_read_audio",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "input_audio_tokens": "audio_in",
    "output_audio_tokens": "audio_out",
    "output_reasoning_tokens": "reasoning",
    "input_image_tokens": "image_in",
    "output_image_tokens": "image_out",
    "cache_image_read_tokens": "cache_read_image",
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
    "image_in": "image_input_token",
    "image_out": "image_output_token",
    "cache_read_image": "cache_image_read_token",
}

AUDIO_AT_TEXT_RATE: Final = "audio_at_text_rate"
"""The model has no rate for audio tokens, and the call has some."""
AUDIO_CACHE_OVERLAP: Final = "audio_cache_overlap"
"""How many of the cached tokens were audio is not known: as few as the counts allow."""
IMAGE_CACHE_OVERLAP: Final = "image_cache_overlap"
"""How many of the cached tokens were images is not known: those that the counts force, at the rate of cached text."""


class _Leaf(NamedTuple):
    """One rate and what it applies to: a count less the counts that have a rate of their own."""

    kind: str
    field: int
    minus: tuple[int, ...]
    tiers: tuple[tuple[int, float], ...]
    """(total input above which it holds, USD per token), dearest condition first; the last holds from -1."""
    flat_usd: float | None
    """USD per token where there is only one tier."""


class AudioRate(NamedTuple):
    """Price of recognised speech by its duration."""

    usd_per_s: float
    least_s: float
    """A shorter recording is billed as this long, seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class MachineRate:
    """A model that you serve yourself: a machine's time. Compared by identity."""

    provider: str
    model: str
    source: str
    usd_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class TokenRates:
    """Rates of one model in one interval. Compared by identity, like all that is compiled once."""

    provider: str
    model: str
    source: str
    leaves: tuple[_Leaf, ...]
    per_request_usd: float = 0.0
    audio: AudioRate | None = None
    factor: float = 1.0
    """What you pay per USD of these rates: less than 1 with a discount."""
    list_rates: TokenRates | None = None
    """List price beside your own rates; None: these rates are the list price."""
    basis: tuple[str, ...] = ()
    """What was assumed about the model or its tier."""
    is_own: bool = False
    """They are your own prices."""
    is_alias: bool = False
    """You said which model of the list it is."""
    rated: frozenset[str] = frozenset()
    """Fields of `TokenCounts` that have a rate."""

    def split(self, counts: TokenCounts) -> list[tuple[str, float, float]] | None:
        """Return (kind of token, quantity, USD per token) for a call; None if the counts contradict each other."""
        if (counts.audio_in or counts.image_in) and (counts.cache_read or counts.cache_write):
            counts = self._told_apart(counts)
        if counts.output and "output" not in self.rated:
            counts = self._output_of_one_kind(counts)
        values = [0] * len(counts)
        parts: list[tuple[str, float, float]] = []
        for kind, field, minus, tiers, usd in self.leaves:
            quantity = counts[field]
            for other in minus:
                quantity -= values[other]
            if not quantity:
                continue
            if quantity < 0:
                return None
            values[field] = quantity
            if usd is None:
                total = counts.input
                usd = next((usd for above, usd in tiers if total > above), tiers[-1][1])
            parts.append((kind, quantity, usd))
        if self.per_request_usd:
            parts.append(("request", 1, self.per_request_usd))
        return parts

    def lacks(self, counts: TokenCounts) -> bool:
        """True if the call used tokens that these rates say nothing about."""
        rated = self.rated
        if counts.output and "output" not in rated and "audio_out" not in rated and "image_out" not in rated:
            return True
        return counts.input > counts.audio_in and "input" not in rated

    def assumed(self, counts: TokenCounts) -> tuple[str, ...]:
        """Return what `split` has to assume about a call, as words for a charge's basis; empty if nothing."""
        if not counts.audio_in and not counts.audio_out and not counts.image_in:
            return self.basis
        rated = self.rated
        found = [*self.basis]
        if (counts.audio_in and "audio_in" not in rated) or (counts.audio_out and "audio_out" not in rated):
            found.append(AUDIO_AT_TEXT_RATE)
        read, write = self._cached(counts)
        if counts.audio_in and "audio_in" in rated and not counts.cache_read_audio:
            least = max(0, read + write + counts.audio_in - counts.input)
            most = min(read + write, counts.audio_in)
            exact = least == most and (not least or (not write and "cache_read_audio" in rated))
            if not exact:
                found.append(AUDIO_CACHE_OVERLAP)
        if counts.image_in and "image_in" in rated and (read or write) and not counts.cache_read_image:
            found.append(IMAGE_CACHE_OVERLAP)
        return tuple(found)

    def _told_apart(self, counts: TokenCounts) -> TokenCounts:
        """Say how many cached tokens must have been audio or images, where both have a rate.

        Text is taken to be cached first. Without a rate of its own, what is cached and audio costs what audio costs.
        """
        rated = self.rated
        read, write = self._cached(counts)
        if read + write > counts.input or counts.audio_in > counts.input or counts.image_in > counts.input:
            return counts
        if counts.cache_read_image and "cache_read_image" not in rated and "image_in" in rated:
            read -= counts.cache_read_image
            counts = counts._replace(cache_read=read, cache_read_image=0)
        if counts.audio_in and "audio_in" in rated:
            overlap = max(counts.cache_read_audio, read + write + counts.audio_in - counts.input)
            if overlap > 0:
                read_audio = min(overlap, read)
                if "cache_read_audio" in rated:
                    counts = counts._replace(cache_read_audio=read_audio)
                else:
                    counts = counts._replace(cache_read=read - read_audio, cache_read_audio=0)
                    read -= read_audio
                if overlap > read_audio:
                    write -= overlap - read_audio
                    counts = counts._replace(cache_write=write, cache_write_1h=min(counts.cache_write_1h, write))
        if counts.image_in and "image_in" in rated:
            known = counts.cache_read_audio + counts.cache_read_image
            overlap = read + write + counts.audio_in + counts.image_in - known - counts.input
            if overlap > 0:
                counts = counts._replace(image_in=max(0, counts.image_in - overlap))
        return counts

    def _output_of_one_kind(self, counts: TokenCounts) -> TokenCounts:
        """Take all output for speech or images where the model makes nothing else."""
        if "image_out" in self.rated and "audio_out" not in self.rated:
            return counts._replace(image_out=counts.output)
        return counts._replace(audio_out=counts.output) if "audio_out" in self.rated else counts

    def _cached(self, counts: TokenCounts) -> tuple[int, int]:
        """Return the tokens read from and written to the cache that have a rate of their own."""
        rated = self.rated
        return counts.cache_read if "cache_read" in rated else 0, counts.cache_write if "cache_write" in rated else 0


def compiled_leaves(rated: list[tuple[str, Any, int]]) -> tuple[_Leaf, ...]:
    """Compile (usage key, price, per how many) into leaves."""
    from genai_prices.data_units import unit_data

    dimensions: dict[str, Mapping[str, str]] = {key: unit_data[key]["dimensions"] for key, _, _ in rated}
    # Most specific first: what has a rate of its own is taken out of what contains it.
    ordered = sorted(rated, key=lambda item: -len(dimensions[item[0]]))
    leaves: list[_Leaf] = []
    for position, (usage_key, value, per) in enumerate(ordered):
        within = [
            TokenCounts._fields.index(FIELD_OF_USAGE_KEY[other])
            for other, _, _ in ordered[:position]
            if dimensions[usage_key].items() <= dimensions[other].items()
        ]
        field = FIELD_OF_USAGE_KEY[usage_key]
        tiers = _tiers(value, per)
        flat = tiers[0][1] if len(tiers) == 1 else None
        leaves.append(_Leaf(_KIND_OF_FIELD[field], TokenCounts._fields.index(field), tuple(within), tiers, flat))
    return tuple(leaves)


def _tiers(value: Any, per: int) -> tuple[tuple[int, float], ...]:
    base = getattr(value, "base", None)
    if base is None:
        return ((-1, float(Decimal(value) / per)),)
    above = [(int(tier.start), float(Decimal(tier.price) / per)) for tier in reversed(value.tiers)]
    return (*above, (-1, float(Decimal(base) / per)))

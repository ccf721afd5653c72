"""Your own prices and names of LLM models: the `models:` list of a configuration.

    models:
      - {model: prod-chat, provider: azure*, same_as: azure/gpt-4o}      a deployment, a profile or a fine-tune
      - {model: "gpt-5*", provider: openai, usd_per_million: {input: 1, output: 8}, valid_from: 2026-01-01}
      - {model: llama-3.3-70b, provider: vllm, usd_per_hour: 4.10}       a machine of your own

The first entry that matches is taken; of several with the same globs, the one with the latest `valid_from` in force.
Globs are compared without regard to case, with the model as the span names it and with its name in the price list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, cast

from spancost.errors import ConfigError, suggest
from spancost.prices.days import midnight_ns
from spancost.prices.usd import usd_per

RATES: Final = (
    "input",
    "output",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_in",
    "audio_out",
    "reasoning",
)
"""Keys of `usd_per_million`: parts of the input or output that may have a rate of their own."""

_KEYS: Final = ("model", "provider", "same_as", "usd_per_million", "usd_per_hour", "valid_from")
_ONE_OF: Final = ("same_as", "usd_per_million", "usd_per_hour")


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What one of your models is, or what you pay for it. Exactly one of the three ways is set."""

    model: str
    """Glob of the model, in small letters."""
    provider: str = "*"
    """Glob of the provider, in small letters."""
    same_as: str = ""
    """`provider/model` of the price list that it is charged as; empty if not an alias."""
    usd_per_million: Mapping[str, Decimal] | None = None
    """USD per million tokens, by `RATES`; tokens without a rate of their own cost what contains them costs."""
    usd_per_hour: Decimal | None = None
    """USD per hour of a machine that serves one call at a time, charged for the span's duration."""
    valid_from: date | None = None
    """First day, UTC; None: always."""
    place: str = ""
    """File it was read from."""

    @property
    def from_ns(self) -> int:
        """First moment, Unix nanoseconds."""
        return -(2**63) if self.valid_from is None else midnight_ns(self.valid_from)

    def matches(self, providers: Sequence[str], models: Sequence[str]) -> bool:
        """Say whether it is about a model, by any of the names of its provider and of the model (small letters)."""
        return any(fnmatchcase(name, self.provider) for name in providers) and any(
            fnmatchcase(name, self.model) for name in models
        )


def model_prices_from(raw: object, place: str) -> tuple[ModelPrice, ...]:
    """Check and return the `models:` list of a configuration.

    Args:
        raw: What the file says, parsed.

        place: File, for messages and for the source of a price.

    Raises:
        ConfigError: Something is wrong; names file, key, value and what is accepted.
    """
    if not isinstance(raw, list):
        raise ConfigError(place, "models", raw, "a list of entries with `model` and one of " + ", ".join(_ONE_OF))
    return tuple(_model_price(entry, f"models[{index}]", place) for index, entry in enumerate(cast(list[object], raw)))


def _model_price(raw: object, key: str, place: str) -> ModelPrice:
    if not isinstance(raw, dict):
        raise ConfigError(place, key, raw, "a mapping with `model` and one of " + ", ".join(_ONE_OF))
    entry = cast(dict[object, object], raw)
    for name in entry:
        if name not in _KEYS:
            raise ConfigError(place, f"{key}.{name}", entry[name], "unknown key: " + suggest(str(name), _KEYS))
    ways = [name for name in _ONE_OF if entry.get(name) is not None]
    if len(ways) != 1:
        raise ConfigError(place, key, ", ".join(ways) or None, "exactly one of " + ", ".join(_ONE_OF))
    rates = entry.get("usd_per_million")
    hour = entry.get("usd_per_hour")
    return ModelPrice(
        model=_glob(entry.get("model"), f"{key}.model", place),
        provider=_glob(entry.get("provider", "*"), f"{key}.provider", place),
        same_as=_same_as(entry.get("same_as"), f"{key}.same_as", place),
        usd_per_million=None if rates is None else _rates(rates, f"{key}.usd_per_million", place),
        usd_per_hour=None if hour is None else _usd(hour, "hour", f"{key}.usd_per_hour", place),
        valid_from=_day(entry.get("valid_from"), f"{key}.valid_from", place),
        place=place,
    )


def _glob(raw: object, key: str, place: str) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ConfigError(place, key, raw, "a name or a glob such as gpt-5*")
    return raw.strip().lower()


def _same_as(raw: object, key: str, place: str) -> str:
    if raw is None:
        return ""
    provider, slash, model = raw.strip().lower().partition("/") if isinstance(raw, str) else ("", "", "")
    if not slash or not provider or not model:
        raise ConfigError(place, key, raw, "provider/model, for example azure/gpt-4o")
    return f"{provider}/{model}"


def _rates(raw: object, key: str, place: str) -> Mapping[str, Decimal]:
    accepted = "a mapping with `input`, for example {input: 0.25, output: 2}; keys are " + ", ".join(RATES)
    if not isinstance(raw, dict):
        raise ConfigError(place, key, raw, accepted)
    rates = cast(dict[object, object], raw)
    for name in rates:
        if name not in RATES:
            raise ConfigError(place, f"{key}.{name}", rates[name], "unknown key: " + suggest(str(name), RATES))
    if "input" not in rates:
        raise ConfigError(place, key, rates, accepted)
    return {str(name): _usd(value, "million tokens", f"{key}.{name}", place) for name, value in rates.items()}


def _usd(raw: object, unit: str, key: str, place: str) -> Decimal:
    try:
        return usd_per(unit, raw)
    except ValueError as error:
        raise ConfigError(place, key, raw, str(error)) from None


def _day(raw: object, key: str, place: str) -> date | None:
    if raw is None:
        return None
    if isinstance(raw, datetime):
        raw = raw.date()
    if isinstance(raw, str):
        try:
            raw = date.fromisoformat(raw.strip())
        except ValueError:
            raise ConfigError(place, key, raw, "a day such as 2026-01-31") from None
    if not isinstance(raw, date) or not 1970 < raw.year < 2200:
        raise ConfigError(place, key, raw, "a day such as 2026-01-31")
    return raw

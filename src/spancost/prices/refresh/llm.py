"""Prices of LLM models, as genai-prices publishes them between its releases.

The data are kept whole; `spancost.prices.tokens` reads them instead of the data in the installed package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple, cast

from spancost.prices.refresh import RefreshError, get_json

URL: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"

Models = Mapping[tuple[str, str], Any]
"""Prices as they stand in the data, by provider and model."""


class LlmPrices(NamedTuple):
    """Fetched prices of models."""

    content: bytes
    """The JSON of the cache file: `{"date": ..., "providers": [...]}`."""
    models: Models


def fetch(today: date, *, url: str = "", pause_s: float = 1.0) -> LlmPrices:
    """Fetch the data, and see that the installed genai-prices can read it.

    Args:
        today: Day of the refresh; it becomes the date of these prices.

        url: Another address of the data: a mirror.

        pause_s: Pause before asking again, seconds.

    Raises:
        RefreshError: No answer, or data that this version of genai-prices does not understand.
    """
    published = get_json(url or URL, pause_s=pause_s)
    document = {"date": today.isoformat(), "providers": published}
    content = json.dumps(document, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()
    return LlmPrices(content, models_of(content))


def models_of(content: bytes) -> Models:
    """Return the prices in a data file, by provider and model.

    Raises:
        RefreshError: It is no data of genai-prices, or of a version that the installed one does not understand.
    """
    from genai_prices import types

    try:
        loaded: Any = json.loads(content)["providers"]
        # The package offers no public way to read its own published data.
        read: Any = types._providers_from_raw  # pyright: ignore[reportPrivateUsage]
        read(loaded)
        models = {
            (str(provider["id"]), str(model["id"])): model["prices"]
            for provider in cast("list[Any]", loaded)
            for model in provider["models"]
        }
    except Exception as error:
        raise RefreshError(f"genai-prices cannot read the published data ({type(error).__name__}: {error})") from None
    if not models:
        raise RefreshError("the published data has no models")
    return models


def _plain(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value).__name__)

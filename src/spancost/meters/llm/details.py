"""Parts of the token counts that some instrumentations write as one JSON text instead of attributes of their own.

Logfire keeps the provider's whole usage object (`gen_ai.usage.raw`), LangSmith the details of input and output. Only
numbers of known names are taken; a long or broken text is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableSequence
from typing import Any, Final, cast

from spancost.meters.llm.dialects import POSITION

_LONGEST: Final = 4096
_FIELD_OF_NAME: Final = {
    "cached_tokens": "cache_read",
    "cache_read_input_tokens": "cache_read",
    "cache_read": "cache_read",
    "cache_creation_input_tokens": "cache_write",
    "cache_creation": "cache_write",
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
    "reasoning": "reasoning",
}
"""Names in the usage objects of OpenAI, Anthropic and LangChain."""
_AUDIO: Final = frozenset({"audio", "audio_tokens"})
_OUTPUT_PARTS: Final = frozenset({"completion_tokens_details", "output_tokens_details"})
_JSON: Final = ((POSITION["usage_json"], False), (POSITION["input_json"], False), (POSITION["output_json"], True))


def add_details(found: MutableSequence[Any]) -> None:
    """Fill in counts that only a JSON text states.

    Args:
        found: Values by `POSITION`; what is there already stays.
    """
    for position, is_output in _JSON:
        text = found[position]
        if isinstance(text, str) and len(text) <= _LONGEST:
            for field, value in _counts(text, is_output=is_output):
                if found[POSITION[field]] is None:
                    found[POSITION[field]] = value


def _counts(text: str, *, is_output: bool) -> Iterator[tuple[str, int]]:
    try:
        raw: Any = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(raw, dict):
        return
    usage = cast(Mapping[str, Any], raw)
    parts = [(usage, is_output)]
    for name, part in usage.items():
        if isinstance(part, dict):
            parts.append((cast(Mapping[str, Any], part), is_output or name in _OUTPUT_PARTS))
    for part, of_output in parts:
        for name, value in part.items():
            field = ("audio_out" if of_output else "audio_in") if name in _AUDIO else _FIELD_OF_NAME.get(name)
            if field is not None and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                yield field, value

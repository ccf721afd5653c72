"""Tokens estimated from the texts on a span, where a stream was not asked for its usage or broke off.

Off unless set (`llm.estimate_tokens`). Reads the messages that instrumentations put on spans when they may capture
content (`gen_ai.input.messages`, `llm.input_messages.0.message.content`, ...), counts, and forgets them. Counted are
the texts and what OpenAI adds for each message of a chat: three tokens, and three for the answer's own frame
(https://developers.openai.com/cookbook/examples/how_to_count_tokens_with_tiktoken, read 2026-11). Hidden reasoning,
images, audio and the definitions of tools are not seen, so the figure is an estimate: most often a lower bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

from spancost._guard import logger
from spancost.errors import MissingExtraError
from spancost.prices.tokens import TokenCounts

OFF: Final = "off"
CHARACTERS: Final = "characters"
TIKTOKEN: Final = "tiktoken"
FROM_CHARACTERS: Final = "tokens_from_characters"
"""Basis: four characters are taken for a token."""
FROM_TEXT: Final = "tokens_from_text"
"""Basis: the texts were counted with tiktoken's `o200k_base`, whatever tokenizer the model has."""

_CHARACTERS_PER_TOKEN: Final = 4
_TOKENS_PER_MESSAGE: Final = 3
_ENCODING: Final = "o200k_base"
_MAX_TEXT: Final = 2_000_000
_MAX_DEPTH: Final = 8
_INPUT: Final = ("gen_ai.input.messages", "gen_ai.system_instructions")
_OUTPUT: Final = ("gen_ai.output.messages",)
_NUMBERED: Final = re.compile(
    r"(?:(?P<input>gen_ai\.prompt|llm\.input_messages)|(?P<output>gen_ai\.completion|llm\.output_messages))"
    r"\.\d+\.(?:message\.)?(?:content|contents\.\d+\.message_content\.text"
    r"|tool_calls\.\d+\.(?:tool_call\.function\.)?arguments)"
)
_TEXTS: Final = frozenset({"arguments", "content", "response", "text"})
"""Keys of a message under which text is."""


class TextEstimate:
    """Counts tokens of texts.

    Args:
        way: `characters`, `tiktoken`, or `off`.
    """

    def __init__(self, way: str = OFF) -> None:
        self.way = way
        self.basis = FROM_CHARACTERS
        self._count: Callable[[str], int] | None = _by_characters if way == CHARACTERS else None

    def load(self) -> None:
        """Load the tokenizer, which may fetch its vocabulary: never on the path of a request."""
        if self.way != TIKTOKEN or self._count is not None:
            return
        try:
            import tiktoken

            encoding = tiktoken.get_encoding(_ENCODING)
        except ImportError:
            logger.warning("llm.estimate_tokens: %s", MissingExtraError("tiktoken", "tokenizer"))
            self.way = OFF
        except Exception as error:
            logger.warning(
                "llm.estimate_tokens: tiktoken cannot load %s (%s): calls without usage stay unpriced; "
                "TIKTOKEN_CACHE_DIR may name a folder that has it",
                _ENCODING,
                error,
            )
            self.way = OFF
        else:
            self.basis = FROM_TEXT
            self._count = lambda text: len(encoding.encode_ordinary(text))

    def counts_of(self, attributes: Mapping[str, Any]) -> TokenCounts | None:
        """Return the estimated tokens of a span, or None where it carries no texts of both sides, or none are counted.

        Args:
            attributes: Those of an LLM span without usage.
        """
        count = self._count
        if count is None:
            return None
        asked: dict[str, list[int]] = {}
        answered: dict[str, list[int]] = {}
        for name, value in attributes.items():
            if not isinstance(value, str) or len(value) > _MAX_TEXT:
                continue
            if name in _INPUT or name in _OUTPUT:
                side, spelling = asked if name in _INPUT else answered, ""
                messages, texts = _of_json(value)
            else:
                numbered = _NUMBERED.fullmatch(name)
                if numbered is None:
                    continue
                side, spelling = (answered, numbered["output"]) if numbered["output"] else (asked, numbered["input"])
                messages, texts = 1, [value]
            sums = side.setdefault(spelling, [0, 0])
            sums[0] += sum(map(count, texts))
            sums[1] += messages
        # A span may have the same texts in several spellings, for the sake of different tools.
        asked_tokens, asked_messages = max(asked.values(), default=(0, 0))
        answered_tokens, answered_messages = max(answered.values(), default=(0, 0))
        if not asked_messages or not answered_messages:
            return None
        return TokenCounts(asked_tokens + _TOKENS_PER_MESSAGE * (asked_messages + 1), answered_tokens)


def text_estimate(way: str) -> TextEstimate | None:
    """Return what estimates tokens in the way that is set; None where it is off."""
    return None if way == OFF else TextEstimate(way)


def _by_characters(text: str) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def _of_json(text: str) -> tuple[int, list[str]]:
    """Return the number of messages in a JSON text, and their texts."""
    try:
        messages: Any = json.loads(text)
    except (ValueError, RecursionError):
        return 0, []
    if not isinstance(messages, list):
        return 0, []
    texts = list(_texts(messages, 0))
    return len(cast("list[Any]", messages)), texts


def _texts(value: Any, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _texts(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            if name in _TEXTS and isinstance(item, str):
                yield item
            elif isinstance(item, list | dict):
                yield from _texts(item, depth + 1)

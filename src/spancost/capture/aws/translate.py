"""What Translate bills of a call: characters."""

from __future__ import annotations

from typing import Any, Final

from spancost.capture.aws.sizes import Facts, Params

CHARACTERS: Final = "aws.translate.characters"
"""int: characters of the text; absent where they cannot be counted."""
WITH_MARKUP: Final = "aws.translate.with_markup"
"""True: the characters include HTML, which is not translated."""
DETECTED: Final = "aws.translate.detected"
"""True: the service is to find out the language, with Comprehend."""
SAME_LANGUAGE: Final = "aws.translate.same_language"
"""True: source and target are the same language."""


def request(facts: Facts, operation: str, params: Params) -> None:
    source = params.get("SourceLanguageCode")
    if source == "auto":
        facts[DETECTED] = True
    elif source is not None and source == params.get("TargetLanguageCode"):
        facts[SAME_LANGUAGE] = True
    if operation == "TranslateText":
        facts[CHARACTERS] = len(params["Text"])
    elif operation == "TranslateDocument":
        document: Params = params["Document"]
        kind = str(document.get("ContentType", "")).partition(";")[0].strip().lower()
        if kind.startswith("text/"):
            _note_document(facts, document.get("Content"))
            if kind != "text/plain":
                facts[WITH_MARKUP] = True


def _note_document(facts: Facts, content: Any) -> None:
    if isinstance(content, str):
        facts[CHARACTERS] = len(content)
    elif isinstance(content, (bytes, bytearray)):
        facts[CHARACTERS] = len(content.decode("utf-8", "replace"))

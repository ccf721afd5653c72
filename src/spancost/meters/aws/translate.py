"""Price Translate, USD per character (aws.amazon.com/translate/pricing).

Every character of a text counts, spaces too; of an HTML document all that it has are counted, though only its text
is billed. Source and target of the same language cost nothing. Where the service is to find out the language, it
calls Comprehend, whose units are charged beside. Left out: Word documents and jobs over S3, of which no call shows the
characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import translate as seen
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, failure, free, unpriced
from spancost.meters.aws.comprehend import billed_units
from spancost.meters.aws.later import SIZE_NOT_SEEN, never_seen

_TEXT: Final = "aws.translate.text"
_DETECTION: Final = "aws.comprehend.nlp.unit"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation in ("TranslateText", "TranslateDocument"):
        return _translate
    return never_seen(SIZE_NOT_SEEN) if operation == "StartTextTranslationJob" else None


def _translate(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    if call.facts.get(seen.SAME_LANGUAGE):
        return free()
    characters = call.size(seen.CHARACTERS)
    if characters is None:
        return unpriced(SIZE_NOT_SEEN if call.seen else NO_USAGE, unit="character")
    translated = Usage(_TEXT, characters, "", "characters:with_markup" if call.facts.get(seen.WITH_MARKUP) else "")
    if seen.DETECTED not in call.facts:
        return (translated,)
    return (translated, Usage(_DETECTION, billed_units(characters), "", "detection:whole_text"))

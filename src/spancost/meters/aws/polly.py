"""Price Polly, USD per character by engine (aws.amazon.com/polly/pricing).

Characters are those that the service says it bills (`RequestCharacters`), without the tags of SSML; for a plain text
whose answer does not say, all of it. Speech marks are billed like speech. A task is charged when its start tells the
number, else at the first answer that shows it completed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import polly as seen
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, failure, unpriced
from spancost.meters.aws.later import SIZE_NOT_SEEN, finished, never_seen, start

_PRICES: Final = {
    "standard": "aws.polly.standard",
    "neural": "aws.polly.neural",
    "long-form": "aws.polly.long_form",
    "generative": "aws.polly.generative",
}
_UNIT: Final = "character"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation == "SynthesizeSpeech":
        return _speech
    if operation == "StartSpeechSynthesisTask":
        return _task
    if operation == "StartSpeechSynthesisStream":
        return never_seen(SIZE_NOT_SEEN)
    return _finished if operation == "GetSpeechSynthesisTask" else None


def _speech(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    characters, basis = call.size(seen.CHARACTERS), ""
    if characters is None:
        characters, basis = call.size(seen.TEXT_CHARACTERS), "characters:text"
    return unpriced(NO_USAGE, unit=_UNIT) if characters is None else _spoken(call, characters, basis)


def _task(call: Call) -> Sequence[Usage]:
    characters = None if call.failed else call.size(seen.CHARACTERS)
    return start(call) if characters is None else _spoken(call, characters, "")


def _finished(call: Call) -> Sequence[Usage]:
    return finished(call, lambda characters, basis: _spoken(call, characters, basis))


def _spoken(call: Call, characters: float, basis: str) -> Sequence[Usage]:
    price_id = _PRICES.get(str(call.facts.get(seen.ENGINE)))
    if price_id is None:
        return unpriced("unknown_engine", quantity=characters, unit=_UNIT)
    return (Usage(price_id, characters, "", basis),)

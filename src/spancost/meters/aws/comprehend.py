"""Price Comprehend, USD per unit of 100 characters (aws.amazon.com/comprehend/pricing).

Each document is rounded up to 100 characters and is 3 units at least; documents of a batch that could not be
analysed are not billed. Without sizes 3 units are assumed. A document sent to an endpoint of one's own is free here:
the endpoint is billed by the hour. Left out: jobs over S3, whose sizes no call shows; training; flywheels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, cast

from spancost.capture.aws import comprehend as seen
from spancost.meters.aws.call import NOT_BILLED, Call, Measure, Usage, failure, free, number, resource_of
from spancost.meters.aws.later import DURATION_NOT_SEEN, SIZE_NOT_SEEN, never_seen

UNIT_CHARACTERS: Final = 100
MIN_UNITS: Final = 3

_NLP: Final = "aws.comprehend.nlp.unit"
_SAFETY: Final = "aws.comprehend.prompt_safety.unit"
_PRICES: Final = {
    **dict.fromkeys(
        (
            f"{batch}Detect{analysis}"
            for batch in ("", "Batch")
            for analysis in ("DominantLanguage", "Entities", "KeyPhrases", "Sentiment", "TargetedSentiment")
        ),
        _NLP,
    ),
    "DetectPiiEntities": _NLP,
    "ContainsPiiEntities": "aws.comprehend.pii_contains.unit",
    "DetectSyntax": "aws.comprehend.syntax.unit",
    "BatchDetectSyntax": "aws.comprehend.syntax.unit",
    "DetectToxicContent": "aws.comprehend.toxicity.unit",
    "ClassifyDocument": _SAFETY,
}
_TRAINING: Final = frozenset({"CreateDocumentClassifier", "CreateEntityRecognizer", "StartFlywheelIteration"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation in _PRICES:
        return _documents
    if operation in _TRAINING or operation == "CreateEndpoint":
        return never_seen(DURATION_NOT_SEEN)
    return never_seen(SIZE_NOT_SEEN) if operation.startswith("Start") and operation.endswith("Job") else None


def billed_units(characters: float) -> float:
    """Return the units that a document is billed for."""
    if characters != characters:
        return characters  # NaN stays NaN: bad usage
    return max(MIN_UNITS, math.ceil(characters / UNIT_CHARACTERS))


def _documents(call: Call) -> Sequence[Usage]:
    endpoint = resource_of(call)
    if call.failed:
        return failure(call, endpoint)
    if call.facts.get(seen.OWN_MODEL):
        return free(endpoint)
    price_id = _PRICES[call.operation]
    documents = call.facts.get(seen.CHARACTERS)
    if documents is None:
        return (Usage(price_id, MIN_UNITS, endpoint, "size:3_units"),)
    if not documents:
        return free(endpoint, NOT_BILLED)
    units = sum(billed_units(number(size)) for size in cast("Sequence[Any]", documents))
    return (Usage(price_id, units, endpoint),)

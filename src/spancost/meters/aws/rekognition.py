"""Price Rekognition, USD per image and minute of stored video (aws.amazon.com/rekognition/pricing).

Each call that analyses an image is one image of its group; image properties are billed beside labels. A video is
charged at the first answer that shows its analysis finished, by its length, rounded up to a second; segments cost
each kind by itself. A liveness check is charged where its result is first seen. Left out: storage of face vectors;
models of one's own and live video, whose time no answer tells; volume tiers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import rekognition as seen
from spancost.capture.aws import work
from spancost.charge import joined_basis
from spancost.meters.aws.call import Call, Measure, Usage, failure, resource_of
from spancost.meters.aws.later import DURATION_NOT_SEEN, SIZE_NOT_SEEN, finished, never_seen, start

_GROUP1: Final = "aws.rekognition.image.group1"
_GROUP2: Final = "aws.rekognition.image.group2"
_PROPERTIES: Final = "aws.rekognition.image.properties"
_CUSTOM_MODERATION: Final = "aws.rekognition.image.custom_moderation"
_VIDEO: Final = "aws.rekognition.video.minute"
_LIVENESS: Final = "aws.rekognition.face_liveness"
_SEGMENTS: Final = "aws.rekognition.video.segment_minute"

_IMAGES: Final = {
    **dict.fromkeys(
        ("CompareFaces", "IndexFaces", "SearchFaces", "SearchFacesByImage", "SearchUsers", "SearchUsersByImage"),
        _GROUP1,
    ),
    "AssociateFaces": _GROUP1,
    **dict.fromkeys(
        ("DetectFaces", "DetectText", "RecognizeCelebrities", "DetectProtectiveEquipment", "DetectModerationLabels"),
        _GROUP2,
    ),
}
_ANALYSES: Final = (
    "CelebrityRecognition",
    "ContentModeration",
    "FaceDetection",
    "FaceSearch",
    "LabelDetection",
    "PersonTracking",
    "TextDetection",
)
_STARTS: Final = frozenset(
    (*(f"Start{analysis}" for analysis in (*_ANALYSES, "SegmentDetection")), "CreateFaceLivenessSession")
)
_ANSWERS: Final = frozenset(f"Get{analysis}" for analysis in _ANALYSES)
_BY_TIME: Final = frozenset({"StartStreamProcessor", "StartProjectVersion", "CreateProjectVersion"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation in _IMAGES:
        return _image
    if operation == "DetectLabels":
        return _labels
    if operation in _STARTS:
        return start
    if operation in _ANSWERS:
        return _video
    if operation == "GetSegmentDetection":
        return _segments
    if operation == "GetFaceLivenessSessionResults":
        return _liveness
    if operation == "StartMediaAnalysisJob":
        return never_seen(SIZE_NOT_SEEN)
    return never_seen(DURATION_NOT_SEEN) if operation in _BY_TIME else None


def billed_minutes(duration_ms: float) -> float:
    """Return the minutes that a video is billed for: seconds that have begun."""
    return math.ceil(duration_ms / 1000) / 60 if duration_ms == duration_ms else duration_ms


def _image(call: Call) -> Sequence[Usage]:
    collection = resource_of(call)
    if call.failed:
        return failure(call, collection)
    price_id = _CUSTOM_MODERATION if call.facts.get(seen.CUSTOM_MODEL) else _IMAGES[call.operation]
    return (Usage(price_id, 1.0, collection),)


def _labels(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    properties = call.facts.get(seen.PROPERTIES)
    labels = Usage(_GROUP2, 1.0, "", "" if call.seen else "features:labels")
    if properties is None:
        return (labels,)
    return (Usage(_PROPERTIES),) if properties == "only" else (labels, Usage(_PROPERTIES))


def _video(call: Call) -> Sequence[Usage]:
    def charge(duration_ms: float, basis: str) -> Sequence[Usage]:
        return (Usage(_VIDEO, billed_minutes(duration_ms), "", basis),)

    return finished(call, charge)


def _liveness(call: Call) -> Sequence[Usage]:
    return finished(call, lambda checks, basis: (Usage(_LIVENESS, checks, "", basis),))


def _segments(call: Call) -> Sequence[Usage]:
    def charge(duration_ms: float, basis: str) -> Sequence[Usage]:
        kinds = len(call.facts.get(work.KIND, ()))
        assumed = "" if kinds else "segments:1"
        return (Usage(_SEGMENTS, billed_minutes(duration_ms) * max(1, kinds), "", joined_basis(basis, assumed)),)

    return finished(call, charge)

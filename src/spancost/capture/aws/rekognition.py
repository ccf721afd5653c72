"""What Rekognition bills of a call: kind of analysis, length of a video when it is known."""

from __future__ import annotations

from typing import Any, Final, cast

from spancost.capture.aws.sizes import Facts, Params, note_name
from spancost.capture.aws.work import AMOUNTS, KIND, Work, ask, asked

PROPERTIES: Final = "aws.rekognition.properties"
"""str: `only` where image properties were asked for and no labels, `also` where both were."""
CUSTOM_MODEL: Final = "aws.rekognition.custom_model"
"""True: the images are moderated by a model of one's own."""

_VIDEO_ANSWERS: Final = frozenset(
    f"Get{name}"
    for name in (
        "CelebrityRecognition",
        "ContentModeration",
        "FaceDetection",
        "FaceSearch",
        "LabelDetection",
        "PersonTracking",
        "SegmentDetection",
        "TextDetection",
    )
)
_jobs: Final = Work()


def request(facts: Facts, operation: str, params: Params) -> None:
    note_name(facts, params.get("CollectionId"))
    if operation == "DetectLabels":
        features = params.get("Features") or ()
        if "IMAGE_PROPERTIES" in features:
            facts[PROPERTIES] = "also" if "GENERAL_LABELS" in features else "only"
    elif operation == "DetectModerationLabels":
        if params.get("ProjectVersion"):
            facts[CUSTOM_MODEL] = True
    elif operation in _VIDEO_ANSWERS:
        ask(facts, params.get("JobId"))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation in _VIDEO_ANSWERS:
        job_id = asked(facts)
        if result.get("JobStatus") == "SUCCEEDED":
            _jobs.end(facts, job_id, _duration_ms(result.get("VideoMetadata")))
            if operation == "GetSegmentDetection":
                selected = result.get("SelectedSegmentTypes") or ()
                facts[KIND] = tuple(str(entry.get("Type")) for entry in selected)
        facts.setdefault(AMOUNTS, ())
    elif operation == "GetFaceLivenessSessionResults":
        if result.get("Status") == "SUCCEEDED":
            _jobs.end(facts, result.get("SessionId"), 1)
        facts.setdefault(AMOUNTS, ())
    elif operation.startswith("Start"):
        _jobs.begin(result.get("JobId"))
    elif operation == "CreateFaceLivenessSession":
        _jobs.begin(result.get("SessionId"))


def _duration_ms(metadata: Any) -> Any:
    if isinstance(metadata, list):  # of segments: one entry per video stream
        metadata = next(iter(cast("list[Any]", metadata)), None)
    return cast("Params", metadata).get("DurationMillis") if metadata else None

"""Transcribe, billed by the second of audio (aws.amazon.com/transcribe/pricing), which no call and no answer tells.

A job is therefore unpriced where it is started, `duration_not_seen`, once; asking for its result is free. Who knows
the length may charge it: seconds, 15 at least, at `aws.transcribe.batch`. Left out: streams, which boto3 does not have.
"""

from __future__ import annotations

from typing import Final

from spancost.meters.aws.call import Measure
from spancost.meters.aws.later import DURATION_NOT_SEEN, never_seen

_JOBS: Final = frozenset(
    {"StartTranscriptionJob", "StartMedicalTranscriptionJob", "StartCallAnalyticsJob", "StartMedicalScribeJob"}
)


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    return never_seen(DURATION_NOT_SEEN) if operation in _JOBS else None

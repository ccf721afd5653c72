"""Transcribe: a job is billed by seconds that nobody shows."""

from __future__ import annotations

from tests.capture.aws.pricing import Prices
from tests.capture.aws.stubs import stubbed


def test_a_job_is_unpriced_once_and_asking_for_it_is_free(prices: Prices) -> None:
    with stubbed("transcribe") as transcribe:
        transcribe.call(
            "start_transcription_job",
            {"TranscriptionJob": {"TranscriptionJobName": "call"}},
            TranscriptionJobName="call",
            LanguageCode="en-US",
            Media={"MediaFileUri": "s3://calls/a.wav"},
        )
        for status in ("IN_PROGRESS", "COMPLETED"):
            answer = {"TranscriptionJob": {"TranscriptionJobName": "call", "TranscriptionJobStatus": status}}
            transcribe.call("get_transcription_job", answer, TranscriptionJobName="call")
    started, *asked = prices.take()
    assert (started.line.status, started.line.reason) == ("unpriced", "duration_not_seen")
    assert [charge.line.status for charge in asked] == ["free", "free"]

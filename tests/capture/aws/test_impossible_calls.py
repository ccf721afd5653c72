"""Whatever parameters and answers look like, the meter gives an amount or a reason."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spancost.capture.aws import request_hook, response_hook
from spancost.capture.facts import NODE_ATTRIBUTE
from tests.meters.aws.calls import charges

_OPERATIONS = [
    ("athena", "Athena", "StartQueryExecution"),
    ("athena", "Athena", "GetQueryExecution"),
    ("athena", "Athena", "BatchGetQueryExecution"),
    ("bedrock-agent-runtime", "Bedrock Agent Runtime", "Rerank"),
    ("bedrock-runtime", "Bedrock Runtime", "ApplyGuardrail"),
    ("bedrock-runtime", "Bedrock Runtime", "StartAsyncInvoke"),
    ("comprehend", "Comprehend", "BatchDetectSentiment"),
    ("comprehend", "Comprehend", "DetectToxicContent"),
    ("polly", "Polly", "SynthesizeSpeech"),
    ("polly", "Polly", "GetSpeechSynthesisTask"),
    ("rekognition", "Rekognition", "DetectLabels"),
    ("rekognition", "Rekognition", "GetSegmentDetection"),
    ("ses", "SES", "SendRawEmail"),
    ("sesv2", "SESv2", "SendBulkEmail"),
    ("sesv2", "SESv2", "SendEmail"),
    ("textract", "Textract", "AnalyzeDocument"),
    ("textract", "Textract", "GetDocumentAnalysis"),
    ("translate", "Translate", "TranslateDocument"),
]
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(("SUCCEEDED", "SUCCESS", "completed", "auto", "text/plain", "QUERIES"))
)


class _Span:
    """What the hooks need of a span."""

    def __init__(self) -> None:
        setattr(self, NODE_ATTRIBUTE, self)
        self.facts: dict[str, Any] | None = None


def _shaped(shape: Any, depth: int = 5) -> st.SearchStrategy[Any]:
    """Values in the shape of a structure, of which any part may be anything."""
    if shape is None or depth == 0:
        return _SCALARS
    if shape.type_name == "structure":
        members = {name: _shaped(member, depth - 1) for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members) | _SCALARS
    if shape.type_name == "list":
        return st.lists(_shaped(shape.member, depth - 1), max_size=3) | _SCALARS
    return _SCALARS


@cache
def _calls_of(client: str, operation: str) -> tuple[st.SearchStrategy[Any], st.SearchStrategy[Any]]:
    model: Any = botocore.session.get_session().get_service_model(client).operation_model(operation)
    return _shaped(model.input_shape), _shaped(model.output_shape)


@pytest.mark.parametrize(("client", "service", "operation"), _OPERATIONS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_impossible_call_is_an_amount_or_a_reason(
    client: str, service: str, operation: str, data: st.DataObject
) -> None:
    parameters, answers = _calls_of(client, operation)
    span = _Span()
    request_hook(span, client, operation, data.draw(parameters))
    response_hook(span, client, operation, data.draw(answers))
    for charge in charges(service, operation, facts=span.facts):
        assert math.isfinite(charge.usd)
        assert charge.usd >= 0
        assert charge.line.status in ("priced", "estimated", "free", "unpriced")
        assert bool(charge.line.reason) == (charge.line.status == "unpriced")

"""Which meter a live span belongs to."""

from __future__ import annotations

from opentelemetry.trace import SpanKind

from spancost import names
from spancost.testing import priced_provider
from tests.spans import REGION, server, start

_BEDROCK = {"rpc.system": "aws-api", "rpc.service": "Bedrock Runtime", "rpc.method": "InvokeModel"}


def test_bedrock_call_without_usage_is_unpriced_and_not_silently_nothing() -> None:
    with priced_provider(region=REGION) as world:
        start(world.tracer, "invoke", kind=SpanKind.CLIENT, attributes=_BEDROCK).end()
        world.publish()
        (line,) = [key.line for key in world.recorded.charges if key.line.component == names.LLM]
        assert (line.status, line.reason, line.operation) == (names.UNPRICED, "no_usage", "InvokeModel")


def test_server_span_inside_a_server_span_sends_its_bytes_only_once() -> None:
    with priced_provider(region=REGION) as world:
        outer = start(world.tracer, "outer", kind=SpanKind.SERVER, attributes=server(response_bytes=2**30))
        start(world.tracer, "inner", outer, SpanKind.SERVER, server(response_bytes=2**30)).end()
        outer.end()
        world.publish()
        sent = [sums.quantity for key, sums in world.recorded.charges.items() if key.line.component == names.EGRESS]
        assert sent == [1.0]

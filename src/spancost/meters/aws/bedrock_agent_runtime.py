"""Price re-ranking by the Bedrock agent runtime, USD per query (aws.amazon.com/bedrock/pricing).

A query ranks up to 100 documents; more count as further queries. Agents, knowledge bases and prompt optimisation
cost the tokens of the models they call, flows their transitions: neither is in the answer, so these are unpriced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import bedrock_agent_runtime as seen
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, chunks, failure, resource_of, unpriced
from spancost.meters.aws.later import MODEL_CALLS_NOT_SEEN, never_seen

DOCUMENTS_PER_QUERY: Final = 100

_MODELS: Final = {
    "amazon.rerank-v1": "aws.bedrock-agent-runtime.rerank.amazon",
    "cohere.rerank-v3-5": "aws.bedrock-agent-runtime.rerank.cohere_3_5",
}
_TOKENS: Final = frozenset(
    {
        "AgenticRetrieveStream",
        "GenerateQuery",
        "InvokeAgent",
        "InvokeInlineAgent",
        "OptimizePrompt",
        "Retrieve",
        "RetrieveAndGenerate",
        "RetrieveAndGenerateStream",
    }
)
_FLOWS: Final = frozenset({"InvokeFlow", "StartFlowExecution"})


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation == "Rerank":
        return _rerank
    if operation in _TOKENS:
        return never_seen(MODEL_CALLS_NOT_SEEN)
    return never_seen("transitions_not_seen") if operation in _FLOWS else None


def _rerank(call: Call) -> Sequence[Usage]:
    model = resource_of(call)
    if call.failed:
        return failure(call, model)
    queries, documents = call.size(seen.QUERIES), call.size(seen.DOCUMENTS)
    if queries is None or documents is None:
        return unpriced(NO_USAGE, model, unit="query")
    each = chunks(documents, DOCUMENTS_PER_QUERY) if documents == documents else documents
    price_id = _MODELS.get(model.partition(":")[0])
    if price_id is None:
        return unpriced("unknown_model", model, queries * each, "query")
    return (Usage(price_id, queries * each, model),)

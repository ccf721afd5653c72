"""Why something has no price, and what to do about it: one sentence per reason."""

from __future__ import annotations

from typing import Final

from spancost import names

ADVICE: Final = {
    "bad_size": "The span states a size that is no number of bytes: look at what sets http.response.body.size.",
    "bad_usage": "The span's token or item counts contradict each other: look at the instrumentation that wrote them.",
    "compute_rate_unknown": f"Say what the process runs on: {names.ENV_COMPUTE}=aws:m6i.large, fargate:1vcpu-2gb "
    "or 0.096usd/h.",
    "meter_error": "A meter of spancost failed: the application's log has the traceback; please report it.",
    "no_answer": "The call failed without an answer, so nobody knows whether it was billed.",
    "no_model": "The span names no model: look at the instrumentation's version.",
    "no_price": "The vendor publishes no price for it: add one under `prices:` in spancost.yaml.",
    "no_usage": "The answer carried no token counts: pass stream_options={'include_usage': True} when streaming.",
    "not_finite": "A meter computed something that is no number; please report it.",
    "not_priced_by_tokens": "This model is not billed by tokens.",
    "not_yet_priced": "The price book has no price for that day.",
    "plan_price": "This API is sold by plan, not by call.",
    "region_unknown": f"Set {names.ENV_REGION}, for example to eu-west-1.",
    "response_size_unknown": "The size of the answer was not seen: install spancost before the web framework is "
    "instrumented.",
    "tokens_not_seen": "An LLM API was called without an instrumentation that counts tokens: install the one of its "
    "client (for example opentelemetry-instrumentation-genai-openai).",
    "unknown_host": "No price is known for this host: if it is your own, list it under `http: free_hosts:` in "
    "spancost.yaml.",
    "unknown_model": "genai-prices does not know this model: update it with pip install -U genai-prices.",
    "unknown_operation": "The price book does not know this operation yet.",
    "unknown_provider": "genai-prices does not know this provider: update it with pip install -U genai-prices.",
    "unknown_service": "The price book does not have this AWS service yet.",
    "unknown_sku": "The price book does not have this item: add it under `prices:` in spancost.yaml.",
    "unknown_statement": "The PartiQL statement is not seen, so it may read or write.",
    "unknown_storage_class": "The price book does not have this storage class.",
}
"""Sentence per reason; `advice_for` also answers for others."""


def advice_for(reason: str) -> str:
    """Return what to do about a reason; empty if nothing better is known than its name."""
    return ADVICE.get(reason, "")

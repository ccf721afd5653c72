"""Why something has no price, and what to do about it: one sentence per reason."""

from __future__ import annotations

from typing import Final

from spancost import names
from spancost.prices.compute import SYNTAX

ADVICE: Final = {
    "bad_size": "The span states a size that is no number of bytes: look at what sets http.response.body.size.",
    "bad_usage": "A count or an amount is impossible (negative, no number, contradictory): look at the instrumentation "
    "or at the add_usage call that reported it.",
    "billed_by_gb": "Billed by gigabytes that the call does not carry.",
    "compute_rate_pending": "The machine was still being looked up when the span ended; its seconds are priced later.",
    "compute_rate_unknown": f"Say what the process runs on: {names.ENV_COMPUTE}={SYNTAX}.",
    "container_share_unknown": f"Other containers run on the machine, too: set {names.ENV_CPU_REQUEST} and "
    f"{names.ENV_MEMORY_REQUEST} by the Downward API (requests.cpu, requests.memory), or {names.ENV_COMPUTE_SHARE}.",
    "duration_not_seen": "Billed by running time, which no answer tells.",
    "events_not_seen": "Billed by events of a stream, which go on after the span has ended.",
    "exporter": "CostSpanExporter sees finished spans only, and of these the sampled ones: use spancost.install(), or "
    "opentelemetry-instrument with spancost installed, to price the machine and meter every span.",
    "features_not_seen": "The analysis was started by another process, so its features are not known.",
    "meter_error": "A meter of spancost failed: the application's log has the traceback; please report it.",
    "model_calls_not_seen": "The service calls models by itself; their tokens are not in the answer.",
    "no_answer": "The call failed without an answer, so nobody knows whether it was billed.",
    "no_cdn_price": "The price book has no price for that cloud's CDN: add one under `prices:`, or set "
    "egress.clients to internet.",
    "no_model": "The span names no model: look at the instrumentation's version.",
    "no_price": "The price book has no price for it: add one under `prices:` in spancost.yaml.",
    "no_rate": "It was reported without an amount, and no rate is in force for its name: add one under `custom:` in "
    "spancost.yaml (name, unit, usd), or pass usd= to add_usage.",
    "no_usage": "The span shows no usage: when streaming from an LLM pass stream_options={'include_usage': True}, or "
    f"have it estimated with {names.ENV_ESTIMATE_TOKENS}; "
    "for AWS calls let spancost hook the botocore instrumentation.",
    "not_finite": "A meter computed something that is no number; please report it.",
    "not_priced_by_tokens": "This model is not billed by tokens.",
    "not_yet_priced": "The price book has no price for that day.",
    "offline": "Stored traces do not say what else ran on the machine.",
    "plan_price": "This API is sold by plan, not by call.",
    "quantity_not_seen": "Billed by a quantity (images, seconds, searches) that the span does not show.",
    "region_unknown": f"Set {names.ENV_REGION}, for example to eu-west-1.",
    "reserved_capacity": "It ran on reserved capacity, which is billed by the hour.",
    "response_size_unknown": "The size of the answer was not seen: install spancost before the web framework is "
    "instrumented.",
    "self_hosted": "A model on a machine of your own: give it a price under `models:`, per million tokens or per hour.",
    "size_not_seen": "Billed by data that the call does not carry.",
    "tokens_not_seen": "An LLM API was called without an instrumentation that counts tokens: install the one of its "
    "client (for example opentelemetry-instrumentation-genai-openai).",
    "transitions_not_seen": "A standard state machine is billed by its transitions, which its start does not show.",
    "unknown_engine": "The price book has no price for this voice engine.",
    "unknown_feature": "The price book does not know this document feature.",
    "unknown_host": "No price is known for this host: list it under `http: free_hosts:` if it is your own, or "
    "give it a price under `http_rules:`.",
    "unknown_log_class": "The class of the log group is not known: it was not described in this process.",
    "unit_mismatch": "The rate under `custom:` is for another unit than the usage: make the two the same.",
    "unknown_alias": "The model that `same_as` names is not in the price list: check the entry under `models:`.",
    "unknown_model": "genai-prices does not know this model: map a deployment, profile or fine-tune with "
    "`models:` and `same_as`, else update it with pip install -U genai-prices.",
    "unknown_operation": "The price book does not know this operation yet.",
    "unknown_policy": "The price book does not know this guardrail policy.",
    "unknown_provider": "genai-prices does not know this provider: update it with pip install -U genai-prices.",
    "unknown_service": "The price book does not have this AWS service yet.",
    "unknown_sku": "The price book does not have this item: add it under `prices:` in spancost.yaml.",
    "unknown_statement": "The PartiQL statement is not seen, so it may read or write.",
    "unknown_storage_class": "The price book does not have this storage class.",
    "usage_comes_later": "This call starts work; the answer that first shows it finished is charged.",
}
"""Sentence per reason; `advice_for` also answers for others."""


def advice_for(reason: str) -> str:
    """Return what to do about a reason; empty if nothing better is known than its name."""
    return ADVICE.get(reason, "")

"""What the requests of the SDKs of OpenAI and Anthropic say before they are sent.

Each call of these SDKs, streamed or not, goes through `request` of their sync or async base client, below all that
instrumentations wrap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from spancost import names
from spancost.budgets.enforcing.guarded_call import Wanted
from spancost.budgets.enforcing.worst_case import body_of, model_of, worst_case
from spancost.meters.llm.operations import CHAT, EMBEDDINGS, IMAGE, SPEECH, TEXT_COMPLETION, TRANSCRIPTION

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_OPERATIONS: Final = {
    "/chat/completions": CHAT,
    "/responses": CHAT,
    "/messages": CHAT,
    "/completions": TEXT_COMPLETION,
    "/complete": TEXT_COMPLETION,
    "/embeddings": EMBEDDINGS,
    "/images/generations": IMAGE,
    "/images/edits": IMAGE,
    "/images/variations": IMAGE,
    "/audio/speech": SPEECH,
    "/audio/transcriptions": TRANSCRIPTION,
    "/audio/translations": TRANSCRIPTION,
}
"""Ends of paths whose requests are calls of a model, the longest first where one ends like another."""
_HOSTS: Final = {"openai": ".openai.com", "anthropic": ".anthropic.com"}


def describe(engine: CostEngine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Wanted | None:
    """Return what a request of an SDK is about; None for one that calls no model, such as a list of files."""
    options: Any = kwargs.get("options", args[1] if len(args) > 1 else None)
    if str(options.method).lower() != "post":
        return None
    path = str(options.url).partition("?")[0].rstrip("/")
    path = path if path.startswith("/") else f"/{path}"
    operation = next((operation for end, operation in _OPERATIONS.items() if path.endswith(end)), None)
    if operation is None:
        return None
    provider = next((package for package in _HOSTS if _is_of(client, package)), "")
    body = body_of(options.json_data)
    model = model_of(body, "model")
    engine.load_llm_prices()
    values = {"operation": operation}
    found = None
    if engine.meters.llm is not None:
        limit = engine.config.budget_enforce_output_tokens
        found = worst_case(engine.meters.llm, provider, model, operation, body, limit)
    if found is not None and found.model:
        values["model"] = found.model
    elif model:
        values["model"] = model[:100]
    host = str(getattr(client.base_url, "host", ""))
    if f".{host}".endswith(_HOSTS.get(provider, "\0")):
        values["provider"] = provider  # elsewhere somebody else answers in the same language
    return Wanted(names.LLM, values, None if found is None else found.usd)


def _is_of(client: Any, package: str) -> bool:
    return any(cls.__module__.partition(".")[0] == package for cls in type(client).__mro__)

"""What a call of a boto3 or aiobotocore client says before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from spancost import names
from spancost.budgets.enforcing.guarded_call import Wanted
from spancost.budgets.enforcing.worst_case import body_of, model_of, worst_case
from spancost.meters.aws.services import client_of
from spancost.meters.llm.operations import CHAT

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_BEDROCK: Final = "bedrock-runtime"
_MODEL_CALLS: Final = frozenset({"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"})
_BEDROCK_PROVIDER: Final = "aws.bedrock"


def calls_model(client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """True for a call of a Bedrock model: it is charged as an LLM call."""
    return _service_of(client) == _BEDROCK and _operation_of(args, kwargs) in _MODEL_CALLS


def _service_of(client: Any) -> str:
    return client_of(str(client.meta.service_model.service_id))


def _operation_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    return str(args[0] if args else kwargs.get("operation_name", ""))


def describe_aws(engine: CostEngine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Wanted | None:
    """Return what a call of an AWS service is about; its price is not known before."""
    operation = f"{_service_of(client)}.{_operation_of(args, kwargs)}"
    return Wanted(names.AWS, {"operation": operation, "provider": "aws"}, None)


def describe_model(engine: CostEngine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Wanted | None:
    """Return what a call of a Bedrock model is about; `InvokeModel` does not show its tokens."""
    operation, parameters = _operation_of(args, kwargs), args[1] if len(args) > 1 else kwargs.get("api_params")
    body = body_of(parameters)
    model = model_of(body, "modelId")
    is_shown = operation.startswith("Converse")
    engine.load_llm_prices()
    if engine.meters.llm is None or not is_shown:
        return Wanted(names.LLM, {}, None)
    limit = engine.config.budget_enforce_output_tokens
    found = worst_case(engine.meters.llm, _BEDROCK_PROVIDER, model, CHAT, body, limit)
    return Wanted(names.LLM, {"model": found.model} if found.model else {}, found.usd)

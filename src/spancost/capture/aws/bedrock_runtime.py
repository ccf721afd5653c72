"""What Bedrock bills beside the tokens of its spans: guardrail units, and the token counts that only headers show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params, note_name

GUARDRAIL_UNITS: Final = "aws.bedrock.guardrail_units"
"""dict of name of the count (`contentPolicyUnits`) to number: what the guardrail's policies looked at."""
GUARDRAIL_CHARACTERS: Final = "aws.bedrock.guardrail_characters"
"""tuple of int: characters of each text given to the guardrail."""
INPUT_TOKENS: Final = "aws.bedrock.input_tokens"
"""int: input tokens of a model call, as the answer's header says, whatever the model."""
OUTPUT_TOKENS: Final = "aws.bedrock.output_tokens"
"""int: output tokens, likewise."""

_TOKEN_HEADERS: Final = (
    (INPUT_TOKENS, "x-amzn-bedrock-input-token-count"),
    (OUTPUT_TOKENS, "x-amzn-bedrock-output-token-count"),
)


def request(facts: Facts, operation: str, params: Params) -> None:
    model = params.get("modelId")
    if isinstance(model, str):
        facts[keys.RESOURCE] = model.rsplit("/", 1)[-1][:256]
    if operation == "ApplyGuardrail":
        note_name(facts, params.get("guardrailIdentifier"))
        content: Iterable[Params] = params.get("content") or ()
        facts[GUARDRAIL_CHARACTERS] = tuple(len(block["text"]["text"]) for block in content if "text" in block)


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "ApplyGuardrail":
        counts = part(result, "usage")
        if counts:
            facts[GUARDRAIL_UNITS] = {name: counts[name] for name in counts if counts[name]}
    elif operation == "InvokeModel":
        headers = part(part(result, "ResponseMetadata"), "HTTPHeaders")
        for key, header in _TOKEN_HEADERS:
            count = str(headers.get(header, ""))
            if count.isdecimal():
                facts[key] = int(count)

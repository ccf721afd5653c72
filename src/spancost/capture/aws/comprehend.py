"""What Comprehend bills of a call: characters of each document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params

CHARACTERS: Final = "aws.comprehend.characters"
"""tuple of int: characters of each document that was analysed."""
OWN_MODEL: Final = "aws.comprehend.own_model"
"""True: the document goes to an endpoint of one's own, which is billed by the hour."""
SAFETY_MODEL: Final = "aws.comprehend.safety_model"
"""True: the document goes to the ready-made classifier of unsafe prompts."""

_SAFETY_ENDPOINT: Final = "prompt-safety"


def request(facts: Facts, operation: str, params: Params) -> None:
    endpoint = params.get("EndpointArn")
    if isinstance(endpoint, str):
        facts[SAFETY_MODEL if _SAFETY_ENDPOINT in endpoint else OWN_MODEL] = True
        facts[keys.RESOURCE] = endpoint.rsplit("/", 1)[-1][:256]
    texts: Iterable[str]
    if operation.startswith("BatchDetect"):
        texts = params["TextList"]
    elif operation == "DetectToxicContent":
        texts = (segment["Text"] for segment in params["TextSegments"])
    elif "Text" in params:
        texts = (params["Text"],)
    else:
        return
    facts[CHARACTERS] = tuple(len(text) for text in texts)


def response(facts: Facts, operation: str, result: Params) -> None:
    """What could not be analysed is not billed."""
    errors: Iterable[Params] = result.get("ErrorList") or ()
    failed = {error.get("Index") for error in errors}
    if failed and CHARACTERS in facts:
        facts[CHARACTERS] = tuple(size for index, size in enumerate(facts[CHARACTERS]) if index not in failed)

"""What Polly bills of a call: characters, as the service counts them, and the engine."""

from __future__ import annotations

from typing import Final

from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params
from spancost.capture.aws.work import AMOUNTS, Work

CHARACTERS: Final = "aws.polly.characters"
"""int: billed characters, as the answer says."""
TEXT_CHARACTERS: Final = "aws.polly.text_characters"
"""int: characters of a plain text that was sent; absent for SSML, of which tags are free."""
ENGINE: Final = "aws.polly.engine"
"""str: `standard`, `neural`, `long-form` or `generative`."""

_DEFAULT_ENGINE: Final = "standard"

_tasks: Final = Work()


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation not in ("SynthesizeSpeech", "StartSpeechSynthesisTask"):
        return
    facts[ENGINE] = str(params.get("Engine", _DEFAULT_ENGINE))[:64]
    text = params.get("Text")
    if operation == "SynthesizeSpeech" and params.get("TextType", "text") == "text" and isinstance(text, str):
        facts[TEXT_CHARACTERS] = len(text)


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "SynthesizeSpeech":
        characters = result.get("RequestCharacters")
        if characters is not None:
            facts[CHARACTERS] = characters
        return
    task = part(result, "SynthesisTask")
    characters, task_id = task.get("RequestCharacters"), task.get("TaskId")
    if operation == "StartSpeechSynthesisTask":
        if characters:
            facts[CHARACTERS] = characters
            _tasks.settle(task_id)
        else:
            _tasks.begin(task_id)
    elif operation == "GetSpeechSynthesisTask":
        facts[ENGINE] = str(task.get("Engine", _DEFAULT_ENGINE))[:64]
        if task.get("TaskStatus") == "completed":
            _tasks.end(facts, task_id, characters)
        facts.setdefault(AMOUNTS, ())

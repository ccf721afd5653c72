"""What answers in this process have shown of Lambda functions: their processor and their storage.

An invocation's answer tells neither; the calls that read, make or change functions do. Kept by the hash of region
and name, bounded; versions of one function are taken for alike until two of them differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from spancost.capture.aws.jobs import Learned

X86: Final = "x86_64"
ARM: Final = "arm64"


class Function(NamedTuple):
    """What the price of a function's duration depends on."""

    architecture: str
    """`X86`, `ARM`, or empty where versions differ."""
    storage_mb: float
    """Size of `/tmp`, MiB; 512 are included in the price."""


_functions: Final[Learned[Function]] = Learned()


def note_functions(answer: Mapping[str, Any]) -> None:
    """Remember the functions of an answer: the configuration itself, `Configuration` in it, or a list of them."""
    configuration = answer.get("Configuration", answer)
    _note(configuration)
    for key in ("Functions", "Versions"):
        several = answer.get(key)
        if isinstance(several, list):
            for one in cast("Iterable[Any]", several):
                _note(one)


def function_of(region: object, name: str) -> Function | None:
    """Return what is known of a function; None if no answer has shown it."""
    return _functions.get(f"{region}/{name}")


def _note(configuration: Any) -> None:
    if not isinstance(configuration, Mapping):
        return
    fields = cast("Mapping[str, Any]", configuration)
    arn, architectures = fields.get("FunctionArn"), fields.get("Architectures")
    if not isinstance(arn, str) or arn.count(":") < 6 or not architectures:
        return
    _, _, _, region, _, _, name = arn.split(":", 6)
    name, _, version = name.partition(":")
    key = f"{region}/{name}"
    architecture = str(architectures[0])
    known = _functions.get(key)
    # The newest code itself says what will be invoked; of numbered versions an alias may point at any.
    if known is not None and version and fields.get("Version") != "$LATEST" and known.architecture != architecture:
        architecture = ""
    storage: Mapping[str, Any] = fields.get("EphemeralStorage") or {}
    size = storage.get("Size")
    _functions.note(key, Function(architecture, float(size) if isinstance(size, (int, float)) else 512.0))

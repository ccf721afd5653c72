"""Records, events and entries of a call, each of which is billed by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, body_bytes


def note_records(facts: Facts, bodies: Iterable[Any]) -> None:
    """Note the size of each record's body; nothing if one cannot be told."""
    sizes = [body_bytes(body) for body in bodies]
    if None not in sizes:
        facts[keys.RECORD_BYTES] = sizes


def drop_refused(facts: Facts, answers: Any) -> None:
    """Forget the records that the service refused: its answers stand in their order, with an `ErrorCode`."""
    sizes: list[int] | None = facts.get(keys.RECORD_BYTES)
    if sizes is None or not isinstance(answers, list):
        return
    results = cast("list[Mapping[str, Any]]", answers)
    if len(results) == len(sizes):
        kept = [size for size, answer in zip(sizes, results, strict=True) if not answer.get("ErrorCode")]
        facts[keys.RECORD_BYTES] = kept

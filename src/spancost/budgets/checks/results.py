"""What all results have in common: they are frozen, say in one sentence what was found, and are valid JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final, cast

from spancost.amounts import share

_LEAST_SHOWN: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a check has found."""

    kind: ClassVar[str] = ""

    is_alarming: bool
    """True if people should know, or a call should wait."""
    explanation: str
    """One sentence with the numbers that decided."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values that are valid JSON: no NaN, nothing infinite, lists for tuples."""
        return {"kind": self.kind, **{name: _plain(value) for name, value in asdict(self).items()}}

    def as_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self.as_dict(), allow_nan=False, separators=(",", ":"))


def percent(ratio: float) -> str:
    """Return a ratio for people: `82.5 %`."""
    return share(ratio, 1.0) if ratio == 0 or ratio >= _LEAST_SHOWN else f"under {share(_LEAST_SHOWN, 1.0)}"


def _plain(value: object) -> object:
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[str, object]", value).items()}
    return value

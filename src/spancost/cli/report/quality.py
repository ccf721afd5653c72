"""How far the figures of a period can be relied on: for people in a line or two, for machines as one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spancost import names
from spancost.bounds import AT_LEAST, AT_MOST, UNKNOWN
from spancost.cli._format import number, share, usd
from spancost.sinks.ledger.rows import Quality
from spancost.window import ERROR, EVICTIONS, OTHER

_CHARGED: Final = (names.PRICED, names.ESTIMATED, names.FREE, names.UNPRICED)
"""Duplicates are charged elsewhere: they are no part of the whole."""
_SHOWN: Final = 3
_BOUND_WORDS: Final = {AT_MOST: "at most", AT_LEAST: "at least", UNKNOWN: "more or less"}


def quality_document(quality: Quality) -> dict[str, Any]:
    """Return it for machines."""
    charged = _charged(quality)
    return {
        "spans": charged,
        "share": {status: _share(quality.of_status(status), charged) for status in _CHARGED},
        "by_component": {
            component: {
                "spans": (whole := sum(counts[status] for status in _CHARGED)),
                **{status: counts[status] for status in names.STATUSES},
                "priced_share": _share(counts[names.PRICED] + counts[names.ESTIMATED] + counts[names.FREE], whole),
            }
            for component, counts in sorted(quality.spans.items())
        },
        "at_risk_usd": quality.estimated_usd,
        "no_bound_known": quality.of_status(names.UNPRICED),
        "duplicates": quality.duplicates,
        "late_usd": quality.late_usd,
        "unattributed_usd": quality.unattributed_usd,
        "other_usd": quality.other_usd,
        "sampled_only": quality.sampled_only,
        "evictions": quality.health.get(EVICTIONS, 0),
        "series_other": quality.health.get(OTHER, 0),
        "errors": _errors(quality),
    }


def quality_lines(quality: Quality) -> list[str]:
    """Return it for people; nothing where everything has a price that nothing was assumed for."""
    charged = _charged(quality)
    rest = _rest(quality)
    if not rest and charged == quality.of_status(names.PRICED) + quality.of_status(names.FREE):
        return []
    parts = [
        f"{share(count, charged)} {word}"
        for status, word in zip(_CHARGED, ("priced", "estimated", "free", "without a price"), strict=True)
        if (count := quality.of_status(status))
    ]
    lines = [f"Data quality: of {number(charged)} charged spans {', '.join(parts)}."] if charged else []
    risks = [f"{usd(amount)} {_BOUND_WORDS[bound]}" for bound, amount in quality.estimated_usd.items() if amount]
    unpriced = quality.of_status(names.UNPRICED)
    if risks or unpriced:
        bound = f"no bound is known for {number(unpriced)} without a price" if unpriced else ""
        estimated = f"estimated {', '.join(risks)}" if risks else ""
        lines.append(f"At risk: {'; '.join(filter(None, [estimated, bound]))}.")
    rest = [*_as_it_should_be(quality), *rest]
    return [*lines, f"Besides: {', '.join(rest)}."] if rest else lines


def _as_it_should_be(quality: Quality) -> list[str]:
    """Say what is no reason for doubt: counted, but in no request's total, or counted elsewhere already."""
    amounts = {"late": quality.late_usd, "without a span": quality.unattributed_usd}
    found = [f"{usd(amount)} {what}" for what, amount in amounts.items() if amount]
    if withheld := sum(quality.duplicates.values()):
        found.append(f"{number(withheld)} duplicates withheld ({_named(quality.duplicates)})")
    return found


def _rest(quality: Quality) -> list[str]:
    found: list[str] = []
    if quality.other_usd:
        found.append(f"{usd(quality.other_usd)} under `{names.OTHER}`")
    if quality.sampled_only:
        found.append("sampled spans only")
    if evictions := quality.health.get(EVICTIONS, 0):
        found.append(f"{number(evictions)} requests settled before they ended")
    if errors := _errors(quality):
        found.append(f"{number(sum(errors.values()))} errors of spancost itself ({_named(errors)})")
    return found


def _charged(quality: Quality) -> int:
    return sum(map(quality.of_status, _CHARGED))


def _errors(quality: Quality) -> dict[str, int]:
    return {name.removeprefix(ERROR): count for name, count in quality.health.items() if name.startswith(ERROR)}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _named(counts: Mapping[str, int]) -> str:
    most = sorted(counts, key=lambda name: (-counts[name], name))
    more = f", {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
    return ", ".join(f"{name or 'unknown'} {number(counts[name])}" for name in most[:_SHOWN]) + more

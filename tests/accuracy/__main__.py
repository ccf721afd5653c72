"""`python -m tests.accuracy` prints the table of published cases as it stands in the README."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tests.accuracy.published_cases import AWS_CASES, LLM_CASES

_SHOWN_DIGITS = 6


def rows() -> Iterator[str]:
    """Return the lines of a Markdown table: what others showed and what is billed, USD."""
    yield "| What went wrong | Reported | Shown | Billed |"
    yield "|---|---|---:|---:|"
    for case in LLM_CASES:
        yield f"| {case.title} | {case.report} | {_usd(case.shown_usd)} | {_usd(case.true_usd)} |"
    for call in AWS_CASES:
        yield f"| {call.title}, priced by the call | spendtrace | {_usd(call.shown_usd)} | {_usd(call.true_usd)} |"


def _usd(amount: str | Decimal) -> str:
    rounded = Decimal(f"{Decimal(amount):.{_SHOWN_DIGITS}g}").normalize()
    return f"{rounded:f}"


if __name__ == "__main__":
    print("\n".join(rows()))

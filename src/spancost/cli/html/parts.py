"""Parts of pages: tables, and the numbers on axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

REGION: Final = '<div class="wide" role="region" tabindex="0" aria-label="Table">'
"""Around a table that may be wider than the screen: it can be moved by keyboard, too."""
_NUMBER: Final = ' class="n"'
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


def html_table(titles: Sequence[str], rows: Iterable[Sequence[str]], totals: Sequence[str], *, keys: int) -> str:
    """Return a table of texts.

    Args:
        titles: Of the columns.

        rows: Cells, not escaped.

        totals: Cells of the sum row.

        keys: How many columns at the beginning are no numbers.
    """

    def cells(row: Sequence[str]) -> str:
        return "".join(
            f'<td class="k">{breakable(cell)}</td>' if index < keys else f'<td class="n">{escape(cell)}</td>'
            for index, cell in enumerate(row)
        )

    head = "".join(
        f'<th scope="col"{"" if index < keys else _NUMBER}>{escape(title)}</th>' for index, title in enumerate(titles)
    )
    body = "".join(f"<tr>{cells(row)}</tr>" for row in rows)
    return (
        f"{REGION}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        f"<tfoot><tr>{cells(totals)}</tr></tfoot></table></div>"
    )


def breakable(text: str) -> str:
    """Return a text as HTML that may be broken behind a slash."""
    return escape(text).replace("/", "/<wbr>")


def nice(amount: float) -> float:
    """Return the next round number above an amount; where an axis can end."""
    if amount <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(amount))
    return next(step * unit for step in _STEPS if step * unit >= amount * (1 - 1e-12))

"""The document around a page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Final

from spancost._version import spancost_version

BASE_STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --text: #1d2126; --soft: #5b6470; --line: #dfe3e8;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #14171a; --card: #1c2025; --text: #e7eaee; --soft: #a3adb8; --line: #343b43; }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.2rem 1rem 3rem; background: var(--page); color: var(--text);
  font: 1rem/1.45 system-ui, sans-serif;
}
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .7rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
.grid { stroke: var(--line); stroke-width: 1px; vector-effect: non-scaling-stroke; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td {
  text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: middle;
}
th { color: var(--soft); font-weight: 600; font-size: .82rem; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.k { overflow-wrap: break-word; min-width: 6rem; max-width: 26rem; }
"""
"""Colours of paper and ink, light and dark; text and tables."""


def policy(style: str) -> str:
    """Return a page's Content-Security-Policy: its own style and nothing else.

    Args:
        style: All of it.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: Not escaped.

        style: CSS.

        parts: Of the body, HTML.
    """
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(style)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )


def made_by() -> str:
    """Return the last line of a page: which version made it, and when."""
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f'<footer><p class="soft">spancost {escape(spancost_version())}, {made}</p></footer>'

"""Looks of the page: Grafana's grid of 24 columns, one column on a telephone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spancost.cli.html.document import BASE_STYLE
from spancost.dashboards.model import COLUMNS, Cell

_STYLE: Final = """
:root {
  --compute: #2f6fb3; --egress: #58b0d8; --aws: #d97f12; --llm: #23926a; --http: #a8508f; --custom: #c04d38;
  --s0: #2f6fb3; --s1: #d97f12; --s2: #23926a; --s3: #c04d38; --s4: #7a5fb8; --s5: #58b0d8; --s6: #b59a1c;
  --s7: #a8508f; --s8: #5f7f3a; --s9: #7d6a58;
  --green: #1e8449; --yellow: #a66f00; --orange: #c25e00; --red: #c0392b; --blue: #2f6fb3; --purple: #7a5fb8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --compute: #5b9be0; --egress: #8fd3f2; --aws: #f0a33f; --llm: #4fc496; --http: #d487bd; --custom: #ea8069;
    --s0: #5b9be0; --s1: #f0a33f; --s2: #4fc496; --s3: #ea8069; --s4: #a892e0; --s5: #8fd3f2; --s6: #dcc450;
    --s7: #d487bd; --s8: #a3c47a; --s9: #b9a28c;
    --green: #58c98b; --yellow: #e3b341; --orange: #f2994a; --red: #ef6f61; --blue: #5b9be0; --purple: #a892e0;
  }
}
body { max-width: 100rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; margin: .6rem 0; }
a { color: var(--blue); }
.board { margin-top: 2rem; border-top: 2px solid var(--line); padding-top: 1rem; }
.board > h2 { font-size: 1.35rem; margin: 0; }
.board > h3 { font-size: 1.05rem; margin: 1.2rem 0 .5rem; }
.variables { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .85rem; }
.panels {
  display: grid; grid-template-columns: repeat(24, minmax(0, 1fr)); grid-auto-rows: minmax(30px, auto); gap: 8px;
}
.panel {
  background: var(--card); border: 1px solid var(--line); border-radius: .3rem; padding: .5rem .7rem; min-width: 0;
  display: flex; flex-direction: column; overflow: hidden;
}
.panel h4 { font-size: .92rem; margin: 0 0 .4rem; }
.panel.error { border-color: var(--red); } .panel.empty { border-color: var(--orange); }
.said { font-size: .85rem; overflow-wrap: anywhere; }
.panel.error .said { color: var(--red); } .panel.empty .said { color: var(--orange); }
.panel details { margin-top: auto; padding-top: .4rem; font-size: .78rem; color: var(--soft); }
.panel pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; font-size: .75rem; }
summary { cursor: pointer; }
.figure { font-size: 1.9rem; font-weight: 600; margin: auto 0; line-height: 1.15; overflow-wrap: anywhere; }
.figure.long { font-size: 1.3rem; }
.figure small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); }
.spark { width: 100%; height: 2.2rem; display: block; margin-top: .2rem; }
.plot { display: grid; grid-template-columns: auto minmax(0, 1fr); column-gap: .5rem; }
.plot ol {
  list-style: none; margin: 0; padding: 0; font-size: .75rem; color: var(--soft); display: flex;
  justify-content: space-between;
}
.plot ol.up { flex-direction: column; text-align: right; height: 11rem; line-height: 1; }
.plot ol.along { grid-column: 2; padding-top: .25rem; }
.plot svg { width: 100%; height: 11rem; display: block; overflow: visible; }
.line { fill: none; stroke-width: 1.6px; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.line.dotted { stroke-width: 5px; stroke-linecap: round; }
.area { opacity: .35; }
.dot { stroke: var(--text); stroke-width: 5px; stroke-linecap: round; vector-effect: non-scaling-stroke; opacity: .55; }
.event { stroke: var(--red); stroke-width: 1px; stroke-dasharray: 3 3; vector-effect: non-scaling-stroke; }
.panel table { font-size: .82rem; }
.panel th, .panel td { padding: .15rem .7rem .15rem 0; }
.panel td.k { min-width: 0; }
.legend { margin-top: .4rem; }
.legend td { border: 0; }
.legend th { font-weight: 400; border: 0; padding-bottom: 0; }
.legend b { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem; margin-right: .4rem; }
td.bar { width: 55%; } td.bar svg { width: 100%; height: .9rem; display: block; }
.c-green { color: var(--green); } .c-yellow { color: var(--yellow); } .c-orange { color: var(--orange); }
.c-red { color: var(--red); } .c-blue { color: var(--blue); } .c-purple { color: var(--purple); }
.f-green { fill: var(--green); } .f-yellow { fill: var(--yellow); } .f-orange { fill: var(--orange); }
.f-red { fill: var(--red); } .f-blue { fill: var(--blue); } .f-purple { fill: var(--purple); } .f- { fill: var(--s0); }
.badge { border: 1px solid currentColor; border-radius: .3rem; padding: 0 .4rem; font-weight: 600; }
@media (max-width: 50rem) { .panels { display: block; } .panel { margin-top: 8px; } }
@media print { .panel { break-inside: avoid; } }
"""
_COLORED: Final = (
    "compute", "egress", "aws", "llm", "http", "custom", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"
)  # fmt: skip


def style(cells: Iterable[Cell]) -> str:
    """Return the CSS of a page.

    Args:
        cells: Places of its panels; each gets the classes that `place` names.
    """
    colors = "\n".join(
        f".line.{name} {{ stroke: var(--{name}); }} .area.{name} {{ fill: var(--{name}); }} "
        f"b.{name} {{ background: var(--{name}); }}"
        for name in _COLORED
    )
    places = sorted({place(cell): cell for cell in cells}.items())
    rules = "\n".join(
        f".{name} {{ grid-column: {min(cell.x, COLUMNS - 1) + 1} / span {max(1, min(cell.w, COLUMNS - cell.x))}; "
        f"grid-row: {cell.y + 1} / span {max(1, cell.h)}; }}"
        for name, cell in places
    )
    return f"{BASE_STYLE}{_STYLE}{colors}\n{rules}\n"


def place(cell: Cell) -> str:
    """Return the class of a place in the grid."""
    return f"at-{cell.x}-{cell.y}-{cell.w}-{cell.h}"

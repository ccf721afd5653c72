"""Looks of the page: light and dark, from a telephone to a wide screen."""

from __future__ import annotations

from typing import Final

from spancost.cli.html.document import BASE_STYLE

STYLE: Final = (
    BASE_STYLE
    + """
:root {
  --compute: #2f6fb3; --egress: #58b0d8; --aws: #d97f12; --llm: #23926a; --http: #a8508f; --custom: #c04d38;
  --idle: #a4acb5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --compute: #5b9be0; --egress: #8fd3f2; --aws: #f0a33f; --llm: #4fc496; --http: #d487bd; --custom: #ea8069;
    --idle: #6d7782;
  }
}
body { max-width: 72rem; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; margin-top: 1rem;
}
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; margin: 1rem 0 0; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; }
.legend {
  display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; margin: 0 0 .8rem; font-size: .9rem;
}
.legend svg { width: .8rem; height: .8rem; margin-right: .35rem; vertical-align: -.05rem; }
.plot { display: grid; grid-template-columns: auto 1fr; column-gap: .6rem; }
.plot ol {
  list-style: none; margin: 0; padding: 0; font-size: .8rem; color: var(--soft); display: flex;
  justify-content: space-between;
}
.plot ol.up { flex-direction: column; text-align: right; height: 15rem; line-height: 1; }
.plot ol.along { grid-column: 2; padding-top: .35rem; }
.plot svg { width: 100%; height: 15rem; display: block; }
.compute { fill: var(--compute); } .egress { fill: var(--egress); } .aws { fill: var(--aws); }
.llm { fill: var(--llm); } .http { fill: var(--http); } .custom { fill: var(--custom); } .idle { fill: var(--idle); }
thead td { border-bottom: 1px solid var(--line); }
td.b { width: 40%; min-width: 6rem; }
td.b svg { width: 100%; height: .95rem; display: block; border-radius: .15rem; }
tfoot td { font-weight: 700; border-bottom: 0; }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--soft); }
@media (max-width: 34rem) {
  body { padding: .8rem .6rem 2rem; }
  section { padding: .8rem .7rem; }
  dl { grid-template-columns: 1fr 1fr; gap: .5rem; }
  td.b { width: 25%; min-width: 3.5rem; }
  td.k { min-width: 0; max-width: 11rem; }
  th, td { padding-right: .5rem; }
}
@media print { body { max-width: none; } section { break-inside: avoid; } }
"""
)

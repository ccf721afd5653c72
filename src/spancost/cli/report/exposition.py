"""The report as gauges in Prometheus' text format, for the textfile collector and the Pushgateway.

The names are never those of the counters that a running application publishes: nobody adds both by accident.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from spancost import names
from spancost.cli.report.asking import Answer

_NOT_IN_A_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")


class Gauge(NamedTuple):
    """One metric with its samples."""

    name: str
    help: str
    labels: tuple[str, ...]
    samples: list[tuple[tuple[str, ...], float]]
    """(label values, value)."""


def gauges(answer: Answer) -> list[Gauge]:
    """Return the figures of an answer, labelled with its keys and the period that was asked for."""
    period = answer.asked.period.named
    labels = (*label_names(answer.by), *(("period",) if period else ()))
    last = (period,) if period else ()
    idle = answer.spent.idle_rows
    factor = answer.rows_per_month
    found = [
        Gauge(
            names.REPORT_COST_USD,
            "Cost in the period in USD.",
            labels,
            [((*row.key, *last), row.usd) for row in answer.rows if row.usd or not row.unpriced],
        ),
        Gauge(
            names.REPORT_IDLE_COST_USD,
            "Compute in the period that no row bears, in USD.",
            labels,
            [((*row.key, *last), row.usd) for row in idle if row.usd or not row.unpriced],
        ),
        Gauge(
            names.REPORT_UNPRICED,
            "Charges in the period without a known price.",
            labels,
            [((*row.key, *last), float(sum(row.unpriced.values()))) for row in answer.rows if row.unpriced],
        ),
    ]
    if not answer.rows_share_requests:
        samples = [((*row.key, *last), float(row.requests)) for row in answer.rows]
        found.append(Gauge(names.REPORT_REQUESTS, "Requests in the period.", labels, samples))
    if factor is not None:
        samples = [((*row.key, *last), row.usd * factor) for row in answer.rows if row.usd or not row.unpriced]
        found.append(Gauge(names.REPORT_USD_PER_MONTH, "Cost of a month at this rate in USD.", labels, samples))
    return [gauge for gauge in found if gauge.samples]


def label_names(by: Sequence[str]) -> tuple[str, ...]:
    """Return keys as label names that are valid and differ from each other."""
    found: list[str] = []
    for key in by:
        name = _NOT_IN_A_LABEL.sub("_", key)
        count = 2
        while name in found:
            name = f"{_NOT_IN_A_LABEL.sub('_', key)}_{count}"
            count += 1
        found.append(name)
    return tuple(found)


def exposition_text(answer: Answer) -> str:
    """Return the answer in Prometheus' text format 0.0.4."""
    lines: list[str] = []
    for gauge in gauges(answer):
        lines.append(f"# HELP {gauge.name} {_escaped(gauge.help)}")
        lines.append(f"# TYPE {gauge.name} gauge")
        for values, value in gauge.samples:
            pairs = ",".join(
                f'{label}="{_escaped(text, quotes=True)}"' for label, text in zip(gauge.labels, values, strict=True)
            )
            lines.append(f"{gauge.name}{f'{{{pairs}}}' if pairs else ''} {value!r}")
    return "\n".join(lines) + "\n" if lines else ""


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text

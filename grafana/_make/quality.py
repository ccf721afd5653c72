"""*Data quality*: how much of the cost is known, how well, and whether spancost itself is well."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section
from grafana._make.panels import (
    BAD,
    COUNT,
    GOOD,
    NOTICE,
    PER_SECOND,
    PLAIN,
    SECONDS,
    SHARE,
    USD,
    Column,
    Query,
    figure,
    listing,
    plot,
)
from grafana._make.queries import DAY_S, HOUR_S, SCOPE, by, increase, of, rate

_SPANS: Final = "spancost_spans_total"
_KNOWN: Final = rate(_SPANS, "", 'status=~"priced|estimated|free"')
_ALL: Final = rate(_SPANS, "", 'status!="duplicate"')
_SCOPE: Final = by(*SCOPE)
_TWICE: Final = (
    f"group by ({_SCOPE}) ({of('spancost_spans_cost_usd_total')}) "
    f"and on ({_SCOPE}) group by ({_SCOPE}) ({of('spancost_cost_usd_total')})"
)
_FLUSHED: Final = f"time() - min by (service_name) ({of('spancost_internal_last_flush_timestamp_seconds')} > 0)"

_BOOK_AGE: Final = of("spancost_internal_price_age_seconds", 'prices="book"')
_ALERTS_LOST: Final = of("spancost_internal_alerts", 'outcome=~"given_up|dropped"')

BOARD: Final = Board(
    uid="spancost-data-quality",
    title="Cost data quality",
    description="How far the other dashboards can be trusted: what has no price, what was estimated, what came late.",
    sections=(
        Section(
            "Can it be trusted",
            (
                figure(
                    "Priced share",
                    "Part of the charged spans whose cost is known: priced, estimated or known to be free. "
                    "Duplicates, whose call is charged on another span, do not count. A part of spans, not of money: "
                    "what has no price has no known amount.",
                    f"{_KNOWN} / {_ALL}", unit=SHARE, steps=((None, BAD), (0.9, NOTICE), (0.99, GOOD)),
                    over_time=True,
                ),
                figure(
                    "Estimated share of cost",
                    "Part of the cost that rests on an assumption, such as a size that nobody told.",
                    f"({rate('spancost_estimated_cost_usd_total', '')} "
                    f"or 0 * {rate('spancost_cost_usd_total', '')}) / {rate('spancost_cost_usd_total', '')}",
                    unit=SHARE, steps=((None, GOOD), (0.2, NOTICE), (0.5, BAD)), over_time=True,
                ),
                figure(
                    "Services counted twice",
                    "Services with metrics of their own whose spans a Collector counts, too. Recorded rates take the "
                    "services' own; sums over both metrics would be double.",
                    f"count({_TWICE}) or vector(0)", unit=COUNT, steps=((None, GOOD), (1, BAD)),
                ),
                figure(
                    "Sampled spans only",
                    "Processes that see nothing but sampled spans. Their cost is that of the sampled part: "
                    "too low by the sampling rate.",
                    f"sum({of('spancost_internal_sampled_only')})", unit=COUNT, steps=((None, GOOD), (1, BAD)),
                ),
                figure(
                    "Oldest flush",
                    "Age of the last flush of the service that is furthest behind: its counters stand still since "
                    "then. A process that has ended shows it until Prometheus forgets it.",
                    f"max({_FLUSHED})", unit=SECONDS, steps=((None, GOOD), (120, NOTICE), (600, BAD)),
                ),
                figure(
                    "Age of the price book",
                    "Age of the newest price that ships with spancost, of the oldest in use.",
                    f"max({_BOOK_AGE})",
                    unit=SECONDS, steps=((None, GOOD), (90 * DAY_S, NOTICE), (365 * DAY_S, BAD)),
                ),
            ),
        ),
        Section(
            "What has no price, or an assumed one",
            (
                plot(
                    "Charged spans by status", "Part of all charged spans.",
                    [Query(rate(_SPANS, "status"), "{{status}}")], unit=PER_SECOND, stacked=True, as_share=True,
                    width=8,
                ),
                listing(
                    "Without a price by reason",
                    "Spans in the time shown whose cost is not known; `increase`, extrapolated. What a reason means "
                    "and what to do is in the reference under Reasons.",
                    [increase("spancost_unpriced_total", by("reason", "component", "provider", "operation"))],
                    [
                        Column("reason", "Reason"),
                        Column("component", "Component"),
                        Column("provider", "Provider"),
                        Column("operation", "Operation"),
                        Column("Value #A", "Spans", COUNT),
                    ],
                    width=16, height=9,
                ),
                plot(
                    "Estimated cost",
                    "USD per hour that rests on an assumption, by whether the true cost is at most or at least that, "
                    "or unknown.",
                    [Query(f"{rate('spancost_estimated_cost_usd_total', by('component', 'bound'))} * {HOUR_S}",
                           "{{component}} {{bound}}")],
                    unit=USD, stacked=True,
                ),
                listing(
                    "Duplicates",
                    "Spans in the time shown whose call is charged on another span, by how that was known. Nothing "
                    "is wrong with them: this is what would have been counted twice. `increase`, extrapolated.",
                    [increase("spancost_duplicates_total", by("reason", "component", "provider", "operation"))],
                    [
                        Column("reason", "Known by"),
                        Column("component", "Component"),
                        Column("provider", "Provider"),
                        Column("operation", "Operation"),
                        Column("Value #A", "Spans", COUNT),
                    ],
                    width=12, height=9,
                ),
            ),
        ),
        Section(
            "What came late, or belongs to nobody",
            (
                plot(
                    "Late cost",
                    "USD per hour charged after the local root was exported: in all counters, but not in the total "
                    "of its span.",
                    [Query(f"{rate('spancost_late_cost_usd_total', by('service_name', 'component'))} * {HOUR_S}",
                           "{{service_name}} {{component}}")],
                    unit=USD, width=8,
                ),
                plot(
                    "Unattributed cost", "USD per hour that was charged without any span.",
                    [Query(f"{rate('spancost_unattributed_cost_usd_total', by('service_name', 'component'))} "
                           f"* {HOUR_S}", "{{service_name}} {{component}}")],
                    unit=USD, width=8,
                ),
                plot(
                    "Folded into `other`",
                    "Additions to series beyond a cap, by metric and service, since each process began. Sums stay "
                    "whole, names are lost.",
                    [Query(f"sum by (service_name, metric) ({of('spancost_internal_series_other')})",
                           "{{service_name}} {{metric}}")],
                    unit=COUNT, width=8,
                ),
                listing(
                    "Counted twice",
                    "Services with metrics of their own whose spans a Collector counts, too. Leave them out there: "
                    "see collector-config/no-sdk-metrics.md.",
                    [f"count by ({_SCOPE}) ({_TWICE})"],
                    [
                        Column("service_name", "Service"),
                        Column("deployment_environment_name", "Environment"),
                        Column("k8s_namespace_name", "Namespace"),
                        Column("cloud_account_id", "Account"),
                        Column("cloud_region", "Region"),
                    ],
                    height=6, hidden=("Value",),
                ),
            ),
        ),
        Section(
            "spancost itself",
            (
                plot(
                    "Age of the last flush",
                    "Seconds since the counters of each service were last written, of its slowest process. Grows in a "
                    "straight line when a process hangs or has ended.",
                    [Query(_FLUSHED, "{{service_name}}")], unit=SECONDS, width=8,
                ),
                plot(
                    "Internal errors",
                    "Errors of spancost itself per second, by place. They change nothing for the application; each is "
                    "logged, at most once in five minutes.",
                    [Query(rate("spancost_internal_errors_total", by("service_name", "place")),
                           "{{service_name}} {{place}}")],
                    unit=PER_SECOND, width=8,
                ),
                plot(
                    "Waiting and given up",
                    "Batches that a failing ledger has not taken yet, local roots settled before they ended, and "
                    "alerts that could not be sent, of all processes.",
                    [
                        Query(f"sum({of('spancost_internal_queue_length')})", "batches waiting"),
                        Query(f"sum({of('spancost_internal_evictions')})", "roots settled early"),
                        Query(f"sum({_ALERTS_LOST})",
                              "alerts given up"),
                    ],
                    unit=COUNT, width=8,
                ),
                listing(
                    "Versions",
                    "Processes by version of spancost and of its prices, and how many of them reached every sink with "
                    "their last flush.",
                    [f"sum by (service_name, version, prices) ({of('spancost_internal_build')})"],
                    [
                        Column("service_name", "Service"),
                        Column("version", "Version"),
                        Column("prices", "Prices"),
                        Column("Value #A", "Processes", COUNT),
                    ],
                    width=12, height=7,
                ),
                listing(
                    "Sinks",
                    "Processes of each service, how many of them reached every sink with their last flush, and "
                    "seconds of compute that were given to requests beyond the process's share, to be repaid by idle "
                    "time.",
                    [
                        f"count by (service_name) ({of('spancost_internal_last_flush_success')})",
                        f"sum by (service_name) ({of('spancost_internal_last_flush_success')})",
                        f"sum by (service_name) ({of('spancost_internal_compute_debt_seconds')})",
                    ],
                    [
                        Column("service_name", "Service"),
                        Column("Value #A", "Processes", COUNT),
                        Column("Value #B", "Last flush fine", COUNT),
                        Column("Value #C", "Compute debt", SECONDS, steps=((None, PLAIN),)),
                    ],
                    width=12, height=7,
                ),
            ),
        ),
    ),
)  # fmt: skip

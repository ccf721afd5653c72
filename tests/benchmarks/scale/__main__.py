"""Send the load of a simulated fleet, or measure what it takes.

    python -m tests.benchmarks.scale load --endpoint http://127.0.0.1:4318
    python -m tests.benchmarks.scale series
    python -m tests.benchmarks.scale spans
    python -m tests.benchmarks.scale memory
    python -m tests.benchmarks.scale prometheus
    python -m tests.benchmarks.scale collector

The last two need the programs of `make stack`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from examples.shop.processes import StackError
from spancost import names
from tests.benchmarks.arguments import positive
from tests.benchmarks.scale import report
from tests.benchmarks.scale.fleet import Fleet
from tests.benchmarks.scale.load import SIGNALS, Limits, Load, Sent
from tests.benchmarks.scale.sending import LoadError

_FLEET = Fleet()
_LIMITS = Limits()
_ABOUT = "Send the load of a simulated fleet, or measure what it takes."


def _load(options: argparse.Namespace) -> list[dict[str, Any]]:
    fleet = Fleet(**{name: getattr(options, name) for name in Fleet.__dataclass_fields__})
    limits = Limits(options.spans, options.seconds, options.rate, options.rounds)
    load = Load(
        fleet,
        options.endpoint,
        signals=options.signals,
        connections=options.connections,
        compressed=options.gzip,
        anywhere=options.anywhere,
    )
    with report.progress("sending") as tell:
        sent = load.run(limits, tell)
    # Without spans there are the counters, which say the same.
    costs = sent.totals("component") or sent.counted(names.METRIC_COST, "component")
    usd = {component: usd for (component,), usd in sorted(costs.items())}
    if options.format == report.JSON:
        return [{**_summary(sent), "usd": usd}]
    report.show([_summary(sent)], report.TABLE)
    print()
    return [{"component": component, "usd": amount} for component, amount in usd.items()]


def _summary(sent: Sent) -> dict[str, Any]:
    return {
        "spans": sent.spans,
        "traces": sent.traces,
        "metric_exports": sent.metric_exports,
        "series": sent.series,
        "seconds": round(sent.seconds, 2),
        "spans_per_s": round(sent.spans / sent.seconds),
        "mib": round(sent.bytes / 2**20, 1),
        "refusals": sent.refusals,
        "cpu_s": round(sent.cpu_s, 2),
    }


def _series(options: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.benchmarks.scale.product import Shape, size_of

    base = Shape()
    shapes = (
        [base]
        if options.quick
        else [
            Shape(routes=5, tenants=1, features=1),
            base,
            Shape(routes=100, tenants=50),
            Shape(routes=200, tenants=50),
            Shape(routes=20, tenants=300),
            Shape(routes=20, tenants=1000),
            Shape(routes=20, tenants=50, models=5),
            Shape(routes=20, tenants=50, calls=8),
            Shape(routes=3000, tenants=3000),
        ]
    )
    rows: list[dict[str, Any]] = []
    for shape in shapes:
        size = size_of(shape)
        named = {name.removeprefix("spancost.").removesuffix(".usd"): count for name, count in size.points.items()}
        shown = ("cost", "attributed.cost", "request.cost")
        rows.append(
            asdict(shape)
            | {name: named[name] for name in shown}
            | {"others": size.all_points - sum(named[name] for name in shown)}
            | {
                "prometheus_series": size.prometheus_series,
                "folded": size.folded,
                "otlp_bytes": size.export_bytes,
                "gzip": size.export_gzip_bytes,
                "scrape_bytes": size.scrape_bytes,
                "scrape_gzip": size.scrape_gzip_bytes,
            }
        )
    return rows


def _spans(_: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.benchmarks.scale.product import span_bytes

    return [
        {"attributes": one.attributes, "spans": one.spans, "bytes": one.bytes, "gzip": one.gzip_bytes}
        for one in span_bytes()
    ]


def _memory(_: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.benchmarks.scale.product import memory

    return [
        {"what": one.what, "series": one.series, "kib_per_1000_series": one.bytes_per_series * 1000 / 1024}
        for one in memory()
    ]


def _prometheus(options: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.benchmarks.scale.prometheus import measure

    return [asdict(measure(options.workers, share)) for share in options.active]


def _collector(options: argparse.Namespace) -> list[dict[str, Any]]:
    from tests.benchmarks.scale.collector import CASES, measure

    known = [case.name for case in CASES]
    chosen = options.only or known
    for name in chosen:
        if name not in known:
            raise ValueError(f"--only {name}: not one of {'; '.join(known)}")
    return [
        asdict(measure(case, repeats=options.repeats, share=options.share)) for case in CASES if case.name in chosen
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=_ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], list[dict[str, Any]]], said: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=said, description=said)
        one.add_argument("--format", choices=report.FORMATS, default=report.TABLE)
        one.set_defaults(run=run)
        return one

    load = command("load", _load, "send spans and metrics of a fleet, and say what they cost")
    load.add_argument("--endpoint", required=True, help="OTLP/HTTP receiver: http://HOST:PORT, on this machine")
    load.add_argument("--anywhere", action="store_true", help="the receiver may be on another machine")
    for name, said in (
        ("services", "services"),
        ("workers", "processes of each service"),
        ("routes", "routes of each service"),
        ("tenants", "tenants"),
        ("requests", "requests of a process in one round"),
        ("profiles", "kinds of services"),
        ("seed", "the same seed sends the same"),
    ):
        value = getattr(_FLEET, name)
        load.add_argument(f"--{name}", type=int, default=value, metavar="N", help=f"{said} (default: {value})")
    load.add_argument("--spans", type=int, default=_LIMITS.spans, metavar="N", help="at most so many (default: 200000)")
    load.add_argument(
        "--seconds", type=float, default=_LIMITS.seconds, metavar="S", help="at most so long (default: 10)"
    )
    load.add_argument("--rounds", type=int, default=0, metavar="N", help="at most so many rounds of every process")
    load.add_argument(
        "--rate", type=float, default=0.0, metavar="N", help="spans a second (default: as many as are taken)"
    )
    load.add_argument("--signals", type=_signals, default=SIGNALS, metavar="LIST", help="traces,metrics")
    load.add_argument("--connections", type=positive, default=2, metavar="N", help="that send at a time (default: 2)")
    load.add_argument("--gzip", action="store_true", help="compress what is sent")

    series = command("series", _series, "series and bytes of one process as routes, tenants and models grow")
    series.add_argument("--quick", action="store_true", help="one service only")
    command("spans", _spans, "bytes of a span with and without what spancost writes")
    command("memory", _memory, "memory of a thousand series in a process")
    prometheus = command("prometheus", _prometheus, "memory and disk of a series in Prometheus")
    prometheus.add_argument("--workers", type=positive, default=100, metavar="N", help="processes (default: 100)")
    prometheus.add_argument(
        "--active",
        type=float,
        nargs="+",
        default=[1.0, 0.3],
        metavar="SHARE",
        help="of series that change every minute",
    )
    collector = command("collector", _collector, "CPU and memory of a Collector with our configurations")
    collector.add_argument("--repeats", type=positive, default=3, metavar="N", help="measurements each (default: 3)")
    collector.add_argument("--share", type=float, default=1.0, metavar="X", help="of the load: less for a quick look")
    collector.add_argument("--only", action="append", metavar="CASE", help="one of the cases; again for several")
    return parser


def _signals(text: str) -> tuple[str, ...]:
    signals = tuple(text.split(","))
    unknown = set(signals) - set(SIGNALS)
    if unknown:
        raise argparse.ArgumentTypeError(f"{text}: not {' or '.join(SIGNALS)}, with a comma between them")
    return signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and print its figures; 1 if it did not go through."""
    options = _parser().parse_args(arguments)
    try:
        rows = options.run(options)
    except (LoadError, StackError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    report.show(rows, options.format)
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())

"""Measure `spancost price` on a million stored spans: spans a second of CPU time, peak memory, ratio to parsing alone.

    python -m tests.benchmarks.offline [SPANS]

Writes OTLP JSON lines as the Collector's file exporter does (batches of 512 spans) into a temporary folder. Each
measurement runs in a process of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.shop_requests import make_request

SPANS: Final = 1_000_000
BATCH: Final = 512
_START_NS: Final = 1_795_000_000_000_000_000
_SEED: Final = 4
_ROUTES: Final = tuple((method, f"/{name}/{{id}}") for method in ("GET", "POST") for name in ("cart", "user", "order"))

_PROGRAM: Final = """
import gc, resource, sys, time
path, mode = sys.argv[1:]
import msgspec
began = time.process_time()
spans = 0
if mode == "parse":
    gc.disable()
    with open(path, "rb") as file:
        for line in file:
            msgspec.json.decode(line)
else:
    from spancost.config import Config
    from spancost.offline.pricing import Pricing
    from spancost.offline.reading import Problems, read_files
    from spancost.offline.rollup import roll_up
    from spancost.prices.book import PriceBook
    pricing = Pricing(Config(region="us-east-1"), PriceBook.shipped())
    read_files([path], pricing, Problems())
    spans = roll_up(pricing, ["service", "entrypoint"]).spans
print(time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, spans)
"""


def _attribute(key: str, value: object) -> dict[str, Any]:
    kind = "stringValue" if isinstance(value, str) else "intValue"
    return {"key": key, "value": {kind: str(value)}}


class _Maker:
    """Traces of one shop."""

    def __init__(self) -> None:
        self._random = random.Random(_SEED)
        self._now_ns = _START_NS

    def trace(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield scope and span, children first as exporters send them."""
        draw = self._random
        self._now_ns += 1_000_000
        trace_id, root = f"{draw.getrandbits(128):032x}", f"{draw.getrandbits(64):016x}"
        for span in make_request(draw, *draw.choice(_ROUTES)):
            start_ns = self._now_ns + draw.randrange(100_000)
            yield (
                span.scope,
                {
                    "traceId": trace_id,
                    "spanId": root if span.is_root else f"{draw.getrandbits(64):016x}",
                    "parentSpanId": "" if span.is_root else root,
                    "flags": 257,
                    "name": span.name,
                    # On the wire 0 is "unspecified" and internal is 1.
                    "kind": span.kind.value + 1,
                    "startTimeUnixNano": str(start_ns),
                    "endTimeUnixNano": str(start_ns + draw.randrange(1_000, 900_000)),
                    "attributes": [_attribute(*pair) for pair in span.attributes.items()],
                    "status": {},
                },
            )


def write_traces(path: Path, spans: int) -> None:
    """Write OTLP JSON lines of this many spans."""
    maker = _Maker()
    resource = {
        "service.name": "shop",
        "service.instance.id": "shop-7d4f",
        "cloud.provider": "aws",
        "cloud.region": "us-east-1",
        "telemetry.sdk.language": "python",
    }
    attributes = [_attribute(*pair) for pair in resource.items()]
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < spans:
            groups: dict[str, list[dict[str, Any]]] = {}
            count = 0
            while count < BATCH and written < spans:
                for scope, span in maker.trace():
                    groups.setdefault(scope, []).append(span)
                    count += 1
                    written += 1
            scope_spans = [{"scope": {"name": scope}, "spans": spans_of} for scope, spans_of in groups.items()]
            request = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scope_spans}]}
            file.write(json.dumps(request, separators=(",", ":")) + "\n")


def measure(path: Path, mode: str) -> tuple[float, float, int]:
    """Return CPU seconds, peak MB and spans of one run in a process of its own; `mode` is parse or price."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM, str(path), mode], capture_output=True, text=True, check=True)
    cpu_s, peak_kb, spans = done.stdout.split()
    return float(cpu_s), int(peak_kb) / 1024, int(spans)


def main() -> None:
    """Write the file, measure both and print."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else SPANS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "traces.jsonl")
        began = time.monotonic()
        write_traces(path, wanted)
        size_mb = path.stat().st_size / 2**20
        print(f"{wanted:,} spans, {size_mb:,.0f} MB, written in {time.monotonic() - began:.0f} s")
        parse_s, parse_mb, _ = measure(path, "parse")
        price_s, price_mb, spans = measure(path, "price")
    print(f"parse alone     {parse_s:6.2f} s CPU  {spans / parse_s:9,.0f} spans/s  {parse_mb:5.0f} MB")
    print(f"spancost price  {price_s:6.2f} s CPU  {spans / price_s:9,.0f} spans/s  {price_mb:5.0f} MB")
    print(f"ratio {price_s / parse_s:.2f}")


if __name__ == "__main__":
    main()

"""The CPU model under zero-code: each request of a real server is charged the CPU time it says it has used."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from spancost import names
from tests.e2e import zero_code
from tests.e2e.zero_code import Load, Program
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_ROUTES = ("pool", "loop", "tasks")
_EACH = 3


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_of_uvicorn_are_charged_what_they_used(tmp_path: Path, receiver: OtlpReceiver, loop: str) -> None:
    command = ("uvicorn", "--loop", loop, "--host", "127.0.0.1", "--port", "{port}", "tests.e2e.apps.cpu_app:app")
    environ = zero_code.environment(
        tmp_path,
        otlp=receiver.url,
        instrumentations=frozenset({"fastapi", "asgi", "threading"}),
        SPANCOST_COMPUTE_MODEL="cpu",
        SPANCOST_CPU_REQUEST="1",  # then an instance-second is a CPU-second
    )
    warm = [f"/{route}/warm" for route in (*_ROUTES, "wait")]
    paths = [f"/{route}/{number}" for number in range(_EACH) for route in (*_ROUTES, "wait")]
    true_ms: dict[str, float] = defaultdict(float)
    with Program(tmp_path, command, environ) as program:
        for path in warm:  # imports, and the threads of pools
            program.get(path)
        load = Load()
        load.send(program, paths, workers=0)
        assert load.requests == len(paths)
        receiver.wait_for(lambda got: _server_spans(got) == len(warm) + len(paths))
        for path in paths:
            true_ms[path] += float(program.get(path).body)
        receiver.wait_for(lambda got: _server_spans(got) == len(warm) + 2 * len(paths))
        program.process.stop()
        output = program.process.output()
    assert "error in" not in output
    charged_ms: dict[str, float] = defaultdict(float)
    for span in receiver.spans:
        if span.kind == zero_code.SERVER_KIND:
            usd = float(span.attributes[names.COMPONENT_USD[names.COMPUTE]])
            charged_ms[str(span.attributes["url.path" if "url.path" in span.attributes else "http.target"])] += (
                usd / zero_code.USD_PER_S * 1e3
            )
    for path in paths:
        if path.startswith("/wait"):
            assert charged_ms[path] < 2 * 15.0, path
        else:
            # Asked twice: once beside others, once alone. Each spins for 100 ms.
            assert charged_ms[path] == pytest.approx(2 * true_ms[path], rel=0.05), path


def _server_spans(receiver: OtlpReceiver) -> int:
    return sum(span.kind == zero_code.SERVER_KIND for span in receiver.spans)

"""Settings that are wrong or off leave the application as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import zero_code
from tests.e2e.zero_code import Program
from tests.support.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.e2e

_COMMAND = (
    "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:{port}", "-w", "2", "tests.e2e.apps.flask_app:app",
)  # fmt: skip
_PARTS = frozenset({"flask", "threading"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flush_intervall: 5s\n", ["flush_intervall", "5s", "flush_interval,"]),
        ("prices:\n  - {price: aws.egress.internet, usd: -1, unit: GB}\n", ["usd", "-1"]),
    ],
    ids=["unknown key", "negative price"],
)
def test_wrong_file_is_one_log_line_and_the_application_answers(
    tmp_path: Path, receiver: OtlpReceiver, text: str, said: list[str]
) -> None:
    file = tmp_path / "spancost.yaml"
    file.write_text(text)
    environ = zero_code.environment(tmp_path, otlp=receiver.url, instrumentations=_PARTS, SPANCOST_CONFIG=str(file))
    with Program(tmp_path, _COMMAND, environ) as program:
        for _ in range(10):
            assert program.get("/work/a").body
        receiver.wait_for(lambda got: len(got.spans) >= 10)
        program.process.stop()
        lines = [line for line in program.process.output().splitlines() if "spancost" in line]
    assert len(lines) == 1
    for part in (str(file), *said):
        assert part in lines[0]
    assert not any(name.startswith("spancost") for span in receiver.spans for name in span.attributes)


def test_switched_off_nothing_of_spancost_is_seen(tmp_path: Path, receiver: OtlpReceiver) -> None:
    environ = zero_code.environment(tmp_path, otlp=receiver.url, instrumentations=_PARTS, SPANCOST_ENABLED="false")
    with Program(tmp_path, _COMMAND, environ) as program:
        assert program.get("/work/a").body
        receiver.wait_for(lambda got: any(span.kind == zero_code.SERVER_KIND for span in got.spans))
        program.process.stop()
        assert "spancost" not in program.process.output()
    assert not any(name.startswith("spancost") for span in receiver.spans for name in span.attributes)
    assert not any(point.metric.startswith("spancost") for point in receiver.points)
    assert not program.ledger.exists()

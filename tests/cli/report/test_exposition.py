from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families

from spancost import names
from spancost.cli.report.asking import Answer, ask
from spancost.cli.report.exposition import exposition_text, label_names
from spancost.cli.report.options import Asked
from spancost.cli.report.period import Period
from spancost.cli.report.pushing import push
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, Attribution, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    HOME,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    PUT,
    PUT_USD,
    UNKNOWN_HOST,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)

_ODD = Attribution("", 'a"cme\\\n{x}', "", (("cost-center", "c1"),))


def answer_of(path: Path, *keys: str, period: Period | None = None) -> Answer:
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            charged(charge(PUT, 3, PUT_USD), HOME, _ODD),
            charged(charge(MACHINE, 2, MACHINE_USD), HOME, minute=MINUTE + 9),
            charged(charge(UNKNOWN_HOST, 1), EntryLabels("/unknown", "GET"), times=5),
            charged(charge(MACHINE, 4, MACHINE_USD), EntryLabels(), position=IDLE),
            served(6, HOME, _ODD),
        )
    )
    with LedgerReader(path) as reader:
        return ask(reader, Asked(keys, (), period or Period()))


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    return {
        family.name: {tuple(sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_keys_are_labels_and_odd_values_come_through(tmp_path: Path) -> None:
    found = samples(exposition_text(answer_of(tmp_path / "a.sqlite", "tenant", "label.cost-center")))
    acme = (("label_cost_center", "c1"), ("tenant", 'a"cme\\\n{x}'))
    nobody = (("label_cost_center", ""), ("tenant", ""))
    assert found["spancost_report_cost_usd"] == {
        acme: pytest.approx(3 * PUT_USD),
        nobody: pytest.approx(2 * MACHINE_USD),
    }
    assert found["spancost_report_idle_cost_usd"] == {nobody: pytest.approx(4 * MACHINE_USD)}
    assert found["spancost_report_requests"] == {acme: 6.0, nobody: 0.0}
    assert found["spancost_report_unpriced_charges"] == {nobody: 5.0}
    # ten minutes of data: a month of 730 hours is 4 380 times as long
    assert found["spancost_report_usd_per_month"][acme] == pytest.approx(3 * PUT_USD * 4380)


def test_what_has_no_price_has_no_cost_of_zero(tmp_path: Path) -> None:
    found = samples(exposition_text(answer_of(tmp_path / "a.sqlite", "entrypoint")))
    assert list(found["spancost_report_cost_usd"]) == [(("entrypoint", "GET /"),)]
    assert found["spancost_report_unpriced_charges"] == {(("entrypoint", "GET /unknown"),): 5.0}


def test_requests_that_rows_share_are_left_out(tmp_path: Path) -> None:
    assert "spancost_report_requests" not in exposition_text(answer_of(tmp_path / "a.sqlite", "component"))


def test_the_period_is_a_label_where_one_was_asked_for(tmp_path: Path) -> None:
    period = Period(MINUTE, named="the last 1h")
    found = samples(exposition_text(answer_of(tmp_path / "a.sqlite", "service", period=period)))
    assert list(found["spancost_report_cost_usd"]) == [(("period", "the last 1h"), ("service", "shop"))]


def test_no_name_is_that_of_a_counter_of_a_running_application() -> None:
    reported = {value for name, value in vars(names).items() if name.startswith("REPORT_") and isinstance(value, str)}
    live = {str(value).replace(".", "_") for name, value in vars(names).items() if name.startswith("METRIC_")}
    assert len(reported) == 5
    assert not reported & (live | {f"{name}_total" for name in live})


def test_label_names_are_valid_and_differ() -> None:
    assert label_names(["label.a-b", "label.a_b", "http_route", "label.ü"]) == (
        "label_a_b",
        "label_a_b_2",
        "http_route",
        "label__",
    )


class _Gateway(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, str, bytes]]] = []
    status: ClassVar[int] = 200

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.command, self.path, self.headers.get("Authorization", ""), body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def gateway() -> Iterator[str]:
    _Gateway.seen, _Gateway.status = [], 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_gateway_gets_what_the_text_says(tmp_path: Path, gateway: str) -> None:
    answer = answer_of(tmp_path / "a.sqlite", "tenant")
    push(answer, f"http://{gateway}", "nightly")
    ((method, path, authorization, body),) = _Gateway.seen
    assert (method, path, authorization) == ("PUT", "/metrics/job/nightly", "")
    assert samples(body.decode()) == samples(exposition_text(answer))


def test_user_and_password_are_sent_and_never_shown(
    tmp_path: Path, gateway: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answer_of(tmp_path / "a.sqlite", "tenant")
    push(answer, f"http://ann:s%40crt@{gateway}/base", "nightly")
    assert _Gateway.seen[0][1:3] == ("/base/metrics/job/nightly", "Basic YW5uOnNAY3J0")
    _Gateway.status = 401
    with pytest.raises(typer.Exit) as ended:
        push(answer, f"http://ann:s%40crt@{gateway}", "nightly")
    assert ended.value.exit_code == 2
    message = capsys.readouterr().err
    assert f"http://{gateway} did not take the report" in message
    assert "401" in message
    assert "crt" not in message


def test_without_prometheus_client_pushing_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = answer_of(tmp_path / "a.sqlite", "tenant")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(typer.Exit):
        push(answer, "http://127.0.0.1:9", "nightly")
    assert "pip install 'spancost[prometheus]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "message"), [("ftp://x", "not a URL"), ("http://", "not a URL"), ("http://127.0.0.1:1", "did not take")]
)
def test_a_gateway_that_is_none_ends_the_command(
    tmp_path: Path, url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        push(answer_of(tmp_path / "a.sqlite", "tenant"), url, "nightly")
    assert message in capsys.readouterr().err

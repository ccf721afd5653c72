"""Every panel of the dashboards shows something of the demo shop, asked of the real Prometheus."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import time
from typing import Any, Final, NamedTuple

import pytest
from typer.testing import CliRunner

from examples.stack.servers import Prometheus
from spancost.cli._app import application
from tests.stack.shop_in_prometheus import ROOT, shop_in_prometheus
from tests.support.html_page import assert_asks_nobody

pytestmark = pytest.mark.stack

_BOARDS: Final = ROOT / "grafana" / "dashboards"
_LISTED: Final = ROOT / "grafana" / "expected-empty.yaml"
_RANGE: Final = "5m"
_SCREENSHOT_S: Final = 120
_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


class Run(NamedTuple):
    """The dashboards, asked once."""

    prometheus: Prometheus
    end: float
    code: int
    document: dict[str, Any]
    page: Path

    def panels(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each panel with the uid of its dashboard."""
        for board in self.document["dashboards"]:
            for panel in board["panels"]:
                yield board["uid"], panel


def _check(*arguments: str) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(application("dashboards"), ["dashboards", "check", *arguments, "--format", "json"])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("dashboards")
    with shop_in_prometheus(folder) as prometheus:
        # The next whole minute: sums over steps of a minute have their last one then, and nobody waits for it.
        end = math.ceil(time() / 60) * 60.0
        page = folder / "page.html"
        code, document = _check(
            str(_BOARDS), "--prometheus", prometheus.url, "--range", _RANGE, "--scrape-interval", "1s",
            "--end", str(round(end * 1000)), "--expect-empty", str(_LISTED), "--html", str(page),
        )  # fmt: skip
        yield Run(prometheus, end, code, document, page)


def test_every_panel_shows_something_or_has_a_reason_why_not(run: Run) -> None:
    states = {(uid, panel["title"]): (panel["state"], panel["said"]) for uid, panel in run.panels()}
    assert len(states) > 70
    assert {key: said for key, said in states.items() if said[0] not in ("ok", "may be empty")} == {}
    assert run.code == 0


def test_no_panel_that_is_listed_as_empty_shows_something(run: Run) -> None:
    assert [(uid, panel["title"]) for uid, panel in run.panels() if panel["listed_but_filled"]] == []


def test_every_variable_of_the_labels_that_the_shop_has_offers_values(run: Run) -> None:
    for board in run.document["dashboards"]:
        offered = {one["name"]: one["values"] for one in board["variables"]}
        assert offered["service_name"] == ["assistant", "office", "storefront"], board["title"]
        assert (offered["deployment_environment_name"], offered["cloud_region"]) == (["demo"], ["us-east-1"])
        assert offered["k8s_namespace_name"] == []  # the label is absent, and `All` takes the series all the same
        assert [one for one in board["variables"] if one["error"]] == []
        assert board["annotations"] == [{"name": "Alerts", "error": ""}]


def test_requests_with_a_trace_are_found_for_the_percentile(run: Run) -> None:
    (panel,) = [panel for uid, panel in run.panels() if (uid, panel["title"]) == ("spancost-route", "Request cost")]
    assert [query["exemplars"] > 0 for query in panel["queries"]] == [False, True, False]


def test_the_money_of_the_panels_is_that_of_the_counters(run: Run) -> None:
    """Rates extrapolate: what is added up from them comes to the counters' sum nearly."""
    truth = run.prometheus.sums("sum(spancost_cost_usd_total)", at=run.end)[()]
    found = {(uid, panel["title"]): panel["queries"][0]["query"] for uid, panel in run.panels()}
    month = run.prometheus.sums(found["spancost-overview", "This month"], at=run.end)[()]
    by_model = run.prometheus.sums(found["spancost-llm", "Models"], at=run.end)
    tokens = run.prometheus.sums('sum(spancost_cost_usd_total{component="llm"})', at=run.end)[()]
    # Minutes of the hour that runs count with their rate over five: a run this short is not wholly in them yet.
    assert truth * 0.1 < month < truth * 1.2
    assert sum(by_model.values()) == pytest.approx(tokens, rel=0.15)


def test_a_choice_of_one_service_leaves_the_others_out(run: Run) -> None:
    _, document = _check(
        str(_BOARDS / "spancost-overview.json"), "--prometheus", run.prometheus.url, "--range", _RANGE,
        "--end", str(round(run.end * 1000)), "--var", "service_name=office", "--scrape-interval", "1s",
    )  # fmt: skip
    (panel,) = [one for one in document["dashboards"][0]["panels"] if one["title"] == "Cost by service"]
    assert 'service_name=~"office"' in panel["queries"][0]["query"]
    assert panel["queries"][0]["series"] == 1


def test_a_query_that_prometheus_refuses_is_an_error_of_its_panel(run: Run, tmp_path: Path) -> None:
    board = json.loads((_BOARDS / "spancost-overview.json").read_text("utf-8"))
    board["panels"][1]["targets"][0]["expr"] = "sum(spancost_cost_usd_total"
    (tmp_path / "broken.json").write_text(json.dumps(board), "utf-8")
    code, document = _check(str(tmp_path), "--prometheus", run.prometheus.url, "--range", _RANGE)
    panels = document["dashboards"][0]["panels"]
    assert (code, panels[0]["state"]) == (1, "error")
    assert "parse error" in panels[0]["said"]


def test_the_page_can_be_looked_at_in_a_browser(run: Run, tmp_path: Path) -> None:
    assert_asks_nobody(run.page.read_text("utf-8").replace(run.prometheus.url, ""))
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser is not None, "no Chromium: apt-get install chromium"
    picture = tmp_path / "page.png"
    subprocess.run(
        [
            browser, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1500,15000",
            f"--screenshot={picture}", run.page.as_uri(),
        ],
        timeout=_SCREENSHOT_S, check=True, capture_output=True,
    )  # fmt: skip
    assert picture.stat().st_size > 300_000  # an empty page of this size has 60 000


def test_panels_lie_in_the_browser_where_grafana_puts_them(run: Run, tmp_path: Path) -> None:
    """Asked of the laid-out page itself, by a script that only the test adds."""
    browser = shutil.which("chromium") or "chromium"
    script = """<script>
      const found = [...document.querySelectorAll('.panel')].map(one => {
        const box = one.getBoundingClientRect();
        return [one.querySelector('h4').textContent, box.left, box.top, box.width, box.height, one.scrollWidth];
      });
      const answer = document.createElement('pre');
      answer.id = 'measured';
      answer.textContent = JSON.stringify(found);
      document.body.replaceChildren(answer);
    </script>"""
    text = run.page.read_text("utf-8")
    start, end = text.index('<meta http-equiv="Content-Security-Policy"'), text.index('<meta name="viewport"')
    measured = tmp_path / "measured.html"
    measured.write_text((text[:start] + text[end:]).replace("</body>", f"{script}</body>"), "utf-8")
    done = subprocess.run(
        [browser, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1500,15000", "--dump-dom",
         measured.as_uri()],
        timeout=_SCREENSHOT_S, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(_between(done.stdout, '<pre id="measured">', "</pre>"))
    titles = [panel["title"] for _, panel in run.panels()]
    assert [title for title, *_ in found] == [title.replace("&", "&amp;") for title in titles]
    whole = max(left + width for _, left, _, width, _, _ in found) - min(left for _, left, *_ in found)
    cells = [panel["gridPos"] for board in _raw_boards() for panel in board["panels"] if panel["type"] != "row"]
    for (title, _, _, width, height, inside), cell in zip(found, cells, strict=True):
        assert width == pytest.approx(whole * cell["w"] / 24, abs=8), title
        assert height >= cell["h"] * 30, title
        assert inside <= width + 1, f"{title}: something is cut off"


def _raw_boards() -> list[dict[str, Any]]:
    return [json.loads(file.read_text("utf-8")) for file in sorted(_BOARDS.glob("*.json"))]


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]

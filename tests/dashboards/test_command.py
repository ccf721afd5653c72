"""`spancost dashboards check` against a server that gives prepared answers; the real one is in tests/stack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from spancost.cli._app import application
from tests.dashboards.boards import SOURCE, answer, instant, panel, write
from tests.support.json_server import JsonServer, Status, json_server

_REFUSED = {"status": "error", "errorType": "bad_data", "error": 'parse error: unclosed "("'}


class _Done(NamedTuple):
    code: int
    stdout: str
    stderr: str

    @property
    def panels(self) -> dict[str, dict[str, Any]]:
        boards = json.loads(self.stdout)["dashboards"]
        return {one["title"]: one for board in boards for one in board["panels"]}


def _check(server: JsonServer | str, *arguments: str | Path, form: str = "json") -> _Done:
    url = server if isinstance(server, str) else server.url
    command = ["dashboards", "check", *map(str, arguments), "--prometheus", url, "--format", form]
    done = CliRunner().invoke(application("dashboards"), command)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return _Done(done.exit_code, done.stdout, done.stderr)


def _asked(folder: Path, panels: Sequence[dict[str, Any]], answers: Sequence[Any], *arguments: str) -> _Done:
    with json_server(answers) as server:
        return _check(server, write(folder, *panels), *arguments)


def test_panels_are_asked_as_they_say_over_a_range_or_at_one_time(tmp_path: Path) -> None:
    panels = [panel("Plot", "rate(cost[$__rate_interval])"), panel("Now", "sum(cost)", kind="stat", number=2)]
    with json_server([answer(({}, [(1000.0, 1.0)])), instant(({}, 2.0))]) as server:
        done = _check(
            server, write(tmp_path, *panels), "--end", "2026-11-21T12:00:07Z", "--range", "1h",
            "--header", "X-Scope-OrgID: shop",
        )  # fmt: skip
    assert (done.code, done.panels["Plot"]["state"], done.panels["Now"]["state"]) == (0, "ok", "ok")
    plot, now = server.asked
    end = 1795262407.0
    assert (plot.path, now.path) == ("/api/v1/query_range", "/api/v1/query")
    assert plot.query == {
        "query": ["rate(cost[1m])"],
        "start": [repr(end - 3600 - 7)],  # the grid of steps of 15 s
        "end": [repr(end)],
        "step": ["15.0"],
    }
    assert now.query == {"query": ["sum(cost)"], "time": [repr(end)]}
    assert {one.headers["x-scope-orgid"] for one in server.asked} == {"shop"}


def test_an_empty_panel_is_found_unless_it_is_listed_with_a_reason(tmp_path: Path) -> None:
    listed = tmp_path / "empty.yaml"
    listed.write_text("shop: {Plot: nobody buys}", encoding="utf-8")
    panels = [panel("Plot", "cost")]
    assert (found := _asked(tmp_path, panels, [answer()])).code == 1
    assert (found.panels["Plot"]["state"], found.panels["Plot"]["said"]) == ("empty", "no query has an answer")
    excused = _asked(tmp_path, panels, [answer()], "--expect-empty", str(listed))
    assert (excused.code, excused.panels["Plot"]["state"]) == (0, "may be empty")
    assert excused.panels["Plot"]["said"] == "nobody buys"
    filled = _asked(tmp_path, panels, [answer(({}, [(1.0, 1.0)]))], "--expect-empty", str(listed))
    assert (filled.code, filled.panels["Plot"]["listed_but_filled"]) == (0, True)


def test_nothing_but_nan_is_nothing_to_see(tmp_path: Path) -> None:
    found = _asked(tmp_path, [panel("Plot", "0 / 0")], [answer(({}, [(1.0, float("nan"))]))])
    assert (found.code, found.panels["Plot"]["state"]) == (1, "empty")


def test_a_query_that_the_server_refuses_is_an_error_of_its_panel_alone(tmp_path: Path) -> None:
    board = write(tmp_path, panel("Bad", "sum("), panel("Odd", "$gone", number=2))
    with json_server([Status(400, _REFUSED)]) as server:
        done = _check(server, board)
    assert done.code == 1
    assert (done.panels["Bad"]["state"], done.panels["Bad"]["said"]) == ("error", 'A: parse error: unclosed "("')
    assert done.panels["Odd"]["said"] == "A: no variable $gone"


def test_a_long_query_goes_into_the_body(tmp_path: Path) -> None:
    with json_server([answer(({}, [(1.0, 1.0)]))]) as server:
        assert _check(server, write(tmp_path, panel("Plot", " + ".join(["cost"] * 500)))).code == 0
    assert server.asked[0].query == {}  # nothing in the URL


def test_a_variable_in_error_is_a_finding_though_all_panels_are_fine(tmp_path: Path) -> None:
    variable = {"name": "v", "type": "query", "query": "nonsense", "datasource": SOURCE}
    with json_server([answer(({}, [(1.0, 1.0)]))]) as server:
        board = write(tmp_path, panel("Plot", "cost"), templating={"list": [variable]})
        done = _check(server, board, form="table")
    assert done.code == 1
    assert "Shop: variable v: 'nonsense' is not accepted" in done.stdout
    assert "1 ok" in done.stdout


def test_values_of_variables_are_given_on_the_command_line(tmp_path: Path) -> None:
    variable = {"name": "route", "type": "query", "query": "label_values(route)", "multi": True}
    with json_server([{"status": "success", "data": ["/a"]}, answer(({}, [(1.0, 1.0)]))]) as server:
        board = write(tmp_path, panel("Plot", 'cost{route=~"$route"}'), templating={"list": [variable]})
        assert _check(server, board, "--var", "route=/b", "--var", "route=/c=d").code == 0
    assert server.asked[1].query["query"] == ['cost{route=~"(/b|/c=d)"}']


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--range", "soon"], "--range: 'soon' is not accepted: a duration"),
        (["--range", "0s"], "a duration above 0"),
        (["--scrape-interval", "1"], "--scrape-interval: '1' is not accepted"),
        (["--end", "later"], "--end: 'later' is not accepted: a time"),
        (["--var", "route"], "--var: 'route' is not accepted: NAME=VALUE"),
        (["--var", "rout=x"], "--var: 'rout' is not accepted"),
        (["--header", "secret"], "--header: NAME:VALUE"),
        (["--expect-empty", "gone.yaml"], "gone.yaml"),
        (["--html", "gone/page.html"], "--html: gone/page.html: No such file or directory"),
    ],
)
def test_wrong_usage_is_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = _asked(tmp_path, [panel("Plot", "cost")], [answer()], *arguments)
    assert done.code == 2
    assert said in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shop: [Plot]", "shop: ['Plot'] is not accepted: titles of panels"),
        ("shop: {Plot: }", "shop.Plot: None is not accepted: the reason"),
        ("shop: {Plott: x}", "shop: 'Plott' is not accepted: a panel of"),
    ],
)
def test_a_list_of_empty_panels_that_is_wrong_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "empty.yaml").write_text(text, encoding="utf-8")
    done = _asked(tmp_path, [panel("Plot", "cost")], [answer()], "--expect-empty", str(tmp_path / "empty.yaml"))
    assert done.code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (503, "answers HTTP 503"),
        (b"<html>", "does not answer as a Prometheus server does"),
        ({"status": "success", "data": {"resultType": "matrix"}}, "does not answer as a Prometheus server does"),
    ],
)
def test_a_server_that_is_no_prometheus_is_named_without_its_password(tmp_path: Path, reply: Any, said: str) -> None:
    with json_server([reply]) as server:
        done = _check(server.url.replace("//", "//ops:hush@"), write(tmp_path, panel("Plot", "cost")))
    assert done.code == 2
    assert done.stderr == f"{server.url} {said}\n"


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    done = _check("http://127.0.0.1:9", write(tmp_path, panel("Plot", "cost")))
    assert done.code == 2
    assert "http://127.0.0.1:9 does not answer" in done.stderr
    assert _check("localhost:9090", write(tmp_path, panel("Plot", "cost"))).code == 2

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from spancost.cli.run import prepared_environment, script_name, service_name
from spancost.errors import ConfigError
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import at_minute, batch_of, served

SHOW = "import os; print(*(f'{n}={v}' for n, v in sorted(os.environ.items()) if n[:4] in ('SPAN', 'OTEL')), sep='\\n')"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_with_nothing_set_a_machine_is_assumed_and_said(in_empty_folder: Path) -> None:
    environment, notes = prepared_environment({}, ["flask", "--app", "shop", "run"])
    assert environment == {
        "SPANCOST_LEDGER": str(in_empty_folder / "spancost.sqlite"),
        "SPANCOST_ASSUME": "compute,region",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    assert any("aws:m6i.large, us-east-1" in note and "estimated" in note for note in notes)


def test_what_is_set_already_stays(tmp_path: Path) -> None:
    ledger = str(tmp_path / "costs.sqlite")
    given = {
        "SPANCOST_LEDGER": ledger,
        "SPANCOST_COMPUTE": "aws:m6i.large",
        "SPANCOST_REGION": "eu-west-1",
        "SPANCOST_ENTRYPOINT": "nightly import",
        "OTEL_SERVICE_NAME": "web",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    environment, notes = prepared_environment(given, ["python", "app.py"])
    assert environment == given
    assert notes == [f"ledger {ledger}; compute aws:m6i.large in eu-west-1"]


def test_options_win_over_the_environment(in_empty_folder: Path) -> None:
    given = {"SPANCOST_REGION": "eu-west-1", "SPANCOST_LEDGER": "a.sqlite"}
    environment, _ = prepared_environment(given, ["app"], ledger="b.sqlite", compute="0.1usd/h", region="us-east-1")
    assert environment["SPANCOST_LEDGER"] == str(in_empty_folder / "b.sqlite")
    assert (environment["SPANCOST_COMPUTE"], environment["SPANCOST_REGION"]) == ("0.1usd/h", "us-east-1")
    assert "SPANCOST_ASSUME" not in environment


def test_only_what_is_missing_is_assumed() -> None:
    environment, _ = prepared_environment({"SPANCOST_REGION": "eu-west-1"}, ["app"])
    assert environment["SPANCOST_ASSUME"] == "compute"


def test_settings_of_the_file_count_as_set(in_empty_folder: Path) -> None:
    (in_empty_folder / "spancost.yaml").write_text(
        "region: eu-west-1\ncompute: {machine: 'aws:m6i.large'}\nledger: {path: costs/l.sqlite}\n"
    )
    (in_empty_folder / "costs").mkdir()
    environment, _ = prepared_environment({}, ["app"])
    assert "SPANCOST_ASSUME" not in environment
    assert environment["SPANCOST_LEDGER"] == str(in_empty_folder / "costs" / "l.sqlite")


def test_a_service_name_in_the_resource_attributes_is_kept() -> None:
    environment, _ = prepared_environment({"OTEL_RESOURCE_ATTRIBUTES": "service.name=web"}, ["app"])
    assert "OTEL_SERVICE_NAME" not in environment


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python nightly.py", "nightly"),
        ("python nightly", "nightly"),
        ("/usr/bin/python3.13 -u -W ignore jobs/nightly.py gunicorn.py", "nightly"),
        ("python -m jobs.nightly --all", "jobs.nightly"),
        ("python -X dev -mjobs.nightly", "jobs.nightly"),
        ("python manage.py import_orders --all", "import_orders"),
        ("python -m django migrate", "migrate"),
        ("python manage.py", ""),
        ("python manage.py runserver 8000", ""),
        ("python -m celery -A shop worker", ""),
        ("python -m gunicorn.app.wsgiapp shop:app", ""),
        ("python -c print(1)", ""),
        ("python -", ""),
        ("python", ""),
        ("gunicorn shop:app", ""),
        ("celery -A shop worker", ""),
    ],
)
def test_a_script_names_its_own_entrypoint_and_a_server_does_not(command: str, name: str) -> None:
    assert script_name(command.split()) == name
    environment, _ = prepared_environment({}, command.split())
    assert environment.get("SPANCOST_ENTRYPOINT", "") == name


def test_an_entrypoint_of_the_file_stays(in_empty_folder: Path) -> None:
    (in_empty_folder / "spancost.yaml").write_text("attribution: {entrypoint: nightly import}\n")
    environment, _ = prepared_environment({}, ["python", "app.py"])
    assert "SPANCOST_ENTRYPOINT" not in environment


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"compute": "aws:m6i.lrge"}, "run: --compute: 'aws:m6i.lrge' is not accepted: .*'m6i.large'"),
        ({"region": "eu-wst-1"}, "run: --region: 'eu-wst-1' is not accepted: .*'eu-west-1'"),
    ],
)
def test_a_wrong_flag_is_named_as_the_flag(flags: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepared_environment({}, ["app"], **flags)  # type: ignore[arg-type]


def test_a_wrong_file_is_left_to_the_log_of_the_application(in_empty_folder: Path) -> None:
    (in_empty_folder / "spancost.yaml").write_text("regoin: x\n")
    environment, notes = prepared_environment({}, ["app"])
    assert notes == []
    assert "SPANCOST_LEDGER" not in environment
    assert not (in_empty_folder / "spancost.sqlite").exists()


@pytest.mark.e2e
def test_a_wrong_file_is_told_once_and_the_application_runs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "spancost.yaml").write_text("regoin: x\n")
    done = cli("run", "--", "python", "-c", "print('ran')")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("regoin") == 1
    assert "spancost.sqlite" not in done.stderr
    assert "assumed" not in done.stderr


def test_the_ledger_is_there_from_the_start(in_empty_folder: Path) -> None:
    prepared_environment({"SPANCOST_FLUSH_INTERVAL": "2s"}, ["app"])
    with LedgerReader(in_empty_folder / "spancost.sqlite") as reader:
        assert reader.meta()["flush_interval_seconds"] == "2"
        assert reader.totals().requests == 0


def test_what_is_in_the_ledger_already_stays(in_empty_folder: Path) -> None:
    path = in_empty_folder / "spancost.sqlite"
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(served(3)))
    prepared_environment({}, ["app"])
    with LedgerReader(path) as reader:
        assert reader.totals().requests == 3


def test_switched_off_it_says_only_that(in_empty_folder: Path) -> None:
    environment, notes = prepared_environment({"SPANCOST_ENABLED": "false"}, ["app"])
    assert notes == ["spancost is off (SPANCOST_ENABLED=false)"]
    assert "SPANCOST_LEDGER" not in environment
    assert list(in_empty_folder.iterdir()) == []


def test_switched_off_a_wrong_file_does_not_matter(in_empty_folder: Path) -> None:
    (in_empty_folder / "spancost.yaml").write_text("regoin: x\n")
    _, notes = prepared_environment({"SPANCOST_ENABLED": "false"}, ["app"])
    assert notes == ["spancost is off (SPANCOST_ENABLED=false)"]


def test_switched_off_in_the_file_names_the_file(in_empty_folder: Path) -> None:
    (in_empty_folder / "spancost.yaml").write_text("enabled: false\n")
    assert prepared_environment({}, ["app"])[1] == ["spancost is off (enabled: false in spancost.yaml)"]


def test_a_ledger_that_cannot_be_written_ends_the_run_before_it_starts(cli: Cli, tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("text " * 500)
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE other (id)")
    for path, message in (
        (tmp_path / "nope" / "a.sqlite", "the folder is missing"),
        (foreign, "not an SQLite database"),
        (other, "not a ledger of spancost"),
    ):
        done = cli("run", "--ledger", str(path), "--", "python", "-c", "print('ran')")
        assert (done.returncode, done.stdout) == (2, ""), path
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_configured_ledger_that_cannot_be_written_does_not_keep_the_application_from_running() -> None:
    _, notes = prepared_environment({"SPANCOST_LEDGER": "/nope/a.sqlite"}, ["app"])
    assert "ledger /nope/a.sqlite: cannot write" in notes[0]
    assert not any(note.startswith("ledger /nope/a.sqlite;") for note in notes)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("flask --app shop run --port 5000", "shop"),
        ("flask --app=shop.web:create_app run", "shop.web"),
        ("flask run", "flask"),
        ("gunicorn shop.wsgi:app -w 2", "shop.wsgi"),
        ("gunicorn -w 2 shop.wsgi:app", "shop.wsgi"),
        ("uvicorn api:app --workers 2", "api"),
        ("python worker.py --fast", "worker"),
        ("python3.12 -u src/worker.py", "worker"),
        ("python -m jobs.nightly", "jobs.nightly"),
        ("celery -A tasks worker", "tasks"),
        ("./manage.py runserver", "manage"),
        ("my-server --port 80", "my-server"),
        ("gunicorn -w 2 -b 127.0.0.1:8000 shop.wsgi:app", "shop.wsgi"),
        ("gunicorn -b [::1]:8000 shop.wsgi:make()", "shop.wsgi"),
    ],
)
def test_the_service_is_named_after_the_application(command: str, name: str) -> None:
    assert service_name(command.split()) == name


@pytest.mark.e2e
def test_the_command_runs_with_its_environment_and_its_exit_code(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--", "python", "-c", SHOW + "; raise SystemExit(7)")
    assert done.returncode == 7, done.stderr
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert shown["SPANCOST_LEDGER"] == str(tmp_path / "work" / "spancost.sqlite")
    assert shown["SPANCOST_ASSUME"] == "compute,region"
    assert "ledger" in done.stderr


@pytest.mark.e2e
def test_options_behind_the_command_are_the_commands(cli: Cli) -> None:
    done = cli("run", "python", "-c", "import sys; print(sys.argv[1:])", "--ledger", "x", "--help")
    assert done.stdout.strip() == "['--ledger', 'x', '--help']"


def test_a_command_that_is_not_there_is_127(cli: Cli) -> None:
    done = cli("run", "--", "no-such-server")
    assert (done.returncode, done.stdout) == (127, "")
    assert "no-such-server: no such command" in done.stderr


def test_a_script_without_python_gets_a_hint(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "work" / "app.py").write_text("print(1)\n")
    done = cli("run", "--", "app.py")
    assert done.returncode == 127
    assert "spancost run -- python app.py" in done.stderr


def test_no_command_is_wrong_usage(cli: Cli) -> None:
    assert cli("run").returncode == 2


def test_a_wrong_machine_is_wrong_usage(cli: Cli) -> None:
    done = cli("run", "--compute", "aws:m6i.lrge", "--", "python", "-c", "print('ran')")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'm6i.large'" in done.stderr


@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_signals_reach_the_application(tmp_path: Path) -> None:
    script = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
        "print('up', flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", "from spancost.cli import main; main()", "run", "--", "python", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 5

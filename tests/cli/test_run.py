from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spancost.cli.run import prepared_environment, service_name
from spancost.errors import ConfigError
from tests.cli.conftest import Cli

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


def test_what_is_set_already_stays() -> None:
    given = {
        "SPANCOST_LEDGER": "/var/lib/costs.sqlite",
        "SPANCOST_COMPUTE": "aws:m6i.large",
        "SPANCOST_REGION": "eu-west-1",
        "OTEL_SERVICE_NAME": "web",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    environment, notes = prepared_environment(given, ["python", "app.py"])
    assert environment == given
    assert notes == ["ledger /var/lib/costs.sqlite; compute aws:m6i.large in eu-west-1"]


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
    environment, _ = prepared_environment({}, ["app"])
    assert "SPANCOST_ASSUME" not in environment
    assert environment["SPANCOST_LEDGER"] == str(in_empty_folder / "costs" / "l.sqlite")


def test_a_service_name_in_the_resource_attributes_is_kept() -> None:
    environment, _ = prepared_environment({"OTEL_RESOURCE_ATTRIBUTES": "service.name=web"}, ["app"])
    assert "OTEL_SERVICE_NAME" not in environment


def test_a_wrong_option_is_an_error_and_a_wrong_file_only_a_note(in_empty_folder: Path) -> None:
    with pytest.raises(ConfigError, match="m6i"):
        prepared_environment({}, ["app"], compute="aws:m6i.lrge")
    (in_empty_folder / "spancost.yaml").write_text("regoin: x\n")
    _, notes = prepared_environment({}, ["app"])
    assert notes[0].startswith("nothing is priced: spancost.yaml: regoin")


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

"""`spancost run -- COMMAND`: start an application with every span priced, and no code changed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from spancost import names
from spancost.cli import EXIT_NOT_FOUND, EXIT_USAGE
from spancost.cli._ledger import DEFAULT_LEDGER, fail
from spancost.config import ASSUMED_COMPUTE, ASSUMED_REGION, load_config
from spancost.errors import ConfigError, LedgerError, MissingExtraError
from spancost.sinks.ledger.writer import Ledger
from spancost.window import Origin

_INSTRUMENT: Final = "opentelemetry-instrument"
_EXPORTERS: Final = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER")
_VALUE_OPTIONS: Final = frozenset({"-A", "--app", "-m"})
_PYTHONS: Final = ("python", "pypy")
_PYTHON_VALUE_OPTIONS: Final = frozenset({"-W", "-X", "--check-hash-based-pycs"})
_MANAGERS: Final = frozenset({"manage", "django"})
"""What runs the command of a Django project that follows."""
_SERVERS: Final = frozenset(
    {
        "aiohttp", "arq", "bottle", "celery", "daphne", "dramatiq", "fastapi", "faststream", "flask", "flower",
        "granian", "gunicorn", "huey", "hypercorn", "jupyter", "procrastinate", "robyn", "rq", "sanic", "streamlit",
        "taskiq", "tornado", "twisted", "uvicorn", "uwsgi", "waitress",
    }
)  # fmt: skip
"""Modules that serve or consume: every request or message of theirs has a name of its own."""
_SERVER_COMMANDS: Final = frozenset({"runserver", "runserver_plus", "testserver"})
_APPLICATION: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d].*")
"""`module:name`, and no address such as `127.0.0.1:8000`."""


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The application with its arguments.")],
    ledger: Annotated[
        str | None,
        typer.Option(metavar="FILE", help=f"Ledger file; by default ${names.ENV_LEDGER} or ./{DEFAULT_LEDGER}."),
    ] = None,
    compute: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="What it runs on: aws:m6i.large, fargate:1vcpu-2gb, 0.096usd/h."),
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="REGION", help="Cloud region, for example eu-west-1.")] = None,
) -> None:
    """Run an application with every span priced.

    Sets what is not set yet: the ledger, a service name, no OTLP export, and, where nothing is known, an assumed
    machine (m6i.large in us-east-1, marked estimated). Then hands over to opentelemetry-instrument; the exit code is
    the application's.

    Example: spancost run --region eu-west-1 -- gunicorn shop:app
    """
    instrument = _find(_INSTRUMENT)
    if instrument is None:
        fail(f"{_INSTRUMENT} is not there: {MissingExtraError('spancost run', 'cli')}")
    program = _find(command[0])
    if program is None:
        typer.echo(f"spancost: {_not_found(command[0])}", err=True)
        raise typer.Exit(EXIT_NOT_FOUND)
    try:
        environment, notes = prepared_environment(os.environ, command, ledger=ledger, compute=compute, region=region)
    except (ConfigError, LedgerError) as error:
        fail(str(error))
    for note in notes:
        typer.echo(f"spancost: {note}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [instrument, program, *command[1:]]
    if os.name == "nt":
        raise typer.Exit(_run_as_child(arguments, environment))
    # Replaced, not started: signals, exit code and process id are the application's own.
    try:
        os.execve(instrument, arguments, environment)
    except OSError as error:
        typer.echo(f"spancost: cannot start {instrument}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_USAGE) from error


def prepared_environment(
    environ: Mapping[str, str],
    command: Sequence[str],
    *,
    ledger: str | None = None,
    compute: str | None = None,
    region: str | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Create the ledger, and return the environment of the application and what to tell the user about it.

    Raises:
        ConfigError: `--compute` or `--region` is wrong. An application starts whatever other settings say; if they
            are wrong, its log has the error.

        LedgerError: `--ledger` is no file that a ledger can be written to.
    """
    environment = dict(environ)
    notes: list[str] = []
    script = script_name(command)
    flags = {names.ENV_COMPUTE: ("--compute", compute), names.ENV_REGION: ("--region", region)}
    environment.update({variable: value for variable, (_, value) in flags.items() if value})
    if "OTEL_SERVICE_NAME" not in environ and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        environment["OTEL_SERVICE_NAME"] = service_name(command)
    for variable in _EXPORTERS:
        environment.setdefault(variable, "none")
    try:
        config = load_config(environ=environment)
    except ConfigError as error:
        flag, value = flags.get(error.key, ("", None))
        if value:
            raise ConfigError("run", flag, error.value, error.accepted) from None
        if error.key in flags and (compute or region):  # right by itself, but not together with the flag
            raise
        if environment.get(names.ENV_ENABLED, "").strip().lower() in ("false", "0", "no", "off"):
            return environment, [f"spancost is off ({names.ENV_ENABLED}={environment[names.ENV_ENABLED].strip()})"]
        return environment, []  # the application logs the same error when spancost is set up in it
    if not config.enabled:
        by_variable = environment.get(names.ENV_ENABLED, "").strip()
        why = f"{names.ENV_ENABLED}={by_variable}" if by_variable else f"enabled: false in {config.place}"
        return environment, [f"spancost is off ({why})"]
    if script and not config.entrypoint:
        environment[names.ENV_ENTRYPOINT] = script
    path = os.path.abspath(ledger or config.ledger or DEFAULT_LEDGER)  # the application may change its folder
    environment[names.ENV_LEDGER] = path
    try:
        Ledger(path, Origin(), flush_interval_seconds=config.flush_interval_s).create()
    except LedgerError as error:
        if ledger:
            raise
        notes.append(str(error))
    assumed = {name for name, known in (("compute", config.compute), ("region", config.region)) if not known}
    if config.compute and "usd" in config.compute:
        notes.append(f"ledger {path}; compute {config.compute}")
    elif config.compute:
        notes.append(f"ledger {path}; compute {config.compute} in {config.region or ASSUMED_REGION}")
    else:
        notes.append(f"ledger {path}")
    if assumed and names.ENV_ASSUME not in environ:
        environment[names.ENV_ASSUME] = ",".join(sorted(assumed))
        shown = {"compute": ASSUMED_COMPUTE, "region": ASSUMED_REGION}
        variables = {"compute": names.ENV_COMPUTE, "region": names.ENV_REGION}
        notes.append(
            f"assumed where the resource does not say: {', '.join(shown[name] for name in sorted(assumed))} "
            f"(figures are estimated; set {', '.join(variables[name] for name in sorted(assumed))})"
        )
    return environment, notes


def service_name(command: Sequence[str]) -> str:
    """Guess a service name: the application's module, script or the program itself.

    `gunicorn shop.wsgi:app` is `shop.wsgi`, `flask --app shop run` is `shop`, `python -m worker` is `worker`.
    """
    program = Path(command[0]).stem
    rest = list(command[1:])
    for index, word in enumerate(rest):
        option, _, value = word.partition("=")
        if option in _VALUE_OPTIONS:
            named = value or (rest[index + 1] if index + 1 < len(rest) else "")
            if named:
                return _module(named)
        if not word.startswith("-"):
            if program.startswith(_PYTHONS) or _APPLICATION.fullmatch(word):
                return _module(word)
            if index == 0 or not rest[index - 1].startswith("-"):
                break
    return program


def script_name(command: Sequence[str]) -> str:
    """Return the name of a script that Python runs; empty for servers, workers and programs of other kinds.

    `python jobs/nightly.py` is `nightly`, `python -m jobs.nightly` is `jobs.nightly`, `python manage.py import` is
    `import`; `gunicorn app`, `python -m celery worker` and `python manage.py runserver` are none.
    """
    if not Path(command[0]).name.startswith(_PYTHONS):
        return ""
    words = iter(command[1:])
    name = ""
    for word in words:
        if word in _PYTHON_VALUE_OPTIONS:
            next(words, None)
        elif word == "-m":
            name = next(words, "")
            break
        elif word.startswith("-m"):
            name = word[2:]
            break
        elif word == "-" or word.startswith("-c"):
            return ""
        elif not word.startswith("-"):
            name = word
            break
    name = _module(name)
    if name in _MANAGERS:
        name = next((word for word in words if not word.startswith("-")), "")
    return "" if name.partition(".")[0] in _SERVERS or name in _SERVER_COMMANDS else name


def _module(word: str) -> str:
    name = word.partition(":")[0]
    return Path(name).stem if name.endswith(".py") or "/" in name else name


def _find(program: str) -> str | None:
    """Find a program, first beside our own interpreter: instrumentation works only in its environment."""
    if os.path.dirname(program):
        return shutil.which(program)
    return shutil.which(program, path=os.path.dirname(sys.executable)) or shutil.which(program)


def _not_found(program: str) -> str:
    hint = ""
    if program.endswith(".py") and os.path.exists(program):
        hint = f"; did you mean: spancost run -- python {shlex.quote(program)}"
    return f"{program}: no such command{hint}"


def _run_as_child(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    with subprocess.Popen(arguments, env=dict(environment)) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:  # the application got it too and decides
                continue

"""All commands in one typer application, each imported when it is wanted."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Final

import typer

_COMMANDS: Final = {
    "run": "run",
    "report": "report.command",
    "top": "top",
    "tree": "tree",
    "diff": "diff",
    "doctor": "doctor",
    "price": "price",
    "ledger": "ledger",
    "explain": "explain",
    "prices": "prices",
    "attribution": "attribution",
    "budgets": "budgets.command",
    "rules": "rules",
    "dashboards": "dashboards.command",
}
"""Modules below `spancost.cli`, in the order of `--help`; each has what bears the command's name."""


def application(wanted: str = "") -> typer.Typer:
    """Return the command line.

    Args:
        wanted: Name of a command: only its module is imported then, which is most of the time that a command takes
            to start. With any other text, all are.
    """
    app = typer.Typer(
        help="What does each request cost, and who made us spend it? Prices every OpenTelemetry span.",
        epilog="Begin with: spancost run -- flask --app shop run",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: the same text on a terminal, in a pipe and in the README
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name in (wanted,) if wanted in _COMMANDS else _COMMANDS:
        command: Any = getattr(import_module(f"spancost.cli.{_COMMANDS[name]}"), name)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        elif name == "run":
            # Options behind the application's command are the application's.
            settings = {"allow_interspersed_args": False, "ignore_unknown_options": True}
            app.command(context_settings=settings)(command)
        else:
            app.command()(command)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from spancost._version import spancost_version

        typer.echo(f"spancost {spancost_version()}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What does each request cost, and who made us spend it? Prices every OpenTelemetry span."""

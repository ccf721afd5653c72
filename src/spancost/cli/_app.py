"""All commands in one typer application."""

from __future__ import annotations

from typing import Annotated

import typer

from spancost.cli.attribution import app as attribution
from spancost.cli.diff import diff
from spancost.cli.doctor import doctor
from spancost.cli.explain import explain
from spancost.cli.ledger import ledger
from spancost.cli.price import price
from spancost.cli.prices import prices
from spancost.cli.report.command import report
from spancost.cli.run import run
from spancost.cli.top import top
from spancost.cli.tree import tree
from spancost.sinks.ledger.schema import spancost_version

app = typer.Typer(
    help="What does each request cost, and who made us spend it? Prices every OpenTelemetry span.",
    epilog="Begin with: spancost run -- flask --app shop run",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: the same text on a terminal, in a pipe and in the README
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spancost {spancost_version()}")
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the command."""


callback.__doc__ = app.info.help
app.command(
    # Options behind the application's command are the application's.
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
)(run)
app.command()(report)
app.command()(top)
app.command()(tree)
app.command()(diff)
app.command()(doctor)
app.command()(price)
app.add_typer(ledger, name="ledger")
app.add_typer(explain, name="explain")
app.add_typer(prices, name="prices")
app.add_typer(attribution, name="attribution")

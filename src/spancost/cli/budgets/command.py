"""`spancost budgets`: its commands, each in a module of its own."""

from __future__ import annotations

import typer

from spancost.cli.budgets.check import PluginCommand, check
from spancost.cli.budgets.history import history
from spancost.cli.budgets.status import status
from spancost.cli.budgets.trying import try_rule

budgets = typer.Typer(
    help="Show how budgets stand, check them, and try alerts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
budgets.command("status")(status)
budgets.command("check", cls=PluginCommand)(check)
budgets.command("history")(history)
budgets.command("test")(try_rule)

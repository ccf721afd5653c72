"""`spancost budgets test`: what a rule would tell, as each channel writes it, and whether it arrives."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer
from rich.text import Text

from spancost.budgets.alert import Alert
from spancost.budgets.notify import alertmanager, pagerduty, slack, text
from spancost.budgets.notify.channels import DEFAULT_CHANNEL, HIDDEN, open_channel
from spancost.budgets.notify.log import LOGGER
from spancost.budgets.notify.sending import SEND_TIMEOUT_S, DeliveryError
from spancost.budgets.rules import BudgetRule, Channel
from spancost.budgets.store import FLEET, MACHINE, PROCESS
from spancost.budgets.stores.opening import AUTO, MEMORY
from spancost.cli import EXIT_FINDINGS, EXIT_FINE
from spancost.cli._format import Column, console, print_json, print_table, show
from spancost.cli._ledger import TreeFormat, fail
from spancost.cli.budgets.example import example_alert
from spancost.cli.budgets.lines import shown
from spancost.cli.budgets.sources import ConfigOption, chosen_rules, configured
from spancost.config import Config
from spancost.errors import SpancostError, suggest
from spancost.window import Origin

_SERVICE: Final = "OTEL_SERVICE_NAME"
_LEVEL: Final = logging.INFO


class _Result(NamedTuple):
    """What became of an alert at one channel."""

    channel: Channel
    problem: str
    """Empty if it was delivered."""


def try_rule(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of a rule.")],
    send: Annotated[bool, typer.Option("--send", help="Deliver it now, marked as a test.")] = False,
    channel: Annotated[
        list[str] | None,
        typer.Option("--channel", metavar="NAME", help="Only this channel of budgets.notify; may stand several times."),
    ] = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="That it is well again, which closes what was sent.")
    ] = False,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Key of a rule that is split.")] = None,
    config_file: ConfigOption = None,
    output: Annotated[TreeFormat, typer.Option("--format", metavar="FORMAT", help="table or json.")] = TreeFormat.TABLE,
) -> None:
    """Show the alert of a rule as each of its channels writes it, and deliver it with --send.

    Its figures are made up; the store is not touched. Exit code with --send: 0 if every channel took it, else 1.

    \b
    Examples:
      spancost budgets test llm-daily
      spancost budgets test llm-daily --send
      spancost budgets test llm-daily --send --resolve
    """
    try:
        config = configured(config_file)
        found = chosen_rules(config.budget_rules, [rule])[0]
    except SpancostError as error:
        fail(str(error))
    channels = _channels(config, channel or [], found.notify)
    alert = example_alert(
        found,
        {one.name: one for one in config.budget_rules if isinstance(one, BudgetRule)},
        key=key,
        is_resolved=resolve,
        origin=Origin(os.environ.get(_SERVICE, ""), ""),
        scope=_scope(config.budget_store),
    )
    results = [_Result(one, _problem(one, alert)) for one in channels] if send else []
    if output is TreeFormat.JSON:
        print_json(_document(alert, channels, results))
    elif send:
        _print_results(alert, results)
    else:
        _print(alert, channels)
    raise typer.Exit(EXIT_FINDINGS if any(result.problem for result in results) else EXIT_FINE)


def written(channel: Channel, alert: Alert) -> str:
    """Return what a channel sends, without what is secret."""
    settings = dict(channel.settings)
    if channel.type == "log":
        return text.log_line(alert)
    if channel.type == "email":
        to = ", ".join(settings["to"])
        return f"From: {settings['from']}\nTo: {to}\nSubject: {text.title(alert)}\n\n{text.plain(alert)}".rstrip()
    body: Any = alert.as_dict()
    if channel.type == "slack":
        body = slack.message(alert)
    elif channel.type == "pagerduty":
        body = pagerduty.event(alert, HIDDEN)
    elif channel.type == "alertmanager":
        body = alertmanager.alerts(alert, settings.get("hold", alertmanager.DEFAULT_HOLD_S))
    return json.dumps(body, indent=2, ensure_ascii=False)


def _channels(config: Config, wanted: Sequence[str], of_rule: Sequence[str]) -> list[Channel]:
    known = {one.name: one for one in config.budget_channels or (DEFAULT_CHANNEL,)}
    for name in wanted:
        if name not in known:
            fail(f"--channel {name!r}: {suggest(name, known, limit=len(known))}")
    return [one for name, one in known.items() if name in (wanted or of_rule or known)]


def _scope(store: str) -> str:
    if store == MEMORY:
        return PROCESS
    return MACHINE if store == AUTO or store.startswith("sqlite:") else FLEET


def _problem(channel: Channel, alert: Alert) -> str:
    """Deliver an alert; return why it was not delivered, empty if it was."""
    if channel.type == "log":
        _log_to_stderr()
    if channel.type == "callback" and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as where the application is started
    try:
        open_channel(channel).send(alert, timeout_s=SEND_TIMEOUT_S)
    except DeliveryError as error:
        return str(error)
    except Exception as error:  # of a function of the application: the other channels are still tried
        return f"{type(error).__name__}: {error}"
    return ""


def _log_to_stderr() -> None:
    logger = logging.getLogger(LOGGER)
    logger.setLevel(_LEVEL)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)


def _document(alert: Alert, channels: Sequence[Channel], results: Sequence[_Result]) -> dict[str, Any]:
    problems = {result.channel.name: result.problem for result in results}
    return {
        "alert": alert.as_dict(),
        "channels": [
            {
                "name": one.name,
                "type": one.type,
                "text": written(one, alert),
                "delivered": None if one.name not in problems else not problems[one.name],
                "problem": problems.get(one.name, ""),
            }
            for one in channels
        ],
    }


def _print(alert: Alert, channels: Sequence[Channel]) -> None:
    out = console()
    show(out, Text(shown(text.title(alert)), style="bold"))
    for channel in channels:
        show(out, "")
        show(out, Text(f"{channel.name} ({channel.type})", style="bold cyan"))
        for line in written(channel, alert).splitlines():
            typer.echo(f"  {shown(line)}")  # as it is: folded JSON is none
    show(out, "")
    show(out, Text("nothing was sent: --send delivers it"))


def _print_results(alert: Alert, results: Sequence[_Result]) -> None:
    out = console()
    show(out, Text(shown(text.title(alert)), style="bold"))
    show(out, "")
    columns = [
        Column("CHANNEL", [result.channel.name for result in results], is_key=True),
        Column("TYPE", [result.channel.type for result in results], is_text=True),
        Column(
            "RESULT",
            [f"failed: {shown(result.problem)}" if result.problem else "delivered" for result in results],
            styles=["red" if result.problem else "green" for result in results],
            is_text=True,
        ),
    ]
    print_table(out, columns)

"""`spancost rules prometheus|alertmanager`: the budget rules of `spancost.yaml` for Prometheus and Alertmanager."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from spancost.budgets.prometheus.cases import cases_yaml
from spancost.budgets.prometheus.files import MAX_INTERVAL_S, MIN_INTERVAL_S, Options, rules_yaml
from spancost.budgets.prometheus.routes import routes_yaml
from spancost.budgets.rules import AnyRule
from spancost.cli._ledger import fail
from spancost.config import DEFAULT_FILE, load_config
from spancost.config.values import parse_seconds
from spancost.errors import SpancostError

rules = typer.Typer(
    help="Write budget rules for Prometheus and Alertmanager.", no_args_is_help=True, rich_markup_mode=None
)

ConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help=f"Rules of this file; by default {DEFAULT_FILE} as always."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write to this file instead of stdout.")
]


@rules.callback()
def callback() -> None:
    """Write budget rules for Prometheus and Alertmanager."""


@rules.command("prometheus")
def prometheus(
    config_file: ConfigOption = None,
    output: OutputOption = None,
    tests: Annotated[
        Path | None,
        typer.Option("--tests", metavar="FILE", help="Also write cases for `promtool test rules`; needs --output."),
    ] = None,
    group_interval: Annotated[
        str, typer.Option("--group-interval", metavar="TIME", help="Between two evaluations, 5s to 4m.")
    ] = "1m",
    hold: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long something must hold before it alerts.")
    ] = "0s",
    data: Annotated[
        bool,
        typer.Option("--data/--no-data", help="Alert also on missing data, on what has no price or is in `other`."),
    ] = True,
) -> None:
    """Write recording and alerting rules for Prometheus.

    At the head stands how each rule was made: from counters, or from the gauges of the processes.

    Example: spancost rules prometheus --output spancost-rules.yaml --tests spancost-tests.yaml
    """
    found = _budget_rules(config_file)
    if tests is not None and output is None:
        fail("rules prometheus: --tests needs --output: the cases name the file of the rules")
    interval_s, for_s = _seconds("--group-interval", group_interval), _seconds("--for", hold)
    if not MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
        fail(f"--group-interval {group_interval!r}: from 5s to 4m")
    options = Options(interval_s=interval_s, for_s=for_s, with_data=data)
    _write(rules_yaml(found, options), output)
    if tests is not None and output is not None:
        rule_file = os.path.relpath(output.resolve(), tests.resolve().parent)
        _write(cases_yaml(found, rule_file, options), tests)


@rules.command("alertmanager")
def alertmanager(config_file: ConfigOption = None, output: OutputOption = None) -> None:
    """Write an example configuration of Alertmanager: routes by owner and severity, and what makes what quiet.

    Example: spancost rules alertmanager --output alertmanager.yaml
    """
    _write(routes_yaml(_budget_rules(config_file)), output)


def _budget_rules(config_file: str | None) -> tuple[AnyRule, ...]:
    try:
        config = load_config(config_file)
    except SpancostError as error:
        fail(str(error))
    if not config.budget_rules:
        fail(f"no budget rules: add budgets.rules to {config.place or DEFAULT_FILE}, or name a --config")
    return config.budget_rules


def _seconds(option: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        fail(f"{option} {text!r}: {error}")


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output}: {error.strerror}")

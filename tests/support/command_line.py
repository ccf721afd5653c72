"""The examples of every command's `--help`, and a folder in which they can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from spancost.budgets.stores.sqlite import SqliteStore
from tests.offline.traces import Span, otlp_lines

_EXAMPLE = "Example:"
_EXAMPLES = "Examples:"
NOT_RUN = {
    "run": "starts an application and stays with it",
    "dashboards check": "asks a Prometheus server: tests/stack/test_dashboards.py",
    "prices refresh": "asks the providers' price lists over the network",
}
"""Commands whose examples do not run as tests, and why."""
FINDINGS = frozenset({"doctor", "prices check", "prices diff", "prices coverage", "attribution test"})
"""Commands that end with 1 where they have found something."""


class Example(NamedTuple):
    """One line of a command's help."""

    command: str
    """Without `spancost`: `ledger info`."""
    line: str


def commands() -> dict[str, str]:
    """Return every command that does something, with its help."""
    import typer

    from spancost.cli._app import application

    return dict(_leaves(cast("Any", typer.main.get_command(application())), ""))


def _leaves(command: Any, path: str) -> Iterator[tuple[str, str]]:
    below: dict[str, Any] = getattr(command, "commands", {})
    if not below:
        yield path, f"{command.help or ''}\n\n{command.epilog or ''}"
    for name, one in below.items():
        yield from _leaves(one, f"{path} {name}".strip())


def examples_of(command: str, text: str) -> list[Example]:
    """Return the examples in a help text: behind `Example:`, or on the lines below `Examples:`."""
    found: list[Example] = []
    is_below = False
    for line in text.splitlines():
        words = line.strip().removeprefix("$ ")
        if words.startswith(_EXAMPLE):
            found.append(Example(command, words.removeprefix(_EXAMPLE).strip()))
        elif words == _EXAMPLES:
            is_below = True
        elif is_below and line.startswith(" ") and words.startswith("spancost "):
            found.append(Example(command, words))
        elif words and words != "\b":
            is_below = False
    return found


def examples() -> list[Example]:
    """Return all examples of all commands."""
    return [example for command, text in commands().items() for example in examples_of(command, text)]


def _chat(requests: int, tokens: int) -> str:
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": tokens,
        "gen_ai.usage.output_tokens": 100,
    }
    route = {"http.request.method": "POST", "http.route": "/chat", "server.address": "shop"}
    spans: list[Span] = []
    for number in range(1, requests + 1):
        spans.append(Span(2 * number, 0, "POST /chat", "SERVER", route, trace=number))
        spans.append(Span(2 * number + 1, 2 * number, "chat", "CLIENT", call, "openai", trace=number))
    return otlp_lines(spans, batch=5)


def fill(folder: Path, ledger: Path) -> None:
    """Write the files that examples name: a ledger, a store of budgets, traces, own prices, and rules."""
    shutil.copy(ledger, folder / "spancost.sqlite")
    for name, requests, tokens in (("traces", 12, 1000), ("main", 10, 1000), ("branch", 12, 1200)):
        (folder / f"{name}.jsonl").write_text(_chat(requests, tokens), encoding="utf-8")
    (folder / "spancost.yaml").write_text(
        'attribution:\n  rules:\n    - {route: "/*", feature: shop}\n'
        'custom:\n  - {name: "pdf.*", unit: page, usd: 0.002}\n'
        "budgets:\n  store: sqlite:budgets.sqlite\n"
        "  rules:\n    - {name: llm-daily, budget: {limit_usd: 50, window: rolling 24h}}\n",
        encoding="utf-8",
    )
    store = SqliteStore(folder / "budgets.sqlite")
    store.create()
    store.close()
    (folder / "prices.yaml").write_text(
        "prices:\n  - {price: aws.dynamodb.on_demand.write, usd: 0.0000005, unit: WRU}\n", encoding="utf-8"
    )


def command_on_path(folder: Path) -> str:
    """Return a PATH on which `spancost` is the command of this checkout, as an installed one would be."""
    folder.mkdir(exist_ok=True)
    command = folder / "spancost"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from spancost.cli import main; main()' \"$@\"\n")
    command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def run_example(example: Example, folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run an example as a person types it, in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPANCOST_", "OTEL_"))}
    return subprocess.run(
        example.line,
        shell=True,
        cwd=folder,
        env=kept | {"PATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def is_success(example: Example, code: int) -> bool:
    """True for an exit code that the command's work well done has."""
    return code == 0 or (code == 1 and example.command in FINDINGS)

"""A folder with rules and a store of budgets in it, and a way to ask the command line there without a new process."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from typer.testing import CliRunner

from spancost.budgets.store import Store
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.cli._app import application
from spancost.config import load_config
from tests.budgets.books import Books, Clock

RULES: Final = """\
budgets:
  store: sqlite:budgets.sqlite
  rules:
    - name: llm
      budget: {limit_usd: 100, window: total}
      match: {component: llm}
      per: tenant
      severity: critical
    - name: all
      budget: {limit_usd: 200, window: rolling 24h}
    - name: night
      budget: {limit_usd: 5, window: total}
      match: {service: night-*}
    - name: dear-request
      max_request_usd: 0.25
"""


class Done(NamedTuple):
    """What a command has said."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Ask = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `spancost.yaml`, and nobody's settings."""
    path = tmp_path / "shop"
    path.mkdir()
    (path / "spancost.yaml").write_text(RULES, encoding="utf-8")
    monkeypatch.chdir(path)
    for name in ("SPANCOST_CONFIG", "SPANCOST_BUDGET_STORE", "SPANCOST_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def ask() -> Ask:
    """Run `spancost budgets ARGUMENTS`."""

    def run(*arguments: str) -> Done:
        done = CliRunner().invoke(application("budgets"), ["budgets", *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    return run


def books(folder: Path, *, store: Store | None = None, at: float | None = None) -> Books:
    """Return the book of an application that is configured by the folder."""
    config = load_config(folder / "spancost.yaml")
    clock = Clock(time.time() if at is None else at)
    return Books(config.budget_rules, store or SqliteStore(folder / "budgets.sqlite"), clock)


def dump(folder: Path) -> list[str]:
    """Return all that the store's file holds."""
    with closing(sqlite3.connect(folder / "budgets.sqlite")) as connection:
        return list(connection.iterdump())

"""What `spancost doctor` says about budgets: rules, their store, and who is told."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from spancost.budgets.notify.references import ENV, FILE, Reference
from spancost.budgets.notify.sending import DeliveryError
from spancost.budgets.rules import AnyRule, BudgetRule, Channel
from spancost.budgets.store import Store
from spancost.budgets.stores.opening import AUTO, MEMORY, budgets_path, open_store
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.budgets.tracks import tracks_of
from spancost.cli.budgets.from_ledger import seen_rules
from spancost.cli.budgets.stored import lines_of, read_view, store_shown
from spancost.config import Config
from spancost.errors import SpancostError
from spancost.sinks.ledger.reader import LedgerReader

_SQLITE: Final = "sqlite:"
_WORKERS: Final = re.compile(r"(?:^|\s)(?:-w|--workers)[\s=]*(\d+)")
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
_SHOWN: Final = 5
_SHARE: Final = "budgets.store: sqlite:PATH on a disk that they share, or redis://HOST:PORT/DB"


class Finding(NamedTuple):
    """One thing looked at."""

    subject: str
    is_problem: bool
    """Something to set."""
    is_note: bool
    """Good to know."""
    text: str


def findings(config: Config, ledger: str, now: float, environ: Mapping[str, str]) -> Iterable[Finding]:
    """Say what there is to know about the budgets of a configuration; nothing without rules.

    Args:
        config: The configuration.

        ledger: Path of a ledger; empty for none.

        now: Unix seconds.

        environ: Variables of the shell.
    """
    rules = config.budget_rules
    if not rules:
        return
    kinds = Counter(rule.kind for rule in rules)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    yield _fine("budgets", f"{len(rules)} rule{'s' if len(rules) != 1 else ''} ({said})")
    yield from _store(config, now, environ)
    yield from _secrets(config.budget_channels)
    yield from _unmatched(rules, ledger)


def workers(environ: Mapping[str, str]) -> str:
    """Return which variable says that several processes serve; empty if none does."""
    if environ.get(_MULTIPROCESS, "").strip():
        return f"{_MULTIPROCESS} is set"
    count = environ.get("WEB_CONCURRENCY", "").strip()
    if count.isdigit() and int(count) > 1:
        return f"WEB_CONCURRENCY={count}"
    for variable in ("GUNICORN_CMD_ARGS", "UVICORN_WORKERS"):
        value = environ.get(variable, "").strip()
        found = _WORKERS.search(value) or re.fullmatch(r"(\d+)", value)
        if found is not None and int(found.group(1)) > 1:
            return f"{variable} asks for {found.group(1)} workers"
    return ""


def _store(config: Config, now: float, environ: Mapping[str, str]) -> Iterable[Finding]:
    text = config.budget_store
    several = workers(environ)
    if text == MEMORY:
        said = "kept in the memory of each process: forgotten when it ends, and each counts and alerts for itself"
        yield (
            _problem(f"{said}; {several}: set {_SHARE}") if several else _note(f"{said}; several workers need {_SHARE}")
        )
        return
    shown = store_shown(text)
    if text == AUTO or text.startswith(_SQLITE):
        path = Path(budgets_path(environ) if text == AUTO else os.path.expanduser(text.removeprefix(_SQLITE)))
        why = _unwritable(path, makes_folder=text == AUTO)
        if why and text == AUTO:
            hint = f" ({several})" if several else ""
            yield _problem(
                f"{path}: {why}: each process counts in its own memory, and forgets when it ends{hint}; set {_SHARE}"
            )
            return
        if why:
            yield _problem(f"{path}: {why}: sums wait in each process, and no alert is sent")
            return
        if not path.exists():
            yield _note(f"{path}: not there yet; the application makes it")
            return
        store: Store = SqliteStore(path)
    else:
        try:
            store = open_store(text, environ=environ)
        except (SpancostError, ValueError) as error:
            yield _problem(str(error))
            return
    with closing(store):
        yield from _contents(store, shown, config.budget_rules, now)


def _contents(store: Store, shown: str, rules: Sequence[AnyRule], now: float) -> Iterable[Finding]:
    """Say whether a store can be read and written, and which of its budgets are incomplete."""
    known = {rule.name: rule for rule in rules if isinstance(rule, BudgetRule)}
    tracks = [tracks_of(rule, known) for rule in rules]
    try:
        view = read_view(store, rules, tracks)
        store.finish_alert("")  # nobody's: changes nothing, and needs the right to
    except SpancostError as error:
        yield _problem(str(error))
        return
    yield _fine("budget store", f"{shown}: can be read and written, knows what is spent by {_SCOPES[store.scope]}")
    lines, _ = lines_of(view, rules, tracks, now)
    # Burn rates and forecasts are as incomplete as their budgets, which are told.
    incomplete = [line for line in lines if line.is_incomplete and line.kind not in ("burn_rate", "forecast")]
    for line in incomplete[:_SHOWN]:
        calls = f"{line.unpriced:,} calls" if line.unpriced != 1 else "1 call"
        yield Finding("budgets", True, False, f"{line.name} is incomplete: {calls} without a price in this window")
    if len(incomplete) > _SHOWN:
        yield Finding(
            "budgets", True, False, f"{len(incomplete) - _SHOWN} more are incomplete: spancost budgets status"
        )


def _unwritable(path: Path, *, makes_folder: bool) -> str:
    """Return why a file cannot be written or made; empty if it can."""
    folder = path.parent
    if path.exists():
        if not path.is_file():
            return "is not a file"
        return "" if os.access(path, os.W_OK) and os.access(folder, os.W_OK) else "cannot be written"
    while makes_folder and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    return "" if os.access(folder, os.W_OK) else f"the folder {folder} cannot be written"


def _secrets(channels: Sequence[Channel]) -> Iterable[Finding]:
    """Name the variables and files that channels need and this shell does not have."""
    missing: list[str] = []
    for channel in channels:
        for name, place in channel.settings:
            kind = name.rpartition("_")[2]
            if kind not in (ENV, FILE) or name == "ca_file":
                continue
            try:
                Reference(kind, str(place)).read()
            except DeliveryError as error:
                missing.append(f"{channel.name} ({channel.type}): {name}: {error}")
    if channels and not missing:
        yield _fine("channels", ", ".join(f"{channel.name} ({channel.type})" for channel in channels))
    for said in missing:
        yield Finding("channels", True, False, said)


def _unmatched(rules: Sequence[AnyRule], ledger: str) -> Iterable[Finding]:
    if not ledger:
        return
    try:
        with LedgerReader(ledger) as reader:
            seen = seen_rules(reader, rules)
    except SpancostError:
        return  # said where the ledger is looked at
    for rule in rules:
        if rule.name not in seen:
            yield Finding(
                "budgets", False, True, f"{rule.name} counts nothing of what the ledger has seen: check its match"
            )


_SCOPES: Final = {
    "process": "one process",
    "machine": "all processes of this machine",
    "fleet": "all processes that share it",
}


def _fine(subject: str, text: str) -> Finding:
    return Finding(subject, False, False, text)


def _note(text: str) -> Finding:
    return Finding("budget store", False, True, text)


def _problem(text: str) -> Finding:
    return Finding("budget store", True, False, text)

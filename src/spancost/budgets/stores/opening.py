"""Which store a text names: `auto`, `memory`, `sqlite:PATH`, or a Redis server by its URL, a variable or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spancost._guard import ErrorLog
from spancost.budgets.store import Store, StoreUnavailableError
from spancost.budgets.stores.memory import MemoryStore
from spancost.budgets.stores.sqlite import SqliteStore, is_busy

AUTO: Final = "auto"
MEMORY: Final = "memory"
ACCEPTED: Final = (
    "auto, memory, sqlite:PATH, redis://HOST:PORT/DB, rediss://..., unix://PATH, redis-env:NAME or redis-file:PATH"
)
_SQLITE: Final = "sqlite:"
_REDIS_ENV: Final = "redis-env:"
_REDIS_FILE: Final = "redis-file:"
_REDIS_URLS: Final = ("redis://", "rediss://", "unix://")
_FOLDER_MODE: Final = 0o700


def budgets_path(environ: Mapping[str, str]) -> str:
    """Return where this user's budgets are kept: it outlives processes, deploys and restarts of the machine.

    Args:
        environ: `XDG_STATE_HOME`, else `HOME`, says where the user's state is.
    """
    state = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # as its specification demands
        home = environ.get("HOME", "")
        state = os.path.join(home if os.path.isabs(home) else os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "spancost", "budgets.sqlite")


def open_store(store: str, *, default_path: str = "", environ: Mapping[str, str] | None = None) -> Store:
    """Return the store that a text names. Of those named, none is connected to yet.

    Args:
        store: `auto`: SQLite at the default path, or memory with a logged warning if that cannot be written; `memory`;
            `sqlite:PATH`; the URL of a Redis server, or with `redis-env:NAME` and `redis-file:PATH` where it stands.

        default_path: Of `auto`; empty for `budgets_path`.

        environ: Variables of the process; None for those that it has.

    Raises:
        ValueError: The text is none of these, or the variable or file with the URL is missing or wrong.

        MissingExtraError: A Redis server is named, and redis-py is not installed.
    """
    environ = os.environ if environ is None else environ
    if store == AUTO:
        return _automatic(default_path or budgets_path(environ))
    if store == MEMORY:
        return MemoryStore()
    if store.startswith(_SQLITE) and len(store) > len(_SQLITE):
        return SqliteStore(os.path.expanduser(store.removeprefix(_SQLITE)))
    url, source = _redis_url(store, environ)
    if url.startswith(_REDIS_URLS):
        from spancost.budgets.stores.redis import RedisStore

        return RedisStore(url)
    if source:
        raise ValueError(f"budget store {source}: does not contain a URL that begins with {', '.join(_REDIS_URLS)}")
    scheme = store.partition(":")[0]  # what follows may be a password
    raise ValueError(f"budget store {scheme if scheme.isalnum() else '...'!r}: is not accepted: {ACCEPTED}")


def _redis_url(store: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a Redis URL, and the variable or file it was read from; the text itself where it is none of these."""
    if store.startswith(_REDIS_ENV):
        name = store.removeprefix(_REDIS_ENV)
        url = environ.get(name, "").strip()
        if not url:
            raise ValueError(f"budget store {store}: the variable {name or '...'} is not set: {ACCEPTED}")
        return url, store
    if store.startswith(_REDIS_FILE):
        path = store.removeprefix(_REDIS_FILE)
        try:
            return Path(path).expanduser().read_text(encoding="utf-8").strip(), store
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise ValueError(f"budget store {store}: cannot be read: {said}") from error
    return store, ""


def _automatic(path: str) -> Store:
    store = SqliteStore(path)
    try:
        os.makedirs(os.path.dirname(store.path), mode=_FOLDER_MODE, exist_ok=True)
        store.create()
    except (OSError, StoreUnavailableError) as error:
        if isinstance(error, StoreUnavailableError) and is_busy(error.__cause__):
            return store  # it can be written, only not this moment
        store.close()
        ErrorLog().log_once(
            "budgets.store",
            "budgets are kept in the memory of this process only, and end with it: %s",
            error,
        )
        return MemoryStore()
    return store

"""Which text opens which store, and what is said of those that open none."""

from __future__ import annotations

import logging
import os
import stat
import sys
from pathlib import Path

import pytest

from spancost.budgets.store import FLEET, MACHINE, PROCESS
from spancost.budgets.stores.opening import budgets_path, open_store
from spancost.budgets.stores.sqlite import SqliteStore
from spancost.errors import MissingExtraError


def test_auto_is_a_file_of_this_user_alone(tmp_path: Path) -> None:
    store = open_store("auto", environ={"XDG_STATE_HOME": str(tmp_path / "state")})
    assert isinstance(store, SqliteStore)
    assert (store.scope, store.path) == (MACHINE, str(tmp_path / "state/spancost/budgets.sqlite"))
    assert stat.S_IMODE(os.stat(store.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "state/spancost").st_mode) == 0o700
    store.close()


def test_auto_without_a_state_folder_is_below_the_home() -> None:
    assert budgets_path({"HOME": "/home/a", "XDG_STATE_HOME": "not/absolute"}) == (
        "/home/a/.local/state/spancost/budgets.sqlite"
    )


def test_auto_falls_back_to_memory_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING, "spancost"):
        store = open_store("auto", default_path=str(tmp_path / "file/budgets.sqlite"), environ={})
    assert store.scope == PROCESS
    (record,) = caplog.records
    assert "memory of this process only" in record.getMessage()


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "budgets.sqlite"
    path.write_bytes(b"somebody's notes " * 100)
    assert open_store("auto", default_path=str(path), environ={}).scope == PROCESS
    assert path.read_bytes() == b"somebody's notes " * 100
    assert "not an SQLite database" in caplog.text


def test_auto_waits_for_a_file_that_is_only_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "budgets.sqlite")
    other = SqliteStore(path)
    other.create()
    monkeypatch.setattr("spancost.budgets.stores.opening.SqliteStore", lambda path: SqliteStore(path, timeout_s=0.0))  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]
    with other._transaction(1.0):  # pyright: ignore[reportPrivateUsage]
        assert open_store("auto", default_path=path, environ={}).scope == MACHINE
    other.close()


def test_memory_and_sqlite_by_name(tmp_path: Path) -> None:
    assert open_store("memory", environ={}).scope == PROCESS
    store = open_store(f"sqlite:{tmp_path}/b.sqlite", environ={})
    assert (store.scope, repr(store)) == (MACHINE, f"SqliteStore('{tmp_path}/b.sqlite')")
    assert not (tmp_path / "b.sqlite").exists()


def test_redis_by_url_variable_and_file_never_shows_its_password(tmp_path: Path) -> None:
    url = "rediss://user:s3cret@cache.example:6380/2"
    (tmp_path / "url").write_text(f"{url}\n")
    for text in (url, "redis-env:CACHE", f"redis-file:{tmp_path}/url"):
        store = open_store(text, environ={"CACHE": url})
        assert (store.scope, repr(store)) == (FLEET, "RedisStore('rediss://cache.example:6380/2')")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sqlite:",
        "file.sqlite",
        "s3cret@host",
        "redis:s3cret",
        "memcached://u:s3cret@host",
        "redis://u:s3cret@host:port",
        "redis://u:s3cret@[host",
        "redis-env:",
        "redis-env:MISSING",
        "redis-env:WRONG",
        "redis-file:/nowhere/at/all",
    ],
)
def test_anything_else_is_refused_without_repeating_secrets(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"is not accepted|is accepted|accepts|not set|read|does not contain"
    ) as caught:
        open_store(text, environ={"WRONG": "s3cret"})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None or "s3cret" not in str(caught.value.__cause__)


def test_without_redis_py_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"spancost\[redis\]"):
        open_store("redis://localhost", environ={})

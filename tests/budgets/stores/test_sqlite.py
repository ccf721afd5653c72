"""The SQLite store when its file, its disk or its process is in trouble."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from spancost.budgets.store import Cell, Claim, Delivery, StoreUnavailableError, Sums
from spancost.budgets.stores.sqlite import SqliteStore

CELL = Cell("r", 0, "k", 60)


def spends(number: int, usd: float = 1.0, *, writer: str = "w") -> Delivery:
    return Delivery(writer, number, {CELL: Sums(usd, 0.0, 0, 1)})


def usd_in(store: SqliteStore) -> float:
    return dict(store.exchange(None, 0).cells)[CELL].usd


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(spends(1), 0)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["b.sqlite", "b.sqlite-shm", "b.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    store.close()


def test_a_file_that_was_removed_is_begun_anew_and_the_view_is_told(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    before = store.exchange(spends(1), 0)
    for file in tmp_path.iterdir():
        file.unlink()
    changes = store.exchange(spends(2, 5.0), before.cursor)
    assert changes.is_reset
    assert dict(changes.cells) == {CELL: Sums(5.0, 0.0, 0, 1)}
    assert (tmp_path / "b.sqlite").exists()
    store.close()


def test_another_process_that_writes_makes_it_unavailable_not_slow(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite", timeout_s=0.05)
    store.exchange(spends(1), 0)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match=r"locked \(another process has held it for more than 0.05 s"):
            store.exchange(spends(2), 0)
        with pytest.raises(StoreUnavailableError, match="locked"):
            store.reserve("l", [Claim(CELL, 0, 9.0, 1.0)], now=1.0, expires_at=2.0, timeout_s=0.01)
        assert usd_in(store) == 1.0  # reading goes on
        other.execute("ROLLBACK")
    store.exchange(spends(2), 0)
    assert usd_in(store) == 2.0
    store.close()


def test_a_thread_that_holds_it_makes_it_unavailable_for_a_guard(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._transaction(1.0):  # pyright: ignore[reportPrivateUsage]
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with pytest.raises(StoreUnavailableError, match="other threads"):
        store.reserve("l", [Claim(CELL, 0, 9.0, 1.0)], now=1.0, expires_at=2.0, timeout_s=0.01)
    done.set()
    thread.join(10)
    store.close()


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.create()
    store.close()
    with closing(sqlite3.connect(store.path)) as other:
        other.execute("UPDATE meta SET value = 99 WHERE key = 'schema_version'")
        other.commit()
    with pytest.raises(StoreUnavailableError, match="schema version 99 is not 1"):
        store.exchange(spends(1), 0)


def test_another_sqlite_file_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "b.sqlite")) as other:
        other.execute("CREATE TABLE notes (text)")
    with pytest.raises(StoreUnavailableError, match="not a budget store"):
        SqliteStore(tmp_path / "b.sqlite").exchange(spends(1), 0)


def test_a_damaged_file_is_said_and_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "b.sqlite"
    path.write_bytes(b"SQLite format 3\0" + os.urandom(8192))
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailableError, match=r"move it away"):
        store.exchange(spends(1), 0)
    path.rename(tmp_path / "moved")
    store.exchange(spends(1), 0)
    assert usd_in(store) == 1.0
    store.close()


def test_damage_in_the_middle_is_said(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(Delivery("w", 1, {Cell("r", 0, f"key {n}", 60): Sums(1.0) for n in range(500)}), 0)
    store.close()
    content = bytearray((tmp_path / "b.sqlite").read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    (tmp_path / "b.sqlite").write_bytes(content)
    with pytest.raises(StoreUnavailableError, match="damaged"):
        store.exchange(spends(2), 0)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match="No such file"):
        SqliteStore(tmp_path / "none/b.sqlite").create()


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(spends(1), 0)
    connection = store._connection  # pyright: ignore[reportPrivateUsage]
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    much = Delivery("w", 2, {Cell("r", 0, f"key {n}", 60): Sums(1.0) for n in range(2000)})
    with pytest.raises(StoreUnavailableError, match=r"\(the disk is full\)"):
        store.exchange(much, 0)
    assert dict(store.exchange(None, 0).cells) == {CELL: Sums(1.0, 0.0, 0, 1)}
    assert len(store.exchange(much, 0).cells) == 2001  # there is room again: the connection is another one
    store.close()


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child, and return its exit code."""
    return in_child_later(work)()


def in_child_later(work: Callable[[], object]) -> Callable[[], int]:
    """Begin something in a forked child, and return how to wait for its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_read_only_file_is_said(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(spends(1), 0)
    store.close()
    os.chmod(store.path, 0o444)
    os.chmod(tmp_path, 0o555)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            os.chmod(folder, folder.stat().st_mode | 0o011)

    def write_as_nobody() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        with pytest.raises(StoreUnavailableError, match=r"read-only|not writable"):
            store.exchange(spends(2), 0)

    try:
        assert in_child(write_as_nobody) == 0
    finally:
        os.chmod(tmp_path, 0o755)


def test_parent_and_forked_child_go_on_with_connections_of_their_own(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(spends(1), 0)

    def add(number: int) -> None:
        for turn in range(20):
            store.exchange(spends(turn + 1, writer=f"child {number}"), 0)
        assert store.dropped_alerts == 0

    children: list[int] = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            try:
                if number:  # the hook runs, or it was never registered
                    store.after_fork_in_child()
                add(number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    for turn in range(20):
        store.exchange(spends(turn + 2), 0)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert usd_in(store) == 81.0
    with closing(sqlite3.connect(store.path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_a_fork_waits_for_a_thread_that_writes_and_the_child_can_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    store.create()
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        while not stop.is_set():
            store.exchange(spends(len(written) + 1), 0)
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    codes: list[int] = []
    for number in range(10):
        codes.append(in_child(lambda number=number: store.exchange(spends(1, writer=f"child {number}"), 0)))
    stop.set()
    thread.join(10)
    assert codes == [0] * 10
    assert usd_in(store) == len(written) + 10
    with closing(sqlite3.connect(store.path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()


def test_a_child_holds_the_file_as_its_own(tmp_path: Path) -> None:
    """Who was forked must be seen by others: else the last of them takes the log of changes away."""
    store = SqliteStore(tmp_path / "b.sqlite")
    store.exchange(spends(1), 0)

    def use() -> None:
        store.exchange(spends(1, writer="child"), 0)
        code = "import sys; from spancost.budgets.stores.sqlite import SqliteStore as S; s = S(sys.argv[1]); "
        code += "s.exchange(None, 0); s.close()"
        subprocess.run([sys.executable, "-c", code, store.path], check=True)
        assert os.path.exists(f"{store.path}-wal")
        store.exchange(spends(2, writer="child"), 0)

    child = in_child_later(use)
    store.close()
    assert child() == 0
    assert usd_in(store) == 3.0
    store.close()


def test_a_child_that_was_forked_in_the_middle_of_a_use_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spancost.budgets.stores.sqlite._FORK_TIMEOUT_S", 0.01)
    store = SqliteStore(tmp_path / "b.sqlite")
    store.create()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._transaction(1.0):  # pyright: ignore[reportPrivateUsage]
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)

    def use() -> None:
        with pytest.raises(StoreUnavailableError, match="forked while it was in use"):
            store.exchange(spends(1, writer="child"), 0)
        store.close()

    code = in_child(use)
    done.set()
    thread.join(10)
    assert code == 0
    store.exchange(spends(1), 0)
    assert usd_in(store) == 1.0
    store.close()


def test_the_log_of_changes_does_not_grow_without_end(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "b.sqlite")
    adds = {Cell("r", 0, f"key {n}", 60): Sums(1.0) for n in range(2000)}
    sizes: list[int] = []
    cursor = 0
    for number in range(60):
        cursor = store.exchange(Delivery("w", number + 1, adds), cursor).cursor
        sizes.append(os.stat(f"{store.path}-wal").st_size)
    assert max(sizes) < 16_000_000, sizes
    store.close()


def test_the_numbers_of_writers_are_kept_for_weeks_only(tmp_path: Path) -> None:
    clock = [time.time()]
    store = SqliteStore(tmp_path / "b.sqlite", now=lambda: clock[0])
    store.exchange(spends(1), 0)
    clock[0] += 7 * 86_400
    store.forget({}, now=clock[0])
    store.exchange(spends(1), 0)
    assert usd_in(store) == 1.0
    clock[0] += 31 * 86_400
    store.forget({}, now=clock[0])
    connection = store._connection  # pyright: ignore[reportPrivateUsage]
    assert connection is not None
    assert connection.execute("SELECT count(*) FROM writers").fetchone() == (0,)
    store.close()

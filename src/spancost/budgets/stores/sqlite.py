"""The store of one machine: an SQLite file that all its workers share, and that outlives them."""

from __future__ import annotations

import ctypes
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Final

from spancost import fork_order
from spancost.budgets.store import (
    GUARD_TIMEOUT_S,
    MACHINE,
    MAX_ALERTS,
    STATE_AGE_S,
    Cell,
    Changes,
    Claim,
    Delivery,
    Grant,
    OutboxEntry,
    Standing,
    StateRecord,
    StoreUnavailableError,
    Sums,
    group_of,
)
from spancost.budgets.stores.records import (
    cursor_at,
    decide,
    new_mark,
    place_of,
    state_as_json,
    state_from_json,
    wanted_in_all,
)
from spancost.window import as_utf8

SCHEMA_VERSION: Final = 1
"""Kept in table `meta`. A file with another one is refused."""
APPLICATION_ID: Final = 0x53504E42
"""`SPNB`: written to `PRAGMA application_id`, so that other SQLite files are not taken for a store."""
WRITERS_AGE_S: Final = 30 * 86_400.0
"""The last number of a process that has delivered nothing for so long is forgotten."""
_TIMEOUT_S: Final = 5.0
_FORK_TIMEOUT_S: Final = 2.0
"""How long a fork waits for who uses the file."""
_RETRY_S: Final = 0.0005
"""About how long a process waits until it asks for the file again that another one is writing."""
_PAGE: Final = 2000
"""Cells of the feed that are read in one go."""
_CHECKPOINT_PAGES: Final = 1000
_LAST_RESORT_PAGES: Final = 50_000
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_SCHEMA: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE cells (rule TEXT NOT NULL, track INTEGER NOT NULL, key TEXT NOT NULL, slot INTEGER NOT NULL, "
    "usd REAL NOT NULL, estimated_usd REAL NOT NULL, unpriced INTEGER NOT NULL, calls INTEGER NOT NULL, "
    "seq INTEGER NOT NULL, PRIMARY KEY (rule, track, key, slot)) WITHOUT ROWID",
    "CREATE INDEX cells_by_seq ON cells (seq)",
    "CREATE TABLE states (rule TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, body TEXT NOT NULL, "
    "touched_at REAL NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (rule, key)) WITHOUT ROWID",
    "CREATE INDEX states_by_seq ON states (seq)",
    "CREATE TABLE leases (lease TEXT NOT NULL, rule TEXT NOT NULL, key TEXT NOT NULL, usd REAL NOT NULL, "
    "expires_at REAL NOT NULL, PRIMARY KEY (lease, rule, key)) WITHOUT ROWID",
    "CREATE INDEX leases_by_key ON leases (rule, key, expires_at, usd)",
    "CREATE TABLE writers (writer TEXT PRIMARY KEY, number INTEGER NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE outbox (place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL, "
    "attempts INTEGER NOT NULL, until REAL NOT NULL)",
)
_ADD: Final = (
    "INSERT INTO cells (rule, track, key, slot, usd, estimated_usd, unpriced, calls, seq) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rule, track, key, slot) DO UPDATE SET usd = usd + excluded.usd, "
    "estimated_usd = estimated_usd + excluded.estimated_usd, unpriced = unpriced + excluded.unpriced, "
    "calls = calls + excluded.calls, seq = excluded.seq"
)
_SPENT: Final = (
    "SELECT total(usd), coalesce(sum(unpriced), 0) FROM cells WHERE rule = ? AND track = ? AND key = ? AND slot >= ?"
)
_RESERVED: Final = "SELECT total(usd) FROM leases WHERE rule = ? AND key = ? AND expires_at > ? AND lease <> ?"


class SqliteStore:
    """Keeps sums, states, reservations and alerts in one SQLite file.

    One connection per process, opened at the first use, and again when the file was replaced. It is closed before the
    process forks and opened again after it on both sides: SQLite's own notes of who holds which lock are copied by a
    fork, so that not even a new connection is safe beside one that was open then. A child that was forked by something
    that does not call Python's hooks, while the file was open, finds its store unavailable. WAL mode
    without a flush to the disk in each transaction: a killed process loses nothing that was acknowledged; a power cut
    may lose the newest seconds, and never damages the file.

    Args:
        path: The file; created at the first use for this user alone, in a folder that exists.

        timeout_s: Longest wait for other threads and processes, seconds; a guard brings its own.

        now: Clock, Unix seconds.
    """

    scope = MACHINE

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        timeout_s: float = _TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.path: str = os.path.abspath(os.fspath(path))
        """Absolute, since an application may change its working directory."""
        self.dropped_alerts = 0
        self._timeout_s = timeout_s
        self._now = now
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._paging = threading.Lock()
        """Held while pages are brought home on a connection of their own."""
        self._held_for_fork: list[threading.Lock] = []
        self._is_spoiled = False
        """This process was forked while the file was open."""
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] = (0, 0)
        """Device and inode of the open file."""
        self._mark = 0
        _stores.add(self)

    def __repr__(self) -> str:
        return f"SqliteStore({self.path!r})"

    def create(self) -> None:
        """Create the file with its tables where it is missing.

        Raises:
            StoreUnavailableError: It cannot be written, or it is something else's.
        """
        with self._transaction(self._timeout_s):
            pass

    @contextmanager
    def _transaction(self, timeout_s: float, *, writes: bool = True) -> Generator[sqlite3.Connection]:
        """Give the connection inside a transaction, which is committed if nothing is raised."""
        if self._pid != os.getpid():
            self.after_fork_in_child()
        if self._is_spoiled:
            raise StoreUnavailableError(f"budget store {self.path}: this process was forked while it was in use")
        deadline = time.monotonic() + max(timeout_s, 0.0)
        lock = self._lock
        if not lock.acquire(timeout=max(timeout_s, 0.0)):
            raise StoreUnavailableError(
                f"budget store {self.path}: other threads of this process have held it for more than {timeout_s:g} s"
            )
        try:
            connection = self._open(deadline)
            _retried(connection, "BEGIN IMMEDIATE" if writes else "BEGIN", deadline)
            yield connection
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError, OverflowError) as error:
            self._undo(error)
            raise self._unavailable(error, timeout_s) from error
        except BaseException as error:
            self._undo(error)
            raise
        finally:
            lock.release()

    def _undo(self, error: BaseException) -> None:
        connection = self._connection
        if connection is None:
            return
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.DatabaseError) and not is_busy(error):
            self._drop()  # opened anew next time: the file may have been mended or replaced

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _unavailable(self, error: Exception, timeout_s: float) -> StoreUnavailableError:
        text = str(error)
        hints = (
            ("not a database", "the file is not an SQLite database; move it away or name another file"),
            ("malformed", "the file is damaged; move it away, a new one is begun at the next use"),
            ("readonly", "the file or its folder is read-only for this process"),
            ("unable to open", "the folder is missing or not writable for this process"),
            ("full", "the disk is full"),
            ("locked", f"another process has held it for more than {timeout_s:g} s"),
        )
        hint = next((hint for part, hint in hints if part in text), "")
        return StoreUnavailableError(f"budget store {self.path}: {text}" + (f" ({hint})" if hint else ""))

    def _open(self, deadline: float) -> sqlite3.Connection:
        try:
            found = os.stat(self.path)
            identity = (found.st_dev, found.st_ino)
        except FileNotFoundError:
            identity = (0, 0)
        if self._connection is not None and identity == self._opened and identity != (0, 0):
            return self._connection
        self._drop()
        if identity == (0, 0):
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
            found = os.stat(self.path)
            identity = (found.st_dev, found.st_ino)
        connection = sqlite3.connect(self.path, timeout=0.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection, deadline)
        except BaseException:
            connection.close()
            raise
        self._connection, self._opened = connection, identity
        return connection

    def _prepare(self, connection: sqlite3.Connection, deadline: float) -> None:
        """Set the connection up, and create or check the tables."""
        _retried(connection, "PRAGMA journal_mode = WAL", deadline)
        connection.execute("PRAGMA synchronous = NORMAL")
        # Pages are brought home by the exchange: no guard waits for the disk.
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LAST_RESORT_PAGES}")
        _retried(connection, "BEGIN", deadline)
        tables = int(_retried(connection, "SELECT count(*) FROM sqlite_master", deadline).fetchone()[0])
        if not tables:
            connection.execute("ROLLBACK")
            _retried(connection, "BEGIN IMMEDIATE", deadline)
            tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
            if not tables:
                self._create_tables(connection)
        if int(connection.execute("PRAGMA application_id").fetchone()[0]) != APPLICATION_ID:
            raise StoreUnavailableError(
                f"budget store {self.path}: is an SQLite file, but not a budget store of spancost: name another file"
            )
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        if meta.get("schema_version") != SCHEMA_VERSION:
            raise StoreUnavailableError(
                f"budget store {self.path}: schema version {meta.get('schema_version')} is not {SCHEMA_VERSION}, the "
                "one this spancost knows: use the same spancost everywhere, or name another file"
            )
        self._mark = int(meta["mark"])
        connection.execute("COMMIT")

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        for statement in _SCHEMA:
            connection.execute(statement)
        meta = (("schema_version", SCHEMA_VERSION), ("mark", new_mark()), ("sequence", 0))
        connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        """Add a delivery, once, and return what has changed since a cursor; see `Store.exchange`."""
        with self._transaction(self._timeout_s, writes=delivery is not None) as connection:
            sequence = int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0])
            if delivery is not None and self._is_new(connection, delivery):
                sequence = self._add(connection, delivery, sequence)
            mark, seen = place_of(cursor)
            is_reset = cursor != 0 and (mark != self._mark or seen > sequence)
            mark, since = self._mark, 0 if is_reset else seen
            cells: list[tuple[Cell, Sums]] = []
            after = _read_page(connection, since, cells)
            bodies = [] if after is not None else _states_since(connection, since)
        while after is not None:  # a page at a time: the guards of this process use the same connection
            with self._transaction(self._timeout_s, writes=False) as connection:
                if self._mark != mark:
                    break  # another file by now: the next exchange begins anew
                after = _read_page(connection, after, cells)
                if after is None:
                    sequence = int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0])
                    bodies = _states_since(connection, since)
        self._bring_pages_home()
        states = [state_from_json(body) for (body,) in bodies]
        return Changes(cursor_at(mark, sequence), cells, states, is_reset)

    def _is_new(self, connection: sqlite3.Connection, delivery: Delivery) -> bool:
        writer = as_utf8(delivery.writer)
        found = connection.execute("SELECT number FROM writers WHERE writer = ?", (writer,)).fetchone()
        if found is not None and delivery.number <= found[0]:
            return False
        connection.execute(
            "INSERT OR REPLACE INTO writers (writer, number, seen_at) VALUES (?, ?, ?)",
            (writer, delivery.number, self._now()),
        )
        return True

    def _add(self, connection: sqlite3.Connection, delivery: Delivery, sequence: int) -> int:
        """Add the sums, release the leases, and return the new end of the feed."""
        rows = [
            (as_utf8(cell.rule), cell.track, as_utf8(cell.key), cell.slot, *sums, sequence + index)
            for index, (cell, sums) in enumerate(delivery.adds.items(), 1)
        ]
        connection.executemany(_ADD, rows)
        _set_sequence(connection, sequence + len(rows))
        released = [(as_utf8(lease),) for lease in delivery.released]
        connection.executemany("DELETE FROM leases WHERE lease = ?", released)
        return sequence + len(rows)

    def _bring_pages_home(self) -> None:
        """Write the WAL file's pages to the main file when it has grown, on a connection nobody waits for."""
        paging = self._paging
        if not paging.acquire(blocking=False):
            return
        try:
            if os.stat(f"{self.path}-wal").st_size < _CHECKPOINT_PAGES * 4096:
                return
            with closing(sqlite3.connect(self.path, timeout=0.0, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (OSError, sqlite3.Error):
            return  # the next exchange tries again
        finally:
            paging.release()

    def transition(self, after: StateRecord, alerts: Sequence[OutboxEntry] = ()) -> bool:
        """Store a state whose version is one more than the stored one; see `Store.transition`."""
        dropped = 0
        place = (as_utf8(after.rule), as_utf8(after.key))
        with self._transaction(self._timeout_s) as connection:
            found = connection.execute("SELECT version FROM states WHERE rule = ? AND key = ?", place).fetchone()
            if after.version != (0 if found is None else found[0]) + 1:
                return False
            sequence = int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0]) + 1
            _set_sequence(connection, sequence)
            connection.execute(
                "INSERT OR REPLACE INTO states (rule, key, version, body, touched_at, seq) VALUES (?, ?, ?, ?, ?, ?)",
                (*place, after.version, state_as_json(after), self._now(), sequence),
            )
            room = MAX_ALERTS - int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0]) if alerts else 0
            for alert in alerts:
                id = as_utf8(alert.id)
                if connection.execute("SELECT 1 FROM outbox WHERE id = ?", (id,)).fetchone():
                    continue
                if room <= 0:
                    dropped += 1
                    continue
                room -= 1
                connection.execute(
                    "INSERT INTO outbox (id, body, attempts, until) VALUES (?, ?, ?, -9e999)",
                    (id, as_utf8(alert.body), alert.attempts),
                )
        self.dropped_alerts += dropped
        return True

    def reserve(
        self, lease: str, claims: Sequence[Claim], *, now: float, expires_at: float, timeout_s: float = GUARD_TIMEOUT_S
    ) -> Grant:
        """Reserve money in one step, or none; see `Store.reserve`."""
        lease = as_utf8(lease)
        only_asks = not any(claim.usd > 0.0 for claim in claims)
        with self._transaction(timeout_s, writes=not only_asks) as connection:
            grant = decide(claims, [_standing(connection, claim, lease, now) for claim in claims])
            if only_asks:
                return grant
            connection.execute("DELETE FROM leases WHERE lease = ?", (lease,))
            if grant.is_granted:
                connection.executemany(
                    "INSERT INTO leases (lease, rule, key, usd, expires_at) VALUES (?, ?, ?, ?, ?)",
                    [
                        (lease, as_utf8(rule), as_utf8(key), usd, expires_at)
                        for (rule, key), usd in wanted_in_all(claims).items()
                        if usd > 0.0
                    ],
                )
            return grant

    def renew(self, leases: Sequence[str], expires_at: float) -> None:
        """Let reservations that still exist expire later."""
        with self._transaction(self._timeout_s) as connection:
            connection.executemany(
                "UPDATE leases SET expires_at = max(expires_at, ?) WHERE lease = ?",
                [(expires_at, as_utf8(lease)) for lease in leases],
            )

    def reserved(self, now: float) -> Mapping[tuple[str, str], float]:
        """Return what is reserved at a moment, by rule and key, USD."""
        with self._transaction(self._timeout_s, writes=False) as connection:
            rows = connection.execute(
                "SELECT rule, key, total(usd) FROM leases WHERE expires_at > ? GROUP BY rule, key", (now,)
            ).fetchall()
        return {(rule, key): usd for rule, key, usd in rows}

    def take_alerts(self, worker: str, *, now: float, lease_s: float, limit: int = 16) -> list[OutboxEntry]:
        """Take alerts that nobody delivers at present; see `Store.take_alerts`."""
        with self._transaction(self._timeout_s, writes=False) as connection:
            if connection.execute("SELECT 1 FROM outbox WHERE until <= ? LIMIT 1", (now,)).fetchone() is None:
                return []
        taken: list[OutboxEntry] = []
        with self._transaction(self._timeout_s) as connection:
            waits: set[str] = set()
            for id, until in connection.execute("SELECT id, until FROM outbox ORDER BY place").fetchall():
                if len(taken) >= limit:
                    break
                if until > now:
                    waits.add(group_of(id))
                elif group_of(id) not in waits:
                    row = connection.execute("SELECT id, body, attempts FROM outbox WHERE id = ?", (id,)).fetchone()
                    taken.append(OutboxEntry(*row))
            connection.executemany(
                "UPDATE outbox SET attempts = attempts + 1, until = ? WHERE id = ?",
                [(now + lease_s, entry.id) for entry in taken],
            )
        return taken

    def finish_alert(self, id: str) -> None:
        """Forget an alert that was delivered, or given up."""
        with self._transaction(self._timeout_s) as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (as_utf8(id),))

    def postpone_alert(self, id: str, until: float) -> None:
        """Give an alert back: nobody takes it before a moment, Unix seconds."""
        with self._transaction(self._timeout_s) as connection:
            connection.execute("UPDATE outbox SET until = ? WHERE id = ?", (until, as_utf8(id)))

    def forget(self, oldest_slots: Mapping[tuple[str, int], int], *, now: float) -> None:
        """Delete old cells, states and writers, and dead leases; see `Store.forget`."""
        with self._transaction(self._timeout_s) as connection:
            connection.executemany(
                "DELETE FROM cells WHERE rule = ? AND track = ? AND slot < ?",
                [(as_utf8(rule), track, oldest) for (rule, track), oldest in oldest_slots.items()],
            )
            connection.execute("DELETE FROM states WHERE touched_at < ?", (now - STATE_AGE_S,))
            connection.execute("DELETE FROM writers WHERE seen_at < ?", (now - WRITERS_AGE_S,))
            connection.execute("DELETE FROM leases WHERE expires_at <= ?", (now,))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._pid != os.getpid():
            self.after_fork_in_child()
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Wait until nobody uses the file, and close it."""
        for lock in (self._lock, self._paging):
            if not lock.acquire(timeout=_FORK_TIMEOUT_S):
                return  # the child will find it spoiled
            self._held_for_fork.append(lock)
        self._drop()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        while self._held_for_fork:
            self._held_for_fork.pop().release()

    def after_fork_in_child(self) -> None:
        """Begin with nothing open; where the parent had the file open, it must not be used here, nor even closed."""
        if self._pid == os.getpid():
            return
        self._is_spoiled = self._is_spoiled or self._connection is not None
        self._pid = os.getpid()
        self._held_for_fork = []
        self._lock = threading.Lock()
        self._paging = threading.Lock()
        self.dropped_alerts = 0
        connection, self._connection = self._connection, None
        if connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # never closed, not even at the end


_stores: Final[weakref.WeakSet[SqliteStore]] = weakref.WeakSet()


def _before_fork() -> None:
    for store in list(_stores):
        store.before_fork()


def _after_fork_in_parent() -> None:
    for store in list(_stores):
        store.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for store in list(_stores):
        store.after_fork_in_child()


# Who publishes holds the engine's locks and waits for a store's: a fork must not hold them the other way round.
fork_order.register(fork_order.ForkHooks(_before_fork, _after_fork_in_parent, _after_fork_in_child))


def is_busy(error: BaseException | None) -> bool:
    """Say whether an error of SQLite only means that somebody else is writing."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BUSY


def _retried(connection: sqlite3.Connection, statement: str, deadline: float) -> sqlite3.Cursor:
    """Run a statement that takes a lock, until it has it or the time is over.

    SQLite's own waiting sleeps up to 100 ms at a time, which is more than a guard has.
    """
    while True:
        try:
            return connection.execute(statement)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_S * (0.5 + random.random()))


def _set_sequence(connection: sqlite3.Connection, sequence: int) -> None:
    connection.execute("UPDATE meta SET value = ? WHERE key = 'sequence'", (sequence,))


def _standing(connection: sqlite3.Connection, claim: Claim, lease: str, now: float) -> Standing:
    rule, track, key, _ = claim.cell
    rule, key = as_utf8(rule), as_utf8(key)
    spent, unpriced = connection.execute(_SPENT, (rule, track, key, claim.first_slot)).fetchone()
    reserved = connection.execute(_RESERVED, (rule, key, now, lease)).fetchone()[0]
    return Standing(spent, reserved, unpriced)


def _read_page(connection: sqlite3.Connection, after: int, cells: list[tuple[Cell, Sums]]) -> int | None:
    """Add the next cells of the feed to a list; return where to go on, None if that was all."""
    rows = connection.execute(
        "SELECT rule, track, key, slot, usd, estimated_usd, unpriced, calls, seq FROM cells WHERE seq > ? "
        "ORDER BY seq LIMIT ?",
        (after, _PAGE),
    ).fetchall()
    cells += [(Cell(*row[:4]), Sums(*row[4:8])) for row in rows]
    return int(rows[-1][8]) if len(rows) == _PAGE else None


def _states_since(connection: sqlite3.Connection, since: int) -> list[tuple[str]]:
    return connection.execute("SELECT body FROM states WHERE seq > ? ORDER BY seq", (since,)).fetchall()

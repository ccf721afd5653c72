"""Who else serves on this machine: processes divide its price by a small file.

Each serving process is a *member* from its first span to its end. At any moment the machine belongs to its
members in equal parts, so a member is *entitled* to ``integral of 1/members(t) dt``. A membership begins and ends
`NOTICE_S` after it is written, so that every process reads of it beforehand and changes its share at that very moment;
only the first member begins at once. The file is the only truth: should somebody read it too late, what the span
path has assumed in the meantime is settled by way of the idle time. The sum over all members is exactly the time for
which there was at least one.

Times are seconds of the system-wide monotonic clock, which all processes of one boot share.
"""

from __future__ import annotations

import itertools
import json
import os
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no file locks of this kind
    fcntl = None  # type: ignore[assignment]

POLL_S: Final = 0.25
"""How often a member looks whether the file has changed."""
NOTICE_S: Final = 1.0
"""How long before it takes effect a change of membership is written."""
_LOCK_TIMEOUT_S: Final = 5.0
"""Longest wait for the file; a process that is frozen while it holds it must not stop all others."""
_LOCK_RETRY_S: Final = 0.005
_KEEP_ENDED_S: Final = 600.0
"""Ended members stay in the file this long, so that everybody can still work out the past."""


class LeaseUnavailableError(Exception):
    """The lease file cannot be used; the process counts as alone."""


class Lease:
    """Membership of this process in the lease file.

    Args:
        path: The file; empty for a per-user file in the temporary directory.
    """

    def __init__(self, path: str = "") -> None:
        if fcntl is None:
            raise LeaseUnavailableError("this platform has no file locks")
        self._path = Path(path) if path else _default_path()
        self._pid = 0
        self._settled_at = 0.0
        self._left = False
        self._seen_change = 0
        self.entitled_s = 0.0
        """Instance-seconds that belong to this process since it joined, up to the last `settle`."""
        self.plan: list[tuple[float, float]] = []
        """(moment, share of this process from then on): the present share first, then what is already known."""

    def others_live(self) -> bool:
        """Look, without waiting for a lock, whether other members are alive; some 50 microseconds."""
        try:
            content = self._path.read_bytes()
        except OSError:
            return False
        return any(row["until"] is None and _is_alive(row) for row in _rows_of_this_boot(content))

    def join(self, since: float) -> None:
        """Become a member: from `since` if nobody else is one, else `NOTICE_S` from now.

        Raises:
            LeaseUnavailableError: The file cannot be opened, locked or written.
        """
        with _LockedFile(self._path) as file:
            now = time.monotonic()
            rows = _with_the_dead_ended(file.rows, now)
            ends = [row["until"] for row in rows]
            if any(until is None for until in ends):
                start = _next_change(rows, now)
            else:
                start = max([since, *cast("list[float]", ends)])
            self._pid = os.getpid()
            rows.append({"pid": self._pid, "born": _process_start(self._pid), "from": start, "until": None})
            self._seen_change = file.write(rows, now)
        self._settled_at = min(start, now)
        self._look(rows, now)

    def has_changed(self) -> bool:
        """True if somebody has written the file since this process last read it."""
        try:
            return os.stat(self._path).st_mtime_ns != self._seen_change
        except OSError:
            return True

    def settle(self, *, leave: bool = False) -> None:
        """Bring `entitled_s` and `plan` up to now; with `leave`, end the membership after the notice."""
        if self._left or self._pid != os.getpid():
            return
        with _LockedFile(self._path) as file:
            now = time.monotonic()
            rows = _with_the_dead_ended(file.rows, now)
            mine = next((row for row in rows if row["pid"] == self._pid and row["until"] is None), None)
            if mine is None:
                # The file was deleted or emptied: become a member again.
                mine = {"pid": self._pid, "born": _process_start(self._pid), "from": self._settled_at, "until": None}
                rows.append(mine)
            until = now
            if leave:
                # What the notice still brings belongs to this process, which will not be there: it is idle. The
                # last one to leave owes nobody a notice.
                alone = not any(row["until"] is None for row in rows if row is not mine)
                starts: float = rows[rows.index(mine)]["from"]
                until = max(starts, _next_change(rows, now, notice_s=0.0 if alone else NOTICE_S))
                mine["until"] = until
                self._left = True
            self.entitled_s += _entitlement(rows, mine, self._settled_at, until)
            self._settled_at = until
            if rows != file.rows:
                self._seen_change = file.write(rows, now)
            else:
                self._seen_change = file.changed_at()
        self._look(rows, now)

    def _look(self, rows: list[dict[str, Any]], now: float) -> None:
        mine = next(row for row in reversed(rows) if row["pid"] == self._pid)
        moments = [now, *sorted({edge for edge in _edges(rows) if edge > now})]
        self.plan = [(moment, _share(rows, mine, moment)) for moment in moments]


def _next_change(rows: list[dict[str, Any]], now: float, *, notice_s: float = NOTICE_S) -> float:
    """Return when a change written now takes effect.

    Never before the end of a member that has left: it has worked out its last share already.
    """
    return max([now + notice_s, *(row["until"] for row in rows if row["until"] is not None)])


def _edges(rows: list[dict[str, Any]]) -> list[float]:
    return [edge for row in rows for edge in (row["from"], row["until"]) if edge is not None]


def _share(rows: list[dict[str, Any]], mine: dict[str, Any], moment: float) -> float:
    """Return the part of the machine that is `mine` from a moment on."""

    def holds(row: dict[str, Any]) -> bool:
        return row["from"] <= moment and (row["until"] is None or moment < row["until"])

    return 1.0 / sum(map(holds, rows)) if holds(mine) else 0.0


def _entitlement(rows: list[dict[str, Any]], mine: dict[str, Any], start: float, end: float) -> float:
    """Return the integral of the share of `mine` from `start` to `end`."""
    moments = sorted({start, end, *(edge for edge in _edges(rows) if start < edge < end)})
    return sum((right - left) * _share(rows, mine, left) for left, right in itertools.pairwise(moments))


def _with_the_dead_ended(rows: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
    """Return a copy of the rows in which members whose process is gone have ended, and old ones are forgotten."""
    kept: list[dict[str, Any]] = []
    for row in rows:
        changed = dict(row)
        if changed["until"] is None and not _is_alive(changed):
            changed["until"] = max(float(changed["from"]), _next_change(rows, now))
        if changed["until"] is None or changed["until"] > now - _KEEP_ENDED_S:
            kept.append(changed)
    return kept


def _is_alive(row: dict[str, Any]) -> bool:
    return _process_start(row["pid"]) == row["born"]


def _process_start(pid: int) -> str:
    """Return what identifies a process beside its number (numbers are used again); empty if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return ""
    except (ProcessLookupError, PermissionError):
        return ""
    else:
        return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


def _default_path() -> Path:
    directory = Path(tempfile.gettempdir()) / f"spancost-{os.getuid()}"
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        raise LeaseUnavailableError(str(error)) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise LeaseUnavailableError(f"{directory} belongs to somebody else or is open to others")
    return directory / "lease.json"


class _LockedFile:
    """The lease file, locked for one reading and writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> _LockedFile:
        assert fcntl is not None
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            self._lock()
            content = os.read(self._fd, 1 << 22)
        except OSError as error:
            self.__exit__()
            raise LeaseUnavailableError(f"{self._path}: {error.strerror or error}") from error
        self.rows = _rows_of_this_boot(content)
        return self

    def _lock(self) -> None:
        assert fcntl is not None
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                return fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(_LOCK_RETRY_S)
        raise TimeoutError(None, f"held by another process for {_LOCK_TIMEOUT_S:g} s")

    def changed_at(self) -> int:
        """Return the time of the last change, as `has_changed` compares it."""
        return os.fstat(self._fd).st_mtime_ns

    def write(self, rows: list[dict[str, Any]], now: float) -> int:
        """Replace the rows and return the time of this change."""
        content = json.dumps({"boot": _boot(), "written": now, "members": rows}).encode()
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, content, 0)
        except OSError as error:
            raise LeaseUnavailableError(f"{self._path}: {error.strerror or error}") from error
        return self.changed_at()

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            assert fcntl is not None
            # Closing is not enough: a child that was forked meanwhile has the file open, too, and would go on holding
            # the lock for all.
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1


def _rows_of_this_boot(content: bytes) -> list[dict[str, Any]]:
    try:
        loaded = cast("dict[str, Any]", json.loads(content) if content else {})
        if loaded.get("boot") != _boot():
            return []
        rows = cast("list[dict[str, Any]]", loaded["members"])
        return [row for row in rows if {"pid", "born", "from", "until"} <= row.keys()]
    except (ValueError, AttributeError, KeyError, TypeError):
        return []  # damaged: everybody joins again


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""

"""The store of a fleet: a Redis server, or any that speaks its protocol and runs its Lua scripts."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast
from urllib.parse import urlsplit

from spancost._guard import ErrorLog
from spancost.budgets.store import (
    FLEET,
    GUARD_TIMEOUT_S,
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
)
from spancost.budgets.stores import redis_scripts as scripts
from spancost.budgets.stores.contributions import Contribution
from spancost.budgets.stores.records import (
    cursor_at,
    new_mark,
    place_of,
    state_as_json,
    state_from_json,
    wanted_in_all,
)
from spancost.errors import MissingExtraError
from spancost.window import as_utf8

SCHEMES: Final = ("redis", "rediss", "unix")
_TIMEOUT_S: Final = 0.5
_PAGE: Final = 2000
_PART: Final = 2000
_MAX_IDLE: Final = 64
_MAX_WRITERS: Final = 64
_MAX_STATES: Final = 100_000
_MAX_HELD: Final = 10_000
_MAX_ROUNDS: Final = 4
_SEPARATOR: Final = "\x1f"
_SUMS: Final = struct.Struct("<4d")
_STANDING: Final = struct.Struct("<3d")
_AMOUNT: Final = struct.Struct("<d")

_Argument = str | bytes | int | float


class RedisStore:
    """Keeps sums, states, reservations and alerts in Redis, for all processes that name the same server and namespace.

    All keys begin with `{NAMESPACE}:`, one hash tag, so that they stay together in a cluster, where any node may be
    named: who is sent elsewhere goes there with the next call. Every key that nobody touches for 400 days expires; a
    server that evicts keys to make room (`maxmemory-policy` other than `noeviction`) forgets money unseen. Calls go
    past redis-py's client, so that no instrumentation of it takes them for the application's, and are never repeated
    within a call: the next one connects again.

    A server that comes back empty, or without the end of its log, is found out by the first exchange of any process
    that it has forgotten something of. Each process then brings back what it has contributed itself, exactly once: all
    its sums to an empty server, to the others the deliveries that they miss; and its reservations and the states that
    it knows. Its guards are not answered before; after that they see what other processes have yet to bring back with
    the next exchange of those. What cannot be brought back: the sums and reservations of processes that have ended,
    alerts that nobody had delivered, and where a server has lost more than about 1 000 deliveries of a process the
    oldest of these, which is logged.

    Args:
        url: `redis://[USER:PASSWORD@]HOST[:PORT]/DB`, `rediss://` with TLS, or `unix://PATH`.

        namespace: What all keys begin with; those who share it share their budgets.

        timeout_s: Longest wait for an answer, seconds; a guard brings its own.

        now: Clock, Unix seconds.

    Raises:
        MissingExtraError: redis-py is not installed.

        ValueError: The URL is wrong.
    """

    scope = FLEET

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "spancost",
        timeout_s: float = _TIMEOUT_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._shown = _without_secrets(url)
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise MissingExtraError("the budget store in Redis", "redis") from error
        self._redis: Any = redis
        options: dict[str, Any] = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "decode_responses": False,
        }
        try:
            pool: Any = self._redis.ConnectionPool.from_url(url, **options)
        except (ValueError, TypeError):
            raise ValueError(f"budget store {self._shown}: {ACCEPTED}") from None  # its message may have the password
        self._connection_class: Any = pool.connection_class
        self._connection_options: dict[str, Any] = dict(pool.connection_kwargs)
        if not namespace or set("{}") & set(namespace):
            raise ValueError(f"namespace: {namespace!r} is not accepted: any text without braces")
        self._prefix = f"{{{namespace}}}:"
        self._timeout_s = timeout_s
        self._now = now
        self._log = ErrorLog()
        self._begin()

    def __repr__(self) -> str:
        return f"RedisStore({self._shown!r})"

    def _begin(self) -> None:
        self._pid = os.getpid()
        self.dropped_alerts = 0
        self._idle: list[Any] = []
        self._node: tuple[str, int] | None = None
        """Host and port of the node of a cluster that has our keys, if the one that the URL names does not."""
        self._exchanging = threading.Lock()
        self._counting = threading.Lock()
        self._epoch = b""
        """The content of the server that was last seen."""
        self._contributions: dict[str, Contribution] = {}
        self._states: dict[str, tuple[int, str]] = {}
        """Version and stored form of the states that this process has seen."""
        self._held: dict[str, tuple[float, dict[tuple[str, str], float]]] = {}
        """Reservations of this process: when they expire, and what they hold of each rule and key."""

    # -- talking ------------------------------------------------------------------------------------------------------

    def _run(self, script: str, *arguments: _Argument, deadline: float) -> Any:
        """Run a script once, or say why that was not possible.

        Raises:
            StoreUnavailableError: No answer came before the deadline; whether it was run is not known then.
        """
        if self._pid != os.getpid():
            self.after_fork_in_child()
        sent = [self._prefix, *arguments]
        connection = self._take()
        usable = False
        try:
            self._connect(connection, deadline)
            sha = _sha(script)
            try:
                answer = self._ask(connection, ("EVALSHA", sha, 1, f"{self._prefix}meta", *sent), deadline)
            except self._redis.exceptions.NoScriptError:
                answer = self._ask(connection, ("EVAL", script, 1, f"{self._prefix}meta", *sent), deadline)
            usable = True
        except self._redis.exceptions.ResponseError as error:
            self._node = _moved_to(error)
            said = "is at another node of the cluster" if self._node else error
            raise StoreUnavailableError(f"budget store {self._shown}: {said}") from error
        except (self._redis.exceptions.RedisError, OSError) as error:
            self._node = None  # a cluster may have another owner of the keys now
            raise StoreUnavailableError(f"budget store {self._shown}: {error}") from error
        finally:
            if usable and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
            else:
                _hang_up(connection)
        return answer

    def _take(self) -> Any:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            try:
                if not connection.can_read(timeout=0):
                    return connection
            except (self._redis.exceptions.RedisError, OSError):
                pass
            _hang_up(connection)  # the server has closed it
        return self._new_connection()

    def _new_connection(self) -> Any:
        node, options = self._node, self._connection_options
        if node is not None and "path" not in options:
            host, port = node
            options = {**options, "host": host or options.get("host", "localhost"), "port": port}
        return self._connection_class(**options)

    def _connect(self, connection: Any, deadline: float) -> None:
        left = self._left(deadline)
        if getattr(connection, "_sock", None) is None:
            # Connecting has several steps, each with a time limit of its own: together they keep the deadline.
            connection.socket_connect_timeout = left / 2
            connection.socket_timeout = left / 8
            connection.connect()

    def _ask(self, connection: Any, command: tuple[_Argument, ...], deadline: float) -> Any:
        connection._sock.settimeout(self._left(deadline))
        connection.send_command(*command, check_health=False)
        return connection.read_response()

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise self._redis.exceptions.TimeoutError("no answer in time")
        return left

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout_s

    # -- the contract -------------------------------------------------------------------------------------------------

    def exchange(self, delivery: Delivery | None, cursor: int) -> Changes:
        """Add a delivery, once, and return what has changed since a cursor; see `Store.exchange`.

        What is much comes in pages of 2 000, each with the time limit of a call; if one does not come, the next
        exchange goes on from there.
        """
        if self._pid != os.getpid():
            self.after_fork_in_child()
        with self._alone():
            answer = self._first_page(delivery, cursor)
            mark, seen = place_of(cursor)
            first_mark = int(answer[2])
            is_reset = cursor != 0 and mark != first_mark
            cells, states = self._read(answer[5])
            seen = int(answer[3])
            while answer[4]:
                try:
                    answer = self._exchange_once(None, cursor_at(first_mark, seen), deadline=self._deadline())
                except StoreUnavailableError:
                    break
                if answer[0] == b"lost" or int(answer[2]) != first_mark:
                    break  # the next exchange begins anew
                more_cells, more_states = self._read(answer[5])
                cells.update(more_cells)
                states.update(more_states)
                seen = int(answer[3])
            return Changes(cursor_at(first_mark, seen), list(cells.items()), list(states.values()), is_reset)

    @contextmanager
    def _alone(self) -> Generator[None]:
        lock = self._exchanging
        if not lock.acquire(timeout=_MAX_ROUNDS * self._timeout_s):
            raise StoreUnavailableError(f"budget store {self._shown}: another thread of this process waits for it")
        try:
            yield
        finally:
            lock.release()

    def _first_page(self, delivery: Delivery | None, cursor: int) -> list[Any]:
        """Send a delivery, after everything that the server has lost of this process, and return its answer."""
        for _ in range(_MAX_ROUNDS):
            answer = self._exchange_once(delivery, cursor, deadline=self._deadline())
            if answer[0] == b"ok":
                self._acknowledge(delivery, answer[1])
                return answer
            self._bring_back(answer[1], answer[2], answer[3])
        raise StoreUnavailableError(f"budget store {self._shown}: loses its data again and again")

    def _exchange_once(self, delivery: Delivery | None, cursor: int, *, deadline: float) -> list[Any]:
        mark, seen = place_of(cursor)
        arguments: list[_Argument] = [new_mark(), mark, seen, _PAGE]
        arguments += ("", 0) if delivery is None else (as_utf8(delivery.writer), delivery.number)
        known = [(as_utf8(writer), one.acknowledged) for writer, one in self._contributions.items()]
        arguments += (self._epoch, len(known))
        for pair in known:
            arguments += pair
        if delivery is not None:
            arguments.append(len(delivery.adds))
            arguments += _packed(delivery.adds.items())
            arguments += [as_utf8(lease) for lease in delivery.released]
        return cast("list[Any]", self._run(scripts.EXCHANGE, *arguments, deadline=deadline))

    def _acknowledge(self, delivery: Delivery | None, epoch: bytes) -> None:
        self._epoch = epoch
        now = self._now()
        for contribution in self._contributions.values():
            contribution.seen_at = now
        if delivery is None:
            return
        with self._counting:
            for lease in delivery.released:
                self._held.pop(lease, None)
        contribution = self._contributions.setdefault(delivery.writer, Contribution(epoch))
        contribution.took(delivery)
        contribution.seen_at = now
        while len(self._contributions) > _MAX_WRITERS:
            del self._contributions[next(iter(self._contributions))]

    def _read(self, flat: list[bytes]) -> tuple[dict[Cell, Sums], dict[str, StateRecord]]:
        cells: dict[Cell, Sums] = {}
        states: dict[str, StateRecord] = {}
        for index in range(0, len(flat), 2):
            id, value = flat[index].decode(), flat[index + 1]
            if id[0] == "c":
                slot, rule, track, key = id[1:].split(_SEPARATOR, 3)
                usd, estimated_usd, unpriced, calls = _SUMS.unpack(value)
                cells[Cell(rule, int(track), key, int(slot))] = Sums(usd, estimated_usd, int(unpriced), int(calls))
            else:
                version, _, body = value.decode().split(_SEPARATOR, 2)
                states[id[1:]] = state_from_json(body)
                with self._counting:
                    self._remember(id[1:], int(version), value.decode())
        return cells, states

    def _remember(self, place: str, version: int, value: str) -> None:
        self._states.pop(place, None)
        self._states[place] = (version, value)
        while len(self._states) > _MAX_STATES:
            del self._states[next(iter(self._states))]

    def transition(self, after: StateRecord, alerts: Sequence[OutboxEntry] = ()) -> bool:
        """Store a state whose version is one more than the stored one; see `Store.transition`."""
        place = _SEPARATOR.join((as_utf8(after.rule), as_utf8(after.key)))
        value = _SEPARATOR.join((str(after.version), repr(self._now()), state_as_json(after)))
        with self._counting:
            known = self._states.get(place, (0, ""))
        arguments: list[_Argument] = [new_mark(), place, after.version, value]
        arguments += [known[1] if known[0] == after.version - 1 else "", MAX_ALERTS]
        for alert in alerts:
            arguments += (as_utf8(alert.id), as_utf8(alert.body), alert.attempts)
        dropped = int(self._run(scripts.TRANSITION, *arguments, deadline=self._deadline()))
        if dropped < 0:
            return False
        with self._counting:
            self._remember(place, after.version, value)
            self.dropped_alerts += dropped
        return True

    def reserve(
        self, lease: str, claims: Sequence[Claim], *, now: float, expires_at: float, timeout_s: float = GUARD_TIMEOUT_S
    ) -> Grant:
        """Reserve money in one step, or none; see `Store.reserve`."""
        deadline = time.monotonic() + timeout_s
        writer, acknowledged = self._newest_writer()
        keep_s = _kept_s(expires_at - now)
        arguments: list[_Argument] = [as_utf8(lease), now, expires_at, self._epoch, writer, acknowledged, keep_s]
        wanted = wanted_in_all(claims)
        for claim in claims:
            rule, track, key, _ = claim.cell
            arguments += (as_utf8(rule), track, as_utf8(key), claim.first_slot, claim.limit_usd, wanted[rule, key])
        answer = self._run(scripts.RESERVE, *arguments, deadline=deadline)
        if answer == b"lost":
            raise StoreUnavailableError(
                f"budget store {self._shown}: has lost data; no reservation before the next exchange brings it back"
            )
        with self._counting:
            if any(wanted.values()):
                self._held.pop(lease, None)
                if answer[0]:
                    self._held[lease] = (expires_at, wanted)
            while len(self._held) > _MAX_HELD:
                del self._held[next(iter(self._held))]
        standings = [_STANDING.unpack(one) for one in answer[1]]
        return Grant(bool(answer[0]), tuple(Standing(spent, held, int(count)) for spent, held, count in standings))

    def _newest_writer(self) -> tuple[str, int]:
        for writer in reversed(list(self._contributions)):
            contribution = self._contributions.get(writer)
            if contribution is not None:
                return as_utf8(writer), contribution.acknowledged
        return "", 0

    def renew(self, leases: Sequence[str], expires_at: float) -> None:
        """Let reservations that still exist expire later."""
        if leases:
            keep_s = _kept_s(expires_at - self._now())
            ids = [as_utf8(lease) for lease in leases]
            self._run(scripts.RENEW, expires_at, keep_s, *ids, deadline=self._deadline())
            with self._counting:
                for lease in leases:
                    until, held = self._held.get(lease, (expires_at, None))
                    if held is not None:
                        self._held[lease] = (max(until, expires_at), held)

    def reserved(self, now: float) -> Mapping[tuple[str, str], float]:
        """Return what is reserved at a moment, by rule and key, USD."""
        flat = self._run(scripts.RESERVED, now, deadline=self._deadline())
        found: dict[tuple[str, str], float] = {}
        for index in range(0, len(flat), 2):
            rule, key = flat[index].decode().split(_SEPARATOR, 1)
            found[rule, key] = _AMOUNT.unpack(flat[index + 1])[0]
        return found

    def take_alerts(self, worker: str, *, now: float, lease_s: float, limit: int = 16) -> list[OutboxEntry]:
        """Take alerts that nobody delivers at present; see `Store.take_alerts`."""
        flat = self._run(scripts.TAKE, now, now + lease_s, limit, deadline=self._deadline())
        return [
            OutboxEntry(flat[index].decode(), flat[index + 1].decode(), int(flat[index + 2]))
            for index in range(0, len(flat), 3)
        ]

    def finish_alert(self, id: str) -> None:
        """Forget an alert that was delivered, or given up."""
        self._run(scripts.FINISH, as_utf8(id), deadline=self._deadline())

    def postpone_alert(self, id: str, until: float) -> None:
        """Give an alert back: nobody takes it before a moment, Unix seconds."""
        self._run(scripts.POSTPONE, as_utf8(id), until, deadline=self._deadline())

    def forget(self, oldest_slots: Mapping[tuple[str, int], int], *, now: float) -> None:
        """Delete old cells and states, and dead leases; see `Store.forget`.

        It goes through the feed in pages: others are not kept waiting.
        """
        oldest = {(as_utf8(rule), track): slot for (rule, track), slot in oldest_slots.items()}
        with self._alone():
            for contribution in self._contributions.values():
                contribution.forget(oldest_slots)
        with self._counting:
            for lease in [lease for lease, (until, _) in self._held.items() if until <= now]:
                del self._held[lease]
        at = b"0"
        while True:
            at, flat = self._run(scripts.SCAN, at, _PAGE, deadline=self._deadline())
            gone = [member for member in flat[::2] if _is_gone(member, oldest)]
            if gone:
                self._run(scripts.DROP, now - STATE_AGE_S, *gone, deadline=self._deadline())
            if at == b"0":
                break
        self._run(scripts.DROP_LEASES, now, deadline=self._deadline())

    def close(self) -> None:
        """Close all connections; the next use opens one again."""
        if self._pid != os.getpid():
            self.after_fork_in_child()
        while self._idle:
            with suppress(IndexError):
                _hang_up(self._idle.pop())

    def after_fork_in_child(self) -> None:
        """Leave the parent its connections, and what it has contributed."""
        idle = self._idle
        self._begin()
        for connection in idle:
            _hang_up(connection)

    # -- what the server has lost -------------------------------------------------------------------------------------

    def _bring_back(self, epoch: bytes, mark: bytes, lost: list[bytes]) -> None:
        """Send again what the server no longer has of this process, so that it counts once."""
        self._log.log_once(
            "budgets.store", "budget store %s has lost data; this process brings its part back", self._shown
        )
        numbers = {lost[index]: lost[index + 1] for index in range(0, len(lost), 2)}
        for writer, contribution in list(self._contributions.items()):
            number = numbers.get(as_utf8(writer).encode())
            if number is None:
                contribution.epoch = epoch
            elif number == b"" and contribution.epoch != epoch:
                self._restore(writer, contribution, epoch)
            elif number == b"" and self._now() - contribution.seen_at > scripts.WRITERS_KEEP_S / 2:
                del self._contributions[writer]  # its number has expired, its sums have not
            else:
                self._replay(writer, contribution, epoch, mark, int(number or 0))
        with self._counting:
            known = list(self._states.items())
        for at in range(0, len(known), _PART):
            triples: list[_Argument] = []
            for place, (version, value) in known[at : at + _PART]:
                triples += (place, version, value)
            self._run(scripts.RESTORE_STATES, epoch, *triples, deadline=self._deadline())
        self._hold_again(epoch)
        self._epoch = epoch

    def _hold_again(self, epoch: bytes) -> None:
        with self._counting:
            held = list(self._held.items())
        now = self._now()
        fives: list[_Argument] = []
        for lease, (expires_at, wanted) in held:
            for (rule, key), usd in wanted.items():
                if usd > 0.0:
                    id = _SEPARATOR.join((as_utf8(rule), as_utf8(key)))
                    fives += (as_utf8(lease), id, usd, expires_at, _kept_s(expires_at - now))
        for at in range(0, len(fives), 5 * _PART):
            part = fives[at : at + 5 * _PART]
            self._run(scripts.RESTORE_LEASES, epoch, *part, deadline=self._deadline())

    def _restore(self, writer: str, contribution: Contribution, epoch: bytes) -> None:
        if contribution.restoring != epoch:
            contribution.restoring, contribution.parts, contribution.taken_parts = epoch, None, 0
        parts = contribution.in_parts(_PART)
        while contribution.taken_parts < len(parts):
            index = contribution.taken_parts
            head = (epoch, as_utf8(writer), contribution.acknowledged, index, len(parts))
            if not self._run(scripts.RESTORE, *head, *_packed(parts[index]), deadline=self._deadline()):
                return  # it has lost everything once more
            contribution.taken_parts += 1
        contribution.epoch, contribution.parts = epoch, None

    def _replay(self, writer: str, contribution: Contribution, epoch: bytes, mark: bytes, number: int) -> None:
        if not contribution.is_complete_after(number):
            self._log.log_once(
                "budgets.store.lost",
                "budget store %s: has lost more than this process remembers: deliveries after %d are incomplete",
                self._shown,
                number,
            )
        for delivery in contribution.after(number):
            head = (epoch, mark, new_mark(), as_utf8(writer), delivery.number, len(delivery.adds))
            leases = [as_utf8(lease) for lease in delivery.released]
            self._run(scripts.REPLAY, *head, *_packed(delivery.adds.items()), *leases, deadline=self._deadline())
        contribution.epoch = epoch


ACCEPTED: Final = "redis://[USER:PASSWORD@]HOST[:PORT]/DB, rediss:// with TLS, or unix://PATH is accepted"


def _without_secrets(url: str) -> str:
    """Return what may be shown of a URL.

    Raises:
        ValueError: It is none; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port
    except ValueError:
        raise ValueError(f"budget store: the Redis URL cannot be read: {ACCEPTED}") from None
    if parts.scheme not in SCHEMES:
        raise ValueError(f"budget store: the Redis URL has an unknown scheme: {ACCEPTED}")
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{host}:{port or 6379}{parts.path}"


def _sha(script: str) -> str:
    found = _SHAS.get(script)
    if found is None:
        found = _SHAS[script] = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
    return found


_SHAS: Final[dict[str, str]] = {}


def _moved_to(error: Exception) -> tuple[str, int] | None:
    """Return which node of a cluster has our keys, if that is what the error says: `MOVED 9881 10.0.0.7:6379`.

    Older redis-py leaves the word in the text, newer takes it away and makes an error of its own type.
    """
    words = str(error).removeprefix("MOVED ").split(" ")
    host, _, port = words[-1].rpartition(":")
    is_moved = str(error).startswith("MOVED ") or type(error).__name__ == "MovedError"
    return (host, int(port)) if is_moved and len(words) == 2 and port.isdigit() else None


def _hang_up(connection: Any) -> None:
    with suppress(Exception):
        connection.disconnect()


def _packed(cells: Iterable[tuple[Cell, Sums]]) -> Iterator[_Argument]:
    for (rule, track, key, slot), sums in cells:
        yield f"c{slot}{_SEPARATOR}{as_utf8(rule)}{_SEPARATOR}{track}{_SEPARATOR}{as_utf8(key)}"
        yield _SUMS.pack(*sums)


def _kept_s(longer_s: float) -> int:
    """Return for how long a reservation is kept, seconds: a day longer than it holds."""
    return int(min(max(longer_s, 0.0), scripts.KEEP_S)) + scripts.DEAD_LEASES_KEEP_S


def _is_gone(member: bytes, oldest: Mapping[tuple[str, int], int]) -> bool:
    """Say whether something in the feed may have to go: cells are known here, states are looked at by the server."""
    text = member.decode()
    if text[0] != "c":
        return True
    slot, rule, track, _ = text[1:].split(_SEPARATOR, 3)
    first = oldest.get((rule, int(track)))
    return first is not None and int(slot) < first

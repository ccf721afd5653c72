"""`spancost top` in a real pseudo terminal, while another process writes to the ledger."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spancost.cli._top_frame import Reading, frame, read
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE, INNER, Batch, EntryLabels, KeptNode, KeptTrace, Origin
from tests.cli.conftest import Cli
from tests.sinks.ledger_batches import (
    ACME,
    CHAT,
    HOME,
    MACHINE,
    MACHINE_USD,
    NOBODY,
    PUT,
    PUT_USD,
    TOKEN_USD,
    UNKNOWN_HOST,
    batch_of,
    charge,
    charged,
    served,
)

_DEADLINE_S = 30.0
_ENTER, _LEAVE = "\x1b[?1049h", "\x1b[?1049l"
_WRITER = """
import sys, time
from tests.cli.test_top import write
while True:
    for back in (2, 1, 0):
        write(sys.argv[1], time.time() - 60 * back)
    time.sleep(0.2)
"""


def write(path: str | Path, at: float, times: int = 1) -> None:
    """Write a moment of two services, one of which has unpriced calls and a costly trace."""
    minute = int(at) // 60
    chat = charge(CHAT, 1000, TOKEN_USD)
    recommend = EntryLabels("/recommend/{user_id}", "POST")
    node = KeptNode(
        5, 0, "POST /recommend/{user_id}", int(at * 1e9) - 10**7, int(at * 1e9), chat.usd, chat.usd, (chat,)
    )
    trace = KeptTrace(0xABCDEF << 100 | minute, recommend, NOBODY, chat.usd, int(at * 1e9), (node,))
    shop, recommender = (
        Ledger(path, Origin(name, "prod"), flush_interval_seconds=2, now=lambda: at) for name in ("shop", "recommender")
    )
    shop.write(
        batch_of(
            charged(charge(PUT, 301, PUT_USD), attribution=ACME, position=INNER, minute=minute, times=times),
            charged(charge(UNKNOWN_HOST, 1), labels=HOME, position=INNER, minute=minute),
            charged(charge(MACHINE, 1, MACHINE_USD), labels=EntryLabels(), position=IDLE, minute=minute),
            served(times, attribution=ACME, minute=minute),
        )
    )
    recommender.write(
        batch_of(charged(chat, labels=recommend, position=INNER, minute=minute), served(1, recommend, minute=minute))
    )
    recommender.write(Batch({}, {}, [trace]))


# --- the figures --------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 14, 5, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """One write in 14:03, three of them in 14:04, one in the running minute."""
    path = tmp_path / "spancost.sqlite"
    write(path, NOW - 120)
    write(path, NOW - 60, times=3)
    write(path, NOW)
    return read(str(path), ["entrypoint"], 15, now=lambda: NOW)


def test_the_rate_is_that_of_the_last_whole_minute(reading: Reading) -> None:
    assert reading.minute == int(NOW) // 60 - 1
    (cart,) = [row for row in reading.rows if row.key == ("POST /cart/<int:item>",)]
    assert cart.now_usd == pytest.approx(3 * 301 * PUT_USD)
    assert cart.change_usd == pytest.approx(2 * 301 * PUT_USD)
    assert cart.period_usd == pytest.approx(5 * 301 * PUT_USD)
    assert (cart.now_requests, cart.before_requests) == (3, 1)
    everything = 301 * PUT_USD + 1000 * TOKEN_USD + MACHINE_USD
    assert reading.running_usd == pytest.approx(everything)
    assert reading.now_usd == pytest.approx(everything + 2 * 301 * PUT_USD)
    assert reading.per_minute_usd == pytest.approx((everything, everything + 2 * 301 * PUT_USD))


def test_a_minute_is_whole_when_its_last_flush_is_in(tmp_path: Path) -> None:
    path = tmp_path / "spancost.sqlite"
    write(path, NOW - 60)
    turn = NOW - NOW % 60
    assert read(str(path), ["service"], 15, now=lambda: turn + 1).minute == turn // 60 - 2
    assert read(str(path), ["service"], 15, now=lambda: turn + 3).minute == turn // 60 - 1


def test_what_has_no_price_is_unknown_rather_than_free(reading: Reading) -> None:
    (home,) = [row for row in reading.rows if row.key == ("GET /",)]
    assert home.unknown
    assert [(row.reason, row.charge_count) for row in reading.unpriced] == [("unknown_host", 3)]


def test_newest_costly_traces_come_first(reading: Reading) -> None:
    assert [trace.minute for trace in reading.traces] == [int(NOW) // 60 - back for back in (0, 1, 2)]


@pytest.mark.parametrize(("width", "height"), [(60, 16), (80, 24), (140, 50), (80, None)])
def test_a_frame_fits_the_terminal(reading: Reading, width: int, height: int | None) -> None:
    from rich.console import Console

    out = Console(width=width, height=height, color_system=None)
    with out.capture() as captured:
        out.print(frame(reading, sort="now", period="15m", width=width, height=height, keys="q quit"))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    assert height is None or len(lines) <= height
    assert "$0.05046" in captured.get()  # numbers are whole
    shown = captured.get()
    assert all(
        part in shown for part in ("POST /recommend/{user_id}", "total", "(idle)", "/h in" if width < 70 else "/h =")
    )


# --- one frame ----------------------------------------------------------------------------------


def test_once_prints_one_frame_into_a_pipe(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "spancost.sqlite"
    for back in (2, 1, 0):
        write(path, time.time() - 60 * back)
    for arguments in (("--once",), ()):
        done = cli("top", *arguments, "--ledger", str(path), COLUMNS="100")
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert "the last whole minute" in done.stdout
        assert "unknown_host of http 127.0.0.1" in done.stdout
        assert "written every 2 s" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "tennant"), "did you mean 'tenant'"),
        (("--by", "minute"), "'minute' is a time"),
        (("--interval", "soon"), "--interval: 'soon'"),
        (("--since", "0s"), "--since: '0s'"),
        (("--once",), "no ledger at"),
    ],
)
def test_a_wrong_option_is_named(cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    done = cli("top", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


# --- in a terminal ------------------------------------------------------------------------------


class Terminal:
    """The command in a pseudo terminal of 90 columns and 24 lines."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self._host, self.tty = pty.openpty()
        fcntl.ioctl(self.tty, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
        self.before = termios.tcgetattr(self.tty)
        self.text = ""
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        code = "from spancost.cli import main; main()"
        command = [sys.executable, "-c", code, "top", "--interval", "300ms", "--ledger", str(path), *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=self.tty,
            stdout=self.tty,
            stderr=self.tty,
            start_new_session=True,
            env=environment | {"TERM": "xterm-256color"},
            # The terminal is the session's own, so that Ctrl-C reaches it as it does in a shell.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def until(self, wanted: Callable[[str], bool]) -> str:
        """Read what is drawn until it is as wanted; returns what came since the last call."""
        begun, deadline = len(self.text), time.monotonic() + _DEADLINE_S
        while not wanted(self.text[begun:]):
            assert time.monotonic() < deadline, self.text[begun:][-3000:]
            ready, _, _ = select.select([self._host], [], [], 0.2)
            if ready:
                try:
                    self.text += os.read(self._host, 65536).decode("utf-8", "replace")
                except OSError:  # everybody has closed it
                    break
        return self.text[begun:]

    def shows(self, text: str) -> str:
        """Read until a text is drawn."""
        return self.until(lambda drawn: text in _plain(drawn))

    def press(self, key: str) -> None:
        os.write(self._host, key.encode())

    def ends(self) -> int:
        """Read until the process has ended; returns its exit code."""
        self.until(lambda _: self.process.poll() is not None)
        code = self.process.wait(timeout=_DEADLINE_S)
        if _LEAVE not in self.text:
            self.until(lambda drawn: _LEAVE in drawn)
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.tty) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._host)
        os.close(self.tty)


def _plain(drawn: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path / "spancost.sqlite", *arguments))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Start a process that writes to the ledger again and again."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path / "spancost.sqlite")]))

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_it_waits_for_the_ledger_follows_it_and_obeys_keys(
    terminal: Callable[..., Terminal], writer: Callable[[], None]
) -> None:
    shown = terminal()
    assert _ENTER in shown.shows("Waiting: no ledger at")
    assert not shown.is_as_before()  # keys come without Enter
    writer()
    shown.shows("POST /recommend/{user_id}")
    first = shown.until(lambda drawn: _spent(drawn) is not None)
    shown.until(lambda drawn: (_spent(drawn) or 0) > (_spent(first) or 0))  # what is written meanwhile is seen
    shown.press("b")
    shown.shows("group (service)")
    shown.shows("recommender")
    shown.press("s")
    shown.shows("sort (period)")
    shown.press("x\x1b[A\x1bOBq")  # an unknown key and arrows do nothing
    assert shown.ends() == 0
    assert shown.is_as_before()


def _spent(drawn: str) -> float | None:
    found = re.findall(r"so far \$([0-9.]+)", _plain(drawn))
    return float(found[-1]) if found else None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_put_back_after_a_signal(
    terminal: Callable[..., Terminal], number: signal.Signals, code: int
) -> None:
    shown = terminal()
    shown.shows("Waiting")
    if number == signal.SIGINT:
        shown.press("\x03")  # Ctrl-C, by the terminal itself
    else:
        shown.process.send_signal(number)
    assert shown.ends() == code
    assert shown.is_as_before()
    assert "Traceback" not in shown.text
    assert shown.text.index(_ENTER) < shown.text.index(_LEAVE)


def test_a_file_that_is_no_ledger_is_named_and_looked_at_again(
    terminal: Callable[..., Terminal], tmp_path: Path, writer: Callable[[], None]
) -> None:
    path = tmp_path / "spancost.sqlite"
    path.write_text("this is not a database, and long enough to be looked at as one: " + "x" * 200)
    shown = terminal()
    shown.shows("is not a database")
    path.unlink()
    writer()
    shown.shows("POST /recommend/{user_id}")
    shown.press("q")
    assert shown.ends() == 0

"""Runs compilers and installers: their lines as they come, and their usual failures in words that say what to do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.shop.processes import StackError

_SHOWN_LINES: Final = 12


class MissingToolError(StackError):
    """A compiler is missing or too old."""


_REASONS: Final = (
    (
        r"no such host|i/o timeout|connection refused|network is unreachable|TLS handshake|proxyconnect|"
        r"Temporary failure in name resolution|NewConnectionError|connection reset|name or service not known",
        "the network, or the package proxy, cannot be reached. What is needed comes from {proxy}; where only a mirror "
        "is to be had, set {setting} to it. A cache from another machine of this kind does as well: copy its "
        "folder `builds` to {cache}",
    ),
    (r"no space left on device", "the disk is full: a cold build needs about 7 GB, Go's caches included"),
    (
        r"checksum mismatch|SECURITY ERROR",
        "what was downloaded is not what go.sum pins: do not go on before you know why",
    ),
    (
        r"403 Forbidden|404 Not Found|410 Gone|No matching distribution",
        "{proxy} does not have a pinned version; set {setting} to a proxy that does",
    ),
    (r"missing go\.sum entry|updates to go\.mod needed", "go.mod and go.sum do not fit: see examples/stack/README.md"),
)  # fmt: skip
"""What a failed command says -> what that means."""


@dataclass(frozen=True, slots=True)
class Go:
    """The Go compiler of this machine."""

    path: str
    version: str
    """For example `1.26.8`."""
    toolchain: str
    """`GOTOOLCHAIN`: whether Go may fetch a newer one of itself."""
    proxy: str

    @property
    def name(self) -> str:
        """As it stands in the name of a build's folder."""
        return f"go{self.version}"

    def check(self, needed: str, what: str) -> None:
        """Say so if it is too old.

        Args:
            needed: Version that a go.mod asks for.

            what: What would be built, for the error.

        Raises:
            MissingToolError: It is older, and may not fetch a newer one.
        """
        if self.toolchain.startswith("local") and _numbers(self.version) < _numbers(needed):
            raise MissingToolError(
                f"{what} needs Go {needed}, {self.path} is {self.version}: install a newer one (https://go.dev/dl), "
                "or let Go fetch it by GOTOOLCHAIN=auto"
            )


def find_go() -> Go | None:
    """Return the Go compiler on PATH, if there is one.

    Raises:
        StackError: It does not run.
    """
    path = shutil.which("go")
    if path is None:
        return None
    asked = subprocess.run(
        [path, "env", "GOVERSION", "GOTOOLCHAIN", "GOPROXY"], capture_output=True, text=True, check=False, cwd="/"
    )
    answers = asked.stdout.splitlines()
    if asked.returncode or len(answers) != 3:
        raise StackError(f"{path} env ended with exit code {asked.returncode}: {asked.stderr.strip()}")
    return Go(path, answers[0].removeprefix("go").split()[0], answers[1], answers[2])


def python_name() -> str:
    """Return this Python as it stands in the name of a build's folder."""
    return f"py{sys.version_info.major}.{sys.version_info.minor}"


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    log: Path,
    what: str,
    hints: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a command to its end and return what it wrote.

    Its process group is ended if this process is asked to stop meanwhile.

    Args:
        command: What is run.

        cwd: Where.

        log: Gets the command and all it writes, appended.

        what: What it does, for the error.

        hints: `proxy`, `setting` and `cache`, for the error.

        environment: Variables beside those of this process.

        on_line: Told each line as it comes.

    Raises:
        StackError: It could not be started or failed; the message says why, as far as that is known.
    """
    lines: list[str] = []
    with log.open("a", encoding="utf-8") as output:
        print(f"$ {' '.join(command)}", file=output, flush=True)
        try:
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise StackError(f"{what}: cannot start {command[0]}: {error}") from error
        with process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line)
                    output.write(line)
                    if on_line is not None:
                        on_line(line.rstrip())
                code = process.wait()
            except BaseException:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                raise
    if code:
        raise StackError(explain(what, code, lines, log, hints))
    return "".join(lines)


def explain(what: str, code: int, lines: Sequence[str], log: Path, hints: Mapping[str, str]) -> str:
    """Return why a command failed, what to do, and the end of what it said.

    Args:
        what: What it did.

        code: Its exit code.

        lines: What it wrote.

        log: Where all of that is.

        hints: `proxy`, `setting` and `cache`.
    """
    said = "".join(lines)
    reason = next((text for pattern, text in _REASONS if re.search(pattern, said, re.IGNORECASE)), None)
    because = f": {reason.format_map(dict(hints))}" if reason else f" with exit code {code}"
    end = "".join(f"  | {line.rstrip()}\n" for line in lines[-_SHOWN_LINES:])
    return f"{what} failed{because}\n{end}  all of it: {log}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("-", maxsplit=1)[0])[:3])

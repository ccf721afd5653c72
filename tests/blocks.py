"""Code blocks of Markdown pages as tests: what a page shows is run, and its output compared.

A page is run from top to bottom in one empty folder, as a reader would do it. The language of a fence and the words
behind it say what happens:

    python                 runs as a script; a `text` block behind it is its output, `...` stands for anything
    python file=app.py     is written to a file; so are other languages
    yaml                   must be accepted as `spancost.yaml`
    console                lines with `$ ` run in bash, one by one; lines below a command are its output
    console exit=1         the commands end with this exit code
    console background     it goes on in the background until the end
    console until=done*3   in the background it is waited for this word, so many times, instead of for a port
    console stops=5000     what was started in the background with this port, or this word, is stopped before
    console port=5000      this number stands for a free port wherever the page has it; a background block waits for it
    console shape          only the form of the output is compared: numbers, the width of columns and the order of lines
                           may differ
    ... not-run=account    not run, for one of the reasons of `REASONS`

`python -m tests.blocks PAGE...` runs pages and writes what their commands really put out into them.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.processes import ReservedPort, ServerProcess

ROOT: Final = Path(__file__).resolve().parents[1]
REASONS: Final = {
    "install": "installs packages; the tests run where they are installed",
    "account": "needs an account of the vendor",
    "broker": "needs a server that the tests do not have",
    "cluster": "needs a cluster",
    "collector": "needs an OpenTelemetry Collector",
    "prometheus": "needs Prometheus or Alertmanager",
    "grafana": "needs Grafana",
    "part": "part of a file that is not shown whole",
}
"""Why a block may be left out."""

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
_FOREIGN: Final = ("OTEL_", "SPANCOST_", "PROMETHEUS_", "FLASK_", "DJANGO_", "AWS_", "OPENAI_", "ANTHROPIC_", "PYTHON")
_NUMBER: Final = re.compile(r"\b[0-9a-f]{32}\b|\d+(?:[.,:]\d+)*")
"""Also a trace id."""
_FILLING: Final = re.compile(r"[\s─━-]+")
_COMMAND_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    options: Mapping[str, str]
    """Words behind the language; `name` alone has an empty value."""
    text: str
    line: int
    """Line of its fence, from 1."""
    start: int
    """Where its text starts on the page."""


def read_blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text, directives left out."""
    found: list[Block] = []
    for match in _FENCE.finditer(page):
        language, *words = match["info"].split() or [""]
        if language.startswith("{"):
            continue
        options = {name: value for name, _, value in (word.partition("=") for word in words)}
        line = page.count("\n", 0, match.start()) + 1
        found.append(Block(language, options, match["text"], line, match.start("text")))
    return found


def environment(package: Path) -> dict[str, str]:
    """Return the environment of a block: that of a reader who has set nothing, with the package of a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        kept.pop(name, None)
    return kept | {"PYTHONPATH": str(package), "PATH": path, "SPANCOST_LEASE": "off", "SPANCOST_DETECT": "off"}


def run(command: Sequence[str] | str, where: Path, variables: Mapping[str, str], *, code: int = 0) -> str:
    """Run a command, or a line of bash, and return its output; it must end with this exit code."""
    done = subprocess.run(
        ["bash", "-c", command] if isinstance(command, str) else list(command),
        cwd=where,
        env=dict(variables) | {"XDG_STATE_HOME": str(where / ".state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        check=False,
    )
    assert done.returncode == code, f"{command!r} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown below it."""
    found: list[tuple[str, str]] = []
    goes_on = False
    for line in block.text.splitlines():
        if goes_on or line.startswith("$ "):
            part = line if goes_on else line[2:]
            if goes_on:
                found[-1] = (f"{found[-1][0]}\n{part}", "")
            else:
                found.append((part, ""))
            goes_on = line.endswith("\\")
        else:
            assert found, f"line {block.line}: output without a command"
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def is_left_out(block: Block) -> bool:
    """True for a block that is not run, for a reason."""
    reason = block.options.get("not-run")
    assert reason is None or reason in REASONS, f"line {block.line}: not-run={reason} is none of {', '.join(REASONS)}"
    return reason is not None


def shape(text: str) -> str:
    """Return a text without its numbers and the width of its columns."""
    lines = (_FILLING.sub(" ", _NUMBER.sub("0", line)).strip() for line in text.splitlines())
    return "\n".join(filter(None, lines))


def fits(shown: str, actual: str) -> bool:
    """True if an output is what is shown, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


@dataclass(slots=True)
class Reader:
    """Somebody who does in an empty folder what a page says.

    Args:
        folder: Where files are written and commands run.

        package: Folder that spancost is imported from.
    """

    folder: Path
    package: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    outputs: list[tuple[Block, str]] = field(default_factory=list[tuple[Block, str]])
    """What blocks really put out, in the form in which they show it."""
    _ports: dict[str, ReservedPort] = field(default_factory=dict[str, ReservedPort])
    _background: dict[str, ServerProcess] = field(default_factory=dict[str, ServerProcess])
    """By the port that the page shows, or the word that is waited for."""

    def __enter__(self) -> Self:
        self.variables = environment(self.package) | {
            "HOME": str(self.folder),
            "SPANCOST_LEASE": str(self.folder / "lease.json"),
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for server in self._background.values():
                error.add_note(server.output()[-4000:])
        self._stop()
        for port in self._ports.values():
            port.release()

    def read(self, page: str, *, compare: bool = True) -> None:
        """Do everything a page says.

        Args:
            page: Markdown text.

            compare: Compare outputs with what is shown; else only note them.

        Raises:
            AssertionError: A command failed, or put out something else than is shown.
        """
        blocks = read_blocks(page)
        for block in blocks:
            shown = block.options.get("port")
            if shown and shown not in self._ports and not is_left_out(block):
                self._ports[shown] = ReservedPort()
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            if is_left_out(block):
                continue
            if block.language == "console":
                self._console(block, compare=compare)
            elif "file" in block.options:
                self._write(block)
            elif block.language == "python":
                self._python(block, after, compare=compare)
            elif block.language == "yaml":
                self._configure(block)
        self._stop()

    def _here(self, text: str) -> str:
        for shown, port in self._ports.items():
            text = re.sub(rf"\b{shown}\b", str(port.number), text)
        return text

    def _as_shown(self, text: str) -> str:
        for shown, port in self._ports.items():
            text = text.replace(str(port.number), shown)
        return text.replace(str(self.folder.resolve()), "/home/you").replace(str(self.folder), "/home/you")

    def _write(self, block: Block) -> None:
        file = self.folder / block.options["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(self._here(block.text), encoding="utf-8")
        if file.name == "spancost.yaml":
            self._accept(file)

    def _configure(self, block: Block) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / "spancost.yaml"
            file.write_text(block.text, encoding="utf-8")
            self._accept(file)

    @staticmethod
    def _accept(file: Path) -> None:
        from spancost.config import load_config

        load_config(file, environ={})

    def _python(self, block: Block, after: Block | None, *, compare: bool) -> None:
        script = self.folder / f"block_{block.line}.py"
        script.write_text(self._here(block.text), encoding="utf-8")
        output = self._as_shown(run([sys.executable, str(script)], self.folder, self.variables))
        if after is not None and after.language == "text" and not is_left_out(after):
            self._compare(after, after.text, output, compare=compare)
            self.outputs.append((after, output))
        else:
            assert not output, f"line {block.line}: puts out {output!r}, which is not shown"

    def _console(self, block: Block, *, compare: bool) -> None:
        if "stops" in block.options:
            self._background.pop(block.options["stops"]).stop()
        if "port" in block.options:
            self._ports[block.options["port"]].release()
        text = ""
        for command, shown in commands(block):
            text += f"$ {command}\n"
            if command.startswith("export "):
                self._export(command)
            elif "background" in block.options:
                self._start(command, block)
            else:
                code = int(block.options.get("exit", "0"))
                output = self._as_shown(run(self._here(command), self.folder, self.variables, code=code))
                if shown:
                    self._compare(block, shown, output, compare=compare)
                    text += _trimmed(output) + "\n"
        self.outputs.append((block, text))

    def _export(self, command: str) -> None:
        for word in shlex.split(self._here(command), comments=True)[1:]:
            name, _, value = word.partition("=")
            self.variables[name] = value

    def _start(self, command: str, block: Block) -> None:
        shown = block.options.get("port", "")
        word, _, times = block.options.get("until", "").partition("*")
        server = ServerProcess(
            command,
            ["bash", "-c", f"exec {self._here(command)}"],
            log=self.folder / f"background_{block.line}.log",
            cwd=self.folder,
            environment=self.variables,
            stop_signal=signal.SIGTERM,
        )
        self._background[shown or word] = server
        if shown:
            server.wait_listening(self._ports[shown].number)
        else:
            server.wait_until(lambda: server.output().count(word) >= int(times or 1), f"with {word}")

    def _stop(self) -> None:
        # The last one first, as one would do it by hand: servers before what they call.
        while self._background:
            self._background.popitem()[1].stop()

    def _compare(self, block: Block, shown: str, actual: str, *, compare: bool) -> None:
        if not compare:
            return
        if "shape" not in block.options:
            same = fits(_trimmed(shown), _trimmed(actual))
        elif "..." in shown:
            same = fits(shape(shown), shape(actual))
        else:
            same = sorted(shape(shown).splitlines()) == sorted(shape(actual).splitlines())
        assert same, f"line {block.line}: not\n{shown}\nbut\n{actual}"


def with_outputs(page: str, outputs: Sequence[tuple[Block, str]]) -> str:
    """Return a page whose blocks show what was really put out; a block with `...` keeps what it shows."""
    for block, text in sorted(outputs, key=lambda output: output[0].start, reverse=True):
        if "..." not in block.text:
            shown = _trimmed(text) + "\n"
            page = f"{page[: block.start]}{shown}{page[block.start + len(block.text) :]}"
    return page


def main(pages: Sequence[str]) -> None:
    """Run pages and write their outputs into them."""
    for name in pages:
        file = Path(name)
        page = file.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, Reader(Path(folder), ROOT / "src") as reader:
            reader.read(page, compare=False)
            file.write_text(with_outputs(page, reader.outputs), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main(sys.argv[1:])

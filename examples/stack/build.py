"""Build the programs of the stack, or find them built.

    make stack      or   python -m examples.stack.build [--only NAME...] [--check] [--list]

A program is built again only if a file it is made from, a flag or the compiler has changed. Go keeps its downloads and
its own cache where it always does; all else is written below `~/.cache/spancost/stack` (`STACK_CACHE`).

Exit codes: 0 all is there, 1 a build failed or `--check` found something missing, 2 a compiler is missing or too old,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from examples.shop.ending import Ended, signals_as_exceptions
from examples.shop.processes import StackError
from examples.stack.binaries import PROGRAMS, build_folder, builds, cache, found
from examples.stack.build_progress import Progress, show_progress
from examples.stack.recipes import RECIPES, Kind, Program, Recipe, recipe_of, required_go
from examples.stack.toolchain import Go, MissingToolError, find_go, python_name, run

_KEPT: Final = 3
"""Builds of a recipe that stay in the cache, the one used last first: other checkouts may want another."""
_ASK_TIMEOUT_S: Final = 60.0
_BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder"
# Go's compiler spends up to half of its time on collecting garbage. Each compiler may use this much memory first.
_ENVIRONMENT: Final = {"CGO_ENABLED": "0", "GOWORK": "off", "GOGC": "off", "GOMEMLIMIT": "2GiB"}
_PHOENIX: Final = """\
#!/bin/sh
python="$(dirname "$(readlink -f "$0")")/venv/bin/python"
if [ "$1" = --version ]; then
  exec "$python" -c 'from importlib.metadata import version; print("{name} version", version("{distribution}"))'
fi
exec "$python" -m {module} "$@"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.stack.build", description="Build the programs of the stack, or find them built."
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"programs: {', '.join(PROGRAMS)} (default: all)")
    only_look = parser.add_mutually_exclusive_group()
    only_look.add_argument("--check", action="store_true", help="build nothing; exit code 1 if one is missing")
    only_look.add_argument("--list", action="store_true", help="show versions and where programs are; build nothing")
    options = parser.parse_args(arguments)
    try:
        recipes = _selected(options.only)
        if options.list:
            _show_list(recipes)
            return 0
        if options.check:
            return _check(recipes)
        with signals_as_exceptions(), show_progress() as progress:
            build_all(recipes, progress)
    except MissingToolError as error:
        print(error, file=sys.stderr)
        return 2
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except Ended as ended:
        print("Stopped; what was not finished is removed.", file=sys.stderr)
        return ended.exit_code
    return 0


def build_all(recipes: Sequence[Recipe], progress: Progress) -> None:
    """Build what is missing, verify everything, and link it into `bin`.

    Args:
        recipes: What is wanted.

        progress: Told what happens.

    Raises:
        StackError: A build failed, or a program is not what was pinned.
    """
    go = find_go()
    with _alone(progress):
        for recipe in recipes:
            progress.begin(recipe.name)
            began = monotonic()
            made = _find_or_build(recipe, go, progress)
            os.utime(made)
            _link(recipe, made)
            _drop_old(recipe)
            size = sum((made / program.name).stat().st_size for program in recipe.programs) / 1e6
            names = ", ".join(program.name for program in recipe.programs)
            weight = f", {size:.0f} MB" if recipe.kind is not Kind.PYTHON else ""
            progress.end(f"{names} {recipe.version} ready in {monotonic() - began:.1f} s{weight}")


def verify(recipe: Recipe, folder: Path, go: Go | None) -> None:
    """Say so if the programs in a folder are not those that are pinned.

    Args:
        recipe: What they should be.

        folder: Where they are.

        go: Reads the modules that are in them; without it only what they say themselves is looked at.

    Raises:
        StackError: One does not run, says another version, or has another version of a pinned module in it.
    """
    for program in recipe.programs:
        path = folder / program.name
        if program.version_arguments:
            said = _ask([str(path), *program.version_arguments])
            if not re.search(rf"\bversion v?{re.escape(recipe.version)}(?![\w.-])", said):
                first = said.strip().splitlines()[:1]
                raise StackError(f"{path} should be {recipe.version} and says {first[0] if first else 'nothing'!r}")
        if go is not None and recipe.pinned:
            modules = dict(
                re.findall(r"^\t(?:dep|mod)\t(\S+)\t(\S+)", _ask([go.path, "version", "-m", str(path)]), re.M)
            )
            for module, version in recipe.pinned.items():
                if modules.get(module) != version:
                    raise StackError(f"{path} should hold {module} {version} and holds {modules.get(module)}")


def _selected(names: Sequence[str] | None) -> list[Recipe]:
    if not names:
        return list(RECIPES)
    wanted = {recipe_of(name).name for name in names}
    return [recipe for recipe in RECIPES if recipe.name in wanted]


def _find_or_build(recipe: Recipe, go: Go | None, progress: Progress) -> Path:
    compiler = _compiler(recipe, go)
    made = found(recipe) if compiler is None else found(recipe, compiler)
    if made is not None:
        progress.step("checking what is there")
        verify(recipe, made, go)
        return made
    if compiler is None:
        raise MissingToolError(
            f"{recipe.name} has to be built, and there is no `go` on PATH: install Go "
            f"{required_go(recipe.folder / 'go.mod')} or newer (https://go.dev/dl), or copy the folder `builds` of "
            f"another machine of this kind to {cache()}"
        )
    if go is not None and recipe.kind is not Kind.PYTHON:
        go.check(required_go(recipe.folder / "go.mod"), recipe.name)
    return _build(recipe, go, compiler, progress)


def _compiler(recipe: Recipe, go: Go | None) -> str | None:
    if recipe.kind is Kind.PYTHON:
        return python_name()
    return None if go is None else go.name


def _build(recipe: Recipe, go: Go | None, compiler: str, progress: Progress) -> Path:
    """Build in a folder beside, verify, and move the whole folder to its place: half a build is never found."""
    target = build_folder(recipe, compiler)
    work = Path(tempfile.mkdtemp(prefix=f"{recipe.name}-", dir=cache() / "work"))
    began, cpu = monotonic(), _cpu_of_children()
    try:
        output = work / "output"
        output.mkdir()
        job = _Job(recipe, work, output, cache() / "logs" / f"{recipe.name}.log", go, progress)
        job.log.write_text("", encoding="utf-8")
        job.carry_out()
        progress.step("verifying")
        verify(recipe, output, go)
        about = {
            "recipe": recipe.name,
            "version": recipe.version,
            "compiler": compiler,
            "flags": list(recipe.flags),
            "modules": recipe.pinned,
            "seconds": round(monotonic() - began, 1),
            "cpu_seconds": round(_cpu_of_children() - cpu, 1),
        }
        (output / "build.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        output.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _Job:
    """One recipe on its way through compiler or installer."""

    def __init__(self, recipe: Recipe, work: Path, output: Path, log: Path, go: Go | None, progress: Progress) -> None:
        self.log = log
        self._recipe = recipe
        self._work = work
        self._output = output
        self._go = go
        self._progress = progress

    def carry_out(self) -> None:
        if self._recipe.kind is Kind.PYTHON:
            self._install()
        elif self._recipe.kind is Kind.COLLECTOR:
            self._build_collector()
        else:
            self._copy(self._work, "go.mod", "go.sum")
            self._compile(self._work, [program.package for program in self._recipe.programs], self._programs_output())

    def _build_collector(self) -> None:
        self._copy(self._work, "builder.yaml", "go.mod", "go.sum")
        self._compile(self._work, [_BUILDER], self._work / "builder", flags=())
        self._progress.step("writing sources")
        # With neither its `go get` nor its compilation: those want the modules of the components' own tests, too.
        self._run(
            [str(self._work / "builder"), "--skip-get-modules", "--skip-compilation", "--config=builder.yaml"],
            self._work,
        )
        sources = self._work / "_build"
        self._copy(sources, "go.mod", "go.sum")
        self._compile(sources, ["."], self._programs_output())

    def _compile(
        self, folder: Path, packages: Sequence[str], output: Path, *, flags: Sequence[str] | None = None
    ) -> None:
        assert self._go is not None, "checked before a build is begun"
        flags = [flag.format(version=self._recipe.version) for flag in (self._recipe.flags if flags is None else flags)]
        tags = [flag for flag in flags if flag.startswith("-tags=")]
        common = ["-mod=readonly", "-buildvcs=false", "-trimpath"]
        listing = self._run(
            [self._go.path, "list", *common[:2], *tags, "-deps", *packages],
            folder,
            on_line=self._counter("go: downloading", "downloading modules"),
        )
        total = sum(not line.startswith("go: ") for line in listing.splitlines())
        what = "compiling the builder" if packages == [_BUILDER] else "compiling packages"
        self._run(
            [
                self._go.path,
                "build",
                *common,
                "-v",
                *flags,
                "-o",
                f"{output}{os.sep if output.is_dir() else ''}",
                *packages,
            ],
            folder,
            on_line=self._counter("", what, total),
        )

    def _install(self) -> None:
        self._progress.step("making a virtual environment")
        program = self._recipe.programs[0]
        venv = self._output / "venv"
        self._run([sys.executable, "-m", "venv", str(venv)], self._work)
        total = len((self._recipe.folder / "constraints.txt").read_text(encoding="utf-8").splitlines())
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        files = [f"--requirement={self._recipe.folder / 'requirements.txt'}"]
        files.append(f"--constraint={self._recipe.folder / 'constraints.txt'}")
        self._run(
            [*pip, "install", "--progress-bar=off", "--no-compile", *files],
            self._work,
            on_line=self._counter("Collecting", "downloading packages", total),
        )
        start = self._output / program.name
        start.write_text(
            _PHOENIX.format(name=program.name, distribution=program.module, module=program.package), encoding="utf-8"
        )
        start.chmod(0o755)

    def _programs_output(self) -> Path:
        """A file for one program; for several their folder, where Go names each like its package."""
        programs = self._recipe.programs
        return self._output / programs[0].name if len(programs) == 1 else self._output

    def _counter(self, prefix: str, text: str, total: int = 0) -> Callable[[str], None]:
        seen = 0

        def count(line: str) -> None:
            nonlocal seen
            if line.startswith(prefix):
                seen += 1
                self._progress.step(text, min(seen, total), total)

        return count

    def _copy(self, folder: Path, *names: str) -> None:
        for name in names:
            shutil.copyfile(self._recipe.folder / name, folder / name)

    def _run(self, command: Sequence[str], cwd: Path, *, on_line: Callable[[str], None] | None = None) -> str:
        return run(
            command,
            cwd=cwd,
            log=self.log,
            what=f"{self._recipe.name} {self._recipe.version}: `{Path(command[0]).name} {command[1]}`",
            hints=self._hints(),
            environment=_ENVIRONMENT,
            on_line=on_line,
        )

    def _hints(self) -> Mapping[str, str]:
        python = self._recipe.kind is Kind.PYTHON
        return {
            "proxy": "the package index that pip asks" if python or self._go is None else f"GOPROXY={self._go.proxy}",
            "setting": "PIP_INDEX_URL" if python else "GOPROXY",
            "cache": str(cache()),
        }


@contextmanager
def _alone(progress: Progress) -> Generator[None]:
    """Let one build at a time into the cache, and sweep up after one that was killed."""
    root = cache()
    for name in ("work", "logs", "bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.begin("waiting")
            progress.step(f"another build is under way in {root}")
            fcntl.flock(lock, fcntl.LOCK_EX)
            progress.end("the other build has ended")
        for left in (root / "work").iterdir():
            shutil.rmtree(left, ignore_errors=True)
        yield


def _link(recipe: Recipe, made: Path) -> None:
    """Let `bin` show this build; a link is replaced at once, so that nobody finds it missing."""
    for program in recipe.programs:
        link = cache() / "bin" / program.name
        target = os.path.relpath(made / program.name, link.parent)
        if link.is_symlink() and os.readlink(link) == target:
            continue
        fresh = cache() / "work" / f"{program.name}.link"
        fresh.symlink_to(target)
        fresh.replace(link)


def _drop_old(recipe: Recipe) -> None:
    made = sorted(builds().glob(f"{recipe.name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in made[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _check(recipes: Sequence[Recipe]) -> int:
    go = find_go()
    missing = False
    for recipe in recipes:
        made = found(recipe)
        names = ", ".join(program.name for program in recipe.programs)
        if made is None:
            missing = True
            print(f"{names} {recipe.version}: not built; run `make stack`", file=sys.stderr)
        else:
            verify(recipe, made, go)
            print(f"{names} {recipe.version}: {made}")
    return 1 if missing else 0


def _show_list(recipes: Sequence[Recipe]) -> None:
    rows = [(program, recipe, found(recipe)) for recipe in recipes for program in recipe.programs]
    for program, recipe, made in rows:
        print(f"{program.name:<16}{recipe.version:<10}{_where(program, made)}")


def _where(program: Program, made: Path | None) -> str:
    if made is None:
        return "not built"
    try:
        about = json.loads((made / "build.json").read_text(encoding="utf-8"))
        took = f" (built in {about['seconds']:g} s, {about['cpu_seconds']:g} s of CPU)"
    except (OSError, ValueError, KeyError):
        took = ""
    return f"{made / program.name}{took}"


def _ask(command: Sequence[str]) -> str:
    try:
        answer = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_ASK_TIMEOUT_S,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{' '.join(command)}: {error}") from error
    if answer.returncode:
        raise StackError(f"{' '.join(command)} ended with exit code {answer.returncode}: {answer.stdout.strip()[:300]}")
    return answer.stdout


if __name__ == "__main__":
    sys.exit(main())

"""Building the stack's programs: once for what they are made from, whole or not at all, and never the wrong version.

A stand-in takes the place of `go`, to be slow, old, offline or wrong on demand; `tests/stack` has the real one.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from examples.shop.processes import StackError
from examples.shop.stack import ROOT
from examples.stack import binaries, build
from examples.stack.build_progress import Lines
from examples.stack.recipes import RECIPES, Kind, Program, Recipe, recipe_of, required_modules, spoken_version

_GO: Final = """\
#!/bin/sh
# `go` as far as the build asks it; what goes wrong stands in files beside it.
here=$(dirname "$0")
case "$1" in
  env) printf 'go%s\\nlocal\\nhttps://modules.example\\n' "$(cat "$here/version")" ;;
  list) echo one/package; echo another/package ;;
  version)
    for module in example.org/tool github.com/compose-spec/compose-go/v2; do
      printf '\\tdep\\t%s\\t%s\\th1:x\\n' $module "$(cat "$here/module")"
    done ;;
  build)
    echo "$PWD" >>"$here/builds"
    if [ -e "$here/error" ]; then cat "$here/error" >&2; exit 1; fi
    if [ -e "$here/hold" ]; then read -r line <"$here/hold"; fi
    while [ "$1" != -o ]; do shift; done
    case "$2" in */) output="$2tool" ;; *) output="$2" ;; esac
    printf '#!/bin/sh\\necho "tool, version %s (branch: none)"\\n' "$(cat "$here/says")" >"$output"
    chmod +x "$output" ;;
esac
"""


@dataclass(frozen=True, slots=True)
class StandIn:
    """What the stand-in for `go` does."""

    folder: Path

    def set(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    @property
    def builds(self) -> int:
        path = self.folder / "builds"
        return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(binaries.ENV_CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    folder = tmp_path / "go"
    folder.mkdir()
    (folder / "go").write_text(_GO, encoding="utf-8")
    (folder / "go").chmod(0o755)
    stand_in = StandIn(folder)
    stand_in.set("version", "1.26.8")
    stand_in.set("module", "v1.2.3")
    stand_in.set("says", "1.2.3")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return stand_in


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "go.mod").write_text(
        "module example.org/stack\n\ngo 1.25.0\n\nrequire example.org/tool v1.2.3\n", "utf-8"
    )
    (folder / "go.sum").write_text("example.org/tool v1.2.3 h1:x\n", encoding="utf-8")
    program = Program("tool", "example.org/tool/cmd/tool", "example.org/tool")
    return Recipe("tools", Kind.GO, folder, ("go.mod", "go.sum"), (program,), ("-ldflags=-s",))


def _build(recipe: Recipe) -> None:
    build.build_all([recipe], Lines())


def _everything_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} if folder.exists() else set()


@pytest.mark.usefixtures("cache")
def test_a_program_is_built_once_and_found_from_then_on(go: StandIn, recipe: Recipe) -> None:
    _build(recipe)
    _build(recipe)
    assert go.builds == 1
    made = binaries.found(recipe)
    assert made is not None
    assert "1.2.3" in subprocess.check_output([made / "tool"], text=True)


def test_bin_links_to_the_build_that_the_tree_wants(cache: Path, go: StandIn, recipe: Recipe) -> None:
    _build(recipe)
    first = (cache / "bin" / "tool").resolve()
    _build(replace(recipe, flags=("-ldflags=-w",)))
    second = (cache / "bin" / "tool").resolve()
    _build(recipe)
    assert (cache / "bin" / "tool").resolve() == first != second
    assert go.builds == 2


def _other_sum(recipe: Recipe) -> Recipe:
    (recipe.folder / "go.sum").write_text("example.org/tool v1.2.3 h1:y\n", encoding="utf-8")
    return recipe


def _other_module(recipe: Recipe) -> Recipe:
    with (recipe.folder / "go.mod").open("a", encoding="utf-8") as file:
        file.write("require example.org/other v0.1.0\n")
    return recipe


def _other_flags(recipe: Recipe) -> Recipe:
    return replace(recipe, flags=("-tags=small",))


def _other_package(recipe: Recipe) -> Recipe:
    return replace(recipe, programs=(replace(recipe.programs[0], package="example.org/tool/cmd/v2"),))


@pytest.mark.usefixtures("cache", "go")
@pytest.mark.parametrize("changed", [_other_sum, _other_module, _other_flags, _other_package])
def test_a_program_from_other_files_or_flags_is_another_program(
    recipe: Recipe, changed: Callable[[Recipe], Recipe]
) -> None:
    _build(recipe)
    before = recipe.key()
    after = changed(recipe)
    assert after.key() != before
    assert binaries.found(after) is None


@pytest.mark.usefixtures("cache")
def test_another_compiler_builds_again(go: StandIn, recipe: Recipe) -> None:
    _build(recipe)
    go.set("version", "1.27.0")
    _build(recipe)
    assert go.builds == 2


@pytest.mark.usefixtures("cache")
def test_files_that_the_program_is_not_made_from_change_nothing(go: StandIn, recipe: Recipe) -> None:
    _build(recipe)
    (recipe.folder / "README.md").write_text("Read me.", encoding="utf-8")
    _build(recipe)
    assert go.builds == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("says", "1.2.4", "should be 1.2.3 and says"), ("module", "v1.2.4", "should hold example.org/tool v1.2.3")],
    ids=["it says another version", "it holds another version of its module"],
)
def test_a_program_of_another_version_is_refused_and_not_kept(
    cache: Path, go: StandIn, recipe: Recipe, name: str, text: str, said: str
) -> None:
    go.set(name, text)
    with pytest.raises(StackError, match=re.escape(said)):
        _build(recipe)
    assert binaries.found(recipe) is None
    assert _everything_in(cache / "builds") == _everything_in(cache / "bin") == _everything_in(cache / "work") == set()


@pytest.mark.usefixtures("go")
def test_a_version_that_only_begins_like_the_pinned_one_is_another_version(cache: Path, recipe: Recipe) -> None:
    _build(recipe)
    made = next((cache / "builds").iterdir()) / "tool"
    made.write_text("#!/bin/sh\necho 'tool, version 1.2.30'\n", encoding="utf-8")
    with pytest.raises(StackError, match=r"says 'tool, version 1\.2\.30'"):
        _build(recipe)


@pytest.mark.usefixtures("cache", "go")
def test_a_build_without_one_of_its_programs_is_not_found(recipe: Recipe) -> None:
    _build(recipe)
    made = binaries.found(recipe)
    assert made is not None
    (made / "tool").unlink()
    assert binaries.found(recipe) is None
    _build(recipe)
    assert binaries.found(recipe) == made


def test_no_more_than_three_builds_of_a_recipe_are_kept(cache: Path, go: StandIn, recipe: Recipe) -> None:
    for number in range(5):
        _build(replace(recipe, flags=(f"-tags=t{number}",)))
    assert len(list((cache / "builds").iterdir())) == 3
    assert binaries.found(replace(recipe, flags=("-tags=t4",))) is not None


# The command line, on a recipe of the project.


def _versions_of_compose(go: StandIn) -> None:
    go.set("module", f"v{recipe_of('compose').version}")


def test_the_command_builds_what_it_is_asked_for_and_lists_it(
    cache: Path, go: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    _versions_of_compose(go)
    assert build.main(["--check", "--only", "compose-spec"]) == 1
    assert build.main(["--only", "compose-spec"]) == 0
    assert build.main(["--check", "--only", "compose-spec"]) == 0
    capsys.readouterr()
    assert build.main(["--list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(binaries.PROGRAMS)
    assert str(cache) in lines["compose-spec"]
    assert "not built" in lines["otelcol"]
    assert binaries.program("compose-spec").startswith(str(cache))


@pytest.mark.usefixtures("cache")
def test_a_program_that_is_not_built_says_what_to_do() -> None:
    with pytest.raises(StackError, match="build it by `make stack`"):
        binaries.program("prometheus")


@pytest.mark.usefixtures("cache")
def test_an_unknown_program_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--only", "grafana"]) == 1
    assert "no program 'grafana' in the stack; there are otelcol, prometheus" in capsys.readouterr().err


@pytest.mark.usefixtures("cache")
def test_without_go_nothing_is_built_and_the_version_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.main(["--only", "prometheus"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"no `go` on PATH: install Go 1\.\d+\.\d+ or newer", said)


def test_without_go_what_was_built_before_is_found(
    cache: Path, go: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _versions_of_compose(go)
    assert build.main(["--only", "compose"]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build.main(["--only", "compose"]) == 0
    assert (cache / "bin" / "compose-spec").exists()


@pytest.mark.usefixtures("cache")
def test_an_old_go_is_refused_with_the_version_that_is_needed(go: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    go.set("version", "1.19.3")
    assert build.main(["--only", "compose"]) == 2
    assert re.search(
        r"compose needs Go 1\.\d+\.\d+, \S+/go/go is 1\.19\.3: install a newer one", capsys.readouterr().err
    )
    assert go.builds == 0


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "dial tcp: lookup modules.example: no such host",
            "cannot be reached. What is needed comes from GOPROXY=",
        ),
        ("example.org/x@v1: 403 Forbidden", "GOPROXY=https://modules.example does not have a pinned version"),
        ("write /tmp/x: no space left on device", "the disk is full"),
        ("verifying module: checksum mismatch", "is not what go.sum pins"),
        ("main.go:1: syntax error", "exit code 1"),
    ],
)
def test_a_failed_build_says_why_and_shows_what_the_compiler_said(
    go: StandIn, capsys: pytest.CaptureFixture[str], error: str, said: str
) -> None:
    go.set("error", f"{error}\n")
    assert build.main(["--only", "compose"]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert f"| {error}" in shown
    log = re.search(r"all of it: (\S+)", shown)
    assert log is not None
    assert error in Path(log[1]).read_text(encoding="utf-8")


def _start_build() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.stack.build", "--only", "compose"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_until_it_compiles(process: subprocess.Popen[str], go: StandIn) -> None:
    ends = monotonic() + 60.0
    while go.builds == 0:
        assert monotonic() < ends
        with suppress(subprocess.TimeoutExpired):
            pytest.fail(f"it ended with exit code {process.wait(0.02)}")


def test_a_killed_build_leaves_nothing_that_is_found_and_the_next_one_sweeps_up(cache: Path, go: StandIn) -> None:
    _versions_of_compose(go)
    os.mkfifo(go.folder / "hold")
    with _start_build() as half:
        _wait_until_it_compiles(half, go)
        half.kill()
    assert binaries.found(recipe_of("compose")) is None
    assert len(list((cache / "work").iterdir())) == 1
    # The stand-in outlives its parent, as a compiler would: it must not matter.
    (go.folder / "hold").rename(go.folder / "held")
    assert build.main(["--only", "compose"]) == 0
    assert list((cache / "work").iterdir()) == []
    assert binaries.found(recipe_of("compose")) is not None
    held = os.open(go.folder / "held", os.O_RDWR)
    os.write(held, b"go on\n")
    os.close(held)


def test_a_build_that_is_interrupted_removes_what_was_not_finished(cache: Path, go: StandIn) -> None:
    _versions_of_compose(go)
    os.mkfifo(go.folder / "hold")
    with _start_build() as half:
        _wait_until_it_compiles(half, go)
        half.send_signal(signal.SIGINT)
        _, said = half.communicate()
    assert half.returncode == 130
    assert "what was not finished is removed" in said
    assert list((cache / "work").iterdir()) == []
    assert not (cache / "builds").exists()


def test_of_two_builds_at_once_one_waits_and_finds_what_the_other_has_built(cache: Path, go: StandIn) -> None:
    _versions_of_compose(go)
    os.mkfifo(go.folder / "hold")
    with _start_build() as first:
        _wait_until_it_compiles(first, go)
        with _start_build() as second:
            assert second.stderr is not None
            line = second.stderr.readline()
            assert f"another build is under way in {cache}" in line
            (go.folder / "hold").write_text("go on\n", encoding="utf-8")
            second.communicate()
        first.communicate()
    assert (first.returncode, second.returncode, go.builds) == (0, 0, 1)


def test_nothing_is_written_but_to_the_cache(
    tmp_path: Path, cache: Path, go: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    _versions_of_compose(go)
    before = _everything_in(ROOT / "examples" / "stack") | _everything_in(ROOT / "collector-config")
    assert build.main(["--only", "compose"]) == 0
    after = _everything_in(ROOT / "examples" / "stack") | _everything_in(ROOT / "collector-config")
    assert {path for path in after - before if "__pycache__" not in path} == _everything_in(home) == set()
    assert (cache / "bin" / "compose-spec").exists()


# What the recipes pin.


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_has_its_files_and_says_its_version(recipe: Recipe) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", recipe.version)
    assert recipe.key() == recipe.key()


@pytest.mark.parametrize("name", ["collector", "router"])
def test_every_component_of_a_collector_is_pinned_by_its_go_mod_as_in_its_manifest(name: str) -> None:
    recipe = recipe_of(name)
    required = required_modules(recipe.folder / "go.mod")
    assert {module: required.get(module) for module in recipe.pinned} == recipe.pinned
    assert required["go.opentelemetry.io/collector/cmd/builder"] == f"v{recipe.version}"


def test_prometheus_calls_itself_by_other_numbers_than_its_module() -> None:
    assert spoken_version("github.com/prometheus/prometheus", "v0.315.0") == "3.15.0"
    assert spoken_version("github.com/prometheus/prometheus", "v0.304.2") == "3.4.2"
    assert spoken_version("github.com/prometheus/alertmanager", "v0.28.1") == "0.28.1"


def test_the_readme_names_every_program_with_its_version() -> None:
    text = (ROOT / "examples" / "stack" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \| (\d+\.\d+\.\d+) \|", text, re.MULTILINE)
    stated = {name: version for names, version in rows for name in re.findall(r"`(.+?)`", names)}
    assert stated == {program.name: recipe.version for recipe in RECIPES for program in recipe.programs}

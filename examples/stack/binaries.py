"""Where the programs of the stack are: built once by `python -m examples.stack.build`, kept in a cache.

CACHE/builds/<recipe>-<key>-<compiler>/   one finished build; the key stands for the files it is made from
CACHE/bin/<program>                       links to what the tree that was built last wants, for people
CACHE/work/, CACHE/logs/                  builds under way, and what their compilers said
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from examples.shop.processes import StackError
from examples.stack.recipes import RECIPES, Recipe, recipe_of

ENV_CACHE: Final = "STACK_CACHE"
"""Folder of the built programs; `~/.cache/spancost/stack` unless set."""
PROGRAMS: Final = tuple(program.name for recipe in RECIPES for program in recipe.programs)


def cache() -> Path:
    """Return the folder of the built programs."""
    return Path(os.environ.get(ENV_CACHE) or Path.home() / ".cache" / "spancost" / "stack").absolute()


def builds() -> Path:
    """Return the folder that holds one folder for each finished build."""
    return cache() / "builds"


def found(recipe: Recipe, compiler: str = "*") -> Path | None:
    """Return the newest whole build of what the tree holds now.

    Args:
        recipe: What was built.

        compiler: By which compiler, as `build_folder` writes it; any if not given.

    Raises:
        StackError: A file of the recipe is missing.
    """
    made = [path for path in builds().glob(f"{recipe.name}-{recipe.key()}-{compiler}") if is_whole(recipe, path)]
    return max(made, key=lambda path: path.stat().st_mtime, default=None)


def is_whole(recipe: Recipe, folder: Path) -> bool:
    """Say whether a folder has all programs of a recipe."""
    return all(os.access(folder / program.name, os.X_OK) for program in recipe.programs)


def build_folder(recipe: Recipe, compiler: str) -> Path:
    """Return the folder of a build by one compiler, whether it is there or not.

    Args:
        recipe: What is built.

        compiler: For example `go1.26.8`.
    """
    return builds() / f"{recipe.name}-{recipe.key()}-{compiler}"


def program(name: str) -> str:
    """Return the path of a program, built from the very files that the tree holds now.

    Args:
        name: One of `PROGRAMS`.

    Raises:
        StackError: It has not been built, or from other files only.
    """
    recipe = recipe_of(name)
    made = found(recipe)
    if made is None:
        raise StackError(f"{name} {recipe.version} is not in {cache()}: build it by `make stack`")
    return str(made / name)

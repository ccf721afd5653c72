"""The page of every key of `spancost.yaml`, from the parsers that read them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, Final, cast

from spancost import config
from spancost.config import Config
from spancost.prices import own
from spancost.prices.docs import table

_TEXT: Final = """\
# Configuration

Settings come from `spancost.yaml`, then from environment variables, then from arguments of `load_config()`; later ones
win. The file is the one that `SPANCOST_CONFIG` names, else `spancost.yaml` in the folder where the process starts.
A wrong setting is answered with file, key, value and what is accepted.

A duration is a number of seconds or text such as `500ms`, `30s`, `5m`, `1h`, `7d`. A glob has `*` and `?`.

## Keys of spancost.yaml

{keys}

## Prices of your own

These keys may stand in `spancost.yaml`, or in a file of their own that `prices_file` names; `spancost prices check`
says what each entry matches. [How to use them](../how-to/own-prices.md).

{own}

## Set by environment only

{environment}

## Arguments only

`load_config(NAME=VALUE)` takes every field of `Config` by name. No file and no variable sets these:

{arguments}
"""

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("s", 1))
_OWN: Final = {
    "prices": "List of prices. Keys: `price` (id or glob), `usd`, `unit`, `region`, `valid_from`, `valid_to`",
    "discounts": "List of percentages off list prices. Keys: `name`, `percent`, `coverage`, `component`, `provider`, "
    "`price`, `region`, `valid_from`, `valid_to`. Several that match multiply",
    "models": "List of LLM models: `model` (glob) and `provider`, with `same_as`, `usd_per_million` or `usd_per_hour`",
    "http_rules": "List of prices of HTTP APIs: `host`, `path`, `method`, `provider`, `operation`, `usd`, `unit`, "
    "`quantity`",
    "custom": "List of rates for units of your own: `name` (glob), `unit`, `usd`, `valid_from`, `valid_to`",
    "currency": "A second figure for people: `code`, `per_usd`, `date`",
}


def page() -> str:
    """Return the text of the page."""
    said = field_docstrings()
    variables = {field: name for name, (field, _) in _environment().items()}
    keys = [
        (
            f"`{key}`",
            accepted(parser),
            default_of(field),
            f"`{variables[field]}`" if field in variables else "",
            said[field],
        )
        for key, (field, parser) in _file_keys().items()
    ]
    in_file = {field for field, _ in _file_keys().values()}
    only_environment = [
        (f"`{variable}`", accepted(parser), default_of(field), said[field])
        for variable, (field, parser) in _environment().items()
        if field not in in_file
    ]
    known = in_file | set(variables) | {"own", "place"}
    arguments = [
        (f"`{field.name}`", default_of(field.name), said[field.name])
        for field in fields(Config)
        if field.name not in known
    ]
    return _TEXT.format(
        keys=_table(("Key", "Takes", "Default", "Variable", "Meaning"), keys),
        own=_table(("Key", "Meaning"), [(f"`{key}`", _OWN[key]) for key in own.OWN_KEYS]),
        environment=_table(("Variable", "Takes", "Default", "Meaning"), only_environment),
        arguments=_table(("Field", "Default", "Meaning"), arguments),
    )


def field_docstrings() -> dict[str, str]:
    """Return the docstring below each field of `Config`, as one line without the full stop."""
    (declared,) = ast.parse(inspect.getsource(Config)).body
    assert isinstance(declared, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, after in zip(declared.body, declared.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            assert isinstance(after, ast.Expr), f"Config.{statement.target.id} has no docstring"
            assert isinstance(after.value, ast.Constant), f"Config.{statement.target.id} has no docstring"
            found[statement.target.id] = " ".join(str(after.value.value).split()).removesuffix(".")
    return found


def accepted(parser: Callable[..., Any]) -> str:
    """Return what a parser of values takes, as its docstring says."""
    text, _, _ = (inspect.getdoc(parser) or "").partition("\n")
    return text.removeprefix("Read ").removesuffix(".")


def default_of(name: str) -> str:
    """Return the default of a field of `Config` for people; empty if it is not set."""
    (field,) = [field for field in fields(Config) if field.name == name]
    assert field.default is not MISSING or field.default_factory is not MISSING
    default: Any = field.default
    if default is None or default in ("", (), frozenset()):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{', '.join(map(str, cast('tuple[object, ...]', default)))}`"
    return f"`{_duration(default)}`" if name.endswith("_s") else f"`{default}`"


def _duration(seconds: float) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds / size:g}{unit}"


def _file_keys() -> dict[str, tuple[str, Callable[..., Any]]]:
    return dict(config._FILE_KEYS)  # pyright: ignore[reportPrivateUsage]


def _environment() -> dict[str, tuple[str, Callable[..., Any]]]:
    return dict(config._ENVIRONMENT)  # pyright: ignore[reportPrivateUsage]


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(table(titles, rows))

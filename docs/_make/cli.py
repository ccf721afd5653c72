"""The page of every command, from the same declarations that `--help` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent, indent
from typing import Any, Final

import typer.main

from spancost.cli._app import application
from spancost.prices.docs import table

_HEAD: Final = """\
# Command line

    pip install 'spancost[cli]'

Data goes to stdout, messages to stderr. Exit codes: 0 fine; 1 something was found (by `doctor`,
`attribution test`, `prices check`, `prices diff`, `prices coverage`, `ledger info --check`, `dashboards check` and
`--fail-over`) or has no price (`explain`); 2 wrong usage, configuration or ledger. `spancost run`
ends with the exit code of the application, `spancost budgets check` with those of a
monitoring plugin: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
`--help` after any command shows the same text.
"""
_EXAMPLE: Final = re.compile(r"^[\s\b]*Examples?:\s*(.+)$", re.DOTALL)


def page() -> str:
    """Return the text of the page."""
    command: Any = typer.main.get_command(application())
    parts = [_HEAD]
    for name, found in _leaves(command, ""):
        parts.append("\n".join(_section(name, found)))
    return "\n".join(parts)


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in command.commands.items():
        if getattr(inner, "hidden", False):
            continue
        if hasattr(inner, "commands"):
            yield from _leaves(inner, f"{path}{name} ")
        else:
            yield f"{path}{name}", inner


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"## spancost {name}"
    yield ""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name != "argument"]
    usage = " ".join(["spancost", name, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    yield f"    {usage}"
    yield ""
    for paragraph in re.split(r"\n\s*\n", _help(command)):
        yield from _paragraph(paragraph)
        yield ""
    rows = [(f"`{_argument(argument).strip('[]')}`", "", _text(argument)) for argument in arguments]
    rows += [(_option(option), _default(option), _text(option)) for option in options]
    yield from table(("Argument, option", "Default", "Meaning"), rows)
    yield ""


def _help(command: Any) -> str:
    text = str(command.help or "")
    epilog = str(getattr(command, "epilog", None) or "")
    return f"{text}\n\n{epilog}".strip()


def _paragraph(text: str) -> Iterator[str]:
    example = _EXAMPLE.match(text)
    if example is None:
        if text.lstrip(" \n").startswith("\b"):  # lines that `--help` does not wrap either
            yield indent(dedent(text.replace("\b", "")).strip("\n"), "    ")
        else:
            yield _plain(text)
        return
    for command in re.split(r"\n\s*(?=spancost )", example[1]):
        yield f"    {' '.join(command.split())}"


def _plain(text: str) -> str:
    # Words such as <FILE> or stars would be markup.
    return " ".join(text.split()).replace("<", "\\<").replace("*", "\\*")


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.human_readable_name).strip("[]{}").removesuffix("...")
    many = "..." if argument.nargs == -1 else ""
    return f"{name}{many}" if argument.required else f"[{name}{many}]"


def _option(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    return flags if option.is_flag else f"{flags[:-1]} {option.metavar or option.type.name.upper()}`"


def _default(option: Any) -> str:
    if option.is_flag or option.default in (None, "", (), []):
        return ""
    return f"`{option.default}`"


def _text(parameter: Any) -> str:
    return _plain(str(parameter.help or "")).removesuffix(".")

"""Read a YAML file that people wrote: mistakes are answered with file, line and what is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from spancost.errors import ConfigError

if TYPE_CHECKING:
    import yaml


def read_mapping(file: Path) -> dict[object, object]:
    """Return the top-level mapping of a YAML file; empty for an empty file.

    Raises:
        ConfigError: The file cannot be read, is no YAML, no mapping, or has a key twice.
    """
    import yaml

    place = str(file)
    try:
        text = file.read_text(encoding="utf-8")
        _check_keys_once(yaml.compose(text, yaml.SafeLoader), place)
        loaded: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the file"
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(place, where, str(problem), "valid YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(place, "the file", _why_unreadable(error), "a readable UTF-8 file") from None
    except ValueError as error:  # the 30th of February
        raise ConfigError(
            place, "the file", str(error), "days of the calendar, and numbers that are none too long"
        ) from None
    except RecursionError:
        raise ConfigError(place, "the file", "too deep", "a file without hundreds of levels") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        given = "a list" if isinstance(loaded, list) else "one value"
        raise ConfigError(place, "the file", given, "a mapping of keys to values, such as region: eu-west-1")
    return cast("dict[object, object]", loaded)


def _why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8"


def _check_keys_once(root: yaml.Node | None, place: str) -> None:
    """Refuse a key that stands twice: YAML would take the last one without a word."""
    import yaml

    seen: set[int] = set()  # an anchor may be used within itself
    nodes: list[yaml.Node | None] = [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(cast("list[yaml.Node]", node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
                nodes.append(value)
                if not isinstance(key, yaml.ScalarNode):
                    continue
                name, line = str(key.value), key.start_mark.line + 1
                if name in lines:
                    raise ConfigError(
                        place, f"line {line}", name, f"each key once; it is in line {lines[name]} already"
                    )
                lines[name] = line

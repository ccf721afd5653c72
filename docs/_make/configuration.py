"""The page of every key of `spancost.yaml`, from the parsers that read them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final, cast

from spancost import config
from spancost.budgets.rules import (
    DIMENSIONS,
    REQUEST_DIMENSIONS,
    BudgetRule,
    BurnRateRule,
    ForecastRule,
    Rule,
    SpikeRule,
)
from spancost.config import Config, budgets
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

## Budgets

The section `budgets` says what is too much money, who is told, and where the sums are kept:

```yaml
budgets:
  store: auto
  notify:
    ops: {{type: slack, url_env: SLACK_WEBHOOK_URL}}
    pager: {{type: pagerduty, routing_key_file: /run/secrets/pagerduty}}
  rules:
    - name: llm-monthly
      budget: {{limit_usd: 500, window: month, time_zone: Europe/Berlin}}
      match: {{component: llm, tenant: [acme, "b*"]}}
      per: tenant
      thresholds: [50%, 80%, 100%]
      throttle: {{from: 90%, delay: 2s}}
      owner: search-team
      severity: critical
      labels: {{cost_center: "4711"}}
      notify: [ops]
      on_unpriced: warn
    - name: llm-spike
      spike: {{bucket: 1h, method: robust, history: 24, min_usd: 1}}
      match: {{component: llm}}
    - name: llm-burn
      burn_rate: {{budget: llm-monthly, min_usd_per_hour: 0.5}}
    - name: llm-forecast
      forecast: {{budget: llm-monthly, method: linear, over: 24h}}
    - name: dear-request
      max_request_usd: 0.25
      match: {{route: "/chat/*"}}
```

A rule has a name and one of `budget`, `spike`, `burn_rate`, `forecast` and `max_request_usd`. These keys may stand in
each rule:

{rule_keys}

Dimensions of `match` and `per` are {dimensions}. A rule with `max_request_usd`, an amount of USD, knows
{request_dimensions}. A burn rate and a forecast take match and split of their budget. `thresholds`, `when_unavailable`
and `throttle` may stand beside `budget` or in it.

{kind_keys}

## Set by environment only

{environment}

## Arguments only

`load_config(NAME=VALUE)` takes every field of `Config` by name. No file and no variable sets these:

{arguments}
"""

_RULES: Final[Mapping[str, type[Rule]]] = {
    "budget": BudgetRule,
    "spike": SpikeRule,
    "burn_rate": BurnRateRule,
    "forecast": ForecastRule,
}
_OWN_DEFAULTS: Final = {
    "thresholds": "`[50%, 80%, 100%]`",
    "time_zone": "`UTC`",
    "pairs": "`1h`/`5m` 14.4 and `6h`/`30m` 6 critical, `1d`/`2h` 3 and `3d`/`6h` 1 warning",
    "over": "`1d`; of `seasonal`: `28d`",
}
_MEANINGS: Final = {
    "match": "Which charges it is about; all without it",
    "limit_usd": "So much money in the window",
    "window": "The time over which money is added up",
    "time_zone": "Where days, weeks (from Monday) and months begin: an IANA name, such as `Europe/Berlin`",
    "thresholds": "Parts of the limit at which it speaks",
    "throttle": "Whether guards delay calls before the limit; not without it",
    "on_unpriced": "What a call without a price does: is told, counts as a breach, or counts as so many USD",
    "severity": "Of the most serious thing it can say. Warnings before a breach are never above `warning`",
    "notify": "Names of the channels that are told; without it all of them",
    "method": "What is expected: see `history`, `multiplier`, `z`, `percentile` and `season`, or `over`",
    "over": "What the rate is taken from",
    "confidence": "Of the interval that is told, above 0 and at most 99.9%",
    "bucket": "Length of a stretch",
    "cooldown": "A rule that is below its threshold again is well after this long",
    "pairs": "Both windows must burn the budget faster than `factor`",
}

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
        rule_keys=_rule_keys(budgets.COMMON_KEYS, Rule),
        kind_keys="\n\n".join(f"Keys of `{kind}`:\n\n{_rule_keys(keys, _RULES[kind])}" for kind, keys in _kinds()),
        dimensions=_listed(DIMENSIONS),
        request_dimensions=_listed(REQUEST_DIMENSIONS),
        keys=_table(("Key", "Takes", "Default", "Variable", "Meaning"), keys),
        own=_table(("Key", "Meaning"), [(f"`{key}`", _OWN[key]) for key in own.OWN_KEYS]),
        environment=_table(("Variable", "Takes", "Default", "Meaning"), only_environment),
        arguments=_table(("Field", "Default", "Meaning"), arguments),
    )


def field_docstrings() -> dict[str, str]:
    """Return the docstring below each field of `Config`, as one line without the full stop."""
    return _docstrings(Config)


def _docstrings(described: type[Any], *, strict: bool = True) -> dict[str, str]:
    (declared,) = ast.parse(inspect.getsource(described)).body
    assert isinstance(declared, ast.ClassDef)
    name = described.__name__
    found: dict[str, str] = {}
    for statement, after in zip(declared.body, declared.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if not strict and not isinstance(after, ast.Expr):
                continue
            assert isinstance(after, ast.Expr), f"{name}.{statement.target.id} has no docstring"
            assert isinstance(after.value, ast.Constant), f"{name}.{statement.target.id} has no docstring"
            found[statement.target.id] = " ".join(str(after.value.value).split()).removesuffix(".")
    return found


def accepted(parser: Callable[..., Any]) -> str:
    """Return what a parser of values takes, as its docstring says."""
    text, _, _ = (inspect.getdoc(inspect.unwrap(parser)) or "").partition("\n")
    return text.removeprefix("Read ").removesuffix(".")


def default_of(name: str) -> str:
    """Return the default of a field of `Config` for people; empty if it is not set."""
    (field,) = [field for field in fields(Config) if field.name == name]
    assert field.default is not MISSING or field.default_factory is not MISSING
    return _shown(name, field.default)


def _shown(name: str, default: Any) -> str:
    if default is None or default in ("", (), frozenset()):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple):
        return f"`{', '.join(map(str, cast('tuple[object, ...]', default)))}`"
    return f"`{_duration(default)}`" if name.endswith("_s") else f"`{default}`"


def _rule_keys(keys: budgets.Keys, rule: type[Rule]) -> str:
    said = {
        name: text for base in reversed(rule.__mro__[:-1]) for name, text in _docstrings(base, strict=False).items()
    }
    defaults = {field.name: field.default for field in fields(rule)}
    rows: list[tuple[str, ...]] = []
    for key, (field, parser) in keys.items():
        default = defaults.get(field, MISSING)
        is_said = default is MISSING or not isinstance(default, (str, int, float, tuple)) or key in _OWN_DEFAULTS
        shown = _OWN_DEFAULTS.get(key, "") if is_said else _shown(field, default)
        rows.append((f"`{key}`", accepted(parser), shown, _MEANINGS.get(key) or said[field]))
    return _table(("Key", "Takes", "Default", "Meaning"), rows)


def _kinds() -> list[tuple[str, budgets.Keys]]:
    return list(budgets.KIND_KEYS.items())


def _listed(names: tuple[str, ...]) -> str:
    shown = [f"`{name}`" for name in names]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _duration(seconds: float) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds / size:g}{unit}"


def _file_keys() -> dict[str, tuple[str, Callable[..., Any]]]:
    return dict(config._FILE_KEYS)  # pyright: ignore[reportPrivateUsage]


def _environment() -> dict[str, tuple[str, Callable[..., Any]]]:
    return dict(config._ENVIRONMENT)  # pyright: ignore[reportPrivateUsage]


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(table(titles, rows))

"""What PartiQL statements read or write: table, verb, size. Looks at the text and keeps none of it.

docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.html: a call holds either reads or writes. The
statements of a batch or transaction name one item each by its key; a SELECT of its own may be a query or a scan, of
which a condition hides what it looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.dynamodb_items import PAGE_BYTES, item_bytes, value_bytes
from spancost.capture.aws.sizes import Facts, Params, text_bytes

_SELECTS: Final = "aws.dynamodb.selects"
_LIMITED: Final = "aws.dynamodb.limited"
"""Facts that pass from the request to the response only."""

_HEAD: Final = re.compile(
    r"""\s*(?:(?P<insert>INSERT)\s+INTO|(?P<update>UPDATE)|(?P<delete>DELETE)\s+FROM
    |(?P<exists>EXISTS)\s*\(\s*SELECT\s.*?\sFROM|(?P<select>SELECT)\s(?P<shown>.*?)\sFROM)
    \s+(?:"(?P<quoted>[^"]{1,255})"|(?P<plain>[A-Za-z_]\w{0,254}))(?P<rest>.*)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_VERBS: Final = ("select", "insert", "update", "delete", "exists")


class _Statement(NamedTuple):
    table: str
    verb: str
    """`select`, `insert`, `update`, `delete` or `exists`; empty if it is none of these."""
    all_attributes: bool
    filtered: bool
    size_bytes: int
    """Of what an `insert` or `update` names: text and parameters."""


def note_statements(facts: Facts, operation: str, params: Params) -> None:
    """Note what the statements of a call do; of writes, also their size."""
    if operation == "ExecuteStatement":
        entries: Sequence[Params] = (params,)
    else:
        entries = params["Statements" if operation == "BatchExecuteStatement" else "TransactStatements"]
    statements = [_read(entry["Statement"], entry.get("Parameters") or ()) for entry in entries]
    sizes: dict[str, list[int]] = {}
    for statement in statements:
        sizes.setdefault(statement.table, []).append(statement.size_bytes)
    facts[keys.ITEM_BYTES] = sizes
    if len(sizes) == 1:
        facts[keys.RESOURCE] = statements[0].table
    verbs = {statement.verb for statement in statements}
    if verbs == {"select"}:
        facts[keys.WRITES] = False
        facts[keys.ASSUMED] = "size:1_unit"
        facts[keys.CONSISTENT] = frozenset(
            statement.table for statement, entry in zip(statements, entries, strict=True) if entry.get("ConsistentRead")
        )
        facts[_SELECTS] = statements
        facts[_LIMITED] = "Limit" in params
    elif "" not in verbs and "select" not in verbs:
        facts[keys.WRITES] = True
        facts[keys.ASSUMED] = "size:statement" if verbs == {"insert"} else "size:updates_and_deletes"


def note_page(facts: Facts, result: Params) -> None:
    """Note the size of what a SELECT returned."""
    if _SELECTS not in facts:
        return
    ((table, _, all_attributes, filtered, _),) = cast("list[_Statement]", facts.pop(_SELECTS))
    limited: bool = facts.pop(_LIMITED)
    size = sum(map(item_bytes, result.get("Items") or ()))
    facts.pop(keys.ASSUMED, None)
    if not all_attributes or filtered:
        facts[keys.ASSUMED] = "size:returned_items"
        if result.get("LastEvaluatedKey") and not limited:
            size, facts[keys.ASSUMED] = PAGE_BYTES, "size:1_MB_page"
    facts[keys.ITEM_BYTES] = {table: [size]}


def note_items(facts: Facts, result: Params) -> None:
    """Note the sizes of the items that a batch or a transaction read, one by a statement."""
    if _SELECTS not in facts:
        return
    statements = cast("list[_Statement]", facts.pop(_SELECTS))
    answers: Iterable[Mapping[str, Any]] = result.get("Responses") or ()
    sizes: dict[str, list[int]] = {}
    for statement, answer in zip(statements, answers, strict=True):
        sizes.setdefault(statement.table, []).append(item_bytes(answer.get("Item") or {}))
    facts[keys.ITEM_BYTES] = sizes
    facts.pop(keys.ASSUMED, None)
    if not all(statement.all_attributes for statement in statements):
        facts[keys.ASSUMED] = "size:projection"


def _read(text: str, parameters: Iterable[Any]) -> _Statement:
    head = _HEAD.match(text)
    if head is None:
        return _Statement("", "", False, False, 0)
    verb = next(verb for verb in _VERBS if head[verb])
    rest = cast("str", head["rest"])
    size = 0
    if verb in ("insert", "update"):
        size = text_bytes(rest.strip()) + sum(map(value_bytes, parameters))
    return _Statement(
        head["quoted"] or head["plain"],
        verb,
        verb == "select" and head["shown"].strip() == "*",
        "WHERE" in rest.upper(),
        size,
    )

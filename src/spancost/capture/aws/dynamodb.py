"""What DynamoDB bills of a call: sizes of items, consistency, consumed capacity, per table.

Called by the botocore hooks; keeps sizes and table names in the facts, never values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.dynamodb_items import item_bytes, value_bytes
from spancost.capture.aws.sizes import table_name

Facts = dict[str, Any]
Params = Mapping[str, Any]

_ASKED: Final = "aws.dynamodb.keys"
_TABLES: Final = "aws.dynamodb.tables"
_WHOLE_ITEM: Final = "aws.dynamodb.whole_item"
"""Facts that pass from the request to the response only."""


def request(facts: Facts, operation: str, params: Params) -> None:
    """Note the sizes that the parameters show."""
    table = params.get("TableName")
    if isinstance(table, str):
        facts[keys.RESOURCE] = table_name(table)
    note = _REQUESTS.get(operation)
    if note is not None:
        note(facts, params)


def response(facts: Facts, operation: str, result: Params) -> None:
    """Note what the answer shows: consumed capacity if the service reports it, else sizes of items."""
    capacity = result.get("ConsumedCapacity")
    if capacity:
        units: dict[str, Any] = {}
        entries: Iterable[Params] = cast("list[Params]", capacity) if isinstance(capacity, list) else (capacity,)
        for entry in entries:
            name = table_name(entry.get("TableName", ""))
            units[name] = units.get(name, 0.0) + entry.get("CapacityUnits", 0.0)
        facts[keys.CAPACITY] = units
        return
    note = _RESPONSES.get(operation)
    if note is not None:
        note(facts, result)


def refused(facts: Facts, operation: str, result: Params) -> None:
    """Note what a refused call is billed by: a write whose condition fails, by the item that stands."""
    if facts.get(keys.ERROR_CODE) != "ConditionalCheckFailedException":
        return
    facts.pop(keys.ASSUMED, None)
    facts.pop(keys.ITEM_BYTES, None)
    item = result.get("Item")
    if item:
        facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [item_bytes(item)]}


# --- requests -----------------------------------------------------------------------------------


def _put(facts: Facts, params: Params) -> None:
    facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [item_bytes(params["Item"])]}


def _update(facts: Facts, params: Params) -> None:
    facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [_update_bytes(params)]}
    facts[keys.ASSUMED] = "size:update"
    facts[_WHOLE_ITEM] = params.get("ReturnValues") in ("ALL_NEW", "ALL_OLD")


def _read(facts: Facts, params: Params) -> None:
    facts[keys.CONSISTENT] = frozenset((facts.get(keys.RESOURCE),) if params.get("ConsistentRead") else ())
    if params.get("ProjectionExpression") or params.get("AttributesToGet"):
        facts[keys.ASSUMED] = "size:projection"


def _batch_get(facts: Facts, params: Params) -> None:
    requests: Mapping[str, Params] = params["RequestItems"]
    facts[keys.CONSISTENT] = frozenset(
        table_name(name) for name, entry in requests.items() if entry.get("ConsistentRead")
    )
    facts[_ASKED] = {table_name(name): len(entry["Keys"]) for name, entry in requests.items()}
    if any(entry.get("ProjectionExpression") or entry.get("AttributesToGet") for entry in requests.values()):
        facts[keys.ASSUMED] = "size:projection"


def _batch_write(facts: Facts, params: Params) -> None:
    requests: Mapping[str, Iterable[Params]] = params["RequestItems"]
    facts[keys.ITEM_BYTES] = _batch_bytes(requests)
    if any("DeleteRequest" in write for writes in requests.values() for write in writes):
        facts[keys.ASSUMED] = "size:deletes_1_unit"


def _transact_write(facts: Facts, params: Params) -> None:
    sizes: dict[str, list[int]] = {}
    entries: Iterable[Params] = params["TransactItems"]
    for entry in entries:
        ((kind, write),) = entry.items()
        if kind == "Put":
            size = item_bytes(write["Item"])
        else:
            size = _update_bytes(write) if kind == "Update" else 0
            facts[keys.ASSUMED] = "size:updates_and_deletes"
        sizes.setdefault(table_name(write["TableName"]), []).append(size)
    facts[keys.ITEM_BYTES] = sizes


def _transact_get(facts: Facts, params: Params) -> None:
    facts[_TABLES] = tuple(table_name(entry["Get"]["TableName"]) for entry in params["TransactItems"])


def _statement(facts: Facts, params: Params) -> None:
    _statements(facts, (params["Statement"],))


def _batch_statements(facts: Facts, params: Params) -> None:
    _statements(facts, (entry["Statement"] for entry in params["Statements"]))


def _transact_statements(facts: Facts, params: Params) -> None:
    _statements(facts, (entry["Statement"] for entry in params["TransactStatements"]))


def _statements(facts: Facts, statements: Iterable[str]) -> None:
    verbs = [statement.split(None, 1)[0].upper() for statement in statements]
    facts[keys.ITEM_BYTES] = {"": [0] * len(verbs)}
    facts[keys.ASSUMED] = "size:1_unit"
    if set(verbs) == {"SELECT"}:
        facts[keys.WRITES] = False
        facts[keys.CONSISTENT] = frozenset()
    elif set(verbs) <= {"INSERT", "UPDATE", "DELETE", "EXISTS"}:
        facts[keys.WRITES] = True


# --- responses ----------------------------------------------------------------------------------


def _written(facts: Facts, result: Params) -> None:
    """A write is billed by the larger of the item before and after; `ReturnValues` may show one of them."""
    attributes = result.get("Attributes")
    if not attributes:
        return
    table = facts.get(keys.RESOURCE)
    known = facts.get(keys.ITEM_BYTES, {}).get(table, [0])[0]
    facts[keys.ITEM_BYTES] = {table: [max(known, item_bytes(attributes))]}
    if facts.get(_WHOLE_ITEM):
        facts.pop(keys.ASSUMED, None)


def _got(facts: Facts, result: Params) -> None:
    item = result.get("Item")
    facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [item_bytes(item) if item else 0]}


def _page(facts: Facts, result: Params) -> None:
    """Query and Scan are billed by what they looked at, of which filters hide a part."""
    table = facts.get(keys.RESOURCE)
    items = result.get("Items")
    count, scanned = result.get("Count", 0), result.get("ScannedCount", 0)
    if items:
        size = sum(map(item_bytes, items))
        if scanned > count > 0:
            size = size * scanned // count
            facts[keys.ASSUMED] = "size:average_item"
        facts[keys.ITEM_BYTES] = {table: [size]}
    elif scanned == 0:
        facts[keys.ITEM_BYTES] = {table: [0]}


def _batch_got(facts: Facts, result: Params) -> None:
    unprocessed: Mapping[str, Params] = result.get("UnprocessedKeys") or {}
    responses: Mapping[str, Iterable[Params]] = result.get("Responses") or {}
    counts: dict[str, int] = facts.pop(_ASKED, {})
    sizes = {table_name(name): [item_bytes(item) for item in items] for name, items in responses.items()}
    for name, entry in unprocessed.items():
        counts[table_name(name)] = counts.get(table_name(name), 0) - len(entry["Keys"])
    for name, asked in counts.items():
        found = sizes.setdefault(name, [])
        found.extend([0] * (asked - len(found)))  # a key without an item is read all the same
    facts[keys.ITEM_BYTES] = {name: found for name, found in sizes.items() if found}


def _batch_written(facts: Facts, result: Params) -> None:
    """What the service did not do is not billed: the application sends it again."""
    unprocessed: Mapping[str, Iterable[Params]] = result.get("UnprocessedItems") or {}
    for name, sizes in _batch_bytes(unprocessed).items():
        for size in sizes:
            facts[keys.ITEM_BYTES][name].remove(size)


def _transact_got(facts: Facts, result: Params) -> None:
    sizes: dict[str, list[int]] = {}
    for name, entry in zip(facts[_TABLES], result.get("Responses", ()), strict=True):
        sizes.setdefault(name, []).append(item_bytes(entry.get("Item") or {}))
    facts[keys.ITEM_BYTES] = sizes


def _statement_done(facts: Facts, result: Params) -> None:
    items = result.get("Items")
    if items and facts.get(keys.WRITES) is False:
        facts[keys.ITEM_BYTES] = {"": [sum(map(item_bytes, items))]}
        facts.pop(keys.ASSUMED, None)


# --- shared -------------------------------------------------------------------------------------


def _batch_bytes(requests: Mapping[str, Iterable[Params]]) -> dict[str, list[int]]:
    return {
        table_name(name): [item_bytes(write["PutRequest"]["Item"]) if "PutRequest" in write else 0 for write in writes]
        for name, writes in requests.items()
    }


def _update_bytes(params: Params) -> int:
    """Key plus new values: the least that the item is after the update."""
    values: Params = params.get("ExpressionAttributeValues") or {}
    return item_bytes(params["Key"]) + sum(map(value_bytes, values.values()))


_Note = Callable[[Facts, Params], None]
_REQUESTS: Final[Mapping[str, _Note]] = {
    "PutItem": _put,
    "UpdateItem": _update,
    "GetItem": _read,
    "Query": _read,
    "Scan": _read,
    "BatchGetItem": _batch_get,
    "BatchWriteItem": _batch_write,
    "TransactWriteItems": _transact_write,
    "TransactGetItems": _transact_get,
    "ExecuteStatement": _statement,
    "BatchExecuteStatement": _batch_statements,
    "ExecuteTransaction": _transact_statements,
}
_RESPONSES: Final[Mapping[str, _Note]] = {
    "PutItem": _written,
    "UpdateItem": _written,
    "DeleteItem": _written,
    "GetItem": _got,
    "Query": _page,
    "Scan": _page,
    "BatchGetItem": _batch_got,
    "BatchWriteItem": _batch_written,
    "TransactGetItems": _transact_got,
    "ExecuteStatement": _statement_done,
}

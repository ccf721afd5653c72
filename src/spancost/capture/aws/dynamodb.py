"""What DynamoDB bills of a call: sizes of items, consistency, consumed capacity, per table.

Called by the botocore hooks; keeps sizes and table names in the facts, never values. On request
(`inject_capacity`) calls that do not ask for their consumed capacity do so, and the application does not see it:
the parameter is put into the dictionary that boto3 made for the call, the answer loses what was not asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from spancost.capture.aws import facts as keys
from spancost.capture.aws.dynamodb_items import PAGE_BYTES, item_bytes, value_bytes
from spancost.capture.aws.dynamodb_statements import note_items, note_page, note_statements
from spancost.capture.aws.dynamodb_tables import note_table
from spancost.capture.aws.sizes import table_name

Facts = dict[str, Any]
Params = Mapping[str, Any]

_ASKED: Final = "aws.dynamodb.keys"
_TABLES: Final = "aws.dynamodb.tables"
_WHOLE_ITEM: Final = "aws.dynamodb.whole_item"
_LIMITED: Final = "aws.dynamodb.limited"
_BILLING_MODE: Final = "aws.dynamodb.billing_mode"
_INJECTED: Final = "aws.dynamodb.injected"
"""Facts that pass from the request to the response only."""

_ASK: Final = "ReturnConsumedCapacity"
_STATEMENTS: Final = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"})
_STATEMENTS_SINCE: Final = (1, 31)
"""A version of botocore that knows the parameter for PartiQL; older ones refuse the call."""

_inject: frozenset[str] = frozenset()


def inject_capacity(on: bool) -> None:
    """Have DynamoDB report the capacity of calls that do not ask for it (`aws.inject_consumed_capacity`); off at first.

    Only calls of spans that are priced. The span shows the capacity, where the instrumentation writes it; parameters
    that the application passed and answers that it gets are as they were.
    """
    global _inject
    _inject = _REPORTING if on else frozenset()


def request(facts: Facts, operation: str, params: Params) -> None:
    """Note the sizes that the parameters show."""
    if operation in _inject:
        _ask_for_capacity(facts, operation, params)
    table = params.get("TableName")
    if isinstance(table, str):
        facts[keys.RESOURCE] = table_name(table)
    note = _REQUESTS.get(operation)
    if note is not None:
        note(facts, params)
    elif operation in _STATEMENTS:
        note_statements(facts, operation, params)
    elif "BillingMode" in params:
        facts[_BILLING_MODE] = params["BillingMode"]


def response(facts: Facts, operation: str, result: Params) -> None:
    """Note what the answer shows: consumed capacity if the service reports it, else sizes of items."""
    capacity = result.get("ConsumedCapacity")
    if _INJECTED in facts:
        _take_back(facts)
        cast("dict[str, Any]", result).pop("ConsumedCapacity", None)
    if capacity and _note_capacity(facts, capacity):
        return
    note = _RESPONSES.get(operation)
    if note is not None:
        note(facts, result)


def refused(facts: Facts, operation: str, result: Params) -> None:
    """Note what a refused call is billed by: a write whose condition fails, by the item that stands."""
    if _INJECTED in facts:
        _take_back(facts)
    if facts.get(keys.ERROR_CODE) != "ConditionalCheckFailedException":
        return
    facts.pop(keys.ASSUMED, None)
    facts.pop(keys.ITEM_BYTES, None)
    item = result.get("Item")
    if item:
        facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [item_bytes(item)]}


# --- consumed capacity --------------------------------------------------------------------------


def _ask_for_capacity(facts: Facts, operation: str, params: Params) -> None:
    if not isinstance(params, dict) or _ASK in params:
        return
    if operation in _STATEMENTS and _botocore_version() < _STATEMENTS_SINCE:
        return
    params[_ASK] = "TOTAL"
    facts[_INJECTED] = params


def _take_back(facts: Facts) -> None:
    """Give a dictionary back as it was: one that was handed to `_make_api_call` itself is the application's own."""
    facts.pop(_INJECTED).pop(_ASK, None)


def _botocore_version() -> tuple[int, ...]:
    version: str = getattr(sys.modules.get("botocore"), "__version__", "0")
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def _note_capacity(facts: Facts, capacity: Any) -> bool:
    """Note units by table; the total of an entry includes its indexes, which `INDEXES` lists once more."""
    units: dict[str, Any] = {}
    reads: dict[str, Any] = {}
    entries: Iterable[Params] = cast("list[Params]", capacity) if isinstance(capacity, list) else (capacity,)
    for entry in entries:
        count = entry.get("CapacityUnits")
        if count is None:
            return False
        name = table_name(entry.get("TableName", ""))
        units[name] = units.get(name, 0.0) + count
        if entry.get("ReadCapacityUnits"):
            reads[name] = reads.get(name, 0.0) + entry["ReadCapacityUnits"]
    facts[keys.CAPACITY] = units
    if reads:
        facts[keys.READ_CAPACITY] = reads
    return True


# --- requests -----------------------------------------------------------------------------------


def _put(facts: Facts, params: Params) -> None:
    facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [item_bytes(params["Item"])]}


def _update(facts: Facts, params: Params) -> None:
    facts[keys.ITEM_BYTES] = {facts.get(keys.RESOURCE): [_update_bytes(params)]}
    facts[keys.ASSUMED] = "size:update"
    facts[_WHOLE_ITEM] = params.get("ReturnValues") in ("ALL_NEW", "ALL_OLD")


def _read(facts: Facts, params: Params) -> None:
    facts[keys.CONSISTENT] = frozenset((facts.get(keys.RESOURCE),) if params.get("ConsistentRead") else ())
    facts[_LIMITED] = "Limit" in params
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
    """Query and Scan are billed by what they looked at, of which filters and projections hide a part."""
    table = facts.get(keys.RESOURCE)
    items = result.get("Items")
    count, scanned = result.get("Count", 0), result.get("ScannedCount", 0)
    whole = bool(items) and scanned == count and keys.ASSUMED not in facts
    if not whole and result.get("LastEvaluatedKey") and not facts.get(_LIMITED, True):
        facts[keys.ASSUMED] = "size:1_MB_page"
        facts[keys.ITEM_BYTES] = {table: [PAGE_BYTES]}
    elif items:
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


def _described(facts: Facts, result: Params) -> None:
    note_table(result.get("Table") or result.get("TableDescription"), facts.pop(_BILLING_MODE, None))


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
}
_REPORTING: Final = frozenset(_REQUESTS) | _STATEMENTS | {"DeleteItem"}
"""Operations that report their capacity."""
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
    "ExecuteStatement": note_page,
    "BatchExecuteStatement": note_items,
    "ExecuteTransaction": note_items,
    "CreateTable": _described,
    "DescribeTable": _described,
    "UpdateTable": _described,
    "RestoreTableFromBackup": _described,
    "RestoreTableToPointInTime": _described,
}

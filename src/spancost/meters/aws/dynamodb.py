"""Price DynamoDB on-demand request units, USD per RRU and WRU (aws.amazon.com/dynamodb/pricing/on-demand).

`ConsumedCapacity`, from the hooks or the span's `aws.dynamodb.consumed_capacity`, wins. Else units follow
from item sizes: a write is one unit per started KB of the item, a read half a unit per started 4 KB, one if
strongly consistent; transactions count double; batches round each item, Query and Scan their sum. Without
sizes one unit is assumed. A failed condition and a cancelled transaction are billed; throttled, invalid and
5xx calls are not. Left out: provisioned tables (their price is by the hour), units written to indexes where
the service does not report them, backups and exports.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.sizes import table_name
from spancost.meters.aws.call import KB, ONE_UNIT, Call, Measure, Usage, chunks, free, number, resource_of, text

READ_BYTES: Final = 4 * KB
WRITE_BYTES: Final = KB

_READ: Final = "aws.dynamodb.on_demand.read"
_WRITE: Final = "aws.dynamodb.on_demand.write"
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
_READS: Final = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})
_TRANSACTIONS: Final = frozenset({"TransactWriteItems", "TransactGetItems", "ExecuteTransaction"})
_STATEMENTS: Final = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"})
_FREE_OPERATIONS: Final = re.compile(
    r"(Describe|List|Tag|Untag)[A-Z]\w*|(Create|Update|Delete)(Table|GlobalTable\w*|TimeToLive|ContinuousBackups"
    r"|ContributorInsights|TableReplicaAutoScaling|KinesisStreamingDestination)|(Put|Get|Delete)ResourcePolicy"
    r"|(Enable|Disable)KinesisStreamingDestination|DeleteBackup"
)
_BILLED_ERRORS: Final = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_CONDITIONAL: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})
_TABLES: Final = "aws.dynamodb.table_names"
_CAPACITY: Final = "aws.dynamodb.consumed_capacity"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if DynamoDB has no such operation that we know."""
    if operation in _WRITES:
        return _write
    if operation in _READS:
        return _read
    if operation in _STATEMENTS:
        return _statement
    return _manage if _FREE_OPERATIONS.fullmatch(operation) is not None else None


def _write(call: Call) -> Sequence[Usage]:
    return _units(call, writes=True)


def _read(call: Call) -> Sequence[Usage]:
    return _units(call, writes=False)


def _statement(call: Call) -> Sequence[Usage]:
    """PartiQL: only the statement, which the hook looked at, tells reads from writes."""
    writes = call.facts.get(aws_facts.WRITES)
    if not isinstance(writes, bool):
        return (Usage("", resource=_table(call), reason="unknown_statement"),)
    return _units(call, writes=writes)


def _manage(call: Call) -> Sequence[Usage]:
    return free(_table(call))


def _units(call: Call, *, writes: bool) -> Sequence[Usage]:
    price_id = _WRITE if writes else _READ
    assumed = ""
    if call.failed:
        billed, assumed = _billed_failure(call)
        if not billed:
            return free(_table(call), "not_billed:error")
    capacity = _consumed(call)
    if capacity:
        return [Usage(price_id, units, table or _table(call)) for table, units in capacity.items()]
    sizes = call.facts.get(aws_facts.ITEM_BYTES)
    basis = ",".join(filter(None, (assumed, text(call.facts.get(aws_facts.ASSUMED)))))
    if isinstance(sizes, dict) and sizes:
        return [
            Usage(price_id, _sum_of_units(call, table, item_bytes, writes=writes), text(table) or _table(call), basis)
            for table, item_bytes in cast("dict[Any, Any]", sizes).items()
        ]
    basis = ",".join(filter(None, (assumed, ONE_UNIT)))
    return [
        Usage(price_id, _units_of(call, table, 0.0, writes=writes), table, basis) for table in _tables(call) or ("",)
    ]


def _sum_of_units(call: Call, table: Any, item_bytes: Any, *, writes: bool) -> float:
    if not isinstance(item_bytes, (list, tuple)):
        return math.nan
    return sum(_units_of(call, table, number(size), writes=writes) for size in cast("Sequence[Any]", item_bytes))


def _units_of(call: Call, table: Any, size_bytes: float, *, writes: bool) -> float:
    if size_bytes != size_bytes:  # NaN
        return math.nan
    transaction = call.operation in _TRANSACTIONS
    if writes:
        return chunks(size_bytes, WRITE_BYTES) * (2.0 if transaction else 1.0)
    if transaction:
        return chunks(size_bytes, READ_BYTES) * 2.0
    tables = call.facts.get(aws_facts.CONSISTENT)
    consistent = (
        table in tables
        if isinstance(tables, frozenset)
        else call.attributes.get("aws.dynamodb.consistent_read") is True
    )
    return chunks(size_bytes, READ_BYTES) * (1.0 if consistent else 0.5)


def _billed_failure(call: Call) -> tuple[bool, str]:
    """Return whether a failed call is billed, and what was assumed to say so."""
    if call.http_status >= 500:
        return False, ""
    code = call.facts.get(aws_facts.ERROR_CODE)
    if code is None:
        # Without the error code (stored spans): what fails on a conditional write is mostly the condition.
        return call.operation in _CONDITIONAL, "error:failed_condition"
    return code in _BILLED_ERRORS, ""


def _consumed(call: Call) -> Mapping[str, float] | None:
    """Return capacity units by table as the service counted them; NaN for what is no number."""
    counted = call.facts.get(aws_facts.CAPACITY)
    if isinstance(counted, dict) and counted:
        return {text(table): number(units) for table, units in cast("dict[Any, Any]", counted).items()}
    if call.seen:
        return None
    reported = call.attributes.get(_CAPACITY)
    if isinstance(reported, str):
        reported = (reported,)
    if not isinstance(reported, (list, tuple)) or not reported:
        return None
    units: dict[str, float] = {}
    for entry in cast("Sequence[Any]", reported):
        table, count = _parsed(entry)
        units[table] = units.get(table, 0.0) + count
    return units


def _parsed(entry: Any) -> tuple[str, float]:
    """Return table and units of one JSON object `{"TableName": "t", "CapacityUnits": 1.0}`."""
    if not isinstance(entry, str) or len(entry) > 65_536:
        return "", math.nan
    try:
        data: Any = json.loads(entry)
    except ValueError:
        return "", math.nan
    if not isinstance(data, dict):
        return "", math.nan
    fields = cast("dict[str, Any]", data)
    return table_name(text(fields.get("TableName"))), number(fields.get("CapacityUnits"))


def _tables(call: Call) -> tuple[str, ...]:
    reported = call.attributes.get(_TABLES)
    if not isinstance(reported, (list, tuple)):
        return ()
    return tuple(table_name(text(table)) for table in cast("Sequence[Any]", reported) if isinstance(table, str))


def _table(call: Call) -> str:
    """Return the table of a call; empty if it has several."""
    tables = _tables(call)
    return tables[0] if len(tables) == 1 else resource_of(call)

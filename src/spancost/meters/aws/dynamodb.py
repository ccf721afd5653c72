"""Price DynamoDB on-demand request units, USD per RRU and WRU (aws.amazon.com/dynamodb/pricing/on-demand).

`ConsumedCapacity`, from the hooks or the span's `aws.dynamodb.consumed_capacity`, wins; it includes indexes. Else
units follow from item sizes: a write is one unit per started KB of the item, a read half a unit per started 4 KB,
one if strongly consistent; transactions count double; batches round each item, Query and Scan their sum. A filter
hides what was read: a page that no limit cut has read 1 MB, else items are taken to be alike. Without sizes one unit
is assumed.

Calls on provisioned tables are free: their price is by the hour. A table is provisioned if a setting names it
(`set_provisioned_tables`), or if an answer in this process has shown it. Tables of the Standard-IA class take the
rate of the standard class, marked.

Failed calls: a failed condition and a cancelled transaction are billed, by the item that stands; throttled, invalid
and 5xx calls are not. Managing tables is free (the price book lists it). Backups, restores, imports and exports are
billed by their GB, which no call shows. Left out: units written to indexes where the service does not report them,
the replicas of global tables, reads by DAX.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.dynamodb_tables import ON_DEMAND_INFREQUENT, PROVISIONED, mode_of
from spancost.capture.aws.sizes import table_name
from spancost.meters.aws.call import (
    KB,
    NOT_BILLED,
    ONE_UNIT,
    Call,
    Measure,
    Usage,
    chunks,
    free,
    number,
    resource_of,
    text,
    unpriced,
)

READ_BYTES: Final = 4 * KB
WRITE_BYTES: Final = KB

_READ: Final = "aws.dynamodb.on_demand.read"
_WRITE: Final = "aws.dynamodb.on_demand.write"
_ASSUMED_CLASS: Final = "table_class:STANDARD"
_WRITES: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
_READS: Final = frozenset({"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"})
_TRANSACTIONS: Final = frozenset({"TransactWriteItems", "TransactGetItems", "ExecuteTransaction"})
_STATEMENTS: Final = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"})
_BILLED_BY_GB: Final = "billed_by_gb"
_BY_GB: Final = frozenset(
    {
        "CreateBackup",
        "ExportTableToPointInTime",
        "ImportTable",
        "RestoreTableFromBackup",
        "RestoreTableToPointInTime",
    }
)
_BILLED_ERRORS: Final = frozenset({"ConditionalCheckFailedException", "TransactionCanceledException"})
_CONDITIONAL: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"})
_TABLES: Final = "aws.dynamodb.table_names"
_CAPACITY: Final = "aws.dynamodb.consumed_capacity"
_NO_TABLE: Final = re.compile(r"(?!)")

_provisioned: re.Pattern[str] = _NO_TABLE


class _Consumed(NamedTuple):
    """Units of one table as the service counted them; NaN for what is no number."""

    table: str
    units: float
    reads: float = 0.0
    """Those of `units` that are read units, in a call that writes."""


def set_provisioned_tables(globs: Iterable[str]) -> None:
    """Name the tables that are provisioned (`aws.provisioned_tables`), in place of those named before.

    Args:
        globs: Names of tables, with `*` and `?`; case counts.
    """
    global _provisioned
    patterns = [translate(glob) for glob in globs]
    _provisioned = re.compile("|".join(patterns)) if patterns else _NO_TABLE
    _is_named_provisioned.cache_clear()


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says what it costs."""
    if operation in _WRITES:
        return _write
    if operation in _READS:
        return _read
    if operation in _STATEMENTS:
        return _statement
    return _by_gb if operation in _BY_GB else None


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


def _by_gb(call: Call) -> Sequence[Usage]:
    return free(_table(call), NOT_BILLED) if call.failed else unpriced(_BILLED_BY_GB, _table(call))


def _units(call: Call, *, writes: bool) -> Sequence[Usage]:
    price_id = _WRITE if writes else _READ
    assumed = ""
    if not call.failed:
        counted = call.facts.get(aws_facts.CAPACITY)
        if isinstance(counted, dict) and len(counted) == 1 and aws_facts.READ_CAPACITY not in call.facts:  # pyright: ignore[reportUnknownArgumentType]
            # One table and what the service counted: by far the most calls, so it goes first.
            ((table, units),) = cast("dict[Any, Any]", counted).items()
            return (_usage(call, price_id, number(units), text(table) or _table(call)),)
    else:
        billed, assumed = _billed_failure(call)
        if not billed:
            return free(_table(call), NOT_BILLED)
    consumed = _consumed(call)
    if consumed:
        return _of_consumed(call, price_id, consumed)
    sizes = call.facts.get(aws_facts.ITEM_BYTES)
    sizes_assume = text(call.facts.get(aws_facts.ASSUMED))
    basis = f"{assumed},{sizes_assume}" if assumed and sizes_assume else assumed or sizes_assume
    if isinstance(sizes, dict) and sizes:
        return [
            _usage(
                call,
                price_id,
                _sum_of_units(call, table, item_bytes, writes=writes),
                text(table) or _table(call),
                basis,
            )
            for table, item_bytes in cast("dict[Any, Any]", sizes).items()
        ]
    basis = f"{assumed},{ONE_UNIT}" if assumed else ONE_UNIT
    return [
        _usage(call, price_id, _units_of(call, table, 0.0, writes=writes), table, basis)
        for table in _tables(call) or (_table(call),)
    ]


def _of_consumed(call: Call, price_id: str, consumed: Sequence[_Consumed]) -> Sequence[Usage]:
    usages: list[Usage] = []
    for table, units, reads in consumed:
        name = table or _table(call)
        if price_id == _WRITE and reads:
            # A repeated transaction with the same token reads what the first one wrote.
            usages.append(_usage(call, _READ, reads, name))
            if units == reads:
                continue
            units -= reads
        usages.append(_usage(call, price_id, units, name))
    return usages


def _usage(call: Call, price_id: str, units: float, table: str, basis: str = "") -> Usage:
    """Return units of a table; free ones if it is provisioned."""
    mode = mode_of(call.attributes.get("cloud.region"), table)
    if mode == PROVISIONED or _is_named_provisioned(table):
        unit = "WRU" if price_id == _WRITE else "RRU"
        return Usage("", units, table, PROVISIONED, free=True, unit=unit)
    if mode == ON_DEMAND_INFREQUENT:
        basis = f"{basis},{_ASSUMED_CLASS}" if basis else _ASSUMED_CLASS
    return Usage(price_id, units, table, basis)


@lru_cache(maxsize=4096)
def _is_named_provisioned(table: str) -> bool:
    return _provisioned.fullmatch(table) is not None


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


def _consumed(call: Call) -> Sequence[_Consumed]:
    """Return capacity units by table as the service counted them; empty if it did not say."""
    counted = call.facts.get(aws_facts.CAPACITY)
    if isinstance(counted, dict) and counted:
        reads = cast("dict[Any, Any]", call.facts.get(aws_facts.READ_CAPACITY) or {})
        return [
            _Consumed(text(table), number(units), number(reads.get(table, 0.0)))
            for table, units in cast("dict[Any, Any]", counted).items()
        ]
    if call.seen:
        return ()
    reported = call.attributes.get(_CAPACITY)
    if isinstance(reported, str):
        reported = (reported,)
    if not isinstance(reported, (list, tuple)) or not reported:
        return ()
    return [_parsed(entry) for entry in cast("Sequence[Any]", reported)]


def _parsed(entry: Any) -> _Consumed:
    """Return table and units of one JSON object `{"TableName": "t", "CapacityUnits": 1.0}`."""
    if not isinstance(entry, str) or len(entry) > 65_536:
        return _Consumed("", math.nan)
    try:
        data: Any = json.loads(entry)
    except ValueError:
        return _Consumed("", math.nan)
    if not isinstance(data, dict):
        return _Consumed("", math.nan)
    fields = cast("dict[str, Any]", data)
    table = table_name(text(fields.get("TableName")))
    return _Consumed(table, number(fields.get("CapacityUnits")), number(fields.get("ReadCapacityUnits") or 0.0))


def _tables(call: Call) -> tuple[str, ...]:
    reported = call.attributes.get(_TABLES)
    if not isinstance(reported, (list, tuple)):
        return ()
    return tuple(table_name(text(table)) for table in cast("Sequence[Any]", reported) if isinstance(table, str))


def _table(call: Call) -> str:
    """Return the table of a call; empty if it has several."""
    tables = _tables(call)
    return tables[0] if len(tables) == 1 else resource_of(call)

"""What Athena bills of a call: the bytes that a finished query has scanned."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params, note_name
from spancost.capture.aws.work import AMOUNTS, Work

RESERVED: Final = "aws.athena.reserved"
"""int: finished queries of this answer that ran on reserved capacity."""

_queries: Final = Work()


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation == "StartQueryExecution":
        note_name(facts, params.get("WorkGroup"))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation == "StartQueryExecution":
        _queries.begin(result.get("QueryExecutionId"))
    elif operation == "GetQueryExecution":
        query = part(result, "QueryExecution")
        note_name(facts, query.get("WorkGroup"))
        _note(facts, (query,))
    elif operation == "BatchGetQueryExecution":
        _note(facts, result.get("QueryExecutions") or ())


def _note(facts: Facts, queries: Iterable[Params]) -> None:
    for query in queries:
        state = part(query, "Status").get("State")
        kind = query.get("StatementType")
        if state not in ("SUCCEEDED", "CANCELLED") or kind == "DDL":  # a failed query is free
            continue
        statistics = part(query, "Statistics")
        if part(statistics, "ResultReuseInformation").get("ReusedPreviousResult"):
            continue
        scanned = statistics.get("DataScannedInBytes")
        if not scanned and (state == "CANCELLED" or kind == "UTILITY"):
            continue  # EXPLAIN ANALYZE is a UTILITY that scans
        if statistics.get("DpuCount"):  # only queries on reserved capacity have it
            facts[RESERVED] = facts.get(RESERVED, 0) + 1
        else:
            _queries.end(facts, query.get("QueryExecutionId"), scanned)
    facts.setdefault(AMOUNTS, ())  # last: an answer that we cannot read shows no work, and not none

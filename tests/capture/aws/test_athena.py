"""Athena queries, charged when their end is first seen."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.capture.aws.pricing import Prices, status_of
from tests.capture.aws.stubs import Stubbed, stubbed

_MB, _TB = 2**20, 2**40
_USD_PER_TB = 5


@pytest.fixture
def athena(prices: Prices) -> Generator[Stubbed]:
    with stubbed("athena") as athena:
        yield athena


def _query(query_id: str, state: str, *, kind: str = "DML", scanned: int | None = None, **more: Any) -> dict[str, Any]:
    statistics = dict(more)
    if scanned is not None:
        statistics["DataScannedInBytes"] = scanned
    return {
        "QueryExecutionId": query_id,
        "StatementType": kind,
        "Status": {"State": state},
        "Statistics": statistics,
        "WorkGroup": "analysts",
    }


def _start(athena: Stubbed, prices: Prices, query_id: str) -> None:
    athena.call("start_query_execution", {"QueryExecutionId": query_id}, QueryString="SELECT 1", WorkGroup="analysts")
    charge = prices.one()
    assert (charge.line.status, charge.line.reason) == ("unpriced", "usage_comes_later")
    assert charge.line.resource == "analysts"


def _get(athena: Stubbed, query: dict[str, Any]) -> None:
    athena.call("get_query_execution", {"QueryExecution": query}, QueryExecutionId=query["QueryExecutionId"])


@pytest.mark.parametrize(
    ("scanned", "billed_mb"),
    [
        (0, 10),
        (1, 10),
        (10 * _MB, 10),
        (10 * _MB + 1, 11),
        (11 * _MB, 11),
        (11 * _MB + 1, 12),
        (_TB, 2**20),
    ],
)
def test_a_query_costs_its_megabytes_and_ten_at_least(
    athena: Stubbed, prices: Prices, scanned: int, billed_mb: int
) -> None:
    query_id = f"cost-{scanned}"
    _start(athena, prices, query_id)
    _get(athena, _query(query_id, "SUCCEEDED", scanned=scanned))
    charge = prices.one()
    assert charge.usd == pytest.approx(billed_mb * _MB / _TB * _USD_PER_TB, rel=1e-12)
    assert (status_of(charge), charge.line.unit, charge.line.resource) == (("priced", ""), "TB", "analysts")


def test_a_polled_query_is_charged_once(athena: Stubbed, prices: Prices) -> None:
    _start(athena, prices, "polled")
    for state in ("QUEUED", "RUNNING", "SUCCEEDED", "SUCCEEDED"):
        _get(athena, _query("polled", state, scanned=_TB if state == "SUCCEEDED" else None))
    assert [round(charge.usd, 9) for charge in prices.take()] == [0, 0, _USD_PER_TB, 0]
    athena.call(
        "batch_get_query_execution",
        {"QueryExecutions": [_query("polled", "SUCCEEDED", scanned=_TB)]},
        QueryExecutionIds=["polled"],
    )
    assert prices.one().line.status == "free"


def test_a_batch_charges_each_query_by_itself(athena: Stubbed, prices: Prices) -> None:
    ids = ["batch-1", "batch-2", "batch-3"]
    for query_id in ids:
        _start(athena, prices, query_id)
    athena.call(
        "batch_get_query_execution",
        {
            "QueryExecutions": [
                _query(ids[0], "SUCCEEDED", scanned=1),
                _query(ids[1], "SUCCEEDED", scanned=20 * _MB),
                _query(ids[2], "RUNNING"),
            ]
        },
        QueryExecutionIds=ids,
    )
    charges = prices.take()
    assert [charge.quantity * _TB / _MB for charge in charges] == pytest.approx([10, 20])


@pytest.mark.parametrize(
    "query",
    [
        _query("free-1", "FAILED", scanned=50 * _MB),
        _query("free-2", "SUCCEEDED", kind="DDL", scanned=0),
        _query("free-3", "SUCCEEDED", kind="UTILITY", scanned=0),
        _query("free-4", "CANCELLED", scanned=0),
        _query("free-5", "CANCELLED"),
        _query("free-6", "SUCCEEDED", scanned=0, ResultReuseInformation={"ReusedPreviousResult": True}),
    ],
)
def test_failed_ddl_and_reused_queries_are_free(athena: Stubbed, prices: Prices, query: dict[str, Any]) -> None:
    _get(athena, query)
    assert status_of(prices.one()) == ("free", "")


def test_a_cancelled_query_costs_what_it_had_scanned(athena: Stubbed, prices: Prices) -> None:
    _start(athena, prices, "cancelled")
    _get(athena, _query("cancelled", "CANCELLED", scanned=30 * _MB))
    assert prices.one().usd == pytest.approx(30 * _MB / _TB * _USD_PER_TB)


def test_explain_analyze_costs_what_it_scans(athena: Stubbed, prices: Prices) -> None:
    _start(athena, prices, "explained")
    _get(athena, _query("explained", "SUCCEEDED", kind="UTILITY", scanned=40 * _MB))
    assert prices.one().usd == pytest.approx(40 * _MB / _TB * _USD_PER_TB)


def test_a_query_started_by_another_process_is_marked(athena: Stubbed, prices: Prices) -> None:
    _get(athena, _query("foreign", "SUCCEEDED", scanned=_TB))
    charge = prices.one()
    assert (charge.usd, status_of(charge)) == (_USD_PER_TB, ("estimated", "job:started_elsewhere"))


def test_a_query_on_reserved_capacity_is_unpriced(athena: Stubbed, prices: Prices) -> None:
    _start(athena, prices, "reserved")
    _get(athena, _query("reserved", "SUCCEEDED", scanned=_TB, DpuCount=8.0))
    charge = prices.one()
    assert (charge.line.status, charge.line.reason, charge.line.unit) == ("unpriced", "reserved_capacity", "query")


def test_a_refused_start_is_free(athena: Stubbed, prices: Prices) -> None:
    for code, status in (("InvalidRequestException", 400), ("TooManyRequestsException", 429)):
        athena.refuse("start_query_execution", code, status)
        with pytest.raises(ClientError):
            athena.client.start_query_execution(QueryString="SELEC 1")
        assert status_of(prices.one()) == ("free", "not_billed:error")


def test_reading_results_is_free(athena: Stubbed, prices: Prices) -> None:
    athena.call("get_query_results", {"ResultSet": {"Rows": []}}, QueryExecutionId="polled")
    athena.call("list_work_groups", {"WorkGroups": []})
    assert [charge.line.status for charge in prices.take()] == ["free", "free"]

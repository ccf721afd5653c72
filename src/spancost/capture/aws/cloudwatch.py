"""What CloudWatch bills of a call: the number of metrics that are asked for."""

from __future__ import annotations

from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params

SEARCH: Final = "aws.cloudwatch.search"
"""True: the call asks for metrics by a search, which may find any number."""

_SEARCHES: Final = ("SEARCH", "SELECT")


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation != "GetMetricData":
        return
    queries: list[Params] = params["MetricDataQueries"]
    facts[keys.COUNT] = sum(1 for query in queries if query.get("MetricStat"))
    if any(word in str(query.get("Expression", "")).upper() for query in queries for word in _SEARCHES):
        facts[SEARCH] = True

"""Price CloudWatch calls that are not billed by the request (aws.amazon.com/cloudwatch/pricing).

`GetMetricData` costs each metric that its queries ask for (those with `MetricStat`; a search counts as one, marked,
for it may find any number); `GetMetricWidgetImage` each image. Other calls are requests by the price book. Refused
calls are not billed. Left out: custom metrics, alarms and dashboards by the month.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spancost.capture.aws import facts as aws_facts
from spancost.capture.aws.cloudwatch import SEARCH
from spancost.meters.aws.call import Call, Measure, Usage, failure

_METRIC: Final = "aws.cloudwatch.get_metric_data"
_IMAGE: Final = "aws.cloudwatch.widget_image"


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None for those that the price book decides."""
    return {"GetMetricData": _metrics, "GetMetricWidgetImage": _image}.get(operation)


def _metrics(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    count = call.size(aws_facts.COUNT)
    if count is None:
        return (Usage(_METRIC, 1.0, basis="metrics:1"),)
    if call.facts.get(SEARCH):
        return (Usage(_METRIC, count + 1, basis="search:1_metric"),)
    return (Usage(_METRIC, count),)


def _image(call: Call) -> Sequence[Usage]:
    return failure(call) if call.failed else (Usage(_IMAGE),)

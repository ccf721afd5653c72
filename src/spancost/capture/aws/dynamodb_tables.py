"""How DynamoDB tables are billed, as far as answers in this process have shown it.

A call on an item does not say whether its table is on-demand or provisioned; `DescribeTable` and the calls that
make or change tables do. Kept by the hash of region and name, bounded; accounts are not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from spancost.capture.aws.jobs import Learned

ON_DEMAND: Final = "on_demand"
ON_DEMAND_INFREQUENT: Final = "on_demand_infrequent_access"
PROVISIONED: Final = "provisioned"

_modes: Final[Learned[str]] = Learned()


def note_table(description: object, asked_mode: object = None) -> None:
    """Remember how a table is billed.

    Args:
        description: `Table` or `TableDescription` of an answer.

        asked_mode: `BillingMode` of the call, which the answer may not show yet.
    """
    if not isinstance(description, Mapping):
        return
    table = cast("Mapping[str, Any]", description)
    arn = table.get("TableArn")
    if not isinstance(arn, str) or arn.count(":") < 5:
        return
    _, _, _, region, _, name = arn.split(":", 5)
    mode = _mode_of(table, asked_mode)
    if mode:
        _modes.note(f"{region}/{name.removeprefix('table/')}", mode)


def mode_of(region: object, table: str) -> str:
    """Return how a table is billed; empty if no answer has shown it."""
    return _modes.get(f"{region}/{table}") or ""


def _mode_of(table: Mapping[str, Any], asked_mode: object) -> str:
    # A table that was never on-demand has no summary of its billing mode; an on-demand one has a throughput of 0.
    summary: Mapping[str, Any] = table.get("BillingModeSummary") or {}
    mode = asked_mode or summary.get("BillingMode")
    if mode is None and "ProvisionedThroughput" in table:
        mode = "PROVISIONED" if table["ProvisionedThroughput"].get("ReadCapacityUnits") else "PAY_PER_REQUEST"
    if mode == "PROVISIONED":
        return PROVISIONED
    if mode != "PAY_PER_REQUEST":
        return ""
    table_class: Mapping[str, Any] = table.get("TableClassSummary") or {}
    return ON_DEMAND_INFREQUENT if table_class.get("TableClass") == "STANDARD_INFREQUENT_ACCESS" else ON_DEMAND

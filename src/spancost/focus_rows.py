"""Rows of the ledger under the column names of FOCUS 1.2, for a warehouse that has bills under them too.

FOCUS (https://focus.finops.org) names what its specification defines: `EffectiveCost` is what it costs you (own
prices, discounts and commitments applied), `ListCost` is list price. `BilledCost` and `ContractedCost` are left out:
what a provider will invoice, and which part of a difference is a contract, is not known to spancost. What FOCUS has no
column for is `x_...`, as the specification asks for. A charge without a known price has no cost, not the cost 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from spancost import names
from spancost.focus import cloud_service, provider_name
from spancost.sinks.ledger.query import LABEL_KEY, TIME_KEYS, UTC_NAME, zone
from spancost.sinks.ledger.rows import ChargeRow
from spancost.sinks.ledger.schema import LINE_COLUMNS

TEXT: Final = "text"
NUMBER: Final = "number"
COUNT: Final = "count"
TIME: Final = "time"
FLAG: Final = "flag"
CURRENCY: Final = "USD"
USAGE: Final = "Usage"

DETAIL_KEYS: Final = (
    "service",
    "environment",
    "namespace",
    "cloud_account",
    "entrypoint",
    "http_route",
    "http_request_method",
    "feature",
    "tenant",
    "team",
    *LINE_COLUMNS,
    "position",
)
"""Keys of an export of every row."""
_OWNERS: Final = names.ATTRIBUTION_LABELS
_COLUMN_OF_KEY: Final[Mapping[str, str]] = {
    "cloud_service": "ServiceName",
    "provider": "ProviderName",
    "cloud_account": "SubAccountId",
    "region": "RegionId",
    "sku": "SkuId",
    "resource": "ResourceName",
    "unit": "ConsumedUnit",
    "service": "x_Service",
    "environment": "x_Environment",
    "namespace": "x_Namespace",
    "entrypoint": "x_Entrypoint",
    "http_route": "x_HttpRoute",
    "http_request_method": "x_HttpRequestMethod",
    "component": "x_Component",
    "operation": "x_Operation",
    "model": "x_Model",
    "status": "x_Status",
    "reason": "x_Reason",
    "basis": "x_Basis",
    "source": "x_Source",
    "position": "x_Position",
}
_SERVICE_KEYS: Final = ("component", "provider", "operation", "sku")
"""What a cloud service is told by."""


@dataclass(frozen=True, slots=True)
class FocusColumn:
    """One column of an export."""

    name: str
    kind: str
    """`text`, `number`, `count`, `time` (with its zone, UTC) or `flag`."""
    value: Callable[[ChargeRow], Any]
    """None where there is none."""


def focus_columns(
    by: Sequence[str], *, sums: bool, tz: str = UTC_NAME, whole: tuple[int, int] = (0, 0)
) -> list[FocusColumn]:
    """Return the columns of an export, in the order in which FOCUS's own come first.

    Args:
        by: Keys that the rows have, canonical.

        sums: The rows are sums, not the ledger's own.

        tz: Time zone of the time keys.

        whole: First minute and end of the export: the period of sums without a time among their keys.
    """
    place = {key: number for number, key in enumerate(by)}
    begin, end = _period_of(by, place, sums=sums, tz=tz, whole=whole)
    columns = [
        FocusColumn("ChargePeriodStart", TIME, begin),
        FocusColumn("ChargePeriodEnd", TIME, end),
        FocusColumn("ChargeCategory", TEXT, lambda _: USAGE),
    ]
    if all(key in place for key in _SERVICE_KEYS):
        places = [place[key] for key in _SERVICE_KEYS]
        columns.append(FocusColumn("ServiceName", TEXT, lambda row: _service(*(row.key[at] for at in places)).name))
        columns.append(
            FocusColumn("ServiceCategory", TEXT, lambda row: _service(*(row.key[at] for at in places)).category)
        )
    own: list[FocusColumn] = []
    for key, name in _COLUMN_OF_KEY.items():
        if key in place:
            column = FocusColumn(name, TEXT, _key_at(place[key], provider_name if key == "provider" else str))
            (own if name.startswith("x_") else columns).append(column)
    if "provider" in place:
        own.append(FocusColumn("x_Provider", TEXT, _key_at(place["provider"])))
    if "unit" in place:
        columns.append(FocusColumn("ConsumedQuantity", NUMBER, lambda row: row.quantity))
    status = place.get("status")
    columns += [
        FocusColumn("EffectiveCost", NUMBER, lambda row: _known(row.usd, row, status)),
        FocusColumn("ListCost", NUMBER, lambda row: _known(row.list_usd, row, status)),
        FocusColumn("BillingCurrency", TEXT, lambda _: CURRENCY),
    ]
    tags = {key.removeprefix(LABEL_KEY): at for key, at in place.items() if key in _OWNERS or key.startswith(LABEL_KEY)}
    if tags:
        columns.append(FocusColumn("Tags", TEXT, lambda row: _tags(row, tags)))
    if sums:
        if "position" not in place:
            own.append(FocusColumn("x_Idle", FLAG, lambda row: row.is_idle))
        own.append(FocusColumn("x_UnpricedChargeCount", COUNT, lambda row: row.unpriced_count))
    return [*columns, *own, FocusColumn("x_ChargeCount", COUNT, lambda row: row.charge_count)]


def _key_at(place: int, shown: Callable[[str], str] = str) -> Callable[[ChargeRow], str | None]:
    return lambda row: shown(row.key[place]) or None


@lru_cache(maxsize=4096)
def _service(component: str, provider: str, operation: str, sku: str) -> Any:
    return cloud_service(component, provider, operation, sku)


def _known(amount: float, row: ChargeRow, status: int | None) -> float | None:
    """Return an amount of a row; None where it is 0 because something has no price.

    Args:
        amount: USD.

        row: Whose.

        status: Place of the status in its key. Unpriced idle compute and a second unpriced charge of one span count
            no charge, so that their number says less than their status.
    """
    is_unpriced = row.unpriced_count > 0 or (status is not None and row.key[status] == names.UNPRICED)
    return None if is_unpriced and not amount else amount


def _tags(row: ChargeRow, places: Mapping[str, int]) -> str | None:
    tags = {name: row.key[place] for name, place in places.items() if row.key[place]}
    if row.labels:
        # A free label named like one of ours does not hide it.
        tags = json.loads(row.labels) | tags
    return json.dumps(tags, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if tags else None


_Moment = Callable[[ChargeRow], datetime]


def _period_of(
    by: Sequence[str], place: Mapping[str, int], *, sums: bool, tz: str, whole: tuple[int, int]
) -> tuple[_Moment, _Moment]:
    if not sums:
        return (lambda row: _utc(row.begin_minute)), (lambda row: _utc(row.end_minute))
    finest = next((key for key in TIME_KEYS if key in place), None)
    if finest is None:
        return (lambda _: _utc(whole[0])), (lambda _: _utc(whole[1]))
    where = zone(tz)

    @lru_cache(maxsize=4096)
    def ends(minute: int) -> tuple[datetime, datetime]:
        local = datetime.fromtimestamp(minute * 60, where)
        if finest == "minute":
            begin, end = local, local + timedelta(minutes=1)
        elif finest == "hour":
            begin = local - timedelta(minutes=local.minute)
            end = (begin.astimezone(UTC) + timedelta(hours=1)).astimezone(where)
        elif finest == "day":
            begin = local.replace(hour=0, minute=0, fold=0)
            end = begin + timedelta(days=1)  # by the calendar: a day has 23 to 25 hours
        else:
            begin = local.replace(day=1, hour=0, minute=0, fold=0)
            end = (begin + timedelta(days=32)).replace(day=1)
        return begin.astimezone(UTC), end.astimezone(UTC)

    return (lambda row: ends(row.begin_minute)[0]), (lambda row: ends(row.begin_minute)[1])


def _utc(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)

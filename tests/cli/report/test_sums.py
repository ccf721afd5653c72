"""Money is the same, however it is split, whoever bears idle time, and in whatever format it is written."""

from __future__ import annotations

import csv
import io
import itertools
import json
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from spancost.charge import Charge, PriceLine
from spancost.cli.report.asking import ask
from spancost.cli.report.documents import csv_text, report_document
from spancost.cli.report.exposition import exposition_text
from spancost.cli.report.markdown import markdown_text
from spancost.cli.report.options import Asked, Cost, IdleMethod, conditions_of
from spancost.cli.report.period import Period
from spancost.cli.report.pivot import pivot_csv, pivot_document, pivoted
from spancost.sinks.ledger.query import LEDGER_KEYS
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import ENTRY, IDLE, INNER, LATE_ENTRY, UNATTRIBUTED, Attribution, EntryLabels, Origin
from tests.sinks.ledger_batches import (
    CART,
    CHAT,
    HOME,
    MACHINE,
    MINUTE,
    NIGHTLY,
    PUT,
    UNKNOWN_HOST,
    batch_of,
    charged,
    served,
)

_AGES = (3, 50, 700, 2_000, 3_500, 9_000, 13_000, 40_000, 100_000, 400_000)
"""Minutes before now: kept by the minute, by the hour and by the day."""
_ORIGINS = (Origin("shop", "prod", "1", "web"), Origin("shop", "test"), Origin("jobs", "prod"))
_OWNERS = (
    Attribution(),
    Attribution("checkout", "acme", "web"),
    Attribution("", "glo|bex", "", (("cost_center", "c\n1"),)),
)
_KEYS = (*LEDGER_KEYS, "label.cost_center")

_amounts = st.floats(1e-9, 1e6, allow_nan=False)


def _charge_of(line: PriceLine, quantity: float, usd: float, list_usd: float) -> Charge:
    return Charge(line, quantity, 0.0, 0.0) if line is UNKNOWN_HOST else Charge(line, quantity, usd, list_usd)


_lines = st.sampled_from([PUT, CHAT, MACHINE, UNKNOWN_HOST])
_charges = st.builds(_charge_of, _lines, _amounts, _amounts, _amounts)
_used = st.tuples(
    st.sampled_from(_ORIGINS),
    _charges,
    st.sampled_from([CART, HOME, NIGHTLY, EntryLabels('/a"b\\c|d', "GET")]),
    st.sampled_from(_OWNERS),
    st.sampled_from([ENTRY, INNER, LATE_ENTRY, UNATTRIBUTED]),
    st.sampled_from(_AGES),
)
_idle = st.tuples(
    st.sampled_from(_ORIGINS),
    st.builds(_charge_of, st.just(MACHINE), _amounts, _amounts, _amounts),
    st.just(EntryLabels()),
    st.just(Attribution()),
    st.just(IDLE),
    st.sampled_from(_AGES),
)
_entries = st.lists(st.one_of(_used, _used, _idle), min_size=1, max_size=14)
_names = itertools.count()


def _ledger(folder: Path, entries: list[Any]) -> Path:
    """Write each entry on its own, so that rows are added, moved on and late."""
    path = folder / f"{next(_names)}.sqlite"
    for origin, charge, labels, attribution, position, age in entries:
        batch = [charged(charge, labels, attribution, position, MINUTE - age)]
        requests = [] if position == IDLE else [served(2, labels, attribution, MINUTE - age)]
        Ledger(path, origin, now=lambda: MINUTE * 60.0).write(batch_of(*batch, *requests))
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _entries,
    st.lists(st.sampled_from(_KEYS), min_size=1, max_size=4, unique=True),
    st.sampled_from(list(IdleMethod)),
    st.sampled_from(list(Cost)),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
)
def test_every_format_has_all_the_money(
    tmp_path: Path, entries: list[Any], keys: list[str], method: IdleMethod, cost: Cost, tz: str
) -> None:
    whole = pytest.approx(fsum(entry[1].list_usd if cost is Cost.LIST else entry[1].usd for entry in entries), rel=1e-9)
    idle = pytest.approx(
        fsum(entry[1].list_usd if cost is Cost.LIST else entry[1].usd for entry in entries if entry[4] == IDLE),
        rel=1e-9,
    )
    asked = Asked(tuple(keys), (), Period(tz=tz), cost, method)
    with LedgerReader(_ledger(tmp_path, entries)) as reader:
        answer = ask(reader, asked)
        other = next(key for key in _KEYS if key not in keys)
        pivot = pivoted(ask(reader, asked, (*keys, other)), 2)
    assert answer.spent.idle_usd == idle
    document = json.loads(json.dumps(report_document(answer, None)))
    rows = [*document["rows"], *document["idle_rows"]]
    # What has no price is empty, and null.
    assert (document["total_usd"] or 0.0) == whole
    assert document["idle_usd"] == idle
    assert fsum(row["total_usd"] or 0.0 for row in rows) == whole
    assert fsum(row["idle_usd"] or 0.0 for row in rows) == idle
    assert fsum(usd or 0.0 for row in rows for usd in row["component_usd"].values()) == whole
    listed = pytest.approx(fsum(entry[1].list_usd for entry in entries), rel=1e-9)
    assert fsum(row["list_usd"] or 0.0 for row in rows) == listed
    assert fsum(float(row["total_usd"] or 0) for row in csv.DictReader(io.StringIO(csv_text(answer)))) == whole
    assert _markdown_sum(markdown_text(answer)) == whole
    assert _exposed_sum(exposition_text(answer)) == whole
    assert fsum(float(row["total"] or 0) for row in csv.DictReader(io.StringIO(pivot_csv(pivot)))) == whole
    assert fsum(usd or 0.0 for row in pivot_document(pivot)["rows"] for usd in row["usd"].values()) == whole


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_entries, st.sampled_from(list(IdleMethod)), st.sampled_from(["tenant=acme", "component=c*", "unit!=s"]))
def test_a_condition_and_its_opposite_have_all_the_money(
    tmp_path: Path, entries: list[Any], method: IdleMethod, text: str
) -> None:
    (condition,) = conditions_of([text])
    opposite = condition._replace(negated=not condition.negated)
    with LedgerReader(_ledger(tmp_path, entries)) as reader:
        parts = [
            ask(reader, Asked(("service", "day"), (one,), Period(), idle=method)).usd for one in (condition, opposite)
        ]
    assert sum(parts) == pytest.approx(fsum(entry[1].usd for entry in entries), rel=1e-9)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_entries, st.integers(0, 50_000), st.sampled_from(list(IdleMethod)))
def test_two_periods_side_by_side_have_all_the_money(
    tmp_path: Path, entries: list[Any], age: int, method: IdleMethod
) -> None:
    with LedgerReader(_ledger(tmp_path, entries)) as reader:
        parts = [
            ask(reader, Asked(("entrypoint",), (), period, idle=method)).usd
            for period in (Period(until_minute=MINUTE - age), Period(MINUTE - age))
        ]
    assert sum(parts) == pytest.approx(fsum(entry[1].usd for entry in entries), rel=1e-9)


def _markdown_sum(text: str) -> float:
    rows = [line for line in text.splitlines() if line.startswith("|")]
    amounts = [row.rstrip(" |").rpartition("| ")[2] for row in rows[2:-1]]
    told = rows[-1].rstrip(" |").rpartition("| ")[2]
    total = 0.0 if told == "**?**" else float(told)  # nothing of it has a price
    # an unknown amount is empty, and then what is found is a title or a question mark
    assert fsum(float(amount) for amount in amounts if _is_number(amount)) == pytest.approx(total, rel=1e-9)
    return total


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _exposed_sum(text: str) -> float:
    amounts = [
        sample.value
        for family in text_string_to_metric_families(text)
        if family.name in ("spancost_report_cost_usd", "spancost_report_idle_cost_usd")
        for sample in family.samples
    ]
    return fsum(amounts)

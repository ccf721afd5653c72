from __future__ import annotations

import re
from collections.abc import Iterator
from math import fsum
from pathlib import Path

import pytest

from spancost.cli._format import usd
from spancost.cli.report.asking import ask
from spancost.cli.report.html.figures import IDLE, over_time, top_entrypoints, top_models
from spancost.cli.report.html.page import html_page
from spancost.cli.report.options import Asked, IdleMethod
from spancost.cli.report.period import Period
from spancost.sinks.ledger.reader import LedgerReader
from spancost.sinks.ledger.writer import Ledger
from spancost.window import IDLE as IDLE_POSITION
from spancost.window import EntryLabels, Origin
from tests.sinks.ledger_batches import (
    CART,
    CHAT,
    MACHINE,
    MACHINE_USD,
    MINUTE,
    PUT,
    PUT_USD,
    TOKEN_USD,
    at_minute,
    batch_of,
    charge,
    charged,
    served,
)
from tests.support.html_page import Page, assert_asks_nobody

_ODD = EntryLabels("/<script>alert('&')</script>", "GET")
_DAY = 1440


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LedgerReader]:
    path = tmp_path / "page.sqlite"
    days = [
        charged(charge(PUT, 10 * (n + 1), PUT_USD), EntryLabels(f"/r{n:02}", "GET"), minute=MINUTE - n * _DAY)
        for n in range(20)
    ]
    Ledger(path, Origin("shop"), now=at_minute).write(
        batch_of(
            *days,
            charged(charge(PUT, 3, PUT_USD), _ODD),
            charged(charge(CHAT, 4000, TOKEN_USD), CART),
            charged(charge(MACHINE, 60, MACHINE_USD), EntryLabels(), position=IDLE_POSITION),
            served(5, CART),
        )
    )
    with LedgerReader(path) as reader:
        yield reader


def page_of(reader: LedgerReader) -> str:
    return html_page(reader, ask(reader, Asked(("entrypoint",), (), Period())))


def test_the_page_asks_nobody_for_anything_and_may_not(reader: LedgerReader) -> None:
    text = page_of(reader)
    assert_asks_nobody(text)
    assert not re.search(r"https?://", text)


def test_a_route_is_text_and_never_markup(reader: LedgerReader) -> None:
    text = page_of(reader)
    assert "<script>alert" not in text
    assert "GET /<script>alert('&')</script>" in Page(text).cells


def test_plots_have_a_label_and_a_table_of_the_same_numbers(reader: LedgerReader) -> None:
    page = Page(page_of(reader))
    pictures = [found for tag, found in page.elements if tag == "svg" and found.get("role") == "img"]
    assert [found["aria-label"] for found in pictures] == [
        f"Cost by day and component, 2025-10-22 to 2025-11-10, "
        f"at most {usd(13 * PUT_USD + 4000 * TOKEN_USD + 60 * MACHINE_USD)}"
    ]
    hidden = [found for tag, found in page.elements if tag == "svg" and found.get("role") != "img"]
    assert {found.get("aria-hidden") for found in hidden} == {"true"}
    assert page.titles[0] == "What it cost: everything in the ledger"
    assert "2025-11-01" in page.cells
    assert dict(next(found for tag, found in page.elements if tag == "html"))["lang"] == "en"


@pytest.mark.parametrize("method", list(IdleMethod))
def test_each_plot_has_all_the_money(reader: LedgerReader, method: IdleMethod) -> None:
    asked = Asked(("entrypoint",), (), Period(), idle=method)
    whole = pytest.approx(ask(reader, asked).usd, rel=1e-9)
    plot = over_time(reader, asked)
    assert plot is not None
    assert (plot.key, len(plot.times)) == ("day", 20)
    assert fsum(plot.sum_at(index) for index in range(20)) == whole
    assert (IDLE in plot.usd) == (method is IdleMethod.SEPARATE)
    bars = top_entrypoints(reader, asked)
    assert fsum(bar.total_usd for bar in bars) == whole
    assert bars[12].name == "(10 more)"
    assert [(bar.name, bar.total_usd) for bar in top_models(reader, asked)] == [
        ("openai gpt-5-mini", pytest.approx(4000 * TOKEN_USD))
    ]


@pytest.mark.parametrize(
    ("minutes", "tz", "key", "first", "count"),
    [
        (50, "UTC", "minute", "2025-11-10T22:51Z", 50),
        (50, "Asia/Kathmandu", "minute", "2025-11-11T04:36+05:45", 50),
        (1000, "Europe/Berlin", "hour", "2025-11-10T08:00+01:00", 17),
        (20 * _DAY, "Europe/Berlin", "day", "2025-10-21", 22),
    ],
)
def test_times_without_data_have_their_place(
    tmp_path: Path, minutes: int, tz: str, key: str, first: str, count: int
) -> None:
    path = tmp_path / "gap.sqlite"
    begin = MINUTE - minutes + 1
    entries = [charged(charge(PUT, 1, PUT_USD), minute=minute) for minute in (begin, MINUTE)]
    Ledger(path, Origin("shop"), now=at_minute).write(batch_of(*entries))
    with LedgerReader(path) as reader:
        plot = over_time(reader, Asked((), (), Period(tz=tz)))
    assert plot is not None
    assert (plot.key, plot.times[0], len(plot.times)) == (key, first, count)
    assert plot.times == sorted(plot.times)
    assert fsum(plot.sum_at(index) for index in range(count)) == pytest.approx(2 * PUT_USD)

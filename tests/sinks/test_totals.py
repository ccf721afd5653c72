"""Running totals: bounded series that keep the sum, and start at zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost import attribute, names
from spancost.sinks.totals import Family, MetricTotals
from spancost.testing import SteppingClock, priced_provider
from spancost.window import IDLE, LATE_INNER, UNATTRIBUTED, Attribution, Batch
from tests.sinks.ledger_batches import (
    ACME,
    CART,
    MACHINE,
    MACHINE_USD,
    NO_USAGE,
    PUT,
    PUT_USD,
    batch_of,
    charge,
    charged,
    served,
)
from tests.spans import REGION, put_item


def _family(*labels: str, max_values: int = 3, max_series: int = 5) -> Family:
    return Family("f", "1", "test", labels, max_values=max_values, max_series=max_series)


def _values(family: Family) -> dict[tuple[str, ...], float]:
    return {reading.labels: reading.value for reading in family.readings(0.0, 0.0)}


def test_value_beyond_the_cap_of_its_label_goes_to_other_and_an_empty_value_takes_no_place() -> None:
    family = _family("tenant")
    for tenant in ("a", "", "b", "c", "d", "e", "d"):
        family.at((tenant,), 0.0).value += 1
    assert _values(family) == {("a",): 1, ("",): 1, ("b",): 1, ("c",): 1, ("other",): 3}
    assert family.folded == 3


def test_series_beyond_the_product_cap_fold_all_but_the_labels_with_few_values() -> None:
    family = _family("tenant", "component", max_values=100, max_series=2)
    for tenant in range(10):
        family.at((f"t{tenant}", "aws"), 0.0).value += 1
    assert _values(family) == {("t0", "aws"): 1, ("t1", "aws"): 1, ("other", "aws"): 8}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["aws", "llm"]), st.floats(0, 10)), max_size=200),
    st.integers(1, 10),
    st.integers(1, 10),
)
def test_sum_is_kept_and_series_are_bounded_whatever_the_caps(
    additions: list[tuple[int, str, float]], max_values: int, max_series: int
) -> None:
    family = _family("tenant", "component", max_values=max_values, max_series=max_series)
    for tenant, component, value in additions:
        family.at((f"t{tenant}", component), 0.0).value += value
    readings = _values(family)
    assert sum(readings.values()) == pytest.approx(sum(value for _, _, value in additions))
    assert len(readings) <= max_series + 2  # one `other` for each component
    for tenant, component, _ in additions:
        assert family.label_values((f"t{tenant}", component)) in readings


def test_new_series_reads_zero_until_its_hold_has_passed_and_an_old_one_goes_on() -> None:
    clock = SteppingClock()
    totals = MetricTotals(hold_s=60.0, monotonic=clock)
    totals.write(batch_of(charged(charge(PUT, 3, PUT_USD))), final=False)
    assert [reading.value for reading in totals.read(totals.cost)] == [0.0]
    clock.advance(59.9)
    assert [reading.value for reading in totals.read(totals.cost)] == [0.0]
    clock.advance(0.1)
    assert [reading.value for reading in totals.read(totals.cost)] == [pytest.approx(3 * PUT_USD)]
    totals.write(batch_of(charged(charge(PUT, 1, PUT_USD)), charged(charge(MACHINE, 1, MACHINE_USD))), final=False)
    values = {reading.labels[0]: reading.value for reading in totals.read(totals.cost)}
    assert values == {"aws": pytest.approx(4 * PUT_USD), "compute": 0.0}


def test_flush_shows_every_series_at_once_also_in_the_histogram() -> None:
    totals = MetricTotals(hold_s=60.0, monotonic=SteppingClock())
    totals.write(batch_of(charged(charge(PUT, 1, PUT_USD)), served(2, total_usd=0.5)), final=False)
    assert [sum(reading.buckets) for reading in totals.read(totals.request_cost)] == [0]
    assert [reading.value for reading in totals.read(totals.requests)] == [0]
    totals.write(Batch({}, {}, []), final=True)
    assert [reading.value for reading in totals.read(totals.cost)] == [PUT_USD]
    assert [reading.value for reading in totals.read(totals.request_cost)] == [0.5]
    assert [reading.value for reading in totals.read(totals.requests)] == [2]


def test_money_is_counted_where_its_position_says_and_unknown_money_nowhere() -> None:
    totals = MetricTotals(hold_s=0.0)
    totals.write(
        batch_of(
            charged(charge(PUT, 1, PUT_USD), attribution=ACME),
            charged(charge(PUT, 2, PUT_USD), position=LATE_INNER),
            charged(charge(PUT, 4, PUT_USD), position=UNATTRIBUTED),
            charged(charge(MACHINE, 7, MACHINE_USD), position=IDLE),
            charged(charge(NO_USAGE, 0)),
        ),
        final=False,
    )

    def total(family: Family) -> float:
        return sum(reading.value for reading in totals.read(family))

    assert total(totals.cost) == total(totals.attributed) == pytest.approx(7 * PUT_USD)
    assert total(totals.late) == pytest.approx(2 * PUT_USD)
    assert total(totals.unattributed) == pytest.approx(4 * PUT_USD)
    assert total(totals.idle) == pytest.approx(7 * MACHINE_USD)
    assert [reading.labels for reading in totals.read(totals.unpriced)] == [("no_usage", "llm", "openai", "chat")]
    labels = {reading.labels for reading in totals.read(totals.cost)}
    assert ("aws", "aws", "dynamodb.PutItem", "", *CART) in labels


def test_label_that_is_not_kept_is_empty_on_every_series() -> None:
    totals = MetricTotals(hold_s=0.0, kept=("feature",))
    totals.write(batch_of(charged(charge(PUT, 1, PUT_USD), attribution=Attribution("f", "t", "m"))), final=False)
    assert [reading.labels for reading in totals.read(totals.attributed)] == [("f", "", "", "aws")]


def test_five_thousand_tenants_are_capped_with_other_and_the_sum_is_kept() -> None:
    with priced_provider(region=REGION) as world:
        for tenant in range(5000):
            with attribute(tenant=f"t{tenant}"), world.tracer.start_as_current_span("put", attributes=put_item()):
                pass
        world.publish()
        readings = {reading.labels[1]: reading.value for reading in world.totals.read(world.totals.attributed)}
        assert len(readings) == 1001
        assert readings["t0"] == pytest.approx(0.625e-6)
        assert readings[names.OTHER] == pytest.approx(4000 * 0.625e-6, rel=1e-9)
        assert sum(readings.values()) == pytest.approx(5000 * 0.625e-6, rel=1e-9)
        assert world.totals.folded()[names.METRIC_ATTRIBUTED] == 4000

"""A container's part of a machine: containers that fit never bear more than the machine costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.prices.book import PriceBook
from spancost.prices.compute import compute_rate
from spancost.prices.container_share import container_rate, reserved_share

sizes = st.floats(0.0, 1.0)
machines = st.tuples(st.floats(0.25, 512.0), st.floats(0.5, 4096.0))


@given(machines, st.lists(st.tuples(sizes, sizes), min_size=1, max_size=60))
def test_reservations_that_fit_never_bear_more_than_the_machine(
    machine: tuple[float, float], weights: list[tuple[float, float]]
) -> None:
    cpu, memory = machine
    most = max(1.0, sum(one for one, _ in weights)), max(1.0, sum(one for _, one in weights))
    shares = [reserved_share(a / most[0] * cpu, b / most[1] * memory, cpu, memory) for a, b in weights]
    assert sum(share for share in shares if share is not None) <= 1.0 + 1e-9


@given(machines, sizes, sizes)
def test_share_is_between_nothing_and_everything(machine: tuple[float, float], cpu: float, memory: float) -> None:
    share = reserved_share(cpu * machine[0], memory * machine[1], *machine)
    assert share is None or 0.0 <= share <= 1.0


@given(machines, st.floats(0.001, 1.0), st.floats(0.001, 1.0), st.floats(1.0, 2.0))
def test_who_reserves_more_bears_more(machine: tuple[float, float], cpu: float, memory: float, more: float) -> None:
    less = reserved_share(cpu * machine[0], memory * machine[1], *machine)
    many = reserved_share(more * cpu * machine[0], memory * machine[1], *machine)
    assert less is not None
    assert many is not None
    assert many >= less - 1e-12


def test_whole_machine_is_the_whole_price_and_half_of_both_is_half() -> None:
    assert reserved_share(2, 8, 2, 8) == pytest.approx(1.0)
    assert reserved_share(1, 4, 2, 8) == pytest.approx(0.5)
    assert reserved_share(200, 800, 2, 8) == pytest.approx(1.0)


def test_vcpus_and_memory_weigh_as_published() -> None:
    cpu, memory = 2 * 0.031611, 8 * 0.004237
    assert reserved_share(1, None, 2, 8) == pytest.approx(0.5 * cpu / (cpu + memory))
    assert reserved_share(None, 2, 2, 8) == pytest.approx(0.25 * memory / (cpu + memory))


@pytest.mark.parametrize(("cpu", "memory"), [(None, None), (0.0, None), (0.0, 0.0)])
def test_nothing_reserved_is_no_share(cpu: float | None, memory: float | None) -> None:
    assert reserved_share(cpu, memory, 2, 8) is None


@pytest.mark.parametrize(
    ("given_sizes", "basis"),
    [
        ((0.5, 2.0, None, None), ""),
        ((0.5, None, None, 2.0), "container_limit"),
        ((None, None, 0.5, 2.0), "container_limit"),
        ((0.5, None, None, None), "no_memory_request"),
        ((None, None, None, 2.0), "container_limit,no_cpu_request"),
    ],
)
def test_basis_says_what_the_share_was_made_of(given_sizes: tuple[float | None, ...], basis: str) -> None:
    machine = compute_rate("aws:m6i.large", "us-east-1", PriceBook.shipped())
    cpu, memory, cpu_limit, memory_limit = given_sizes
    part = container_rate(
        machine, cpu_request=cpu, memory_request_gib=memory, cpu_limit=cpu_limit, memory_limit_gib=memory_limit
    )
    assert part is not None
    assert part.basis == basis
    assert 0 < part.usd_per_second < machine.usd_per_second
    assert part.list_usd_per_second == pytest.approx(part.usd_per_second)
    assert float(part.usd_per_hour) == pytest.approx(part.usd_per_second * 3600)

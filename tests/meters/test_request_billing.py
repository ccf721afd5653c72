"""Platforms that bill requests: rounding on both sides of a step, fees, the start, and idle time that is free."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.charge import SERVER
from spancost.meters.request_billing import RequestClock
from spancost.prices.book import PriceBook
from spancost.prices.compute import compute_rate
from spancost.testing import World, priced_provider
from spancost.tree import Node, Root, Tree
from spancost.window import IDLE
from tests.spans import start

LAMBDA_512_USD_PER_S = 0.5 * 0.0000166667
CLOUD_RUN_USD_PER_S = 0.0000240 + 0.5 * 0.0000025
LAMBDA_FEE, CLOUD_RUN_FEE = 0.2e-6, 0.4e-6
LAMBDA: dict[str, Any] = {"compute": "lambda:512mb", "region": "us-east-1"}
CLOUD_RUN: dict[str, Any] = {"compute": "cloudrun:1vcpu-512mb", "region": "us-central1"}


@pytest.fixture(autouse=True)
def warm_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "provisioned-concurrency")


def invoke(world: World, seconds: float, kind: SpanKind = SpanKind.SERVER) -> float:
    """Run one invocation and return what its local root says it has cost."""
    root = start(world.tracer, "handler", None, kind)
    world.clock.advance(seconds)
    root.end()
    return float(world.attributes("handler")[names.TOTAL_USD])


@pytest.mark.parametrize(
    ("seconds", "billed_ms"), [(0.001, 1), (0.0010001, 2), (0.0123, 13), (0.013, 13), (2.0, 2000), (2.0000004, 2001)]
)
def test_lambda_bills_whole_milliseconds(seconds: float, billed_ms: int) -> None:
    with priced_provider(**LAMBDA) as world:
        assert invoke(world, seconds) == pytest.approx(billed_ms / 1000 * LAMBDA_512_USD_PER_S + LAMBDA_FEE, rel=1e-9)


@pytest.mark.parametrize(
    ("seconds", "billed_s"), [(0.0001, 0.1), (0.1, 0.1), (0.10001, 0.2), (0.25, 0.3), (0.3, 0.3), (7.0, 7.0)]
)
def test_cloud_run_bills_tenths_of_a_second(seconds: float, billed_s: float) -> None:
    with priced_provider(**CLOUD_RUN) as world:
        assert invoke(world, seconds) == pytest.approx(billed_s * CLOUD_RUN_USD_PER_S + CLOUD_RUN_FEE, rel=1e-9)


def test_each_invocation_is_rounded_by_itself_and_the_time_between_is_free() -> None:
    with priced_provider(**LAMBDA) as world:
        for _ in range(10):
            assert invoke(world, 0.0015) == pytest.approx(0.002 * LAMBDA_512_USD_PER_S + LAMBDA_FEE, rel=1e-9)
            world.clock.advance(60.0)
        world.publish()
        idle = [sums for key, sums in world.recorded.charges.items() if key.position == IDLE]
        assert sum(sums.quantity for sums in idle) == pytest.approx(10 * 60.0)
        assert sum(sums.usd for sums in idle) == 0.0
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(
            10 * (0.002 * LAMBDA_512_USD_PER_S + LAMBDA_FEE), rel=1e-9
        )


def test_requests_at_the_same_time_share_one_billed_period() -> None:
    with priced_provider(**CLOUD_RUN) as world:
        first = start(world.tracer, "first", None, SpanKind.SERVER)
        world.clock.advance(0.1)
        second = start(world.tracer, "second", None, SpanKind.SERVER)
        world.clock.advance(0.1)
        first.end()
        world.clock.advance(0.05)
        second.end()
        world.publish()
        one = float(world.attributes("first")[names.TOTAL_USD])
        two = float(world.attributes("second")[names.TOTAL_USD])
        assert one == pytest.approx(0.15 * CLOUD_RUN_USD_PER_S + CLOUD_RUN_FEE, rel=1e-9)
        assert two == pytest.approx((0.05 + 0.05 + 0.05) * CLOUD_RUN_USD_PER_S + CLOUD_RUN_FEE, rel=1e-9)
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(one + two, rel=1e-9)


def test_quiet_request_is_billed_as_long_as_it_is_open() -> None:
    with priced_provider(**CLOUD_RUN) as world:
        assert invoke(world, 300.0) == pytest.approx(300 * CLOUD_RUN_USD_PER_S + CLOUD_RUN_FEE, rel=1e-9)


def test_fee_is_for_what_is_served() -> None:
    with priced_provider(**LAMBDA) as world:
        assert invoke(world, 0.001, SpanKind.CONSUMER) == pytest.approx(0.001 * LAMBDA_512_USD_PER_S + LAMBDA_FEE)
        assert invoke(world, 0.001, SpanKind.INTERNAL) == pytest.approx(0.001 * LAMBDA_512_USD_PER_S)


def test_inner_spans_share_the_invocation_and_the_root_has_the_rounding_and_the_fee() -> None:
    with priced_provider(**LAMBDA) as world:
        root = start(world.tracer, "handler", None, SpanKind.SERVER)
        inner = start(world.tracer, "inner", root)
        world.clock.advance(0.0025)
        inner.end()
        root.end()
        world.publish()
        assert world.attributes("inner")[names.DIRECT_USD] == pytest.approx(0.0025 * LAMBDA_512_USD_PER_S, rel=1e-9)
        assert world.attributes("handler")[names.DIRECT_USD] == pytest.approx(
            0.0005 * LAMBDA_512_USD_PER_S + LAMBDA_FEE, rel=1e-6
        )
        total = 0.003 * LAMBDA_512_USD_PER_S + LAMBDA_FEE
        assert world.attributes("handler")[names.TOTAL_USD] == pytest.approx(total, rel=1e-9)
        assert world.attributes("handler")[names.COMPONENT_USD[names.COMPUTE]] == pytest.approx(total, rel=1e-9)
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(total, rel=1e-9)


def test_time_of_a_span_is_an_estimate_of_what_is_billed_and_the_fee_is_none() -> None:
    with priced_provider(**LAMBDA) as world:
        invoke(world, 0.001)
        world.publish()
        lines = {key.line.operation: key.line for key in world.recorded.charges}
        assert (lines["instance"].status, lines["instance"].basis) == (names.ESTIMATED, "span_time")
        assert (lines["request"].status, lines["request"].unit) == (names.PRICED, "request")


def test_start_of_the_process_is_billed_with_the_first_invocation_alone() -> None:
    rate = compute_rate("lambda:512mb", "us-east-1", PriceBook.shipped())
    assert rate.billing is not None
    clock = RequestClock(rate, rate.billing, init_s=0.7502)
    tree = Tree(0.0)
    now, billed = 0.0, list[float]()
    for _ in range(2):
        root, node = Root(), Node()
        tree.start_root(root, node, now)
        now += 0.0105
        seconds, charges = clock.settle(tree, SERVER, tree.end(node, now), ())
        billed.append(seconds)
        assert len(charges) == 1
    assert billed == [pytest.approx(0.761), pytest.approx(0.011)]


def test_forked_child_bills_its_own_periods_and_no_start() -> None:
    rate = compute_rate("lambda:512mb", "us-east-1", PriceBook.shipped())
    assert rate.billing is not None
    clock = RequestClock(rate, rate.billing, init_s=1.0)
    billed: list[float] = []
    for tree in (Tree(0.0), Tree(0.0)):
        root, node = Root(), Node()
        tree.start_root(root, node, 0.0)
        billed.append(clock.settle(tree, SERVER, tree.end(node, 0.005), ())[0])
    assert billed == [pytest.approx(1.005), pytest.approx(0.005)]


def test_app_runner_pays_for_memory_while_no_request_is_open() -> None:
    with priced_provider(compute="apprunner:1vcpu-2gb", region="us-east-1") as world:
        root = start(world.tracer, "handler", None, SpanKind.SERVER)
        world.clock.advance(10.0)
        root.end()
        world.clock.advance(90.0)
        world.publish()
        assert world.recorded.usd(names.COMPUTE) == pytest.approx(10 * 0.078 / 3600, rel=1e-9)
        assert world.recorded.usd(names.COMPUTE, IDLE) == pytest.approx(90 * 0.014 / 3600, rel=1e-9)

"""Platforms without machines: what a size of them costs while it works and while it does not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from spancost.prices.book import PriceBook
from spancost.prices.compute import ComputeRate, ComputeSpecError, compute_rate


def _rate(spec: str, region: str = "") -> ComputeRate:
    return compute_rate(spec, region, PriceBook.shipped())


@pytest.mark.parametrize(
    ("spec", "region", "per_hour", "idle_per_hour"),
    [
        ("fargate:1vcpu-2gb", "us-east-1", "0.04937", "0.04937"),
        ("fargate-arm:0.5vcpu-512mb", "us-east-1", "0.01797", "0.01797"),
        ("apprunner:1vcpu-2gb", "us-east-1", "0.078", "0.014"),
        ("lambda:1024mb", "us-east-1", "0.06000012", "0"),
        ("lambda:1gb", "us-east-1", "0.06000012", "0"),
        ("lambda-arm:512mb", "us-east-1", "0.02400012", "0"),
        ("cloudrun:1vcpu-512mb", "us-central1", "0.0909", "0"),
        ("cloudrun:1vcpu-512mib", "europe-west1", "0.0909", "0"),
        ("cloudrun:1vcpu-512mb", "us-west2", "0.12726", "0"),
        ("cloudrun-instance:1vcpu-512mb", "us-central1", "0.0684", "0.0684"),
        ("containerapps:0.5vcpu-1gb", "eastus", "0.054", "0.0162"),
        ("appservice:P1v3", "eastus", "0.155", "0.155"),
        ("appservice:p1v3.linux", "eastus", "0.155", "0.155"),
        ("appservice:P1v3.windows", "eastus", "0.315", "0.315"),
    ],
)
def test_size_costs_its_parts(spec: str, region: str, per_hour: str, idle_per_hour: str) -> None:
    rate = _rate(spec, region)
    assert rate.usd_per_hour == rate.list_usd_per_hour == Decimal(per_hour)
    assert rate.idle_usd_per_second == pytest.approx(float(idle_per_hour) / 3600, abs=1e-18)
    assert (rate.basis, rate.region, rate.is_machine) == ("", region, False)


def test_lambda_bills_milliseconds_requests_and_the_start_of_the_process() -> None:
    billing = _rate("lambda:512mb", "us-east-1").billing
    assert billing is not None
    assert (billing.step_s, billing.fee_usd, billing.bills_init) == (0.001, 0.2e-6, True)


def test_cloud_run_bills_tenths_of_a_second_and_requests() -> None:
    billing = _rate("cloudrun:1vcpu-512mb", "us-central1").billing
    assert billing is not None
    assert (billing.step_s, billing.fee_usd, billing.bills_init) == (0.1, 0.4e-6, False)


@pytest.mark.parametrize("spec", ["fargate:1vcpu-2gb", "apprunner:1vcpu-2gb", "cloudrun-instance:1vcpu-1gb"])
def test_what_is_up_all_the_time_bills_no_requests(spec: str) -> None:
    assert _rate(spec).billing is None


def test_region_without_a_price_falls_back_marked() -> None:
    assert _rate("lambda:512mb", "sa-east-1").basis == "region_fallback"
    assert _rate("cloudrun-instance:1vcpu-1gb", "us-west2").basis == "region_fallback"
    assert _rate("appservice:B1", "westeurope").basis == "region_fallback"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lambda:", "is not understood"),
        ("lambda:fast", "write the function's memory as lambda:512mb"),
        ("lambda:0mb", "write the function's memory as lambda:512mb"),
        ("lambda:99999999mb", "write the function's memory"),
        ("cloudrun:512mb", "write vCPUs and memory as cloudrun:1vcpu-2gb"),
        ("apprunner:0vcpu-2gb", "write vCPUs and memory as apprunner:1vcpu-2gb"),
        ("appservice:P9v9", "no price for plan 'P9v9'"),
        ("functions:512mb", "'functions'"),
        ("aws:m6i.large@", "write a machine and what you pay as aws:m6i.large@0.05usd/h"),
        ("aws:m6i.large@cheap", "write a machine and what you pay"),
        ("0.1usd/h@0.05usd/h", "write a machine and what you pay"),
        ("aws:m6i.large@-1usd/h", "a price cannot be negative"),
        ("lambda:512mb@0.05usd/h", "billed by request"),
    ],
)
def test_wrong_size_says_what_is_accepted(spec: str, message: str) -> None:
    with pytest.raises(ComputeSpecError) as error:
        _rate(spec)
    assert message in str(error.value)


def test_negotiated_price_changes_what_you_pay_and_not_the_list_price() -> None:
    rate = _rate("aws:m6i.large@0.05usd/h", "us-east-1")
    assert (rate.usd_per_hour, rate.list_usd_per_hour) == (Decimal("0.05"), Decimal("0.096"))
    assert rate.usd_per_second * 3600 == pytest.approx(0.05)
    assert rate.idle_usd_per_second == rate.usd_per_second
    assert rate.list_usd_per_second * 3600 == pytest.approx(0.096)
    assert (rate.source, rate.sku, rate.is_machine) == ("configured", "m6i.large", True)

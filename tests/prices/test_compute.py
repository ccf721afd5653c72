"""From a specification to dollars per second."""

from __future__ import annotations

from decimal import Decimal

import pytest

from spancost.prices.book import PriceBook, PriceOverride
from spancost.prices.compute import ComputeRate, ComputeSpecError, compute_rate


def _rate(spec: str, region: str | None = None) -> ComputeRate:
    return compute_rate(spec, region, PriceBook.shipped())


def test_m6i_large_costs_its_hourly_price_over_3600_s() -> None:
    rate = _rate("aws:m6i.large", "us-east-1")
    assert rate.usd_per_hour == Decimal("0.096")
    assert rate.usd_per_second == pytest.approx(0.096 / 3600, rel=1e-15)
    assert (rate.vcpu, rate.memory_gib, rate.region, rate.provider, rate.basis) == (2, 8, "us-east-1", "aws", "")


def test_region_has_its_own_price() -> None:
    assert _rate("aws:m6i.large", "eu-west-1").usd_per_hour == Decimal("0.107")


def test_missing_region_falls_back_marked() -> None:
    rate = _rate("aws:m6i.large")
    assert (rate.region, rate.region_fallback, rate.basis) == ("us-east-1", True, "region_fallback")


@pytest.mark.parametrize("spec", ["azure:D2s_v5", "azure:Standard_D2s_v5", "azure:d2s_v5"])
def test_azure_sizes_are_known_with_and_without_standard(spec: str) -> None:
    assert _rate(spec, "eastus").usd_per_hour == Decimal("0.096")


def test_gcp_machine_is_known() -> None:
    assert _rate("gcp:e2-standard-2", "us-central1").usd_per_hour == Decimal("0.06701")


def test_fargate_is_vcpus_plus_memory() -> None:
    rate = _rate("fargate:1vcpu-2gb", "us-east-1")
    assert rate.usd_per_hour == Decimal("0.04048") + 2 * Decimal("0.004445")
    assert (rate.vcpu, rate.memory_gib) == (1, 2)


def test_fargate_on_arm_has_its_own_rates() -> None:
    rate = _rate("fargate-arm:0.25vcpu-0.5gb", "us-east-1")
    assert rate.usd_per_hour == Decimal("0.03238") / 4 + Decimal("0.00356") / 2


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("aws:m6i.8xlarge", 16 * Decimal("0.096")),
        ("aws:m6i.12xlarge", 24 * Decimal("0.096")),
        ("aws:c7g.medium", Decimal("0.0725") / 2),
        ("aws:t4g.small", Decimal("0.0336") / 2),
        ("gcp:e2-standard-32", 2 * Decimal("0.53609")),
        ("azure:D32s_v5", 2 * Decimal("0.768")),
    ],
)
def test_missing_size_follows_from_another_by_ratio(spec: str, expected: Decimal) -> None:
    rate = _rate(spec, {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}[spec.split(":", maxsplit=1)[0]])
    assert rate.usd_per_hour == expected
    assert rate.basis == "size_ratio"


@pytest.mark.parametrize(
    ("spec", "per_hour"),
    [
        ("0.096usd/h", "0.096"),
        ("0.096 USD / hour", "0.096"),
        ("0.096 USD per hour", "0.096"),
        ("0.001usd/s", "3.6"),
        ("0.0016usd/min", "0.096"),
        ("2.304usd/day", "0.096"),
        ("70.08usd/month", "0.096"),
        ("0usd/h", "0"),
    ],
)
def test_plain_price_is_taken_as_it_is(spec: str, per_hour: str) -> None:
    rate = _rate(spec)
    assert rate.usd_per_hour == Decimal(per_hour)
    assert (rate.provider, rate.source, rate.vcpu) == ("custom", "configured", None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "is not understood: use aws:m6i.large"),
        ("aws", "is not understood: use aws:m6i.large"),
        ("aws:m6i.larg", "did you mean 'm6i.large'"),
        ("aws:m6i.metal", "no price for 'm6i.metal'"),
        ("aws:z9.large", "no price for 'z9.large'"),
        ("azure:D2s_v9", "did you mean 'D2s_v5'"),
        ("azure:B16ms", "no price for"),
        ("gcp:e2-standard-0", "no price for"),
        ("oci:x", "one of apprunner, appservice, aws, azure, cloudrun"),
        ("fargate:1-2", "write vCPUs and memory as fargate:1vcpu-2gb"),
        ("fargate:0vcpu-2gb", "write vCPUs and memory as fargate:1vcpu-2gb"),
        ("-1usd/h", "a price cannot be negative"),
        ("0.096eur/h", "currency 'eur' is not accepted"),
        ("0.096usd/week", "unit 'week'"),
        ("1.2.3usd/h", "'1.2.3' is not a number"),
        ("1e999usd/h", "is not a number"),
    ],
)
def test_wrong_specification_says_what_is_accepted(spec: str, message: str) -> None:
    with pytest.raises(ComputeSpecError) as error:
        _rate(spec)
    assert message in str(error.value)
    assert isinstance(error.value, ValueError)


def test_override_changes_the_effective_rate_only() -> None:
    override = PriceOverride("aws.ec2.m6i.large", Decimal("0.03"), "hour", place="spancost.yaml")
    rate = compute_rate("aws:m6i.large", "us-east-1", PriceBook.shipped().with_overrides([override]))
    assert (rate.usd_per_hour, rate.list_usd_per_hour) == (Decimal("0.03"), Decimal("0.096"))
    assert rate.source == "override:spancost.yaml"

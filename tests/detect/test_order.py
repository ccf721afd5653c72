"""Which source wins, what each platform says, and what a container bears."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spancost.config import Config
from spancost.detect import SHARE_UNKNOWN, Found, Limits, Surroundings, is_enough, look, look_closer, priced
from spancost.detect.metadata import Services
from spancost.prices.book import PriceBook
from spancost.prices.container_share import reserved_share
from tests.support.metadata_servers import Service, azure, closed_port, cloud_run, ec2, ecs, gce, serve

BOOK = PriceBook.shipped()
M6I_LARGE = 0.096
M6I_LARGE_EU = 0.107
KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@contextmanager
def surroundings(
    environ: dict[str, str] | None = None, root: Path | None = None, **services: Service
) -> Generator[Surroundings]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        urls = {name: stack.enter_context(serve(service)).url for name, service in services.items()}
        nobody = closed_port()
        task = urls["ecs"] + "/v4/abc" if "ecs" in urls else ""
        found = Services(urls.get("ec2", nobody), urls.get("gce", nobody), urls.get("azure", nobody), task)
        nowhere = Path("/nowhere") if root is None else root
        yield Surroundings({**(environ or {})} | ({"ECS_CONTAINER_METADATA_URI_V4": task} if task else {}), found,
                           nowhere, nowhere)  # fmt: skip


def found_by(config: Config, resource: dict[str, Any], around: Surroundings) -> Found:
    """Look as an engine does: closer only where that can tell more."""
    machine, limits = look(config, resource, around), Limits()
    if not is_enough(config, machine):
        machine, limits = look_closer(config, machine, around, resource)
    return priced(config, BOOK, machine, limits)


def per_hour(found: Found) -> float:
    assert found.rate is not None, found
    return found.rate.usd_per_second * 3600


def test_setting_wins_over_resource_environment_and_metadata() -> None:
    resource = {"cloud.provider": "aws", "host.type": "m5.4xlarge", "cloud.region": "us-east-1"}
    with surroundings({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}, ec2=ec2("c5.large")) as around:
        found = found_by(Config(compute="aws:m6i.large"), resource, around)
    assert (found.machine.found_by, per_hour(found)) == ("configuration", pytest.approx(M6I_LARGE))


def test_resource_wins_over_metadata() -> None:
    resource = {"cloud.provider": "aws", "cloud.platform": "aws_ec2", "host.type": "m6i.large",
                "cloud.region": "eu-west-1"}  # fmt: skip
    with surroundings(ec2=ec2("c5.large", "us-east-1")) as around:
        found = found_by(Config(), resource, around)
    assert (found.machine.found_by, per_hour(found)) == ("resource", pytest.approx(M6I_LARGE_EU))


def test_metadata_is_asked_where_nobody_else_says_anything() -> None:
    with surroundings(ec2=ec2("m6i.large", "eu-west-1")) as around:
        found = found_by(Config(), {}, around)
    assert (found.machine.found_by, per_hour(found)) == ("ec2_metadata", pytest.approx(M6I_LARGE_EU))
    with surroundings(gce=gce("e2-standard-2", "us-central1-f")) as around:
        assert per_hour(found_by(Config(), {}, around)) == pytest.approx(0.06701)
    with surroundings(azure=azure("Standard_D2s_v5", "eastus")) as around:
        assert per_hour(found_by(Config(), {}, around)) == pytest.approx(0.096)


def test_detection_that_is_off_asks_nobody() -> None:
    with serve(ec2()) as server:
        around = Surroundings({}, Services(server.url, server.url, server.url), Path("/nowhere"), Path("/nowhere"))
        found = found_by(Config(detect=False), {}, around)
        assert (found.rate, found.reason) == (None, "compute_rate_unknown")
        assert server.asked == []


def test_region_that_the_resource_lacks_comes_from_the_service_and_else_falls_back_marked() -> None:
    resource = {"cloud.provider": "aws", "host.type": "m6i.large"}
    with surroundings(ec2=ec2("c5.large", "eu-west-1")) as around:
        found = found_by(Config(), resource, around)
    assert (found.machine.spec, per_hour(found)) == ("aws:m6i.large", pytest.approx(M6I_LARGE_EU))
    with surroundings() as around:
        found = found_by(Config(), resource, around)
    assert found.rate is not None
    assert (found.rate.basis, per_hour(found)) == ("region_fallback", pytest.approx(M6I_LARGE))


def test_region_without_a_price_falls_back_marked() -> None:
    with surroundings(ec2=ec2("m6i.large", "ap-south-1")) as around:
        found = found_by(Config(), {}, around)
    assert found.rate is not None
    assert (found.rate.basis, found.rate.region) == ("region_fallback", "ap-south-1")


def test_spot_machine_costs_on_demand_estimated_unless_you_say_what_you_pay() -> None:
    with surroundings(ec2=ec2("m6i.large", "us-east-1", "spot")) as around:
        found = found_by(Config(), {}, around)
        assert found.rate is not None
        assert (found.rate.basis, per_hour(found)) == ("spot_at_on_demand", pytest.approx(M6I_LARGE))
        found = found_by(Config(compute="aws:m6i.large@0.03usd/h", region="us-east-1"), {}, around)
        assert found.rate is not None
        assert (found.rate.basis, per_hour(found)) == ("", pytest.approx(0.03))
        assert found.rate.list_usd_per_second * 3600 == pytest.approx(M6I_LARGE)


# --- platforms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "kind"), [("amd64", "lambda"), ("arm64", "lambda-arm")])
def test_lambda_is_known_from_its_variables_before_anybody_is_asked(arch: str, kind: str) -> None:
    environ = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_REGION": "eu-central-1"}
    with surroundings(environ) as around:
        machine = look(Config(), {"host.arch": arch}, around)
    assert (machine.spec, machine.region, machine.found_by) == (f"{kind}:1769mb", "eu-central-1", "environment")
    assert is_enough(Config(), machine)


def test_lambda_is_known_from_its_resource() -> None:
    resource = {"cloud.platform": "aws_lambda", "cloud.region": "us-east-1", "faas.max_memory": 512 * 2**20,
                "host.arch": "amd64"}  # fmt: skip
    with surroundings() as around:
        assert look(Config(), resource, around).spec == "lambda:512mb"


def test_cloud_run_takes_its_size_from_limits_and_its_region_from_the_service(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    (tmp_path / "memory.max").write_text(str(512 * 2**20))
    with surroundings({"K_SERVICE": "shop"}, tmp_path, gce=cloud_run("europe-west1")) as around:
        found = found_by(Config(), {}, around)
    assert found.machine.spec == "cloudrun:1vcpu-0.5gb"
    assert per_hour(found) == pytest.approx(0.0864 + 0.5 * 0.009)
    assert found.rate is not None
    assert found.rate.basis == "seen_size"


def test_container_app_and_app_runner_take_the_size_that_is_configured() -> None:
    config = Config(cpu_request=0.5, memory_request_gib=1.0)
    with surroundings({"CONTAINER_APP_NAME": "shop"}) as around:
        found = found_by(config, {"cloud.region": "eastus"}, around)
        assert per_hour(found) == pytest.approx(0.5 * 0.0864 + 0.0108)
        found = found_by(config, {"cloud.platform": "aws_app_runner", "cloud.region": "us-east-1"}, around)
    assert per_hour(found) == pytest.approx(0.5 * 0.064 + 0.007)


def test_app_service_plan_follows_from_its_tier_and_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    environ = {"WEBSITE_SITE_NAME": "shop", "WEBSITE_SKU": "PremiumV3", "REGION_NAME": "East US"}
    with surroundings(environ) as around:
        found = found_by(Config(), {}, around)
    assert found.rate is not None
    assert (found.rate.sku, found.rate.region, found.rate.basis) == ("appservice:P1v3", "eastus", "plan_by_cores")


def test_fargate_task_is_known_from_its_metadata() -> None:
    task = {"LaunchType": "FARGATE", "Limits": {"CPU": 1, "Memory": 2048}, "Containers": [{"Type": "NORMAL"}],
            "TaskARN": "arn:aws:ecs:us-east-1:1:task/x/y"}  # fmt: skip
    with surroundings(ecs=ecs(task, {})) as around:
        found = found_by(Config(), {"cloud.platform": "aws_ecs", "host.arch": "amd64"}, around)
    assert per_hour(found) == pytest.approx(0.04048 + 2 * 0.004445)


def test_containers_of_a_fargate_task_never_bear_more_than_the_task() -> None:
    three = [{"Type": "NORMAL"}] * 3
    task = {"LaunchType": "FARGATE", "Limits": {"CPU": 1, "Memory": 2048}, "Containers": three,
            "TaskARN": "arn:aws:ecs:us-east-1:1:task/x/y"}  # fmt: skip
    with surroundings(ecs=ecs(task, {"Limits": {"CPU": 0, "Memory": 0}})) as around:
        found = found_by(Config(), {"host.arch": "amd64"}, around)
    assert per_hour(found) * 3 == pytest.approx(0.04048 + 2 * 0.004445)
    assert found.rate is not None
    assert found.rate.basis == "even_container_split"


# --- containers on a machine ----------------------------------------------------------------------


def test_thirty_containers_on_one_node_cost_no_more_than_the_node() -> None:
    requests = [(0.05 + 0.005 * (number % 7), 0.15 + 0.04 * (number % 5)) for number in range(30)]
    assert sum(cpu for cpu, _ in requests) <= 2
    assert sum(memory for _, memory in requests) <= 8
    total = 0.0
    with surroundings(KUBERNETES, ec2=ec2("m6i.large", "us-east-1")) as around:
        for cpu, memory_gib in requests:
            found = found_by(Config(cpu_request=cpu, memory_request_gib=memory_gib), {}, around)
            assert found.rate is not None
            assert found.rate.basis == ""
            total += per_hour(found)
    assert 0.5 * M6I_LARGE < total <= M6I_LARGE


@pytest.mark.parametrize(
    "resource",
    [
        {"cloud.platform": "aws_eks"},
        {"cloud.platform": "aws_ec2", "k8s.pod.name": "shop-1"},
        {"k8s.pod.uid": "1-2-3"},
    ],
)
def test_pod_never_costs_the_whole_node(resource: dict[str, Any]) -> None:
    node = {"cloud.provider": "aws", "host.type": "m6i.large", "cloud.region": "us-east-1"}
    with surroundings() as around:
        found = found_by(Config(), resource | node, around)
        assert (found.rate, found.reason) == (None, SHARE_UNKNOWN)
        found = found_by(Config(compute="aws:m6i.large"), resource, around)
        assert (found.rate, found.reason) == (None, SHARE_UNKNOWN)
        found = found_by(Config(cpu_request=0.5, memory_request_gib=2.0), resource | node, around)
        share = reserved_share(0.5, 2.0, 2, 8)
        assert share is not None
        assert per_hour(found) == pytest.approx(M6I_LARGE * share)


def test_limits_stand_for_requests_that_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000")
    (tmp_path / "memory.max").write_text(str(2 * 2**30))
    with surroundings(KUBERNETES, tmp_path, ec2=ec2("m6i.large", "us-east-1")) as around:
        found = found_by(Config(), {}, around)
    assert found.rate is not None
    assert (found.rate.basis, per_hour(found)) == ("container_limit", pytest.approx(M6I_LARGE / 4))


def test_own_price_and_own_share_are_not_divided_once_more() -> None:
    with surroundings(KUBERNETES) as around:
        assert per_hour(found_by(Config(compute="0.02usd/h"), {}, around)) == pytest.approx(0.02)
        shared = Config(compute="aws:m6i.large", compute_share=0.25)
        assert per_hour(found_by(shared, {}, around)) == pytest.approx(M6I_LARGE)


def test_docker_on_a_machine_that_was_detected_bears_its_limits(tmp_path: Path) -> None:
    (tmp_path / ".dockerenv").touch()
    with surroundings(None, tmp_path, ec2=ec2("m6i.large", "us-east-1")) as around:
        assert found_by(Config(), {}, around).reason == SHARE_UNKNOWN
        (tmp_path / "cpu.max").write_text("100000 100000")
        (tmp_path / "memory.max").write_text(str(4 * 2**30))
        assert per_hour(found_by(Config(), {}, around)) == pytest.approx(M6I_LARGE / 2)


def test_container_whose_machine_the_resource_names_bears_its_part_too(tmp_path: Path) -> None:
    resource = {"cloud.provider": "aws", "host.type": "m6i.large", "cloud.region": "us-east-1", "container.id": "abc"}
    with surroundings(None, tmp_path) as around:
        assert found_by(Config(), resource, around).reason == SHARE_UNKNOWN
        (tmp_path / "cpu.max").write_text("100000 100000")
        (tmp_path / "memory.max").write_text(str(4 * 2**30))
        assert per_hour(found_by(Config(), resource, around)) == pytest.approx(M6I_LARGE / 2)
        assert per_hour(found_by(Config(compute_share=1.0), resource, around)) == pytest.approx(M6I_LARGE)
        assert per_hour(found_by(Config(compute="aws:m6i.large"), resource, around)) == pytest.approx(M6I_LARGE)


def test_container_of_a_platform_without_machines_is_its_size() -> None:
    resource = {"cloud.platform": "gcp_cloud_run", "cloud.region": "us-central1", "container.id": "abc"}
    with surroundings() as around:
        found = found_by(Config(cpu_request=1.0, memory_request_gib=0.5), resource, around)
    assert (found.machine.spec, found.machine.is_shared) == ("cloudrun:1vcpu-0.5gb", False)


@pytest.mark.parametrize(("system", "basis"), [("windows", "linux_price"), ("linux", ""), ("WINDOWS?", "")])
def test_machine_with_windows_at_the_price_of_linux_is_an_estimate(system: str, basis: str) -> None:
    resource = {"os.type": system, "cloud.region": "us-east-1", "cloud.provider": "aws", "host.type": "m6i.large"}
    with surroundings() as around:
        for config in (Config(), Config(compute="aws:m6i.large")):
            rate = found_by(config, resource, around).rate
            assert rate is not None
            assert rate.basis == basis
        own = found_by(Config(compute="aws:m6i.large@0.188usd/h"), resource, around).rate
    assert own is not None
    assert own.basis == ""


def test_task_on_an_ecs_instance_bears_its_reservation() -> None:
    task = {"LaunchType": "EC2", "TaskARN": "arn:aws:ecs:us-east-1:1:task/x/y"}
    with surroundings(ecs=ecs(task, {"Limits": {"CPU": 512, "Memory": 2048}}), ec2=ec2("m6i.large")) as around:
        found = found_by(Config(), {}, around)
    assert per_hour(found) == pytest.approx(M6I_LARGE / 4)


def test_size_of_a_platform_without_machines_is_not_divided_in_a_pod() -> None:
    with surroundings(KUBERNETES) as around:
        found = found_by(Config(compute="fargate:1vcpu-2gb", region="us-east-1"), {}, around)
    assert per_hour(found) == pytest.approx(0.04937)


def test_setting_is_enough_and_nobody_is_asked_for_its_region() -> None:
    with serve(ec2()) as server:
        around = Surroundings({}, Services(server.url, server.url, server.url), Path("/nowhere"), Path("/nowhere"))
        found = found_by(Config(compute="aws:m6i.large"), {}, around)
        assert found.rate is not None
        assert found.rate.basis == "region_fallback"
        assert server.asked == []

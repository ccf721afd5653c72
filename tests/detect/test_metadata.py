"""Metadata services as real local servers: what is read, and what is not believed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from spancost.detect.link_local import MAX_ANSWER_BYTES, NoAnswerError, ask
from spancost.detect.machine import UNKNOWN, Machine
from spancost.detect.metadata import EVEN_SPLIT, SPOT, Services, ask_services
from tests.support.metadata_servers import (
    Reply,
    Service,
    azure,
    closed_port,
    cloud_run,
    dripping,
    ec2,
    ecs,
    elapsed_s,
    fixed,
    gce,
    serve,
)

ALL = ("aws", "gcp", "azure")
TASK = {
    "Cluster": "default",
    "TaskARN": "arn:aws:ecs:us-west-2:111122223333:task/default/158d1c8083dd49d6b527399fd6414f5c",
    "Limits": {"CPU": 0.25, "Memory": 512},
    "AvailabilityZone": "us-west-2d",
    "LaunchType": "FARGATE",
    "Containers": [{"Name": "web", "Type": "NORMAL"}, {"Name": "~internal~ecs~pause", "Type": "CNI_PAUSE"}],
}
CONTAINER = {"Name": "web", "Type": "NORMAL", "Limits": {"CPU": 0, "Memory": 0}}


def asked(*, is_arm: bool = False, **services: Service) -> Machine:
    return asked_of(services, is_arm=is_arm)


def asked_of(services: Mapping[str, Service], *, is_arm: bool = False) -> Machine:
    """Ask local services; the ones that are not given are not there."""
    with ExitStack() as stack:
        urls = {name: stack.enter_context(serve(service)).url for name, service in services.items()}
        nobody = closed_port()
        found = Services(
            urls.get("ec2", nobody),
            urls.get("gce", nobody),
            urls.get("azure", nobody),
            urls["ecs"] + "/v4/abc" if "ecs" in urls else "",
        )
        return ask_services(found, ALL, is_arm=is_arm)


def test_ec2_is_asked_with_the_token_of_a_put() -> None:
    machine = asked(ec2=ec2("c7g.xlarge", "eu-central-1"))
    assert machine == Machine("aws_ec2", "aws:c7g.xlarge", "aws", "eu-central-1", "ec2_metadata")


def test_spot_instance_has_its_on_demand_price_and_says_so() -> None:
    assert asked(ec2=ec2(life_cycle="spot")).basis == SPOT
    assert asked(gce=gce(preemptible="TRUE")).basis == SPOT
    assert asked(azure=azure(priority="Spot")).basis == SPOT


def test_instance_without_a_life_cycle_is_on_demand() -> None:
    machine = asked(ec2=ec2(life_cycle=None))
    assert (machine.spec, machine.basis) == ("aws:m6i.large", "")


def test_compute_engine_has_a_machine_type_and_a_zone() -> None:
    machine = asked(gce=gce("n2-standard-4", "us-central1-a"))
    assert machine == Machine("gcp_compute_engine", "gcp:n2-standard-4", "gcp", "us-central1", "gce_metadata")


def test_cloud_run_has_a_region_only() -> None:
    machine = asked(gce=cloud_run("europe-west3"))
    assert (machine.spec, machine.region) == ("", "europe-west3")


def test_azure_has_a_size_and_a_location() -> None:
    machine = asked(azure=azure("Standard_E4s_v5", "WestEurope"))
    assert machine == Machine("azure_vm", "azure:Standard_E4s_v5", "azure", "westeurope", "azure_metadata")


@pytest.mark.parametrize(("is_arm", "kind"), [(False, "fargate"), (True, "fargate-arm")])
def test_fargate_task_is_its_size(is_arm: bool, kind: str) -> None:
    machine = asked(ecs=ecs(TASK, CONTAINER), is_arm=is_arm)
    assert machine == Machine("aws_ecs", f"{kind}:0.25vcpu-0.5gb", "aws", "us-west-2", "ecs_metadata")


def test_containers_of_a_fargate_task_share_it_evenly_where_none_has_reserved_a_part() -> None:
    three = {**TASK, "Containers": [{"Type": "NORMAL"}, {"Type": "NORMAL"}, {"Type": "NORMAL"}, {"Type": "CNI_PAUSE"}]}
    machine = asked(ecs=ecs(three, CONTAINER))
    assert (machine.containers, machine.basis, machine.is_shared) == (3, EVEN_SPLIT, False)


def test_container_of_a_fargate_task_bears_what_it_has_reserved() -> None:
    two = {**TASK, "Containers": [{"Type": "NORMAL"}, {"Type": "NORMAL"}]}
    machine = asked(ecs=ecs(two, {**CONTAINER, "Limits": {"CPU": 128, "Memory": 256}}))
    assert (machine.is_shared, machine.cpu_request, machine.memory_request_gib) == (True, 0.125, 0.25)


def test_task_on_ec2_is_a_part_of_its_instance() -> None:
    task = {**TASK, "LaunchType": "EC2", "Limits": None}
    machine = asked(ecs=ecs(task, {"Limits": {"CPU": 512, "Memory": 1024}}), ec2=ec2("m5.large", "us-west-2", "spot"))
    assert machine == Machine("aws_ecs", "aws:m5.large", "aws", "us-west-2", "ec2_metadata", SPOT, True, 0.5, 1.0)


def test_task_on_ec2_whose_instance_does_not_answer_stays_a_part_of_something_unknown() -> None:
    machine = asked(ecs=ecs({**TASK, "LaunchType": "EC2"}, CONTAINER))
    assert (machine.spec, machine.is_shared, machine.region) == ("", True, "us-west-2")


def test_nobody_answers() -> None:
    assert asked() == UNKNOWN


BAD: list[dict[str, Any]] = [
    {"ec2": fixed(Reply("x" * 2000))},
    {"ec2": ec2("<script>alert(1)</script>")},
    {"ec2": ec2("m6i.large\nX-Injected: 1")},
    {"ec2": ec2("m6i.large", "the moon")},
    {"ec2": ec2("")},
    {"gce": fixed(Reply("e2-standard-2"))},
    {"gce": fixed(Reply("e2-standard-2", headers={"Metadata-Flavor": "Proxy"}))},
    {"azure": fixed(Reply("[1, 2, 3]"))},
    {"azure": fixed(Reply('{"vmSize": 7, "location": "westeurope"}'))},
    {"azure": fixed(Reply("{" * 50_000))},
    {"azure": fixed(Reply('{"vmSize": "' + "A" * 300 + '", "location": "westeurope"}'))},
    {"ecs": fixed(Reply("null"))},
    {"ecs": ecs({**TASK, "Limits": {"CPU": float("nan"), "Memory": 512}}, CONTAINER)},
    {"ecs": ecs({**TASK, "Limits": {"CPU": -1, "Memory": "much"}}, CONTAINER)},
    {"ecs": ecs({**TASK, "LaunchType": "EXTERNAL"}, CONTAINER)},
    {"ecs": ecs({**TASK, "Limits": [1, 2]}, CONTAINER)},
    {"ec2": fixed(Reply("denied", 403)), "gce": fixed(Reply("denied", 403)), "azure": fixed(Reply("denied", 403))},
    {"azure": fixed(Reply("", 302, {"Location": "http://example.com/"}))},
]


@pytest.mark.parametrize("services", BAD)
def test_answer_that_cannot_be_true_is_no_answer(services: dict[str, Service]) -> None:
    assert asked_of(services) == UNKNOWN


def test_answer_is_bounded() -> None:
    with serve(fixed(Reply("x" * MAX_ANSWER_BYTES))) as server:
        assert len(ask(server.url, "/", {}, seconds=2).text) == MAX_ANSWER_BYTES
    with serve(fixed(Reply("x" * (MAX_ANSWER_BYTES + 1)))) as server, pytest.raises(NoAnswerError):
        ask(server.url, "/", {}, seconds=2)


@pytest.mark.parametrize("header", [b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_service_that_drips_is_hung_up_on(header: bytes) -> None:
    def drip() -> None:
        with dripping(header) as url, pytest.raises(NoAnswerError):
            ask(url, "/", {}, seconds=0.3)

    assert elapsed_s(drip) < 2.0


def test_slow_service_does_not_keep_the_others_waiting() -> None:
    with dripping() as slow, serve(gce()) as quick:
        services = Services(slow, quick.url, closed_port(), "", 0.5)
        assert elapsed_s(lambda: ask_services(services, ALL, is_arm=False)) < 1.5
    with dripping() as slow, serve(gce()) as quick:
        services = Services(slow, quick.url, closed_port(), "", 0.5)
        assert ask_services(services, ALL, is_arm=False).spec == "gcp:e2-standard-2"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = closed_port()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    assert asked(ec2=ec2()).spec == "aws:m6i.large"


@pytest.mark.parametrize("url", ["https://127.0.0.1", "file:///etc/passwd", "http://", "http://127.0.0.1:port", ""])
def test_address_that_is_none_is_not_asked(url: str) -> None:
    with pytest.raises(NoAnswerError):
        ask(url, "/", {}, seconds=1)

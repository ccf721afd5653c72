"""What resource attributes and the variables of platforms say about the machine; nobody is asked.

Reads `cloud.platform`, `cloud.provider`, `cloud.region`, `host.type`, `host.arch`, `faas.max_memory`,
`aws.ecs.launchtype` and `k8s.pod.*` of the resource; then what platforms set in every process:
`AWS_LAMBDA_FUNCTION_MEMORY_SIZE`, `AWS_REGION`, `ECS_CONTAINER_METADATA_URI_V4`, `K_SERVICE`, `CLOUD_RUN_JOB`,
`WEBSITE_SITE_NAME`, `WEBSITE_SKU`, `REGION_NAME`, `CONTAINER_APP_NAME`, `KUBERNETES_SERVICE_HOST`.
"""

from __future__ import annotations

import platform as python_platform
from collections.abc import Mapping
from typing import Any, Final

from spancost.detect.machine import UNKNOWN, Machine, safe_name

VENDORS: Final = ("aws", "gcp", "azure")
ECS_URI: Final = "ECS_CONTAINER_METADATA_URI_V4"

SHARED_PLATFORMS: Final = frozenset({"aws_eks", "gcp_kubernetes_engine", "azure_aks", "kubernetes"})
"""Where a machine runs other containers beside this one."""
_MACHINE_PLATFORMS: Final = {
    "aws_ec2": "aws", "aws_ecs": "aws", "aws_eks": "aws", "aws_elastic_beanstalk": "aws",
    "gcp_compute_engine": "gcp", "gcp_kubernetes_engine": "gcp",
    "azure_vm": "azure", "azure_aks": "azure",
}  # fmt: skip
_PROVIDERS: Final = {
    **_MACHINE_PLATFORMS,
    "aws_lambda": "aws", "aws_app_runner": "aws",
    "gcp_cloud_run": "gcp",
    "azure_app_service": "azure", "azure_container_apps": "azure",
}  # fmt: skip
_BY_VARIABLE: Final = (
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "aws_lambda"),
    ("K_SERVICE", "gcp_cloud_run"),
    ("CLOUD_RUN_JOB", "gcp_cloud_run"),
    ("CONTAINER_APP_NAME", "azure_container_apps"),
    ("WEBSITE_SITE_NAME", "azure_app_service"),
    ("KUBERNETES_SERVICE_HOST", "kubernetes"),
    (ECS_URI, "aws_ecs"),
)
"""The first one that is set names the platform. Knative on Kubernetes sets `K_SERVICE`, too; see `_by_variable`."""
_REGION_VARIABLES: Final = {"aws": ("AWS_REGION", "AWS_DEFAULT_REGION"), "azure": ("REGION_NAME",)}
_PLANS: Final = {
    ("basic", 1): "B1", ("basic", 2): "B2", ("standard", 1): "S1",
    ("premiumv3", 1): "P0v3", ("premiumv3", 2): "P1v3", ("premiumv3", 4): "P2v3", ("premiumv3", 8): "P3v3",
    ("premiummv3", 2): "P1mv3",
}  # fmt: skip
_ARM: Final = frozenset({"arm64", "aarch64"})
SEEN_PLAN: Final = "plan_by_cores"
"""Basis: the App Service plan follows from its tier and the vCPUs that the process sees."""


def machine_said(resource: Mapping[str, Any], environ: Mapping[str, str], cores: int = 0) -> Machine:
    """Return what resource and environment say.

    Args:
        resource: Attributes of the process's resource.

        environ: Its environment.

        cores: vCPUs that the process sees; 0 if unknown.
    """
    platform = _text(resource, "cloud.platform").lower().replace(".", "_")
    found_by = "resource" if platform else ""
    by_variable = _by_variable(environ)
    if not platform and by_variable:
        platform, found_by = by_variable, "environment"
    if platform in ("aws_ec2", "gcp_compute_engine", "azure_vm", "") and (
        by_variable == "kubernetes" or any(key.startswith("k8s.pod.") for key in resource)
    ):
        platform = "kubernetes"  # a detector that found the node, not what runs on it
    provider = _text(resource, "cloud.provider").lower()
    if provider not in VENDORS:
        provider = _PROVIDERS.get(platform, "")
    region = safe_name(resource.get("cloud.region")) or _region_of(provider, environ)
    spec, basis = _spec(platform, provider, resource, environ, cores)
    if not found_by:
        found_by = "resource" if spec or "cloud.region" in resource else "environment"
    if not (platform or provider or region):
        return UNKNOWN
    is_shared = platform in SHARED_PLATFORMS or (platform == "aws_ecs" and spec != "")
    return Machine(platform, spec, provider, region, found_by, basis, is_shared)


def is_arm(resource: Mapping[str, Any]) -> bool:
    """Say whether the process runs on a 64-bit ARM chip."""
    return (_text(resource, "host.arch") or python_platform.machine()).lower() in _ARM


def _by_variable(environ: Mapping[str, str]) -> str:
    for variable, platform in _BY_VARIABLE:
        if environ.get(variable):
            if platform == "gcp_cloud_run" and environ.get("KUBERNETES_SERVICE_HOST"):
                return "kubernetes"
            return platform
    return ""


def _spec(
    platform: str, provider: str, resource: Mapping[str, Any], environ: Mapping[str, str], cores: int
) -> tuple[str, str]:
    if platform == "aws_lambda":
        megabytes = _megabytes(resource, environ)
        kind = "lambda-arm" if is_arm(resource) else "lambda"
        return (f"{kind}:{megabytes}mb" if megabytes else ""), ""
    if platform == "azure_app_service":
        plan = _PLANS.get((environ.get("WEBSITE_SKU", "").lower(), cores), "")
        return (f"appservice:{plan}", SEEN_PLAN) if plan else ("", "")
    if platform in ("aws_app_runner", "gcp_cloud_run", "azure_container_apps"):
        return "", ""
    if platform == "aws_ecs" and _text(resource, "aws.ecs.launchtype").lower() == "fargate":
        return "", ""
    host_type = safe_name(_text(resource, "host.type").rpartition("/")[2])
    return (f"{provider}:{host_type}" if provider in VENDORS and host_type else ""), ""


def _megabytes(resource: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    text = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 1_000_000:
        return int(text)
    size = resource.get("faas.max_memory")  # bytes; older detectors said megabytes
    if isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**40:
        return size >> 20 if size >= 2**20 else size
    return 0


def _region_of(provider: str, environ: Mapping[str, str]) -> str:
    for variable in _REGION_VARIABLES.get(provider, ()):
        region = safe_name(environ.get(variable, "").replace(" ", "").lower())  # App Service says "West Europe"
        if region:
            return region
    return ""


def _text(resource: Mapping[str, Any], key: str) -> str:
    value = resource.get(key)
    return value if isinstance(value, str) else ""

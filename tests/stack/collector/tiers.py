"""The shipped configurations, and the far ends that they are pointed at in tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

CONFIGS: Final = Path(__file__).resolve().parents[3] / "collector-config"
_PROMETHEUS: Final = CONFIGS.parent / "grafana" / "prometheus" / "prometheus.yaml"
SCOPE: Final = (
    "service_name",
    "deployment_environment_name",
    "k8s_namespace_name",
    "cloud_account_id",
    "cloud_region",
)
"""Labels that every series has where they are known."""


def config(name: str) -> Path:
    """Return a shipped configuration, such as `gateway`."""
    return CONFIGS / f"{name}.yaml"


def prometheus_config(folder: Path, *targets: str) -> Path:
    """Write the shipped configuration of Prometheus without rules, for short intervals and other targets."""
    shipped: dict[str, Any] = yaml.safe_load(_PROMETHEUS.read_text())
    document: dict[str, Any] = {
        "global": {"scrape_interval": "500ms"},
        "scrape_configs": [
            {"job_name": "derived", "honor_labels": True, "static_configs": [{"targets": list(targets)}]}
        ],
        "otlp": shipped["otlp"],
        "storage": shipped["storage"],
    }
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def relay(folder: Path, url: str) -> Path:
    """Write a configuration of a Collector that takes OTLP and hands it on over HTTP, for `OtlpReceiver`."""
    document: dict[str, Any] = {
        "receivers": {
            "otlp": {
                "protocols": {
                    "grpc": {"endpoint": "${env:OTLP_GRPC_ENDPOINT}"},
                    "http": {"endpoint": "${env:OTLP_HTTP_ENDPOINT}"},
                }
            }
        },
        "exporters": {"otlp_http": {"endpoint": url, "sending_queue": {"enabled": False}}},
        "extensions": {"health_check": {"endpoint": "${env:HEALTH_ENDPOINT}"}},
        "service": {
            "extensions": ["health_check"],
            "pipelines": {
                "traces": {"receivers": ["otlp"], "exporters": ["otlp_http"]},
                "metrics": {"receivers": ["otlp"], "exporters": ["otlp_http"]},
            },
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    path = folder / "relay.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def flow(names: Sequence[str]) -> str:
    """Return names as a variable takes a list."""
    return f"[{', '.join(names)}]"

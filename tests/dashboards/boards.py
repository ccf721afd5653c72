"""Dashboards as files, as small as a test needs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(title: str, expr: str, *, kind: str = "timeseries", number: int = 1, **more: Any) -> dict[str, Any]:
    """Return a panel with one query; an instant one for everything but plots."""
    target = {"refId": "A", "expr": expr, "datasource": SOURCE}
    target |= {"instant": True} if kind != "timeseries" else {"range": True}
    if kind == "table":
        target["format"] = "table"
    place = {"x": 0, "y": 0, "w": 12, "h": 8}
    return {"id": number, "type": kind, "title": title, "gridPos": place, "targets": [target], **more}


def write(folder: Path, *panels: dict[str, Any], name: str = "shop", **more: Any) -> Path:
    """Write a dashboard and return its file."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"uid": name, "title": name.capitalize(), "panels": list(panels), **more}), "utf-8")
    return file


def answer(*series: tuple[dict[str, str], list[tuple[float, float]]]) -> dict[str, Any]:
    """Return what Prometheus says to a query over a range."""
    result = [{"metric": labels, "values": [[at, str(value)] for at, value in points]} for labels, points in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def instant(*samples: tuple[dict[str, str], float], at: float = 1000.0) -> dict[str, Any]:
    """Return what Prometheus says to a query at one time."""
    result = [{"metric": labels, "value": [at, str(value)]} for labels, value in samples]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}

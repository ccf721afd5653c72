"""A Celery application: `SHOP_BROKER` is a folder for a broker of files, or the URL of another one.

`SHOP_MAX_TASKS` is how many tasks a child does, 0 for all.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.e2e.apps.llm_call import call_llm

FAILING = 5
"""Every so many orders one fails."""

_broker = os.environ.get("SHOP_BROKER", "")
_files = {"data_folder_in": _broker, "data_folder_out": _broker, "control_folder": f"{_broker}-control"}
_has_url = "://" in _broker
app: Any = Celery("shop", broker=_broker if _has_url else "filesystem://")
app.conf.update(
    broker_transport_options={} if _has_url else _files,
    task_ignore_result=True,
    worker_max_tasks_per_child=int(os.environ.get("SHOP_MAX_TASKS", "0")) or None,
)


@app.task(name="shop.bill")
def bill(order: int) -> None:
    """Bill an order; some fail after their call."""
    call_llm()
    if order % FAILING == 0:
        raise ValueError("no such order")


@app.task(name="shop.mail")
def mail() -> None:
    """Mail something."""
    call_llm()

"""A Celery application over a broker of files: `SHOP_BROKER` is its folder, `SHOP_MAX_TASKS` what a child does."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.e2e.apps.llm_call import call_llm

FAILING = 5
"""Every so many orders one fails."""

_folder = os.environ.get("SHOP_BROKER", "")
app: Any = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": _folder,
        "data_folder_out": _folder,
        "control_folder": f"{_folder}-control",
    },
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

"""A script that hands orders to the Celery workers: `celery_producer.py ORDERS`."""

from __future__ import annotations

import sys

from tests.entrypoints.apps.celery_tasks import bill, mail

if __name__ == "__main__":
    for order in range(int(sys.argv[1])):
        bill.delay(order)
    mail.delay()

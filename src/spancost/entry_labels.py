"""Which request or entrypoint a local root is: an HTTP route and method, or one name for any other work.

    HTTP server span               http.route and the method; None while it has no route (yet)
    gRPC or other RPC server span  package.Service/Method
    Celery task, RQ job            the task's name, the function's name
    function (Lambda)              faas.name, else the span name, which is the function's; the route behind a REST API
    message consumed or sent       operation and destination, `process orders`
    outgoing call without a parent what the process calls itself (`SPANCOST_ENTRYPOINT`), else the span name
    any other span                 the span name

Reads the semantic conventions of today and those that instrumentations still emit (`messaging.destination`,
`messaging.operation`, `rpc.service`). Destinations that a broker or client has made up (a reply queue) are one constant
each. Raw paths, message ids, consumer tags and arguments are never looked at.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from spancost import names
from spancost.charge import CLIENT, CONSUMER, PRODUCER, SERVER
from spancost.window import EntryLabels, label_text

TEMPORARY: Final = "(temporary)"
ANONYMOUS: Final = "(anonymous)"
"""Destinations whose names mean nothing, as the messaging conventions call them in span names."""

NAMING_ATTRIBUTES: Final = frozenset({"celery.task_name", "faas.name"})
"""Attributes that name the work of a local root that neither serves nor consumes."""

PROCESS: Final = "process"
RECEIVE: Final = "receive"
_STEPS: Final = {"process": PROCESS, "receive": RECEIVE, "recv": RECEIVE, "poll": RECEIVE}

_OPERATIONS: Final = ("messaging.operation.name", "messaging.operation.type", "messaging.operation")
_DESTINATIONS: Final = ("messaging.destination.template", "messaging.destination.name", "messaging.destination")
_GENERATED: Final = re.compile(
    r"^amq\.(?:gen|rabbitmq|ctag)|[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE
)
_WEB_KEYS: Final = ("url.path", "http.target")
_TASK_RUN: Final = "run/"
"""How the Celery instrumentation begins the name of a task's span; the attribute comes when the task is done."""


def entry_labels(name: str, kind: int, attributes: Mapping[str, Any], process: str = "") -> EntryLabels | None:
    """Read a local root's labels from its present attributes.

    Args:
        name: Name of its span.

        kind: SpanKind value.

        attributes: What the span has by now.

        process: Entrypoint of outgoing calls without a parent; empty: each has its own name.

    Returns:
        The labels, or None for an HTTP server span that has no route (yet).
    """
    if takes_process_name(kind, process):
        return shared_labels("", "", label_text(process))
    get = attributes.get
    if kind == SERVER:
        method = get("http.request.method") or get("http.method")
        if method is not None or any(key in attributes for key in _WEB_KEYS):
            return _web_labels(name, method, attributes)
        rpc_method = get("rpc.method")
        if rpc_method is not None:
            return shared_labels("", "", label_text(_rpc_name(get("rpc.service"), str(rpc_method))))
    named = ""
    if kind not in (CLIENT, PRODUCER):
        named = get("celery.task_name") or get("rq.job.function") or get("faas.name")
    if not named and kind in (CONSUMER, PRODUCER):
        named = _message_name(name, kind, attributes)
    return shared_labels("", "", label_text(named or name))


@functools.lru_cache(maxsize=1024)
def shared_labels(route: str, method: str, entrypoint: str) -> EntryLabels:
    """Return labels that are shared between requests, which costs less than making them anew."""
    return EntryLabels(route, method, entrypoint)


def routeless_labels(attributes: Mapping[str, Any]) -> EntryLabels:
    """Labels of an HTTP request that matched no route: one constant, whatever the path."""
    method = attributes.get("http.request.method") or attributes.get("http.method") or ""
    return EntryLabels(names.NO_ROUTE, label_text(method), "")


def final_labels(name: str, kind: int, attributes: Mapping[str, Any], process: str = "") -> EntryLabels:
    """Read a local root's labels from all that it will ever say; arguments as for `entry_labels`."""
    return entry_labels(name, kind, attributes, process) or routeless_labels(attributes)


def takes_process_name(kind: int, process: str) -> bool:
    """True for a local root that is a mere call of its process, where the process has a name for them.

    A span that somebody has put around work keeps its own name, whatever the process is called.
    """
    return bool(process) and kind in (CLIENT, PRODUCER)


def message_step(name: str, attributes: Mapping[str, Any]) -> str:
    """Return what a span of kind CONSUMER does with messages: `process`, `receive`, or nothing that is known.

    The processing of one message that starts below the span that has received it is work of its own, a local root:
    what receives (boto3's SQS client, Confluent's Kafka client) ends before the work begins, so nothing of it would be
    in that span's total.
    """
    said = [str(attributes[key]) for key in _OPERATIONS if key in attributes]
    # Some instrumentations say so only once the span has started, some never: then the name does.
    words = said or name.split(" ")
    return next((_STEPS[word] for word in words if word in _STEPS), "")


def _web_labels(name: str, method: object, attributes: Mapping[str, Any]) -> EntryLabels | None:
    route = attributes.get("http.route")
    if "faas.trigger" in attributes and "{" not in str(route):
        # Behind an HTTP API the Lambda instrumentation takes the raw path for the route.
        return shared_labels("", "", label_text(attributes.get("faas.name") or name))
    return shared_labels(label_text(route), label_text(method), "") if route else None


def _rpc_name(service: object, method: str) -> str:
    method = method.lstrip("/")
    # Newer conventions have the service in the method.
    return f"{service}/{method}" if service and "/" not in method else method


def _message_name(name: str, kind: int, attributes: Mapping[str, Any]) -> str:
    """Return operation and destination; empty if there is no destination."""
    get = attributes.get
    found = next((str(get(key)) for key in _DESTINATIONS if get(key)), "")
    if kind == CONSUMER and name.startswith(_TASK_RUN):
        return name.removeprefix(_TASK_RUN)
    if not found or "celery.action" in attributes:  # a task that is sent keeps the name of its span
        return ""
    shown = found
    if not get("messaging.destination.template"):
        # Of the older name: some instrumentations mark every message that is sent with it.
        was_temporary = get("messaging.temp_destination") if kind == CONSUMER else None
        if get("messaging.destination.anonymous"):
            shown = ANONYMOUS
        elif was_temporary or get("messaging.destination.temporary") or _GENERATED.search(found):
            shown = TEMPORARY
    operation = next((str(get(key)) for key in _OPERATIONS if get(key)), "") or _operation_in(name, found)
    return f"{operation} {shown}".strip()


def _operation_in(name: str, destination: str) -> str:
    """Return the operation that a span name like `orders receive` shows."""
    first, _, last = name.rpartition(" ")
    return last if first == destination and last.isalpha() else ""

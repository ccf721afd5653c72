"""The dict in which capture hooks leave what they saw of a live span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from spancost.client_address import CLIENT_PRIVATE, FORWARDED, FORWARDING_HEADERS, privacy_of

FORWARDING_VARIABLES = frozenset("HTTP_" + name.upper().replace("-", "_") for name in FORWARDING_HEADERS)
"""Forwarding headers as WSGI and Django name them."""

NODE_ATTRIBUTE = "_spancost_node"
"""Name under which a live SDK span carries its node of the cost tree."""

LateReport = Callable[[Any, dict[str, Any]], None]
FailureReport = Callable[[str], None]


def facts_for(span: object) -> dict[str, Any] | None:
    """Return the facts of a live span that spancost prices, or None for any other object.

    `span` is what an instrumentation hands to its hooks: an SDK span, a non-recording one, or None.
    """
    node = getattr(span, NODE_ATTRIBUTE, None)
    if node is None:
        return None
    facts = cast("dict[str, Any] | None", node.facts)
    if facts is None:
        facts = node.facts = {}
    return facts


_late_report: LateReport | None = None
_failure_report: FailureReport | None = None


def note_client(facts: dict[str, Any], peer: object, *, is_forwarded: bool) -> None:
    """Leave in a server span's facts what its client is like: two booleans, never an address.

    Args:
        facts: Facts of the span.

        peer: Address at the other end of the socket; None if there is none.

        is_forwarded: The request has one of `FORWARDING_HEADERS`.
    """
    is_private = privacy_of(peer)
    if is_private is not None:
        facts[CLIENT_PRIVATE] = is_private
    if is_forwarded:
        facts[FORWARDED] = True


def report_late(span: object, facts: dict[str, Any]) -> None:
    """Report facts that became known after the span had ended (bytes of a streamed WSGI body).

    The engine meters them and charges the span late: counters and ledger gain the money, the exported
    span cannot change any more. Does nothing while no engine runs.
    """
    if _late_report is not None:
        _late_report(span, facts)


def hook_failed(place: str) -> None:
    """Count the exception being handled as a failure of a capture hook; call it from `except`.

    `place` is the hook's module, for example `flask`. Nothing reaches the application.
    """
    if _failure_report is not None:
        _failure_report(f"capture.{place}")


def connect(late_report: LateReport | None, failure_report: FailureReport | None) -> None:
    """Name the functions that receive late facts and failures; called by the engine when it starts."""
    global _late_report, _failure_report
    _late_report = late_report
    _failure_report = failure_report

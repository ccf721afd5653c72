"""Tells the log: a record of Python's `logging`, and the same as an event of OpenTelemetry where logs are set up."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from spancost.amounts import usd
from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.notify import text

LOGGER: Final = "spancost.budgets"
EVENT: Final = "spancost.budget.transition"
"""Event name of the record of OpenTelemetry."""
PREFIX: Final = "spancost.budget."
"""Of its attributes: `spancost.budget.rule`, `spancost.budget.spend_usd`, one for each field of an alert."""
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.ERROR}
_NANO: Final = 1_000_000_000
_UNSET: Final = ("ProxyLoggerProvider", "NoOpLoggerProvider")
"""Providers of the API itself: nobody has set one."""

logger: Final = logging.getLogger(LOGGER)


@dataclass(frozen=True, slots=True)
class LogChannel:
    """The channel that is there when no other is."""

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Write one record; the alert travels with it as `record.spancost_alert`, a mapping.

        Args:
            alert: What is told.

            timeout_s: Is not kept: handlers cannot be interrupted.
        """
        level = logging.INFO if alert.status == RESOLVED else _LEVELS.get(alert.severity, logging.WARNING)
        said = text.log_line(alert)
        was_emitted = _emit(alert, level, said)
        if not logger.isEnabledFor(level):
            return
        record = logger.makeRecord(
            LOGGER, level, __file__, 0, said, (), None, "send", {"spancost_alert": alert.as_dict()}
        )
        if was_emitted:
            _handle_without_bridges(record)
        else:
            logger.handle(record)


def attributes(alert: Alert) -> Mapping[str, Any]:
    """Return an alert as flat attributes; what is not known is left out."""
    flat: dict[str, Any] = {}
    for name, value in alert.as_dict().items():
        if value is None or value == "" or value == [] or value == () or value == {}:
            continue
        if name == "labels":
            flat.update({f"{PREFIX}label.{label}": given for label, given in value.items()})
        elif name == "contributors":
            flat[PREFIX + name] = tuple(f"{one.name} {usd(one.usd)}" for one in alert.contributors)
        elif isinstance(value, list | tuple):
            flat[PREFIX + name] = tuple(str(one) for one in value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        else:
            flat[PREFIX + name] = value if isinstance(value, str | bool | int | float) else json.dumps(value)
    return flat


def _emit(alert: Alert, level: int, said: str) -> bool:
    """Hand the event to OpenTelemetry; False where nobody has set up its logs."""
    from opentelemetry._logs import SeverityNumber, get_logger, get_logger_provider

    if type(get_logger_provider()).__name__ in _UNSET:
        return False
    otel = get_logger(LOGGER)
    severity = {logging.INFO: SeverityNumber.INFO, logging.WARNING: SeverityNumber.WARN}.get(
        level, SeverityNumber.ERROR
    )
    otel.emit(
        timestamp=int(alert.at * _NANO),
        severity_number=severity,
        severity_text=logging.getLevelName(level),
        body=said,
        attributes=attributes(alert),
        event_name=EVENT,
    )
    return True


def _handle_without_bridges(record: logging.LogRecord) -> None:
    """Give a record to all handlers but those that would hand it to OpenTelemetry a second time."""
    bridges = [handler for handler in _handlers() if type(handler).__module__.startswith("opentelemetry.")]
    if not bridges:
        logger.handle(record)
        return
    if logger.disabled or not logger.filter(record):
        return
    for handler in _handlers():
        if handler not in bridges and record.levelno >= handler.level:
            handler.handle(record)


def _handlers() -> list[logging.Handler]:
    found: list[logging.Handler] = []
    here: logging.Logger | None = logger
    while here is not None:
        found += here.handlers
        here = here.parent if here.propagate else None
    return found

"""The log channel where OpenTelemetry's logs are set up, with the real SDK."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import pytest
from opentelemetry._logs import SeverityNumber, get_logger_provider
from opentelemetry._logs import _internal as logs_of_the_api
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from spancost.budgets.notify.log import EVENT, LOGGER, LogChannel
from tests.budgets.notify.alerts import BREACH, NOW, resolved


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryLogRecordExporter]:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(logs_of_the_api, "_LOGGER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def test_an_alert_is_an_event_with_flat_attributes(exported: InMemoryLogRecordExporter) -> None:
    LogChannel().send(BREACH, timeout_s=5.0)
    LogChannel().send(resolved(), timeout_s=5.0)
    breach, end = (one.log_record for one in exported.get_finished_logs())
    assert (breach.event_name, EVENT) == ("spancost.budget.transition",) * 2
    assert (breach.severity_number, end.severity_number) == (SeverityNumber.ERROR, SeverityNumber.INFO)
    assert breach.timestamp == int(NOW) * 1_000_000_000
    assert str(breach.body).startswith("BREACHED: Budget llm-monthly")
    told = dict(breach.attributes or {})
    assert told["spancost.budget.rule"] == "llm-monthly"
    assert told["spancost.budget.key"] == "acme"
    assert told["spancost.budget.spend_usd"] == 512.3
    assert told["spancost.budget.unpriced"] == 3
    assert told["spancost.budget.is_incomplete"] is True
    assert told["spancost.budget.label.cost_center"] == "4711"
    assert told["spancost.budget.contributors"] == (
        "POST /chat · openai/chat gpt-4o $401.50",
        "POST /search · openai/embeddings text-embedding-3-large $80.25",
    )
    assert "spancost.budget.forecast_at" not in told
    assert all(isinstance(value, str | bool | int | float | tuple) for value in told.values())


def test_an_alert_reaches_open_telemetry_once_where_python_logs_are_bridged(
    exported: InMemoryLogRecordExporter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has moved to a package of its own
        bridge = LoggingHandler(logger_provider=get_logger_provider())
    logging.getLogger().addHandler(bridge)
    try:
        logging.getLogger(LOGGER).warning("shows that the bridge works")
        LogChannel().send(BREACH, timeout_s=5.0)
    finally:
        logging.getLogger().removeHandler(bridge)
    assert [one.log_record.event_name for one in exported.get_finished_logs()] == [None, EVENT]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR]


def test_without_a_provider_there_is_a_python_record_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    LogChannel().send(BREACH, timeout_s=5.0)
    assert len(caplog.records) == 1

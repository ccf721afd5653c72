# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
"""The Flask application where the SDK is set up by the environment alone, without `opentelemetry-instrument`."""

from __future__ import annotations

from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk._configuration import _OTelSDKConfigurator  # pyright: ignore[reportPrivateUsage]

from tests.e2e.apps.flask_app import app

_OTelSDKConfigurator().configure()
FlaskInstrumentor().instrument_app(app)  # type: ignore[no-untyped-call]

__all__ = ["app"]

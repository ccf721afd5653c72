"""The `opentelemetry_pre_instrument` entry point: spancost under `opentelemetry-instrument`.

Runs when the SDK's providers exist and no instrumentation has run yet. An exception here would abort all
instrumentation of the application, so none leaves.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
from types import FrameType
from typing import Any

_logger = logging.getLogger("spancost")


def pre_instrument() -> None:
    """Install spancost on the global providers; on any problem log once and leave the application alone."""
    try:
        if os.environ.get("SPANCOST_ENABLED", "").strip().lower() in ("false", "0", "no", "off"):
            return
        _install()
    except Exception as error:
        if type(error).__name__ == "ConfigError":
            _logger.error("spancost is off: %s", error)  # noqa: TRY400 - the message says it all
        else:
            _logger.exception("spancost is off: it could not be set up")


def _install() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        _logger.info("spancost is idle: there is no SDK TracerProvider (OTEL_SDK_DISABLED, or no distro)")
        return
    from spancost._install import install
    from spancost.config import load_config

    config = load_config()
    if not config.enabled:
        return
    install(config=config)
    _flush_on_sigterm()


def _flush_on_sigterm() -> None:
    """Flush when SIGTERM would end the process without any exit handler.

    Only where the signal still has its default action. A server that sets its own handler replaces this one; uvicorn
    puts it back and raises the signal again after its shutdown, which is when it is needed.
    """
    _handle_sigterm()
    try:
        from wrapt import register_post_import_hook
    except ImportError:  # comes with every opentelemetry-instrumentation so far
        return
    register_post_import_hook(_before_uvicorn_serves, "uvicorn.server")


def _handle_sigterm() -> None:
    if os.name != "posix" or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _before_uvicorn_serves(module: Any) -> None:
    """Set the handler again when uvicorn begins to serve: its gunicorn worker resets all signals after the fork."""
    capture_signals = getattr(getattr(module, "Server", None), "capture_signals", None)
    if capture_signals is None:
        return

    @functools.wraps(capture_signals)
    def with_handler(server: Any) -> Any:
        _handle_sigterm()
        return capture_signals(server)

    module.Server.capture_signals = with_handler


def _on_sigterm(signum: int, _frame: FrameType | None) -> None:
    from spancost._last_flush import flush_in_time

    flush_in_time()
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)

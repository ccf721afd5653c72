# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.sdk.trace import TracerProvider

import spancost.capture.aws
from spancost.capture.instrumentors import hook_instrumentors
from tests.capture.harness import recording


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say when our botocore hooks run, in place of what they do."""
    calls: list[str] = []

    def request_hook(span: Any, service: str, operation: str, params: dict[str, Any]) -> None:
        calls.append(f"ours before {operation}")

    def response_hook(span: Any, service: str, operation: str, result: dict[str, Any]) -> None:
        calls.append(f"ours after {operation}")

    monkeypatch.setattr(spancost.capture.aws, "request_hook", request_hook)
    monkeypatch.setattr(spancost.capture.aws, "response_hook", response_hook)
    return calls


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    with recording() as (_, provider):
        yield provider


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    if BotocoreInstrumentor().is_instrumented_by_opentelemetry:
        BotocoreInstrumentor().uninstrument()
    hook_instrumentors()()


def list_queues() -> None:
    aws: Any = boto3  # its stubs name every service there is
    sqs = aws.client("sqs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(sqs) as stub:
        stub.add_response("list_queues", {})
        sqs.list_queues()


OURS = ["ours before ListQueues", "ours after ListQueues"]


def test_hooks_are_given_to_an_instrumentor_used_later(calls: list[str], provider: TracerProvider) -> None:
    hook_instrumentors()
    BotocoreInstrumentor().instrument(tracer_provider=provider)
    list_queues()
    assert calls == OURS


def test_hooks_join_an_instrumentor_already_active(calls: list[str], provider: TracerProvider) -> None:
    BotocoreInstrumentor().instrument(tracer_provider=provider)
    undo = hook_instrumentors()
    list_queues()
    assert calls == OURS
    undo()
    list_queues()
    assert calls == OURS


@pytest.mark.parametrize("hooked_first", [True, False])
def test_users_hooks_are_called_after_ours(hooked_first: bool, calls: list[str], provider: TracerProvider) -> None:
    def theirs(span: Any, service: str, operation: str, result: dict[str, Any]) -> None:
        calls.append(f"theirs after {operation}")

    if hooked_first:
        hook_instrumentors()
    BotocoreInstrumentor().instrument(tracer_provider=provider, response_hook=theirs)
    hook_instrumentors()
    list_queues()
    assert calls == [*OURS, "theirs after ListQueues"]


def test_error_of_the_users_hook_reaches_the_user_as_without_us(calls: list[str], provider: TracerProvider) -> None:
    def theirs(span: Any, service: str, operation: str, params: dict[str, Any]) -> None:
        raise LookupError("the user's own defect")

    hook_instrumentors()
    BotocoreInstrumentor().instrument(tracer_provider=provider, request_hook=theirs)
    with pytest.raises(LookupError, match="the user's own defect"):
        list_queues()


def test_hooking_twice_calls_hooks_once(calls: list[str], provider: TracerProvider) -> None:
    assert hook_instrumentors() is hook_instrumentors()
    BotocoreInstrumentor().instrument(tracer_provider=provider)
    hook_instrumentors()
    list_queues()
    assert calls == OURS


def test_hooks_passed_on_by_the_user_are_called_once(calls: list[str], provider: TracerProvider) -> None:
    hook_instrumentors()
    BotocoreInstrumentor().instrument(
        tracer_provider=provider,
        request_hook=spancost.capture.aws.request_hook,
        response_hook=spancost.capture.aws.response_hook,
    )
    list_queues()
    assert calls == OURS


def test_undo_leaves_instrumentors_as_they_were() -> None:
    before = BaseInstrumentor.__dict__["instrument"]
    undo = hook_instrumentors()
    assert BaseInstrumentor.__dict__["instrument"] is not before
    undo()
    assert BaseInstrumentor.__dict__["instrument"] is before
    assert "__init_subclass__" not in BaseInstrumentor.__dict__


def test_other_instrumentors_get_their_arguments_unchanged() -> None:
    given: list[dict[str, Any]] = []

    class ShopInstrumentor(BaseInstrumentor):
        def instrumentation_dependencies(self) -> list[str]:
            return []

        def _instrument(self, **kwargs: Any) -> None:
            given.append(kwargs)

        def _uninstrument(self, **kwargs: Any) -> None:
            pass

    hook_instrumentors()
    ShopInstrumentor().instrument(a=1, request_hook=None)
    assert given == [{"a": 1, "request_hook": None}]


def test_defect_in_our_hooks_leaves_the_instrumentor_working(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recording() as (recorder, provider):
        monkeypatch.delattr(spancost.capture.aws, "request_hook")
        hook_instrumentors()
        BotocoreInstrumentor().instrument(tracer_provider=provider)
        list_queues()
        assert [span.name for span in recorder.seen] == ["SQS.ListQueues"]
        assert recorder.failures == ["capture.instrumentors"]
        recorder.failures.clear()


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_framework_is_imported_before_its_instrumentation() -> None:
    code = """
import sys
from spancost.capture.instrumentors import hook_instrumentors
hook_instrumentors()
frameworks = ("flask", "django", "fastapi", "starlette", "botocore", "opentelemetry.instrumentation.asgi")
print([name for name in frameworks if name in sys.modules])
from opentelemetry.instrumentation.flask import FlaskInstrumentor
print([name for name in ("spancost.capture.flask", "spancost.capture.django") if name in sys.modules])
import flask
print(flask.Flask.__call__.__module__)
"""
    assert python(code).splitlines() == ["[]", "['spancost.capture.flask']", "spancost.capture.flask"]


def test_instrumentors_loaded_as_by_zero_code_start_get_all_hooks() -> None:
    code = """
from spancost.capture.instrumentors import hook_instrumentors
hook_instrumentors()
from importlib.metadata import entry_points
from opentelemetry.instrumentation.distro import DefaultDistro
for point in entry_points(group="opentelemetry_instrumentor"):
    if point.name in ("flask", "django", "fastapi", "botocore"):
        DefaultDistro().load_instrumentor(point, skip_dep_check=True)
import flask.app
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware
print(flask.app.Flask.__call__.__module__)
print(OpenTelemetryMiddleware._get_otel_send.__module__)
print(_DjangoMiddleware._otel_response_hook.__module__)
print(BotocoreInstrumentor().request_hook.__module__)
print(BotocoreInstrumentor().response_hook.__module__)
"""
    assert python(code).splitlines() == [
        "spancost.capture.flask",
        "spancost.capture.asgi",
        "spancost.capture.django",
        "spancost.capture.aws",
        "spancost.capture.aws",
    ]


def test_without_instrumentation_package_nothing_happens() -> None:
    code = """
import sys
sys.modules["opentelemetry.instrumentation"] = None
from spancost.capture.instrumentors import hook_instrumentors
hook_instrumentors()()
print("fine")
"""
    assert python(code) == "fine"


def test_asynchronous_botocore_takes_the_same_hooks() -> None:
    from opentelemetry.instrumentation.botocore import AiobotocoreInstrumentor

    seen: dict[str, Any] = {}

    class Instrumentor(AiobotocoreInstrumentor):
        def _instrument(self, **kwargs: Any) -> None:
            seen.update(kwargs)

        def _uninstrument(self, **kwargs: Any) -> None:
            pass

    undo = hook_instrumentors()
    instrumentor: Any = Instrumentor()
    try:
        instrumentor.instrument(skip_dep_check=True)
    finally:
        instrumentor.uninstrument()
        undo()
    assert seen["request_hook"] is spancost.capture.aws.request_hook
    assert seen["response_hook"] is spancost.capture.aws.response_hook

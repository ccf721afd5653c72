"""Packages laid beside an application: the Lambda layer and what the Operator copies into a pod, built and run.

Both are built with pip from the package of this project. The Lambda runtime is AWS's own client of the Runtime API; the
API is answered here as its documentation says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, cast

import pytest

from spancost import names
from tests.blocks import ROOT
from tests.deploy import DEPLOY, documents
from tests.e2e.zero_code import SERVER_KIND, USD_PER_HOUR, Books, local_roots, otlp_by_component
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import ReservedPort, ServerProcess

pytestmark = pytest.mark.stack

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
_PIP_S = 240.0
"""Far more than it takes; versions that do not fit together keep pip busy for ever."""
_INVOCATIONS = 3
_HANDLER = """
import spancost

def handler(event, context):
    return {"got": event["number"], "from": spancost.__file__}
"""
_FEE_USD = 0.20 / 1e6
"""Of one request to Lambda."""
_STEP_USD = 0.5 * 0.0000166667 / 1000
"""Of one millisecond of 512 MB in eu-west-1."""
_SERVES = """
import spancost
from shop import app

@app.get("/from")
def where():
    return spancost.__file__
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the wheel of this project."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True, timeout=_PIP_S
    )
    return folder


def _clean() -> dict[str, str]:
    """Return the variables of an environment that knows nothing of prices or of this test."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


class _RuntimeApi(ThreadingHTTPServer):
    """Lambda's side of the Runtime API: hands out some events, and keeps the answers."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, events: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _RuntimeApiHandler)
        self.events = list(enumerate(events))
        self.answers: list[Any] = []
        self.errors: list[Any] = []
        self.is_over = Event()
        """The runtime asks for an event, and there is none left: a real function is frozen now."""


class _RuntimeApiHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        api = cast(_RuntimeApi, self.server)
        assert self.path == "/2018-06-01/runtime/invocation/next"
        if not api.events:
            api.is_over.set()
            Event().wait(60)
            return
        number, event = api.events.pop(0)
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0",
            "Lambda-Runtime-Aws-Request-Id": f"8476a536-e9f4-11e8-9739-2dfe598c3f{number:02}",
            "Lambda-Runtime-Deadline-Ms": "32503680000000",
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:thumbnails",
        }
        self._answer(200, json.dumps(event).encode(), headers)

    def do_POST(self) -> None:
        api = cast(_RuntimeApi, self.server)
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (api.answers if self.path.endswith("/response") else api.errors).append(said)
        self._answer(202, b"{}", {})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests show failures by themselves."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def _runtime_api() -> Generator[_RuntimeApi]:
    api = _RuntimeApi([{"number": number} for number in range(_INVOCATIONS)])
    thread = Thread(target=api.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        api.server_close()
        thread.join()


def test_function_with_the_layer_has_sent_its_money_before_it_is_frozen(tmp_path: Path, wheels: Path) -> None:
    built = tmp_path / "layer.zip"
    subprocess.run(
        ["sh", DEPLOY / "lambda" / "build_layer.sh", built, "--find-links", wheels],
        env=_clean() | {"PYTHON": sys.executable},
        check=True,
        timeout=_PIP_S,
    )
    opt, task = tmp_path / "opt", tmp_path / "task"
    with zipfile.ZipFile(built) as layer:
        layer.extractall(opt)
        mode = layer.getinfo("spancost-wrapper").external_attr >> 16
    assert mode & 0o111 == 0o111, "Lambda has to be able to run the wrapper"
    (opt / "spancost-wrapper").chmod(mode)  # which extractall has not kept
    size = sum(file.stat().st_size for file in opt.rglob("*") if file.is_file())
    assert size < 250 * 2**20, "what Lambda allows for all layers of a function"
    task.mkdir()
    (task / "thumbnails.py").write_text(_HANDLER, encoding="utf-8")
    (template,) = documents(DEPLOY / "lambda" / "template.yaml")
    function = template["Resources"]["Thumbnails"]["Properties"]
    variables = {name: str(value) for name, value in function["Environment"]["Variables"].items()}
    wrapper = variables["AWS_LAMBDA_EXEC_WRAPPER"].replace("/opt", str(opt))
    with OtlpReceiver() as receiver, _runtime_api() as api:
        environ = {
            **_clean(),
            **variables,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "thumbnails",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
            "AWS_REGION": "eu-west-1",
            "LAMBDA_TASK_ROOT": str(task),
            names.ENV_LEASE: "off",  # which no other process of its machine shares with a function
            "_HANDLER": str(function["Handler"]),
        }
        command = [wrapper, sys.executable, "-m", "awslambdaric", str(function["Handler"])]
        with ServerProcess("lambda", command, log=tmp_path / "lambda.log", cwd=task, environment=environ) as process:
            process.wait_until(api.is_over.is_set, "the last invocation is answered")
            assert api.errors == [], process.output()
            process.kill()  # a frozen function may never go on: what it has not sent by now is lost
        assert api.answers == [
            {"got": number, "from": str(opt / "python" / "spancost" / "__init__.py")} for number in range(_INVOCATIONS)
        ]
        roots = local_roots(receiver.spans)
        assert [root.kind for root in roots] == [SERVER_KIND] * _INVOCATIONS
        _, *warm = sorted(roots, key=lambda root: root.start_ns)  # the first one bears the start of the function, too
        for root in warm:
            steps = (float(root.attributes[names.TOTAL_USD]) - _FEE_USD) / _STEP_USD
            assert steps == pytest.approx(max(1, round(steps)), rel=1e-6)
        spent = sum(float(root.attributes[names.TOTAL_USD]) for root in roots)
        assert otlp_by_component(receiver, names.METRIC_COST) == {names.COMPUTE: pytest.approx(spent, rel=1e-9)}
        assert {root.resource["deployment.environment.name"] for root in roots} == {"production"}


def test_what_the_operator_copies_into_a_pod_prices_an_application_that_knows_nothing_of_it(
    tmp_path: Path, wheels: Path
) -> None:
    image = DEPLOY / "kubernetes" / "autoinstrumentation"
    dockerfile = (image / "Dockerfile").read_text(encoding="utf-8")
    installs = re.search(r"pip install (--no-cache-dir) --target /packages (-r requirements\.txt)", dockerfile)
    assert installs is not None
    packages = tmp_path / "otel-auto-instrumentation-python"
    subprocess.run(
        [*_PIP, "install", "--target", packages, "--find-links", wheels, *installs[2].split()],
        cwd=image,
        check=True,
        timeout=_PIP_S,
    )
    (instrumentation,) = documents(DEPLOY / "kubernetes" / "instrumentation.yaml")
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    application = tmp_path / "app"
    application.mkdir()
    shutil.copy(DEPLOY / "app" / "shop.py", application)
    (application / "served.py").write_text(_SERVES, encoding="utf-8")
    requests = container["resources"]["requests"]
    assert requests == {"cpu": "500m", "memory": "512Mi"}
    # As the Downward API hands them over: with the divisor 1m, and in bytes.
    asked = {"requests.cpu": "500", "requests.memory": str(512 * 2**20)}
    injected: dict[str, str] = {}
    for variable in instrumentation["spec"]["python"]["env"]:
        source = variable.get("valueFrom", {}).get("resourceFieldRef", {}).get("resource")
        value = asked[source] if source else str(variable["value"])
        injected[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: injected[found[1]], value)
    port = ReservedPort()
    with OtlpReceiver() as receiver:
        environ = {
            **_clean(),
            **injected,
            # What the Operator sets by itself (0.137.0, internal/instrumentation/python.go and sdk.go).
            "PYTHONPATH": f"{packages}/opentelemetry/instrumentation/auto_instrumentation:{packages}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
            "OTEL_RESOURCE_ATTRIBUTES": "k8s.namespace.name=shop,service.instance.id=shop.shop-1.shop",
            # Prices of the node, so that its share can be worked out.
            names.ENV_COMPUTE: f"{USD_PER_HOUR}usd/h",
            names.ENV_LEDGER: str(tmp_path / "ledger.sqlite"),
            names.ENV_LEASE: str(tmp_path / "lease.json"),
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        }
        gunicorn = str(Path(sys.executable).parent / "gunicorn")
        bind = f"127.0.0.1:{port.number}"
        command = [gunicorn, "--no-control-socket", "--workers", "2", "--bind", bind, "served:app"]
        port.release()
        with ServerProcess("pod", command, log=tmp_path / "pod.log", cwd=application, environment=environ) as process:
            process.wait_ready(f"{port.url}/health")
            where = _text(f"{port.url}/from")
            for item in range(20):
                _text(f"{port.url}/items/{item}")
            assert process.stop() == 0
        assert where == str(packages / "spancost" / "__init__.py")
        books = Books(tmp_path / "ledger.sqlite")
        assert books.served() == 21, process.output()
        ledger = books.by_component()
        assert ledger[names.COMPUTE] > 0
        assert otlp_by_component(receiver, names.METRIC_COST) == pytest.approx(ledger, rel=1e-9)
        points = receiver.newest(names.METRIC_REQUEST_COST)
        assert sum(point.count for point in points) == 21
        assert "shop.shop-1.shop" not in {point.instance for point in points}
        assert {point.resource["k8s.namespace.name"] for point in points} == {"shop"}


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())

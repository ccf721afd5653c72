"""The whole shop as processes on loopback: AWS and LLM stand-ins, and three apps under `opentelemetry-instrument`.

    with Stack(directory) as stack:
        run_load(stack.urls)
        text = stack.scrape("storefront")
    # here all are stopped, with their last flush written

Nothing leaves the machine and no key is used: boto3 talks to moto's server, the OpenAI and Anthropic clients to
`llm_server`. The apps get no spancost setting but environment variables.
"""

from __future__ import annotations

import os
import signal
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from examples.shop.processes import ReservedPort, ServerProcess, StackError

ROOT: Final = Path(__file__).resolve().parents[2]
"""Project root: working directory of the apps, so that they import as `examples.shop.*`."""

STOREFRONT: Final = "storefront"
ASSISTANT: Final = "assistant"
OFFICE: Final = "office"
_AWS: Final = "aws"
_LLM: Final = "llm"

_ACCOUNT: Final = "123456789012"
_REGION: Final = "us-east-1"
_QUEUE: Final = "shop-orders"
_TOPIC_ARN: Final = f"arn:aws:sns:{_REGION}:{_ACCOUNT}:shop-events"
PRODUCTS: Final = 20
"""Products `p1` to `p20` are in stock, each with a picture."""

_OWN_VARIABLES: Final = (
    "AWS_", "OTEL_", "SPANCOST_", "OPENAI_", "ANTHROPIC_", "PROMETHEUS_", "DJANGO_", "GUNICORN_", "SHOP_",
)  # fmt: skip
"""Prefixes of variables that are not handed on: the caller's account, exporters or keys have no place here."""


@dataclass(frozen=True, slots=True)
class _App:
    command: tuple[str, ...]
    """What a user types after `opentelemetry-instrument`, with `{port}`."""
    instrumentations: frozenset[str]
    """Entry-point names that are loaded; all others only cost start-up time."""
    multiprocess: bool
    """Whether its workers share their metrics through `PROMETHEUS_MULTIPROC_DIR`."""
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM


_SHARED_INSTRUMENTATIONS = frozenset({"botocore", "threading"})
_GUNICORN = ("gunicorn", "-c", "examples/shop/gunicorn_conf.py", "--no-control-socket", "--bind")

_APPS: Final[Mapping[str, _App]] = {
    STOREFRONT: _App(
        command=(*_GUNICORN, "127.0.0.1:{port}", "--workers", "2", "examples.shop.storefront:app"),
        instrumentations=_SHARED_INSTRUMENTATIONS | {"flask", "requests", "urllib3"},
        multiprocess=True,
        environment={},
    ),
    ASSISTANT: _App(
        # The storefront keeps its connections: after five idle seconds, the default, it would use one that has ended.
        command=(
            *("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--timeout-keep-alive", "75"),
            "examples.shop.assistant:app",
        ),
        instrumentations=_SHARED_INSTRUMENTATIONS | {"fastapi", "httpx", "httpx2", "openai", "anthropic"},
        multiprocess=False,
        # One of the three speaks the stable HTTP conventions, the others the old ones.
        environment={"OTEL_SEMCONV_STABILITY_OPT_IN": "http"},
        # After a graceful end by SIGTERM uvicorn raises that signal once more, which ends Python without its
        # exit handlers: no SDK writes its last batch then. After SIGINT it returns.
        stop_signal=signal.SIGINT,
    ),
    OFFICE: _App(
        command=(*_GUNICORN, "127.0.0.1:{port}", "--workers", "1", "examples.shop.office:application"),
        instrumentations=_SHARED_INSTRUMENTATIONS | {"django", "httpx", "httpx2", "anthropic"},
        multiprocess=True,
        environment={"DJANGO_SETTINGS_MODULE": "examples.shop.office_settings"},
    ),
}
APPS: Final = tuple(_APPS)


_SPANCOST_YAML = """\
http:
  free_hosts: ["127.0.0.1"]   # the shop's own apps: what they cost is priced where they run
"""


class Stack:
    """Starts and stops the shop. A context manager; `stop` is graceful and may be called again.

    Args:
        directory: Logs, ledger, lease file and metric files go here; made if missing.

        otlp_endpoint: Base URL of an OTLP/HTTP receiver for traces and metrics; without it nothing is exported.

        ledger: SQLite ledger shared by all apps; `directory/spancost.sqlite` by default.

        flush_interval_s: Seconds between two writes of counters and ledger.

        first_value_hold_s: Seconds for which a new counter series reads 0; 0 lets a short run be scraped.

        export_interval_millis: Interval of the OTLP exports.

        extra_environment: Further variables for every app, last word.

        on_progress: Called with one line for each step.

        start_timeout_s: Seconds each server has to answer.

        stop_timeout_s: Seconds each server has to end by itself once asked to.
    """

    def __init__(
        self,
        directory: Path,
        *,
        otlp_endpoint: str | None = None,
        ledger: Path | None = None,
        flush_interval_s: float = 1.0,
        first_value_hold_s: float = 0.0,
        export_interval_millis: int = 500,
        extra_environment: Mapping[str, str] | None = None,
        on_progress: Callable[[str], None] | None = None,
        start_timeout_s: float = 60.0,
        stop_timeout_s: float = 20.0,
    ) -> None:
        self.directory = directory
        self.ledger = ledger or directory / "spancost.sqlite"
        self.lease = directory / "lease"
        self.config = directory / "spancost.yaml"
        self.urls: Mapping[str, str] = {}
        """Base URL of each app by name, once started."""
        self.llm_url = ""
        """Base URL of the LLM server, which tells at `/usage` what a provider would bill."""
        self._otlp_endpoint = otlp_endpoint
        self.flush_interval_s = flush_interval_s
        self._first_value_hold_s = first_value_hold_s
        self._export_interval_millis = export_interval_millis
        self._extra_environment = dict(extra_environment or {})
        self._tell = on_progress or _say_nothing
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._processes: dict[str, ServerProcess] = {}
        self.exit_codes: dict[str, int] = {}
        """Exit code of each server after `stop`."""

    def start(self) -> Self:
        """Start everything and return when all servers answer.

        Raises:
            StackError: A server did not start; everything started so far is stopped again.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the apps gracefully, then the servers they use; finished also when a signal comes in between."""
        try:
            self._stop()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        for names in (APPS, (_AWS, _LLM)):
            started = [process for name in names if (process := self._processes.get(name))]
            for process in started:
                process.ask_to_stop()
            for process in started:
                self.exit_codes[process.name] = process.stop(timeout_s=self._stop_timeout_s)
                del self._processes[process.name]

    def scrape(self, app: str, *, timeout_s: float = 10.0) -> str:
        """Text of the app's own `/metrics`."""
        with urllib.request.urlopen(f"{self.urls[app]}/metrics", timeout=timeout_s) as answer:
            return answer.read().decode()

    def log(self, name: str) -> Path:
        """File with the output of a server: an app's name, `aws` or `llm`."""
        return self.directory / "logs" / f"{name}.log"

    def ledger_usd(self, columns: Sequence[str], positions: Sequence[str]) -> dict[tuple[str, ...], float]:
        """Return what the ledger of all apps has; nothing where there is no money.

        Args:
            columns: Of its table of rows; USD are added up by them. One sum with the empty key without any.

            positions: Of charges in their trees, as `spancost.window` names them.
        """
        from spancost.sinks.ledger.schema import connect_to_read

        asked = ", ".join(columns) or "''"
        marks = ", ".join("?" * len(positions))
        statement = f"SELECT {asked}, SUM(usd) FROM ledger_rows WHERE position IN ({marks}) GROUP BY {asked}"
        with closing(connect_to_read(str(self.ledger))[0]) as connection:
            rows = connection.execute(statement, list(positions)).fetchall()
        return {tuple(str(text or "") for text in row[: len(columns)]): row[-1] for row in rows if row[-1]}

    def multiprocess_directory(self, app: str) -> Path:
        """Where the workers of a gunicorn app keep their metrics."""
        return self.directory / f"prometheus-{app}"

    def alive(self) -> list[str]:
        """Names of the servers that run now."""
        return [name for name, process in self._processes.items() if process.running]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(_SPANCOST_YAML, encoding="utf-8")
        ports = {name: ReservedPort() for name in (_AWS, _LLM, *APPS)}
        urls = {name: port.url for name, port in ports.items()}
        self._tell("starting AWS (moto) and the LLM server")
        self._run(_AWS, [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}"], ports[_AWS], {})
        self._run(_LLM, [sys.executable, "-m", "examples.shop.llm_server", "--port", "{port}"], ports[_LLM], {})
        self._tell("starting storefront (Flask), assistant (FastAPI) and office (Django)")
        for name, app in _APPS.items():
            command = [str(executable("opentelemetry-instrument")), *app.command]
            self._run(name, command, ports[name], self._app_environment(name, app, urls), app.stop_signal)
        self._processes[_AWS].wait_ready(f"{urls[_AWS]}/moto-api/", deadline_s=self._start_timeout_s)
        self._tell("filling tables and buckets")
        fill_shop(urls[_AWS])
        self._processes[_LLM].wait_ready(f"{urls[_LLM]}/health", deadline_s=self._start_timeout_s)
        for name in APPS:
            self._processes[name].wait_ready(f"{urls[name]}/health", deadline_s=self._start_timeout_s)
        self.urls = {name: urls[name] for name in APPS}
        self.llm_url = urls[_LLM]

    def _run(
        self,
        name: str,
        command: list[str],
        port: ReservedPort,
        environment: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        port.release()
        self._processes[name] = ServerProcess(
            name,
            [part.replace("{port}", str(port.number)) for part in command],
            log=self.log(name),
            cwd=ROOT,
            environment={**_base_environment(), **environment},
            stop_signal=stop_signal,
        )

    def _app_environment(self, name: str, app: _App, urls: Mapping[str, str]) -> dict[str, str]:
        exporter = "otlp" if self._otlp_endpoint else "none"
        environment = {
            **aws_environment(urls[_AWS]),
            "OPENAI_BASE_URL": f"{urls[_LLM]}/v1",
            "OPENAI_API_KEY": "local",
            "ANTHROPIC_BASE_URL": urls[_LLM],
            "ANTHROPIC_API_KEY": "local",
            "SHOP_ASSISTANT_URL": urls[ASSISTANT],
            "SHOP_OFFICE_URL": urls[OFFICE],
            # Another name for the same machine: a host of its own in the list of what is not priced.
            "SHOP_PAYMENTS_URL": urls[_LLM].replace("127.0.0.1", "localhost") + "/payments",
            "SHOP_TWILIO_PROXY": urls[_LLM],
            "SHOP_QUEUE_URL": f"{urls[_AWS]}/{_ACCOUNT}/{_QUEUE}",
            "SHOP_TOPIC_ARN": _TOPIC_ARN,
            "SPANCOST_CONFIG": str(self.config),
            "SPANCOST_LEDGER": str(self.ledger),
            "SPANCOST_COMPUTE": "aws:m6i.large",
            "SPANCOST_REGION": _REGION,
            "SPANCOST_EGRESS_CLIENTS": "internet",  # its clients are on this machine, and stand for the internet
            "SPANCOST_LEASE": str(self.lease),
            "SPANCOST_FLUSH_INTERVAL": f"{self.flush_interval_s:g}",
            "SPANCOST_FIRST_VALUE_HOLD": f"{self._first_value_hold_s:g}",
            "OTEL_SERVICE_NAME": name,
            "OTEL_TRACES_EXPORTER": exporter,
            "OTEL_METRICS_EXPORTER": exporter,
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": str(self._export_interval_millis),
            # Room for all spans of a burst: a dropped span would make the sums over spans and metrics differ.
            "OTEL_BSP_MAX_QUEUE_SIZE": "20000",
            "OTEL_METRIC_EXPORT_INTERVAL": str(self._export_interval_millis),
            "OTEL_PYTHON_EXCLUDED_URLS": "/metrics$,/health$",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ",".join(
                sorted(_installed_instrumentations() - app.instrumentations)
            ),
            **app.environment,
        }
        if self._otlp_endpoint:
            environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = self._otlp_endpoint
        if app.multiprocess:
            directory = self.multiprocess_directory(name)
            directory.mkdir(parents=True, exist_ok=True)
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        return environment | self._extra_environment


def executable(name: str) -> Path:
    """Path of a command of this Python environment.

    Raises:
        StackError: It is not installed there.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise StackError(f"the command {name} is not installed in {path.parent}")
    return path


def aws_environment(endpoint: str) -> dict[str, str]:
    """Variables that send boto3 to a local server, whatever account the user has set up."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def fill_shop(endpoint: str) -> None:
    """Make the tables, the bucket, the queue and the topic, with `PRODUCTS` products in them."""
    import boto3

    session: Any = boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name=_REGION)
    dynamodb = session.client("dynamodb", endpoint_url=endpoint)
    s3 = session.client("s3", endpoint_url=endpoint)
    for table, keys in (("shop-products", ("product_id",)), ("shop-orders", ("tenant", "order_id"))):
        dynamodb.create_table(
            TableName=table,
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            KeySchema=[
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            BillingMode="PAY_PER_REQUEST",
        )
    s3.create_bucket(Bucket="shop-assets")
    session.client("sqs", endpoint_url=endpoint).create_queue(QueueName=_QUEUE)
    session.client("sns", endpoint_url=endpoint).create_topic(Name=_TOPIC_ARN.rsplit(":", 1)[1])

    def stock(number: int) -> None:
        item = {
            "product_id": {"S": f"p{number}"},
            "name": {"S": f"thing {number}"},
            "price": {"N": f"{number}.90"},
            "text": {"S": "A fine thing. " * 40 * number},
        }
        dynamodb.put_item(TableName="shop-products", Item=item)
        s3.put_object(Bucket="shop-assets", Key=f"pictures/p{number}", Body=b"\x89PNG" * 4_000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(stock, range(1, PRODUCTS + 1)))


def _base_environment() -> dict[str, str]:
    """The caller's environment without settings that could send a request or a span off this machine."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_OWN_VARIABLES) and not name.upper().endswith("_PROXY")
    }
    commands = str(Path(sys.executable).parent)
    return {**kept, "PATH": os.pathsep.join([commands, kept.get("PATH", os.defpath)]), "PYTHONUNBUFFERED": "1"}


def _installed_instrumentations() -> set[str]:
    return {point.name for point in entry_points(group="opentelemetry_instrumentor")}


def _say_nothing(line: str) -> None:
    """Default of `on_progress`."""

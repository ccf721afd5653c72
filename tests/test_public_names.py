"""What the package offers: every public name exists, and the core needs none of its extras."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import spancost

_SRC = Path(spancost.__file__).parent

_BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocked())
import spancost
for name in spancost.__all__:
    getattr(spancost, name)
from spancost.testing import priced_provider
with priced_provider(compute="36usd/h", region="us-east-1") as world:
    with world.tracer.start_as_current_span("put", attributes={{
        "rpc.system": "aws-api", "rpc.service": "DynamoDB", "rpc.method": "PutItem", "http.status_code": 200,
    }}):
        pass
    with world.tracer.start_as_current_span("chat", attributes={{
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 1,
    }}):
        pass
    world.publish()
    print(world.recorded.usd("aws"), world.attributes("chat").get("spancost.reason"))
"""


def test_every_name_in_all_exists_and_is_found_where_it_is_said_to_live() -> None:
    assert len(set(spancost.__all__)) == len(spancost.__all__)
    classes_and_functions = set(spancost.__all__) - {"__version__"}
    for name in classes_and_functions:
        assert getattr(spancost, name).__name__ == name
    assert set(spancost._HOMES) == classes_and_functions  # pyright: ignore[reportPrivateUsage]
    assert set(spancost.__all__) <= set(dir(spancost))


def test_the_version_is_that_of_the_installed_distribution() -> None:
    assert spancost.__version__ == metadata.version("spancost")


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'spancost' has no attribute 'instal'"):
        _ = spancost.instal  # type: ignore[attr-defined]


def _without(*names: str) -> str:
    program = _BLOCKED.format(names=names)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_core_prices_without_any_extra() -> None:
    extras = ("prometheus_client", "typer", "rich", "botocore", "flask", "django", "fastapi", "starlette", "requests")
    usd, reason = _without(*extras).split()
    assert float(usd) == 0.625e-6
    assert reason == "None"


def test_without_genai_prices_llm_spans_are_unpriced_and_everything_else_goes_on() -> None:
    program = _BLOCKED.format(names=("genai_prices",)).replace("region=", "reraise=False, region=")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["6.25e-07", "meter_error"], done.stderr


def test_importing_the_package_loads_neither_the_sdk_nor_prices() -> None:
    program = "import sys, spancost; print([n for n in ('opentelemetry', 'genai_prices', 'yaml') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(_SRC.parent)!r}); {program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "module", sorted(".".join(path.relative_to(_SRC.parent).with_suffix("").parts) for path in _SRC.rglob("*.py"))
)
def test_every_module_can_be_imported_and_has_a_docstring(module: str) -> None:
    assert importlib.import_module(module.removesuffix(".__init__")).__doc__

from __future__ import annotations

import pytest
import typer

from spancost.cli.report.options import conditions_of, key_of, keys_of
from spancost.sinks.ledger.query import LEDGER_KEYS, Condition


@pytest.mark.parametrize("key", LEDGER_KEYS)
def test_every_key_of_the_ledger_is_a_key_of_a_report(key: str) -> None:
    assert keys_of(key) == (key,)
    assert keys_of(key.replace("_", "-")) == (key,)


def test_keys_have_short_names_and_stand_once() -> None:
    assert keys_of("method, route,http_route,label.cost_center,") == (
        "http_request_method",
        "http_route",
        "label.cost_center",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tennant", "--by: 'tennant' is not a key: did you mean 'tenant'?"),
        ("label.", "label.NAME"),
        ("cloud-servce", "did you mean 'cloud-service'"),
        (" , ", "names no key"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_miss(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        keys_of(text)
    assert message in capsys.readouterr().err


def test_conditions_have_a_key_and_a_glob_and_may_be_negated() -> None:
    assert conditions_of(["tenant=acme*", "route!=/a=b", "label.cost_center=", "component!=llm"]) == (
        Condition("tenant", "acme*"),
        Condition("http_route", "/a=b", negated=True),
        Condition("label.cost_center", ""),
        Condition("component", "llm", negated=True),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tenant", "'tenant' is not KEY=GLOB or KEY!=GLOB"),
        ("=x", "is not KEY=GLOB"),
        ("day=2026*", "'day' is a time: bound it by --from and --to"),
        ("tennant=acme", "--where: 'tennant' is not a key: did you mean 'tenant'?"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        conditions_of([text])
    assert message in capsys.readouterr().err


def test_the_option_is_named_in_the_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        key_of("modell", "--pivot")
    assert "--pivot: 'modell' is not a key: did you mean 'model'?" in capsys.readouterr().err

"""Matches of rules in the writing of PromQL: they mean what the processes mean, whatever stands in them."""

from __future__ import annotations

import random
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.budgets.prometheus.selectors import ATTRIBUTED, COST, cut_of, quoted, re2, selector
from spancost.budgets.rules import AnyRule, BudgetRule, Match
from spancost.budgets.windows import ROLLING, Window
from tests.support.promtool import evaluate, series

_TRICKY = st.text(st.sampled_from("ab-[]!^*?.\\|(){}+$\"'é{}&~/ ]-z"), max_size=12)


def _python(pattern: str) -> re.Pattern[str]:
    """Return a pattern of RE2 as Python writes it: `\\x{5D}` has no braces there."""
    return re.compile(re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", pattern), re.DOTALL)


@given(_TRICKY, _TRICKY)
def test_glob_as_expression_matches_what_the_glob_does(glob: str, text: str) -> None:
    pattern = _python(re2(glob))
    assert bool(pattern.fullmatch(text)) == fnmatchcase(text, glob)
    assert bool(pattern.fullmatch(glob)) == fnmatchcase(glob, glob)


@given(st.text(max_size=20))
def test_glob_of_literal_characters_matches_itself_alone(text: str) -> None:
    literal = "".join(char for char in text if char not in "*?[")
    pattern = _python(re2(literal))
    assert pattern.fullmatch(literal)
    assert not pattern.fullmatch(f"{literal}x")
    assert not pattern.fullmatch(f"x{literal}")


def test_prometheus_reads_globs_and_texts_as_they_are_meant(folder: Path) -> None:
    chance = random.Random(5)
    characters = "ab-[]!^*?.\\|(){}+$\"'é&~/ \t"
    texts = sorted(
        {"".join(chance.choices(characters, k=chance.randint(1, 4))) for _ in range(60)} | {"\x01", "\x7f", "\u2028"}
    )
    globs = ["".join(chance.choices(characters, k=chance.randint(1, 5))) for _ in range(150)]
    globs += ["[!a-b]*", "[]a]?", "[b-a]", "[!b-a]", "*", "a|b", *texts]
    inputs = [series("m", {"model": text}, [(0, 1)], 60.0) for text in texts]
    questions = [(f"count({selector('m', {'model': (glob, 'é')})}) or vector(0)", 0.0) for glob in globs]
    questions += [(f"count({selector('m', {}, model=text)}) or vector(0)", 0.0) for text in texts]
    answers = [one[0].value for one in evaluate("groups: []", inputs, questions, folder)]
    expected = [sum(fnmatchcase(text, glob) or text == "é" for text in texts) for glob in globs]
    assert answers == [*expected, *[1] * len(texts)]
    assert 1 < sum(count > 1 for count in expected) < len(globs)


@pytest.mark.parametrize(
    ("match", "per", "cut"),
    [
        (Match(), (), COST),
        (Match(component=("llm",), service=("shop",)), ("environment",), COST),
        (Match(route=("/cart/*",)), ("model",), COST),
        (Match(component=("llm",)), ("tenant",), ATTRIBUTED),
        (Match(feature=("x",), team=("y",)), ("service",), ATTRIBUTED),
        (Match(tenant=("acme",)), ("route",), None),
        (Match(provider=("aws",), team=("web",)), (), None),
    ],
)
def test_rule_is_worked_out_from_the_one_metric_that_has_all_it_asks_for(
    match: Match, per: tuple[str, ...], cut: object
) -> None:
    rule: AnyRule = BudgetRule(name="r", limit_usd=1, window=Window(ROLLING, 3600), match=match, per=per)
    assert cut_of(rule) is cut


def test_selector_has_plain_texts_where_there_is_no_wildcard() -> None:
    globs = {"route": ("/cart/{id}",), "model": ("gpt-*", "o1")}
    assert selector("m", globs, job="a") == r'm{job="a",http_route="/cart/{id}",model=~"gpt-.*|o1"}'
    assert selector("m", {}) == "m"
    assert quoted('a"\\\n') == r'"a\"\\\n"'

"""The language of quantities: what it reads, what it refuses, and what it makes of parts that are not there."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spancost.capture.http_clients import CallParts, Side
from spancost.prices.quantity import MAX_EXPRESSION_CHARACTERS, MAX_QUANTITY, Quantity, QuantityError
from tests.prices.http_calls import call


def of(expression: str, parts: CallParts | None = None) -> float | None:
    return Quantity(expression).of(call() if parts is None else parts)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("1", 1),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4 / 8 - 0.5", 2),
        ("ceil(2.01)", 3),
        ("ceil(2)", 2),
        ("max(1, 5, 3)", 5),
        ("min(1, 5, 3)", 1),
        ("  7  ", 7),
        ("5 if 2 > 1 else 1", 5),
        ("5 if 2 <= 1 else 1", 1),
    ],
)
def test_arithmetic_is_that_of_python(expression: str, expected: float) -> None:
    assert of(expression) == expected


SENT = {
    "to": [{"email": "a@x.example"}, {"email": "b@x.example"}],
    "one": "a@x.example",
    "text": "Grüße",
    "texts": ["ab", "cde"],
    "units": "12",
    "zero": 0,
    "nothing": None,
    "flag": True,
    "groups": [{"to": [1, 2]}, {"to": [3]}, {}, {"to": None}],
    "x-y": {"z": [10, 20]},
    "costs": [{"n": 1.5}, {"n": "2"}],
    "mails": '"Doe, John" <j@x.example>, k@x.example',
    "depth": "advanced",
}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("count(request.json.to)", 2),
        ("count(request.json.to[])", 2),
        ("count(request.json.one)", 1),
        ("count(request.json.one[])", 1),
        ("count(request.json.groups[].to[])", 3),
        ("count(request.json.missing)", 0),
        ("count(request.json.missing[].to[])", 0),
        ("count(request.json.nothing)", 0),
        ("length(request.json.text)", 5),
        ("bytes(request.json.text)", 7),
        ("length(request.json.texts)", 5),
        ("length(request.json.texts[]) + 1", 6),
        ("segments(request.json.text)", 1),
        ("request.json.units", 12),
        ("request.json.zero", 0),
        ("request.json.zero or 3", 3),
        ("request.json.missing or request.json.units or 3", 12),
        ("request.json.missing or 3", 3),
        ("request.json.nothing or (2 + 1)", 3),
        ('request.json["x-y"].z[1]', 20),
        ("sum(request.json.costs[].n)", 3.5),
        ("addresses(request.json.mails)", 2),
        ("addresses(request.json.to[].email)", 2),
        ("addresses(request.json.missing)", 0),
        ('count(request.json.mails, ",")', 3),
        ('2 if request.json.depth == "advanced" else 1', 2),
        ('2 if request.json.depth != "advanced" else 1', 1),
        ('2 if request.json.missing == "advanced" else 1', 1),
        ('2 if request.json.missing != "advanced" else 1', 2),
        ("2 if request.json.units > 11 else 1", 2),
        ("2 if request.json.missing > 11 else 1", 1),
        ("2 if request.json.missing != 11 else 1", 2),
    ],
)
def test_paths_lead_into_a_body_that_was_seen(expression: str, expected: float) -> None:
    assert of(expression, call(SENT)) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "request.json.missing",
        "request.json.missing + 1",
        "length(request.json.missing)",
        "segments(request.json.missing)",
        "ceil(request.json.missing)",
        "max(1, request.json.missing)",
        "sum(request.json.missing)",
        "request.json.text.deeper",
        "request.json.to[7]",
        "request.json.zero or request.json.missing",
        'request.header["x-units"]',
        'span["units"]',
    ],
)
def test_a_part_that_is_absent_makes_the_quantity_unknown(expression: str) -> None:
    assert of(expression, call(SENT)) is None


@pytest.mark.parametrize(
    "expression",
    [
        "response.json.units",
        "count(response.json.units)",
        "addresses(response.json.units)",
        "response.json.units or 1",
        "response.json.units or request.json.missing or 1",
        "response.json.units or (1 + 1)",
        "1 if response.json.depth == 'x' else 2",
        "1 if response.json.n > 3 else 2",
        "request.json.zero or response.json.units",
        "request.form.Body or 1",
        "response.bytes",
        "unknown",
        "1 + unknown",
        "unknown or 1",
        "1 if request.json.zero == 1 else unknown",
    ],
)
def test_no_constant_stands_in_for_a_body_that_was_not_seen(expression: str) -> None:
    assert of(expression, call(SENT)) is None


def test_the_request_stands_in_for_an_answer_that_was_not_seen() -> None:
    expression = "response.json.billed or ceil(count(request.json.documents[]) / 100)"
    assert of(expression, call({"documents": ["d"] * 101})) == 2
    assert of(expression, call({"documents": ["d"] * 101}, {"billed": 3})) == 3


def test_an_answer_of_zero_gives_way_but_is_kept_if_nothing_is_better() -> None:
    expression = "response.json.num_segments or segments(request.form.Body)"
    assert of(expression, call(form="Body=hello", response={"num_segments": "0"})) == 1
    assert of(expression, call(response={"num_segments": "0"})) is None
    assert of("response.json.units", call(response={"units": 0})) == 0


def test_forms_queries_headers_sizes_and_attributes_are_parts() -> None:
    form = call(form="to=a%40x.example&to=b%40x.example&Body=Hi+there")
    assert of("addresses(request.form.to)", form) == 2
    assert of("length(request.form.Body)", form) == 8
    assert of("count(request.form.cc)", form) == 0
    asked = call(url="https://maps.example/matrix/a;b;c?origins=A|B|C&destinations=D%7CE&n=4")
    assert of('count(request.query.origins, "|") * count(request.query.destinations, "|")', asked) == 6
    assert of("request.query.n", asked) == 4
    assert of('count(request.path, ";")', asked) == 3
    answered = call({"a": 1}, headers={"X-Units": "5"}, answer_headers={"content-length": "2048", "x-Cost": "2.5"})
    assert of('request.header["x-units"] + response.header["X-COST"]', answered) == 7.5
    assert of("response.bytes / 1024", answered) == 2
    assert of("request.bytes", answered) == len(b'{"a": 1}')
    assert of('span["app.units"] * 2', call(attributes={"app.units": 3})) == 6
    assert of('count(span["app.list"])', call(attributes={"app.list": ("a", "b")})) == 2


@pytest.mark.parametrize(
    ("expression", "sent"),
    [
        ("request.json.n", {"n": -1}),
        ("request.json.n", {"n": "many"}),
        ("request.json.n", {"n": "nan"}),
        ("request.json.n", {"n": "inf"}),
        ("request.json.n", {"n": True}),
        ("request.json.n", {"n": [1]}),
        ("request.json.n", {"n": {}}),
        ("request.json.n", {"n": MAX_QUANTITY * 2}),
        ("request.json.n", {"n": 10**400}),
        ("1 / request.json.n", {"n": 0}),
        ("1 - request.json.n", {"n": 2}),
        ("ceil(request.json.n)", {"n": "1e999"}),
        ("max(1, request.json.n)", {"n": "many"}),
        ("length(request.json.n)", {"n": {"a": 1}}),
        ("sum(request.json.n[])", {"n": [1, "x"]}),
        ("1e200 * 1e200 * request.json.n", {"n": 1}),
    ],
)
def test_an_impossible_usage_is_nan(expression: str, sent: Any) -> None:
    quantity = of(expression, call(sent))
    assert quantity is not None
    assert math.isnan(quantity)


@pytest.mark.parametrize(
    "body",
    ["{", "not json", b"\xff\xfe\x00", "[" * 100_000, "x" * (256 * 1024 + 1), "", None, 7, iter([b"{}"])],
)
def test_a_body_that_cannot_be_read_was_not_seen(body: object) -> None:
    parts = CallParts({}, Side(body), Side())
    assert Quantity("count(request.json.a)").of(parts) is None


def test_a_body_of_256_kb_is_read_and_one_byte_more_is_not() -> None:
    fits = '{"a": "' + "x" * (256 * 1024 - 9) + '"}'
    assert Quantity("length(request.json.a)").of(CallParts({}, Side(fits), Side())) == 256 * 1024 - 9
    assert Quantity("length(request.json.a)").of(CallParts({}, Side(fits + " "), Side())) is None
    assert Quantity("request.bytes").of(CallParts({}, Side((fits + " ").encode()), Side())) == 256 * 1024 + 1


@pytest.mark.parametrize(
    ("expression", "problem", "position"),
    [
        ("", "it is empty", 1),
        ("1 + ]", "it is no expression", 5),
        ("1\n+ 1", "one line", 1),
        ("1 ** 2", "only + - * /", 1),
        ("1 // 2", "only + - * /", 1),
        ("-1", "only numbers, paths", 1),
        ("'text'", "a number is expected", 1),
        ("True", "a number is expected", 1),
        ("1e999", "a finite number", 1),
        ("2 * price", "a path begins with", 5),
        ("2 * open('x')", "unknown function", 5),
        ("2 * __import__('os').system", "a path begins with", 5),
        ("request.json.a.pop()", "unknown function", 1),
        ("request.body", "request has json, form", 1),
        ("request", "request has json, form", 1),
        ("response.query.a", "response has json, header, bytes", 1),
        ("1 + request.bytes.a", "request.bytes has no parts", 5),
        ("request.form", "followed by one name", 1),
        ("request.form.a.b", "followed by one name", 1),
        ("request.json.a[] + count(request.json.b[], 1)", "a separator", 44),
        ("request.json.a[1:2]", '[], [0] or ["name"]', 1),
        ("request.json.a[] + x", "a path begins with", 20),
        ("span.a.b", "span[", 1),
        ("ceil(1, 2)", "ceil() takes one argument", 1),
        ("max()", "max() needs numbers", 1),
        ("max(*request.json.a)", "arguments have no names", 1),
        ("count(a=1)", "arguments have no names", 1),
        ("1 if request.json.a else 2", "a comparison", 6),
        ("1 if 1 < 2 < 3 else 2", "a comparison", 6),
        ("1 if request.json.a in 'x' else 2", "only == !=", 6),
        ("1 if request.json.a < 'x' else 2", "text is compared by", 23),
        ("1 and 2", "only numbers, paths", 1),
        ("[i for i in request.json.a]", "only numbers, paths", 1),
        ("lambda: 1", "only numbers, paths", 1),
        ("(1).real", "a path begins with", 2),
        ("1 + " * 200 + "1", "longer than", MAX_EXPRESSION_CHARACTERS + 1),
        ("(" * 240 + "1" + ")" * 240, "it ", 1),
        ("1\x00", "one line", 1),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(expression: str, problem: str, position: int) -> None:
    with pytest.raises(QuantityError) as caught:
        Quantity(expression)
    assert problem in caught.value.problem
    if len(expression) < 200 or problem == "longer than":
        assert caught.value.position == position
    assert f"at character {caught.value.position}" in str(caught.value)


def test_an_expression_knows_whether_the_span_is_enough() -> None:
    assert Quantity('count(request.query.a, "|") + 2 * span["x"] + count(request.path)').from_span
    for needs_more in (
        "response.json.a",
        "request.bytes",
        "request.form.a",
        'response.header["a"]',
        "1 + count(request.json.a)",
    ):
        assert not Quantity(needs_more).from_span


_PIECES = [
    *(
        "request",
        "response",
        "span",
        ".json",
        ".form",
        ".a",
        "[]",
        "[0]",
        '["x"]',
        "(",
        ")",
        ",",
        " or ",
        " if ",
        " else ",
    ),
    *(
        "+",
        "-",
        "*",
        "/",
        "ceil",
        "max",
        "count",
        "segments",
        "1",
        "0.5",
        "==",
        ">",
        '"t"',
        " ",
        "é",
        "\\",
        "{",
        "lambda ",
    ),
]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(_PIECES), max_size=20).map("".join)))
def test_any_text_is_an_expression_or_a_quantity_error(text: str) -> None:
    try:
        quantity = Quantity(text)
    except QuantityError as error:
        assert 1 <= error.position <= len(text) + 1  # noqa: PT017
    else:
        quantity.of(call())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(
    _JSON,
    st.sampled_from(
        [
            "request.json.a",
            "sum(request.json.a[].b) * 3 - 1",
            "count(request.json[].a[]) / request.json.b",
            "length(request.json.a) or addresses(request.json.b) or 2",
            "ceil(max(request.json.a, request.json.b[0]))",
            '1 if request.json.a == "x" else request.json.b',
            "segments(request.json.a[])",
            'count(request.json.a, ";") + bytes(request.json.b)',
        ]
    ),
)
def test_any_body_gives_a_possible_quantity_or_nan_or_nothing(body: Any, expression: str) -> None:
    quantity = of(expression, call(body))
    assert quantity is None or math.isnan(quantity) or 0 <= quantity <= MAX_QUANTITY

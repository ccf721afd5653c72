"""Hostile values, and documents that are nearly right."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from decimal import Decimal
from typing import Any, Final, cast

import yaml
from hypothesis import strategies as st

NUMBERS_AS_TEXT: Final = [
    "0", "-1", "1e999", "1e-999", "-0.0", "NaN", "Infinity", "nan", "inf", "9" * 5000, "0x10", "1_000", "١٢", "1e3",
    "0.1", "1/0", "1/3", "3/2", "100%", " 5 ", "+5", "5.", ".5", "1,5", "٣", "1e400000000", "0." + "0" * 400 + "1",
]  # fmt: skip
"""Texts that are numbers for some readers."""
TEXTS_THAT_MEAN_SOMETHING: Final = [
    "", " ", "\x00", "a\x00b", "\ud800", "x\udfff", "é" * 300, "\U0001f4b8" * 50, "../..", "*", "[", "?", "[a-", "{",
    "{a}", "null", "true", "GET", "POST", "chat", "embeddings", "openai", "aws.bedrock", "gpt-5-mini", "us-east-1",
    "eu-*", "aws:m6i.large", "aws:", ":", "2026-02-30", "2026-01-31", "9999-12-31", "0001-01-01", "-5d", "1e9d", "7d",
    "http://[::1", "http://a:99999999/", "https://api.twilio.com/2010-04-01/Accounts/A/Messages.json", "//", "http://",
    "dynamodb.us-east-1.amazonaws.com", "s3.amazonaws.com", "bedrock-runtime.eu-west-1.amazonaws.com", "::1", "%",
    "[" * 3000, "{" * 3000, '{"a":' * 500, "[1, 2", '{"CapacityUnits": -1}', '{"CapacityUnits": "NaN"}',
    '{"cached_tokens": -1}', '[{"TableName": 5}]', "arn:aws:lambda:::", "arn:aws:sqs:us-east-1:1:q.fifo", "\\", '"',
]  # fmt: skip
NUMBERS: Final = [
    0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-320, 1e308, 1.7e308,
    -1e308, float("nan"), float("inf"), float("-inf"), 1e13,
]  # fmt: skip

texts: Final = st.one_of(
    st.sampled_from(TEXTS_THAT_MEAN_SOMETHING),
    st.sampled_from(NUMBERS_AS_TEXT),
    st.text(st.characters(codec=None), max_size=20),
)
numbers: Final = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.floats())
attribute_values: Final = st.one_of(
    texts,
    numbers,
    st.booleans(),
    st.binary(max_size=8),
    st.lists(texts, max_size=3),
    st.lists(numbers, max_size=3),
    st.just(["x"] * 2000),
    st.just("y" * 200_000),
)
"""What instrumentations and applications may set."""
any_values: Final = st.one_of(
    attribute_values,
    st.none(),
    st.sampled_from([Decimal("NaN"), Decimal("1e400"), datetime.date(2026, 2, 1), datetime.datetime(2026, 1, 1)]),
    st.builds(object),
    st.sets(st.integers(), max_size=2),
    st.dictionaries(st.one_of(texts, st.integers(), st.none()), texts, max_size=2),
    st.lists(st.one_of(st.none(), texts, st.lists(numbers, max_size=2)), max_size=3),
)
"""Anything that Python has."""
json_values: Final = st.recursive(
    st.one_of(texts, numbers, st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)
yaml_values: Final = st.one_of(json_values, st.dates(), st.datetimes(), st.binary(max_size=4))


@st.composite
def mutated(
    draw: st.DrawFn,
    documents: Sequence[Any],
    values: st.SearchStrategy[Any],
    *,
    keys: Sequence[str] = (),
    most: int = 6,
) -> Any:
    """Take a document and change it in some places: values, keys, whole parts.

    Args:
        draw: Given by hypothesis.

        documents: Trees of dictionaries and lists.

        values: What is put in.

        keys: Further names that readers know.

        most: Changes.
    """
    tree = deepcopy(draw(st.sampled_from(documents)))
    holder = [tree]
    for _ in range(draw(st.integers(0, most))):
        _change(draw, holder, values, keys)
    return holder[0]


def _change(draw: st.DrawFn, holder: Any, values: st.SearchStrategy[Any], keys: Sequence[str]) -> None:
    places = list(_places(holder))
    parent: Any
    parent, place = places[draw(st.integers(0, len(places) - 1))]
    kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "rename", "move", "add"]))
    if parent is holder and kind != "add":
        kind = draw(st.sampled_from(["replace", "add", "add"])) if len(places) > 1 else "replace"
    if kind == "replace":
        parent[place] = draw(values)
    elif kind == "remove":
        del parent[place]
    elif kind == "double":
        copied = deepcopy(parent[place])
        if _is_list(parent):
            parent.insert(place, copied)
        else:
            parent[draw(_names(keys))] = copied
    elif kind == "rename" and not _is_list(parent):
        parent[draw(_names(keys))] = parent.pop(place)
    elif kind == "move":
        other, there = places[draw(st.integers(0, len(places) - 1))]
        parent[place] = deepcopy(other[there])
    else:
        inside: Any = parent[place]
        if isinstance(inside, dict):
            inside[draw(_names(keys))] = draw(values)
        elif _is_list(inside):
            inside.append(draw(values))
        else:
            parent[place] = [inside]


def _names(keys: Sequence[str]) -> st.SearchStrategy[str]:
    return st.one_of(st.sampled_from(keys), texts) if keys else texts


def _is_list(node: object) -> bool:
    return isinstance(node, list)


def _children(node: Any) -> list[tuple[Any, Any]]:
    """Return the parts of a container with their keys or places."""
    if isinstance(node, dict):
        return list(cast("dict[Any, Any]", node).items())
    return list(enumerate(cast("list[Any]", node))) if isinstance(node, list) else []


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside."""
    for key, child in _children(node):
        yield node, key
        yield from _places(child)


@st.composite
def mutated_bytes(draw: st.DrawFn, originals: Sequence[bytes], *, most: int = 8) -> bytes:
    """Take bytes and change some: flipped, cut out, doubled, put in."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from([1, 1, 1, 2, 5, 50, 1000]))
        kind = draw(st.sampled_from(["flip", "cut", "double", "put", "token", "end"]))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length] * draw(st.sampled_from([1, 2, 30]))
        elif kind == "put":
            data[at:at] = draw(st.binary(max_size=8))
        elif kind == "token":
            data[at:at] = draw(st.sampled_from(_TOKENS))
        elif kind == "end":
            del data[at:]
    return bytes(data)


_TOKENS: Final = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b"\x00", b"null", b"-", b"1e999", b"9" * 5000,
    b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b"[" * 2000, b'{"a":' * 600, b"&a ", b"*a", b"!!python/x ",
    b"<<: ", b"? ", b"- ", b"|", b">", b"%YAML 9\n---\n", b"---\n", b"...\n", b"\t", b"#", b"'", b"NaN", b"Infinity",
    b"2026-02-30", b"0b1", b"0o7", b"1:60:60", b"\x1f\x8b",
]  # fmt: skip


def as_json(value: Any) -> bytes:
    """Return JSON text, also of what is none: NaN, lone surrogates, numbers of any length."""
    try:
        return json.dumps(value, default=str).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return repr(value).encode("utf-8", "surrogatepass")


def as_yaml(document: Any) -> bytes:
    """Return YAML, or JSON of what YAML refuses to write."""
    try:
        return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return as_json(document)


def names_in(node: Any) -> set[str]:
    """Return all keys of a tree."""
    return {str(place) for container, place in _places(node) if isinstance(container, dict)}

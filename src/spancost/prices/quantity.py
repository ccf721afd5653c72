"""Quantity expressions: how much of a vendor's unit one HTTP call used.

    response.json.num_segments or segments(request.form.Body)

A small language in Python's syntax, parsed once into closures; nothing of Python itself can be reached from it.

- Numbers, `+ - * /`, `ceil(x)`, `max(...)`, `min(...)`.
- Paths into what was sent and answered: `request.json.a.b[0].c[].d`, `request.form.Body`, `request.query.q`,
  `request.path`, `request.header["x-units"]`, `request.bytes`, `response.json...`, `response.header[...]`,
  `response.bytes`, `span["attribute.name"]`. `[]` goes through a list; a single value counts as a list of one.
  Names that are no words are written `["so"]`.
- `count(path)`: number of values. `count(path, "|")`: number of pieces between separators. `sum(path)`: of numbers.
  `length(path)`: characters. `bytes(path)`: UTF-8 bytes. `segments(path)`: SMS segments. `addresses(path)`: mail
  addresses (`@` signs).
- `a or b`: b where a is not there or 0. `a if x == "text" else b`; also `!=`, `<`, `<=`, `>`, `>=`. `unknown`: for a
  branch in which nothing tells.

What is not there is one of two things. *Absent* is a field that is missing in a body that was seen: its `count` is
0, it equals nothing, and `or` may fill in a constant. *Unseen* is what lies in a body that nobody has seen: no
constant stands in for it, and the result is unknown. Text that looks like a number is one.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from spancost.prices.quantity_values import (
    ABSENT,
    EACH,
    FUNCTIONS,
    UNSEEN,
    Missing,
    field,
    missing,
    number,
    pieces,
    walk,
)

MAX_EXPRESSION_CHARACTERS: Final = 500
MAX_QUANTITY: Final = 1e12
"""A quantity above this is no usage of one call."""


class Parts(Protocol):
    """What is known of one call. Each method returns `UNSEEN` for what is not."""

    def json(self, side: str) -> Any:
        """Return the parsed body of `request` or `response`."""
        ...

    def form(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return the fields of an urlencoded request body."""
        ...

    def query(self) -> Mapping[str, Sequence[str]] | Missing:
        """Return the query parameters."""
        ...

    def path(self) -> str | Missing:
        """Return the path of the URL."""
        ...

    def header(self, side: str, name: str) -> str | Missing:
        """Return one header of `request` or `response`, by its name in small letters."""
        ...

    def body_bytes(self, side: str) -> int | Missing:
        """Return the size of the body of `request` or `response`, bytes."""
        ...

    def attribute(self, name: str) -> Any:
        """Return an attribute of the span."""
        ...


class QuantityError(ValueError):
    """An expression cannot be read; the message says where."""

    def __init__(self, problem: str, position: int) -> None:
        self.problem = problem
        self.position = position
        """Character at which it goes wrong, from 1."""
        super().__init__(f"{problem} (at character {position})")


Evaluate: TypeAlias = "Callable[[Parts], Any]"


class Quantity:
    """A compiled expression."""

    __slots__ = ("_evaluate", "from_span", "text")

    def __init__(self, text: str) -> None:
        """Compile an expression.

        Raises:
            QuantityError: It is none.
        """
        self.text = text
        reader = _Reader(text)
        self._evaluate = _as_number(reader.read())
        self.from_span: bool = not reader.needs_bodies
        """All it needs is on the span: no body, no size of one and no header."""

    def __repr__(self) -> str:
        return f"Quantity({self.text!r})"

    def of(self, parts: Parts) -> float | None:
        """Return the quantity of a call; None if what it needs is not there, NaN if that is no possible usage."""
        value = self._evaluate(parts)
        if isinstance(value, Missing):
            return None
        return value if is_possible(value) else math.nan


def is_possible(quantity: float) -> bool:
    """Say whether a number can be what one call used: finite, not negative, not huge."""
    return 0 <= quantity <= MAX_QUANTITY


# --- reading -------------------------------------------------------------------------------------

_TOKEN = re.compile(r"\"[^\"]*\"|'[^']*'|\[\s*\]")
_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: lambda one, other: one + other,
    ast.Sub: lambda one, other: one - other,
    ast.Mult: lambda one, other: one * other,
    ast.Div: lambda one, other: one / other,
}
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_BODY_PARTS: Final = frozenset({"json", "form", "header", "bytes"})
_REQUEST_PARTS: Final = ("json", "form", "query", "path", "header", "bytes")
_RESPONSE_PARTS: Final = ("json", "header", "bytes")


class _Reader:
    """Turns one expression into a closure."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._inserted: list[int] = []
        self.needs_bodies = False

    def read(self) -> Evaluate:
        if len(self._text) > MAX_EXPRESSION_CHARACTERS:
            raise QuantityError(f"longer than {MAX_EXPRESSION_CHARACTERS} characters", MAX_EXPRESSION_CHARACTERS + 1)
        stripped = self._text.strip()
        if not stripped:
            raise QuantityError("it is empty", 1)
        if "\n" in stripped or "\r" in stripped or not stripped.isprintable():
            raise QuantityError("one line of printable characters is expected", 1)
        source = _TOKEN.sub(self._python, stripped)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source, mode="eval")
            return self._compiled(tree.body)
        except SyntaxError as error:
            place = error.offset - 1 if error.offset else len(source)  # none where the text ends too early
            raise QuantityError("it is no expression", self._position(place)) from None
        except (ValueError, OverflowError, RecursionError, MemoryError) as error:
            if isinstance(error, QuantityError):
                raise
            raise QuantityError("it cannot be read", 1) from None

    def _python(self, found: re.Match[str]) -> str:
        """Write `[]` as Python does: `[:]`."""
        if found.group()[0] != "[":
            return found.group()
        self._inserted.append(found.end() - 1 + len(self._inserted))
        return found.group()[:-1] + ":]"

    def _position(self, column: int) -> int:
        leading = len(self._text) - len(self._text.lstrip())
        return leading + column - sum(1 for place in self._inserted if place < column) + 1

    def _error(self, node: ast.expr, problem: str) -> QuantityError:
        # Columns are counted in UTF-8 bytes; texts other than ASCII may stand in quotes only.
        return QuantityError(problem, self._position(node.col_offset))

    def _compiled(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.Constant():
                return self._constant(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.BoolOp(op=ast.Or()):
                return self._first(node)
            case ast.IfExp():
                return self._choice(node)
            case ast.Call():
                return self._call(node)
            case ast.Name(id="unknown"):
                return lambda parts: UNSEEN
            case ast.Attribute() | ast.Subscript() | ast.Name():
                return self._path(node)
            case _:
                raise self._error(node, "only numbers, paths, + - * /, or, if and functions are known here")

    def _constant(self, node: ast.Constant) -> Evaluate:
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            raise self._error(node, "a number is expected")
        constant = float(node.value)
        if not math.isfinite(constant):
            raise self._error(node, "a finite number is expected")
        return lambda parts: constant

    def _arithmetic(self, node: ast.BinOp) -> Evaluate:
        operation = _OPERATORS.get(type(node.op))
        if operation is None:
            raise self._error(node, "only + - * / are known")
        left, right = _as_number(self._compiled(node.left)), _as_number(self._compiled(node.right))

        def evaluate(parts: Parts) -> Any:
            one, other = left(parts), right(parts)
            if isinstance(one, Missing) or isinstance(other, Missing):
                return missing(one, other)
            try:
                return operation(one, other)
            except (ZeroDivisionError, OverflowError):
                return math.nan

        return evaluate

    def _first(self, node: ast.BoolOp) -> Evaluate:
        choices = [(self._compiled(value), _is_constant(value)) for value in node.values]

        def evaluate(parts: Parts) -> Any:
            value: Any = ABSENT
            unseen = False
            for choice, is_constant in choices:
                if unseen and is_constant:
                    return UNSEEN
                value = choice(parts)
                if value is UNSEEN:
                    unseen = True
                elif value is not ABSENT and value not in (0, "", "0"):
                    return value
            return UNSEEN if unseen and isinstance(value, Missing) else value

        return evaluate

    def _choice(self, node: ast.IfExp) -> Evaluate:
        condition = self._condition(node.test)
        then, otherwise = self._compiled(node.body), self._compiled(node.orelse)

        def evaluate(parts: Parts) -> Any:
            holds = condition(parts)
            if isinstance(holds, Missing):
                return holds
            return then(parts) if holds else otherwise(parts)

        return evaluate

    def _condition(self, node: ast.expr) -> Evaluate:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            raise self._error(node, 'a comparison such as request.json.depth == "advanced" is expected')
        compare = _COMPARISONS.get(type(node.ops[0]))
        if compare is None:
            raise self._error(node, "only == != < <= > >= are known")
        left, right = node.left, node.comparators[0]
        if isinstance(right, ast.Constant) and isinstance(right.value, str):
            if not isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
                raise self._error(right, "text is compared by == and != only")
            text = right.value
            value = self._compiled(left)
            is_equal = isinstance(node.ops[0], ast.Eq)

            def same_text(parts: Parts) -> Any:
                found = value(parts)
                return UNSEEN if found is UNSEEN else (found == text) is is_equal

            return same_text
        one, other = _as_number(self._compiled(left)), _as_number(self._compiled(right))

        def holds(parts: Parts) -> Any:
            first, second = one(parts), other(parts)
            if isinstance(first, Missing) or isinstance(second, Missing):
                state = missing(first, second)
                return state if state is UNSEEN else compare is operator.ne
            return compare(first, second)

        return holds

    def _call(self, node: ast.Call) -> Evaluate:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, "arguments have no names here")
        if name in ("max", "min"):
            if not node.args:
                raise self._error(node, f"{name}() needs numbers")
            return _extreme(max if name == "max" else min, [_as_number(self._compiled(item)) for item in node.args])
        if name == "ceil":
            return _ceil(_as_number(self._compiled(self._only_argument(node, name))))
        function = FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(sorted([*FUNCTIONS, "ceil", "max", "min"]))
            raise self._error(node, f"unknown function; one of {known}")
        separator = ""
        if name == "count" and len(node.args) == 2:
            last = node.args.pop()
            if not isinstance(last, ast.Constant) or not isinstance(last.value, str) or not last.value:
                raise self._error(last, 'a separator such as "|" is expected')
            separator = last.value
        argument = self._compiled(self._only_argument(node, name))
        if separator:
            return lambda parts: pieces(argument(parts), separator)
        return lambda parts: function(argument(parts))

    def _only_argument(self, node: ast.Call, name: str) -> ast.expr:
        if len(node.args) != 1:
            raise self._error(node, f"{name}() takes one argument")
        return node.args[0]

    def _path(self, node: ast.expr) -> Evaluate:
        steps: list[Any] = []
        inner = node
        while True:
            if isinstance(inner, ast.Attribute):
                steps.append(inner.attr)
                inner = inner.value
            elif isinstance(inner, ast.Subscript):
                steps.append(self._subscript(inner))
                inner = inner.value
            elif isinstance(inner, ast.Name):
                break
            else:
                raise self._error(inner, "a path begins with request, response or span")
        steps.reverse()
        return self._rooted(node, inner.id, steps)

    def _subscript(self, node: ast.Subscript) -> Any:
        index = node.slice
        if isinstance(index, ast.Slice) and index.lower is None and index.upper is None and index.step is None:
            return EACH
        value = index.value if isinstance(index, ast.Constant) else None
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return value
        raise self._error(node, '[], [0] or ["name"] is expected')

    def _rooted(self, node: ast.expr, root: str, steps: list[Any]) -> Evaluate:
        if root == "span":
            if len(steps) != 1 or not isinstance(steps[0], str):
                raise self._error(node, 'span["attribute.name"] is expected')
            attribute = steps[0]
            return lambda parts: parts.attribute(attribute)
        known = {"request": _REQUEST_PARTS, "response": _RESPONSE_PARTS}.get(root)
        if known is None:
            raise self._error(node, "a path begins with request, response or span")
        part = steps[0] if steps else ""
        if part not in known:
            raise self._error(node, f"{root} has {', '.join(known)}")
        self.needs_bodies = self.needs_bodies or part in _BODY_PARTS
        return self._part(node, root, part, steps[1:])

    def _part(self, node: ast.expr, side: str, part: str, steps: list[Any]) -> Evaluate:
        if part == "json":
            return lambda parts: walk(parts.json(side), steps)
        if part in ("bytes", "path"):
            if steps:
                raise self._error(node, f"{side}.{part} has no parts")
            return (lambda parts: parts.body_bytes(side)) if part == "bytes" else (lambda parts: parts.path())
        name = steps[0] if steps else None
        if len(steps) != 1 or not isinstance(name, str):
            raise self._error(node, f"{side}.{part} is followed by one name")
        if part == "header":
            header = name.lower()
            return lambda parts: parts.header(side, header)
        if part == "form":
            return lambda parts: field(parts.form(), name)
        return lambda parts: field(parts.query(), name)


def _as_number(evaluate: Evaluate) -> Evaluate:
    return lambda parts: number(evaluate(parts))


def _is_constant(node: ast.expr) -> bool:
    return not any(isinstance(inner, (ast.Attribute, ast.Subscript)) for inner in ast.walk(node))


def _extreme(function: Callable[[list[float]], float], items: list[Evaluate]) -> Evaluate:
    def evaluate(parts: Parts) -> Any:
        values = [item(parts) for item in items]
        if any(isinstance(value, Missing) for value in values):
            return missing(*values)
        return math.nan if any(math.isnan(value) for value in values) else function(values)

    return evaluate


def _ceil(item: Evaluate) -> Evaluate:
    def evaluate(parts: Parts) -> Any:
        value: Any = item(parts)
        if isinstance(value, Missing) or not math.isfinite(value):
            return value
        return -(-value // 1.0)

    return evaluate

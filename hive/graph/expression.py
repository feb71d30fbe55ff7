"""A small expression language for edge conditions, evaluated without ``eval``.

An expression is a piece of Python's expression syntax: constants, names, comparisons (``in`` and
``is`` included), ``and``/``or``/``not``, ``a if b else c``, ``+ - * / // % **``, lists, tuples and
sets, subscripts and slices, and the functions in :data:`FUNCTIONS`. ``output.score`` means
``output['score']`` on a mapping, or the field of a dataclass or pydantic model; no other attribute
is reachable. Mappings know ``.get``; texts know ``.lower .upper .strip .startswith .endswith``.

There are no loops, no assignments and no calls of anything else, and arithmetic is bounded, so that
an expression from an agent description can neither act nor run for long: ``10**10**10`` and
``'a' * 10**9`` are refused.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from hive import errors

__all__ = ["FUNCTIONS", "Expression"]

MAX_CHARACTERS: Final = 2000
MAX_NODES: Final = 500
MAX_DEPTH: Final = 40
MAX_INTEGER_BITS: Final = 1024
MAX_TEXT: Final = 100_000
MAX_ROUND_DIGITS: Final = 300
MAX_SHOWN: Final = 80

_SCALARS: Final = (type(None), bool, int, float, str)
_SIZED: Final = (str, bytes, list, tuple, set, frozenset, dict)


def _as_text(value: Any) -> str:
    if not isinstance(value, _SCALARS):
        raise TypeError("str() takes a number, a text, a boolean or None here")
    return str(value)


def _as_number(convert: type[int] | type[float]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError:
            # The original message quotes the value, and messages must not carry state.
            raise ValueError(f"{convert.__name__}() got a text that is no number") from None

    return checked


def _round(value: Any, digits: Any = 0) -> Any:
    # round(5, -10**9) would compute ten to that power first.
    if not isinstance(digits, int) or abs(digits) > MAX_ROUND_DIGITS:
        raise ValueError(f"round() takes at most {MAX_ROUND_DIGITS} digits")
    return round(value, digits) if digits else round(value)


def _of_data(function: Callable[..., Any]) -> Callable[..., Any]:
    """Limit a function to data that is there, so that an iterator of the user is never run."""

    def checked(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, (*_SCALARS, *_SIZED)):
                raise TypeError(f"takes plain values here, not {type(value).__name__}")
        return function(*values)

    return checked


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "float": _as_number(float),
    "int": _as_number(int),
    "round": _round,
    "str": _as_text,
    **{
        function.__name__: _of_data(function)
        for function in (abs, all, any, bool, len, max, min, sum)
    },
}
"""The functions an expression may call, without keyword arguments."""

_TEXT_METHODS: Final = {"lower", "upper", "strip", "startswith", "endswith"}
_NAMED_CONSTANTS: Final[Mapping[str, object]] = {"true": True, "false": False, "null": None}


def _contains(box: Any, item: Any) -> bool:
    if not isinstance(box, (*_SIZED, Mapping)):
        raise TypeError(f"'in' needs a text or a collection, not {type(box).__name__}")
    return item in box


_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], Any]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, box: _contains(box, item),
    ast.NotIn: lambda item, box: not _contains(box, item),
}
_ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Final[Mapping[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_ALLOWED: Final = (
    ast.BoolOp | ast.BinOp | ast.UnaryOp | ast.Compare | ast.IfExp | ast.Call | ast.Attribute
    | ast.Subscript | ast.Slice | ast.Constant | ast.Name | ast.List | ast.Tuple | ast.Set
    | ast.boolop | ast.operator | ast.unaryop | ast.cmpop | ast.expr_context
)  # fmt: skip
_EVALUATION_ERRORS: Final = (ArithmeticError, LookupError, TypeError, ValueError, RecursionError)


class Expression:
    """A checked expression. Equal texts share one parse."""

    __slots__ = ("_tree", "text")

    def __init__(self, text: str) -> None:
        """Parse and check ``text``.

        Raises:
            InvalidInputError: The text is not an expression of this language, or is too long
                or too deeply nested.
        """
        self.text = text
        self._tree = _parse(text)

    @property
    def names(self) -> frozenset[str]:
        """The free names in it, but for functions and named constants."""
        called = self._called()
        return frozenset(
            each.id
            for each in ast.walk(self._tree)
            if isinstance(each, ast.Name) and each not in called and each.id not in _NAMED_CONSTANTS
        )

    def parts_of(self, name: str) -> frozenset[str]:
        """The parts that it takes of a free name: ``draft`` of ``visits.draft``."""
        called = self._called()
        found = set()
        for each in ast.walk(self._tree):
            match each:
                case ast.Attribute(value=ast.Name(id=owner), attr=part) if each not in called:
                    found |= {part} if owner == name else set()
                case ast.Subscript(value=ast.Name(id=owner), slice=ast.Constant(value=str(part))):
                    found |= {part} if owner == name else set()
        return frozenset(found)

    def _called(self) -> set[ast.expr]:
        return {each.func for each in ast.walk(self._tree) if isinstance(each, ast.Call)}

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """Compute the value with ``names`` for the free names.

        Raises:
            InvalidInputError: A name, key or index is missing, a type does not fit, or a bound
                is passed.
        """
        with self._explaining():
            return _value(self._tree, names)

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Tell whether the value is true, as ``evaluate`` computes it.

        Raises:
            InvalidInputError: As ``evaluate``; or the value is neither true nor false, as an array.
        """
        with self._explaining():
            return bool(_value(self._tree, names))

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # any: objects of the user's are compared, and asked for truth
            raise errors.InvalidInputError(
                f"expression {_shown(self.text)} cannot be evaluated: {self._reason(error)}"
            ) from error

    def _reason(self, error: Exception) -> str:
        if not isinstance(error, _EVALUATION_ERRORS):
            return type(error).__name__  # what the user's own code says may quote state
        if isinstance(error, KeyError):
            # A key that the expression spells out is safe to show, a computed one is state.
            key = str(error.args[0])
            return f"no key {key!r}" if key in self.text else "a computed key is missing"
        return f"no {error}" if type(error) is LookupError else str(error)


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


@lru_cache(maxsize=512)
def _parse(text: str) -> ast.expr:
    if len(text) > MAX_CHARACTERS:
        raise errors.InvalidInputError(
            f"an expression has at most {MAX_CHARACTERS} characters, this one {len(text)}"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    # ValueError: a null byte or a huge literal; the others: nesting beyond the parser's own limit.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error  # without <unknown>, line 1
        raise errors.InvalidInputError(f"not an expression: {_shown(text)} ({reason})") from error
    count = _check(tree, text, depth=1)
    if count > MAX_NODES:
        raise errors.InvalidInputError(f"expression {_shown(text)} has more than {MAX_NODES} parts")
    return tree


def _check(node: ast.AST, text: str, *, depth: int) -> int:
    """Refuse everything outside the language before any of it is evaluated; count the parts."""
    problem = ""
    match node:
        case ast.Constant(value=value) if not isinstance(value, (*_SCALARS, bytes)):
            problem = f"a constant of type {type(value).__name__}"
        case ast.Attribute(attr=name) if name.startswith("_"):
            problem = f"the attribute {name!r}"
        case ast.BinOp(op=operation) if type(operation) not in _ARITHMETIC:
            problem = f"the operator {type(operation).__name__}"
        case ast.UnaryOp(op=operation) if type(operation) not in _UNARY:
            problem = f"the operator {type(operation).__name__}"
        case ast.Call() if node.keywords or not _is_known_call(node.func):
            problem = f"the call of {ast.unparse(node.func)!r}"
        case _ if not isinstance(node, _ALLOWED):
            problem = type(node).__name__
    if depth > MAX_DEPTH:
        problem = f"nesting deeper than {MAX_DEPTH}"
    if problem:
        raise errors.InvalidInputError(f"expression {_shown(text)}: {problem} is not allowed")
    return 1 + sum(_check(child, text, depth=depth + 1) for child in ast.iter_child_nodes(node))


def _is_known_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in FUNCTIONS
    return isinstance(function, ast.Attribute) and function.attr in {"get", *_TEXT_METHODS}


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return _bounded(value)
        case ast.Name(id=name):
            return _name(name, names)
        case ast.BoolOp(op=operation, values=parts):
            return _boolean(isinstance(operation, ast.And), parts, names)
        case ast.UnaryOp(op=sign, operand=operand):
            return _UNARY[type(sign)](_value(operand, names))
        case ast.BinOp(left=left, op=infix, right=right):
            return _arithmetic(type(infix), _value(left, names), _value(right, names))
        case ast.Compare(left=left, ops=operations, comparators=comparators):
            return _comparison(_value(left, names), operations, comparators, names)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
        case ast.Attribute(value=owner, attr=attribute):
            return _field(_value(owner, names), attribute)
        case ast.Subscript(value=owner, slice=key):
            return _value(owner, names)[_key(key, names)]
        case ast.List(elts=items):
            return [_value(item, names) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item, names) for item in items)
        case ast.Set(elts=items):
            return {_value(item, names) for item in items}
        case ast.Call(func=function, args=arguments):
            return _bounded(_call(function, [_value(item, names) for item in arguments], names))
    raise TypeError(f"{type(node).__name__} stands where a value is needed")


def _boolean(conjunction: bool, parts: list[ast.expr], names: Mapping[str, Any]) -> Any:
    """Return the value that settles it, as Python does; the last one if none does."""
    value: Any = conjunction
    for part in parts:
        value = _value(part, names)
        if bool(value) is not conjunction:
            break
    return value


def _name(name: str, names: Mapping[str, Any]) -> Any:
    if name in names:
        return names[name]
    if name in _NAMED_CONSTANTS:
        return _NAMED_CONSTANTS[name]
    raise LookupError(f"name {name!r}")


def _key(node: ast.expr, names: Mapping[str, Any]) -> Any:
    if not isinstance(node, ast.Slice):
        return _value(node, names)
    bounds = (node.lower, node.upper, node.step)
    return slice(*(None if bound is None else _value(bound, names) for bound in bounds))


def _field(owner: Any, name: str) -> Any:
    if isinstance(owner, Mapping):
        return owner[name]
    # Only declared fields: anything else (methods, properties) would be code.
    declared = getattr(type(owner), "__dataclass_fields__", None) or getattr(
        type(owner), "model_fields", {}
    )
    if name not in declared:
        raise LookupError(f"field {name!r}")
    return getattr(owner, name)


def _comparison(
    left: Any, operations: list[ast.cmpop], comparators: list[ast.expr], names: Mapping[str, Any]
) -> Any:
    result: Any = True
    for operation, comparator in zip(operations, comparators, strict=True):
        right = _value(comparator, names)
        result = _COMPARISONS[type(operation)](left, right)
        if not result:
            break
        left = right
    return result


def _arithmetic(operation: type[ast.operator], left: Any, right: Any) -> Any:
    if operation is ast.Add and isinstance(left, str) and isinstance(right, str):
        if len(left) + len(right) > MAX_TEXT:
            raise ValueError(f"a joined text has at most {MAX_TEXT} characters here")
        return left + right
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        raise TypeError(
            "arithmetic is for numbers (+ also joins two texts), not for "
            f"{type(left).__name__} and {type(right).__name__}"
        )
    if isinstance(left, int) and isinstance(right, int):
        # The bound is tested before the operation: the operation is what could take for ever.
        bits = left.bit_length() * abs(right) if operation is ast.Pow else 0
        if operation is ast.Mult:
            bits = left.bit_length() + right.bit_length()
        if bits > MAX_INTEGER_BITS:
            raise ValueError(f"an integer has at most {MAX_INTEGER_BITS} bits here")
    return _bounded(_ARITHMETIC[operation](left, right))


def _call(function: ast.expr, arguments: list[Any], names: Mapping[str, Any]) -> Any:
    if isinstance(function, ast.Name):
        return FUNCTIONS[function.id](*arguments)
    if not isinstance(function, ast.Attribute):
        raise TypeError("only named functions can be called")
    owner = _value(function.value, names)
    if function.attr == "get" and isinstance(owner, Mapping):
        return owner.get(*arguments)
    if function.attr in _TEXT_METHODS and isinstance(owner, str):
        return getattr(str, function.attr)(owner, *arguments)
    raise TypeError(f"a {type(owner).__name__} has no .{function.attr}() here")


def _bounded(value: Any) -> Any:
    if isinstance(value, complex):
        raise ValueError("the result is not a real number")
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise ValueError(f"an integer has at most {MAX_INTEGER_BITS} bits here")
    return value

"""Functions of x and y from text: read by a whitelist, differentiated by sympy, evaluated in NumPy and JavaScript.

sympy's own reader of text runs Python's eval, and its lambdify runs exec. Neither is used here: text becomes a syntax
tree, which is walked; what the walk does not name is refused. Numbers and JavaScript come from walks over the sympy
tree that the first walk built.
"""

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import sympy

from shared.errors import BadRequest
from shared.tree import Array

X, Y = sympy.symbols("x y")
NAMES = {"x": X, "y": Y, "pi": sympy.pi, "e": sympy.E, "E": sympy.E}
# Differentiable wherever they are finite, and the same formula for a complex argument.
FUNCTIONS: dict[str, Any] = {
    name: getattr(sympy, name)
    for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "sqrt")
}
ALPHABET = re.compile(r"[A-Za-z0-9_+\-*/()\[\], .]*")
LENGTH = 200  # characters
NESTING = 12  # brackets in brackets, and functions, powers and quotients in one another
EXPONENT = 64
LARGEST = 10**12  # of any number, its numerator and its denominator
WINDOW = 2.0  # everything is shown on [-WINDOW, WINDOW]^2

NAMED = {
    "hills": "x*exp(-x**2 - y**2)",
    "saddle": "x**2 - y**2",
    "rosenbrock": "(1 - x)**2 + 100*(y - x**2)**2",
    "fold": "[x + y**2/2, y + sin(x)]",
    "polar": "[x*cos(y), x*sin(y)]",
    "square": "[x**2 - y**2, 2*x*y]",
}


@dataclass(frozen=True)
class Function:
    """A function of (x, y) with one or two components, its derivatives by sympy, and the map that its Jacobian is of.

    A function f with one component is shown as it is, and its gradient is the map: the Jacobian of the map (x, y) ->
    grad f is the Hessian of f. Of a function with two components the first is shown as a surface.
    """

    text: str
    components: tuple[sympy.Expr, ...]

    @property
    def surface(self) -> sympy.Expr:
        """What has level sets, a tangent plane and a Hessian."""
        return self.components[0]

    @cached_property
    def gradient(self) -> list[sympy.Expr]:
        """(d/dx, d/dy) of the surface."""
        return derivatives(self.surface)

    @cached_property
    def hessian(self) -> list[list[sympy.Expr]]:
        """The second derivatives of the surface, 2x2."""
        return [derivatives(slope) for slope in self.gradient]

    @property
    def map(self) -> list[sympy.Expr]:
        """The two components, or the gradient of the one."""
        return list(self.components) if len(self.components) == 2 else self.gradient

    @cached_property
    def jacobian(self) -> list[list[sympy.Expr]]:
        """Of the map: a row for each of its components, a column for each variable."""
        return [derivatives(component) for component in self.map]

    @property
    def everything(self) -> list[sympy.Expr]:
        """surface, map (2), gradient (2), Jacobian (4) and Hessian (4), in this order."""
        second = [e for row in self.jacobian + self.hessian for e in row]
        return [self.surface, *self.map, *self.gradient, *second]

    @cached_property
    def point(self) -> Array:
        """(1, 0.5), or the point nearest to it of a grid on the window where all of ``everything`` is finite.

        BadRequest when there is none.
        """
        side = np.linspace(-WINDOW, WINDOW, 41)
        grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        grid = grid[np.isfinite(evaluate(self.everything, grid)).all(axis=-1)]
        if not len(grid):
            where = f"|x|, |y| <= {WINDOW:g}"
            raise refusal(self.text, f"the function and its derivatives are finite and real nowhere in {where}")
        return grid[np.argmin(np.sum((grid - [1, 0.5]) ** 2, axis=1))]


def derivatives(e: sympy.Expr) -> list[sympy.Expr]:
    """(de/dx, de/dy)."""
    return [sympy.diff(e, v) for v in (X, Y)]


def refusal(text: str, why: str) -> BadRequest:
    """One line, in ASCII, so that a letter that only looks like an x shows."""
    shown = text if len(text) <= 60 else text[:57] + "..."
    return BadRequest(f"f={shown!a}: {why}")


def read(text: str) -> Function:
    """The function of a text: an expression in x and y, a list of two, or one of the names in NAMED.

    Allowed are numbers, pi, e, x, y, + - * / **, brackets and the functions of FUNCTIONS, all of them within the limits
    above: what sympy is asked to do is then small, and takes no time. BadRequest for everything else.
    """
    own = NAMED.get(text, text).strip()
    if len(own) > LENGTH:
        raise refusal(text, f"is longer than {LENGTH} characters")
    if not ALPHABET.fullmatch(own):
        character = re.sub(ALPHABET, "", own)[0]
        raise refusal(text, f"the character {character!a} is not allowed; powers are written x**2")
    depths = np.cumsum([(c in "([") - (c in ")]") for c in own] or [0])
    if depths.max() > NESTING:
        raise refusal(text, f"brackets are nested more than {NESTING} deep")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful literal such as 1if is refused below in our words
            top = ast.parse(own, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise refusal(text, "is no expression; write one such as x*y, or a list of two such as [x*y, x - y]") from None
    nodes = top.elts if isinstance(top, ast.List | ast.Tuple) else [top]
    if len(nodes) not in (1, 2):
        raise refusal(text, f"has {len(nodes)} components; one or two can be shown")
    components = tuple(_build(node, text, 0) for node in nodes)
    for e in components:
        # Infinity comes from a division by 0, the imaginary unit from the root or logarithm of a negative number.
        if e.has(sympy.zoo, sympy.oo, -sympy.oo, sympy.nan, sympy.I):
            raise refusal(text, "holds a division by 0, or a root or logarithm of a number that has none")
        for number in e.atoms(sympy.Number):
            _limit(number, text)
    return Function(own, components)


def _build(node: ast.expr, text: str, depth: int) -> sympy.Expr:
    """The sympy expression of a syntax tree, from constructors alone."""
    if depth > NESTING:
        raise refusal(text, f"functions, powers and quotients are nested more than {NESTING} deep")
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return _limit(sympy.sympify(value), text)  # of a number sympify makes a number, without reading any text
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Name(id=name):
            raise refusal(text, f"unknown name {name}; the variables are x and y, the constants pi and e")
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _build(operand, text, depth)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_build(operand, text, depth)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _limit(_build(left, text, depth) + _build(right, text, depth), text)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _limit(_build(left, text, depth) - _build(right, text, depth), text)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _limit(_build(left, text, depth) * _build(right, text, depth), text)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _limit(_build(left, text, depth + 1) / _build(right, text, depth + 1), text)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            exponent = _build(right, text, depth + 1)
            if exponent.is_Number and not abs(exponent) <= EXPONENT:
                raise refusal(text, f"an exponent is beyond +-{EXPONENT}")
            return _limit(_build(left, text, depth + 1) ** exponent, text)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            return _limit(FUNCTIONS[name](_build(argument, text, depth + 1)), text)
        case ast.Call(func=ast.Name(id=name)):
            valid = ", ".join(FUNCTIONS)
            raise refusal(text, f"{name}(...) is not allowed; the functions, of one argument each, are {valid}")
    raise refusal(text, f"{type(node).__name__.lower()} is not allowed; numbers, x, y, + - * / ** and functions are")


def _limit(e: sympy.Expr, text: str) -> sympy.Expr:
    """The expression as it is; BadRequest where it is a number too large to compute with quickly."""
    if e.is_Rational:
        within = max(abs(e.p), e.q) <= LARGEST
    else:
        within = not e.is_Number or e is sympy.zoo or e is sympy.nan or bool(abs(e) <= LARGEST)
    if not within:
        raise refusal(text, f"holds a number, numerator or denominator beyond {LARGEST:.0e}")
    return e


# The sympy heads that reading and differentiating lead to: what they are in NumPy and in JavaScript.
HEADS: dict[Any, tuple[Callable[[Array], Array], str]] = {
    sympy.sin: (np.sin, "Math.sin({})"),
    sympy.cos: (np.cos, "Math.cos({})"),
    sympy.tan: (np.tan, "Math.tan({})"),
    sympy.cot: (lambda x: 1 / np.tan(x), "(1/Math.tan({}))"),  # sympy's tan(x + pi/2)
    sympy.asin: (np.arcsin, "Math.asin({})"),
    sympy.acos: (np.arccos, "Math.acos({})"),
    sympy.atan: (np.arctan, "Math.atan({})"),
    sympy.sinh: (np.sinh, "Math.sinh({})"),
    sympy.cosh: (np.cosh, "Math.cosh({})"),
    sympy.tanh: (np.tanh, "Math.tanh({})"),
    sympy.exp: (np.exp, "Math.exp({})"),
    sympy.log: (np.log, "Math.log({})"),
}


def evaluate(expressions: Sequence[sympy.Expr], points: Array) -> Array:
    """Values (..., k) of k expressions at points (..., 2), real or complex; NaN or infinite outside of their domain."""
    known: dict[sympy.Expr, Any] = {X: points[..., 0], Y: points[..., 1]}
    number = points.dtype.type

    def value(e: sympy.Expr) -> Any:
        if e not in known:
            known[e] = apply(e)
        return known[e]

    def apply(e: sympy.Expr) -> Any:
        if e is sympy.I:
            return number(1j) if np.iscomplexobj(points) else number("nan")
        if e.is_number and not e.args:
            return number(e)
        if e.is_Add:
            return sum(value(term) for term in e.args)
        if e.is_Mul:
            return np.prod(np.broadcast_arrays(*map(value, e.args)), axis=0)
        if e.is_Pow:
            base, exponent = e.args
            return np.sqrt(value(base)) if exponent == sympy.S.Half else np.power(value(base), value(exponent))
        return HEADS[e.func][0](value(e.args[0]))

    with np.errstate(all="ignore"):
        return np.stack([np.broadcast_to(value(e), points.shape[:-1]) for e in expressions], axis=-1)


def javascript(expressions: Sequence[sympy.Expr]) -> str:
    """An arrow function (x, y) => [...] with the values of the expressions; every subexpression is computed once."""
    known: dict[sympy.Expr, str] = {X: "x", Y: "y"}
    lines: list[str] = []

    def name(e: sympy.Expr) -> str:
        if e is sympy.I:
            return "NaN"
        if e.is_number and not e.args:
            return f"({float(e)!r})"
        if e not in known:
            code = compute(e)
            known[e] = f"t{len(lines)}"
            lines.append(f"const {known[e]} = {code};")
        return known[e]

    def compute(e: sympy.Expr) -> str:
        if e.is_Add or e.is_Mul:
            return (" + " if e.is_Add else " * ").join(map(name, e.args))
        if e.is_Pow:
            base, exponent = e.args
            return f"Math.sqrt({name(base)})" if exponent == sympy.S.Half else f"{name(base)} ** {name(exponent)}"
        return HEADS[e.func][1].format(name(e.args[0]))

    results = ", ".join([name(e) for e in expressions])
    return f"(x, y) => {{ {' '.join(lines)} return [{results}]; }}"

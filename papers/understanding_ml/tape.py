"""A micro tape: automatic differentiation of NumPy code, section 20.6's chain rule for any composition of a few ops.

An op returns its value and its Jacobian for each operand, as two linear maps: dx -> J dx and dy -> J^T dy. Reverse mode
(``Node`` and ``backward``) records the ops and goes back along them with the second; forward mode (``Dual``, in
backpropagation.py) takes the first along with the values and records nothing. On plain arrays an op is plain NumPy,
complex numbers included. All is float64 (or complex128); NaN and infinity pass through as they do in NumPy.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, NamedTuple, Self

import numpy as np

from shared.tree import Array


class Jacobian(NamedTuple):
    """J = dy/dx without its matrix: dx -> J dx, of y's shape, and dy -> J^T dy, of x's shape."""

    times: Callable[[Array], Array]
    transposed: Callable[[Array], Array]


Result = tuple[Array, tuple[Jacobian, ...]]  # an op's value, and its Jacobian for each operand


def array(x: Any) -> Array:
    """x as an array of float64 or complex128. ValueError when it is not numeric."""
    a = np.asanyarray(x)
    if a.dtype.kind not in "biufc":
        raise ValueError(f"derivatives are of arrays of numbers, got {type(x).__name__} of dtype {a.dtype}")
    return a.astype(np.result_type(a.dtype, np.float64), copy=False)


def value(x: Any) -> Array:
    """The array behind x, traced or not: a constant to the derivatives."""
    return x.value if isinstance(x, Traced) else array(x)


def op(operands: int) -> Callable[[Callable[..., Result]], Callable[..., Any]]:
    """Make a function on arrays, the first ``operands`` arguments, one on traced operands too; the rest are settings.

    The result is traced as the operands are, and an array where none is. ValueError when shapes do not fit the op.
    """

    def decorate(f: Callable[..., Result]) -> Callable[..., Any]:
        @wraps(f)
        def apply(*arguments: Any, **settings: Any) -> Any:
            xs = arguments[:operands]
            values = [value(x) for x in xs]
            try:
                y, jacobians = f(*values, *arguments[operands:], **settings)
            except ValueError as error:
                raise ValueError(f"{f.__name__} of {' and '.join(str(v.shape) for v in values)}: {error}") from None
            traced = [(x, jacobian) for x, jacobian in zip(xs, jacobians, strict=True) if isinstance(x, Traced)]
            if len({type(x) for x, _ in traced}) > 1:
                raise ValueError(f"{f.__name__} of a Node and a Dual: take one mode at a time")
            return traced[0][0].follow(y, traced) if traced else y

        return apply

    return decorate


def broadcast(x: Array, y: Array) -> Jacobian:
    """B, which copies x into y's shape; B^T sums over the copies: along axes that x lacks, or has with length 1."""
    lacking = y.ndim - x.ndim
    axes = (*range(lacking), *(lacking + i for i, n in enumerate(x.shape) if n == 1))
    return Jacobian(
        lambda dx: np.broadcast_to(dx, y.shape, subok=True),
        lambda dy: dy if x.shape == y.shape else dy.sum(axes).reshape(x.shape),
    )


def diagonal(x: Array, y: Array, derivative: Callable[[], Array]) -> Jacobian:
    """diag(D) B of an elementwise op. D is computed when it is asked for: values alone do not pay for it."""
    copies = broadcast(x, y)
    return Jacobian(lambda dx: copies.times(derivative() * dx), lambda dy: copies.transposed(derivative() * dy))


@op(2)
def add(a: Array, b: Array) -> Result:
    y = a + b
    return y, (broadcast(a, y), broadcast(b, y))


@op(1)
def negative(x: Array) -> Result:
    return -x, (Jacobian(np.negative, np.negative),)


@op(2)
def multiply(a: Array, b: Array) -> Result:
    y = a * b
    return y, (diagonal(a, y, lambda: b), diagonal(b, y, lambda: a))


@op(2)
def divide(a: Array, b: Array) -> Result:
    y = a / b
    return y, (diagonal(a, y, lambda: 1 / b), diagonal(b, y, lambda: -y / b))


@op(2)
def power(a: Array, b: Array) -> Result:
    """D_a = b a^(b-1), for b = 0 always 0; D_b = a^b log a, for a = 0 always 0."""
    y = a**b
    return y, (
        diagonal(a, y, lambda: b * a ** np.where(b == 0, 1, b - 1)),
        diagonal(b, y, lambda: y * np.log(np.where(a == 0, 1, a))),
    )


@op(2)
def matmul(a: Array, b: Array) -> Result:
    """NumPy's rules: a vector is a row on the left and a column on the right, and leading axes are broadcast.

    d(A B) = dA B + A dB; <dY, dA B> = <dY B^T, dA> and <dY, A dB> = <A^T dY, dB>, summed over what was broadcast.
    """
    A, B = a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    Y = A @ B

    def to_a(dy: Array) -> Array:
        dA = dy.reshape(Y.shape) @ B.swapaxes(-1, -2)
        return broadcast(A, dA).transposed(dA).reshape(a.shape)

    def to_b(dy: Array) -> Array:
        dB = A.swapaxes(-1, -2) @ dy.reshape(Y.shape)
        return broadcast(B, dB).transposed(dB).reshape(b.shape)

    y = Y.squeeze((-2,) * (a.ndim == 1) + (-1,) * (b.ndim == 1))
    return y, (Jacobian(lambda da: da @ b, to_a), Jacobian(lambda db: a @ db, to_b))


@op(1)
def exp(x: Array) -> Result:
    y = np.exp(x)
    return y, (diagonal(x, y, lambda: y),)


@op(1)
def log(x: Array) -> Result:
    y = np.log(x)
    return y, (diagonal(x, y, lambda: 1 / x),)


@op(1)
def tanh(x: Array) -> Result:
    y = np.tanh(x)
    return y, (diagonal(x, y, lambda: 1 - y * y),)


@op(1)
def sigmoid(x: Array) -> Result:
    """1 / (1 + e^-x) = p / (p + q) with p = e^min(x, 0), q = e^-max(x, 0): nothing overflows. D = y (1 - y)."""
    p, q = np.exp(np.minimum(x, 0)), np.exp(-np.maximum(x, 0))
    y = p / (p + q)
    return y, (diagonal(x, y, lambda: y * (1 - y)),)


@op(1)
def relu(x: Array) -> Result:
    """max(x, 0); the kink counts as flat."""
    y = np.maximum(x, 0)
    return y, (diagonal(x, y, lambda: y > 0),)


@op(1)
def total(x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Result:
    """The sum over ``axis``, a copy's transpose: J = B^T, J^T = B."""
    kept = x.sum(axis, keepdims=True)
    y = kept if keepdims else kept.squeeze(axis)
    copies = broadcast(kept, x)
    return y, (
        Jacobian(lambda dx: copies.transposed(dx).reshape(y.shape), lambda dy: copies.times(dy.reshape(kept.shape))),
    )


@op(1)
def transpose(x: Array, *axes: int) -> Result:
    order = axes or tuple(reversed(range(x.ndim)))
    back = np.argsort([axis % x.ndim for axis in order])
    return x.transpose(order), (Jacobian(lambda dx: dx.transpose(order), lambda dy: dy.transpose(back)),)


@op(1)
def reshape(x: Array, *shape: int) -> Result:
    y = x.reshape(*shape)
    return y, (Jacobian(lambda dx: dx.reshape(y.shape), lambda dy: dy.reshape(x.shape)),)


@op(1)
def take(x: Array, index: Any) -> Result:
    def scatter(dy: Array) -> Array:
        dx = np.zeros(x.shape, dy.dtype)
        np.add.at(dx, index, dy)  # an entry taken twice gets both
        return dx

    return x[index], (Jacobian(lambda dx: dx[index], scatter),)


def subtract(a: Any, b: Any) -> Any:
    return add(a, negative(b))


def reflected(binary: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """What an operand on the right is asked for."""
    return lambda b, a: binary(a, b)


class Traced:
    """What stands for an array while derivatives are taken: its ``value``, and an array's operators and methods."""

    __array_ufunc__ = None  # array + traced is left to traced
    value: Array

    @classmethod
    def follow(cls, y: Array, operands: Sequence[tuple[Any, Jacobian]]) -> Self:
        """What stands for an op's value y, given its traced operands and their Jacobians."""
        raise NotImplementedError

    __add__, __mul__, __truediv__, __pow__, __matmul__ = add, multiply, divide, power, matmul
    __radd__, __rmul__, __rtruediv__, __rpow__, __rmatmul__ = map(reflected, (add, multiply, divide, power, matmul))
    __sub__, __rsub__ = subtract, reflected(subtract)
    __neg__, __getitem__, sum, transpose, reshape = negative, take, total, transpose, reshape

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
        result = self.sum(axis, keepdims)
        return result / np.divide(self.value.size, result.value.size)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def T(self) -> Any:
        return self.transpose()


class Node(Traced):
    """An entry of the tape: a value, the nodes it was computed from, and the Jacobian for each of them.

    ``depth`` is one more than the deepest of these nodes: no node depends on one as deep as itself. The arrays behind
    nodes must not be changed before ``backward``.
    """

    def __init__(self, value: Any, inputs: Iterable[tuple["Node", Jacobian]] = ()) -> None:
        self.value = array(value)
        self.inputs = tuple(inputs)
        self.depth: int = 1 + max((node.depth for node, _ in self.inputs), default=-1)

    @classmethod
    def follow(cls, y: Array, operands: Sequence[tuple["Node", Jacobian]]) -> Self:
        return cls(y, operands)


def recorded(y: Node) -> list[Node]:
    """The tape that ends in y, each node before those it depends on. Without recursion: it may be long."""
    found, ends = {y}, [y]
    while ends:
        new = {x for x, _ in ends.pop().inputs} - found
        found |= new
        ends += new
    return sorted(found, key=lambda node: node.depth, reverse=True)


def backward(y: Node, wrt: Sequence[Node], dy: Any = None) -> list[Array]:
    r"""The cotangents J^T dy of the nodes ``wrt``, each of its node's shape; of a scalar y, with dy = 1, the gradients.

    x reaches y through the nodes u that are computed from it: dx = sum_u (du/dx)^T du. Deepest first, all du are known
    when they are needed, and each Jacobian is used once. Zero where y does not depend on x. Nothing is kept: a second
    call starts afresh. ValueError when y is no Node, when dy is missing and y no scalar, or dy not of y's shape.
    """
    for node in (y, *wrt):
        if not isinstance(node, Node):
            raise ValueError(f"backward goes from a Node to Nodes, got {type(node).__name__}: make the inputs Nodes")
    if dy is None and y.value.size != 1:
        raise ValueError(f"y of shape {y.shape} is no scalar: give dy of this shape, or sum y up")
    dy = np.ones_like(y.value) if dy is None else array(dy)
    if dy.shape != y.shape:
        raise ValueError(f"dy must have y's shape {y.shape}, got {dy.shape}")
    cotangents, kept = {y: dy}, set(wrt)
    for node in recorded(y):
        du = cotangents[node] if node in kept else cotangents.pop(node)
        for x, jacobian in node.inputs:
            dx = jacobian.transposed(du)
            cotangents[x] = cotangents[x] + dx if x in cotangents else dx
    return [np.array(cotangents[x]) if x in cotangents else np.zeros_like(x.value) for x in wrt]

"""Gradients of a feed-forward network three ways, forward mode, and Jacobians: section 20.6 of the book.

The network maps X (m, d), one example a row, through T layers: a_t = o_{t-1} W_t + b_t and o_t = sigma(a_t), with
o_0 = X and the last a_T (m, K) its output. Parameters p = {"1": {"W": (d, n_1), "b": (n_1,)}, "2": ..., "T": ...}.
Losses are means over the examples. ``sigma`` and the losses are written once, for arrays and for what is traced alike.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from papers.understanding_ml.tape import Jacobian, Node, Traced, array, backward, exp, log, relu, sigmoid, tanh, value
from shared import tree
from shared.init import glorot_uniform
from shared.layers.activation import GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from shared.layers.base import Layer
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import mse, softmax_cross_entropy
from shared.tree import Array, Tree


class Activation(NamedTuple):
    """sigma, what it is pulled back by as derived by hand, (a, o = sigma(a), do) -> da, and the shared layer of it."""

    sigma: Callable[[Any], Any]
    pull: Callable[[Array, Array, Array], Array]
    layer: Layer


def softplus(x: Any) -> Any:
    """log(1 + e^x) = c + log(e^-c + e^(x-c)) for any constant c; with c = max(x, 0) nothing overflows."""
    c = np.maximum(value(x).real, 0)
    return log(exp(x - c) + np.exp(-c)) + c


def softmax(x: Any) -> Any:
    """e^x over its sum along the last axis. The largest x is subtracted first, a constant that cancels."""
    e = exp(x - value(x).real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


SLOPE = LeakyReLU().slope
CUBE, SCALE = 0.044715, sqrt(2 / pi)  # of GELU's form with tanh


def _pull_silu(a: Array, o: Array, do: Array) -> Array:
    s = sigmoid(a)
    return do * (s + a * s * (1 - s))


def _pull_gelu(a: Array, o: Array, do: Array) -> Array:
    t = np.tanh(SCALE * (a + CUBE * a**3))
    return do * ((1 + t) / 2 + a * (1 - t**2) / 2 * SCALE * (1 + 3 * CUBE * a**2))


ACTIVATIONS = {
    "ReLU": Activation(relu, lambda a, o, do: do * (a > 0), ReLU()),
    "leaky ReLU": Activation(
        lambda a: SLOPE * a + (1 - SLOPE) * relu(a),
        lambda a, o, do: do * np.where(a > 0, 1, SLOPE),
        LeakyReLU(),
    ),
    "sigmoid": Activation(sigmoid, lambda a, o, do: do * o * (1 - o), Sigmoid()),
    "tanh": Activation(tanh, lambda a, o, do: do * (1 - o**2), Tanh()),
    "softplus": Activation(softplus, lambda a, o, do: do * sigmoid(a), Softplus()),
    "SiLU": Activation(lambda a: a * sigmoid(a), _pull_silu, SiLU()),
    "GELU (tanh)": Activation(lambda a: a * (1 + tanh(SCALE * (a + CUBE * a**3))) / 2, _pull_gelu, GELU("tanh")),
    "softmax": Activation(softmax, lambda a, o, do: o * (do - np.sum(o * do, axis=-1, keepdims=True)), Softmax()),
}


class Loss(NamedTuple):
    """The loss of (a, y), its derivative da by hand, and (loss, da) from the shared pullback."""

    value: Callable[[Any, Array], Any]
    derivative: Callable[[Array, Array], Array]
    shared: Callable[[Array, Array], tuple[Array, Array]]


def _squared(a: Any, y: Array) -> Any:
    r = a - y
    return (r * r).sum() / (2 * len(y))


def _shared_squared(a: Array, y: Array) -> tuple[Array, Array]:
    m, K = y.shape
    loss, pullback = mse(a, y)
    return loss.sum() * K / (2 * m), pullback(np.full(m, K / (2 * m)))


def _cross_entropy(a: Any, y: Array) -> Any:
    s = a - value(a).real.max(-1, keepdims=True)
    return (log(exp(s).sum(-1)) - s[np.arange(len(y)), y]).sum() / len(y)


def _shared_cross_entropy(a: Array, y: Array) -> tuple[Array, Array]:
    loss, pullback = softmax_cross_entropy(a, y)
    return loss.mean(), pullback(np.full(len(y), 1 / len(y)))


LOSSES = {
    "squared": Loss(_squared, lambda a, y: (a - y) / len(y), _shared_squared),
    "cross-entropy": Loss(
        _cross_entropy, lambda a, y: (softmax(a) - np.eye(a.shape[1])[y]) / len(y), _shared_cross_entropy
    ),
}


def init(rng: np.random.Generator, widths: Sequence[int]) -> Tree:
    """Parameters of a network with layers of these widths, d first: Glorot's weights, and biases that are not 0."""
    return {
        str(t): {"W": glorot_uniform(rng, (n, k)).astype(float), "b": 0.1 * rng.standard_normal(k)}
        for t, (n, k) in enumerate(pairwise(widths), 1)
    }


def check(p: Tree, X: Array, y: Array, activation: str, loss: str) -> None:
    """ValueError unless the names are known, all shapes fit, and X, p and y hold finite numbers, or labels, 0..K-1."""
    for name, known in ((activation, ACTIVATIONS), (loss, LOSSES)):
        if name not in known:
            raise ValueError(f"{name!r} is not one of {', '.join(known)}")
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be (m, d) with m and d at least 1, got {X.shape}")
    if not p:
        raise ValueError("p has no layers")
    width = X.shape[1]
    for t, layer in p.items():
        W, b = layer["W"], layer["b"]
        if W.ndim != 2 or W.shape[0] != width or 0 in W.shape or b.shape != W.shape[1:]:
            raise ValueError(f"layer {t}: {width} inputs need W ({width}, n) and b (n,), got {W.shape} and {b.shape}")
        width = W.shape[1]
    if not all(np.isfinite(a).all() for a in (X, *(a for _, a in tree.leaves(p)))):
        raise ValueError("X and the parameters must be finite")
    if loss == "squared":
        if y.shape != (len(X), width) or not np.isfinite(y).all():
            raise ValueError(f"targets must be finite numbers of shape {(len(X), width)}, got {y.shape}")
    elif y.shape != X.shape[:1] or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= width:
        raise ValueError(f"labels must be integers 0..{width - 1} of shape {X.shape[:1]}, got {y.dtype} {y.shape}")


def network(p: Tree, X: Any, sigma: Callable[[Any], Any]) -> Any:
    """a_T (m, K) of the network, traced where p or X is."""
    o = X
    for t, layer in enumerate(p.values()):
        o = (sigma(o) if t else o) @ layer["W"] + layer["b"]
    return o


def by_hand(p: Tree, X: Array, y: Array, activation: str, loss: str) -> tuple[float, Tree]:
    r"""The loss of a net of two layers and its gradient, like p.

    With <A, B> = tr A^T B and dl = <da_2, d(o_1 W_2 + b_2)>, where d(o_1 W_2) = do_1 W_2 + o_1 dW_2:
        dW_2 = o_1^T da_2,  db_2 = the sum of da_2's rows,  do_1 = da_2 W_2^T;
        da_1 = sigma'(a_1) * do_1, entry by entry, as d sigma(a) = sigma'(a) * da;  and once more for W_1 and b_1.
    ValueError like ``check``, and when p has not two layers.
    """
    check(p, X, y, activation, loss)
    if len(p) != 2:
        raise ValueError(f"by hand there are two layers, got {len(p)}: use by_tape or by_pullbacks")
    sigma, pull, _ = ACTIVATIONS[activation]
    (one, first), (two, second) = p.items()
    a1 = X @ first["W"] + first["b"]
    o1 = sigma(a1)
    a2 = o1 @ second["W"] + second["b"]
    da2 = LOSSES[loss].derivative(a2, y)
    da1 = pull(a1, o1, da2 @ second["W"].T)
    gradient = {one: {"W": X.T @ da1, "b": da1.sum(0)}, two: {"W": o1.T @ da2, "b": da2.sum(0)}}
    return float(LOSSES[loss].value(a2, y)), gradient


def by_tape(p: Tree, X: Array, y: Array, activation: str, loss: str) -> tuple[float, Tree]:
    """The loss of a net and its gradient, like p, by the micro tape. ValueError like ``check``."""
    check(p, X, y, activation, loss)
    record: Callable[[Array], Any] = Node
    nodes = tree.map(record, p)
    result = LOSSES[loss].value(network(nodes, X, ACTIVATIONS[activation].sigma), y)
    leaves: list[Any] = [node for _, node in tree.leaves(nodes)]
    gradient = iter(backward(result, leaves))
    return float(result.value), tree.map(lambda _: next(gradient), p)


def by_pullbacks(p: Tree, X: Array, y: Array, activation: str, loss: str) -> tuple[float, Tree]:
    """The loss of a net and its gradient, like p, by the pullbacks of the shared layers. ValueError like ``check``."""
    check(p, X, y, activation, loss)
    stack: list[Layer] = []
    for layer in p.values():
        n_in, n_out = layer["W"].shape
        stack += [Linear(n_in, n_out, input_is_data=not stack), ACTIVATIONS[activation].layer]
    places = {name: str(2 * t) for t, name in enumerate(p)}
    none: Tree = {str(2 * t + 1): {} for t in range(len(p))}
    a, pullback = Sequential(tuple(stack[:-1]))(none | {places[name]: layer for name, layer in p.items()}, X)
    result, da = LOSSES[loss].shared(a, y)
    _, dp = pullback(da)
    return float(result), {name: dp[place] for name, place in places.items()}


class Dual(Traced):
    r"""A dual number: value + sum_k eps_k tangent_k with eps_j eps_k = 0, for any number of directions k.

    f(x + eps dx) = f(x) + eps J dx, all that Taylor's series leaves, so an op maps the tangents by its Jacobian; of
    two operands d f(x, y) = J_x dx + J_y dy. ValueError for tangents that have not the value's shape.
    """

    def __init__(self, value: Any, tangents: Iterable[Any]) -> None:
        self.value = array(value)
        self.tangents = [array(tangent) for tangent in tangents]
        if wrong := [tangent.shape for tangent in self.tangents if tangent.shape != self.value.shape]:
            raise ValueError(f"a tangent must have the value's shape {self.value.shape}, got {wrong[0]}")

    @classmethod
    def follow(cls, y: Array, operands: Sequence[tuple["Dual", Jacobian]]) -> "Dual":
        if len({len(x.tangents) for x, _ in operands}) > 1:
            raise ValueError("dual numbers of one computation must have the same number of tangents")
        moved = ([jacobian.times(dx) for dx in x.tangents] for x, jacobian in operands)
        return cls(y, [sum(parts[1:], parts[0]) for parts in zip(*moved, strict=True)])


def by_dual(p: Tree, X: Array, y: Array, activation: str, loss: str, directions: Array) -> tuple[float, Array]:
    """The loss of a net and its derivatives along ``directions`` (K, parameters), in the order of ``tree.flatten``.

    The gradient takes as many directions as there are parameters, ``np.eye``. ValueError like ``check``.
    """
    check(p, X, y, activation, loss)
    if directions.ndim != 2 or directions.shape[1] != tree.size(p):
        raise ValueError(f"directions must be (K, {tree.size(p)}), got {directions.shape}")

    def dual(a: Array, *tangents: Array) -> Any:
        return Dual(a, tangents)

    duals = tree.map(dual, p, *(tree.views(p, v) for v in directions))
    result = LOSSES[loss].value(network(duals, X, ACTIVATIONS[activation].sigma), y)
    return float(result.value), np.array(result.tangents)


def _of(f: Callable[[Any], Any], x: Traced) -> Any:
    y = f(x)
    if not isinstance(y, Traced):
        raise ValueError("f(x) does not depend on x through ops of the tape: use those, not functions of NumPy")
    return y


def jacobian_forward(f: Callable[[Any], Any], x: Array) -> Array:
    """dy/dx (*y.shape, *x.shape) of y = f(x), a column for each entry of x: one pass with x.size tangents.

    ValueError when f(x) does not depend on x.
    """
    y = _of(f, Dual(x, np.eye(x.size).reshape(-1, *x.shape)))
    return np.stack(y.tangents, axis=-1).reshape(*y.shape, *x.shape)


def jacobian_reverse(f: Callable[[Any], Any], x: Array) -> Array:
    """dy/dx (*y.shape, *x.shape) of y = f(x), a row for each entry of y: one pass, and y.size times back.

    ValueError when f(x) does not depend on x.
    """
    node = Node(x)
    y = _of(f, node)
    rows = [backward(y, [node], dy)[0] for dy in np.eye(y.value.size).reshape(-1, *y.shape)]
    return np.stack(rows).reshape(*y.shape, *x.shape)


def vec(X: Any) -> Any:
    """The columns of X (m, n) below one another, (m n,), traced like X."""
    return X.T.reshape(-1)


def commutation(m: int, n: int) -> Array:
    """K (m n, m n) with K vec X = vec X^T for all X (m, n): a permutation."""
    places = np.arange(m * n).reshape(n, m).T  # of X's entries in vec X
    return np.eye(m * n)[vec(places.T)]

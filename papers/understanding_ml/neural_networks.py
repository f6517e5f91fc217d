r"""Feedforward networks: activations, initialisations, training, and what passes through the layers. Chapter 20.

X (m, d) has one example a row, y (m,) its class in 0, ..., K-1. Widths n_0 = d, n_1, ..., n_L, n_{L+1} = K stand for

    a_0 = x,    z_l = a_{l-1} W_l + b_l,    a_l = f(z_l) for l = 1, ..., L,    scores s = z_{L+1},

and the loss of an example is -log softmax(s)_y. S networks of one shape train as a stack: every parameter gets a
leading axis S, X is (m, d) for all or (S, m, d), y (m,) for all or (S, m).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from papers.understanding_ml.learning_theory import check_sample, dichotomies
from shared import tree
from shared.errors import Diverged
from shared.init import Initializer, fans, glorot_normal, he_normal
from shared.layers.activation import ACTIVATIONS
from shared.layers.base import Layer
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Optimizer
from shared.quadrature import moments
from shared.tree import Array, Tree

INITIALISATIONS = ("xavier", "he", "gain", "equal")
XOR = np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]], np.float32), np.array([0, 0, 1, 1])  # class 1: the signs differ


def check_choice(what: str, name: str, valid: Collection[str]) -> None:
    """ValueError unless ``name`` is one of the valid ones."""
    if name not in valid:
        raise ValueError(f"unknown {what} {name!r}. Valid: {', '.join(valid)}")


def squared_gain(activation: str) -> float:
    r"""g^2 = 1 / E[f(z)^2], z ~ N(0, 1): n_in Var[w] = g^2 keeps E[z_l^2] = 1 from layer to layer.

    2 for ReLU, 2 / (1 + slope^2) for leaky ReLU (He et al. 2015, eq. 15), 2.54 for tanh, 3.41 for sigmoid and 2.35 for
    GELU. ValueError for an unknown activation.
    """
    check_choice("activation", activation, ACTIVATIONS)
    return 1 / float(moments(ACTIVATIONS[activation], np.array(1.0))[0])


@dataclass(frozen=True)
class Scaled:
    r"""W ~ N(0, square / fan_in)."""

    square: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.normal(0, np.sqrt(self.square / fans(shape)[0]), shape).astype(np.float32)


def equal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """W = 1 / fan_in everywhere: every unit starts as the mean of its inputs, and as every other unit of its layer."""
    return np.full(shape, 1 / fans(shape)[0], np.float32)


def initializer(initialisation: str, activation: str) -> Initializer:
    """How a layer's weights are drawn; the biases start at 0. ValueError for an unknown name."""
    check_choice("initialisation", initialisation, INITIALISATIONS)
    drawn: dict[str, Initializer] = {
        "xavier": glorot_normal,
        "he": he_normal,
        "gain": Scaled(squared_gain(activation)),
        "equal": equal,
    }
    return drawn[initialisation]


def weight_variance(initialisation: str, activation: str, n_in: int, n_out: int) -> float:
    r"""Var[w] of a random initialisation: 2 / (n_in + n_out) for xavier, 2 / n_in for he, g^2 / n_in for gain.

    Independent w of mean 0 make Var[z] = n_in Var[w] E[a^2], a the layer's input: n_in Var[w] E[f(z)^2] = E[z^2] keeps
    the scale on the way forth. For ReLU, E[f(z)^2] = E[z^2] / 2, that is 2 / n_in. Back, dl/da = dl/dz W^T sums over
    n_out terms, and n_out Var[w] E[f'(z)^2] = 1 keeps the scale. Where f(z) is about z these ask for 1 / n_in and for
    1 / n_out: xavier is their harmonic mean.
    """
    check_choice("random initialisation", initialisation, INITIALISATIONS[:-1])
    return {"xavier": 2 / (n_in + n_out), "he": 2 / n_in, "gain": squared_gain(activation) / n_in}[initialisation]


def check_widths(widths: Sequence[int]) -> None:
    """ValueError unless there are two widths at least, n_0 and K, all of them integers of 1 or more."""
    if len(widths) < 2 or any(not isinstance(n, int | np.integer) or n < 1 for n in widths):
        raise ValueError(f"widths must be n_0, ..., K, two at least, each an integer of 1 or more; got {tuple(widths)}")


def mlp(widths: Sequence[int], activation: str = "relu", initialisation: str = "he") -> Sequential:
    """The network of these widths n_0, n_1, ..., n_L, K; its ``init(rng)`` draws the parameters.

    With no hidden layer, (d, K), it is multinomial logistic regression. ValueError for widths below 1, unknown names.
    """
    check_widths(widths)
    check_choice("activation", activation, ACTIVATIONS)
    weight = initializer(initialisation, activation)
    layers: list[Layer] = []
    for n_in, n_out in pairwise(widths):
        layers += [Linear(n_in, n_out, weight, input_is_data=not layers), ACTIVATIONS[activation]]
    return Sequential(tuple(layers[:-1]))


def check(net: Sequential, p: Tree, X: Array, y: Array | None = None) -> None:
    """ValueError unless X (m, d) or (S, m, d) and y, if given, fit the network or the stack: shapes, numbers, classes.

    A class of which there is no example is allowed: the network learns not to answer it.
    """
    first, last = p["0"]["W"], p[str(len(net.layers) - 1)]["W"]
    d, K = first.shape[-2], last.shape[-1]
    stacks = ((), first.shape[:-2])
    if X.ndim < 2 or X.shape[-1] != d or X.shape[-2] == 0 or X.shape[:-2] not in stacks:
        raise ValueError(f"X must be (m, {d}) with m at least 1, or a stack of such, one a network; got {X.shape}")
    with np.errstate(over="ignore"):
        known = np.isfinite(X.astype(first.dtype, copy=False)).all()
    if not known:
        raise ValueError(f"X must be finite, in {first.dtype} too: drop or fill missing values, scale down large ones")
    if y is None:
        return
    if y.dtype.kind not in "iu" or y.min(initial=0) < 0 or y.max(initial=0) >= K:
        raise ValueError(
            f"labels must be integers from 0 to {K - 1}; got {y.dtype} {np.unique(y)[:5]}: number them anew"
        )
    if y.shape[-1:] != X.shape[-2:-1] or y.shape[:-1] not in stacks:
        raise ValueError(f"y must be (m,) = ({X.shape[-2]},), or a stack of such, one a network; got {y.shape}")


def scores(net: Sequential, p: Tree, X: Array) -> Array:
    """s (..., m, K) of the rows of X; ... is S for a stack. ValueError like ``check``."""
    check(net, p, X)
    return net(p, X.astype(p["0"]["W"].dtype, copy=False))[0]


def predict(net: Sequential, p: Tree, X: Array) -> Array:
    """The class (..., m) with the highest score, the first of equals. ValueError like ``check``."""
    return scores(net, p, X).argmax(-1)


def accuracy(net: Sequential, p: Tree, X: Array, y: Array) -> Array:
    """The share of right answers, one a network of a stack. ValueError like ``check``."""
    check(net, p, X, y)
    return np.mean(predict(net, p, X) == y, axis=-1)


class Training(NamedTuple):
    """What came of a training: the last parameters, each step's loss, and the parameters kept on the way."""

    p: Tree
    losses: Array  # (steps,) or (steps, S): mean over the minibatch, before the step's update
    snapshots: dict[int, Tree]  # updates made -> parameters


def train(
    net: Sequential,
    p: Tree,
    X: Array,
    y: Array,
    optimizer: Optimizer,
    steps: int,
    batch_size: int,
    seed: int = 0,
    keep: Collection[int] = (),
) -> Training:
    """``steps`` updates from p, which stays as it is, on minibatches of the mean loss; a stack shares their order.

    ``keep`` names the numbers of updates, from 0 to ``steps``, after which the parameters are kept. ValueError like
    ``check``, and for steps, batch_size or keep out of range. Diverged, with the step, when a number is not finite.
    """
    check(net, p, X, y)
    if steps < 0 or not all(0 <= step <= steps for step in keep):
        raise ValueError(f"steps={steps} must not be negative, and keep lie between 0 and steps; got {sorted(keep)}")
    p = tree.map(np.copy, p)
    X = X.astype(p["0"]["W"].dtype, copy=False)
    state = optimizer.init(p)
    losses = []
    snapshots = {0: tree.map(np.copy, p)} if 0 in keep else {}
    batches = minibatches(X.shape[-2], batch_size, seed)
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(1, steps + 1):
            batch = next(batches)
            s, pullback = net(p, X[..., batch, :])
            loss, loss_pullback = softmax_cross_entropy(s, np.broadcast_to(y[..., batch], s.shape[:-1]))
            losses.append(loss.mean(-1))
            _, grads = pullback(loss_pullback(np.full_like(loss, 1 / batch_size)))
            optimizer.update(p, grads, state)
            if not np.isfinite(losses[-1]).all():
                raise Diverged(f"the loss is not finite at step {step}: lower the learning rate, or scale X down")
            if step in keep:
                snapshots[step] = tree.map(np.copy, p)
        if not np.isfinite(net(p, X)[0]).all():
            raise Diverged(f"the scores are not finite after step {steps}, the last one: lower the learning rate")
    return Training(p, np.array(losses), snapshots)


class Statistics(NamedTuple):
    """Of each hidden layer l = 1, ..., L, in arrays (L,), or (L, S) of a stack."""

    mean: Array  # of a_l, over examples and units
    square: Array  # mean of a_l^2
    gradient: Array  # mean of (dl/dz_l)^2, l one example's loss: the delta_l of backpropagation
    weight_gradient: Array  # mean of the squared entries of dl/dW_l, l the mean loss
    dead: Array  # the share of units that are 0 on every example


def statistics(net: Sequential, p: Tree, X: Array, y: Array) -> Statistics:
    """What the activations and gradients of each hidden layer are like on X, y. ValueError like ``check``.

    A dead unit has no gradient on any example, since f' = 0 where ReLU is 0: no step on these data moves it again.
    """
    check(net, p, X, y)
    a = X.astype(p["0"]["W"].dtype, copy=False)
    outputs, pullbacks = [], []
    for i, layer in enumerate(net.layers):
        a, pullback = layer(p[str(i)], a)
        outputs.append(a)
        pullbacks.append(pullback)
    loss, loss_pullback = softmax_cross_entropy(a, np.broadcast_to(y, a.shape[:-1]))
    delta = loss_pullback(np.ones_like(loss))
    gradients, weight_gradients = [], []
    for i in reversed(range(len(net.layers))):
        if i % 2 == 0:  # a linear layer; delta is dl/dz
            gradients.append(np.mean(delta**2, axis=(-2, -1)))
        delta, dp = pullbacks[i](delta)
        if i % 2 == 0:
            weight_gradients.append(np.mean((dp["W"] / loss.shape[-1]) ** 2, axis=(-2, -1)))
    hidden = outputs[1::2]
    return Statistics(
        np.array([a.mean((-2, -1)) for a in hidden]),
        np.array([np.mean(a**2, axis=(-2, -1)) for a in hidden]),
        np.array(gradients[:0:-1]),
        np.array(weight_gradients[:0:-1]),
        np.array([np.mean((a == 0).all(-2), axis=-1) for a in hidden]),
    )


def predicted(widths: Sequence[int], activation: str, initialisation: str, X: Array) -> tuple[Array, Array]:
    r"""(E[a_l^2], E[delta_l^2] / E[delta_L^2]) for l = 1, ..., L, (L,) each, over the initialisation, for wide layers.

    Given a_{l-1}, z_l is a sum of n_{l-1} independent terms of mean 0, so about N(0, q_l), with
        q_l = n_{l-1} Var[w_l] E[a_{l-1}^2]   and   E[a_l^2] = E[f(z_l)^2]
    for each example, from its own E[a_0^2] = |x|^2 / d on. And delta_l = f'(z_l) (delta_{l+1} W_{l+1}^T): with W on the
    way back taken as independent of all on the way forth,
        E[delta_l^2] = E[f'(z_l)^2] n_{l+1} Var[w_{l+1}] E[delta_{l+1}^2].
    ValueError for widths below 1, no hidden layer, unknown names, "equal" (it has no variance), and X not (m, n_0).
    """
    check_widths(widths)
    check_sample(X)
    if len(widths) < 3 or X.shape[1] != widths[0]:
        raise ValueError(f"widths {tuple(widths)} need a hidden layer, and n_0 features in X; got X {X.shape}")
    variances = [weight_variance(initialisation, activation, *pair) for pair in pairwise(widths)]
    a2 = np.mean(np.square(X, dtype=float), axis=1)
    squares, slopes = [], []
    for n_in, variance in zip(widths, variances[:-1], strict=False):
        a2, slope = moments(ACTIVATIONS[activation], n_in * variance * a2)
        squares.append(a2.mean())
        slopes.append(slope)
    delta2 = slopes[-1]
    gradients = [delta2.mean()]
    for slope, n_out, variance in zip(slopes[-2::-1], widths[-2:1:-1], variances[-2:0:-1], strict=True):
        delta2 = slope * n_out * variance * delta2
        gradients.append(delta2.mean())
    return np.array(squares), np.array(gradients[::-1]) / gradients[0]


def dead_probability(X: Array, bias: float) -> float:
    r"""How likely a ReLU unit of He's weights and this bias <= 0 is dead on X (m, 2) at the start.

    Dead means <w, x_i> <= -bias for all i. Here w ~ N(0, I), as 2 / n_in = 1: a direction u, uniform on the circle,
    times a length with P(|w| <= r) = 1 - exp(-r^2 / 2). With h(u) = max_i <u, x_i> it is |w| h(u) <= -bias: true where
    h(u) <= 0, elsewhere with probability 1 - exp(-(bias / h(u))^2 / 2). The mean over 3,600 directions u.
    ValueError unless X is (m, 2) and finite and bias <= 0.
    """
    check_sample(X)
    if X.shape[1] != 2 or not -np.inf < bias <= 0:
        raise ValueError(f"X must be (m, 2) and bias finite and at most 0; got {X.shape} and {bias}")
    angle = np.arange(3600) * (2 * np.pi / 3600)
    h = (np.stack([np.cos(angle), np.sin(angle)], axis=1) @ X.T).max(1)
    positive = np.where(h > 0, h, 1)
    length = np.minimum(-bias, 40 * positive) / positive  # beyond 40 the probability is 1, and squares may overflow
    return float(np.mean(np.where(h > 0, -np.expm1(-(length**2) / 2), 1)))


def best_halfspace(X: Array, y: Array) -> float:
    r"""The largest share of the labels y (m,), 0 or 1, that a halfspace with a threshold gets right, of all that exist.

    For XOR it is 3/4. Let <w, x> + b be positive on the class {(1, 1), (-1, -1)} and negative on {(1, -1), (-1, 1)}:
    the sum over the first is 2b > 0, that over the second 2b < 0. So no halfspace has all four, and many have three.
    ValueError unless X is (m, d), finite and in general position, and y (m,) holds 0 and 1.
    """
    check_sample(X)
    if y.shape != X.shape[:1] or not np.isin(y, (0, 1)).all():
        raise ValueError(f"y must be (m,) = ({len(X)},) of labels 0 and 1; got {y.shape} {np.unique(y)[:5]}")
    signs = dichotomies(np.column_stack([X, np.ones(len(X))]).astype(float))
    return float(np.mean(signs == 2 * y - 1, axis=1).max())


def xor_solution(activation: str) -> Tree:
    r"""Parameters with which ``mlp((2, 2, 2), activation)`` solves XOR, for every activation here.

    With u = x_1 + x_2 the units are f(u - 1) and f(-u - 1), and their sum c(u) is even in u: it is 2 f(-1) where the
    signs differ, u = 0, and f(1) + f(-3) where they agree, u = +-2. The latter is larger for all five f. The score of
    class 0 is c(u) less the mean of these two numbers, that of class 1 its negative.
    """
    check_choice("activation", activation, ACTIVATIONS)
    f, _ = ACTIVATIONS[activation]({}, np.array([-3.0, -1, 1]))
    middle = (2 * f[1] + f[0] + f[2]) / 2
    first = {"W": np.array([[1.0, -1], [1, -1]]), "b": np.array([-1.0, -1])}
    last = {"W": np.array([[1.0, -1], [1, -1]]), "b": np.array([-middle, middle])}
    return tree.astype({"0": first, "1": {}, "2": last}, np.float32)


def check_data(m: int, noise: float) -> None:
    """ValueError unless there is an example at least, and the noise is finite and not negative."""
    if m < 1 or not 0 <= noise < np.inf:
        raise ValueError(f"m={m}, noise={noise}: m must be at least 1, noise finite and not negative")


def noisy(X: Array, noise: float, rng: np.random.Generator) -> Array:
    """X in float32 with normal noise of this standard deviation on every number."""
    return (X + noise * rng.standard_normal(X.shape)).astype(np.float32)


def spirals(m: int, rng: np.random.Generator, noise: float = 0.0, turns: float = 1.0) -> tuple[Array, Array]:
    r"""Two arms that wind around 0, one the other turned by half a circle: X (m, 2) within |x| <= 2, y (m,) 0 and 1.

    At the angle t in (0, 2 pi turns] an arm has the radius t / (pi turns). Its length up to t grows about like t^2, so
    t = 2 pi turns sqrt(U), U uniform, spreads the points evenly along it. E|x|^2 = 4 E[U] = 2: 1 a feature.
    """
    check_data(m, noise)
    if not 0 < turns < np.inf:
        raise ValueError(f"turns={turns}: must be positive and finite")
    y, share = rng.integers(2, size=m), np.sqrt(1 - rng.random(m))
    angle = 2 * np.pi * turns * share + np.pi * y
    return noisy(2 * share[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), noise, rng), y


def moons(m: int, rng: np.random.Generator, noise: float = 0.0) -> tuple[Array, Array]:
    """Two half circles that reach into each other: X (m, 2), y (m,) 0 for the upper one around 0, 1 for the lower.

    The lower one is the upper one turned by half a circle about (1/2, 1/4): x -> (1, 1/2) - x.
    """
    check_data(m, noise)
    y, angle = rng.integers(2, size=m), rng.uniform(0, np.pi, m)
    X = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return noisy(np.where(y[:, None] == 1, [1, 0.5] - X, X), noise, rng), y


def xor(m: int, rng: np.random.Generator, noise: float = 0.0) -> tuple[Array, Array]:
    """m draws of the four points of ``XOR``: X (m, 2) around (+-1, +-1), y (m,) 1 where the signs differ, else 0."""
    check_data(m, noise)
    corner = rng.integers(4, size=m)
    return noisy(XOR[0][corner], noise, rng), XOR[1][corner]

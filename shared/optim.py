"""Optimizers: frozen hyperparameters, ``init(params) -> state``, ``update(params, grads, state)`` in place.

The state is a tree of arrays: one tree a moment, and the number of updates made, "step", where a formula or a schedule
asks for it. An update walks each array in blocks that stay in the second-level cache and makes all its passes over a
block before the next: each array then crosses the memory bus once, however many elementary operations the formula has.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, sqrt
from typing import ClassVar

import numpy as np

from shared import tree
from shared.schedules import Schedule
from shared.tree import Array, Tree

BLOCK = 1 << 15


def blocks(*trees: Tree) -> Iterator[tuple[Array, ...]]:
    """Flat pieces of at most BLOCK scalars, the same piece of each tree.

    Writes reach the arrays that are in C order, as those of the first tree must be: else ValueError.
    """
    for leaf in zip(*(tree.leaves(t) for t in trees), strict=True):
        path, first = leaf[0]
        for name, array in leaf:
            if name != path or array.shape != first.shape:
                raise ValueError(f"trees differ: {', '.join(f'{name} {array.shape}' for name, array in leaf)}")
        if not first.flags.c_contiguous:
            raise ValueError(f"{path}: an update in place needs a contiguous array")
        flat = [array.reshape(-1) for _, array in leaf]
        for start in range(0, first.size, BLOCK):
            yield tuple(array[start : start + BLOCK] for array in flat)


@dataclass(frozen=True)
class Optimizer:
    r"""theta <- theta - lr d, with d the direction that a subclass makes of g <- g + weight_decay theta.

    ``learning_rate`` is a number or a schedule of the step. Weight decay is the gradient of weight_decay |theta|^2 / 2.
    """

    learning_rate: float | Schedule
    weight_decay: float = 0.0

    moments: ClassVar[tuple[str, ...]] = ()  # the trees in the state, zero at first
    counts_steps: ClassVar[bool] = False
    decoupled: ClassVar[bool] = False  # theta <- (1 - lr weight_decay) theta in place of the term in g

    def __post_init__(self) -> None:
        if not callable(self.learning_rate):
            self._check("learning_rate", 0 < self.learning_rate < inf, "positive and finite")
        self._check("weight_decay", 0 <= self.weight_decay < inf, "finite and not negative")

    def _check(self, name: str, fine: bool, wanted: str) -> None:
        if not fine:
            raise ValueError(f"{type(self).__name__}: {name} must be {wanted}, got {getattr(self, name)}")

    def init(self, params: Tree) -> Tree:
        """The state before the first update."""
        state: Tree = {name: tree.map(np.zeros_like, params) for name in self.moments}
        if self.counts_steps or callable(self.learning_rate):
            state["step"] = np.zeros((), np.int64)
        return state

    def update(self, params: Tree, grads: Tree, state: Tree) -> None:
        """One step: writes params and state, reads grads."""
        step = int(state["step"]) if "step" in state else 0
        rate = float(self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate)
        dtype = next(tree.leaves(params))[1].dtype
        # As arrays: a ufunc takes a microsecond to convert a Python number, in every block again.
        size, *c = (np.array(value, dtype) for value in self.coefficients(rate, step))
        scratch = np.empty((2, BLOCK), dtype)
        for p, g, *moments in blocks(params, grads, *(state[name] for name in self.moments)):
            t, decayed = scratch[:, : p.size]
            if self.weight_decay and self.decoupled:
                p *= 1 - rate * self.weight_decay
            elif self.weight_decay:
                np.multiply(p, self.weight_decay, out=decayed)
                decayed += g
                g = decayed
            np.multiply(self.direction(t, g, *moments, *c), size, out=t)
            p -= t
        if "step" in state:
            state["step"] += 1

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        """The step's size, which multiplies the direction, and the other scalars that the direction asks for."""
        return (rate,)

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        """d for one block, in t (scratch) or another array; rest is the moments, which take g in, and the scalars."""
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    r"""theta <- theta - lr g, with g <- g + weight_decay theta first. Robbins and Monro 1951."""

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        return g


@dataclass(frozen=True)
class Momentum(Optimizer):
    r"""v <- momentum v + g;  theta <- theta - lr v, with g <- g + weight_decay theta first.

    Polyak 1964 ("heavy ball"), in PyTorch's form: lr is outside of v, so a schedule acts at once. Under a constant g
    the step grows to lr g / (1 - momentum).
    """

    momentum: float = 0.9
    moments: ClassVar[tuple[str, ...]] = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("momentum", 0 <= self.momentum < 1, "in [0, 1)")

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.momentum

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        v, momentum = rest
        v *= momentum
        v += g
        return v


@dataclass(frozen=True)
class Nesterov(Momentum):
    r"""v <- momentum v + g;  theta <- theta - lr (g + momentum v), with g <- g + weight_decay theta first.

    Nesterov 1983 takes the gradient where momentum is about to carry theta. With theta standing for that point, as in
    Sutskever et al. 2013, section 2 and PyTorch, the gradient is taken at theta, and the step looks one momentum ahead.
    """

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        _, momentum = rest
        np.multiply(super().direction(t, g, *rest), momentum, out=t)
        t += g
        return t


@dataclass(frozen=True)
class Adagrad(Optimizer):
    r"""h <- h + g^2;  theta <- theta - lr g / (sqrt(h) + eps), with g <- g + weight_decay theta first.

    Duchi, Hazan, Singer 2011, fig. 1 (diagonal): each coordinate gets the step that its own past gradients earned.
    """

    epsilon: float = 1e-10
    moments: ClassVar[tuple[str, ...]] = ("h",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("epsilon", 0 < self.epsilon < inf, "positive and finite")

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.epsilon

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        h, epsilon = rest
        np.multiply(g, g, out=t)
        h += t
        np.sqrt(h, out=t)
        t += epsilon
        np.divide(g, t, out=t)
        return t


@dataclass(frozen=True)
class RMSProp(Optimizer):
    r"""u <- decay u + (1 - decay) g^2;  theta <- theta - lr g / (sqrt(u) + eps), g <- g + weight_decay theta first.

    Tieleman and Hinton 2012, lecture 6.5: Adagrad that forgets. The state is the sum v = u / (1 - decay), so that
    v <- decay v + g^2 needs no pass for 1 - decay: with c = sqrt(1 - decay),
        g / (sqrt(u) + eps) = g / (c sqrt(v) + eps) = 1/c * g / (sqrt(v) + eps/c).
    """

    decay: float = 0.99
    epsilon: float = 1e-8
    moments: ClassVar[tuple[str, ...]] = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("decay", 0 <= self.decay < 1, "in [0, 1)")
        self._check("epsilon", 0 < self.epsilon < inf, "positive and finite")

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        c = sqrt(1 - self.decay)
        return rate / c, self.decay, self.epsilon / c

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        v, decay, epsilon = rest
        v *= decay
        np.multiply(g, g, out=t)
        v += t
        np.sqrt(v, out=t)
        t += epsilon
        np.divide(g, t, out=t)
        return t


@dataclass(frozen=True)
class Adam(Optimizer):
    r"""theta <- theta - lr m^ / (sqrt(v^) + eps), m^ and v^ the bias-corrected means of g and g^2.

    Kingma and Ba 2015, algorithm 1, n = step + 1:  m^ = (1 - beta1) M / (1 - beta1^n),  M <- beta1 M + g,
    and v^ = (1 - beta2) V / (1 - beta2^n),  V <- beta2 V + g^2. The state is the sums M and V, not the paper's means
    (1 - beta) M: two passes fewer. With c = sqrt((1 - beta2) / (1 - beta2^n)), sqrt(v^) = c sqrt(V) and the step is
        lr (1 - beta1) / (1 - beta1^n) / c * M / (sqrt(V) + eps/c).
    Weight decay, when given, is part of g; ``AdamW`` keeps it apart.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    moments: ClassVar[tuple[str, ...]] = ("m", "v")
    counts_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("beta1", 0 <= self.beta1 < 1, "in [0, 1)")
        self._check("beta2", 0 <= self.beta2 < 1, "in [0, 1)")
        self._check("epsilon", 0 < self.epsilon < inf, "positive and finite")

    def coefficients(self, rate: float, step: int) -> tuple[float, ...]:
        n = step + 1
        c = sqrt((1 - self.beta2) / (1 - self.beta2**n))
        # Where gradients stay zero (dead units, rare tokens) M would end in subnormal numbers, and an update take five
        # times as long. What is below 1e-35 moves nothing; dropping it every 32 steps is soon enough and costs nothing.
        floor = 0.0 if n % 32 else 1e-35
        return rate * (1 - self.beta1) / (1 - self.beta1**n) / c, self.beta1, self.beta2, self.epsilon / c, floor

    def direction(self, t: Array, g: Array, *rest: Array) -> Array:
        m, v, beta1, beta2, epsilon, floor = rest
        m *= beta1
        m += g
        if floor:
            m *= np.abs(m) > floor
        v *= beta2
        np.multiply(g, g, out=t)
        v += t
        np.sqrt(v, out=t)
        t += epsilon
        np.divide(m, t, out=t)
        return t


@dataclass(frozen=True)
class AdamW(Adam):
    r"""theta <- (1 - lr weight_decay) theta, then Adam's step without decay in g.

    Loshchilov and Hutter 2019, algorithm 2: in Adam the decay would be divided by sqrt(v^) like any gradient.
    """

    weight_decay: float = 0.01
    decoupled: ClassVar[bool] = True


@dataclass(frozen=True)
class EMA:
    r"""a <- decay a + (1 - decay) theta, a copy of theta at first: an average over some 1 / (1 - decay) updates.

    After n updates theta_0 still weighs decay^n. A start at zero would weigh the others too little instead, by the
    factor 1 - decay^n, and need the division that Adam makes.
    """

    decay: float

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"EMA: decay must be in [0, 1), got {self.decay}")

    def init(self, params: Tree) -> Tree:
        return tree.map(lambda p: np.array(p, order="C"), params)

    def update(self, average: Tree, params: Tree) -> None:
        """Take params into average, in place."""
        for a, p in blocks(average, params):
            t = p - a
            t *= 1 - self.decay
            a += t


def clip_by_global_norm(grads: Tree, max_norm: float) -> tuple[Tree, float]:
    r"""(g min(1, max_norm / |g|), |g|), |g| the Euclidean norm over all leaves together.

    The direction stays, unlike with a bound on each entry. Pascanu, Mikolov and Bengio 2013, algorithm 1.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_by_global_norm: max_norm must be positive, got {max_norm}")
    largest = max((float(abs(g).max(initial=0)) for _, g in tree.leaves(grads)), default=0.0)
    unit = largest if 0 < largest < inf else 1.0  # squares of what is divided by it neither overflow nor vanish
    norm = unit * sqrt(sum(float(np.vdot(g / unit, g / unit)) for _, g in tree.leaves(grads)))
    if not norm > max_norm:
        return grads, norm
    scale = max_norm / norm
    return tree.map(lambda g: g * scale, grads), norm

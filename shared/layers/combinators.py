"""Composition: the chain rule and the sum rule as layers."""

from dataclasses import dataclass

import numpy as np

from shared.layers.base import EVAL, Layer, Mode, Pullback
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Sequential:
    r"""y = f_n(... f_2(f_1(x))); parameters {"0": p_1, "1": p_2, ...}.

    J = J_n ... J_2 J_1, hence J^T dy = J_1^T (J_2^T (... J_n^T dy)): pull back in reverse order, each product a vector.
    """

    layers: tuple[Layer, ...]

    def init(self, rng: np.random.Generator) -> Tree:
        return {str(i): layer.init(rng) for i, layer in enumerate(self.layers)}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        pullbacks = []
        for i, layer in enumerate(self.layers):
            x, pullback = layer(p[str(i)], x, mode)
            pullbacks.append(pullback)

        def backward(dy: Array) -> tuple[Array | None, Tree]:
            dp: Tree = {}
            for i in reversed(range(len(pullbacks))):
                dy, dp[str(i)] = pullbacks[i](dy)
            return dy, {str(i): dp[str(i)] for i in range(len(pullbacks))}

        return x, backward


@dataclass(frozen=True)
class Residual:
    r"""y = x + f(x), with f(x) of x's shape; the parameters are those of f, the inner layer.

    J = I + J_f, hence dx = dy + J_f^T dy: the gradient also reaches x past f. He et al. 2016, eq. 1.
    """

    inner: Layer

    def init(self, rng: np.random.Generator) -> Tree:
        return self.inner.init(rng)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        f, inner_pullback = self.inner(p, x, mode)
        if f.shape != x.shape:
            raise ValueError(f"Residual: the inner layer maps {x.shape} to {f.shape}; the sum needs equal shapes")

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx, dp = inner_pullback(dy)
            return dy + dx, dp

        return x + f, pullback

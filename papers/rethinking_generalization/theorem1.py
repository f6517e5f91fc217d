r"""Theorem 1: a ReLU network of depth 2 with 2n + d weights takes any values y at any n different points of R^d.

c(x) = sum_j w_j max(<a, x> - b_j, 0),     a in R^d, and b, w in R^n.
"""

from typing import NamedTuple

import numpy as np

from shared.tree import Array

DIRECTIONS = 64  # tried for a


class Network(NamedTuple):
    """a (d,), the direction that all hidden units share; b (n,), where each begins; w (n,), what it weighs."""

    a: Array
    b: Array
    w: Array

    def __call__(self, x: Array) -> Array:
        """c(x) (N,) for x (N, d)."""
        return hidden(x @ self.a, self.b) @ self.w

    @property
    def weights(self) -> int:
        return self.a.size + self.b.size + self.w.size


def hidden(z: Array, b: Array) -> Array:
    """A_ij = max(z_i - b_j, 0), (N, n): the hidden units at points whose projections are z (N,)."""
    return np.maximum(z[:, None] - b, 0)


def memorise(x: Array, y: Array, rng: np.random.Generator) -> Network:
    r"""The proof, step by step, for x (n, d) and y (n,).

    1. a: a random direction. Two different points have the same <a, x> with probability 0. In exact arithmetic any will
       do; w is of the size of 1 / (least gap of the z_i), and so are rounding errors: the widest gap of 64 draws.
    2. Order the points by z_i = <a, x_i> and choose b_1 < z_1 < b_2 < z_2 < ... < b_n < z_n.
    3. A_ij = max(z_i - b_j, 0) is lower triangular, for z_i < b_j where i < j, with the diagonal z_i - b_i > 0.
    4. Lemma 1: such a matrix has full rank, its determinant being the product of the diagonal. So A w = y has a
       solution, and c(x_i) = (A w)_i = y_i.

    ValueError when two points are equal: no function tells them apart.
    """
    if len(np.unique(x, axis=0)) < len(x):
        raise ValueError(f"memorise: {len(x)} points must all be different")
    drawn = rng.standard_normal((DIRECTIONS, x.shape[1]))
    a = max(drawn, key=lambda direction: least_gap(x @ direction))
    z = x @ a
    order = np.argsort(z)
    z = z[order]
    b = interleaved(z)
    return Network(a, b, forward_substitution(hidden(z, b), y[order]))


def least_gap(z: Array) -> float:
    """The distance of the closest two, over that of the outermost; infinite for a single one."""
    z = np.sort(z)
    return float((z[1:] - z[:-1]).min() / (z[-1] - z[0])) if len(z) > 1 else np.inf


def interleaved(z: Array) -> Array:
    """b (n,) with b_1 < z_1 < b_2 < ... < z_n for increasing z: midpoints, the first a mean gap below z_1."""
    first = z[0] - ((z[-1] - z[0]) / (len(z) - 1) if len(z) > 1 else 1.0)
    return np.concatenate([[first], (z[:-1] + z[1:]) / 2])


def forward_substitution(A: Array, y: Array) -> Array:
    """w with A w = y, A (n, n) lower triangular: w_i = (y_i - sum_{j<i} A_ij w_j) / A_ii."""
    w = np.zeros(len(y))
    for i in range(len(y)):
        w[i] = (y[i] - A[i, :i] @ w[:i]) / A[i, i]
    return w

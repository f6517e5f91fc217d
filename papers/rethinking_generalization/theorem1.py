r"""Theorem 1: a ReLU network of depth 2 with 2n + d weights takes any values y at any n different points of R^d.

c(x) = sum_j w_j max(<a, x> - b_j, 0),     a in R^d, and b, w in R^n.
"""

from typing import NamedTuple

import numpy as np

from shared.tree import Array

NEAR = 0.1  # of the way from z_{j-1} to z_j: where b_j lies


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
    A = z[:, None] - b
    return np.maximum(A, 0, out=A)


def memorise(x: Array, y: Array, rng: np.random.Generator) -> Network:
    r"""The proof, step by step, for x (n, d) and y (n,).

    1. a: a random direction. Two different points have the same <a, x> with probability 0.
    2. Order the points by z_i = <a, x_i> and choose b_1 < z_1 < b_2 < z_2 < ... < b_n < z_n.
    3. A_ij = max(z_i - b_j, 0) is lower triangular, for z_i < b_j where i < j, with the diagonal z_i - b_i > 0.
    4. Lemma 1: such a matrix has full rank, its determinant being the product of the diagonal. So A w = y has a
       solution, and c(x_i) = (A w)_i = y_i.

    Rounding errors are in proportion to the values and grow as projections come close (notes.md, "Theorem 1").
    ValueError when there is no point, for numbers that are not finite, and when two points are equal, or so close that
    their projections are: no function of the kind tells them apart.
    """
    if x.ndim != 2 or y.shape != (len(x),):
        raise ValueError(f"memorise: needs x (n, d) and y (n,), got {x.shape} and {y.shape}")
    if len(x) == 0:
        raise ValueError("memorise: needs at least one point")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("memorise: points and values must be finite")
    if len(np.unique(x, axis=0)) < len(x):
        raise ValueError(f"memorise: {len(x)} points must all be different")
    a: Array = rng.standard_normal((x.shape[1],))
    z = x @ a
    order = np.argsort(z)
    z = z[order]
    if not (np.diff(z) > 0).all():
        raise ValueError(f"memorise: points are too close: two projections are equal in {z.dtype}")
    b = interleaved(z)
    return Network(a, b, forward_substitution(hidden(z, b), y[order]))


def interleaved(z: Array) -> Array:
    r"""b (n,) with b_1 < z_1 < b_2 < ... < z_n for increasing z: a tenth of the way from the point before.

    Any b in between does for the proof, and not in floating point. With b_j at the share t of the gap g_j, the slope
    s_j behind b_j obeys s_j = -t / (1 - t) s_{j-1} + (y_j - y_{j-1}) / ((1 - t) g_j): at midpoints a large slope, from
    a small gap, never decays, and with it the rounding errors; at t = 0.1 it falls to a ninth at each point.
    """
    mean_gap = (z[-1] - z[0]) / (len(z) - 1) if len(z) > 1 else 1.0
    before = np.concatenate([[z[0] - mean_gap], z[:-1]])
    return before + NEAR * (z - before)


def forward_substitution(A: Array, y: Array) -> Array:
    """w with A w = y, A (n, n) lower triangular: w_i = (y_i - sum_{j<i} A_ij w_j) / A_ii."""
    w = np.zeros(len(y))
    for i in range(len(y)):
        w[i] = (y[i] - A[i, :i] @ w[:i]) / A[i, i]
    return w

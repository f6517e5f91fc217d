"""The singular value decomposition two ways, low-rank approximation, maps of the plane: Appendix C of the book.

A (m, n) = U diag(s) V^T with orthonormal columns u_i of U (m, k) and v_i of V (n, k), k = min(m, n), and s falling and
not negative. A v_i = s_i u_i and A^T u_i = s_i v_i, so A^T A v_i = s_i^2 v_i (Corollary C.6), and v_i is the unit
vector with the longest A v among those orthogonal to v_1, ..., v_{i-1} (Lemma C.5).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from papers.understanding_ml.eigen import rotate, rotation, tournament
from papers.understanding_ml.qr import EPS, qr, scaled
from shared.tree import Array

SHORTEST = 1e-145  # where A is scaled to 1, columns that are shorter are 0: their squares would underflow


class SVD(NamedTuple):
    """A (m, n) = U diag(s) Vt with k = min(m, n)."""

    U: Array  # (m, k), orthonormal columns, each with the arbitrary sign of its row of Vt
    s: Array  # (k,), falling, not negative
    Vt: Array  # (k, n), orthonormal rows


def svd_jacobi(A: Array) -> SVD:
    r"""The SVD of A (m, n) by one-sided Jacobi rotations: those of A^T A, without forming it.

    A rotation of columns p and q of W = A V that makes them orthogonal is the one that makes (W^T W)_pq = 0. When all
    pairs are, W = U diag(s): the lengths are the singular values. Each pair is made orthogonal relative to its own two
    lengths, so columns of very different lengths keep their digits: errors are eps s_i times the condition number of
    A with its columns scaled to length 1, not eps s_1.
    Where s_i = s_{i+1} any two orthonormal vectors of their plane will do; where s_i = 0, any orthogonal to the others.
    ValueError like ``qr.scaled``.
    """
    return _decompose(A, _one_sided)


def svd_power(A: Array, rng: np.random.Generator) -> SVD:
    r"""The SVD of A (m, n) by power iteration with deflation: find s_1, u_1, v_1, take them out of A, and go on.

    What is left after i of them is (I - U U^T) A (I - V V^T), whose largest singular value is s_{i+1}. It is known up
    to errors of eps s_1: that is how well small singular values are found, and those below max(m, n) eps s_1 are 0.
    Vectors are orthogonal all the same, as each is made so. Where s_i = s_{i+1}, ``rng`` and rounding errors pick them
    from their plane.
    ValueError like ``qr.scaled``.
    """
    return _decompose(A, partial(_deflated, rng=rng))


def _decompose(A: Array, tall: Callable[[Array], SVD]) -> SVD:
    """What ``tall`` finds in A, or in A^T where A is wide: scaled before, sorted after, vectors for values 0 added."""
    X, exponent = scaled(A)
    wide = X.shape[0] < X.shape[1]
    U, s, Vt = tall(X.T if wide else X)
    order = np.argsort(-s)
    U, s, V = _completed(U[:, order]), np.ldexp(s[order], exponent), _completed(Vt[order].T)
    return SVD(V, s, U.T) if wide else SVD(U, s, V.T)


def _completed(U: Array) -> Array:
    """U (m, k) with orthonormal columns in place of the zeros at its end: where reflections have nothing to reflect."""
    return np.where(U.any(axis=0), U, qr(U)[0])


def _one_sided(X: Array) -> SVD:
    m, n = X.shape
    rows = np.hstack([X.T, np.eye(n)])  # row i: column i of W, then of V
    largest = math.inf  # |cosine| that a sweep met
    while largest > m * EPS:
        s = np.linalg.norm(rows[:, :m], axis=1)
        rows[s < SHORTEST, :m] = 0
        rows = rows[np.argsort(-s)]  # long ones first: then a sweep leaves less to the next one
        largest = 0.0
        for p, q in tournament(n):
            W_p, W_q = rows[p, :m], rows[q, :m]
            a, b, c = (np.sum(x * y, axis=1) for x, y in ((W_p, W_p), (W_p, W_q), (W_q, W_q)))
            cos, sin, _ = rotation(a, b, c)
            rotate(rows, p, q, cos, sin)
            lengths = np.maximum(np.sqrt(a) * np.sqrt(c), SHORTEST**2)
            largest = max(largest, float(np.max(np.abs(b) / lengths, initial=0)))
    W = rows[:, :m].T
    s = np.linalg.norm(W, axis=0)
    return SVD(W / np.where(s > 0, s, 1), s, rows[:, m:])


def power_iterates(A: Array, rng: np.random.Generator) -> Iterator[Array]:
    r"""v_t (n,), t = 1, 2, 4, 8, ..., along (A^T A)^t v_0, for a random v_0: power iteration, by repeated squaring.

    In the basis of the v_i, step t multiplies coordinate i by s_i^2t, so all but those of the largest s_1 vanish
    like (s_i / s_1)^2t. One by one that is about 1 / (1 - (s_2 / s_1)^2) steps a digit, far too many when the two are
    close; as (A^T A)^2t is the square of (A^T A)^t, it takes only the logarithm of that here. Ends when squaring
    changes no more than rounding errors do: s_2 is then negligible, or equal to s_1.
    ValueError like ``qr.scaled``, and when A is 0.
    """
    X, _ = scaled(A)
    if not X.any():
        raise ValueError("A is 0 everywhere: no v is stretched more than another")
    squared = X.T @ X
    power = squared / np.trace(squared)
    v = power @ rng.standard_normal(len(power))
    change = np.inf
    yield v / np.linalg.norm(v)
    while change > len(power) * EPS:
        v = power @ v  # (A^T A)^t v_t = v_2t
        v = v / np.linalg.norm(v)
        yield v
        squared = power.T @ power
        squared /= np.trace(squared)
        power, change = squared, np.abs(squared - power).max()


def _deflated(X: Array, rng: np.random.Generator) -> SVD:
    m, n = X.shape
    U, s, V = np.zeros((m, n)), np.zeros(n), np.zeros((n, n))
    for i in range(n):
        left = X - U @ (U.T @ X)
        left -= (left @ V) @ V.T
        if np.linalg.norm(left) <= m * EPS * s[0]:
            break
        *_, v = power_iterates(left, rng)
        V[:, i] = _orthogonal(v, V)
        s[i] = np.linalg.norm(left @ V[:, i])
        U[:, i] = _orthogonal(left @ V[:, i], U)
    return SVD(U, s, V.T)


def _orthogonal(x: Array, Q: Array) -> Array:
    """The unit vector along x less its projection to the columns of Q: twice, for the rounding errors of the first."""
    for _ in range(2):
        x = x - Q @ (Q.T @ x)
        x = x / np.linalg.norm(x)
    return x


def low_rank(A: Array, k: int) -> Array:
    r"""A_k (m, n) = sum_{i <= k} s_i u_i v_i^T: no matrix of rank k is closer to A (Eckart and Young).

    |A - A_k|_F^2 = sum_{i > k} s_i^2, and in the spectral norm |A - A_k| = s_{k+1}. No B of rank k does better: it maps
    some unit vector v of span(v_1, ..., v_{k+1}) to 0, and |(A - B) v| = |A v| >= s_{k+1}.
    ValueError like ``qr.scaled``, and unless 0 <= k <= min(m, n).
    """
    return truncate(svd_jacobi(A), k)


def truncate(found: SVD, k: int) -> Array:
    """A_k (m, n) from the SVD of A (m, n), once it is there. ValueError unless 0 <= k <= min(m, n)."""
    U, s, Vt = found
    if not 0 <= k <= len(s):
        raise ValueError(f"k={k}: must be from 0 to min(m, n) = {len(s)}")
    return (U[:, :k] * s[:k]) @ Vt[:k]


class Action(NamedTuple):
    """A (2, 2) = R(left) diag(scales) R(right), with R(x) the rotation by x."""

    left: float  # radians
    scales: Array  # (2,): s_1, and s_2 with the sign of det A, a reflection where that is negative
    right: float  # radians


def rotation_scale_rotation(A: Array) -> Action:
    r"""What A (2, 2) does to the plane: it rotates, scales along the two axes, and rotates again.

    A = U diag(s) V^T, and an orthogonal 2x2 matrix is a rotation or has determinant -1. In the second case a minus
    moves from its second column (U) or row (V^T) to s_2, and two of them cancel. The unit circle is mapped to an
    ellipse with semi-axes s_1 u_1 and s_2 u_2. ValueError like ``qr.scaled``, and unless A is (2, 2).
    """
    U, s, Vt = svd_jacobi(A)
    if np.shape(A) != (2, 2):
        raise ValueError(f"A must be (2, 2), a map of the plane; got {np.shape(A)}")
    reflects = np.sign(U[0, 0] * U[1, 1] - U[0, 1] * U[1, 0]) * np.sign(Vt[0, 0] * Vt[1, 1] - Vt[0, 1] * Vt[1, 0])
    return Action(math.atan2(U[1, 0], U[0, 0]), s * [1, reflects], math.atan2(-Vt[0, 1], Vt[0, 0]))

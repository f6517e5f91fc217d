"""Linear systems with any A: solving by QR, the condition number, pseudo-inverse and projections by the SVD.

Section 9.2.1 of the book meets them as A w = b, A = sum x x^T, singular where the examples do not span the space.
"""

import math

import numpy as np

from papers.understanding_ml.qr import EPS, qr
from papers.understanding_ml.svd import SVD, svd_jacobi
from shared.tree import Array


def back_substitution(R: Array, y: Array) -> Array:
    r"""x (n,) or (n, k) with R x = y for upper triangular R (n, n): from below, R_ii x_i = y_i - sum_{j>i} R_ij x_j.

    What is below the diagonal of R is not looked at. ValueError when the shapes do not fit, or R_ii = 0.
    """
    if R.ndim != 2 or R.shape[0] != R.shape[1] or y.ndim not in (1, 2) or len(y) != len(R):
        raise ValueError(f"R must be (n, n) and y (n,) or (n, k); got {R.shape} and {y.shape}")
    if not np.diag(R).all():
        i = int(np.argmin(np.abs(np.diag(R))))
        raise ValueError(f"R is singular, as R[{i}, {i}] = 0: use pseudo_inverse(R) @ y")
    x = np.zeros(y.shape)
    for i in reversed(range(len(R))):
        x[i] = (y[i] - R[i, i + 1 :] @ x[i + 1 :]) / R[i, i]
    return x


def solve(A: Array, b: Array) -> Array:
    r"""x (n,) with A x = b for A (m, n), m >= n, b (m,); the least-squares solution when m > n. For b (m, k), (n, k).

    |A x - b|^2 = |R x - Q^T b|^2 + |(I - Q Q^T) b|^2, and R x = Q^T b makes the first term 0.
    ValueError like ``qr``; when b does not fit or is not finite; when A is singular: m < n or dependent columns, up to
    rounding errors and whatever the units of the columns. The pivots R_ii do not show that, none of them need be small.
    """
    Q, R = qr(A)
    m, n, b = len(Q), R.shape[1], np.asarray(b, float)
    if b.ndim not in (1, 2) or len(b) != m or not np.isfinite(b).all():
        raise ValueError(f"b must be finite, ({m},) or ({m}, k) to fit A {(m, n)}; got shape {b.shape}")
    units = np.abs(R).max(axis=0)
    if (found := rank(R / np.where(units > 0, units, 1))) < n:
        raise ValueError(f"A is singular: {found} of its {n} columns are independent; use pseudo_inverse(A) @ b")
    return back_substitution(R, Q.T @ b)


def condition_number(A: Array) -> float:
    r"""kappa = s_1 / s_k of A (m, n), k = min(m, n): infinite where the last singular value is 0.

    For square A, A x = b and A (x + dx) = b + db: |dx| <= |db| / s_n and |b| <= s_1 |x|, so
    |dx| / |x| <= kappa |db| / |b|. Rounding b alone costs log10(kappa) digits. ValueError like ``qr.scaled``.
    """
    s = svd_jacobi(A).s
    return float(s[0] / s[-1]) if s[-1] > 0 else math.inf


def rank(A: Array, rcond: float | None = None) -> int:
    """How many singular values of A (m, n) are above rcond times the largest. ValueError like ``pseudo_inverse``."""
    return _kept(A, rcond)[1].size


def _kept(A: Array, rcond: float | None) -> SVD:
    """The SVD without the values that are at most rcond s_1; by default rcond is max(m, n) eps."""
    U, s, Vt = svd_jacobi(A)
    cutoff = max(np.shape(A)) * EPS if rcond is None else rcond
    if not 0 <= cutoff < 1:
        raise ValueError(f"rcond={rcond}: must be at least 0 and below 1, as a share of the largest singular value")
    kept = s > cutoff * s[0]
    return SVD(U[:, kept], s[kept], Vt[kept])


def pseudo_inverse(A: Array, rcond: float | None = None) -> Array:
    r"""A^+ (n, m) = sum_i v_i u_i^T / s_i over the s_i above rcond s_1; by default rcond = max(m, n) eps.

    It is the matrix with A A^+ and A^+ A symmetric, A A^+ A = A and A^+ A A^+ = A^+, and x = A^+ b is the shortest of
    the x with the smallest |A x - b|. numpy.linalg.pinv(A, rcond) is the same, but cuts at 1e-15 by default.
    ValueError like ``qr.scaled``, and unless 0 <= rcond < 1.
    """
    U, s, Vt = _kept(A, rcond)
    return (Vt.T / s) @ U.T


def projection(A: Array) -> Array:
    r"""P (m, m), the orthogonal projection onto the column space of A (m, n): U U^T over s_i above max(m, n) eps s_1.

    P^T = P and P P = U (U^T U) U^T = P. For y = A x, b - P b is orthogonal to P b - y, so
    |b - y|^2 = |b - P b|^2 + |P b - y|^2: nothing in the column space is closer to b than P b.
    Dependent columns, and A = 0, are no trouble. ValueError like ``qr.scaled``.
    """
    U = _kept(A, None).U
    return U @ U.T

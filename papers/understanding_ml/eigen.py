"""Eigenvalues and eigenvectors of symmetric matrices two ways: Appendix C of the book.

A symmetric A (n, n) is V diag(lambda) V^T with orthonormal V (the spectral theorem). Shifted QR makes A tridiagonal
first and then drives what is left off the diagonal out at a corner; Jacobi's rotations make it smaller everywhere.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from papers.understanding_ml.qr import EPS, qr, reflector, scaled
from shared.tree import Array

ASYMMETRY = 1e-12  # |A - A^T| over |A| up to which it is taken for rounding errors
SMALLEST = float(np.finfo(float).tiny) / EPS  # where A is scaled to 1, off-diagonal entries below are 0


class Eigen(NamedTuple):
    """A = V diag(lambda) V^T for symmetric A (n, n)."""

    values: Array  # (n,), rising
    vectors: Array  # (n, n), orthonormal columns in the order of the values, each with an arbitrary sign


def symmetric(A: Array) -> tuple[Array, int]:
    """``scaled(A)``, symmetric to the last bit. ValueError like ``scaled``, and unless A is square and symmetric."""
    X, exponent = scaled(A)
    if X.shape[0] != X.shape[1]:
        raise ValueError(f"A must be square to have eigenvalues; got {X.shape}: use the SVD")
    difference = np.abs(X - X.T)
    if difference.max() > ASYMMETRY:
        i, j = np.unravel_index(np.argmax(difference), X.shape)
        raise ValueError(
            f"A must be symmetric, but A[{i}, {j}] != A[{j}, {i}]: use (A + A.T) / 2 if that is noise, or else the SVD"
        )
    return (X + X.T) / 2, exponent


def tridiagonal(A: Array) -> tuple[Array, Array, Array]:
    r"""d (n,), e (n - 1,) and orthonormal Q (n, n) of symmetric A (n, n) = Q T Q^T, T with diagonal d and e beside it.

    The reflection that takes column j below row j to a multiple of one unit vector is applied from both sides: from
    the right it does not touch column j, so the zeros stay. All n columns at once would be too much to ask: then
    eigenvalues could be computed in finitely many steps. ValueError like ``symmetric``.
    """
    T, exponent = symmetric(A)
    Q = np.eye(len(T))
    for j in range(len(T) - 2):
        v = reflector(T[j + 1 :, j])
        T[j + 1 :] -= 2 * np.outer(v, v @ T[j + 1 :])
        T[:, j + 1 :] -= 2 * np.outer(T[:, j + 1 :] @ v, v)
        Q[:, j + 1 :] -= 2 * np.outer(Q[:, j + 1 :] @ v, v)
    return np.ldexp(np.diag(T), exponent), np.ldexp(np.diag(T, 1), exponent), Q


def wilkinson_shift(a: float, b: float, c: float) -> float:
    """The eigenvalue of [[a, b], [b, c]], b not 0, closer to c: c - b^2 / (h + sign(h) |(h, b)|), h = (a - c) / 2."""
    half = (a - c) / 2
    return c - b * (b / (half + math.copysign(math.hypot(half, b), half)))


def qr_iterates(A: Array, shifted: bool) -> Iterator[Array]:
    r"""A = A_0, A_1, ... of the QR algorithm as one writes it down: A_t - mu I = Q R, then A_{t+1} = R Q + mu I.

    R Q = Q^T (A_t - mu I) Q, so all A_t have the eigenvalues of A. The last row of Q^T is along e_n^T (A_t - mu I)^-1:
    a step of inverse iteration, which shrinks its off-diagonal entries by |lambda_n - mu| / |lambda_i - mu|. Without a
    shift (mu = 0) that is a constant; Wilkinson's shift goes to lambda_n itself, and the order becomes cubic.
    ValueError like ``symmetric``. ``eigen_qr`` gets the same A_t without forming Q or R.
    """
    X, exponent = symmetric(A)
    while True:
        yield np.ldexp(X, exponent)
        corner = X[-2:, -2:]
        mu = wilkinson_shift(corner[0, 0], corner[0, 1], corner[1, 1]) if shifted and corner[0, 1:].any() else 0.0
        Q, R = qr(X - mu * np.eye(len(X)))
        X = R @ Q + mu * np.eye(len(X))
        X = (X + X.T) / 2


def eigen_qr(A: Array) -> Eigen:
    r"""All eigenvalues of a symmetric A (n, n), and their vectors, by the implicitly shifted QR algorithm.

    A step of QR with shift mu turns a tridiagonal T into Q^T T Q, tridiagonal again, and the first column of Q is along
    (T - mu I) e_1. That column determines the rest (the implicit Q theorem): start with the one rotation that has it
    and make the result tridiagonal again. Where an off-diagonal entry becomes negligible T falls apart in two.
    ValueError like ``symmetric``.
    """
    X, exponent = symmetric(A)
    diagonal, beside, Q = tridiagonal(X)
    d, e, Vt = diagonal.tolist(), beside.tolist(), Q.T.copy()  # lists: the loop below goes from number to number
    high = len(d) - 1
    while high > 0:
        low = high
        while low > 0 and abs(e[low - 1]) > EPS * (abs(d[low - 1]) + abs(d[low])) + SMALLEST:
            low -= 1
        if low < high:
            _chase(d, e, Vt, low, high)
        else:
            high -= 1
    order = np.argsort(d)
    return Eigen(np.ldexp(np.array(d)[order], exponent), Vt[order].T)


def _chase(d: list[float], e: list[float], Vt: Array, low: int, high: int) -> None:
    """One implicit QR step on rows low to high of T, in place: rotate, and chase the entry that this puts outside."""
    x, outside = d[low] - wilkinson_shift(d[high - 1], e[high - 1], d[high]), e[low]
    for k in range(low, high):
        length = math.hypot(x, outside)  # the rotation takes (x, outside) to (length, 0)
        c, s = (x / length, outside / length) if length > 0 else (1.0, 0.0)
        if k > low:
            e[k - 1] = length
        a, b, c_next = d[k], e[k], d[k + 1]
        d[k], d[k + 1] = c * c * a + 2 * c * s * b + s * s * c_next, s * s * a - 2 * c * s * b + c * c * c_next
        e[k] = (c * c - s * s) * b + c * s * (c_next - a)
        if k + 1 < high:
            x, outside, e[k + 1] = e[k], s * e[k + 1], c * e[k + 1]
        Vt[k : k + 2] = np.array([[c, s], [-s, c]]) @ Vt[k : k + 2]


def tournament(n: int) -> Iterator[tuple[Array, Array]]:
    """All pairs p < q below n in rounds of disjoint ones, like the matches of n teams: one sits still, the others turn.

    Rotations of disjoint pairs do not disturb each other, so a round is done at once.
    """
    teams = np.arange(n + n % 2)  # with n odd, whoever meets team n has a rest
    for _ in range(len(teams) - 1):
        first, second = teams[: len(teams) // 2], teams[: len(teams) // 2 - 1 : -1]
        p, q = np.minimum(first, second), np.maximum(first, second)
        yield p[q < n], q[q < n]
        teams = np.concatenate([teams[:1], np.roll(teams[1:], 1)])


def rotation(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    r"""Cosine, sine and tangent of the angles, at most pi/4, whose rotations make [[a, b], [b, c]] diagonal.

    With J = [[cos, sin], [-sin, cos]] the entry beside the diagonal of J^T [[a, b], [b, c]] J is
    (cos^2 - sin^2) b + cos sin (a - c). It is 0 for a tangent t with b t^2 + (c - a) t - b = 0, and the smaller root is
    2 b / (h + sign(h) |(h, 2 b)|) with h = c - a. The diagonal becomes a - t b and c + t b.
    """
    h = c - a
    denominator = h + np.copysign(np.hypot(h, 2 * b), h)
    t = np.divide(2 * b, denominator, out=np.zeros_like(b), where=b != 0)
    cos = 1 / np.hypot(1, t)
    return cos, t * cos, t


def rotate(rows: Array, p: Array, q: Array, cos: Array, sin: Array) -> None:
    """Rotate rows p of ``rows`` against rows q, in place."""
    cos, sin = cos[:, None], sin[:, None]
    rows[p], rows[q] = cos * rows[p] - sin * rows[q], sin * rows[p] + cos * rows[q]


def jacobi_sweeps(A: Array) -> Iterator[tuple[Array, Array]]:
    r"""Before the first and after each sweep of Jacobi's rotations: W (n, n) and orthonormal V (n, n), A = V W V^T.

    Every pair p < q gets a rotation that makes W_pq = 0. It takes 2 W_pq^2 from the sum of the squares off the diagonal
    and adds it on the diagonal: a rotation keeps |W|_F, and columns p and q elsewhere only trade among themselves. So
    the sum falls; once it is small against the gaps of the eigenvalues a sweep squares it. Ends when every entry is
    negligible beside the two diagonal entries of its row and column.
    ValueError like ``symmetric``.
    """
    W, exponent = symmetric(A)
    Vt = np.eye(len(W))
    while True:
        yield np.ldexp(W, exponent), Vt.T.copy()
        size = np.sqrt(np.abs(np.diag(W)))
        off = np.abs(W - np.diag(np.diag(W)))
        if (off <= EPS * np.outer(size, size) + SMALLEST).all():
            return
        for p, q in tournament(len(W)):
            a, b, c = W[p, p], W[p, q], W[q, q]
            cos, sin, t = rotation(a, b, c)
            for rows in (W, W.T, Vt):
                rotate(rows, p, q, cos, sin)
            W[p, p], W[q, q] = a - t * b, c + t * b
            W[p, q] = W[q, p] = 0


def eigen_jacobi(A: Array) -> Eigen:
    """All eigenvalues of symmetric A (n, n) and their vectors by Jacobi's rotations. ValueError like ``symmetric``."""
    *_, (W, V) = jacobi_sweeps(A)
    order = np.argsort(np.diag(W))
    return Eigen(np.diag(W)[order], V[:, order])

"""Principal component analysis three ways: section 23.1 of the book.

X (m, d) has one example a row. Of all linear maps W (n, d) down to R^n and U (d, n) back, the smallest sum of squared
errors |x - U W x|^2 over the examples has W = U^T, U the n leading eigenvectors of A = sum x x^T = X^T X (Theorem
23.2). It is the sum of the other eigenvalues (Remark 23.1). As in the book A is not divided by m, and X is taken as it
is; ``centred`` subtracts the mean of the examples first (Remark 23.2).
"""

from typing import NamedTuple

import numpy as np

from shared.tree import Array


class Components(NamedTuple):
    """What PCA finds in X (m, d): a subspace of n dimensions, and how much of X lies in it."""

    U: Array  # (d, n), orthonormal columns: the leading eigenvectors of A, each with an arbitrary sign
    eigenvalues: Array  # (n,), of A, falling
    mean: Array  # (d,), of the examples when centred, else 0
    total: float  # the trace of A, which is the sum of all its eigenvalues and sum |x - mean|^2


def pca(X: Array, n: int, centred: bool = False) -> Components:
    """The n leading components of X (m, d), from the smaller of the matrices A (d, d) and B (m, m).

    Constant X has, when centred, zero eigenvalues and any orthonormal directions: it is reconstructed without error.
    ValueError unless X is (m, d) and finite, and 1 <= n <= min(m, d).
    """
    m, d = X.shape[:1], X.shape[1:]  # compared as tuples: the shape is checked in there
    return by_covariance(X, n, centred) if m > d else by_gram(X, n, centred)


def by_covariance(X: Array, n: int, centred: bool = False) -> Components:
    r"""The n leading components of X (m, d), from A = X^T X = sum x x^T (d, d).

    For orthonormal U, sum |x - U U^T x|^2 = sum |x|^2 - sum |U^T x|^2 = trace A - trace U^T A U. In the eigenbasis V of
    A, trace U^T A U = sum_j lambda_j b_j with b_j = |U^T v_j|^2 from 0 to 1 and sum_j b_j = n, so it is at most the
    sum of the n largest lambda_j, and U = (v_1, ..., v_n) attains that (Theorem 23.2).
    Eigenvalues below about 1e-16 of the largest are rounding errors here: X^T X squares the condition number of X.
    ValueError like ``pca``.
    """
    X, mean, total = prepare(X, n, centred)
    eigenvalues, V = np.linalg.eigh(X.T @ X)  # rising
    return Components(V[:, ::-1][:, :n], np.maximum(eigenvalues[::-1][:n], 0), mean, total)


def by_svd(X: Array, n: int, centred: bool = False) -> Components:
    r"""The n leading components of X (m, d), from X = P S V^T.

    X^T X = V S P^T P S V^T = V S^2 V^T: the right singular vectors are the eigenvectors of A, the squared singular
    values its eigenvalues. Nothing is squared before the decomposition, so small components keep their digits.
    ValueError like ``pca``.
    """
    X, mean, total = prepare(X, n, centred)
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    return Components(Vt[:n].T, s[:n] ** 2, mean, total)


def by_gram(X: Array, n: int, centred: bool = False) -> Components:
    r"""The n leading components of X (m, d), from B = X X^T (m, m), the inner products of the examples.

    B v = lambda v gives A (X^T v) = X^T B v = lambda (X^T v), and |X^T v|^2 = v^T B v = lambda: where lambda > 0,
    X^T v / |X^T v| is a unit eigenvector of A. The columns X^T v are orthogonal already, so Q R only scales them, and
    where lambda = 0 it puts any direction orthogonal to the others. For d >> m this is m^2 d + m^3 in place of d^3.
    ValueError like ``pca``.
    """
    X, mean, total = prepare(X, n, centred)
    eigenvalues, V = np.linalg.eigh(X @ X.T)  # rising
    U, _ = np.linalg.qr(X.T @ V[:, ::-1][:, :n])
    return Components(U, np.maximum(eigenvalues[::-1][:n], 0), mean, total)


def prepare(X: Array, n: int, centred: bool) -> tuple[Array, Array, float]:
    """X (m, d) in float64, less its mean when ``centred``; that mean (d,); the trace of A. ValueError like ``pca``."""
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be (m, d), with m and d at least 1; got {X.shape}")
    if not 1 <= n <= min(X.shape):
        raise ValueError(f"n={n}: must be from 1 to min(m, d) = {min(X.shape)}")
    X = X.astype(float, copy=False)
    mean, total = np.zeros(X.shape[1]), finite_squares(X)
    if centred:
        mean = X[0] + (X - X[0]).mean(axis=0)  # of equal rows this is that row, to the last bit
        X = X - mean
        total = finite_squares(X)
    return X, mean, total


def finite_squares(X: Array) -> float:
    """The sum of the squares of X; ValueError when it is not finite."""
    squares = float(np.vdot(X, X))
    if not np.isfinite(squares):
        raise ValueError("X must be finite, also squared: drop or fill missing values, scale down very large ones")
    return squares


def transform(components: Components, X: Array) -> Array:
    """The coordinates (m, n) of X (m, d) in the subspace: U^T (x - mean) of each row x. ValueError for another d."""
    if X.ndim != 2 or X.shape[1] != len(components.U):
        raise ValueError(f"X must be (m, d) with d = {len(components.U)} as when fitted; got {X.shape}")
    finite_squares(X.astype(float, copy=False))
    return (X - components.mean) @ components.U


def reconstruct(components: Components, Z: Array) -> Array:
    """The points (m, d) with coordinates Z (m, n): mean + U z of each row z. ValueError for another n."""
    if Z.ndim != 2 or Z.shape[1] != components.U.shape[1]:
        raise ValueError(f"Z must be (m, n) with n = {components.U.shape[1]} as when fitted; got {Z.shape}")
    return Z @ components.U.T + components.mean


def reconstruction_error(components: Components, X: Array) -> float:
    """sum |x - x'|^2 over the rows x of X (m, d) and their projections x' to the subspace. ValueError for another d."""
    return float(np.sum((X - reconstruct(components, transform(components, X))) ** 2))


def explained(components: Components) -> Array:
    """The share (n,) of the total that each direction carries, lambda_i / trace A; zeros where there is nothing."""
    return components.eigenvalues / (components.total or 1.0)


def largest_angle(U: Array, W: Array) -> float:
    r"""The largest principal angle, in radians, between the subspaces spanned by orthonormal U and W, both (d, n).

    It is the largest angle of a vector W a, |a| = 1, to its projection U U^T W a; the sine is the distance between the
    two, at most |W - U U^T W| in the spectral norm. The sine keeps the digits of small angles that the cosine loses.
    ValueError when the shapes differ.
    """
    if U.ndim != 2 or U.shape != W.shape:
        raise ValueError(f"the two bases must both be (d, n); got {U.shape} and {W.shape}")
    return float(np.arcsin(np.minimum(1, np.linalg.norm(W - U @ (U.T @ W), 2))))

"""Least squares four ways, its noise, and polynomials: sections 9.2, 11.2 and 24.1 of the book.

X (m, d) has one example a row, y (m,) its targets; w (d,) minimises the empirical squared loss |X w - y|^2 / (2 m), up
to the factor. A constant feature, where one is wanted, is a column of X.
"""

from collections.abc import Iterator

import numpy as np

from shared.tree import Array


def check(X: Array, y: Array) -> None:
    """ValueError unless X is (m, d), y (m,), m and d at least 1, and all numbers finite."""
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ValueError(f"X must be (m, d) and y (m,), with m and d at least 1; got X {X.shape} and y {y.shape}")
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError("X and y must be finite: drop or fill the missing values first")


def normal_equations(X: Array, y: Array, ridge: float = 0.0) -> Array:
    r"""w with (X^T X + ridge I) w = X^T y: (9.7), and ridge regression (13.3) where ridge > 0.

    The gradient of |X w - y|^2 / 2 + ridge |w|^2 / 2 is X^T (X w - y) + ridge w; it vanishes there, and the function is
    convex. Solved by A = C C^T (Cholesky). Forming X^T X squares the condition number: see ``orthogonal``.
    ValueError when A is singular: fewer examples than features, or dependent columns, and no ridge.
    """
    check(X, y)
    if ridge < 0:
        raise ValueError(f"ridge={ridge}: must not be negative")
    A = X.T @ X + ridge * np.eye(X.shape[1])
    # In floating point a singular A may still have a factor, of pivots that are rounding errors.
    try:
        C = np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        C = np.zeros_like(A)
    if np.diag(C).min() <= 1e-7 * np.sqrt(np.diag(A).max()):
        raise ValueError("X^T X is singular: use minimum_norm, or a ridge above 0")
    return np.linalg.solve(C.T, np.linalg.solve(C, X.T @ y))


def orthogonal(X: Array, y: Array) -> Array:
    r"""w with R w = Q^T y, X = Q R: |X w - y|^2 = |R w - Q^T y|^2 + |(I - Q Q^T) y|^2, and only the first depends on w.

    No X^T X is formed, so errors grow with the condition number of X and not with its square.
    ValueError when X has dependent columns.
    """
    check(X, y)
    Q, R = np.linalg.qr(X)
    pivots = np.abs(np.diag(R))
    if len(R) < X.shape[1] or pivots.min() <= 1e-12 * pivots.max():
        raise ValueError("X has dependent columns: use minimum_norm, or normal_equations with a ridge above 0")
    return np.linalg.solve(R, Q.T @ y)


def minimum_norm(X: Array, y: Array, tolerance: float = 1e-12) -> Array:
    r"""w = X^+ y, of all least-squares solutions the shortest; X = U S V^T gives X^+ = V S^+ U^T.

    In the basis V the loss is sum_i (s_i v_i - u_i^T y)^2 / 2 + const: v_i = u_i^T y / s_i where s_i > 0, and where
    s_i = 0 any v_i will do and 0 is the shortest. Singular values below tolerance times the largest count as 0.
    """
    check(X, y)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    kept = s > tolerance * s[0]
    return Vt[kept].T @ ((U[:, kept].T @ y) / s[kept])


def gradient_descent(X: Array, y: Array, steps: int) -> Iterator[Array]:
    r"""The iterates w_0 = 0, w_1, ..., w_steps on |X w - y|^2 / (2 m), with the best constant step size.

    Its Hessian is H = X^T X / m. The error obeys w_{t+1} - w* = (I - eta H)(w_t - w*), so it shrinks by at least
    max_i |1 - eta h_i|. That is smallest for eta = 2 / (h_1 + h_d): then it is (kappa - 1) / (kappa + 1).
    """
    check(X, y)
    m = len(y)
    h = np.linalg.eigvalsh(X.T @ X / m)
    eta = 2 / (h[0] + h[-1])
    w = np.zeros(X.shape[1], X.dtype)
    yield w
    for _ in range(steps):
        w = w - eta * (X.T @ (X @ w - y)) / m
        yield w


def contraction(X: Array) -> float:
    """(kappa - 1) / (kappa + 1), kappa the condition number of X^T X: what one step leaves of the error at most."""
    s = np.linalg.svd(X, compute_uv=False)
    kappa = (s[0] / s[-1]) ** 2
    return float((kappa - 1) / (kappa + 1))


def noise_variance(X: Array, y: Array, w: Array) -> float:
    r"""The maximum likelihood estimate of sigma^2 for y = X w + N(0, sigma^2): the mean squared residual (24.1).

    log-likelihood = -m/2 log(2 pi sigma^2) - |y - X w|^2 / (2 sigma^2); its derivative in sigma^2 vanishes there.
    At the fitted w the residual has lost d directions, so its expectation is (m - d)/m sigma^2, (m - 1)/m for a mean.
    """
    check(X, y)
    return float(np.mean((y - X @ w) ** 2))


def powers(x: Array, degree: int) -> Array:
    """The features 1, x, ..., x^degree of x (m,): (m, degree + 1). Section 9.2.2."""
    return x[:, None] ** np.arange(degree + 1)

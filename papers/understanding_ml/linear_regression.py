"""Least squares four ways, its noise, and polynomials: sections 9.2, 11.2 and 24.1 of the book.

X (m, d) has one example a row, y (m,) its targets; w (d,) minimises the empirical squared loss |X w - y|^2 / (2 m), up
to the factor. A constant feature, where one is wanted, is a column of X.
"""

from collections.abc import Iterator

import numpy as np

from shared.tree import Array


def check(X: Array, y: Array) -> tuple[Array, Array]:
    """X and y in float64: integers of few bits, such as pixels, would wrap around when multiplied.

    ValueError unless X is (m, d), y (m,), m and d at least 1, and all numbers finite.
    """
    if X.ndim != 2 or y.shape != X.shape[:1] or 0 in X.shape:
        raise ValueError(f"X must be (m, d) and y (m,), with m and d at least 1; got X {X.shape} and y {y.shape}")
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError("X and y must be finite: drop or fill the missing values first")
    return X.astype(float, copy=False), y.astype(float, copy=False)


def singular(A: Array, scale: Array) -> bool:
    """Whether A (d, d) over ``scale`` has a singular value 0, up to rounding errors.

    Over the lengths of the features: their units say nothing about whether one is determined by the others.
    """
    smallest = np.linalg.norm(A / np.where(scale > 0, scale, 1), -2)
    return bool(smallest <= 10 * len(A) * np.finfo(A.dtype).eps)


def normal_equations(X: Array, y: Array, ridge: float = 0.0) -> Array:
    r"""w with (X^T X + ridge I) w = X^T y: (9.6), and ridge regression (13.3) where ridge > 0.

    The gradient of |X w - y|^2 / 2 + ridge |w|^2 / 2 is X^T (X w - y) + ridge w; it vanishes there, and the function is
    convex. As (X^T X + ridge I) X^T = X^T (X X^T + ridge I), also w = X^T (X X^T + ridge I)^-1 y, which is the smaller
    system when m < d. Forming X^T X squares the condition number: see ``orthogonal``.
    ValueError when it is singular: fewer examples than features, or dependent columns, and no ridge.
    """
    X, y = check(X, y)
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge={ridge}: must be finite and not negative")
    if ridge > 0 and X.shape[0] < X.shape[1]:
        return X.T @ _solve(X @ X.T + ridge * np.eye(len(X)), y)
    return _solve(X.T @ X + ridge * np.eye(X.shape[1]), X.T @ y)


def _solve(A: Array, b: Array) -> Array:
    length = np.sqrt(np.diag(A))
    if singular(A, np.outer(length, length)):
        raise ValueError("X^T X is singular: use minimum_norm, or a larger ridge")
    return np.linalg.solve(A, b)


def orthogonal(X: Array, y: Array) -> Array:
    r"""w with R w = Q^T y, X = Q R: |X w - y|^2 = |R w - Q^T y|^2 + |(I - Q Q^T) y|^2, and only the first depends on w.

    No X^T X is formed, so errors grow with the condition number of X and not with its square.
    ValueError when X has dependent columns.
    """
    X, y = check(X, y)
    Q, R = np.linalg.qr(X)
    if len(R) < X.shape[1] or singular(R, np.linalg.norm(R, axis=0)):
        raise ValueError("X has dependent columns: use minimum_norm, or normal_equations with a ridge above 0")
    return np.linalg.solve(R, Q.T @ y)


def minimum_norm(X: Array, y: Array, tolerance: float = 1e-12) -> Array:
    r"""w = X^+ y, of all least-squares solutions the shortest; X = U S V^T gives X^+ = V S^+ U^T.

    In the basis V the loss is sum_i (s_i v_i - u_i^T y)^2 / 2 + const: v_i = u_i^T y / s_i where s_i > 0, and where
    s_i = 0 any v_i will do and 0 is the shortest. Singular values below tolerance times the largest count as 0.
    """
    X, y = check(X, y)
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    kept = s > tolerance * s[0]
    return Vt[kept].T @ ((U[:, kept].T @ y) / s[kept])


def gradient_descent(X: Array, y: Array, steps: int) -> Iterator[Array]:
    r"""The iterates w_0 = 0, w_1, ..., w_steps on |X w - y|^2 / (2 m), with the best constant step size.

    Its Hessian is H = X^T X / m. The error obeys w_{t+1} - w* = (I - eta H)(w_t - w*), so it shrinks by at least
    max_i |1 - eta h_i|. That is smallest for eta = 2 / (h_1 + h_r): then it is (kappa - 1) / (kappa + 1).
    Every step is a combination of examples, so where X has dependent columns the limit w* is the shortest solution.
    """
    X, y = check(X, y)
    m = len(y)
    eta = 2 / sum(curvature(X))
    w = np.zeros(X.shape[1])
    yield w
    for _ in range(steps):
        w = w - eta * (X.T @ (X @ w - y)) / m
        yield w


def curvature(X: Array) -> tuple[float, float]:
    """h_1 and h_r, the largest and the smallest eigenvalue above 0 of X^T X / m. ValueError when X is 0 everywhere."""
    s = np.linalg.svd(X, compute_uv=False)
    if s[0] == 0:
        raise ValueError("X is 0 everywhere: every w has the same loss")
    h = s[s > 1e-12 * s[0]] ** 2 / len(X)
    return float(h[0]), float(h[-1])


def contraction(X: Array) -> float:
    """(kappa - 1) / (kappa + 1) with kappa = h_1 / h_r: what a step leaves of the error at most."""
    largest, smallest = curvature(X)
    return (largest - smallest) / (largest + smallest)


def noise_variance(X: Array, y: Array, w: Array) -> float:
    r"""The maximum likelihood estimate of sigma^2 for y = X w + N(0, sigma^2): the mean squared residual (24.1).

    log-likelihood = -m/2 log(2 pi sigma^2) - |y - X w|^2 / (2 sigma^2); its derivative in sigma^2 vanishes there.
    At the fitted w the residual has lost d directions, so its expectation is (m - d)/m sigma^2, (m - 1)/m for a mean.
    """
    X, y = check(X, y)
    if w.shape != X.shape[1:]:
        raise ValueError(f"w must be (d,) = {X.shape[1:]}, got {w.shape}")
    return float(np.mean((y - X @ w) ** 2))


def powers(x: Array, degree: int) -> Array:
    """The features 1, x, ..., x^degree of x (m,): (m, degree + 1). Section 9.2.2."""
    return x.astype(float, copy=False)[:, None] ** np.arange(degree + 1)

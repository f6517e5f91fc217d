"""The perceptron, section 9.1.2 of the book. X (m, d) has one example a row, y (m,) its labels, -1 or +1."""

import numpy as np

from papers.understanding_ml import linear_regression
from shared.tree import Array


def check(X: Array, y: Array) -> tuple[Array, Array]:
    """X and y in float64. ValueError unless X is (m, d) and finite, and y (m,) holds labels -1 and +1, both of them."""
    if not np.isin(y, (-1, 1)).all():
        raise ValueError(f"labels must be -1 or +1; got {', '.join(map(str, np.unique(y)[:4]))}")
    floats = linear_regression.check(X, y)
    if len(np.unique(y)) == 1:
        raise ValueError(f"all labels are {y[0]}: a classifier needs examples of both classes")
    return floats


def perceptron(X: Array, y: Array, limit: int = 100_000) -> tuple[Array, int]:
    r"""w (d,) with y_i <w, x_i> > 0 for all i, and the number of updates w + y_i x_i, on errors, that led from 0 to it.

    Let u be a unit vector with y_i <u, x_i> >= gamma for all i, and rho = max |x_i|. An update adds y_i <u, x_i>, so
    after T of them <w, u> >= T gamma; and |w + y_i x_i|^2 = |w|^2 + 2 y_i <w, x_i> + |x_i|^2 <= |w|^2 + rho^2 on an
    error, so |w| <= sqrt(T) rho. Then T gamma <= <w, u> <= |w| <= sqrt(T) rho: T <= (rho / gamma)^2 (Theorem 9.1).
    The example of an update is the first that is on the wrong side. No constant feature is added: the halfspace is
    homogeneous. ValueError after ``limit`` updates: then gamma < rho / sqrt(limit), or the classes are not separable.
    """
    X, y = check(X, y)
    signed = y[:, None] * X
    w = np.zeros(X.shape[1])
    for updates in range(limit + 1):
        wrong = signed @ w <= 0
        if not wrong.any():
            return w, updates
        w += signed[wrong.argmax()]
    raise ValueError(f"no halfspace through 0 after {limit} updates: not separable, or margin < rho / sqrt({limit})")

"""The k nearest neighbours, for classes and for numbers, by brute force: chapter 19 of the book.

X (m, d) has one example a row, y (m,) its label or target; x (n, d) are the points to answer for.
"""

import numpy as np

from shared.tree import Array

BLOCK = 2**16  # distances held at a time
LARGEST = 1e150  # its square is a number still


def check(X: Array, x: Array, k: int) -> None:
    """ValueError unless X is (m, d) and x (n, d), finite (squared, too), with m, n, d >= 1 and 1 <= k <= m."""
    if X.ndim != 2 or x.ndim != 2 or 0 in X.shape + x.shape or x.shape[1] != X.shape[1]:
        raise ValueError(f"X must be (m, d) and x (n, d), with m, n and d at least 1; got {X.shape} and {x.shape}")
    if not ((np.abs(X) < LARGEST).all() and (np.abs(x) < LARGEST).all()):
        raise ValueError(f"X and x must be finite, and below {LARGEST}: drop or fill missing values, or rescale")
    if not 1 <= k <= len(X):
        raise ValueError(f"k={k}: must be from 1 to the number of examples, {len(X)}")


def neighbours(X: Array, x: Array, k: int) -> Array:
    r"""The places in X of the k nearest examples to each x: (n, k), nearest first, of equal distances the first in X.

    |x - x_i|^2 = |x|^2 - 2 <x, x_i> + |x_i|^2, and the first term is the same for all i: one matrix product for a block
    of rows, and never n m d numbers. But the terms cancel where points are far from the origin, compared with their
    distances: equal points get different distances, and the nearest may be another. So the product only excludes. Let
    it err by at most e. The k nearest are at most e above its k-th smallest value in truth, so at most 2 e in the
    product; and only for what is left (k a row, as a rule) are differences taken. ValueError as ``check`` says.
    """
    check(X, x, k)
    X, x = X.astype(float), x.astype(float)
    squares = (X**2).sum(axis=1)
    places = np.empty((len(x), k), np.intp)
    rows = max(1, BLOCK // len(X))
    for start in range(0, len(x), rows):
        places[start : start + rows] = _nearest(X, squares, x[start : start + rows], k)
    return places


def _nearest(X: Array, squares: Array, x: Array, k: int) -> Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True) + np.sqrt(squares.max())
    e = 2 * (X.shape[1] + 2) * np.finfo(float).eps * norms**2  # sums of d + 2 terms, each below norms^2
    product = (-2 * x) @ X.T
    product += squares
    kth = np.partition(product, k - 1, axis=1)[:, k - 1 : k]
    row, place = np.divmod(np.flatnonzero(product <= kth + 2 * e), len(X))
    distance = ((x[row] - X[place]) ** 2).sum(axis=1)
    order = np.lexsort((place, distance, row))
    first = np.searchsorted(row, np.arange(len(x)))
    return place[order][first[:, None] + np.arange(k)]


def majority(labels: Array) -> Array:
    """The commonest label of each row (n, k), the smallest of them where several are: (n,)."""
    classes, codes = np.unique(labels, return_inverse=True)
    n, c = len(labels), len(classes)
    cells = codes.reshape(labels.shape) + c * np.arange(n)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n * c).reshape(n, c)
    return classes[counts.argmax(axis=1)]


def classify(X: Array, y: Array, x: Array, k: int) -> Array:
    """The majority label (n,) among the k nearest examples. With one class, that class everywhere.

    y (m,) may hold labels of any kind that sorts. Ties as in ``neighbours`` and ``majority``.
    """
    return majority(_labels(X, y)[neighbours(X, x, k)])


def regress(X: Array, y: Array, x: Array, k: int) -> Array:
    """The mean target (n,) of the k nearest examples. Of labels 0 and 1 it estimates eta(x) = P(y = 1 | x)."""
    return _labels(X, y)[neighbours(X, x, k)].mean(axis=1)


def _labels(X: Array, y: Array) -> Array:
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must be ({len(X)},), one label for each example; got {y.shape}")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("y must be finite: drop the examples without a label first")
    return y


def theorem_bound(bayes: float, c: float, m: Array, d: int) -> Array:
    r"""2 L* + 4 c sqrt(d) m^(-1/(d+1)): what the expected error of 1-NN is at most, eta c-Lipschitz on [0, 1]^d (19.3).

    Given x and its neighbour x', with eta and eta', 1-NN errs with probability
        eta (1 - eta') + eta' (1 - eta) = 2 eta (1 - eta) + (eta - eta') (2 eta - 1),
    at most 2 min(eta, 1 - eta) + c |x - x'|, whose first term has the mean 2 L*. For the second, cut the cube into at
    most (2 / s)^d boxes of side s <= 1. Where the box of x holds an example, |x - x'| <= s sqrt(d). A box of
    probability p holds none with probability (1 - p)^m, and p (1 - p)^m <= 1 / (e m): empty boxes weigh at most
    (2 / s)^d / (e m) in the mean, and there |x - x'| <= sqrt(d). With s = 2 m^(-1/(d+1)) the sum is
    (2 + 1/e) sqrt(d) m^(-1/(d+1)): the 4 leaves room. Were that s above 1, the bound on |x - x'| is above 2 sqrt(d).
    """
    return 2 * bayes + 4 * c * np.sqrt(d) * m ** (-1 / (d + 1))

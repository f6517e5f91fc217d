"""How far a sample's error is from the true one, over a whole class H at once: chapters 4 to 6, 11 and 26 of the book.

L_S(h) is the error of h on m examples, L_D(h) its probability of error. The gap of a class is sup_h |L_D(h) - L_S(h)|.
Halfspaces are homogeneous, h_w(x) = sign(w^T x) with X (m, d): VC dimension d. A constant feature gives those with a
threshold, of one dimension more. Labels and hypotheses have values in {-1, +1}.
"""

from itertools import combinations, product
from math import comb, log, pi, sqrt

import numpy as np

from shared.tree import Array


def check_sample(X: Array) -> None:
    """ValueError unless X is (m, d), neither of them 0, and finite."""
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be (m, d) with m and d at least 1, got {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite: drop or fill the missing values first")


def check_signs(signs: Array, shape: tuple[int, ...]) -> None:
    """ValueError unless the array has this shape and holds nothing but -1 and +1."""
    if signs.shape != shape or not (np.abs(signs) == 1).all():
        raise ValueError(f"labels and signs must be -1 or +1, of shape {shape}; got shape {signs.shape}")


def finite_class_bound(m: int, delta: float, size: int = 1) -> float:
    r"""With probability 1 - delta no h of a class of this size has a gap above sqrt(log(2 size / delta) / 2m).

    Hoeffding: one h exceeds epsilon with probability at most 2 exp(-2 m epsilon^2). The union bound adds up: epsilon is
    where size * 2 exp(-2 m epsilon^2) = delta. With size 1 it is the bound of a hold-out set of m examples (Thm 11.1),
    which holds for the h that was trained on other data, since that h is fixed before the set is seen.
    """
    check_bound(m, delta, size)
    return sqrt(log(2 * size / delta) / (2 * m))


def check_bound(m: int, delta: float, size: int) -> None:
    """ValueError unless m and size are at least 1 and delta is a probability."""
    if m < 1 or size < 1 or not 0 < delta < 1:
        raise ValueError(f"m={m}, size={size}, delta={delta}: m and size must be at least 1 and delta in (0, 1)")


def sauer_bound(m: int, d: int) -> int:
    """Sauer's lemma: a class of VC dimension d labels m points in at most sum_{k <= d} binom(m, k) ways (chapter 6)."""
    return sum(comb(m, k) for k in range(d + 1))


def halfspace_count(m: int, d: int) -> int:
    r"""Cover: halfspaces label m points of R^d in general position in C(m, d) = 2 sum_{k < d} binom(m - 1, k) ways.

    A new point x splits in two just those labellings that a halfspace with x on its boundary makes of the old ones, and
    these live in the d - 1 dimensions at right angles to x. So C(m + 1, d) = C(m, d) + C(m, d - 1), and C(1, d) = 2.
    """
    return 2 * sum(comb(m - 1, k) for k in range(d))


def dichotomies(X: Array) -> Array:
    r"""All labellings (K, m) of the rows of X that a homogeneous halfspace makes, each once; X in general position.

    The w with one labelling are a cone, bounded by the planes w^T x_i = 0. For m >= d it has an edge, where d - 1 of
    the w^T x_i are 0. From that w all 2^(d-1) signs of these are reached by an arbitrarily small step, since the x_i
    are independent; the other signs stay. So: the normal of every d - 1 points, either way, with all signs on them.
    For m < d the x_i are independent, and every labelling is possible. ValueError for points not in general position.
    """
    check_sample(X)
    m, d = X.shape
    if np.linalg.matrix_rank(X) < min(m, d):
        raise ValueError("the points are not in general position: they lie in a subspace")
    if m < d:
        return np.array(list(product((-1, 1), repeat=m)), np.int8)
    on = np.array(list(combinations(range(m), d - 1)), int)  # (planes, d - 1): the points on the boundary
    normals = np.linalg.svd(X[on])[2][:, -1]
    distance = normals @ X.T
    each = np.arange(len(on))[:, None]
    distance[each, on] = np.inf
    if np.abs(distance).min() < 1e-12 * np.abs(X).max():
        raise ValueError(f"the points are not in general position: {d} of them lie on a plane through the origin")
    found = []
    for signs in product((-1, 1), repeat=d - 1):
        labels = np.sign(distance).astype(np.int8)
        labels[each, on] = signs
        found += [labels, -labels]
    return np.unique(np.concatenate(found), axis=0)


def rademacher(labellings: Array, sigma: Array) -> Array:
    r"""sup_h sigma^T h / m for each row of sigma (n, m), over the labellings (K, m) that the class makes of the sample.

    Its mean over random signs is the empirical Rademacher complexity R(H o S) (chapter 26): how well noise is fitted.
    """
    check_signs(sigma, (len(sigma), labellings.shape[1]))
    return (sigma @ labellings.T.astype(float)).max(axis=1) / labellings.shape[1]


def linear_rademacher(X: Array, B: float, sigma: Array) -> Array:
    r"""The same for x -> w^T x with |w| <= B, where the supremum is B |sum_i sigma_i x_i| / m (Cauchy-Schwarz).

    E |sum_i sigma_i x_i| <= sqrt(E |sum_i sigma_i x_i|^2) = sqrt(sum_i |x_i|^2), as the signs are independent: where
    all |x_i| <= rho, at most rho sqrt(m). So R <= rho B / sqrt(m), whatever the dimension.
    """
    check_sample(X)
    if not 0 < B < np.inf:
        raise ValueError(f"B={B}: must be finite and above 0")
    check_signs(sigma, (len(sigma), len(X)))
    return B * np.linalg.norm(sigma @ X.astype(float, copy=False), axis=1) / len(X)


def massart_bound(m: int, size: int) -> float:
    r"""R(H o S) <= sqrt(2 log size / m) for a class that labels S in so many ways (chapter 26).

    sigma^T h is a sum of m independent signs: E exp(t sigma^T h) <= exp(m t^2 / 2). By Jensen's inequality
    exp(t E max_h sigma^T h) <= sum_h E exp(t sigma^T h) <= size exp(m t^2 / 2); then t = sqrt(2 log size / m).
    """
    check_bound(m, 0.5, size)
    return sqrt(2 * log(size) / m)


def growth_bound(m: int, delta: float, size: int) -> float:
    r"""With probability 1 - delta the gap of H is at most this, where H = -H labels no m points in more ways than size.

    E sup_h (L_D - L_S) <= 2 E R(loss o H o S) by symmetrisation; the loss is (1 - y h(x)) / 2, so that is E R(H o S),
    and R <= massart_bound. The sup changes by at most 1/m with one example: McDiarmid adds sqrt(log(1/delta) / 2m).
    L(-h) = 1 - L(h), so sup_h (L_D - L_S) is the gap with its absolute value.
    """
    check_bound(m, delta, size)
    return massart_bound(m, size) + sqrt(log(1 / delta) / (2 * m))


def rademacher_bound(m: int, delta: float, complexity: float) -> float:
    """The same from the sample's own R(H o S): it too is within 2 sqrt(log(2/delta) / 2m) of its mean (McDiarmid)."""
    check_bound(m, delta, 1)
    return complexity + 3 * sqrt(log(2 / delta) / (2 * m))


def halfspace_gap(X: Array, y: Array, w: Array, noise: float) -> float:
    r"""sup_h |L_D(h) - L_S(h)| over halfspaces of the plane, exactly, for X (m, 2) drawn alike in all directions.

    y (m,) is sign(w^T x), flipped with probability noise.
    h_v errs with probability noise + (1 - 2 noise) angle(v, w) / pi, linear in the angle of v up to w and -w. L_S is
    constant between the normals of the x_i. So the supremum is at w or next to a normal, with x_i on either side; the
    opposite normals and -w have the same gaps. m^2 operations. ValueError for points not in general position: two
    on a line through the origin would change sides at once.
    """
    check_sample(X)
    X, m = X.astype(float, copy=False), len(X)
    check_signs(y, (m,))
    if X.shape[1] != 2 or w.shape != (2,) or not w.any() or not 0 <= noise <= 1:
        raise ValueError(f"X must be (m, 2), w (2,) and not 0, noise in [0, 1]; got {X.shape}, {w.shape}, {noise}")
    normals, lengths = np.column_stack([-X[:, 1], X[:, 0]]), np.linalg.norm(X, axis=1)
    distance = X @ normals.T
    if not lengths.all() or np.sum(np.abs(distance) <= 1e-12 * np.outer(lengths, lengths)) > m:
        raise ValueError("the points are not in general position: one is 0, or two lie on a line through the origin")
    wrong = np.sign(distance) != y[:, None]
    np.fill_diagonal(wrong, False)
    others = wrong.sum(axis=0) / m  # the error without x_i, which is right on one side and wrong on the other
    cosine = normals @ w / (lengths * np.linalg.norm(w))
    true = noise + (1 - 2 * noise) * np.arccos(np.clip(cosine, -1, 1)) / pi
    at_w = abs(np.mean(np.sign(X @ w) != y) - noise)
    return float(max(np.abs(true - others).max(), np.abs(true - others - 1 / m).max(), at_w))


def threshold_errors(x: Array, y: Array, grid: Array) -> Array:
    """L_S of x -> sign(x - t) for every t of an ascending grid (K,): x (m,) with labels y (m,), in m log K operations.

    At t = -inf all are called +1. As t passes x_i, the errors change by y_i: one more where it was right.
    """
    check_sample(x[None])
    check_signs(y, x.shape)
    if not np.isfinite(grid).all() or (np.diff(grid) < 0).any():
        raise ValueError("the grid must be ascending and finite")
    passed = np.bincount(np.searchsorted(grid, x, side="right"), weights=y, minlength=len(grid) + 1)
    return (np.sum(y == -1) + np.cumsum(passed)[: len(grid)]) / len(x)

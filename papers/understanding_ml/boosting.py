"""AdaBoost over decision stumps, and the bounds on its training error: chapter 10 of the book.

X (m, d) has one example a row, y (m,) its label in {-1, +1}; D (m,) are weights of the examples: not negative, sum 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from papers.understanding_ml.perceptron import check
from shared.tree import Array

CHANCE = 1e-10  # an edge below this is a rounding error


@dataclass(frozen=True)
class Stump:
    """h(x) = sign where x[feature] <= threshold, -sign elsewhere: b sign(theta - x_j). Constant at threshold -inf."""

    feature: int
    threshold: float
    sign: int

    def __call__(self, X: Array) -> Array:
        """The labels (n,) of X (n, d)."""
        return np.where(X[:, self.feature] <= self.threshold, self.sign, -self.sign)


@dataclass(frozen=True)
class Round:
    """One round: the stump, its vote w, its error eps under the weights D (m,) that it was chosen for."""

    stump: Stump
    w: float
    error: float
    D: Array


def best_stump(X: Array, y: Array, D: Array) -> Stump:
    r"""The stump with the smallest weighted error sum_i D_i [h(x_i) != y_i], of all stumps.

    sum_i D_i y_i h(x_i) = 1 - 2 error. Sorted by feature j, with h = +1 on the first k examples and -1 on the others,
    it is 2 c_k - c_m, where c_k = sum of the first k values D_i y_i; with the other sign it is c_m - 2 c_k. So the best
    stump has the largest |2 c_k - c_m| over all j and k, one cumulative sum a feature. Thresholds lie half-way
    between neighbouring values, so equal values fall on one side. Of equals, the first feature and lowest threshold.
    ValueError when D is no distribution over the examples, and as ``check`` says: NaN, other labels, one class only.
    """
    check(X, y)
    if D.shape != y.shape or not (D >= 0).all() or abs(D.sum() - 1) > 1e-9:
        raise ValueError(f"D must be ({len(y)},), not negative, with sum 1")
    return _search(*_sorted(X), D * y)


def _sorted(X: Array) -> tuple[Array, Array, Array]:
    """Of each feature (d, m): the order of its values, the values in order, and whether a cut may come before each."""
    order = np.argsort(X.T, axis=1)
    x = np.take_along_axis(X.T, order, axis=1)
    cut = np.ones(x.shape, bool)  # before the first value: the constant stump
    cut[:, 1:] = x[:, 1:] > x[:, :-1]
    return order, x, cut


def _search(order: Array, x: Array, cut: Array, Dy: Array) -> Stump:
    c = np.zeros(x.shape)
    np.cumsum(Dy[order[:, :-1]], axis=1, out=c[:, 1:])
    advantage = 2 * c - Dy.sum()
    j, k = np.unravel_index(np.argmax(np.where(cut, np.abs(advantage), -1)), x.shape)
    sign = 1 if advantage[j, k] >= 0 else -1
    if k == 0:
        return Stump(int(j), -np.inf, sign)
    below, above = float(x[j, k - 1]), float(x[j, k])
    middle = below / 2 + above / 2
    return Stump(
        int(j), middle if middle < above else below, sign
    )  # no number lies between neighbours in floating point


def adaboost(X: Array, y: Array, T: int) -> Iterator[Round]:
    r"""Up to T rounds of AdaBoost, one after the other.

    D starts uniform. A round takes the best stump h under D, gives it the vote w = log((1 - eps) / eps) / 2, and
    multiplies D_i by exp(-w y_i h(x_i)) / Z. As e^w = sqrt((1 - eps) / eps), Z = 2 sqrt(eps (1 - eps)), and the factor
    is 1 / (2 eps) where h is wrong and 1 / (2 (1 - eps)) where it is right: both halves then weigh 1/2.

    Ends before T when a stump makes no error (it alone is the answer, with w = 1), or when the best is no better than
    chance, eps = 1/2 up to rounding: no later round could differ. In the first round that leaves no stump at all, and
    ``predict`` says +1. ValueError when T < 1, and as ``check`` says.
    """
    check(X, y)
    if T < 1:
        raise ValueError(f"T={T}: needs at least one round")
    return _rounds(X, y, T)


def _rounds(X: Array, y: Array, T: int) -> Iterator[Round]:
    in_order = _sorted(X)
    D = np.full(len(y), 1 / len(y))
    for _ in range(T):
        stump = _search(*in_order, D * y)
        wrong = stump(X) != y
        error = float(D[wrong].sum())
        if error == 0:
            yield Round(stump, 1.0, error, D)
            return
        if error >= 1 / 2 - CHANCE:
            return
        yield Round(stump, float(np.log((1 - error) / error) / 2), error, D)
        D = D / (2 * np.where(wrong, error, 1 - error))


def votes(rounds: Sequence[Round], X: Array) -> Array:
    """w_t h_t(x) (T, n) of X (n, d): their sum over t is the score f(x), their cumulative sum its course by round."""
    if X.ndim != 2 or not np.isfinite(X).all():
        raise ValueError(f"X must be (n, d) and finite, got {X.shape}")
    if any(r.stump.feature >= X.shape[1] for r in rounds):
        raise ValueError(f"X has {X.shape[1]} features, fewer than the examples that the stumps were chosen on")
    return np.array([r.w * r.stump(X) for r in rounds]).reshape(len(rounds), len(X))


def predict(rounds: Sequence[Round], X: Array) -> Array:
    """sign(f(x)) (n,), +1 where f(x) = 0."""
    return np.where(votes(rounds, X).sum(axis=0) >= 0, 1, -1)


def product_bound(errors: Array) -> Array:
    r"""prod_{s <= t} 2 sqrt(eps_s (1 - eps_s)) for t = 1, ..., T: at least the training error after t rounds.

    [y f(x) <= 0] <= exp(-y f(x)), and unrolling the update, m D_i = exp(-y_i f(x_i)) / prod Z_s. D sums to 1, so the
    mean of exp(-y_i f(x_i)) is prod Z_s exactly: inside of the proof of Theorem 10.2.
    """
    return np.cumprod(2 * np.sqrt(errors * (1 - errors)))


def exponential_bound(errors: Array) -> Array:
    r"""exp(-2 gamma^2 t), gamma the smallest edge 1/2 - eps_s of the first t rounds (Theorem 10.2).

    2 sqrt(eps (1 - eps)) = sqrt(1 - 4 gamma^2) <= exp(-2 gamma^2), as 1 - a <= exp(-a).
    """
    gamma = np.minimum.accumulate(1 / 2 - errors)
    return np.exp(-2 * gamma**2 * np.arange(1, len(errors) + 1))

"""Models of how the data arise: naive Bayes, linear discriminants, mixtures of Gaussians. Chapter 24 of the book.

X (m, d) has one example a row; y (m,) its class, of any two or more values; classes (c,) are these values, sorted. A
classifier is fitted by maximum likelihood and predicts the y with the largest P(y) p(x | y): the Bayes rule, if the
model is right. k is the number of components of a mixture.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from papers.understanding_ml.clustering import plus_plus
from shared.tree import Array

FLOOR = 1e-6


def bernoulli(x: Array) -> float:
    """The maximum likelihood estimate of theta = P(x = 1) from x (m,), zeros and ones: their mean.

    log-likelihood = s log theta + (m - s) log(1 - theta), s = sum_i x_i; its derivative vanishes at theta = s / m.
    ValueError when x is empty or has another value.
    """
    if x.ndim != 1 or len(x) == 0 or not np.isin(x, (0, 1)).all():
        raise ValueError("x must be (m,), m at least 1, with the values 0 and 1 only")
    return float(x.mean())


class Classifier(Protocol):
    """What a fit returns: classes (c,), and scores (m, c), log P(y) p(x | y) up to a term that all classes share."""

    @property
    def classes(self) -> Array: ...

    def scores(self, X: Array) -> Array: ...


def predict(model: Classifier, X: Array) -> Array:
    """The class (m,) with the largest P(y | x): that of the largest score, since P(y | x) = P(y) p(x | y) / p(x)."""
    return model.classes[np.argmax(model.scores(X), axis=1)]


def posterior(model: Classifier, X: Array) -> Array:
    """P(y | x) (m, c): the softmax of the scores."""
    scores = model.scores(X)
    return np.exp(scores - log_sum_exp(scores)[:, None])


def log_sum_exp(a: Array) -> Array:
    """log sum_j exp(a_ij) (m,) of a (m, k). With the largest a_ij taken out, no term overflows and not all are 0."""
    largest = a.max(1)
    return largest + np.log(np.exp(a - largest[:, None]).sum(1))


def check(X: Array, d: int | None = None) -> None:
    """ValueError unless X is (m, d), m and d at least 1, and finite."""
    if X.ndim != 2 or 0 in X.shape or d not in (None, X.shape[1]):
        raise ValueError(f"X must be (m, {d or 'd'}), with m and d at least 1; got {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite: drop or fill the missing values first")


def check_binary(X: Array) -> None:
    """ValueError unless all features are 0 or 1."""
    if not np.isin(X, (0, 1)).all():
        raise ValueError("X must have the values 0 and 1 only: threshold the features first")


def indicators(X: Array, y: Array) -> tuple[Array, Array]:
    """The classes (c,) and [y_i = class_j] (m, c). ValueError when X and y do not fit, or y has one class only."""
    check(X)
    if y.shape != X.shape[:1]:
        raise ValueError(f"y must be (m,) with the m of X; got y {y.shape} for X {X.shape}")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("y must be finite: drop the examples without a class first")
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(f"y has one class only, {classes[0]}: there is nothing to tell apart")
    return classes, (y[:, None] == classes).astype(float)


class BernoulliNaiveBayes(NamedTuple):
    """P(y) = prior (c,) and P(x | y) = prod_j theta_yj^x_j (1 - theta_yj)^(1 - x_j), theta (c, d)."""

    classes: Array
    prior: Array
    theta: Array

    def scores(self, X: Array) -> Array:
        """log P(x, y) (m, c), linear in x. ValueError when X is not (m, d) of zeros and ones."""
        check(X, self.theta.shape[1])
        check_binary(X)
        one, zero = np.log(self.theta), np.log1p(-self.theta)
        return np.log(self.prior) + zero.sum(1) + X @ (one - zero).T


def bernoulli_naive_bayes(X: Array, y: Array, smoothing: float = 1.0) -> BernoulliNaiveBayes:
    """Features of zeros and ones, independent given the class: theta_yj is the mean of feature j in class y.

    The likelihood is a product over features and classes, so each theta_yj is a ``bernoulli`` of its own: 2 d + 1
    numbers for two classes, where a table of P(x, y) has 2^(d + 1) - 1. ``smoothing`` counts as so many more examples
    with each value: without any, theta = 0 would call impossible what a sample happens not to hold.
    ValueError for bad shapes, one class, other values than 0 and 1, and smoothing that is not above 0 and finite, or so
    small or large beside the counts that a theta rounds to 0 or 1.
    """
    classes, members = indicators(X, y)
    check_binary(X)
    if not 0 < smoothing < np.inf:
        raise ValueError(f"smoothing={smoothing}: must be above 0 and finite")
    counts = members.sum(0)
    theta = (members.T @ X + smoothing) / (counts + 2 * smoothing)[:, None]
    if not ((theta > 0) & (theta < 1)).all():
        raise ValueError(f"smoothing={smoothing}: too small or too large, a theta is 0 or 1 to rounding")
    return BernoulliNaiveBayes(classes, counts / len(y), theta)


class GaussianNaiveBayes(NamedTuple):
    """P(y) = prior (c,) and p(x | y) = prod_j N(x_j; means_yj, variances_yj), both (c, d)."""

    classes: Array
    prior: Array
    means: Array
    variances: Array

    def scores(self, X: Array) -> Array:
        """log p(x, y) (m, c), quadratic in x without mixed terms. ValueError when X is not (m, d)."""
        check(X, self.means.shape[1])
        distances = ((X[:, None] - self.means) ** 2 / self.variances).sum(2)
        return np.log(self.prior) - (np.log(2 * np.pi * self.variances).sum(1) + distances) / 2


def gaussian_naive_bayes(X: Array, y: Array) -> GaussianNaiveBayes:
    """Gaussian features, independent given the class: the mean and the variance of each feature in each class.

    Maximum likelihood: the variance is the mean squared difference to the mean, over m_y and not m_y - 1.
    ValueError for bad shapes, one class, or a feature that is constant in a class: as its variance falls to 0, the
    likelihood rises without a maximum.
    """
    classes, members = indicators(X, y)
    means, deviations = (np.array([f(X[y == c], axis=0) for c in classes]) for f in (np.mean, np.std))
    check_spread(X, deviations)
    return GaussianNaiveBayes(classes, members.mean(0), means, deviations**2)


def check_spread(X: Array, deviations: Array) -> None:
    """ValueError when a feature's standard deviation, in any row of (c, d), is but a rounding error of its values."""
    flat = np.flatnonzero((deviations <= 1e-12 * np.abs(X).max(0)).any(0))
    if len(flat):
        raise ValueError(f"feature {flat[0]} is constant within a class: its likelihood has no maximum, drop it")


class LinearDiscriminant(NamedTuple):
    """P(y) = prior (c,) and p(x | y) = N(x; means_y, covariance), means (c, d), one covariance (d, d)."""

    classes: Array
    prior: Array
    means: Array
    covariance: Array

    def halfspaces(self) -> tuple[Array, Array]:
        """W (c, d) and b (c,) of the scores <w_y, x> + b_y.

        log N(x; mu, S) = -x^T S^-1 x / 2 + mu^T S^-1 x - mu^T S^-1 mu / 2 + const. The quadratic term is the same for
        all classes and drops out: w_y = S^-1 mu_y, b_y = log P(y) - <w_y, mu_y> / 2.
        """
        W = np.linalg.solve(self.covariance, self.means.T).T
        return W, np.log(self.prior) - (W * self.means).sum(1) / 2

    def scores(self, X: Array) -> Array:
        """log p(x, y) (m, c), up to a term that all classes share: linear in x. ValueError when X is not (m, d)."""
        check(X, self.means.shape[1])
        W, b = self.halfspaces()
        return X @ W.T + b


def linear_discriminant(X: Array, y: Array) -> LinearDiscriminant:
    """Gaussian classes with one covariance: the mean of each class, and the mean of (x - mu_y) (x - mu_y)^T over all.

    With the means in place, sum_i log N(x_i; mu_y, S) = -m/2 (log |S| + tr S^-1 A) + const, A that mean of products;
    its derivative in S^-1 is m/2 (S - A). ValueError for bad shapes, one class, or a singular covariance: constant or
    dependent features, or fewer than c + d examples.
    """
    classes, members = indicators(X, y)
    counts = members.sum(0)
    means = members.T @ X / counts[:, None]
    within = X - members @ means
    scale = within.std(0)
    check_spread(X, scale[None])
    # In units of the features' own deviations, so that a feature in smaller units than others is not a dependent one.
    s = np.linalg.svd(within / scale, compute_uv=False)
    if s[-1] <= 1e-7 * s[0]:  # their rank is at most m - c
        raise ValueError("the covariance is singular: drop dependent features, or take c + d examples or more")
    return LinearDiscriminant(classes, counts / len(y), means, within.T @ within / len(X))


class Mixture(NamedTuple):
    """p(x) = sum_j weights_j N(x; means_j, covariances_j): (k,), (k, d) and (k, d, d)."""

    weights: Array
    means: Array
    covariances: Array


def log_joint(X: Array, mixture: Mixture) -> Array:
    """log weights_j N(x_i; means_j, covariances_j) (m, k).

    With S = L L^T (Cholesky), z = L^-1 (x - mu): (x - mu)^T S^-1 (x - mu) = |z|^2, and log |S| = -2 sum log diag L^-1.
    """
    whiten = np.linalg.inv(np.linalg.cholesky(mixture.covariances))
    z = (X - mixture.means[:, None]) @ whiten.swapaxes(1, 2)
    log_density = np.log(np.diagonal(whiten, axis1=1, axis2=2) / np.sqrt(2 * np.pi)).sum(1) - (z**2).sum(2).T / 2
    return np.log(mixture.weights) + log_density


def em(
    X: Array, start: Mixture, steps: int, learn_covariances: bool = True, floor: float = FLOOR
) -> Iterator[tuple[Mixture, float]]:
    """The mixtures from the start on, ``steps`` + 1 of them, each with its mean log-likelihood (nats per example).

    With r_ij = P(j | x_i) under the present mixture, Jensen's inequality bounds the log-likelihood from below by
    sum_ij r_ij (log w_j N(x_i; mu_j, S_j) - log r_ij), with equality at present. ``maximise`` raises the bound, so the
    log-likelihood never falls. It has no maximum: a component on one point gains without end as its S shrinks. So no
    variance, in any direction, may fall below the floor (in squared units of X); those of the start are raised to it.
    Covariances that are not learned stay as they are; if they are s^2 I, this is soft k-means. A component whose r_ij
    are all 0 is dropped. ValueError when X and the start do not fit or are not finite, a weight is not positive, they
    do not add up to 1, a covariance is not positive definite, or the floor is not positive.
    """
    check(X)
    check_mixture(start, X.shape[1])
    if not floor > 0:
        raise ValueError(f"floor={floor}: must be above 0, or the likelihood has no maximum")
    mixture = start._replace(covariances=raised(start.covariances, floor)) if learn_covariances else start
    for _ in range(steps + 1):
        joint = log_joint(X, mixture)
        log_p = log_sum_exp(joint)
        yield mixture, float(log_p.mean())
        mixture = maximise(X, np.exp(joint - log_p[:, None]), None if learn_covariances else mixture.covariances, floor)


def check_mixture(mixture: Mixture, d: int) -> None:
    """ValueError unless the mixture is one of k >= 1 Gaussians in d dimensions."""
    weights, means, covariances = mixture
    k = len(weights)
    if k == 0 or weights.ndim != 1 or means.shape != (k, d) or covariances.shape != (k, d, d):
        raise ValueError(
            f"a mixture must have weights (k,), means (k, {d}) and covariances (k, {d}, {d}), with k at least 1; "
            f"got {weights.shape}, {means.shape} and {covariances.shape}"
        )
    if not all(np.isfinite(array).all() for array in mixture):
        raise ValueError("a mixture must be finite")
    if weights.min() <= 0 or abs(weights.sum() - 1) > 1e-9:
        raise ValueError("weights must be above 0 and add up to 1")
    if not np.allclose(covariances, covariances.swapaxes(1, 2)) or np.linalg.eigvalsh(covariances).min() <= 0:
        raise ValueError("covariances must be symmetric and positive definite")


def maximise(X: Array, r: Array, covariances: Array | None, floor: float) -> Mixture:
    """The mixture with the largest sum_ij r_ij log w_j N(x_i; mu_j, S_j), r (m, k); with the covariances, if given.

    With n_j = sum_i r_ij: w_j = n_j / m, mu_j = sum_i r_ij x_i / n_j, and S_j = sum_i r_ij (x_i - mu_j) (x_i - mu_j)^T
    / n_j with its eigenvalues raised to the floor: weighted shares, means and covariances.
    """
    n = r.sum(0)
    alive = n > np.finfo(float).tiny
    n, r = n[alive], r[:, alive]
    means = r.T @ X / n[:, None]
    if covariances is None:
        residual = X - means[:, None]
        weighted = r.T[:, :, None] * residual
        learned = raised(weighted.swapaxes(1, 2) @ residual / n[:, None, None], floor)
    else:
        learned = covariances[alive]
    return Mixture(n / n.sum(), means, learned)


def raised(covariances: Array, floor: float) -> Array:
    """The covariances (k, d, d) with eigenvalues of at least the floor, the others as they are.

    -(log |S| + tr S^-1 A) has its maximum over S >= floor I there: S has the eigenvectors of A, and in each of them
    -(log s + a / s) rises up to s = a and falls from there.
    """
    values, vectors = np.linalg.eigh(covariances)
    return (vectors * np.maximum(values, floor)[:, None]) @ vectors.swapaxes(1, 2)


def initial(X: Array, k: int, rng: np.random.Generator) -> Mixture:
    """A start for ``em``: k-means++ seeds as means, equal weights, and the covariance of all of X for each.

    ValueError when X is not (m, d) and finite, or k is not in 1 .. number of distinct points.
    """
    means = plus_plus(X, k, rng)
    covariance = np.atleast_2d(np.cov(X.T, bias=True))
    return Mixture(np.full(k, 1 / k), means, raised(np.tile(covariance, (k, 1, 1)), FLOOR))


def spherical(means: Array, deviation: float) -> Mixture:
    """The start of soft k-means: equal weights, the means (k, d), covariances deviation^2 I."""
    k, d = means.shape
    return Mixture(np.full(k, 1 / k), means, np.tile(deviation**2 * np.eye(d), (k, 1, 1)))

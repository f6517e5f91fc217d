"""Generative models: scikit-learn's estimates, the true rule in the limit, EM that never falls, what is refused."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import BernoulliNB, GaussianNB

from papers.understanding_ml.clustering import lloyd, uniform
from papers.understanding_ml.generative_models import (
    FLOOR,
    LinearDiscriminant,
    Mixture,
    bernoulli,
    bernoulli_naive_bayes,
    em,
    gaussian_naive_bayes,
    initial,
    linear_discriminant,
    log_joint,
    posterior,
    predict,
    raised,
    spherical,
)
from papers.understanding_ml.learning_theory import finite_class_bound

FITS = [bernoulli_naive_bayes, gaussian_naive_bayes, linear_discriminant]


def labelled(seed: int, binary: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of unequal sizes with 4 dependent features."""
    rng = np.random.default_rng(seed)
    y = rng.choice(np.array(["a", "b", "c"]), 200, p=[0.5, 0.3, 0.2])
    X = (y[:, None] == ["a", "b", "c", "a"]) + rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4))
    return (X > 0.3 if binary else X + 20), y


def clouds(seed: int, m: int = 200, d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 4 * rng.standard_normal((3, d))[rng.integers(3, size=m)] + rng.standard_normal((m, d)) @ np.diag([1, 0.3])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("fit", "oracle"),
    [
        (gaussian_naive_bayes, GaussianNB(var_smoothing=0)),
        (bernoulli_naive_bayes, BernoulliNB(alpha=1)),
        (linear_discriminant, LinearDiscriminantAnalysis("lsqr")),
    ],
)
def test_scikit_learns_posterior(fit: Callable, oracle: object, seed: int) -> None:
    X, y = labelled(seed, binary=fit is bernoulli_naive_bayes)
    model, theirs = fit(X, y), oracle.fit(X, y)
    np.testing.assert_allclose(posterior(model, X), theirs.predict_proba(X), rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(predict(model, X), theirs.predict(X))


def test_scikit_learns_smoothing() -> None:
    X, y = labelled(0, binary=True)
    ours, theirs = bernoulli_naive_bayes(X, y, smoothing=0.1), BernoulliNB(alpha=0.1).fit(X, y)
    np.testing.assert_allclose(np.log(ours.theta), theirs.feature_log_prob_, rtol=1e-12)


def test_scikit_learns_discriminant_by_svd_has_the_same_normals() -> None:
    X, y = labelled(0)
    W, _ = linear_discriminant(X, y).halfspaces()
    V = LinearDiscriminantAnalysis("svd").fit(X, y).coef_  # divides by m or by m - c, depending on the version
    for a, b in ((0, 1), (1, 2)):
        w, v = W[a] - W[b], V[a] - V[b]
        np.testing.assert_allclose(w / np.linalg.norm(w), v / np.linalg.norm(v), rtol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learns_mixture_from_the_same_start(seed: int) -> None:
    X = clouds(seed)
    start = initial(X, 3, np.random.default_rng(seed))
    theirs = GaussianMixture(
        3,
        reg_covar=0,
        tol=0,
        max_iter=25,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
    )
    with warnings.catch_warnings():
        # tol=0 asks for all 25 steps, to be compared with ours one for one: that it has not converged is meant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(X)
    *_, (ours, log_likelihood) = em(X, start, theirs.n_iter_)
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-7)
    np.testing.assert_allclose(ours.means, theirs.means_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.covariances, theirs.covariances_, rtol=1e-7, atol=1e-9)
    assert log_likelihood == pytest.approx(theirs.score(X), rel=1e-10)


@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans(), st.booleans())
def test_em_never_falls(seed: int, k: int, learn_covariances: bool, collapse: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 2))
    start = initial(X, k, rng)
    if collapse:  # a component on a point that is there several times
        X[:3] = start.means[0] + 3
        start.means[0], start.covariances[0] = X[0], 1e-9 * np.eye(2)
    mixtures, values = zip(*em(X, start, 15, learn_covariances), strict=True)
    assert np.diff(values).min() >= -1e-9
    end = mixtures[-1]
    assert end.weights.sum() == pytest.approx(1)
    if learn_covariances:
        assert np.linalg.eigvalsh(end.covariances).min() >= FLOOR * (1 - 1e-6)
        # sum_j w_j mu_j = sum_ij r_ij x_i / m, and the r_ij of a point add up to 1.
        np.testing.assert_allclose(end.weights @ end.means, X.mean(0), atol=1e-9)
    else:
        np.testing.assert_array_equal(end.covariances, start.covariances[: len(end.weights)])


def test_collapse_ends_at_the_floor() -> None:
    X = np.vstack([np.random.default_rng(0).standard_normal((50, 2)), [[9, 9]] * 2])
    start = Mixture(np.array([0.5, 0.5]), np.array([[0.0, 0], [9, 9]]), np.tile(np.eye(2), (2, 1, 1)))
    *_, (end, _) = em(X, start, 30, floor=1e-4)
    np.testing.assert_allclose(end.covariances[1], 1e-4 * np.eye(2), rtol=1e-9)
    np.testing.assert_allclose(end.weights[1], 2 / 52, rtol=1e-9)


@given(st.integers(0, 10_000))
def test_raised_eigenvalues_maximise_the_likelihood_above_the_floor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = np.diag([0.01, 1.0]) if seed % 2 else np.cov(rng.standard_normal((2, 3)))

    def value(S: np.ndarray) -> float:
        return -np.linalg.slogdet(S)[1] - np.trace(np.linalg.solve(S, A))

    best = value(raised(A[None], 0.5)[0])
    for _ in range(20):
        B = rng.standard_normal((2, 2))
        assert value(raised((B @ B.T)[None], 0.5)[0]) <= best + 1e-12


def test_a_component_without_points_is_dropped() -> None:
    X = clouds(0)
    means = np.vstack([X[:2], [[1e4, 1e4]]])
    _, (two, _) = em(X, spherical(means, 1.0), 1, learn_covariances=False)
    assert two.means.shape == (2, 2)
    assert two.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_small_deviations_give_the_assignment_of_k_means(seed: int) -> None:
    X = clouds(seed)
    seeds = uniform(X, 4, np.random.default_rng(seed))
    hard = lloyd(X, seeds)
    *_, (soft, _) = em(X, spherical(seeds, 1e-4), len(hard.objectives), learn_covariances=False)
    np.testing.assert_array_equal(log_joint(X, soft).argmax(1), hard.labels)
    np.testing.assert_allclose(soft.means, hard.centres, atol=1e-9)


def test_the_log_densities_are_those_of_the_formula() -> None:
    X, rng = clouds(0, m=5), np.random.default_rng(0)
    B = rng.standard_normal((2, 2, 2))
    mixture = Mixture(np.array([0.3, 0.7]), rng.standard_normal((2, 2)), B @ B.swapaxes(1, 2) + np.eye(2))
    for j, (w, mu, S) in enumerate(zip(*mixture, strict=True)):
        p = [w * np.exp(-(x - mu) @ np.linalg.inv(S) @ (x - mu) / 2) / np.sqrt(np.linalg.det(2 * np.pi * S)) for x in X]
        np.testing.assert_allclose(log_joint(X, mixture)[:, j], np.log(p), rtol=1e-10)


def test_the_log_odds_of_the_discriminant_are_linear_and_those_of_its_gaussians() -> None:
    X, y = labelled(1)
    model = linear_discriminant(X, y)
    W, b = model.halfspaces()
    joint = log_joint(X, Mixture(model.prior, model.means, np.tile(model.covariance, (3, 1, 1))))
    np.testing.assert_allclose(joint[:, 1] - joint[:, 0], X @ (W[1] - W[0]) + b[1] - b[0], atol=1e-8)


def test_the_discriminant_finds_the_true_halfspace() -> None:
    S = np.array([[1.0, 0.8], [0.8, 1.0]])
    truth = LinearDiscriminant(np.array([-1, 1]), np.array([0.5, 0.5]), np.array([[0.0, 0], [1, 0]]), S)
    rng = np.random.default_rng(0)
    y = rng.choice(truth.classes, 100_000)
    X = (y[:, None] == 1) * [1.0, 0] + rng.multivariate_normal(np.zeros(2), S, len(y))
    (W, b), (V, a) = (model.halfspaces() for model in (linear_discriminant(X, y), truth))
    np.testing.assert_allclose(W[1] - W[0], V[1] - V[0], atol=0.05)
    assert b[1] - b[0] == pytest.approx(a[1] - a[0], abs=0.05)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_mean_has_the_largest_likelihood(x: list[int], theta: float) -> None:
    best = bernoulli(np.array(x))
    likelihood = [np.prod(np.where(x, t, 1 - t)) for t in (best, theta)]
    assert likelihood[0] >= likelihood[1] * (1 - 1e-12)


def test_hoeffdings_bound_holds_exactly() -> None:
    """The probability of each count of a binomial, summed where the mean is farther from theta than (24.2) says."""
    m, counts = 40, np.arange(41)
    choose = np.cumprod(np.r_[1.0, (m - counts[:-1]) / (counts[:-1] + 1)])
    for theta in (0.05, 0.3, 0.5):
        p = choose * theta**counts * (1 - theta) ** (m - counts)
        assert p.sum() == pytest.approx(1)
        for delta in (0.01, 0.1, 0.5, 0.9):
            assert p[abs(counts / m - theta) > finite_class_bound(m, delta)].sum() <= delta
    assert finite_class_bound(50, 0.1) == pytest.approx(0.17308, abs=1e-5)


def test_arguments_stay_as_they_are() -> None:
    X, start = clouds(0), initial(clouds(0), 3, np.random.default_rng(0))
    for array in (X, *start):
        array.flags.writeable = False
    list(em(X, start, 3))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(4), np.ones(4), "y has one class only, 1"),
        (np.eye(4), np.arange(3), r"y must be \(m,\) with the m of X; got y \(3,\) for X \(4, 4\)"),
        (np.eye(4), np.eye(4), r"y must be \(m,\)"),
        (np.array([[1.0], [np.nan]]), np.arange(2), "X must be finite"),
        (np.eye(2), np.array([1, np.nan]), "y must be finite"),
        (np.ones(4), np.arange(4), r"X must be \(m, d\)"),
        (np.ones((0, 2)), np.ones(0), r"X must be \(m, d\)"),
    ],
)
def test_bad_examples(fit: Callable, X: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(X, y)


@pytest.mark.parametrize("fit", FITS)
def test_bad_examples_to_predict(fit: Callable) -> None:
    X, y = labelled(0, binary=fit is bernoulli_naive_bayes)
    model = fit(X, y)
    for bad, message in ((X[:, :3], r"X must be \(m, 4\)"), (X[0], r"\(m, 4\)"), (np.full((2, 4), np.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            predict(model, bad)


def test_features_that_a_model_does_not_take() -> None:
    X, y = labelled(0)
    with pytest.raises(ValueError, match="X must have the values 0 and 1 only"):
        bernoulli_naive_bayes(X, y)
    with pytest.raises(ValueError, match="X must have the values 0 and 1 only"):
        predict(bernoulli_naive_bayes(X > 20, y), X)
    with pytest.raises(ValueError, match="smoothing=0: must be above 0"):
        bernoulli_naive_bayes(X > 20, y, smoothing=0)
    with pytest.raises(ValueError, match="smoothing=inf: must be above 0 and finite"):
        bernoulli_naive_bayes(X > 20, y, smoothing=np.inf)
    with pytest.raises(ValueError, match="smoothing=1e-17: too small"):
        bernoulli_naive_bayes(np.ones(X.shape), y, smoothing=1e-17)
    in_one = X.copy()
    in_one[y == "b", 2] = 0.1
    with pytest.raises(ValueError, match="feature 2 is constant within a class"):
        gaussian_naive_bayes(in_one, y)
    linear_discriminant(in_one, y)  # its covariance is of all classes
    for constant in (0.0, 0.1, 1e9):
        for fit in (gaussian_naive_bayes, linear_discriminant):
            with pytest.raises(ValueError, match="feature 4 is constant within a class"):
                fit(np.c_[X, np.full(200, constant)], y)
    with pytest.raises(ValueError, match="the covariance is singular"):
        linear_discriminant(np.c_[X, X[:, 0] - X[:, 1]], y)
    with pytest.raises(ValueError, match="the covariance is singular"):
        linear_discriminant(np.random.default_rng(0).standard_normal((6, 4)), y[:6])
    linear_discriminant(np.c_[X, 1e-9 * X[:, 0] ** 2], y)  # small units are not dependence


@pytest.mark.parametrize("x", [np.array([0, 2]), np.array([0.5]), np.array([]), np.eye(2), np.array([np.nan])])
def test_bad_draws(x: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"x must be \(m,\), m at least 1, with the values 0 and 1 only"):
        bernoulli(x)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Mixture(np.ones(1), np.zeros((1, 3)), np.eye(3)[None]), r"a mixture must have weights \(k,\), means \(k, 2\)"),
        (Mixture(np.ones(0), np.zeros((0, 2)), np.zeros((0, 2, 2))), "with k at least 1"),
        (Mixture(np.ones(1), np.zeros((1, 2)), np.ones((1, 2))), "a mixture must have"),
        (Mixture(np.ones(1), np.full((1, 2), np.nan), np.eye(2)[None]), "a mixture must be finite"),
        (Mixture(np.ones(2), np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1))), "add up to 1"),
        (Mixture(np.array([0.0, 1]), np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1))), "weights must be above 0"),
        (Mixture(np.ones(1), np.zeros((1, 2)), np.array([[[1.0, 0], [1, 1]]])), "symmetric and positive definite"),
        (Mixture(np.ones(1), np.zeros((1, 2)), -np.eye(2)[None]), "symmetric and positive definite"),
    ],
)
def test_bad_start(start: Mixture, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(em(clouds(0), start, 1))


def test_bad_mixture_input() -> None:
    X, rng = clouds(0), np.random.default_rng(0)
    with pytest.raises(ValueError, match="floor=0: must be above 0"):
        list(em(X, initial(X, 2, rng), 1, floor=0))
    with pytest.raises(ValueError, match="X must be finite"):
        list(em(np.full((3, 2), np.nan), initial(X, 2, rng), 1))
    for k, message in (
        (0, "k=0: must be at least 1"),
        (201, "k=201: must be at most the number of distinct points, 200"),
    ):
        with pytest.raises(ValueError, match=message):
            initial(X, k, rng)
    line = np.c_[X, np.ones(200)]  # a constant column: the floor is its variance
    *_, (end, value) = em(line, initial(line, 2, rng), 5)
    assert np.isfinite(value)
    np.testing.assert_allclose(end.covariances[:, 2, 2], FLOOR, rtol=1e-6)

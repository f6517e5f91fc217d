"""Bayesian linear regression: beliefs, evidence and precisions are scikit-learn's, and those of the Gaussian itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.linear_model import BayesianRidge, Ridge

from papers.understanding_ml.bayesian_regression import (
    Belief,
    bumps,
    log_evidence,
    maximise_evidence,
    posterior,
    predict,
    prior,
    update,
)

PRECISIONS = st.floats(0.05, 50)
SEEDS = st.integers(0, 10**6)


def problem(m: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, d))
    return X, X @ rng.standard_normal(d) + 0.5 * rng.standard_normal(m)


def assert_same(a: Belief, b: Belief) -> None:
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(a.covariance, b.covariance, rtol=1e-8, atol=1e-10)


@given(PRECISIONS, PRECISIONS, st.integers(1, 15), st.integers(1, 8), SEEDS)
def test_the_mean_is_ridge_regression(alpha: float, beta: float, m: int, d: int, seed: int) -> None:
    X, y = problem(m, d, seed)
    expected = Ridge(alpha / beta, fit_intercept=False, solver="svd").fit(X, y).coef_
    np.testing.assert_allclose(posterior(X, y, alpha, beta).mean, expected, rtol=1e-8, atol=1e-10)


@given(PRECISIONS, PRECISIONS, st.integers(1, 15), st.integers(1, 8), SEEDS)
def test_the_posterior_is_the_conditional_of_a_gaussian(alpha: float, beta: float, m: int, d: int, seed: int) -> None:
    """(w, y) is Gaussian: conditioned on y by the formula with covariances, which inverts an m by m matrix."""
    X, y = problem(m, d, seed)
    gain = X.T / alpha @ np.linalg.inv(np.eye(m) / beta + X @ X.T / alpha)
    assert_same(posterior(X, y, alpha, beta), Belief(gain @ y, np.eye(d) / alpha - gain @ X / alpha))


@given(PRECISIONS, PRECISIONS, st.integers(1, 12), st.integers(1, 6), SEEDS)
def test_one_at_a_time_in_any_order_is_all_at_once(alpha: float, beta: float, m: int, d: int, seed: int) -> None:
    X, y = problem(m, d, seed)
    belief = prior(d, alpha)
    for i in np.random.default_rng(seed).permutation(m):
        belief = update(belief, X[i], y[i], beta)
    assert_same(belief, posterior(X, y, alpha, beta))


@given(PRECISIONS, PRECISIONS, st.integers(1, 6), SEEDS)
def test_an_example_takes_what_the_derivation_says(alpha: float, beta: float, d: int, seed: int) -> None:
    X, y = problem(5, d, seed)
    belief, new = posterior(X, y, alpha, beta), np.random.default_rng(seed + 1).standard_normal(d)
    before, after = predict(belief, X, beta)[1], predict(update(belief, new, 1.0, beta), X, beta)[1]
    taken = (X @ belief.covariance @ new) ** 2 / (1 / beta + new @ belief.covariance @ new)
    np.testing.assert_allclose(before - after, taken, rtol=1e-8, atol=1e-12)
    assert (after >= 1 / beta - 1e-12).all()


def test_no_data_is_the_prior() -> None:
    assert_same(posterior(np.empty((0, 3)), np.empty(0), 2.0, 25.0), prior(3, 2.0))
    mean, variance = predict(prior(3, 2.0), np.array([[0.0, 0, 0], [1, 2, 0]]), 25.0)
    np.testing.assert_allclose(mean, 0)
    np.testing.assert_allclose(variance, [0.04, 2.54])


@given(PRECISIONS, PRECISIONS, st.integers(1, 12), st.integers(1, 6), SEEDS)
def test_the_evidence_is_the_density_of_y(alpha: float, beta: float, m: int, d: int, seed: int) -> None:
    X, y = problem(m, d, seed)
    expected = multivariate_normal(np.zeros(m), np.eye(m) / beta + X @ X.T / alpha).logpdf(y)
    assert log_evidence(X, y, alpha, beta) == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(("m", "d"), [(40, 5), (200, 12), (9, 8), (8, 20)])
def test_precisions_are_scikit_learns(m: int, d: int) -> None:
    X, y = problem(m, d, seed=1)
    alpha, beta = maximise_evidence(X, y)
    flat = {"alpha_1": 0, "alpha_2": 0, "lambda_1": 0, "lambda_2": 0}  # no prior over the precisions
    theirs = BayesianRidge(max_iter=10_000, tol=1e-12, fit_intercept=False, compute_score=True, **flat).fit(X, y)
    assert (alpha, beta) == pytest.approx((theirs.lambda_, theirs.alpha_), rel=1e-6)
    assert_close = np.testing.assert_allclose
    belief = posterior(X, y, alpha, beta)
    assert_close(belief.mean, theirs.coef_, rtol=1e-6, atol=1e-9)
    assert_close(belief.covariance, theirs.sigma_, rtol=1e-6, atol=1e-9)
    assert_close(np.sqrt(predict(belief, X, beta)[1]), theirs.predict(X, return_std=True)[1], rtol=1e-6)
    assert log_evidence(X, y, alpha, beta) == pytest.approx(theirs.scores_[-1], rel=1e-8)


@given(st.integers(15, 60), st.integers(1, 5), SEEDS)
def test_the_fixed_point_is_a_maximum(m: int, d: int, seed: int) -> None:
    X, y = problem(m, d, seed)
    y = y + 10 * X.sum(1)  # weights that are surely not 0
    alpha, beta = maximise_evidence(X, y)
    top = log_evidence(X, y, alpha, beta)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert log_evidence(X, y, alpha * factor, beta) < top
        assert log_evidence(X, y, alpha, beta * factor) < top


@pytest.mark.parametrize(
    "y", [np.zeros(8), np.tile([1.0, -1.0], 4), np.repeat([1.0, 2.0], 4)], ids=["zeros", "noise", "no noise"]
)
def test_no_maximum_of_the_evidence(y: np.ndarray) -> None:
    X = np.repeat(np.eye(2), 4, axis=0)
    with pytest.raises(ValueError, match="the evidence has no maximum in reach"):
        maximise_evidence(X, y)


def test_weights_that_explain_all_of_y() -> None:
    X, _ = problem(30, 4)
    with pytest.raises(ValueError, match=r"beta=inf\): X explains nothing of y, or all"):
        maximise_evidence(X, X @ np.ones(4))
    X, y = problem(8, 20, seed=2)
    with pytest.raises(
        ValueError, match=r"no maximum in reach \(alpha=0.955, beta=inf\): X explains nothing of y, or all"
    ):
        maximise_evidence(X, y)


def test_bumps() -> None:
    phi = bumps(np.array([0.0, 0.5]), np.array([0.0, 1.0]), 0.5)
    np.testing.assert_allclose(phi, [[1, 1, np.exp(-2)], [1, np.exp(-0.5), np.exp(-0.5)]])
    for width in (0, -1, np.nan):
        with pytest.raises(ValueError, match=r"width=.*must be above 0"):
            bumps(np.zeros(2), np.zeros(2), width)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["alpha", "beta"])
def test_impossible_precision(bad: float, name: str) -> None:
    X, y = problem(6, 2)
    precisions = {"alpha": 1.0, "beta": 1.0} | {name: bad}
    for method in (posterior, log_evidence):
        with pytest.raises(ValueError, match=f"{name}=.*must be finite and above 0"):
            method(X, y, **precisions)
    with pytest.raises(ValueError, match="must be finite and above 0"):
        prior(2, bad)
    with pytest.raises(ValueError, match="must be finite and above 0"):
        predict(prior(2, 1.0), X, bad)
    with pytest.raises(ValueError, match="must be finite and above 0"):
        update(prior(2, 1.0), X[0], 1.0, bad)


def test_bad_data() -> None:
    X, y = problem(6, 2)
    missing = np.where(np.arange(12).reshape(6, 2) == 5, np.nan, X)
    for bad_X, bad_y, message in [
        (X, y[:5], "X must be"),
        (X[:, 0], y, "X must be"),
        (X, y[:, None], "X must be"),
        (X[:0], y, "X must be"),
        (X[:, :0], y, "X must be"),
        (missing, y, "must be finite"),
        (X, missing[:, 0] + missing[:, 1], "must be finite"),
    ]:
        for method in (posterior, log_evidence):
            with pytest.raises(ValueError, match=message):
                method(bad_X, bad_y, 1.0, 1.0)
        with pytest.raises(ValueError, match=message):
            maximise_evidence(bad_X, bad_y)
    with pytest.raises(ValueError, match="X must be"):
        maximise_evidence(X[:0], y[:0])
    belief = prior(3, 1.0)
    for method in (lambda X: predict(belief, X, 1.0), lambda X: update(belief, X[0], 1.0, 1.0)):
        with pytest.raises(ValueError, match="the belief is about 3 weights, but an example has 2 features"):
            method(X)
    with pytest.raises(ValueError, match="must be finite"):
        predict(prior(2, 1.0), missing, 1.0)
    with pytest.raises(ValueError, match="must be finite"):
        update(prior(2, 1.0), X[0], np.nan, 1.0)

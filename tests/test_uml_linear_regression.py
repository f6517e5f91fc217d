"""Least squares: the solutions are scikit-learn's, the rates and biases those derived, and bad input is refused."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge

from papers.understanding_ml.linear_regression import (
    contraction,
    gradient_descent,
    minimum_norm,
    noise_variance,
    normal_equations,
    orthogonal,
    powers,
)

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]
SOLVERS = (normal_equations, orthogonal, minimum_norm)
PARTICULAR = (normal_equations, orthogonal)  # these refuse what has more than one solution
CLOSE = {"rtol": 1e-9, "atol": 1e-11}

each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.__name__)
particular_solvers = pytest.mark.parametrize("solver", PARTICULAR, ids=lambda solver: solver.__name__)


def problem(m: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, d)), rng.standard_normal(m)


@each_solver
@given(d=st.integers(1, 8), spare=st.integers(0, 20), seed=st.integers(0, 10**6))
def test_least_squares_is_scikit_learns(solver: Solver, d: int, spare: int, seed: int) -> None:
    X, y = problem(2 * d + spare, d, seed)
    expected = LinearRegression(fit_intercept=False).fit(X, y).coef_
    np.testing.assert_allclose(solver(X, y), expected, **CLOSE)


@each_solver
def test_a_constant_column_is_an_intercept(solver: Solver) -> None:
    X, y = problem(30, 3)
    w = solver(np.column_stack([np.ones(30), X]), y)
    expected = LinearRegression().fit(X, y)
    np.testing.assert_allclose(w, [expected.intercept_, *expected.coef_], **CLOSE)


@given(st.floats(1e-3, 1e3), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_ridge_is_scikit_learns(ridge: float, m: int, d: int, seed: int) -> None:
    X, y = problem(m, d, seed)
    expected = Ridge(ridge, fit_intercept=False, solver="svd").fit(X, y).coef_
    np.testing.assert_allclose(normal_equations(X, y, ridge), expected, **CLOSE)


@pytest.mark.parametrize(("m", "d"), [(3, 7), (1, 4), (6, 6)])
def test_fewer_examples_than_features_have_a_shortest_solution(m: int, d: int) -> None:
    X, y = problem(m, d)
    w = minimum_norm(X, y)
    np.testing.assert_allclose(w, LinearRegression(fit_intercept=False).fit(X, y).coef_, **CLOSE)
    np.testing.assert_allclose(X @ w, y, **CLOSE)
    # Any other solution is w plus a vector that X maps to 0, at right angles to w.
    null = np.random.default_rng(1).standard_normal(d)
    null -= np.linalg.pinv(X) @ (X @ null)
    assert abs(null @ w) < 1e-10


def test_duplicate_rows_are_weights() -> None:
    X, y = problem(12, 3)
    counts = np.random.default_rng(1).integers(1, 4, 12)
    expected = LinearRegression(fit_intercept=False).fit(X, y, sample_weight=counts).coef_
    for solver in SOLVERS:
        np.testing.assert_allclose(solver(np.repeat(X, counts, 0), np.repeat(y, counts)), expected, **CLOSE)


def test_duplicate_rows_alone_determine_nothing() -> None:
    X, y = np.tile([1.0, 2.0], (5, 1)), np.full(5, 10.0)
    np.testing.assert_allclose(minimum_norm(X, y), [2, 4], **CLOSE)
    for solver in PARTICULAR:
        with pytest.raises(ValueError, match="use minimum_norm"):
            solver(X, y)


@particular_solvers
@given(d=st.integers(1, 30), scale=st.integers(-6, 6), seed=st.integers(0, 10**6), at=st.floats(0, 1, exclude_max=True))
def test_dependent_columns_are_refused(solver: Solver, d: int, scale: int, seed: int, at: float) -> None:
    X, y = problem(60, d, seed)
    combination = X @ np.random.default_rng(seed + 1).standard_normal(d) * 10.0**scale
    X = np.insert(X, int(at * (d + 1)), combination, axis=1)
    with pytest.raises(ValueError, match="use minimum_norm"):
        solver(X, y)
    residual = X.T @ (X @ minimum_norm(X, y) - y)
    assert np.abs(residual).max() < 1e-9 * np.abs(X).max() * np.abs(y).sum()


@particular_solvers
@pytest.mark.parametrize("X", [np.ones((9, 2)), np.zeros((9, 1)), np.eye(9)[:, :2] * [1, 0], np.ones((2, 3))])
def test_constant_and_zero_columns_are_refused(solver: Solver, X: np.ndarray) -> None:
    with pytest.raises(ValueError, match="use minimum_norm"):
        solver(X, np.arange(len(X)))
    assert np.isfinite(minimum_norm(X, np.arange(len(X)))).all()
    assert np.isfinite(normal_equations(X, np.arange(len(X)), ridge=1e-3)).all()


@particular_solvers
def test_the_units_of_a_feature_do_not_matter(solver: Solver) -> None:
    X, y = problem(40, 3)
    units = np.array([1e-9, 1, 1e9])
    np.testing.assert_allclose(solver(X * units, y) * units, solver(X, y), **CLOSE)


def test_normal_equations_lose_twice_the_digits() -> None:
    X, w = powers(np.linspace(0, 1, 50), 8), np.ones(9)
    errors = [np.abs(solver(X, X @ w) - w).max() for solver in (orthogonal, normal_equations)]
    kappa = np.linalg.cond(X)
    assert errors[0] < 1e-16 * 10 * kappa < 1e-13 * kappa < errors[1] < 1e-16 * 10 * kappa**2


@given(st.integers(1, 6), st.integers(0, 10**6))
def test_gradient_descent_contracts(d: int, seed: int) -> None:
    X, y = problem(3 * d, d, seed)
    rate, w = contraction(X), orthogonal(X, y)
    errors = [np.linalg.norm(w_t - w) for w_t in gradient_descent(X, y, 20)]
    assert len(errors) == 21
    rounding = 1e-12 * (errors[0] + np.linalg.norm(y) / np.linalg.norm(X, 2))  # X^T y may cancel: |w| is then small
    assert all(after <= rate * before + rounding for before, after in pairwise(errors))


def test_the_contraction_is_reached_and_is_the_condition_numbers() -> None:
    X, y = np.diag([1.0, 3.0]), np.array([3.0, 1.0])  # w* = (3, 1/3); both directions shrink at the same rate
    assert contraction(X) == pytest.approx((9 - 1) / (9 + 1))
    errors = np.array([np.linalg.norm(w_t - [3, 1 / 3]) for w_t in gradient_descent(X, y, 5)])
    np.testing.assert_allclose(errors[1:] / errors[:-1], 0.8)
    assert contraction(np.full((4, 1), 7)) == 0  # one step solves it


def test_gradient_descent_from_zero_finds_the_shortest_solution() -> None:
    X, y = problem(3, 6)
    w, rate = minimum_norm(X, y), contraction(X)
    *_, last = gradient_descent(X, y, 60)
    assert rate < 0.9
    assert np.linalg.norm(last - w) <= rate**60 * np.linalg.norm(w)


def test_the_noise_is_the_maximum_of_the_likelihood() -> None:
    X, y = problem(20, 3)
    w = orthogonal(X, y)
    best = noise_variance(X, y, w)

    def log_likelihood(variance: float) -> float:
        return float(-10 * np.log(2 * np.pi * variance) - ((y - X @ w) ** 2).sum() / (2 * variance))

    assert log_likelihood(best) > max(log_likelihood(best * 0.99), log_likelihood(best * 1.01))
    with pytest.raises(ValueError, match=r"w must be \(d,\) = \(3,\), got \(3, 1\)"):
        noise_variance(X, y, w[:, None])


def test_powers() -> None:
    np.testing.assert_array_equal(powers(np.array([0.0, 2.0]), 3), [[1, 0, 0, 0], [1, 2, 4, 8]])
    np.testing.assert_array_equal(powers(np.array([200], np.uint8), 9)[0], 200.0 ** np.arange(10))


@each_solver
def test_bytes_do_not_wrap_around(solver: Solver) -> None:
    X, y = np.array([[16], [1]], np.uint8), np.array([16, 1], np.uint8)
    np.testing.assert_allclose(solver(X, y), [1])
    np.testing.assert_allclose(solver(np.array([[True, False], [True, True]]), y), [16, -15])
    np.testing.assert_allclose(list(gradient_descent(X, y, 1))[-1], [1])
    assert noise_variance(X, y, np.array([2], np.uint8)) == pytest.approx((16**2 + 1) / 2)


@pytest.mark.parametrize("method", [*SOLVERS, lambda X, y: next(gradient_descent(X, y, 1))])
def test_bad_input(method: Solver) -> None:
    X, y = problem(6, 2)
    for bad_X, bad_y in [(X, y[:5]), (X, y[:, None]), (X[:, 0], y), (X[:0], y[:0]), (X[:, :0], y)]:
        with pytest.raises(ValueError, match=r"X must be \(m, d\) and y \(m,\)"):
            method(bad_X, bad_y)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="drop or fill the missing values"):
            method(np.where(np.arange(12).reshape(6, 2) == 5, bad, X), y)
        with pytest.raises(ValueError, match="drop or fill the missing values"):
            method(X, np.where(np.arange(6) == 3, bad, y))


@pytest.mark.parametrize("ridge", [-1e-9, np.nan, np.inf])
def test_impossible_ridge(ridge: float) -> None:
    with pytest.raises(ValueError, match="must be finite and not negative"):
        normal_equations(*problem(6, 2), ridge)


def test_no_slope_to_descend() -> None:
    with pytest.raises(ValueError, match="X is 0 everywhere"):
        list(gradient_descent(np.zeros((4, 2)), np.ones(4), 3))

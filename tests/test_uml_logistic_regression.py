"""Logistic regression: scikit-learn's coefficients, derivatives, Newton's guarantees, separable data, bad input."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from papers.understanding_ml.logistic_regression import (
    Binary,
    Multinomial,
    Problem,
    gradient_descent,
    newton,
    sigmoid,
    smoothness,
    softmax,
)

SEEDS = st.integers(0, 2**32 - 1)
X4 = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
OVERLAPPING = np.array([-1, 1, -1, 1])


def binary(seed: int, m: int = 60, d: int = 3, ridge: float = 0.0) -> Binary:
    """Labels that are noisy enough to overlap."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, d))
    return Binary(X, np.where(rng.random(m) < sigmoid(X[:, 0]), 1, -1), ridge)


def multinomial(seed: int, m: int = 90, d: int = 3, K: int = 4, ridge: float = 0.0) -> Multinomial:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, d))
    return Multinomial(X, np.argmax(X @ rng.standard_normal((d, K)) + 2 * rng.gumbel(size=(m, K)), axis=1), ridge)


def sklearn_weights(problem: Problem) -> np.ndarray:
    C = 1 / (problem.ridge * len(problem.X)) if problem.ridge else np.inf
    model = LogisticRegression(C=C, fit_intercept=False, tol=1e-10, max_iter=10_000)
    return model.fit(problem.X, problem.y).coef_.reshape(problem.shape)


@pytest.mark.parametrize(("make", "y"), [(Binary, OVERLAPPING), (Multinomial, (OVERLAPPING + 1) // 2)])
def test_bytes_do_not_wrap_around(make: Callable[..., Problem], y: np.ndarray) -> None:
    grey, same = make(np.uint8(80) * X4.astype(np.uint8), y), make(80 * X4, y)
    assert smoothness(grey) == smoothness(same)
    np.testing.assert_array_equal(newton(grey)[-1], newton(same)[-1])


@pytest.mark.parametrize("ridge", [0, 1e-3, 0.1, 10])
@pytest.mark.parametrize("make", [binary, multinomial])
def test_weights_are_scikit_learns(make: Callable[..., Problem], ridge: float) -> None:
    problem = make(3, ridge=ridge)
    ours, theirs = newton(problem)[-1], sklearn_weights(problem)
    if ridge == 0 and isinstance(problem, Multinomial):  # one vector added to all rows changes nothing
        theirs = theirs - theirs.mean(0)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_probabilities_on_iris_are_scikit_learns() -> None:
    X, y = load_iris(return_X_y=True)
    X = np.column_stack([X, np.ones(len(X))])
    model = LogisticRegression(C=1 / (0.01 * len(X)), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(X, y)
    W = newton(Multinomial(X, y, 0.01))[-1]
    np.testing.assert_allclose(softmax(X @ W.T), model.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(W, model.coef_, atol=1e-5)
    w = newton(Binary(X, np.where(y == 2, 1, -1), 0.01))[-1]
    model.fit(X, y == 2)
    np.testing.assert_allclose(sigmoid(X @ w), model.predict_proba(X)[:, 1], atol=1e-5)


@given(SEEDS, st.sampled_from([binary, multinomial]), st.sampled_from([0.0, 0.3]))
def test_derivatives_are_those_of_the_loss(seed: int, make: Callable[..., Problem], ridge: float) -> None:
    problem = make(seed, ridge=ridge)
    rng = np.random.default_rng(seed)
    w, v = rng.standard_normal((2, *problem.shape))
    h = 1e-5
    slope = (problem.loss(w + h * v) - problem.loss(w - h * v)) / (2 * h)
    assert np.sum(problem.gradient(w) * v) == pytest.approx(slope, rel=1e-6, abs=1e-8)
    bend = (problem.gradient(w + h * v) - problem.gradient(w - h * v)).ravel() / (2 * h)
    np.testing.assert_allclose(problem.hessian(w) @ v.ravel(), bend, rtol=1e-6, atol=1e-8)


@given(SEEDS, st.sampled_from([binary, multinomial]), st.floats(0, 50), st.sampled_from([0.0, 0.3]))
def test_convex_and_smooth(seed: int, make: Callable[..., Problem], size: float, ridge: float) -> None:
    problem = make(seed, ridge=ridge)
    w = size * np.random.default_rng(seed).standard_normal(problem.shape)
    curvatures = np.linalg.eigvalsh(problem.hessian(w))
    assert curvatures[0] >= ridge - 1e-13
    assert curvatures[-1] <= smoothness(problem) + 1e-13


@given(SEEDS, st.floats(0, 100))
def test_0_1_loss_is_below_the_logistic_loss_over_log_2(seed: int, size: float) -> None:
    problem = binary(seed)
    w = size * np.random.default_rng(seed).standard_normal(3)
    assert ((problem.margins(w) <= 0) <= problem.losses(w) / np.log(2)).all()


@given(SEEDS)
def test_two_classes_are_the_case_k_2(seed: int) -> None:
    """w = W_1 - W_0 and W_1 = -W_0 = w / 2, so |W|^2 = |w|^2 / 2: the ridge of K = 2 is double."""
    two = binary(seed, ridge=0.05)
    many = Multinomial(two.X, (two.y + 1) // 2, ridge=0.1)
    w, W = newton(two)[-1], newton(many)[-1]
    np.testing.assert_allclose(W, [-w / 2, w / 2], atol=1e-11)
    assert many.loss(W) == pytest.approx(two.loss(w), rel=1e-14)
    np.testing.assert_allclose(softmax(many.X @ W.T)[:, 1], sigmoid(two.X @ w), rtol=1e-10)


@given(
    SEEDS, st.sampled_from([binary, multinomial]), st.sampled_from([0.0, 1e-6, 1.0]), st.sampled_from([1e-3, 1, 1e4])
)
def test_newton_ends_where_the_gradient_vanishes(
    seed: int, make: Callable[..., Problem], ridge: float, scale: float
) -> None:
    """Whatever the units of the features, the loss never rises."""
    problem = make(seed)
    problem = type(problem)(problem.X * np.array([1, scale, 1]), problem.y, ridge)
    path = newton(problem)
    assert np.abs(problem.gradient(path[-1]) / np.sqrt(np.mean(problem.X**2, axis=0))).max() < 1e-12
    losses = np.array([problem.loss(w) for w in path])
    assert (np.diff(losses) <= 1e-14).all()
    assert len(path) <= 15


def test_newton_where_the_full_step_overshoots() -> None:
    X = np.array([[9.0, 99], [-5, 4], [-66, 1], [1, 2], [1, -5]])
    problem = Binary(X, np.array([1, 1, 1, 1, -1]), ridge=1e-6)
    w = np.zeros(2)
    full = [problem.loss(w := w - problem.solve(w, problem.gradient(w))) for _ in range(6)]
    assert max(np.diff(full)) > 0.05
    path = newton(problem)
    assert np.diff([problem.loss(w) for w in path]).max() <= 0
    assert np.abs(problem.gradient(path[-1])).max() < 1e-12


def test_newton_gives_up_where_the_ridge_is_next_to_nothing() -> None:
    with pytest.raises(
        ValueError, match="no minimiser after 200 steps, the classes are all but separable: use a larger"
    ):
        newton(Binary(X4, np.array([-1, -1, 1, 1]), ridge=1e-300))


@given(SEEDS, st.sampled_from([binary, multinomial]), st.sampled_from([0.0, 0.1]))
def test_gradient_descent_keeps_its_bound(seed: int, make: Callable[..., Problem], ridge: float) -> None:
    problem = make(seed, ridge=ridge)
    best = newton(problem)[-1]
    gaps = np.array([problem.loss(w) for w in gradient_descent(problem, 50)]) - problem.loss(best)
    assert len(gaps) == 51
    assert (np.diff(gaps) <= 1e-15).all()
    assert (gaps[1:] <= smoothness(problem) * np.sum(best**2) / (2 * np.arange(1, 51)) + 1e-15).all()


def test_gradient_descent_on_separable_data_goes_to_the_maximum_margin() -> None:
    """(1, 2) and (1, -1) times their labels: the shortest w with both margins 1 is (1, 0), so |w_t| ~ log t."""
    problem = Binary(np.array([[1.0, 2.0], [-1.0, 1.0]]), np.array([1, -1]))
    path = list(gradient_descent(problem, 20_000))
    angles = [np.arctan2(abs(path[t][1]), path[t][0]) for t in (20, 200, 2000, 20_000)]
    assert (np.diff(angles) < 0).all()
    assert np.linalg.norm(path[20_000]) - np.linalg.norm(path[2000]) == pytest.approx(np.log(10), rel=0.05)
    assert problem.loss(path[2000]) / problem.loss(path[20_000]) == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("weight", [1e3, -1e3])
def test_nothing_overflows(weight: float) -> None:
    z = np.array([-2 * weight, weight])
    assert sigmoid(z).tolist() == [float(value > 0) for value in z]
    two, many = Binary(X4, OVERLAPPING), Multinomial(X4, np.array([0, 1, 0, 1]))
    w = np.array([weight, weight])
    assert two.loss(w) == pytest.approx(many.loss(np.array([-w / 2, w / 2])))
    assert np.isfinite(two.gradient(w)).all()
    assert np.isfinite(many.gradient(np.array([-w / 2, w / 2]))).all()


def test_small_probabilities_keep_their_digits() -> None:
    assert sigmoid(np.array([-40.0]))[0] == pytest.approx(np.exp(-40), rel=1e-15)
    confident = Binary(np.array([[40.0], [-40.0]]), np.array([1, -1]))
    assert confident.loss(np.ones(1)) == pytest.approx(np.exp(-40), rel=1e-15)
    assert confident.gradient(np.ones(1))[0] == pytest.approx(-40 * np.exp(-40), rel=1e-15)


def test_duplicate_rows_are_examples_of_their_own() -> None:
    once = binary(0, ridge=0.1)
    twice = Binary(np.repeat(once.X, 2, axis=0), np.repeat(once.y, 2), 0.1)
    np.testing.assert_allclose(newton(once)[-1], newton(twice)[-1], atol=1e-12)


def test_balanced_duplicates_leave_the_weights_at_zero() -> None:
    path = newton(Binary(np.repeat(X4, 2, axis=0), np.tile([-1, 1], 4)))
    np.testing.assert_allclose(path[-1], 0, atol=1e-15)


SEPARABLE = [
    Binary(X4, np.array([-1, -1, 1, 1])),
    Binary(np.array([[1.0, 0], [1, 1], [1, 1], [1, 2]]), np.array([-1, -1, 1, 1])),  # but for a tie: quasi-separable
    Binary(np.array([[1e-3, 0], [1e-3, 1e3], [1e-3, 2e3]]), np.array([-1, -1, 1])),
    Multinomial(X4, np.array([0, 1, 1, 2])),
    Multinomial(X4, np.array([0, 1, 0, 2])),  # 2 alone can be told from the others
]


@pytest.mark.parametrize("problem", SEPARABLE)
def test_newton_refuses_separable_data_and_says_what_to_do(problem: Problem) -> None:
    with pytest.raises(ValueError, match="separable, so the weights grow for ever: use a ridge, or gradient_descent"):
        newton(problem)
    ridge = type(problem)(problem.X, problem.y, ridge=1e-6)
    assert np.abs(ridge.gradient(newton(ridge)[-1])).max() < 1e-10
    losses = [problem.loss(w) for w in gradient_descent(problem, 100)]
    assert (np.diff(losses) < 0).all()


@given(SEEDS, st.integers(2, 6), st.booleans())
def test_newton_recognises_every_separable_set(seed: int, d: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    X, u = rng.standard_normal((40, d)), rng.standard_normal(d)
    y = np.where(X @ u > 0, 1, -1)
    if ties:  # examples of both classes on the boundary itself
        between = rng.standard_normal((6, d))
        between -= np.outer(between @ u, u) / (u @ u)
        X, y = np.vstack([X, between, between]), np.concatenate([y, np.ones(6), -np.ones(6)])
    with pytest.raises(ValueError, match="separable"):
        newton(Binary(X, y))


DEPENDENT = [
    Binary(np.hstack([X4, 2 * X4[:, :1]]), OVERLAPPING),  # two constant columns
    Binary(np.hstack([X4, np.zeros((4, 1))]), OVERLAPPING),
    Binary(np.random.default_rng(0).standard_normal((4, 5)), OVERLAPPING),  # fewer examples than features
    Multinomial(np.random.default_rng(0).standard_normal((4, 5)), np.array([0, 1, 2, 1])),
]


@pytest.mark.parametrize("problem", DEPENDENT)
def test_dependent_columns_need_a_ridge(problem: Problem) -> None:
    with pytest.raises(
        ValueError, match="dependent columns, so no one minimiser: use a larger ridge, or gradient_desc"
    ):
        newton(problem)
    ridge = type(problem)(problem.X, problem.y, ridge=0.01)
    np.testing.assert_allclose(newton(ridge)[-1], sklearn_weights(ridge), atol=1e-5)
    assert np.isfinite(list(gradient_descent(problem, 10))).all()


def test_one_constant_column_is_the_intercept() -> None:
    w = newton(Binary(np.ones((5, 1)), np.array([1, 1, 1, 1, -1])))[-1]
    assert w[0] == pytest.approx(np.log(4), rel=1e-12)  # the log-odds of the shares of the classes


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X4, np.ones(4), "all labels are 1.0: there must be examples of two classes at least"),
        (X4, np.array([0, 1, 0, 1]), r"labels must be -1 and \+1; got \[0 1\]. From 0 and 1: 2 \* y - 1"),
        (X4, np.array([-1.0, 1, 0.5, 1]), r"labels must be -1 and \+1; got"),
        (X4, np.array(["a", "b", "a", "b"]), r"labels must be -1 and \+1; got an array of <U1"),
        (X4, OVERLAPPING > 0, r"labels must be -1 and \+1; got an array of bool"),
        (X4, np.array([-1, 1, np.nan, 1]), "finite"),
        (X4, OVERLAPPING[:3], r"X must be \(m, d\) and y \(m,\)"),
        (X4, OVERLAPPING[:, None], r"X must be \(m, d\) and y \(m,\)"),
        (X4[:, 0], OVERLAPPING, r"X must be \(m, d\) and y \(m,\)"),
        (X4[:0], OVERLAPPING[:0], "m and d at least 1"),
        (np.where(X4 == 3, np.nan, X4), OVERLAPPING, "finite"),
        (np.where(X4 == 3, np.inf, X4), OVERLAPPING, "finite"),
        (np.zeros((4, 2)), OVERLAPPING, "X is 0 everywhere: there is no feature to learn from"),
    ],
)
def test_bad_data(X: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Binary(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(4, int), "all labels are 0"),
        (np.array([0, 2, 2, 0]), r"labels must be 0 to K-1, each at least once; got \[0 2\]: number them anew"),
        (OVERLAPPING, r"labels must be 0 to K-1, each at least once; got \[-1  1\]"),
        (np.array([0.0, 1, 2, 1]), "labels must be the integers 0 to K-1; got an array of float64"),
        (np.array([0, 1, 2]), r"X must be \(m, d\) and y \(m,\)"),
    ],
)
def test_bad_classes(y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Multinomial(X4, y)


@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "y"), [(Binary, OVERLAPPING), (Multinomial, np.array([0, 1, 0, 1]))])
def test_bad_ridge(kind: type[Problem], y: np.ndarray, ridge: float) -> None:
    with pytest.raises(ValueError, match="must be finite and not negative"):
        kind(X4, y, ridge)

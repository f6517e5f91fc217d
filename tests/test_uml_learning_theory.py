"""Learning theory: labellings, gaps and complexities against exhaustive search, bounds against cases that meet them."""

from itertools import product
from math import comb, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from sklearn.svm import SVC

from papers.understanding_ml.learning_theory import (
    dichotomies,
    finite_class_bound,
    growth_bound,
    halfspace_count,
    halfspace_gap,
    linear_rademacher,
    massart_bound,
    rademacher,
    rademacher_bound,
    sauer_bound,
    threshold_errors,
)

SEEDS = st.integers(0, 10**6)


def signs(m: int) -> np.ndarray:
    """All 2^m rows of m signs: a mean over them is an expectation."""
    return np.array(list(product((-1, 1), repeat=m)))


def separable(X: np.ndarray, y: np.ndarray) -> bool:
    """Whether some w has y_i w^T x_i >= 1 for all i: a linear program."""
    return bool(linprog(np.zeros(X.shape[1]), -y[:, None] * X, -np.ones(len(y)), bounds=(None, None)).status == 0)


@pytest.mark.parametrize(("m", "d"), [(1, 1), (4, 1), (1, 3), (2, 3), (3, 3), (6, 2), (6, 3), (6, 4)])
def test_the_labellings_are_the_separable_ones(m: int, d: int) -> None:
    X = np.random.default_rng(m + 10 * d).standard_normal((m, d))
    found = {tuple(row) for row in dichotomies(X)}
    assert found == {tuple(y) for y in signs(m) if separable(X, y)}
    assert len(found) == halfspace_count(m, d)


@settings(max_examples=20)
@given(st.integers(2, 4), st.integers(0, 8), SEEDS)
def test_every_labelling_found_can_be_learnt(d: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.standard_normal((d + more, d - 1)), np.ones(d + more)])  # with a threshold
    labellings = dichotomies(X)
    assert len(labellings) == halfspace_count(d + more, d) <= sauer_bound(d + more, d)
    for y in labellings[:: max(1, len(labellings) // 5)]:
        if abs(y.sum()) < len(y):
            assert SVC(C=1e12, kernel="linear", tol=1e-6).fit(X[:, :-1], y).score(X[:, :-1], y) == 1


def test_counts() -> None:
    assert [halfspace_count(m, 3) for m in range(1, 6)] == [2, 4, 8, 14, 22]
    assert [sauer_bound(m, 2) for m in range(5)] == [1, 2, 4, 7, 11]
    for d in range(1, 6):
        assert halfspace_count(d, d) == sauer_bound(d, d) == 2**d
        for m in range(1, 12):
            assert halfspace_count(m + 1, d + 1) == halfspace_count(m, d + 1) + halfspace_count(m, d)
            assert sauer_bound(m, d) == sum(comb(m, k) for k in range(min(m, d) + 1)) <= 2**m


@pytest.mark.parametrize("m", [2, 5, 8])
def test_rademacher_of_everything_is_one_and_of_one_function_is_zero(m: int) -> None:
    sigma = signs(m)
    np.testing.assert_array_equal(rademacher(sigma, sigma), 1)
    assert rademacher(sigma[:1], sigma).mean() == 0
    assert rademacher(sigma[[0, -1]], sigma).mean() == pytest.approx(np.abs(sigma.sum(1)).mean() / m)


@given(st.integers(2, 3), st.integers(2, 9), SEEDS)
def test_massarts_lemma(d: int, m: int, seed: int) -> None:
    labellings = dichotomies(np.random.default_rng(seed).standard_normal((m, d)))
    assert rademacher(labellings, signs(m)).mean() <= massart_bound(m, len(labellings))


@given(st.integers(1, 4), st.integers(1, 9), st.floats(0.1, 10), SEEDS)
def test_rademacher_of_linear_functions(d: int, m: int, B: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, sigma = rng.standard_normal((m, d)), signs(m)
    suprema = linear_rademacher(X, B, sigma)
    assert suprema.mean() <= np.linalg.norm(X, axis=1).max() * B / sqrt(m) * (1 + 1e-12)
    w = rng.standard_normal((200, d))
    w *= B / np.linalg.norm(w, axis=1, keepdims=True)
    assert (sigma @ X @ w.T / m <= suprema[:, None] + 1e-12).all()
    best = sigma @ X
    best *= B / np.linalg.norm(best, axis=1, keepdims=True)
    np.testing.assert_allclose(np.einsum("nd,nm,md->n", best, sigma, X) / m, suprema, rtol=1e-10)


def test_orthogonal_examples_meet_the_linear_bound() -> None:
    np.testing.assert_allclose(linear_rademacher(2 * np.eye(9), 3.0, signs(9)), 2 * 3 / sqrt(9))


@given(st.integers(1, 30), st.floats(0, 0.5), SEEDS)
def test_the_gap_of_halfspaces_is_that_of_a_fine_search(m: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((m, 2)), rng.standard_normal(2)
    y = np.sign(X @ w) * rng.choice([-1, 1], m, p=[noise, 1 - noise])
    gap = halfspace_gap(X, y, w, noise)
    angle = np.linspace(0, 2 * np.pi, 20_001)
    v = np.column_stack([np.cos(angle), np.sin(angle)])
    true = noise + (1 - 2 * noise) * np.arccos(np.clip(v @ w / np.linalg.norm(w), -1, 1)) / np.pi
    gaps = np.abs(true - (np.sign(X @ v.T) != y[:, None]).mean(0))
    assert gaps.max() <= gap + 1e-9
    # Halfspaces between two neighbours of the grid are missed; where no two examples are that close, not by much.
    normals = np.sort(np.arctan2(X[:, 1], X[:, 0]) % np.pi)
    if m == 1 or np.diff(normals, append=normals[0] + np.pi).min() > 4e-4:
        assert gaps.max() >= gap - 2e-4


@given(st.integers(1, 40), st.integers(1, 12), SEEDS)
def test_errors_of_thresholds(m: int, K: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, grid = rng.integers(0, 10, m) / 10, rng.choice([-1, 1], m), np.sort(rng.integers(-2, 13, K)) / 10
    expected = [np.mean(np.where(x >= t, 1, -1) != y) for t in grid]
    np.testing.assert_allclose(threshold_errors(x, y, grid), expected, atol=1e-12)


def test_hoeffding_and_the_union_are_inverted() -> None:
    for m, delta, size in [(10, 0.05, 1), (1000, 0.3, 50)]:
        epsilon = finite_class_bound(m, delta, size)
        assert 2 * size * exp(-2 * m * epsilon**2) == pytest.approx(delta)
    assert massart_bound(50, 1) == 0
    assert growth_bound(50, 0.1, 1) == pytest.approx(sqrt(log(10) / 100))
    assert rademacher_bound(50, 0.1, 0.25) == pytest.approx(0.25 + 3 * finite_class_bound(50, 0.1))


def test_bounds_hold_with_their_probability() -> None:
    """One coin is a class of one: the share of failures is known, below delta and not 0."""
    m, delta, n = 40, 0.3, 4000
    gaps = np.abs(np.random.default_rng(0).binomial(m, 0.5, n) / m - 0.5)
    assert 0 < np.mean(gaps > finite_class_bound(m, delta)) < delta


@pytest.mark.parametrize(("m", "delta", "size"), [(0, 0.1, 1), (5, 0.0, 1), (5, 1.0, 1), (5, np.nan, 1), (5, 0.1, 0)])
def test_impossible_bounds(m: int, delta: float, size: int) -> None:
    for bound in (finite_class_bound, growth_bound):
        with pytest.raises(ValueError, match="m and size must be at least 1 and delta in"):
            bound(m, delta, size)
    if size == 1:
        with pytest.raises(ValueError, match="m and size must be at least 1 and delta in"):
            rademacher_bound(m, delta, 0.5)


def test_points_not_in_general_position() -> None:
    with pytest.raises(ValueError, match="they lie in a subspace"):
        dichotomies(np.ones((5, 2)))
    with pytest.raises(ValueError, match="they lie in a subspace"):
        dichotomies(np.ones((2, 3)))
    with pytest.raises(ValueError, match="2 of them lie on a plane through the origin"):
        dichotomies(np.array([[1.0, 0], [0, 1], [2, 0]]))
    with pytest.raises(ValueError, match="1 of them lie"):
        dichotomies(np.array([[1.0], [0.0]]))
    for X in ([[1.0, 2], [-0.1, -0.2]], [[0.0, 0]]):
        with pytest.raises(ValueError, match="one is 0, or two lie on a line through the origin"):
            halfspace_gap(np.array(X), np.ones(len(X)), np.ones(2), 0)


def test_bytes_do_not_wrap_around() -> None:
    X, y, w = np.array([[3, 1], [1, 200]], np.uint8), np.array([1, -1], np.int8), np.ones(2)
    assert halfspace_gap(X, y, w, 0.1) == halfspace_gap(X.astype(float), y, w, 0.1)
    many = np.full((500, 1), 200, np.uint8)
    np.testing.assert_array_equal(linear_rademacher(many, 1.0, np.ones((1, 500), np.int8)), [200])


def test_bad_input() -> None:
    X, y, w = np.eye(2), np.array([1, -1]), np.ones(2)
    with_nan = np.array([[1.0, np.nan], [0, 1]])
    for bad, message in [(X[0], "X must be"), (X[:0], "X must be"), (X[:, :0], "X must be"), (with_nan, "finite")]:
        for method in (dichotomies, lambda X: linear_rademacher(X, 1.0, X), lambda X: halfspace_gap(X, y, w, 0.1)):
            with pytest.raises(ValueError, match=message):
                method(bad)
    for bad_signs in (y * 2, y[:1], np.array([1, 0]), np.array([1, np.nan])):
        for method in (
            lambda s: rademacher(X, s[None]),
            lambda s: linear_rademacher(X, 1.0, s[None]),
            lambda s: halfspace_gap(X, s, w, 0.1),
            lambda s: threshold_errors(np.zeros(2), s, np.zeros(1)),
        ):
            with pytest.raises(ValueError, match="labels and signs must be -1 or"):
                method(bad_signs)
    for bad_w, noise in [(np.zeros(2), 0.1), (np.ones(3), 0.1), (w, -0.1), (w, 1.1), (w, np.nan)]:
        with pytest.raises(ValueError, match=r"w \(2,\) and not 0, noise in \[0, 1\]"):
            halfspace_gap(X, y, bad_w, noise)
    for B in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match=r"B=.*must be finite and above 0"):
            linear_rademacher(X, B, y[None])
    with pytest.raises(ValueError, match="X must be finite"):
        threshold_errors(np.array([np.nan, 0]), y, np.zeros(1))
    for grid in ([0.2, 0.1], [np.nan, 0.1]):
        with pytest.raises(ValueError, match="the grid must be ascending and finite"):
            threshold_errors(np.zeros(2), y, np.array(grid))

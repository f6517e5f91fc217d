"""k-means: scikit-learn's result from the same start, a fixed point that is never worse, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics.cluster import contingency_matrix

from papers.understanding_ml.clustering import (
    fill,
    kmeans,
    lloyd,
    means,
    nearest,
    objective,
    plus_plus,
    purity,
    uniform,
)
from shared.datasets import load

SEEDINGS = pytest.mark.parametrize("seeding", [uniform, plus_plus])


def blobs(rng: np.random.Generator, m: int = 300, d: int = 3, k: int = 5) -> np.ndarray:
    return 2 * rng.standard_normal((k, d))[rng.integers(k, size=m)] + rng.standard_normal((m, d))


def rectangle(width: float) -> np.ndarray:
    return np.array([[0, 0], [0, 1], [width, 0], [width, 1]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("k", [1, 5, 12])
def test_scikit_learns_result_from_the_same_centres(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    X = blobs(rng) + 50  # away from the origin
    centres = uniform(X, k, rng)
    ours = lloyd(X, centres)
    theirs = KMeans(k, init=centres, n_init=1, algorithm="lloyd", tol=0, max_iter=1000).fit(X)
    np.testing.assert_array_equal(ours.labels, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-12)
    assert ours.objectives[-1] == pytest.approx(theirs.inertia_, rel=1e-12)


def test_scikit_learns_result_where_a_cluster_is_empty_at_first() -> None:
    X = blobs(np.random.default_rng(0))
    centres = np.vstack([X[:4], np.full((1, 3), 1e3)])
    assert 4 not in nearest(X, centres)
    ours = lloyd(X, centres)
    theirs = KMeans(5, init=centres, n_init=1, algorithm="lloyd", tol=0, max_iter=1000).fit(X)
    np.testing.assert_array_equal(ours.labels, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 3), st.booleans())
def test_the_objective_never_rises_and_ends_at_a_fixed_point(seed: int, k: int, d: int, far: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3 if d > 1 else 30, (40, d)).astype(float)  # ties and duplicates
    k = min(k, len(np.unique(X, axis=0)))
    centres = rng.uniform(-1, 4, (k, d)) + 100 * far * rng.integers(0, 2, (k, 1))  # some that are nobody's nearest
    mu, labels, objectives = lloyd(X, centres)
    assert np.diff(objectives).max() <= 1e-12 * objectives[0]
    assert objectives[-1] == pytest.approx(objective(X, mu, labels), abs=1e-12)
    np.testing.assert_allclose(mu, [X[labels == j].mean(0) for j in range(k)], atol=1e-12)  # and none is empty
    distances = ((X[:, None] - mu) ** 2).sum(2)
    assert (distances[np.arange(40), labels] <= distances.min(1) + 1e-12).all()


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_filling_empty_clusters_lowers_the_cost(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 3, (30, 2)).astype(float)
    centres = np.vstack([rng.uniform(0, 3, (1, 2)), np.full((k - 1, 2), 1e3)])
    labels = fill(X, centres, nearest(X, centres))
    means = np.array([X[labels == j].mean(0) for j in range(k)])
    assert objective(X, means, labels) < objective(X, centres, nearest(X, centres))


def test_its_arguments_stay_as_they_are() -> None:
    X = blobs(np.random.default_rng(0))
    centres = X[:4].copy()
    X.flags.writeable = centres.flags.writeable = False
    lloyd(X, centres)
    kmeans(X, 4, np.random.default_rng(0), restarts=2)


@pytest.mark.parametrize("width", [2.0, 10.0, 1000.0])
def test_a_minimum_that_is_arbitrarily_bad(width: float) -> None:
    X = rectangle(width)
    stuck, best = lloyd(X, X[:2]), lloyd(X, X[[0, 2]])
    assert len(stuck.objectives) == 2  # the one step changes nothing
    assert stuck.objectives[-1] == pytest.approx(width**2)
    assert best.objectives[-1] == pytest.approx(1)
    assert kmeans(X, 2, np.random.default_rng(0)).objectives[-1] == pytest.approx(1)


@SEEDINGS
def test_seeds_are_distinct_points(seeding: Callable[..., np.ndarray]) -> None:
    X = np.arange(24.0).reshape(12, 2)
    seeds = seeding(X, 12, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(seeds[:, 0]), X[:, 0])


def test_plus_plus_draws_by_squared_distance() -> None:
    X = np.array([[0.0], [1.0], [3.0]])
    rng = np.random.default_rng(0)
    pairs = [tuple(plus_plus(X, 2, rng)[:, 0]) for _ in range(3000)]
    # From 0 the squared distances are 1 and 9, from 1 they are 1 and 4, from 3 they are 9 and 4.
    for pair, p in {(0, 1): 0.1, (0, 3): 0.9, (1, 0): 0.2, (1, 3): 0.8, (3, 0): 9 / 13, (3, 1): 4 / 13}.items():
        assert pairs.count(pair) / 3000 == pytest.approx(p / 3, abs=4 * np.sqrt(p / 3 / 3000))


def test_plus_plus_takes_duplicates_once_and_any_type() -> None:
    X = np.repeat(np.array([[0, 0], [0, 200], [255, 0]], np.uint8), [50, 1, 1], axis=0)
    seeds = plus_plus(X, 3, np.random.default_rng(0))
    assert len(np.unique(seeds, axis=0)) == 3
    assert kmeans(X, 3, np.random.default_rng(0), restarts=1).objectives[-1] < 1e-20
    start = uniform(X[-3:], 3, np.random.default_rng(0))
    np.testing.assert_array_equal(nearest(X[-3:], start), [np.argmax((start == x).all(1)) for x in X[-3:]])
    assert objective(X[-3:], X[:1], np.zeros(3, int)) == 200**2 + 255**2
    np.testing.assert_allclose(means(np.full((50, 2), 99, np.uint8), np.arange(50) % 2, 2), np.full((2, 2), 99))
    assert plus_plus(X.astype(np.float32) / 7, 3, np.random.default_rng(0)).shape == (3, 2)


@SEEDINGS
def test_more_restarts_are_not_worse_and_the_rng_decides(seeding: Callable[..., np.ndarray]) -> None:
    X = blobs(np.random.default_rng(1), k=9)
    one, ten, again = (kmeans(X, 9, np.random.default_rng(3), seeding, restarts) for restarts in (1, 10, 10))
    assert ten.objectives[-1] <= one.objectives[-1]
    np.testing.assert_array_equal(ten.centres, again.centres)


def test_purity_is_the_share_of_the_majority() -> None:
    assert purity(np.array([0, 0, 0, 2, 2]), np.array([7, 7, 1, 1, 1])) == 0.8
    assert purity(np.array([-1, -1, 0, 1, 1]), np.array([0, 0, 2, 1, 1])) == 1
    digits = load("digits")
    X = digits.train_images.reshape(-1, 64) / 16
    labels = kmeans(X, 10, np.random.default_rng(0), restarts=2).labels
    table = contingency_matrix(digits.train_labels, labels)
    assert purity(labels, digits.train_labels) == pytest.approx(table.max(0).sum() / table.sum())


NAN = np.array([[0.0], [np.nan], [1.0]])


@pytest.mark.parametrize(
    ("X", "k", "message"),
    [
        (np.eye(4), 0, "k=0: must be at least 1"),
        (np.eye(4), 5, "k=5: must be at most the number of distinct points, 4"),
        (np.ones((9, 2)), 2, "k=2: must be at most the number of distinct points, 1"),
        (NAN, 2, "X must be finite"),
        (np.array([[0.0], [np.inf]]), 1, "X must be finite"),
        (np.ones(4), 1, r"X must be \(m, d\)"),
        (np.ones((0, 2)), 1, r"X must be \(m, d\)"),
    ],
)
@pytest.mark.parametrize("method", [uniform, plus_plus, kmeans])
def test_bad_input(X: np.ndarray, k: int, message: str, method: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=message):
        method(X, k, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("X", "centres", "message"),
    [
        (
            np.eye(4),
            np.ones((2, 3)),
            r"centres must be finite and \(k, d\) with the d of X; got \(2, 3\) for X \(4, 4\)",
        ),
        (np.eye(4), np.ones(4), "centres must be finite"),
        (np.eye(2), np.array([[0, np.nan]]), "centres must be finite"),
        (np.ones((3, 2)), np.eye(2), "k=2: must be at most the number of distinct points, 1"),
        (np.eye(2), np.ones((0, 2)), "k=0: must be at least 1"),
        (NAN, np.ones((1, 1)), "X must be finite"),
        (np.float64(3), np.ones((1, 1)), "centres must be finite"),
    ],
)
def test_bad_start(X: np.ndarray, centres: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lloyd(X, centres)


def test_other_bad_input() -> None:
    with pytest.raises(ValueError, match="restarts=0: must be at least 1"):
        kmeans(np.eye(4), 2, np.random.default_rng(0), restarts=0)
    with pytest.raises(ValueError, match=r"labels and classes must both be \(m,\)"):
        purity(np.zeros(3, int), np.zeros(4, int))

"""k nearest neighbours: scikit-learn's answers, ties, points that cancel, the bound of the theorem, bad input."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from papers.understanding_ml import nearest_neighbours
from papers.understanding_ml.nearest_neighbours import classify, majority, neighbours, regress, theorem_bound
from papers.understanding_ml.studies import nearest_neighbours as study

rng = np.random.default_rng


def grid_points(m: int) -> st.SearchStrategy[np.ndarray]:
    """Few distinct values: most distances are tied, and exact."""
    return hnp.arrays(np.float64, (m, 2), elements=st.integers(-2, 2))


@pytest.mark.parametrize(
    ("m", "n", "d", "k"), [(300, 200, 3, 1), (300, 200, 3, 7), (50, 5000, 10, 50), (80_000, 3, 2, 4)]
)
def test_neighbours_classes_and_means_are_scikit_learns(m: int, n: int, d: int, k: int) -> None:
    X, x, targets = rng(0).standard_normal((m, d)), rng(1).standard_normal((n, d)), rng(2).standard_normal(m)
    labels = rng(3).integers(0, 4, m)
    theirs = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(X).kneighbors(x, return_distance=False)
    np.testing.assert_array_equal(neighbours(X, x, k), theirs)
    np.testing.assert_array_equal(
        classify(X, labels, x, k), KNeighborsClassifier(k, algorithm="kd_tree").fit(X, labels).predict(x)
    )
    np.testing.assert_allclose(
        regress(X, targets, x, k), KNeighborsRegressor(k, algorithm="kd_tree").fit(X, targets).predict(x), rtol=1e-12
    )


@given(grid_points(9), grid_points(4), st.integers(1, 9))
def test_equal_distances_are_in_the_order_of_the_examples(X: np.ndarray, x: np.ndarray, k: int) -> None:
    distances = ((x[:, None] - X) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(neighbours(X, x, k), np.argsort(distances, axis=1, kind="stable")[:, :k])


@given(
    hnp.arrays(np.float64, (12, 3), elements=st.floats(-1, 1)),
    st.sampled_from([0.0, 1.0, 1e4, 1e8]),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.integers(1, 12),
)
def test_far_from_the_origin_the_nearest_are_those_of_the_differences(
    X: np.ndarray, offset: float, scale: float, k: int
) -> None:
    X = scale * X + offset
    distances = ((X[:, None] - X) ** 2).sum(axis=-1)
    np.testing.assert_array_equal(neighbours(X, X, k), np.argsort(distances, axis=1, kind="stable")[:, :k])


def test_each_example_is_its_own_nearest_even_where_the_matrix_product_cancels() -> None:
    X = 1e8 + rng(0).random((200, 2))
    squares = (X**2).sum(axis=1)
    assert ((squares - 2 * X @ X.T).argmin(axis=1) != np.arange(200)).any()
    np.testing.assert_array_equal(neighbours(X, X, 1)[:, 0], np.arange(200))


def test_whole_numbers_do_not_wrap_around() -> None:
    X = np.array([[0], [100], [250]], np.uint8)
    np.testing.assert_array_equal(neighbours(X, np.array([[200]], np.uint8), 3), [[2, 1, 0]])


def test_blocks_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    X, x = rng(0).standard_normal((40, 3)), rng(1).standard_normal((33, 3))
    whole = neighbours(X, x, 5)
    monkeypatch.setattr(nearest_neighbours, "BLOCK", 160)  # four rows
    np.testing.assert_array_equal(neighbours(X, x, 5), whole)


def test_memory_stays_far_below_all_distances() -> None:
    X, x = rng(0).standard_normal((4000, 20)), rng(1).standard_normal((4000, 20))
    tracemalloc.start()
    neighbours(X, x, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000 * 4000 * 8 / 20


def test_majority_takes_the_smallest_of_the_commonest() -> None:
    np.testing.assert_array_equal(majority(np.array([[3, 1, 3], [2, 1, 3], [3, 2, 2]])), [3, 1, 2])
    np.testing.assert_array_equal(majority(np.array([["b", "a"], ["b", "b"]])), ["a", "b"])


def test_labels_may_be_words() -> None:
    X = np.array([[0.0], [1], [2]])
    np.testing.assert_array_equal(
        classify(X, np.array(["low", "low", "high"]), np.array([[0.2], [1.9]]), 1), ["low", "high"]
    )


def test_all_examples_vote_when_k_is_m() -> None:
    X, y, x = rng(0).random((7, 2)), np.array([1, 0, 0, 2, 0, 1, 2]), rng(1).random((5, 2))
    np.testing.assert_array_equal(classify(X, y, x, 7), np.zeros(5))
    np.testing.assert_allclose(regress(X, y, x, 7), np.full(5, 6 / 7))


def test_one_class_is_that_class_everywhere() -> None:
    np.testing.assert_array_equal(classify(rng(0).random((6, 2)), np.full(6, 4), rng(1).random((3, 2)), 3), [4, 4, 4])


def test_duplicates_with_different_labels() -> None:
    X, y = np.zeros((4, 2)), np.array([1, 0, 0, 1])
    assert classify(X, y, X[:1], 1) == 1  # the first example
    assert classify(X, y, X[:1], 3) == 0
    assert classify(X, y, X[:1], 4) == 0  # a tie: the smaller label


def test_inputs_are_not_changed() -> None:
    X, x, y = rng(0).random((9, 2)), rng(1).random((3, 2)), rng(2).random(9)
    X.flags.writeable = x.flags.writeable = y.flags.writeable = False
    assert regress(X, y, x, 2).shape == (3,)


X, x, y = rng(0).random((5, 2)), rng(1).random((3, 2)), np.array([0, 1, 1, 0, 1])


@pytest.mark.parametrize(
    ("X", "y", "x", "k", "message"),
    [
        (X, y, x, 0, "k=0: must be from 1 to the number of examples, 5"),
        (X, y, x, -1, "k=-1: must be from 1 to the number of examples, 5"),
        (X, y, x, 6, "k=6: must be from 1 to the number of examples, 5"),
        (X * np.nan, y, x, 1, "X and x must be finite"),
        (X, y, x * np.inf, 1, "X and x must be finite"),
        (X, y, x + 1e200, 1, r"below 1e\+150"),
        (X, y, x[:, :1], 1, r"X must be \(m, d\) and x \(n, d\), .*; got \(5, 2\) and \(3, 1\)"),
        (X, y, x[:0], 1, "m, n and d at least 1"),
        (X, y, x[0], 1, r"X must be \(m, d\)"),
        (X[:, 0], y, x, 1, r"X must be \(m, d\)"),
        (X[:0], y[:0], x, 1, "m, n and d at least 1"),
        (X, y[:4], x, 1, r"y must be \(5,\), one label for each example; got \(4,\)"),
        (X, y[:, None], x, 1, r"y must be \(5,\), one label for each example; got \(5, 1\)"),
        (X, y * np.nan, x, 1, "y must be finite"),
    ],
)
def test_bad_input(X: np.ndarray, y: np.ndarray, x: np.ndarray, k: int, message: str) -> None:
    for method in (classify, regress):
        with pytest.raises(ValueError, match=message):
            method(X, y, x, k)


def test_the_bound_by_hand() -> None:
    assert theorem_bound(0.1, 0.5, np.array(8), 2) == pytest.approx(0.2 + 2 * 2**0.5 / 2)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_neighbours_distance_obeys_what_the_theorem_needs(d: int) -> None:
    for m in (1, 10, 100, 1000):
        X, x = rng(m).random((m, d)), rng(m + 1).random((300, d))
        distance = np.linalg.norm(x - X[neighbours(X, x, 1)[:, 0]], axis=1).mean()
        assert distance <= np.sqrt(d) * min(1, (2 + np.exp(-1)) * m ** (-1 / (d + 1)))


def test_the_studys_constants() -> None:
    eta = study.eta(np.linspace(0, 1, 100_001)[:, None])
    assert np.minimum(eta, 1 - eta).mean() == pytest.approx(study.BAYES, abs=1e-5)
    assert (2 * eta * (1 - eta)).mean() == pytest.approx(study.LIMIT, abs=1e-5)
    assert np.abs(np.diff(eta)).max() * 100_000 == pytest.approx(study.LIPSCHITZ, rel=1e-6)

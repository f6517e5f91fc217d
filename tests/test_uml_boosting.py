"""AdaBoost: the best stump against all stumps, rounds against scikit-learn's, the theorem, the ends of the loop."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import AdaBoostClassifier
from sklearn.tree import DecisionTreeClassifier

from papers.understanding_ml.boosting import (
    Stump,
    adaboost,
    best_stump,
    exponential_bound,
    predict,
    product_bound,
    votes,
)

rng = np.random.default_rng
PROBLEMS = st.tuples(st.integers(2, 9), st.integers(1, 3)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.integers(-3, 3)),
        hnp.arrays(np.int64, shape[0], elements=st.sampled_from((-1, 1))).filter(lambda y: abs(y.sum()) < len(y)),
        hnp.arrays(np.float64, shape[0], elements=st.integers(1, 20)),
    )
)


def every_stump(X: np.ndarray) -> list[Stump]:
    """All stumps that differ on X, one by one."""
    stumps = []
    for j in range(X.shape[1]):
        values = np.unique(X[:, j])
        for threshold in (-np.inf, *(values[1:] + values[:-1]) / 2):
            stumps += [Stump(j, float(threshold), -1), Stump(j, float(threshold), 1)]
    return stumps


class BruteForceStump(ClassifierMixin, BaseEstimator):
    """The stump of least weighted error, by trying them all: scikit-learn's own minimises the Gini index instead."""

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> "BruteForceStump":
        self.classes_ = np.unique(y)
        errors = [(stump, sample_weight[stump(X) != y].sum()) for stump in every_stump(X)]
        self.stump_ = min(errors, key=lambda pair: pair[1])[0]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.stump_(X)


def noisy(m: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X = rng(seed).standard_normal((m, d))
    return X, np.where(X.sum(axis=1) + rng(seed + 1).standard_normal(m) > 0, 1, -1)


@given(PROBLEMS)
def test_no_stump_is_better_than_the_best(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    X, y, weights = problem
    D = weights / weights.sum()
    ours = best_stump(X, y, D)
    least = min(D[stump(X) != y].sum() for stump in every_stump(X))
    assert D[ours(X) != y].sum() == pytest.approx(least, abs=1e-12)
    assert ours in every_stump(X)


def test_the_threshold_separates_neighbours_in_floating_point() -> None:
    for a in (1.0, 0.3, 5e-324, -5e-324, -1.7e308):
        X = np.array([[a], [np.nextafter(a, np.inf)]])
        np.testing.assert_array_equal(best_stump(X, np.array([-1, 1]), np.full(2, 0.5))(X), [-1, 1])
    X = np.array([[-1.7e308], [1.7e308]])
    assert best_stump(X, np.array([1, -1]), np.full(2, 0.5)) == Stump(0, 0.0, 1)


def test_of_equal_stumps_the_first_feature_and_the_lowest_threshold() -> None:
    X = np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]])
    assert best_stump(X[:, 1:], np.array([1, -1, 1]), np.array([0.25, 0.5, 0.25])) == Stump(0, 0.5, 1)


def test_rounds_are_scikit_learns_with_the_same_weak_learner() -> None:
    (X, y), (X_new, _) = noisy(60, 3), noisy(500, 3, seed=5)
    theirs = AdaBoostClassifier(BruteForceStump(), n_estimators=30).fit(X, y)
    ours = list(adaboost(X, y, 30))
    np.testing.assert_allclose(theirs.estimator_errors_, [r.error for r in ours], rtol=1e-9)
    np.testing.assert_allclose(theirs.estimator_weights_, [2 * r.w for r in ours], rtol=1e-9)  # SAMME's are twice
    np.testing.assert_array_equal(theirs.predict(X_new), predict(ours, X_new))
    for t, staged in enumerate(theirs.staged_predict(X), start=1):
        np.testing.assert_array_equal(staged, predict(ours[:t], X))


def test_rounds_are_scikit_learns_with_its_own_stumps_where_gini_chooses_the_same() -> None:
    draw = rng(3)  # for a third of the seeds, all 20 choices are the same
    X = draw.integers(0, 2, (200, 6)).astype(float)
    y = np.where(X @ np.array([3, 2, 2, 1, 1, 1]) + draw.standard_normal(200) > 5, 1, -1)
    theirs = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=20, random_state=0).fit(X, y)
    ours = list(adaboost(X, y, 20))
    assert [r.stump.feature for r in ours] == [tree.tree_.feature[0] for tree in theirs.estimators_]
    np.testing.assert_allclose(theirs.estimator_weights_, [2 * r.w for r in ours], rtol=1e-9)
    every_x = np.array(list(np.ndindex((2,) * 6)), float)
    np.testing.assert_array_equal(theirs.predict(every_x), predict(ours, every_x))


@given(PROBLEMS)
def test_the_bounds_of_the_theorem(problem: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    X, y, _ = problem
    rounds = list(adaboost(X, y, 25))
    errors = np.array([r.error for r in rounds])
    f = votes(rounds, X).cumsum(axis=0)
    training = (y * f <= 0).mean(axis=1)
    assert (training <= product_bound(errors) * (1 + 1e-9)).all()
    assert (product_bound(errors) <= exponential_bound(errors) * (1 + 1e-9)).all()
    if errors.all():  # a perfect stump has no logarithm
        np.testing.assert_allclose(np.exp(-y * f).mean(axis=1), product_bound(errors), rtol=1e-9)
    for r, following in pairwise(rounds):
        assert following.D.sum() == pytest.approx(1, abs=1e-12)
        assert following.D[r.stump(X) != y].sum() == pytest.approx(1 / 2, abs=1e-12)
        assert following.stump != r.stump


def test_bounds_by_hand() -> None:
    errors = np.array([0.1, 0.4, 0.2])
    np.testing.assert_allclose(product_bound(errors), [0.6, 0.6 * 0.96**0.5 * 1, 0.6 * 0.96**0.5 * 0.8])
    np.testing.assert_allclose(exponential_bound(errors), np.exp([-0.32, -0.04, -0.06]))


def test_three_equal_pieces_take_three_stumps() -> None:
    X, y = np.arange(30.0)[:, None], np.repeat([1, -1, 1], 10)
    rounds = list(adaboost(X, y, 3))
    np.testing.assert_allclose([r.error for r in rounds], [1 / 3, 1 / 4, 1 / 6])
    np.testing.assert_allclose([r.w for r in rounds], np.log([2, 3, 5]) / 2)
    assert (predict(rounds[:2], X) != y).mean() == pytest.approx(1 / 3)
    np.testing.assert_array_equal(predict(rounds, X), y)


@given(hnp.arrays(np.float64, 9, elements=st.floats(0, 1)).filter(lambda D: D.sum() > 0.1))
def test_three_pieces_leave_some_stump_an_edge_of_a_sixth(weights: np.ndarray) -> None:
    X, y, D = np.arange(9.0)[:, None], np.repeat([-1, 1, -1], 3), weights / weights.sum()
    assert D[best_stump(X, y, D)(X) != y].sum() <= 1 / 3 + 1e-12


def test_a_perfect_stump_ends_it() -> None:
    X, _ = noisy(20, 2)
    (only,) = adaboost(X, np.where(X[:, 1] > 0.2, 1, -1), 10)
    assert (only.w, only.error, only.stump.feature, only.stump.sign) == (1, 0, 1, -1)


def test_constant_columns_leave_the_majority_and_then_chance() -> None:
    X, y = np.ones((5, 2)), np.array([1, -1, -1, -1, 1])
    (only,) = adaboost(X, y, 10)
    assert only.stump == Stump(0, -np.inf, 1)
    assert only.error == pytest.approx(2 / 5)
    np.testing.assert_array_equal(predict([only], X), -np.ones(5))
    X = np.column_stack([X, [0, 1, 1, 1, 0]])
    assert [r.stump.feature for r in adaboost(X, y, 10)] == [2]


def test_equal_rows_with_different_labels_are_never_told_apart() -> None:
    X = np.array([[0.0], [0], [1], [1], [1]])
    y = np.array([1, -1, 1, 1, -1])
    rounds = list(adaboost(X, y, 50))
    assert len(rounds) < 50
    assert len(set(predict(rounds, X)[:2])) == len(set(predict(rounds, X)[2:])) == 1


def test_nothing_better_than_chance_is_no_stump_and_the_answer_plus_1() -> None:
    xor = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    rounds = list(adaboost(xor, np.array([1, -1, -1, 1]), 10))
    assert rounds == []
    assert votes(rounds, xor).shape == (0, 4)
    np.testing.assert_array_equal(predict(rounds, xor), np.ones(4))


def test_inputs_are_not_changed() -> None:
    X, y = noisy(20, 2)
    X.flags.writeable = y.flags.writeable = False
    assert len(list(adaboost(X, y, 5))) == 5


X, Y = noisy(4, 2)[0], np.array([1, -1, 1, -1])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X * [np.nan, 1], Y, "X and y must be finite"),
        (X, np.array([0, 1, 0, 1]), r"labels must be -1 or \+1; got 0, 1"),
        (X, np.array([1, -1, 1, np.nan]), r"labels must be -1 or \+1; got -1.0, 1.0, nan"),
        (X, np.ones(4), "all labels are 1.0: a classifier needs examples of both classes"),
        (X, np.array([1, -1]), r"X must be \(m, d\) and y \(m,\)"),
        (X[:, 0], Y, r"X must be \(m, d\) and y \(m,\)"),
        (X[:0], np.ones(0), r"X must be \(m, d\) and y \(m,\), with m and d at least 1"),
    ],
)
def test_bad_examples_are_refused_at_the_call(X: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adaboost(X, y, 5)
    with pytest.raises(ValueError, match=message):
        best_stump(X, y, np.full(len(y), 1 / max(len(y), 1)))


@pytest.mark.parametrize("T", [0, -3])
def test_no_rounds(T: int) -> None:
    with pytest.raises(ValueError, match=f"T={T}: needs at least one round"):
        adaboost(X, Y, T)


@pytest.mark.parametrize("D", [np.ones(4), np.array([1.5, -0.5, 0, 0]), np.full(3, 1 / 3), np.full(4, np.nan)])
def test_weights_that_are_no_distribution(D: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"D must be \(4,\), not negative, with sum 1"):
        best_stump(X, Y, D)


def test_new_examples_of_another_shape() -> None:
    rounds = list(adaboost(X[:, ::-1] * [0, 1], np.where(X[:, 0] > X[:, 0].mean(), 1, -1), 3))
    assert {r.stump.feature for r in rounds} == {1}
    with pytest.raises(ValueError, match="X has 1 features, fewer than"):
        predict(rounds, X[:, :1])
    with pytest.raises(ValueError, match=r"X must be \(n, d\) and finite, got \(4,\)"):
        predict(rounds, X[:, 0])
    with pytest.raises(ValueError, match="and finite"):
        predict(rounds, X * np.nan)

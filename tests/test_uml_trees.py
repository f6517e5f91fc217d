"""Decision trees and random forests against scikit-learn, an exhaustive search, and their own statements."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from papers.understanding_ml import breiman, forests, trees
from papers.understanding_ml.trees import Limits, Tree, classification_tree, entropy, gini, regression_tree

EXERCISE_X = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
EXERCISE_Y = np.array([1, 1, 0, 0])


def float32(X: np.ndarray) -> np.ndarray:
    """The numbers as scikit-learn sees them."""
    return X.astype(np.float32).astype(np.float64)


def preorder(tree: Tree, v: int = 0) -> list[int]:
    """Our nodes in the order in which scikit-learn numbers its own."""
    if tree.feature[v] < 0:
        return [v]
    return [v, *preorder(tree, tree.child[v]), *preorder(tree, tree.child[v] + 1)]


def same_structure(ours: Tree, theirs: DecisionTreeClassifier | DecisionTreeRegressor) -> None:
    nodes = preorder(ours)
    inner = theirs.tree_.children_left >= 0
    np.testing.assert_array_equal(ours.feature[nodes], np.where(inner, theirs.tree_.feature, -1))
    np.testing.assert_array_equal(ours.threshold[nodes][inner], theirs.tree_.threshold[inner])
    np.testing.assert_allclose(ours.n[nodes], theirs.tree_.weighted_n_node_samples, rtol=1e-12)
    np.testing.assert_allclose(ours.importances(), theirs.feature_importances_, rtol=1e-9)


def classes_of(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.digitize(X[:, 0] * X[:, 1] + 0.5 * rng.standard_normal(len(X)), [-0.4, 0.4])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("criterion", "name"), [(gini, "gini"), (entropy, "entropy")])
@pytest.mark.parametrize(
    "limits", [Limits(max_depth=3), Limits(min_split=60, min_leaf=10), Limits(max_depth=6, min_leaf=15)]
)
def test_classification_tree_is_scikit_learns(criterion: trees.Impurity, name: str, limits: Limits, seed: int) -> None:
    """No two splits have the same gain: weights are random, leaves large and so never the same for two features."""
    rng = np.random.default_rng(seed)
    X = float32(rng.standard_normal((400, 5)))
    y, weights = classes_of(X, rng), rng.uniform(0.5, 1.5, 400)
    ours = classification_tree(X, y, criterion, limits, weights)
    theirs = DecisionTreeClassifier(
        criterion=name,
        max_depth=limits.max_depth,
        min_samples_split=limits.min_split,
        min_samples_leaf=limits.min_leaf,
        random_state=seed,
    ).fit(X, y, weights)
    same_structure(ours, theirs)
    query = float32(rng.standard_normal((1000, 5)))
    np.testing.assert_array_equal(ours.predict(query), theirs.predict(query))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "limits", [Limits(max_depth=3, min_leaf=5), Limits(min_split=30, min_leaf=5), Limits(max_depth=9, min_leaf=7)]
)
def test_regression_tree_is_scikit_learns(limits: Limits, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = float32(rng.standard_normal((300, 4)))
    y = 1 + np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(300)
    ours = regression_tree(X, y, limits)
    theirs = DecisionTreeRegressor(
        max_depth=limits.max_depth,
        min_samples_split=limits.min_split,
        min_samples_leaf=limits.min_leaf,
        random_state=seed,
    ).fit(X, y)
    same_structure(ours, theirs)
    query = float32(rng.standard_normal((1000, 4)))
    np.testing.assert_allclose(ours.predict(query), theirs.predict(query), rtol=1e-12)


def test_numbers_far_from_zero_keep_their_tree() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = np.round(1024 * (X[:, 0] + rng.standard_normal(200))) / 1024  # exact after the shift too
    near, far = (regression_tree(X, y + shift, Limits(min_leaf=5)) for shift in (0.0, 2.0**40))
    np.testing.assert_array_equal(near.threshold, far.threshold)
    np.testing.assert_allclose(far.output - 2.0**40, near.output, atol=2e-4)  # floats there are 2^-12 apart


def test_weights_count_examples() -> None:
    rng = np.random.default_rng(0)
    X, drawn = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    y, query = classes_of(X, rng), rng.standard_normal((500, 3))
    weighted = classification_tree(X, y, weights=drawn.astype(float))
    repeated = classification_tree(np.repeat(X, drawn, axis=0), np.repeat(y, drawn))
    np.testing.assert_array_equal(weighted.predict(query), repeated.predict(query))
    assert weighted.n[0] == repeated.n[0] == drawn.sum()


def all_trees(depth: int, d: int) -> list[Callable[[np.ndarray], int]]:
    """Every decision tree on {0, 1}^d with at most ``depth`` questions on a path."""
    stumps: list[Callable[[np.ndarray], int]] = [lambda x: 0, lambda x: 1]
    if depth == 0:
        return stumps
    below = all_trees(depth - 1, d)
    return stumps + [
        lambda x, f=f, no=no, yes=yes: yes(x) if x[f] else no(x)  # type: ignore[misc]
        for f, no, yes in product(range(d), below, below)
    ]


def error(tree: Callable[[np.ndarray], int]) -> float:
    return float(np.mean([tree(x) != y for x, y in zip(EXERCISE_X, EXERCISE_Y, strict=True)]))


def test_exercise_18_2() -> None:
    """ID3 asks x1 first, the only feature with a gain, and is stuck; x2 first and then x3 makes no error."""
    id3 = classification_tree(EXERCISE_X, EXERCISE_Y, entropy, Limits(max_depth=2))
    assert id3.feature[0] == 0
    assert np.mean(id3.predict(EXERCISE_X) != EXERCISE_Y) == 0.25
    candidates = all_trees(2, 3)
    assert len(candidates) == 2 + 3 * 14**2
    assert min(map(error, candidates)) == 0
    assert min(error(lambda x, t=t: t(x)) for t in all_trees(1, 3)) == 0.25  # type: ignore[misc]
    assert np.mean(classification_tree(EXERCISE_X, EXERCISE_Y, entropy).predict(EXERCISE_X) != EXERCISE_Y) == 0


@pytest.mark.parametrize("criterion", [gini, entropy])
def test_a_split_without_gain_is_made(criterion: trees.Impurity) -> None:
    X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    tree = classification_tree(X, np.array([0, 1, 1, 0]), criterion)
    np.testing.assert_array_equal(tree.predict(X), [0, 1, 1, 0])
    np.testing.assert_allclose(tree.gain[0], 0, atol=1e-15)
    assert len(tree) == 7


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 4), st.sampled_from([gini, entropy]))
def test_a_full_tree_errs_on_contradictions_only(seed: int, m: int, d: int, criterion: trees.Impurity) -> None:
    """Rows of few values: many duplicates, constant columns, one class, m < d."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(0, 3, (m, d)), rng.integers(0, 3, m)
    tree = classification_tree(X, y, criterion)
    _, group = np.unique(X, axis=0, return_inverse=True)
    majority = np.array([np.bincount(y[group.ravel() == g]).argmax() for g in group.ravel()])
    np.testing.assert_array_equal(tree.predict(X), majority)
    assert (tree.gain[tree.inner] > -1e-9).all()
    varying = np.flatnonzero(np.ptp(X, axis=0))
    assert np.isin(tree.feature[tree.inner], varying).all()
    assert len(tree) == 2 * len(tree.inner) + 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(0, 5), st.integers(2, 9), st.integers(1, 6))
def test_limits_hold(seed: int, m: int, max_depth: int, min_split: int, min_leaf: int) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((m, 3)), rng.integers(0, 2, m)
    tree = classification_tree(X, y, limits=Limits(max_depth, min_split, min_leaf, max_features=2), rng=rng)
    assert tree.height <= max_depth
    assert (tree.n[tree.inner] >= min_split).all()
    assert tree.n[tree.feature < 0].min() >= min(min_leaf, m)
    np.testing.assert_array_equal(np.bincount(tree.apply(X), minlength=len(tree))[tree.feature < 0].sum(), m)
    for v in tree.inner:
        assert tree.n[v] == tree.n[tree.child[v]] + tree.n[tree.child[v] + 1]


def test_gains_add_up_to_the_fall_of_the_impurity() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 3))
    y = X[:, 0] ** 2 + rng.standard_normal(80)
    tree = regression_tree(X, y, Limits(max_depth=4))
    squares = np.sum((y - y.mean()) ** 2) - np.sum((y - tree.predict(X)) ** 2)
    np.testing.assert_allclose(tree.gain.sum(), squares)


def test_gini_is_the_variance_of_one_hot_labels() -> None:
    label = np.array([0, 0, 1, 2, 2, 2])
    moments = trees.one_hot(label, 3)
    onehot = moments[1:]
    np.testing.assert_allclose(
        gini(moments[0].sum(), moments[1:].sum(1)), ((onehot - onehot.mean(1, keepdims=True)) ** 2).sum()
    )
    p = np.array([2, 1, 3]) / 6
    np.testing.assert_allclose(entropy(moments[0].sum(), moments[1:].sum(1)), -6 * np.sum(p * np.log(p)))


def test_neighbouring_and_huge_numbers_are_split() -> None:
    for low, high in [(1.0, np.nextafter(1.0, 2)), (0.0, 5e-324), (-1.7e308, 1.7e308), (5e-324, 1e-323)]:
        X, y = np.array([[low], [high]]), np.array([0, 1])
        np.testing.assert_array_equal(classification_tree(X, y).predict(X), y)


def prunings(tree: Tree, v: int = 0) -> list[list[int]]:
    """Every set of inner nodes to cut at, none below another."""
    if tree.feature[v] < 0:
        return [[]]
    left, right = prunings(tree, tree.child[v]), prunings(tree, tree.child[v] + 1)
    return [[v]] + [a + b for a, b in product(left, right)]


@pytest.mark.parametrize("seed", range(8))
def test_no_pruning_errs_less_on_the_validation_set(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, V = rng.standard_normal((40, 2)), rng.standard_normal((30, 2))
    y, v = classes_of(X, rng), classes_of(V, rng)
    tree = classification_tree(X, y, limits=Limits(max_depth=4))
    pruned = trees.prune(tree, V, v)
    found = []
    for nodes in prunings(tree):
        cut = np.zeros(len(tree), bool)
        cut[nodes] = True
        other = trees.collapse(tree, cut)
        found.append((int(np.sum(other.predict(V) != v)), len(other)))
    assert len(found) > 10
    assert (int(np.sum(pruned.predict(V) != v)), len(pruned)) == min(found)
    np.testing.assert_array_equal(trees.prune(pruned, V, v).feature, pruned.feature)


def test_a_tree_cut_at_a_depth_is_the_tree_grown_to_it() -> None:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((100, 3))
    y = classes_of(X, rng)
    full, shallow = classification_tree(X, y), classification_tree(X, y, limits=Limits(max_depth=3))
    cut = trees.collapse(full, (full.depth == 3) & (full.feature >= 0))
    for name in ("feature", "threshold", "child", "depth", "n", "output", "gain"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(shallow, name))


def test_a_tree_pruned_by_its_own_training_set_keeps_its_training_error() -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((100, 3))
    y = classes_of(X, rng)
    np.testing.assert_array_equal(trees.prune(classification_tree(X, y), X, y).predict(X), y)


def test_bound_by_hand() -> None:
    assert trees.description_bound(7, 13, 500, 0.05) == pytest.approx(np.sqrt((8 * 4 + np.log(40)) / 1000))


def test_a_forest_is_as_good_as_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    X, y = breiman.ringnorm(300, rng)
    test = breiman.ringnorm(4000, rng)
    ours = forests.random_forest(X, y, rng)
    theirs = RandomForestClassifier(100, oob_score=True, random_state=0).fit(X, y)
    assert abs(np.mean(ours.predict(test[0]) == test[1]) - theirs.score(*test)) < 0.015
    assert abs(forests.out_of_bag_errors(ours, X, y)[-1] - (1 - theirs.oob_score_)) < 0.03
    assert np.mean([len(tree) for tree in ours.trees]) == pytest.approx(
        np.mean([tree.tree_.node_count for tree in theirs.estimators_]), rel=0.05
    )


def test_a_forest_of_all_features_and_no_draws_is_one_tree() -> None:
    rng = np.random.default_rng(4)
    X = rng.standard_normal((80, 4))
    y = classes_of(X, rng)
    grown = forests.random_forest(X, y, rng, trees=5, limits=Limits(max_features=4))
    for tree, drawn in zip(grown.trees, grown.drawn, strict=True):
        alone = classification_tree(X, y, weights=drawn.astype(float))
        np.testing.assert_array_equal(grown.classes[tree.predict(X)], alone.predict(X))
        assert drawn.sum() == 80
    by_hand = np.array([np.bincount(column, minlength=3).argmax() for column in grown.ballots(X).T])
    np.testing.assert_array_equal(grown.predict(X), by_hand)
    np.testing.assert_allclose(forests.errors(grown, X, y)[-1], np.mean(by_hand != y))


def test_out_of_bag_votes_leave_out_the_trees_that_saw_the_example() -> None:
    rng = np.random.default_rng(5)
    X, y = breiman.waveform(40, rng)
    grown = forests.random_forest(X, y, rng, trees=6)
    wrong = judged = 0
    for i in range(40):
        votes = [t.predict(X[i : i + 1])[0] for t, drawn in zip(grown.trees, grown.drawn, strict=True) if not drawn[i]]
        if votes:
            judged += 1
            wrong += np.bincount(votes, minlength=3).argmax() != y[i]
    assert forests.out_of_bag_errors(grown, X, y)[-1] == pytest.approx(wrong / judged)
    seen = replace(grown, drawn=np.ones_like(grown.drawn))
    assert np.isnan(forests.out_of_bag_errors(seen, X, y)).all()
    with pytest.raises(ValueError, match="no tree has out-of-bag examples"):
        forests.permutation_importances(seen, X, y, rng)


def test_importances_find_what_the_label_depends_on() -> None:
    rng = np.random.default_rng(6)
    X = rng.standard_normal((300, 6))
    y = np.sign(X[:, 2] + 1.5 * X[:, 4])
    grown = forests.random_forest(X, y, rng, trees=50)
    shuffled = forests.permutation_importances(grown, X, y, rng)
    for importances in (grown.importances(), shuffled):
        assert list(np.argsort(importances)[-2:]) == [2, 4]
    assert grown.importances().sum() == pytest.approx(1)
    assert np.abs(shuffled[[0, 1, 3, 5]]).max() < 0.03 < 0.1 < shuffled[2]


def test_drawn_features_vary_at_the_node() -> None:
    """One feature of many varies: it is found whatever is drawn."""
    X = np.zeros((20, 30))
    X[:, 17] = np.arange(20)
    y = (np.arange(20) > 8).astype(int)
    tree = classification_tree(X, y, limits=Limits(max_features=1), rng=np.random.default_rng(0))
    assert tree.feature.tolist() == [17, -1, -1]
    assert tree.threshold[0] == 8.5


def test_the_same_rng_gives_the_same_forest_and_arguments_stay_as_they_were() -> None:
    X, y = breiman.threenorm(60, np.random.default_rng(0))
    X.flags.writeable = y.flags.writeable = False
    a, b = (forests.random_forest(X, y, np.random.default_rng(7), trees=3) for _ in range(2))
    for one, other in zip(a.trees, b.trees, strict=True):
        np.testing.assert_array_equal(one.threshold, other.threshold)


def test_one_class_is_one_leaf_and_its_forest_agrees() -> None:
    X, y = np.random.default_rng(0).standard_normal((5, 8)), np.full(5, 3)
    tree = classification_tree(X, y)
    assert (len(tree), tree.height) == (1, 0)
    np.testing.assert_array_equal(tree.importances(), np.zeros(8))
    np.testing.assert_array_equal(tree.predict(X), y)
    grown = forests.random_forest(X, y, np.random.default_rng(0), trees=2)
    np.testing.assert_array_equal(grown.predict(X), y)
    np.testing.assert_array_equal(regression_tree(X, np.full(5, 0.1)).predict(X), np.full(5, 0.1))


def test_breimans_sets() -> None:
    """Moments of each class, and the Bayes rule: exact for twonorm, no other rule better for the rest."""
    rng = np.random.default_rng(0)
    for name, sample in breiman.SETS.items():
        X, y = sample(60_000, rng)
        assert X.shape == (60_000, 21 if name == "waveform" else 20)
        for c in np.unique(y):
            centres, scale = breiman._CENTRES[name][int(c)]
            assert np.mean(y == c) == pytest.approx(1 / len(breiman._CENTRES[name]), abs=0.01)
            np.testing.assert_allclose(X[y == c].mean(0), centres.mean(0), atol=0.06)
            covariance = scale**2 * np.eye(X.shape[1]) + np.cov(centres.T, bias=True) if len(centres) > 1 else scale**2
            np.testing.assert_allclose(X[y == c].var(0), np.diag(covariance * np.eye(X.shape[1])), rtol=0.06)
    X, y = breiman.twonorm(60_000, rng)
    np.testing.assert_array_equal(breiman.bayes("twonorm", X), np.sign(X.sum(1)))
    phi = 0.0227501319  # Phi(-2)
    assert np.mean(breiman.bayes("twonorm", X) != y) == pytest.approx(phi, abs=4 * np.sqrt(phi / 60_000))
    for name, sample in breiman.SETS.items():
        X, y = sample(3000, rng)
        grown = forests.random_forest(*sample(300, rng), rng, trees=20)
        assert np.mean(breiman.bayes(name, X) != y) < np.mean(grown.predict(X) != y)


GOOD_X, GOOD_Y = np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1])


@pytest.mark.parametrize("fit", [classification_tree, regression_tree])
def test_bad_examples(fit: Callable[..., Tree]) -> None:
    for X, y in [(GOOD_X, GOOD_Y[:3]), (GOOD_X[0], GOOD_Y), (GOOD_X[:0], GOOD_Y[:0]), (GOOD_X[:, :0], GOOD_Y)]:
        with pytest.raises(ValueError, match=r"X must be \(m, d\) and y \(m,\)"):
            fit(X, y)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="must be finite"):
            fit(np.where(GOOD_X == 3, bad, GOOD_X), GOOD_Y)
        with pytest.raises(ValueError, match="must be finite"):
            fit(GOOD_X, np.array([0, 1, bad, 1]))
    for weights in (np.ones(3), np.array([1, 1, -1, 1.0]), np.zeros(4), np.array([1, 1, np.nan, 1])):
        with pytest.raises(ValueError, match="weights must be 4 finite numbers, none negative and not all 0"):
            fit(GOOD_X, GOOD_Y, weights=weights)
    with pytest.raises(ValueError, match="max_features=1 of 2 features are drawn at each node: pass rng"):
        fit(GOOD_X, GOOD_Y, limits=Limits(max_features=1))


@pytest.mark.parametrize(("name", "value"), [("max_depth", -1), ("min_split", 1), ("min_leaf", 0), ("max_features", 0)])
def test_impossible_limits(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: must be at least {value + 1}"):
        Limits(**{name: value})


def test_bad_queries_and_other_arguments() -> None:
    tree = classification_tree(GOOD_X, GOOD_Y)
    for X in (GOOD_X[0], GOOD_X[:, :1], np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match=r"X must be \(q, 2\) like the training examples, all finite"):
            tree.predict(X)
    assert tree.predict(GOOD_X[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"X must be \(q, 2\)"):
        trees.prune(tree, np.ones((4, 3)), GOOD_Y)
    with pytest.raises(ValueError, match=r"X must be \(m, d\) and y \(m,\)"):
        trees.prune(tree, GOOD_X, GOOD_Y[:2])
    for trees_asked in (0, -1):
        with pytest.raises(ValueError, match=f"trees={trees_asked}: must be at least 1"):
            forests.random_forest(GOOD_X, GOOD_Y, np.random.default_rng(0), trees=trees_asked)
    grown = forests.random_forest(GOOD_X, GOOD_Y, np.random.default_rng(0), trees=2)
    with pytest.raises(ValueError, match="the forest was grown on 4 examples, got 3: pass its training set"):
        forests.out_of_bag_errors(grown, GOOD_X[:3], GOOD_Y[:3])
    for arguments in ((0, 3, 10, 0.1), (3, 3, 0, 0.1), (3, 3, 10, 0.0), (3, 3, 10, 1.0)):
        with pytest.raises(ValueError, match="must be at least 1, delta="):
            trees.description_bound(*arguments)
    for sample in breiman.SETS.values():
        with pytest.raises(ValueError, match="m=0: must be at least 1"):
            sample(0, np.random.default_rng(0))

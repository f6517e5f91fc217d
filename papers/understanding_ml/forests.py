"""Random forests: trees of bootstrap samples that draw the features of each split, and vote: section 18.3."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from papers.understanding_ml.linear_regression import check
from papers.understanding_ml.trees import Columns, Impurity, Limits, Tree, gini, grow, one_hot
from shared.tree import Array


@dataclass(frozen=True)
class Forest:
    """Trees that answer the number of a class, the classes (c,), and how often each tree drew each example (B, m)."""

    trees: tuple[Tree, ...]
    classes: Array
    drawn: Array

    def ballots(self, X: Array) -> Array:
        """(B, q): the number of the class that each tree votes for, at the rows of X (q, d)."""
        return np.stack([tree.predict(X) for tree in self.trees])

    def predict(self, X: Array) -> Array:
        """The labels (q,) with the most votes, of equals the smallest."""
        return self.classes[count(self.ballots(X), len(self.classes))[-1].argmax(-1)]

    def importances(self) -> Array:
        """(d,): the mean over the trees of each feature's share in what their splits took from the impurity."""
        return np.mean([tree.importances() for tree in self.trees], axis=0)


def random_forest(
    X: Array,
    y: Array,
    rng: np.random.Generator,
    trees: int = 100,
    criterion: Impurity = gini,
    limits: Limits | None = None,
) -> Forest:
    """A forest for the labels y (m,): each tree on m draws with replacement, sqrt(d) features drawn at each node.

    If trees err with variance s^2 and correlation r, their mean has variance r s^2 + (1 - r) s^2 / B: B takes care of
    the second term, and the draws of examples and features lower r. An example drawn k times is an example of weight k.
    Another number of features is ``limits.max_features``. ValueError: shapes, NaN, fewer than one tree.
    """
    check(X, y)
    if trees < 1:
        raise ValueError(f"trees={trees}: must be at least 1")
    limits = limits or Limits()
    if limits.max_features is None:
        limits = replace(limits, max_features=int(np.sqrt(X.shape[1])))
    classes, label = np.unique(y, return_inverse=True)
    columns, moments = Columns.of(X), one_hot(label, len(classes))
    drawn = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), trees)
    grown = (grow(columns, label, weights * moments, criterion, limits, rng) for weights in drawn)
    return Forest(tuple(replace(tree, output=tree.output.argmax(0)) for tree in grown), classes, drawn)


def count(ballots: Array, classes: int, counted: Array | bool = True) -> Array:
    """(B, q, classes): the votes of the first 1, 2, ..., B trees, of the ballots (B, q) that are ``counted`` (B, q)."""
    votes = (ballots[..., None] == np.arange(classes)) & np.asarray(counted)[..., None]
    return np.cumsum(votes, axis=0)


def errors(forest: Forest, X: Array, y: Array) -> Array:
    """(B,): the share of the rows of X that the first 1, 2, ..., B trees get wrong."""
    votes = count(forest.ballots(X), len(forest.classes))
    return np.mean(forest.classes[votes.argmax(-1)] != y, axis=1)


def out_of_bag_errors(forest: Forest, X: Array, y: Array) -> Array:
    """(B,): as ``errors`` on the training set, where a tree votes only on the examples that it has not drawn.

    A tree misses an example with chance (1 - 1/m)^m, near 1/e: each is judged by some B/e trees, with no test set.
    Examples that every tree has drawn are left out; NaN where all are. ValueError: X is not the training set.
    """
    _training(forest, X, y)
    votes = count(forest.ballots(X), len(forest.classes), forest.drawn == 0)
    judged = votes.any(axis=-1)
    wrong = judged & (forest.classes[votes.argmax(-1)] != y)
    total = judged.sum(axis=1)
    return np.where(total, wrong.sum(axis=1) / np.maximum(total, 1), np.nan)


def permutation_importances(forest: Forest, X: Array, y: Array, rng: np.random.Generator) -> Array:
    """(d,): by how much a tree's error on its out-of-bag examples rises when a feature is shuffled among them, in mean.

    Shuffling breaks what ties the feature to y and to the other features, and keeps its distribution. Trees that drew
    every example do not count; ValueError where all did, or X is not the training set.
    """
    _training(forest, X, y)
    rises = list(_rises(forest, X, y, rng))
    if not rises:
        raise ValueError("no tree has out-of-bag examples: grow more trees, on more examples")
    return np.mean(rises, axis=0)


def _rises(forest: Forest, X: Array, y: Array, rng: np.random.Generator) -> Iterator[Array]:
    for tree, drawn in zip(forest.trees, forest.drawn, strict=True):
        out = drawn == 0
        if not out.any():
            continue
        right = forest.classes[tree.predict(X[out])] == y[out]
        rise = np.zeros(tree.d)
        for feature in np.unique(tree.feature[tree.inner]):
            shuffled = X[out]
            shuffled[:, feature] = rng.permutation(shuffled[:, feature])
            rise[feature] = np.mean(right) - np.mean(forest.classes[tree.predict(shuffled)] == y[out])
        yield rise


def _training(forest: Forest, X: Array, y: Array) -> None:
    check(X, y)
    if len(y) != forest.drawn.shape[1]:
        raise ValueError(
            f"the forest was grown on {forest.drawn.shape[1]} examples, got {len(y)}: pass its training set"
        )

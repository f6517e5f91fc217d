"""k-means: Lloyd's iteration and two ways to start it. Chapter 22 of the book.

X (m, d) has one point a row, centres (k, d) one centre mu_j a row; labels (m,) in 0 .. k - 1 say in whose cluster each
point is. The objective is G(mu) = sum_i min_j |x_i - mu_j|^2.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from shared.tree import Array

Seeding = Callable[[Array, int, np.random.Generator], Array]


class Clustering(NamedTuple):
    """The end of Lloyd's iteration: centres (k, d), labels (m,); G at its start and after each step: (steps + 1,)."""

    centres: Array
    labels: Array
    objectives: Array


def check(X: Array, k: int) -> None:
    """ValueError unless X is (m, d), finite, and has at least k >= 1 distinct points."""
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must be (m, d), with m and d at least 1; got {X.shape}")
    if not np.isfinite(X).all():
        raise ValueError("X must be finite: drop or fill the missing values first")
    if k < 1:
        raise ValueError(f"k={k}: must be at least 1")
    # A column with k values settles it, as a rule, and rows take much longer to sort.
    if all(len(np.unique(column)) < k for column in X.T) and (distinct := len(np.unique(X, axis=0))) < k:
        raise ValueError(f"k={k}: must be at most the number of distinct points, {distinct}")


def nearest(X: Array, centres: Array) -> Array:
    """The label (m,) of the nearest of the centres (k, d), the first of them where several are.

    |x - mu_j|^2 = |x|^2 - 2 <x, mu_j> + |mu_j|^2, and |x|^2 is the same for all j: one matrix product. The terms cancel
    where the points are far from the origin, compared with their distances: shift them to it first.
    """
    scores = X @ (-2 * centres.T)
    scores += (centres**2).sum(1)
    return np.argmin(scores, axis=1)


def objective(X: Array, centres: Array, labels: Array) -> float:
    """sum_i |x_i - mu_{labels_i}|^2, which is G where the labels are those of the nearest centres."""
    residual = centres.astype(float, copy=False).take(labels, axis=0)
    residual -= X
    return float(np.vdot(residual, residual))


def fill(X: Array, centres: Array, labels: Array) -> Array:
    """Labels (m,) without empty clusters, at a lower cost: an empty one gets the point farthest from its centre.

    The point comes from a cluster that has others. While one of k clusters is empty, some cluster holds two of the k
    distinct points, and one of the two is not at the centre: with a centre of its own it costs nothing.
    """
    counts = np.bincount(labels, minlength=len(centres))
    if counts.all():
        return labels
    labels = labels.copy()
    distance = ((X - centres[labels]) ** 2).sum(1)
    for empty in np.flatnonzero(counts == 0):
        i = np.argmax(np.where(counts[labels] > 1, distance, -1))
        counts[labels[i]] -= 1
        counts[empty], labels[i], distance[i] = 1, empty, 0
    return labels


def means(X: Array, labels: Array, k: int) -> Array:
    """The mean (k, d) of each cluster: sum_{i in C_j} 2 (mu_j - x_i), the gradient of its cost, vanishes there."""
    members = (labels == np.arange(k)[:, None]).astype(float)
    return members @ X / members.sum(1, keepdims=True)


def lloyd(X: Array, centres: Array) -> Clustering:
    """Lloyd's iteration from the centres (k, d): means of the clusters, then nearest centres, until no label changes.

    Either step minimises sum_i |x_i - mu_{labels_i}|^2 in one of its two arguments, so G never rises; there are
    finitely many labellings and none comes back, so it ends. The end is a fixed point of both steps without empty
    clusters (``fill``), and need not be the minimum. It also stops where G is as good as constant and labels change by
    rounding. ValueError when X or the centres are not finite or do not fit, or X has fewer than k distinct points.
    """
    if centres.ndim != 2 or centres.shape[1:] != X.shape[1:] or not np.isfinite(centres).all():
        raise ValueError(f"centres must be finite and (k, d) with the d of X; got {centres.shape} for X {X.shape}")
    k = len(centres)
    check(X, k)
    origin = X.mean(0)
    X, centres = X - origin, centres - origin
    labels = nearest(X, centres)
    objectives = [objective(X, centres, labels)]
    while True:
        before = fill(X, centres, labels)
        centres = means(X, before, k)
        labels = nearest(X, centres)
        objectives.append(objective(X, centres, labels))
        if np.array_equal(labels, before) or objectives[-1] >= objectives[-2]:
            return Clustering(centres + origin, labels, np.array(objectives))


def uniform(X: Array, k: int, rng: np.random.Generator) -> Array:
    """Random seeding: k of the points (k, d), drawn without replacement. ValueError as in ``check``."""
    check(X, k)
    return X[rng.choice(len(X), k, replace=False)].astype(float)  # differences of unsigned integers wrap around


def plus_plus(X: Array, k: int, rng: np.random.Generator) -> Array:
    """k-means++ seeding: points (k, d), the first uniform, each next one x_i with probability D_i^2 / sum_l D_l^2.

    D_i is the distance from x_i to the nearest point chosen so far. E[G] of these centres is at most 8 (ln k + 2) times
    the minimum of G (Arthur and Vassilvitskii 2007). ValueError as in ``check``.
    """
    check(X, k)
    X = X.astype(float)
    chosen = [int(rng.integers(len(X)))]
    D2 = np.full(len(X), np.inf)
    while len(chosen) < k:
        D2 = np.minimum(D2, ((X - X[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(rng.choice(len(X), p=D2 / D2.sum())))
    return X[chosen]


def kmeans(X: Array, k: int, rng: np.random.Generator, seeding: Seeding = plus_plus, restarts: int = 10) -> Clustering:
    """The best of ``restarts`` runs of Lloyd's iteration, each from new seeds. ValueError as in ``check``."""
    if restarts < 1:
        raise ValueError(f"restarts={restarts}: must be at least 1")
    return min((lloyd(X, seeding(X, k, rng)) for _ in range(restarts)), key=lambda run: run.objectives[-1])


def purity(labels: Array, classes: Array) -> float:
    """The share of points whose class (m,), a label that k-means never saw, is the most common one in their cluster."""
    if labels.shape != classes.shape or labels.ndim != 1:
        raise ValueError(f"labels and classes must both be (m,); got {labels.shape} and {classes.shape}")
    (clusters, rows), (values, columns) = (np.unique(a, return_inverse=True) for a in (labels, classes))
    table = np.zeros((len(clusters), len(values)))
    np.add.at(table, (rows, columns), 1)
    return float(table.max(1).sum() / len(labels))

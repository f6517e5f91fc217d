"""Decision trees grown greedily from the root down, for classes and for numbers, and pruned: chapter 18 of the book.

X (m, d) has one example a row, y (m,) its labels. An inner node asks whether x_f <= threshold; yes is its left child.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from papers.understanding_ml.linear_regression import check
from shared.tree import Array

Impurity = Callable[[Array, Array], Array]  # n (...), S (c, ...) -> (...): a node's impurity times its examples


def gini(n: Array, S: Array) -> Array:
    """n (1 - sum_c p_c^2), p_c = S_c / n: n times the chance that two draws from the node have different labels.

    S_c is the number of examples of class c. Up to n it is ``variance`` of the one-hot labels.
    """
    return n + variance(n, S)


def entropy(n: Array, S: Array) -> Array:
    """-n sum_c p_c log p_c = n log n - sum_c S_c log S_c, in nats, 0 log 0 = 0: the criterion of ID3 and C4.5."""
    return _xlogx(n) - _xlogx(S).sum(0)


def variance(n: Array, S: Array) -> Array:
    """n Var(y) = sum y^2 - S^2 / n, S = sum y, without sum y^2: it is the same before and after any split."""
    return -(S**2).sum(0) / n


def _xlogx(x: Array) -> Array:
    return x * np.log(np.maximum(x, np.finfo(float).tiny))


@dataclass(frozen=True)
class Limits:
    """What holds a tree back: its depth, the examples that a split and a leaf need, the features drawn at each node.

    min_split and min_leaf count examples, whatever their weight. ValueError where a limit leaves no tree at all.
    """

    max_depth: int | None = None
    min_split: int = 2
    min_leaf: int = 1
    max_features: int | None = None

    def __post_init__(self) -> None:
        lowest = {"max_depth": 0, "min_split": 2, "min_leaf": 1, "max_features": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: must be at least {least}")


@dataclass(frozen=True)
class Tree:
    """Arrays over nodes, level by level from the root. The right child of v is child[v] + 1.

    A leaf has feature -1, threshold infinity and itself as its child, so that a walk that has arrived stays.
    ``output`` is what the node would answer as a leaf, ``gain`` by how much its split lowers n times the impurity.
    """

    d: int
    feature: Array
    threshold: Array
    child: Array
    depth: Array
    n: Array  # sum of the weights of its examples
    output: Array
    gain: Array

    def __len__(self) -> int:
        return len(self.feature)

    @property
    def height(self) -> int:
        """Questions on the longest path."""
        return int(self.depth[-1])

    @property
    def inner(self) -> Array:
        """The nodes that ask a question, parents before their children."""
        return np.flatnonzero(self.feature >= 0)

    def path(self, X: Array) -> Iterator[Array]:
        """The node (q,) of each row of X (q, d) after 0, 1, ..., height questions. ValueError: another d, or NaN."""
        if X.ndim != 2 or X.shape[1] != self.d or not np.isfinite(X).all():
            raise ValueError(f"X must be (q, {self.d}) like the training examples, all finite; got {X.shape}")
        row, node = np.arange(len(X)), np.zeros(len(X), np.intp)
        yield node
        for _ in range(self.height):
            node = self.child[node] + (X[row, self.feature[node]] > self.threshold[node])
            yield node

    def apply(self, X: Array) -> Array:
        """The leaf (q,) of each row of X (q, d)."""
        *_, leaf = self.path(X)
        return leaf

    def predict(self, X: Array) -> Array:
        """The labels (q,) of the rows of X (q, d)."""
        return self.output[self.apply(X)]

    def importances(self) -> Array:
        """(d,): the share of each feature in what all splits together took from the impurity. Zeros for a lone leaf."""
        gain = np.bincount(self.feature[self.inner], self.gain[self.inner], self.d)
        return gain / max(gain.sum(), np.finfo(float).tiny)


@dataclass(frozen=True)
class Columns:
    """The features (d, m) with each one sorted once, so that a level of a tree has only integers to sort.

    order (d, m) holds the examples by value, position (d, m) the place of each example in that order.
    """

    X: Array
    order: Array
    position: Array

    @classmethod
    def of(cls, X: Array) -> "Columns":
        """The columns of X (m, d)."""
        order = np.argsort(X.T, axis=1, kind="stable")
        return cls(np.ascontiguousarray(X.T), order, np.argsort(order, axis=1))


def classification_tree(
    X: Array,
    y: Array,
    criterion: Impurity = gini,
    limits: Limits | None = None,
    weights: Array | None = None,
    rng: np.random.Generator | None = None,
) -> Tree:
    """The greedy tree of labels y (m,), each node split where ``criterion`` (``gini`` or ``entropy``) falls most.

    With features in {0, 1} and entropy it is ID3. The tree answers by the majority of a leaf, of equals the smallest
    label: so do duplicate rows with different labels. A node is split even where nothing is gained by it: as XOR
    shows, the next level may gain. Constant features are never asked for. One class only gives a single leaf.
    ``weights`` (m,) count the examples; 0 leaves one out, and so does less than 1e-9 of the largest, which would drown
    in rounding errors. ``rng`` draws the features where ``limits.max_features`` is below d.
    ValueError: shapes, NaN, negative weights or none, features to draw and no rng.
    """
    check(X, y)
    classes, label = np.unique(y, return_inverse=True)
    weights = _weights(weights, len(y))
    tree = grow(Columns.of(X), label, weights * one_hot(label, len(classes)), criterion, limits or Limits(), rng)
    return replace(tree, output=classes[tree.output.argmax(0)])


def regression_tree(
    X: Array,
    y: Array,
    limits: Limits | None = None,
    weights: Array | None = None,
    rng: np.random.Generator | None = None,
) -> Tree:
    """The greedy tree of numbers y (m,), each node split where the squared error falls most; leaves answer their mean.

    The mean is the best constant, and its squared error is n Var(y). Arguments and errors as ``classification_tree``.
    """
    check(X, y)
    weights = _weights(weights, len(y))
    centre = np.average(y, weights=weights)  # S^2 / n of numbers far from 0 would lose the digits that differ
    tree = grow(Columns.of(X), y, weights * np.stack([np.ones(len(y)), y - centre]), variance, limits or Limits(), rng)
    return replace(tree, output=centre + tree.output[0] / tree.n)


def one_hot(label: Array, classes: int) -> Array:
    """The moments of classification, before weights: a row of ones and one of 0 and 1 for each class, (1 + c, m)."""
    return np.vstack([np.ones(len(label)), np.arange(classes)[:, None] == label])


def _weights(weights: Array | None, m: int) -> Array:
    if weights is None:
        return np.ones(m)
    if weights.shape != (m,) or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(f"weights must be {m} finite numbers, none negative and not all 0; got shape {weights.shape}")
    return np.where(weights < 1e-9 * weights.max(), 0, weights)


def grow(
    columns: Columns,
    y: Array,
    moments: Array,
    impurity: Impurity,
    limits: Limits,
    rng: np.random.Generator | None = None,
) -> Tree:
    """The tree whose ``output`` (c, nodes) is S of every node; ``moments`` (1 + c, m) are (n, S) of single examples.

    All nodes of a level are split at once, so that NumPy is called some sixty times a level and not a node. A node
    stays a leaf when its labels y (m,) are all the same, when a limit forbids the split, or when no feature varies.
    """
    rows = np.flatnonzero(moments[0])  # the examples of a level's nodes, node after node
    node = np.zeros(len(rows), np.intp)  # the node of each, counted from 0 in every level
    levels: list[tuple[Array, ...]] = []
    size = 0
    while len(rows):
        depth, starts = len(levels), _starts(node)
        n, S = np.split(np.add.reduceat(moments[:, rows], starts, axis=1), [1])
        feature, threshold, gain = np.full(len(starts), -1), np.full(len(starts), np.inf), np.zeros(len(starts))
        mixed = np.minimum.reduceat(y[rows], starts) < np.maximum.reduceat(y[rows], starts)
        mixed &= np.diff(starts, append=len(rows)) >= limits.min_split
        if mixed.any() and (limits.max_depth is None or depth < limits.max_depth):
            feature[mixed], threshold[mixed], gain[mixed] = _best_splits(
                columns, *_within(mixed, rows, node), moments, impurity, limits, rng
            )
        split = feature >= 0
        child = np.arange(size, size + len(starts))
        size += len(starts)
        child[split] = size + 2 * np.arange(np.count_nonzero(split))
        levels.append((feature, threshold, child, np.full(len(starts), depth), n[0], S, gain))

        rows, node = _within(split, rows, node)
        node = 2 * node + (columns.X[feature[split][node], rows] > threshold[split][node])
        by_child = np.argsort(node, kind="stable")
        rows, node = rows[by_child], node[by_child]
    return Tree(len(columns.X), *(np.concatenate(arrays, axis=-1) for arrays in zip(*levels, strict=True)))


def _starts(node: Array) -> Array:
    """Where each node's examples begin."""
    return np.flatnonzero(np.diff(node, prepend=-1))


def _within(kept: Array, rows: Array, node: Array) -> tuple[Array, Array]:
    """The examples of the kept nodes alone, and their nodes counted anew."""
    inside = kept[node]
    return rows[inside], (np.cumsum(kept) - 1)[node[inside]]


def _best_splits(
    columns: Columns,
    rows: Array,
    node: Array,
    moments: Array,
    impurity: Impurity,
    limits: Limits,
    rng: np.random.Generator | None,
) -> tuple[Array, Array, Array]:
    """Feature, threshold and gain of each node's best split; feature -1 where there is none.

    The key node * m + position sorts the examples by node and in it by value, k features of each node side by side:
    (k, N). Running sums along a row then hold (n, S) left of every cut at once; what is right of it is the rest.
    Of equal gains the first feature wins, and its lowest threshold.
    """
    m, N, starts = columns.X.shape[1], len(rows), _starts(node)
    candidates = _candidates(columns, rows, starts, limits.max_features, rng)[:, node]
    place = np.sort(node * m + columns.position[candidates, rows], axis=1) - node * m
    example = columns.order[candidates, place]
    value = columns.X[candidates, example]

    # A cut lies after an example if the next one is of the same node and of another value, and both leaves are large.
    before, after = np.arange(N) - starts[node], np.append(starts[1:], N)[node] - np.arange(N)
    large = np.minimum(before + 1, after - 1) >= limits.min_leaf
    cut = np.zeros(value.shape, bool)
    cut[:, :-1] = (value[:, :-1] < value[:, 1:]) & large[:-1]

    place = np.flatnonzero(cut)
    of = np.tile(node, len(cut))[place]
    total = np.add.reduceat(moments[:, rows], starts, axis=1)
    running = np.cumsum(moments[:, example], axis=2).reshape(len(moments), -1)
    left = running[:, place] - (np.cumsum(total, axis=1) - total)[:, of]
    right = total[:, of] - left
    gains = np.full(cut.shape, -np.inf)
    gains.flat[place] = impurity(total[0], total[1:])[of] - impurity(left[0], left[1:]) - impurity(right[0], right[1:])

    best = np.maximum.reduceat(gains, starts, axis=1)
    k, gain = best.argmax(0), best.max(0)
    equal = np.flatnonzero(gains[k[node], np.arange(N)] == gain[node])
    i = equal[np.searchsorted(equal, starts)]
    low, high = value[k, i], value[k, np.minimum(i + 1, N - 1)]
    middle = low / 2 + high / 2
    threshold = np.where((low <= middle) & (middle < high), middle, low)  # neighbouring floats have none between them
    found = np.isfinite(gain)
    return np.where(found, candidates[k, i], -1), np.where(found, threshold, np.inf), np.where(found, gain, 0)


def _candidates(columns: Columns, rows: Array, starts: Array, k: int | None, rng: np.random.Generator | None) -> Array:
    """(k, nodes): what each node may ask for. k below d features are drawn, first of those that vary in the node."""
    d = len(columns.X)
    if k is None or k >= d:
        return np.tile(np.arange(d)[:, None], len(starts))
    if rng is None:
        raise ValueError(f"max_features={k} of {d} features are drawn at each node: pass rng, a numpy Generator")
    values = columns.X[:, rows]
    varies = np.minimum.reduceat(values, starts, axis=1) < np.maximum.reduceat(values, starts, axis=1)
    return np.argsort(np.where(varies, rng.random(varies.shape), 2), axis=0)[:k]


def prune(tree: Tree, X: Array, y: Array) -> Tree:
    """Reduced-error pruning for classes: no other pruning of the tree errs less on the validation set X (v, d), y (v,).

    From the leaves up, a node becomes a leaf if its own majority errs at most as often, on the examples that reach it,
    as the best pruning of what is below. The errors of two subtrees add up, so the best of each is the best of both.
    ValueError: shapes, NaN, another number of features.
    """
    check(X, y)
    own = np.zeros(len(tree), int)  # errors of each node as a leaf
    for depth, node in enumerate(tree.path(X)):
        arrived = tree.depth[node] == depth
        own += np.bincount(node[arrived & (tree.output[node] != y)], minlength=len(tree))
    best, cut = own.copy(), np.zeros(len(tree), bool)
    for v in tree.inner[::-1]:
        below = best[tree.child[v]] + best[tree.child[v] + 1]
        cut[v] = own[v] <= below
        best[v] = min(own[v], below)
    return collapse(tree, cut)


def collapse(tree: Tree, cut: Array) -> Tree:
    """The tree with the nodes in ``cut`` (nodes,) made leaves, and without what was below them."""
    kept = np.zeros(len(tree), bool)
    kept[0] = True
    for v in tree.inner:
        kept[tree.child[v] : tree.child[v] + 2] = kept[v] & ~cut[v]
    number = np.cumsum(kept) - 1
    leaf = cut | (tree.feature < 0)
    return Tree(
        d=tree.d,
        feature=np.where(leaf, -1, tree.feature)[kept],
        threshold=np.where(leaf, np.inf, tree.threshold)[kept],
        child=number[np.where(leaf, np.arange(len(tree)), tree.child)[kept]],
        depth=tree.depth[kept],
        n=tree.n[kept],
        output=tree.output[kept],
        gain=np.where(leaf, 0, tree.gain)[kept],
    )


def description_bound(n: int, d: int, m: int, delta: float) -> float:
    r"""What L_D may exceed L_S by, for all trees of n nodes on d binary features at once, with chance 1 - delta (18.1).

    n nodes in preorder are n + 1 symbols (a feature, a leaf of either label, the end) of log2(d + 3) bits each. A
    prefix-free code gives the trees weights 2^-bits of sum at most 1; Hoeffding with delta 2^-bits for each, and the
    union bound, give sqrt((bits + log(2 / delta)) / (2 m)).
    """
    if min(n, d, m) < 1 or not 0 < delta < 1:
        raise ValueError(f"n={n}, d={d} and m={m} must be at least 1, delta={delta} above 0 and below 1")
    return float(np.sqrt(((n + 1) * np.log2(d + 3) + np.log(2 / delta)) / (2 * m)))

"""Study: where greedy growth fails, what depth and pruning do, the bound for small trees, and what a forest adds."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml import breiman
from papers.understanding_ml.forests import errors, out_of_bag_errors, random_forest
from papers.understanding_ml.neural_networks import moons
from papers.understanding_ml.study import Rows, Study, measured, repeats
from papers.understanding_ml.trees import (
    Limits,
    Tree,
    classification_tree,
    collapse,
    description_bound,
    entropy,
    prune,
)
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

EXERCISE_X = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 0, 1]])
EXERCISE_Y = np.array([1, 1, 0, 0])

DEPTHS = range(1, 13)
CUBE, FLIPPED, DELTA, M = 8, 0.1, 0.05, 500  # binary features, share of false labels, of samples that may fail; sample
TREES, COUNTS = 100, (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
TRAINING, TEST, NOISE = 300, 3000, 0.3  # moons, and the noise on them
SIDE = 150  # of the grid that shows regions
CORNERS = (-2.0, 3.0, -1.6, 2.1)


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the five parts, and the regions that the figure shows."""
    run.record(part="exercise", id3=exercise(), best=fewest_errors(EXERCISE_X, EXERCISE_Y, 2) / 4)
    trees = repeats(effort, TREES, least=10)
    regions(run, trees)
    depths(run, repeats(effort, 10))
    bound(run, repeats(effort, 20))
    sets(run, repeats(effort, 3, least=1), trees)


def exercise() -> float:
    """The training error of ID3 with two questions on the four points of Exercise 18.2."""
    tree = classification_tree(EXERCISE_X, EXERCISE_Y, entropy, Limits(max_depth=2))
    return float(np.mean(tree.predict(EXERCISE_X) != EXERCISE_Y))


def fewest_errors(X: Array, y: Array, depth: int) -> int:
    """Of all trees of binary features with ``depth`` questions on a path: a leaf, or the best of both sides of each."""
    fewest = len(y) - max(np.sum(y == c) for c in (0, 1))
    if depth == 0 or fewest == 0:
        return int(fewest)
    sides = [[fewest_errors(X[X[:, f] == b], y[X[:, f] == b], depth - 1) for b in (0, 1)] for f in range(X.shape[1])]
    return min(fewest, *map(sum, sides))


def regions(run: Run, trees: int) -> None:
    """What one tree and a forest answer on a grid of the plane."""
    X, y = moons(TRAINING, run.rng, NOISE)
    across, up = np.linspace(*CORNERS[:2], SIDE), np.linspace(*CORNERS[2:], SIDE)
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    one, many = classification_tree(X, y), random_forest(X, y, run.rng, trees)
    run.keep(X=X, y=y, one=one.predict(grid), many=many.predict(grid))


def cut_at(tree: Tree, depth: int) -> Tree:
    """The tree that growth stopped at ``depth`` would have given: what is decided above does not depend on it."""
    return collapse(tree, tree.depth == depth)


def wrong(tree: Tree, data: tuple[Array, Array]) -> float:
    return float(np.mean(tree.predict(data[0]) != data[1]))


def depths(run: Run, n: int) -> None:
    """Errors in per cent by depth, as grown and pruned on a validation set of 150, means over n samples.

    "pooled" is the rival with the same data: the tree that had the validation set to grow on.
    """
    table = np.zeros((len(DEPTHS), 7))
    for _ in range(n):
        training, validation, test = (moons(m, run.rng, NOISE) for m in (TRAINING, TRAINING // 2, TEST))
        full = classification_tree(*training)
        both = [np.concatenate(pair) for pair in zip(training, validation, strict=True)]
        pooled = classification_tree(both[0], both[1])
        for i, depth in enumerate(DEPTHS):
            grown = cut_at(full, depth)
            pruned = prune(grown, *validation)
            table[i] += [wrong(tree, data) for tree in (grown, pruned) for data in (training, validation, test)] + [
                wrong(cut_at(pooled, depth), test)
            ]
    names = [f"{kind}_{data}" for kind in ("grown", "pruned") for data in ("training", "validation", "test")]
    for depth, row in zip(DEPTHS, 100 * table / n, strict=True):
        run.record(part="depth", depth=depth, **dict(zip([*names, "pooled_test"], row, strict=True)))


def bound(run: Run, n: int) -> None:
    """L_S, L_D and the bound on it for ID3 by depth, means over n samples; L_D is exact, a sum over all of {0, 1}^8."""
    cube = (np.arange(2**CUBE)[:, None] >> np.arange(CUBE)) & 1

    def rule(X: Array) -> Array:
        return X[:, 0] & X[:, 1] | X[:, 2] & X[:, 3]

    for depth in range(CUBE + 1):
        rows = []
        for _ in range(n):
            X = run.rng.integers(0, 2, (M, CUBE))
            y = rule(X) ^ (run.rng.random(M) < FLIPPED)
            tree = classification_tree(X, y, entropy, Limits(max_depth=depth))
            L_S = wrong(tree, (X, y))
            L_D = FLIPPED + (1 - 2 * FLIPPED) * wrong(tree, (cube, rule(cube)))
            rows.append((L_S, L_D, L_S + description_bound(len(tree), CUBE, M, DELTA)))
        L_S, L_D, limit = np.transpose(rows)
        run.record(
            part="bound", depth=depth, L_S=L_S.mean(), L_D=L_D.mean(), bound=limit.mean(), excess=(L_D - limit).max()
        )


def sets(run: Run, n: int, trees: int) -> None:
    """On each of Breiman's sets the test errors of one tree, of a forest's trees alone and of the forest, and more."""
    for name, sample in breiman.SETS.items():
        total: dict[str, Array] = {}
        for _ in range(n):
            training, test = sample(TRAINING, run.rng), sample(TEST, run.rng)
            forest = random_forest(*training, run.rng, trees)
            alone = np.mean(forest.classes[forest.ballots(test[0])] != test[1])
            measured = {
                "tree": wrong(classification_tree(*training), test),
                "alone": alone,
                "forest": errors(forest, *test),
                "out_of_bag": out_of_bag_errors(forest, *training),
                "bayes": np.mean(breiman.bayes(name, test[0]) != test[1]),
            }
            total = {key: total.get(key, 0) + 100 * np.asarray(value) / n for key, value in measured.items()}
        curves = {key: total.pop(key) for key in ("forest", "out_of_bag")}
        last = {key: float(curve[-1]) for key, curve in curves.items()}
        run.record(part="sets", set=name, **{key: float(value) for key, value in total.items()}, **last)
        for count in COUNTS:
            if count <= trees:
                run.record(
                    part="count", set=name, trees=count, **{key: float(c[count - 1]) for key, c in curves.items()}
                )


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: regions of a tree and of a forest, depth; the bound, the number of trees, four sets."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        one, many, depth, limit, count, bars = figure.subplots(2, 3).flat
        show_regions(one, arrays, "one", "One tree, grown in full")
        show_regions(many, arrays, "many", "A forest")

        own = rows[rows["part"] == "depth"]
        for i, data in enumerate(("training", "validation", "test")):
            plot.band(depth, own, "depth", f"grown_{data}", color=f"C{i}", label=data)
            plot.band(depth, own, "depth", f"pruned_{data}", color=f"C{i}", ls="--", label=f"{data}, pruned")
        depth.set(xlabel="greatest depth", ylabel="error in %", ylim=(0, None), title="Depth, and pruning after it")
        depth.legend(fontsize=7, ncols=2)

        own = rows[rows["part"] == "bound"]
        plot.band(limit, own, "depth", "L_S", label="$L_S$: training error")
        plot.band(limit, own, "depth", "L_D", label="$L_D$: true error")
        by_depth = own.groupby("depth")["bound"].median()
        limit.plot(by_depth.index, by_depth, "k:", label="(18.1), $\\delta = 0.05$")
        limit.set(
            xlabel="greatest depth", ylabel="share of errors", ylim=(0, None), title="ID3 on $\\{0, 1\\}^8$, $m = 500$"
        )
        limit.legend()

        own = rows[(rows["part"] == "count") & (rows["set"] == "threenorm")]
        plot.band(count, own, "trees", "forest", label="test")
        plot.band(count, own, "trees", "out_of_bag", label="out of bag")
        count.set(xlabel="trees", ylabel="error in %", xscale="log", title="A forest on threenorm")
        count.legend()

        by_set = rows[rows["part"] == "sets"].groupby("set")[["tree", "alone", "forest", "bayes"]]
        middle, low, high = (by_set.agg(how).loc[list(breiman.SETS)] for how in ("median", "min", "max"))
        place = np.arange(len(middle))
        for i, (column, label) in enumerate(
            (("tree", "one tree"), ("alone", "a tree of the forest"), ("forest", "forest"))
        ):
            spread = [middle[column] - low[column], high[column] - middle[column]]
            bars.bar(place + 0.27 * (i - 1), middle[column], 0.25, yerr=spread, label=label, error_kw={"lw": 1})
        bars.hlines(middle["bayes"], place - 0.4, place + 0.4, "k", linestyles=":", label="best rule")
        bars.set_xticks(place, list(middle.index))
        bars.set(ylabel="test error in %", ylim=(0, 1.35 * float(high.max().max())), title="Breiman's sets")
        bars.legend(ncols=2, fontsize=8)
        plot.caption(
            figure,
            [
                f"Generated data: {TRAINING} training and {TEST} test points, 150 more for pruning. "
                f"Lines, bars: medians, bands, whiskers: range over {rows['seed'].nunique()} seeds."
            ],
        )
    return figure


def show_regions(axes: Axes, arrays: Mapping[str, Array], which: str, title: str) -> None:
    """The answers on the grid as two pale colours under the training points."""
    X, y = arrays["X"], arrays["y"]
    axes.imshow(
        arrays[which].reshape(SIDE, SIDE),
        origin="lower",
        extent=CORNERS,
        cmap="coolwarm",
        alpha=0.35,
        aspect="auto",
        interpolation="nearest",
    )
    for label, colour in ((0, "C0"), (1, "C3")):
        axes.plot(*X[y == label].T, ".", color=colour, ms=4, label=f"$y = {label}$")
    axes.grid(False)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title=title)
    axes.legend(loc="lower left")


def better(name: str) -> Claim:
    """The forest errs less than one tree on the set ``name``."""

    def gain(seed: Rows) -> float:
        own = seed[seed["set"] == name]
        return float((own["tree"] - own["forest"]).iloc[0])

    return Claim(
        id=f"uml-forest-{name}",
        source="Section 18.3; data of Breiman",
        statement=f"A forest errs less than one tree on {name} (tree minus forest, points of test error)",
        measure=measured("trees", "sets", gain),
        holds=lambda points: points > 0,
        tolerance="> 0",
    )


def at_full_depth(seed: Rows, column: str, rival: str) -> float:
    """How much more the one errs than the other on test points, in points, in the deepest trees."""
    last = seed[seed["depth"] == seed["depth"].max()]
    return float((last[column] - last[rival]).iloc[0])


CLAIMS = (
    Claim(
        id="uml-tree-id3",
        source="Exercise 18.2",
        statement="ID3 stopped at depth 2 errs on at least 1/4 of the four points",
        paper=0.25,
        measure=measured("trees", "exercise", lambda seed: float(seed["id3"].iloc[0])),
        holds=lambda error: error >= 0.25,
        tolerance=">= 0.25",
        average=min,
    ),
    Claim(
        id="uml-tree-depth-2",
        source="Exercise 18.2",
        statement="A tree of depth 2 errs on none of them (fewest errors of all such trees, as a share)",
        paper=0,
        measure=measured("trees", "exercise", lambda seed: float(seed["best"].iloc[0])),
        holds=lambda error: error == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-tree-bound",
        source="Equation 18.1",
        statement="L_D is never above L_S + sqrt(((n + 1) log2(d + 3) + log(2/delta)) / 2m) (largest excess)",
        measure=measured("trees", "bound", lambda seed: float(seed["excess"].max())),
        holds=lambda excess: excess <= 0,
        tolerance="<= 0",
        average=max,
    ),
    Claim(
        id="uml-tree-pruning",
        source="Chapter 18",
        statement="Pruning on a validation set does not raise the test error of deep trees (rise in points)",
        measure=measured("trees", "depth", lambda seed: at_full_depth(seed, "pruned_test", "grown_test")),
        holds=lambda points: points <= 0,
        tolerance="mean <= 0",
        average=lambda values: float(np.mean(values)),
    ),
    *(better(name) for name in breiman.SETS),
    Claim(
        id="uml-forest-out-of-bag",
        source="Breiman 2001",
        statement="The out-of-bag error is the test error (difference in points, mean over the four sets)",
        measure=measured("trees", "sets", lambda seed: float((seed["out_of_bag"] - seed["forest"]).mean())),
        holds=lambda points: abs(points) < 2,
        tolerance="within 2",
    ),
)

STUDY = Study(title="Decision trees and random forests", measure=measure, draw=draw, claims=CLAIMS)

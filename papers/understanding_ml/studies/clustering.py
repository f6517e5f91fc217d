"""Study: how Lloyd's iteration falls and where it ends, how much its start matters, and clusters of digits."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.understanding_ml.clustering import (
    Clustering,
    kmeans,
    lloyd,
    nearest,
    plus_plus,
    purity,
    uniform,
)
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.datasets import load
from shared.experiment import Run
from shared.tree import Array

SEEDINGS = {"random": uniform, "k-means++": plus_plus}
STARTS = 8  # of the iteration in the first panel
SIZES = (2, 5, 10, 20, 40)
SHOWN = 10  # the k whose final objectives are drawn
WIDTHS = (2, 4, 8, 16)


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the four parts."""
    descent(run)
    seeding(run, repeats(effort, 100))
    rectangles(run, repeats(effort, 2000, least=20))
    digits(run, repeats(effort, 10))


def mixture(rng: np.random.Generator, k: int, m: int) -> Array:
    """m points in the plane, from k round clusters of spread 0.04 in the unit square."""
    return rng.random((k, 2))[rng.integers(k, size=m)] + 0.04 * rng.standard_normal((m, 2))


def descent(run: Run) -> None:
    """How much the objective ever rises, over several starts, and how far their ends are from fixed points."""
    X = mixture(run.rng, 5, 300)
    runs = [lloyd(X, uniform(X, 5, run.rng)) for _ in range(STARTS)]
    for one in runs:
        run.record(
            part="descent",
            rise=np.diff(one.objectives).max() / one.objectives[0],
            off_fixed_point=off_fixed_point(X, one),
        )
    for start, one in enumerate(runs):
        run.keep(**{f"objectives{start}": one.objectives})
    best = min(runs, key=lambda one: one.objectives[-1])
    run.keep(X=X, centres=best.centres, labels=best.labels)


def off_fixed_point(X: Array, end: Clustering) -> float:
    """The larger of two distances: from a centre to its cluster's mean, and what a point is too far from its centre."""
    means = np.array([X[end.labels == j].mean(0) for j in range(len(end.centres))])
    distances = np.linalg.norm(X[:, None] - end.centres, axis=2)
    own = distances[np.arange(len(X)), end.labels]
    return float(np.max([np.abs(means - end.centres).max(), (own - distances.min(1)).max()]))


def seeding(run: Run, n: int) -> None:
    """The mean of G at the seeds and at the end, over n starts of each kind, for several k; in units of the best G."""
    for k in SIZES:
        X = mixture(run.rng, k, 500)
        first, last = {}, {}
        for name, seeds in SEEDINGS.items():
            ends = [lloyd(X, seeds(X, k, run.rng)).objectives for _ in range(n)]
            first[name], last[name] = np.array([[one[0], one[-1]] for one in ends]).T
        best = min(values.min() for values in last.values())
        for name in SEEDINGS:
            run.record(
                part="seeding", seeding=name, k=k, first=first[name].mean() / best, last=last[name].mean() / best
            )
            if k == SHOWN:
                run.keep(**{f"final {name}": last[name] / best})


def rectangles(run: Run, n: int) -> None:
    """The mean final G of n starts with k=2 on the corners of a rectangle of height 1, where the best G is 1."""
    for width in WIDTHS:
        X = np.array([[0.0, 0], [0, 1], [width, 0], [width, 1]])
        for name, seeds in SEEDINGS.items():
            mean = np.mean([lloyd(X, seeds(X, 2, run.rng)).objectives[-1] for _ in range(n)])
            share = stuck(name, width)
            error = (width**2 - 1) * np.sqrt(share * (1 - share) / n)
            off = abs(mean - expected(name, width)) / error
            run.record(part="rectangle", seeding=name, width=width, mean=mean, off=off)


def stuck(name: str, width: float) -> float:
    """The probability of two seeds on one short side: the second is 1 away from the first, the others width or more."""
    return 1 / 3 if name == "random" else 1 / (1 + width**2 + (width**2 + 1))


def expected(name: str, width: float) -> float:
    """E[G] at the end: width^2 from two seeds on one short side, since then nothing moves; 1 from any other two."""
    return 1 + stuck(name, width) * (width**2 - 1)


def digits(run: Run, restarts: int) -> None:
    """Ten clusters of the training digits: how pure they are, and their centres in the order of their majorities."""
    data = load("digits")
    X = data.train_images.reshape(len(data.train_images), -1) / data.levels
    end = kmeans(X, 10, run.rng, restarts=restarts)
    majority = [np.bincount(data.train_labels[end.labels == j]).argmax() for j in range(10)]
    run.record(part="digits", purity=purity(end.labels, data.train_labels))
    run.keep(
        digits=(255 * end.centres[np.argsort(majority, kind="stable")]).astype(np.uint8), majority=np.sort(majority)
    )


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: descent, clusters, final objectives; seeds against their bound, the rectangle, digits."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        falls, clusters, finals, bounds, traps, tiles = figure.subplots(2, 3).flat
        for start in range(STARTS):
            falls.plot(arrays[f"objectives{start}"], marker=".")
        falls.set(xlabel="step", ylabel="objective $G$", yscale="log", title=f"Lloyd's iteration from {STARTS} starts")

        X, centres = arrays["X"], arrays["centres"]
        low, high = X.min(0) - 0.1, X.max(0) + 0.1
        grid = np.stack(np.meshgrid(*np.linspace(low, high, 400).T), axis=-1)
        regions = nearest(grid.reshape(-1, 2), centres).reshape(400, 400)
        clusters.scatter(*X.T, c=arrays["labels"], cmap="tab10", vmin=0, vmax=9, s=8)
        for j in range(len(centres)):
            clusters.contour(grid[..., 0], grid[..., 1], regions == j, [0.5], colors="0.4", linewidths=0.8)
        clusters.plot(*centres.T, "kX", markeredgecolor="w", markersize=10)
        clusters.set(xlabel="$x_1$", ylabel="$x_2$", title="The best end: clusters, centres, boundaries")
        clusters.grid(False)

        ratios = {name: arrays[f"final {name}"] for name in SEEDINGS}
        bins = np.linspace(1, max(ratio.max() for ratio in ratios.values()) + 1e-9, 25)
        for name, ratio in ratios.items():
            finals.hist(ratio, list(bins), alpha=0.5, label=f"{name}, mean {ratio.mean():.2f}")
        finals.set(xlabel="final $G$ / best $G$", ylabel="starts", title=f"Where it ends, $k = {SHOWN}$")
        finals.legend()

        own = rows[rows["part"] == "seeding"]
        for name in SEEDINGS:
            plot.band(bounds, own[own["seeding"] == name], "k", "first", marker="o", label=f"{name} seeds")
        bounds.plot(SIZES, 8 * (np.log(SIZES) + 2), "k:", label="$8 (\\ln k + 2)$, for k-means++")
        bounds.set(
            xlabel="number of clusters $k$",
            ylabel="mean $G$ / best $G$",
            title="Before the first step (Arthur, Vassilvitskii 2007)",
        )
        bounds.legend()

        own = rows[rows["part"] == "rectangle"]
        grid = np.linspace(WIDTHS[0], WIDTHS[-1], 200)
        for name in SEEDINGS:
            plot.band(traps, own[own["seeding"] == name], "width", "mean", marker="o", label=name)
            traps.plot(grid, [expected(name, width) for width in grid], "k:")
        traps.plot([], [], "k:", label="expected")
        traps.set(
            xlabel="width $w$ of the rectangle",
            ylabel="mean final $G$ / best $G$",
            xscale="log",
            yscale="log",
            title="The corners of a $w \\times 1$ rectangle, $k = 2$",
        )
        traps.set_xticks(WIDTHS, [str(width) for width in WIDTHS])
        traps.minorticks_off()
        traps.legend()

        share = float(rows.loc[rows["part"] == "digits", "purity"].iloc[0])
        names = " ".join(str(digit) for digit in arrays["majority"])
        plot.show(
            tiles,
            plot.tiles(arrays["digits"].reshape(2, 5, 64), 8),
            f"10 centres of the digits, purity {100 * share:.0f} %\nmajorities: {names}",
        )
        plot.caption(
            figure,
            [
                f"Generated data and scikit-learn's digits. Lines: medians, bands: range over {rows['seed'].nunique()} "
                "seeds; points, histograms and digits: the first seed."
            ],
        )
    return figure


def against_random(seed: Rows) -> float:
    """The mean final G from k-means++ over that from random seeding, averaged over k."""
    table = seed.pivot(index="k", columns="seeding", values="last")
    return float((table["k-means++"] / table["random"]).mean())


def against_bound(seed: Rows) -> float:
    """The mean G of k-means++ seeds over 8 (ln k + 2) times the best G, at the k where it is largest."""
    own = seed[seed["seeding"] == "k-means++"]
    return float((own["first"] / (8 * (np.log(own["k"]) + 2))).max())


CLAIMS = (
    Claim(
        id="uml-kmeans-monotone",
        source="Chapter 22",
        statement="Lloyd's iteration never raises the objective (largest rise, in units of its first value)",
        measure=measured("clustering", "descent", lambda seed: float(seed["rise"].max())),
        holds=lambda rise: rise <= 1e-12,
        tolerance="<= 0, up to rounding (1e-12)",
        average=max,
    ),
    Claim(
        id="uml-kmeans-fixed-point",
        source="Chapter 22",
        statement="At the end centres are means and points are with their nearest centre (largest distance off)",
        measure=measured("clustering", "descent", lambda seed: float(seed["off_fixed_point"].max())),
        holds=lambda distance: distance < 1e-12,
        tolerance="< 1e-12",
        average=max,
    ),
    Claim(
        id="uml-kmeans-plus-plus-better",
        source="Arthur and Vassilvitskii 2007",
        statement="k-means++ ends lower than random seeding (ratio of the mean final objectives, averaged over k)",
        measure=measured("clustering", "seeding", against_random),
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
    ),
    Claim(
        id="uml-kmeans-plus-plus-bound",
        source="Arthur and Vassilvitskii 2007",
        statement="E[objective of k-means++ seeds] <= 8 (ln k + 2) times the best (largest ratio of the two over k)",
        measure=measured("clustering", "seeding", against_bound),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-kmeans-trap",
        source="Chapter 22",
        statement="On a w x 1 rectangle random seeding ends at (w^2+2)/3 times the best on average, k-means++ at "
        "(3w^2+1)/(2w^2+2) < 3/2 (largest difference, in standard errors)",
        measure=measured("clustering", "rectangle", lambda seed: float(seed["off"].max())),
        holds=lambda errors: errors < 3,
        tolerance="< 3",
    ),
    Claim(
        id="uml-kmeans-digits",
        source="Chapter 22, on digits",
        statement="Ten clusters of digits, found without labels, are of one digit each for the most part (purity)",
        measure=measured("clustering", "digits", lambda seed: float(seed["purity"].max())),
        holds=lambda share: share > 0.5,
        tolerance="> 0.5",
    ),
)

STUDY = Study(title="k-means", measure=measure, draw=draw, claims=CLAIMS)

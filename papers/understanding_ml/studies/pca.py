"""Study: what PCA keeps of the digits, that nothing keeps more, three ways to it, and random projections."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.pca import (
    by_covariance,
    by_gram,
    by_svd,
    explained,
    largest_angle,
    pca,
    reconstruct,
    reconstruction_error,
    transform,
)
from papers.understanding_ml.random_projection import distortion, distortion_bound, random_projection
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.datasets import load
from shared.experiment import Run
from shared.tree import Array

EXAMPLES = 1_000  # of the 1,500 training digits, drawn anew by each seed
SHOWN = (1, 4, 16, 64)  # components of the reconstructions
RANKS = (1, 2, 4, 8, 16, 32, 56)  # at which other subspaces are tried
LINE = 100_000  # points of Fig 23.1's data
POPULATION = np.array([[1, 1], [1, 1 + 3 * 0.1**2]]) / 3  # their E[x x^T]
POINTS, FEATURES, DELTA = 20, 500, 0.1  # Q is the differences of 20 points in R^500
DIMENSIONS = (100, 150, 200, 300, 400)  # eps <= 0.70: Chernoff's bound has its exponent n eps^2 / 6 up to 0.787
WIDE_VECTORS, WIDE_DIMENSIONS, WIDE_DELTA = 1_000, 10, 0.001  # eps = 2.95


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the parts, and the digits for the figure."""
    data = load("digits")
    X = data.train_images.reshape(-1, 64).astype(float)
    _, classes = np.unique(data.test_labels, return_index=True)
    run.keep(X=X, labels=data.train_labels, unseen=data.test_images.reshape(-1, 64)[classes].astype(float))
    sample = X[run.rng.permutation(len(X))[:EXAMPLES]]
    errors(run, sample)
    ways(run, sample)
    subspaces(run, sample, repeats(effort, 200, least=5))
    line(run)
    projections(run, repeats(effort, 100, least=20))
    wide(run, repeats(effort, 5_000, least=500))


def errors(run: Run, X: Array) -> None:
    """The reconstruction error of every number of components against the sum of the dropped eigenvalues."""
    d = X.shape[1]
    exact = by_svd(X, d)
    for n in range(1, d + 1):
        error, dropped = reconstruction_error(pca(X, n), X), float(exact.eigenvalues[n:].sum())
        scale = max(dropped, 1e-10 * exact.total)  # the last ones are 0: three pixels are black in every image
        shares = {"error": error / exact.total, "dropped": dropped / exact.total}
        run.record(part="errors", n=n, difference=abs(error - dropped) / scale, **shares)


def ways(run: Run, digits: Array, n: int = 10) -> None:
    """The largest principal angle between the subspaces of the three ways, for m > d and for m < d."""
    for shape, X in (("m > d", digits), ("m < d", run.rng.standard_normal((40, 400)))):
        for centred in (False, True):
            U, *others = (way(X, n, centred).U for way in (by_svd, by_covariance, by_gram))
            run.record(part="ways", shape=shape, angle=np.max([largest_angle(U, other) for other in others]))


def subspaces(run: Run, X: Array, n: int) -> None:
    """The smallest error of n random subspaces, and of n random turns of PCA's own, as shares of the total."""
    A = X.T @ X
    for k in RANKS:
        U, noise = pca(X, k).U, run.rng.standard_normal((n, X.shape[1], k))
        best = [
            float(1 - np.max(np.sum((A @ Q) * Q, axis=(1, 2))) / np.trace(A))
            for Q in (np.linalg.qr(noise).Q, np.linalg.qr(U + 0.01 * noise).Q)
        ]
        error = reconstruction_error(pca(X, k), X) / np.trace(A)
        run.record(part="subspaces", n=k, random=best[0], turned=best[1], ratio=np.min(best) / error)


def line(run: Run) -> None:
    """The first direction of the data of Fig 23.1, its angle in degrees and its share in percent."""
    x, y = run.rng.uniform(-1, 1, LINE), 0.1 * run.rng.standard_normal(LINE)
    X = np.stack([x, x + y], axis=1)
    found = pca(X, 1)
    run.record(part="line", angle=degrees(found.U[:, 0]), share=100 * explained(found)[0])
    run.keep(line=X[:400], direction=found.U[:, 0])


def degrees(u: Array) -> float:
    """The angle of the line through 0 and u (2,) to the first axis, in (-90, 90]."""
    return float(np.degrees(np.arctan(u[1] / u[0])))


def projections(run: Run, n: int) -> None:
    """How much n projections to each dimension distort the differences of some points, and how often too much."""
    points = run.rng.standard_normal((POINTS, FEATURES))
    first, second = np.triu_indices(POINTS, 1)
    Q = points[first] - points[second]
    for dimension in DIMENSIONS:
        eps = distortion_bound(len(Q), dimension, DELTA)
        worst = np.array([distortion(random_projection(dimension, FEATURES, run.rng), Q).max() for _ in range(n)])
        run.record(
            part="projections", n=dimension, worst=np.quantile(worst, 1 - DELTA), violations=np.mean(worst > eps)
        )


def wide(run: Run, n: int) -> None:
    """How often projections to 10 dimensions distort one of the unit vectors e_1, ..., e_1000 by more than eps."""
    eps = distortion_bound(WIDE_VECTORS, WIDE_DIMENSIONS, WIDE_DELTA)
    count = 0
    for _ in range(n):
        W = random_projection(WIDE_DIMENSIONS, WIDE_VECTORS, run.rng)
        count += np.abs(np.sum(W**2, axis=0) - 1).max() > eps  # W e_j is column j
    run.record(part="wide", eps=eps, violations=count / n)


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: spectrum, digits in the plane, reconstructions; Fig 23.1, other subspaces, random projections."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(13.5, 7.6), layout="constrained")
        first, plane, pictures, line_axes, others, lengths = figure.subplots(2, 3).flat
        spectrum(first, arrays["X"])
        scatter(plane, arrays["X"], arrays["labels"])
        reconstructions(pictures, arrays["X"], arrays["unseen"])

        points = arrays["line"]
        line_axes.plot(*points.T, ".", ms=3, color="0.6", label="$(x, x + y)$")
        reach = np.array([-1.5, 1.5])
        for u, style, label in (
            (arrays["direction"], "tab:blue", "first direction"),
            (np.linalg.eigh(POPULATION)[1][:, 1], "k:", "exact: 45.430°"),
        ):
            line_axes.plot(*(u[:, None] * reach), style, lw=2, label=label)
        line_axes.set(xlabel="$x_1$", ylabel="$x_2$", title="Data of Fig 23.1", aspect="equal")
        line_axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5))
        line_axes.legend(loc="lower right")

        own = rows[rows["part"] == "subspaces"]
        plot.band(others, own, "n", "random", marker="o", label="best random subspace")
        plot.band(others, own, "n", "turned", marker="s", mfc="none", label="best random turn of PCA's")
        own = rows[(rows["part"] == "errors") & (rows["error"] > 1e-12)]
        plot.band(others, own, "n", "error", label="PCA")
        dropped = own.groupby("n")["dropped"].median()[::3]
        others.plot(dropped.index, dropped, "k.", zorder=5, label="sum of the dropped $\\lambda_i$")
        others.set(
            xlabel="components $n$",
            ylabel="squared error / $\\sum |x|^2$",
            yscale="log",
            title="No subspace loses less (23.1)",
        )
        others.legend()

        own = rows[rows["part"] == "projections"]
        plot.band(lengths, own, "n", "worst", marker="o", label=f"measured, {1 - DELTA:.0%} quantile")
        vectors = POINTS * (POINTS - 1) // 2
        curve = [distortion_bound(vectors, n, DELTA) for n in DIMENSIONS]
        lengths.plot(DIMENSIONS, curve, "k:", label="$\\sqrt{6 \\log(2|Q|/\\delta) / n}$")
        lengths.set(xlabel="dimensions $n$", ylabel="largest distortion", xscale="log", yscale="log")
        lengths.set_title("Random projections (Lemma 23.4)")
        lengths.set_xticks(DIMENSIONS, [str(n) for n in DIMENSIONS])
        lengths.set_yticks(ticks := [0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [str(tick) for tick in ticks])
        lengths.minorticks_off()
        lengths.legend()
        plot.caption(
            figure,
            [
                "Digits: 1,500 of 8x8 pixels; reconstructions: ten others, uncentred as in the book. Errors: of 1,000 "
                f"digits a seed. Distortion: of {vectors} differences of points in {FEATURES} dimensions, "
                f"$\\delta$ = {DELTA}. Lines: medians, bands: range over {rows['seed'].nunique()} seeds."
            ],
        )
    return figure


def spectrum(axes: Axes, X: Array) -> None:
    """The eigenvalues on the left, what the first n explain together on the right."""
    right = axes.twinx()
    for centred, style, label in ((False, "-", "uncentred"), (True, "--", "centred")):
        found = by_svd(X, X.shape[1], centred)
        n = np.arange(1, X.shape[1] + 1)
        rank = found.eigenvalues > 1e-12 * found.total
        axes.plot(n[rank], found.eigenvalues[rank], style, color="tab:blue", label=label)
        right.plot(n, 100 * np.cumsum(explained(found)), style, color="tab:orange")
    axes.set(xlabel="components $n$", yscale="log", title="Digits: eigenvalues and what they explain")
    axes.set_ylabel("eigenvalue $\\lambda_n$ of $A$", color="tab:blue")
    right.set_ylabel("explained by the first $n$ (%)", color="tab:orange")
    right.set_ylim(0, 102)
    right.grid(visible=False)
    axes.legend(loc="lower center")


def scatter(axes: Axes, X: Array, labels: Array) -> None:
    """The two leading coordinates, coloured by class."""
    Z = transform(pca(X, 2, centred=True), X)
    for digit in range(10):
        axes.plot(*Z[labels == digit].T, ".", ms=4, alpha=0.7, color=f"C{digit}", label=str(digit))
    axes.set(xlabel="first coordinate (grey levels)", ylabel="second coordinate", title="Digits in the plane (centred)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0, borderpad=0, markerscale=2)


def reconstructions(axes: Axes, X: Array, unseen: Array) -> None:
    """One unseen digit of each class, and what a few components keep of it."""
    kept = [pca(X, n) for n in SHOWN]
    images = np.array([unseen, *(reconstruct(components, transform(components, unseen)) for components in kept)])
    plot.show(
        axes, plot.tiles(np.clip(images * 255 / 16, 0, 255).astype(np.uint8), 8), "Unseen digits from $n$ components"
    )
    for row, name in enumerate(("digit", *SHOWN)):
        axes.text(-2, 9 * row + 3.5, str(name), ha="right", va="center")


CLAIMS = (
    Claim(
        id="uml-pca-error",
        source="Theorem 23.2, Remark 23.1",
        statement="n components lose the sum of the dropped eigenvalues (largest relative difference over all n)",
        measure=measured("pca", "errors", lambda seed: float(seed["difference"].max())),
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-pca-three-ways",
        source="Section 23.1",
        statement="Covariance, SVD and Gram matrix give one subspace (largest principal angle, radians)",
        measure=measured("pca", "ways", lambda seed: float(seed["angle"].max())),
        holds=lambda angle: angle < 1e-8,
        tolerance="< 1e-8",
        average=max,
    ),
    Claim(
        id="uml-pca-best",
        source="Theorem 23.2",
        statement="No other subspace loses less: random ones, and random turns of PCA's (smallest ratio of the errors)",
        measure=measured("pca", "subspaces", lambda seed: float(seed["ratio"].min())),
        holds=lambda ratio: ratio > 1,
        tolerance="> 1",
        average=min,
    ),
    Claim(
        id="uml-pca-fig231-angle",
        source="Figure 23.1, recomputed for its distribution",
        statement="Angle of the first direction of (x, x + y), in degrees (tolerance: 3 standard errors)",
        measure=measured("pca", "line", lambda seed: float(seed["angle"].iloc[0])),
        holds=lambda angle: abs(angle - 45.430) < 0.047,
        tolerance="45.43 +- 0.047",
    ),
    Claim(
        id="uml-pca-fig231-share",
        source="Figure 23.1, recomputed for its distribution",
        statement="Share of the squared lengths along that direction, in percent (tolerance: 3 standard errors)",
        measure=measured("pca", "line", lambda seed: float(seed["share"].iloc[0])),
        holds=lambda share: abs(share - 99.267) < 0.0116,
        tolerance="99.267 +- 0.0116",
    ),
    Claim(
        id="uml-jl-violations",
        source="Lemma 23.4",
        statement="At most a share delta = 0.1 of random projections distorts a length by more than eps, eps <= 0.70 "
        "(largest share over n)",
        measure=measured("pca", "projections", lambda seed: float(seed["violations"].max())),
        holds=lambda share: share <= DELTA,
        tolerance="<= 0.1",
    ),
    Claim(
        id="uml-jl-large-eps",
        source="Lemma 23.4, by Lemma B.12 (eps in (0, 3))",
        statement="At most a share delta = 0.001 of projections to n = 10 distorts one of 1,000 orthogonal vectors "
        "by more than eps = 2.95",
        measure=measured("pca", "wide", lambda seed: float(seed["violations"].iloc[0])),
        holds=lambda share: share <= WIDE_DELTA,
        tolerance="<= 0.001",
    ),
)

STUDY = Study(title="Principal components", measure=measure, draw=draw, claims=CLAIMS)

"""Study: 1-NN against the Bayes error and its bound, the curse of dimensionality, and the choice of k.

x is uniform on [0, 1]^d, and P(y = 1 | x) = eta(x) depends on the first feature alone, so that the Bayes error, the
limit of 1-NN's error and the Lipschitz constant of eta are known exactly, and the same for all d.
"""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.nearest_neighbours import classify, majority, neighbours, theorem_bound
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

LIPSCHITZ = np.pi / 2  # of eta = (1 + cos(pi x_1)) / 2
BAYES = 1 / 2 - 1 / np.pi  # E min(eta, 1 - eta) = 1/2 - E |cos(pi x_1)| / 2
LIMIT = 1 / 4  # of 1-NN's error: E 2 eta (1 - eta) = E sin^2(pi x_1) / 2
UPPER = 2 * BAYES * (1 - BAYES)
SIZES, DIMENSIONS = (10, 30, 100, 300, 1000, 3000), (1, 2, 4, 8)
CURSE_SIZE, CURSE_DIMENSIONS = 200, (1, 4, 16, 64)
CHOICE_SIZE, CHOICES = 500, (1, 3, 5, 9, 15, 25, 41, 65, 101, 161, 251, 401)
TESTED = 500
REGION_SIZE, REGION_CHOICES = 100, (1, 25)


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the three parts."""
    sizes(run, repeats(effort, 20))
    curse(run, repeats(effort, 80, least=4))
    choice(run, repeats(effort, 20))
    X, y = sample(run.rng, REGION_SIZE, 2)
    run.keep(X=X, y=y)


def eta(x: Array) -> Array:
    """P(y = 1 | x) of x (n, d)."""
    return (1 + np.cos(np.pi * x[:, 0])) / 2


def sample(rng: np.random.Generator, m: int, d: int) -> tuple[Array, Array]:
    """m examples with labels 0 and 1."""
    X = rng.random((m, d))
    return X, (rng.random(m) < eta(X)).astype(int)


def errors(x: Array, labels: Array) -> Array:
    """The probability that x (n, d) has not this label (n,): exact, so the noise of test labels is not in it."""
    return np.where(labels == 1, 1 - eta(x), eta(x))


def sizes(run: Run, n: int) -> None:
    """The error of 1-NN and the distance to the neighbour by m and d, means over n samples."""
    for d in DIMENSIONS:
        for m in SIZES:
            found = np.empty((n, 2))
            for i in range(n):
                (X, y), x = sample(run.rng, m, d), run.rng.random((TESTED, d))
                nearest = neighbours(X, x, 1)[:, 0]
                found[i] = errors(x, y[nearest]).mean(), np.linalg.norm(x - X[nearest], axis=1).mean()
            error, distance = found.mean(axis=0)
            deviation = found[:, 0].std(ddof=1) / np.sqrt(n)
            run.record(part="sizes", d=d, m=m, error=error, deviation=deviation, distance=distance)


def curse(run: Run, n: int) -> None:
    """The error of 1-NN on the same examples, with ever more features that say nothing about the label."""
    total = dict.fromkeys(CURSE_DIMENSIONS, 0.0)
    for _ in range(n):
        (X, y), x = sample(run.rng, CURSE_SIZE, max(CURSE_DIMENSIONS)), run.rng.random((TESTED, max(CURSE_DIMENSIONS)))
        for d in CURSE_DIMENSIONS:
            total[d] += errors(x, classify(X[:, :d], y, x[:, :d], 1)).mean() / n
    for d, error in total.items():
        run.record(part="curse", d=d, error=error)


def choice(run: Run, n: int) -> None:
    """The error by k in the plane, means over n samples."""
    total = dict.fromkeys(CHOICES, 0.0)
    for _ in range(n):
        (X, y), x = sample(run.rng, CHOICE_SIZE, 2), run.rng.random((TESTED, 2))
        nearest = neighbours(X, x, max(CHOICES))
        for k in CHOICES:
            total[k] += errors(x, majority(y[nearest[:, :k]])).mean() / n
    for k, error in total.items():
        run.record(part="choice", k=k, error=error)


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: regions for two k, error by k; error by m, distance by m, error by d."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(10.5, 6.6), layout="constrained")
        (*regions, choices), (risks, distances, dimensions) = figure.subplots(2, 3)
        for axes, k in zip(regions, REGION_CHOICES, strict=True):
            region(axes, arrays["X"], arrays["y"], k)

        own = rows[rows["part"] == "choice"]
        plot.band(choices, own, "k", "error", marker="o", ms=3, label=f"k-NN, m = {CHOICE_SIZE}, d = 2")
        levels(choices)
        choices.set(xlabel="neighbours $k$", ylabel="error", xscale="log", title="The choice of $k$")
        choices.legend()

        m = np.geomspace(SIZES[0], SIZES[-1], 100)
        for i, d in enumerate(DIMENSIONS):
            own = rows[(rows["part"] == "sizes") & (rows["d"] == d)]
            plot.band(risks, own, "m", "error", color=f"C{i}", label=f"d = {d}")
            plot.band(distances, own, "m", "distance", color=f"C{i}", label=f"d = {d}")
            distances.plot(m, 4 * np.sqrt(d) * m ** (-1 / (d + 1)), color=f"C{i}", ls=":")
        risks.plot(m, theorem_bound(BAYES, LIPSCHITZ, m, 1), "k:", lw=2, label="bound, d = 1")
        levels(risks)
        risks.set(xlabel="examples $m$", ylabel="error of 1-NN", xscale="log", ylim=(0.15, 0.8))
        risks.set_title("1-NN and Theorem 19.3")
        risks.legend(loc="upper left")
        distances.set(xlabel="examples $m$", ylabel="mean distance", xscale="log", yscale="log")
        distances.set_title("Nearest neighbour; dots: $4 \\sqrt{d}\\, m^{-1/(d+1)}$")
        distances.legend(loc="lower left")

        own = rows[rows["part"] == "curse"]
        plot.band(dimensions, own, "d", "error", marker="o", ms=3, label=f"1-NN, m = {CURSE_SIZE}")
        levels(dimensions)
        dimensions.set(xlabel="features $d$, one of them informative", ylabel="error", xscale="log")
        dimensions.set_title("The curse of dimensionality")
        dimensions.legend()
        plot.caption(
            figure,
            [
                f"Generated data. Lines: medians, bands: range over {rows['seed'].nunique()} seeds. Grey levels: Bayes "
                "error (solid), limit of 1-NN (dashed), twice the Bayes error (dotted). Regions: the first seed, with "
                "the boundary of the Bayes rule."
            ],
        )
    return figure


def levels(axes: Axes) -> None:
    """The Bayes error, the limit of 1-NN's, and twice the Bayes error."""
    for level, style in ((BAYES, "-"), (LIMIT, "--"), (2 * BAYES, ":")):
        axes.axhline(level, color="0.5", ls=style, lw=1)


def region(axes: Axes, X: Array, y: Array, k: int) -> None:
    """What k-NN says where, and the examples."""
    ticks = np.linspace(0, 1, 151)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    labels = classify(X, y, grid, k).reshape(len(ticks), len(ticks))
    axes.contourf(ticks, ticks, labels, levels=[-0.5, 0.5, 1.5], colors=["C1", "C0"], alpha=0.25)
    axes.scatter(X[:, 0], X[:, 1], s=8, c=np.where(y == 1, "C0", "C1"))
    axes.axvline(0.5, color="k", lw=0.8)
    axes.grid(visible=False)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal", title=f"$k = {k}$, $m = {len(X)}$")


def at_the_largest_size(rows: Rows, column: str) -> float:
    """The value at the largest m on the line, where the neighbour is nearest."""
    return float(rows[rows["d"] == 1].sort_values("m")[column].iloc[-1])


CLAIMS = (
    Claim(
        id="uml-knn-bound",
        source="Theorem 19.3",
        statement="Error of 1-NN <= 2 L* + 4 c sqrt(d) m^(-1/(d+1)) at every m and d (largest ratio)",
        measure=measured(
            "nearest_neighbours",
            "sizes",
            lambda seed: max(
                error / theorem_bound(BAYES, LIPSCHITZ, m, d)
                for error, m, d in zip(seed["error"], seed["m"], seed["d"], strict=True)
            ),
        ),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-knn-neighbour-bound",
        source="Theorem 19.3, its proof",
        statement="Error of 1-NN <= 2 L* + c E|x - x'|, x' the nearest neighbour, at every m and d (largest ratio)",
        measure=measured(
            "nearest_neighbours",
            "sizes",
            lambda seed: float((seed["error"] / (2 * BAYES + LIPSCHITZ * seed["distance"])).max()),
        ),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-knn-distance",
        source="Theorem 19.3, its proof",
        statement="E|x - x'| <= 4 sqrt(d) m^(-1/(d+1)) at every m and d (largest ratio)",
        measure=measured(
            "nearest_neighbours",
            "sizes",
            lambda seed: float(
                (seed["distance"] / (4 * np.sqrt(seed["d"]) * seed["m"] ** (-1 / (seed["d"] + 1)))).max()
            ),
        ),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-knn-twice-bayes",
        source="Chapter 19; Cover and Hart 1967",
        statement=f"For large m the error of 1-NN is between L* = {BAYES:.4f} and 2 L* (1 - L*) = {UPPER:.4f}",
        measure=measured("nearest_neighbours", "sizes", lambda seed: at_the_largest_size(seed, "error")),
        holds=lambda error: BAYES <= error <= UPPER,
        tolerance=f"in [{BAYES:.4f}, {UPPER:.4f}]",
    ),
    Claim(
        id="uml-knn-limit",
        source="Chapter 19; Cover and Hart 1967",
        statement="For large m the error of 1-NN is E[2 eta (1 - eta)] = 1/4 (difference in standard errors)",
        measure=measured(
            "nearest_neighbours",
            "sizes",
            lambda seed: abs(at_the_largest_size(seed, "error") - LIMIT) / at_the_largest_size(seed, "deviation"),
        ),
        holds=lambda difference: difference < 3,
        tolerance="< 3",
    ),
    Claim(
        id="uml-knn-curse",
        source="Chapter 19",
        statement="With m fixed the error of 1-NN grows with d (smallest rise from a d to four times as many)",
        measure=measured(
            "nearest_neighbours", "curse", lambda seed: float(seed.sort_values("d")["error"].diff().min())
        ),
        holds=lambda rise: rise > 0,
        tolerance="> 0",
    ),
    Claim(
        id="uml-knn-best-k",
        source="Chapter 19",
        statement="On noisy labels the best k is above 1",
        measure=measured("nearest_neighbours", "choice", lambda seed: float(seed.sort_values("error")["k"].iloc[0])),
        holds=lambda k: k > 1,
        tolerance="> 1",
    ),
    Claim(
        id="uml-knn-beats-limit",
        source="Chapter 19",
        statement="The best k does better than 1-NN with any m could (its error less the limit of 1-NN's)",
        measure=measured("nearest_neighbours", "choice", lambda seed: float(seed["error"].min()) - LIMIT),
        holds=lambda difference: difference < 0,
        tolerance="< 0",
    ),
)

STUDY = Study(title="Nearest neighbours", measure=measure, draw=draw, claims=CLAIMS)

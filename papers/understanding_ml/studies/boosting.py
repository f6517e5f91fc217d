"""Study: the bound on AdaBoost's training error, what goes on after it is 0, where the weights go, and three pieces."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.boosting import (
    adaboost,
    best_stump,
    exponential_bound,
    predict,
    product_bound,
    votes,
)
from papers.understanding_ml.study import Rows, Study, farthest_from, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

FEATURES = 10
MEDIAN = 9.342  # of |x|^2, x standard normal in 10 dimensions: the classes are equally likely
EXAMPLES, TESTED, ROUNDS = 300, 2000, 2000
SHOWN = np.unique(np.geomspace(1, ROUNDS, 60).astype(int))  # the rounds in the figure
RADIUS = np.sqrt(2 / np.pi)  # of the disc that is half of the square [-1, 1]^2
FLIPPED, PLANE_ROUNDS = 0.1, 100
PIECES = np.repeat([1, -1, 1], 10)  # the labels from left to right


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the three parts."""
    for sample in range(repeats(effort, 10, least=1)):
        rounds(run, sample)
    noise(run)
    pieces(run, repeats(effort, 1000, least=100))


def ball(rng: np.random.Generator, m: int) -> tuple[Array, Array]:
    """m standard normal examples, +1 outside of the ball that holds half of them: no stump is far from 1/2."""
    X = rng.standard_normal((m, FEATURES))
    return X, np.where((X**2).sum(axis=1) > MEDIAN, 1, -1)


def rounds(run: Run, sample: int) -> None:
    """Errors, bounds and margins of one training set over the rounds; how the weights obey the update."""
    X, y = ball(run.rng, EXAMPLES)
    X_test, y_test = ball(run.rng, TESTED)
    boosted = list(adaboost(X, y, ROUNDS))
    eps, w = np.array([r.error for r in boosted]), np.array([r.w for r in boosted])
    D = np.array([r.D for r in boosted])
    f = votes(boosted, X).cumsum(axis=0)
    training = (np.where(f >= 0, 1, -1) != y).mean(axis=1)
    test = (np.where(votes(boosted, X_test).cumsum(axis=0) >= 0, 1, -1) != y_test).mean(axis=1)
    margins = y * f / w.cumsum()[:, None]
    product, exponential = product_bound(eps), exponential_bound(eps)

    last_wrong = [D[t + 1][r.stump(X) != y].sum() for t, r in enumerate(boosted[:-1])]
    run.record(
        part="rounds",
        ratio=np.max([training / product, product / exponential]),
        identity=np.abs(np.exp(-y * f).mean(axis=1) / product - 1).max(),
        weights=np.max([*np.abs(D.sum(axis=1) - 1), *np.abs(np.array(last_wrong) - 1 / 2)]),
        edge=(1 / 2 - eps).min(),
    )
    zero = np.flatnonzero(training)[-1] + 1  # from here on the training error stays 0
    if zero < ROUNDS:
        run.record(
            part="after",
            zero=zero + 1,
            test=test[-1] - test[zero],
            margin=margins[-1].min() - margins[zero].min(),
        )
    if sample == 0:
        for t in SHOWN:
            run.record(
                part="curve",
                t=t,
                training=training[t - 1],
                test=test[t - 1],
                product=product[t - 1],
                exponential=exponential[t - 1],
            )
        run.keep(margins=margins[[9, 99, min(zero, ROUNDS - 1), -1]], at=np.array([10, 100, zero + 1, ROUNDS]))


def noise(run: Run) -> None:
    """A disc in the plane with some labels flipped: the mean weight of those over the mean weight of the others."""
    X = run.rng.uniform(-1, 1, (200, 2))
    flipped = run.rng.permutation(len(X)) < FLIPPED * len(X)
    y = np.where((X**2).sum(axis=1) < RADIUS**2, 1, -1) * np.where(flipped, -1, 1)
    D = list(adaboost(X, y, PLANE_ROUNDS))[-1].D
    run.record(part="noise", weight=D[flipped].mean() / D[~flipped].mean())
    run.keep(plane=X, plane_y=y, flipped=flipped)


def pieces(run: Run, n: int) -> None:
    """Three pieces of a line: errors of one stump and of three rounds, the worst edge over n random weightings."""
    x = np.sort((np.repeat([0, 1, 2], 10) + run.rng.uniform(0, 1, 30)) / 3)[:, None]
    first, third = ((predict(list(adaboost(x, PIECES, T)), x) != PIECES).mean() for T in (1, 3))
    edges = []
    for _ in range(n):
        D = run.rng.dirichlet(np.full(30, 0.1))
        edges.append(D @ (PIECES * best_stump(x, PIECES, D)(x)) / 2)
    run.record(part="pieces", first=first, third=third, edge=np.min(edges))
    run.keep(line=x)


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Four panels: errors and bounds by round, margins, the weights in the plane, the score on the line."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 7), layout="constrained")
        errors, margins, plane, line = figure.subplots(2, 2).flat
        own = rows[rows["part"] == "curve"]
        plot.band(errors, own, "t", "training", label="training error")
        plot.band(errors, own, "t", "test", label="test error")
        plot.band(errors, own, "t", "product", color="k", ls="-.", label=r"$\prod 2\sqrt{\epsilon_t (1 - \epsilon_t)}$")
        plot.band(errors, own, "t", "exponential", color="k", ls=":", label=r"$\exp(-2\gamma^2 T)$")
        errors.set(xlabel="rounds $T$", ylabel="error", xscale="log", ylim=(0, 1.05), title="The bound (Theorem 10.2)")
        errors.legend(loc="center left", bbox_to_anchor=(0, 0.63))

        for t, values in zip(arrays["at"], arrays["margins"], strict=True):
            margins.plot(np.sort(values), np.arange(1, len(values) + 1) / len(values), label=f"$T = {t}$")
        margins.axvline(0, color="0.4", lw=0.8)
        margins.set(
            xlabel=r"margin $y f(x) / \sum_t w_t$",
            ylabel="share of the examples below",
            title="Margins; the third curve: training error first 0",
        )
        margins.legend()

        weights_in_the_plane(plane, arrays)
        score_on_the_line(line, arrays["line"])
        plot.caption(
            figure,
            [
                f"Generated data. Top left: medians and ranges over {rows['seed'].nunique()} seeds; others: the first "
                f"seed. Bottom left: areas are weights after {PLANE_ROUNDS} rounds, crosses are flipped labels, and "
                "the circle is the boundary without them."
            ],
        )
    return figure


def weights_in_the_plane(axes: Axes, arrays: Mapping[str, Array]) -> None:
    """The decision region, the examples with area as their weight, and crosses on the flipped ones."""
    X, y, flipped = arrays["plane"], arrays["plane_y"], arrays["flipped"]
    boosted = list(adaboost(X, y, PLANE_ROUNDS))
    ticks = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1)
    region = predict(boosted, grid.reshape(-1, 2)).reshape(201, 201)
    axes.contourf(ticks, ticks, region, levels=[-2, 0, 2], colors=["C1", "C0"], alpha=0.2)
    axes.scatter(X[:, 0], X[:, 1], s=3000 * boosted[-1].D, c=np.where(y > 0, "C0", "C1"), linewidths=0)
    axes.plot(X[flipped, 0], X[flipped, 1], "kx", ms=4, mew=0.8)
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(RADIUS * np.cos(turn), RADIUS * np.sin(turn), "k--", lw=0.8)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal", title="Weights go to the hard examples")
    axes.grid(visible=False)


def score_on_the_line(axes: Axes, x: Array) -> None:
    """f(x) after one, two and three rounds, and the examples."""
    grid = np.linspace(0, 1, 601)[:, None]
    for t, score in enumerate(votes(list(adaboost(x, PIECES, 3)), grid).cumsum(axis=0), start=1):
        axes.plot(grid[:, 0], score, label=f"$T = {t}$")
    axes.axhline(0, color="0.4", lw=0.8)
    for label, style in ((1, "k+"), (-1, "ko")):
        own = x[label == PIECES]
        axes.plot(own, np.zeros_like(own), style, ms=5, mfc="none", label=f"$y = {label}$")
    axes.set(xlabel="$x$", ylabel="score $f(x)$", title="Three stumps label three pieces")
    axes.legend()


CLAIMS = (
    Claim(
        id="uml-boost-bound",
        source="Theorem 10.2",
        statement="Training error <= prod 2 sqrt(eps (1 - eps)) <= exp(-2 gamma^2 T) for all T (largest ratio)",
        measure=measured("boosting", "rounds", lambda seed: float(seed["ratio"].max())),
        holds=lambda ratio: ratio <= 1 + 1e-9,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-boost-identity",
        source="Theorem 10.2, its proof",
        statement="The mean of exp(-y f(x)) is prod 2 sqrt(eps (1 - eps)) after every round (largest relative error)",
        measure=measured("boosting", "rounds", lambda seed: float(seed["identity"].max())),
        holds=lambda difference: difference < 1e-9,
        tolerance="< 1e-9",
        average=max,
    ),
    Claim(
        id="uml-boost-weights",
        source="Chapter 10",
        statement="Weights sum to 1, the last stump's errors to 1/2 under the new ones, all rounds (largest error)",
        measure=measured("boosting", "rounds", lambda seed: float(seed["weights"].max())),
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-boost-edge",
        source="Chapter 10",
        statement="The best stump is better than chance in every round (smallest edge 1/2 - eps)",
        measure=measured("boosting", "rounds", lambda seed: float(seed["edge"].min())),
        holds=lambda edge: edge > 0,
        tolerance="> 0",
        average=min,
    ),
    Claim(
        id="uml-boost-after-zero",
        source="Chapter 10, a known observation",
        statement="Test error does not rise after the training error is 0 (mean change until the last round)",
        measure=measured("boosting", "after", lambda seed: float(seed["test"].mean())),
        holds=lambda change: change <= 0,
        tolerance="<= 0",
    ),
    Claim(
        id="uml-boost-margins",
        source="Chapter 10, a known observation",
        statement="The smallest margin grows after the training error is 0 (smallest change until the last round)",
        measure=measured("boosting", "after", lambda seed: float(seed["margin"].min())),
        holds=lambda change: change > 0,
        tolerance="> 0",
        average=min,
    ),
    Claim(
        id="uml-boost-hard",
        source="Chapter 10",
        statement="Weights concentrate on hard examples (mean weight of flipped labels over that of the others)",
        measure=measured("boosting", "noise", lambda seed: float(seed["weight"].iloc[0])),
        holds=lambda ratio: ratio > 1,
        tolerance="> 1",
    ),
    Claim(
        id="uml-boost-one-stump",
        source="Chapter 10",
        statement="Three equal pieces of a line: the best stump errs on one of them",
        measure=measured("boosting", "pieces", lambda seed: float(seed["first"].iloc[0])),
        holds=lambda error: abs(error - 1 / 3) < 1e-12,
        tolerance="= 1/3",
        average=farthest_from(1 / 3),
    ),
    Claim(
        id="uml-boost-three-stumps",
        source="Chapter 10",
        statement="Three equal pieces of a line: error of three rounds of AdaBoost",
        measure=measured("boosting", "pieces", lambda seed: float(seed["third"].iloc[0])),
        holds=lambda error: error == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-boost-any-weights",
        source="Chapter 10",
        statement="Three pieces, any weights: some stump has an edge of 1/6 (smallest of the best edges)",
        measure=measured("boosting", "pieces", lambda seed: float(seed["edge"].min())),
        holds=lambda edge: edge >= 1 / 6 - 1e-9,
        tolerance=">= 1/6",
        average=min,
    ),
)

STUDY = Study(title="Boosting", measure=measure, draw=draw, claims=CLAIMS)

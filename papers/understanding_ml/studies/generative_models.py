"""Study: how sure a mean is, when naive Bayes and linear discriminants reach the Bayes rule, and how EM climbs."""

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from papers.understanding_ml.clustering import lloyd, uniform
from papers.understanding_ml.generative_models import (
    BernoulliNaiveBayes,
    Classifier,
    GaussianNaiveBayes,
    LinearDiscriminant,
    Mixture,
    bernoulli,
    bernoulli_naive_bayes,
    em,
    gaussian_naive_bayes,
    initial,
    linear_discriminant,
    log_joint,
    predict,
    spherical,
)
from papers.understanding_ml.learning_theory import finite_class_bound
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

Fit = Callable[[Array, Array], Classifier]

DELTAS = (0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
DRAWS = 50  # of a coin, for one estimate
SIZES = (50, 200, 800, 3200, 12800)
TEST = 20_000
STARTS = 6
STEPS = 100
DEVIATIONS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)

CLASSES, PRIOR = np.array([-1, 1]), np.array([0.5, 0.5])
# The truths that examples come from: the first two are what naive Bayes assumes, the third is not.
BINARY = BernoulliNaiveBayes(CLASSES, PRIOR, np.vstack([np.linspace(0.2, 0.6, 8), np.linspace(0.4, 0.5, 8)]))
UPRIGHT = GaussianNaiveBayes(
    CLASSES, PRIOR, np.array([[-0.5, 0, 0], [0.5, 0.5, 0]]), np.array([[1, 1, 1], [0.5, 1, 2]])
)
CORRELATED = LinearDiscriminant(CLASSES, PRIOR, np.array([[-0.5, 0], [0.5, 0]]), np.array([[1, 0.8], [0.8, 1]]))
CLOUDS = Mixture(
    np.array([0.5, 0.3, 0.2]),
    np.array([[0.0, 0], [3, 1], [0, 3]]),
    np.array([[[1, 0.6], [0.6, 0.6]], [[0.3, -0.3], [-0.3, 1]], [[1, 0], [0, 0.1]]]),
)
CASES: dict[str, tuple[Classifier, Fit]] = {
    "naive Bayes, independent binary": (BINARY, bernoulli_naive_bayes),
    "naive Bayes, independent Gaussian": (UPRIGHT, gaussian_naive_bayes),
    "naive Bayes, correlated Gaussian": (CORRELATED, gaussian_naive_bayes),
    "linear discriminant, correlated Gaussian": (CORRELATED, linear_discriminant),
}


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the five parts."""
    coins(run, repeats(effort, 4000, least=100))
    risks(run, repeats(effort, 20))
    halfspaces(run, repeats(effort, 40, least=4))
    climbs(run, repeats(effort, STEPS, least=10))
    limit(run)


def examples(rng: np.random.Generator, truth: Classifier, m: int) -> tuple[Array, Array]:
    """m examples (X, y) of a truth."""
    y = rng.integers(2, size=m)
    if isinstance(truth, BernoulliNaiveBayes):
        X = (rng.random((m, truth.theta.shape[1])) < truth.theta[y]).astype(float)
    elif isinstance(truth, GaussianNaiveBayes):
        X = truth.means[y] + np.sqrt(truth.variances[y]) * rng.standard_normal((m, truth.means.shape[1]))
    else:
        assert isinstance(truth, LinearDiscriminant)
        X = truth.means[y] + gaussian(rng, truth.covariance, m)
    return X, CLASSES[y]


def gaussian(rng: np.random.Generator, covariance: Array, m: int) -> Array:
    """m draws (m, d) of N(0, covariance): L z has the covariance L L^T."""
    return rng.standard_normal((m, len(covariance))) @ np.linalg.cholesky(covariance).T


def coins(run: Run, n: int) -> None:
    """The share of n estimates that are farther from theta than (24.2) allows, for several delta, in two coins."""
    for theta in (0.5, 0.1):
        draws = run.rng.random((n, DRAWS)) < theta
        off = np.abs([bernoulli(row) - theta for row in draws])
        for delta in DELTAS:
            run.record(part="coins", theta=theta, delta=delta, share=np.mean(off > finite_class_bound(DRAWS, delta)))


def risks(run: Run, n: int) -> None:
    """The error above that of the Bayes rule, in points on the same test set, by size: means over n samples."""
    for case, (truth, fit) in CASES.items():
        X, y = examples(run.rng, truth, TEST)
        least = np.mean(predict(truth, X) != y)
        for m in SIZES:
            errors = [np.mean(predict(fit(*examples(run.rng, truth, m)), X) != y) for _ in range(n)]
            run.record(part="risks", case=case, m=m, excess=100 * (np.mean(errors) - least))


def log_odds(model: LinearDiscriminant) -> Array:
    """(w, b) (d + 1,) of log P(+1 | x) / P(-1 | x) = <w, x> + b."""
    W, b = model.halfspaces()
    return np.append(W[1] - W[0], b[1] - b[0])


def halfspaces(run: Run, n: int) -> None:
    """How far (w, b) is from the truth's, means over n samples by size, and the log-odds from a line in x."""
    truth = log_odds(CORRELATED)
    for m in SIZES:
        fits = [linear_discriminant(*examples(run.rng, CORRELATED, m)) for _ in range(n)]
        off = [np.linalg.norm(log_odds(model) - truth) / np.linalg.norm(truth) for model in fits]
        run.record(part="halfspaces", m=m, off=np.mean(off), bend=bend(run.rng, fits[0]))
    X, y = examples(run.rng, CORRELATED, 400)
    run.keep(X=X, y=y)


def bend(rng: np.random.Generator, model: LinearDiscriminant) -> float:
    """The largest difference of the log-odds of the model's two densities to <w, x> + b, over 1000 points."""
    X = 3 * rng.standard_normal((1000, 2))
    joint = log_joint(X, Mixture(model.prior, model.means, np.tile(model.covariance, (2, 1, 1))))
    w, b = np.split(log_odds(model), [2])
    return float(np.abs(joint[:, 1] - joint[:, 0] - X @ w - b).max())


def climbs(run: Run, steps: int) -> None:
    """The largest fall of the log-likelihood in EM, from several starts and from one that collapses onto a pair."""
    j = run.rng.choice(3, 400, p=CLOUDS.weights)
    X = CLOUDS.means[j] + np.array([gaussian(run.rng, CLOUDS.covariances[i], 1)[0] for i in j])
    best, highest = CLOUDS, -np.inf
    for start in range(STARTS):
        *_, (end, _) = path = list(em(X, initial(X, 3, run.rng), steps))
        values = np.array([value for _, value in path])
        run.record(part="climbs", start=start, fall=-np.diff(values).min())
        run.keep(**{f"climb{start}": values})
        if values[-1] > highest:
            best, highest = end, values[-1]
    run.keep(clouds=X, **best._asdict())
    ((_, truth),) = em(X, CLOUDS, 0)
    run.keep(truth=np.array(truth))

    pair = np.full((2, 2), 9.0)
    start_there = spherical(np.array([[0.0, 0], pair[0]]), 1)
    falls = -np.diff([value for _, value in em(np.vstack([X, pair]), start_there, steps)])
    run.record(part="climbs", start=STARTS, fall=falls.max())


def limit(run: Run) -> None:
    """The share of points that EM with covariances s^2 I puts elsewhere than k-means does, from the same start."""
    X = 2 * run.rng.standard_normal((4, 2))[run.rng.integers(4, size=300)] + run.rng.standard_normal((300, 2))
    seeds = uniform(X, 4, run.rng)
    hard = lloyd(X, seeds).labels
    for deviation in DEVIATIONS:
        *_, (soft, _) = em(X, spherical(seeds, deviation), STEPS, learn_covariances=False)
        run.record(part="limit", deviation=deviation, share=np.mean(log_joint(X, soft).argmax(1) != hard))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: EM's climb, its mixture, the limit of k-means; decision regions, risk by size, (24.2)."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        climb, mixture, hard, regions, risk, coin = figure.subplots(2, 3).flat
        for start in range(STARTS):
            climb.plot(np.arange(len(arrays[f"climb{start}"])) + 1, arrays[f"climb{start}"])
        climb.axhline(float(arrays["truth"]), color="0.4", ls=":", label="the mixture that the data are from")
        climb.set(
            xlabel="step $t$ + 1",
            ylabel="log-likelihood (nats / example)",
            xscale="log",
            title=f"EM never falls: {STARTS} starts",
        )
        climb.legend(loc="lower right")

        mixture.plot(*arrays["clouds"].T, ".", color="0.7", markersize=4)
        ellipses(mixture, CLOUDS, color="k", ls=":")
        ellipses(mixture, Mixture(*(arrays[name] for name in Mixture._fields)), color="C0")
        mixture.legend([Line2D([], [], color="C0"), Line2D([], [], color="k", ls=":")], ["fitted", "true"])
        mixture.set(xlabel="$x_1$", ylabel="$x_2$", title="The best of them, at two deviations")

        plot.band(hard, rows[rows["part"] == "limit"], "deviation", "share", marker="o")
        hard.set(
            xlabel="deviation $\\sigma$ of the components",
            ylabel="share of points in other clusters",
            xscale="log",
            title="EM with $\\sigma^2 I$ becomes k-means as $\\sigma \\to 0$",
        )

        decisions(regions, arrays["X"], arrays["y"])

        own = rows[rows["part"] == "risks"]
        for case in CASES:
            plot.band(risk, own[own["case"] == case], "m", "excess", marker="o", label=case)
        risk.axhline(0, color="k", ls=":", label="the Bayes rule")
        risk.set(xlabel="sample size $m$", ylabel="error above the Bayes rule's (points)", xscale="log")
        risk.set(title="Where the assumption holds, and where not", ylim=(-0.5, 20))
        risk.legend()

        own = rows[rows["part"] == "coins"]
        for theta in sorted(own["theta"].unique()):
            plot.band(coin, own[own["theta"] == theta], "delta", "share", marker="o", label=f"$\\theta = {theta}$")
        coin.plot(DELTAS, DELTAS, "k:", label="$\\delta$")
        coin.set(
            xlabel="$\\delta$",
            ylabel="share of estimates",
            title=f"Farther from $\\theta$ than (24.2) allows, $m = {DRAWS}$",
        )
        coin.legend()
        plot.caption(
            figure,
            [
                f"Generated data. Lines: medians, bands: range over {rows['seed'].nunique()} seeds; EM's climb, its "
                "mixture and the boundaries: the first seed."
            ],
        )
    return figure


def ellipses(axes: Axes, mixture: Mixture, **style: Any) -> None:
    """The points at two deviations from each mean: mu + 2 L u for u on the unit circle, S = L L^T."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    for mean, L in zip(mixture.means, np.linalg.cholesky(mixture.covariances), strict=True):
        axes.plot(*(mean[:, None] + 2 * L @ circle), **style)


def decisions(axes: Axes, X: Array, y: Array) -> None:
    """The boundaries of both fits and of the Bayes rule on examples (X, y) of the correlated truth."""
    grid = np.stack(np.meshgrid(*[np.linspace(-3.5, 3.5, 300)] * 2), axis=-1)
    for label, color in ((-1, "C0"), (1, "C1")):
        axes.plot(*X[y == label].T, ".", color=color, markersize=4, alpha=0.5)
    models: dict[str, tuple[Classifier, str, str]] = {
        "naive Bayes": (gaussian_naive_bayes(X, y), "C2", "-"),
        "linear discriminant": (linear_discriminant(X, y), "C3", "-"),
        "Bayes rule": (CORRELATED, "k", ":"),
    }
    for model, color, style in models.values():
        scores = model.scores(grid.reshape(-1, 2))
        difference = (scores[:, 1] - scores[:, 0]).reshape(grid.shape[:2])
        axes.contour(grid[..., 0], grid[..., 1], difference, [0], colors=color, linestyles=style)
    axes.legend([Line2D([], [], color=color, ls=style) for _, color, style in models.values()], models)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title="Correlated Gaussians: 400 examples, boundaries")


def excess(case: str) -> Callable[[Rows], float]:
    """The error above the Bayes rule's at the largest m, in points."""
    return lambda seed: float(seed[(seed["case"] == case) & (seed["m"] == SIZES[-1])]["excess"].iloc[0])


def excess_where_it_holds(seed: Rows) -> float:
    """The larger of naive Bayes' two, on independent features."""
    return max(abs(excess(case)(seed)) for case in list(CASES)[:2])


def excess_of_correlation(seed: Rows) -> float:
    """What naive Bayes loses against the linear discriminant on correlated features."""
    naive, linear = (excess(case)(seed) for case in list(CASES)[2:])
    return naive - linear


CLAIMS = (
    Claim(
        id="uml-mle-hoeffding",
        source="Eq. 24.2",
        statement="|theta estimate - theta| > sqrt(log(2/delta)/(2m)) in at most a share delta (largest share/delta)",
        measure=measured("generative_models", "coins", lambda seed: float((seed["share"] / seed["delta"]).max())),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
    ),
    Claim(
        id="uml-em-monotone",
        source="Chapter 24",
        statement="EM never lowers the log-likelihood, nor where a component collapses to the floor (largest fall)",
        measure=measured("generative_models", "climbs", lambda seed: float(seed["fall"].max())),
        holds=lambda fall: fall <= 1e-10,
        tolerance="<= 0, up to rounding (1e-10)",
        average=max,
    ),
    Claim(
        id="uml-em-hard-limit",
        source="Chapter 24",
        statement=f"EM with covariances s^2 I assigns points as k-means does at s = {DEVIATIONS[-1]} (share elsewhere)",
        measure=measured(
            "generative_models", "limit", lambda seed: float(seed.sort_values("deviation")["share"].iloc[0])
        ),
        holds=lambda share: share == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-naive-bayes-optimal",
        source="Chapter 24",
        statement="On independent features naive Bayes comes to the Bayes rule (difference at m = 12800, points)",
        measure=measured("generative_models", "risks", excess_where_it_holds),
        holds=lambda points: points <= 2,
        tolerance="<= 2",
    ),
    Claim(
        id="uml-naive-bayes-correlated",
        source="Chapter 24",
        statement="On correlated features it does not: its error less the linear discriminant's (m = 12800, points)",
        measure=measured("generative_models", "risks", excess_of_correlation),
        holds=lambda points: points > 2,
        tolerance="> 2",
    ),
    Claim(
        id="uml-lda-linear",
        source="Chapter 24",
        statement="The log-odds of Gaussians with one covariance are <w, x> + b (largest difference)",
        measure=measured("generative_models", "halfspaces", lambda seed: float(seed["bend"].max())),
        holds=lambda difference: difference < 1e-9,
        tolerance="< 1e-9",
        average=max,
    ),
    Claim(
        id="uml-lda-rate",
        source="Chapter 24",
        statement="The fitted (w, b) comes to the truth's: slope of the log of its distance against log m",
        measure=measured(
            "generative_models",
            "halfspaces",
            lambda seed: float(np.polyfit(np.log(seed["m"]), np.log(seed["off"]), 1)[0]),
        ),
        holds=lambda slope: abs(slope + 0.5) < 0.1,
        tolerance="-0.5 +- 0.1",
    ),
)

STUDY = Study(title="Generative models", measure=measure, draw=draw, claims=CLAIMS)

"""Study: what a Bayesian regression knows after 0, 1, 2, ... points, whether its bands are honest, and its evidence."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.bayesian_regression import (
    Belief,
    bumps,
    log_evidence,
    maximise_evidence,
    posterior,
    predict,
    prior,
    update,
)
from papers.understanding_ml.linear_regression import normal_equations, powers
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

ALPHA, BETA = 2.0, 25.0  # the classic setting: noise of standard deviation 0.2
LINE = np.array([-0.3, 0.5])
CENTRES, WIDTH = np.linspace(0, 1, 9), 0.1
GRID = np.linspace(0, 1, 200)
SHOWN = (0, 1, 4, 20)  # points behind the bands
SEEN = (1, 2, 20)  # points behind the ellipses
SIZES = (0, 1, 2, 4, 8, 16, 32)
QUANTILE = 1.959964  # 95 % of a Gaussian lie within so many standard deviations
DEGREES, TRUTH, POINTS = range(9), 3, 30


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the five parts."""
    line(run)
    bands(run)
    coverage(run, repeats(effort, 4000, least=50))
    degrees(run, repeats(effort, 600, least=10))
    precisions(run, repeats(effort, 10))


def line(run: Run) -> None:
    """The posterior of a line's two weights: one point at a time in two orders, all at once, and ridge regression."""
    x = run.rng.uniform(-1, 1, 20)
    X, y = powers(x, 1), powers(x, 1) @ LINE + run.rng.standard_normal(20) / np.sqrt(BETA)
    batch = posterior(X, y, ALPHA, BETA)
    forth, back = (in_turn(X[order], y[order]) for order in (np.arange(20), np.arange(20)[::-1]))
    run.record(
        part="line",
        sequential=np.max([difference(forth, batch), difference(back, batch)]),
        ridge=float(np.abs(normal_equations(X, y, ALPHA / BETA) - batch.mean).max()),
    )
    run.keep(X=X, y=y)


def in_turn(X: Array, y: Array) -> Belief:
    """The belief after the examples one by one."""
    belief = prior(X.shape[1], ALPHA)
    for x, target in zip(X, y, strict=True):
        belief = update(belief, x, target, BETA)
    return belief


def difference(a: Belief, b: Belief) -> float:
    """The largest difference between two beliefs' means and covariances."""
    return float(np.max([np.abs(a.mean - b.mean).max(), np.abs(a.covariance - b.covariance).max()]))


def bands(run: Run) -> None:
    """Points of a sine one by one: the predictive variance over the whole interval after each."""
    x = run.rng.random(max(SHOWN))
    y = np.sin(2 * np.pi * x) + run.rng.standard_normal(len(x)) / np.sqrt(BETA)
    phi, grid = bumps(x, CENTRES, WIDTH), bumps(GRID, CENTRES, WIDTH)
    belief = prior(phi.shape[1], ALPHA)
    variances = [predict(belief, grid, BETA)[1]]
    for example, target in zip(phi, y, strict=True):
        belief = update(belief, example, target, BETA)
        variances.append(predict(belief, grid, BETA)[1])
    run.record(part="bands", rise=float(np.diff(variances, axis=0).max()), left=float(variances[-1].mean()))
    run.keep(sine_x=x, sine_y=y)


def coverage(run: Run, n: int) -> None:
    """How often a new y lies in the 95 % band, w drawn from the prior; and in the band of the noise alone."""
    for m in SIZES:
        inside = np.zeros(2)
        for _ in range(n):
            phi = bumps(run.rng.random(m + 1), CENTRES, WIDTH)
            w = run.rng.standard_normal(phi.shape[1]) / np.sqrt(ALPHA)
            y = phi @ w + run.rng.standard_normal(m + 1) / np.sqrt(BETA)
            mean, variance = predict(posterior(phi[:m], y[:m], ALPHA, BETA), phi[m:], BETA)
            inside += np.abs(y[m] - mean[0]) <= QUANTILE * np.sqrt([variance[0], 1 / BETA])
        run.record(part="coverage", m=m, full=inside[0] / n, noise_only=inside[1] / n, error=np.sqrt(0.95 * 0.05 / n))


def degrees(run: Run, n: int) -> None:
    """Log evidence and test error by degree: means over n cubics drawn from the prior, and how often a degree wins."""
    evidence, error = np.zeros((n, len(DEGREES))), np.zeros((n, len(DEGREES)))
    grid = np.linspace(-1, 1, 50)
    for i in range(n):
        x = run.rng.uniform(-1, 1, POINTS)
        w = run.rng.standard_normal(TRUTH + 1) / np.sqrt(ALPHA)
        y = powers(x, TRUTH) @ w + run.rng.standard_normal(POINTS) / np.sqrt(BETA)
        for j, degree in enumerate(DEGREES):
            X = powers(x, degree)
            evidence[i, j] = log_evidence(X, y, ALPHA, BETA)
            mean = posterior(X, y, ALPHA, BETA).mean
            error[i, j] = np.mean((powers(grid, degree) @ mean - powers(grid, TRUTH) @ w) ** 2) + 1 / BETA
    wins = np.bincount(evidence.argmax(1), minlength=len(DEGREES)) / n
    for j, degree in enumerate(DEGREES):
        run.record(
            part="degrees", degree=degree, evidence=evidence[:, j].mean(), error=error[:, j].mean(), wins=wins[j]
        )


def precisions(run: Run, n: int) -> None:
    """alpha and beta from the data alone, by fixed-point updates; the evidence beside them on a grid of factors."""
    factors = np.logspace(-2, 2, 33)
    excess, found = [], []
    for _ in range(n):
        phi = bumps(run.rng.random(100), CENTRES, WIDTH)
        w = run.rng.standard_normal(phi.shape[1]) / np.sqrt(ALPHA)
        y = phi @ w + run.rng.standard_normal(100) / np.sqrt(BETA)
        alpha, beta = maximise_evidence(phi, y)
        top = log_evidence(phi, y, alpha, beta)
        others = np.array([[log_evidence(phi, y, alpha * a, beta * b) for a in factors] for b in factors])
        excess.append(others.max() - top)
        found.append((alpha, beta))
    run.record(part="precisions", excess=np.max(excess), beta=float(np.median(found, axis=0)[1]))
    run.keep(factors=factors, surface=others - top, alpha=np.array(alpha), beta=np.array(beta))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Eight panels: bands after 0, 1, 4 and 20 points; the posterior of a line, degrees, evidence, coverage."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(13, 6.6), layout="constrained")
        above, below = (row.subplots(1, 4) for row in figure.subfigures(2, 1, squeeze=False)[:, 0])
        for axes, m in zip(above, SHOWN, strict=True):
            draw_band(axes, arrays["sine_x"][:m], arrays["sine_y"][:m])
        above[0].set_ylabel("$y$")
        above[0].legend(loc="lower left", fontsize=8)
        ellipses, evidence, surface, covered = below
        draw_ellipses(ellipses, arrays["X"], arrays["y"])

        own = rows[rows["part"] == "degrees"]
        own = own.assign(evidence=own["evidence"] - own.groupby("seed")["evidence"].transform("max"))
        plot.band(evidence, own, "degree", "evidence", marker="o", ms=4, label="log evidence (left)")
        risk = evidence.twinx()
        plot.band(risk, own, "degree", "error", color="C1", marker="s", ms=4, label="test error (right)")
        evidence.axvline(TRUTH, color="k", ls=":")
        evidence.set(xlabel="degree", ylabel="mean log evidence, nats (largest: 0)", ylim=(-6, 0.5))
        evidence.set_title("Evidence and test error, truth: 3")
        risk.set(ylabel="mean squared error", ylim=(0.9 / BETA, 0.08))
        risk.grid(visible=False)
        risk.spines["right"].set_visible(True)
        lines = [*evidence.lines[:1], *risk.lines]
        evidence.legend(lines, [line.get_label() for line in lines], loc="lower right", fontsize=8)

        alphas, betas = arrays["factors"] * arrays["alpha"], arrays["factors"] * arrays["beta"]
        surface.set(xscale="log", yscale="log", xlabel="$\\alpha$", ylabel="$\\beta$")
        surface.set(title="Log evidence less its largest, nats", ylim=(arrays["beta"] / 10, arrays["beta"] * 10))
        contours = surface.contour(alphas, betas, arrays["surface"], [-30, -10, -3, -1], cmap="viridis")
        surface.clabel(contours, fmt="%d", fontsize=8)
        surface.plot(arrays["alpha"], arrays["beta"], "C1o", label="fixed point")
        surface.plot(ALPHA, BETA, "k*", label="truth")
        surface.legend(loc="lower right")

        own = rows[rows["part"] == "coverage"].assign(m=lambda table: table["m"] + 1)
        plot.band(covered, own, "m", "full", marker="o", ms=4, label="$1/\\beta + \\phi^T S_N \\phi$")
        plot.band(covered, own, "m", "noise_only", marker="s", ms=4, label="$1/\\beta$ alone")
        covered.axhline(0.95, color="k", ls=":", label="95 %")
        covered.set(xlabel="points $m$", ylabel="share of new $y$ in the band", title="Coverage of the 95 % band")
        covered.set_xscale("log", base=2)
        covered.set_xticks([m + 1 for m in SIZES], [str(m) for m in SIZES], minor=False)
        covered.legend()
        plot.caption(
            figure,
            [
                f"Generated data, alpha = {ALPHA:g}, beta = {BETA:g}. Upper row: 9 Gaussian bumps and a constant. "
                f"Upper row, ellipses and contours: seed {rows['seed'].min()}; other lines: medians over "
                f"{rows['seed'].nunique()} seeds, bands: their range."
            ],
        )
    return figure


def draw_band(axes: Axes, x: Array, y: Array) -> None:
    """The sine, the points, the predictive mean with its 95 % band."""
    grid = bumps(GRID, CENTRES, WIDTH)
    mean, variance = predict(posterior(bumps(x, CENTRES, WIDTH), y, ALPHA, BETA), grid, BETA)
    half = QUANTILE * np.sqrt(variance)
    axes.fill_between(GRID, mean - half, mean + half, alpha=0.25, linewidth=0, label="95 % band")
    axes.plot(GRID, mean, label="mean")
    axes.plot(GRID, np.sin(2 * np.pi * GRID), "k:", label="truth")
    axes.plot(x, y, "k.")
    axes.set(xlabel="$x$", ylim=(-4, 4), title=f"{len(x)} point" + "s" * (len(x) != 1))


def draw_ellipses(axes: Axes, X: Array, y: Array) -> None:
    """Where 95 % of the belief about a line's two weights lie, after more and more points."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.sqrt(-2 * np.log(0.05)) * np.array([np.cos(angle), np.sin(angle)])
    for m in (0, *SEEN):
        belief = posterior(X[:m], y[:m], ALPHA, BETA)
        a0, a1 = belief.mean[:, None] + np.linalg.cholesky(belief.covariance) @ circle
        axes.plot(a0, a1, label=f"{m} point" + "s" * (m != 1))
    axes.plot(*LINE, "k*", label="truth")
    axes.set(xlabel="$a_0$", ylabel="$a_1$", title="95 % of the belief in $a_0 + a_1 x$", xlim=(-1.9, 5.4))
    axes.legend(loc="center right")


CLAIMS = (
    Claim(
        id="uml-bayes-ridge-map",
        source="Section 13.1, 24.5",
        statement="Ridge regression with ridge = alpha/beta is the posterior mean (largest difference)",
        measure=measured("bayesian_regression", "line", lambda seed: float(seed["ridge"].max())),
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-bayes-sequential",
        source="Bishop 2006, chapter 3",
        statement="Updates one example at a time, in two orders, give the posterior of the batch (largest difference)",
        measure=measured("bayesian_regression", "line", lambda seed: float(seed["sequential"].max())),
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-bayes-variance-falls",
        source="Bishop 2006, Fig. 3.8",
        statement="The predictive variance falls with every example, everywhere (largest rise)",
        measure=measured("bayesian_regression", "bands", lambda seed: float(seed["rise"].max())),
        holds=lambda rise: rise <= 1e-12,
        tolerance="<= 0, up to 1e-12 of rounding",
        average=max,
    ),
    Claim(
        id="uml-bayes-coverage",
        source="By construction",
        statement="95 % of new y lie in the 95 % band, for every m (largest difference, in standard errors)",
        measure=measured(
            "bayesian_regression",
            "coverage",
            lambda seed: float(((seed["full"] - 0.95).abs() / seed["error"]).max()),
        ),
        holds=lambda errors: errors < 3,
        tolerance="< 3",
    ),
    Claim(
        id="uml-bayes-noise-only",
        source="Bishop 2006, chapter 3",
        statement="The band of the noise alone, around the same mean, covers too little (share at m = 4)",
        measure=measured(
            "bayesian_regression", "coverage", lambda seed: float(seed.loc[seed["m"] == 4, "noise_only"].iloc[0])
        ),
        holds=lambda share: share < 0.9,
        tolerance="< 0.9",
    ),
    Claim(
        id="uml-bayes-evidence-degree",
        source="Bishop 2006, chapter 3",
        statement="The mean log evidence is largest at the degree of the truth",
        measure=measured(
            "bayesian_regression", "degrees", lambda seed: float(seed.sort_values("evidence")["degree"].iloc[-1])
        ),
        holds=lambda degree: degree == TRUTH,
        tolerance="= 3",
    ),
    Claim(
        id="uml-bayes-error-degree",
        source="Bishop 2006, chapter 3",
        statement="So is the mean test error smallest there: no validation set was needed",
        measure=measured(
            "bayesian_regression", "degrees", lambda seed: float(seed.sort_values("error")["degree"].iloc[0])
        ),
        holds=lambda degree: degree == TRUTH,
        tolerance="= 3",
    ),
    Claim(
        id="uml-bayes-fixed-point",
        source="Bishop 2006, chapter 3",
        statement="No alpha, beta on a grid of factors 0.01 to 100 has more evidence than the fixed point (nats more)",
        measure=measured("bayesian_regression", "precisions", lambda seed: float(seed["excess"].max())),
        holds=lambda excess: excess <= 1e-6,
        tolerance="<= 1e-6",
        average=max,
    ),
)

STUDY = Study(title="Bayesian linear regression", measure=measure, draw=draw, claims=CLAIMS)

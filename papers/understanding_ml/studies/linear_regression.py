"""Study: three ways to one solution, the rate of gradient descent, the bias of sigma^2, and how many powers to take."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.understanding_ml.linear_regression import (
    contraction,
    gradient_descent,
    minimum_norm,
    noise_variance,
    normal_equations,
    orthogonal,
    powers,
)
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

DEGREES = range(1, 11)
CUBIC = np.array([0.0, -2.0, 0.0, 4.0])  # the truth behind the polynomials: 4 x^3 - 2 x on [-1, 1]
NOISE = 0.3
SIZES = (2, 3, 5, 10, 20)
STEPS = 60


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the four parts."""
    solvers(run)
    descent(run)
    bias(run, repeats(effort, 20_000, least=200))
    degrees(run, repeats(effort, 200, least=5))


def solvers(run: Run) -> None:
    """The largest difference between the solutions on a full-rank problem, and the norms on a singular one."""
    X, y = run.rng.standard_normal((50, 8)), run.rng.standard_normal(50)
    w = normal_equations(X, y)
    difference = np.max([np.abs(w - other(X, y)).max() for other in (orthogonal, minimum_norm)])
    twice = np.hstack([X, X])  # every column twice: the shortest solution halves each weight
    halves = np.abs(minimum_norm(twice, y) - np.concatenate([w, w]) / 2).max()
    run.record(part="solvers", difference=difference, singular=halves)


def descent(run: Run) -> None:
    """|w_t - w*| against (kappa - 1) / (kappa + 1) to the t."""
    X, y = run.rng.standard_normal((40, 6)), run.rng.standard_normal(40)
    w, rate = orthogonal(X, y), contraction(X)
    errors = np.array([np.linalg.norm(w_t - w) for w_t in gradient_descent(X, y, STEPS)])
    bound = errors[0] * np.maximum(rate ** np.arange(STEPS + 1), 1e-12)  # rounding errors do not shrink
    run.record(part="descent", excess=float((errors[1:] / bound[1:]).max()))  # equal at t = 0, by definition
    run.keep(errors=errors, rate=np.array(rate))


def bias(run: Run, n: int) -> None:
    """The mean of the estimate of sigma^2 = 1 over n samples of each size, for the mean of a Gaussian."""
    for m in SIZES:
        y = run.rng.standard_normal((n, m))
        constant = np.ones((m, 1))
        estimates = [noise_variance(constant, row, np.array([row.mean()])) for row in y]
        run.record(part="bias", m=m, mean=np.mean(estimates), error=np.std(estimates) / np.sqrt(n))


def degrees(run: Run, n: int) -> None:
    """Training, validation and true risk by degree, means over n samples of 20 training and 20 validation points."""
    total = {degree: np.zeros(3) for degree in DEGREES}
    grid = np.linspace(-1, 1, 400)
    for _ in range(n):
        x = run.rng.uniform(-1, 1, 40)
        y = powers(x, 3) @ CUBIC + NOISE * run.rng.standard_normal(40)
        for degree in DEGREES:
            w = orthogonal(powers(x[:20], degree), y[:20])
            squares = (powers(x, degree) @ w - y) ** 2
            risk = np.mean((powers(grid, degree) @ w - powers(grid, 3) @ CUBIC) ** 2) + NOISE**2
            total[degree] += np.array([squares[:20].mean(), squares[20:].mean(), risk]) / n
    for degree, (training, validation, risk) in total.items():
        run.record(part="degrees", degree=degree, training=training, validation=validation, risk=risk)
    run.keep(x=x[:20], y=y[:20])


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Four panels: fits of three degrees, risk by degree, gradient descent, the bias of sigma^2."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        fits, risks, rates, biases = figure.subplots(2, 2).flat
        grid = np.linspace(-1, 1, 400)
        fits.plot(arrays["x"], arrays["y"], "k.", label="training points")
        fits.plot(grid, powers(grid, 3) @ CUBIC, "k:", label="truth")
        for degree in (2, 3, 10):
            fits.plot(
                grid,
                powers(grid, degree) @ orthogonal(powers(arrays["x"], degree), arrays["y"]),
                label=f"degree {degree}",
            )
        fits.set(xlabel="$x$", ylabel="$y$", ylim=(-3.5, 3), title="Least squares with powers (9.2.2)")
        fits.set_xticks([-1, -0.5, 0, 0.5, 1])
        fits.legend(loc="lower right", fontsize=8)

        own = rows[rows["part"] == "degrees"]
        for column, label in (("training", "training"), ("validation", "validation"), ("risk", "true risk")):
            plot.band(risks, own, "degree", column, label=label)
        risks.axhline(NOISE**2, color="0.4", ls=":", label="noise $\\sigma^2$")
        risks.set(xlabel="degree", ylabel="mean squared error", yscale="log", title="Choosing the degree (11.2)")
        risks.legend()

        steps, errors, rate = np.arange(STEPS + 1), arrays["errors"], float(arrays["rate"])
        rates.plot(steps, errors, label="$|w_t - w^*|$")
        rates.plot(steps, errors[0] * rate**steps, "k:", label="$|w_0 - w^*| ((\\kappa - 1)/(\\kappa + 1))^t$")
        rates.set(xlabel="step $t$", ylabel="distance to the solution", yscale="log", title="Gradient descent")
        rates.legend()

        own = rows[rows["part"] == "bias"]
        plot.band(biases, own, "m", "mean", marker="o", label="mean of the estimates")
        sizes = np.linspace(2, 20, 100)
        biases.plot(sizes, (sizes - 1) / sizes, "k:", label="$(m - 1)/m$")
        biases.set(
            xlabel="sample size $m$", ylabel="$E[\\hat\\sigma^2] / \\sigma^2$", title="Maximum likelihood (24.1)"
        )
        biases.legend()
        plot.caption(figure, [f"Generated data. Lines: medians, bands: range over {rows['seed'].nunique()} seeds."])
    return figure


CLAIMS = (
    Claim(
        id="uml-linreg-solvers",
        source="Section 9.2.1",
        statement="Normal equations, QR and pseudo-inverse agree; with every column twice the pseudo-inverse halves "
        "each weight (largest difference)",
        measure=measured(
            "linear_regression", "solvers", lambda seed: float(seed[["difference", "singular"]].max().max())
        ),
        holds=lambda difference: difference < 1e-10,
        tolerance="< 1e-10",
        average=max,
    ),
    Claim(
        id="uml-linreg-gd-bound",
        source="Section 14.1, for a quadratic",
        statement="Gradient descent stays below |w_0 - w*| ((kappa-1)/(kappa+1))^t (largest ratio to it)",
        measure=measured("linear_regression", "descent", lambda seed: float(seed["excess"].max())),
        holds=lambda ratio: ratio <= 1 + 1e-9,
        tolerance="<= 1, the bound being 1e-12 |w_0 - w*| at least",
        average=max,
    ),
    Claim(
        id="uml-linreg-sigma-bias",
        source="Section 24.1.1",
        statement="E[sigma^2 estimate] = (m-1)/m sigma^2 (largest difference over m, in standard errors)",
        measure=measured(
            "linear_regression",
            "bias",
            lambda seed: float((abs(seed["mean"] - (seed["m"] - 1) / seed["m"]) / seed["error"]).max()),
        ),
        holds=lambda errors: errors < 3,
        tolerance="< 3",
    ),
    Claim(
        id="uml-poly-training",
        source="Section 11.2",
        statement="Training error falls with every degree (largest rise from a degree to the next)",
        measure=measured("linear_regression", "degrees", lambda seed: float(seed["training"].diff().max())),
        holds=lambda rise: rise < 0,
        tolerance="< 0",
        average=max,
    ),
    Claim(
        id="uml-poly-validation",
        source="Section 11.2",
        statement="Validation error is smallest at the degree of the truth",
        paper=3,
        measure=measured(
            "linear_regression", "degrees", lambda seed: float(seed.sort_values("validation")["degree"].iloc[0])
        ),
        holds=lambda degree: degree == 3,
        tolerance="= 3",
    ),
)

STUDY = Study(title="Linear regression", measure=measure, draw=draw, claims=CLAIMS)

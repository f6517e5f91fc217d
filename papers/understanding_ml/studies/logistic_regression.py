"""Study: a convex loss, Newton's method against gradient descent, and where descent goes on separable data."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.logistic_regression import (
    Binary,
    Multinomial,
    Problem,
    gradient_descent,
    newton,
    sigmoid,
    smoothness,
)
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

STEPS = 1000  # of gradient descent towards the minimiser
CENTRES = np.array([[1.2, 0.0], [-0.6, 1.0], [-0.6, -1.0]])  # of the classes, each with the covariance I
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the four parts."""
    two = correlated(run)
    three = classes(run, 3)
    descent(run, two)
    convergence(run, two, three)
    convexity(run, two, three)
    separable(run, repeats(effort, 200_000, least=10_000))
    pair = classes(run, 2)
    boundary = Binary(pair.X, 2 * pair.y - 1)
    run.keep(boundary_X=boundary.X, boundary_y=boundary.y, boundary_w=newton(boundary)[-1])


def correlated(run: Run) -> Binary:
    """100 examples with two correlated features and labels drawn from the model: a narrow valley."""
    X = run.rng.standard_normal((100, 2)) @ np.array([[2.0, 1.2], [0.0, 0.5]])
    return Binary(X, np.where(run.rng.random(100) < sigmoid(X @ np.array([2.0, -3.0])), 1, -1))


def classes(run: Run, K: int) -> Multinomial:
    """100 examples of each of K Gaussian classes, with a constant feature: the model holds."""
    y = np.repeat(np.arange(K), 100)
    X = CENTRES[y] + run.rng.standard_normal((len(y), 2))
    return Multinomial(np.column_stack([X, np.ones(len(y))]), y)


def descent(run: Run, problem: Binary) -> None:
    """F(w_t) - F(w*) for both methods, and for gradient descent the bound L |w*|^2 / (2 t)."""
    fast, slow = newton(problem), list(gradient_descent(problem, STEPS))
    best = fast[-1]
    for method, path in (("newton", fast), ("gradient descent", slow)):
        for t in np.unique(np.geomspace(1, len(path), 60).astype(int)) - 1:
            bound = smoothness(problem) * (best @ best) / (2 * max(t, 1))
            gap = problem.loss(path[t]) - problem.loss(best)
            run.record(part="descent", method=method, t=t, gap=max(gap, 1e-17), bound=bound)
    run.keep(X=problem.X, y=problem.y, newton=np.array(fast), descent=np.array(slow))


def convergence(run: Run, *problems: Problem) -> None:
    """By problem: the steps of Newton's method to a gradient below 1e-10, and the order at the end."""
    for problem in problems:
        norms = np.array([np.linalg.norm(problem.gradient(w)) for w in newton(problem)])
        steps = np.flatnonzero(norms < 1e-10)[0]
        a, b, c = np.log(norms[norms > 1e-13][-3:])
        run.record(part="newton", problem=type(problem).__name__, steps=steps, order=(c - b) / (b - a))


def convexity(run: Run, two: Binary, three: Multinomial) -> None:
    """The smallest eigenvalue of the Hessian over a grid of weights, and the 0-1 loss less its bound over examples."""
    axis = np.linspace(-10, 10, 21)
    grid = [np.array([a, b]) for a in axis for b in axis]
    matrices = run.rng.normal(0, 5, (100, *three.shape))
    for problem, weights in ((two, grid), (three, matrices)):
        smallest = np.min([np.linalg.eigvalsh(problem.hessian(w))[0] for w in weights])
        run.record(part="convex", problem=type(problem).__name__, smallest=smallest)
    excess = np.max([(two.margins(w) <= 0) - two.losses(w) / np.log(2) for w in grid])
    run.record(part="surrogate", excess=excess)


def separable(run: Run, steps: int) -> None:
    """Gradient descent on data whose maximum-margin direction u is known.

    With v orthogonal to u, the examples times their labels are u + a v, u - b v and others with a larger part along u.
    The shortest w with all margins at least 1 is u: it is a mean of the first two, with the weights b and a over a + b.
    """
    angle, a, b = run.rng.uniform((0, 1.5, 0.3), (2 * np.pi, 2.5, 0.8))
    u, v = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    along = np.concatenate([[1, 1], run.rng.uniform(1.5, 3, 28)])
    across = np.concatenate([[a, -b], run.rng.uniform(-0.5, 2.5, 28)])
    y = run.rng.permutation(np.repeat([-1, 1], 15))
    problem = Binary(y[:, None] * (np.outer(along, u) + np.outer(across, v)), y)
    times = set(np.geomspace(1, steps, 60).astype(int).tolist())
    for t, w in enumerate(gradient_descent(problem, steps)):
        if t in times:
            angle = np.degrees(abs(np.arctan2(w @ v, w @ u)))
            run.record(part="separable", t=t, norm=np.linalg.norm(w), loss=problem.loss(w), angle=angle)
    run.keep(L=np.array(smoothness(problem)))


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """The loss surface, level sets of the probability, convergence; norm, loss and angle on separable data."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(12.5, 7), layout="constrained")
        surface, levels, gaps, norms, losses, angles = figure.subplots(2, 3).flat
        draw_surface(surface, arrays)
        draw_levels(levels, arrays)

        own = rows[rows["part"] == "descent"]
        slow, fast = own[(own["method"] == "gradient descent") & (own["t"] > 0)], own[own["method"] == "newton"]
        plot.band(gaps, slow, "t", "gap", label="gradient descent")
        plot.band(gaps, fast[fast["t"] > 0], "t", "gap", marker="o", label="Newton")
        bound = slow.groupby("t")["bound"].median()
        gaps.plot(bound.index, bound, "k:", label="$L\\,|w^*|^2 / (2t)$")
        gaps.set(xlabel="step $t$", ylabel="$F(w_t) - F(w^*)$ (nats)", xscale="log", yscale="log")
        gaps.set_title("Newton against gradient descent")
        gaps.legend()

        own = rows[rows["part"] == "separable"]
        middle = own.groupby("t").median(numeric_only=True)
        late = middle.index[middle.index >= 100]
        plot.band(norms, own, "t", "norm", label="$|w_t|$")
        norms.plot(late, middle["norm"].iloc[-1] + np.log(late / late[-1]), "k:", label="$\\log t$ + const")
        norms.set(xlabel="step $t$", ylabel="$|w_t|$", xscale="log", title="Separable data: the norm")
        plot.band(losses, own, "t", "loss", label="$F(w_t)$")
        losses.plot(late, float(arrays["L"]) / late, "k:", label="$L/t$ (first seed's $L$)")
        losses.set(xlabel="step $t$", ylabel="$F(w_t)$ (nats)", xscale="log", yscale="log")
        losses.set_title("Separable data: the loss")
        plot.band(angles, own, "t", "angle", label="$w_t$ to the maximum margin")
        anchor = middle["angle"].iloc[-1] * np.log(late[-1])
        angles.plot(late, anchor / np.log(late), "k:", label="const / $\\log t$")
        angles.set(xlabel="step $t$", ylabel="angle (degrees)", xscale="log", title="Separable data: the direction")
        for axes in (norms, losses, angles):
            axes.legend()
        seeds = rows["seed"].nunique()
        plot.caption(figure, [f"Generated data, upper row left and middle: one seed. Bands: range over {seeds} seeds."])
    return figure


def draw_surface(axes: Axes, arrays: Mapping[str, Array]) -> None:
    """F over the two weights, with both paths."""
    problem = Binary(arrays["X"], arrays["y"])
    fast, slow = arrays["newton"], arrays["descent"]
    low, high = np.minimum(fast.min(0), slow.min(0)), np.maximum(fast.max(0), slow.max(0))
    room = 0.35 * (high - low).max()
    first, second = (np.linspace(low[i] - room, high[i] + room, 80) for i in (0, 1))
    F = np.array([[problem.loss(np.array([a, b])) for a in first] for b in second])
    lowest = problem.loss(fast[-1])
    axes.contour(first, second, F, lowest + np.geomspace(1e-3, F.max() - lowest, 12), cmap="Greys_r", linewidths=0.8)
    axes.plot(*slow.T, ".-", ms=4, lw=1, label=f"gradient descent, {STEPS} steps")
    axes.plot(*fast.T, "o-", ms=4, lw=1, label=f"Newton, {len(fast) - 1} steps")
    axes.plot(*fast[-1], "k*", ms=9, label="minimiser $w^*$")
    axes.set(xlabel="$w_1$", ylabel="$w_2$", title="The loss $F$ over two weights")
    axes.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")


def draw_levels(axes: Axes, arrays: Mapping[str, Array]) -> None:
    """Two classes, the level sets of the fitted probability, and the boundary of the true one."""
    X, y, w = arrays["boundary_X"], arrays["boundary_y"], arrays["boundary_w"]
    for label, marker in ((-1, "o"), (1, "^")):
        axes.plot(*X[y == label, :2].T, marker, ms=3, alpha=0.7, label=f"$y = {label:+d}$")
    (left, below), (right, above) = X[:, :2].min(0) - 0.5, X[:, :2].max(0) + np.array([0.5, 1.5])
    first, second = np.meshgrid(np.linspace(left, right, 100), np.linspace(below, above, 100))
    lines = axes.contour(first, second, sigmoid(w[0] * first + w[1] * second + w[2]), LEVELS, colors="0.35")
    difference, middle = CENTRES[1] - CENTRES[0], (CENTRES[0] + CENTRES[1]) / 2
    along = np.array([-difference[1], difference[0]])
    scores = [np.log(p / (1 - p)) - w[:2] @ middle - w[2] for p in LEVELS]
    axes.clabel(lines, fmt="%.2f", fontsize=8, manual=[middle + score * w[:2] / (w[:2] @ w[:2]) for score in scores])
    axes.plot(*(middle + np.outer([-9, 9], along)).T, "k:", label="true boundary")
    axes.set(xlim=(left, right), ylim=(below, above), xlabel="$x_1$", ylabel="$x_2$")
    axes.set_title("Level sets of $P(y = +1\\,|\\,x)$")
    axes.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")


def late_fit(seed: Rows, quantity: str) -> tuple[float, float]:
    """The slope of the quantity against log t over the last two decades, and R^2 of the line."""
    late = seed[seed["t"] >= seed["t"].max() / 100]
    x, y = np.log(late["t"].to_numpy()), late[quantity].to_numpy()
    slope = np.polyfit(x, y, 1)[0]
    return float(slope), float(np.corrcoef(x, y)[0, 1] ** 2)


def bound_ratio(seed: Rows) -> float:
    """The most that gradient descent's gap is of its bound."""
    own = seed[(seed["method"] == "gradient descent") & (seed["t"] > 0)]
    return float((own["gap"] / own["bound"]).max())


NAME = "logistic_regression"
SOUDRY = "Soudry et al. 2018 (arXiv 1710.10345)"

CLAIMS = (
    Claim(
        id="uml-logreg-convex",
        source="Chapter 12, for the loss of 9.3",
        statement="The Hessian has no negative eigenvalue (smallest over a grid of weights, two and three classes)",
        measure=measured(NAME, "convex", lambda seed: float(seed["smallest"].min())),
        holds=lambda smallest: smallest >= -1e-12,
        tolerance=">= -1e-12",
        average=min,
    ),
    Claim(
        id="uml-logreg-surrogate",
        source="Chapter 12, for the loss of 9.3",
        statement="0-1 loss <= logistic loss / log 2 on every example (largest difference over a grid of weights)",
        measure=measured(NAME, "surrogate", lambda seed: float(seed["excess"].max())),
        holds=lambda excess: excess <= 1e-12,
        tolerance="<= 0 to rounding",
        average=max,
    ),
    Claim(
        id="uml-logreg-newton-steps",
        source="Newton's method on the loss of 9.3",
        statement="Newton's steps from 0 to a gradient norm below 1e-10 (most of two and three classes)",
        measure=measured(NAME, "newton", lambda seed: float(seed["steps"].max())),
        holds=lambda steps: steps <= 10,
        tolerance="<= 10",
        average=max,
    ),
    Claim(
        id="uml-logreg-newton-order",
        source="Newton's method on the loss of 9.3",
        statement="Newton converges quadratically (order of the last gradient norms above 1e-13, lowest of the two)",
        measure=measured(NAME, "newton", lambda seed: float(seed["order"].min())),
        holds=lambda order: order > 1.7,
        tolerance="> 1.7",
        same_direction=lambda order: order > 1.2,
        average=min,
    ),
    Claim(
        id="uml-logreg-gd-bound",
        source="Section 14.1, for a smooth loss and step size 1/L",
        statement="Gradient descent: F(w_t) - F(w*) <= L |w*|^2 / (2 t) (largest ratio to it)",
        measure=measured(NAME, "descent", bound_ratio),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-logreg-norm-slope",
        source=SOUDRY,
        statement="Separable data: |w_t| grows by 1 / margin for each unit of log t (slope, margin 1)",
        measure=measured(NAME, "separable", lambda seed: late_fit(seed, "norm")[0]),
        holds=lambda slope: abs(slope - 1) < 0.1,
        tolerance="1 +- 0.1",
        same_direction=lambda slope: slope > 0,
    ),
    Claim(
        id="uml-logreg-norm-linear",
        source=SOUDRY,
        statement="Separable data: |w_t| is linear in log t (R^2 of the line, last two decades of t)",
        measure=measured(NAME, "separable", lambda seed: late_fit(seed, "norm")[1]),
        holds=lambda r2: r2 > 0.99,
        tolerance="> 0.99",
    ),
    Claim(
        id="uml-logreg-loss-rate",
        source=SOUDRY,
        statement="Separable data: the loss falls as 1/t (slope of its logarithm against log t, last two decades)",
        measure=measured(
            NAME, "separable", lambda seed: late_fit(seed.assign(log_loss=np.log(seed["loss"])), "log_loss")[0]
        ),
        holds=lambda slope: abs(slope + 1) < 0.1,
        tolerance="-1 +- 0.1",
        same_direction=lambda slope: slope < 0,
    ),
    Claim(
        id="uml-logreg-direction",
        source=SOUDRY,
        statement="Separable data: the angle to the maximum margin falls (largest ratio to the one before, t > 100)",
        measure=measured(
            NAME,
            "separable",
            lambda seed: float((seed["angle"] / seed["angle"].shift())[seed["t"] > 100].max()),
        ),
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
        average=max,
    ),
)

STUDY = Study(title="Logistic regression", measure=measure, draw=draw, claims=CLAIMS)

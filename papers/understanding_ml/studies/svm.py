"""Study: the solution and its support vectors, the rate of Pegasos, the perceptron's updates, a bound without d."""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.understanding_ml.kernels import linear, polynomial, rbf
from papers.understanding_ml.perceptron import perceptron
from papers.understanding_ml.study import Rows, Study, measured, repeats
from papers.understanding_ml.svm import Machine, duality_gap, fit, margin_bound, objective, pegasos, pegasos_bound
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

KERNELS = {"linear": linear, "polynomial": polynomial(3), "rbf": rbf(1.0)}
LAMBDA = 0.1
DIMENSIONS = (30, 100, 300, 1000, 3000)
ON_SPHERE = (300, 1000, 3000)
SIZES = (100, 200, 400, 800)
M, D = 400, 100  # where the other varies
WORDS = 8
P = 3.0 ** -np.arange(WORDS) / (3.0 ** -np.arange(WORDS)).sum()  # how often each appears
SIGNAL = 0.9  # of an example's norm 1, the word's part
RATIO = float(np.sqrt(WORDS) / SIGNAL)  # rho / gamma
DELTA = 0.05


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the six parts."""
    pictures(run)
    solutions(run, repeats(effort, 5))
    on_the_margin(run, repeats(effort, 20))
    descent(run, steps=repeats(effort, 50_000, least=1000), runs=50)
    updates(run, repeats(effort, 200, least=10))
    errors(run, repeats(effort, 6, least=1))


def pictures(run: Run) -> None:
    """Data of the first two panels: two discs and one example between them, and a disc in a ring that overlap."""
    y = np.repeat([-1.0, 1.0], 25)
    angle, radius = run.rng.uniform(0, 2 * np.pi, 50), np.sqrt(run.rng.uniform(0, 1, 50))
    discs = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]) + 2 * y[:, None] * [1, 0]
    discs[-1] = (-0.7, 0)
    radius = np.where(y > 0, 1.3 * radius, 1.1 + 1.1 * radius)
    rings = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    run.keep(discs=discs, rings=rings, y=y)


def separable(run: Run, m: int, d: int, gamma: float) -> tuple[Array, Array]:
    """m Gaussian examples, with their labels by a random halfspace through 0, moved away from its edge by gamma."""
    X, u = run.rng.standard_normal((m, d)), run.rng.standard_normal(d)
    u /= np.linalg.norm(u)
    y = np.where(X @ u > 0, 1.0, -1.0)
    y[0], X[0] = -y[1], -X[1]  # both classes
    return X + gamma * y[:, None] * u, y


def solutions(run: Run, n: int) -> None:
    """The relative duality gap of hard and soft margins, three kernels, n problems each."""
    for name, kernel in KERNELS.items():
        for C in (1.0, np.inf):
            for _ in range(n):
                X, y = separable(run, 60, 3, gamma=0.3)
                if not np.isinf(C):
                    y[:6] *= -1
                machine = fit(X, y, kernel, C)
                run.record(part="gap", kernel=name, hard=np.isinf(C), gap=duality_gap(machine, X, y, C))


def on_the_margin(run: Run, n: int) -> None:
    """How far support vectors are from |<w, x>| = 1, and how far w moves when all the other examples go."""
    for _ in range(n):
        X, y = separable(run, 100, 5, gamma=0.3)
        machine = fit(X, y, bias=False)
        margins = np.abs(X @ machine.w)
        own = np.abs(margins - 1) < 1e-4
        # (x, y) and (-x, -y) ask the same of a halfspace through 0; with both there are two classes.
        alone = fit(np.vstack([X[own], -X[own]]), np.append(y[own], -y[own]), bias=False)
        moved = np.linalg.norm(alone.w - machine.w) / machine.norm
        off = np.abs(np.abs(machine.X @ machine.w) - 1).max()
        run.record(part="margin", off=off, moved=moved, support=len(machine.y))


def descent(run: Run, steps: int, runs: int) -> None:
    """Pegasos' mean suboptimality over the runs, and mean distance to the w that the dual gives."""
    X, y = separable(run, 200, 10, gamma=0.0)
    y[:20] *= -1
    X /= np.linalg.norm(X, axis=1)[:, None]  # rho = 1
    best = fit(X, y, C=1 / (LAMBDA * len(y)), bias=False)
    (optimum,) = objective(best.w[None], X, y, LAMBDA)
    times = np.unique(np.geomspace(10, steps, 20).round().astype(int))
    for t, W in enumerate(pegasos(X, y, LAMBDA, run.rng.integers(len(y), size=(steps, runs))), start=1):
        if t in times:
            gap = (objective(W, X, y, LAMBDA) - optimum).mean()
            distance = np.linalg.norm(W - best.w, axis=1).mean() / best.norm
            run.record(part="descent", T=t, gap=gap, ratio=gap / pegasos_bound(t, 1, LAMBDA), distance=distance)


def updates(run: Run, n: int) -> None:
    """The perceptron's updates on n problems of random size and margin, and the bound (rho / gamma)^2 of each."""
    counts, bounds = np.zeros(n), np.zeros(n)
    for k in range(n):
        m, d = int(run.rng.integers(10, 60)), int(run.rng.integers(2, 20))
        X, y = separable(run, m, d, gamma=10 ** run.rng.uniform(-1.5, 0.5))
        counts[k] = perceptron(X, y)[1]
        bounds[k] = ((X**2).sum(1).max()) * fit(X, y, bias=False).norm ** 2
    run.record(part="updates", ratio=(counts / bounds).max())
    run.keep(updates=counts, update_bounds=bounds)


def drawn(run: Run, m: int) -> tuple[Array, Array]:
    """The words (m,) of m examples, and their labels."""
    return run.rng.choice(WORDS, m, p=P), run.rng.choice([-1.0, 1.0], m)


def examples(run: Run, word: Array, y: Array, d: int) -> Array:
    """(m, d), of norm 1: SIGNAL y e_word, and noise in the features after the words', uniform on a sphere.

    The unit vector u = sum_k e_k / sqrt(WORDS) has y <u, x> = SIGNAL / sqrt(WORDS) = gamma on all, whatever d is.
    """
    m = len(y)
    noise = run.rng.standard_normal((m, d - WORDS))
    noise *= np.sqrt((1 - SIGNAL**2) / (noise**2).sum(1))[:, None]
    signal = np.zeros((m, WORDS))
    signal[np.arange(m), word] = SIGNAL * y
    return np.hstack([signal, noise])


def errors(run: Run, n: int) -> None:
    """Hard-SVM's 0-1 error on the words against d and against m, n times, and on a sphere, which has no margin."""
    for _ in range(n):
        sample = drawn(run, M)  # the same for all d: only the noise differs
        for d in DIMENSIONS:
            run.record(part="dimension", d=d, m=M, **words_error(run, *sample, d))
        for m in SIZES:
            run.record(part="size", d=D, m=m, **words_error(run, *drawn(run, m), D))
    for d in ON_SPHERE:
        run.record(part="sphere", d=d, error=sphere_error(run, M, d))


def words_error(run: Run, word: Array, y: Array, d: int) -> dict[str, float]:
    """Hard-SVM's error, and its ratio to the bound: each word's error on 100 new examples, times its frequency.

    All of them have y = 1: since f(-x) = -f(x), the error is the same.
    """
    machine = fit(examples(run, word, y, d), y, bias=False)
    test = examples(run, np.repeat(np.arange(WORDS), 100), np.ones(100 * WORDS), d)
    error = float(P @ (machine(test) <= 0).reshape(WORDS, 100).mean(1))
    return {"error": error, "ratio": error / margin_bound(RATIO, len(y), DELTA)}


def sphere_error(run: Run, m: int, d: int) -> float:
    """Examples uniform on the sphere, labels sign(x_1): the error is the angle between w and e_1 over pi."""
    X = run.rng.standard_normal((m, d))
    X /= np.linalg.norm(X, axis=1)[:, None]
    machine = fit(X, np.where(X[:, 0] > 0, 1, -1), bias=False)
    return float(np.arccos(machine.w[0] / machine.norm) / np.pi)


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: hard and soft margin, RBF regions, Pegasos, the perceptron, error against d, error against m."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(13.5, 7.6), layout="constrained")
        (margins, regions, rate), (counts, dimensions, sizes) = figure.subplots(2, 3)
        draw_margins(margins, arrays["discs"], arrays["y"])
        draw_regions(regions, arrays["rings"], arrays["y"])

        own = rows[rows["part"] == "descent"]
        plot.band(rate, own, "T", "gap", label="Pegasos, mean of 50 runs")
        T = np.unique(own["T"].to_numpy())
        rate.plot(T, pegasos_bound(T, 1, LAMBDA), "k:", label="$4\\rho^2 (1 + \\log T) / (\\lambda T)$")
        last = own.groupby("T")["gap"].median().iloc[-1]
        rate.plot(T, last * T[-1] / T, color="0.6", ls="--", lw=1, label="slope $-1$")
        rate.set(xscale="log", yscale="log", xlabel="steps $T$", ylabel="objective (15.12) above the optimum")
        rate.set_title(f"SGD, $\\lambda$ = {LAMBDA:g} (15.5)")
        rate.legend()

        counts.plot(arrays["update_bounds"], arrays["updates"], ".", ms=4, alpha=0.6, label="one problem")
        line = np.array([arrays["update_bounds"].min(), arrays["update_bounds"].max()])
        counts.plot(line, line, "k:", label="$(\\rho / \\gamma)^2$")
        counts.set(xscale="log", yscale="log", xlabel="$(\\rho / \\gamma)^2$", ylabel="updates")
        counts.set_title("Perceptron (Theorem 9.1)")
        counts.legend()

        own = seed_means(rows, "dimension", "d")
        plot.band(dimensions, own, "d", "error", marker="o", ms=3, label="fixed margin")
        plot.band(dimensions, seed_means(rows, "sphere", "d"), "d", "error", marker="s", ms=3, label="no margin")
        dimensions.axhline(margin_bound(RATIO, M, DELTA), color="k", ls=":", label="Theorem 15.4, fixed margin")
        dimensions.set(xscale="log", yscale="log", ylim=(1e-4, 1), xlabel="features $d$", ylabel="0-1 error")
        dimensions.set_title(f"Hard-SVM, $m$ = {M}, $\\rho / \\gamma$ = {RATIO:.1f}")
        dimensions.legend(loc="center left")

        own = seed_means(rows, "size", "m")
        plot.band(sizes, own, "m", "error", marker="o", ms=3, label="fixed margin")
        m = np.geomspace(SIZES[0], SIZES[-1], 50)
        sizes.plot(m, margin_bound(RATIO, m, DELTA), "k:", label=f"Theorem 15.4, $\\delta$ = {DELTA}")
        sizes.set(xscale="log", yscale="log", ylim=(1e-4, 1.5), xlabel="examples $m$", ylabel="0-1 error")
        sizes.set_xticks(SIZES, [str(m) for m in SIZES])
        sizes.minorticks_off()
        sizes.set_title(f"Hard-SVM, $d$ = {D}, $\\rho / \\gamma$ = {RATIO:.1f}")
        sizes.legend(loc="center left")
        plot.caption(
            figure,
            [
                "Generated data. Circles: support vectors; dashed: f(x) = -1 and 1. The first two panels and the "
                f"fourth show one seed. Lines: medians, bands: range over {rows['seed'].nunique()} seeds."
            ],
        )
    return figure


def seed_means(rows: Rows, part: str, by: str) -> Rows:
    """Each seed's mean over its repetitions of a part."""
    return rows[rows["part"] == part].groupby(["seed", by], as_index=False)[["error"]].mean()


def draw_margins(axes: Axes, X: Array, y: Array) -> None:
    """The halfspace and its two margin lines with a hard margin and with a soft one."""
    axes.scatter(X[:, 0], X[:, 1], c=y, cmap="coolwarm", s=10)
    for C, color, size in ((np.inf, "k", 50), (0.1, "tab:green", 90)):
        machine = fit(X, y, C=C)
        label = "hard margin" if np.isinf(C) else f"soft margin, $C$ = {C:g}"
        axes.scatter(machine.X[:, 0], machine.X[:, 1], s=size, facecolors="none", edgecolors=color, linewidths=0.8)
        contours(axes, machine, color)
        axes.plot([], [], color=color, label=label)
    axes.set(ylim=(-2.4, 3), xlabel="$x_1$", ylabel="$x_2$", title="Hard and soft margin (chapter 15)")
    axes.legend(loc="upper center", ncols=2)


def draw_regions(axes: Axes, X: Array, y: Array) -> None:
    """Where the RBF machine says -1 and +1."""
    machine = fit(X, y, rbf(0.7), C=10)
    contours(axes, machine, "k", filled=True)
    axes.scatter(X[:, 0], X[:, 1], c=y, cmap="coolwarm", s=10)
    axes.scatter(machine.X[:, 0], machine.X[:, 1], s=50, facecolors="none", edgecolors="k", linewidths=0.8)
    axes.set(xlabel="$x_1$", ylabel="$x_2$", title="RBF kernel, $\\sigma$ = 0.7, $C$ = 10 (chapter 16)")


def contours(axes: Axes, machine: Machine, color: str, filled: bool = False) -> None:
    """f = 0 as a line and f = -1, 1 dashed; the signs of f as colours where ``filled``."""
    x1, x2 = np.meshgrid(np.linspace(-3.2, 3.2, 121), np.linspace(-2.4, 2.4, 121))
    f = machine(np.column_stack([x1.ravel(), x2.ravel()])).reshape(x1.shape)
    if filled:
        axes.contourf(x1, x2, np.sign(f), levels=[-2, 0, 2], cmap="coolwarm", alpha=0.2)
    axes.contour(x1, x2, f, levels=[-1, 0, 1], colors=color, linewidths=1, linestyles=["--", "-", "--"])


def rate(own: Rows) -> float:
    """The slope of log gap against log T over the last two decades of T."""
    late = own[own["T"] >= own["T"].max() / 100]
    return float(np.polyfit(np.log(late["T"]), np.log(late["gap"]), 1)[0])


def growth(own: Rows) -> float:
    """The mean error at the largest d over that at the smallest."""
    error = own.groupby("d")["error"].mean()
    return float(error.iloc[-1] / error.iloc[0])


def largest(part: str, column: str) -> Callable[[Rows], list[float]]:
    """Measures the largest value of a column of a part."""
    return measured("svm", part, lambda own: float(own[column].max()))


CLAIMS = (
    Claim(
        id="uml-svm-gap",
        source="Chapter 15, duality",
        statement="Strong duality: the relative duality gap (P - D)/P vanishes (largest of 3 kernels, hard and soft)",
        measure=largest("gap", "gap"),
        holds=lambda gap: gap < 1e-6,
        tolerance="< 1e-6",
        average=max,
    ),
    Claim(
        id="uml-svm-weights",
        source="Section 15.5",
        statement="SGD, which knows no alpha, arrives at w = sum alpha_i y_i x_i (distance over |w|, mean of the runs)",
        measure=measured("svm", "descent", lambda own: float(own.sort_values("T")["distance"].iloc[-1])),
        holds=lambda distance: distance < 0.05,
        tolerance="< 0.05",
    ),
    Claim(
        id="uml-svm-on-margin",
        source="Theorem 15.8",
        statement="Support vectors of a hard margin have |<w, x>| = 1 (largest difference)",
        measure=largest("margin", "off"),
        holds=lambda off: off < 1e-4,
        tolerance="< 1e-4",
        average=max,
    ),
    Claim(
        id="uml-svm-span",
        source="Theorem 15.8",
        statement="The examples with |<w, x>| = 1 alone give the same w (largest relative change)",
        measure=largest("margin", "moved"),
        holds=lambda moved: moved < 1e-6,
        tolerance="< 1e-6",
        average=max,
    ),
    Claim(
        id="uml-svm-margin-bound",
        source="Theorem 15.4",
        statement="Hard-SVM's 0-1 error is below the bound, at every d and m (largest ratio to it)",
        measure=lambda rows: [
            float(np.max(pair))
            for pair in zip(*(largest(part, "ratio")(rows) for part in ("dimension", "size")), strict=True)
        ],
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-svm-dimension-free",
        source="Theorem 15.4",
        statement="At a fixed margin the error does not grow with d (error at d = 3000 over that at d = 30)",
        measure=measured("svm", "dimension", growth),
        holds=lambda growth: growth < 1.5,
        tolerance="< 1.5",
    ),
    Claim(
        id="uml-svm-no-margin",
        source="Theorem 15.4",
        statement="Without a margin the error grows with d (error at d = 3000 over that at d = 300)",
        measure=measured("svm", "sphere", growth),
        holds=lambda growth: growth > 1.25,
        tolerance="> 1.25",
    ),
    Claim(
        id="uml-perceptron-updates",
        source="Theorem 9.1",
        statement="The perceptron makes at most (rho/gamma)^2 updates (largest ratio to it over random problems)",
        measure=largest("updates", "ratio"),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-pegasos-bound",
        source="Section 14.5.3, for (15.12)",
        statement="SGD's mean suboptimality is below 4 rho^2/(lambda T) (1 + log T) at every T (largest ratio to it)",
        measure=largest("descent", "ratio"),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-pegasos-rate",
        source="Section 14.5.3, for (15.12)",
        statement="It falls like 1/T (slope of its logarithm in log T over the last two decades of T)",
        measure=measured("svm", "descent", rate),
        holds=lambda slope: abs(slope + 1) < 0.15,
        tolerance="-1.15 to -0.85",
    ),
)

STUDY = Study(title="Support vector machines", measure=measure, draw=draw, claims=CLAIMS)

"""Study: the gap between sample and truth, measured over whole classes, beside the bounds that should contain it."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from papers.understanding_ml.learning_theory import (
    dichotomies,
    finite_class_bound,
    growth_bound,
    halfspace_count,
    halfspace_gap,
    linear_rademacher,
    massart_bound,
    rademacher,
    rademacher_bound,
    sauer_bound,
    threshold_errors,
)
from papers.understanding_ml.study import Rows, Study, measured, repeats
from shared import plot
from shared.claims import Claim
from shared.experiment import Run
from shared.tree import Array

DELTA, NOISE, B = 0.1, 0.2, 1.0
THRESHOLDS = np.linspace(0, 1, 101)
TAIL = 256  # the size for which the whole distribution of the gap is shown
SIZES = (16, 64, 256, 1024, 4096)
PLANE_SIZES = (16, 32, 64, 128, 256)
POINTS = {2: range(1, 25), 3: range(1, 21), 4: range(1, 15)}  # by dimension: how many points are labelled
DIMENSIONS = (2, 20, 200)
SIGNS = 100  # draws of random signs for one sample
LUNCH_SIZES = (2, 8, 32, 128)


def measure(run: Run, effort: float) -> None:
    """One seed's rows of the five parts."""
    finite(run, repeats(effort, 1000, least=20))
    halfspaces(run, repeats(effort, 60, least=10))
    growth(run)
    linear(run, repeats(effort, 1000, least=200))
    lunch(run, repeats(effort, 2000, least=100))


def labels(run: Run, right: Array) -> Array:
    """The right labels, flipped with probability NOISE."""
    return np.where(run.rng.random(len(right)) < NOISE, -right, right)


def finite(run: Run, n: int) -> None:
    """101 thresholds on [0, 1], the truth among them: the gap of all, and of the best on a hold-out set as large."""
    true = NOISE + (1 - 2 * NOISE) * np.abs(THRESHOLDS - 0.5)

    def errors(m: int) -> Array:
        x = run.rng.random(m)
        return threshold_errors(x, labels(run, np.where(x >= 0.5, 1, -1)), THRESHOLDS)

    for m in SIZES:
        gaps, held_out = np.zeros(n), np.zeros(n)
        for i in range(n):
            training, validation = errors(m), errors(m)
            gaps[i] = np.abs(training - true).max()
            best = training.argmin()
            held_out[i] = abs(validation[best] - true[best])
        union, single = finite_class_bound(m, DELTA, len(THRESHOLDS)), finite_class_bound(m, DELTA)
        run.record(
            part="finite",
            m=m,
            gap=gaps.mean(),
            held_out=held_out.mean(),
            violated=np.mean(gaps > union),
            held_out_violated=np.mean(held_out > single),
        )
        if m == TAIL:
            run.keep(gaps=np.sort(gaps), held_out=np.sort(held_out))


def halfspaces(run: Run, n: int) -> None:
    """Halfspaces of the plane: the exact gap, the Rademacher complexity, and both bounds."""
    for m in PLANE_SIZES:
        gaps, complexities = np.zeros(n), np.zeros(n)
        for i in range(n):
            X, w = run.rng.standard_normal((m, 2)), run.rng.standard_normal(2)
            gaps[i] = halfspace_gap(X, labels(run, np.sign(X @ w)), w, NOISE)
            complexities[i] = rademacher(dichotomies(X), random_signs(run, SIGNS, m)).mean()
        run.record(
            part="halfspaces",
            m=m,
            gap=gaps.mean(),
            complexity=complexities.mean(),
            massart=massart_bound(m, halfspace_count(m, 2)),
            growth_violated=np.mean(gaps > growth_bound(m, DELTA, halfspace_count(m, 2))),
            rademacher_violated=np.mean(
                [g > rademacher_bound(m, DELTA, c) for g, c in zip(gaps, complexities, strict=True)]
            ),
        )


def random_signs(run: Run, n: int, m: int) -> Array:
    """n rows of m independent signs."""
    return run.rng.choice([-1.0, 1.0], (n, m))


def growth(run: Run) -> None:
    """In how many ways halfspaces label random points, counted."""
    for d, sizes in POINTS.items():
        for m in sizes:
            labellings = len(dichotomies(run.rng.standard_normal((m, d))))
            run.record(
                part="growth", d=d, m=m, labellings=labellings, cover=halfspace_count(m, d), sauer=sauer_bound(m, d)
            )


def linear(run: Run, n: int) -> None:
    """Linear functions with |w| <= B on points of the unit ball: the Rademacher complexity, its ratio to the bound."""
    for d in DIMENSIONS:
        for m in SIZES[:4]:
            X = run.rng.standard_normal((m, d))
            X *= run.rng.random((m, 1)) ** 0.5 / np.linalg.norm(X, axis=1, keepdims=True)
            complexity = linear_rademacher(X, B, random_signs(run, n, m)).mean()
            bound = np.linalg.norm(X, axis=1).max() * B / np.sqrt(m)
            run.record(part="linear", d=d, m=m, complexity=complexity, ratio=complexity / bound)


def lunch(run: Run, n: int) -> None:
    """A learner that remembers its m examples and guesses the majority elsewhere, on 2 m points with random labels."""
    for m in LUNCH_SIZES:
        errors = np.zeros(n)
        for i in range(n):
            truth, seen = run.rng.choice([-1, 1], 2 * m), run.rng.integers(0, 2 * m, m)
            answer = np.full(2 * m, 1 if truth[seen].sum() >= 0 else -1)
            answer[seen] = truth[seen]
            errors[i] = np.mean(answer != truth)
        run.record(part="lunch", m=m, error=errors.mean(), bad=np.mean(errors >= 1 / 8))


def slope(rows: Rows) -> float:
    """Of the log of the mean gap against the log of m."""
    return float(np.polyfit(np.log(rows["m"]), np.log(rows["gap"]), 1)[0])


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Six panels: a finite class, halfspaces, the gap's tail, the growth function, linear classes, no free lunch."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(13, 7.4), layout="constrained")
        thresholds, plane, tails, counts, balls, lunches = figure.subplots(2, 3).flat

        own = rows[rows["part"] == "finite"]
        plot.band(thresholds, own, "m", "gap", marker="o", ms=4, label="gap of 101 thresholds")
        plot.band(thresholds, own, "m", "held_out", marker="s", ms=4, label="gap of one, on hold-out data")
        union = [finite_class_bound(m, DELTA, len(THRESHOLDS)) for m in SIZES]
        thresholds.plot(SIZES, union, "k:", label="$\\sqrt{\\log(2 |H| / \\delta) / 2m}$")
        single = [finite_class_bound(m, DELTA) for m in SIZES]
        thresholds.plot(SIZES, single, ":", color="0.5", label="$\\sqrt{\\log(2 / \\delta) / 2m}$")
        thresholds.set(title="A finite class (4), a hold-out set (11)", ylabel="mean $|L_D - L_S|$")

        size, epsilon = len(THRESHOLDS), np.linspace(0, 0.2, 200)
        for column, label in (("gaps", "101 thresholds"), ("held_out", "one, on hold-out data")):
            tails.step(
                arrays[column], 1 - np.arange(len(arrays[column])) / len(arrays[column]), where="pre", label=label
            )
        tails.plot(epsilon, 2 * size * np.exp(-2 * TAIL * epsilon**2), "k:", label="$2 |H| e^{-2 m \\epsilon^2}$")
        tails.plot(epsilon, 2 * np.exp(-2 * TAIL * epsilon**2), ":", color="0.5", label="$2 e^{-2 m \\epsilon^2}$")
        tails.axhline(DELTA, color="C3", lw=0.8, label="$\\delta$")
        tails.set(
            yscale="log",
            ylim=(1 / len(arrays["gaps"]), 3),
            xlim=(0, 0.26),
            xlabel="$\\epsilon$",
            ylabel="share of samples",
        )
        tails.set_title(f"Gap above $\\epsilon$, $m$ = {TAIL}")

        own = rows[rows["part"] == "halfspaces"]
        plot.band(plane, own, "m", "gap", marker="o", ms=4, label="gap")
        plot.band(plane, own, "m", "complexity", marker="s", ms=4, label="$R(H \\circ S)$, estimated")
        plot.band(plane, own, "m", "massart", color="0.5", ls=":", label="$\\sqrt{2 \\log \\tau(m) / m}$")
        bound = [growth_bound(m, DELTA, halfspace_count(m, 2)) for m in PLANE_SIZES]
        plane.plot(PLANE_SIZES, bound, "k:", label="the same $+ \\sqrt{\\log(1/\\delta) / 2m}$")
        plane.set(title="Halfspaces of the plane (6, 26)", ylabel="mean over samples")

        own = rows[rows["part"] == "growth"]
        for (d, table), colour in zip(own.groupby("d"), ("C0", "C1", "C2"), strict=True):
            first = table.drop_duplicates("m")
            counts.plot(first["m"], first["labellings"], "o", ms=3, color=colour, label=f"counted, $d$ = {d:g}")
            counts.plot(first["m"], first["sauer"], "--", color=colour, lw=0.8)
            counts.plot(first["m"], first["cover"], "k:")
        powers_of_two = np.arange(1, 13)
        counts.plot(powers_of_two, 2.0**powers_of_two, color="0.5", lw=0.8, label="$2^m$")
        counts.plot([], [], "k:", label="Cover's count")
        counts.plot([], [], "--", color="C0", lw=0.8, label="Sauer's bound")
        counts.set(xlabel="points $m$", ylabel="labellings", yscale="log", title="Growth function of halfspaces (6)")
        counts.legend(ncols=2, fontsize=8)

        own = rows[rows["part"] == "linear"]
        for d, table in own.groupby("d"):
            plot.band(balls, table, "m", "complexity", marker="o", ms=4, label=f"$d$ = {d:g}")
        balls.plot(SIZES[:4], [B / np.sqrt(m) for m in SIZES[:4]], "k:", label="$\\rho B / \\sqrt{m}$")
        balls.set(title="Linear functions, $|x| \\leq \\rho$, $|w| \\leq B$ (26)", ylabel="$R(H \\circ S)$, estimated")

        own = rows[rows["part"] == "lunch"]
        plot.band(lunches, own, "m", "error", marker="o", ms=4, label="mean error")
        plot.band(lunches, own, "m", "bad", marker="s", ms=4, label="share of errors $\\geq$ 1/8")
        lunches.axhline(1 / 4, color="C0", ls=":", label="mean is at least 1/4")
        lunches.axhline(1 / 7, color="C1", ls=":", label="share is at least 1/7")
        lunches.set(title="No free lunch (Thm 5.1)", xlabel="examples $m$, of $2m$ points", ylim=(0, 1.05))

        for axes, sizes in ((thresholds, SIZES), (plane, PLANE_SIZES), (balls, SIZES[:4])):
            axes.set(xscale="log", yscale="log", xlabel="examples $m$")
            axes.set_xticks(sizes, [str(m) for m in sizes])
            axes.set_xticks([], minor=True)
        plane.set_ylim(0.04, 4)
        lunches.set_xscale("log")
        lunches.set_xticks(LUNCH_SIZES, [str(m) for m in LUNCH_SIZES])
        lunches.set_xticks([], minor=True)
        for axes in (thresholds, plane, tails, balls, lunches):
            axes.legend(fontsize=8)
        plot.caption(
            figure,
            [
                f"Generated data: labels flipped with probability {NOISE:g}, delta = {DELTA:g}. Lines: medians, bands: "
                f"range over {rows['seed'].nunique()} seeds. In brackets: the chapters of the book."
            ],
        )
    return figure


NAME = "learning_theory"
CLAIMS = (
    Claim(
        id="uml-theory-finite",
        source="Chapter 4",
        statement="The gap of 101 thresholds exceeds the union bound with probability at most delta (largest share)",
        measure=measured(NAME, "finite", lambda seed: float(seed["violated"].max())),
        holds=lambda share: share <= DELTA,
        tolerance="<= 0.1",
    ),
    Claim(
        id="uml-theory-slope",
        source="Chapter 4",
        statement="That gap falls like 1/sqrt(m) (slope of its log against log m)",
        measure=measured(NAME, "finite", slope),
        holds=lambda value: abs(value + 0.5) <= 0.05,
        tolerance="-0.5 +- 0.05",
    ),
    Claim(
        id="uml-theory-holdout",
        source="Thm 11.1",
        statement="|L_V - L_D| of the one chosen exceeds its bound with probability at most delta (largest share)",
        measure=measured(NAME, "finite", lambda seed: float(seed["held_out_violated"].max())),
        holds=lambda share: share <= DELTA,
        tolerance="<= 0.1",
    ),
    Claim(
        id="uml-theory-halfspaces",
        source="Chapters 6, 26",
        statement="The gap of halfspaces exceeds its two bounds with probability at most delta (largest share)",
        measure=measured(
            NAME,
            "halfspaces",
            lambda seed: float(seed[["growth_violated", "rademacher_violated"]].max().max()),
        ),
        holds=lambda share: share <= DELTA,
        tolerance="<= 0.1",
    ),
    Claim(
        id="uml-theory-symmetrisation",
        source="Chapter 26",
        statement="The mean gap is at most the Rademacher complexity (largest ratio over m)",
        measure=measured(NAME, "halfspaces", lambda seed: float((seed["gap"] / seed["complexity"]).max())),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-theory-massart",
        source="Chapter 26",
        statement="... and this at most sqrt(2 log tau(m) / m) (largest ratio over m)",
        measure=measured(NAME, "halfspaces", lambda seed: float((seed["complexity"] / seed["massart"]).max())),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-theory-linear",
        source="Chapter 26",
        statement="Linear functions have R <= rho B / sqrt(m) in 2, 20 and 200 dimensions (largest ratio)",
        measure=measured(NAME, "linear", lambda seed: float(seed["ratio"].max())),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-theory-cover",
        source="Cover 1965",
        statement="Halfspaces label m points in 2 sum_{k<d} binom(m-1, k) ways (largest difference to the count)",
        measure=measured(NAME, "growth", lambda seed: float((seed["labellings"] - seed["cover"]).abs().max())),
        holds=lambda difference: difference == 0,
        tolerance="= 0",
        average=max,
    ),
    Claim(
        id="uml-theory-sauer",
        source="Chapter 6, Sauer's lemma",
        statement="... which is at most sum_{k<=d} binom(m, k) (largest ratio)",
        measure=measured(NAME, "growth", lambda seed: float((seed["labellings"] / seed["sauer"]).max())),
        holds=lambda ratio: ratio <= 1,
        tolerance="<= 1",
        average=max,
    ),
    Claim(
        id="uml-theory-no-free-lunch",
        source="Thm 5.1",
        statement="After m examples of 2m points the error is >= 1/8 with probability >= 1/7 (smallest share over m)",
        measure=measured(NAME, "lunch", lambda seed: float(seed["bad"].min())),
        holds=lambda share: share >= 1 / 7,
        tolerance=">= 1/7",
    ),
    Claim(
        id="uml-theory-lunch-mean",
        source="Thm 5.1, its proof",
        statement="Its mean error is at least 1/4 (smallest over m)",
        measure=measured(NAME, "lunch", lambda seed: float(seed["error"].min())),
        holds=lambda error: error >= 1 / 4,
        tolerance=">= 0.25",
        average=min,
    ),
)

STUDY = Study(title="Learning theory", measure=measure, draw=draw, claims=CLAIMS)

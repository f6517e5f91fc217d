"""The figures of section 5 and of the bounds, as pure functions of recorded rows."""

from collections.abc import Iterator, Mapping
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from papers.rethinking_generalization.bounds import BELOW, DELTA, rademacher_bound
from papers.rethinking_generalization.claims import conditions
from papers.rethinking_generalization.section5 import (
    DIMENSION,
    EQUATIONS,
    JITTER,
    README_GAMMA,
    SPREAD,
    TRAINING_IMAGES,
    UNKNOWNS,
)
from papers.rethinking_generalization.section5_claims import own
from shared import plot

Printed = dict[str, dict[str, float]]
# The paper's test errors (%) and norms, at the whole training set, by what the kernel sees.
PAPER_ERRORS: Printed = {
    "mnist": {"pixels": 1.2, "Gabor wavelets": 0.6},
    "cifar10": {"pixels": 46, "random filters": 17},
}
PAPER_NORMS: Printed = {"mnist": {"pixels": 220, "Gabor wavelets": 390}}
COLOUR = {"pixels": "tab:blue", "random filters": "tab:red", "Gabor wavelets": "tab:green"}
BOUNDS = {
    "spectral": ("spectral norms (Bartlett et al. 2017)", "tab:purple"),
    "spectral_from_start": ("the same, from where training started", "tab:pink"),
    "frobenius": ("Frobenius norms (Neyshabur et al. 2015)", "tab:blue"),
    "parameter_bound": ("number of parameters, 32 bits each", "tab:green"),
    "rademacher_bound": ("Rademacher complexity, by fitting random labels", "tab:orange"),
}


def figure(rows: pd.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Errors and norms against n for each data set, which ``titles`` names; widths of the kernel; SGD; theorem 1.

    A study without rows, failed or still to come, leaves its panels empty.
    """
    kernels = own(rows, "interpolation")
    if kernels.empty:
        return nothing("No interpolation: none of the kernels' jobs is finished.")
    names = list(kernels["data"].unique())
    with plt.rc_context(plot.STYLE):
        columns = len(names) + 2
        drawn = Figure(figsize=(4.4 * columns, 7.4), layout="constrained")
        panels = drawn.subplots(2, columns, squeeze=False)
        for column, name in zip(panels.T, names, strict=False):
            found = kernels[kernels["data"] == name]
            errors(column[0], found, name)
            column[0].set_title(f"{titles[name]}: interpolants generalise")
            norms(column[1], found, name)
            column[1].set_title(f"{titles[name]}: their norms")
        for axes, draw, name in (
            (panels[0, -2], partial(bandwidths, titles=titles), "bandwidth"),
            (panels[1, -2], norm_against_error, "bandwidth"),
            (panels[0, -1], sgd, "sgd"),
            (panels[1, -1], theorem, "theorem1"),
        ):
            found = own(rows, name)
            if found.empty:
                axes.set_axis_off()
            else:
                draw(axes, found)
        counts = ", ".join(
            f"{found['filters'].max():,.0f} on {titles[str(name)]}"
            for name, found in kernels.groupby("data", sort=False)
        )
        plot.caption(
            drawn,
            [
                f"Gaussian kernel, (K + ridge I) alpha = Y, on {', '.join(titles[name] for name in names)}, pixels in "
                f"[0, 1]; the width by one rule, gamma times the mean of |x - x'|² = {SPREAD} (MNIST's at gamma = "
                f"{README_GAMMA}). Random filters: {counts}. Norm: sqrt(tr alpha' K alpha). The best ridge: on "
                f"the test set.{precision(kernels)}",
                f"SGD: {EQUATIONS} equations, {UNKNOWNS} unknowns, normal numbers. Theorem 1: {DIMENSION}-dimensional "
                f"normal points and values, and images with the parity of the digit. {seeds(kernels)}",
            ],
        )
    return drawn


def nothing(reason: str) -> Figure:
    """A figure that says why there is none."""
    drawn, (panel,) = plot.panels(1)
    plot.caption(drawn, [reason])
    panel.set_axis_off()
    return drawn


def seeds(kernels: pd.DataFrame) -> str:
    """Over which seeds medians and ranges are, and which points one seed stands for."""
    every = sorted(kernels["seed"].unique())
    text = f"Medians and ranges over seeds {', '.join(map(str, every))}"
    whole = kernels[(kernels["filters"] == 0) & (kernels["n"] == kernels["data"].map(TRAINING_IMAGES))]
    if len(every) == 1 or whole.empty:
        return f"{text}."
    return f"{text}; pixels at n = {', '.join(f'{n:,.0f}' for n in whole['n'].unique())}, the same for all, one run."


def precision(kernels: pd.DataFrame) -> str:
    """Where there are float32 matrices, and what their diagonal was given."""
    single = kernels[kernels["dtype"] == "float32"]
    if single.empty:
        return ""
    sizes = ", ".join(f"{n:,.0f}" for n in sorted(single["n"].unique()))
    return f" n = {sizes}: float32, factored with {JITTER['float32']:g} on the diagonal, refined in float64."


def errors(axes: Axes, found: pd.DataFrame, name: str) -> None:
    """Test error against n: without ridge, with the one that helps most, and on filters' answers."""
    for key, data in sides(found):
        plot.band(axes, data[data["ridge"] == 0], "n", "test_error", color=COLOUR[key], marker="o", ms=3, label=key)
        best = data[data["ridge"] > 0].groupby(["seed", "n"])["test_error"].min().reset_index()
        plot.band(axes, best, "n", "test_error", color=COLOUR[key], ls="--", lw=1, label=f"{key}, best of 4 ridges")
    printed(axes, PAPER_ERRORS, name, " %")
    axes.set(xscale="log", xlabel="training images n", ylabel="test error (%)", ylim=(0, None))
    axes.legend(fontsize=7)


def sides(found: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of pixels and of filters' answers, by name."""
    yield "pixels", found[found["filters"] == 0]
    yield "random filters", found[found["filters"] > 0]


def printed(axes: Axes, numbers: Printed, name: str, unit: str = "") -> None:
    """The paper's numbers for a data set as stars at its size."""
    for key, value in numbers.get(name, {}).items():
        label = f"paper, {key}, n = {TRAINING_IMAGES[name]:,}: {value:g}{unit}"
        axes.plot(TRAINING_IMAGES[name], value, "*", color=COLOUR[key], ms=10, mec="black", label=label)


def norms(axes: Axes, found: pd.DataFrame, name: str) -> None:
    """The interpolants' norms against n."""
    exact = found[found["ridge"] == 0]
    for key, data in sides(exact):
        plot.band(axes, data, "n", "norm", color=COLOUR[key], marker="o", ms=3, label=key)
    printed(axes, PAPER_NORMS, name)
    n = np.array([exact["n"].min(), exact["n"].max()])
    axes.plot(n, np.sqrt(n), color="0.5", lw=1, ls=":", label="K = I: √n")
    axes.set(xscale="log", yscale="log", xlabel="training images n", ylabel="norm of the interpolant")
    plain(axes.yaxis)
    axes.legend(fontsize=7)


def plain(axis: Axis) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis of few decades."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def bandwidths(axes: Axes, found: pd.DataFrame, titles: Mapping[str, str]) -> None:
    """Test error against the width, and what bw = 0.02 would be in each reading."""
    plot.band(axes, found, "spread", "test_error", color=COLOUR["pixels"], marker="o", ms=3)
    named = found[found["reading"].fillna("") != ""].groupby("reading", sort=False)[["spread", "test_error"]].median()
    styles = (("tab:green", 6), ("tab:orange", 6), ("tab:red", 9), ("tab:purple", 5))  # the last two are at one place
    for (reading, row), (colour, size) in zip(named.iterrows(), styles, strict=True):
        axes.plot(row["spread"], row["test_error"], "D", color=colour, ms=size, label=str(reading))
    axes.set(xscale="log", xlabel="gamma × mean |x − x'|²", ylabel="test error (%)", ylim=(0, 100))
    title, n = titles[found["data"].iloc[0]], found["n"].iloc[0]
    axes.set_title(f"{title}, n = {n:,.0f}: what bw = {README_GAMMA} says")
    axes.legend(fontsize=7, title="bw read as", title_fontsize=7)


def norm_against_error(axes: Axes, found: pd.DataFrame) -> None:
    """Each width's interpolant as a point."""
    learned = found[found["spread"] <= 1e3]
    points = axes.scatter(learned["norm"], learned["test_error"], c=np.log10(learned["spread"]), s=18, cmap="viridis")
    axes.set(xscale="log", xlabel="norm of the interpolant", ylabel="test error (%)", ylim=(0, None))
    plain(axes.xaxis)
    axes.set_title("norms and errors of those interpolants")
    axes.figure.colorbar(points, ax=axes, label="log10 (gamma × mean |x − x'|²)")


def sgd(axes: Axes, found: pd.DataFrame) -> None:
    """The distance to where SGD must end, by epoch."""
    curves = found[found["part"] == "curve"]
    for column, colour, label in (
        ("from_zero", "tab:blue", "from 0, to the pseudoinverse's solution"),
        ("from_elsewhere", "tab:orange", "from elsewhere, to the nearest interpolant"),
    ):
        plot.band(axes, curves, "epoch", column, color=colour, label=label)
    axes.axhline(1e-6, color="0.5", lw=1, ls=":", label="1e-6")
    axes.set(yscale="log", xlabel="epoch of SGD", ylabel="relative distance", title="SGD finds the least norm from 0")
    axes.legend(fontsize=7)


def theorem(axes: Axes, found: pd.DataFrame) -> None:
    """The largest error of 2n + d weights against n."""
    for part, colour, label in (("generated", "tab:blue", "normal values"), ("images", "tab:red", "parity of digits")):
        chosen = found[found["part"] == part]
        plot.band(axes, chosen, "n", "fit_error", color=colour, marker="o", ms=3, label=label)
    axes.axhline(1e-6, color="0.5", lw=1, ls=":", label="1e-6")
    axes.set(xscale="log", yscale="log", xlabel="points n", ylabel="largest |c(x_i) − y_i|")
    axes.set_title("theorem 1: 2n + d weights fit n labels")
    axes.legend(fontsize=7)


def bounds(rows: pd.DataFrame, title: str) -> Figure:
    """The measured gap of Figure 1's networks and the bounds, against p and by condition."""
    found = own(rows, "bounds")
    if found.empty:
        return nothing("No bounds: the network of Figure 1 has convolutions.")
    random = found[(found["condition"] == "labels") & (found["p"] == 1)].set_index("seed")["rademacher"]
    estimate = found["seed"].map(random).where(found["condition"] == "labels")  # measured on the images as they are
    found = found.assign(rademacher_bound=list(map(rademacher_bound, estimate, found["images"])))
    drawn, (corrupted, by_condition) = plot.panels(2)
    labels = found[found["condition"] == "labels"]
    for column, (label, colour) in BOUNDS.items():
        plot.band(corrupted, labels.dropna(subset=[column]), "p", column, color=colour, marker="o", ms=3, label=label)
    plot.band(corrupted, labels, "p", "gap", color="black", marker="s", ms=4, lw=2, label="measured gap")
    corrupted.set_xlabel("share of labels resampled, p")
    kinds = {name: own_rows for name, own_rows in conditions(found).items() if len(own_rows)}
    for column, colour in [*((name, colour) for name, (_, colour) in BOUNDS.items()), ("gap", "black")]:
        for i, condition in enumerate(kinds.values()):
            values = condition[column].dropna()
            if len(values):
                by_condition.plot([i, i], [values.min(), values.max()], color=colour, lw=3, alpha=0.4)
                by_condition.plot(i, values.median(), "s" if column == "gap" else "o", color=colour, ms=5)
    by_condition.set_xticks(range(len(kinds)), [name.replace("-", "\n") for name in kinds])
    for panel in (corrupted, by_condition):
        panel.axhline(1, color="0.3", lw=1, ls="--")
        panel.set(yscale="log", ylabel="test − training error, or its bound")
        panel.annotate("above: vacuous", (0.01, 1), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
    drawn.legend(*corrupted.get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    model, seeds = found["model"].iloc[0], ", ".join(map(str, sorted(found["seed"].unique())))
    plot.caption(
        drawn,
        [
            f"{title}, {found['images'].iloc[0]:,.0f} training images, {model} of Figure 1, seeds {seeds}: median and "
            f"range. Bounds with their constants, probability {1 - DELTA:.2f}, at the margin that {BELOW:.0%} of the "
            "training images fall short of; without a margin, no bound. Norms and margin count as known in advance, in "
            "favour of the bounds. Rademacher: an estimate from one training a seed, no bound. The gap at p: with test "
            "labels resampled as well.",
        ],
    )
    return drawn

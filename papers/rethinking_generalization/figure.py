"""The figures of Figure 1 and Table 1 as pure functions of recorded rows. Section 5's are in section5_figure.py."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from papers.rethinking_generalization import claims
from papers.rethinking_generalization.data import CLASSES
from papers.rethinking_generalization.table_1 import PRINTED, TITLES, readings
from shared import plot
from shared.tree import Array

COLOURS = {
    "true-labels": "tab:blue",
    "random-labels": "tab:red",
    "shuffled-pixels": "tab:green",
    "random-pixels": "tab:purple",
    "gaussian": "tab:orange",
}
OVER = ("shuffled-pixels", "gaussian")  # curves that lie on another one
SPLITS = {"train": "tab:orange", "test": "tab:blue"}
LIMIT = 90  # percent: the test error that the paper states for p = 1, Figure 1c


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 1: training loss of the five conditions; time to fit and test error against corruption."""
    curves = claims.figure_1(rows, "curve")
    figure, (losses, slowdown, errors) = plot.panels(3)
    for name, own in claims.conditions(curves).items():
        dashes = "--" if name in OVER else "-"
        plot.band(losses, own, "iteration", "loss", color=COLOURS[name], ls=dashes, label=name.replace("-", " "))
    losses.set(xlabel="iteration", ylabel="training loss (nats)", title="a  learning curves")
    losses.legend()

    fits = claims.corrupted(claims.times(rows, claims.fit_time))
    true = fits[fits["p"] == 0].set_index("seed")["time"]
    relative = fits.assign(relative=fits["time"] / fits["seed"].map(true))
    fitted = relative[np.isfinite(relative["relative"])]
    plot.band(slowdown, fitted, "p", "relative", color="tab:blue", marker="o", ms=3)
    slowdown.set(xlabel="label corruption p", ylabel="time to fit over that at p = 0", title="b  slowdown of fitting")
    slowdown.set_ylim(bottom=0)

    measured = claims.corrupted(claims.test_errors(rows))
    plot.band(errors, measured, "p", "test_error", color="tab:blue", marker="o", ms=3)
    p, start = np.array([0, 1]), measured.loc[measured["p"] == 0, "test_error"].median() / 100
    errors.plot(p, 100 * copied(p, start), color="0.5", lw=1, ls="--", label="by copying single training labels")
    errors.axhline(LIMIT, color="tab:red", lw=1, ls=":", label=f"the paper's limit for p = 1: {LIMIT} %")
    errors.set(xlabel="label corruption p", ylabel="test error (%)", title="c  test error", ylim=(0, 100))
    errors.legend(loc="lower right", fontsize=7)

    one, missing = curves.iloc[0], len(relative) - len(fitted)
    plot.caption(
        figure,
        [
            f"{TITLES[one['model']]} on {one['images']:,.0f} images of {data}, {one['steps']:,.0f} iterations of "
            f"{one['batch_size']:.0f} images, the same hyperparameters everywhere. Losses and errors in a and b: of "
            f"the minibatches since the last evaluation. Fitted: training error at most {claims.FITTED:.0f} %"
            + (f"; {missing} training(s) never were and are not in b." if missing else ".")
            + f" Lines: medians, bands: the range over {seeds(curves)}. The paper prints no other number of this one.",
        ],
    )
    return figure


def copied(p: Array, start: float) -> Array:
    """The test error, a share, of a rule that gives each test image the label of one training image, resampled with
    probability p, if it errs on the share ``start`` at p = 0: 1 - (1 - start) (1 - q) - start q / 9, q = 0.9 p.
    """
    q = (1 - 1 / CLASSES) * p
    return 1 - (1 - start) * (1 - q) - start * q / (CLASSES - 1)


def table_1(rows: pd.DataFrame, data: str) -> Figure:
    """Table 1: training and test accuracy of each row, beside the paper's where the data are its own."""
    own = readings(rows).sort_values("model", kind="stable", key=lambda model: model.map([*TITLES].index))
    groups = [(str(model), str(row), part) for (model, row), part in own.groupby(["model", "row"], sort=False)]
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(7.5, 0.4 * len(groups) + 1.6), layout="constrained")
        axes = figure.subplots()
        for place, (model, row, part) in enumerate(groups):
            for split, colour in SPLITS.items():
                values = part[f"{split}_accuracy"]
                axes.plot([values.min(), values.max()], [place, place], color=colour, alpha=0.4, lw=5)
                axes.plot(values.median(), place, "o", color=colour, ms=5, label=split if place == 0 else None)
                if "CIFAR-10" in data and (model, row) in PRINTED:
                    label = "the paper's, 50,000 images" if (place, split) == (0, "test") else None
                    axes.plot(PRINTED[model, row][split == "test"], place, "k|", ms=11, label=label)
        axes.set_yticks(range(len(groups)), [f"{TITLES[m]}, {row}\n{trained(part)}" for m, row, part in groups])
        axes.tick_params("y", labelsize=7)
        axes.invert_yaxis()
        axes.set(xlabel="accuracy (%)", xlim=(0, 103))
        figure.legend(loc="outside upper center", ncols=3)
    plot.caption(figure, [f"{data}. Dots: medians over the seeds, bars: their range."])
    return figure


def trained(rows: pd.DataFrame) -> str:
    """On how many images, for how long, and with which seeds."""
    return f"{rows['images'].iloc[0]:,.0f} images, {rows['steps'].iloc[0]:,.0f} iterations, {seeds(rows)}"


def seeds(rows: pd.DataFrame) -> str:
    found = sorted(rows["seed"].unique())
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"

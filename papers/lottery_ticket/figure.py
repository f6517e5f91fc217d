"""The figures as pure functions of recorded rows and curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.lottery_ticket.claims import at, by_level, dense_mean
from shared import plot
from shared.tree import Array

LABEL = {
    "ticket": "winning ticket (iterative)",
    "reinit": "random reinitialisation",
    "one-shot": "winning ticket (one-shot)",
    "random": "random sparse network",
}
STYLE: dict[str, Any] = {
    "ticket": {"color": "tab:blue", "ls": "-"},
    "reinit": {"color": "tab:orange", "ls": "-"},
    "one-shot": {"color": "tab:green", "ls": "-"},
    "random": {"color": "tab:red", "ls": "--"},
}
COLUMN = {
    "early_stop": "early stop (iteration)",
    "test": "test accuracy at early stop (%)",
    "final_test": "test accuracy at the end (%)",
    "final_train": "training accuracy at the end (%)",
}
PAPER: dict[str, Any] = {"color": "black", "marker": "*", "mfc": "none", "ms": 10, "ls": "none", "zorder": 5}


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4a: early stop and accuracy there against weights left, tickets and reinitialisations."""
    figure, (stop, accuracy) = against_level(rows, ("ticket", "reinit"), ("early_stop", "test"))
    # The paper states these relative to its own networks, so they are drawn relative to ours.
    whole, level = dense_mean(rows, "early_stop"), 21.1
    stop.plot([level], [0.62 * whole], **PAPER, label="stated in the paper, relative to our means")
    stop.plot([level], [2.51 * at(by_level(rows, "ticket", "early_stop"), rows, level)], **PAPER)
    accuracy.plot([level], [at(by_level(rows, "ticket", "test"), rows, level) - 0.5], **PAPER)
    accuracy.plot([13.5], [dense_mean(rows, "test") + 0.3], **PAPER)
    note = (
        "Stars: the ticket at 21.1 % stops 38 % earlier than the dense network, its reinitialisation 2.51 times later "
        "and 0.5 points worse than the ticket; at 13.5 % tickets gain more than 0.3 points."
    )
    return finished(figure, rows, data, note, reinits=True)


def random_networks(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 1: tickets against randomly sampled sparse networks."""
    figure, _ = against_level(rows, ("ticket", "random"), ("early_stop", "test"))
    return finished(figure, rows, data, "Figure 1. The paper prints no numbers for it.")


def end_of_training(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4b: accuracy on both sets after the last iteration."""
    figure, (test, _) = against_level(rows, ("ticket", "reinit"), ("final_test", "final_train"))
    best = dense_mean(rows, "final_test") + 0.35
    test.axhline(best, color="black", lw=1, ls=":", label="paper: gain up to 0.35 points")
    return finished(figure, rows, data, "Figure 4b.", reinits=True)


def one_shot(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4c: one-shot pruning against iterative pruning."""
    figure, grid = against_level(rows, ("ticket", "one-shot"), ("early_stop", "test"))
    for axes, claimed in zip(grid, ((17.6, 67.5), (5.17, 95.0)), strict=True):
        axes.axvspan(*claimed, color="tab:green", alpha=0.08, lw=0)
    note = (
        "Figure 4c. Shaded: where the paper finds one-shot tickets to stop before the dense network, and to be more "
        "accurate."
    )
    return finished(figure, rows, data, note)


def training_curves(curves: Mapping[str, Array], data: str) -> Figure:
    """Figure 3: test accuracy during training; ``curves``: "<network> <P_m in percent>" -> (networks, iterations)."""
    own = {name: curve for name, curve in curves.items() if name not in ("iteration", "pixels")}
    figure, (left, right) = plot.panels(2)
    right.sharey(left)
    tickets = [name for name in own if not name.startswith("reinit")]
    for axes, shown in ((left, tickets), (right, compared_with_reinits(own))):
        for i, name in enumerate(shown):
            curve, colour = own[name], f"C{tickets.index(name.replace('reinit', 'ticket'))}"
            style = "--" if name.startswith("reinit") else "-"
            axes.plot(curves["iteration"], curve.mean(0), color=colour, ls=style, label=name)
            axes.fill_between(
                curves["iteration"], curve.min(0), curve.max(0), color=colour, alpha=0.12, lw=0, zorder=-i
            )
        axes.set(xscale="log", xlabel="training iteration")
        axes.legend(title="weights left (%)", loc="lower right", fontsize=9, frameon=False)
    top = max(curve.mean(0).max() for curve in own.values())
    left.set(ylabel="test accuracy (%)", ylim=(top - 6, top + 0.3))
    bands = "Line: mean, band: range over trials; for reinitialisations over all of them in all trials."
    plot.caption(figure, [f"Figure 3. Data: {data}. {bands}"])
    return figure


def compared_with_reinits(curves: Mapping[str, Array]) -> list[str]:
    """The dense network, and the levels of which reinitialisations are shown, with these."""
    reinits = [name for name in curves if name.startswith("reinit")]
    return ["dense 100", *(kind for name in reinits for kind in (name.replace("reinit", "ticket"), name))]


def pixels(curves: Mapping[str, Array], levels: Sequence[float], data: str) -> Figure:
    """Ours: how many of a pixel's weights survive, as an image for some of the levels; ``pixels``: (levels, n_x)."""
    counts = curves["pixels"]
    side = round(counts.shape[1] ** 0.5)
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(1.9 * max(len(counts), 3), 2.8), layout="constrained")
        grid = figure.subplots(1, len(counts), squeeze=False)[0]
        for axes, count, level in zip(grid, counts, levels, strict=True):
            image = axes.imshow(count.reshape(side, side), cmap="magma", vmin=0)
            axes.set_title(f"{level:.1f} % left")
            axes.set_axis_off()
            figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8)
        note = f"Surviving weights of each input pixel, of the 300 it starts with; mean over trials. Data: {data}."
        plot.caption(figure, [note])
    return figure


def against_level(rows: pd.DataFrame, networks: Sequence[str], columns: Sequence[str]) -> tuple[Figure, Sequence[Axes]]:
    """Columns against P_m, a panel each: means over trials with bars from min to max, as the paper draws them."""
    figure, grid = plot.panels(len(columns))
    for axes, column in zip(grid, columns, strict=True):
        for network in networks:
            own = rows[rows["network"].isin([network, "dense"])]
            table = own.groupby("weights_left")[column].agg(["mean", "min", "max"])
            bars = [table["mean"] - table["min"], table["max"] - table["mean"]]
            style = {"lw": 1.3, "elinewidth": 0.7, "capsize": 1.5, "label": LABEL[network], **STYLE[network]}
            axes.errorbar(100 * table.index, table["mean"], bars, **style)
        axes.axhline(dense_mean(rows, column), color="0.4", lw=0.8, ls=":", label="dense network")
        axes.set_ylabel(COLUMN[column])
    return figure, grid


def finished(figure: Figure, rows: pd.DataFrame, data: str, note: str, reinits: bool = False) -> Figure:
    """The figure with its axes, legend and caption, which counts reinitialisations where they are drawn."""
    levels = np.sort(100 * rows["weights_left"].unique())[::-1]
    for axes in figure.axes:
        axes.set(xscale="log", xlabel="weights left, $P_m$ (%)")
        axes.set_xticks(levels[::3], [f"{level:.3g}" for level in levels[::3]])
        axes.minorticks_off()
        axes.invert_xaxis()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    means = f"Means over {rows['seed'].nunique()} trials"
    if reinits:
        each = rows[rows["network"] == "reinit"].groupby(["level", "seed"]).size().max()
        means += f" (reinitialisations in each: {each})"
    plot.caption(figure, [f"Data: {data}. {means}, bars: min to max.", note])
    return figure

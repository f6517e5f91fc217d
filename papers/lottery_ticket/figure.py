"""The figures as pure functions of recorded rows and curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.lottery_ticket.claims import at, by_level, dense
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
PAPER: dict[str, Any] = {"color": "black", "marker": "*", "mfc": "none", "ms": 10, "ls": "none", "zorder": 5}


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4a: early stop and accuracy there against weights left, tickets and reinitialisations."""
    figure, (stop, accuracy) = plot.panels(2)
    against_level(stop, rows, ("ticket", "reinit"), "early_stop")
    against_level(accuracy, rows, ("ticket", "reinit"), "test")
    # The paper states these relative to its own networks, so they are drawn relative to ours.
    whole, level = dense(rows, "early_stop"), 21.1
    ticket = at(by_level(rows, "ticket", "early_stop"), rows, level)
    better = at(by_level(rows, "ticket", "test"), rows, level)
    if ticket is not None and better is not None:
        stop.plot([level], [0.62 * whole], **PAPER, label="stated in the paper, relative to our means")
        stop.plot([level], [2.51 * ticket], **PAPER)
        accuracy.plot([level], [better - 0.5], **PAPER)
    accuracy.plot([13.5], [dense(rows, "test") + 0.3], **PAPER)
    stop.set_ylabel("early stop (iteration)")
    accuracy.set_ylabel("test accuracy at early stop (%)")
    finish(
        figure,
        [stop, accuracy],
        rows,
        data,
        "Stars: the ticket at 21.1 % stops 38 % earlier than the dense network, its reinitialisation 2.51 times later "
        "and 0.5 points worse than the ticket; at 13.5 % tickets gain more than 0.3 points.",
    )
    return figure


def random_networks(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 1: tickets against randomly sampled sparse networks."""
    figure, (stop, accuracy) = plot.panels(2)
    against_level(stop, rows, ("ticket", "random"), "early_stop")
    against_level(accuracy, rows, ("ticket", "random"), "test")
    stop.set_ylabel("early stop (iteration)")
    accuracy.set_ylabel("test accuracy at early stop (%)")
    finish(figure, [stop, accuracy], rows, data, "Figure 1. The paper prints no numbers for it.")
    return figure


def end_of_training(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4b: accuracy on both sets after the last iteration."""
    figure, (test, train) = plot.panels(2)
    against_level(test, rows, ("ticket", "reinit"), "final_test")
    against_level(train, rows, ("ticket", "reinit"), "final_train")
    test.axhline(dense(rows, "final_test") + 0.35, color="black", lw=1, ls=":", label="paper: gain up to 0.35 points")
    test.set_ylabel("test accuracy at the end (%)")
    train.set_ylabel("training accuracy at the end (%)")
    finish(figure, [test, train], rows, data, "Figure 4b.")
    return figure


def one_shot(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4c: one-shot pruning against iterative pruning."""
    figure, (stop, accuracy) = plot.panels(2)
    for axes, column, claimed in ((stop, "early_stop", (17.6, 67.5)), (accuracy, "test", (5.17, 95.0))):
        against_level(axes, rows, ("ticket", "one-shot"), column)
        axes.axvspan(*claimed, color="tab:green", alpha=0.08, lw=0)
    stop.set_ylabel("early stop (iteration)")
    accuracy.set_ylabel("test accuracy at early stop (%)")
    finish(
        figure,
        [stop, accuracy],
        rows,
        data,
        "Figure 4c. Shaded: where the paper finds one-shot tickets to stop before the dense network, and to be more "
        "accurate.",
    )
    return figure


def training_curves(curves: Mapping[str, Array], data: str) -> Figure:
    """Figure 3: test accuracy during training; ``curves``: "<network> <P_m in percent>" -> (trials, iterations)."""
    own = {name: curve for name, curve in curves.items() if name not in ("iteration", "pixels")}
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        tickets = [name for name in own if not name.startswith("reinit")]
        for axes, shown in ((left, tickets), (right, compared_with_reinits(own))):
            for i, name in enumerate(shown):
                curve, colour = own[name], f"C{tickets.index(name.replace('reinit', 'ticket'))}"
                axes.plot(
                    curves["iteration"], curve.mean(0), color=colour, ls="--" if "reinit" in name else "-", label=name
                )
                axes.fill_between(
                    curves["iteration"], curve.min(0), curve.max(0), color=colour, alpha=0.12, lw=0, zorder=-i
                )
            axes.set(xscale="log", xlabel="training iteration")
            axes.legend(title="weights left (%)", loc="lower right")
        top = max(curve.mean(0).max() for curve in own.values())
        left.set(ylabel="test accuracy (%)", ylim=(top - 6, top + 0.3))
        plot.caption(figure, [f"Figure 3. Data: {data}. Line: mean, band: range over trials."])
    return figure


def compared_with_reinits(curves: Mapping[str, Array]) -> list[str]:
    """The dense network, and the levels of which reinitialisations are shown, with these."""
    reinits = [name for name in curves if name.startswith("reinit")]
    return ["dense 100", *(kind for name in reinits for kind in (name.replace("reinit", "ticket"), name))]


def pixels(curves: Mapping[str, Array], levels: Sequence[float], data: str) -> Figure:
    """Ours: how many of a pixel's weights survive, as an image for some of the levels; ``pixels``: (levels, n_x)."""
    counts = curves["pixels"]
    side = round(counts.shape[1] ** 0.5)
    figure = Figure(figsize=(1.9 * len(counts), 2.5), layout="constrained")
    for axes, count, level in zip(figure.subplots(1, len(counts)), counts, levels, strict=True):
        image = axes.imshow(count.reshape(side, side), cmap="magma", vmin=0)
        axes.set_title(f"{level:.1f} % left", fontsize=9)
        axes.set_axis_off()
        figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8).ax.tick_params(labelsize=7)
    plot.caption(
        figure,
        [f"Surviving weights of each input pixel, of the 300 it starts with; mean over trials. Data: {data}."],
    )
    return figure


def against_level(axes: Axes, rows: pd.DataFrame, networks: Sequence[str], column: str) -> None:
    """A column against P_m: means over trials with bars from min to max, as the paper draws them."""
    for network in networks:
        own = rows[rows["network"].isin([network, "dense"])]
        table = own.groupby("weights_left")[column].agg(["mean", "min", "max"])
        bars = [table["mean"] - table["min"], table["max"] - table["mean"]]
        x = 100 * table.index
        axes.errorbar(
            x, table["mean"], bars, lw=1.3, elinewidth=0.7, capsize=1.5, label=LABEL[network], **STYLE[network]
        )
    axes.axhline(dense(rows, column), color="0.4", lw=0.8, ls=":", label="dense network")


def finish(figure: Figure, grid: Sequence[Axes], rows: pd.DataFrame, data: str, note: str) -> None:
    """Axis, legend and caption."""
    levels = np.sort(100 * rows["weights_left"].unique())[::-1]
    for axes in grid:
        axes.set(xscale="log", xlabel="weights left, $P_m$ (%)")
        axes.set_xticks(levels[::3], [f"{level:.3g}" for level in levels[::3]])
        axes.minorticks_off()
        axes.invert_xaxis()
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=9, frameon=False)
    reinits = rows[rows["network"] == "reinit"].groupby(["level", "seed"]).size().max()
    means = f"Means over {rows['seed'].nunique()} trials (reinitialisations in each: {reinits}), bars: min to max."
    plot.caption(figure, [f"Data: {data}. {means}", note])

"""The figures as pure functions of recorded rows and arrays."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.resnet.claims import TEST_ERRORS
from shared import plot
from shared.tree import Array

NAMES = {"none": "plain", "A": "residual", "B": "residual, option B"}
COLOURS = ("tab:blue", "tab:red", "tab:green", "tab:orange", "tab:purple")
Probes = Mapping[tuple[int, str, int], Array]  # by depth, shortcut and seed


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 6: errors against iterations, plain and residual, a colour a depth."""
    curves = rows[rows["part"] == "curve"]
    shortcuts, depths = list(curves["shortcut"].unique()), sorted(curves["depth"].unique())
    figure, panels = plot.panels(len(shortcuts))
    for panel, shortcut in zip(panels, shortcuts, strict=True):
        for depth, colour in zip(depths, cycle(COLOURS), strict=False):
            own = curves[(curves["shortcut"] == shortcut) & (curves["depth"] == depth)]
            plot.band(panel, own, "iteration", "test_error", color=colour, lw=2, label=f"{depth:.0f} layers, test")
            plot.band(panel, own, "iteration", "train_error", color=colour, lw=1, ls="--", label="training")
            if depth in TEST_ERRORS and shortcut == "A" and "CIFAR-10" in data:
                paper = TEST_ERRORS[depth]
                panel.axhline(paper, color=colour, lw=1, ls=":", label=f"paper after 64,000: {paper} %")
        panel.set_title(NAMES[shortcut])
        panel.set_xlabel("iteration")
        panel.set_ylabel("error (%)")
        panel.legend(ncols=len(depths), fontsize=7)
    top = 1.05 * float(np.quantile(curves["test_error"], 0.98))
    for panel in panels:
        panel.set_ylim(0, min(100.0, top))
    steps, batch = curves["steps"].iloc[0], curves["batch_size"].iloc[0]
    finish(
        figure,
        f"{data}, {steps:,.0f} iterations of {batch:.0f} images, the learning rate divided by 10 at 1/2 and 3/4 of "
        "them. Training errors: of the minibatches since the last evaluation, augmented. Final networks, never the "
        "best.",
        curves,
    )
    return figure


def responses(probes: Probes, data: str) -> Figure:
    """Figure 7: the standard deviation of each layer's response, in the network's order and sorted."""
    figure, (ordered, ranked) = plot.panels(2)
    for name, style in styles(probes):
        values = np.stack([array for key, array in probes.items() if key[:2] == name])
        layers = 1 + np.arange(values.shape[1])
        lines(ordered, layers, values, **style)
        lines(ranked, layers, -np.sort(-values, axis=1), **style)
    for panel, order in ((ordered, "layer, from the input"), (ranked, "layer, by magnitude")):
        panel.set_xlabel(order)
        panel.set_ylabel("std of the response")
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter("{x:g}")
        panel.legend(fontsize=7)
    finish(figure, f"{data}. Responses: outputs of 3x3 layers after BN, before ReLU or addition, on test images.")
    return figure


def gradients(norms: Probes, kernels: Probes, data: str) -> Figure:
    """The norm of the gradient of each 3x3 layer's kernel, before and after training, and times the kernel's norm."""
    scaled = {key: norms[key] * kernels[key] for key in norms}
    figure, panels = plot.panels(3)
    norm, times_kernel = "norm of the kernel's gradient", "that times the kernel's norm"
    shown = (
        ("before training", norms, 0, norm),
        ("after training", norms, 1, norm),
        ("after training", scaled, 1, times_kernel),
    )
    for panel, (title, probes, moment, quantity) in zip(panels, shown, strict=True):
        for name, style in styles(probes):
            values = np.stack([array[moment] for key, array in probes.items() if key[:2] == name])
            lines(panel, 1 + np.arange(values.shape[1]), values, **style)
        panel.set_yscale("log")
        panel.set_title(title)
        panel.set_xlabel("layer, from the input")
        panel.set_ylabel(quantity)
    panels[0].legend(fontsize=7)
    finish(figure, f"{data}. One minibatch of training images, statistics of the batch.")
    return figure


def styles(probes: Probes) -> list[tuple[tuple[int, str], dict[str, Any]]]:
    """A colour a depth, dashed where there are no shortcuts."""
    names = sorted({key[:2] for key in probes})
    depths = sorted({depth for depth, _ in names})
    return [
        (
            (depth, shortcut),
            {
                "color": COLOURS[depths.index(depth) % len(COLOURS)],
                "ls": "--" if shortcut == "none" else "-",
                "label": f"{NAMES[shortcut]}, {depth} layers",
            },
        )
        for depth, shortcut in names
    ]


def lines(panel: Axes, x: Array, values: Array, **style: Any) -> None:
    """The median over seeds (S, n) as a line and their range as a band."""
    panel.plot(x, np.median(values, axis=0), **style)
    panel.fill_between(x, values.min(0), values.max(0), color=style["color"], alpha=0.2, linewidth=0)


def finish(figure: Figure, text: str, rows: pd.DataFrame | None = None) -> None:
    seeds = "" if rows is None else f" Seeds: {seeds_of(rows)}."
    plot.caption(figure, [f"{text}{seeds} Lines: medians over seeds, bands: their range."])


def seeds_of(rows: pd.DataFrame) -> str:
    """The seeds, of each depth where they differ."""
    depths = sorted(rows["depth"].unique())
    found = {depth: ", ".join(map(str, sorted(rows.loc[rows["depth"] == depth, "seed"].unique()))) for depth in depths}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{depth:.0f} layers: {seeds}" for depth, seeds in found.items())

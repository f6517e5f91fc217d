"""The CNN study's figure as a pure function of its rows and the first seed's histograms."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from papers.resnet.cnn_study import (
    ACTIVATIONS,
    BATCH,
    CHANNELS,
    CLASSES,
    CONFIGURATIONS,
    INITIALISATIONS,
    LAYERS,
    MAGNITUDES,
    RATES,
    SMALL,
    STACKS,
    Rows,
)
from shared import plot
from shared.tree import Array

COLOUR = {"small": "tab:red", "Glorot": "tab:blue", "He": "tab:green"}
LINE = {"off": "--", "on": "-"}
HISTOGRAMS = (
    ("relu", "small", "off"),
    ("relu", "He", "off"),
    ("relu", "small", "on"),
    ("sigmoid", "Glorot", "off"),
    ("sigmoid", "Glorot", "on"),
)
BN = {"off": "no BN", "on": "BN"}
DERIVED: Any = {"ls": "none", "marker": ".", "color": "black", "ms": 4, "zorder": 5}


def draw(rows: Rows, arrays: Mapping[str, Array]) -> Figure:
    """Training curves; histograms through depth at the start; twenty layers, sigmoid gradients and last losses."""
    own = rows[rows["kind"] == "study"]
    parts = {str(name): part for name, part in own.groupby("part")}
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(15, 12.6), layout="constrained")
        grid = figure.add_gridspec(4, 1, height_ratios=(1, 0.95, 0.95, 1.1))
        curves = grid[0].subgridspec(1, len(ACTIVATIONS)).subplots(sharey=True, squeeze=False)[0]
        training_curves(curves, parts["curve"])
        for i, name in enumerate(("activations, $\\log_{10}|a_l|$", "gradients, $\\log_{10}|\\delta_l|$")):
            panels = grid[1 + i].subgridspec(1, len(HISTOGRAMS)).subplots(sharey=True, squeeze=False)[0]
            show_histograms(panels, arrays["histograms"][:, i], name)
        decay, kept, gradients, losses = grid[3].subgridspec(1, 4).subplots(squeeze=False)[0]
        variance_by_layer(decay, parts["variance"])
        kept_variance(kept, parts["variance"])
        sigmoid_gradients(gradients, parts["depth"])
        last_losses(losses, parts["curve"])
        handles, labels = curves[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        plot.caption(
            figure,
            [
                f"Data: digits. {LAYERS} 3x3 convolutions of {CHANNELS} channels on 4x4 places, mean, linear layer. "
                f"{own['study_steps'].iloc[0]:.0f} minibatches of {BATCH}, SGD with momentum 0.9 and learning rate "
                f"{RATES['on']} with BN, {RATES['off']} without. Small: N(0, {SMALL}$^2$). Line: median, band: range "
                f"over {own['seed'].nunique()} seeds.",
                "Histograms: one network of the first seed at the start, on 50 images, zeros left out. $a_l$: what "
                "layer l gives; $\\delta_l$: the gradient at its activation's input.",
                f"Below, left: 20 ReLU layers at the start, of {STACKS['none'][2]} channels and 1x3 kernels on strips "
                f"of 64 pixels, or {STACKS['zeros'][2]} and 3x3 on 8x8 pixels with zeros around. Dots: derived.",
            ],
        )
    return figure


def training_curves(panels: Sequence[Axes], curves: Rows) -> None:
    """A panel for each activation."""
    for axes, activation in zip(panels, ACTIVATIONS, strict=True):
        for initialisation, colour in COLOUR.items():
            for batch_norm, line in LINE.items():
                of_one = select(curves, activation, initialisation, batch_norm)
                label = f"{initialisation}, {BN[batch_norm]}"
                plot.band(axes, of_one, "iteration", "loss", color=colour, ls=line, label=label)
        axes.axhline(np.log(CLASSES), color="0.4", lw=0.8, ls=":")
        axes.set(title=activation, xlabel="iteration", ylim=(0, 2.6))
    panels[0].set_ylabel("training loss (nats)")


def show_histograms(panels: Sequence[Axes], histograms: Array, name: str) -> None:
    """A heat map for each of some configurations: the share of a layer's values by their magnitude."""
    for axes, configuration in zip(panels, HISTOGRAMS, strict=True):
        activation, initialisation, batch_norm = configuration
        shares = histograms[CONFIGURATIONS.index(configuration)].T
        picture = axes.imshow(
            np.ma.masked_equal(shares, 0),
            norm=LogNorm(1e-4, 1),
            cmap="viridis_r",
            extent=(0.5, LAYERS + 0.5, MAGNITUDES[0], MAGNITUDES[-1]),
            aspect="auto",
            origin="lower",
        )
        axes.set(
            title=f"{activation}, {initialisation}, {BN[batch_norm]}", xlabel="layer $l$", xticks=range(1, LAYERS + 1)
        )
        axes.grid(visible=False)
    panels[0].set_ylabel(name)
    panels[0].figure.colorbar(picture, ax=panels, label="share of the layer", pad=0.01, aspect=15)


def variance_by_layer(axes: Axes, variance: Rows) -> None:
    """The three initialisations without padding."""
    own = variance[variance["padding"] == "none"]
    for initialisation, colour in COLOUR.items():
        of_one = own[own["init"] == initialisation]
        plot.band(axes, of_one, "layer", "square", color=colour, label=initialisation)
        axes.plot(of_one.groupby("layer")["derived_square"].median(), **DERIVED)
    axes.set(yscale="log", xlabel="layer $l$", ylabel="$E[a_l^2] / E[a_0^2]$", title="ReLU, 20 layers, no padding")
    axes.legend(loc="lower left")


def kept_variance(axes: Axes, variance: Rows) -> None:
    """He's, without and with padding."""
    own = variance[variance["init"] == "He"]
    for padding, line, label in (("none", "-", "no padding"), ("zeros", ":", "zeros around 8x8")):
        of_one = own[own["padding"] == padding]
        plot.band(axes, of_one, "layer", "square", color=COLOUR["He"], ls=line, label=label)
        axes.plot(of_one.groupby("layer")["derived_square"].median(), **DERIVED)
    axes.axhspan(0.8, 1.2, color="0.5", alpha=0.15, lw=0, label="within 20 %")
    axes.set(xlabel="layer $l$", ylabel="$E[a_l^2] / E[a_0^2]$", title="ReLU, He: what the border takes")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def sigmoid_gradients(axes: Axes, depth: Rows) -> None:
    """Root mean squares relative to the last layer's, with and without BN."""
    for initialisation in INITIALISATIONS:
        for batch_norm, line in LINE.items():
            of_one = select(depth, "sigmoid", initialisation, batch_norm)
            last = of_one[of_one["layer"] == LAYERS].set_index("seed")["gradient"]
            relative = of_one.assign(
                measured=np.sqrt(of_one["gradient"] / of_one["seed"].map(last)),
                derived=np.sqrt(of_one["derived_gradient"]),
            )
            plot.band(axes, relative, "layer", "measured", color=COLOUR[initialisation], ls=line)
            axes.plot(relative.groupby("layer")["derived"].median(), **DERIVED)
    axes.set(yscale="log", xlabel="layer $l$", ylabel=f"rms $\\delta_l$ / rms $\\delta_{LAYERS}$")
    axes.set_title("sigmoid gradients (with BN all inits as one)")


def last_losses(axes: Axes, curves: Rows) -> None:
    """Each activation's last training losses with a line from the lowest to the highest, medians over the seeds."""
    last = curves[curves["iteration"] == curves["iteration"].max()]
    for i, activation in enumerate(ACTIVATIONS):
        for batch_norm, shift, face in (("off", -0.15, "none"), ("on", 0.15, None)):
            medians = {name: select(last, activation, name, batch_norm)["loss"].median() for name in INITIALISATIONS}
            axes.plot([i + shift] * 2, [min(medians.values()), max(medians.values())], color="0.6", lw=4, alpha=0.6)
            for name, loss in medians.items():
                axes.plot(i + shift, loss, "o", color=COLOUR[name], mfc=face, ms=6)
    axes.set_xticks(range(len(ACTIVATIONS)), list(ACTIVATIONS), rotation=20)
    axes.set(ylabel="last training loss (nats)", title="open: no BN, full: BN", ylim=(0, None))


def select(rows: Rows, activation: str, initialisation: str, batch_norm: str) -> Rows:
    """The rows of one configuration."""
    of_one = (rows["activation"] == activation) & (rows["init"] == initialisation)
    return rows[of_one & (rows["batch_norm"] == batch_norm)]

"""The figures as pure functions of recorded rows and pictures."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from papers.vae.claims import curves, final
from shared import plot
from shared.tree import Array

COLOUR = {"aevb": "tab:red", "wake-sleep": "tab:green"}
LABEL = {"aevb": "AEVB", "wake-sleep": "wake-sleep"}
PAPERS_AXIS = (-150, -100)  # nats: the paper prints no numbers, only this axis


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 2: the bound on both splits against samples evaluated, one panel a latent size, seeds as a band."""
    own = curves(rows)
    sizes = sorted(own.loc[own["method"] == "wake-sleep", "latent"].unique())
    with plt.rc_context(plot.STYLE):
        columns = min(3, len(sizes))
        lines = -(-len(sizes) // columns)
        figure = Figure(figsize=(3.1 * columns + 0.6, 2.7 * lines + 0.7), layout="constrained")
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, latent in zip(grid.flat, sizes, strict=False):
            for method, colour in COLOUR.items():
                for split, style in (("train", "--"), ("test", "-")):
                    curve = own[(own["method"] == method) & (own["latent"] == latent)]
                    plot.band(axes, curve, "samples", split, color=colour, ls=style, label=f"{LABEL[method]} ({split})")
            axes.set(xscale="log", title=f"$N_z = {latent}$")
        for axes in grid.flat[len(sizes) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("bound $\\mathcal{L}$ (nats per datapoint)")
        for column in range(columns):
            last = [axes for axes in grid[:, column] if axes.axison][-1]
            last.set_xlabel("training samples evaluated")
            last.tick_params(labelbottom=True)
        grid[0, 0].set_ylim(*limits(own))
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=4)
        seeds = ", ".join(map(str, sorted(own["seed"].unique())))
        plot.caption(
            figure,
            [
                f"Data: {data}. Line: median, band: range over seeds {seeds}.",
                "The paper prints no numbers for this figure; its MNIST axis runs from -150 to -100 nats.",
            ],
        )
    return figure


def limits(own: pd.DataFrame) -> tuple[float, float]:
    """The paper's axis, widened where final bounds lie outside; for other data, a few spans of the final bounds."""
    ends = pd.concat([final(own, split, method) for method in COLOUR for split in ("train", "test")])
    low, high = float(ends.min()), float(ends.max())
    if own["data"].iloc[0].startswith("mnist"):
        return min(PAPERS_AXIS[0], low - 5), max(PAPERS_AXIS[1], high + 2)
    return low - 4 * (high - low), high + 0.5 * (high - low)


def samples(pictures: Mapping[str, Array], data: str, seed: int) -> Figure:
    """Figure 5: the decoder's means for z from the prior, one block a latent size."""
    blocks = {int(name.split("_")[1]): p for name, p in sorted(pictures.items()) if name.startswith("samples_")}
    figure = Figure(figsize=(2.6 * len(blocks) + 0.2, 3.2), layout="constrained")
    row = figure.subplots(1, len(blocks), squeeze=False)[0]
    for axes, latent in zip(row, sorted(blocks), strict=True):
        images = blocks[latent]
        plot.show(axes, plot.tiles(images.reshape(10, 10, -1), side(images)), f"$N_z = {latent}$")
    plot.caption(figure, [f"Figure 5: E[x|z] for z ~ N(0, I). Data: {data}, seed {seed}."])
    return figure


def manifold(pictures: Mapping[str, Array], data: str, seed: int) -> Figure:
    """Figure 4: the learned 2-D manifold, the unit square sent through the inverse Gaussian CDF."""
    images = pictures["manifold"]
    figure = Figure(figsize=(6, 6.4), layout="constrained")
    picture = plot.tiles(images, side(images), pad=0 if side(images) > 8 else 2)
    plot.show(figure.subplots(), picture, "$z_1$ to the right, $z_2$ upwards: quantiles 0.025 to 0.975")
    plot.caption(figure, [f"Figure 4: E[x|z] for $N_z = 2$. Data: {data}, seed {seed}."])
    return figure


def interpolation(pictures: Mapping[str, Array], data: str, seed: int) -> Figure:
    """Between test images through the latent space, along the chord and along the great circle."""
    latent, images = next(
        (int(name.split("_")[1]), p) for name, p in sorted(pictures.items()) if name.startswith("interpolation_")
    )
    pairs, kinds, stops, _ = images.shape
    figure = Figure(figsize=(6.5, 0.68 * pairs * kinds + 0.6), layout="constrained")
    rows = images.reshape(pairs * kinds, stops, -1)
    plot.show(figure.subplots(), plot.tiles(rows, side(images)), "for each pair: linear above, spherical below")
    plot.caption(figure, [f"E[x|z] between the codes of two test images, $N_z = {latent}$. Data: {data}, seed {seed}."])
    return figure


def active_units(pictures: Mapping[str, Array], data: str, seed: int) -> Figure:
    """The KL of every latent unit, sorted: what superfluous latents do."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axes = figure.subplots()
        for name in sorted((n for n in pictures if n.startswith("kl_")), key=lambda n: int(n.split("_")[1])):
            kl = np.sort(pictures[name])[::-1]
            label = f"$N_z = {name.split('_')[1]}$: {(kl > 0.01).sum()} active"
            axes.plot(np.arange(1, len(kl) + 1), np.maximum(kl, 1e-5), ".-", ms=3, lw=1, label=label)
        axes.axhline(0.01, color="0.5", lw=1, ls=":")
        axes.set(
            xscale="log", yscale="log", xlabel="latent unit, by rank", ylabel="KL of the unit (nats, mean over test)"
        )
        axes.legend()
        plot.caption(figure, [f"Units above the dotted line (0.01 nats) count as active. Data: {data}, seed {seed}."])
    return figure


def side(images: Array) -> int:
    """The side of square images (..., side * side)."""
    return round(images.shape[-1] ** 0.5)

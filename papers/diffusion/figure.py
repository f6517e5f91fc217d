"""The figures as pure functions of recorded rows and pictures."""

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image, ImageOps

from papers.diffusion.claims import samples, sweep, truncated, with_sampler
from papers.diffusion.imagenet import TABLE4
from shared import plot
from shared.tree import Array

Pictures = Mapping[tuple[str, float], Mapping[str, Array]]  # of the sweep's first seed, by model and scale
COLOURS = {"conditional": "tab:red", "unconditional": "tab:blue"}
OTHER, GAN, FLOOR = "tab:orange", "tab:green", "0.4"
METRICS = {
    "frechet": "Fréchet distance over our features",
    "inception_score": "inception score's analogue",
    "precision": "precision",
    "recall": "recall",
}
SAMPLER = {"ancestral": "ancestral", "ddim": "DDIM"}
OF_ROWS = ("headline", "trade_off", "table4", "embedding", "samplers")  # the figures that need no pictures
GRIDS = (0.0, 1.0, 10.0)  # the scales of the sample grids
COLUMNS = 8
STRIP = 9  # moments of the denoising strip
BANDS = "lines are medians, bands the range"
WIDE = 200  # screen pixels of the film, or a few more
MILLISECONDS = 120  # a frame


def headline(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 4: the four metrics against the gradient scale."""
    with plt.rc_context(plot.STYLE):
        figure = Figure(figsize=(9, 6.4), layout="constrained")
        panels = figure.subplots(2, 2).ravel()
    swept = sweep(rows)
    for axes, (column, label) in zip(panels, METRICS.items(), strict=True):
        for model, colour in COLOURS.items():
            plot.band(axes, sweep(rows, model), "scale", column, color=colour, marker="o", ms=4, label=model)
        other = other_sampler(rows)
        if len(other):
            plot.band(
                axes, other, "scale", column, color=OTHER, ls="--", marker="s", ms=4, label=f"conditional, {how(other)}"
            )
        floor = rows[rows["kind"] == "floor"][column]
        axes.axhline(float(floor.iloc[0]), color=FLOOR, lw=1, ls=":", label="test images in place of samples")
        axes.set_xlabel("gradient scale s (0: no guidance)")
        axes.set_ylabel(label)
    logarithmic(panels[0])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    text = f"Figure 4, {how(swept)}. The paper prints no numbers for it; Table 4's are in table4.png."
    finish(figure, rows, data, text, BANDS)
    return figure


def other_sampler(rows: pd.DataFrame) -> pd.DataFrame:
    """The conditional model's points with the sampler that the sweep does not use."""
    (other,) = set(SAMPLER) - {sweep(rows)["sampler"].iloc[0]}
    return with_sampler(rows, other)


def how(points: pd.DataFrame) -> str:
    """The sampler of some points."""
    first = points.iloc[0]
    return f"{SAMPLER[first['sampler']]}, {first['sampling_steps']:.0f} steps"


def trade_off(rows: pd.DataFrame, data: str) -> Figure:
    """Figure 5: what the gradient scale buys and costs, against the truncation of the GAN's latents.

    Of each curve the two ends are named.
    """
    figure, (left, right) = plot.panels(2)
    swept, other = sweep(rows), other_sampler(rows)
    curves = [(model, colour, "-", sweep(rows, model), "scale", "s") for model, colour in COLOURS.items()]
    if len(other):
        curves.append((f"conditional, {how(other)}", OTHER, "--", other, "scale", "s"))
    curves.append(("GAN", GAN, "-", truncated(rows), "truncation", "\\psi"))
    logarithmic(right)
    for axes, x, y in ((left, "recall", "precision"), (right, "inception_score", "frechet")):
        floor = rows[rows["kind"] == "floor"].iloc[0]
        axes.plot(floor[x], floor[y], "*", color=FLOOR, ms=9, label="test images")
        tables = [points.groupby(parameter)[[x, y]].median() for *_, points, parameter, _ in curves]
        for (name, colour, line, _, _, symbol), table in zip(curves, tables, strict=True):
            axes.plot(table[x], table[y], f"o{line}", color=colour, ms=4, label=f"{name}, by ${symbol}$")
        axes.margins(0.2, 0.14)
        for (_, colour, _, _, _, symbol), table in zip(curves, tables, strict=True):
            name_ends(axes, table, symbol, colour)
        axes.set_xlabel(METRICS[x])
        axes.set_ylabel(METRICS[y])
    left.legend(fontsize=7, loc="lower left")
    text = f"Figure 5, {how(swept)}. Latents of the GAN are scaled by ψ. The paper prints no numbers for it."
    finish(figure, rows, data, text, "points are medians")
    return figure


def name_ends(axes: Axes, table: pd.DataFrame, symbol: str, colour: str) -> None:
    """The parameter at both ends of a curve, written where the curve would go on."""
    places = axes.transData.transform(table.to_numpy())
    for end, neighbour in ((0, 1), (-1, -2)):
        away = places[end] - places[neighbour % len(table)]
        away /= np.linalg.norm(away) or 1
        text = f"${symbol}={table.index[end]:g}$"
        name = axes.annotate(text, tuple(table.iloc[end]), (20 * away[0], 10 * away[1]), "data", "offset points")
        name.set(fontsize=7, color=colour, horizontalalignment="center", verticalalignment="center")


def table4(rows: pd.DataFrame, data: str) -> Figure:
    """Table 4: both models without guidance, with s = 1 and s = 10; the paper's ImageNet numbers beside ours."""
    figure, panels = plot.panels(3)
    ours = pd.concat([sweep(rows, model) for model in COLOURS])
    unguided = ours[(ours["model"] == "conditional") & (ours["scale"] == 0)].set_index("seed")["frechet"]
    ours = ours.assign(relative=ours["frechet"] / ours["seed"].map(unguided))
    labels = [f"{model.removesuffix('itional')}.\n{f's = {s:g}' if s else 'none'}" for model, s in TABLE4]
    base = TABLE4["conditional", 0.0][0]
    papers = {
        "relative": [fid / base for fid, _, _ in TABLE4.values()],
        "precision": [precision for _, precision, _ in TABLE4.values()],
        "recall": [recall for _, _, recall in TABLE4.values()],
    }
    names = ("Fréchet distance (conditional, none = 1)", "precision", "recall")
    for axes, (column, printed), name in zip(panels, papers.items(), names, strict=True):
        for place, (model, scale) in enumerate(TABLE4):
            values = ours[(ours["model"] == model) & (ours["scale"] == scale)][column]
            middle = values.median()
            errors = [[middle - values.min()], [values.max() - middle]]
            axes.bar(
                place, middle, 0.6, yerr=errors, color=COLOURS[model], alpha=0.7, label="ours" if not place else None
            )
        axes.plot(range(len(printed)), printed, "kD", ms=5, label="paper, ImageNet 256")
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.set_ylabel(name)
    logarithmic(panels[0])
    panels[0].legend(fontsize=7, loc="upper right")
    text = f"Table 4, {how(sweep(rows))}. Other data and features: directions compare, not values."
    finish(figure, rows, data, text, "bars are medians, lines on them the range")
    return figure


def embedding(rows: pd.DataFrame, data: str) -> Figure:
    """Table 3: the test loss in training, by how the embedding enters."""
    figure, (left, right) = plot.panels(2)
    names = {"conditional": "AdaGN", "additive": "addition", "unconditional": "AdaGN, without classes"}
    curves = rows[(rows["kind"] == "model") & (rows["part"] == "curve")]
    for axes, column, label in (
        (left, "test_loss", "test loss of the noise (squared error)"),
        (right, "test_bits", "bound on test images (bits a pixel)"),
    ):
        for model, name in names.items():
            plot.band(axes, curves[curves["model"] == model], "step", column, marker="o", ms=3, label=name)
        axes.set_xlabel("training step")
        axes.set_ylabel(label)
        logarithmic(axes)
    left.legend(fontsize=7, loc="upper right")
    text = "Table 3, where the paper compares FID: 13.06 with AdaGN, 15.08 with addition. Averaged weights."
    finish(figure, curves, data, text, BANDS)
    return figure


def samplers(rows: pd.DataFrame, data: str) -> Figure:
    """Ancestral against DDIM by the number of steps; and what leaving Sigma out of the shift does."""
    figure, (left, right) = plot.panels(2)
    own = samples(rows)
    plain = own[(own["model"] == "conditional") & (own["scale"] == 0)]
    for sampler, name in SAMPLER.items():
        plot.band(left, plain[plain["sampler"] == sampler], "sampling_steps", "frechet", marker="o", ms=4, label=name)
    left.set(xlabel="sampling steps, no guidance", ylabel=METRICS["frechet"])
    few = own[(own["sampler"] == "ancestral") & (own["model"] == "conditional")]
    few = few[few["sampling_steps"] == few["sampling_steps"].min()]
    for with_sigma, name in ((True, "mean moved by $s\\Sigma g$"), (False, "mean moved by $s g$")):
        points = few[(few["with_sigma"] == with_sigma) & (few["scale"] > 0)]
        plot.band(right, points, "scale", "frechet", marker="o", ms=4, label=name)
    right.set(xlabel=f"gradient scale s, {how(few)}", ylabel=METRICS["frechet"])
    for axes in (left, right):
        logarithmic(axes)
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    finish(figure, rows, data, "Conditional model.", BANDS)
    return figure


def grid(images: Array, labels: Array, classes: Sequence[int]) -> Array:
    """Images (N, H, W, 1) as a picture: a row a class, as many of each as the rarest has, at most COLUMNS.

    A class that has none has blank tiles.
    """
    rows = [images[labels == c] for c in classes]
    columns = min([COLUMNS, *(len(row) for row in rows if len(row))])
    shown = np.zeros((len(rows), columns, *images.shape[1:3]), images.dtype)
    for tiles, row in zip(shown, rows, strict=True):
        tiles[: len(row)] = row[:columns, ..., 0]
    return plot.tiles(shown.reshape(len(rows), columns, -1), images.shape[1])


def sample_grids(pictures: Pictures, classes: Sequence[int], text: str, data: str) -> Figure:
    """Figures 1 and 3: grids at s = 0, 1 and 10 that start from the same noise, a row a class."""
    models = list(COLOURS)
    figure = Figure(figsize=(8.4, 6.9), layout="constrained")
    panels = figure.subplots(len(models), len(GRIDS))
    for row, model in zip(panels, models, strict=True):
        for axes, scale in zip(row, GRIDS, strict=True):
            axes.set_axis_off()
            if (model, scale) in pictures:
                own = pictures[model, scale]
                plot.show(axes, grid(own["images"], own["labels"], classes), f"{model}, s = {scale:g}")
    plot.caption(
        figure, [f"{text}. A row a class; x_T and all noise are the same in all grids. Data: {data}, first seed."]
    )
    return figure


def film_of(pictures: Pictures) -> tuple[Array, str]:
    """The frames (F, k, H, W) of the conditional model at s = 1, or the scale that is nearest, and its name."""
    scale = min((s for model, s in pictures if model == "conditional"), key=lambda s: abs(s - 1))
    return pictures["conditional", scale]["film"], f"s = {scale:g}"


def denoising(pictures: Pictures, text: str, data: str) -> Figure:
    """A few images on their way from noise to data."""
    frames, name = film_of(pictures)
    chosen = np.round(np.linspace(0, len(frames) - 1, STRIP)).astype(int)
    strip = frames[chosen, :4].swapaxes(0, 1)
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    picture = plot.tiles(strip.reshape(*strip.shape[:2], -1), strip.shape[-1])
    plot.show(figure.subplots(), picture, f"from $x_T$ (left) to $x_0$ (right), {name}")
    plot.caption(figure, [f"{text}, conditional model. Evenly spaced steps. Data: {data}, first seed."])
    return figure


def film(pictures: Pictures) -> bytes:
    """The same as a GIF: all filmed images, frame after frame, the last one held."""
    frames, _ = film_of(pictures)
    side = int(frames.shape[1] ** 0.5)
    shots = [frame[: side * side].reshape(side, side, -1) for frame in frames]
    pictured = [Image.fromarray(plot.tiles(shot, frames.shape[-1])) for shot in shots]
    grown = -(-WIDE // pictured[0].width)  # screen pixels a side of a pixel
    first, *others = (ImageOps.scale(picture, grown, Image.Resampling.NEAREST) for picture in pictured)
    buffer = io.BytesIO()
    durations = [MILLISECONDS] * len(others) + [10 * MILLISECONDS]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return buffer.getvalue()


def gan(pictures: Mapping[float, Array], data: str) -> Figure:
    """Images (N, H, W, 1) of the GAN by the factor of its latents."""
    figure = Figure(figsize=(2.6 * len(pictures), 3.2), layout="constrained")
    panels: Sequence[Axes] = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, (truncation, images) in zip(panels, sorted(pictures.items()), strict=True):
        side = min(COLUMNS, int(len(images) ** 0.5))
        shot = images[: side * side].reshape(side, side, -1)
        plot.show(axes, plot.tiles(shot, images.shape[1]), f"ψ = {truncation:g}")
    plot.caption(figure, [f"The GAN with latents scaled by ψ, random classes. Data: {data}, first seed."])
    return figure


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers on it."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def finish(figure: Figure, rows: pd.DataFrame, data: str, text: str, spread: str) -> None:
    """The caption; ``spread`` says how the values of several seeds are drawn."""
    seeds = [str(seed) for seed in sorted(rows["seed"].unique())]
    counted = samples(rows)
    n = f", {counted['samples'].iloc[0]:,.0f} samples a point" if len(counted) else ""
    which = f"Seeds {', '.join(seeds)}: {spread}" if len(seeds) > 1 else f"Seed {seeds[0]}"
    plot.caption(figure, [text, f"Data: {data}{n}. {which}."])

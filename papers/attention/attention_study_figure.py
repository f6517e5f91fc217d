"""The attention study's figures as pure functions of its rows."""

from collections.abc import Sequence
from math import log
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.attention.attention_study import (
    CHANCE,
    D_K,
    D_MODEL,
    DEEP,
    DISTANCES,
    KEYS,
    LAYERS,
    LETTERS_LONG,
    NARROW,
    QUERIES,
    RATE,
    SMALL,
    recurrent_slope,
    tie_density,
)
from papers.attention.complexity import KINDS, SHORT
from papers.attention.complexity import NARROW as FEW
from papers.attention.study_claims import FEED_FORWARD, Rows, series, study
from shared import plot
from shared.layers.embedding import SinusoidalPositions

NAMES = {"none": "no LayerNorm", "post": "post-LN (the paper)", "pre": "pre-LN"}
COLOUR = {"none": "tab:red", "post": "tab:blue", "pre": "tab:green"}
SCORES = {"plain": ("tab:red", "$q \\cdot k$"), "divided": ("tab:blue", "$q \\cdot k / \\sqrt{d_k}$")}
LAYER_COLOUR = dict(zip(KINDS, ("tab:cyan", "tab:blue", "tab:red"), strict=True))
DERIVED: Any = {"ls": "none", "marker": ".", "color": "black", "ms": 5, "zorder": 5}
GUIDE: Any = {"color": "0.4", "lw": 0.8, "ls": ":"}
PICTURED = 64, 128  # positions and features of the heat map
STYLE = {**plot.STYLE, "font.size": 10, "legend.fontsize": 9, "axes.titlesize": 11}


def figure(rows: Rows) -> Figure:
    """Softmax and scores; positions; LayerNorm on and off, and where it stands."""
    own = study(rows, "signals")
    parts = {str(name): part for name, part in own.groupby("part")}
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(12.5, 11.5), layout="constrained")
        panels: Sequence[Axes] = list(drawn.subplots(3, 3).flat)
        temperature(panels[0], parts["temperature"])
        variance(panels[1], parts["scaling"])
        jacobian(panels[2], parts["scaling"])
        heat_map(panels[3])
        dot_products(panels[4], parts["positions"])
        activations(panels[5], parts["depth"])
        training(panels[6], parts["training"])
        by_layer(panels[7], parts["gradients"])
        by_depth(panels[8], parts["gradients"])
        seeds, draws = own["seed"].nunique(), own["draws"].iloc[0]
        plot.caption(
            drawn,
            [
                f"Random inputs. Lines: medians over {seeds} seeds, bands: their range; each seed averages {draws:.0f} "
                f"draws. Black dots: derived. First row: standard normal queries ({QUERIES}) and keys ({KEYS}), "
                f"d_k = {D_K} on the left. Dot products of positions: d_model = {D_MODEL}.",
                "Bands of the activations: the feed-forward's part alone, and with attention that reads one token.",
                f"At the start: d_model = {NARROW['d_model']}, d_ff = {NARROW['d_ff']}, {NARROW['heads']} heads, "
                f"Glorot uniform. Training: encoder and decoder of {LAYERS} layers, d_model = {SMALL['d_model']}, "
                f"d_ff = {SMALL['d_ff']}, sentences of {LETTERS_LONG} letters to be reversed, Adam at a constant "
                f"{RATE:g}, no warm-up.",
            ],
        )
    return drawn


def temperature(axes: Axes, rows: Rows) -> None:
    shown = rows.assign(entropy=rows["entropy"] / log(KEYS))
    plot.band(axes, shown, "temperature", "entropy", color="tab:blue", label="entropy / log n")
    plot.band(axes, shown, "temperature", "largest", color="tab:orange", label="largest weight")
    T = np.array([t for t in shown["temperature"].unique() if t >= 1])
    axes.plot(T, 1 - (1 - 1 / KEYS) / (2 * T**2 * log(KEYS)), **DERIVED)
    axes.axvline(1, **GUIDE)
    axes.set_xscale("log", base=2)
    axes.set(xlabel="temperature $T$", ylabel="share", title="softmax$(q \\cdot k / (T \\sqrt{d_k}))$", ylim=(0, 1.05))
    axes.legend(loc="center right")


def variance(axes: Axes, rows: Rows) -> None:
    for scores, (colour, label) in SCORES.items():
        own = rows[rows["scores"] == scores]
        plot.band(axes, own, "d_k", "variance", color=colour, label=label)
        d_k = own["d_k"].unique()
        axes.plot(d_k, d_k if scores == "plain" else np.ones_like(d_k), **DERIVED)
    axes.set_xscale("log", base=4)
    axes.set(yscale="log", xlabel="$d_k$", ylabel="variance of the scores", title="Scores: why divide by $\\sqrt{d_k}$")
    axes.legend(loc="upper left")


def jacobian(axes: Axes, rows: Rows) -> None:
    for scores, (colour, label) in SCORES.items():
        own = rows[rows["scores"] == scores]
        plot.band(axes, own, "d_k", "median", color=colour, label=f"{label}, median query")
        plot.band(axes, own, "d_k", "mean", color=colour, ls="--", label="mean")
    d_k = np.array([d for d in rows["d_k"].unique() if d >= 256])
    axes.plot(d_k, tie_density() / np.sqrt(d_k), **DERIVED)
    axes.plot(d_k, 2 * np.exp(-log(2) / tie_density() * np.sqrt(d_k)), **DERIVED)
    axes.axvline(D_K, **GUIDE)
    axes.set_xscale("log", base=4)
    axes.set(yscale="log", xlabel="$d_k$ (dotted: the paper's)", ylabel="$\\|\\partial A / \\partial s\\|_F$")
    axes.set_title("... the gradient of the softmax")
    axes.legend(loc="lower left")


def heat_map(axes: Axes) -> None:
    PE, _ = SinusoidalPositions(PICTURED[1])({}, np.zeros(PICTURED))
    picture = axes.imshow(PE, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    axes.set(xlabel="feature", ylabel="position $t$", title="Positional encodings PE($t$)")
    axes.grid(visible=False)
    axes.figure.colorbar(picture, ax=axes, pad=0.02)


def dot_products(axes: Axes, rows: Rows) -> None:
    for encoding, colour, label in (
        ("sinusoidal", "tab:blue", "sinusoidal: for every $t$"),
        ("learned", "tab:orange", "learned, at the start: range over $t$"),
    ):
        own = rows[rows["encoding"] == encoding].groupby("distance")[["dot", "low", "high"]].median()
        axes.plot(own.index, own["dot"], color=colour, label=label)
        axes.fill_between(own.index, own["low"], own["high"], color=colour, alpha=0.2, linewidth=0)
    k = np.array([distance for distance in DISTANCES if distance >= 4])
    axes.plot(k, 1 - (np.log(k) + np.euler_gamma) / log(10_000), **DERIVED)
    axes.set(xlabel="distance $k$", ylabel="PE($t$) $\\cdot$ PE($t + k$) / $|$PE$|^2$", title="... know the distance")
    axes.legend(loc="upper right")


def activations(axes: Axes, rows: Rows) -> None:
    for norm, colour in COLOUR.items():
        plot.band(axes, rows[rows["norm"] == norm], "layer", "square", color=colour, label=NAMES[norm])
    l = np.arange(DEEP + 1)
    start = rows.loc[rows["layer"] == 0, "square"].median()
    for norm, low, high in (
        ("none", start * (1 + FEED_FORWARD) ** l, start * (2 * (1 + FEED_FORWARD)) ** l),
        ("pre", start + FEED_FORWARD * l, start + (1 + FEED_FORWARD) * l),
    ):
        axes.fill_between(l, low, high, color=COLOUR[norm], alpha=0.12, linewidth=0)
    axes.set(yscale="log", xlabel="encoder layer", ylabel="$E[x^2]$", title="LayerNorm on and off: the activations")
    axes.legend(loc="upper left", title="wide bands: derived")


def training(axes: Axes, rows: Rows) -> None:
    for norm, colour in COLOUR.items():
        plot.band(axes, rows[rows["norm"] == norm], "iteration", "loss", color=colour, label=NAMES[norm])
    axes.axhline(CHANCE, label="guessing", **GUIDE)
    axes.set(yscale="log", xlabel="iteration", ylabel="training loss (nats a token)")
    axes.set_title("LayerNorm on and off: training")
    axes.legend(loc="center right")


def by_layer(axes: Axes, rows: Rows) -> None:
    own = rows[rows["layers"] == LAYERS]
    for norm in ("post", "pre"):
        for side, line in (("decoder", "-"), ("encoder", "--")):
            label = f"{norm}-LN, {side}"
            plot.band(axes, own[own["norm"] == norm], "layer", side, color=COLOUR[norm], ls=line, label=label)
    axes.set(xlabel=f"layer, of {LAYERS}", ylabel="norm of the gradient in $W_2$")
    axes.set(title="Gradients at the start, by layer", ylim=(0, 1.4 * max(own["encoder"].max(), own["decoder"].max())))
    axes.legend(loc="upper center", ncols=2, columnspacing=1, handlelength=1.5, fontsize=8)


def by_depth(axes: Axes, rows: Rows) -> None:
    last = rows[rows["layer"] == rows["layers"]]
    for norm, power in (("post", 0.0), ("pre", -0.5)):
        own = last[last["norm"] == norm]
        plot.band(axes, own, "layers", "decoder", color=COLOUR[norm], label=NAMES[norm])
        layers = np.sort(own["layers"].unique())
        first = own.loc[own["layers"] == layers[0], "decoder"].median()
        axes.plot(layers, first * (layers / layers[0]) ** power, **GUIDE)
    axes.set(xscale="log", yscale="log", xlabel="layers $L$", ylabel="norm, last decoder layer")
    axes.set_title("... of the last of $L$ (dotted: $L^0$, $L^{-1/2}$)")
    axes.minorticks_off()
    axes.set_xticks(layers, [f"{n:.0f}" for n in layers])
    axes.set_yticks([0.1, 0.2, 0.4, 0.8], ["0.1", "0.2", "0.4", "0.8"])
    axes.legend(loc="lower left")


def complexity(rows: Rows) -> Figure:
    """Table 1: times, sequential steps, and what arrives at the other end of the longest path."""
    timed, signals = study(rows, "complexity"), study(rows, "signals")
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(10, 8), layout="constrained")
        of_n, of_d, chain, reach = drawn.subplots(2, 2).flat
        times(of_n, timed, "n", f"Time, {FEW} features", {"attention": 2, "recurrent layer": 1})
        times(of_d, timed, "d", f"Time, {SHORT} positions", {"attention": 1, "recurrent layer": 2})
        sequential(chain, timed)
        reaches(reach, signals[signals["part"] == "reach"])
        plot.caption(
            drawn,
            [
                f"Forward passes of one sentence on one thread, float32, one head; the shortest of "
                f"{timed['steps'].iloc[0]:.0f} rounds. Dotted: Table 1's exponents, from the last point. Steps: matrix "
                f"products that wait for each other. Below, right: medians and range over "
                f"{signals['seed'].nunique()} seeds; dots: derived.",
            ],
        )
    return drawn


def times(axes: Axes, rows: Rows, varied: str, title: str, exponents: dict[str, int]) -> None:
    for kind, colour in LAYER_COLOUR.items():
        ms = 1e3 * series(rows, varied, "seconds", varied=varied, layer_type=kind)
        axes.plot(ms.index, ms, "o-", ms=3, color=colour, label=kind if kind != "attention" else "its attention alone")
        if power := exponents.get(kind):
            x = ms.index.to_numpy(float)
            axes.plot(x, ms.iloc[-1] * (x / x[-1]) ** power, **GUIDE)
    axes.set_xscale("log", base=2)
    axes.set(yscale="log", xlabel={"n": "positions $n$", "d": "features $d$"}[varied], ylabel="ms", title=title)
    axes.legend(loc="upper left")


def sequential(axes: Axes, rows: Rows) -> None:
    for kind in KINDS[1:]:
        chains = series(rows, "n", "chain", varied="n", layer_type=kind)
        axes.plot(chains.index, chains, "o-", ms=3, color=LAYER_COLOUR[kind], label=kind)
    axes.set_xscale("log", base=2)
    axes.set(yscale="log", xlabel="positions $n$", ylabel="products in a chain", title="Sequential steps, counted")
    axes.legend(loc="upper left")


def reaches(axes: Axes, rows: Rows) -> None:
    for kind in KINDS[1:]:
        own = rows[rows["layer_type"] == kind]
        plot.band(axes, own, "distance", "ratio", color=LAYER_COLOUR[kind], label=kind)
    recurrent = series(own, "distance", "ratio").groupby(level=0).median()
    axes.plot(recurrent.index, recurrent.iloc[0] * recurrent_slope() ** (recurrent.index - 1), **DERIVED)
    axes.set(yscale="log", xlabel="distance (positions)", ylabel="|d$x_{first}$| / |d$x_{last}$|")
    axes.set_title("Path length: the last output's gradient")
    axes.legend(loc="lower left")

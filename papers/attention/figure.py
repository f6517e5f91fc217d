"""The figures as pure functions of recorded rows and arrays."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from papers.attention.claims import EVALUATIONS, PAPER, REFERENCE_BLEU, difference, final, level, of, printed
from papers.attention.training import VARIANTS, as_lines
from shared import plot
from shared.tree import Array

SPACE = "\N{OPEN BOX}"  # how a token that is a space is shown
GOAL = 95  # per cent of dates
PERPLEXITIES = (5, 10, 20, 50, 100, 200, 500)  # ticks
WIDTH = 11.5  # inches, with the legend beside the panels
NAMES = {
    "heads-1": "1 head",
    "heads-8": "8 heads",
    "layers-1": "1 layer",
    "layers-2": "2 layers",
    "dropout-0": "no dropout",
    "dropout-0.1": "dropout 0.1",
    "smoothing-0": "no label smoothing",
    "learned-positions": "learned positions",
    "no-positions": "no positions",
}
DECODINGS = {  # of the test pairs, at the end: marker and colour
    ("last", "greedy"): ("o", "tab:orange"),
    ("last", "beam"): ("s", "tab:orange"),
    ("averaged", "greedy"): ("o", "tab:red"),
    ("averaged", "beam"): ("s", "tab:red"),
}
KEYS = {"encoder": ("source", "source"), "decoder": ("input", "input"), "cross": ("input", "source")}
TITLES = {
    "encoder": "encoder, self-attention",
    "decoder": "decoder, self-attention",
    "cross": "decoder, attention to the encoder's output",
}


@matplotlib.rc_context(plot.STYLE)
def headline(rows: pd.DataFrame, data: str) -> Figure:
    """The score during training and at the end, and the perplexities."""
    curves, finals = of(rows, "curve"), of(rows, "final")
    translated = "dates" not in set(curves["data"])
    what = "BLEU, test_2016_flickr" if translated else "test dates that are right (%)"
    figure, (scores, perplexities) = plot.panels(2)
    plot.band(scores, curves, "iteration", "test_score", color="tab:blue", lw=2, label="greedy, during training")
    raw = of(rows, "curve", raw=True)
    if not raw.empty:
        end = final("averaged", "beam", raw=True)(rows).median()
        label = f"raw text, cased, detokenised;\nend: {end:.1f}"
        plot.band(scores, raw, "iteration", "test_score", color="tab:purple", lw=1, ls="--", label=label)
    final_scores(scores, finals, int(curves["steps"].max()))
    level, text = (REFERENCE_BLEU, f"{REFERENCE_BLEU}: fairseq, the same network") if translated else (GOAL, "95 %")
    scores.axhline(level, color="black", ls=":", label=text)
    scores.set_ylabel(what)
    for split, colour in (("val", "tab:green"), ("test", "tab:blue")):
        label = {"val": "perplexity, validation", "test": "perplexity, test"}[split]
        plot.band(perplexities, curves, "iteration", f"{split}_perplexity", color=colour, lw=2, label=label)
    if translated:
        perplexities.set_yscale("log")
        perplexities.minorticks_off()
        perplexities.set_yticks(PERPLEXITIES, map(str, PERPLEXITIES))
    perplexities.set_ylabel("perplexity per token")
    rate = perplexities.twinx()
    plot.band(rate, curves, "iteration", "rate", color="0.6", lw=1, ls="--")
    rate.set_ylabel("learning rate (dashed)")
    rate.set_ylim(0)
    rate.grid(visible=False)
    for panel in (scores, perplexities):
        panel.set_xlabel("step")
    beside(figure, scores, perplexities)
    definition = " BLEU: tokenised and lower-cased, unless said otherwise." if translated else ""
    finish(figure, f"{data}, {sizes(curves)}.{definition}", curves)
    return figure


def beside(figure: Figure, *panels: Axes) -> None:
    """One legend for all panels, where it hides nothing."""
    entries = {label: line for panel in panels for line, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.set_figwidth(WIDTH)
    figure.legend(entries.values(), entries.keys(), loc="outside right upper", fontsize=8)


def final_scores(panel: Axes, finals: pd.DataFrame, step: int) -> None:
    """The final decodings to the right of the curve: medians over seeds, bars their range."""
    for i, (decoding, (marker, colour)) in enumerate(DECODINGS.items(), 1):
        own = finals[(finals["weights"] == decoding[0]) & (finals["search"] == decoding[1])]["score"]
        middle = own.median()
        search = f"beam {finals['beam'].iloc[0]:.0f}" if decoding[1] == "beam" else decoding[1]
        panel.errorbar(
            step * (1 + 0.03 * i),
            middle,
            [[middle - own.min()], [own.max() - middle]],
            marker=marker,
            color=colour,
            capsize=2,
            ls="none",
            label=f"end, {decoding[0]}, {search}: {middle:.1f}",
        )


@matplotlib.rc_context(plot.STYLE)
def variants(rows: pd.DataFrame, data: str) -> Figure:
    """Table 3: what each change does to perplexity and score, beside the paper's difference and another seed's."""
    own = rows[(rows["stage"] == "train") & rows["variant"].isin(VARIANTS)]
    base, steps = of(rows, "curve"), own["steps"].max()
    found = [variant for variant in VARIANTS if variant in set(own["variant"])]
    names = [NAMES[variant] for variant in found]
    if base["seed"].nunique() > 1:
        names.append("another seed")
    places = np.arange(len(names))[::-1]
    figure, panels = plot.panels(2)
    unit = "score" if "dates" in set(rows["data"]) else "BLEU"
    for column, (panel, quantity) in enumerate(zip(panels, ("perplexity", unit), strict=True)):
        for place, variant in zip(places, found, strict=False):
            values(panel, difference(variant, column)(rows), place, "tab:blue", "here, a seed each")
            if variant in PAPER:
                paper = printed(variant, column)
                panel.plot(paper, place, "D", mfc="none", color="black", clip_on=False, label="paper, Table 3")
        if len(names) > len(found):
            first, second, *_ = level(base, column, steps)
            values(panel, [second - first], places[-1], "tab:gray", "the base model's second")
        panel.axvline(0, color="0.5", lw=1)
        panel.set_yticks(places, names)
        panel.set_ylim(-0.7, len(names) - 0.3)
        panel.set_xscale("symlog", linthresh=(0.1, 1)[column])
        panel.margins(x=0.1)  # for the numbers
        panel.xaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(f"{quantity} minus the base model's, validation")
    beside(figure, *panels)
    finish(
        figure,
        f"{data}, {sizes(base)}; every model after {steps:,.0f} steps, greedy search, mean of the last {EVALUATIONS} "
        "evaluations. Another seed: the base model's second minus its first, read alike. The paper's differences are "
        "those of newstest2013 against its own row that differs in nothing else: that of 4 heads, of 4 layers, of "
        "dropout 0.1.",
        own,
        bands=False,
    )
    return figure


def values(panel: Axes, found: Sequence[float], place: float, colour: str, label: str) -> None:
    """Differences as dots in one row, each with its number."""
    panel.plot(found, [place] * len(found), "o", color=colour, clip_on=False, label=label)
    for value in found:
        panel.annotate(f"{value:.3g}", (value, place), (0, 7), textcoords="offset points", ha="center", fontsize=7)


def maps(arrays: Mapping[str, Array], data: str) -> dict[str, Figure]:
    """Figures 3 to 5: what every head attends to in one sentence, a figure for each kind of attention."""
    names = {name: [piece.replace(" ", SPACE) for piece in as_lines(arrays[name])] for name in ("source", "input")}
    return {
        f"attention_{kind}": one_kind(arrays[kind], names[of_queries], names[of_keys], kind, data)
        for kind, (of_queries, of_keys) in KEYS.items()
    }


@matplotlib.rc_context(plot.STYLE | {"axes.grid": False})
def one_kind(layers: Array, queries: Sequence[str], keys: Sequence[str], kind: str, data: str) -> Figure:
    """Weights (layers, heads, queries, keys), a row of pictures a layer; in each the rows sum to 1."""
    rows, columns = layers.shape[:2]
    size = 0.9 + 0.11 * np.array([len(keys), len(queries)])
    figure = Figure(figsize=(columns * size[0], rows * size[1] + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for (layer, head), panel in np.ndenumerate(grid):
        picture = panel.imshow(layers[layer, head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
        panel.set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
        panel.set_xticks(range(len(keys)), keys, rotation=90, fontsize=6)
        panel.set_yticks(range(len(queries)), queries, fontsize=6)
    figure.colorbar(picture, ax=grid, label="weight", shrink=0.8)
    figure.supylabel("asks (query)", fontsize=8)
    plot.caption(figure, [f"Answers (keys) from left to right; {TITLES[kind]}; {data}, one test pair, first seed."])
    return figure


def sizes(rows: pd.DataFrame) -> str:
    """The base model in words."""
    first = rows.iloc[0]
    return (
        f"{first['layers']:.0f} + {first['layers']:.0f} layers, d = {first['d_model']:.0f}, ff = {first['d_ff']:.0f}, "
        f"{first['heads']:.0f} heads, dropout {first['dropout']:g}, {first['tokens']:,.0f} tokens a batch"
    )


def finish(figure: Figure, text: str, rows: pd.DataFrame, bands: bool = True) -> None:
    seeds = ", ".join(str(int(seed)) for seed in sorted(rows["seed"].unique()))
    ranges = " Lines: medians over seeds, bands and bars: their range." if bands else ""
    plot.caption(figure, [f"{text} Seeds: {seeds}.{ranges}"])

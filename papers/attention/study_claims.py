"""The attention study's claims, as functions of its rows: what is derived, what others report, Table 1 measured."""

from collections.abc import Callable, Sequence
from math import inf, log

import numpy as np
import pandas as pd

from papers.attention.attention_study import CHANCE, DEEP, KEYS, LAYERS, NARROW, recurrent_slope
from papers.attention.complexity import NARROW as FEW
from papers.attention.complexity import SHORT
from shared.claims import Claim, per_seed
from shared.tree import Array

Rows = pd.DataFrame

MANY = 8 * FEW  # positions from which the exponent of n is measured
WIDE = 2 * SHORT  # features from which that of d is
# What a feed-forward of Glorot's weights adds to E[x^2] = 1, from 2/(d + d_ff) for each weight and 1/2 for ReLU.
FEED_FORWARD = 2 * NARROW["d_model"] * NARROW["d_ff"] / (NARROW["d_model"] + NARROW["d_ff"]) ** 2


def study(rows: Rows, name: str) -> Rows:
    """The rows of one of the study's two kinds of jobs."""
    own = rows[rows["stage"] == "study"]
    return own if own.empty else own[own["study"] == name]


def signals(part: str, value: Callable[[Rows], float]) -> Callable[[Rows], list[float]]:
    """A claim's measurement: ``value`` of a part's rows of each seed."""

    def measure(rows: Rows) -> list[float]:
        own = study(rows, "signals")
        return per_seed(own if own.empty else own[own["part"] == part], value)

    return measure


def timed(value: Callable[[Rows], float]) -> Callable[[Rows], list[float]]:
    """The same for the times and counts, of which there is one set."""

    def measure(rows: Rows) -> list[float]:
        own = study(rows, "complexity")
        return [] if own.empty else [value(own)]

    return measure


def series(rows: Rows, index: str, column: str, **chosen: object) -> "pd.Series[float]":
    """A column by another one, of the rows whose other columns are as chosen."""
    for name, value in chosen.items():
        rows = rows[rows[name] == value]
    return rows.set_index(index)[column].sort_index()


def exponent(values: "pd.Series[float]", lowest: float = 0.0) -> float:
    """b of the power law a index^b that fits best from ``lowest`` on."""
    values = values[values.index >= lowest]
    return float(np.polyfit(np.log(values.index.to_numpy(float)), np.log(values.to_numpy(float)), 1)[0])


def jacobian_ratio(rows: Rows) -> float:
    plain, divided = (series(rows, "d_k", "median", scores=scores) for scores in ("plain", "divided"))
    return float(plain[1024] / divided[1024])


def jacobian_spread(rows: Rows) -> float:
    medians = series(rows, "d_k", "median", scores="divided").loc[16:]
    return float(medians.max() / medians.min())


def hot(rows: Rows) -> float:
    entropies = series(rows, "temperature", "entropy")
    T = entropies.index.max()
    return float((log(KEYS) - entropies[T]) * 2 * T**2 * KEYS / (KEYS - 1))


def logarithmic(rows: Rows) -> float:
    """The slope of the dot product against the logarithm of the distance, from 8 on, times log(10,000)."""
    dots = series(rows, "distance", "dot", encoding="sinusoidal").loc[8:]
    return float(np.polyfit(np.log(dots.index.to_numpy(float)), dots, 1)[0] * log(10_000))


def reach_factor(rows: Rows) -> float:
    ratios = series(rows, "distance", "ratio", layer_type="recurrent layer")
    return float((ratios[64] / ratios[8]) ** (1 / 56) / recurrent_slope())


def growth(rows: Rows) -> float:
    squares = series(rows, "layer", "square", norm="none")
    return float((squares[DEEP] / squares[0]) ** (1 / DEEP))


def increment(rows: Rows) -> float:
    squares = series(rows, "layer", "square", norm="pre")
    return float((squares[DEEP] - squares[0]) / DEEP)


def last_loss(norm: str) -> Callable[[Rows], float]:
    return lambda rows: float(series(rows, "iteration", "loss", norm=norm).iloc[-1])


def last_layer(norm: str) -> Callable[[Rows], float]:
    """The exponent of the last decoder layer's gradient in the number of layers."""
    return lambda rows: exponent(series(rows[rows["layer"] == rows["layers"]], "layers", "decoder", norm=norm))


def first_over_last(norm: str, side: str = "decoder") -> Callable[[Rows], float]:
    def value(rows: Rows) -> float:
        norms = series(rows, "layer", side, norm=norm, layers=LAYERS)
        return float(norms.iloc[0] / norms.iloc[-1])

    return value


def miscounted(kind: str, products: Callable[[Array, Array], Array]) -> Callable[[Rows], float]:
    """The largest difference of the counted multiplications from a formula in n and d."""

    def value(rows: Rows) -> float:
        own = rows[rows["layer_type"] == kind]
        n, d = (own[name].to_numpy(float) for name in ("n", "d"))
        return float(abs(own["multiplications"] - products(n, d)).max())

    return value


def chain_growth(kind: str) -> Callable[[Rows], float]:
    """By how much the longest chain of products grows for each further position, at most."""

    def value(rows: Rows) -> float:
        chains = series(rows, "n", "chain", varied="n", layer_type=kind)
        return float((np.diff(chains) / np.diff(chains.index.to_numpy(float))).max())

    return value


def time_exponent(kind: str, varied: str) -> Callable[[Rows], float]:
    lowest = MANY if varied == "n" else WIDE
    return lambda rows: exponent(series(rows, varied, "seconds", varied=varied, layer_type=kind), lowest)


def exponent_gap(rows: Rows) -> float:
    recurrent, other = (time_exponent(kind, "d")(rows) for kind in ("recurrent layer", "attention"))
    return recurrent - other


def advantage(kind: str) -> Callable[[Rows], float]:
    """The recurrent layer's time over another's, the smallest where n < d."""

    def value(rows: Rows) -> float:
        seconds = [series(rows, "d", "seconds", varied="d", layer_type=name) for name in ("recurrent layer", kind)]
        return float((seconds[0] / seconds[1]).loc[SHORT + 1 :].min())

    return value


def within(target: float, tolerance: float) -> Callable[[float], bool]:
    return lambda value: abs(value - target) <= tolerance


def between(low: float, high: float) -> Callable[[float], bool]:
    return lambda value: low <= value <= high


def claim(
    name: str,
    source: str,
    statement: str,
    measure: Callable[[Rows], list[float]],
    holds: Callable[[float], bool],
    tolerance: str,
    paper: float | None = None,
) -> Claim:
    return Claim(f"attention-study-{name}", source, statement, measure, holds, tolerance, paper, data="random inputs")


XIONG = "Xiong et al. 2020"
SCALES: Sequence[Claim] = (
    claim(
        "temperature",
        "Derived: dH/dT = Var_A(s) / T^3",
        "A higher temperature raises the entropy of every query's weights (smallest rise to the next one, nats)",
        signals("temperature", lambda rows: float(rows["rise"].min())),
        between(-1e-12, inf),
        ">= 0, to rounding",
    ),
    claim(
        "hot",
        "Derived: log n - H = Var(s) / (2 T^2) for large T",
        "What the entropy lacks at T = 32, over the derived",
        signals("temperature", hot),
        within(1, 0.1),
        "1 +- 0.1",
    ),
    claim(
        "variance",
        "Section 3.2.1, footnote",
        "The variance of q.k is d_k (exponent of d_k)",
        signals("scaling", lambda rows: exponent(series(rows, "d_k", "variance", scores="plain"))),
        within(1, 0.05),
        "1 +- 0.05",
        paper=1,
    ),
    claim(
        "variance-divided",
        "Section 3.2.1, footnote",
        "Divided by sqrt(d_k), scores have variance 1 (largest difference over d_k)",
        signals("scaling", lambda rows: float(abs(series(rows, "d_k", "variance", scores="divided") - 1).max())),
        between(0, 0.1),
        "<= 0.1",
    ),
    claim(
        "jacobian",
        "Section 3.2.1",
        "Undivided, d_k = 1024 puts the softmax where its gradients are extremely small (median norm of its Jacobian, "
        "over the divided one's)",
        signals("scaling", jacobian_ratio),
        between(0, 0.05),
        "<= 0.05",
    ),
    claim(
        "jacobian-divided",
        "Section 3.2.1",
        "Divided, its gradients do not depend on d_k (largest over smallest median norm, from d_k = 16)",
        signals("scaling", jacobian_spread),
        between(1, 1.1),
        "<= 1.1",
    ),
    claim(
        "jacobian-mean",
        "Derived: near ties of the two largest scores",
        "Undivided, the mean norm falls only as 1/sqrt(d_k): few queries have all of the gradient (exponent, from 256)",
        signals("scaling", lambda rows: exponent(series(rows, "d_k", "mean", scores="plain"), 256)),
        within(-0.5, 0.1),
        "-0.5 +- 0.1",
    ),
    claim(
        "positions",
        "Section 3.5",
        "PE(t) PE(t + k) depends on k alone (largest difference between two t, over |PE|^2)",
        signals(
            "positions",
            lambda rows: float((rows["high"] - rows["low"])[rows["encoding"] == "sinusoidal"].max()),
        ),
        between(0, 1e-9),
        "<= 1e-9",
    ),
    claim(
        "positions-logarithm",
        "Derived: 1 - (log k + 0.577) / log 10^4",
        "And falls with the logarithm of k (slope times log 10^4, k = 8 to 128)",
        signals("positions", logarithmic),
        within(-1, 0.1),
        "-1 +- 0.1",
    ),
)
NORMALISATION: Sequence[Claim] = (
    claim(
        "no-layernorm",
        "Derived: the feed-forward's 1.32, before attention's",
        "Without LayerNorm each layer multiplies E[x^2] (geometric mean of 24)",
        signals("depth", growth),
        between(1 + FEED_FORWARD, inf),
        ">= 1.32",
    ),
    claim(
        "post-layernorm",
        "Our control",
        "LayerNorm behind the sum keeps E[x^2] = 1 (largest difference over 24 layers)",
        signals("depth", lambda rows: float(abs(series(rows, "layer", "square", norm="post").loc[1:] - 1).max())),
        between(0, 1e-3),
        "<= 0.001",
    ),
    claim(
        "pre-layernorm",
        "Derived: feed-forward 0.32, attention at most 1",
        "LayerNorm in front of the sub-layer: each layer adds to E[x^2] (mean of 24)",
        signals("depth", increment),
        between(FEED_FORWARD, 1 + FEED_FORWARD),
        "0.32 to 1.32",
    ),
    claim(
        "training-none",
        "Our control",
        "Six and six layers without LayerNorm stay above guessing (last training loss, nats a token)",
        signals("training", last_loss("none")),
        between(CHANCE, inf),
        ">= 6/7 log 12 = 2.13",
    ),
    claim(
        "training-post",
        "Our control",
        "With it they learn (last training loss, nats a token)",
        signals("training", last_loss("post")),
        between(0, CHANCE),
        "< 6/7 log 12 = 2.13",
    ),
    claim(
        "training-pre",
        f"After {XIONG}",
        "Without warm-up, pre-LN learns faster than post-LN (difference of the last training losses, nats a token)",
        signals("training", lambda rows: last_loss("post")(rows) - last_loss("pre")(rows)),
        between(0.1, inf),
        ">= 0.1",
    ),
    claim(
        "post-depth",
        f"Derived: the last LayerNorm ({XIONG}, theorem 1)",
        "Post-LN: the last layer's gradient does not shrink with the number of layers (exponent, 2 to 12)",
        signals("gradients", last_layer("post")),
        within(0, 0.15),
        "0 +- 0.15",
    ),
    claim(
        "pre-depth",
        f"Derived: the last LayerNorm ({XIONG}, theorem 1)",
        "Pre-LN: it falls as 1/sqrt(layers) (exponent, 2 to 12)",
        signals("gradients", last_layer("pre")),
        within(-0.5, 0.15),
        "-0.5 +- 0.15",
    ),
    claim(
        "post-layers",
        f"{XIONG}, abstract",
        "Post-LN: in the decoder gradients are large near the output (first over last layer of six)",
        signals("gradients", first_over_last("post")),
        between(0, 0.5),
        "<= 0.5",
    ),
    claim(
        "post-layers-encoder",
        "Our control",
        "Post-LN: in the encoder they are of one size (first over last layer of six)",
        signals("gradients", first_over_last("post", "encoder")),
        between(0.5, 2),
        "0.5 to 2",
    ),
    claim(
        "pre-layers",
        f"{XIONG}, abstract",
        "Pre-LN: in the decoder they are of one size (first over last layer of six)",
        signals("gradients", first_over_last("pre")),
        between(0.5, 2),
        "0.5 to 2",
    ),
)
COMPLEXITY: Sequence[Claim] = (
    claim(
        "count-attention",
        "Table 1",
        "Self-attention does O(n^2 d) multiplications: 2 n^2 d (largest difference)",
        timed(miscounted("attention", lambda n, d: 2 * n**2 * d)),
        within(0, 0),
        "= 0",
    ),
    claim(
        "count-layer",
        "Table 1, with the projections that it leaves out",
        "Its layer does 2 n^2 d + 4 n d^2 (largest difference)",
        timed(miscounted("self-attention layer", lambda n, d: 2 * n**2 * d + 4 * n * d**2)),
        within(0, 0),
        "= 0",
    ),
    claim(
        "count-recurrent",
        "Table 1",
        "A recurrent layer does O(n d^2): 2 n d^2 (largest difference)",
        timed(miscounted("recurrent layer", lambda n, d: 2 * n * d**2)),
        within(0, 0),
        "= 0",
    ),
    claim(
        "chain-attention",
        "Table 1",
        "Self-attention takes O(1) sequential steps (products in a chain, growth for each position)",
        timed(chain_growth("self-attention layer")),
        within(0, 0),
        "= 0",
        paper=0,
    ),
    claim(
        "chain-recurrent",
        "Table 1",
        "A recurrent layer takes O(n) (the same)",
        timed(chain_growth("recurrent layer")),
        within(1, 0),
        "= 1",
        paper=1,
    ),
    claim(
        "time-n",
        "Table 1",
        "Self-attention's time grows as n^2 for n >> d (exponent, n >= 8 d)",
        timed(time_exponent("attention", "n")),
        within(2, 0.3),
        "2 +- 0.3",
        paper=2,
    ),
    claim(
        "time-n-recurrent",
        "Table 1",
        "A recurrent layer's as n (exponent, n >= 8 d)",
        timed(time_exponent("recurrent layer", "n")),
        within(1, 0.1),
        "1 +- 0.1",
        paper=1,
    ),
    claim(
        "time-d",
        "Table 1",
        "A recurrent layer's grows faster with d (difference of the exponents, d >= 2 n)",
        timed(exponent_gap),
        within(1, 0.5),
        "1 +- 0.5",
        paper=1,
    ),
    claim(
        "faster",
        "Section 4",
        "Self-attention is faster than a recurrent layer where n < d (smallest ratio of times, without projections)",
        timed(advantage("attention")),
        lambda ratio: ratio > 1,
        "> 1",
    ),
    claim(
        "faster-layer",
        "Section 4",
        "With its projections too, on one thread (smallest ratio of times)",
        timed(advantage("self-attention layer")),
        lambda ratio: ratio > 1,
        "> 1",
    ),
    claim(
        "reach-recurrent",
        "Derived: sqrt(E[tanh'(z)^2])",
        "A recurrent layer's gradient decays with each position that it passes (factor from 8 to 64, over the derived)",
        signals("reach", reach_factor),
        within(1, 0.05),
        "1 +- 0.05",
    ),
    claim(
        "reach-attention",
        "Table 1, maximum path length",
        "Self-attention's reaches 64 positions back (first input's over last input's, root mean square)",
        signals("reach", lambda rows: series(rows, "distance", "ratio", layer_type="self-attention layer")[64]),
        between(0.01, inf),
        ">= 0.01",
    ),
)
CLAIMS = (*SCALES, *NORMALISATION, *COMPLEXITY)

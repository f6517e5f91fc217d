r"""A study beside the paper: attention from scratch, each part of it turned on and off at random parameters or trained.

Temperature and entropy of the softmax, what dividing by sqrt(d_k) is for, LayerNorm on and off, where it stands, what
positional encodings know of distance; and Table 1 measured (complexity.py).
"""

from collections.abc import Callable, Iterator
from functools import partial
from math import log, sqrt
from typing import Any

import numpy as np

from papers.attention import complexity
from papers.attention.data import BOS, EOS, UNK, Batch, padded
from papers.attention.model import Norm, Transformer, gradient, not_padding
from shared import tree
from shared.experiment import Job, Run
from shared.layers.activation import Tanh, normal_cdf
from shared.layers.attention import MultiHeadAttention, attention
from shared.layers.base import Layer
from shared.layers.embedding import LearnedPositions, SinusoidalPositions
from shared.layers.recurrent import Recurrent
from shared.optim import Adam
from shared.quadrature import NODES, WEIGHTS, moments
from shared.tree import Array

Row = dict[str, Any]

SIZES: dict[str, dict[str, int]] = {
    "smoke": {"seeds": 1, "draws": 1, "training_steps": 3, "rounds": 2},
    "quick": {"seeds": 3, "draws": 8, "training_steps": 100, "rounds": 20},
    "full": {"seeds": 5, "draws": 16, "training_steps": 400, "rounds": 100},
}

QUERIES, KEYS, D_K = 256, 64, 64  # the paper's d_k
TEMPERATURES = [2.0**i for i in range(-5, 6)]
KEY_SIZES = (4, 16, 64, 256, 1024, 4096)  # d_k
D_MODEL = 512  # the paper's, for positions
DISTANCES = (*range(9), 12, 16, 24, 32, 48, 64, 96, 128)
REACHES = (1, 2, 4, 8, 16, 32, 64)  # between the first input and the last output
FEATURES = 64  # of the layers that the reaches are for
NORMS: tuple[Norm, ...] = ("none", "post", "pre")

# Networks at the start: d_ff / d_model and the number of layers are the paper's, but for what grows with depth.
VOCABULARY, PAIRS, LENGTH = 200, 8, 12
NARROW: dict[str, Any] = {"d_model": 64, "d_ff": 256, "heads": 4, "dropout": 0.0}
DEEP = 24
LAYERS = 6
DEPTHS = (2, 4, LAYERS, 12)
# Training: sentences of six letters, to be reversed; a constant rate, no warm-up. 1e-3 is Adam's usual one.
LETTERS, LETTERS_LONG, RATE, READINGS = 12, 6, 1e-3, 20
SMALL: dict[str, Any] = {"layers": LAYERS, "d_model": 32, "d_ff": 64, "heads": 4, "dropout": 0.0}
CHANCE = LETTERS_LONG / (LETTERS_LONG + 1) * log(LETTERS)  # nats a token of who guesses letters and knows the end


def jobs(cfg: Any) -> list[Job]:
    """A job a seed, whose steps are the parts of the study, and at the end one that measures times."""
    size = SIZES[cfg.scale]
    common = {"stage": "study", "data": "random"}
    random = {"study": "signals", "steps": len(PARTS), "draws": size["draws"], "training_steps": size["training_steps"]}
    return [
        *({**common, "seed": seed, **random} for seed in range(size["seeds"])),
        {**common, "seed": 0, "study": "complexity", "steps": size["rounds"]},
    ]


def run(job: Job, run: Run) -> None:
    """One job of the study."""
    if job["study"] == "complexity":
        complexity.measure(job, run)
        return
    run.restore({})
    for step in run.steps():
        for row in PARTS[step](job, np.random.default_rng((job["seed"], step))):
            run.record(**row)


def temperature(job: Job, rng: np.random.Generator) -> Iterator[Row]:
    """Entropy of the weights (nats), its smallest rise over all queries, and the largest weight."""
    q, k = (rng.standard_normal((job["draws"], n, D_K)) for n in (QUERIES, KEYS))
    before = np.zeros((job["draws"], QUERIES))
    for T in TEMPERATURES:
        _, A, _ = attention(q, k, k, temperature=T)
        H = entropy(A)
        yield {
            "part": "temperature",
            "temperature": T,
            "entropy": H.mean(),
            "rise": (H - before).min(),
            "largest": A.max(-1).mean(),
        }
        before = H


def entropy(A: Array) -> Array:
    """-sum_k A_k log A_k over the last axis; 0 log 0 = 0."""
    return -(A * np.log(A, where=A > 0, out=np.zeros_like(A))).sum(-1)


def scaling(job: Job, rng: np.random.Generator) -> Iterator[Row]:
    """Scores of standard normal queries and keys, and the softmax's Jacobian at them, with and without 1/sqrt(d_k)."""
    for d_k in KEY_SIZES:
        q, k = (rng.standard_normal((job["draws"], n, d_k), np.float32) for n in (QUERIES, KEYS))
        variance = np.var(q @ k.swapaxes(-1, -2), dtype=float)
        for scores, divisor in (("divided", sqrt(d_k)), ("plain", 1.0)):
            _, A, _ = attention(q, k, k, temperature=divisor / sqrt(d_k))  # it divides by temperature sqrt(d_k)
            norm = jacobian_norm(A)
            yield {
                "part": "scaling",
                "d_k": d_k,
                "scores": scores,
                "variance": variance / divisor**2,
                "median": np.median(norm),
                "mean": norm.mean(),
                "saturated": (A.max(-1) > 0.99).mean(),
            }


def jacobian_norm(A: Array) -> Array:
    r"""Frobenius norm of diag(a) - a a^T for each row a of A (..., K), in float64.

    Its square is sum_k a_k^2 (1 - a_k)^2 + sum_{j != k} a_j^2 a_k^2. Taken apart into the largest weight m and the
    others, of sum r = 1 - m, nothing cancels where m is nearly 1.
    """
    order = np.sort(A.astype(float), -1)
    m, others = order[..., -1], order[..., :-1]
    r, squares = others.sum(-1), np.sum(others**2, -1)
    diagonal = (m * r) ** 2 + np.sum((others * (1 - others)) ** 2, -1)
    return np.sqrt(diagonal + 2 * m**2 * squares + squares**2 - np.sum(others**4, -1))


def tie_density() -> float:
    r"""Density at 0 of the gap between the two largest of n standard normal keys' scores: n (n-1) E[phi Phi^(n-2)]."""
    cdf, density = normal_cdf(NODES)
    return float(KEYS * (KEYS - 1) * np.sum(WEIGHTS * density * cdf ** (KEYS - 2)))


def positions(job: Job, rng: np.random.Generator) -> Iterator[Row]:
    """PE(t) PE(t + distance) / PE(t) PE(t): mean, lowest and highest over t, sinusoidal and learned at the start."""
    length = 2 * max(DISTANCES)
    sinusoids, _ = SinusoidalPositions(D_MODEL)({}, np.zeros((length, D_MODEL)))
    vectors = {
        "sinusoidal": sinusoids * sqrt(2 / D_MODEL),
        "learned": LearnedPositions(length, D_MODEL).init(rng)["W"].astype(float),
    }
    for kind, PE in vectors.items():
        dots = PE @ PE.T
        for distance in DISTANCES:
            over_t = np.diagonal(dots, distance)
            yield {
                "part": "positions",
                "encoding": kind,
                "distance": distance,
                "dot": over_t.mean(),
                "low": over_t.min(),
                "high": over_t.max(),
            }


def reach(job: Job, rng: np.random.Generator) -> Iterator[Row]:
    """What the last output's gradient leaves at the first input, over what it leaves at the last (root mean square)."""
    kinds: dict[str, Layer] = {
        "self-attention layer": MultiHeadAttention(FEATURES, heads=1),
        "recurrent layer": Recurrent(FEATURES, FEATURES),
    }
    for kind, layer in kinds.items():
        p = [tree.astype(layer.init(rng), float) for _ in range(job["draws"])]
        for n in REACHES:
            squares = np.zeros(2)
            for one in p:
                y, pullback = layer(one, rng.standard_normal((PAIRS, n + 1, FEATURES)))
                dy = np.zeros_like(y)
                dy[:, -1] = rng.standard_normal((PAIRS, FEATURES))
                dx, _ = pullback(dy)
                squares += [np.sum(dx[:, t] ** 2) for t in (0, -1)]
            yield {"part": "reach", "layer_type": kind, "distance": n, "ratio": sqrt(squares[0] / squares[1])}


def recurrent_slope() -> float:
    r"""sqrt(E[tanh'(z)^2]) of a long recurrence: the gradient's factor for each position, Var U = 1/m as Glorot's.

    z_t = x_t W + y_{t-1} U has the variance q = 1 + E[tanh(z)^2], z ~ N(0, q), for x of variance 1.
    """
    q = np.array(1.0)
    for _ in range(100):
        q = 1 + moments(Tanh(), q)[0]
    return float(np.sqrt(moments(Tanh(), q)[1]))


def depth(job: Job, rng: np.random.Generator, norm: Norm) -> Iterator[Row]:
    """E[x^2] after each of 24 encoder layers, and that of its gradient over the last layer's, a normal cotangent."""
    model = Transformer(VOCABULARY, layers=DEEP, norm=norm, **NARROW)
    squares = np.zeros((2, DEEP + 1))
    for _ in range(job["draws"]):
        p = model.init(rng)
        source = random_pairs(rng, PAIRS, LENGTH, VOCABULARY).source
        x, _ = model.embed(p, "encoder", source)
        outputs, pullbacks = [x], []
        for layer in p["encoder"]["layers"].values():
            x, pullback = model.encoder_layer(layer, x, not_padding(source))
            outputs.append(x)
            pullbacks.append(pullback)
        deltas = [rng.standard_normal(x.shape, np.float32)]
        for pullback in reversed(pullbacks):
            deltas.append(pullback(deltas[-1])[0])
        squares += [[np.mean(np.square(a, dtype=float)) for a in kind] for kind in (outputs, deltas[::-1])]
    squares[0] /= job["draws"]
    squares[1] /= squares[1, -1]
    for l, (square, delta) in enumerate(squares.T):
        yield {"part": "depth", "norm": norm, "layer": l, "square": square, "gradient": delta}


def gradients(job: Job, rng: np.random.Generator, norm: Norm, layers: int) -> Iterator[Row]:
    """Norm of the loss's gradient in W_2 of each layer's feed-forward at the start; root mean square over the draws."""
    model = Transformer(VOCABULARY, layers=layers, norm=norm, **NARROW)
    squares = np.zeros((2, layers))
    for _ in range(job["draws"]):
        p = model.init(rng)
        _, grads = gradient(model, p, random_pairs(rng, PAIRS, LENGTH, VOCABULARY), 0.0, rng)
        for i, side in enumerate(("encoder", "decoder")):
            of_layers = [layer["feed_forward"]["2"]["W"] for layer in grads[side]["layers"].values()]
            squares[i] += [np.sum(np.square(dW, dtype=float)) for dW in of_layers]
    for l, (encoder, decoder) in enumerate(np.sqrt(squares / job["draws"]).T, 1):
        yield {"part": "gradients", "norm": norm, "layers": layers, "layer": l, "encoder": encoder, "decoder": decoder}


def training(job: Job, rng: np.random.Generator, norm: Norm) -> Iterator[Row]:
    """Mean loss (nats a token) since the last reading, of a network that learns to reverse sentences."""
    model = Transformer(UNK + 1 + LETTERS, norm=norm, **SMALL)
    _, p = tree.flatten(model.init(rng))
    optimizer = Adam(RATE, beta2=0.98, epsilon=1e-9)
    state = optimizer.init(p)
    steps, since = job["training_steps"], list[float]()
    for iteration in range(1, steps + 1):
        batch = random_pairs(rng, 2 * PAIRS, LETTERS_LONG, UNK + 1 + LETTERS, reverse=True)
        loss, grads = gradient(model, p, batch, 0.0, rng)
        optimizer.update(p, grads, state)
        since.append(loss)
        if iteration * READINGS // steps > (iteration - 1) * READINGS // steps:
            yield {"part": "training", "norm": norm, "iteration": iteration, "loss": np.mean(since)}
            since = []


def random_pairs(rng: np.random.Generator, n: int, length: int, vocabulary: int, reverse: bool = False) -> Batch:
    """n pairs of sentences of ``length`` random words; the target is another one, or the source turned round."""
    source, target = rng.integers(UNK + 1, vocabulary, (2, n, length)).tolist()
    if reverse:
        target = [sentence[::-1] for sentence in source]
    return Batch(
        np.arange(n),
        padded([[*sentence, EOS] for sentence in source]),
        padded([[BOS, *sentence] for sentence in target]),
        padded([[*sentence, EOS] for sentence in target]),
    )


Part = Callable[[Job, np.random.Generator], Iterator[Row]]
PARTS: tuple[Part, ...] = (
    temperature,
    scaling,
    positions,
    reach,
    *(partial(depth, norm=norm) for norm in NORMS),
    *(partial(gradients, norm=norm, layers=layers) for norm in ("post", "pre") for layers in DEPTHS),
    *(partial(training, norm=norm) for norm in NORMS),
)

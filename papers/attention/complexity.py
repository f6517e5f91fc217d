r"""Table 1 measured: what a layer of self-attention and a recurrent one cost, in products, in steps and in seconds.

self-attention   O(n^2 d) products, O(1) sequential steps, longest path O(1)
recurrent        O(n d^2) products, O(n) sequential steps, longest path O(n)          n positions, d features
"""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np

from shared import threads
from shared.counting import Tally, tally
from shared.experiment import Job, Run
from shared.layers.attention import MultiHeadAttention, attention
from shared.layers.base import Layer
from shared.layers.recurrent import Recurrent
from shared.tree import Array, Tree

LENGTHS, NARROW = (32, 64, 128, 256, 512, 1024), 32  # n, up to far above d
WIDTHS, SHORT = (64, 128, 256, 512), 64  # d, up to far above n; at 1024 a matrix leaves the second-level cache
AT_A_TIME = 3
KINDS = ("attention", "self-attention layer", "recurrent layer")


@dataclass(frozen=True)
class Attention:
    """Equation 1 alone, on x (3, n, d): queries, keys and values. Table 1 counts no projections."""

    def init(self, rng: np.random.Generator) -> Tree:
        return {}

    def __call__(self, p: Tree, x: Array) -> tuple[Array, Any]:
        y, _, pullback = attention(*x)
        return y, pullback


def made(kind: str, n: int, d: int) -> tuple[Any, Array]:
    """A layer and an input for it, of one head: how many there are does not change the number of products."""
    layers: dict[str, Attention | Layer] = {
        "attention": Attention(),
        "self-attention layer": MultiHeadAttention(d, heads=1),
        "recurrent layer": Recurrent(d, d),
    }
    rng = np.random.default_rng(0)
    return layers[kind], rng.standard_normal((3, n, d) if kind == "attention" else (n, d), np.float32)


def count(kind: str, n: int, d: int) -> Tally:
    """What the forward pass of the layer's own code does with n positions."""
    layer, x = made(kind, n, d)
    return tally(lambda given: layer(layer.init(np.random.default_rng(0)), given["x"]), {"x": x})


def sizes() -> list[tuple[str, str, int, int]]:
    """(what varies, kind, n, d)."""
    lengths = [("n", kind, n, NARROW) for n in LENGTHS for kind in KINDS]
    return lengths + [("d", kind, SHORT, d) for d in WIDTHS for kind in KINDS]


def measure(job: Job, run: Run) -> None:
    """Time every size once a step, and keep the shortest: what else the machine does can only add to it."""
    seconds = np.full(len(sizes()), np.finfo(float).max)
    run.restore({"seconds": seconds})
    with threads.use(1):
        for _ in run.steps():
            for i, (_, kind, n, d) in enumerate(sizes()):
                seconds[i] = min(seconds[i], *timings(kind, n, d))
    for best, (varied, kind, n, d) in zip(seconds, sizes(), strict=True):
        own = {"varied": varied, "layer_type": kind, "n": n, "d": d, "seconds": best}
        run.record(part="complexity", **own, **asdict(count(kind, n, d)))


def timings(kind: str, n: int, d: int) -> list[float]:
    """Seconds of a few forward passes after each other; the first one finds cold caches."""
    layer, x = made(kind, n, d)
    p, found = layer.init(np.random.default_rng(0)), []
    for _ in range(AT_A_TIME):
        begin = perf_counter()
        layer(p, x)
        found.append(perf_counter() - begin)
    return found

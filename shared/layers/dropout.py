"""Noise on the activations while training."""

from dataclasses import dataclass

import numpy as np

from shared.layers.activation import Activation
from shared.layers.base import EVAL, Mode, Pullback
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Dropout(Activation):
    r"""y = x * m / (1 - rate), m ~ Bernoulli(1 - rate) for each entry, any shape; y = x in evaluation.

    E[m] = 1 - rate, so E[y] = x and evaluation needs no scaling ("inverted" dropout). y is linear in x for a given m:
        dx = dy * m / (1 - rate).
    Srivastava et al. 2014, section 4 (there the weights are scaled at test time instead).
    """

    rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1), got {self.rate}")

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if not mode.train or self.rate == 0:
            return x, lambda dy: (dy, {})
        if mode.rng is None:
            raise ValueError("Dropout: training draws a mask, so it needs Mode(train=True, rng=...)")
        kept = mode.rng.random(x.shape, dtype=np.float32) >= self.rate
        scale = kept.astype(x.dtype)
        scale *= 1 / (1 - self.rate)
        return x * scale, lambda dy: (dy * scale, {})

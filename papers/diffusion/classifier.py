"""The classifier that guides: the U-Net's encoder with attention pooling, on noisy images (section 4, appendix)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from papers.diffusion.blocks import Told, heads
from papers.diffusion.unet import Encoder, Plan
from shared.layers.activation import SiLU
from shared.layers.attention import MultiHeadAttention
from shared.layers.base import Pullback
from shared.layers.combinators import Sequential
from shared.layers.embedding import LearnedPositions
from shared.layers.linear import Linear
from shared.layers.norm import GroupNorm
from shared.losses import softmax_cross_entropy
from shared.threads import spread
from shared.tree import Array, Tree


@dataclass(frozen=True)
class AttentionPool:
    r"""y = A(m_0; m) W, m = (mean of x, x_1, ..., x_P) + positions: x (N, H, W, C), y (N, classes).

    The mean over places asks all places, itself among them. m_0 is read twice, as query and as memory, so its two
    cotangents add up; the mean hands dm_0 / P on to each place. Radford et al. 2021 (CLIP), section 2.4.
    """

    places: int
    channels: int
    heads: int
    classes: int

    @property
    def positions(self) -> LearnedPositions:
        return LearnedPositions(1 + self.places, self.channels)

    @property
    def attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(self.channels, self.heads, bias=True)

    @property
    def output(self) -> Linear:
        return Linear(self.channels, self.classes)

    def init(self, rng: np.random.Generator) -> Tree:
        return {
            "positions": self.positions.init(rng),
            "attention": self.attention.init(rng),
            "output": self.output.init(rng),
        }

    def __call__(self, p: Tree, x: Array) -> tuple[Array, Pullback]:
        tokens = x.reshape(len(x), self.places, self.channels)
        every = np.concatenate([tokens.mean(1, keepdims=True), tokens], 1)
        m, positions_pullback = self.positions(p["positions"], every)
        read, attention_pullback = self.attention(p["attention"], m[:, :1], memory=m)
        logits, output_pullback = self.output(p["output"], read[:, 0])

        def pullback(dlogits: Array) -> tuple[Array, Tree]:
            dread, doutput = output_pullback(dlogits)
            (dquery, dm), dattention = attention_pullback(dread[:, None])
            dm[:, :1] += dquery
            devery, dpositions = positions_pullback(dm)
            dx = devery[:, 1:] + devery[:, :1] / self.places
            return dx.reshape(x.shape), {"positions": dpositions, "attention": dattention, "output": doutput}

        return logits, pullback


@dataclass(frozen=True)
class Classifier:
    """log p(y | x_t) up to a constant: x_t (N, side, side, 1), t (N,) -> logits (N, classes).

    No statistics of the batch anywhere: the gradient of the sum of log p over a batch is each image's own.
    """

    plan: Plan
    classes: int

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.plan)

    @property
    def told(self) -> Told:
        return Told(self.plan.channels, self.plan.style.embedding)

    @property
    def before(self) -> Sequential:
        return Sequential((GroupNorm(self.plan.widths[-1], self.plan.groups), SiLU()))

    @property
    def pool(self) -> AttentionPool:
        width = self.plan.widths[-1]
        return AttentionPool(self.plan.sides[-1] ** 2, width, heads(width, self.plan.head), self.classes)

    def init(self, rng: np.random.Generator) -> Tree:
        return {
            "told": self.told.init(rng),
            "encoder": self.encoder.init(rng),
            "before": self.before.init(rng),
            "pool": self.pool.init(rng),
        }

    def __call__(self, p: Tree, x: Array, t: Array) -> tuple[Array, Pullback]:
        e, told_pullback = self.told(p["told"], t, None)
        outputs, encoder_pullback = self.encoder(p["encoder"], x, e)
        h, before_pullback = self.before(p["before"], outputs[-1])
        logits, pool_pullback = self.pool(p["pool"], h)

        def pullback(dlogits: Array) -> tuple[Array, Tree]:
            dh, dpool = pool_pullback(dlogits)
            dlast, dbefore = before_pullback(dh)
            dx, de, dencoder = encoder_pullback([*[None] * (len(outputs) - 1), dlast])
            return dx, {"told": told_pullback(de), "encoder": dencoder, "before": dbefore, "pool": dpool}

        return logits, pullback

    def log_gradient(self, p: Tree, y: Array) -> Callable[[Array, Array], Array]:
        """(x_t, t) -> the gradient of log p(y | x_t) in x_t, of x_t's shape: minus the cross-entropy's, pulled back.

        Each thread takes a part of the images.
        """

        def gradient(x: Array, t: Array) -> Array:
            def of(part: slice) -> Array:
                logits, pullback = self(p, x[part], t[part])
                loss, loss_pullback = softmax_cross_entropy(logits, y[part])
                dx, _ = pullback(loss_pullback(-np.ones_like(loss)))
                return dx

            return np.concatenate(spread(of, len(x)))

        return gradient

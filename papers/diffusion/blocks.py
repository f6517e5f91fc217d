"""What the U-Net and the classifier are made of: residual blocks told the time and the class, and self-attention.

These take a second input, so they write their own joins: y, pullback = block(p, x, e), dx, de, dp = pullback(dy), where
e (N, E) is the embedding of time and class after its SiLU.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np

from shared.init import Normal, he_normal
from shared.layers.activation import SiLU
from shared.layers.attention import MultiHeadAttention
from shared.layers.base import Layer, Pullback
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.embedding import Embedding
from shared.layers.linear import Linear
from shared.layers.norm import GroupNorm, group_norm
from shared.layers.pool import AveragePool, Upsample
from shared.tree import Array, Tree

BlockPullback = Callable[[Array], tuple[Array, Array, Tree]]  # dy -> (dx, de, dp)
ZERO = Normal(0.0)
EPSILON = 1e-5  # of the second norm, as ``GroupNorm`` has it
LONGEST = 10_000.0  # of the sinusoids' periods, in units of 2 pi


def heads(channels: int, head: int) -> int:
    """How many heads of ``head`` channels attention has, at least one."""
    return max(1, channels // head)


def conv3x3(c_in: int, c_out: int, weight: Callable[..., Array] = he_normal) -> Conv2d:
    return Conv2d(c_in, c_out, 3, 1, 1, weight)


@dataclass(frozen=True)
class Style:
    """What all residual blocks of a network share: width E of the embedding, how it enters, groups of the norms.

    ``rescale`` divides the sum of both branches by sqrt(2) (Song et al. 2021); the paper's Table 1 has it worse.
    """

    embedding: int
    adagn: bool = True
    rescale: bool = False
    groups: int = 8


@dataclass(frozen=True)
class ResBlock:
    r"""y = k (h(x) + f(x, e)), f = conv silu AdaGN(., e) conv r silu GN, h = conv1x1 r; x (N, H, W, c_in), e (N, E).

    r resamples: the identity, 2x2 means ("down") or each pixel four times ("up", both BigGAN's); h has no convolution
    where c_in = c_out; k is 1 or 1/sqrt(2). The last convolution of f starts at zero, so the block starts as h.

        AdaGN(z, e) = (1 + s) GN(z) + b, (s, b) = e W + c      (section 3; the official code's 1 + s)
        or, "addition",  GN(z + b),  b = e W + c               (Table 3)

    ``group_norm`` gives the gradient of its gamma and beta for each image; ds and db follow by the chain rule.
    """

    c_in: int
    c_out: int
    style: Style
    resample: str = ""

    @property
    def layers(self) -> dict[str, Layer]:
        style = self.style
        layers: dict[str, Layer] = {
            "before": Sequential((GroupNorm(self.c_in, style.groups), SiLU(), *self.resampling)),
            "conv1": conv3x3(self.c_in, self.c_out),
            "embed": Linear(style.embedding, (2 if style.adagn else 1) * self.c_out),
            "norm": GroupNorm(self.c_out, style.groups),
            "conv2": Sequential((SiLU(), conv3x3(self.c_out, self.c_out, ZERO))),
            "skip": Sequential(self.resampling),
        }
        if self.c_in != self.c_out:
            layers["skip"] = Sequential((*self.resampling, Conv2d(self.c_in, self.c_out, 1)))
        return layers

    @property
    def resampling(self) -> tuple[Layer, ...]:
        known: dict[str, tuple[Layer, ...]] = {"": (), "down": (AveragePool(2, 2),), "up": (Upsample(2),)}
        return known[self.resample]

    def init(self, rng: np.random.Generator) -> Tree:
        return {name: layer.init(rng) for name, layer in self.layers.items()}

    def __call__(self, p: Tree, x: Array, e: Array) -> tuple[Array, BlockPullback]:
        layers, pullbacks, groups = self.layers, dict[str, Pullback](), self.style.groups

        def through(name: str, x: Array) -> Array:
            y, pullbacks[name] = layers[name](p[name], x)
            return y

        z = through("conv1", through("before", x))
        embedded = through("embed", e)
        gamma, beta = p["norm"]["gamma"], p["norm"]["beta"]
        if self.style.adagn:  # (1 + s) (gamma GN(z) + beta) + b is GN with gamma and beta of each image's own
            s, b = np.split(embedded, 2, -1)
            m, norm_pullback = group_norm(z, gamma * (1 + s), beta * (1 + s) + b, groups, EPSILON)
        else:
            m, norm_pullback = group_norm(z + embedded[:, None, None], gamma, beta, groups, EPSILON)
        y = through("conv2", m)
        y += through("skip", x)
        k = 1 / sqrt(2) if self.style.rescale else 1.0
        if self.style.rescale:
            y *= k

        def pullback(dy: Array) -> tuple[Array, Array, Tree]:
            dp: Tree = {}

            def back(name: str, dy: Array) -> Array:
                dx, dp[name] = pullbacks[name](dy)
                return dx

            g = dy * k if self.style.rescale else dy
            dz, dgamma, dbeta = norm_pullback(back("conv2", g))
            if self.style.adagn:
                dembedded = np.concatenate([gamma * dgamma + beta * dbeta, dbeta], -1)
                dgamma, dbeta = dgamma * (1 + s), dbeta * (1 + s)
            else:
                dembedded = dz.sum((1, 2))
            dp["norm"] = {"gamma": dgamma.sum(0), "beta": dbeta.sum(0)}
            de = back("embed", dembedded)
            dx = back("before", back("conv1", dz))
            dx = dx + back("skip", g)
            return dx, de, {name: dp[name] for name in p}

        return y, pullback


@dataclass(frozen=True)
class SelfAttention:
    r"""y = x + A(GN(x)), A multi-head attention between the places of an image; x (N, H, W, C).

    W_O starts at zero, so the block starts as the identity. Section 3; ``head`` channels a head.
    """

    channels: int
    head: int
    groups: int = 8

    @property
    def norm(self) -> GroupNorm:
        return GroupNorm(self.channels, self.groups)

    @property
    def attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(self.channels, heads(self.channels, self.head), bias=True)

    def init(self, rng: np.random.Generator) -> Tree:
        p: Tree = {"norm": self.norm.init(rng), "attention": self.attention.init(rng)}
        p["attention"]["O"]["W"][:] = 0
        return p

    def __call__(self, p: Tree, x: Array) -> tuple[Array, Pullback]:
        z, norm_pullback = self.norm(p["norm"], x)
        a, attention_pullback = self.attention(p["attention"], z.reshape(len(x), -1, self.channels))

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dz, dattention = attention_pullback(dy.reshape(a.shape))
            dx, dnorm = norm_pullback(dz.reshape(x.shape))
            return dx + dy, {"norm": dnorm, "attention": dattention}

        return x + a.reshape(x.shape), pullback


@dataclass(frozen=True)
class Stage:
    """A residual block, and self-attention behind it where ``attention`` is given."""

    block: ResBlock
    attention: SelfAttention | None = None

    def init(self, rng: np.random.Generator) -> Tree:
        p: Tree = {"block": self.block.init(rng)}
        return p | ({"attention": self.attention.init(rng)} if self.attention else {})

    def __call__(self, p: Tree, x: Array, e: Array) -> tuple[Array, BlockPullback]:
        y, block_pullback = self.block(p["block"], x, e)
        if self.attention is None:
            return y, lambda dy: with_key("block", *block_pullback(dy))
        z, attention_pullback = self.attention(p["attention"], y)

        def pullback(dz: Array) -> tuple[Array, Array, Tree]:
            dy, dattention = attention_pullback(dz)
            dx, de, dblock = block_pullback(dy)
            return dx, de, {"block": dblock, "attention": dattention}

        return z, pullback


def with_key(key: str, dx: Array, de: Array, dp: Tree) -> tuple[Array, Array, Tree]:
    return dx, de, {key: dp}


@dataclass(frozen=True)
class Told:
    r"""e = silu(W2 silu(W1 sinusoids(t)) + V[y]): what a network is told of the time t (N,) and the class y (N,).

    sinusoids(t) = (cos(t w_i), sin(t w_i)), w_i = 10000^(-i / n), i = 0 .. n-1. Without classes there is no V.
    """

    channels: int
    embedding: int
    classes: int = 0

    @property
    def time(self) -> Sequential:
        return Sequential(
            (Linear(self.channels, self.embedding, input_is_data=True), SiLU(), Linear(self.embedding, self.embedding))
        )

    def init(self, rng: np.random.Generator) -> Tree:
        p: Tree = {"time": self.time.init(rng)}
        return p | ({"class": Embedding(self.classes, self.embedding).init(rng)} if self.classes else {})

    def __call__(self, p: Tree, t: Array, y: Array | None) -> tuple[Array, Callable[[Array], Tree]]:
        if (y is None) == bool(self.classes):
            wanted = f"one of {self.classes} classes" if self.classes else "no class"
            raise ValueError(f"Told: this network is told {wanted}, got {'none' if y is None else 'labels'}")
        n = self.channels // 2
        angle = t[:, None] * LONGEST ** (-np.arange(n) / n)
        sinusoids = np.concatenate([np.cos(angle), np.sin(angle)], -1).astype(p["time"]["0"]["W"].dtype)
        e, time_pullback = self.time(p["time"], sinusoids)
        if y is not None:
            vectors, class_pullback = Embedding(self.classes, self.embedding)(p["class"], y)
            e = e + vectors
        silu, silu_pullback = SiLU()({}, e)

        def pullback(dsilu: Array) -> Tree:
            de, _ = silu_pullback(dsilu)
            dp: Tree = {"time": time_pullback(de)[1]}
            return dp | ({"class": class_pullback(de)[1]} if y is not None else {})

        return silu, pullback

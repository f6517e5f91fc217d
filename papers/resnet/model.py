"""The networks of section 4.2: 6n + 2 layers for CIFAR-10, plain or with shortcuts."""

from dataclasses import dataclass

import numpy as np

from shared.init import he_normal
from shared.layers.activation import ReLU
from shared.layers.base import EVAL, Layer, Mode, Pullback
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.layers.norm import BatchNorm
from shared.layers.pool import GlobalAveragePool
from shared.tree import Array, Tree

WIDTHS = (16, 32, 64)  # filters at full, half and quarter size
SHORTCUTS = ("none", "A", "B")


def conv3x3(c_in: int, c_out: int, stride: int = 1, input_is_data: bool = False) -> Sequential:
    """A 3x3 convolution and its BatchNorm, which makes a bias of the convolution's own superfluous."""
    conv = Conv2d(c_in, c_out, 3, stride, 1, he_normal, bias=False, input_is_data=input_is_data)
    return Sequential((conv, BatchNorm(c_out)))


@dataclass(frozen=True)
class ZeroPadShortcut:
    r"""Option A: y[n, i, j] = (x[n, s i, s j], 0, ..., 0), from c_in to c_out >= c_in channels, no parameters.

    The adjoint puts the first c_in entries of dy back where they were read, and 0 elsewhere. Section 3.3.
    """

    c_in: int
    c_out: int
    stride: int

    def init(self, rng: np.random.Generator) -> Tree:
        return {}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        read = x[:, :: self.stride, :: self.stride]
        y = np.zeros_like(x, shape=(*read.shape[:3], self.c_out))
        y[..., : self.c_in] = read

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = np.zeros_like(x)
            dx[:, :: self.stride, :: self.stride] = dy[..., : self.c_in]
            return dx, {}

        return y, pullback


@dataclass(frozen=True)
class Block:
    r"""y = relu(F(x) + h(x)), F = BN conv relu BN conv (both 3x3), h the shortcut; plain: y = relu(F(x)). Eq. 1 and 2.

    x (N, H, W, c_in), y (N, H/s, W/s, c_out). h is the identity where shapes agree; else option A pads with zeros and
    option B projects, h = BN conv1x1. x is read twice, so its two gradients add up: dx = J_F^T g + J_h^T g, with
    g = dy [y > 0]. ValueError for a shortcut that is not in SHORTCUTS.
    """

    c_in: int
    c_out: int
    stride: int
    shortcut: str

    def __post_init__(self) -> None:
        if self.shortcut not in SHORTCUTS:
            raise ValueError(f"Block: shortcut must be one of {', '.join(SHORTCUTS)}, got {self.shortcut}")

    @property
    def branch(self) -> Sequential:
        """F, the layers whose responses Figure 7 shows."""
        return Sequential((conv3x3(self.c_in, self.c_out, self.stride), ReLU(), conv3x3(self.c_out, self.c_out)))

    @property
    def projection(self) -> Layer | None:
        """h, or None for the identity and for a plain block."""
        if self.shortcut == "none" or (self.c_in, self.stride) == (self.c_out, 1):
            return None
        if self.shortcut == "A":
            return ZeroPadShortcut(self.c_in, self.c_out, self.stride)
        return Sequential((Conv2d(self.c_in, self.c_out, 1, self.stride, bias=False), BatchNorm(self.c_out)))

    def init(self, rng: np.random.Generator) -> Tree:
        p: Tree = {"branch": self.branch.init(rng)}
        return p | ({"projection": self.projection.init(rng)} if self.projection else {})

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        f, branch_pullback = self.branch(p["branch"], x, mode)
        if self.projection:
            h, projection_pullback = self.projection(p["projection"], x, mode)
            f += h
        elif self.shortcut != "none":
            f += x
        y, relu_pullback = ReLU()({}, f)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            g, _ = relu_pullback(dy)
            dx, dbranch = branch_pullback(g)
            dp: Tree = {"branch": dbranch}
            if self.projection:
                dh, dp["projection"] = projection_pullback(g)
                dx += dh
            elif self.shortcut != "none":
                dx += g
            return dx, dp

        return y, pullback


def resnet(depth: int, shortcut: str = "A", channels: int = 3, classes: int = 10) -> Sequential:
    """x (N, H, W, channels) -> logits (N, classes) by 6n + 2 layers: a 3x3 layer, 3n blocks, the mean, a linear map.

    ``shortcut`` is "none" for the plain network, or option "A" or "B" of section 3.3. ValueError for another one, and
    for a depth that is not 8, 14, 20, ...
    """
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        raise ValueError(f"resnet: depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), got {depth}")
    layers: list[Layer] = [conv3x3(channels, WIDTHS[0], input_is_data=True), ReLU()]
    c_in = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        for i in range(n):
            layers.append(Block(c_in, width, 2 if stage > 0 and i == 0 else 1, shortcut))
            c_in = width
    return Sequential((*layers, GlobalAveragePool(), Linear(c_in, classes, he_normal)))

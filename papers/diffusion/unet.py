"""The U-Net that predicts noise and variance (section 3), and its encoder, which the classifier has too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from papers.diffusion.blocks import ZERO, ResBlock, SelfAttention, Stage, Style, Told, conv3x3, heads
from shared.layers.activation import SiLU
from shared.layers.combinators import Sequential
from shared.layers.norm import GroupNorm
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Plan:
    """The sizes of a network on images (N, side, side, 1).

    A level has ``blocks`` residual blocks of ``channels`` times its multiplier; each level has half the side of the one
    before. Self-attention stands where the grid's side is in ``attention``. ``patch`` pixels a side are the channels of
    one place of the first grid.
    """

    side: int
    channels: int
    multipliers: tuple[int, ...]
    blocks: int = 1
    attention: tuple[int, ...] = ()
    head: int = 32
    patch: int = 1
    adagn: bool = True
    rescale: bool = False
    groups: int = 8

    def __post_init__(self) -> None:
        halvings = self.patch * 2 ** (len(self.multipliers) - 1)
        if self.side % halvings:
            sizes = f"side={self.side}, patch={self.patch} and {len(self.multipliers)} levels"
            raise ValueError(f"Plan: side must be a multiple of patch times 2^(levels - 1) = {halvings}, got {sizes}")
        if any(side not in self.sides for side in self.attention):
            raise ValueError(f"Plan: attention must be at sides among {self.sides}, got {self.attention}")
        if self.channels % 2 or self.channels % self.groups:
            raise ValueError(f"Plan: channels must be a multiple of groups={self.groups} and 2, got {self.channels}")
        if uneven := [width for width in self.attended if width % heads(width, self.head)]:
            raise ValueError(f"Plan: head={self.head} does not split {uneven[0]} channels into equal heads")

    @property
    def sides(self) -> tuple[int, ...]:
        """Of the levels' grids."""
        return tuple(self.side // self.patch // 2**level for level in range(len(self.multipliers)))

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.channels * multiplier for multiplier in self.multipliers)

    @property
    def attended(self) -> tuple[int, ...]:
        """The widths of the levels with attention; the lowest has it in the middle of the U-Net, if nowhere else."""
        lowest = self.sides[-1]
        return tuple(w for side, w in zip(self.sides, self.widths, strict=True) if side in (*self.attention, lowest))

    @property
    def style(self) -> Style:
        return Style(4 * self.channels, self.adagn, self.rescale, self.groups)

    def stage(self, c_in: int, c_out: int, side: int, attend: bool = False) -> Stage:
        attention = SelfAttention(c_out, self.head, self.groups) if attend or side in self.attention else None
        return Stage(ResBlock(c_in, c_out, self.style), attention)

    def resampler(self, channels: int, way: str) -> Stage:
        return Stage(ResBlock(channels, channels, self.style, way))


EncoderPullback = Callable[[Sequence[Array | None]], tuple[Array, Array, Tree]]  # cotangents -> (dx, de, dp)


@dataclass(frozen=True)
class Encoder:
    """x (N, side, side, 1) -> the outputs of all stages, (N, H, W, C) each: blocks of a level, a step down, blocks."""

    plan: Plan

    @property
    def stages(self) -> tuple[tuple[Stage, int], ...]:
        """Each with the side of the grid that it is given."""
        plan, c_in, found = self.plan, self.plan.channels, list[tuple[Stage, int]]()
        for level, (side, width) in enumerate(zip(plan.sides, plan.widths, strict=True)):
            if level:
                found.append((plan.resampler(c_in, "down"), 2 * side))
            for _ in range(plan.blocks):
                found.append((plan.stage(c_in, width, side), side))
                c_in = width
        return tuple(found)

    def init(self, rng: np.random.Generator) -> Tree:
        first = conv3x3(self.plan.patch**2, self.plan.channels).init(rng)
        return {"in": first} | {str(i): stage.init(rng) for i, (stage, _) in enumerate(self.stages)}

    def __call__(self, p: Tree, x: Array, e: Array) -> tuple[list[Array], EncoderPullback]:
        conv = conv3x3(self.plan.patch**2, self.plan.channels)
        h, conv_pullback = conv(p["in"], to_patches(x, self.plan.patch))
        outputs, pullbacks = [], []
        for i, (stage, _) in enumerate(self.stages):
            h, pullback = stage(p[str(i)], h, e)
            outputs.append(h)
            pullbacks.append(pullback)

        def backward(cotangents: Sequence[Array | None]) -> tuple[Array, Array, Tree]:
            dh, de, dp = cotangents[-1], np.zeros_like(e), dict[str, Tree]()
            assert dh is not None  # somebody reads the last output
            for i in reversed(range(len(pullbacks))):
                skip = cotangents[i] if i < len(pullbacks) - 1 else None
                dh, de_i, dp[str(i)] = pullbacks[i](dh if skip is None else dh + skip)
                de += de_i
            dx, dp["in"] = conv_pullback(dh)
            return from_patches(dx, self.plan.patch), de, {name: dp[name] for name in p}

        return outputs, backward


@dataclass(frozen=True)
class UNet:
    """x_t (N, side, side, 1), t (N,), y (N,) or None -> (N, side, side, 2): the noise, and v of the variance.

    The encoder; two blocks with attention between them at the lowest grid; the decoder, whose blocks read the output of
    the encoder's block of the same level beside what comes from below; GN, SiLU and a convolution that starts at zero.
    """

    plan: Plan
    classes: int = 0

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.plan)

    @property
    def told(self) -> Told:
        return Told(self.plan.channels, self.plan.style.embedding, self.classes)

    @property
    def middle(self) -> tuple[Stage, Stage]:
        width, side = self.plan.widths[-1], self.plan.sides[-1]
        plain = replace(self.plan, attention=())
        return plain.stage(width, width, side, attend=True), plain.stage(width, width, side)

    @property
    def decoder(self) -> tuple[tuple[Stage, int | None, int], ...]:
        """Each stage, the encoder's output that it reads too (None on the way up), the side of the grid given to it."""
        plan, below, found = self.plan, self.plan.widths[-1], list[tuple[Stage, int | None, int]]()
        skips = [i for i, (stage, _) in enumerate(self.encoder.stages) if not stage.block.resample]
        for level in reversed(range(len(plan.widths))):
            width, side = plan.widths[level], plan.sides[level]
            for _ in range(plan.blocks):
                found.append((plan.stage(below + width, width, side), skips.pop(), side))
                below = width
            if level:
                found.append((plan.resampler(width, "up"), None, side))
        return tuple(found)

    @property
    def head(self) -> Sequential:
        plan = self.plan
        out = conv3x3(plan.widths[0], 2 * plan.patch**2, ZERO)
        return Sequential((GroupNorm(plan.widths[0], plan.groups), SiLU(), out))

    def init(self, rng: np.random.Generator) -> Tree:
        return {
            "told": self.told.init(rng),
            "encoder": self.encoder.init(rng),
            "middle": {str(i): stage.init(rng) for i, stage in enumerate(self.middle)},
            "decoder": {str(i): stage.init(rng) for i, (stage, _, _) in enumerate(self.decoder)},
            "head": self.head.init(rng),
        }

    def __call__(
        self, p: Tree, x: Array, t: Array, y: Array | None = None
    ) -> tuple[Array, Callable[[Array], tuple[Array, Tree]]]:
        patch = self.plan.patch
        e, told_pullback = self.told(p["told"], t, y)
        outputs, encoder_pullback = self.encoder(p["encoder"], x, e)
        h, pullbacks, splits = outputs[-1], [], list[tuple[int, int | None]]()
        for i, stage in enumerate(self.middle):
            h, pullback = stage(p["middle"][str(i)], h, e)
            pullbacks.append(pullback)
        for i, (stage, skip, _) in enumerate(self.decoder):
            splits.append((h.shape[-1], skip))
            if skip is not None:
                h = np.concatenate([h, outputs[skip]], -1)
            h, pullback = stage(p["decoder"][str(i)], h, e)
            pullbacks.append(pullback)
        output, head_pullback = self.head(p["head"], h)

        def backward(doutput: Array) -> tuple[Array, Tree]:
            dp: Tree = {"middle": {}, "decoder": {}}
            cotangents: list[Array | None] = [None] * len(outputs)
            dh, dp["head"] = head_pullback(to_patches(doutput, patch))
            de = np.zeros_like(e)
            for i, (width, skip) in reversed(list(enumerate(splits))):
                dh, de_i, dp["decoder"][str(i)] = pullbacks[i + 2](dh)
                de += de_i
                if skip is not None:
                    cotangents[skip] = dh[..., width:]
                    dh = dh[..., :width]
            for i in (1, 0):
                dh, de_i, dp["middle"][str(i)] = pullbacks[i](dh)
                de += de_i
            last = cotangents[-1]
            cotangents[-1] = dh if last is None else dh + last
            dx, de_encoder, dp["encoder"] = encoder_pullback(cotangents)
            dp["told"] = told_pullback(de + de_encoder)
            for part in ("middle", "decoder"):
                dp[part] = {name: dp[part][name] for name in p[part]}
            return dx, {name: dp[name] for name in p}

        return from_patches(output, patch), backward


def to_patches(x: Array, patch: int) -> Array:
    """(N, H, W, C) -> (N, H/patch, W/patch, patch^2 C): the pixels of a patch become channels of one place."""
    n, height, width, channels = x.shape
    cut = x.reshape(n, height // patch, patch, width // patch, patch, channels)
    return cut.swapaxes(2, 3).reshape(n, height // patch, width // patch, patch * patch * channels)


def from_patches(x: Array, patch: int) -> Array:
    """The inverse of ``to_patches``, which is its adjoint too."""
    n, height, width, channels = x.shape
    cut = x.reshape(n, height, width, patch, patch, channels // patch**2)
    return cut.swapaxes(2, 3).reshape(n, height * patch, width * patch, channels // patch**2)

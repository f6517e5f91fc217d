"""Pooling and its counterpart: images made smaller, and larger."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared.layers.activation import Activation
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.windows import Pair, check_window, chunks, output_size, pair
from shared.threads import spread
from shared.tree import Array, Tree


@dataclass(frozen=True)
class _Pool(Activation):
    """Base of the two: the window, and the views of the padded image that hold one tap of every window."""

    kernel: int | Pair
    stride: int | Pair
    padding: int | Pair = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_window(name, self.kernel, self.stride, self.padding)
        if any(2 * p > k for p, k in zip(pair(self.padding), pair(self.kernel), strict=True)):
            raise ValueError(f"{name}: padding must be at most half of the kernel {self.kernel}, got {self.padding}")

    def output_shape(self, x: Array) -> tuple[int, ...]:
        if x.ndim != 4:
            raise ValueError(f"{type(self).__name__}: x must be (N, H, W, C), got {x.shape}")
        window = pair(self.kernel), pair(self.stride), pair(self.padding)
        return len(x), *output_size(type(self).__name__, x.shape[1:3], *window), x.shape[3]

    def frame(self, x: Array, value: float) -> Array:
        (top, left), (n, height, width, channels) = pair(self.padding), x.shape
        return np.full_like(x, value, shape=(n, height + 2 * top, width + 2 * left, channels))

    def padded(self, x: Array, value: float) -> Array:
        frame = self.frame(x, value)
        self.inside(frame)[...] = x
        return frame

    def inside(self, padded: Array) -> Array:
        (top, left) = pair(self.padding)
        return padded[:, top : padded.shape[1] - top, left : padded.shape[2] - left]

    def taps(self, padded: Array, shape: tuple[int, ...]) -> Iterator[Array]:
        (height, width), (down, across) = pair(self.kernel), pair(self.stride)
        for a in range(height):
            for b in range(width):
                yield padded[:, a : a + down * (shape[1] - 1) + 1 : down, b : b + across * (shape[2] - 1) + 1 : across]


@dataclass(frozen=True)
class MaxPool(_Pool):
    r"""y[n, i, j, c] = max over the taps a, b of x[n, s i + a - p, s j + b - p, c], x (N, H, W, C), y (N, H', W', C).

    Padding counts as -infinity. dy goes to the tap that won, to the first of equal ones; where windows overlap, a pixel
    collects what it won. Kernel, stride and padding are numbers or (vertical, horizontal) pairs.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        shape = self.output_shape(x)
        y, winner = np.empty_like(x, shape=shape), np.zeros_like(x, shape=shape, dtype=np.int16)

        def forward(part: slice) -> None:
            for images in chunks(part, x[:1].size):
                best, won = y[images], winner[images]
                first, *others = self.taps(self.padded(x[images], -np.inf), shape)
                best[...] = first
                for tap, value in enumerate(others, 1):
                    np.maximum(won, np.multiply(value > best, tap, dtype=won.dtype), out=won)
                    np.maximum(best, value, out=best)

        spread(forward, len(x))

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = np.empty_like(x)

            def backward(part: slice) -> None:
                for images in chunks(part, x[:1].size):
                    dpadded = self.frame(x[images], 0)
                    for tap, dvalue in enumerate(self.taps(dpadded, shape)):
                        dvalue += dy[images] * (winner[images] == tap)
                    dx[images] = self.inside(dpadded)

            spread(backward, len(x))
            return dx, {}

        return y, pullback


@dataclass(frozen=True)
class AveragePool(_Pool):
    r"""y[n, i, j, c] = mean over the taps a, b of x[n, s i + a - p, s j + b - p, c], x (N, H, W, C), y (N, H', W', C).

    Padding counts as 0 and is part of the mean. Each of the K taps has weight 1/K, so dx collects dy / K from every
    window that a pixel is in. Kernel, stride and padding are numbers or (vertical, horizontal) pairs.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        shape = self.output_shape(x)
        padded, (height, width) = self.padded(x, 0), pair(self.kernel)
        y = np.zeros_like(x, shape=shape)
        for value in self.taps(padded, shape):
            y += value
        y *= 1 / (height * width)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            share = dy * (1 / (height * width))
            dpadded = np.zeros_like(padded)
            for dvalue in self.taps(dpadded, shape):
                dvalue += share
            return self.inside(dpadded), {}

        return y, pullback


@dataclass(frozen=True)
class GlobalAveragePool(Activation):
    r"""y[n, c] = mean over all places of x[n, i, j, c]: x (N, H, W, C), y (N, C); dx[n, i, j] = dy[n] / (H W).

    Lin, Chen and Yan 2014, section 3.2.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim != 4:
            raise ValueError(f"GlobalAveragePool: x must be (N, H, W, C), got {x.shape}")
        places = x.shape[1] * x.shape[2]

        def pullback(dy: Array) -> tuple[Array, Tree]:
            share = dy[:, None, None] * (1 / places)
            return np.ascontiguousarray(np.broadcast_to(share, x.shape)), {}

        return x.mean((1, 2)), pullback


@dataclass(frozen=True)
class Upsample(Activation):
    r"""y[n, i, j] = x[n, floor(i / f), floor(j / f)]: each pixel becomes f x f of its kind, x (N, H, W, C).

    The adjoint sums what each pixel has become: dx[n, i, j] = sum over a, b < f of dy[n, f i + a, f j + b]. With a
    convolution behind it, this is a transposed convolution without the checkerboard (Odena et al. 2016).
    """

    factor: int = 2

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"Upsample: factor must be at least 1, got {self.factor}")

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim != 4:
            raise ValueError(f"Upsample: x must be (N, H, W, C), got {x.shape}")
        n, height, width, channels = x.shape
        f = self.factor

        def pullback(dy: Array) -> tuple[Array, Tree]:
            return dy.reshape(n, height, f, width, f, channels).sum((2, 4)), {}

        return x.repeat(f, 1).repeat(f, 2), pullback

"""Convolution as matrix products over the patches of a few images at a time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared.init import Initializer, he_normal
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.windows import Pair, check_window, chunks, output_size, pair, patches
from shared.threads import spread
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Conv2d:
    r"""y[n, i, j] = sum over a, b of x[n, s i + a - p, s j + b - p] W[a, b] + bias, x being 0 outside of its borders.

    x (N, H, W, c_in), W (k_h, k_w, c_in, c_out), b (c_out,), y (N, H', W', c_out), H' = floor((H + 2p - k_h) / s) + 1.
    Kernel, stride s and padding p are numbers or (vertical, horizontal) pairs. As in the field, it is a correlation:
    the kernel is not turned round.

    With the patches of x as rows, X (N H' W', k_h k_w c_in), y = X W is an affine map, and dW = X^T dy. For dx,
    take one axis and write r = s i + a - p for the row of x that output i reads with tap a. Row r is read by every
    (i, a) with s i + a = r + p. Put a = s m + f: the phase f = (r + p) mod s is fixed, and with u = (r + p - f) / s,
    i = u - m, so
        dx[r] = sum over m of dy[u - m] W[s m + f]^T.
    So each phase of x gets a correlation of dy, at stride 1, with the reversed taps of that phase: the same routine.
    Those patches D of dy also give the taps' own gradient: dW[s m + f] = sum over u of x[r(u)]^T dy[u - m], hence one
    product x_f^T D for all taps of the phase, and the patches of x need not be kept.
    """

    c_in: int
    c_out: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: int | Pair = 0
    weight: Initializer = he_normal
    bias: bool = True
    input_is_data: bool = False

    def __post_init__(self) -> None:
        check_window("Conv2d", self.kernel, self.stride, self.padding)
        if self.c_in < 1 or self.c_out < 1:
            raise ValueError(f"Conv2d: c_in and c_out must be at least 1, got {self.c_in} and {self.c_out}")

    def init(self, rng: np.random.Generator) -> Tree:
        p = {"W": self.weight(rng, (*pair(self.kernel), self.c_in, self.c_out))}
        return p | {"b": np.zeros(self.c_out, np.float32)} if self.bias else p

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim != 4 or x.shape[-1] != self.c_in:
            raise ValueError(f"Conv2d: x must be (N, H, W, c_in={self.c_in}), got {x.shape}")
        W, (top, left) = p["W"], pair(self.padding)
        kernel, stride = pair(self.kernel), pair(self.stride)
        height, width = output_size("Conv2d", x.shape[1:3], kernel, stride, (top, left))
        y = np.empty_like(x, shape=(len(x), height, width, self.c_out))

        def forward(part: slice) -> None:
            for images in chunks(part, height * width * W[..., 0].size):
                X = patches(x[images], kernel, stride, (top, top), (left, left))
                rows = np.matmul(X, W.reshape(-1, self.c_out), out=y[images].reshape(-1, self.c_out))
                if self.bias:
                    rows += p["b"]

        spread(forward, len(x))

        def pullback(dy: Array) -> tuple[Array | None, Tree]:
            dx = None if self.input_is_data else np.zeros_like(x)

            def backward(part: slice) -> Array:
                dW = np.zeros_like(W)
                for rows in phases(x.shape[1], kernel[0], stride[0], top, height):
                    for columns in phases(x.shape[2], kernel[1], stride[1], left, width):
                        taps = W[rows.taps, columns.taps]
                        reversed_taps = taps[::-1, ::-1].swapaxes(2, 3).reshape(-1, self.c_in)
                        for images in chunks(part, rows.count * columns.count * taps[..., 0, :].size):
                            region = (images, rows.inputs, columns.inputs)
                            D = patches(dy[images], taps.shape[:2], (1, 1), rows.reach, columns.reach)
                            dtaps = x[region].reshape(-1, self.c_in).T @ D
                            dtaps = dtaps.reshape(self.c_in, *taps.shape[:2], self.c_out).transpose(1, 2, 0, 3)
                            dW[rows.taps, columns.taps] += dtaps[::-1, ::-1]
                            if dx is not None:
                                dx[region] = (D @ reversed_taps).reshape(dx[region].shape)
                return dW

            dp = {"W": np.sum(spread(backward, len(x)), axis=0)}
            if self.bias:
                dp["b"] = dy.sum((0, 1, 2))
            return dx, dp

        return y, pullback


@dataclass(frozen=True)
class Phase:
    """One of the ``stride`` interleaved parts of an axis: its inputs and its taps as slices, and the reach of dy."""

    inputs: slice
    count: int
    taps: slice
    reach: Pair


def phases(size: int, kernel: int, stride: int, padding: int, outputs: int) -> Iterator[Phase]:
    """The phases f = 0 .. stride-1 of an axis of that size that have inputs and taps, in ``Conv2d``'s notation."""
    for f in range(min(stride, kernel)):
        taps = -(-(kernel - f) // stride)
        first = max(0, -((f - padding) // stride))  # the least u with r = s u + f - p >= 0
        last = (size - 1 + padding - f) // stride
        if last >= first:
            # u - m runs from first - (taps - 1) to last: what lies outside of 0 .. outputs-1 is zero
            reach = (taps - 1 - first, last - (outputs - 1))
            start = stride * first + f - padding
            yield Phase(slice(start, None, stride), last - first + 1, slice(f, None, stride), reach)

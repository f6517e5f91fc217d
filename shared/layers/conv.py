"""Convolution as one matrix product for each row of the kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import as_strided

from shared.init import Initializer, he_normal
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.windows import CHUNK, Pair, check_window, output_size, pair
from shared.threads import spread
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Conv2d:
    r"""y[n, i, j] = sum over a, b of x[n, s i + a - p, s j + b - p] W[a, b] + bias, x being 0 outside of its borders.

    x (N, H, W, c_in), W (k_h, k_w, c_in, c_out), b (c_out,), y (N, H', W', c_out), H' = floor((H + 2p - k_h) / s) + 1.
    Kernel, stride s and padding p are numbers or (vertical, horizontal) pairs. As in the field, it is a correlation:
    the kernel is not turned round.

    Let X[r] (W', k_w c_in) be what the windows see of row r. Then y[i] = sum over a of X[s i + a - p] W[a], a matrix
    product for each row of the kernel; x is copied k_w times, not k_h k_w times. For the pullback take one axis. Row
    r = s i + a - p is read by every (i, a) with s i + a = r + p. Put a = s m + f: the phase f = (r + p) mod s is fixed,
    and with u = (r + p - f) / s, i = u - m, so
        dx[r] = sum over m of dy[u - m] W[s m + f]^T,     dW[s m + f] = sum over u of x[r(u)]^T dy[u - m].
    Each phase of x gets a correlation of dy, at stride 1, with that phase's taps in reverse: the same routine. What its
    windows see of dy serves dW too, so nothing of the forward pass is kept but x.
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
        W, (top, left), (down, right) = p["W"], pair(self.padding), pair(self.stride)
        height, width = output_size("Conv2d", x.shape[1:3], W.shape[:2], (down, right), (top, left))
        y = np.empty_like(x, shape=(len(x), height, width, self.c_out), order="C")

        def forward(part: slice) -> None:
            for images, X in row_windows(x, part, W.shape[1], right, (top, top), (left, left)):
                sum_of_products(kernel_rows(X, len(W), down, height), W, y[images].reshape(len(X), -1, self.c_out))

        spread(forward, len(x))
        if self.bias:
            y += p["b"]

        def pullback(dy: Array) -> tuple[Array | None, Tree]:
            dx = None if self.input_is_data else np.zeros_like(x)

            def backward(part: slice) -> Array:
                dW = np.zeros_like(W)
                vertical = phases(x.shape[1], W.shape[0], down, top, height)
                for v, h in product(vertical, phases(x.shape[2], W.shape[1], right, left, width)):
                    taps = W[v.taps, h.taps][::-1, ::-1].swapaxes(2, 3)
                    for images, D in row_windows(dy, part, taps.shape[1], 1, v.reach, h.reach):
                        region = images, v.inputs, h.inputs
                        pixels = x[region].reshape(len(D), -1, self.c_in)
                        rows = kernel_rows(D, len(taps), 1, v.count)
                        reverse = np.stack([(pixels.swapaxes(1, 2) @ row).sum(0) for row in rows])
                        dtaps = reverse.reshape(len(taps), self.c_in, -1, self.c_out)[::-1, :, ::-1]
                        dW[v.taps, h.taps] += dtaps.swapaxes(1, 2)
                        if dx is not None:
                            dpixels = sum_of_products(rows, taps, np.empty_like(pixels))
                            dx[region] = dpixels.reshape(x[region].shape)
                return dW

            dp = {"W": np.sum(spread(backward, len(x)), axis=0)}
            if self.bias:
                dp["b"] = dy.sum((0, 1, 2))
            return dx, dp

        return y, pullback


@dataclass(frozen=True)
class Phase:
    """One of the interleaved parts of an axis: its inputs (so many) and its taps, and how dy is padded for it."""

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
        if last >= first:  # u - m runs from first - (taps - 1) to last; dy has 0 .. outputs-1
            inputs = slice(stride * first + f - padding, None, stride)
            yield Phase(inputs, last - first + 1, slice(f, None, stride), (taps - 1 - first, last - (outputs - 1)))


def row_windows(
    x: Array, part: slice, taps: int, stride: int, vertical: Pair, horizontal: Pair
) -> Iterator[tuple[slice, Array]]:
    """(images, X (n, H + vertical, W', taps C)) for a few images of the part at a time, X in the same memory each time.

    X[n, r, j, (b, c)] = x[n, r - top, stride j + b - left, c], zero outside; a negative padding crops.
    """
    (top, bottom), (left, right) = vertical, horizontal
    x = x[:, max(0, -top) : x.shape[1] + min(0, bottom), max(0, -left) : x.shape[2] + min(0, right)]
    (top, bottom, left, right), (_, height, width, channels) = (max(0, n) for n in (*vertical, *horizontal)), x.shape
    rows, columns = top + height + bottom, left + width + right
    windows = (columns - taps) // stride + 1
    n = max(1, min(part.stop - part.start, CHUNK // (rows * windows * taps * channels)))
    padded = np.zeros_like(x, shape=(n, rows, columns, channels), order="C")
    across = padded.strides[2]
    view = as_strided(
        padded, (n, rows, windows, taps, channels), (*padded.strides[:2], stride * across, across, x.itemsize)
    )
    X = np.empty_like(x, shape=view.shape)
    for start in range(part.start, part.stop, n):
        images = slice(start, min(start + n, part.stop))
        m = images.stop - start
        padded[:m, top : top + height, left : left + width] = x[images]
        X[:m] = view[:m]
        yield images, X[:m].reshape(m, rows, windows, taps * channels)


def kernel_rows(X: Array, height: int, stride: int, count: int) -> list[Array]:
    """For each row a of a kernel of that height, what its windows see: (n, count W', k_w C) from rows s i + a of X."""
    ends = ((a, a + stride * (count - 1) + 1) for a in range(height))
    return [X[:, start:end:stride].reshape(len(X), -1, X.shape[-1]) for start, end in ends]


def sum_of_products(rows: list[Array], W: Array, out: Array) -> Array:
    """rows[0] W[0] + rows[1] W[1] + ..., into out (n, count W', c_out)."""
    matrices = W.reshape(len(W), -1, W.shape[-1])
    np.matmul(rows[0], matrices[0], out=out)
    for row, matrix in zip(rows[1:], matrices[1:], strict=True):
        out += row @ matrix
    return out

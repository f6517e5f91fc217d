r"""Random convolution filters as a preprocessing: the one-layer network of Coates and Ng 2012, untrained.

The paper names it and 32,000 filters "selected at random"; what the reference leaves open is stated here as constants.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared.tree import Array

SIZE = {"cifar10": 6, "mnist": 6, "digits": 3}  # pixels: the side of a patch
REGULARISER = 10 / 255**2  # of a patch's variance, with pixels in [0, 1]
WHITENING = 0.1  # added to the eigenvalues of the patches' covariance
THRESHOLD = 0.25  # of the rectifiers
IMAGES, SAMPLED = 1_000, 20_000  # from at most so many patches of so many images the whitening is computed
ANSWERS = 8  # features a filter: two signs, four quarters
SCALARS = 1 << 18  # filter responses held at a time: what stays in the second-level cache


def patches(x: Array, size: int) -> Array:
    """Every window of size x size pixels of x (N, H, W, C), less its mean and over its deviation: (N, P, Q, size^2 C).

    p = (w - mean w) / sqrt(var w + 10/255^2).
    """
    windows = sliding_window_view(x, (size, size), axis=(1, 2))  # (N, P, Q, C, size, size)
    w = windows.reshape(*windows.shape[:3], -1)
    w = w - w.mean(-1, keepdims=True)
    w /= np.sqrt((w**2).mean(-1, keepdims=True) + REGULARISER)
    return w


def whitening(x: Array, size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    r"""(mean m (d,), ZCA matrix Z (d, d)) of random patches: Z = V (Lambda + 0.1 I)^{-1/2} V^T, Cov = V Lambda V^T."""
    found = patches(x[rng.permutation(len(x))[:IMAGES]], size).reshape(-1, size * size * x.shape[-1])
    found = found[rng.permutation(len(found))[:SAMPLED]].astype(np.float64)
    mean = found.mean(0)
    values, V = np.linalg.eigh(np.cov(found.T))
    Z = (V / np.sqrt(np.maximum(values, 0) + WHITENING)) @ V.T
    return mean.astype(x.dtype), Z.astype(x.dtype)


def responses(x: Array, size: int, mean: Array, filters: Array) -> Array:
    """Features (N, 8 F) of images x (N, H, W, C) for filters (d, F), whitening included.

    Sums over each quarter of an image of max(0, r - 0.25) and of max(0, -r - 0.25), r = (p - mean) filters at patch p.
    """
    n, count = len(x), filters.shape[1]
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    lower, right = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    quarter = 2 * lower[:, None] + right
    belongs = (np.arange(4)[:, None] == quarter.ravel()).astype(x.dtype)  # (4, P Q)
    y = np.empty((n, 2, 4, count), x.dtype)
    step = max(1, SCALARS // (height * width * max(count, len(mean))))
    for start in range(0, n, step):
        piece = slice(start, start + step)
        r = ((patches(x[piece], size) - mean) @ filters).reshape(-1, height * width, count)
        positive = np.empty_like(r)
        y[piece, 0] = belongs @ np.maximum(np.subtract(r, THRESHOLD, out=positive), 0, out=positive)
        y[piece, 1] = belongs @ np.maximum(np.subtract(-THRESHOLD, r, out=positive), 0, out=positive)
    return y.reshape(n, -1)


def features(
    x: Array, z: Array, size: int, count: int, at_a_time: int, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Features of training images x and test images z for ``count`` random filters, so many of them at a time.

    A filter is a random direction of the whitened patches' space. Each feature is divided by its standard deviation
    over the training images.
    """
    mean, Z = whitening(x, size, rng)
    for start in range(0, count, at_a_time):
        drawn = rng.standard_normal((len(mean), min(at_a_time, count - start))).astype(x.dtype)
        filters = Z @ (drawn / np.linalg.norm(drawn, axis=0))
        train, test = responses(x, size, mean, filters), responses(z, size, mean, filters)
        deviation = train.std(0)
        deviation[deviation == 0] = 1  # a filter that never answers
        yield train / deviation, test / deviation

r"""Random convolution filters as a preprocessing: the one-layer network of Coates and Ng 2012, untrained.

The paper names it and 32,000 filters "selected at random"; what the reference leaves open is stated here as constants.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared import threads
from shared.tree import Array

SIZE = {"cifar10": 6, "mnist": 6, "digits": 3}  # pixels: the side of a patch
REGULARISER = 10 / 255**2  # of a patch's variance, with pixels in [0, 1]
WHITENING = 0.1  # added to the eigenvalues of the patches' covariance
THRESHOLD = 0.25  # of the rectifiers
IMAGES, SAMPLED = 1_000, 20_000  # from at most so many patches of so many images the whitening is computed
ANSWERS = 8  # features a filter: two signs, four quarters
SCALARS = 1 << 18  # filter responses held at a time, of one image at least


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
    """Features (N, 8 F) of images x (N, H, W, C) for filters (d, F), whitening included; images spread over threads.

    Sums over each quarter of an image of max(0, r - t) and of max(0, -r - t), t = 0.25, r = (p - mean) filters at patch
    p. As max(0, r - t) = max(r, t) - t and max(0, -r - t) = -min(r, -t) - t, the t are taken off the sums.
    """
    n, count = len(x), filters.shape[1]
    height, width = x.shape[1] - size + 1, x.shape[2] - size + 1
    y = np.empty((n, 2, 4, count), x.dtype)
    step = max(1, SCALARS // (height * width * max(count, len(mean))))
    threshold = np.full(count, THRESHOLD, x.dtype)  # NumPy compares with a row faster than with one number

    def answer(images: slice) -> None:
        for start in range(images.start, images.stop, step):
            piece = slice(start, min(start + step, images.stop))
            p = patches(x[piece], size) - mean
            for i, (rows, columns) in enumerate(quarters(height, width)):
                quarter = p[:, rows, columns]
                r = (quarter.reshape(-1, len(mean)) @ filters).reshape(len(p), -1, count)
                y[piece, 0, i] = np.maximum(r, threshold).sum(1) - THRESHOLD * r.shape[1]
                y[piece, 1, i] = -np.minimum(r, -threshold, out=r).sum(1) - THRESHOLD * r.shape[1]

    threads.spread(answer, n)
    return y.reshape(n, -1)


def quarters(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of a map's four quarters; an odd one is longer below and on the right."""
    for rows in (slice(height // 2), slice(height // 2, height)):
        for columns in (slice(width // 2), slice(width // 2, width)):
            yield rows, columns


def features(
    x: Array, z: Array, size: int, count: int, at_a_time: int, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Features of training images x and test images z for ``count`` random filters, so many of them at a time.

    A filter is a random direction of the whitened patches' space. Each feature is divided by its standard deviation
    over the training images. Features have the images' dtype; patches are made anew for each piece.
    """
    mean, Z = whitening(x, size, rng)
    for start in range(0, count, at_a_time):
        drawn = rng.standard_normal((len(mean), min(at_a_time, count - start))).astype(x.dtype)
        filters = Z @ (drawn / np.linalg.norm(drawn, axis=0))
        train, test = responses(x, size, mean, filters), responses(z, size, mean, filters)
        deviation = train.std(0)
        deviation[deviation == 0] = 1  # a filter that never answers
        train /= deviation
        test /= deviation
        yield train, test

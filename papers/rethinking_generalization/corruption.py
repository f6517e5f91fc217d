"""Section 2's randomisations: pure functions of the data and a seed, so that what they give is fixed for all epochs.

Images are (N, H, W, C). A pixel is a place: its channels stay together.
"""

from collections.abc import Sequence

import numpy as np

from shared.tree import Array

Seed = int | Sequence[int]
CHUNK = 1_000  # images whose permutations are held at a time


def corrupted_labels(y: Array, p: float, seed: Seed, classes: int) -> Array:
    r"""Each label (N,) resampled with probability p: y'_i = u_i where v_i < p, u_i uniform over all classes, else y_i.

    A resampled label is the old one with probability 1/K, so that (1 - 1/K) p of the labels really change. u and v do
    not depend on p: what is corrupted at p stays so, with the same label, at a larger p. p = 1 are random labels.
    ValueError for p outside of [0, 1] and for labels that are not integers in 0..classes-1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"corrupted_labels: p must be in [0, 1], got {p}")
    check_labels(y, classes)
    rng = np.random.default_rng(seed)
    u, v = rng.integers(classes, size=len(y)), rng.random(len(y))
    return np.where(v < p, u, y).astype(y.dtype)


def check_labels(y: Array, classes: int) -> None:
    """ValueError for labels that are not integers (N,) in 0..classes-1."""
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"labels must be integers (N,), got {y.dtype} {y.shape}")
    if y.size and (y.min() < 0 or y.max() >= classes):
        raise ValueError(f"labels must be in 0..{classes - 1}, found {y.min()}..{y.max()}")


def shuffled_pixels(x: Array, seed: Seed) -> Array:
    """One permutation of the places for all images: what has the same seed, such as a test set, gets the same."""
    n, height, width, channels = x.shape
    order = np.random.default_rng(seed).permutation(height * width)
    return x.reshape(n, height * width, channels)[:, order].reshape(x.shape)


def random_pixels(x: Array, seed: Seed) -> Array:
    """A permutation of the places for each image alone."""
    n, height, width, channels = x.shape
    rng, pixels = np.random.default_rng(seed), x.reshape(n, height * width, channels)
    y = np.empty_like(pixels)
    for start in range(0, n, CHUNK):
        piece = pixels[start : start + CHUNK]
        order = rng.permuted(np.broadcast_to(np.arange(height * width), piece.shape[:2]), axis=1)
        y[start : start + CHUNK] = np.take_along_axis(piece, order[..., None], 1)
    return y.reshape(x.shape)


def gaussian_pixels(n: int, like: Array, seed: Seed) -> Array:
    """n images of independent pixels, normal with the mean and the variance of the channel in the images ``like``."""
    values = like.reshape(-1, like.shape[-1])
    y = np.random.default_rng(seed).standard_normal((n, *like.shape[1:]), np.float32)
    y *= values.std(0, dtype=np.float64).astype(np.float32)
    y += values.mean(0, dtype=np.float64).astype(np.float32)
    return y

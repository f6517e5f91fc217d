"""The data: images as numbers in [-1, 1], where q(x_T) ~ N(0, I) and x_0 have the same scale."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from shared.datasets import load
from shared.tree import Array

CLASSES = 10
SIDE = {"digits": 8, "mnist": 28}
WIDTH = {"digits": 2 / 16, "mnist": 2 / 255}  # between two grey values


class Data(NamedTuple):
    """Images (N, H, W, 1), float32 in [-1, 1], and their classes (N,), int64 in 0..9."""

    train: Array
    train_labels: Array
    test: Array
    test_labels: Array


@lru_cache(1)
def data(name: str) -> Data:
    """The whole training and test set of `name`, read-only."""
    source = load(name)
    arrays = Data(
        in_range(source.train_images, source.levels),
        source.train_labels.astype(np.int64),
        in_range(source.test_images, source.levels),
        source.test_labels.astype(np.int64),
    )
    for array in arrays:
        array.flags.writeable = False
    return arrays


def subset(images: Array, size: int) -> Array:
    """Which images stand for all: indices of ``size`` of them (or all), drawn once, so the same in every place.

    The first ones would not do: the first half of MNIST's test set is the easier one.
    """
    return np.random.default_rng(0).permutation(len(images))[:size]


def in_range(pixels: Array, levels: int) -> Array:
    """Grey values 0..levels (N, H, W) as float32 -1..1 (N, H, W, 1)."""
    return (pixels.astype(np.float32) / np.float32(levels / 2) - 1)[..., None]


def grey(x: Array) -> Array:
    """x in [-1, 1], what is beyond cut off, as grey values 0..255, uint8 of the same shape."""
    return np.round(127.5 * (np.clip(x, -1, 1) + 1)).astype(np.uint8)

"""What a network of section 2 is trained on: cropped, corrupted as its job says, whitened image by image."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from papers.rethinking_generalization.corruption import (
    corrupted_labels,
    gaussian_pixels,
    random_pixels,
    shuffled_pixels,
)
from shared.datasets import Dataset, load
from shared.experiment import Job
from shared.tree import Array

WINDOW = {"cifar10": 28, "digits": 8}  # pixels: the side of what a network sees
CLASSES = 10
CONDITIONS = ("labels", "shuffled-pixels", "random-pixels", "gaussian")
CHUNK = 1_000  # images whitened at a time


class Split(NamedTuple):
    """Images x (N, H, W, C), whitened, float32, and labels y (N,)."""

    x: Array
    y: Array


@lru_cache(1)
def source(name: str) -> Dataset:
    """The data set with a channel axis."""
    found = load(name)
    train, test = (pixels.reshape(*pixels.shape[:3], -1) for pixels in (found.train_images, found.test_images))
    return found._replace(train_images=train, test_images=test)


def centre_crop(x: Array, size: int) -> Array:
    """The window of size x size pixels in the middle of x (N, H, W, C), a view; an odd border is wider below."""
    top, left = (x.shape[1] - size) // 2, (x.shape[2] - size) // 2
    return x[:, top : top + size, left : left + size]


def random_windows(x: Array, size: int, rng: np.random.Generator) -> Array:
    """A window of size x size pixels of each image, at a place of its own, uniform over all."""
    n, height, width, channels = x.shape
    top, left = rng.integers(height - size + 1, size=n), rng.integers(width - size + 1, size=n)
    windows = np.lib.stride_tricks.sliding_window_view(x.reshape(n, height, -1), (size, size * channels), axis=(1, 2))
    return windows[np.arange(n), top, left * channels].reshape(n, size, size, channels)


def whitened(x: Array, levels: float) -> Array:
    r"""(x / levels - m) / max(s, 1/sqrt(D)) of each image (N, H, W, C), m and s its mean and standard deviation.

    D = H W C is the number of its values: the bound keeps an image of one colour finite. float32 whatever x is. Without
    this, memorisation is far slower.
    """
    y = np.empty(x.shape, np.float32)
    for start in range(0, len(x), CHUNK):
        piece = y[start : start + CHUNK].reshape(-1, x[0].size)
        piece[...] = x[start : start + CHUNK].reshape(piece.shape)
        piece /= levels
        piece -= piece.mean(1, keepdims=True)
        piece /= np.maximum(piece.std(1, keepdims=True), piece.shape[1] ** -0.5)
    return y


_held: dict[tuple[str, str, float, int, int], tuple[Split, Split]] = {}


def data(job: Job) -> tuple[Split, Split]:
    """The training and test set of a job; those asked for last are kept, and go before others are made."""
    wanted = job["data"], job["condition"], job["p"], job["images"], job["seed"]
    if wanted not in _held:
        release()
        _held[wanted] = corrupted(*wanted)
    return _held[wanted]


def release() -> None:
    """Forget what ``data`` keeps."""
    _held.clear()


def stream(seed: int, purpose: int) -> tuple[int, int, int]:
    """The key of random numbers that order no epoch: those of ``minibatches`` are (seed, epoch), padded with zeros."""
    return seed, purpose, 1


def corrupted(name: str, condition: str, p: float, images: int, seed: int) -> tuple[Split, Split]:
    """The first so many training images and the test set; labels are corrupted in training only, pixels in both.

    CIFAR-10 takes 0.56 GB, in each process that trains on it.
    """
    found, size = source(name), WINDOW[name]
    train, test = found.train_images[:images], found.test_images
    x, x_test = centre_crop(train, size), centre_crop(test, size)
    if condition == "shuffled-pixels":
        x, x_test = (shuffled_pixels(pixels, stream(seed, 10)) for pixels in (x, x_test))
    elif condition == "random-pixels":
        x, x_test = random_pixels(x, stream(seed, 11)), random_pixels(x_test, stream(seed, 12))
    elif condition == "gaussian":
        n, m = len(x), len(x_test)
        x, x_test = gaussian_pixels(n, x, stream(seed, 13)), gaussian_pixels(m, x, stream(seed, 14))
    y = corrupted_labels(found.train_labels[:images].astype(np.int64), p, stream(seed, 15), CLASSES)
    return (
        Split(whitened(x, found.levels), y),
        Split(whitened(x_test, found.levels), found.test_labels.astype(np.int64)),
    )

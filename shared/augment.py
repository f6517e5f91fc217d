"""Random changes of training images that keep their class, in batches (N, H, W, C) of any dtype.

He et al. 2016, section 4.2, on CIFAR-10: a border of 4 pixels, then a random crop of the image or of its mirror image.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from shared.tree import Array


def random_crop(images: Array, rng: np.random.Generator, padding: int = 4) -> Array:
    """A window (H, W) of each image (N, H, W, C) in a border of `padding` zeros, at one of (2 padding + 1)^2 places.

    The places are uniform and independent of each other. In the paper the mean is subtracted before, so that a zero of
    the border stands for the mean, not for black: give this function the images after that. ValueError for another
    shape or a negative padding.
    """
    n, height, width, channels = shape_of(images)
    if padding < 0:
        raise ValueError(f"random_crop: padding must not be negative, got {padding}")
    padded = np.zeros((n, height + 2 * padding, width + 2 * padding, channels), images.dtype)
    padded[:, padding : padding + height, padding : padding + width] = images
    top, left = rng.integers(2 * padding + 1, size=(2, n))
    # With pixels and channels on one axis, each row of a window is one run of memory.
    rows = padded.reshape(n, height + 2 * padding, (width + 2 * padding) * channels)
    windows = sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    return windows[np.arange(n), top, left * channels].reshape(images.shape)


def random_flip(images: Array, rng: np.random.Generator) -> Array:
    """Each image (N, H, W, C) mirrored left to right with probability 1/2; ValueError for another shape."""
    n, _, width, _ = shape_of(images)
    flipped = rng.random(n) < 0.5
    result = images.copy()
    result[flipped] = images[flipped].take(np.arange(width)[::-1], axis=2)  # faster than a view with a negative stride
    return result


def shape_of(images: Array) -> tuple[int, int, int, int]:
    """(N, H, W, C), else ValueError."""
    if images.ndim != 4:
        raise ValueError(f"augmentation takes images (N, H, W, C), got shape {images.shape}")
    n, height, width, channels = images.shape
    return n, height, width, channels

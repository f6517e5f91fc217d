"""Data sets as plain arrays: `load("digits")` is embedded and needs no network, `load("mnist")` finds or fetches."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadRequest


class Dataset(NamedTuple):
    """Grey images and their classes, as read-only arrays; `images / levels` lies in [0, 1]."""

    name: str
    train_images: NDArray[np.uint8]  # (N, H, W)
    train_labels: NDArray[np.uint8]  # (N,)
    test_images: NDArray[np.uint8]  # (M, H, W)
    test_labels: NDArray[np.uint8]  # (M,)
    checksums: dict[str, str]  # file -> "algorithm:digest" of its content, for run.json
    levels: int  # the grey value that means 1.0


def load(name: str, mirrors: Sequence[str] | None = None) -> Dataset:
    """The data set `name`, "digits" or "mnist"; `mirrors` are base URLs that replace MNIST's own two.

    Raises BadRequest for another name, RunError when a file is damaged, or absent and not to be had.
    """
    # Imported here because scikit-learn and pooch each take longer to import than a smoke run takes to train.
    if name == "digits":
        from shared.datasets import digits

        return digits.load()
    if name == "mnist":
        from shared.datasets import mnist

        return mnist.load(mirrors or mnist.MIRRORS)
    raise BadRequest(f"unknown data set {name!r}. Valid: digits, mnist.")

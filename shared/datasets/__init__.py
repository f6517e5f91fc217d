"""Data sets as plain arrays: `load("digits")` is embedded and needs no network, the others are found or fetched."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.errors import BadRequest


class Dataset(NamedTuple):
    """Images, grey or in colour, and their classes, as read-only arrays; `images / levels` lies in [0, 1]."""

    name: str  # for `load`
    train_images: NDArray[np.uint8]  # (N, H, W), or (N, H, W, 3) red, green, blue
    train_labels: NDArray[np.uint8]  # (N,)
    test_images: NDArray[np.uint8]  # (M, H, W) or (M, H, W, 3)
    test_labels: NDArray[np.uint8]  # (M,)
    checksums: dict[str, str]  # file -> "algorithm:digest" of its content, for run.json
    levels: int  # the pixel value that means 1.0
    alias: str = ""  # for captions, where `name` would say too little

    @property
    def title(self) -> str:
        """The data as captions and run.json give it."""
        return self.alias or self.name


def load(name: str, mirrors: Sequence[str] | None = None) -> Dataset:
    """The data set `name`, "digits", "mnist" or "cifar10"; `mirrors` are base URLs that replace its own.

    Raises BadRequest for another name, RunError when a file is damaged, or absent and not to be had.
    """
    # Imported here because scikit-learn and pooch each take longer to import than a smoke run takes to train.
    if name == "digits":
        from shared.datasets import digits

        return digits.load()
    if name == "mnist":
        from shared.datasets import mnist

        return mnist.load(mirrors or mnist.MIRRORS)
    if name == "cifar10":
        from shared.datasets import cifar10

        return cifar10.load(mirrors or cifar10.MIRRORS)
    raise BadRequest(f"unknown data set {name!r}. Valid: digits, mnist, cifar10.")

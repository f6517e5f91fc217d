"""What a layer is: a frozen dataclass of hyperparameters whose call returns its value and its pullback.

    y, pullback = layer(p, x, mode)        dx, dp = pullback(dy)

A pullback is the transposed Jacobian: linear in dy, callable more than once, and it mutates nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from shared.tree import Array, Tree

Pullback = Callable[[Array], tuple[Any, Tree]]  # dy -> (dx, dp); dx is None where the input is data


@dataclass(frozen=True)
class Mode:
    """How a forward pass runs: ``train`` turns on dropout and batch statistics, ``rng`` is the only source of noise."""

    train: bool = False
    rng: np.random.Generator | None = None


EVAL = Mode()


class Layer(Protocol):
    """The contract that every shared layer keeps (tests/test_layers.py checks it)."""

    def init(self, rng: np.random.Generator) -> Tree:
        """Fresh float32 parameters; ``{}`` for a layer without any."""
        ...

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        """The layer's value at x and its pullback."""
        ...

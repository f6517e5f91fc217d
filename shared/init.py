"""Initialisers: (rng, shape) -> float32 weights; shape is (fan_in, fan_out) or (..., fan_in, fan_out) for kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from shared.tree import Array

Initializer = Callable[[np.random.Generator, tuple[int, ...]], Array]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (..., n_in, n_out): the leading axes are a kernel's receptive field."""
    receptive_field = prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    r"""W ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out)): Var W = a^2/3 = 2/(fan_in + fan_out).

    Var y = fan_in Var W Var x forward and Var dx = fan_out Var W Var dy backward; the variance that keeps neither
    exactly but both nearly is the harmonic mean (Glorot and Bengio 2010, eq. 16).
    """
    a = np.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-a, a, shape).astype(np.float32)


@dataclass(frozen=True)
class Normal:
    r"""W ~ N(0, std^2), whatever the shape."""

    std: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.normal(0, self.std, shape).astype(np.float32)

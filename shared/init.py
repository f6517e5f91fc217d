"""Initialisers: (rng, shape) -> float32 weights; shape is (fan_in, fan_out) or (..., fan_in, fan_out) for kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from shared.tree import Array

Initializer = Callable[[np.random.Generator, tuple[int, ...]], Array]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (..., n_in, n_out): the leading axes are a kernel's receptive field."""
    if len(shape) < 2:
        raise ValueError(f"a weight needs at least the two axes (n_in, n_out) to have fans, got shape {shape}")
    receptive_field = prod(shape[:-2])
    return shape[-2] * receptive_field, shape[-1] * receptive_field


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    r"""W ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out)): Var W = a^2/3 = 2/(fan_in + fan_out).

    Var y = fan_in Var W Var x forward and Var dx = fan_out Var W Var dy backward; the variance that keeps neither
    exactly but both nearly is the harmonic mean (Glorot and Bengio 2010, eq. 16).
    """
    a = np.sqrt(6 / sum(fans(shape)))
    return rng.uniform(-a, a, shape).astype(np.float32)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    r"""W ~ N(0, 2 / (fan_in + fan_out)): the variance of ``glorot_uniform`` (Glorot and Bengio 2010, eq. 12)."""
    return rng.normal(0, np.sqrt(2 / sum(fans(shape))), shape).astype(np.float32)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    r"""W ~ N(0, 2 / fan_in): a stack of ReLU layers keeps E[x^2].

    y = sum over fan_in of W x with independent, zero-mean W gives Var y = fan_in Var W E[x^2]. y is symmetric about 0,
    so ReLU halves its second moment: E[relu(y)^2] = Var y / 2, which is E[x^2] when Var W = 2 / fan_in.
    He et al. 2015, eq. 10.
    """
    return rng.normal(0, np.sqrt(2 / fans(shape)[0]), shape).astype(np.float32)


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    r"""W ~ U(-a, a), a = sqrt(6 / fan_in): Var W = a^2/3 = 2/fan_in, as in ``he_normal`` (He et al. 2015, eq. 10)."""
    a = np.sqrt(6 / fans(shape)[0])
    return rng.uniform(-a, a, shape).astype(np.float32)


@dataclass(frozen=True)
class Normal:
    r"""W ~ N(0, std^2), whatever the shape."""

    std: float

    def __post_init__(self) -> None:
        if not 0 <= self.std < inf:
            raise ValueError(f"Normal: std must be finite and not negative, got {self.std}")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.normal(0, self.std, shape).astype(np.float32)


@dataclass(frozen=True)
class Orthogonal:
    r"""W = gain Q, Q^T Q = I (Q Q^T = I where it is wide); leading axes are flattened to rows, (n, fan_out).

    All singular values are gain, so a deep linear network neither stretches nor shrinks what passes through it
    (Saxe, McClelland and Ganguli 2014, section 3). Q comes from A = QR with Gaussian A. QR is unique up to the signs on
    R's diagonal; taking them positive makes Q uniform over the orthogonal matrices (Mezzadri 2007, section 5).
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gain < inf:
            raise ValueError(f"Orthogonal: gain must be positive and finite, got {self.gain}")

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: a matrix needs at least two axes, got shape {shape}")
        n, m = prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(n, m), min(n, m))))
        q *= self.gain * np.copysign(1, np.diagonal(r))
        return np.ascontiguousarray(q if n >= m else q.T, np.float32).reshape(shape)

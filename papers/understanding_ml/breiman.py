"""Breiman's four generated data sets, and the best rule that there is for each: none of them is in the book.

A set gives X (m, d) and y (m,): a fair draw of the class, then of x. d is 20, and 21 for waveform. In the class y, x is
a normal with covariance scale^2 I about a centre drawn from the class's centres.
"""

from collections.abc import Callable, Mapping

import numpy as np

from shared.tree import Array

Sample = tuple[Array, Array]
A = 2 / np.sqrt(20)
ONES, SIGNS = np.ones(20), (-1.0) ** np.arange(20)


def twonorm(m: int, rng: np.random.Generator) -> Sample:
    """y in {-1, +1}, x about y (a, ..., a), a = 2 / sqrt(20): its best rule is sign(sum x), which errs with Phi(-2)."""
    y = _classes(m, (-1, 1), rng)
    return A * y[:, None] + _noise(m, 20, rng), y


def threenorm(m: int, rng: np.random.Generator) -> Sample:
    """y = 1: x about (a, ..., a) or (-a, ..., -a), equally often; y = -1: about (a, -a, a, ..., -a)."""
    y = _classes(m, (-1, 1), rng)
    side = _classes(m, (-1, 1), rng)[:, None]
    return A * np.where(y[:, None] > 0, side * ONES, SIGNS) + _noise(m, 20, rng), y


def ringnorm(m: int, rng: np.random.Generator) -> Sample:
    """y = 1: x about 0 with covariance 4 I; y = -1: about (a, ..., a) with covariance I."""
    y = _classes(m, (-1, 1), rng)
    noise = _noise(m, 20, rng)
    return np.where(y[:, None] > 0, 2 * noise, A + noise), y


def waveform(m: int, rng: np.random.Generator) -> Sample:
    """y in {0, 1, 2}: x about u h + (1 - u) h', u uniform in [0, 1], h and h' two of three shifted triangles."""
    y = _classes(m, (0, 1, 2), rng)
    h, other = WAVES[y], WAVES[(y + 1) % 3]
    u = rng.uniform(size=(m, 1))
    return u * h + (1 - u) * other + _noise(m, 21, rng), y


SETS: Mapping[str, Callable[[int, np.random.Generator], Sample]] = {
    "twonorm": twonorm,
    "threenorm": threenorm,
    "ringnorm": ringnorm,
    "waveform": waveform,
}
PLACES = np.arange(1, 22)
WAVES = np.stack([np.maximum(6 - abs(PLACES - centre), 0) for centre in (11, 7, 15)]).astype(float)
_U = (np.arange(200)[:, None] + 0.5) / 200  # the integral over u as a sum
_CENTRES: Mapping[str, Mapping[int, tuple[Array, float]]] = {
    "twonorm": {-1: (-A * ONES[None], 1.0), 1: (A * ONES[None], 1.0)},
    "threenorm": {-1: (A * SIGNS[None], 1.0), 1: (A * np.stack([ONES, -ONES]), 1.0)},
    "ringnorm": {-1: (A * ONES[None], 1.0), 1: (0 * ONES[None], 2.0)},
    "waveform": {c: (_U * WAVES[c] + (1 - _U) * WAVES[(c + 1) % 3], 1.0) for c in range(3)},
}


def bayes(name: str, X: Array) -> Array:
    r"""(q,): the labels of the Bayes rule for the set ``name``, argmax_y p(x | y): no rule errs less in expectation.

    p(x | y) is the mean over the centres c of exp(-|x - c|^2 / (2 scale^2)) / scale^d, up to one factor for all y.
    """
    classes = _CENTRES[name]
    log_density = []
    for centres, scale in classes.values():
        squares = (X**2).sum(1)[:, None] - 2 * X @ centres.T + (centres**2).sum(1)
        log_density.append(
            np.logaddexp.reduce(-squares / (2 * scale**2), axis=1) - np.log(len(centres)) - X.shape[1] * np.log(scale)
        )
    return np.array(list(classes))[np.argmax(log_density, axis=0)]


def _classes(m: int, classes: tuple[int, ...], rng: np.random.Generator) -> Array:
    if m < 1:
        raise ValueError(f"m={m}: must be at least 1")
    return rng.choice(classes, m)


def _noise(m: int, d: int, rng: np.random.Generator) -> Array:
    return rng.standard_normal((m, d))

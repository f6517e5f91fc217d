"""Random projections, and how little they distort lengths: the Johnson-Lindenstrauss lemma (Lemma 23.4 of the book)."""

import math

import numpy as np

from shared.tree import Array


def random_projection(n: int, d: int, rng: np.random.Generator) -> Array:
    """W (n, d) with independent entries from N(0, 1/n): x -> W x keeps squared lengths in expectation.

    For |x| = 1 each (W x)_i is N(0, 1/n), so n |W x|^2 is a sum of n squared standard normals: it has expectation n
    and variance 2 n.
    ValueError when n or d is below 1.
    """
    if n < 1 or d < 1:
        raise ValueError(f"n={n}, d={d}: both must be at least 1")
    return rng.standard_normal((n, d)) / math.sqrt(n)


def distortion(W: Array, Q: Array) -> Array:
    """| |W x|^2 / |x|^2 - 1 | (|Q|,) for each row x of Q (|Q|, d), W being (n, d).

    ValueError when the shapes do not fit, and for a row that is 0 or not finite: it has no length to keep.
    """
    if W.ndim != 2 or Q.ndim != 2 or W.shape[1] != Q.shape[1]:
        raise ValueError(f"W must be (n, d) and Q (|Q|, d); got {W.shape} and {Q.shape}")
    Q = Q.astype(float, copy=False)  # squares of small integers would wrap around
    squares = np.sum(Q**2, axis=1)
    if not ((squares > 0) & np.isfinite(squares)).all():
        raise ValueError("every vector of Q must be finite and not 0: drop the others")
    return np.abs(np.sum((Q @ W.T) ** 2, axis=1) / squares - 1)


def distortion_bound(vectors: int, n: int, delta: float) -> float:
    r"""eps = sqrt(6 log(2 |Q| / delta) / n): with probability 1 - delta no vector is distorted more (Lemma 23.4).

    Z = n |W x|^2 / |x|^2 is chi-squared. By Chernoff P[Z >= (1 + eps) n] <= exp(-n (eps - log(1 + eps)) / 2), which is
    at most exp(-n eps^2 / 6) where eps <= 0.787, and P[Z <= (1 - eps) n] <= exp(-n eps^2 / 4) always. Over both tails
    of |Q| vectors that sums to at most 2 |Q| exp(-n eps^2 / 6) = delta. Where eps is larger the upper tail is heavier,
    and the bound can fail: see the notes.
    ValueError unless vectors and n are at least 1 and delta lies in (0, 1).
    """
    if vectors < 1 or n < 1 or not 0 < delta < 1:
        raise ValueError(f"vectors={vectors}, n={n}, delta={delta}: need at least 1, at least 1, and between 0 and 1")
    return math.sqrt(6 * math.log(2 * vectors / delta) / n)

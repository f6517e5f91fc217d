r"""What theory promises the networks of Figure 1: bounds on test error minus training error, with their constants.

Each is of the form gap <= (share of training margins below gamma - training error) + complexity + confidence, and holds
with probability 1 - DELTA for all networks of a class at once. The class is one of norms fixed in advance; that the
norms and the margin are read off the trained network is granted to the bound for free (a union over a grid costs more).

Layers are matrices A_1, ..., A_L that act on rows, x -> relu(x A_1) -> ..., without biases: ``augmented``.
"""

from collections.abc import Sequence
from math import log, prod, sqrt

import numpy as np

from shared.tree import Array, Tree

DELTA = 0.05
BITS = 32  # of a parameter
BELOW = 0.1  # share of the training margins below gamma


def augmented(p: Tree) -> list[Array]:
    r"""The layers of an MLP with biases as matrices without: a unit that is always 1 goes along.

    (h, 1) [[W, 0], [b, 1]] = (h W + b, 1), and relu(1) = 1; of the last layer only [[W], [b]] is left.
    """
    layers = [layer for layer in p.values() if layer]
    matrices = [np.vstack([layer["W"], layer["b"]]).astype(np.float64) for layer in layers]
    carried = [np.append(np.zeros(len(A) - 1), 1.0)[:, None] for A in matrices[:-1]]
    return [*(np.hstack([A, one]) for A, one in zip(matrices, carried, strict=False)), matrices[-1]]


def margins(logits: Array, y: Array) -> Array:
    """f_y(x) - max_{k != y} f_k(x), (N,): positive where the answer is right."""
    own = np.take_along_axis(logits, y[:, None], 1)[:, 0]
    others = logits.astype(np.float64)
    np.put_along_axis(others, y[:, None], -np.inf, 1)
    return own - others.max(1)


def confidence(n: int, delta: float = DELTA) -> float:
    """3 sqrt(ln(2 / delta) / 2n): what a bound by an empirical Rademacher complexity adds."""
    return 3 * sqrt(log(2 / delta) / (2 * n))


def rademacher_estimate(accuracy: float, classes: int) -> float:
    r"""(K a - 1) / (K - 1) for the share a of random labels that was fitted: 0 for guessing, 1 for all.

    For K = 2, sigma_i = +-1 and h(x_i) = +-1 it is (1/n) sum_i sigma_i h(x_i), with the h that training found: no more
    than the supremum in R_n(H) = E sup_h (1/n) sum_i sigma_i h(x_i).
    """
    return (classes * accuracy - 1) / (classes - 1)


def rademacher_bound(estimate: float, n: int) -> float:
    """R_n(H) + 3 sqrt(ln(2 / delta) / 2n), a bound on the gap for two classes: R_n(H) is twice that of the losses.

    With an estimate from below in its place it is what a bound of this kind cannot be less than, and no bound itself.
    """
    return estimate + confidence(n)


def parameter_bound(parameters: int, n: int) -> float:
    """gap <= sqrt((32 P ln 2 + ln(2 / delta)) / 2n): Hoeffding, and a union over the 2^{32 P} networks of P floats."""
    return sqrt((BITS * parameters * log(2) + log(2 / DELTA)) / (2 * n))


def frobenius_bound(matrices: Sequence[Array], squares: float, n: int, gamma: float) -> float:
    r"""(4 K / gamma) R_n + confidence, with R_n <= 2^{L-1} prod_l |A_l|_F sqrt(sum_i |x_i|^2) / n.

    R_n is that of one output (Neyshabur, Tomioka and Srebro 2015; derived in notes.md), whose last layer is a column
    of A_L; 4 K / gamma makes a bound on K classes of it (Mohri et al. 2018, theorem 9.2). ``squares`` is sum_i |x_i|^2,
    the carried 1 included.
    """
    norms = [*(np.linalg.norm(A) for A in matrices[:-1]), np.linalg.norm(matrices[-1], axis=0).max()]
    complexity = 2 ** (len(matrices) - 1) * prod(norms) * sqrt(squares) / n
    return float(4 * matrices[-1].shape[1] / gamma * complexity + confidence(n))


def spectral_bound(
    matrices: Sequence[Array], references: Sequence[Array], squares: float, n: int, gamma: float
) -> float:
    r"""2 R_n + confidence, with R_n <= 4 n^{-3/2} + 18 ln(n) sqrt(R) / n  (Bartlett, Foster and Telgarsky 2017), where

        R = (2 / gamma)^2 sum_i |x_i|^2 ln(2 W^2)  prod_l s_l^2  (sum_l (b_l / s_l)^{2/3})^3,

    s_l = |A_l|_2, b_l the sum over the units of layer l of |A_l - M_l|_2 for their incoming weights, W the largest
    width. R / epsilon^2 bounds the logarithm of the covering number of the margin losses (theorem 3.3; the losses are
    2/gamma-Lipschitz in the logits). Dudley's integral (lemma A.5) then is (12 / n) sqrt(R) times that of 1 / epsilon
    from 1/n to sqrt(n), the logarithm of n^{3/2}. The references M_l are fixed before the data are seen: 0, or where
    training starts.
    """
    s = np.array([np.linalg.norm(A, 2) for A in matrices])
    b = np.array([np.linalg.norm(A - M, axis=0).sum() for A, M in zip(matrices, references, strict=True)])
    width = max(max(A.shape) for A in matrices)
    root = 2 / gamma * sqrt(squares * log(2 * width**2)) * s.prod() * ((b / s) ** (2 / 3)).sum() ** 1.5
    return float(2 * (4 * n**-1.5 + 18 * log(n) * root / n) + confidence(n))

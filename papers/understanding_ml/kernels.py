r"""Kernels, chapter 16 of the book: K(x, x') = <psi(x), psi(x')> without ever forming psi(x).

A kernel maps X (m, d) and Z (n, d) to the matrix (m, n) of K(x_i, z_j). On one set of points that Gram matrix is
symmetric and positive semidefinite, and a function is a kernel just when this is so for every set (Mercer). Integers
become float64 first: pixels of 8 bits would wrap around.
"""

from collections.abc import Callable

import numpy as np

from shared.tree import Array

Kernel = Callable[[Array, Array], Array]


def linear(X: Array, Z: Array) -> Array:
    """<x, z>: psi is the identity."""
    return X.astype(float, copy=False) @ Z.T


def polynomial(degree: int) -> Kernel:
    r"""(1 + <x, z>)^k. With x_0 = z_0 = 1, (sum_j x_j z_j)^k = sum over J in {0..d}^k of prod_r x_{J_r} prod_r z_{J_r}.

    So psi has one feature prod_r x_{J_r} for each of the (d + 1)^k words J: all monomials up to degree k, weighted.
    ValueError unless the degree is at least 1.
    """
    if degree < 1:
        raise ValueError(f"degree={degree}: must be at least 1")
    return lambda X, Z: (1 + linear(X, Z)) ** degree


def rbf(sigma: float) -> Kernel:
    r"""exp(-|x - z|^2 / (2 sigma^2)), the Gaussian kernel: scikit-learn's gamma is 1 / (2 sigma^2).

    |x - z|^2 = |x|^2 + |z|^2 - 2 <x, z>. On the line, e^{-(x-z)^2/2} = e^{-x^2/2} e^{-z^2/2} sum_n (x z)^n / n!:
    psi has the features e^{-x^2/2} x^n / sqrt(n!), n = 0, 1, ... ValueError unless sigma is above 0.
    """
    if not sigma > 0:
        raise ValueError(f"sigma={sigma}: must be above 0")

    def kernel(X: Array, Z: Array) -> Array:
        X, Z = X.astype(float, copy=False), Z.astype(float, copy=False)
        squares = (X**2).sum(1)[:, None] + (Z**2).sum(1) - 2 * X @ Z.T
        return np.exp(np.maximum(squares, 0) / (-2 * sigma**2))  # rounding errors may make a square negative

    return kernel

r"""Section 5: interpolation in the space of a Gaussian kernel, with matrices that fill the memory.

f(x) = sum_i alpha_i k(x, x_i) with (K + ridge I) alpha = Y. For ridge = 0 this is, of all functions of the kernel's
space that take the values Y at the x_i, the one of least norm (equation 3 of the paper and what follows it).

The matrix is made, turned into the kernel and factored in the one array (n, n): its lower triangle becomes L, the upper
one stays K, whose diagonal is 1 for a Gaussian, so that residuals and norms are those of K itself.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from shared import machine
from shared.errors import BadRequest, RunError
from shared.tree import Array

BLOCK = 512  # rows or columns worked on at a time


def blocks(n: int) -> Iterator[slice]:
    """range(n) in contiguous parts of BLOCK or fewer."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def bytes_needed(n: int, m: int, point: int, dtype: str) -> tuple[int, int]:
    """(K (n, n) and the kernel (m, n) of the test points, all else): ``point`` bytes each, two blocks of rows."""
    size = np.dtype(dtype).itemsize
    return size * n * (n + m), (n + m) * point + size * 2 * BLOCK * n


def check_memory(n: int, m: int, point: int, dtype: str) -> None:
    """BadRequest, with the arithmetic, when a problem of that size does not fit into the free memory."""
    matrices, rest = bytes_needed(n, m, point, dtype)
    free = machine.free_memory()
    if matrices + rest > free:
        raise BadRequest(
            f"n={n}: the matrices take {n} x ({n} + {m} test points) x {np.dtype(dtype).itemsize} bytes = "
            f"{matrices / 1e9:.1f} GB, data and blocks {rest / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are "
            f"free. The largest n that fits: {largest(m, point, dtype, free)}."
        )


def largest(m: int, point: int, dtype: str, free: float) -> int:
    """The largest n with s (n^2 + n (m + 2 BLOCK)) + point (n + m) <= free, s the bytes of a number."""
    size = np.dtype(dtype).itemsize
    linear, constant = m + 2 * BLOCK + point / size, (m * point - free) / size
    return max(0, int((np.sqrt(max(0.0, linear**2 - 4 * constant)) - linear) / 2))


def add_products(K: Array, x: Array, z: Array | None = None) -> None:
    """K (m, n) += <z_i, x_j>, in place, for x (n, d) and z (m, d). Without z: the lower triangle of <x_i, x_j>."""
    for rows in blocks(len(K)):
        if z is None:
            K[rows, : rows.stop] += x[rows] @ x[: rows.stop].T
        else:
            K[rows] += z[rows] @ x.T


def mirror(K: Array) -> None:
    """The lower triangle's entries to the upper one, in place."""
    for rows in blocks(len(K)):
        K[: rows.start, rows] = K[rows, : rows.start].T
        square = K[rows, rows]
        square[...] = np.tril(square) + np.tril(square, -1).T


def restore(K: Array) -> None:
    """K from its strict upper triangle, in place: the lower one again after a factor, and ones on the diagonal."""
    for rows in blocks(len(K)):
        K[rows, : rows.start] = K[: rows.start, rows].T
        square = K[rows, rows]
        upper = np.triu(square, 1)
        square[...] = upper + upper.T + np.eye(len(square), dtype=K.dtype)


def mean_squared_distance(G: Array) -> float:
    r"""The mean of |x_i - x_j|^2 over all pairs, from products G (n, n): 2 (tr G / n - 1^T G 1 / n^2)."""
    n = len(G)
    return float(
        2 * (np.trace(G, dtype=np.float64) / n - sum(G[rows].sum(dtype=np.float64) for rows in blocks(n)) / n**2)
    )


def exponentiate(K: Array, gamma: float, squares: Array, squares_z: Array) -> None:
    """Products <z_i, x_j> into exp(-gamma |z_i - x_j|^2), in place, from |x_j|^2 (n,) and |z_i|^2 (m,)."""
    for rows in blocks(len(K)):
        k = K[rows]
        k *= 2 * gamma
        k -= (gamma * squares_z[rows])[:, None]
        k -= gamma * squares
        np.minimum(k, 0, out=k)  # rounding may make a square negative
        np.exp(k, out=k)


def cholesky_in_place(K: Array, ridge: float) -> Iterator[int]:
    r"""K + ridge I = L L^T, L into the lower triangle of K (n, n), a block column a turn; the upper one stays.

    Of the block column j, with the columns before it done (left-looking):
        A_ij = K_ij - sum_{k<j} L_ik L_jk^T,     L_jj L_jj^T = A_jj,     L_ij = A_ij L_jj^{-T}.
    n^3 / 6 multiplications and as many additions, nearly all in the matrix product. RunError when A_jj is not positive
    definite.
    """
    K[np.diag_indices(len(K))] += ridge
    for columns in blocks(len(K)):
        done, below = columns.start, columns.stop
        if done:
            update = K[done:, :done] @ K[columns, :done].T
            square = K[columns, columns]
            square -= np.tril(update[: len(square)])
            K[below:, columns] -= update[len(square) :]
        square = K[columns, columns]
        try:
            L = np.linalg.cholesky(square)  # reads the lower triangle
        except np.linalg.LinAlgError:
            raise RunError(
                f"K + {ridge:g} I is not positive definite in {K.dtype}, columns {done} to {below} of {len(K)}: points "
                "are equal or the kernel is too wide. Raise the ridge."
            ) from None
        lower = np.tri(len(L), dtype=bool)
        square[lower] = L[lower]
        K[below:, columns] = K[below:, columns] @ np.linalg.inv(L).T  # faster than to solve for so many rows
        yield below


def substitute(L: Array, y: Array) -> Array:
    """(L L^T)^{-1} y for y (n, k): forward and backward substitution in blocks, L in the lower triangle."""
    x = y.copy()
    parts = list(blocks(len(L)))
    for rows in parts:
        right = x[rows] - L[rows, : rows.start] @ x[: rows.start]
        x[rows] = np.linalg.solve(np.tril(L[rows, rows]), right)
    for rows in reversed(parts):
        right = x[rows] - L[rows.stop :, rows].T @ x[rows.stop :]
        x[rows] = np.linalg.solve(np.tril(L[rows, rows]).T, right)
    return x


def product(K: Array, alpha: Array) -> Array:
    """K alpha (n, k) in float64 from what ``cholesky_in_place`` left: the strict upper triangle, and ones."""
    alpha = alpha.astype(np.float64)
    y = alpha.copy()
    for rows in blocks(len(K)):
        k = K[rows, rows.start :].astype(np.float64)
        k[:, : len(k)] = np.triu(k[:, : len(k)], 1)
        y[rows] += k @ alpha[rows.start :]
        y[rows.start :] += k.T @ alpha[rows]
    return y


class Solution(NamedTuple):
    """alpha (n, k) and K alpha (n, k), float64, and the passes that they took: the first solution and refinements."""

    alpha: Array
    fitted: Array
    passes: int


def refined(K: Array, ridge: float, Y: Array, tolerance: float, most: int) -> Solution:
    """alpha with (K + ridge I) alpha = Y (n, k), from a factor that may be float32 and of a larger ridge.

    A pass adds (L L^T)^{-1} r to alpha, r = Y - (K + ridge I) alpha in float64: a jitter j in the factor leaves at most
    j / (j + the least eigenvalue) of the error. It ends when max |r| <= tolerance max |Y|, or after ``most`` passes.
    """
    alpha, fitted, residual, passes = np.zeros(Y.shape), np.zeros(Y.shape), Y, 0
    while passes < most and abs(residual).max() > tolerance * abs(Y).max():
        alpha += substitute(K, residual.astype(K.dtype))
        fitted = product(K, alpha)
        residual = Y - fitted - ridge * alpha
        passes += 1
    return Solution(alpha, fitted, passes)

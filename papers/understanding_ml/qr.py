"""QR decomposition by Householder's reflections: the tool behind the decompositions of Appendix C of the book.

Here, in eigen.py, svd.py and linear_systems.py there is only arithmetic on arrays: of numpy.linalg, no more than norm.
"""

import numpy as np

from shared.tree import Array

EPS = float(np.finfo(float).eps)


def scaled(A: Array) -> tuple[Array, int]:
    """X (m, n) in float64 and e with A = 2^e X and the largest |X_ij| in [1/2, 1), or 0: no square of it overflows.

    ValueError unless A is a real matrix (m, n), m and n at least 1, whose entries and whose norm are finite.
    """
    A = np.asarray(A)
    if A.ndim != 2 or 0 in A.shape:
        raise ValueError(f"A must be a matrix (m, n), with m and n at least 1; got shape {A.shape}")
    if np.iscomplexobj(A):
        raise ValueError("A must be real: these decompositions do not take complex numbers, numpy.linalg does")
    A = A.astype(float)
    largest = float(np.abs(A).max())
    if not largest * max(A.shape) < np.inf:
        raise ValueError("A must be finite, and its norm too: drop or fill missing values, scale down very large ones")
    exponent = int(np.frexp(largest)[1])
    return np.ldexp(A, -exponent), exponent


def reflector(x: Array) -> Array:
    r"""The unit vector v (k,) whose reflection H = I - 2 v v^T takes x (k,) to -sign(x_1) |x| e_1.

    H x = x - 2 (v^T x) v must be -sign(x_1) |x| e_1, so v is along w = x + sign(x_1) |x| e_1: as |w|^2 = 2 w^T x,
    subtracting 2 w (w^T x) / |w|^2 = w from x leaves just that. With the other sign w_1 would be a difference of two
    numbers that may agree in most digits. Where x is 0 after its first entry there is nothing to do: v = 0.
    """
    if not x[1:].any():
        return np.zeros_like(x)
    w = x / np.abs(x).max()
    w[0] += np.copysign(np.linalg.norm(w), w[0])
    return w / np.linalg.norm(w)


def qr(A: Array, complete: bool = False) -> tuple[Array, Array]:
    r"""Q (m, k) with orthonormal columns and R (k, n) upper triangular, A = Q R; k = min(m, n), or m when ``complete``.

    The reflection H_j takes what is left of column j, from row j on, to a multiple of e_j, and leaves the earlier
    columns as they are. So H_k ... H_1 A = R and, each H_j being its own inverse, A = H_1 ... H_k R. Reflections keep
    lengths, so rounding errors stay at eps |A| however ill-conditioned A is, and Q is orthonormal to eps always.
    Signs are LAPACK's: R_jj = -sign(x_1) |x|, or x_1 where nothing is below it. Of dependent columns the later ones
    have R_jj = 0 up to rounding errors, and Q goes on with any orthonormal column.
    ValueError like ``scaled``.
    """
    R, exponent = scaled(A)
    m, k = len(R), min(R.shape)
    reflectors = [np.zeros(0)] * k
    for j in range(k):
        v = reflectors[j] = reflector(R[j:, j])
        R[j:, j:] -= 2 * np.outer(v, v @ R[j:, j:])
    columns = m if complete else k
    Q = np.eye(m, columns)
    for j in reversed(range(k)):
        v = reflectors[j]
        Q[j:, j:] -= 2 * np.outer(v, v @ Q[j:, j:])
    return Q, np.ldexp(np.triu(R[:columns]), exponent)

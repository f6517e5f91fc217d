"""Matrix decompositions: numpy.linalg's to 1e-10 also on ill-conditioned input, App. C's statements, bad input."""

import itertools
from collections.abc import Callable
from itertools import pairwise

import mpmath
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from papers.understanding_ml.eigen import (
    Eigen,
    eigen_jacobi,
    eigen_qr,
    jacobi_sweeps,
    qr_iterates,
    tournament,
    tridiagonal,
    wilkinson_shift,
)
from papers.understanding_ml.linear_systems import (
    back_substitution,
    condition_number,
    projection,
    pseudo_inverse,
    rank,
    solve,
)
from papers.understanding_ml.qr import qr, reflector
from papers.understanding_ml.studies.matrix_decompositions import CLAIMS, eigen_deviation, svd_deviation
from papers.understanding_ml.svd import SVD, low_rank, power_iterates, rotation_scale_rotation, svd_jacobi, svd_power
from shared.claims import judge

ORACLE = 1e-10  # of the largest singular value
ROUNDING = 1e-13


def svd_power_seeded(A: np.ndarray) -> SVD:
    return svd_power(A, np.random.default_rng(0))


few = settings(max_examples=30)
svds = pytest.mark.parametrize("svd", [svd_jacobi, svd_power_seeded])
eigens = pytest.mark.parametrize("eigen", [eigen_qr, eigen_jacobi])


def gaussian(m: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, n))


def orthonormal(m: int, n: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(gaussian(m, n, seed)).Q


def with_values(m: int, n: int, s: np.ndarray, seed: int = 0) -> np.ndarray:
    return (orthonormal(m, len(s), seed) * s) @ orthonormal(n, len(s), seed + 1).T


def hilbert(n: int) -> np.ndarray:
    return 1 / (1.0 + np.add.outer(np.arange(n), np.arange(n)))


def kahan(n: int, s: float = 0.6) -> np.ndarray:
    return s ** np.arange(n)[:, None] * (np.eye(n) - np.sqrt(1 - s**2) * np.triu(np.ones((n, n)), 1))


MATRICES = {
    "hilbert": hilbert(12),
    "vandermonde": np.vander(np.linspace(0, 1, 20), 12),
    "wide vandermonde": np.vander(np.linspace(0, 1, 9), 14),
    "kahan": kahan(20),
    "kappa 1e12": with_values(15, 10, np.logspace(0, -12, 10)),
    "one small value": with_values(8, 8, np.array([1.0] * 7 + [1e-13])),
    "graded columns": gaussian(12, 8) * np.logspace(0, -14, 8),
    "graded rows": np.logspace(0, -14, 12)[:, None] * gaussian(12, 8),
    "rank 3": gaussian(9, 3) @ gaussian(3, 7, 1),
    "repeated values": with_values(7, 5, np.array([2.0, 2, 2, 1, 1])),
    "close values": with_values(6, 6, np.array([1, 1 - 1e-7, 1 - 1e-12, 0.5, 0.5 - 1e-9, 1e-9])),
    "zero columns": gaussian(6, 5) * [1, 0, 1, 0, 0],
    "zero rows": gaussian(10, 8) * (np.arange(10) < 3)[:, None],
    "ones": np.ones((5, 4)),
    "integers": np.arange(12).reshape(4, 3),
    "zero": np.zeros((4, 3)),
    "identity": np.eye(5),
    "orthogonal": orthonormal(6, 6),
    "1 x 6": gaussian(1, 6),
    "6 x 1": gaussian(6, 1),
    "1 x 1": np.array([[-3.0]]),
    "1e-300": 1e-300 * gaussian(6, 4),
    "1e150": 1e150 * gaussian(4, 6),
    "1e300": 1e300 * gaussian(5, 5),
}
SYMMETRIC = {
    "hilbert": hilbert(12),
    "wilkinson": np.diag(np.abs(np.arange(-10, 11.0))) + np.eye(21, k=1) + np.eye(21, k=-1),
    "indefinite": gaussian(9, 9) + gaussian(9, 9).T,
    "graded": np.outer(np.logspace(0, -8, 8), np.logspace(0, -8, 8)) * (np.eye(8) + 0.1),
    "kappa 1e12": (orthonormal(10, 10) * np.logspace(0, -12, 10)) @ orthonormal(10, 10).T,
    "repeated": (orthonormal(6, 6) * [1, 1, 1, -1, -1, 0]) @ orthonormal(6, 6).T,
    "laplacian of a ring": 2 * np.eye(8) - np.roll(np.eye(8), 1, 0) - np.roll(np.eye(8), -1, 0),
    "zero diagonal": np.array([[0.0, 1], [1, 0]]),
    "diagonal": np.diag([3.0, -1, 2, 0]),
    "ones": np.ones((5, 5)),
    "zero": np.zeros((3, 3)),
    "1 x 1": np.array([[-2.0]]),
    "integers": np.array([[2, 1], [1, 2]]),
    "1e-300": 1e-300 * (gaussian(5, 5) + gaussian(5, 5).T),
    "1e150": 1e150 * (gaussian(5, 5) + gaussian(5, 5).T),
}
matrices = pytest.mark.parametrize("A", MATRICES.values(), ids=MATRICES.keys())
symmetric_matrices = pytest.mark.parametrize("A", SYMMETRIC.values(), ids=SYMMETRIC.keys())


def unit(A: np.ndarray) -> np.ndarray:
    """A over its largest entry: errors are relative to it, and squares do not overflow."""
    return A / (np.abs(A).max() or 1.0)


def orthonormality(Q: np.ndarray) -> float:
    return float(np.abs(Q.T @ Q - np.eye(Q.shape[1])).max())


@st.composite
def drawn(draw: st.DrawFn, square: bool = False) -> np.ndarray:
    """Any shape to 9 x 9, entries of the sort that drive an algorithm into its corners."""
    m = draw(st.integers(1, 9))
    n = m if square else draw(st.integers(1, 9))
    kind = draw(st.sampled_from(["gaussian", "integers", "sparse", "graded", "low rank"]))
    A = gaussian(m, n, draw(st.integers(0, 2**16)))
    if kind == "integers":
        return np.round(A)
    if kind == "sparse":
        return A * (np.abs(A) > 1)
    if kind == "graded":
        return A * 10.0 ** -np.linspace(0, draw(st.integers(1, 30)), n)
    if kind == "low rank":
        return A[:, :1] @ A[:1]
    return A


# QR


@few
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**16), st.booleans())
def test_qr_is_numpys_to_the_sign(m: int, n: int, seed: int, complete: bool) -> None:
    A = gaussian(m, n, seed)
    A[:, : min(m, n)] += 3 * np.eye(m, min(m, n))  # keeps it well-conditioned: then each column is determined
    theirs = np.linalg.qr(A, "complete" if complete else "reduced")
    ours = qr(A, complete)
    kappa = max(np.linalg.cond(A[:, :j]) for j in range(1, min(m, n) + 1))
    for mine, oracle in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, oracle, rtol=0, atol=1e-14 * kappa * np.linalg.norm(A))


@matrices
@pytest.mark.parametrize("complete", [False, True])
def test_qr_of_ill_conditioned_matrices(A: np.ndarray, complete: bool) -> None:
    Q, R = qr(A, complete)
    m, n = A.shape
    k = m if complete else min(m, n)
    assert (Q.shape, R.shape) == ((m, k), (k, n))
    size = np.abs(A).max() or 1.0
    np.testing.assert_allclose(Q @ (R / size), A / size, rtol=0, atol=ROUNDING)
    assert orthonormality(Q) < ROUNDING
    assert not np.tril(R, -1).any()
    theirs = np.linalg.qr(unit(A), "complete" if complete else "reduced")
    lengths = np.linalg.norm(unit(A), axis=0)
    for j in range(min(m, n)):  # column j is determined as well as those up to it are independent of each other
        if not lengths[j]:
            break
        kappa = np.linalg.cond(unit(A)[:, : j + 1] / lengths[: j + 1])
        assert np.abs(Q[:, j] - theirs.Q[:, j]).max() < ROUNDING * kappa
        assert np.abs(R[j, :] / size - theirs.R[j]).max() < ROUNDING * kappa * np.linalg.norm(unit(A))


@few
@given(drawn())
def test_qr_decomposes_anything(A: np.ndarray) -> None:
    Q, R = qr(A)
    np.testing.assert_allclose(Q @ R, A, rtol=0, atol=ROUNDING * (np.linalg.norm(A) or 1))
    assert orthonormality(Q) < ROUNDING
    assert not np.tril(R, -1).any()


@given(hnp.arrays(float, st.integers(1, 8), elements=st.floats(-1e3, 1e3)), st.sampled_from([1.0, 1e-200, 1e200]))
def test_a_reflection_leaves_one_entry(x: np.ndarray, scale: float) -> None:
    x = x * scale
    v = reflector(x)
    length = np.abs(x).max() or 1.0
    reflected = x / length - 2 * v * (v @ (x / length))
    assert np.abs(reflected[1:]).max(initial=0) < 1e-15 * 10
    if x[1:].any():
        assert np.linalg.norm(v) == pytest.approx(1, abs=1e-15)
        assert reflected[0] * np.copysign(1, x[0]) == pytest.approx(-np.linalg.norm(x / length))
    else:
        assert not v.any()


# Eigenvalues


def check_eigen(A: np.ndarray, found: Eigen) -> None:
    size = np.abs(A).max() or 1.0
    A, values, V = A / size, found.values / size, found.vectors
    expected, theirs = np.linalg.eigh(A)
    np.testing.assert_allclose(values, expected, rtol=0, atol=ORACLE * np.linalg.norm(A))
    assert orthonormality(V) < ROUNDING
    np.testing.assert_allclose(A @ V, V * values, rtol=0, atol=ROUNDING * (np.linalg.norm(A) or 1))
    for i, gap in enumerate(gaps(expected)):  # a vector is determined as well as its value is apart from the others
        sine = np.linalg.norm(V[:, i] - theirs[:, i] * (theirs[:, i] @ V[:, i]))
        assert sine * gap <= ORACLE * np.linalg.norm(A)


def gaps(values: np.ndarray) -> np.ndarray:
    """The distance of each value to the nearest other one."""
    distances = np.abs(values[:, None] - values)
    np.fill_diagonal(distances, 1.0)
    return distances.min(axis=0)


@eigens
@symmetric_matrices
def test_eigenvalues_of_ill_conditioned_matrices(eigen: Callable[..., Eigen], A: np.ndarray) -> None:
    check_eigen(A, eigen(A))


@eigens
@few
@given(drawn(square=True))
def test_eigenvalues_are_numpys(eigen: Callable[..., Eigen], A: np.ndarray) -> None:
    check_eigen(A + A.T, eigen(A + A.T))


def test_jacobi_keeps_the_digits_of_small_eigenvalues() -> None:
    scales = np.logspace(0, -10, 6)
    A = np.outer(scales, scales) * (np.eye(6) + 0.05 * (gaussian(6, 6) + gaussian(6, 6).T))
    with mpmath.workdps(60):
        exact = sorted(float(x) for x in mpmath.eigsy(mpmath.matrix(A.tolist()), eigvals_only=True))
    np.testing.assert_allclose(eigen_jacobi(A).values, exact, rtol=ROUNDING)


@few
@given(drawn(square=True))
def test_tridiagonal_has_the_same_eigenvalues(A: np.ndarray) -> None:
    A = A + A.T
    d, e, Q = tridiagonal(A)
    T = np.diag(d) + np.diag(e, 1) + np.diag(e, -1)
    assert orthonormality(Q) < ROUNDING
    np.testing.assert_allclose(Q @ T @ Q.T, A, rtol=0, atol=ROUNDING * (np.linalg.norm(A) or 1))


@given(st.floats(-10, 10), st.floats(0.01, 10), st.floats(-10, 10))
def test_wilkinsons_shift_is_the_nearer_eigenvalue(a: float, b: float, c: float) -> None:
    shift, values = wilkinson_shift(a, b, c), np.linalg.eigvalsh([[a, b], [b, c]])
    assert min(abs(values - shift)) < 1e-13
    assert abs(shift - c) <= min(abs(values - c)) + 1e-13


def test_a_shift_makes_the_qr_algorithm_fast() -> None:
    A = (orthonormal(6, 6) * [6, 5, 4, 3, 2, 1]) @ orthonormal(6, 6).T
    plain, shifted = (
        [np.linalg.norm(X[-1, :-1]) for X in itertools.islice(qr_iterates(A, shift), 40)] for shift in (False, True)
    )
    # Without: lambda_n / lambda_{n-1} = 1/2 a step. With: nothing is left after a few.
    np.testing.assert_allclose(np.divide(plain[21:31], plain[20:30]), 1 / 2, rtol=1e-3)
    assert shifted[6] < 1e-14 < 1e-4 < plain[6]
    for X in itertools.islice(qr_iterates(A, True), 10):
        np.testing.assert_allclose(np.linalg.eigvalsh(X), [1, 2, 3, 4, 5, 6], rtol=1e-13)


@pytest.mark.parametrize("n", range(1, 12))
def test_every_pair_meets_once_and_no_one_twice_in_a_round(n: int) -> None:
    rounds = [list(zip(p.tolist(), q.tolist(), strict=True)) for p, q in tournament(n)]
    assert sorted(itertools.chain(*rounds)) == list(itertools.combinations(range(n), 2))
    for pairs in rounds:
        assert len(set(itertools.chain(*pairs))) == 2 * len(pairs)


def test_jacobis_sweeps_square_what_is_left() -> None:
    A = (orthonormal(8, 8) * np.arange(1, 9)) @ orthonormal(8, 8).T
    off = []
    for W, V in jacobi_sweeps(A):
        off.append(float(np.linalg.norm(W - np.diag(np.diag(W)))))
        np.testing.assert_allclose(V @ W @ V.T, A, atol=1e-13)
    assert all(after < before for before, after in pairwise(off))
    assert any(before < 0.25 for before in off[:-2])
    assert all(after <= before**2 for before, after in pairwise(off) if before < 0.25)  # the smallest gap is 1


# SVD


def check_svd(A: np.ndarray, found: SVD) -> None:
    size, k = np.abs(A).max() or 1.0, min(A.shape)
    A, (U, s, Vt) = A / size, found
    assert (U.shape, s.shape, Vt.shape) == ((len(A), k), (k,), (k, A.shape[1]))
    theirs = np.linalg.svd(A, full_matrices=False)
    norm = theirs.S[0] or 1.0
    np.testing.assert_allclose(s / size, theirs.S, rtol=0, atol=ORACLE * norm)
    assert (s >= 0).all()
    assert (np.diff(s) <= 0).all()
    assert max(orthonormality(U), orthonormality(Vt.T)) < ROUNDING
    np.testing.assert_allclose((U * (s / size)) @ Vt, A, rtol=0, atol=10 * ROUNDING * norm)
    for i, gap in enumerate(gaps(np.append(theirs.S, 0))[:-1]):
        for ours, oracle in ((U[:, i], theirs.U[:, i]), (Vt[i], theirs.Vh[i])):
            assert np.linalg.norm(ours - oracle * (oracle @ ours)) * gap <= ORACLE * norm


@svds
@matrices
def test_svd_of_ill_conditioned_matrices(svd: Callable[..., SVD], A: np.ndarray) -> None:
    check_svd(A, svd(A))


@svds
@few
@given(drawn())
def test_svd_is_numpys(svd: Callable[..., SVD], A: np.ndarray) -> None:
    check_svd(A, svd(A))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("orders", [12, 40, 140])
def test_jacobi_keeps_the_digits_of_small_singular_values(orders: int, transposed: bool) -> None:
    A = (gaussian(8, 5) * np.logspace(0, -orders, 5))[:, [3, 0, 4, 1, 2]]
    with mpmath.workdps(400):
        exact = [float(x) for x in mpmath.svd_r(mpmath.matrix(A.tolist()), compute_uv=False)]
    np.testing.assert_allclose(svd_jacobi(A.T if transposed else A).s, exact, rtol=1e-14)


@few
@given(drawn())
def test_squared_singular_values_are_eigenvalues(A: np.ndarray) -> None:
    k, norm = min(A.shape), np.linalg.norm(A) ** 2
    for gram in (A.T @ A, A @ A.T):
        np.testing.assert_allclose(svd_jacobi(A).s ** 2, eigen_qr(gram).values[::-1][:k], atol=1e-14 * norm, rtol=0)


@few
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**16))
def test_singular_vectors_are_greedy(m: int, n: int, seed: int) -> None:
    A, rng = gaussian(m, n, seed), np.random.default_rng(seed)
    _, s, Vt = svd_jacobi(A)
    for i in range(len(s)):
        v = rng.standard_normal((n, 50))
        v -= Vt[:i].T @ (Vt[:i] @ v)
        assert np.linalg.norm(A @ Vt[i]) == pytest.approx(s[i], abs=1e-13 * s[0])
        assert (np.linalg.norm(A @ v, axis=0) <= s[i] * np.linalg.norm(v, axis=0) * (1 + 1e-12) + 1e-13).all()


def test_power_iteration_converges_at_the_ratio_of_the_squares() -> None:
    A = with_values(9, 6, np.array([1.0, 0.9, 0.5, 0.3, 0.2, 0.1]))
    _, _, Vt = np.linalg.svd(A)
    tangents = []
    for v in power_iterates(A, np.random.default_rng(3)):
        assert np.linalg.norm(v) == pytest.approx(1, abs=1e-15)
        tangents.append(np.linalg.norm(v - Vt[0] * (Vt[0] @ v)) / abs(Vt[0] @ v))
    # From step t to 2t the tangent falls by 0.9^2t once the other values are gone.
    for j in range(3, 6):
        assert tangents[j + 1] / tangents[j] == pytest.approx(0.81 ** (2**j), rel=1e-2)
    assert tangents[-1] < 1e-15 * 10


def test_zero_has_no_direction_to_iterate_to() -> None:
    with pytest.raises(ValueError, match=r"^A is 0 everywhere"):
        next(power_iterates(np.zeros((3, 2)), np.random.default_rng(0)))


def test_power_iterations_vectors_depend_on_the_start_only_where_values_repeat() -> None:
    A = np.diag([0.5, 2.0, 1.0, 2.0])
    one, other = (svd_power(A, np.random.default_rng(seed)) for seed in (0, 1))
    np.testing.assert_allclose(one.s, other.s, atol=1e-14)
    assert np.abs(one.Vt[0] @ other.Vt[0]) < 0.999
    for rows in (slice(0, 2), slice(2, 3), slice(3, 4)):
        np.testing.assert_allclose(one.Vt[rows].T @ one.Vt[rows], other.Vt[rows].T @ other.Vt[rows], atol=1e-13)


# Pseudo-inverse, solving, condition number


@few
@given(drawn())
def test_pseudo_inverse_is_numpys(A: np.ndarray) -> None:
    rcond = 1e-5  # unless a value happens to be there both cut at the same one
    s = np.linalg.svd(A, compute_uv=False)
    if ((s > 0.99e-5 * s[0]) & (s < 1.01e-5 * s[0])).any():
        return
    ours, theirs = pseudo_inverse(A, rcond), np.linalg.pinv(A, rcond)
    assert ours.shape == A.T.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=ORACLE * (np.abs(theirs).max() or 1))


@matrices
def test_pseudo_inverse_of_ill_conditioned_matrices(A: np.ndarray) -> None:
    A = unit(A)
    s = np.linalg.svd(A, compute_uv=False)
    for rcond in (1e-4, None):
        cutoff = max(A.shape) * np.finfo(float).eps if rcond is None else rcond
        if s[0] == 0 or ((s > 0.3 * cutoff * s[0]) & (s < 3 * cutoff * s[0])).any():
            continue  # on the edge of the cutoff: rounding errors decide
        ours, theirs = pseudo_inverse(A, rcond), np.linalg.pinv(A, cutoff)
        smallest = s[s > cutoff * s[0]][-1]
        # A change of A by eps |A| changes its inverse by eps |A| / s_r^2.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=ROUNDING * s[0] / smallest**2)


@few
@given(drawn())
def test_the_four_conditions_of_moore_and_penrose(A: np.ndarray) -> None:
    A = low_rank(A, np.sum(np.linalg.svd(A, compute_uv=False) > 1e-3 * np.linalg.norm(A)))
    X = pseudo_inverse(A)
    np.testing.assert_allclose(A @ X, (A @ X).T, atol=1e-11)
    np.testing.assert_allclose(X @ A, (X @ A).T, atol=1e-11)
    np.testing.assert_allclose(A @ X @ A, A, atol=1e-11 * (np.linalg.norm(A) or 1))
    np.testing.assert_allclose(X @ A @ X, X, atol=1e-11 * (np.linalg.norm(X) or 1))


def test_pseudo_inverse_of_special_matrices() -> None:
    np.testing.assert_array_equal(pseudo_inverse(np.zeros((2, 3))), np.zeros((3, 2)))
    np.testing.assert_allclose(pseudo_inverse(np.array([[1, 2], [2, 4]])), np.array([[1, 2], [2, 4]]) / 25, atol=1e-15)
    np.testing.assert_allclose(pseudo_inverse(1e-300 * np.eye(2)), 1e300 * np.eye(2))
    assert rank(np.diag([1, 1e-3, 0])) == 2
    assert rank(np.diag([1, 1e-3, 0]), rcond=1e-2) == 1
    assert rank(np.zeros((3, 2))) == 0


@few
@given(st.integers(1, 10), st.integers(0, 10), st.integers(0, 2**16), st.integers(-100, 100))
def test_solve_is_numpys(n: int, spare: int, seed: int, order: int) -> None:
    A = gaussian(n + spare, n, seed)
    for b in (gaussian(n + spare, 1, seed + 1)[:, 0], gaussian(n + spare, 3, seed + 1)):
        expected = np.linalg.lstsq(A, b, rcond=None)[0]
        size = np.linalg.norm(expected) + np.linalg.norm(b) / np.linalg.norm(A)
        tolerance = 1e-14 * np.linalg.cond(A) ** 2 * size
        np.testing.assert_allclose(solve(A, b), expected, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            solve(A * 10.0**order, b) * 10.0**order, expected, rtol=0, atol=tolerance, err_msg="units"
        )


@pytest.mark.parametrize("kappa", [1e3, 1e8, 1e12])
def test_the_condition_number_bounds_the_error_of_solving(kappa: float) -> None:
    A, x = with_values(8, 8, np.geomspace(1, 1 / kappa, 8)), gaussian(8, 1, 5)[:, 0]
    assert condition_number(A) == pytest.approx(kappa, rel=1e-3)
    error = np.linalg.norm(solve(A, A @ x) - x) / np.linalg.norm(x)
    assert 1e-19 * kappa < error < 1e-14 * kappa
    if kappa == 1e3:
        normal = np.linalg.norm(solve(A.T @ A, A.T @ (A @ x)) - x) / np.linalg.norm(x)
        assert 1e-19 * kappa**2 < normal < 1e-14 * kappa**2


@matrices
def test_condition_number_is_numpys(A: np.ndarray) -> None:
    kappa = np.linalg.cond(unit(A)) if A.any() else np.inf
    if kappa < 1e14:
        assert condition_number(A) == pytest.approx(kappa, rel=1e-15 * kappa + 1e-12)
    else:
        assert condition_number(A) > 1e14


def test_condition_number_of_special_matrices() -> None:
    assert condition_number(np.zeros((2, 2))) == np.inf
    assert condition_number(np.diag([1.0, 0])) == np.inf
    assert condition_number(np.diag([1e-200, 1e-205])) == pytest.approx(1e5)
    assert condition_number(orthonormal(5, 3)) == pytest.approx(1)


@few
@given(n=st.integers(2, 15), kind=st.sampled_from(["rank", "row", "column"]), seed=st.integers(0, 2**16))
def test_singular_matrices_are_refused(n: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A = rng.integers(-4, 5, (n, n)).astype(float)
    if kind == "rank":
        A = A[:, : n // 2] @ rng.integers(-4, 5, (n // 2, n))
    elif kind == "row":
        A[rng.integers(n)] = 0 if n == 2 else A.sum(axis=0)
        A[-1] = A[0]
    else:
        A[:, -1] = A[:, :-1] @ rng.integers(-4, 5, n - 1)
        A *= 10.0 ** rng.integers(-9, 9, n)
    with pytest.raises(ValueError, match=r"^A is singular: .* of its .* use pseudo_inverse\(A\) @ b$"):
        solve(A, np.ones(n))


def test_units_are_not_singularity() -> None:
    np.testing.assert_allclose(solve(np.diag([1.0, 1e-20, 1e20]), np.ones(3)), [1, 1e20, 1e-20])


def test_solve_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^A is singular: 1 of its 2 columns are independent; use pseudo_inverse"):
        solve(np.array([[1, 2], [2, 4]]), np.ones(2))
    with pytest.raises(ValueError, match=r"^A is singular: 0 of its 2 columns"):
        solve(np.zeros((2, 2)), np.ones(2))
    with pytest.raises(ValueError, match=r"^A is singular: 2 of its 3 columns"):
        solve(gaussian(2, 3), np.ones(2))
    for b in (np.ones(3), np.ones((2, 2, 2)), np.float64(1), np.array([1, np.nan])):
        with pytest.raises(ValueError, match=r"^b must be finite, \(2,\) or \(2, k\) to fit A \(2, 2\); got shape"):
            solve(np.eye(2), b)
    for R, y in ((np.ones((2, 3)), np.ones(2)), (np.eye(2), np.ones(3)), (np.ones(2), np.ones(2))):
        with pytest.raises(ValueError, match=r"^R must be \(n, n\) and y \(n,\) or \(n, k\); got"):
            back_substitution(R, y)
    with pytest.raises(ValueError, match=r"^R is singular, as R\[1, 1\] = 0: use pseudo_inverse"):
        back_substitution(np.array([[1.0, 2], [0, 0]]), np.ones(2))


@given(st.integers(1, 12), st.integers(0, 2**16))
def test_back_substitution(n: int, seed: int) -> None:
    R = np.triu(gaussian(n, n, seed)) + 3 * np.eye(n) * np.sign(np.diag(gaussian(n, n, seed)))
    y = gaussian(n, 2, seed + 1)
    np.testing.assert_allclose(back_substitution(R, y), np.linalg.solve(R, y), rtol=0, atol=1e-10)


# Projections and low rank


@few
@given(drawn(), st.integers(0, 2**16))
def test_projections_are_symmetric_idempotent_and_closest(A: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    P = projection(A)
    np.testing.assert_array_equal(P, P.T)
    np.testing.assert_allclose(P @ P, P, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(P @ A, A, rtol=0, atol=ROUNDING * (np.linalg.norm(A) or 1))
    assert np.trace(P) == pytest.approx(rank(A), abs=1e-12)
    b = rng.standard_normal(len(A))
    distance = np.linalg.norm(b - P @ b)
    for y in (A @ rng.standard_normal((A.shape[1], 20))).T:
        assert distance <= np.linalg.norm(b - y) + 1e-13


def test_projection_onto_a_plane() -> None:
    A = np.array([[1.0, 1], [1, 0], [0, 1]])
    np.testing.assert_allclose(projection(A), A @ np.linalg.inv(A.T @ A) @ A.T, atol=1e-15)
    np.testing.assert_array_equal(projection(np.zeros((3, 2))), np.zeros((3, 3)))
    np.testing.assert_allclose(projection(np.eye(3)), np.eye(3), atol=1e-15)


@few
@given(drawn(), st.integers(0, 2**16))
def test_eckart_and_young(A: np.ndarray, seed: int) -> None:
    rng, s = np.random.default_rng(seed), np.linalg.svd(A, compute_uv=False)
    tolerance = ROUNDING * (s[0] or 1)
    for k in range(len(s) + 1):
        best = low_rank(A, k)
        assert np.linalg.matrix_rank(best, tol=1e-12 * s[0]) <= k
        frobenius, spectral = np.linalg.norm(A - best), np.linalg.norm(A - best, 2)
        assert frobenius == pytest.approx(np.sqrt(np.sum(s[k:] ** 2)), abs=tolerance)
        assert spectral == pytest.approx(s[k] if k < len(s) else 0, abs=tolerance)
        for _ in range(5):
            rows = np.linalg.qr(rng.standard_normal((A.shape[1], k))).Q
            for other in (A @ rows @ rows.T, best + 1e-3 * rng.standard_normal((len(A), k)) @ rows.T):
                if np.linalg.matrix_rank(other, tol=1e-12 * s[0]) <= k:
                    assert np.linalg.norm(A - other) >= frobenius - tolerance
                    assert np.linalg.norm(A - other, 2) >= spectral - tolerance


@pytest.mark.parametrize("k", [-1, 4])
def test_impossible_ranks(k: int) -> None:
    with pytest.raises(ValueError, match=rf"^k={k}: must be from 0 to min\(m, n\) = 3"):
        low_rank(gaussian(3, 5), k)


@pytest.mark.parametrize("rcond", [-1e-9, 1, np.nan, np.inf])
def test_impossible_cutoffs(rcond: float) -> None:
    for method in (pseudo_inverse, rank):
        with pytest.raises(ValueError, match=r"^rcond=.*: must be at least 0 and below 1"):
            method(np.eye(2), rcond)


# The plane


def rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


@given(hnp.arrays(float, (2, 2), elements=st.floats(-100, 100).map(lambda x: x if abs(x) > 1e-280 else 0)))
def test_a_map_of_the_plane_rotates_scales_and_rotates(A: np.ndarray) -> None:
    left, scales, right = rotation_scale_rotation(A)
    size = np.abs(A).max() or 1.0
    np.testing.assert_allclose(rotation(left) @ np.diag(scales / size) @ rotation(right), A / size, rtol=0, atol=1e-14)
    np.testing.assert_allclose(np.abs(scales), np.linalg.svd(A, compute_uv=False), rtol=0, atol=1e-14 * size)
    determinant = (A[0, 0] / size) * (A[1, 1] / size) - (A[0, 1] / size) * (A[1, 0] / size)
    if abs(determinant) > 1e-12:
        assert np.sign(scales[1]) == np.sign(determinant)
    circle = np.array([np.cos(t := np.linspace(0, 7, 50)), np.sin(t)])
    lengths = np.linalg.norm((A / size) @ circle, axis=0)
    assert (lengths <= scales[0] / size + 1e-14).all()
    assert (lengths >= abs(scales[1]) / size - 1e-14).all()


def test_maps_of_the_plane_by_hand() -> None:
    left, scales, right = rotation_scale_rotation(rotation(0.5) @ np.diag([3.0, 2.0]) @ rotation(-0.2))
    np.testing.assert_allclose(scales, [3, 2], rtol=1e-14)
    assert np.sin(2 * left) == pytest.approx(np.sin(1.0))  # an angle is determined up to half a turn of both
    assert left + right == pytest.approx(0.3) or abs(left + right - 0.3) == pytest.approx(2 * np.pi)
    assert rotation_scale_rotation(np.diag([1.0, -1.0])).scales[1] == pytest.approx(-1)
    np.testing.assert_array_equal(rotation_scale_rotation(np.zeros((2, 2))).scales, [0, 0])
    with pytest.raises(ValueError, match=r"^A must be \(2, 2\), a map of the plane; got \(3, 2\)"):
        rotation_scale_rotation(gaussian(3, 2))


# Bad input

SQUARE_ONLY = (
    eigen_qr,
    eigen_jacobi,
    tridiagonal,
    lambda A: next(qr_iterates(A, True)),
    lambda A: next(jacobi_sweeps(A)),
)
ANY_SHAPE = (
    *(qr, svd_jacobi, svd_power_seeded, pseudo_inverse, rank, projection, condition_number),
    lambda A: low_rank(A, 0),
    lambda A: next(power_iterates(A, np.random.default_rng(0))),
    lambda A: solve(A, np.ones(2)),
)
anything = pytest.mark.parametrize("method", [*SQUARE_ONLY, *ANY_SHAPE, rotation_scale_rotation])


@anything
def test_bad_matrices(method: Callable[[np.ndarray], object]) -> None:
    for bad in (np.ones(3), np.ones((2, 2, 2)), np.ones((0, 2)), np.ones((2, 0)), np.float64(1)):
        with pytest.raises(ValueError, match=r"^A must be a matrix \(m, n\), with m and n at least 1; got shape \("):
            method(bad)
    for value in (np.nan, np.inf, -np.inf, 1.7e308):
        with pytest.raises(ValueError, match=r"^A must be finite, and its norm too: drop or fill missing values"):
            method(np.array([[1, value], [value, 1]]))
    with pytest.raises(ValueError, match=r"^A must be real"):
        method(np.array([[1, 1j], [-1j, 1]]))


@pytest.mark.parametrize("method", SQUARE_ONLY)
def test_symmetry_is_required(method: Callable[[np.ndarray], object]) -> None:
    with pytest.raises(ValueError, match=r"^A must be square to have eigenvalues; got \(2, 3\): use the SVD$"):
        method(np.ones((2, 3)))
    bad = np.array([[1.0, 2, 3], [2, 1, 4], [3, 4.001, 1]])
    with pytest.raises(
        ValueError,
        match=r"^A must be symmetric, but A\[1, 2\] != A\[2, 1\]: use \(A \+ A.T\) / 2 if that is noise, or else the",
    ):
        method(bad)
    method(np.array([[1.0, 2], [2 * (1 + 1e-15), 1]]))  # rounding errors are no asymmetry


@anything
def test_arguments_are_left_alone(method: Callable[[np.ndarray], object]) -> None:
    A = np.array([[2.0, 1.0], [1.0, -3.0]])
    A.flags.writeable = False
    method(A)
    np.testing.assert_array_equal(A, [[2, 1], [1, -3]])


def test_vectors_that_are_nan_deviate() -> None:
    A = gaussian(4, 4)
    nan, found = np.full((4, 4), np.nan), svd_jacobi(A)
    assert np.isnan(svd_deviation(A, SVD(nan, found.s, nan)))
    S = A + A.T
    assert np.isnan(eigen_deviation(S, Eigen(eigen_qr(S).values, nan)))


@pytest.mark.parametrize(("off", "verdict"), [(1e-6, "not reproduced"), (-1e-6, "not reproduced"), (0, "reproduced")])
def test_equality_is_judged_by_the_worst_seed(off: float, verdict: str) -> None:
    part = {"study": "matrix_decompositions", "part": "perturbations"}
    rows = pd.DataFrame({**part, "seed": range(3), "random": 0.1, "worst": [1, 1 + off, 1]})
    ledger = judge(CLAIMS, rows, "test").set_index("id")
    assert ledger.loc["uml-condition-attained", "verdict"] == verdict

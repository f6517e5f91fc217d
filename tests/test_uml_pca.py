"""PCA three ways and random projections: the theorems on small cases, scikit-learn as the oracle, bad input."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.decomposition import PCA

from papers.understanding_ml.pca import (
    Components,
    by_covariance,
    by_gram,
    by_svd,
    explained,
    largest_angle,
    pca,
    reconstruct,
    reconstruction_error,
    transform,
)
from papers.understanding_ml.random_projection import distortion, distortion_bound, random_projection

Way = Callable[..., Components]
WAYS = (pca, by_covariance, by_svd, by_gram)
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def gaussian(m: int, d: int, seed: int = 0) -> np.ndarray:
    """Examples around a mean that is not 0, with another scale along each feature."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((m, d)) + 1) * np.linspace(1, 3, d)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int, bool]:
    m, d = draw(st.integers(2, 12)), draw(st.integers(1, 12))
    X = gaussian(m, d, draw(st.integers(0, 2**16))) * 10.0 ** draw(st.integers(-6, 6))
    return X, draw(st.integers(1, min(m, d))), draw(st.booleans())


@ways
@pytest.mark.parametrize(("m", "d"), [(50, 6), (6, 50), (9, 9)])
def test_parity_with_scikit_learn(way: Way, m: int, d: int) -> None:
    X, new, n = gaussian(m, d), gaussian(4, d, seed=1), 4
    theirs, ours = PCA(n, svd_solver="full").fit(X), way(X, n, centred=True)
    signs = np.sign(np.sum(ours.U * theirs.components_.T, axis=0))
    np.testing.assert_allclose(ours.U * signs, theirs.components_.T, atol=1e-12)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-13)
    np.testing.assert_allclose(ours.eigenvalues / (m - 1), theirs.explained_variance_, rtol=1e-12)
    np.testing.assert_allclose(explained(ours), theirs.explained_variance_ratio_, rtol=1e-12)
    coordinates = transform(ours, new)
    np.testing.assert_allclose(coordinates * signs, theirs.transform(new), atol=1e-12)
    np.testing.assert_allclose(
        reconstruct(ours, coordinates), theirs.inverse_transform(theirs.transform(new)), rtol=1e-12
    )


@ways
@given(problem=problems())
def test_remark_231_the_error_is_the_sum_of_the_dropped_eigenvalues(
    way: Way, problem: tuple[np.ndarray, int, bool]
) -> None:
    X, n, centred = problem
    found = way(X, n, centred)
    shifted = X - X.mean(axis=0) if centred else X
    eigenvalues = np.linalg.svd(shifted, compute_uv=False) ** 2
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(n), atol=1e-13)
    np.testing.assert_allclose(found.total, np.sum(shifted**2), rtol=1e-12)
    np.testing.assert_allclose(found.eigenvalues, eigenvalues[:n], atol=1e-13 * found.total)
    assert reconstruction_error(found, X) == pytest.approx(eigenvalues[n:].sum(), abs=1e-13 * found.total)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("m", "d"), [(80, 10), (10, 80)])
def test_the_three_ways_find_one_subspace(m: int, d: int, centred: bool) -> None:
    X = gaussian(m, d)
    U = by_svd(X, 5, centred).U
    for other in (by_covariance, by_gram, pca):
        V = other(X, 5, centred).U
        assert largest_angle(U, V) < 1e-12
        np.testing.assert_allclose(U @ U.T, V @ V.T, atol=1e-12)


@given(problem=problems(), size=st.floats(1e-3, 1e3))
def test_theorem_232_no_other_subspace_loses_less(problem: tuple[np.ndarray, int, bool], size: float) -> None:
    X, n, centred = problem
    found = pca(X, n, centred)
    noise = np.random.default_rng(0).standard_normal(found.U.shape)
    other = found._replace(U=np.linalg.qr(found.U + size * noise).Q)
    assert reconstruction_error(other, X) >= reconstruction_error(found, X) - 1e-13 * found.total


def test_uncentred_is_the_default() -> None:
    X = np.array([[5.0, 1.0], [5.0, -1.0]])  # far from 0 along the first axis, spread along the second
    np.testing.assert_allclose(np.abs(pca(X, 1).U[:, 0]), [1, 0], atol=1e-15)
    np.testing.assert_allclose(np.abs(pca(X, 1, centred=True).U[:, 0]), [0, 1], atol=1e-15)
    assert pca(X, 1).eigenvalues[0] == pytest.approx(50)  # A is a sum, not a mean
    assert pca(X, 1, centred=True).eigenvalues[0] == pytest.approx(2)


def test_fig_231_in_the_limit() -> None:
    covariance = np.array([[1, 1], [1, 1.03]]) / 3
    X = np.linalg.cholesky(covariance).T  # X^T X is the covariance
    found = pca(X, 1)
    assert np.degrees(np.arctan(found.U[1, 0] / found.U[0, 0])) == pytest.approx(45.430, abs=5e-4)
    assert found.eigenvalues[0] == pytest.approx(0.67170, abs=5e-6)
    assert found.total - found.eigenvalues[0] == pytest.approx(0.004963, abs=5e-7)
    assert explained(found)[0] == pytest.approx(0.99267, abs=5e-6)


def test_only_the_svd_keeps_components_whose_squares_vanish() -> None:
    X = np.diag([1.0, 1e-10])[[0, 1, 1]] / np.sqrt([[1], [2], [2]]) @ np.array([[0.6, 0.8], [-0.8, 0.6]])
    assert by_svd(X, 2).eigenvalues[1] == pytest.approx(1e-20, rel=1e-4, abs=0)
    assert by_covariance(X, 2).eigenvalues[1] != pytest.approx(1e-20, rel=1e-4, abs=0)


@ways
def test_more_components_than_rank_are_orthonormal_and_lose_nothing(way: Way) -> None:
    X = gaussian(5, 2) @ gaussian(2, 7)  # rank 2
    found = way(X, 5)
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(5), atol=1e-13)
    np.testing.assert_allclose(found.eigenvalues[2:], 0, atol=1e-13 * found.total)
    assert reconstruction_error(found, X) < 1e-26 * found.total


@ways
@pytest.mark.parametrize("value", [0.0, 0.1, -1e100])
@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (1, 4)])
def test_constant_data_has_no_variance(way: Way, value: float, shape: tuple[int, int]) -> None:
    X = np.full(shape, value)
    found = way(X, 1, centred=True)
    assert found.total == 0
    assert found.eigenvalues.tolist() == explained(found).tolist() == [0]
    assert np.linalg.norm(found.U) == pytest.approx(1)
    np.testing.assert_array_equal(reconstruct(found, transform(found, X)), X)


@ways
def test_one_row_is_its_own_component(way: Way) -> None:
    x = np.array([[3.0, 0.0, 4.0]])
    found = way(x, 1)
    np.testing.assert_allclose(np.abs(found.U[:, 0]), [0.6, 0, 0.8], atol=1e-15)
    np.testing.assert_allclose(found.eigenvalues, [25])
    np.testing.assert_allclose(reconstruct(found, transform(found, x)), x, atol=1e-14)


@ways
def test_grey_levels_are_not_squared_as_bytes(way: Way) -> None:
    X = np.random.default_rng(0).integers(0, 256, (9, 4), dtype=np.uint8)
    expected = np.linalg.svd(X.astype(float), compute_uv=False) ** 2
    np.testing.assert_allclose(way(X, 4).eigenvalues, expected, rtol=1e-10)


@ways
def test_arguments_are_left_alone(way: Way) -> None:
    X = gaussian(6, 4)
    before = X.copy()
    X.flags.writeable = False
    found = way(X, 2, centred=True)
    transform(found, X)
    np.testing.assert_array_equal(X, before)


@ways
@pytest.mark.parametrize("n", [-1, 0, 4])
def test_impossible_number_of_components(way: Way, n: int) -> None:
    for X in (np.ones((3, 8)), np.ones((8, 3))):
        with pytest.raises(ValueError, match=rf"^n={n}: must be from 1 to min\(m, d\) = 3$"):
            way(X, n)


@ways
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_not_finite_or_too_large_to_be_squared(way: Way, centred: bool, value: float) -> None:
    X = np.ones((5, 3))
    X[2, 1] = value
    with pytest.raises(ValueError, match="X must be finite, also squared"):
        way(X, 1, centred)
    with pytest.raises(ValueError, match="X must be finite, also squared"):
        transform(pca(np.ones((5, 3)), 1), X)


@ways
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4), (0, 3), (3, 0)])
def test_data_of_another_shape(way: Way, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^X must be \(m, d\), with m and d at least 1; got"):
        way(np.ones(shape), 1)


def test_mismatched_shapes() -> None:
    found = pca(gaussian(6, 4), 2)
    for X in (np.ones((3, 5)), np.ones(4)):
        with pytest.raises(ValueError, match=r"^X must be \(m, d\) with d = 4 as when fitted; got"):
            transform(found, X)
        with pytest.raises(ValueError, match="d = 4"):
            reconstruction_error(found, X)
    for Z in (np.ones((3, 4)), np.ones(2)):
        with pytest.raises(ValueError, match=r"^Z must be \(m, n\) with n = 2 as when fitted; got"):
            reconstruct(found, Z)
    with pytest.raises(ValueError, match=r"the two bases must both be \(d, n\); got \(4, 2\) and \(4, 1\)"):
        largest_angle(found.U, found.U[:, :1])


@pytest.mark.parametrize("angle", [0.0, 1e-11, 0.3, np.pi / 2])
def test_largest_angle(angle: float) -> None:
    U = np.eye(5)[:, :2]
    W = np.array([[1, 0], [0, np.cos(angle)], [0, 0], [0, np.sin(angle)], [0, 0]])
    turn = np.linalg.qr(gaussian(2, 2)).Q  # another basis of the same subspace
    assert largest_angle(U, W @ turn) == pytest.approx(angle, abs=1e-15, rel=1e-7)


def test_lemma_234_holds_for_small_eps() -> None:
    rng, n, d, delta = np.random.default_rng(0), 60, 30, 0.2
    Q = rng.standard_normal((10, d))
    eps = distortion_bound(len(Q), n, delta)
    assert eps < 0.787
    worst = [distortion(random_projection(n, d, rng), Q).max() for _ in range(300)]
    assert 0 < np.mean(np.array(worst) > eps / 3) < 1  # the bound is of the right order
    assert np.mean(np.array(worst) > eps) <= delta


def test_a_projected_length_is_chi_squared() -> None:
    rng, n, x = np.random.default_rng(0), 5, np.array([[3.0, -4.0, 12.0]])
    sample = np.array([distortion(random_projection(n, 3, rng), x)[0] for _ in range(20_000)])
    for eps in (0.2, 0.5, 0.9, 1.5):
        exact = chi2.sf(n * (1 + eps), n) + chi2.cdf(n * (1 - eps), n)
        assert np.mean(sample > eps) == pytest.approx(exact, abs=4 * np.sqrt(exact / len(sample)))


def test_the_constant_of_lemma_234_needs_small_eps() -> None:
    """Independent lengths, those of orthogonal vectors, are distorted too much more often than delta."""
    eps = distortion_bound(1_000, 10, 0.001)
    assert 2.9 < eps < 3
    assert 1 - chi2.cdf(10 * (1 + eps), 10) ** 1_000 == pytest.approx(0.0205, abs=1e-4)


def test_distortion() -> None:
    W = np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    np.testing.assert_allclose(distortion(W, np.array([[5.0, 0, 0], [0, 5, 0], [0, 0, 5], [1, 1, 0]])), [0, 3, 1, 1.5])
    grey = np.random.default_rng(0).integers(1, 256, (9, 4), dtype=np.uint8)
    np.testing.assert_array_equal(distortion(np.eye(4), grey), np.zeros(9))
    assert distortion_bound(100, 300, 0.1) == pytest.approx(np.sqrt(6 * np.log(2000) / 300))


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_length(bad: float) -> None:
    with pytest.raises(ValueError, match="every vector of Q must be finite and not 0"):
        distortion(np.ones((2, 3)), np.array([[1.0, 1.0, 1.0], [bad, 0.0, 0.0]]))


@pytest.mark.parametrize(("W", "Q"), [((2, 3), (4, 2)), ((3,), (4, 3)), ((2, 3), (3,))])
def test_projection_of_another_shape(W: tuple[int, ...], Q: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"W must be \(n, d\) and Q"):
        distortion(np.ones(W), np.ones(Q))


@pytest.mark.parametrize(
    ("vectors", "n", "delta"), [(0, 5, 0.1), (5, 0, 0.1), (5, 5, 0.0), (5, 5, 1.0), (5, 5, np.nan)]
)
def test_impossible_bound(vectors: int, n: int, delta: float) -> None:
    with pytest.raises(ValueError, match=f"^vectors={vectors}, n={n}, delta={delta}: need"):
        distortion_bound(vectors, n, delta)


@pytest.mark.parametrize(("n", "d"), [(0, 3), (3, 0)])
def test_impossible_projection(n: int, d: int) -> None:
    with pytest.raises(ValueError, match=f"n={n}, d={d}: both must be at least 1"):
        random_projection(n, d, np.random.default_rng(0))

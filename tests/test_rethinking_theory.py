"""Section 5, theorem 1 and the bounds: against brute force, scikit-learn and torch; what is refused; runs repeat."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from papers.rethinking_generalization import (
    bounds,
    filters,
    kernels,
    section5,
    section5_claims,
    section5_figure,
    theorem1,
    training,
)
from papers.rethinking_generalization.model import mlp
from shared import machine, plot, threads, tree
from shared.claims import judge
from shared.errors import BadRequest, RunError, Stopped
from shared.experiment import Board, Job, Run, Setting
from shared.files import write_files

CFG = SimpleNamespace(
    data="digits",
    seeds=[0, 1],
    model="mlp1x64",
    corruption=[0.5],
    images=100,
    iterations=300,
    convolutional_images=100,
    convolutional_iterations=300,
    convolutional_random_iterations=300,
    batch_size=50,
    learning_rate=0.05,
    inception_learning_rate=0.1,
    decay=1.0,
    decay_every=10,
    evaluate_every=50,
    weight_decay=0.0,
    kernel_data="digits",
    kernel_sizes=[20, 40, 60, 80],
    filters=8,
    colour_sizes=[],
    colour_filters=8,
    bandwidth_size=60,
    theorem_sizes=[5, 50],
)


def cfg(**changed: Any) -> SimpleNamespace:
    return SimpleNamespace(**vars(CFG) | changed)


def a_run(job: Job, folder: Path, board: Board | None = None) -> Run:
    named_by = ("stage", "study", "model", "condition", "p", "n", "filters", "seed")
    run = Run(job, Setting(folder=folder, label="test", named_by=named_by, code=""), board, cell=1)
    run.folder.mkdir(parents=True, exist_ok=True)
    return run


def done(job: Job, folder: Path) -> list[dict[str, Any]]:
    """The rows of a job of either kind, with its last checkpoint and its rows written as the engine does."""
    run = a_run(job, folder)
    (section5.run if job["stage"] == "section5" else training.train)(job, run)
    run.save()
    write_files({run.folder / "rows.json": json.dumps({"rows": run.rows}).encode()})
    return [job | row for row in run.rows]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As many small matrices are multiplied here, a second thread would mostly wait for the first."""
    with threads.use(1):
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Figure 1's trainings and every study, tiny."""
    folder = tmp_path_factory.mktemp("studies")
    jobs = [job for seed in CFG.seeds for job in training.figure_1(CFG, seed)] + section5.jobs(CFG)
    return pd.DataFrame([row for job in jobs for row in done(job, folder)])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK", 7)


def gaussian(n: int, seed: int = 0, dtype: type = float) -> tuple[np.ndarray, np.ndarray]:
    """(K (n, n), values Y (n, 3)) of random points."""
    rng = np.random.default_rng(seed)
    K = np.tril(rbf_kernel(rng.standard_normal((n, 4)), gamma=0.5)).astype(dtype)
    return np.maximum(K, K.T), rng.standard_normal((n, 3))


# Kernels


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("n", [1, 6, 7, 8, 30])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_factor_in_place_is_numpys_and_leaves_the_upper_triangle(n: int, ridge: float) -> None:
    K, y = gaussian(n)
    factored, whole = K.copy(), K + ridge * np.eye(n)
    assert list(kernels.cholesky_in_place(factored, ridge))[-1] == n
    np.testing.assert_allclose(np.tril(factored), np.linalg.cholesky(whole), atol=1e-8)
    np.testing.assert_array_equal(np.triu(factored, 1), np.triu(K, 1))
    np.testing.assert_allclose(whole @ kernels.substitute(factored, y), y, atol=1e-8)
    np.testing.assert_allclose(kernels.product(factored, y), K @ y, rtol=1e-10, atol=1e-12)
    kernels.restore(factored)
    np.testing.assert_array_equal(factored, K)


def test_nothing_of_the_matrixs_size_is_made_on_the_way() -> None:
    n, block = 1_200, kernels.BLOCK
    x = np.random.default_rng(0).standard_normal((n, 30)).astype(np.float32)
    K = np.zeros((n, n), np.float32)
    tracemalloc.start()
    try:
        kernels.BLOCK = 60
        kernels.add_products(K, x)
        kernels.mirror(K)
        squares = K.diagonal().copy()
        kernels.exponentiate(K, 0.05, squares, squares)
        for _ in kernels.cholesky_in_place(K, 1e-3):
            pass
        kernels.refined(K, 0.0, np.ones((n, 1)), 0, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        kernels.BLOCK = block
    assert peak < K.nbytes / 3


@pytest.mark.usefixtures("small_blocks")
def test_the_kernel_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.random((30, 12)), rng.random((17, 12))
    K, C = np.zeros((30, 30)), np.zeros((17, 30))
    for columns in (slice(0, 5), slice(5, 12)):
        kernels.add_products(K, x[:, columns])
        kernels.add_products(C, x[:, columns], z[:, columns])
    kernels.mirror(K)
    np.testing.assert_allclose(K, x @ x.T)
    brute = ((x[:, None] - x) ** 2).sum(-1).mean()
    assert np.isclose(kernels.mean_squared_distance(K), brute)
    squares, squares_z = K.diagonal().copy(), (z**2).sum(1)
    kernels.exponentiate(K, 0.7, squares, squares)
    kernels.exponentiate(C, 0.7, squares, squares_z)
    np.testing.assert_allclose(K, rbf_kernel(x, gamma=0.7))
    np.testing.assert_allclose(C, rbf_kernel(z, x, gamma=0.7))


@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_refinement_takes_the_jitter_of_a_float32_factor_out(ridge: float) -> None:
    K, y = gaussian(200, dtype=np.float32)
    exact = np.linalg.solve(K.astype(float) + ridge * np.eye(200), y)
    jitter = ridge or 10 * np.linalg.eigvalsh(K.astype(float))[0]
    for _ in kernels.cholesky_in_place(K, jitter):
        pass
    once, often = (abs(kernels.refined(K, ridge, y, 0, passes).alpha - exact).max() for passes in (1, 200))
    assert often < 1e-6 * abs(exact).max()
    assert once > 100 * often


def test_refinement_goes_on_until_the_residual_is_small_or_the_passes_are_used_up() -> None:
    K, y = gaussian(200, dtype=np.float32)
    for _ in kernels.cholesky_in_place(K, 10 * np.linalg.eigvalsh(K.astype(float))[0]):
        pass
    enough, few = (kernels.refined(K, 0.0, y, 1e-8, most) for most in (500, 4))
    assert abs(enough.fitted - y).max() <= 1e-8 * abs(y).max()
    assert 4 < enough.passes < 500
    assert few.passes == 4
    assert abs(few.fitted - y).max() > 1e-6
    before = kernels.refined(K, 0.0, y, 0, enough.passes - 1).fitted
    assert abs(before - y).max() > 1e-8 * abs(y).max()


def test_points_that_are_equal_are_refused_in_one_line() -> None:
    K = np.ones((3, 3))
    with pytest.raises(
        RunError, match=r"K \+ 0 I is not positive definite in float64, columns 0 to 3 of 3: points are"
    ):
        list(kernels.cholesky_in_place(K, 0))


@pytest.mark.parametrize("seed", range(5))
def test_no_other_interpolant_of_the_space_has_a_smaller_norm(seed: int) -> None:
    """Functions with more centres that take the same values at the points: the norm is that of both together."""
    rng = np.random.default_rng(seed)
    x, more, y = rng.standard_normal((20, 3)), rng.standard_normal((10, 3)), rng.standard_normal(20)
    K = rbf_kernel(x, gamma=0.5)
    factored = K.copy()
    list(kernels.cholesky_in_place(factored, 0))
    alpha = kernels.refined(factored, 0, y[:, None], 0, 3).alpha[:, 0]
    np.testing.assert_allclose(K @ alpha, y, atol=1e-8)
    everything = rbf_kernel(np.vstack([x, more]), gamma=0.5)
    beta = rng.standard_normal(10)  # weights of the new centres; those of the old ones follow
    coefficients = np.concatenate([np.linalg.solve(K, y - everything[:20, 20:] @ beta), beta])
    np.testing.assert_allclose((everything @ coefficients)[:20], y, atol=1e-8)
    assert alpha @ K @ alpha < coefficients @ everything @ coefficients


@pytest.mark.parametrize(
    ("changed", "arithmetic"),
    [
        ({"kernel_sizes": [100, 60_000]}, "4 bytes = 16.8 GB, data and blocks 0.5 GB"),
        ({"bandwidth_size": 60_000}, "8 bytes = 33.6 GB, data and blocks 0.9 GB"),
        ({"theorem_sizes": [60_000]}, "8 bytes = 33.6 GB, data and blocks 0.9 GB"),
    ],
)
def test_more_than_the_memory_takes_is_refused_with_the_arithmetic(
    changed: dict[str, Any], arithmetic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 10 * 10**9)
    jobs = section5.jobs(cfg(**{"kernel_data": "mnist"} | changed))
    job = next(job for job in jobs if job.get("n") == 60_000)
    tracemalloc.start()
    with pytest.raises(BadRequest) as refused:
        section5.check_memory(job)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()
    text, _, n = str(refused.value).rpartition(" ")
    assert text == (
        f"n=60000: the matrices take 60000 x (60000 + 10000 test points) x {arithmetic}, and 10.0 GB of memory are "
        "free. The largest n that fits:"
    )
    assert 20_000 < int(n.rstrip(".")) < 60_000


def test_a_job_looks_again_at_the_memory_before_it_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 1)
    for study in ("interpolation", "bandwidth", "theorem1"):
        with pytest.raises(BadRequest, match="The largest n that fits: 0"):
            section5.run(next(jobs_of(study)), a_run(next(jobs_of(study)), tmp_path))


@given(
    st.integers(10**6, 10**12), st.integers(0, 10_000), st.integers(1, 40_000), st.sampled_from(["float32", "float64"])
)
def test_the_largest_n_fits_and_the_next_ones_do_not(free: int, m: int, point: int, dtype: str) -> None:
    n = kernels.largest(m, point, dtype, free)
    assert n == 0 or sum(kernels.bytes_needed(n, m, point, dtype)) <= free
    assert sum(kernels.bytes_needed(n + 2, m, point, dtype)) > free


def test_large_jobs_are_those_of_more_than_a_gigabyte() -> None:
    jobs = section5.jobs(cfg(kernel_data="mnist", kernel_sizes=[5_000, 10_000], filters=1024, bandwidth_size=10_000))
    found = {(job["study"], job.get("n"), job.get("filters")) for job in jobs if section5.large(job)}
    assert found == {
        ("interpolation", 5_000, 1024),
        *(("interpolation", 10_000, count) for count in (0, 1024)),
        ("bandwidth", 10_000, None),
    }


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("kernel_sizes", [100, 2_000], "kernel_sizes=.100, 2000.: must be at most the 1500 training images of digits"),
        ("theorem_sizes", [1_501], "theorem_sizes=.1501.: must be at most the 1500"),
        ("bandwidth_size", 1_501, "bandwidth_size=1501: must be at most the 1500"),
        ("colour_sizes", [50_001], "colour_sizes=.50001.: must be at most the 50000 training images of cifar10"),
    ],
)
def test_more_points_than_there_are_is_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=f"^{message}"):
        section5.check(cfg(**{option: value}))


def test_free_memory_is_no_more_than_the_machine_has() -> None:
    assert 0 < machine.free_memory() < 2**50


def interpolations(**changed: Any) -> list[Job]:
    return [job for job in section5.jobs(cfg(**changed)) if job["study"] == "interpolation"]


def test_random_filters_are_drawn_for_every_seed() -> None:
    found = interpolations(kernel_sizes=[1_500], colour_sizes=[20], colour_filters=32_000)
    assert [(job["data"], job["filters"], job["seed"]) for job in found] == [
        *(("digits", count, seed) for count, seed in ((0, 0), (8, 0), (8, 1))),
        *(("cifar10", count, seed) for count in (0, 32_000) for seed in (0, 1)),
    ]


def test_bounds_look_at_no_training_that_diverged() -> None:
    first, *others = (job for seed in CFG.seeds for job in training.figure_1(CFG, seed))
    found = [job for job in section5.jobs(CFG, without=[first]) if job["study"] == "bounds"]
    assert [section5.training_of(job) for job in found] == others


def test_jobs_are_float32_and_without_filters_when_large_and_the_whole_set_is_done_once() -> None:
    found = interpolations(kernel_data="mnist", kernel_sizes=[1_000, 20_000, 60_000])
    assert [(job["n"], job["filters"], job["dtype"], job["seed"]) for job in found] == [
        (60_000, 0, "float32", 0),
        *((20_000, count, "float64", seed) for count in (0, 8) for seed in (0, 1)),
        *((1_000, count, "float64", seed) for count in (0, 8) for seed in (0, 1)),
    ]


def test_what_bw_amounts_to_in_each_reading() -> None:
    rng = np.random.default_rng(0)
    bw, x, z = 0.02, rng.integers(0, 256, 784), rng.integers(0, 256, 784)
    near = x.copy()
    near[:3] = z[:3]
    for a, b in ((x, z), (x, near)):
        d = np.linalg.norm(a / 255 - b / 255)
        logarithms = {
            "exp(-bw d²)": -bw * d**2,
            "exp(-d²/bw)": -(d**2) / bw,
            "exp(-d²/2bw²)": -(d**2) / (2 * bw**2),
            "exp(-bw d²), pixels to 255": -bw * np.linalg.norm(a - b) ** 2,
        }
        for reading, value in logarithms.items():
            assert np.isclose(-section5.READINGS[reading] * d**2, value)


# Filters


def test_patches_are_normalised_windows() -> None:
    x = np.random.default_rng(0).random((2, 5, 6, 3))
    found = filters.patches(x, 3)
    assert found.shape == (2, 3, 4, 27)
    window = x[1, 2:5, 1:4].transpose(2, 0, 1).ravel()
    expected = (window - window.mean()) / np.sqrt(window.var() + filters.REGULARISER)
    np.testing.assert_allclose(found[1, 2, 1], expected)


def test_whitening_equalises_what_is_well_above_the_regulariser() -> None:
    x = np.random.default_rng(0).random((300, 8, 8, 1))
    _, Z = filters.whitening(x, 3, np.random.default_rng(1))
    covariance = np.cov(filters.patches(x, 3).reshape(-1, 9).T)
    values = np.linalg.eigvalsh(covariance)
    expected = values / (values + filters.WHITENING)
    np.testing.assert_allclose(np.linalg.eigvalsh(Z @ covariance @ Z), expected, atol=1e-9)


@pytest.mark.parametrize("scalars", [1, 1 << 22])
def test_responses_are_torchs(scalars: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "SCALARS", scalars)
    rng = np.random.default_rng(0)
    x, mean, W = rng.random((3, 7, 8, 2)), rng.standard_normal(18), rng.standard_normal((18, 4))
    p = torch.tensor(filters.patches(x, 3))
    r = (p - torch.tensor(mean)) @ torch.tensor(W)
    signs = [torch.nn.functional.softshrink(r, filters.THRESHOLD).clamp(min=0)]
    signs.append(-torch.nn.functional.softshrink(r, filters.THRESHOLD).clamp(max=0))
    quarters = [s[:, a, b].sum((1, 2)) for s in signs for a in (slice(2), slice(2, 5)) for b in (slice(3), slice(3, 6))]
    expected = torch.stack(quarters, 1).reshape(3, -1)
    found = filters.responses(x, 3, mean, W)
    assert found.shape == (3, filters.ANSWERS * 4)
    np.testing.assert_allclose(found, expected.numpy())


def test_float32_answers_give_the_kernel_of_float64_ones() -> None:
    job = interpolations(seeds=[0], kernel_sizes=[80], filters=40)[1]
    p = section5.points("digits", 80, "float64", 0)
    products = {}
    for dtype in (np.float32, float):
        K = np.zeros((80, 80))
        for x, _ in section5.pieces(job, p._replace(x=p.x.astype(dtype), z=p.z.astype(dtype))):
            assert x.dtype == dtype
            kernels.add_products(K, x)
        kernels.mirror(K)
        products[dtype] = K
    np.testing.assert_allclose(products[np.float32], products[float], rtol=2e-5)


def test_answers_do_not_depend_on_the_threads() -> None:
    rng = np.random.default_rng(0)
    x, mean, W = rng.random((7, 8, 8, 1)), rng.standard_normal(9), rng.standard_normal((9, 4))
    with threads.use(3):
        spread = filters.responses(x, 3, mean, W)
    np.testing.assert_allclose(spread, filters.responses(x, 3, mean, W), rtol=1e-12)


def test_features_come_in_pieces_of_unit_deviation() -> None:
    rng = np.random.default_rng(0)
    x, z = rng.random((40, 8, 8, 1)), rng.random((5, 8, 8, 1))
    found = list(filters.features(x, z, 3, 5, 2, np.random.default_rng(1)))
    assert [(a.shape, b.shape) for a, b in found] == [((40, k), (5, k)) for k in (16, 16, 8)]
    for a, _ in found:
        deviations = a.std(0)
        np.testing.assert_allclose(deviations[deviations > 0], 1)


# SGD and theorem 1


def test_sgd_from_zero_ends_at_the_pseudoinverses_solution(rows: pd.DataFrame) -> None:
    end = section5_claims.own(rows, "sgd", part="end")
    assert (end["relative_error"] < 1e-6).all()
    assert (end["residual"] < 1e-6).all()
    assert (end[["norm_from_elsewhere", "norm_sparse"]].min(axis=1) > end["norm"]).all()
    curve = section5_claims.own(rows, "sgd", part="curve")
    assert (curve.groupby("seed")[["from_zero", "from_elsewhere"]].last() < 1e-6).all(axis=None)


@given(st.integers(1, 60), st.integers(1, 10), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_2n_plus_d_weights_fit_any_labels(n: int, d: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, d)), size * rng.standard_normal(n)
    net = theorem1.memorise(x, y, rng)
    assert net.weights == 2 * n + d
    assert abs(net(x) - y).max() < 1e-6 * max(1, size)
    z = np.sort(x @ net.a)
    assert (net.b < z).all()
    assert (net.b[1:] > z[:-1]).all()
    A = theorem1.hidden(z, net.b)
    assert (np.triu(A, 1) == 0).all()
    assert (np.diag(A) > 0).all()


@pytest.mark.parametrize("n", [1_000, 2_000])
def test_2n_plus_d_weights_fit_many_labels(n: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n, 20)), rng.standard_normal(n)
    assert abs(theorem1.memorise(x, y, rng)(x) - y).max() < 1e-6


def test_equal_points_cannot_be_told_apart() -> None:
    x = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="3 points must all be different"):
        theorem1.memorise(x, np.arange(3.0), np.random.default_rng(0))
    with pytest.raises(ValueError, match="memorise: needs at least one point"):
        theorem1.memorise(x[:0], np.zeros(0), np.random.default_rng(0))
    close = np.array([[1e8, 0.0], [1e8, 1e-9]])
    with pytest.raises(ValueError, match="points are too close: two projections are equal in float64"):
        theorem1.memorise(close, np.arange(2.0), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.eye(2), np.zeros(3), r"needs x \(n, d\) and y \(n,\), got \(2, 2\) and \(3,\)"),
        (np.eye(2), np.zeros((2, 1)), r"got \(2, 2\) and \(2, 1\)"),
        (np.arange(2.0), np.zeros(2), r"got \(2,\) and \(2,\)"),
        (np.array([[1.0], [np.nan]]), np.zeros(2), "points and values must be finite"),
        (np.eye(2), np.array([0, np.inf]), "points and values must be finite"),
    ],
)
def test_what_no_network_can_take_is_refused(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        theorem1.memorise(x, y, np.random.default_rng(0))


def test_forward_substitution_is_numpys_solution() -> None:
    rng = np.random.default_rng(0)
    A, y = np.tril(rng.standard_normal((9, 9))) + 3 * np.eye(9), rng.standard_normal(9)
    np.testing.assert_allclose(theorem1.forward_substitution(A, y), np.linalg.solve(A, y))


# Bounds


def biased_mlp(seed: int = 0) -> tuple[Any, tree.Tree]:
    rng = np.random.default_rng(seed)
    net = mlp((2, 3, 1), 2, 5, 4)
    return net, tree.map(lambda leaf: leaf + rng.standard_normal(leaf.shape), tree.astype(net.init(rng), float))


def test_the_network_without_biases_is_the_same_function() -> None:
    net, p = biased_mlp()
    x = np.random.default_rng(1).standard_normal((10, 2, 3, 1))
    matrices = bounds.augmented(p)
    assert [A.shape for A in matrices] == [(7, 6), (6, 6), (6, 4)]
    h = np.hstack([x.reshape(10, 6), np.ones((10, 1))])
    for A in matrices[:-1]:
        h = np.maximum(h @ A, 0)
    np.testing.assert_allclose(h @ matrices[-1], net(p, x)[0])


def test_margins() -> None:
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(bounds.margins(logits, np.array([1, 2, 0])), [1, -1, 0])


@pytest.mark.parametrize(("accuracy", "classes", "estimate"), [(0.1, 10, 0), (1, 10, 1), (0.5, 2, 0), (0.75, 2, 0.5)])
def test_rademacher_estimate(accuracy: float, classes: int, estimate: float) -> None:
    assert np.isclose(bounds.rademacher_estimate(accuracy, classes), estimate)


def test_of_two_classes_it_is_the_mean_of_sign_times_answer() -> None:
    rng = np.random.default_rng(0)
    sigma, h = (rng.choice([-1, 1], 1_000) for _ in range(2))
    assert np.isclose(bounds.rademacher_estimate(float((sigma == h).mean()), 2), (sigma * h).mean())


def test_the_frobenius_bound_of_a_linear_class_is_above_its_rademacher_complexity() -> None:
    """sup over |w| <= B of (1/n) sum_i sigma_i <w, x_i> is B |sum_i sigma_i x_i| / n."""
    rng = np.random.default_rng(0)
    x, A = rng.standard_normal((50, 6)), rng.standard_normal((6, 3))
    B = np.linalg.norm(A, axis=0).max()
    exact = np.mean([B * np.linalg.norm(rng.choice([-1, 1], 50) @ x) / 50 for _ in range(2_000)])
    squares = float((x**2).sum())
    complexity = (bounds.frobenius_bound([A], squares, 50, gamma=0.5) - bounds.confidence(50)) / (4 * 3 / 0.5)
    assert exact < complexity < 1.1 * exact
    assert np.isclose(complexity, B * np.sqrt(squares) / 50)


def test_bounds_do_not_change_when_layers_trade_their_scales() -> None:
    rng = np.random.default_rng(0)
    A, B, C = rng.standard_normal((4, 5)), rng.standard_normal((5, 6)), rng.standard_normal((6, 3))
    for scaled in ([A, B, C], [3 * A, B / 6, 2 * C]):
        zeros = [np.zeros_like(M) for M in scaled]
        frobenius, spectral = (
            bounds.frobenius_bound(scaled, 7, 100, 0.3),
            bounds.spectral_bound(scaled, zeros, 7, 100, 0.3),
        )
        if scaled[0] is A:
            first = frobenius, spectral
    assert np.allclose(first, (frobenius, spectral))


def test_the_spectral_bound_of_one_layer_by_hand() -> None:
    A = np.diag([3.0, 4.0])  # |A|_2 = 4, columns 3 + 4 = 7
    root = 2 / 0.5 * np.sqrt(10 * np.log(2 * 2**2)) * 7
    by_hand = 2 * (4 / 100**1.5 + 18 * np.log(100) * root / 100) + 3 * np.sqrt(np.log(40) / 200)
    assert np.isclose(bounds.spectral_bound([A], [np.zeros((2, 2))], 10, 100, 0.5), by_hand)
    nearer = bounds.spectral_bound([A], [np.diag([3.0, 3.0])], 10, 100, 0.5)
    rest = 8 / 100**1.5 + bounds.confidence(100)
    assert np.isclose((nearer - rest) / (by_hand - rest), 1 / 7)


def test_the_parameter_bound_counts_bits() -> None:
    bits = 32 * 1_000
    assert np.isclose(bounds.parameter_bound(1_000, 500), np.sqrt((np.log(2) * bits + np.log(40)) / 1_000))


def test_the_gap_is_that_of_labels_corrupted_alike(rows: pd.DataFrame) -> None:
    found = section5_claims.own(rows, "bounds").set_index("condition")
    assert set(found.index) == {"labels", "shuffled-pixels", "random-pixels", "gaussian"}
    half = found[found["p"] == 0.5].iloc[0]
    assert np.isclose(half["gap"], half["train_accuracy"] / 100 - (0.5 * half["test_accuracy"] / 100 + 0.05))
    random = found[found["p"] == 1]
    np.testing.assert_allclose(random["gap"], random["train_accuracy"] / 100 - 0.1)
    np.testing.assert_allclose(random["rademacher"], (random["train_accuracy"] / 10 - 1) / 9)
    ends = rows[(rows["stage"] == "train") & (rows["part"] == "end")]
    np.testing.assert_array_equal(found["train_accuracy"], ends["train_accuracy"])


# Runs, claims, figures


def jobs_of(study: str) -> Iterator[Job]:
    return (job for job in section5.jobs(CFG) if job["study"] == study)


def test_interpolation_is_what_scikit_learn_finds(rows: pd.DataFrame) -> None:
    found = section5_claims.own(rows, "interpolation", filters=0, n=80, seed=0)
    p = section5.points("digits", 80, "float64", 0)
    x, z = p.x.reshape(80, -1), p.z.reshape(len(p.z), -1)
    gamma = section5.SPREAD / ((x[:, None] - x) ** 2).sum(-1).mean()
    for row in found.to_dict("records"):
        K, Y = rbf_kernel(x, gamma=gamma), np.eye(10)[p.y]
        alpha = np.linalg.solve(K + row["ridge"] * np.eye(80), Y)
        assert row["gamma"] == pytest.approx(gamma)
        assert row["norm"] == pytest.approx(np.sqrt(np.trace(alpha.T @ K @ alpha)))
        answers = (rbf_kernel(z, x, gamma=gamma) @ alpha).argmax(1)
        assert row["test_error"] == pytest.approx(100 * (answers != p.y_test).mean())
        assert row["train_error"] == pytest.approx(100 * ((K @ alpha).argmax(1) != p.y).mean())


def test_on_mnists_pixels_the_width_is_the_readmes(monkeypatch: pytest.MonkeyPatch) -> None:
    p = section5.points("digits", 30, "float64", 0)
    monkeypatch.setattr(section5, "points", lambda *arguments: p)
    (job,) = (job for job in section5.jobs(cfg(seeds=[0], kernel_sizes=[30])) if job.get("filters") == 0)
    rows = [row for row in section5.turns_of(job | {"data": "mnist"}, section5.RIDGES) if row]
    assert {row["gamma"] for row in rows} == {0.02}


@pytest.mark.parametrize("study", ["interpolation", "bandwidth", "sgd"])
def test_a_stopped_run_ends_with_the_same_rows(study: str, tmp_path: Path) -> None:
    job = next(jobs_of(study))
    straight = a_run(job, tmp_path / "straight")
    section5.run(job, straight)
    cells = tmp_path / "board"
    cells.write_bytes(bytes(16))
    board = Board(cells)
    board.stop = 15
    with pytest.raises(Stopped):
        section5.run(job, a_run(job, tmp_path / "stopped", board))
    board.stop = 0
    resumed = a_run(job, tmp_path / "stopped", board)
    section5.run(job, resumed)
    assert resumed.rows == straight.rows
    assert len(straight.rows) > 1


@pytest.mark.usefixtures("small_blocks")
def test_a_killed_interpolation_keeps_the_ridges_that_it_solved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job, factored = interpolations(seeds=[0])[1], []
    straight = a_run(job, tmp_path / "straight")
    section5.run(job, straight)
    cells = tmp_path / "board"
    cells.write_bytes(bytes(16))

    def cholesky(K: np.ndarray, ridge: float) -> Iterator[int]:
        if len(factored) == 3:
            raise KeyboardInterrupt  # the kill, as far as checkpoints go
        factored.append(ridge)
        yield from of_kernels(K, ridge)

    of_kernels = kernels.cholesky_in_place
    monkeypatch.setattr(kernels, "cholesky_in_place", cholesky)
    with pytest.raises(KeyboardInterrupt):
        section5.run(job, a_run(job, tmp_path / "killed", Board(cells)))
    resumed = a_run(job, tmp_path / "killed", Board(cells))
    monkeypatch.setattr(
        kernels, "cholesky_in_place", lambda K, ridge: (factored.append(ridge), of_kernels(K, ridge))[1]
    )
    section5.run(job, resumed)
    assert resumed.rows == straight.rows
    assert resumed.step == job["steps"]
    assert len(factored) == len(section5.RIDGES)
    assert "3 of 5 ridges are done; the kernel is computed again" in capsys.readouterr().err


def test_same_seed_same_rows_and_another_seed_others(tmp_path: Path) -> None:
    first, again = (done(next(jobs_of("interpolation")), tmp_path / name) for name in ("a", "b"))
    other = done(next(jobs_of("interpolation")) | {"seed": 9}, tmp_path)
    assert first == again
    assert [row["norm"] for row in first] != [row["norm"] for row in other]


def test_every_claim_of_the_embedded_data_has_something_to_measure(rows: pd.DataFrame) -> None:
    ledger = judge(section5_claims.CLAIMS, rows, "digits").set_index("id")
    untested = ledger.index[ledger["verdict"] == "not tested at this scale"]
    assert set(untested) == {name for name in ledger.index if name.startswith(("rethinking-mnist", "rethinking-cifar"))}
    tested = ledger.drop(index=untested)
    assert (tested["n"] == 2).all()
    assert tested["measured"].notna().all()


def test_rows_of_other_stages_alone_measure_nothing(rows: pd.DataFrame) -> None:
    ledger = judge(section5_claims.CLAIMS, rows[rows["stage"] == "train"], "digits")
    assert (ledger["n"] == 0).all()
    alone = rows[rows["stage"] == "train"].dropna(axis=1, how="all")
    assert (judge(section5_claims.CLAIMS, alone, "digits")["n"] == 0).all()


def test_claims_read_the_rows_that_they_name(rows: pd.DataFrame) -> None:
    """Rows whose numbers are made up: what each claim then measures follows by hand."""
    rows = rows.copy()
    pixels = (rows["study"] == "interpolation") & (rows["filters"] == 0)
    answers = (rows["study"] == "interpolation") & (rows["filters"] > 0)
    rows.loc[pixels, "test_error"] = 1000 / rows["n"] - (rows["ridge"] == 0.1) * 2
    rows.loc[pixels, "norm"] = np.sqrt(rows["n"])
    rows.loc[answers, "test_error"] = 500 / rows["n"]
    rows.loc[answers, "norm"] = 2 * np.sqrt(rows["n"])
    rows.loc[pixels, ["train_error", "residual"]] = 0.5, 0.25
    widths = rows["study"] == "bandwidth"
    rows.loc[widths, "test_error"] = 5 + rows["spread"].rank()
    rows.loc[widths & (rows["spread"] == 1), ["test_error", "norm"]] = 3.0, 1e9
    rows.loc[widths & (rows["spread"] == 5), ["test_error", "norm"]] = 7.0, 1e-9
    rows.loc[rows["reading"] == "exp(-bw d²)", "test_error"] = 3.5
    rows.loc[rows["reading"] == "exp(-d²/2bw²)", "test_error"] = 66.0
    rows.loc[rows["reading"] == "exp(-bw d²), pixels to 255", "test_error"] = 77.0
    nets = rows["study"] == "bounds"
    rows.loc[nets, "gap"] = 0.1
    rows.loc[nets, ["parameter_bound", "frobenius", "spectral", "spectral_from_start"]] = [4.0, 5.0, 6.0, 7.0]
    rows.loc[nets & (rows["p"] == 1), ["frobenius", "spectral", "spectral_from_start"]] = [50.0, 120.0, 3.5]
    ledger = judge(section5_claims.CLAIMS, rows, "digits").set_index("id")
    expected = {
        "kernel-interpolates": 0.5,
        "kernel-residual": 0.25,
        "kernel-falls": -1,
        "kernel-ridge": 2 - 100 / 297,
        "norm-preprocessing": 2,
        "norm-n": 1,
        "norm-bandwidth": 4,
        "bw-gamma": 0.5,
        "bw-other": 66,
        "bounds-vacuous": 4,
        "bounds-over-gap": 40,
        "bounds-order-frobenius": 10,
        "bounds-order-spectral": 20,
        "bounds-order-spectral-from-start": 0.5,
    }
    for name, value in expected.items():
        assert np.isclose(ledger["measured"][f"rethinking-{name}"], value, rtol=1e-5), name
    assert ledger["verdict"]["rethinking-bounds-order-spectral-from-start"] == "not reproduced"


def test_what_all_seeds_share_counts_once() -> None:
    """Pixels of the whole training set are one run; where it gives the largest value, that is one measurement."""
    base = {"stage": "section5", "study": "interpolation", "data": "digits", "filters": 0, "ridge": 0.0}
    small = [base | {"n": 100, "seed": seed, "residual": r, "norm": 1.0} for seed, r in enumerate((1.0, 3.0, 2.0))]
    rows = pd.DataFrame([*small, base | {"n": 1_500, "seed": 0, "residual": 2.0, "norm": 3.0, "test_error": 0.5}])

    def largest(found: pd.DataFrame) -> float:
        return float(found["residual"].max())

    assert sorted(section5_claims.with_whole(rows, largest)) == [2, 2, 3]  # once of the whole set, once seed 2's own
    assert section5_claims.with_whole(rows.iloc[3:], largest) == [2]
    answers = [base | {"n": 1_500, "filters": 8, "seed": s, "norm": 4.0 + s, "test_error": 0.2} for s in (0, 1)]
    rows = pd.concat([rows, pd.DataFrame(answers)])
    assert section5_claims.lower_error_larger_norm(rows) == pytest.approx([4 / 3, 5 / 3])


def test_the_papers_sizes_are_what_its_numbers_are_compared_with(rows: pd.DataFrame) -> None:
    pixels = section5_claims.own(rows, "interpolation", filters=0, n=80).head(5)
    whole = pixels.assign(data="mnist", n=60_000, test_error=1.25, norm=250.0)
    colour = pixels.assign(data="cifar10", n=50_000, test_error=20.0)
    filtered = colour.assign(filters=32_000)
    ledger = judge(section5_claims.CLAIMS, pd.concat([rows, whole, colour, filtered]), "mnist").set_index("id")
    verdicts = ledger["verdict"]
    assert verdicts["rethinking-mnist-pixels"] == "reproduced"
    assert verdicts["rethinking-mnist-norm"] == "not reproduced"
    assert verdicts["rethinking-cifar-pixels"] == "not reproduced"
    assert verdicts["rethinking-cifar-filters"] == "not reproduced"
    assert verdicts["rethinking-cifar-interpolates"] == "reproduced"
    assert (
        verdicts[["rethinking-mnist-wavelets", "rethinking-cifar-filters-ridge"]] == "not tested at this scale"
    ).all()


def test_figures_are_drawn_from_rows_among_others(rows: pd.DataFrame) -> None:
    titles = {"digits": "8x8 digits", "cifar10": "CIFAR-10 (some copy)"}
    colour = section5_claims.own(rows, "interpolation").assign(data="cifar10")
    drawn = [
        section5_figure.figure(rows, titles),
        section5_figure.figure(pd.concat([rows, colour]), titles),
        section5_figure.bounds(rows, "digits"),
        section5_figure.bounds(rows[rows["study"] != "bounds"], "digits"),
    ]
    assert [len(figure.axes) for figure in drawn] == [7, 9, 2, 1]  # a colour bar among them
    assert all(plot.png(figure).startswith(b"\x89PNG") for figure in (drawn[1], drawn[2]))
    assert drawn[1].axes[1].get_title() == "CIFAR-10 (some copy): interpolants generalise"
    estimate = [line for line in drawn[2].axes[1].lines if line.get_color() == "tab:orange"]
    assert {line.get_xdata()[0] for line in estimate} == {
        0,
        1,
    }  # true and random labels: the inputs that it was read on


@pytest.mark.parametrize(("failed", "drawn"), [("interpolation", 0), ("bandwidth", 4), ("sgd", 6), ("theorem1", 6)])
def test_a_study_that_failed_leaves_the_others_their_panels(rows: pd.DataFrame, failed: str, drawn: int) -> None:
    left = section5_figure.figure(rows[rows["study"] != failed], {"digits": "8x8 digits"})
    assert sum(axes.axison for axes in left.axes) == drawn
    assert plot.png(left).startswith(b"\x89PNG")


def test_the_papers_wavelets_are_no_random_filters(rows: pd.DataFrame) -> None:
    drawn = section5_figure.figure(rows.replace({"data": {"digits": "mnist"}}), {"mnist": "mnist"})
    labels = {line.get_label(): line.get_color() for line in drawn.axes[0].lines}
    assert labels["paper, Gabor wavelets, n = 60,000: 0.6 %"] not in (labels["random filters"], labels["pixels"])


def test_captions_say_what_one_seed_stands_for() -> None:
    shared = {"data": "digits", "filters": 0}
    rows = pd.DataFrame([shared | {"n": n, "seed": seed} for n, seed in ((50, 0), (50, 1), (1_500, 0))])
    assert section5_figure.seeds(rows) == (
        "Medians and ranges over seeds 0, 1; pixels at n = 1,500, the same for all, one run."
    )


def test_a_network_without_a_margin_has_no_bound_of_norms(tmp_path: Path) -> None:
    settings = cfg(iterations=1, evaluate_every=1, seeds=[0])
    job = training.figure_1(settings, 0)[1]
    done(job, tmp_path)
    (row,) = done(section5.bounds_job(job), tmp_path)
    assert row["margin"] < 0
    assert np.isnan([row[name] for name in section5_claims.NORM_BOUNDS]).all()
    assert row["parameter_bound"] > 1

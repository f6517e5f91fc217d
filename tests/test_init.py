"""The initialisers: their variances, and what those variances are for."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from shared.init import (
    Initializer,
    Normal,
    Orthogonal,
    fans,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_kernels_receptive_field_counts_in_its_fans() -> None:
    assert fans((300, 100)) == (300, 100)
    assert fans((3, 5, 16, 32)) == (3 * 5 * 16, 3 * 5 * 32)
    with pytest.raises(ValueError, match="two axes"):
        fans((7,))


@pytest.mark.parametrize("shape", [(300, 500), (3, 3, 100, 150)])
@pytest.mark.parametrize(
    ("initializer", "variance", "uniform"),
    [
        (glorot_uniform, lambda n_in, n_out: 2 / (n_in + n_out), True),
        (glorot_normal, lambda n_in, n_out: 2 / (n_in + n_out), False),
        (he_uniform, lambda n_in, n_out: 2 / n_in, True),
        (he_normal, lambda n_in, n_out: 2 / n_in, False),
        (Normal(0.3), lambda n_in, n_out: 0.09, False),
    ],
)
def test_mean_variance_and_shape_of_the_distribution(
    initializer: Initializer, variance: Callable, uniform: bool, shape: tuple[int, ...]
) -> None:
    w = initializer(rng(), shape)
    v = variance(*fans(shape))
    assert w.shape == shape
    assert w.dtype == np.float32
    assert abs(w.mean()) <= 5 * math.sqrt(v / w.size)
    assert abs(w.var() / v - 1) <= 5 * math.sqrt(2 / w.size)
    if uniform:
        assert 0.999 * math.sqrt(3 * v) < abs(w).max() <= math.sqrt(3 * v) * (1 + 1e-6)
    else:
        assert abs((w**4).mean() / v**2 - 3) <= 0.1  # a Gaussian's kurtosis
    np.testing.assert_array_equal(w, initializer(rng(), shape))


def log_growth(initializer: Initializer, n: int = 256, layers: int = 20, stacks: int = 6) -> float:
    """The mean logarithm of E[x^2] after a stack of ReLU layers over E[x^2] before it."""
    generator = rng()
    logs = []
    for _ in range(stacks):
        x = first = generator.standard_normal((32, n))
        for _ in range(layers):
            x = np.maximum(x @ initializer(generator, (n, n)), 0)
        logs.append(math.log((x**2).mean() / (first**2).mean()))
    return float(np.mean(logs))


@pytest.mark.parametrize(("initializer", "kept"), [(he_uniform, 1), (he_normal, 1), (glorot_normal, 1 / 2)])
def test_he_keeps_the_second_moment_through_twenty_relu_layers(initializer: Initializer, kept: float) -> None:
    assert abs(log_growth(initializer) - 20 * math.log(kept)) < 1  # four standard errors: 4 sqrt(20 * 5 / 256 / 6)


def test_glorot_keeps_both_variances_of_a_linear_square_layer() -> None:
    generator, n = rng(), 600
    w = glorot_uniform(generator, (n, n))
    x, dy = generator.standard_normal((2, 400, n))
    assert abs((x @ w).var() - 1) < 0.05
    assert abs((dy @ w.T).var() - 1) < 0.05


@pytest.mark.parametrize("shape", [(40, 40), (60, 20), (20, 60), (3, 3, 4, 8)])
def test_orthogonal_has_equal_singular_values(shape: tuple[int, ...]) -> None:
    w = Orthogonal(gain=1.5)(rng(), shape)
    assert w.shape == shape
    assert w.dtype == np.float32
    assert w.flags.c_contiguous
    q = w.reshape(-1, shape[-1]) / 1.5
    small = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(small, np.eye(len(small)), atol=2e-6)


def test_orthogonal_is_uniform_in_its_signs() -> None:
    generator = rng()
    q = np.array([Orthogonal()(generator, (3, 3)) for _ in range(4000)])
    assert abs(q.mean(0)).max() < 5 / math.sqrt(3 * 4000)  # without the sign fix the diagonal leans to one side
    assert abs(np.linalg.det(q).mean()) < 5 / math.sqrt(4000)  # rotations and reflections alike
    np.testing.assert_allclose((q**2).mean(0), 1 / 3, atol=0.03)


@pytest.mark.parametrize("make", [lambda: Normal(-0.1), lambda: Normal(math.nan), lambda: Orthogonal(0.0)])
def test_a_hyperparameter_out_of_range_is_refused(make: Callable[[], Initializer]) -> None:
    with pytest.raises(ValueError, match=r"^\w+: \w+ must be .*, got "):
        make()


def test_orthogonal_needs_a_matrix() -> None:
    with pytest.raises(ValueError, match="two axes"):
        Orthogonal()(rng(), (3,))

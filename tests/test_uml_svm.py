"""Support vector machines and the perceptron: scikit-learn's solutions, the theorems on small cases, bad input."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from papers.understanding_ml import kernels
from papers.understanding_ml.perceptron import perceptron
from papers.understanding_ml.studies.svm import CLAIMS
from papers.understanding_ml.svm import (
    Machine,
    duality_gap,
    fit,
    margin_bound,
    objective,
    pegasos,
    pegasos_bound,
    smo,
)
from shared.claims import judge

KERNELS: dict[str, tuple[kernels.Kernel, dict[str, Any]]] = {
    "linear": (kernels.linear, {"kernel": "linear"}),
    "polynomial": (kernels.polynomial(3), {"kernel": "poly", "degree": 3, "gamma": 1, "coef0": 1}),
    "rbf": (kernels.rbf(1.5), {"kernel": "rbf", "gamma": 1 / (2 * 1.5**2)}),
}
each_kernel = pytest.mark.parametrize("name", KERNELS)
seeds = st.integers(0, 2**32 - 1)


def problem(seed: int, m: int = 80, d: int = 3, gap: float = 0.0, flipped: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Examples at least ``gap`` from a random halfspace through 0, but for ``flipped`` labels; both classes."""
    rng = np.random.default_rng(seed)
    X, u = rng.standard_normal((m, d)), rng.standard_normal(d)
    X[0] = -X[1]
    y = np.where(X @ u > 0, 1, -1)
    X += gap * y[:, None] * u / np.linalg.norm(u)
    y[2 : 2 + flipped] *= -1
    return X, y


@each_kernel
@pytest.mark.parametrize("C", [0.1, 1, 10, np.inf])
def test_the_machine_is_scikit_learns(name: str, C: float) -> None:
    X, y = problem(0, gap=0.1, flipped=0 if np.isinf(C) else 8)
    kernel, options = KERNELS[name]
    machine = fit(X, y, kernel, C)
    oracle = SVC(C=1e8 if np.isinf(C) else C, tol=1e-9, **options).fit(X, y)
    new = np.random.default_rng(1).standard_normal((200, 3))
    np.testing.assert_allclose(machine(new), oracle.decision_function(new), rtol=1e-4, atol=1e-4)
    assert machine.b == pytest.approx(float(oracle.intercept_[0]), abs=1e-4)
    np.testing.assert_array_equal(
        machine.X[np.lexsort(machine.X.T)], oracle.support_vectors_[np.lexsort(oracle.support_vectors_.T)]
    )
    ours = (machine.alpha * machine.y)[np.lexsort(machine.X.T)]
    theirs = oracle.dual_coef_[0][np.lexsort(oracle.support_vectors_.T)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@each_kernel
@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("bias", [True, False])
@settings(deadline=None, max_examples=10)
@given(seed=seeds)
def test_the_duality_gap_and_the_optimality_conditions(name: str, C: float, bias: bool, seed: int) -> None:
    X, y = problem(seed, m=30, gap=0.3, flipped=0 if np.isinf(C) else 4)
    kernel = KERNELS[name][0]
    machine = fit(X, y, kernel, C, bias)
    assert abs(duality_gap(machine, X, y, C)) < 1e-6
    assert (machine.alpha > 0).all()
    assert (machine.alpha <= C).all()
    if bias:
        assert abs(machine.alpha @ machine.y) < 1e-9 * machine.alpha.sum()
    else:
        assert machine.b == 0
    margins = machine.y * machine(machine.X)
    np.testing.assert_allclose(margins[machine.alpha < C], 1, atol=1e-7)
    assert (margins <= 1 + 1e-7).all()
    inside = ~(X[:, None] == machine.X).all(2).any(1)
    assert (y[inside] * machine(X[inside]) >= 1 - 1e-7).all()


def test_the_gap_of_a_worse_machine_is_not_zero() -> None:
    X, y = problem(0, gap=0.3)
    for C in (1.0, np.inf):
        machine = fit(X, y, C=C)
        worse = Machine(machine.X, machine.y, 0.9 * machine.alpha, machine.b, machine.kernel)
        assert duality_gap(worse, X, y, C) > 1e-3


def test_a_hard_margin_by_hand() -> None:
    """The nearest two of these are (0, 0) and (2, 0): w = (1, 0), b = -1, a margin of 1."""
    X, y = np.array([[0, 0], [-1, 3], [2, 0], [4, 1]]), np.array([-1, -1, 1, 1])
    machine = fit(X, y)
    np.testing.assert_allclose(machine.w, [1, 0], atol=1e-7)
    assert (machine.b, machine.norm) == (pytest.approx(-1), pytest.approx(1))
    np.testing.assert_allclose(machine.alpha, [0.5, 0.5])
    moved = fit(X + 1000, y)
    np.testing.assert_allclose(moved.w, [1, 0], atol=1e-7)
    assert moved.b == pytest.approx(-1001)


def test_without_a_bias_it_is_the_solution_of_examples_and_their_mirror_images() -> None:
    X, y = problem(3, gap=0.2)
    machine, mirrored = fit(X, y, bias=False), fit(np.vstack([X, -X]), np.append(y, -y))
    np.testing.assert_allclose(machine.w, mirrored.w, atol=1e-7)
    assert abs(mirrored.b) < 1e-7


def test_only_the_examples_on_the_margin_matter() -> None:
    X, y = problem(1, d=4, gap=0.2)
    machine = fit(X, y)
    own = np.abs(np.abs(machine(X)) - 1) < 1e-4
    assert own.sum() < 10
    np.testing.assert_allclose(fit(X[own], y[own]).w, machine.w, atol=1e-7)


@each_kernel
def test_duplicate_rows_share_their_alpha(name: str) -> None:
    X, y = problem(2, m=30, flipped=4)
    kernel = KERNELS[name][0]
    once, twice = fit(X, y, kernel, C=1), fit(np.repeat(X, 2, axis=0), np.repeat(y, 2), kernel, C=0.5)
    np.testing.assert_allclose(twice(X), once(X), atol=1e-6)
    hard = fit(np.repeat(X, 2, axis=0), np.repeat(y, 2), kernels.rbf(0.5))
    np.testing.assert_allclose(hard(X), fit(X, y, kernels.rbf(0.5))(X), atol=1e-6)


def test_one_example_with_both_labels() -> None:
    X, y = np.array([[1.0, 2], [1, 2], [3, 0]]), np.array([-1, 1, 1])
    with pytest.raises(ValueError, match="not separable"):
        fit(X, y, kernels.rbf(1))
    assert duality_gap(fit(X, y, C=1), X, y, C=1) == pytest.approx(0, abs=1e-9)
    same = fit(np.ones((4, 2)), np.array([-1, -1, 1, 1]), C=2)
    np.testing.assert_allclose(same.w, 0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_hard_margin_on_classes_that_are_not_separable(bias: bool) -> None:
    X, y = problem(0, flipped=5)
    with pytest.raises(ValueError, match=r"not separable with a margin of 0\.001 of the data's radius: use a finite C"):
        fit(X, y, bias=bias)


@each_kernel
def test_bytes_do_not_wrap_around(name: str) -> None:
    X = np.random.default_rng(0).integers(0, 256, (20, 3), dtype=np.uint8)
    y, floats, kernel = np.where(X[:, 0] > 127, 1, -1), X.astype(float), KERNELS[name][0]
    np.testing.assert_array_equal(kernel(X, X[:5]), kernel(floats, floats[:5]))
    machine = fit(floats / 256, y, kernel, C=10)
    np.testing.assert_array_equal(machine(X), machine(floats))


def test_too_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papers.understanding_ml.svm.LIMIT", 3)
    with pytest.raises(ValueError, match="no solution after 3 steps: scale the features or lower C"):
        fit(*problem(0, flipped=5), C=1)


BAD = [
    (np.ones(3), np.array([1, -1, 1]), r"X must be \(m, d\)"),
    (np.ones((3, 2)), np.array([1, -1]), r"got X \(3, 2\) and y \(2,\)"),
    (np.ones((0, 2)), np.ones(0), "at least 1"),
    (np.array([[np.nan], [1]]), np.array([1, -1]), "must be finite"),
    (np.array([[np.inf], [1]]), np.array([1, -1]), "must be finite"),
    (np.ones((2, 1)), np.array([0, 1]), r"labels must be -1 or \+1; got 0, 1"),
    (np.ones((2, 1)), np.array([np.nan, 1]), r"labels must be -1 or \+1; got 1.0, nan"),
    (np.ones((2, 1)), np.array([1, 1]), "all labels are 1: a classifier needs examples of both classes"),
]


@pytest.mark.parametrize(("X", "y", "message"), BAD)
def test_bad_data(X: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(X, y)
    with pytest.raises(ValueError, match=message):
        perceptron(X, y)
    with pytest.raises(ValueError, match=message):
        next(pegasos(X, y, 1, np.zeros((1, 1), int)))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_bad_numbers(value: float) -> None:
    X, y = problem(0)
    with pytest.raises(ValueError, match=r"^C=.*: must be above 0"):
        fit(X, y, C=value)
    with pytest.raises(ValueError, match=r"^lambda=.*: must be above 0"):
        next(pegasos(X, y, value, np.zeros((1, 1), int)))
    with pytest.raises(ValueError, match=r"^sigma=.*: must be above 0"):
        kernels.rbf(value)


def test_bad_kernels_draws_and_features() -> None:
    X, y = problem(0)
    with pytest.raises(ValueError, match="degree=0: must be at least 1"):
        kernels.polynomial(0)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="kernel's values are not finite"):
        fit(1e200 * X, y, kernels.polynomial(3))
    for draws in (np.zeros(5, int), np.full((2, 1), len(y)), np.full((2, 1), -1)):
        with pytest.raises(ValueError, match="draws must be"):
            next(pegasos(X, y, 1, draws))
    with pytest.raises(ValueError, match=r"X must be \(m, 3\) as in training, got \(5, 2\)"):
        fit(X, y)(np.ones((5, 2)))


@each_kernel
@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_gram_matrices_are_positive_semidefinite(name: str, seed: int) -> None:
    X = np.random.default_rng(seed).standard_normal((20, 3))
    K = KERNELS[name][0](X, X)
    np.testing.assert_allclose(K, K.T, rtol=1e-13)
    assert np.linalg.eigvalsh(K).min() > -1e-12 * np.trace(K)


def test_kernels_are_inner_products_of_features() -> None:
    X = np.random.default_rng(0).standard_normal((6, 2))
    a, b = X.T
    r = np.sqrt(2)
    squares = np.column_stack([np.ones(6), r * a, r * b, a**2, b**2, r * a * b])
    np.testing.assert_allclose(kernels.polynomial(2)(X, X), squares @ squares.T)
    x, factorial = X[:, :1], np.cumprod(np.append(1.0, np.arange(1, 40)))
    powers = np.exp(-(x**2) / 2) * x ** np.arange(40) / np.sqrt(factorial)
    np.testing.assert_allclose(kernels.rbf(1)(x, x), powers @ powers.T)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, d=st.integers(1, 8), gap=st.floats(0.05, 2))
def test_the_perceptron_makes_at_most_as_many_updates_as_the_theorem_says(seed: int, d: int, gap: float) -> None:
    X, y = problem(seed, m=30, d=d, gap=gap)
    w, updates = perceptron(X, y)
    assert (y * (X @ w) > 0).all()
    assert 1 <= updates <= (X**2).sum(1).max() * fit(X, y, bias=False).norm ** 2


def test_the_perceptron_reaches_its_bound() -> None:
    """On the d unit vectors, all +1 (the last as its mirror image), each is an update: rho^2 / gamma^2 = d."""
    X, y = np.eye(5), np.array([1, 1, 1, 1, -1])
    assert perceptron(X, y)[1] == 5
    assert fit(X, y, bias=False).norm ** 2 == pytest.approx(5)


def test_the_perceptron_gives_up() -> None:
    X, y = problem(0, flipped=5)
    with pytest.raises(ValueError, match=r"no halfspace through 0 after 50 updates: .* margin < rho / sqrt\(50\)"):
        perceptron(X, y, limit=50)


def test_pegasos_is_sgd_step_by_step() -> None:
    X, y = problem(0, flipped=5)
    lam, rng = 0.3, np.random.default_rng(1)
    draws = rng.integers(len(y), size=(50, 2))
    means = list(pegasos(X, y, lam, draws))
    for run in range(2):
        w, iterates = np.zeros(3), []
        for t, i in enumerate(draws[:, run], start=1):
            iterates.append(w)
            v = lam * w - (y[i] * (w @ X[i]) < 1) * y[i] * X[i]
            w = w - v / (lam * t)
            np.testing.assert_allclose(means[t - 1][run], np.mean(iterates, axis=0), atol=1e-12)


def test_pegasos_converges_below_its_bound_to_the_solution_of_the_dual() -> None:
    X, y = problem(4, d=5, flipped=8)
    X /= np.linalg.norm(X, axis=1)[:, None]
    lam, rng = 0.1, np.random.default_rng(0)
    best = fit(X, y, C=1 / (lam * len(y)), bias=False)
    (optimum,) = objective(best.w[None], X, y, lam)
    for t, W in enumerate(pegasos(X, y, lam, rng.integers(len(y), size=(5000, 20))), start=1):
        gaps = objective(W, X, y, lam) - optimum
        assert gaps.min() > -1e-9
        assert gaps.mean() <= pegasos_bound(t, 1, lam) / 2
    assert gaps.mean() < 2e-3


def test_the_objective_is_the_primal_over_C_m() -> None:
    X, y = problem(5, flipped=8)
    lam = 0.05
    C = 1 / (lam * len(y))
    machine = fit(X, y, C=C, bias=False)
    dual = machine.alpha.sum() - machine.norm**2 / 2
    assert objective(machine.w[None], X, y, lam)[0] == pytest.approx(dual / (C * len(y)), rel=1e-7)


def test_the_margin_bound_is_the_books() -> None:
    assert margin_bound(3, 400, 0.05) == pytest.approx(0.3 + np.sqrt(2 * np.log(40) / 400))
    assert pegasos_bound(1, 3, 0.5) == pytest.approx(72)


def test_smo_keeps_the_sum_where_a_newton_step_has_nothing_left_to_do() -> None:
    """With two multipliers inside of their boxes, one step makes their F equal; the next is a rounding error."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        X = rng.standard_normal((20, 2))
        y = np.where(X[:, 0] + rng.standard_normal(20) > 0, 1.0, -1.0)
        beta, _ = smo(kernels.rbf(1)(X, X), y, 1.0, True)
        assert abs(beta.sum()) < 1e-12


@pytest.mark.parametrize(
    ("id", "parts", "column"),
    [("uml-svm-gap", ["gap"] * 3, "gap"), ("uml-svm-margin-bound", ["dimension", "size", "size"], "ratio")],
)
@pytest.mark.parametrize(("last", "verdict"), [(1e-9, "reproduced"), (np.nan, "not reproduced")])
def test_a_nan_is_not_reproduced(id: str, parts: list[str], column: str, last: float, verdict: str) -> None:
    rows = pd.DataFrame({"study": "svm", "part": parts, "seed": 0, column: [1e-9, 1e-9, last]})
    ledger = judge([claim for claim in CLAIMS if claim.id == id], rows, "test")
    assert ledger["verdict"].tolist() == [verdict]

"""Optimisation: SciPy's minima, the conditions of line searches, the bounds of chapter 14, divergence, bad input."""

import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.understanding_ml.logistic_regression import Binary, sigmoid, smoothness
from papers.understanding_ml.newton_methods import (
    CURVATURE,
    SUFFICIENT,
    LineSearch,
    backtracking,
    bfgs,
    bfgs_update,
    exact,
    full_step,
    newton,
    newton_direction,
    steepest_descent,
    wolfe,
)
from papers.understanding_ml.numerical_optimisation import (
    FIG_14_1,
    GROWTH,
    Curved,
    Quadratic,
    Rosenbrock,
    accelerated,
    accelerated_bound,
    descend,
    largest_step,
    smooth_bound,
    tuned,
)
from papers.understanding_ml.stochastic_gradient import (
    lipschitz_bound,
    lipschitz_step,
    project,
    sgd,
    strongly_convex_bound,
    strongly_convex_step,
    suffix_average,
)
from papers.understanding_ml.studies.numerical_optimisation_claims import CLAIMS
from papers.understanding_ml.worst_cases import Coin, Huber, Kink, chain, resisting
from shared import gradcheck
from shared.claims import judge
from shared.errors import Diverged
from shared.optim import SGD, Adagrad, Adam, Momentum, Nesterov, Optimizer, RMSProp

SEEDS = st.integers(0, 2**32 - 1)
VALLEY = np.array([-1.2, 1.0])


class LogCosh:
    """sum log cosh w_i: convex, and a full Newton step diverges from |w| > 1.089."""

    def loss(self, w: np.ndarray) -> float:
        return float(np.log1p(2 * np.sinh(w / 2) ** 2).sum())

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return np.tanh(w)

    def hessian(self, w: np.ndarray) -> np.ndarray:
        return np.diag(1 / np.cosh(np.clip(w, -300, 300)) ** 2)


class Saddle:
    """w_1^2 - w_2^2: no minimum, and a saddle at 0."""

    def loss(self, w: np.ndarray) -> float:
        return float(w[0] ** 2 - w[1] ** 2)

    def gradient(self, w: np.ndarray) -> np.ndarray:
        return np.array([2 * w[0], -2 * w[1]])

    def hessian(self, w: np.ndarray) -> np.ndarray:
        return np.diag([2.0, -2.0])


def bowl(seed: int, d: int = 4, kappa: float = 50.0) -> Quadratic:
    rng = np.random.default_rng(seed)
    S = np.sqrt(np.geomspace(1, kappa, d))[:, None] * np.linalg.qr(rng.standard_normal((d, d))).Q
    return Quadratic(S.T @ S, rng.standard_normal(d))


def logistic(seed: int, ridge: float = 0.05) -> Binary:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((60, 4)) * np.array([2, 1, 0.5, 0.3])
    return Binary(X, np.where(rng.random(60) < sigmoid(X @ rng.standard_normal(4)), 1, -1), ridge)


PROBLEMS: list[Callable[[int], Curved]] = [bowl, logistic, lambda seed: Rosenbrock(), lambda seed: LogCosh()]
problems = st.sampled_from(PROBLEMS)


def a_start(problem: Curved, seed: int) -> np.ndarray:
    return 1.5 * np.random.default_rng(seed).standard_normal(2 if isinstance(problem, Rosenbrock) else 4)


# The functions


@given(SEEDS, problems)
def test_derivatives_of_the_test_functions(seed: int, make: Callable[[int], Curved]) -> None:
    problem, rng = make(seed), np.random.default_rng(seed)
    w = a_start(problem, seed)
    gradcheck.check(lambda w: (problem.loss(w), lambda dy: dy * problem.gradient(w)), w, rng=rng)
    gradcheck.check(lambda w: (problem.gradient(w), lambda dy: problem.hessian(w) @ dy), w, rng=rng)


@given(st.floats(0.1, 2), st.floats(-3, 3))
def test_derivative_of_hubers_function(delta: float, w: float) -> None:
    huber = Huber(delta)
    slope = (huber.loss(np.array([w + 1e-6])) - huber.loss(np.array([w - 1e-6]))) / 2e-6
    assert huber.gradient(np.array([w]))[0] == pytest.approx(slope, abs=1e-6)


def test_minima_are_where_they_are_said_to_be() -> None:
    assert Rosenbrock().loss(np.ones(2)) == 0
    assert FIG_14_1.loss(np.array([-6.0, 8.0])) == 0
    assert FIG_14_1.loss(np.zeros(2)) == 1.25 * 36 + 64
    assert (FIG_14_1.mu, FIG_14_1.L) == (2, 2.5)
    w = np.random.default_rng(0).standard_normal(7)
    hard = chain(3)
    written = (w[0] ** 2 + np.sum(np.diff(w) ** 2) + w[-1] ** 2) / 8 - w[0] / 4
    assert hard.loss(w) - hard.loss(np.zeros(7)) == pytest.approx(written)
    assert hard.L < 1


# Update rules: gradient descent and its relatives


@pytest.mark.parametrize("kappa", [1.25, 10, 100])
def test_gradient_descent_contracts_by_exactly_its_rate_in_two_dimensions(kappa: float) -> None:
    problem = FIG_14_1 if kappa == 1.25 else bowl(1, d=2, kappa=kappa)
    rule, rate = tuned(problem.mu, problem.L)["gradient descent"]
    assert rate == pytest.approx((kappa - 1) / (kappa + 1))
    error = np.linalg.norm(descend(problem, np.zeros(2), rule, 10) - problem.c, axis=1)
    np.testing.assert_allclose(error[1:] / error[:-1], rate, rtol=1e-5)


@pytest.mark.parametrize("name", ["momentum", "Nesterov"])
def test_momentum_has_the_rate_of_its_double_root(name: str) -> None:
    problem = bowl(2, kappa=100)
    rule, rate = tuned(problem.mu, problem.L)[name]
    assert rate == pytest.approx({"momentum": 9 / 11, "Nesterov": 9 / 10}[name])
    error = np.linalg.norm(descend(problem, np.zeros(4), rule, 120) - problem.c, axis=1) / np.arange(1, 122)
    assert (error[120] / error[60]) ** (1 / 60) == pytest.approx(rate, rel=0.01)


@pytest.mark.parametrize("make", [SGD, Momentum, Nesterov])
def test_step_sizes_diverge_just_above_the_largest(make: Callable[[float], Optimizer]) -> None:
    problem, w = bowl(3), np.zeros(4)
    bound = largest_step(make(1.0), problem.L)
    assert problem.loss(descend(problem, w, make(0.97 * bound), 500)[-1]) < 1e-6 * problem.loss(w)
    with pytest.raises(
        Diverged, match=rf"step \d+ of size .* diverged: .* Lower learning_rate: .* below {bound:.6g} \("
    ):
        descend(problem, w, make(1.03 * bound), 500)


def test_two_over_L_is_what_the_message_says() -> None:
    with pytest.raises(Diverged, match=r"on this quadratic it must be below 0\.8 \(2/L for gradient descent\)"):
        descend(FIG_14_1, np.zeros(2), SGD(0.81), 1000)
    assert FIG_14_1.loss(descend(FIG_14_1, np.zeros(2), SGD(0.79), 1000)[-1]) < 1e-12


@pytest.mark.parametrize("make", [SGD, Momentum, Nesterov, Adagrad, RMSProp, Adam])
def test_every_rule_is_stopped_when_its_step_is_far_too_large(make: Callable[[float], Optimizer]) -> None:
    for problem, w in ((FIG_14_1, np.zeros(2)), (Rosenbrock(), VALLEY)):
        with pytest.raises(Diverged, match=rf"step 1 of size 1e\+200 diverged: the loss of {make.__name__} went from"):
            descend(problem, w, make(1e200), 50)
        with pytest.raises(Diverged, match="Lower learning_rate"):
            descend(problem, w, make(1e4), 50)


def test_a_schedule_that_grows_is_stopped_at_its_present_size() -> None:
    with pytest.raises(Diverged, match=r"step (\d+) of size \1 diverged"):
        descend(FIG_14_1, np.zeros(2), SGD(lambda step: step + 1.0), 50)


def test_momentum_may_rise_before_it_falls() -> None:
    problem = bowl(0, d=2, kappa=1e4)
    path = descend(problem, problem.c + np.linalg.eigh(problem.A)[1][:, 1], tuned(1, 1e4)["momentum"][0], 2000)
    losses = np.array([problem.loss(w) for w in path])
    assert 1000 < losses.max() / losses[0] < GROWTH
    assert losses[-1] < 1e-20 * losses[0]


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([Adagrad(0.5), RMSProp(0.01), Adam(0.05)]))
def test_adaptive_rules_do_not_see_the_scale_of_a_coordinate(seed: int, rule: Optimizer) -> None:
    rng = np.random.default_rng(seed)
    w, h = rng.uniform(0.1, 3, 3), np.diag(10 ** rng.uniform(0, 4, 3))
    stretched, round_ = (descend(Quadratic(A, np.zeros(3)), w, rule, 100) for A in (h, np.eye(3)))
    np.testing.assert_allclose(stretched, round_, atol=1e-5)


def test_gradient_descent_does_see_it() -> None:
    w = np.ones(2)
    paths = [descend(Quadratic(np.diag([1.0, h]), np.zeros(2)), w, SGD(0.1), 20) for h in (1.0, 10.0)]
    assert np.abs(paths[0] - paths[1]).max() > 0.5


def test_adams_first_step_is_the_learning_rate_in_each_coordinate() -> None:
    path = descend(Quadratic(np.diag([1e-3, 1.0, 1e5]), np.array([1.0, -2.0, 3.0])), np.zeros(3), Adam(0.1), 1)
    np.testing.assert_allclose(path[1], [0.1, -0.1, 0.1], rtol=1e-4)


def test_rmsprop_ends_in_a_cycle_of_half_a_step() -> None:
    for eta in (0.02, 0.1):
        path = descend(Quadratic(np.eye(1), np.zeros(1)), np.ones(1), RMSProp(eta), 3000)
        np.testing.assert_allclose(np.abs(path[-50:]), eta / 2, rtol=1e-3)


@settings(max_examples=30)
@given(SEEDS)
def test_smooth_bounds_hold_on_random_convex_problems(seed: int) -> None:
    problem = logistic(seed)
    best = problem.loss(scipy.optimize.minimize(problem.loss, np.zeros(4), jac=problem.gradient, tol=1e-10).x)
    u = newton(problem, np.zeros(4))[-1]
    w, L, T = a_start(problem, seed), smoothness(problem), np.arange(1, 61)
    R = float(np.linalg.norm(w - u))
    slow, fast = (
        np.array([problem.loss(v) - best for v in path[1:]])
        for path in (descend(problem, w, SGD(1 / L), 60), accelerated(problem, w, 1 / L, 60))
    )
    assert (slow <= smooth_bound(L, R, T) + 1e-12).all()
    assert (fast <= accelerated_bound(L, R, T) + 1e-12).all()


@pytest.mark.parametrize("T", [1, 7, 50])
def test_the_worst_smooth_functions(T: int) -> None:
    R = 1.7
    huber = Huber(R / (2 * T + 1))
    gap = huber.loss(descend(huber, np.array([R]), SGD(1.0), T)[-1])
    assert gap == pytest.approx(R**2 / (4 * T + 2), rel=1e-12)
    hard = chain(T)
    R2 = hard.c @ hard.c
    gap = hard.loss(accelerated(hard, 0 * hard.c, 1.0, T)[-1])
    assert 3 * R2 / (32 * (T + 1) ** 2) <= gap <= accelerated_bound(1, R2**0.5, T)
    assert np.abs(accelerated(hard, 0 * hard.c, 1.0, T)[-1][T:]).max() < 1e-15  # a new coordinate a step, and no more


def test_accelerated_stops_when_it_diverges() -> None:
    with pytest.raises(Diverged, match=r"of size 1 diverged: .* Lower eta: 1/L is safe"):
        accelerated(FIG_14_1, np.zeros(2), 1.0, 200)


# Subgradients, SGD, projection


@given(SEEDS, st.floats(0.01, 10))
def test_projection_is_nearest_idempotent_and_never_lengthens_a_distance(seed: int, B: float) -> None:
    rng = np.random.default_rng(seed)
    V, W = 5 * rng.standard_normal((2, 20, 3))
    P, Q = project(V, B), project(W, B)
    assert (np.linalg.norm(P, axis=1) <= B * (1 + 1e-15)).all()
    np.testing.assert_allclose(project(P, B), P, rtol=1e-15)
    inside = np.linalg.norm(V, axis=1) <= B
    np.testing.assert_array_equal(P[inside], V[inside])
    assert (np.linalg.norm(P - Q, axis=1) <= np.linalg.norm(V - W, axis=1) + 1e-14).all()
    others = rng.standard_normal((20, 3))
    others *= B * rng.random((20, 1)) / np.linalg.norm(others, axis=1, keepdims=True)
    assert (np.linalg.norm(V - P, axis=1) <= np.linalg.norm(V - others, axis=1) + 1e-14).all()


def test_projection_of_zero_and_onto_everything() -> None:
    np.testing.assert_array_equal(project(np.zeros(3), 0.5), np.zeros(3))
    np.testing.assert_array_equal(project(np.array([1e300, 2.0]), np.inf), [1e300, 2.0])
    for B in (0, -1, np.nan):
        with pytest.raises(ValueError, match="the radius must be above 0"):
            project(np.ones(3), B)


def test_sgd_by_hand() -> None:
    path = sgd(lambda w: 2 * w, np.array([4.0, 0.0]), lambda step: 1 / (step + 2), 4)
    np.testing.assert_array_equal(path[:, 0], [4, 0, 0, 0])
    path = sgd(lambda w: np.array([-1.0, 0.0]), np.zeros(2), 0.75, 4, B=1.0)
    np.testing.assert_array_equal(path[:, 0], [0, 0.75, 1, 1])


@given(st.integers(1, 12), st.floats(0.01, 1))
def test_suffix_average_by_hand(T: int, share: float) -> None:
    path = np.arange(1.0, T + 1)[:, None] ** 2
    n = next(n for n in range(1, T + 1) if n >= share * T)
    assert suffix_average(path, share)[0] == pytest.approx(np.mean(path[T - n :]))
    np.testing.assert_array_equal(suffix_average(path, 1), path.mean(0))


@pytest.mark.parametrize("T", [1, 2, 9, 100])
@pytest.mark.parametrize("eta", [0.01, 1.0])
def test_the_worst_function_attains_corollary_14_2(T: int, eta: float) -> None:
    w = suffix_average(sgd(resisting, np.zeros(T), eta, T), 1)
    assert w.max() == 0
    assert w.max() - -1 / np.sqrt(T) == lipschitz_bound(1, 1, T)


@given(SEEDS, st.sampled_from([1, 10, 100]), st.floats(0.1, 5))
def test_corollary_14_2_against_every_point_of_the_ball(seed: int, T: int, B: float) -> None:
    """The bound holds for any comparison point, so the minimum is not needed: here for the hinge loss."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((30, 3)), rng.choice([-1, 1], 30)
    rho = float(np.linalg.norm(X, axis=1).max())

    def loss(W: np.ndarray) -> np.ndarray:
        return np.maximum(0, 1 - (W @ X.T) * y).mean(-1)

    def subgradient(w: np.ndarray) -> np.ndarray:
        return -((y * (X @ w) < 1) * y) @ X / len(X)

    w = suffix_average(sgd(subgradient, np.zeros(3), lipschitz_step(B, rho, T), T), 1)
    others = project(B * rng.standard_normal((200, 3)), B)
    assert loss(w) - loss(others).min() <= lipschitz_bound(B, rho, T)


def test_theorem_14_8_and_the_coins_constant() -> None:
    problem, T = Coin(np.random.default_rng(0)), 1024
    path = sgd(problem.subgradient, np.zeros((500, 1)), lipschitz_step(1, 1, T), T, 1.0)
    gaps = problem.gap(suffix_average(path, 1)) * np.sqrt(T)
    assert gaps.mean() == pytest.approx(0.75, abs=0.03)
    assert np.abs(path).max() <= 1


def test_theorem_14_11_and_remark_14_3() -> None:
    problem, times = Kink(np.random.default_rng(0)), np.array([64, 256, 1024])
    path = sgd(problem.subgradient, np.ones((300, 1)), strongly_convex_step(1), 1024, 1.0)
    average, suffix = (
        np.array([problem.gap(suffix_average(path[:T], share)).mean() for T in times]) for share in (1, 0.5)
    )
    assert (average <= strongly_convex_bound(problem.rho, 1, times)).all()
    assert (average > 3 * suffix).all()
    rise = np.diff(times * average) / np.log(4)
    np.testing.assert_allclose(rise, 0.5, atol=0.05)  # the log T, at a constant rate
    assert np.abs(np.diff(times * suffix)).max() < 0.1 * times[0] * suffix[0]


def test_without_projection_sgd_is_stopped_and_with_it_stays_in_the_ball() -> None:
    rng = np.random.default_rng(0)

    def oracle(W: np.ndarray) -> np.ndarray:
        x = rng.standard_normal(W.shape)
        return (W * x).sum(-1, keepdims=True) * x - x

    with pytest.raises(Diverged, match=r"of size 3 diverged: \|w\| went from .* Lower eta, or project"):
        sgd(oracle, np.zeros((2, 3)), 3.0, 1000)
    assert np.linalg.norm(sgd(oracle, np.zeros((2, 3)), 3.0, 1000, B=2.0), axis=2).max() <= 2 * (1 + 1e-15)


def test_an_oracle_that_says_nan_is_stopped() -> None:
    with pytest.raises(Diverged, match="step 1 of size 1 diverged"):
        sgd(lambda w: w * np.nan, np.zeros(2), 1.0, 5, B=1.0)


# Line searches, Newton, BFGS


@given(SEEDS, problems)
def test_wolfe_conditions_hold_at_the_step(seed: int, make: Callable[[int], Curved]) -> None:
    problem, rng = make(seed), np.random.default_rng(seed)
    w = a_start(problem, seed)
    g = problem.gradient(w)
    p = -g * 10 ** rng.uniform(-4, 2)
    r = wolfe(problem, w, p, g)
    assert problem.loss(w + r * p) <= problem.loss(w) + SUFFICIENT * r * (g @ p) + 1e-15 * abs(problem.loss(w))
    assert problem.gradient(w + r * p) @ p >= CURVATURE * (g @ p)


@given(SEEDS, problems)
def test_backtracking_takes_the_first_sufficient_half(seed: int, make: Callable[[int], Curved]) -> None:
    problem = make(seed)
    w = a_start(problem, seed)
    g = problem.gradient(w)
    p = -4 * g
    r = backtracking(problem, w, p, g)

    def excess(r: float) -> float:
        return problem.loss(w + r * p) - problem.loss(w) - SUFFICIENT * r * (g @ p)

    assert excess(r) <= 1e-15 * abs(problem.loss(w))
    assert np.log2(r) == round(np.log2(r))
    assert r == 1 or excess(2 * r) > 0
    if isinstance(problem, Quadratic):
        assert r >= min(1, (1 - SUFFICIENT) / (4 * problem.L))


@given(SEEDS)
def test_exact_search_finds_scipys_minimum_along_the_line(seed: int) -> None:
    problem, w = bowl(seed), np.zeros(4)
    g = problem.gradient(w)
    p = -g * np.array([1, 2, 3, 4])
    theirs = scipy.optimize.minimize_scalar(lambda r: problem.loss(w + r * p), tol=1e-12).x
    assert exact(problem, w, p, g) == pytest.approx(theirs, rel=1e-6)


def test_exact_search_zigzags_at_the_rate_of_gradient_descent() -> None:
    path = steepest_descent(Quadratic(np.diag([1.0, 20.0]), np.zeros(2)), np.array([20.0, 1.0]), exact, steps=20)
    error = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(error[1:] / error[:-1], 19 / 21, rtol=1e-9)


@pytest.mark.parametrize("search", [full_step, backtracking, wolfe, exact])
def test_a_direction_that_does_not_point_down(search: LineSearch) -> None:
    g = FIG_14_1.gradient(np.zeros(2))
    if search is full_step:
        assert search(FIG_14_1, np.zeros(2), g, g) == 1
        return
    for p in (g, 0 * g):
        with pytest.raises(ValueError, match="p is no descent direction"):
            search(FIG_14_1, np.zeros(2), p, g)


@given(SEEDS, problems, st.sampled_from([newton, bfgs]))
def test_newton_and_bfgs_find_scipys_minimum(seed: int, make: Callable[[int], Curved], method: Callable) -> None:
    problem = make(seed)
    w = a_start(problem, seed)
    path = method(problem, w)
    assert np.linalg.norm(problem.gradient(path[-1])) <= 1e-8
    theirs = scipy.optimize.minimize(problem.loss, w, jac=problem.gradient, method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(path[-1], theirs, atol=1e-6)
    losses = np.array([problem.loss(v) for v in path])
    assert (np.diff(losses) <= 1e-14 * (1 + losses[:-1])).all()


def test_bfgs_takes_about_as_many_steps_as_scipys() -> None:
    theirs = scipy.optimize.minimize(
        Rosenbrock().loss, VALLEY, jac=Rosenbrock().gradient, method="BFGS", options={"gtol": 1e-8}
    )
    assert len(bfgs(Rosenbrock(), VALLEY)) - 1 <= 1.5 * theirs.nit


@given(SEEDS)
def test_newton_ends_on_a_quadratic_in_one_step(seed: int) -> None:
    problem = bowl(seed)
    path = newton(problem, np.zeros(4))
    np.testing.assert_allclose(path[1], problem.c, atol=1e-12)
    assert len(path) == 2


def test_newton_doubles_the_digits() -> None:
    problem = logistic(0)
    best = newton(problem, np.zeros(4), tolerance=1e-14)[-1]
    error = np.linalg.norm(newton(problem, best + 0.5, tolerance=1e-12) - best, axis=1)
    ratios = [after / before**2 for before, after in pairwise(error) if 1e-6 < before < 0.5]
    assert len(ratios) >= 3
    assert max(ratios) < 1


@given(SEEDS)
def test_bfgs_with_exact_searches_ends_in_d_steps_along_conjugate_directions(seed: int) -> None:
    problem = bowl(seed, d=6, kappa=10)
    path = bfgs(problem, np.zeros(6), exact, 0.0, 6)
    assert np.linalg.norm(path[-1] - problem.c) < 1e-8 * np.linalg.norm(problem.c)
    S = np.diff(path, axis=0)
    S /= np.sqrt(np.sum((S @ problem.A) * S, axis=1))[:, None]
    np.testing.assert_allclose(S @ problem.A @ S.T, np.eye(6), atol=1e-6)


def test_bfgs_converges_superlinearly() -> None:
    problem = logistic(1)
    best = newton(problem, np.zeros(4), tolerance=1e-14)[-1]
    error = np.linalg.norm(bfgs(problem, best + 1, tolerance=1e-11) - best, axis=1)
    ratio = error[1:] / error[:-1]
    assert np.median(ratio[-4:-1]) < 0.5 * np.median(ratio[:4])


@given(SEEDS)
def test_the_update_keeps_H_positive_and_maps_y_to_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    s, y, R = rng.standard_normal(4), rng.standard_normal(4), rng.standard_normal((4, 4))
    H = R @ R.T + np.eye(4)
    if s @ y <= 0.01:
        y = y + (0.5 - s @ y) / (s @ s) * s
    new = bfgs_update(H, s, y)
    np.testing.assert_allclose(new @ y, s, atol=1e-9 * np.abs(new).max())
    np.testing.assert_allclose(new, new.T, atol=1e-12 * np.abs(new).max())
    assert np.linalg.eigvalsh(new)[0] > 0
    V = np.eye(4) - np.outer(s, y) / (s @ y)
    np.testing.assert_allclose(new, V @ H @ V.T + np.outer(s, s) / (s @ y), atol=1e-9 * np.abs(new).max())


def test_the_update_refuses_negative_curvature() -> None:
    with pytest.raises(ValueError, match="must be above 0, which the Wolfe conditions ensure"):
        bfgs_update(np.eye(2), np.ones(2), -np.ones(2))


@given(SEEDS)
def test_newtons_direction_points_down_for_every_hessian(seed: int) -> None:
    rng = np.random.default_rng(seed)
    R, g = rng.standard_normal((4, 4)), rng.standard_normal(4)
    assert newton_direction(R + R.T, g) @ g < 0
    np.testing.assert_allclose(newton_direction(R @ R.T, g), -np.linalg.solve(R @ R.T, g), rtol=1e-6)


def test_newton_where_the_hessian_is_indefinite() -> None:
    w = np.array([0.0, 2.0])
    assert np.linalg.eigvalsh(Rosenbrock().hessian(w))[0] < 0
    np.testing.assert_allclose(newton(Rosenbrock(), w)[-1], [1, 1], atol=1e-8)
    with pytest.raises(ValueError, match=r"no minimum: the gradient vanishes, but a curvature is -2"):
        newton(Saddle(), np.array([1.0, 0.0]))
    away = newton(Saddle(), np.array([1.0, 1e-3]), steps=10)
    assert away[-1][1] > 0.5  # along the negative curvature, away from the saddle


def test_a_hessian_that_is_zero() -> None:
    with pytest.raises(ValueError, match="the Hessian is 0"):
        newton_direction(np.zeros((2, 2)), np.ones(2))


def test_full_newton_steps_diverge_where_damped_ones_converge() -> None:
    problem = LogCosh()
    np.testing.assert_allclose(newton(problem, np.array([1.0]), full_step)[-1], 0, atol=1e-8)
    with pytest.raises(Diverged, match=r"step \d+ of size 1 diverged: .* search=backtracking or wolfe"):
        newton(problem, np.array([1.2]), full_step)
    np.testing.assert_allclose(newton(problem, np.array([1.2]))[-1], 0, atol=1e-8)


@pytest.mark.parametrize("method", [steepest_descent, bfgs])
def test_full_steps_of_the_others_are_stopped_too(method: Callable) -> None:
    with pytest.raises(Diverged, match=r"step \d+ of size 1 diverged"):
        method(bowl(0), 1e3 * np.ones(4), full_step) if method is steepest_descent else method(
            Rosenbrock(), VALLEY, full_step
        )


def test_a_loss_without_a_lower_bound() -> None:
    with pytest.raises(Diverged, match="the loss falls without end"):
        bfgs(Saddle(), np.array([0.1, 1.0]))


def test_a_wrong_gradient_is_found_out() -> None:
    class Wrong(LogCosh):
        def gradient(self, w: np.ndarray) -> np.ndarray:
            return -np.tanh(w)

    for search in (backtracking, wolfe):
        with pytest.raises(ValueError, match="check the gradient"):
            steepest_descent(Wrong(), np.ones(2), search)


def test_a_start_at_the_minimum_stays() -> None:
    for method in (steepest_descent, newton, bfgs):
        np.testing.assert_array_equal(method(Rosenbrock(), np.ones(2)), [[1, 1]])
    np.testing.assert_array_equal(descend(FIG_14_1, FIG_14_1.c, Adam(0.1), 2), [FIG_14_1.c] * 3)


def test_the_start_is_not_written_to() -> None:
    w = np.array([1, 2])  # integers, too
    w.flags.writeable = False
    for path in (descend(FIG_14_1, w, SGD(0.1), 3), accelerated(FIG_14_1, w, 0.1, 3), newton(FIG_14_1, w)):
        np.testing.assert_array_equal(path[0], [1, 2])
    np.testing.assert_array_equal(sgd(lambda v: v, w, 0.5, 2), [[1, 2], [0.5, 1]])


# Bad input


@pytest.mark.parametrize(
    ("w", "steps", "message"),
    [
        (np.zeros((2, 1)), 5, "must be a finite vector"),
        (np.array([0.0, np.nan]), 5, "must be a finite vector"),
        (np.zeros(2), -1, "steps=-1: must be at least 0"),
        (np.zeros(1), 5, r"the gradient has shape \(2,\), the start \(1,\)"),
        (np.array([1e200, 0.0]), 5, "loss and gradient must be finite at the start"),
    ],
)
def test_bad_starts(w: np.ndarray, steps: int, message: str) -> None:
    with warnings.catch_warnings(), np.errstate(over="raise"):
        for method in (
            lambda: descend(FIG_14_1, w, SGD(0.1), steps),
            lambda: accelerated(FIG_14_1, w, 0.1, steps),
            lambda: newton(FIG_14_1, w, steps=steps),
            lambda: bfgs(FIG_14_1, w, steps=steps),
            lambda: steepest_descent(FIG_14_1, w, steps=steps),
        ):
            with pytest.raises(ValueError, match=message):
                method()


@pytest.mark.parametrize(
    ("A", "c", "message"),
    [
        (np.eye(3), np.zeros(2), r"A must be \(d, d\) and c \(d,\)"),
        (np.zeros((0, 0)), np.zeros(0), "d at least 1"),
        (np.diag([1.0, np.inf]), np.zeros(2), "must be finite"),
        (np.array([[1.0, 1.0], [0.0, 1.0]]), np.zeros(2), "must be symmetric"),
        (np.diag([1.0, -1.0]), np.zeros(2), "the eigenvalue -1: all must be above 0"),
        (np.diag([1.0, 0.0]), np.zeros(2), "the eigenvalue 0: all must be above 0"),
    ],
)
def test_bad_quadratics(A: np.ndarray, c: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quadratic(A, c)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tuned(2, 1), "must be 0 < mu <= L"),
        (lambda: tuned(0, 1), "must be 0 < mu <= L"),
        (lambda: accelerated(FIG_14_1, np.zeros(2), 0, 5), "eta=0: must be positive"),
        (lambda: lipschitz_step(1, 0, 10), "rho=0: must be positive"),
        (lambda: lipschitz_bound(1, 1, np.array([1.0, 0.0])), "T=.*: must be positive"),
        (lambda: strongly_convex_step(np.nan), "lam=nan: must be positive"),
        (lambda: strongly_convex_bound(1, -1, 10), "lam=-1: must be positive"),
        (lambda: smooth_bound(1, 1, 0), "T=0: must be positive"),
        (lambda: accelerated_bound(np.inf, 1, 1), "L=inf: must be positive"),
        (lambda: sgd(np.sign, np.array([2.0, 0]), 1, 5, B=1.0), "length B=1.0 at most"),
        (lambda: sgd(np.sign, np.array([np.nan]), 1, 5), "must be finite vectors"),
        (lambda: sgd(np.sign, np.array(1.0), 1, 5), "must be finite vectors"),
        (lambda: sgd(np.sign, np.zeros(2), 1, 0), "steps=0: must be at least 1"),
        (lambda: sgd(np.sign, np.zeros(2), -1, 5), "learning_rate must be positive"),
        (lambda: sgd(lambda w: np.zeros(3), np.zeros(2), 1, 5), r"the oracle gives shape \(3,\)"),
        (lambda: suffix_average(np.zeros((0, 2))), "there must be one at least"),
        (lambda: suffix_average(np.zeros((4, 2)), 0), r"share in \(0, 1\]"),
        (lambda: suffix_average(np.zeros((4, 2)), 1.5), r"share in \(0, 1\]"),
        (lambda: bfgs(Rosenbrock(), VALLEY, exact), "an exact search needs a Quadratic"),
        (lambda: Huber(0), "delta=0: must be positive"),
        (lambda: chain(0), "T=0: must be positive"),
    ],
)
def test_bad_arguments(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("ratio", "verdict"), [(0.9, "reproduced"), (1.1, "not reproduced")])
def test_a_bound_is_judged_by_the_worst_seed(ratio: float, verdict: str) -> None:
    part = {"study": "numerical_optimisation", "part": "kink"}
    rows = pd.DataFrame({**part, "seed": range(3), "gap": [0.1, 0.1, ratio], "bound": 1.0})
    ledger = judge(CLAIMS, rows, "test").set_index("id")
    assert ledger.loc["uml-opt-strong-bound", "verdict"] == verdict

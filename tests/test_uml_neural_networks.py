"""Networks: scikit-learn's steps and accuracy, what theory says of each layer, dead units, equal units, XOR."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_moons
from sklearn.neural_network import MLPClassifier

from papers.understanding_ml.neural_networks import (
    INITIALISATIONS,
    XOR,
    accuracy,
    best_halfspace,
    dead_probability,
    mlp,
    moons,
    predict,
    predicted,
    scores,
    spirals,
    squared_gain,
    statistics,
    train,
    weight_variance,
    xor,
    xor_solution,
)
from papers.understanding_ml.perceptron import perceptron
from shared import gradcheck, tree
from shared.datasets import load
from shared.errors import Diverged
from shared.layers.activation import ACTIVATIONS
from shared.layers.combinators import Sequential
from shared.losses import softmax_cross_entropy
from shared.optim import SGD, Adam
from shared.quadrature import moments
from shared.tree import Tree

SEEDS = st.integers(0, 2**32 - 1)
THEIRS = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh"}  # names in scikit-learn
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def stack(net: Sequential, n: int, seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    return tree.stack([net.init(rng) for _ in range(n)])


def digits() -> tuple[np.ndarray, ...]:
    data = load("digits")
    X, X_test = (part.reshape(len(part), 64).astype(np.float32) / 16 for part in (data.train_images, data.test_images))
    return X, data.train_labels.astype(int), X_test, data.test_labels.astype(int)


def assert_same(ours: Tree, theirs: Tree, rtol: float, atol: float) -> None:
    for (path, a), (_, b) in zip(tree.leaves(ours), tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=path)


# Against scikit-learn


@pytest.mark.parametrize("activation", THEIRS)
def test_three_steps_are_scikit_learns(activation: str) -> None:
    X, y, X_test, _ = digits()
    X, y = X[:200].astype(float), y[:200]
    net = mlp((64, 20, 15, 10), activation, "xavier")
    p = tree.astype(net.init(np.random.default_rng(0)), float)
    model = MLPClassifier(
        (20, 15),
        activation=THEIRS[activation],
        solver="sgd",
        alpha=0,
        batch_size=200,
        learning_rate_init=0.3,
        momentum=0,
    )
    model.partial_fit(X, y, classes=np.arange(10))
    for i in range(3):  # their first step was from other weights: set ours in place, where their optimizer holds them
        model.coefs_[i][...] = p[str(2 * i)]["W"]
        model.intercepts_[i][...] = p[str(2 * i)]["b"]
    ours = train(net, p, X, y, SGD(0.3), 3, 200).p
    for _ in range(3):
        model.partial_fit(X, y)
    theirs = {
        str(i): {"W": model.coefs_[i // 2], "b": model.intercepts_[i // 2]} if i % 2 == 0 else {} for i in range(5)
    }
    assert_same(ours, theirs, rtol=1e-9, atol=1e-12)
    s = scores(net, ours, X_test)
    probability = np.exp(s - s.max(-1, keepdims=True))
    probability /= probability.sum(-1, keepdims=True)
    np.testing.assert_allclose(probability, model.predict_proba(X_test), atol=1e-6)


@pytest.mark.parametrize("activation", THEIRS)
def test_digits_are_read_as_well_as_by_scikit_learn(activation: str) -> None:
    X, y, X_test, y_test = digits()
    model = MLPClassifier(
        (64,),
        activation=THEIRS[activation],
        alpha=0,
        batch_size=50,
        learning_rate_init=0.01,
        max_iter=10,
        tol=0,
        random_state=0,
    )
    with pytest.warns(match="Maximum iterations"):
        model.fit(X, y)
    net = mlp((64, 64, 10), activation, "xavier")
    ours = train(net, net.init(np.random.default_rng(0)), X, y, Adam(0.01), 10 * 30, 50).p
    assert accuracy(net, ours, X_test, y_test) > 0.94
    assert abs(accuracy(net, ours, X_test, y_test) - model.score(X_test, y_test)) < 0.03


def test_moons_are_scikit_learns() -> None:
    theirs, labels = make_moons(1000, noise=None)
    X, y = moons(1000, np.random.default_rng(0))
    for c in (0, 1):
        distance = np.linalg.norm(X[y == c][:, None] - theirs[labels == c], axis=2)
        assert max(distance.min(0).max(), distance.min(1).max()) < 0.05


# Gradients and training


@each_activation
def test_gradients_are_those_of_the_loss(activation: str) -> None:
    rng = np.random.default_rng(0)
    net = mlp((3, 5, 4, 3), activation, "he")
    p = tree.astype(net.init(rng), float)
    X, y = rng.standard_normal((6, 3)), np.array([0, 1, 2, 0, 1, 2])

    def loss(p: Tree) -> tuple[np.ndarray, object]:
        s, pullback = net(p, X)
        value, loss_pullback = softmax_cross_entropy(s, y)
        return value, lambda dloss: pullback(loss_pullback(dloss))[1]

    gradcheck.check(loss, p, rng=rng)


@each_activation
def test_statistics_are_what_they_say(activation: str) -> None:
    """For one example delta_l is the slope of the loss in b_l."""
    rng = np.random.default_rng(1)
    net = mlp((3, 6, 5, 4), activation, "gain")
    p = tree.astype(net.init(rng), float)
    X, y = rng.standard_normal((1, 3)), np.array([2])
    found = statistics(net, p, X, y)
    a = X
    for l, layer in enumerate(("0", "2")):
        a, _ = ACTIVATIONS[activation]({}, a @ p[layer]["W"] + p[layer]["b"])
        assert found.mean[l] == pytest.approx(a.mean(), rel=1e-12)
        assert found.square[l] == pytest.approx(np.mean(a**2), rel=1e-12)
        for name, value in (("b", found.gradient[l]), ("W", found.weight_gradient[l])):
            slopes = []
            for index in np.ndindex(p[layer][name].shape):
                values = []
                for step in (1e-5, -1e-5):
                    moved = tree.map(np.copy, p)
                    moved[layer][name][index] += step
                    values.append(softmax_cross_entropy(scores(net, moved, X), y)[0].item())
                slopes.append((values[0] - values[1]) / 2e-5)
            assert value == pytest.approx(np.mean(np.square(slopes)), rel=1e-6)


def test_a_stack_is_its_networks_one_by_one() -> None:
    rng = np.random.default_rng(0)
    net = mlp((2, 8, 8, 2), "gelu")
    p = tree.astype(stack(net, 3), float)
    sets = [make(40, rng, noise=0.1) for make in (spirals, moons, xor)]
    X, y = np.stack([X for X, _ in sets]), np.stack([y for _, y in sets])
    together = train(net, p, X, y, Adam(0.01), 20, 10, seed=5, keep=(7,))
    for i in range(3):
        one = tree.map(lambda array, i=i: array[i], p)
        alone = train(net, one, X[i], y[i], Adam(0.01), 20, 10, seed=5, keep=(7,))
        np.testing.assert_allclose(together.losses[:, i], alone.losses, rtol=1e-9)
        assert_same(tree.map(lambda array, i=i: array[i], together.snapshots[7]), alone.snapshots[7], 1e-8, 1e-10)
        assert accuracy(net, together.p, X, y)[i] == accuracy(net, alone.p, X[i], y[i])
        np.testing.assert_allclose(
            [value[:, i] for value in statistics(net, together.p, X, y)],
            statistics(net, alone.p, X[i], y[i]),
            rtol=1e-6,
        )


def test_snapshots_are_shorter_trainings_and_the_start_stays() -> None:
    X, y = moons(50, np.random.default_rng(0), 0.1)
    net = mlp((2, 8, 2))
    p = net.init(np.random.default_rng(1))
    before = tree.map(np.copy, p)
    kept = train(net, p, X, y, SGD(0.1), 12, 10, seed=3, keep=(0, 5, 12))
    assert list(kept.snapshots) == [0, 5, 12]
    assert len(kept.losses) == 12
    for steps, q in kept.snapshots.items():
        assert_same(q, train(net, p, X, y, SGD(0.1), steps, 10, seed=3).p, 0, 0)
    assert_same(p, before, 0, 0)
    assert_same(kept.snapshots[0], before, 0, 0)


@each_activation
def test_every_activation_learns_the_moons(activation: str) -> None:
    X, y = moons(200, np.random.default_rng(0), 0.1)
    net = mlp((2, 16, 16, 2), activation, "gain")
    p = train(net, net.init(np.random.default_rng(0)), X, y, Adam(0.05), 400, 50).p
    assert accuracy(net, p, X, y) >= 0.98


def test_a_class_without_examples_is_not_answered() -> None:
    X, y = moons(100, np.random.default_rng(0), 0.1)
    net = mlp((2, 8, 3))
    p = train(net, net.init(np.random.default_rng(0)), X, y, Adam(0.05), 200, 50).p
    assert set(predict(net, p, X)) == {0, 1}


@pytest.mark.parametrize(("rate", "steps"), [(1e4, 50), (1e30, 1)])
def test_a_training_that_diverges_stops_and_says_when(rate: float, steps: int) -> None:
    X, y = moons(50, np.random.default_rng(0), 0.1)
    net = mlp((2, 8, 8, 2), "leaky relu")
    with pytest.raises(Diverged, match=r"not finite (at|after) step \d+.*lower the learning rate"):
        train(net, net.init(np.random.default_rng(0)), X, y, SGD(rate), steps, 50)


# What theory says of the layers


@pytest.mark.parametrize("q", [1e-3, 1.0, 10.0, 100.0])
@each_activation
def test_moments_are_the_integrals(activation: str, q: float) -> None:
    z = 1e-4 * (np.arange(240_000) - 119_999.5)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * 1e-4
    value, pullback = ACTIVATIONS[activation]({}, np.sqrt(q) * z)
    slope, _ = pullback(np.ones_like(z))
    square, slope_square = moments(ACTIVATIONS[activation], np.array(q))
    assert square == pytest.approx(value**2 @ density, rel=1e-7)
    assert slope_square == pytest.approx(slope**2 @ density, rel=1e-7)


@given(st.floats(0, 100))
def test_moments_that_are_known(q: float) -> None:
    square, slope = moments(ACTIVATIONS["relu"], np.array(q))
    assert square == pytest.approx(q / 2, rel=1e-12)
    assert slope == pytest.approx(0.5 if q else 0, rel=1e-12)
    assert moments(ACTIVATIONS["leaky relu"], np.array(q))[0] == pytest.approx(0.52 * q, rel=1e-12)
    assert moments(ACTIVATIONS["sigmoid"], np.array(q))[1] <= 1 / 16 + 1e-15
    assert moments(ACTIVATIONS["tanh"], np.array(q))[0] <= min(q, 1) * (1 + 1e-12)


def test_gains() -> None:
    gains = [squared_gain(activation) for activation in ACTIVATIONS]
    np.testing.assert_allclose(gains, [2, 2 / 1.04, 3.4086, 2.5362, 2.3517], atol=1e-4)


@pytest.mark.parametrize("initialisation", INITIALISATIONS[:3])
@each_activation
def test_weights_have_their_variance(activation: str, initialisation: str) -> None:
    p = mlp((300, 200, 10), activation, initialisation).init(np.random.default_rng(0))
    W, variance = p["0"]["W"].astype(float), weight_variance(initialisation, activation, 300, 200)
    assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
    assert np.var(W) / variance == pytest.approx(1, abs=4 * np.sqrt(2 / W.size))
    assert W.dtype == float
    assert not p["0"]["b"].any()


def test_the_three_initialisations_are_the_known_ones() -> None:
    assert weight_variance("xavier", "tanh", 30, 20) == 2 / 50
    assert weight_variance("he", "tanh", 30, 20) == 2 / 30
    assert weight_variance("gain", "relu", 30, 20) == pytest.approx(2 / 30)
    W = mlp((4, 5, 3), "tanh", "equal").init(np.random.default_rng(0))["0"]["W"]
    np.testing.assert_array_equal(W, np.full((4, 5), 0.25, np.float32))


def test_the_recursion_where_it_is_known() -> None:
    widths = (50, *[80] * 11, 10)
    X = np.random.default_rng(0).standard_normal((7, 50))
    square, gradient = predicted(widths, "relu", "he", X)
    np.testing.assert_allclose(square, np.mean(X**2), rtol=1e-12)
    np.testing.assert_allclose(gradient, 1, rtol=1e-12)
    square, gradient = predicted(widths, "relu", "xavier", X)
    np.testing.assert_allclose(square[1:] / square[:-1], 0.5, rtol=1e-12)
    np.testing.assert_allclose(gradient[:-1] / gradient[1:], 0.5, rtol=1e-12)
    square, _ = predicted(widths, "leaky relu", "gain", X)
    np.testing.assert_allclose(square, np.mean(X**2), rtol=1e-12)
    _, gradient = predicted(widths, "sigmoid", "he", X)
    assert (gradient[:-1] / gradient[1:] < 2 / 16).all()
    square, _ = predicted(widths, "tanh", "xavier", X)
    assert 0.8 < (square[1:] / square[:-1])[-1] < 1


def test_the_recursion_for_widths_that_change() -> None:
    """Widths 30, 60, 20, 40: He keeps E[a^2] forward, and multiplies E[delta^2] by n_{l+1} / n_l on the way back."""
    X = np.random.default_rng(0).standard_normal((7, 10))
    square, gradient = predicted((10, 30, 60, 20, 40, 3), "relu", "he", X)
    np.testing.assert_allclose(square, np.mean(X**2), rtol=1e-12)
    np.testing.assert_allclose(gradient, [40 / 30, 40 / 60, 40 / 20, 1], rtol=1e-12)


@pytest.mark.parametrize("initialisation", INITIALISATIONS[:3])
@each_activation
def test_wide_layers_follow_the_recursion(activation: str, initialisation: str) -> None:
    rng = np.random.default_rng(2)
    X, y, widths = rng.standard_normal((10, 30)), rng.integers(4, size=10), (30, 300, 200, 300, 4)
    net = mlp(widths, activation, initialisation)
    found = statistics(net, stack(net, 8), X, y)
    square, gradient = predicted(widths, activation, initialisation, X)
    np.testing.assert_allclose(found.square.mean(1), square, rtol=0.12)
    np.testing.assert_allclose(found.gradient.mean(1) / found.gradient[-1].mean(), gradient, rtol=0.12)


# Dead units


@pytest.mark.parametrize("bias", [0.0, -0.3, -1.0, -4.0])
@pytest.mark.parametrize("centre", [0.0, 1.5])  # around 0, and all on one side of it
def test_dead_probability_is_the_share_of_dead_units(bias: float, centre: float) -> None:
    X, y = spirals(100, np.random.default_rng(0))
    X = X + np.float32(2 * centre)
    net = mlp((2, 20_000, 2))
    p = net.init(np.random.default_rng(1))
    p["0"]["b"][:] = bias
    theory = dead_probability(X, bias)
    assert statistics(net, p, X, y).dead[0] == pytest.approx(
        theory, abs=4 * np.sqrt(theory * (1 - theory) / 20_000) + 1e-12
    )


def test_dead_probability_of_one_point() -> None:
    assert dead_probability(np.array([[3.0, 0.0]]), 0) == pytest.approx(0.5, abs=1e-3)
    circle = np.array([[np.cos(t), np.sin(t)] for t in np.arange(720) * np.pi / 360])
    assert dead_probability(circle, -1.0) == pytest.approx(1 - np.exp(-0.5), rel=1e-4)


def test_a_dead_unit_stays_dead_and_a_leaky_one_does_not() -> None:
    X, y = moons(60, np.random.default_rng(0), 0.1)
    for activation, moves in (("relu", False), ("leaky relu", True)):
        net = mlp((2, 6, 2), activation)
        p = net.init(np.random.default_rng(0))
        p["0"]["b"][2] = -20
        trained = train(net, p, X, y, SGD(0.1), 50, 20).p
        assert (trained["0"]["W"][:, 2] != p["0"]["W"][:, 2]).all() == moves
        dead = statistics(net, trained, X, y).dead[0]
        assert dead == (0 if moves else pytest.approx(1 / 6))


def test_a_huge_step_kills_relu_units() -> None:
    X, y = spirals(200, np.random.default_rng(0))
    share = {}
    for activation in ("relu", "leaky relu"):
        net = mlp((2, 64, 64, 2), activation)
        p = stack(net, 10)
        before, after = (statistics(net, q, X, y).dead for q in (p, train(net, p, X, y, SGD(100), 1, 200).p))
        assert before[0].max() == 0  # 0 is inside the spirals
        share[activation] = after.mean() - before.mean()
    assert share["relu"] > 0.05
    assert share["leaky relu"] == 0


# Equal units


@each_activation
def test_equal_units_stay_equal_and_are_one(activation: str) -> None:
    net = mlp((2, 8, 2), activation, "equal")
    p = train(net, net.init(np.random.default_rng(0)), *xor(100, np.random.default_rng(0), 0.3), Adam(0.05), 200, 50).p
    np.testing.assert_allclose(np.ptp(p["0"]["W"], axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.ptp(p["2"]["W"], axis=0), 0, atol=1e-6)
    assert np.abs(p["0"]["W"] - 0.5).max() > 0.01  # they did move
    one = {"0": tree.map(lambda array: array[..., :1], p["0"]), "1": {}, "2": {**p["2"], "W": 8 * p["2"]["W"][:1]}}
    X = np.random.default_rng(0).standard_normal((20, 2))
    np.testing.assert_allclose(scores(mlp((2, 1, 2), activation), one, X), scores(net, p, X), rtol=1e-4, atol=1e-5)
    if activation == "gelu":  # not monotone: one unit is more than a halfspace
        assert accuracy(net, p, *XOR) == 1
    else:
        assert accuracy(net, p, *XOR) <= 0.75


def test_one_gelu_unit_solves_xor() -> None:
    """gelu(u - 3/4), u = x_1 + x_2, is -0.17 at u = 0, -0.01 at -2, 1.12 at 2."""
    p = {
        "0": {"W": np.ones((2, 1)), "b": np.array([-0.75])},
        "1": {},
        "2": {"W": np.array([[1.0, -1.0]]), "b": np.array([0.1, -0.1])},
    }
    assert accuracy(mlp((2, 1, 2), "gelu"), p, *XOR) == 1


def test_random_weights_break_the_symmetry() -> None:
    net = mlp((2, 8, 2), "tanh")
    p = train(net, stack(net, 20), *XOR, Adam(0.05), 150, 4).p
    assert (np.ptp(p["0"]["W"], axis=2) > 0.1).all()
    assert np.mean(accuracy(net, p, *XOR) == 1) >= 0.9


# XOR


def test_no_halfspace_has_xor() -> None:
    X, y = XOR
    assert best_halfspace(X, y) == 0.75
    assert best_halfspace(X, 1 - y) == 0.75
    labels = np.array([[i >> k & 1 for k in range(4)] for i in range(16)])
    solved = [best_halfspace(X, row) == 1 for row in labels]
    assert [i for i in range(16) if not solved[i]] == sorted(int(row @ [1, 2, 4, 8]) for row in (y, 1 - y))
    with pytest.raises(ValueError, match="no halfspace through 0 after 1000 updates"):
        perceptron(np.column_stack([X, np.ones(4)]), 2 * y - 1, limit=1000)


@settings(max_examples=20)
@given(SEEDS)
def test_logistic_regression_errs_on_xor(seed: int) -> None:
    net = mlp((2, 2), initialisation="xavier")
    for p in train(net, net.init(np.random.default_rng(seed)), *XOR, SGD(1.0), 8, 4, keep=range(9)).snapshots.values():
        w = np.diff(p["0"]["W"].astype(float), axis=1)  # exact in float64: in float32 rounding may solve it near w = 0
        assert np.mean((XOR[0] @ w + np.diff(p["0"]["b"].astype(float)) > 0)[:, 0] != XOR[1]) >= 0.25


@settings(max_examples=20)
@given(SEEDS)
def test_best_halfspace_of_separable_points_is_perfect(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((6, 2))
    assert best_halfspace(X, (X @ rng.standard_normal(2) + 0.1 > 0).astype(int)) == 1


@each_activation
def test_two_units_solve_xor(activation: str) -> None:
    s = scores(mlp((2, 2, 2), activation), xor_solution(activation), XOR[0])
    assert (np.diff(s)[:, 0] * (2 * XOR[1] - 1) > 0.2).all()


# Data


def test_data_without_noise() -> None:
    X, y = spirals(500, np.random.default_rng(0), turns=1.5)
    radius = np.hypot(*X.T)
    angle = 1.5 * np.pi * radius + np.pi * y
    np.testing.assert_allclose(X, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-5)
    assert np.mean(X.astype(float) ** 2) == pytest.approx(1, abs=0.15)
    X, y = xor(500, np.random.default_rng(0))
    assert (np.abs(X) == 1).all()
    np.testing.assert_array_equal(y, X[:, 0] != X[:, 1])
    for make in (spirals, moons, xor):
        X, y = make(1000, np.random.default_rng(0), noise=0.1)
        clean, labels = make(1000, np.random.default_rng(0))
        np.testing.assert_array_equal(y, labels)
        assert np.std(X - clean) == pytest.approx(0.1, rel=0.1)
        assert X.dtype == np.float32
        assert 400 < y.sum() < 600


# Bad input

NET = mlp((2, 3, 2))
P = NET.init(np.random.default_rng(0))
X4, Y4 = XOR


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((2, 3, 2), "rleu"), "unknown activation 'rleu'. Valid: relu, leaky relu, sigmoid, tanh, gelu"),
        (((2, 3, 2), "relu", "glorot"), "unknown initialisation 'glorot'. Valid: xavier, he, gain, equal"),
        (((2, 0, 2),), "widths must be .* an integer of 1 or more; got"),
        (((2, -1, 2),), "widths must be"),
        (((2, 2.5, 2),), "widths must be"),
        (((2,),), "two at least"),
        (((),), "two at least"),
    ],
)
def test_bad_networks(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mlp(*arguments)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (X4, np.array([0, 1, 2, 1]), "labels must be integers from 0 to 1; got int64 .0 1 2.: number them anew"),
        (X4, np.array([-1, 1, 1, -1]), "labels must be integers from 0 to 1"),
        (X4, np.array([0.0, 1, 1, 0]), "labels must be integers from 0 to 1; got float64"),
        (X4, np.array(["a", "b", "a", "b"]), "labels must be integers"),
        (X4, Y4[:3], r"y must be \(m,\) = \(4,\)"),
        (X4, Y4[:, None], r"y must be \(m,\)"),
        (X4[:, :1], Y4, r"X must be \(m, 2\)"),
        (X4[0], Y4, r"X must be \(m, 2\)"),
        (X4[None], Y4, r"X must be \(m, 2\)"),
        (X4[:0], Y4[:0], "m at least 1"),
        (np.where(X4 > 0, np.nan, X4), Y4, "X must be finite"),
        (np.where(X4 > 0, np.inf, X4), Y4, "X must be finite"),
        (np.where(X4 > 0, 1e300, X4.astype(float)), Y4, "finite, in float32 too: .* scale down large ones"),
    ],
)
def test_bad_data(X: np.ndarray, y: np.ndarray, message: str) -> None:
    for use in (accuracy, statistics):
        with pytest.raises(ValueError, match=message):
            use(NET, P, X, y)
    with pytest.raises(ValueError, match=message):
        train(NET, P, X, y, SGD(0.1), 1, 1)


def test_bad_training() -> None:
    for steps, keep in ((-1, ()), (3, (4,)), (3, (-1,))):
        with pytest.raises(ValueError, match="keep lie between 0 and steps"):
            train(NET, P, X4, Y4, SGD(0.1), steps, 4, keep=keep)
    for batch_size in (0, 5):
        with pytest.raises(ValueError, match="must be between 1 and the 4 datapoints"):
            train(NET, P, X4, Y4, SGD(0.1), 1, batch_size)
    with pytest.raises(ValueError, match="learning_rate must be positive and finite"):
        train(NET, P, X4, Y4, SGD(0.0), 1, 4)
    with pytest.raises(ValueError, match=r"X must be \(m, 2\) .* a stack of such, one a network; got \(3, 4, 2\)"):
        train(NET, stack(NET, 2), np.stack([X4] * 3), Y4, SGD(0.1), 1, 4)


def test_bad_questions() -> None:
    with pytest.raises(ValueError, match="the variance q must be finite and not negative"):
        moments(ACTIVATIONS["relu"], np.array([-1.0]))
    with pytest.raises(ValueError, match="unknown activation 'selu'"):
        squared_gain("selu")
    with pytest.raises(ValueError, match="unknown activation 'selu'"):
        xor_solution("selu")
    with pytest.raises(ValueError, match=r"unknown random initialisation 'equal'\. Valid: xavier, he, gain"):
        predicted((2, 3, 2), "relu", "equal", X4)
    with pytest.raises(ValueError, match="need a hidden layer, and n_0 features in X"):
        predicted((2, 2), "relu", "he", X4)
    with pytest.raises(ValueError, match="need a hidden layer, and n_0 features in X"):
        predicted((3, 3, 2), "relu", "he", X4)
    with pytest.raises(ValueError, match="bias finite and at most 0"):
        dead_probability(X4, 0.5)
    with pytest.raises(ValueError, match=r"X must be \(m, 2\)"):
        dead_probability(np.ones((4, 3)), -1)
    with pytest.raises(ValueError, match="labels 0 and 1"):
        best_halfspace(X4, 2 * Y4 - 1)
    with pytest.raises(ValueError, match="not in general position"):
        best_halfspace(np.array([[0.0, 0], [1, 1], [2, 2], [0, 1]]), Y4)


@pytest.mark.parametrize("make", [spirals, moons, xor])
def test_bad_generated_data(make) -> None:
    rng = np.random.default_rng(0)
    for m, noise in ((0, 0.1), (5, -0.1), (5, np.nan), (5, np.inf)):
        with pytest.raises(ValueError, match="m must be at least 1, noise finite and not negative"):
            make(m, rng, noise)
    with pytest.raises(ValueError, match="turns=0: must be positive and finite"):
        spirals(5, rng, turns=0)

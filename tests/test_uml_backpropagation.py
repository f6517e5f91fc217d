"""Backpropagation: three codes against torch, random expressions on the tape, both modes, and what they cost."""

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from papers.understanding_ml import tape
from papers.understanding_ml.backpropagation import (
    ACTIVATIONS,
    LOSSES,
    Dual,
    by_dual,
    by_hand,
    by_pullbacks,
    by_tape,
    commutation,
    init,
    jacobian_forward,
    jacobian_reverse,
    network,
    vec,
)
from papers.understanding_ml.jacobian import complex_step
from papers.understanding_ml.studies.backpropagation import (
    apart,
    counted,
    crossover,
    forward_pass,
    multiplications,
    tape_formula,
)
from papers.understanding_ml.tape import Node, backward
from shared import tree

WAYS = (by_hand, by_tape, by_pullbacks)
TORCH = {
    "ReLU": torch.relu,
    "leaky ReLU": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "SiLU": F.silu,
    "GELU (tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "softmax": lambda x: torch.softmax(x, -1),
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
each_loss = pytest.mark.parametrize("loss", LOSSES)


def problem(loss: str, widths: tuple[int, ...] = (5, 7, 3), m: int = 11, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    p, X = init(rng, widths), rng.standard_normal((m, widths[0]))
    y = rng.standard_normal((m, widths[-1])) if loss == "squared" else rng.integers(0, widths[-1], m)
    return p, X, y


def torch_gradient(p: tree.Tree, X: np.ndarray, y: np.ndarray, activation: str, loss: str) -> tuple[float, tree.Tree]:
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    o = torch.tensor(X)
    for t, layer in enumerate(q.values()):
        o = (TORCH[activation](o) if t else o) @ layer["W"] + layer["b"]
    target = torch.tensor(y)
    result = 0.5 * ((o - target) ** 2).sum(1).mean() if loss == "squared" else F.cross_entropy(o, target)
    result.backward()
    return result.item(), tree.map(lambda a: a.grad.numpy(), q)


def assert_same(p: tree.Tree, q: tree.Tree, rtol: float = 1e-12, atol: float = 0.0) -> None:
    for (path, a), (_, b) in zip(tree.leaves(p), tree.leaves(q), strict=True):
        assert a.shape == b.shape, path
        assert np.abs(a - b).max() <= rtol * np.abs(b).max() + atol, path


# Three codes, one gradient.


@each_activation
@each_loss
@pytest.mark.parametrize("size", [1, 30])  # at 30 the units saturate
def test_three_ways_are_torchs_gradient(activation: str, loss: str, size: float) -> None:
    p, X, y = problem(loss)
    value, gradient = torch_gradient(p, size * X, y, activation, loss)
    for way in WAYS:
        ours, slopes = way(p, size * X, y, activation, loss)
        assert ours == pytest.approx(value, rel=1e-12)
        assert_same(slopes, gradient)


@each_activation
@each_loss
@pytest.mark.parametrize("zero", [("1",), ("1", "2")])
def test_three_ways_agree_at_zero_weights(activation: str, loss: str, zero: tuple[str, ...]) -> None:
    """Every unit is on its kink, and some gradients vanish."""
    p, X, y = problem(loss)
    p |= {name: tree.map(np.zeros_like, p[name]) for name in zero}
    (value, hand), *others = (way(p, X, y, activation, loss) for way in WAYS)
    for ours, gradient in others:
        assert ours == pytest.approx(value, rel=1e-12)
        assert_same(gradient, hand, atol=1e-16)


@each_activation
@each_loss
def test_complex_steps_and_dual_numbers_give_the_gradient(activation: str, loss: str) -> None:
    p, X, y = problem(loss)
    flat, _ = tree.flatten(p)
    exact = complex_step(lambda theta: forward_pass(tree.views(p, theta), X, y, activation, loss), flat, 1e-30)
    value, forward = by_dual(p, X, y, activation, loss, np.eye(len(flat)))
    ours, gradient = by_hand(p, X, y, activation, loss)
    assert value == pytest.approx(ours, rel=1e-12)
    assert_same(gradient, tree.views(p, exact))
    assert_same(gradient, tree.views(p, forward))


@pytest.mark.parametrize("widths", [(4, 3), (4, 6, 5, 3), (3,) * 12])
def test_tape_and_pullbacks_at_other_depths(widths: tuple[int, ...]) -> None:
    p, X, y = problem("cross-entropy", widths)
    _, gradient = torch_gradient(p, X, y, "tanh", "cross-entropy")
    for way in (by_tape, by_pullbacks):
        assert_same(way(p, X, y, "tanh", "cross-entropy")[1], gradient)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_three_ways_agree_for_any_shape(d: int, h: int, K: int, m: int, seed: int) -> None:
    p, X, y = problem("cross-entropy", (d, h, K), m, seed)
    (_, hand), (_, by_tapes), (_, shared) = (way(p, X, y, "sigmoid", "cross-entropy") for way in WAYS)
    assert_same(by_tapes, hand, atol=1e-15)
    assert_same(shared, hand, atol=1e-15)


def test_nothing_is_mutated() -> None:
    p, X, y = problem("squared")
    for array in (X, y, *(leaf for _, leaf in tree.leaves(p))):
        array.setflags(write=False)
    for way in WAYS:
        assert way(p, X, y, "SiLU", "squared")[0] == way(p, X, y, "SiLU", "squared")[0]


# The tape.

UNARY: dict[str, tuple[Callable, Callable]] = {
    "exp": (lambda x: tape.exp(tape.tanh(x)), lambda x: torch.exp(torch.tanh(x))),
    "log": (lambda x: tape.log(x * x + 1), lambda x: torch.log(x * x + 1)),
    "tanh": (tape.tanh, torch.tanh),
    "sigmoid": (tape.sigmoid, torch.sigmoid),
    "relu": (tape.relu, torch.relu),
    "negative": (lambda x: -x, lambda x: -x),
    "power": (lambda x: tape.tanh(x) ** 3, lambda x: torch.tanh(x) ** 3),
    "base": (lambda x: 2 ** tape.tanh(x), lambda x: 2 ** torch.tanh(x)),
    "sum of rows": (lambda x: x.sum(0), lambda x: x.sum(0)),
    "mean of columns": (lambda x: x.mean(-1, keepdims=True), lambda x: x.mean(-1, keepdim=True)),
    "rows": (lambda x: x[[0, 1, 0]][:2], lambda x: x[[0, 1, 0]][:2]),
    "reshape": (lambda x: x.reshape(3, 2).T, lambda x: x.reshape(3, 2).T),
    "gram": (lambda x: tape.tanh(x @ x.T) @ x, lambda x: torch.tanh(x @ x.T) @ x),
}
BINARY: dict[str, Callable] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / (y * y + 1),
    "@": lambda x, y: x @ (y + 0 * x).T @ x,
    "-1": lambda x, y: 1 - x / 2 + y,
}
PROGRAM = st.lists(st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 99), st.integers(0, 99)), max_size=8)


def run(program: list, leaves: list, mode: int) -> Any:
    """A scalar from the program's ops, on the tape's values (mode 0) or on torch's (mode 1)."""
    squash = (tape.tanh, torch.tanh)[mode]
    pool, result = list(leaves), 0
    whole = leaves[0]
    for name, i, j in program:
        x = whole + pool[i % len(pool)]  # (2, 3), whatever was picked: broadcast
        y = BINARY[name](x, pool[j % len(pool)]) if name in BINARY else UNARY[name][mode](x)
        pool.append(squash(y))
        result = result + (pool[-1] * pool[-1] + pool[-1]).sum()
    return result + (whole * whole).sum()


@given(PROGRAM, st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_random_expressions(program: list, seed: int) -> None:
    """Values and gradients are torch's, and a direction in forward mode is the gradient's inner product with it."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in ((2, 3), (3,), (2, 1), ())]
    nodes = [Node(a) for a in arrays]
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    ours, theirs = run(program, nodes, 0), run(program, tensors, 1)
    theirs.backward()
    assert ours.value == pytest.approx(theirs.item(), rel=1e-10)
    gradients = backward(ours, nodes)
    for a, tensor in zip(gradients, tensors, strict=True):
        expected = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(a, expected, rtol=1e-9, atol=1e-10)
    directions = [rng.standard_normal(a.shape) for a in arrays]
    dual = run(program, [Dual(a, [v]) for a, v in zip(arrays, directions, strict=True)], 0)
    slope = sum(float(np.sum(g * v)) for g, v in zip(gradients, directions, strict=True))
    assert dual.tangents[0] == pytest.approx(slope, rel=1e-9, abs=1e-10)


OPS: dict[str, tuple[Callable, tuple[int, ...]]] = {
    "broadcast up": (lambda x: x + np.ones((2, 4, 3)), (4, 1)),
    "subtract from": (lambda x: np.ones((5, 2)) - x, (2,)),
    "divide": (lambda x: np.arange(1.0, 4) / (x * x + 1), (2, 3)),
    "power of power": (lambda x: (x * x + 1) ** x, (3,)),
    "sum of two axes": (lambda x: x.sum((0, -1)), (2, 3, 4)),
    "sum, kept": (lambda x: x.sum(1, keepdims=True), (2, 3)),
    "sum of all, kept": (lambda x: x.sum(keepdims=True), (2, 3)),
    "mean": (lambda x: x.mean((0, 2)), (2, 3, 4)),
    "transpose": (lambda x: x.transpose(1, -1, 0), (2, 3, 4)),
    "reshape": (lambda x: x.reshape(4, -1), (2, 3, 4)),
    "reshape by a tuple": (lambda x: x.reshape((6, 4)), (2, 3, 4)),
    "an entry": (lambda x: x[1, 0], (2, 3)),
    "a slice": (lambda x: x[..., ::-2], (2, 3)),
    "rows twice": (lambda x: x[np.array([0, 1, 0])], (2, 3)),
    "a mask": (lambda x: x[np.array([[True, False, True], [False, True, False]])], (2, 3)),
    "vector @ matrix": (lambda x: x @ np.arange(6.0).reshape(3, 2), (3,)),
    "matrix @ vector": (lambda x: np.arange(6.0).reshape(2, 3) @ x, (3,)),
    "stack @ vector": (lambda x: x @ np.arange(3.0), (4, 2, 3)),
    "vector @ stack": (lambda x: np.arange(2.0) @ x, (4, 2, 3)),
    "stack @ itself": (lambda x: x @ x.transpose(0, 2, 1), (4, 2, 3)),
    "matrix @ stack": (lambda x: x @ np.arange(24.0).reshape(4, 3, 2), (2, 3)),
    "stack of one": (lambda x: x @ np.arange(24.0).reshape(4, 3, 2), (1, 2, 3)),
    "inner product": (lambda x: x @ x, (3,)),
}


@pytest.mark.parametrize("name", OPS)
def test_jacobians_of_both_modes_are_the_complex_steps(name: str) -> None:
    f, shape = OPS[name]
    x = np.random.default_rng(0).standard_normal(shape)
    forward, reverse = jacobian_forward(f, x), jacobian_reverse(f, x)
    columns = [np.imag(f(x + 1e-30j * e)) / 1e-30 for e in np.eye(x.size).reshape(-1, *shape)]
    exact = np.stack(columns, -1).reshape(forward.shape)
    np.testing.assert_allclose(forward, exact, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(reverse, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *[((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4))],
        *[
            ((5, 2, 3), (5, 3, 4)),
            ((5, 1, 2, 3), (6, 3, 4)),
            ((1, 2, 3), (5, 3, 4)),
            ((3,), (5, 3, 4)),
            ((5, 2, 3), (3,)),
        ],
    ],
)
def test_matmul_is_torchs_for_all_ranks(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(left), rng.standard_normal(right)
    nodes, tensors = (Node(a), Node(b)), [torch.tensor(v, requires_grad=True) for v in (a, b)]
    y, expected = nodes[0] @ nodes[1], tensors[0] @ tensors[1]
    dy = rng.standard_normal(y.shape)
    expected.backward(torch.tensor(dy))
    for ours, tensor in zip(backward(y, nodes, dy), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("left", "right"), [((), ()), ((2, 3), ()), ((), (2, 3)), ((2, 1), (1, 3)), ((4, 2, 3), (2, 1))]
)
@pytest.mark.parametrize("f", [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow])
def test_broadcasting_is_torchs(f: Callable, left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, left), rng.uniform(0.5, 2, right)
    nodes, tensors = (Node(a), Node(b)), [torch.tensor(v, requires_grad=True) for v in (a, b)]
    y = f(*nodes)
    dy = rng.standard_normal(y.shape)
    f(*tensors).backward(torch.tensor(dy))
    for node, ours, tensor in zip(nodes, backward(y, nodes, dy), tensors, strict=True):
        assert ours.shape == node.shape
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_a_node_used_twice_gets_the_sum() -> None:
    x = Node(3.0)
    assert backward(x + x, [x])[0] == 2
    assert backward(x * x, [x])[0] == 6
    y = x * x
    assert backward(y * y + y, [x])[0] == 4 * 27 + 6  # through y twice more
    z = x
    for _ in range(20):
        z = z + z  # 2^20 ways from z to x
    assert backward(z, [x])[0] == 2**20


def test_nodes_between_and_nodes_without_influence() -> None:
    x, unused = Node([1.0, 2.0]), Node(np.ones((2, 2)))
    middle = x * x
    gradients = backward((3 * middle).sum(), [middle, unused, x, x])
    np.testing.assert_array_equal(gradients[0], [3, 3])
    np.testing.assert_array_equal(gradients[1], np.zeros((2, 2)))
    np.testing.assert_array_equal(gradients[2], [6, 12])
    np.testing.assert_array_equal(gradients[3], gradients[2])
    ones = backward(x.sum(), [x, x])
    ones[0] *= 5  # they belong to the caller
    np.testing.assert_array_equal(ones[1], [1, 1])
    dy = np.ones(2)
    backward(x, [x], dy)[0][:] = 0
    np.testing.assert_array_equal(dy, [1, 1])


def test_deep_graphs_need_no_recursion() -> None:
    x, length = Node(1.0), 10_000
    y = x
    for _ in range(length):
        y = y + 0.5 * x
    assert y.value == 1 + length / 2
    assert backward(y, [x])[0] == 1 + length / 2


def test_zeros_of_powers_and_relu() -> None:
    x = Node([0.0, 2.0])
    np.testing.assert_array_equal(backward((x**2).sum(), [x])[0], [0, 4])
    np.testing.assert_array_equal(backward((x**0).sum(), [x])[0], [0, 0])
    np.testing.assert_array_equal(backward((x**1).sum(), [x])[0], [1, 1])
    np.testing.assert_allclose(backward((np.array([0.0, 2.0]) ** x).sum(), [x])[0], [0, 4 * np.log(2)])
    np.testing.assert_array_equal(backward(tape.relu(x).sum(), [x])[0], [0, 1])


def test_sigmoid_does_not_overflow() -> None:
    x = Node([-800.0, -40.0, 0.0, 40.0, 800.0])
    y = tape.sigmoid(x)
    np.testing.assert_allclose(y.value, [0, np.exp(-40), 0.5, 1, 1], rtol=1e-15)
    np.testing.assert_allclose(backward(y.sum(), [x])[0], [0, np.exp(-40), 0.25, 0, 0], rtol=1e-15, atol=1e-17)


def test_plain_arrays_stay_plain_and_lists_and_integers_are_numbers() -> None:
    assert isinstance(tape.exp(np.zeros(3)), np.ndarray)
    for number in (2, True, np.int32(2), np.float32(2), [1, 2]):
        assert Node(number).value.dtype == np.float64
    y = [1, 2] + Node([3, 4]) * np.array([1, 2])
    np.testing.assert_array_equal(y.value, [4, 10])
    np.testing.assert_array_equal((np.array([1.0, 2.0]) - Node([3, 4])).value, [-2, -2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x + np.ones(4), r"add of \(2, 3\) and \(4,\): .*broadcast"),
        (lambda x: x @ x, r"matmul of \(2, 3\) and \(2, 3\)"),
        (lambda x: x @ 2.0, r"matmul of \(2, 3\) and \(\)"),
        (lambda x: x.reshape(4), r"reshape of \(2, 3\)"),
        (lambda x: x.sum(2), r"total of \(2, 3\): axis 2 is out of bounds"),
        (lambda x: x.transpose(0, 0), r"transpose of \(2, 3\)"),
        (lambda x: x * "two", "arrays of numbers, got str"),
        (lambda x: x + Dual(1.0, [1.0]), "add of a Node and a Dual: take one mode at a time"),
        (lambda x: Node(None), "arrays of numbers, got NoneType"),
        (lambda x: backward(x, [x]), r"y of shape \(2, 3\) is no scalar: give dy"),
        (lambda x: backward(x, [x], np.ones(3)), r"dy must have y's shape \(2, 3\), got \(3,\)"),
        (lambda x: backward(np.ones(3), [x]), "from a Node to Nodes, got ndarray"),
        (lambda x: backward(x.sum(), [np.ones(3)]), "from a Node to Nodes, got ndarray"),
        (lambda x: Dual([1.0, 2.0], [[1.0]]), r"a tangent must have the value's shape \(2,\), got \(1,\)"),
        (lambda x: Dual(1.0, [1.0]) * Dual(1.0, [1.0, 2.0]), "the same number of tangents"),
        (lambda x: jacobian_forward(lambda v: 1.0, np.ones(2)), "does not depend on x"),
        (lambda x: jacobian_reverse(lambda v: v.value, np.ones(2)), "does not depend on x"),
    ],
)
def test_mistakes_on_the_tape(wrong: Callable[[Node], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong(Node(np.ones((2, 3))))


def test_functions_of_numpy_are_refused() -> None:
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.exp(Node(1.0))


P, X, LABELS = problem("cross-entropy")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((P, X, LABELS, "step", "squared"), "'step' is not one of ReLU"),
        ((P, X, LABELS, "tanh", "hinge"), "'hinge' is not one of squared, cross-entropy"),
        ((P, X[0], LABELS, "tanh", "cross-entropy"), r"X must be \(m, d\) .* got \(5,\)"),
        ((P, X[:0], LABELS[:0], "tanh", "cross-entropy"), r"m and d at least 1, got \(0, 5\)"),
        (({}, X, LABELS, "tanh", "cross-entropy"), "p has no layers"),
        (
            (P, X[:, 1:], LABELS, "tanh", "cross-entropy"),
            r"layer 1: 4 inputs need W \(4, n\) and b \(n,\), got \(5, 7\)",
        ),
        ((P | {"2": P["1"]}, X, LABELS, "tanh", "cross-entropy"), "layer 2: 7 inputs"),
        ((P, np.full_like(X, np.nan), LABELS, "tanh", "cross-entropy"), "X and the parameters must be finite"),
        ((tree.map(lambda a: a * np.inf, P), X, LABELS, "tanh", "squared"), "must be finite"),
        ((P, X, LABELS + 1, "tanh", "cross-entropy"), r"labels must be integers 0..2 of shape \(11,\)"),
        ((P, X, LABELS - 3, "tanh", "cross-entropy"), "labels must be integers 0..2"),
        ((P, X, LABELS * 1.0, "tanh", "cross-entropy"), "labels must be integers .* got float64"),
        ((P, X, LABELS[1:], "tanh", "cross-entropy"), r"of shape \(11,\), got int64 \(10,\)"),
        ((P, X, LABELS, "tanh", "squared"), r"targets must be finite numbers of shape \(11, 3\), got \(11,\)"),
        ((P, X, np.full((11, 3), np.nan), "tanh", "squared"), "targets must be finite"),
    ],
)
def test_bad_input(way: Callable, arguments: tuple, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        way(*arguments)


def test_by_hand_is_for_two_layers_and_directions_fit_the_parameters() -> None:
    p, X, y = problem("squared", (3, 3, 3, 3))
    with pytest.raises(ValueError, match="two layers, got 3: use by_tape or by_pullbacks"):
        by_hand(p, X, y, "tanh", "squared")
    with pytest.raises(ValueError, match=r"directions must be \(K, 36\), got \(2, 35\)"):
        by_dual(p, X, y, "tanh", "squared", np.ones((2, 35)))


# Matrix calculus.


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_vec_kronecker_and_commutation(m: int, n: int, k: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    A, X, B = (rng.standard_normal(shape) for shape in ((k, m), (m, n), (n, q)))
    np.testing.assert_allclose(vec(A @ X @ B), np.kron(B.T, A) @ vec(X), atol=1e-13)
    K = commutation(m, n)
    np.testing.assert_array_equal(K @ vec(X), vec(X.T))
    np.testing.assert_array_equal(K @ K.T, np.eye(m * n))
    np.testing.assert_array_equal(commutation(n, m), K.T)


def test_jacobian_of_a_network_is_torchs() -> None:
    p, X, _ = problem("squared")

    def theirs(x: torch.Tensor) -> torch.Tensor:
        q = tree.map(torch.tensor, p)
        return torch.tanh(x @ q["1"]["W"] + q["1"]["b"]) @ q["2"]["W"] + q["2"]["b"]

    expected = torch.autograd.functional.jacobian(theirs, torch.tensor(X)).numpy()
    for jacobian in (jacobian_forward, jacobian_reverse):
        ours = jacobian(lambda x: network(p, x, tape.tanh), X)
        assert ours.shape == (11, 3, 11, 5)
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


# What it costs.


def test_counting_multiplications() -> None:
    tally: Counter[str] = Counter()
    a, b = counted(np.ones((2, 3)), tally), np.ones((3, 4))
    assert (a @ b).shape == (2, 4)
    assert tally == {"matmul": 2 * 3 * 4}
    y = 2 * a + a / 3 - a**2 + np.exp(a)
    assert tally == {"matmul": 24, "elementwise": 18}
    y *= y
    y.sum(axis=0).max()
    assert tally == {"matmul": 24, "elementwise": 24}
    assert (a[0] @ a[1]) == 3
    assert tally["matmul"] == 27
    np.testing.assert_array_equal(np.asarray(a), np.ones((2, 3)))


@pytest.mark.parametrize(("T", "n", "m"), [(1, 3, 2), (2, 4, 7), (5, 3, 1)])
def test_costs_are_the_derived_ones(T: int, n: int, m: int) -> None:
    p, X, y = problem("cross-entropy", (n,) * (T + 1), m)
    there, back = tape_formula(T, n, m)
    names = ("tanh", "cross-entropy")
    assert multiplications(forward_pass, p, X, y, *names).total() == there
    assert multiplications(by_tape, p, X, y, *names).total() == there + back
    assert multiplications(by_dual, p, X, y, *names, np.eye(tree.size(p))).total() == there + tree.size(p) * back
    for way in (by_hand, by_tape, by_pullbacks)[T != 2 :]:
        assert multiplications(way, p, X, y, *names)["matmul"] == (3 * T - 1) * m * n * n


def test_crossover_is_read_between_the_sizes() -> None:
    rows = pd.DataFrame({"aspect": [16.0, 0.25, 1.0, 4.0], "forward": [1, 8, 4, 2], "reverse": [4.0, 0.5, 1.0, 2.0]})
    assert crossover(rows) == pytest.approx(4)
    rows["reverse"] = [8.0, 1.0, 2.0, 4.0]
    assert crossover(rows) == pytest.approx(2)


def test_a_gradient_that_is_nan_is_apart_from_every_other() -> None:
    p = {"1": {"W": np.zeros((2, 2)), "b": np.ones(2)}}
    q = {"1": {"W": np.full((2, 2), np.nan), "b": np.ones(2)}}
    assert apart(p, p) == 0
    assert np.isnan([apart(p, q), apart(q, p), apart(q, q)]).all()

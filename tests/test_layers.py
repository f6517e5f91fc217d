"""The contract of every shared layer, in one table, and what each layer means."""

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import shared.layers
from shared import tree
from shared.gradcheck import check
from shared.layers.activation import (
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    normal_cdf,
    sigmoid,
)
from shared.layers.attention import MultiHeadAttention, causal
from shared.layers.base import EVAL, Layer, Mode, Pullback
from shared.layers.combinators import Residual, Sequential
from shared.layers.conv import Conv2d
from shared.layers.dropout import Dropout
from shared.layers.embedding import Embedding, LearnedPositions, SinusoidalPositions
from shared.layers.linear import Linear
from shared.layers.norm import BatchNorm, GroupNorm, LayerNorm, LocalResponseNorm
from shared.layers.pool import AveragePool, GlobalAveragePool, MaxPool, Upsample
from shared.layers.recurrent import Recurrent
from shared.layers.reshape import Reshape
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Case:
    """A layer, an input shape, and the same in torch as a function of (parameters, x): None where it draws noise."""

    layer: Layer
    shape: tuple[int, ...]
    oracle: Callable[[dict, Tensor], Tensor] | None
    train: bool = False
    each_row_alone: bool = True  # the layer maps (..., n) to (..., m), one row like another

    def mode(self) -> Mode:
        return Mode(train=True, rng=np.random.default_rng(7)) if self.train else EVAL

    def point(self, dtype: type = np.float64) -> tuple[Tree, Array]:
        """Read-only parameters (all random: zero biases would hide their use) and input."""
        rng = np.random.default_rng(0)
        fresh = self.layer.init(rng)
        p = tree.map(lambda a: (a + 0.1 * rng.standard_normal(a.shape)).astype(dtype), fresh)
        for _, array in tree.leaves(tree.trainable(p) if self.train else p):
            read_only(array)
        return p, read_only(rng.standard_normal(self.shape).astype(dtype))


def read_only(array: Array) -> Array:
    array.setflags(write=False)
    return array


def linear(p: dict, x: Tensor) -> Tensor:
    return F.linear(x, p["W"].T, p.get("b"))


def stacked_linear(p: dict, x: Tensor) -> Tensor:
    rows = x.expand(3, *x.shape[-2:])
    return torch.stack([F.linear(rows[i], p["W"][i].T, p["b"][i]) for i in range(3)])


@dataclass(frozen=True)
class Stack:
    """Three layers' parameters side by side for one layer."""

    layer: Layer

    def init(self, rng: np.random.Generator) -> Tree:
        return tree.stack([self.layer.init(rng) for _ in range(3)])

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        return self.layer(p, x, mode)


def images(f: Callable[..., Tensor]) -> Callable[[dict, Tensor], Tensor]:
    """torch's function of (N, C, H, W) as one of (N, H, W, C)."""
    return lambda p, x: f(p, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def conv(stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0) -> Callable[[dict, Tensor], Tensor]:
    return images(lambda p, x: F.conv2d(x, p["W"].permute(3, 2, 0, 1), p.get("b"), stride, padding))


def batch_norm(train: bool) -> Callable[[dict, Tensor], Tensor]:
    def oracle(p: dict, x: Tensor) -> Tensor:
        mean, var = (p["running"][name].detach().clone() for name in ("mean", "var"))
        return F.batch_norm(x, mean, var, p.get("gamma"), p.get("beta"), training=train)

    return oracle


TOKENS = np.array([[4, 0, 4], [2, 4, 0]])


@dataclass(frozen=True)
class AddedTo:
    """x + W[TOKENS], x in the place of what an embedding is added to."""

    layer: Embedding

    def init(self, rng: np.random.Generator) -> Tree:
        return self.layer.init(rng)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y, pullback = self.layer(p, TOKENS, mode)
        return x + y, lambda dy: (dy, pullback(dy)[1])


CAUSAL = causal(5)
KEPT = np.array([[True, True, False], [True, False, False]])[:, None, None]


@dataclass(frozen=True)
class Cross:
    """The first two entries of x read the other three, of which KEPT leaves some."""

    layer: MultiHeadAttention

    def init(self, rng: np.random.Generator) -> Tree:
        return self.layer.init(rng)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y, cross_pullback = self.layer(p, x[:, :2], mode, memory=x[:, 2:], kept=KEPT)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            cotangents, dp = cross_pullback(dy)
            return np.concatenate(cotangents, 1), dp

        return y, pullback


@dataclass(frozen=True)
class Causal:
    """Each entry of x reads those up to itself."""

    layer: MultiHeadAttention

    def init(self, rng: np.random.Generator) -> Tree:
        return self.layer.init(rng)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        return self.layer(p, x, mode, kept=CAUSAL)


def sinusoids(p: dict, x: Tensor) -> Tensor:
    """Equation by equation; of an odd number of features the last is a sine."""
    length, features = x.shape[-2:]
    angle = torch.arange(length).double()[:, None] / 10_000 ** (torch.arange(0, features, 2).double() / features)
    return x + torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)[:, :features]


def recurrent(p: dict, x: Tensor) -> Tensor:
    """torch's own, whose second bias is zero here."""
    twin = torch.nn.RNN(x.shape[-1], p["b"].shape[0], batch_first=True, dtype=x.dtype)
    own = {
        "weight_ih_l0": p["W"].T,
        "weight_hh_l0": p["U"].T,
        "bias_ih_l0": p["b"],
        "bias_hh_l0": torch.zeros_like(p["b"]),
    }
    return torch.func.functional_call(twin, own, x)[0]


def attention(p: dict, x: Tensor, memory: Tensor, kept: Array | None = None, temperature: float = 1.0) -> Tensor:
    """Two heads, by torch's function, where a lower temperature is a larger query."""
    W, b, d = p["QKV"]["W"], p["QKV"].get("b"), x.shape[-1]
    q, k, v = (
        F.linear(y, W[:, i : i + d].T, None if b is None else b[i : i + d]).unflatten(-1, (2, -1)).transpose(1, 2)
        for y, i in ((x, 0), (memory, d), (memory, 2 * d))
    )
    mask = None if kept is None else torch.from_numpy(kept)
    heads = F.scaled_dot_product_attention(q / temperature, k, v, mask)
    return linear(p["O"], heads.transpose(1, 2).flatten(-2))


def apart(layer: Layer, shape: tuple[int, ...], oracle: Callable | None, train: bool = False) -> Case:
    """A layer whose rows are not alone: neighbours, or the rest of the batch, have a say."""
    return Case(layer, shape, oracle, train, each_row_alone=False)


CASES = {
    "relu": Case(ReLU(), (3, 5, 7), lambda p, x: F.relu(x)),
    "leaky relu": Case(LeakyReLU(0.2), (3, 5, 7), lambda p, x: F.leaky_relu(x, 0.2)),
    "sigmoid": Case(Sigmoid(), (3, 5, 7), lambda p, x: torch.sigmoid(x)),
    "tanh": Case(Tanh(), (3, 5, 7), lambda p, x: torch.tanh(x)),
    "softplus": Case(Softplus(), (3, 5, 7), lambda p, x: F.softplus(x, threshold=1000)),
    "silu": Case(SiLU(), (3, 5, 7), lambda p, x: F.silu(x)),
    "gelu": Case(GELU(), (3, 5, 7), lambda p, x: F.gelu(x)),
    "gelu, tanh form": Case(GELU("tanh"), (3, 5, 7), lambda p, x: F.gelu(x, approximate="tanh")),
    "softmax": Case(Softmax(), (3, 5, 7), lambda p, x: F.softmax(x, -1)),
    "softmax, T = 0.3": Case(Softmax(0.3), (5, 7), lambda p, x: F.softmax(x / 0.3, -1)),
    "dropout, eval": Case(Dropout(0.4), (5, 7), lambda p, x: x),
    "dropout, train": Case(Dropout(0.4), (3, 5, 7), None, train=True),
    "linear": Case(Linear(7, 5), (11, 7), linear),
    "linear, no bias": Case(Linear(7, 5, bias=False), (3, 2, 7), linear),
    "linear, one datapoint": Case(Linear(7, 5), (7,), linear),
    "linear, a stack": Case(Stack(Linear(7, 5)), (3, 4, 7), stacked_linear),
    "linear, a stack on one input": Case(Stack(Linear(7, 5)), (4, 7), stacked_linear),
    "conv 3x3": apart(Conv2d(3, 4, 3, padding=1), (2, 5, 6, 3), conv(padding=1)),
    "conv 3x3, stride 2": apart(Conv2d(3, 4, 3, 2, 1, bias=False), (3, 7, 8, 3), conv(2, 1)),
    "conv 2x5, strides 3 and 2": apart(Conv2d(2, 3, (2, 5), (3, 2), (1, 3)), (2, 8, 7, 2), conv((3, 2), (1, 3))),
    "conv 1x1, stride 2": apart(Conv2d(3, 5, 1, 2), (2, 5, 5, 3), conv(2)),
    "conv as large as the image": apart(Conv2d(2, 3, (4, 5)), (2, 4, 5, 2), conv()),
    "max pool": apart(MaxPool(2, 2), (2, 6, 5, 3), images(lambda p, x: F.max_pool2d(x, 2, 2))),
    "max pool, overlapping": apart(MaxPool(3, 2, 1), (2, 7, 6, 3), images(lambda p, x: F.max_pool2d(x, 3, 2, 1))),
    "average pool": apart(AveragePool(2, 2), (2, 5, 6, 3), images(lambda p, x: F.avg_pool2d(x, 2, 2))),
    "average pool, overlapping": apart(
        AveragePool((3, 2), 1, (1, 0)), (2, 5, 4, 3), images(lambda p, x: F.avg_pool2d(x, (3, 2), 1, (1, 0)))
    ),
    "global average pool": apart(GlobalAveragePool(), (2, 4, 3, 5), lambda p, x: x.mean((1, 2))),
    "upsample": apart(Upsample(3), (2, 4, 3, 5), images(lambda p, x: F.interpolate(x, scale_factor=3))),
    "reshape to images": apart(Reshape((4, 5, 3)), (2, 60), lambda p, x: x.reshape(2, 4, 5, 3)),
    "reshape to vectors": apart(Reshape((-1,)), (2, 4, 3, 5), lambda p, x: x.flatten(1)),
    "batch norm, train": apart(BatchNorm(4), (3, 5, 2, 4), images(batch_norm(True)), train=True),
    "batch norm of vectors, train": apart(BatchNorm(4), (7, 4), batch_norm(True), train=True),
    "batch norm, eval": apart(BatchNorm(4), (3, 5, 2, 4), images(batch_norm(False))),
    "batch norm without affine, train": apart(
        BatchNorm(4, affine=False), (3, 5, 2, 4), images(batch_norm(True)), train=True
    ),
    "batch norm without affine, eval": apart(BatchNorm(4, affine=False), (3, 5, 2, 4), images(batch_norm(False))),
    "group norm": apart(GroupNorm(6, 3), (2, 4, 5, 6), images(lambda p, x: F.group_norm(x, 3, p["gamma"], p["beta"]))),
    "group norm, one group": apart(
        GroupNorm(6, 1), (2, 4, 5, 6), images(lambda p, x: F.group_norm(x, 1, p["gamma"], p["beta"]))
    ),
    "layer norm": Case(LayerNorm(7), (3, 5, 7), lambda p, x: F.layer_norm(x, (7,), p["gamma"], p["beta"])),
    "local response norm": apart(  # x^2 leaves float32 where x does not
        LocalResponseNorm(3, alpha=0.6, k=2.0),
        (2, 4, 5, 6),
        images(lambda p, x: F.local_response_norm(x, 3, 0.6, k=2.0)),
    ),
    "embedding": apart(AddedTo(Embedding(6, 4)), (2, 3, 4), lambda p, x: x + F.embedding(torch.tensor(TOKENS), p["W"])),
    "sinusoidal positions": apart(SinusoidalPositions(5), (2, 3, 5), sinusoids),
    "learned positions": apart(LearnedPositions(7, 4), (2, 3, 4), lambda p, x: x + p["W"][:3]),
    "self-attention": apart(MultiHeadAttention(6, 2), (2, 5, 6), lambda p, x: attention(p, x, x)),
    "self-attention, biases, T = 0.3": apart(
        MultiHeadAttention(6, 2, bias=True, temperature=0.3), (2, 5, 6), lambda p, x: attention(p, x, x, None, 0.3)
    ),
    "causal self-attention": apart(
        Causal(MultiHeadAttention(6, 2)), (2, 5, 6), lambda p, x: attention(p, x, x, CAUSAL)
    ),
    "cross-attention": apart(
        Cross(MultiHeadAttention(6, 2, bias=True)), (2, 5, 6), lambda p, x: attention(p, x[:, :2], x[:, 2:], KEPT)
    ),
    "recurrent": apart(Recurrent(4, 6), (3, 5, 4), recurrent),
    "recurrent, no batch": apart(Recurrent(4, 6), (5, 4), recurrent),
    "sequential": Case(
        Sequential((Linear(5, 3), Tanh(), Linear(3, 2))),
        (2, 3, 5),
        lambda p, x: linear(p["2"], torch.tanh(linear(p["0"], x))),
    ),
    "residual": Case(Residual(Linear(5, 5)), (3, 5), lambda p, x: x + linear(p, x)),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_public_layer_is_in_the_table() -> None:
    modules = [importlib.import_module(f"shared.layers.{m.name}") for m in pkgutil.iter_modules(shared.layers.__path__)]
    values = [v for module in modules for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
    classes = [v for v in values if isinstance(v, type) and is_dataclass(v)]
    layers = {c for c in classes if any("__call__" in vars(base) for base in c.__mro__) and c.__name__[0] != "_"}
    assert layers == {type(getattr(case.layer, "layer", case.layer)) for case in CASES.values()}


@each_case
def test_gradient(case: Case) -> None:
    p, x = case.point()
    kept = {name: p[name] for name in p.keys() - tree.trainable(p).keys()}

    def f(x: Array, trainable: Tree) -> tuple[Array, Pullback]:
        return case.layer(trainable | kept, x, case.mode())

    check(f, x, tree.trainable(p), rng=np.random.default_rng(1))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.oracle is not None])
def test_torch_gives_the_same_values_and_gradients(name: str) -> None:
    case = CASES[name]
    p, x = case.point()
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    u = torch.tensor(x, requires_grad=True)
    v = case.oracle(q, u)
    y, pullback = case.layer(p, x, case.mode())
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx, dp = pullback(dy)
    v.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, v.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, u.grad.numpy(), rtol=1e-10, atol=1e-12)
    for (path, ours), (_, theirs) in zip(tree.leaves(dp), tree.leaves(tree.trainable(q)), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-12, err_msg=path)


@each_case
def test_pullback_is_repeatable_and_linear(case: Case) -> None:
    p, x = case.point()
    y, pullback = case.layer(p, x, case.mode())
    a, b = (read_only(np.random.default_rng(i).standard_normal(y.shape)) for i in (1, 2))
    at_a, at_b, both, again = (flat(pullback(dy)) for dy in (a, b, read_only(2 * a - 3 * b), a))
    np.testing.assert_array_equal(at_a, again)
    np.testing.assert_allclose(both, 2 * at_a - 3 * at_b, rtol=1e-12, atol=1e-12)


@each_case
def test_two_forwards_before_either_pullback(case: Case) -> None:
    p, x = case.point()
    other = read_only(x + 1)
    first, first_pullback = case.layer(p, x, case.mode())
    kept = first.copy()
    alone = flat(first_pullback(np.ones_like(first)))
    _, second_pullback = case.layer(p, other, case.mode())
    flat(second_pullback(np.ones_like(first)))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(flat(first_pullback(np.ones_like(first))), alone)


@each_case
def test_the_order_of_axes_in_memory_does_not_matter(case: Case) -> None:
    p, x = case.point()
    y, pullback = case.layer(p, x, case.mode())
    z, other_pullback = case.layer(p, np.asfortranarray(x), case.mode())
    np.testing.assert_allclose(z, y, rtol=1e-12, atol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected = flat(pullback(dy))
    np.testing.assert_allclose(flat(other_pullback(np.asfortranarray(dy))), expected, rtol=1e-12, atol=1e-12)


@each_case
def test_float32_stays_float32(case: Case) -> None:
    p, x = case.point(np.float32)
    y, pullback = case.layer(p, x, case.mode())
    dx, dp = pullback(np.ones_like(y))
    assert {y.dtype, dx.dtype, *(a.dtype for _, a in tree.leaves(dp))} == {np.dtype(np.float32)}
    assert all(a.dtype == np.float32 for _, a in tree.leaves(case.layer.init(np.random.default_rng(0))))
    exact, _ = case.layer(*case.point(), case.mode())
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.each_row_alone and not isinstance(case.layer, Stack)]
)
@given(leading=st.lists(st.integers(0, 3), max_size=3))
@settings(max_examples=15, deadline=None)
def test_leading_axes_are_free(case: Case, leading: list[int]) -> None:
    p, _ = case.point()
    x = np.random.default_rng(0).standard_normal((*leading, case.shape[-1]))
    y, pullback = case.layer(p, x, case.mode())
    dx, dp = pullback(np.ones_like(y))
    assert y.shape[:-1] == tuple(leading)
    assert dx.shape == x.shape
    assert {path: a.shape for path, a in tree.leaves(dp)} == {path: a.shape for path, a in tree.leaves(p)}
    if not case.train:  # each row by itself
        rows = [case.layer(p, row)[0] for row in x.reshape(-1, x.shape[-1])]
        np.testing.assert_allclose(y.reshape(len(rows), y.shape[-1]), np.reshape(rows, (len(rows), y.shape[-1])), 1e-12)


@pytest.mark.parametrize("shape", [(7,), (2, 4, 7), (3, 4, 4, 7)])
def test_stack_refuses_inputs_that_are_neither_shared_nor_one_each(shape: tuple[int, ...]) -> None:
    p = Stack(Linear(7, 5)).init(np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"a stack of 3 takes x \(N, 7\) or \(3, N, 7\), got"):
        Linear(7, 5)(p, np.zeros(shape))


def flat(cotangents: tuple[Array, Tree]) -> Array:
    dx, dp = cotangents
    return tree.flatten({"x": dx, "p": dp})[0].copy()


LARGE = np.array([-1e30, -1e4, -100.0, 0.0, 100.0, 1e4, 1e30])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "name",
    [n for n, case in CASES.items() if case.each_row_alone and not case.layer.init(np.random.default_rng(0))],
)
def test_large_inputs_neither_overflow_nor_lose_their_limits(name: str, dtype: type) -> None:
    x = LARGE.astype(dtype)
    y, pullback = CASES[name].layer({}, x, EVAL)
    dx, _ = pullback(np.ones_like(y))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()
    if name in ("relu", "softplus", "silu", "gelu", "gelu, tanh form"):
        np.testing.assert_allclose(y[[0, 1, 2, 4, 5, 6]], np.maximum(x, 0)[[0, 1, 2, 4, 5, 6]], rtol=1e-6, atol=1e-40)
        np.testing.assert_allclose(dx[[0, 1, 2, 4, 5, 6]], [0, 0, 0, 1, 1, 1], atol=1e-40)


def test_normal_cdf_is_exact_to_1e_15() -> None:
    x = np.concatenate([np.linspace(-45, 45, 18_001), np.random.default_rng(0).standard_normal(20_000)])
    cdf, density = normal_cdf(x)
    np.testing.assert_allclose(cdf, [math.erfc(-v / math.sqrt(2)) / 2 for v in x], rtol=0, atol=1e-15)
    np.testing.assert_allclose(density, np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), rtol=1e-15, atol=1e-300)
    np.testing.assert_allclose(normal_cdf(x.astype(np.float32))[0], cdf, rtol=0, atol=3e-7)


def test_sigmoid_is_the_logistic_function() -> None:
    x = np.linspace(-30, 30, 101)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=0, atol=1e-15)


def test_temperature_orders_the_entropy_from_arg_max_to_uniform() -> None:
    x = np.random.default_rng(0).standard_normal((4, 9))

    def entropy(temperature: float) -> Array:
        y, _ = Softmax(temperature)({}, x)
        return -(y * np.log(np.maximum(y, 1e-300))).sum(-1)

    entropies = np.array([entropy(t) for t in (1e-3, 0.1, 0.5, 1, 2, 10, 1e6)])
    assert (np.diff(entropies, axis=0) > 0).all()
    np.testing.assert_allclose(entropies[0], 0, atol=1e-6)
    np.testing.assert_allclose(entropies[-1], np.log(9), rtol=1e-6)
    np.testing.assert_array_equal(Softmax(1e-3)({}, x)[0].argmax(-1), x.argmax(-1))


@pytest.mark.parametrize(
    ("dtype", "temperature"), [(np.float32, 1e-39), (np.float32, 1e50), (np.float64, 1e-310), (np.float64, 1e308)]
)
def test_the_ends_of_the_temperature_are_the_arg_max_and_the_uniform_distribution(
    dtype: type, temperature: float
) -> None:
    x = np.array([[3.0, 70.0, -np.inf, 5.0]], dtype)
    y, pullback = Softmax(temperature)({}, x)
    np.testing.assert_allclose(y, [[0, 1, 0, 0]] if temperature < 1 else [[1 / 3, 1 / 3, 0, 1 / 3]], rtol=1e-6)
    assert np.isfinite(pullback(np.array([[1.0, -2.0, 3.0, 0.5]], dtype))[0]).all()


def test_softmax_is_a_distribution_that_a_shift_leaves_alone() -> None:
    x = np.random.default_rng(0).standard_normal((4, 9))
    y, _ = Softmax()({}, x)
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-15)
    np.testing.assert_allclose(Softmax()({}, x + 1e4)[0], y, rtol=1e-10)


def test_masked_entries_get_no_probability_and_no_gradient() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 5))
    kept = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    y, pullback = Softmax(2.0)({}, np.where(kept, x, -np.inf))
    dx, _ = pullback(dy := rng.standard_normal((3, 5)))
    assert not y[~kept].any()
    assert not dx[~kept].any()
    row, row_pullback = Softmax(2.0)({}, x[:1, kept[0]])
    np.testing.assert_allclose(y[:1, kept[0]], row, rtol=1e-15)
    np.testing.assert_allclose(dx[:1, kept[0]], row_pullback(dy[:1, kept[0]])[0], rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate: float) -> None:
    n = 200_000
    x = np.full((n,), 3.0)
    y, pullback = Dropout(rate)({}, x, Mode(train=True, rng=np.random.default_rng(0)))
    assert abs((y == 0).mean() - rate) <= 5 * math.sqrt(rate * (1 - rate) / n)
    assert abs(y.mean() - 3) <= 5 * 3 * math.sqrt(rate / (1 - rate) / n)
    np.testing.assert_allclose(y[y != 0], 3 / (1 - rate), rtol=1e-15)
    np.testing.assert_allclose(pullback(x)[0], y, rtol=1e-15)  # the same mask


def test_dropout_draws_from_the_modes_generator_alone() -> None:
    x = np.ones((50,))
    a, b = (Dropout(0.5)({}, x, Mode(train=True, rng=np.random.default_rng(3)))[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(3)
    first, second = (Dropout(0.5)({}, x, Mode(train=True, rng=rng))[0] for _ in range(2))
    assert (first != second).any()
    with pytest.raises(ValueError, match="needs Mode"):
        Dropout(0.5)({}, x, Mode(train=True))


def test_a_first_layer_gives_no_gradient_to_the_data() -> None:
    layer = Linear(3, 2, input_is_data=True)
    y, pullback = layer(layer.init(np.random.default_rng(0)), np.ones((4, 3), np.float32))
    dx, dp = pullback(y)
    assert dx is None
    assert dp.keys() == {"W", "b"}


def test_residual_refuses_a_sum_that_would_broadcast() -> None:
    layer = Residual(Linear(3, 1))
    with pytest.raises(ValueError, match="equal shapes"):
        layer(layer.init(np.random.default_rng(0)), np.ones((4, 3), np.float32))


def test_linear_refuses_an_input_of_another_width() -> None:
    layer = Linear(3, 2)
    with pytest.raises(ValueError, match="n_in=3"):
        layer(layer.init(np.random.default_rng(0)), np.ones((4, 6), np.float32))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Linear(0, 3),
        lambda: Linear(3, -1),
        lambda: LeakyReLU(1.0),
        lambda: LeakyReLU(-0.1),
        lambda: GELU("erf"),
        lambda: Softmax(0.0),
        lambda: Softmax(math.nan),
        lambda: Dropout(1.0),
        lambda: Dropout(-0.1),
        lambda: Dropout(math.nan),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused_in_one_line(make: Callable[[], Layer]) -> None:
    with pytest.raises(ValueError, match=r"^\w+: .* must be .*, got ") as error:
        make()
    assert "\n" not in str(error.value)

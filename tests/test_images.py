"""Layers of images: geometry, refusals, what the normalisations mean, threads."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from shared import threads, tree
from shared.layers.base import EVAL, Layer, Mode
from shared.layers.conv import Conv2d
from shared.layers.norm import BatchNorm, GroupNorm, LayerNorm
from shared.layers.pool import AveragePool, GlobalAveragePool, MaxPool, Upsample
from shared.tree import Array, Tree

TRAIN = Mode(train=True)


def double(layer: Layer, seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    return tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape), tree.astype(layer.init(rng), np.float64))


sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
kernels, strides, paddings = (st.tuples(st.integers(low, 4), st.integers(low, 4)) for low in (1, 1, 0))


@given(size=sizes, kernel=kernels, stride=strides, padding=paddings, count=st.integers(1, 3), on=st.integers(1, 2))
@settings(max_examples=150, deadline=None)
def test_any_geometry_equals_torch(
    size: tuple, kernel: tuple, stride: tuple, padding: tuple, count: int, on: int
) -> None:
    layer = Conv2d(2, 3, kernel, stride, padding)
    p, x = double(layer), np.random.default_rng(1).standard_normal((count, *size, 2))
    if any(k > s + 2 * q for k, s, q in zip(kernel, size, padding, strict=True)):
        with pytest.raises(ValueError, match="does not fit"):
            layer(p, x)
        return
    with threads.use(on):
        y, pullback = layer(p, x)
        dx, dp = pullback(dy := np.random.default_rng(2).standard_normal(y.shape))
    u, W, b = (torch.tensor(a, requires_grad=True) for a in (x.transpose(0, 3, 1, 2), p["W"], p["b"]))
    v = F.conv2d(u, W.permute(3, 2, 0, 1), b, stride, padding)
    v.backward(torch.tensor(dy.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(y, v.detach().permute(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, u.grad.permute(0, 2, 3, 1), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dp["W"], W.grad, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dp["b"], b.grad, rtol=1e-10, atol=1e-12)


@given(size=sizes, kernel=kernels, stride=strides, padding=paddings)
@settings(max_examples=60, deadline=None)
def test_pooling_any_geometry_equals_torch(size: tuple, kernel: tuple, stride: tuple, padding: tuple) -> None:
    padding = tuple(min(q, k // 2) for q, k in zip(padding, kernel, strict=True))
    x = np.random.default_rng(1).standard_normal((2, *size, 3))
    for layer, oracle in ((MaxPool, F.max_pool2d), (AveragePool, F.avg_pool2d)):
        if any(k > s + 2 * q for k, s, q in zip(kernel, size, padding, strict=True)):
            with pytest.raises(ValueError, match="does not fit"):
                layer(kernel, stride, padding)({}, x)
            continue
        y, pullback = layer(kernel, stride, padding)({}, x)
        dx, _ = pullback(dy := np.random.default_rng(2).standard_normal(y.shape))
        u = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
        v = oracle(u, kernel, stride, padding)
        v.backward(torch.tensor(dy.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(y, v.detach().permute(0, 2, 3, 1), rtol=1e-12)
        np.testing.assert_allclose(dx, u.grad.permute(0, 2, 3, 1), rtol=1e-12, atol=1e-15)


def test_convolution_is_a_matrix_and_its_pullback_the_transpose() -> None:
    layer = Conv2d(2, 3, 3, 2, 1, bias=False)
    p = double(layer)
    columns = [layer(p, e.reshape(1, 5, 4, 2))[0].ravel() for e in np.eye(40)]
    y, pullback = layer(p, np.zeros((1, 5, 4, 2)))
    rows = [pullback(e.reshape(y.shape))[0].ravel() for e in np.eye(y.size)]
    np.testing.assert_allclose(np.transpose(columns), rows, rtol=1e-12)


def test_convolution_moves_with_the_image() -> None:
    layer = Conv2d(3, 4, 3, padding=1)
    p, x = double(layer), np.zeros((1, 12, 12, 3))
    x[:, 3:6, 4:7] = np.random.default_rng(0).standard_normal((3, 3, 3))
    moved = layer(p, np.roll(x, (2, 3), (1, 2)))[0]
    np.testing.assert_allclose(moved, np.roll(layer(p, x)[0], (2, 3), (1, 2)), rtol=1e-12)


@pytest.mark.parametrize("layer", [Conv2d(4, 6, 3, 1, 1), Conv2d(4, 6, 3, 2, 1), BatchNorm(4)])
def test_two_threads_give_what_one_gives(layer: Layer) -> None:
    p, x = double(layer), np.random.default_rng(0).standard_normal((37, 9, 7, 4))
    answers = []
    for count in (1, 2):
        with threads.use(count):
            y, pullback = layer(tree.map(np.copy, p), x, TRAIN)
            dx, dp = pullback(np.cos(y))
            answers.append(tree.flatten({"y": y, "dx": dx, "dp": dp})[0])
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-10, atol=1e-12)


def test_threads_share_a_range_in_order_and_pass_errors_on() -> None:
    for n in (0, 1, 2, 7):
        with threads.use(3):
            parts = threads.spread(lambda part: list(range(part.start, part.stop)), n)
        assert [i for part in parts for i in part] == list(range(n))
        assert len(parts) == max(1, min(3, n))
    with threads.use(2), pytest.raises(ZeroDivisionError):
        threads.spread(lambda part: 1 // (1 - part.start), 2)
    with threads.use(2), np.errstate(over="ignore"):  # a thread works under its caller's settings
        threads.spread(lambda part: np.float32(1e38) * np.full(3, 1e38, np.float32), 2)


def test_batch_norm_standardises_and_keeps_running_statistics_as_torch_does() -> None:
    ours, theirs = BatchNorm(5, momentum=0.3), torch.nn.BatchNorm2d(5, momentum=0.3, dtype=torch.float64)
    p, rng = tree.astype(ours.init(np.random.default_rng(0)), np.float64), np.random.default_rng(1)
    for _ in range(10):
        x = 3 + 2 * rng.standard_normal((6, 4, 3, 5))
        y, _ = ours(p, x, TRAIN)
        np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-12)
        np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-4)
        v = theirs(torch.tensor(x.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(y, v.detach().permute(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(p["running"]["mean"], theirs.running_mean, rtol=1e-12)
    np.testing.assert_allclose(p["running"]["var"], theirs.running_var, rtol=1e-12)
    before = tree.map(np.copy, p)
    v = theirs.eval()(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(ours(p, x, EVAL)[0], v.detach().permute(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
    assert all((a == b).all() for (_, a), (_, b) in zip(tree.leaves(p), tree.leaves(before), strict=True))


def test_batch_norm_does_not_cancel_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    x = (1000 + rng.standard_normal((64, 8, 8, 3))).astype(np.float32)
    layer = BatchNorm(3)
    y, _ = layer(layer.init(rng), x, TRAIN)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, exact, atol=1e-3)  # the input's own last bit is 6e-5


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_keeps_its_statistics_out_of_the_trainable_parameters(affine: bool) -> None:
    p = BatchNorm(4, affine).init(np.random.default_rng(0))
    assert set(tree.trainable({"layer": p})["layer"]) == ({"gamma", "beta"} if affine else set())
    assert tree.size(tree.trainable(p)) == (8 if affine else 0)


def test_group_and_layer_norm_standardise_their_own_sets() -> None:
    x = 5 + 3 * np.random.default_rng(0).standard_normal((3, 4, 4, 6))
    y, _ = GroupNorm(6, 2)(GroupNorm(6, 2).init(np.random.default_rng(0)), x)
    groups = y.reshape(3, 16, 2, 3)
    np.testing.assert_allclose(groups.mean((1, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(groups.std((1, 3)), 1, rtol=1e-4)
    z, _ = LayerNorm(6)(LayerNorm(6).init(np.random.default_rng(0)), x)
    np.testing.assert_allclose(z.mean(-1), 0, atol=1e-12)
    assert (
        np.ptp(GroupNorm(6, 2)(double(GroupNorm(6, 2)), x[:1])[0] - GroupNorm(6, 2)(double(GroupNorm(6, 2)), x)[0][:1])
        == 0
    )


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    y, pullback = MaxPool(2, 2)({}, np.zeros((1, 2, 2, 1)))
    np.testing.assert_array_equal(pullback(np.ones_like(y))[0].ravel(), [1, 0, 0, 0])
    low = np.full((1, 2, 2, 1), -np.inf)
    np.testing.assert_array_equal(MaxPool(2, 2)({}, low)[0], [[[[-np.inf]]]])


def test_upsample_repeats_pixels() -> None:
    y, _ = Upsample(2)({}, np.arange(4.0).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])


def image(*shape: int) -> Array:
    return np.zeros(shape)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: Conv2d(0, 3, 3), "Conv2d: c_in and c_out must be at least 1, got 0 and 3"),
        (lambda: Conv2d(3, 3, 0), "Conv2d: kernel must be an integer of at least 1, or two of them, got 0"),
        (
            lambda: Conv2d(3, 3, (3, 3, 3)),
            "Conv2d: kernel must be an integer of at least 1, or two of them, got (3, 3, 3)",
        ),
        (lambda: Conv2d(3, 3, 3, stride=0), "Conv2d: stride must be an integer of at least 1, or two of them, got 0"),
        (
            lambda: Conv2d(3, 3, 3, padding=-1),
            "Conv2d: padding must be an integer of at least 0, or two of them, got -1",
        ),
        (lambda: Conv2d(3, 3, 2.5), "Conv2d: kernel must be an integer of at least 1, or two of them, got 2.5"),
        (
            lambda: Conv2d(3, 3, 5)(double(Conv2d(3, 3, 5)), image(2, 4, 9, 3)),
            "Conv2d: a kernel of 5 x 5 does not fit into an image of 4 x 9 with padding 0 x 0",
        ),
        (
            lambda: Conv2d(3, 3, 3)(double(Conv2d(3, 3, 3)), image(2, 4, 9, 4)),
            "Conv2d: x must be (N, H, W, c_in=3), got (2, 4, 9, 4)",
        ),
        (
            lambda: Conv2d(3, 3, 3)(double(Conv2d(3, 3, 3)), image(4, 9, 3)),
            "Conv2d: x must be (N, H, W, c_in=3), got (4, 9, 3)",
        ),
        (lambda: MaxPool(2, 2, 2), "MaxPool: padding must be at most half of the kernel 2, got 2"),
        (lambda: AveragePool(2, 0), "AveragePool: stride must be an integer of at least 1, or two of them, got 0"),
        (
            lambda: AveragePool(3, 1)({}, image(1, 2, 2, 1)),
            "AveragePool: a kernel of 3 x 3 does not fit into an image of 2 x 2 with padding 0 x 0",
        ),
        (lambda: MaxPool(2, 2)({}, image(2, 2, 1)), "MaxPool: x must be (N, H, W, C), got (2, 2, 1)"),
        (lambda: GlobalAveragePool()({}, image(2, 3)), "GlobalAveragePool: x must be (N, H, W, C), got (2, 3)"),
        (lambda: Upsample(0), "Upsample: factor must be at least 1, got 0"),
        (lambda: Upsample(2)({}, image(2, 3)), "Upsample: x must be (N, H, W, C), got (2, 3)"),
        (lambda: BatchNorm(0), "BatchNorm: the number of channels must be at least 1, got 0"),
        (lambda: BatchNorm(3, epsilon=0.0), "BatchNorm: epsilon must be positive and finite, got 0.0"),
        (lambda: BatchNorm(3, momentum=0.0), "BatchNorm: momentum must be in (0, 1], got 0.0"),
        (
            lambda: BatchNorm(3)(double(BatchNorm(3)), image(1, 4, 4, 3), TRAIN),
            "BatchNorm: a batch of one has no statistics to train on; take two images or more",
        ),
        (
            lambda: BatchNorm(3)(double(BatchNorm(3)), image(2, 4, 4, 2)),
            "BatchNorm: x must be (N, ..., 3), got (2, 4, 4, 2)",
        ),
        (lambda: GroupNorm(6, 4), "GroupNorm: groups must be a divisor of channels=6, got 4"),
        (
            lambda: GroupNorm(6, 2)(double(GroupNorm(6, 2)), image(2, 4, 4, 3)),
            "GroupNorm: x must be (N, ..., 6), got (2, 4, 4, 3)",
        ),
        (
            lambda: LayerNorm(6)(double(LayerNorm(6)), image(2, 5)),
            "LayerNorm: the last axis of x must have 6 entries, got x (2, 5)",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(use: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        use()

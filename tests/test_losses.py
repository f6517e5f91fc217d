"""The losses: torch's values and gradients, gradient checks, and what each number means."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from shared.gradcheck import check
from shared.losses import bernoulli_with_logits, gaussian_kl, gaussian_nll, mse, softmax_cross_entropy
from shared.tree import Array

Predictions = tuple[Array, ...]
LABELS = np.array([[0, 6, 3], [5, 5, 1]])


def target(shape: tuple[int, ...], dtype: type) -> Array:
    return np.random.default_rng(5).random(shape).astype(dtype)


def torch_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    return torch.distributions.kl_divergence(q, prior).sum(-1)


def torch_cross_entropy(s: Tensor, label_smoothing: float) -> Tensor:
    labels = torch.tensor(LABELS).reshape(-1)
    return F.cross_entropy(s.reshape(-1, 7), labels, reduction="none", label_smoothing=label_smoothing).reshape(2, 3)


@dataclass(frozen=True)
class Case:
    """A loss as a function of its predictions, (2, 3, 7) each, and the same in torch."""

    loss: Callable[..., tuple[Array, Callable]]
    oracle: Callable[..., Tensor]
    predictions: int = 1

    def point(self, dtype: type = np.float64) -> Predictions:
        rng = np.random.default_rng(0)
        arrays = tuple(rng.standard_normal((2, 3, 7)).astype(dtype) for _ in range(self.predictions))
        for array in arrays:
            array.setflags(write=False)
        return arrays


def against(loss: Callable) -> Callable[..., tuple[Array, Callable]]:
    """The loss with its target in, in the dtype of the predictions."""
    return lambda *predictions: loss(*predictions, target(predictions[0].shape, predictions[0].dtype.type))


X = torch.tensor(target((2, 3, 7), np.float64))
CASES = {
    "softmax_cross_entropy": Case(
        lambda s: softmax_cross_entropy(s, LABELS), lambda s: torch_cross_entropy(s, label_smoothing=0.0)
    ),
    "softmax_cross_entropy, smoothed": Case(
        lambda s: softmax_cross_entropy(s, LABELS, 0.1), lambda s: torch_cross_entropy(s, label_smoothing=0.1)
    ),
    "bernoulli_with_logits": Case(
        against(bernoulli_with_logits),
        lambda s: F.binary_cross_entropy_with_logits(s, X, reduction="none").sum(-1),
    ),
    "mse": Case(against(mse), lambda y: F.mse_loss(y, X, reduction="none").mean(-1)),
    "gaussian_kl": Case(gaussian_kl, torch_kl, predictions=2),
    "gaussian_nll": Case(
        against(gaussian_nll),
        lambda mu, logvar: F.gaussian_nll_loss(mu, X, torch.exp(logvar), full=True, reduction="none").sum(-1),
        predictions=2,
    ),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def cotangents(answer: Array | Predictions) -> Predictions:
    return answer if isinstance(answer, tuple) else (answer,)


@each_case
def test_gradient(case: Case) -> None:
    check(case.loss, *case.point(), rng=np.random.default_rng(1))


@each_case
def test_torch_gives_the_same_values_and_gradients(case: Case) -> None:
    ours, pullback = case.loss(*case.point())
    leaves = [torch.tensor(a, requires_grad=True) for a in case.point()]
    theirs = case.oracle(*leaves)
    dloss = np.random.default_rng(1).standard_normal(ours.shape)
    theirs.backward(torch.tensor(dloss))
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10)
    for mine, leaf in zip(cotangents(pullback(dloss)), leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=1e-10, atol=1e-14)


@each_case
def test_pullback_is_repeatable_and_linear(case: Case) -> None:
    loss, pullback = case.loss(*case.point())
    a, b = (np.random.default_rng(i).standard_normal(loss.shape) for i in (1, 2))
    for at_a, at_b, both, again in zip(
        *(cotangents(pullback(dloss)) for dloss in (a, b, 2 * a - 3 * b, a)), strict=True
    ):
        np.testing.assert_array_equal(at_a, again)
        np.testing.assert_allclose(both, 2 * at_a - 3 * at_b, rtol=1e-12, atol=1e-13)


@each_case
def test_float32_stays_float32(case: Case) -> None:
    loss, pullback = case.loss(*case.point(np.float32))
    assert {loss.dtype, *(a.dtype for a in cotangents(pullback(np.ones_like(loss))))} == {np.dtype(np.float32)}
    np.testing.assert_allclose(loss, case.loss(*case.point())[0], rtol=1e-5)


@given(leading=st.lists(st.integers(0, 4), max_size=3), classes=st.integers(1, 6), smoothing=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_cross_entropy_of_any_shape(leading: list[int], classes: int, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    s, y = rng.standard_normal((*leading, classes)), rng.integers(0, classes, leading)
    loss, pullback = softmax_cross_entropy(s, y, smoothing)
    ds = pullback(np.ones_like(loss))
    assert loss.shape == y.shape
    assert ds.shape == s.shape
    np.testing.assert_allclose(ds.sum(-1), 0, atol=1e-14)  # both distributions sum to 1


def test_cross_entropy_of_large_and_masked_logits() -> None:
    s = np.array([[1e30, 0.0, -1e30], [2.0, 2.0, -np.inf]])
    loss, pullback = softmax_cross_entropy(s, np.array([0, 1]))
    np.testing.assert_allclose(loss, [0, math.log(2)])
    np.testing.assert_allclose(pullback(np.ones(2)), [[0, 0, 0], [0.5, -0.5, 0]])


def test_label_smoothing_is_least_at_the_smoothed_target() -> None:
    q = np.array([0.1 / 4, 0.1 / 4, 0.9 + 0.1 / 4, 0.1 / 4])
    loss, pullback = softmax_cross_entropy(np.log(q)[None], np.array([2]), 0.1)
    np.testing.assert_allclose(loss, -(q * np.log(q)).sum())  # the target's entropy
    np.testing.assert_allclose(pullback(np.ones(1)), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0, 3]), r"labels must be in 0\.\.2, found 0\.\.3"),
        (np.array([-1, 0]), r"labels must be in 0\.\.2, found -1\.\.0"),
        (np.array([0.0, 1.0]), r"labels must be integers \(2,\), got float64 \(2,\)"),
        (np.array([0]), r"labels must be integers \(2,\), got int64 \(1,\)"),
    ],
)
def test_labels_that_cannot_be(y: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        softmax_cross_entropy(np.zeros((2, 3)), y)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_label_smoothing_out_of_range(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\]"):
        softmax_cross_entropy(np.zeros((2, 3)), np.array([0, 1]), smoothing)


def test_bernoulli_of_large_logits() -> None:
    loss, pullback = bernoulli_with_logits(
        np.array([[1e30, -1e30], [-800.0, 800.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    )
    np.testing.assert_allclose(loss, [0, 800])
    np.testing.assert_allclose(pullback(np.ones(2)), [[0, 0], [0, 1]])


def test_gaussian_kl_is_the_mean_log_ratio_of_the_densities() -> None:
    rng = np.random.default_rng(0)
    mu, logvar = np.array([0.5, -1.0]), np.array([0.3, -0.7])
    z = mu + np.exp(0.5 * logvar) * rng.standard_normal((400_000, 2))
    zeros = np.zeros_like(z)
    log_ratio = gaussian_nll(zeros, zeros, z)[0] - gaussian_nll(zeros + mu, zeros + logvar, z)[0]
    error = log_ratio.std() / math.sqrt(len(z))
    assert abs(gaussian_kl(mu, logvar)[0] - log_ratio.mean()) <= 4 * error
    assert gaussian_kl(np.zeros(3), np.zeros(3))[0] == 0


def test_gaussian_nll_integrates_to_one() -> None:
    x = np.linspace(-40, 40, 20_001)[:, None]
    density = np.exp(-gaussian_nll(np.full_like(x, 0.7), np.full_like(x, 1.3), x)[0])
    np.testing.assert_allclose(density.sum() * (x[1, 0] - x[0, 0]), 1, rtol=1e-12)


def test_mse_over_a_batch_is_the_mean_over_all_entries() -> None:
    rng = np.random.default_rng(0)
    y, t = rng.standard_normal((2, 4, 6))
    np.testing.assert_allclose(mse(y, t)[0].mean(), ((y - t) ** 2).mean())

"""The training steps that the repository's speed is judged by."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from papers.vae.model import METHODS, VAE
from shared import tree
from shared.init import glorot_normal
from shared.layers.activation import ReLU
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import softmax_cross_entropy
from shared.optim import Adagrad, Adam

N = 20_000


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """As many grey values as MNIST has, a fifth of them not zero."""
    rng = np.random.default_rng(0)
    x = rng.random((N, 784), dtype=np.float32)
    return x * (rng.random((N, 784), dtype=np.float32) < 0.2)


def batches(size: int) -> Callable[[], np.ndarray]:
    rng = np.random.default_rng(1)
    return lambda: rng.integers(0, N, size)


def vae_step(x: np.ndarray, method: str) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    vae, batch = VAE(784, 500, 20, std=0.1), batches(100)
    _, p = tree.flatten(vae.init(rng))
    optimizer = Adagrad(0.01, weight_decay=1 / 50_000)
    state = optimizer.init(p)

    def step() -> None:
        _, grads = METHODS[method](vae, p, x[batch()], rng)
        optimizer.update(p, grads, state)

    return step


def torch_vae_step(x: np.ndarray) -> Callable[[], object]:
    data, batch = torch.from_numpy(x), batches(100)
    encoder = nn.Sequential(nn.Linear(784, 500), nn.Tanh(), nn.Linear(500, 40))
    decoder = nn.Sequential(nn.Linear(20, 500), nn.Tanh(), nn.Linear(500, 784))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adagrad(parameters, lr=0.01, weight_decay=1 / 50_000)

    def step() -> None:
        x = data[torch.from_numpy(batch())]
        mu, logvar = encoder(x).chunk(2, 1)
        logits = decoder(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = -0.5 * (1 + logvar - mu * mu - logvar.exp()).sum()
        optimizer.zero_grad()
        ((nll + kl) / len(x)).backward()
        optimizer.step()

    return step


def mlp_step(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    batch = batches(60)
    net = Sequential(
        (
            Linear(784, 300, glorot_normal, input_is_data=True),
            ReLU(),
            Linear(300, 100, glorot_normal),
            ReLU(),
            Linear(100, 10, glorot_normal),
        )
    )
    _, p = tree.flatten(net.init(np.random.default_rng(0)))
    optimizer = Adam(1.2e-3)
    state = optimizer.init(p)

    def step() -> None:
        index = batch()
        logits, pullback = net(p, x[index])
        loss, loss_pullback = softmax_cross_entropy(logits, y[index])
        _, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(loss))))
        optimizer.update(p, grads, state)

    return step


def torch_mlp_step(x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    data, labels, batch = torch.from_numpy(x), torch.from_numpy(y), batches(60)
    net = nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=1.2e-3)

    def step() -> None:
        index = torch.from_numpy(batch())
        optimizer.zero_grad()
        F.cross_entropy(net(data[index]), labels[index]).backward()
        optimizer.step()

    return step


def test_vae_step(compare: Callable[..., float], pixels: np.ndarray) -> None:
    name = "VAE 784-500-20-500-784, batch 100, Adagrad"
    assert compare("vae", name, vae_step(pixels, "aevb"), torch_vae_step(pixels)) <= 0.75


def test_mlp_step(compare: Callable[..., float], pixels: np.ndarray) -> None:
    y = np.random.default_rng(2).integers(0, 10, N)
    name = "MLP 784-300-100-10, batch 60, Adam"
    assert compare("vae", name, mlp_step(pixels, y), torch_mlp_step(pixels, y)) <= 0.8

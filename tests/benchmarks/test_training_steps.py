"""The training steps that the repository's speed is judged by."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from papers.lottery_ticket import pruning
from papers.lottery_ticket.model import Subnetworks, lenet
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


def tickets(size: int, rounds: int) -> tuple[list[tree.Tree], list[pruning.Masks]]:
    """Initial networks, and the masks that pruning the first one by its initial weights leaves."""
    net, rates = lenet(784), {"0": 0.2, "2": 0.2, "4": 0.1}
    networks = [net.init(np.random.default_rng(seed)) for seed in range(size)]
    return networks, [pruning.one_shot(networks[0], rates, rounds)] * size


def ticket_step(x: np.ndarray, y: np.ndarray, size: int, rounds: int) -> Callable[[], object]:
    """One step of a stack: a ticket and its reinitialisations, or the dense network alone."""
    net, batch = lenet(784), batches(60)
    nets = Subnetworks(*tickets(size, rounds), Adam(1.2e-3))

    def step() -> None:
        index = batch()
        logits, pullback = net(nets.p, x[index])
        loss, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(y[index], logits.shape[:-1]))
        _, grads = pullback(loss_pullback(np.full_like(loss, 1 / 60)))
        nets.update(grads)

    return step


def torch_one_by_one(x: np.ndarray, y: np.ndarray, size: int, rounds: int) -> Callable[[], object]:
    """The same networks one after the other, each mask put back after its step."""
    data, labels, batch = torch.from_numpy(x), torch.from_numpy(y), batches(60)
    nets = [
        nn.Sequential(nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))
        for _ in range(size)
    ]
    masks = [torch.from_numpy(np.ascontiguousarray(mask.T)) for mask in tickets(1, rounds)[1][0].values()]
    optimizers = [torch.optim.Adam(net.parameters(), lr=1.2e-3) for net in nets]

    def step() -> None:
        index = torch.from_numpy(batch())
        images, classes = data[index], labels[index]
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(images), classes).backward()
            optimizer.step()
            if rounds:
                with torch.no_grad():
                    for layer, mask in zip(net[::2], masks, strict=True):
                        layer.weight *= mask

    return step


def torch_stack(x: np.ndarray, y: np.ndarray, size: int, rounds: int) -> Callable[[], object]:
    """The same networks as one batch of matrix products, the masks put back after each step."""
    data, labels, batch = torch.from_numpy(x), torch.from_numpy(y), batches(60)
    networks, masks = (tree.stack(trees) for trees in tickets(size, rounds))
    layers = [(torch.tensor(p["W"]), torch.tensor(p["b"])[:, None]) for p in networks.values() if p]
    held = [torch.tensor(mask) for mask in masks.values()]
    parameters = [tensor.requires_grad_() for layer in layers for tensor in layer]
    optimizer = torch.optim.Adam(parameters, lr=1.2e-3)

    def step() -> None:
        index = torch.from_numpy(batch())
        hidden, classes = data[index].expand(size, -1, -1), labels[index].repeat(size)
        for W, b in layers[:-1]:
            hidden = torch.relu(torch.baddbmm(b, hidden, W))
        logits = torch.baddbmm(layers[-1][1], hidden, layers[-1][0])
        optimizer.zero_grad()
        (F.cross_entropy(logits.flatten(0, 1), classes, reduction="sum") / 60).backward()
        optimizer.step()
        with torch.no_grad():
            for (W, _), mask in zip(layers, held, strict=True):
                W *= mask

    return step


def test_vae_step(compare: Callable[..., float], pixels: np.ndarray) -> None:
    name = "VAE 784-500-20-500-784, batch 100, Adagrad"
    assert compare("vae/full", name, vae_step(pixels, "aevb"), torch_vae_step(pixels)) <= 0.75


def test_mlp_step(compare: Callable[..., float], pixels: np.ndarray) -> None:
    y = np.random.default_rng(2).integers(0, 10, N)
    name = "MLP 784-300-100-10, batch 60, Adam"
    assert compare("vae/full", name, mlp_step(pixels, y), torch_mlp_step(pixels, y)) <= 0.8


@pytest.mark.parametrize(("rounds", "left"), [(3, "51.3"), (7, "21.1"), (15, "3.6")])
@pytest.mark.parametrize(
    ("theirs", "how"), [(torch_one_by_one, "one after the other"), (torch_stack, "a stack by torch.baddbmm")]
)
def test_ticket_step(
    compare: Callable[..., float],
    pixels: np.ndarray,
    rounds: int,
    left: str,
    theirs: Callable[..., Callable[[], object]],
    how: str,
) -> None:
    y = np.random.default_rng(2).integers(0, 10, N)
    name = f"4 LeNet-300-100 with {left} % of their weights, batch 60, Adam, one thread (PyTorch: four, {how})"
    steps = ticket_step(pixels, y, 4, rounds), theirs(pixels, y, 4, rounds)
    assert compare("lottery_ticket/full", name, *steps, threads=1) <= 0.7


def test_dense_step(compare: Callable[..., float], pixels: np.ndarray) -> None:
    y = np.random.default_rng(2).integers(0, 10, N)
    steps = ticket_step(pixels, y, 1, 0), torch_one_by_one(pixels, y, 1, 0)
    name = "LeNet-300-100 with all its weights, batch 60, Adam, one thread"
    assert compare("lottery_ticket/full", name, *steps, threads=1) <= 0.7

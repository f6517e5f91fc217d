"""The steps of Figure 1 and Table 1 against PyTorch's."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from papers.rethinking_generalization import training
from papers.rethinking_generalization.model import network
from shared.optim import Momentum

N, BATCH = 20_000, 128
SCHEDULE = {"learning_rate": 0.01, "decay": 0.95, "decay_every": 390}
FEW = {"blocks": 5, "steps": 4}  # of what takes a quarter of a second


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    """Whitened images, and labels."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, 28, 28, 3), dtype=np.float32), rng.integers(0, 10, N)


def step(model: str, x: np.ndarray, y: np.ndarray) -> Callable[[], object]:
    """A step of ``training.train``: the minibatch, both passes, the update."""
    rng, net = np.random.default_rng(0), network(model, (28, 28, 3))
    p = net.init(rng)
    optimizer = Momentum(partial(training.rate, SCHEDULE), 0.0, training.MOMENTUM)
    state = optimizer.init(p)

    def step() -> None:
        index = rng.integers(0, N, BATCH)
        _, _, grads = training.gradient(net, p, x[index], y[index])
        optimizer.update(p, grads, state)

    return step


def torch_step(net: nn.Module, x: torch.Tensor, y: np.ndarray) -> Callable[[], object]:
    """The same in eager mode; which answers are wrong is counted as well."""
    rng, labels = np.random.default_rng(0), torch.from_numpy(y)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=training.MOMENTUM)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, SCHEDULE["decay_every"], SCHEDULE["decay"])

    def step() -> None:
        index = torch.from_numpy(rng.integers(0, N, BATCH))
        batch, classes = x[index], labels[index]
        optimizer.zero_grad()
        logits = net(batch)
        F.cross_entropy(logits, classes).backward()
        _ = logits.argmax(1) != classes
        optimizer.step()
        schedule.step()

    return step


def torch_mlp() -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in in (2352, 512, 512):
        layers += [nn.Linear(n_in, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10))


def torch_alexnet() -> nn.Module:
    def module(c_in: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.LocalResponseNorm(9, 1e-3)]

    dense = [nn.Flatten(), nn.Linear(3136, 384), nn.ReLU(), nn.Linear(384, 192), nn.ReLU(), nn.Linear(192, 10)]
    return nn.Sequential(*module(3), *module(64), *dense)


@pytest.mark.parametrize("count", [1, 2])
def test_mlp_step(compare: Callable[..., float], images: tuple[np.ndarray, np.ndarray], count: int) -> None:
    x, y = images
    theirs = torch_step(torch_mlp(), torch.from_numpy(x), y)
    name = "MLP 3x512, batch 128, SGD with momentum"
    assert compare("rethinking_generalization/full", name, step("mlp3x512", x, y), theirs, threads=count) <= 0.8


@pytest.mark.parametrize("memory", ["NCHW", "channels last"])
def test_alexnet_step(compare: Callable[..., float], images: tuple[np.ndarray, np.ndarray], memory: str) -> None:
    x, y = images
    form = torch.contiguous_format if memory == "NCHW" else torch.channels_last
    theirs = torch_step(torch_alexnet().to(memory_format=form), torch.from_numpy(x).permute(0, 3, 1, 2), y)
    name = f"small Alexnet, batch 128, SGD with momentum; PyTorch {memory}"
    ratio = compare("rethinking_generalization/full", name, step("alexnet", x, y), theirs, threads=1, **FEW)
    assert ratio <= 2

"""Convolutions and the ResNet step against PyTorch in both of its memory formats; how cost and memory grow."""

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from papers.resnet.model import resnet
from papers.resnet.training import gradient
from shared import threads, tree
from shared.layers.conv import Conv2d
from shared.optim import Momentum

FORMATS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
TIME = {"blocks": 5, "steps": 4}


def conv_step(channels: int, size: int, batch: int = 128) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    layer = Conv2d(channels, channels, 3, padding=1, bias=False)
    p, x = layer.init(rng), rng.standard_normal((batch, size, size, channels), np.float32)
    dy = rng.standard_normal(x.shape, np.float32)

    def step() -> None:
        _, pullback = layer(p, x)
        pullback(dy)

    return step


def torch_conv_step(channels: int, size: int, memory: torch.memory_format) -> Callable[[], object]:
    x, dy = (torch.randn(128, channels, size, size).contiguous(memory_format=memory) for _ in range(2))
    x.requires_grad_()
    layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=memory)
    return lambda: layer(x).backward(dy)


def resnet_step(depth: int, batch: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    net = resnet(depth)
    p, x, y = net.init(rng), rng.standard_normal((batch, 32, 32, 3), np.float32), rng.integers(0, 10, batch)
    trainable, optimizer = tree.trainable(p), Momentum(0.1, 1e-4)
    state = optimizer.init(trainable)
    return lambda: optimizer.update(trainable, gradient(net, p, x, y)[2], state)


class TorchBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c_out) for _ in range(2))
        self.stride, self.extra = stride, c_out - c_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(f + x)


def torch_resnet_step(depth: int, batch: int, memory: torch.memory_format) -> Callable[[], object]:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    c_in = 16
    for width in (16, 32, 64):
        for i in range((depth - 2) // 6):
            layers.append(TorchBlock(c_in, width, 2 if width > 16 and i == 0 else 1))
            c_in = width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).to(memory_format=memory)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-4)
    x, y = torch.randn(batch, 3, 32, 32).contiguous(memory_format=memory), torch.randint(0, 10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("channels", "size"), [(16, 32), (32, 16), (64, 8)])
def test_convolution(compare: Callable[..., float], channels: int, size: int, count: int) -> None:
    ratios = [
        compare(
            "resnet/full",
            f"conv 3x3, {channels} channels, {size} x {size}, batch 128, both passes; PyTorch {name}",
            conv_step(channels, size),
            torch_conv_step(channels, size, memory),
            threads=count,
        )
        for name, memory in FORMATS.items()
    ]
    assert max(ratios) <= 2.5


@pytest.mark.parametrize("count", [1, 2])
def test_resnet_20_step(compare: Callable[..., float], count: int) -> None:
    ratios = [
        compare(
            "resnet/full",
            f"ResNet-20, batch 128, SGD with momentum; PyTorch {name}",
            resnet_step(20, 128),
            torch_resnet_step(20, 128, memory),
            threads=count,
            **TIME,
        )
        for name, memory in FORMATS.items()
    ]
    assert max(ratios) <= 2.0


@pytest.mark.parametrize(("depth", "batch"), [(20, 64), (20, 256), (32, 128), (56, 128)])
def test_cost_is_linear_in_depth_and_batch(compare: Callable[..., float], depth: int, batch: int) -> None:
    """Against ResNet-20 at batch 128 on the same machine: the ratio of the layers times the images, within 30 %."""
    own, whole = resnet_step(depth, batch), resnet_step(20, 128)
    times: dict[Callable[[], object], list[float]] = {own: [], whole: []}
    with threads.use(2):
        for _ in range(6):
            for step, record in times.items():
                start = time.perf_counter()
                step()
                record.append(time.perf_counter() - start)
    ratio = median(times[own]) / median(times[whole])
    expected = (depth - 2) / 18 * batch / 128
    print(f"ResNet-{depth}, batch {batch}: {ratio:.2f} of ResNet-20's step at batch 128, {expected:.2f} by count")
    assert ratio / expected == pytest.approx(1, abs=0.3)


def test_memory_of_resnet_56() -> None:
    """Two training steps at batch 128, in a process of their own, peak below 3 GB."""
    code = (
        "import resource, sys; sys.path.insert(0, 'tests/benchmarks')\n"
        "from test_convolutions import resnet_step\n"
        "step = resnet_step(56, 128); step(); step()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gigabytes = int(done.stdout) * 1024 / 1e9
    print(f"ResNet-56, batch 128: {gigabytes:.2f} GB")
    assert gigabytes < 3

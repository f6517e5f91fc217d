"""The U-Net's training step, and a guided sampling step, against PyTorch in both of its memory formats."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from papers.diffusion.classifier import Classifier
from papers.diffusion.guidance import ancestral_step
from papers.diffusion.process import process
from papers.diffusion.sampling import predictor
from papers.diffusion.training import flat, gradient
from papers.diffusion.unet import Plan, UNet
from shared import tree
from shared.optim import Adam

FORMATS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
TIME = {"blocks": 5, "steps": 4}
PLAN = Plan(28, 32, (1, 2, 4), attention=(7,), head=32)
SAMPLED, GUIDE = (Plan(28, channels, (1, 1), attention=(7,), head=32, patch=2) for channels in (32, 16))  # scale=full
CLASSES, BATCH, SAMPLES, STEPS = 10, 64, 250, 100


class Block(nn.Module):
    """A residual block with AdaGN."""

    def __init__(self, c_in: int, c_out: int, embedding: int, way: str = "") -> None:
        super().__init__()
        self.before, self.norm = nn.GroupNorm(8, c_in), nn.GroupNorm(8, c_out)
        self.conv1, self.conv2 = nn.Conv2d(c_in, c_out, 3, 1, 1), nn.Conv2d(c_out, c_out, 3, 1, 1)
        self.embed = nn.Linear(embedding, 2 * c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.way: nn.Module = {"": nn.Identity(), "down": nn.AvgPool2d(2), "up": nn.Upsample(scale_factor=2)}[way]

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        h = self.conv1(self.way(F.silu(self.before(x))))
        s, b = self.embed(e)[..., None, None].chunk(2, 1)
        return self.skip(self.way(x)) + self.conv2(F.silu(self.norm(h) * (1 + s) + b))


class Attention(nn.Module):
    """Self-attention between places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(8, channels), max(1, channels // 32)
        self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).reshape(n, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        return x + self.out(read).transpose(1, 2).reshape(x.shape)


class Chain(nn.Module):
    """Blocks and attention in a row, all told e."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x, e)
        return x


class Told(nn.Module):
    """The embedding of time and class."""

    def __init__(self, channels: int, classes: int = 0) -> None:
        super().__init__()
        self.frequencies = 10_000 ** (-torch.arange(channels // 2) / (channels // 2))
        self.time = nn.Sequential(nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, 4 * channels))
        self.label = nn.Embedding(classes, 4 * channels) if classes else None

    def forward(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        angle = t[:, None] * self.frequencies
        e = self.time(torch.cat([angle.cos(), angle.sin()], -1))
        return F.silu(e + self.label(y) if self.label else e)


class TorchEncoder(nn.Module):
    """A level's block, a step down, and so on; all outputs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.first, self.patch = nn.Conv2d(plan.patch**2, plan.channels, 3, 1, 1), plan.patch
        stages, c_in, e = [], plan.channels, 4 * plan.channels
        for level, (side, width) in enumerate(zip(plan.sides, plan.widths, strict=True)):
            if level:
                stages.append(Chain(Block(c_in, c_in, e, "down")))
            attention = [Attention(width)] if side in plan.attention else []
            stages.append(Chain(Block(c_in, width, e), *attention))
            c_in = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor, e: Tensor) -> list[Tensor]:
        x, outputs = self.first(F.pixel_unshuffle(x, self.patch)), []
        for stage in self.stages:
            x = stage(x, e)
            outputs.append(x)
        return outputs


class TorchUNet(nn.Module):
    def __init__(self, plan: Plan, classes: int) -> None:
        super().__init__()
        e, last = 4 * plan.channels, plan.widths[-1]
        self.told, self.encoder = Told(plan.channels, classes), TorchEncoder(plan)
        self.middle = Chain(Block(last, last, e), Attention(last), Block(last, last, e))
        decoder, below = [], last
        for level in reversed(range(len(plan.widths))):
            width = plan.widths[level]
            attention = [Attention(width)] if plan.sides[level] in plan.attention else []
            up = [Block(width, width, e, "up")] if level else []
            decoder.append(Chain(Block(below + width, width, e), *attention, *up))
            below = width
        self.decoder = nn.ModuleList(decoder)
        self.head = nn.Sequential(nn.GroupNorm(8, below), nn.SiLU(), nn.Conv2d(below, 2 * plan.patch**2, 3, 1, 1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        e = self.told(t, y)
        outputs = self.encoder(x, e)
        h = self.middle(outputs[-1], e)
        for stage, skip in zip(self.decoder, outputs[::-2], strict=True):
            h = stage(torch.cat([h, skip], 1), e)
        return F.pixel_shuffle(self.head(h), self.encoder.patch)


class TorchClassifier(nn.Module):
    def __init__(self, plan: Plan, classes: int) -> None:
        super().__init__()
        width, places = plan.widths[-1], plan.sides[-1] ** 2
        self.told, self.encoder = Told(plan.channels), TorchEncoder(plan)
        self.before = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU())
        self.positions = nn.Parameter(torch.randn(1 + places, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, max(1, width // 32), batch_first=True)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.before(self.encoder(x, self.told(t))[-1]).flatten(2).transpose(1, 2)
        m = torch.cat([h.mean(1, keepdim=True), h], 1) + self.positions
        return self.output(self.attention(m[:, :1], m, m, need_weights=False)[0][:, 0])


def training_step() -> Callable[[], object]:
    """A minibatch's noise drawn, L_hybrid and Adam; PyTorch's step below has the noise given and L_simple alone."""
    rng, net, optimizer = np.random.default_rng(0), UNet(PLAN, CLASSES), Adam(1e-3)
    buffer, p = tree.flatten(net.init(rng))
    state = optimizer.init({"all": buffer})
    x0, y = rng.uniform(-1, 1, (BATCH, 28, 28, 1)).astype(np.float32), rng.integers(0, CLASSES, BATCH)
    diffusing, job = process("cosine", 1000), {"data": "mnist"}

    def step() -> None:
        _, grads = gradient(net, p, diffusing, x0, y, job, rng)
        optimizer.update({"all": buffer}, flat(grads), state)

    return step


def torch_training_step(memory: torch.memory_format) -> Callable[[], object]:
    net = TorchUNet(PLAN, CLASSES).to(memory_format=memory)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x, noise = (torch.randn(BATCH, 1, 28, 28).contiguous(memory_format=memory) for _ in range(2))
    t, y = torch.randint(0, 1000, (BATCH,)), torch.randint(0, CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad()
        F.mse_loss(net(x, t, y)[:, :1], noise).backward()
        optimizer.step()

    return step


def sampling_step() -> Callable[[], object]:
    """One of Algorithm 1's steps with a classifier's gradient."""
    rng, net, guide = np.random.default_rng(0), UNet(SAMPLED, CLASSES), Classifier(GUIDE, CLASSES)
    p, q, chain = net.init(rng), guide.init(rng), process("cosine", 1000).respaced(STEPS)
    x, y = rng.standard_normal((SAMPLES, 28, 28, 1), np.float32), rng.integers(0, CLASSES, SAMPLES)
    guided = guide.log_gradient(q, y)

    predict = predictor(net, p, chain, y)
    return lambda: ancestral_step(
        chain, predict, x, STEPS // 2, rng.standard_normal(x.shape, np.float32),
        lambda x, t: guided(x, chain.times[t]), 1.0,
    )  # fmt: skip


def torch_sampling_step(memory: torch.memory_format) -> Callable[[], object]:
    net, guide = (
        module.to(memory_format=memory) for module in (TorchUNet(SAMPLED, CLASSES), TorchClassifier(GUIDE, CLASSES))
    )
    for parameter in guide.parameters():
        parameter.requires_grad_(False)
    x = torch.randn(SAMPLES, 1, 28, 28).contiguous(memory_format=memory)
    t, y = torch.full((SAMPLES,), 500.0), torch.randint(0, CLASSES, (SAMPLES,))

    def step() -> Tensor:
        with torch.no_grad():
            eps, v = net(x, t, y).chunk(2, 1)
        at = x.clone().requires_grad_()
        log_p = F.log_softmax(guide(at, t), -1).gather(1, y[:, None]).sum()
        (g,) = torch.autograd.grad(log_p, at)
        variance = torch.exp(0.5 * (1 + v) * -4 + 0.5 * (1 - v) * -5)
        x0 = (1.4 * x - eps).clamp(-1, 1)
        return 0.1 * x0 + 0.9 * x + variance * g + variance.sqrt() * torch.randn_like(x)

    return step


def test_both_have_as_many_parameters() -> None:
    rng = np.random.default_rng(0)
    for ours, theirs in (
        (UNet(PLAN, CLASSES), TorchUNet(PLAN, CLASSES)),
        (UNet(SAMPLED, CLASSES), TorchUNet(SAMPLED, CLASSES)),
        (Classifier(GUIDE, CLASSES), TorchClassifier(GUIDE, CLASSES)),
    ):
        assert tree.size(ours.init(rng)) == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize("count", [1, 2])
def test_unet_training_step(compare: Callable[..., float], count: int) -> None:
    ratios = [
        compare(
            "diffusion/full",
            f"U-Net 28 x 28, 32, 64, 128 channels, batch {BATCH}, Adam; PyTorch {name}",
            training_step(),
            torch_training_step(memory),
            threads=count,
            **TIME,
        )
        for name, memory in FORMATS.items()
    ]
    assert max(ratios) <= 2.0


def test_guided_sampling(compare: Callable[..., float]) -> None:
    """The networks of scale=full. 250 images take 100 of these steps: 2500 / ms is their rate in images/s."""
    ours = sampling_step()
    ratios = [
        compare(
            "diffusion/full",
            f"guided sampling, one of {STEPS} steps of {SAMPLES} images; PyTorch {name}",
            ours,
            torch_sampling_step(memory),
            **TIME,
        )
        for name, memory in FORMATS.items()
    ]
    assert max(ratios) <= 2.0

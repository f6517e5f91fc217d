"""The GAN's training step, both networks, against the same in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from papers.diffusion.gan import GAN
from papers.diffusion.gan_training import Learner
from shared import tree
from shared.optim import Adam

N, BATCH, LATENT, CHANNELS = 2_000, 64, 64, 32


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (N, 28, 28, 1)).astype(np.float32), rng.integers(10, size=N)


def numpy_step() -> Callable[[], object]:
    (x, y), rng = images(), np.random.default_rng(1)
    learner = Learner(GAN(28, LATENT, CHANNELS), Adam(1e-3, beta1=0.5), 0.999)
    p = learner.gan.init(rng)
    p["average"] = tree.map(np.copy, p["generator"])
    state = learner.init(p)

    def step() -> None:
        index = rng.integers(N, size=BATCH)
        learner.step(p, state, x[index], y[index], rng)

    return step


def torch_step() -> Callable[[], object]:
    x, y = images()
    x, y, c = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y), CHANNELS
    generator = nn.Sequential(
        nn.Linear(LATENT + 10, 49 * 2 * c, bias=False),
        nn.Unflatten(1, (2 * c, 7, 7)),
        nn.BatchNorm2d(2 * c),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * c, c, 3, padding=1, bias=False),
        nn.BatchNorm2d(c),
        nn.ReLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(c, 1, 3, padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, c, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(c, 2 * c, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(49 * 2 * c, 10),
    )
    average = [leaf.detach().clone() for leaf in generator.parameters()]
    g_optimizer, d_optimizer = (
        torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.5, 0.999)) for net in (generator, discriminator)
    )
    ones, zeros = torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step() -> None:
        index, label = torch.randint(N, (BATCH,)), torch.randint(10, (BATCH, 1))
        fake = generator(torch.cat([torch.randn(BATCH, LATENT), F.one_hot(label[:, 0], 10)], 1))
        logits = discriminator(torch.cat([x[index], fake.detach()])).gather(1, torch.cat([y[index, None], label]))
        d_optimizer.zero_grad()
        d_loss = F.binary_cross_entropy_with_logits(logits[:BATCH], ones)
        (d_loss + F.binary_cross_entropy_with_logits(logits[BATCH:], zeros)).backward()
        d_optimizer.step()
        g_optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(discriminator(fake).gather(1, label), ones).backward()
        g_optimizer.step()
        with torch.no_grad():
            for mean, leaf in zip(average, generator.parameters(), strict=True):
                mean.lerp_(leaf, 0.001)

    return step


def test_gan_step(compare: Callable[..., float]) -> None:
    name = f"GAN 28x28, {CHANNELS} and {2 * CHANNELS} channels, batch {BATCH}, both networks, Adam"
    assert compare("diffusion/full", name, numpy_step(), torch_step()) <= 2.0

"""The GAN that the paper's title asks for: a class-conditional DCGAN (Radford et al. 2016), small.

The opponent in the paper is BigGAN-deep (Brock et al. 2019), which is given the classes as the diffusion model is. Here

    generator      G(z, y): [z, onehot(y)] -> images, by upsampling and 3x3 convolutions, BatchNorm, ReLU, tanh
    discriminator  D(x, y) = <w_y, phi(x)> + b_y: strided 4x4 convolutions, LeakyReLU, one logit a class

and the logit of y is the one that counts: the projection discriminator of Miyato and Koyama 2018, eq. 3, psi in w_y.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np

from papers.diffusion.images import CLASSES
from shared.init import Normal
from shared.layers.activation import LeakyReLU, ReLU, Tanh
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.layers.norm import BatchNorm
from shared.layers.pool import Upsample
from shared.layers.reshape import Reshape
from shared.losses import bernoulli_with_logits
from shared.tree import Array, Tree

TRAIN = Mode(train=True)
WEIGHT = Normal(0.02)  # DCGAN, section 4
SLOPE = 0.2


@dataclass(frozen=True)
class GAN:
    """Images x (N, side, side, 1) in [-1, 1], side a multiple of 4; z (N, latent); c and 2c channels."""

    side: int
    latent: int
    channels: int

    def __post_init__(self) -> None:
        if self.side < 4 or self.side % 4:
            raise ValueError(f"GAN: side must be a multiple of 4, got {self.side}")

    @property
    def generator(self) -> Sequential:
        """(N, latent + 10) -> (N, side, side, 1). A convolution in front of BatchNorm needs no bias."""
        base, c = self.side // 4, self.channels
        return Sequential(
            (
                Linear(self.latent + CLASSES, base**2 * 2 * c, WEIGHT, bias=False),
                Reshape((base, base, 2 * c)),
                BatchNorm(2 * c),
                ReLU(),
                Upsample(),
                Conv2d(2 * c, c, 3, padding=1, weight=WEIGHT, bias=False),
                BatchNorm(c),
                ReLU(),
                Upsample(),
                Conv2d(c, 1, 3, padding=1, weight=WEIGHT),
                Tanh(),
            )
        )

    @property
    def discriminator(self) -> Sequential:
        """(N, side, side, 1) -> (N, 10). Without BatchNorm: an image is judged by itself, real or not."""
        base, c = self.side // 4, self.channels
        return Sequential(
            (
                Conv2d(1, c, 4, 2, 1, weight=WEIGHT),
                LeakyReLU(SLOPE),
                Conv2d(c, 2 * c, 4, 2, 1, weight=WEIGHT),
                LeakyReLU(SLOPE),
                Reshape((-1,)),
                Linear(2 * c * base**2, CLASSES, WEIGHT),
            )
        )

    def init(self, rng: np.random.Generator) -> Tree:
        return {"generator": self.generator.init(rng), "discriminator": self.discriminator.init(rng)}

    def generate(self, p: Tree, z: Array, y: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        """G(z, y), p the generator's parameters; the pullback gives (dz, dp)."""
        code = np.concatenate([z, np.eye(CLASSES, dtype=z.dtype)[y]], 1)
        x, pullback = self.generator(p, code, mode)

        def to_z(dx: Array) -> tuple[Array, Tree]:
            dcode, dp = pullback(dx)
            return dcode[:, : self.latent], dp

        return x, to_z

    def judge(self, p: Tree, x: Array, y: Array) -> tuple[Array, Pullback]:
        """D(x, y) (N,), log-odds that x is real, p the discriminator's parameters; the pullback gives (dx, dp)."""
        every, pullback = self.discriminator(p, x)
        label = y[:, None]

        def to_x(ds: Array) -> tuple[Array, Tree]:
            devery = np.zeros_like(every)
            np.put_along_axis(devery, label, ds[:, None], 1)
            return pullback(devery)

        return np.take_along_axis(every, label, 1)[:, 0], to_x


def of_generator(p: Tree) -> GAN:
    """The GAN whose generator has parameters of these shapes."""
    (n_in, n_out), channels = p["0"]["W"].shape, p["5"]["W"].shape[-1]
    return GAN(4 * isqrt(n_out // (2 * channels)), n_in - CLASSES, channels)


def real_or_fake(s: Array, real: float) -> tuple[Array, Callable[[Array], Array]]:
    r"""-log sigmoid(s) (N,) where real = 1, -log(1 - sigmoid(s)) where it is 0, for logits s (N,), and the pullback."""
    loss, pullback = bernoulli_with_logits(s[:, None], np.full_like(s, real)[:, None])
    return loss, lambda dloss: pullback(dloss)[:, 0]


def discriminator_gradient(gan: GAN, p: Tree, x: Array, y: Array, fake: Array, y_fake: Array) -> tuple[float, Tree]:
    r"""-E[log sigmoid(D(x))] - E[log(1 - sigmoid(D(G(z))))] and its gradient in D's parameters p.

    Goodfellow et al. 2014, eq. 1, D being log-odds here. Real x (N, ...) and fake (M, ...) go through D side by side;
    each has weight 1/N or 1/M.
    """
    s, pullback = gan.judge(p, np.concatenate([x, fake]), np.concatenate([y, y_fake]))
    n = len(x)
    (on_real, real_pullback), (on_fake, fake_pullback) = real_or_fake(s[:n], 1), real_or_fake(s[n:], 0)
    mean = np.full_like(on_real, 1 / n), np.full_like(on_fake, 1 / len(fake))
    _, grads = pullback(np.concatenate([real_pullback(mean[0]), fake_pullback(mean[1])]))
    return float(on_real.mean() + on_fake.mean()), grads


def generator_gradient(gan: GAN, p: Tree, fake: Array, y: Array, generator_pullback: Pullback) -> tuple[float, Tree]:
    r"""-E[log sigmoid(D(G(z)))] and its gradient in G's parameters, p being D's and fake = G(z) with its pullback.

    Non-saturating: d/ds -log sigmoid(s) = sigmoid(s) - 1 is -1 where D is sure of a fake (s -> -inf). What G minimises
    in the game itself, log(1 - sigmoid(s)), has the slope -sigmoid(s), which is 0 there. Both push s up.
    """
    s, pullback = gan.judge(p, fake, y)
    loss, loss_pullback = real_or_fake(s, 1)
    dfake, _ = pullback(loss_pullback(np.full_like(loss, 1 / len(loss))))
    return float(loss.mean()), generator_pullback(dfake)[1]

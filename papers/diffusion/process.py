"""The diffusion process: noise added step by step, the Gaussians that take it away again, and the bound on both.

Ho et al. 2020 (DDPM), Nichol and Dhariwal 2021 (IDDPM). The papers count t = 1 .. T; arrays here start at 0, so the
index t stands for the papers' t + 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import log, pi
from typing import NamedTuple

import numpy as np

from shared.layers.activation import normal_cdf
from shared.losses import mse
from shared.tree import Array

LARGEST_BETA = 0.999  # IDDPM, section 3.2: no singularity at t = T
HYBRID = 0.001  # lambda of IDDPM, eq. 16
TOLD = 1000  # the network is told times 0 .. TOLD, however many steps there are


def linear(steps: int) -> Array:
    """beta_1 .. beta_T from 1e-4 to 0.02 at T = 1000 (DDPM, section 4); other T keep the total noise."""
    return np.minimum(np.linspace(1e-4, 0.02, steps) * (1000 / steps), LARGEST_BETA)


def cosine(steps: int) -> Array:
    r"""beta_t = 1 - abar_t / abar_(t-1), abar_t = f(t) / f(0), f(t) = cos^2((t/T + s) / (1 + s) pi/2), s = 0.008.

    IDDPM, eq. 17: abar falls almost linearly in the middle, where the linear schedule has destroyed small images.
    """
    f = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], LARGEST_BETA)


SCHEDULES: dict[str, Callable[[int], Array]] = {"linear": linear, "cosine": cosine}


def process(schedule: str, steps: int) -> "Process":
    """All T steps of a schedule."""
    return Process(SCHEDULES[schedule](steps), np.arange(steps) * (TOLD / steps))


def at(coefficients: Array, t: Array, x: Array) -> Array:
    """coefficients[t] (N,), in x's dtype, shaped to multiply x (N, ...)."""
    return coefficients[t].astype(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


@dataclass(frozen=True, eq=False)
class Process:
    r"""q(x_t | x_(t-1)) = N(sqrt(1 - beta_t) x_(t-1), beta_t I), x (N, ...), and what follows from it.

    ``beta`` (T,) float64; ``times`` (T,) is what the network is told at each step. alpha_t = 1 - beta_t, abar_t their
    product up to t.
    """

    beta: Array
    times: Array

    @cached_property
    def alpha_bar(self) -> Array:
        return np.cumprod(1 - self.beta)

    @cached_property
    def alpha_bar_before(self) -> Array:
        """abar_(t-1), with abar_0 = 1."""
        return np.append(1.0, self.alpha_bar[:-1])

    @cached_property
    def beta_tilde(self) -> Array:
        """The posterior's variance; 0 at the first step, where x_0 is given."""
        return self.beta * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)

    @cached_property
    def log_beta(self) -> Array:
        return np.log(self.beta)

    @cached_property
    def log_beta_tilde(self) -> Array:
        """log of ``beta_tilde``, at the first step of the second's (IDDPM: the first is 0)."""
        return np.log(np.append(self.beta_tilde[1:2] if len(self.beta) > 1 else self.beta, self.beta_tilde[1:]))

    def respaced(self, steps: int) -> "Process":
        r"""The process that visits ``steps`` of the times, evenly spaced from the first to the last (IDDPM, section 4).

        Its beta is 1 - abar_(S_i) / abar_(S_(i-1)), so q(x_(S_i) | x_0) stays as it was.
        """
        if not 1 <= steps <= len(self.beta):
            raise ValueError(f"respaced: steps must be between 1 and T = {len(self.beta)}, got {steps}")
        visited = np.round(np.linspace(0, len(self.beta) - 1, steps)).astype(int) if steps > 1 else np.array([-1])
        kept = self.alpha_bar[visited]
        return Process(1 - kept / np.append(1.0, kept[:-1]), self.times[visited])

    def q_sample(self, x0: Array, t: Array, noise: Array) -> Array:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, DDPM eq. 4; t (N,)."""
        return at(np.sqrt(self.alpha_bar), t, x0) * x0 + at(np.sqrt(1 - self.alpha_bar), t, x0) * noise

    def predict_x0(self, x: Array, t: Array, noise: Array) -> Array:
        """x_0 of ``q_sample``, solved for: (x_t - sqrt(1 - abar_t) noise) / sqrt(abar_t)."""
        return (x - at(np.sqrt(1 - self.alpha_bar), t, x) * noise) / at(np.sqrt(self.alpha_bar), t, x)

    def predict_noise(self, x: Array, t: Array, x0: Array) -> Array:
        """The noise of ``q_sample``, solved for."""
        return (x - at(np.sqrt(self.alpha_bar), t, x) * x0) / at(np.sqrt(1 - self.alpha_bar), t, x)

    def posterior_mean(self, x0: Array, x: Array, t: Array) -> Array:
        r"""The mean of q(x_(t-1) | x_t, x_0), whose variance is beta_tilde; DDPM eq. 7, derived in notes.md.

        sqrt(abar_(t-1)) beta_t / (1 - abar_t) x_0 + sqrt(alpha_t) (1 - abar_(t-1)) / (1 - abar_t) x_t.
        """
        of_x0 = np.sqrt(self.alpha_bar_before) * self.beta / (1 - self.alpha_bar)
        of_x = np.sqrt(1 - self.beta) * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)
        return at(of_x0, t, x) * x0 + at(of_x, t, x) * x

    def log_variance(self, v: Array, t: Array) -> Array:
        r"""log Sigma = w log beta_t + (1 - w) log beta_tilde_t, w = (1 + v) / 2; IDDPM eq. 15, the official code's w.

        The two are the best variances for data of one point and for Gaussian data: v = 0 is halfway.
        """
        share = 0.5 * (1 + v)
        return share * at(self.log_beta, t, v) + (1 - share) * at(self.log_beta_tilde, t, v)

    def bits(
        self, x0: Array, x: Array, t: Array, mean: Array, log_variance: Array, width: float
    ) -> tuple[Array, Callable[[Array], Array]]:
        r"""L_(t-1) of the bound in bits a pixel (N,), and its pullback to log_variance alone: the mean is held.

        KL(q(x_(t-1) | x_t, x_0) || N(mean, Sigma)) for t > 1 and -log p(x_0 | x_1) for t = 1 (DDPM eq. 5), where a
        pixel is one of levels ``width`` apart. IDDPM, section 3.1: no gradient of this term goes through the mean.
        """
        kl, kl_slope = gaussian_kl(self.posterior_mean(x0, x, t), at(self.log_beta_tilde, t, x), mean, log_variance)
        nll, nll_slope = discretised_nll(x0, mean, log_variance, width)
        first = (t == 0).reshape(-1, *[1] * (x.ndim - 1))
        places = tuple(range(1, x.ndim))
        scale = 1 / (log(2) * x0[0].size)

        def pullback(dbits: Array) -> Array:
            return np.where(first, nll_slope, kl_slope) * (dbits * scale).reshape(first.shape)

        return np.where(first, nll, kl).sum(places) * scale, pullback

    def prior_bits(self, x0: Array) -> Array:
        """L_T in bits a pixel (N,): KL(q(x_T | x_0) || N(0, I)), which training cannot change."""
        abar = self.alpha_bar[-1]
        kl, _ = gaussian_kl(np.sqrt(abar) * x0, np.full_like(x0, np.log1p(-abar)), 0 * x0, 0 * x0)
        return kl.mean(tuple(range(1, x0.ndim))) / log(2)


def gaussian_kl(mean: Array, log_variance: Array, mean2: Array, log_variance2: Array) -> tuple[Array, Array]:
    r"""KL(N(mean, var) || N(mean2, var2)) entry by entry, and its derivative in log_variance2.

    1/2 (log var2 - log var - 1 + (var + (mean - mean2)^2) / var2); slope 1/2 (1 - (var + (mean - mean2)^2) / var2).
    """
    ratio = (np.exp(log_variance) + (mean - mean2) ** 2) * np.exp(-log_variance2)
    return 0.5 * (log_variance2 - log_variance - 1 + ratio), 0.5 * (1 - ratio)


def discretised_nll(x0: Array, mean: Array, log_variance: Array, width: float) -> tuple[Array, Array]:
    r"""-log of the mass of N(mean, var) on the cell of x0, entry by entry, and its derivative in log_variance.

    DDPM eq. 13. The cell is x0 -+ width/2, at -1 and 1 open to infinity. With u = (edge - mean) / sigma the mass is
    m = Phi(u+) - Phi(u-), and du/dlog var = -u/2 gives dm = -(phi(u+) u+ - phi(u-) u-) / 2; m is at least 1e-12.
    """
    r = np.exp(-0.5 * log_variance)
    upper, lower = (x0 - mean + width / 2) * r, (x0 - mean - width / 2) * r
    (above, above_density), (below, below_density) = normal_cdf(upper), normal_cdf(lower)
    last, first = x0 > 1 - width / 2, x0 < -1 + width / 2
    mass = np.where(last, 1, above) - np.where(first, 0, below)
    slope = -0.5 * (np.where(last, 0, above_density * upper) - np.where(first, 0, below_density * lower))
    floored = np.maximum(mass, 1e-12)
    return -np.log(floored), np.where(mass > 1e-12, -slope / floored, 0)


class Hybrid(NamedTuple):
    """The terms of a minibatch's loss (N,) each, and the pullback of their weighted sum to the network's output."""

    simple: Array
    bits: Array
    pullback: Callable[[Array], Array]


def hybrid(process: Process, output: Array, x0: Array, x: Array, t: Array, noise: Array, width: float) -> Hybrid:
    r"""L_hybrid = L_simple + 0.001 L_vlb (IDDPM eq. 16) of an output (N, H, W, 2 C): the noise, then v for Sigma.

    L_simple is the mean squared error of the noise (DDPM eq. 14). L_vlb is T times its term at a uniform t, so that
    term has weight 0.001 T. Its mean is held: Sigma learns from the bound, the noise from L_simple alone.
    """
    eps, v = np.split(output, 2, -1)
    simple, simple_pullback = mse(eps.reshape(len(eps), -1), noise.reshape(len(noise), -1))
    mean = process.posterior_mean(process.predict_x0(x, t, eps), x, t)
    bits, bits_pullback = process.bits(x0, x, t, mean, process.log_variance(v, t), width)

    def pullback(dloss: Array) -> Array:
        deps = simple_pullback(dloss).reshape(eps.shape)
        dlog_variance = bits_pullback(HYBRID * len(process.beta) * dloss)
        return np.concatenate([deps, dlog_variance * at(0.5 * (process.log_beta - process.log_beta_tilde), t, v)], -1)

    return Hybrid(simple, bits, pullback)

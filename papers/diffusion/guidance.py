"""Sampling, guided by the gradient of a classifier: Algorithm 1 (ancestral) and Algorithm 2 (DDIM)."""

from collections.abc import Callable, Iterator

import numpy as np

from papers.diffusion.process import Process, at
from shared.tree import Array

Predict = Callable[[Array, Array], tuple[Array, Array]]  # (x_t, index t (N,)) -> (noise, log variance), both like x_t
Gradient = Callable[[Array, Array], Array]  # (x_t, index t (N,)) -> gradient of log p(y | x_t) in x_t
SAMPLERS = ("ancestral", "ddim")


def ancestral_step(
    process: Process,
    predict: Predict,
    x: Array,
    t: int,
    noise: Array,
    gradient: Gradient | None = None,
    scale: float = 1.0,
    with_sigma: bool = True,
    clip: bool = True,
) -> Array:
    r"""Algorithm 1: x_(t-1) ~ N(mu + s Sigma g, Sigma), g the gradient of log p(y | x_t) in x_t, noise ~ N(0, I).

    Sigma g, not g: log p(y | x) is linearised over the width of the step (section 4.1). ``with_sigma=False`` leaves
    Sigma out. x_0 as predicted is cut to [-1, 1] unless ``clip`` is off. The last step adds no noise.
    """
    index = np.full(len(x), t)
    eps, log_variance = predict(x, index)
    x0 = process.predict_x0(x, index, eps)
    mean = process.posterior_mean(np.clip(x0, -1, 1) if clip else x0, x, index)
    if gradient is not None and scale:
        shift = gradient(x, index)
        mean = mean + scale * (np.exp(log_variance) * shift if with_sigma else shift)
    return mean + np.exp(0.5 * log_variance) * noise if t else mean


def ddim_step(
    process: Process,
    predict: Predict,
    x: Array,
    t: int,
    gradient: Gradient | None = None,
    scale: float = 1.0,
    clip: bool = True,
) -> Array:
    r"""Algorithm 2: eps <- eps - sqrt(1 - abar_t) s g, then x_(t-1) = sqrt(abar_(t-1)) x_0 + sqrt(1 - abar_(t-1)) eps.

    The printed line has no s; the official code has. x_0 is what eps says, cut to [-1, 1] unless ``clip`` is off, and
    eps is then made to agree with it. The official code cuts x_0 before g moves it: that g is divided by sqrt(abar),
    5e-5 at the last time of the cosine schedule, which the official DDIM does not visit and ours does.
    """
    index = np.full(len(x), t)
    eps, _ = predict(x, index)
    if gradient is not None and scale:
        eps = eps - at(np.sqrt(1 - process.alpha_bar), index, x) * (scale * gradient(x, index))
    x0 = process.predict_x0(x, index, eps)
    if clip:
        x0 = np.clip(x0, -1, 1)
        eps = process.predict_noise(x, index, x0)
    before = process.alpha_bar_before
    return at(np.sqrt(before), index, x) * x0 + at(np.sqrt(1 - before), index, x) * eps


def samples(
    process: Process,
    predict: Predict,
    x: Array,
    rng: np.random.Generator,
    sampler: str = "ancestral",
    gradient: Gradient | None = None,
    scale: float = 1.0,
    with_sigma: bool = True,
    clip: bool = True,
    start: int = 0,
) -> Iterator[Array]:
    """From noise to data: x_(T-1), ..., x_0 from x_T = x, or what is left of it when ``start`` steps led to x.

    ValueError for a sampler that is not in SAMPLERS.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"samples: sampler must be one of {', '.join(SAMPLERS)}, got {sampler}")
    for t in reversed(range(len(process.beta) - start)):
        if sampler == "ddim":
            x = ddim_step(process, predict, x, t, gradient, scale, clip)
        else:
            noise = rng.standard_normal(x.shape, dtype=x.dtype)
            x = ancestral_step(process, predict, x, t, noise, gradient, scale, with_sigma, clip)
        yield x

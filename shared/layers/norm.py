"""Normalisation: to zero mean and unit variance over batch, groups of channels or features; by neighbours."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.windows import chunks
from shared.threads import spread
from shared.tree import Array, Tree


@dataclass(frozen=True)
class BatchNorm:
    r"""y = gamma (x - mu) / sqrt(var + eps) + beta for each channel, x and y (N, ..., C), gamma and beta (C,).

    In training mu and var = mean((x - mu)^2) run over all values of a channel. With r = 1/sqrt(var + eps),
    z = r (x - mu) and g = gamma dy, the loss moves by <g, dz>, dz = r (dx - dmu) + (x - mu) dr, with dmu = mean(dx)
    and dr = -r^3 dvar / 2 = -r^2 mean(z dx). Collecting what multiplies each dx gives
        dx = r (g - mean(g) - z mean(g z)),     dgamma = sum(dy z),     dbeta = sum(dy).
    The two means are what x does to the statistics; without them the gradient is wrong, not just noisy.

    A forward pass in training WRITES p["running"]: mean <- (1 - momentum) mean + momentum mu, and so for var, taken
    with M - 1. Evaluation uses these two as constants: dx = gamma r dy. Ioffe and Szegedy 2015, algorithms 1 and 2.
    """

    channels: int
    affine: bool = True
    momentum: float = 0.1
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_norm(self, self.channels)
        if not 0 < self.momentum <= 1:
            raise ValueError(f"BatchNorm: momentum must be in (0, 1], got {self.momentum}")

    def init(self, rng: np.random.Generator) -> Tree:
        running = {"mean": np.zeros(self.channels, np.float32), "var": np.ones(self.channels, np.float32)}
        return (affine_parameters(self.channels) if self.affine else {}) | {"running": running}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim < 2 or x.shape[-1] != self.channels:
            raise ValueError(f"BatchNorm: x must be (N, ..., {self.channels}), got {x.shape}")
        if mode.train and len(x) == 1:
            raise ValueError("BatchNorm: a batch of one has no statistics to train on; take two images or more")
        rows = wide(x)
        size = x.size // self.channels
        if mode.train:
            mean, square = moments(rows, self.channels)
            var = square / size
            running = p["running"]
            for name, value in (("mean", mean), ("var", square / (size - 1))):
                running[name] += self.momentum * (value - running[name])
        else:
            mean, var = p["running"]["mean"], p["running"]["var"]
        r = 1 / np.sqrt(var + self.epsilon)
        scale = p["gamma"] * r if self.affine else r
        shift = (p["beta"] if self.affine else 0) - scale * mean
        y = per_channel(rows, (scale,), shift)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            drows = wide(dy)
            if not (mode.train or self.affine):
                return per_channel(drows, (scale,)).reshape(x.shape), {}
            dbeta, dgamma = correlate(drows, rows, mean)
            dgamma *= r
            if mode.train:  # gamma r (dy - mean(dy) - r (x - mu) mean(dy z)), by powers of dy, x and 1
                slope = -scale * r * dgamma / size
                dx = per_channel(drows, (scale, slope), -scale * dbeta / size - slope * mean, rows)
            else:
                dx = per_channel(drows, (scale,))
            return dx.reshape(x.shape), {"gamma": dgamma, "beta": dbeta} if self.affine else {}

        return y.reshape(x.shape), pullback


def wide(x: Array) -> Array:
    """x (N, ..., W, C) as rows of W C entries: an operation for each channel then runs along them, not along C."""
    return x.reshape(-1, prod(x.shape[-2:]) if x.ndim > 2 else x.shape[-1])


def across(channel: Array, rows: Array) -> Array:
    """(C,) repeated to the length of the rows."""
    return np.tile(channel, rows.shape[-1] // len(channel))


def moments(rows: Array, channels: int) -> tuple[Array, Array]:
    r"""(mean (C,), sum of squared deviations from it (C,)), in one pass over memory.

    Each piece gives its own; two of n and m values, d = mean_m - mean_n, are as one of n + m values:
        mean = mean_n + d m / (n + m),     S = S_n + S_m + d^2 n m / (n + m)       (Chan, Golub and LeVeque 1979),
    which does not cancel as sum(x^2) - (sum x)^2 / n does.
    """

    def of(part: slice) -> list[tuple[int, Array, Array]]:
        found = []
        for piece in chunks(part, rows.shape[1]):
            n = rows[piece].size // channels
            mean = rows[piece].sum(0).reshape(-1, channels).sum(0) / n
            deviation = rows[piece] - across(mean, rows)
            square = np.einsum("ij,ij->j", deviation, deviation).reshape(-1, channels).sum(0)
            found.append((n, mean, square))
        return found

    (n, mean, square), *others = (piece for part in spread(of, len(rows)) for piece in part)
    for m, other_mean, other_square in others:
        d = other_mean - mean
        mean = mean + d * (m / (n + m))
        square = square + other_square + d * d * (n * m / (n + m))
        n += m
    return mean, square


def correlate(drows: Array, rows: Array, mean: Array) -> tuple[Array, Array]:
    """(sum of dy, sum of dy (x - mean)), (C,) each."""

    def of(part: slice) -> Array:
        sums = np.zeros_like(rows, shape=(2, rows.shape[1]))
        for piece in chunks(part, rows.shape[1]):
            sums[0] += drows[piece].sum(0)
            sums[1] += np.einsum("ij,ij->j", drows[piece], rows[piece] - across(mean, rows))
        return sums

    first, second = np.sum(spread(of, len(rows)), axis=0).reshape(2, -1, len(mean)).sum(1)
    return first, second


def per_channel(rows: Array, factors: tuple[Array, ...], shift: Array | None = None, *more: Array) -> Array:
    """factors[0] rows + factors[1] more[0] + ... + shift, all (C,) for each channel; a new array like rows."""
    y = np.empty_like(rows)
    factors = tuple(across(factor, rows) for factor in factors)
    constant = None if shift is None else across(shift, rows)

    def of(part: slice) -> None:
        for piece in chunks(part, rows.shape[1]):
            out = np.multiply(rows[piece], factors[0], out=y[piece])
            for other, factor in zip(more, factors[1:], strict=True):
                out += other[piece] * factor
            if constant is not None:
                out += constant

    spread(of, len(rows))
    return y


@dataclass(frozen=True)
class GroupNorm:
    r"""y = gamma z + beta, z standardised over all places and the C/groups channels of a group of one datapoint.

    x and y (N, ..., C), gamma and beta (C,). The derivation is ``BatchNorm``'s, the mean running over another set, so
        dx = r (g - mean(g) - z mean(g z)),  g = gamma dy.
    Nothing depends on the rest of the batch: training and evaluation are one. Wu and He 2018, section 3.
    """

    channels: int
    groups: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_norm(self, self.channels)
        if self.groups < 1 or self.channels % self.groups:
            raise ValueError(f"GroupNorm: groups must be a divisor of channels={self.channels}, got {self.groups}")

    def init(self, rng: np.random.Generator) -> Tree:
        return affine_parameters(self.channels)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim < 2 or x.shape[-1] != self.channels:
            raise ValueError(f"GroupNorm: x must be (N, ..., {self.channels}), got {x.shape}")
        y, inner = group_norm(x, p["gamma"], p["beta"], self.groups, self.epsilon)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx, dgamma, dbeta = inner(dy)
            return dx, {"gamma": dgamma.sum(0), "beta": dbeta.sum(0)}

        return y, pullback


def group_norm(
    x: Array, gamma: Array, beta: Array, groups: int, epsilon: float
) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    r"""``GroupNorm`` with gamma and beta (C,), or (N, C): each datapoint's own. dy -> (dx, dgamma, dbeta (N, C) each).

    With d = x - mean, s0 = sum(dy), s1 = sum(dy d) over the places of a channel and m values in a group,
        dx = r gamma dy - d r^3 sum(gamma s1) / m - r sum(gamma s0) / m,     dgamma = r s1,     dbeta = s0,
    the sums on the right over a group's channels. So all means come from s0 and s1, and what is done for each place is
    one product and sum along rows of W C numbers, as in ``BatchNorm``.
    """
    channels, across = x.shape[-1], x.shape[-2] if x.ndim > 2 else 1
    rows = x.reshape(len(x), -1, across * channels)
    size = prod(x.shape[1:-1]) * (channels // groups)

    def per_channel(summed: Array) -> Array:
        return summed.reshape(len(x), across, channels).sum(1)

    def over_group(sums: Array) -> Array:
        """(N, C) -> (N, C): the mean over all values of the channel's group, of sums over places."""
        mean = sums.reshape(len(x), groups, -1).sum(-1) / size
        return mean.repeat(channels // groups, -1)

    def wide(values: Array) -> Array:
        return np.tile(values, across)[:, None]

    d = rows - wide(over_group(per_channel(rows.sum(1))))
    r = 1 / np.sqrt(over_group(per_channel(np.einsum("nij,nij->nj", d, d))) + epsilon)
    y = d * wide(r * gamma)
    y += wide(np.broadcast_to(beta, r.shape))

    def pullback(dy: Array) -> tuple[Array, Array, Array]:
        drows = dy.reshape(rows.shape)
        s0, s1 = per_channel(drows.sum(1)), per_channel(np.einsum("nij,nij->nj", drows, d))
        dx = d * wide(-(r**3) * over_group(gamma * s1))
        dx -= wide(r * over_group(gamma * s0))
        dx += drows * wide(r * gamma)
        return dx.reshape(x.shape), r * s1, s0

    return y.reshape(x.shape), pullback


@dataclass(frozen=True)
class LayerNorm:
    r"""y = gamma z + beta, z = (x - mean) / sqrt(var + eps) over the last axis; x and y (..., d), gamma and beta (d,).

    The derivation is ``BatchNorm``'s, the mean running over the features of one vector:
        dx = r (g - mean(g) - z mean(g z)),  g = gamma dy.
    Ba, Kiros and Hinton 2016, section 3.
    """

    features: int
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_norm(self, self.features)

    def init(self, rng: np.random.Generator) -> Tree:
        return affine_parameters(self.features)

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.shape[-1] != self.features:
            raise ValueError(f"LayerNorm: the last axis of x must have {self.features} entries, got x {x.shape}")
        return affine(p, *standardise(x, (-1,), self.epsilon))


@dataclass(frozen=True)
class LocalResponseNorm:
    r"""y_c = x_c s_c^-beta, s_c = k + alpha/size sum over |i - c| <= size/2 of x_i^2; x and y (..., C), size odd.

    A channel is damped by its neighbours; those beyond the first and the last count as 0. Krizhevsky et al. 2012,
    section 3.3, with alpha/size for their alpha. s depends on x_i for all i near c, and near is symmetric, so
        dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum over |c - i| <= size/2 of dy_c x_c s_c^(-beta-1).
    Both sums over neighbours are products with the band matrix B_ic = [|i - c| <= size/2].
    """

    size: int = 9
    alpha: float = 1e-3
    beta: float = 0.75
    k: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"LocalResponseNorm: size must be odd and at least 1, got {self.size}")
        for name, value in (("alpha", self.alpha), ("beta", self.beta), ("k", self.k)):
            if not 0 < value < inf:
                raise ValueError(f"LocalResponseNorm: {name} must be positive and finite, got {value}")

    def init(self, rng: np.random.Generator) -> Tree:
        return {}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        channel = np.arange(x.shape[-1])
        band = (abs(channel[:, None] - channel) <= self.size // 2).astype(x.dtype)
        rows = x.reshape(-1, x.shape[-1])
        s = (rows * rows) @ band
        s *= self.alpha / self.size
        s += self.k
        damping = s**-self.beta

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = dy.reshape(rows.shape) * damping
            neighbours = (dx * rows / s) @ band
            neighbours *= rows
            neighbours *= 2 * self.alpha * self.beta / self.size
            dx -= neighbours
            return dx.reshape(x.shape), {}

        return (rows * damping).reshape(x.shape), pullback


def standardise(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Callable[[Array], Array]]:
    """z of zero mean and unit variance over the axes, and its pullback g -> r (g - mean(g) - z mean(g z))."""
    z = x - x.mean(axes, keepdims=True)
    r = 1 / np.sqrt(np.mean(z * z, axes, keepdims=True) + epsilon)
    z *= r

    def pullback(g: Array) -> Array:
        dx = g - z * np.mean(g * z, axes, keepdims=True)
        dx -= g.mean(axes, keepdims=True)
        dx *= r
        return dx

    return z, pullback


def affine(p: Tree, z: Array, inner: Callable[[Array], Array]) -> tuple[Array, Pullback]:
    """gamma z + beta and its pullback, through ``inner`` for z."""
    y = z * p["gamma"]
    y += p["beta"]

    def pullback(dy: Array) -> tuple[Array, Tree]:
        leading = tuple(range(z.ndim - 1))
        return inner(dy * p["gamma"]), {"gamma": np.sum(dy * z, leading), "beta": dy.sum(leading)}

    return y, pullback


def affine_parameters(channels: int) -> Tree:
    """gamma = 1 and beta = 0."""
    return {"gamma": np.ones(channels, np.float32), "beta": np.zeros(channels, np.float32)}


def check_norm(layer: "BatchNorm | GroupNorm | LayerNorm", channels: int) -> None:
    """ValueError for what every normalisation refuses."""
    name = type(layer).__name__
    if channels < 1:
        raise ValueError(f"{name}: the number of channels must be at least 1, got {channels}")
    if not 0 < layer.epsilon < inf:
        raise ValueError(f"{name}: epsilon must be positive and finite, got {layer.epsilon}")

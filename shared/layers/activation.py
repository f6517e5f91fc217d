"""Elementwise activations and the softmax: no parameters, ``init`` gives {}."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, pi, sqrt
from typing import Literal, get_args

import numpy as np

from shared.layers.base import EVAL, Layer, Mode, Pullback
from shared.threads import elementwise
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Activation:
    """Base of the layers without parameters."""

    def init(self, rng: np.random.Generator) -> Tree:
        return {}


@dataclass(frozen=True)
class ReLU(Activation):
    r"""y = max(x, 0), any shape. dy/dx = 1 where x > 0, else 0 (the kink counts as flat), so dx = dy [y > 0].

    Nair and Hinton 2010, section 2.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y = elementwise(lambda out, x: np.maximum(x, 0, out=out), x)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            return elementwise(lambda out, dy, y: np.multiply(dy, y > 0, out=out), dy, y), {}

        return y, pullback


@dataclass(frozen=True)
class LeakyReLU(Activation):
    r"""y = max(x, slope x), 0 <= slope < 1, any shape. dy/dx = max([x > 0], slope), and dx = dy times that.

    Maas, Hannun and Ng 2013, eq. 2.
    """

    slope: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.slope < 1:
            raise ValueError(f"LeakyReLU: slope must be in [0, 1), got {self.slope}")

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y = x * self.slope
        np.maximum(x, y, out=y)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = (y > 0).astype(y.dtype)
            np.maximum(dx, self.slope, out=dx)
            dx *= dy
            return dx, {}

        return y, pullback


def sigmoid(x: Array) -> Array:
    r"""1 / (1 + exp(-x)) = (1 + tanh(x/2)) / 2, any shape: the second form never overflows."""
    y = x * 0.5
    np.tanh(y, out=y)
    y += 1
    y *= 0.5
    return y


@dataclass(frozen=True)
class Sigmoid(Activation):
    r"""y = 1 / (1 + exp(-x)), any shape. dy/dx = exp(-x) y^2 = y (1 - y), so dx = dy y (1 - y)."""

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y = sigmoid(x)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = 1 - y
            dx *= y
            dx *= dy
            return dx, {}

        return y, pullback


@dataclass(frozen=True)
class Tanh(Activation):
    r"""y = tanh(x), any shape. dy/dx = 1 - tanh^2 x = 1 - y^2, so dx = dy (1 - y^2)."""

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y = np.tanh(x)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = y * y
            np.subtract(1, dx, out=dx)
            dx *= dy
            return dx, {}

        return y, pullback


@dataclass(frozen=True)
class Softplus(Activation):
    r"""y = log(1 + exp(x)), any shape. dy/dx = exp(x) / (1 + exp(x)) = sigmoid(x), so dx = dy sigmoid(x).

    Computed as max(x, 0) + log1p(exp(-|x|)): the exponential never overflows and small y keep their digits.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        y = np.abs(x)
        np.negative(y, out=y)
        np.exp(y, out=y)
        np.log1p(y, out=y)
        y += np.maximum(x, 0)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = sigmoid(x)
            dx *= dy
            return dx, {}

        return y, pullback


_BLOCK = 1 << 15  # the dozen and more passes over a block stay in the second-level cache


def _gated(x: Array, gate_and_slope: Callable[[Array], tuple[Array, Array]]) -> tuple[Array, Pullback]:
    r"""y = x g(x), any shape, from a function that gives (g(x), g'(x)): dy/dx = g(x) + x g'(x)."""
    flat = x.reshape(-1)
    y, derivative = np.empty_like(flat), np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        piece = slice(start, start + _BLOCK)
        gate, slope = gate_and_slope(flat[piece])
        np.multiply(flat[piece], gate, out=y[piece])
        slope *= flat[piece]
        np.add(gate, slope, out=derivative[piece])
    derivative = derivative.reshape(x.shape)
    return y.reshape(x.shape), lambda dy: (dy * derivative, {})


@dataclass(frozen=True)
class SiLU(Activation):
    r"""y = x sigmoid(x), any shape. With s = sigmoid(x), s' = s (1 - s): dx = dy (s + x s (1 - s)).

    Elfwing, Uchibe and Doya 2018, eq. 5 and 6; "swish" in Ramachandran, Zoph and Le 2017.
    """

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        return _gated(x, _sigmoid_and_slope)


def _sigmoid_and_slope(x: Array) -> tuple[Array, Array]:
    s = sigmoid(x)
    return s, s * (1 - s)


Form = Literal["exact", "tanh"]


@dataclass(frozen=True)
class GELU(Activation):
    r"""y = x Phi(x), any shape, Phi the distribution function of N(0, 1), phi its density: dx = dy (Phi(x) + x phi(x)).

    Hendrycks and Gimpel 2016, section 2. form="tanh" is their approximation
        Phi(x) ~ (1 + tanh a) / 2,  a = sqrt(2/pi) (x + 0.044715 x^3),
        phi(x) ~ (1 - tanh^2 a) / 2 * sqrt(2/pi) (1 + 3 * 0.044715 x^2).
    """

    form: Form = "exact"

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"GELU: form must be 'exact' or 'tanh', got {self.form!r}")

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        return _gated(x, normal_cdf if self.form == "exact" else _tanh_cdf)


def _tanh_cdf(x: Array) -> tuple[Array, Array]:
    """The tanh form of (Phi(x), phi(x)), any shape. Beyond |x| = 10 both have their limits: no overflow of x^3."""
    c, k = 0.044715, sqrt(2 / pi)
    u = np.minimum(np.maximum(x, -10), 10)
    square = u * u
    t = np.tanh(k * u * (1 + c * square))
    return 0.5 + 0.5 * t, (1 - t * t) * (k / 2 + 1.5 * k * c * square)


# Phi(-u) exp(u^2 / 2) ~ N(u) / D(u), highest power first: Hart et al. 1968, approximation 5666, as in West 2005,
# "Better approximations to cumulative normal functions". All are positive: for u >= 0 Horner's rule loses no digits.
_HART_N = (
    *(3.52624965998911e-2, 0.700383064443688, 6.37396220353165, 33.912866078383),
    *(112.079291497871, 221.213596169931, 220.206867912376),
)
_HART_D = (
    *(8.83883476483184e-2, 1.75566716318264, 16.064177579207, 86.7807322029461),
    *(296.564248779674, 637.333633378831, 793.826512519948, 440.413735824752),
)


def normal_cdf(x: Array) -> tuple[Array, Array]:
    r"""(Phi(x), phi(x)) = (P(Z <= x), exp(-x^2 / 2) / sqrt(2 pi)) for Z ~ N(0, 1), any shape, to 1e-15 in float64.

    NumPy has no erf. With u = |x|: Phi(-u) = exp(-u^2 / 2) N(u) / D(u), and Phi(u) = 1 - Phi(-u).
    """
    u = np.minimum(np.abs(x), 40)  # exp(-40^2 / 2) is 0 in float64 too
    bell = np.exp(-0.5 * u * u)
    sign = np.copysign(1, x)
    lower = bell * _horner(_HART_N, u) / _horner(_HART_D, u)
    return np.maximum(sign, 0) - sign * lower, bell / sqrt(2 * pi)


def _horner(coefficients: tuple[float, ...], u: Array) -> Array:
    """c_0 u^n + ... + c_n, elementwise."""
    y = u * coefficients[0]
    for c in coefficients[1:-1]:
        y += c
        y *= u
    y += coefficients[-1]
    return y


@dataclass(frozen=True)
class Softmax(Activation):
    r"""y = exp(x/T) / sum_k exp(x_k/T) over the last axis, x and y (..., K), T the temperature.

    dy_i/dx_j = y_i (delta_ij - y_j) / T: the Jacobian (diag(y) - y y^T) / T is symmetric, so
        dx = (y * dy - y <y, dy>) / T = y * (dy - <y, dy>) / T.
    The largest x is subtracted first, so nothing overflows. x = -inf masks an entry: y = 0 and dx = 0 there; where a
    whole row is masked, so is its y; K may be 0. T -> 0 gives the arg max, T -> inf the uniform distribution.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < inf:
            raise ValueError(f"Softmax: temperature must be positive and finite, got {self.temperature}")

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        numbers = np.finfo(x.dtype)
        inverse = min(max(1 / self.temperature, float(numbers.tiny)), float(numbers.max))  # 0 inf is not a number
        y = x - x.max(-1, keepdims=True, initial=numbers.min)  # a masked row: -inf - min, not -inf - -inf
        with np.errstate(over="ignore"):  # to -inf, of which exp makes 0
            y *= inverse
        np.exp(y, out=y)
        y /= np.maximum(y.sum(-1, keepdims=True), numbers.tiny)  # at least 1 but in a masked row

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx = dy - np.einsum("...k,...k->...", y, dy)[..., None]
            dx *= y
            dx *= inverse
            return dx, {}

        return y, pullback


# Those that are compared with each other, by name.
ACTIVATIONS: dict[str, Layer] = {
    "relu": ReLU(),
    "leaky relu": LeakyReLU(0.2),  # steep enough for its gain to differ from ReLU's
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "gelu": GELU(),
}

r"""Functions on which the bounds of chapter 14 and of smooth convex optimisation are attained, or nearly so.

Each has its minimum, or the best point of the unit ball, at a known place, so a gap is measured and not estimated.
"""

from dataclasses import dataclass

import numpy as np

from papers.understanding_ml.numerical_optimisation import Quadratic, positive
from shared.tree import Array


def resisting(w: Array) -> Array:
    r"""The subgradient e_i of f(w) = max_i w_i, w (d,), i the first of the largest coordinates. Cor 14.2 with rho = 1.

    From w = 0 each step lowers a coordinate that was 0 so far: after T - 1 of them one of T coordinates is still 0 in
    every iterate, and f(mean) = 0. In the ball |w| <= B the lowest value is -B / sqrt(T), where all w_i are that: the
    gap is B rho / sqrt(T), whatever the step size. The bound is attained.
    """
    return np.eye(1, len(w), int(w.argmax()))[0]


@dataclass(frozen=True)
class Huber:
    r"""F(w) = w^2 / 2 for |w| <= delta and its tangents beyond, w (1,): convex, and the gradient 1-Lipschitz.

    Gradient descent with eta = 1 from w = R moves by delta a step. With delta = R / (2 T + 1) it is at (T + 1) delta
    after T steps, where F = (T + 1/2) delta^2 = R^2 / (4 T + 2): half of L R^2 / (2 T), and the worst there is (Drori
    and Teboulle 2014). ValueError unless delta is above 0.
    """

    delta: float

    def __post_init__(self) -> None:
        positive(delta=self.delta)

    def loss(self, w: Array) -> float:
        """F(w)."""
        size = abs(float(w[0]))
        return min(size, self.delta) * (size - min(size, self.delta) / 2)

    def gradient(self, w: Array) -> Array:
        """w, cut at +-delta."""
        return np.clip(w, -self.delta, self.delta)


def chain(T: int) -> Quadratic:
    r"""Nesterov's function in d = 2 T + 1 dimensions: 1/8 (w_1^2 + sum_i (w_i - w_{i+1})^2 + w_d^2) - w_1 / 4 + const.

    A is tridiagonal, (-1, 2, -1) / 4 with eigenvalues below 1 = L, and A w = e_1 / 4 at w_i = 1 - i / (d + 1), where
    without const the value is -(1 - 1/(d + 1)) / 8. A gradient knows of one coordinate more than its w: T of them from
    0 reach T coordinates, where the lowest value is that of the chain with d = T. So every method's gap is at least
    1 / (16 (T + 1)); as R^2 = |w*|^2 <= (d + 1) / 3, that is 3 L R^2 / (32 (T + 1)^2) (Nesterov 2004, section 2.1).
    ValueError unless T is above 0.
    """
    positive(T=T)
    d = 2 * T + 1
    A = 2 * np.eye(d) - np.eye(d, k=1) - np.eye(d, k=-1)
    return Quadratic(A / 4, 1 - np.arange(1, d + 1) / (d + 1))


@dataclass(frozen=True)
class Coin:
    r"""f(w) = E|w - z| for z = +1 with probability 3/4 and z = -1 else, w (..., 1): rho = 1, and w* = 1. Theorem 14.8.

    On [-1, 1] f is linear, so SGD is a walk of steps eta = 1/sqrt(T) that go up with probability 3/4. Its drift eta/2
    takes 2 sqrt(T) steps to w* = 1, which is half of B = 1 away on average: 1 / sqrt(T) in the mean of T iterates. Once
    there it hangs back by eta/2 in the mean. As f has the slope 1/2, the gap is 1/2 (1 + 1/2) / sqrt(T).
    """

    rng: np.random.Generator

    def subgradient(self, w: Array) -> Array:
        """sign(w - z), a z for each w."""
        return np.sign(w - np.where(self.rng.random(w.shape) < 0.75, 1, -1))

    def gap(self, w: Array) -> Array:
        """f(w) - f(1), (...,)."""
        return (0.75 * np.abs(w - 1) + 0.25 * np.abs(w + 1) - 0.5)[..., 0]


@dataclass(frozen=True)
class Kink:
    r"""f(w) = w^2 / 2 + max(w, -2 w), w (..., 1), from subgradients with noise uniform on [-1, 1]: Theorem 14.11.

    lambda = 1, w* = 0, and |v| <= 4 = rho in the ball |w| <= 1. With eta_t = 1/t the iterates jump over the kink by
    steps of the order 1/t, and farther up than down, as it is steeper on the left: E[w_t] ~ c/t with c > 0. The mean of
    all iterates is c log(T) / T, that of the last half 2 c log(2) / T, and f is linear there: the log T is real, and
    leaving the first half out removes it (Rakhlin, Shamir, Sridharan 2012).
    """

    rng: np.random.Generator
    rho = 4.0

    def subgradient(self, w: Array) -> Array:
        """w + 1 or w - 2, and noise."""
        return w + np.where(w > 0, 1, -2) + self.rng.uniform(-1, 1, w.shape)

    def gap(self, w: Array) -> Array:
        """f(w), as f(0) = 0, (...,)."""
        return (w**2 / 2 + np.maximum(w, -2 * w))[..., 0]

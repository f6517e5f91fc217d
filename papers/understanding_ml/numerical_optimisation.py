r"""Gradient descent and its faster relatives: section 14.1 of the book and its classical complements.

A problem has a loss F(w) and a gradient for w (d,), and for Newton's method a hessian (d, d): ``Quadratic``,
``Rosenbrock``, and logistic_regression.Binary. The update rules are those of shared/optim.py, where SGD with the full
gradient is gradient descent. A method gives its path (steps + 1, d): w_0, w_1, ...
"""

from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite, sqrt
from typing import Protocol, TypeVar

import numpy as np

from shared.errors import Diverged
from shared.optim import SGD, Momentum, Nesterov, Optimizer
from shared.tree import Array

Numbers = TypeVar("Numbers", float, Array)
GROWTH = 1e6  # a loss that rose by this many times max(|F(w_0)|, 1) is not coming back


class Problem(Protocol):
    """What there is to minimise."""

    def loss(self, w: Array) -> float:
        """F(w)."""

    def gradient(self, w: Array) -> Array:
        """The gradient of F at w, (d,)."""


class Curved(Problem, Protocol):
    """A problem with second derivatives."""

    def hessian(self, w: Array) -> Array:
        """The second derivatives of F at w, (d, d)."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    r"""F(w) = (w - c)^T A (w - c) / 2 with A (d, d) symmetric, its eigenvalues mu to L above 0, and the centre c (d,).

    ValueError for other shapes, numbers that are not finite, and an A that is not symmetric and positive definite.
    """

    A: Array
    c: Array

    def __post_init__(self) -> None:
        if self.c.ndim != 1 or self.A.shape != self.c.shape * 2 or not len(self.c):
            raise ValueError(f"A must be (d, d) and c (d,), with d at least 1; got A {self.A.shape}, c {self.c.shape}")
        if not (np.isfinite(self.A).all() and np.isfinite(self.c).all()):
            raise ValueError("A and c must be finite")
        if not np.allclose(self.A, self.A.T, rtol=1e-12, atol=0):
            raise ValueError("A must be symmetric: only (A + A^T) / 2 counts, pass that")
        if not self.mu > 0:
            raise ValueError(f"A has the eigenvalue {self.mu:.4g}: all must be above 0, or there is no one minimum")

    @cached_property
    def eigenvalues(self) -> Array:
        """Of A, rising."""
        return np.linalg.eigvalsh(self.A)

    @property
    def mu(self) -> float:
        """The smallest eigenvalue: F is mu-strongly convex."""
        return float(self.eigenvalues[0])

    @property
    def L(self) -> float:
        """The largest eigenvalue: the gradient is L-Lipschitz."""
        return float(self.eigenvalues[-1])

    def loss(self, w: Array) -> float:
        """F(w)."""
        return float((w - self.c) @ self.gradient(w)) / 2

    def gradient(self, w: Array) -> Array:
        """A (w - c)."""
        return self.A @ (w - self.c)

    def hessian(self, w: Array) -> Array:
        """A."""
        return self.A


FIG_14_1 = Quadratic(np.diag([2.5, 2.0]), np.array([-6.0, 8.0]))  # 1.25 (w_1 + 6)^2 + (w_2 - 8)^2, kappa = 1.25


class Rosenbrock:
    r"""F(w) = (1 - w_1)^2 + 100 (w_2 - w_1^2)^2: a curved valley down to (1, 1). Not convex: the Hessian is indefinite
    where w_2 > w_1^2 + 1/200. Rosenbrock 1960."""

    def loss(self, w: Array) -> float:
        """F(w)."""
        return float((1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2)

    def gradient(self, w: Array) -> Array:
        """Its two partial derivatives."""
        height = w[1] - w[0] ** 2
        return np.array([-2 * (1 - w[0]) - 400 * w[0] * height, 200 * height])

    def hessian(self, w: Array) -> Array:
        """(2, 2); its determinant is 400 - 80000 (w_2 - w_1^2)."""
        return np.array([[2 + 1200 * w[0] ** 2 - 400 * w[1], -400 * w[0]], [-400 * w[0], 200]])


def start(problem: Problem, w: Array, steps: int) -> Array:
    """w as floats. ValueError unless w is (d,), steps at least 0, and loss and gradient finite there, (d,) as well."""
    if w.ndim != 1 or not np.isfinite(w).all():
        raise ValueError(f"the start must be a finite vector (d,); got shape {w.shape}")
    if steps < 0:
        raise ValueError(f"steps={steps}: must be at least 0")
    w = w.astype(float)
    g = problem.gradient(w)
    if g.shape != w.shape:
        raise ValueError(f"the gradient has shape {g.shape}, the start {w.shape}: they must be the same")
    if not (isfinite(problem.loss(w)) and np.isfinite(g).all()):
        raise ValueError("loss and gradient must be finite at the start: start elsewhere")
    return w


def positive(**values: Array | float) -> None:
    """ValueError unless all numbers are positive and finite."""
    for name, value in values.items():
        if not np.all((np.asarray(value) > 0) & np.isfinite(value)):
            raise ValueError(f"{name}={value}: must be positive and finite")


def stop_if_diverged(what: str, now: float, first: float, step: int, size: float, advice: str) -> None:
    """Raise Diverged when ``now`` is not finite, or above ``first`` by more than GROWTH max(|first|, 1)."""
    if not (isfinite(now) and now <= first + GROWTH * max(abs(first), 1)):
        raise Diverged(f"step {step} of size {size:.4g} diverged: {what} went from {first:.4g} to {now:.4g}. {advice}")


@np.errstate(over="ignore", invalid="ignore")
def descend(problem: Problem, w: Array, optimizer: Optimizer, steps: int) -> Array:
    r"""The path (steps + 1, d) of an update rule of shared/optim.py from w_0 = w, with the gradient of F at each w_t.

    Diverged as soon as the loss is not finite or has risen by GROWTH times max(|F(w_0)|, 1). So far even a good
    method may rise: with the best momentum the loss first grows up to some kappa / 7 times, to fall all the faster.
    ValueError like ``start``.
    """
    w = start(problem, w, steps)
    first, params = problem.loss(w), {"w": w}
    state = optimizer.init(params)
    advice = "Lower learning_rate."
    if isinstance(problem, Quadratic) and (bound := largest_step(optimizer, problem.L)) < inf:
        advice = f"Lower learning_rate: on this quadratic it must be below {bound:.6g} (2/L for gradient descent)."
    path = [w.copy()]
    for t in range(1, steps + 1):
        optimizer.update(params, {"w": problem.gradient(w)}, state)
        rate = optimizer.learning_rate
        size = rate(t - 1) if callable(rate) else rate
        stop_if_diverged(f"the loss of {type(optimizer).__name__}", problem.loss(w), first, t, size, advice)
        path.append(w.copy())
    return np.array(path)


@np.errstate(over="ignore", invalid="ignore")
def accelerated(problem: Problem, w: Array, eta: float, steps: int) -> Array:
    r"""Nesterov 1983 for convex F: x_t = y_t - eta grad F(y_t), y_{t+1} = x_t + (t - 1)/(t + 2) (x_t - x_{t-1}).

    The path is x_0 = y_1 = w, x_1, ... The momentum grows with t, where that of shared/optim.py stays: without a mu
    there is no one momentum that is right for all t. ValueError like ``start`` and unless eta is above 0; Diverged
    like ``descend``.
    """
    y = start(problem, w, steps)
    positive(eta=eta)
    first, path = problem.loss(y), [y]
    for t in range(1, steps + 1):
        x = y - eta * problem.gradient(y)
        stop_if_diverged("the loss", problem.loss(x), first, t, eta, "Lower eta: 1/L is safe where F is convex.")
        y = x + (t - 1) / (t + 2) * (x - path[-1])
        path.append(x)
    return np.array(path)


def largest_step(optimizer: Optimizer, L: float) -> float:
    r"""The step size from which on the rule diverges on a quadratic whose largest curvature is L; inf if there is none.

    Along an eigenvector with curvature h the error obeys e_{t+1} = (1 - eta h) e_t, with momentum
        e_{t+1} = (1 + beta - eta h) e_t - beta e_{t-1}, and with Nesterov's
        e_{t+1} = (1 - eta h) ((1 + beta) e_t - beta e_{t-1}).
    As eta grows a root z of the characteristic polynomial leaves the unit circle at z = -1: set it in, and solve.
    """
    if isinstance(optimizer, Nesterov):
        return 2 * (1 + optimizer.momentum) / (1 + 2 * optimizer.momentum) / L
    if isinstance(optimizer, Momentum):
        return 2 * (1 + optimizer.momentum) / L
    return 2 / L if isinstance(optimizer, SGD) else inf


def tuned(mu: float, L: float) -> dict[str, tuple[Optimizer, float]]:
    r"""The best step size and momentum for a quadratic with curvatures from mu to L, and the rate: |e_t| ~ rate^t.

    Gradient descent: |1 - eta h| is largest at mu or L; both are (kappa - 1)/(kappa + 1) for eta = 2/(L + mu).
    Momentum (Polyak 1964): complex roots have modulus sqrt(beta), for every h at once if (1 - sqrt(beta))^2 <= eta h
    <= (1 + sqrt(beta))^2. With equality at mu and L: sqrt(beta) = (sqrt(kappa) - 1)/(sqrt(kappa) + 1).
    Nesterov with eta = 1/L: the two roots at mu fall together, on 1 - 1/sqrt(kappa), when beta is that quotient.
    Where roots fall together the error is rate^t times a linear function of t.
    ValueError unless 0 < mu <= L < inf.
    """
    if not 0 < mu <= L < inf:
        raise ValueError(f"mu={mu}, L={L}: must be 0 < mu <= L < inf")
    kappa, root = L / mu, (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu))
    return {
        "gradient descent": (SGD(2 / (L + mu)), (kappa - 1) / (kappa + 1)),
        "momentum": (Momentum(4 / (sqrt(L) + sqrt(mu)) ** 2, momentum=root**2), root),
        "Nesterov": (Nesterov(1 / L, momentum=root), 1 - 1 / sqrt(kappa)),
    }


def smooth_bound(L: float, R: float, T: Numbers) -> Numbers:
    r"""L R^2 / (2 T): F(w_T) - F(w*) at most, of gradient descent with eta = 1/L on convex F, |w_0 - w*| <= R.

    Each step gains |grad|^2 / (2 L); with convexity F(w_{t+1}) - F* <= L/2 (|w_t - w*|^2 - |w_{t+1} - w*|^2): sum up.
    """
    positive(L=L, R=R, T=T)
    return L * R**2 / (2 * T)


def accelerated_bound(L: float, R: float, T: Numbers) -> Numbers:
    r"""2 L R^2 / (T + 1)^2: the same of ``accelerated`` with eta = 1/L.

    With s_t = (t + 1)/2 and u_t = s_t x_t - (s_t - 1) x_{t-1}, s_t^2 (F(x_t) - F*) + L/2 |u_t - w*|^2 does not rise,
    for s_t^2 - s_t <= s_{t-1}^2; at t = 1 it is at most L/2 R^2.
    """
    positive(L=L, R=R, T=T)
    return 2 * L * R**2 / (T + 1) ** 2

r"""Support vector machines: chapters 15 and 16 of the book.

X (m, d) has one example a row, y (m,) its labels, -1 or +1. The problem is, with the hinge loss max(0, 1 - y f(x)),

    P(w, b) = |w|^2 / 2 + C sum_i max(0, 1 - y_i (<w, x_i> + b)),

the book's (15.12), (lambda/2) |w|^2 + mean hinge, times C m, where C = 1 / (lambda m). With lambda |w|^2 instead, as in
(15.4) to (15.6), C would be 1 / (2 lambda m). C = infinity is Hard-SVM: no example may have a hinge loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from papers.understanding_ml.kernels import Kernel, linear
from papers.understanding_ml.perceptron import check
from shared.tree import Array

Numbers = TypeVar("Numbers", float, Array)

TOLERANCE = 1e-8  # of the optimality conditions: how far a support vector may be from the margin, where that is 1
NO_MARGIN = 1e-3  # of the data's radius: classes with a smaller margin count as not separable
LIMIT = 1_000_000  # steps


@dataclass(frozen=True)
class Machine:
    """f(x) = sum_j alpha_j y_j K(x_j, x) + b over the support vectors X (s, d), those with alpha_j > 0."""

    X: Array
    y: Array
    alpha: Array
    b: float
    kernel: Kernel

    def __call__(self, X: Array) -> Array:
        """f (m,) of X (m, d); the prediction is its sign. ValueError when the number of features is another."""
        if X.ndim != 2 or X.shape[1] != self.X.shape[1]:
            raise ValueError(f"X must be (m, {self.X.shape[1]}) as in training, got {X.shape}")
        return self.kernel(X.astype(float, copy=False), self.X) @ (self.alpha * self.y) + self.b

    @property
    def w(self) -> Array:
        """sum_j alpha_j y_j x_j (d,): the weights, for the linear kernel."""
        return (self.alpha * self.y) @ self.X

    @property
    def norm(self) -> float:
        """|w| in the space of psi: |w|^2 = sum_jk alpha_j y_j alpha_k y_k K(x_j, x_k). A hard margin is 1 / |w|."""
        beta = self.alpha * self.y
        return float(np.sqrt(max(beta @ self.kernel(self.X, self.X) @ beta, 0)))


def fit(X: Array, y: Array, kernel: Kernel = linear, C: float = np.inf, bias: bool = True) -> Machine:
    r"""The SVM of the smallest P(w, b), found in its dual; b = 0 without ``bias`` (the book's homogeneous halfspaces).

    The Lagrangian |w|^2/2 + C sum xi - sum alpha_i (y_i (<w, psi(x_i)> + b) - 1 + xi_i) - sum nu_i xi_i is smallest
    in w at w = sum alpha_i y_i psi(x_i), and bounded in b and xi only where sum alpha_i y_i = 0 and alpha_i <= C.
    What remains, to be maximised over 0 <= alpha <= C, is D = sum alpha_i - |w|^2 / 2, which needs K alone.
    Without b the equality is dropped. ValueError for data or C that make no sense, and from ``smo``.
    """
    X, y = check(X, y)
    if not C > 0:
        raise ValueError(f"C={C}: must be above 0")
    K = kernel(X, X)
    if not np.isfinite(K).all():
        raise ValueError("the kernel's values are not finite: scale the features")
    beta, b = smo(K, y, C, bias)
    support = beta != 0
    return Machine(X[support], y[support], np.abs(beta[support]), b, kernel)


def smo(K: Array, y: Array, C: float, bias: bool) -> tuple[Array, float]:
    r"""beta (m,), beta_i = alpha_i y_i, with the largest D = <y, beta> - beta^T K beta / 2, and b (0 without ``bias``).

    F = y - K beta is the gradient of D: F_i = y_i - <w, psi(x_i)>. With a bias sum beta = 0, so one beta_i goes up and
    another beta_j down by s. That gains (F_i - F_j) s - eta s^2 / 2, eta = K_ii + K_jj - 2 K_ij: largest for
    s = (F_i - F_j) / eta, cut where a box ends. So beta is optimal just when no i with room above has a larger F than a
    j with room below. Then F_i = b inside of the box, which is y_i f(x_i) = 1, and b is between the two. A step takes
    the i of the largest F and the j of the largest gain before cutting. The end would be slow: every tenth step moves
    all beta inside of their boxes at once, to where their F are equal, or towards it (Newton). A hard margin gamma has
    D <= P = 1 / (2 gamma^2): a larger D proves a smaller margin. ValueError where that is below ``NO_MARGIN``, and
    after ``LIMIT`` steps.
    """
    low, high = np.minimum(0, C * y), np.maximum(0, C * y)
    if not bias:
        # One more example, at psi = 0, with no loss and a free multiplier, makes sum beta = 0 at no cost: its F = b = 0
        K, y, low, high = np.pad(K, (0, 1)), np.append(y, 0), np.append(low, -np.inf), np.append(high, np.inf)
    beta, F, dual = np.zeros(len(y)), y.copy(), 0.0
    squares = np.diag(K)
    radius = (squares + K[-1, -1] - 2 * K[-1]).max() or 1.0  # the largest |psi(x_i) - psi(x_m)|^2
    tiny = 1e-12 * radius  # the least curvature, for two examples in one place
    largest = 1 / (2 * NO_MARGIN**2 * radius) if np.isinf(C) else np.inf
    for step in range(1, LIMIT + 1):
        i = int(np.where(beta < high, F, -np.inf).argmax())
        ascent = np.where(beta > low, F[i] - F, -np.inf)
        if ascent.max() <= TOLERANCE:
            n = len(beta) if bias else -1
            return beta[:n], float(F[i] - ascent.max() / 2) if bias else 0.0
        free = (low < beta) & (beta < high)
        if step % 10 or free.sum() < 2:
            eta = np.maximum(squares[i] + squares - 2 * K[i], tiny)
            j = int((np.maximum(ascent, 0) ** 2 / eta).argmax())
            own, move = np.array([i, j]), np.array([1, -1]) * ascent[j] / eta[j]
        else:
            own = np.flatnonzero(free)
            move = newton(K[np.ix_(own, own)] + tiny * np.eye(len(own)), F[own])
        end = np.where(move > 0, high[own], low[own])
        with np.errstate(divide="ignore", over="ignore"):
            room = np.where(move != 0, (end - beta[own]) / move, np.inf)
        s = min(1.0, room.min())
        change = s * (K[own].T @ move)
        dual += s * (F[own] - change[own] / 2) @ move
        if dual > largest:
            raise ValueError(f"not separable with a margin of {NO_MARGIN:g} of the data's radius: use a finite C")
        beta[own] = np.where(room == s, end, beta[own] + s * move)
        F -= change
    raise ValueError(f"no solution after {LIMIT} steps: scale the features or lower C")


def newton(K: Array, F: Array) -> Array:
    r"""The v (n,) with sum v = 0 that makes F - K v constant: K v + b = F is a linear system for v and b."""
    n = len(F)
    system = np.ones((n + 1, n + 1))
    system[:n, :n], system[n, n] = K, 0
    v = np.linalg.solve(system, np.append(F, 0))[:n]
    return v - v.mean()  # its sum is not 0 up to a rounding error of v where K is all but singular


def duality_gap(machine: Machine, X: Array, y: Array, C: float = np.inf) -> float:
    r"""(P - D) / P of a machine that was fitted to X and y: 0 at the optimum only, for any D <= P (weak duality).

    A hard margin's constraints hold up to a rounding error; dividing w and b by the smallest y_i f(x_i) makes them
    hold, so P = |w|^2 / (2 min_i (y_i f(x_i))^2).
    """
    margins, square = y * machine(X), machine.norm**2
    if np.isinf(C):
        P = square / (2 * margins.min() ** 2)
    else:
        P = square / 2 + C * np.maximum(0, 1 - margins).sum()
    return float((P - (machine.alpha.sum() - square / 2)) / P)


def objective(W: Array, X: Array, y: Array, lam: float) -> Array:
    """(lambda / 2) |w|^2 + mean hinge loss (15.12), of each row of W (n, d): (n,)."""
    return lam / 2 * (W**2).sum(1) + np.maximum(0, 1 - y * (W @ X.T)).mean(1)


def pegasos(X: Array, y: Array, lam: float, draws: Array) -> Iterator[Array]:
    r"""SGD on (15.12), section 15.5, n runs at once: yields the mean (n, d) of the iterates w_1, ..., w_t, for all t.

    draws (T, n) says which example each run sees at each t, drawn uniformly. With v = lambda w - [y <w, x> < 1] y x, a
    subgradient of one example's part of (15.12), and the step 1 / (lambda t), which suits a lambda-strongly convex
    function, w_{t+1} = (1 - 1/t) w_t + [...] y x / (lambda t). Hence w_{t+1} = theta / (lambda t) from w_1 = 0, where
    theta sums the y x of the examples that had a hinge loss. ValueError for a lambda not above 0, and draws of others.
    """
    X, y = check(X, y)
    if not lam > 0:
        raise ValueError(f"lambda={lam}: must be above 0")
    if draws.ndim != 2 or not np.isin(draws, range(len(y))).all():
        raise ValueError(f"draws must be (steps, runs) of example numbers, 0 to {len(y) - 1}; got {draws.shape}")
    signed = y[:, None] * X
    theta = np.zeros((draws.shape[1], X.shape[1]))
    mean = np.zeros_like(theta)
    for t, drawn in enumerate(draws, start=1):
        w = theta / (lam * max(t - 1, 1))
        mean += (w - mean) / t
        yield mean.copy()
        yx = signed[drawn]
        theta += ((w * yx).sum(1) < 1)[:, None] * yx


def pegasos_bound(T: Numbers, rho: float, lam: float) -> Numbers:
    r"""4 rho^2 / (lambda T) (1 + log T) of 14.5.3: the mean iterate's expected (15.12) is at most so far from best.

    Strong convexity and the step 1 / (lambda t) give G^2 / (2 lambda T) (1 + log T), where |v| <= G (Theorem 14.11).
    theta has at most t - 1 terms, so |w_t| <= rho / lambda, and |v| <= lambda |w| + |x| <= 2 rho = G: half of it.
    """
    return 4 * rho**2 / (lam * T) * (1 + np.log(T))


def margin_bound(ratio: float, m: Numbers, delta: float) -> Numbers:
    """sqrt(4 (rho / gamma)^2 / m) + sqrt(2 log(2 / delta) / m), Theorem 15.4, of ratio = rho / gamma.

    With probability 1 - delta over the m examples, Hard-SVM's 0-1 error is at most this when the distribution has
    |x| <= rho and y <w, x> >= gamma for a unit vector w. The number of features d is not in it.
    """
    return np.sqrt(4 * ratio**2 / m) + np.sqrt(2 * np.log(2 / delta) / m)

r"""Subgradient descent and SGD with projection and averages: sections 14.2 to 14.5 of the book.

All functions take many runs at once: W (..., d) has one w a row, and the oracle gives a subgradient v_t for each. A
deterministic oracle makes it the subgradient descent of Corollary 14.2, a random one with E[v | w] a subgradient, SGD.
"""

from collections.abc import Callable
from math import inf, sqrt

import numpy as np

from papers.understanding_ml.numerical_optimisation import Numbers, positive, stop_if_diverged
from shared.optim import SGD
from shared.schedules import Schedule
from shared.tree import Array

Oracle = Callable[[Array], Array]


def project(W: Array, B: float) -> Array:
    r"""The nearest points to the rows of W (..., d) in the ball |w| <= B, section 14.4: w min(1, B / |w|).

    For |w| > B and every u in the ball, <u, w> <= B |w| (Cauchy-Schwarz), so |w - u|^2 >= (|w| - B)^2, with equality
    at B w / |w| alone. ValueError unless B is above 0; inf is no ball at all.
    """
    if not B > 0:
        raise ValueError(f"B={B}: the radius must be above 0")
    if np.isinf(B):
        return W
    return W * (B / np.maximum(np.linalg.norm(W, axis=-1, keepdims=True), B))


@np.errstate(over="ignore", invalid="ignore")
def sgd(oracle: Oracle, W: Array, eta: float | Schedule, steps: int, B: float = inf) -> Array:
    r"""The iterates (steps, ..., d) of w^(t+1) = P_B(w^(t) - eta_t v_t), v_t = oracle(w^(t)), from w^(1) = W (..., d).

    eta is a number or a function of t = 0, 1, ..., steps - 2. The update is that of shared/optim.py, P_B ``project``.
    Diverged when an iterate is not finite, or longer than w^(1) by GROWTH times max(|w^(1)|, 1): there is no loss to
    look at here, only subgradients. ValueError for a start outside of the ball, or steps below 1.
    """
    W = W.astype(float)
    lengths = np.linalg.norm(np.atleast_1d(W), axis=-1)
    if W.ndim < 1 or not (np.isfinite(W).all() and (lengths <= B * (1 + 1e-12)).all()):
        raise ValueError(f"the start must be finite vectors (..., d) of length B={B} at most; got shape {W.shape}")
    if steps < 1:
        raise ValueError(f"steps={steps}: must be at least 1")
    optimizer, params, first = SGD(eta), {"w": W}, float(lengths.max())
    state = optimizer.init(params)
    path = np.empty((steps, *W.shape))
    for t in range(steps):
        path[t] = W
        if t == steps - 1:
            break
        v = oracle(W)
        if v.shape != W.shape:
            raise ValueError(f"the oracle gives shape {v.shape} for w of shape {W.shape}: they must be the same")
        optimizer.update(params, {"w": v}, state)
        W[...] = project(W, B)
        size = eta(t) if callable(eta) else eta
        longest = float(np.linalg.norm(W, axis=-1).max())
        stop_if_diverged("|w|", longest, first, t + 1, size, "Lower eta, or project onto a ball of radius B.")
    return path


def suffix_average(path: Array, share: float = 0.5) -> Array:
    r"""The mean (..., d) of the last ceil(share T) of the iterates (T, ..., d): Remark 14.3; share = 1 averages all.

    The first iterates of a strongly convex problem are far off and keep their part of a mean over all for ever: the
    sum of 1/t from 1 to T is log T, that from T/2 to T only log 2. ValueError unless T >= 1 and 0 < share <= 1.
    """
    if not len(path) or not 0 < share <= 1:
        raise ValueError(f"share={share} of {len(path)} iterates: there must be one at least, and share in (0, 1]")
    return path[len(path) - int(np.ceil(share * len(path))) :].mean(0)


def lipschitz_step(B: float, rho: float, T: int) -> float:
    """B / (rho sqrt(T)): the constant step size that makes ``lipschitz_bound`` smallest."""
    positive(B=B, rho=rho, T=T)
    return B / (rho * sqrt(T))


def lipschitz_bound(B: float, rho: float, T: Numbers) -> Numbers:
    r"""B rho / sqrt(T): f(mean of w^(t)) - f(w*) at most, Cor 14.2; in expectation for SGD with |v_t| <= rho, Thm 14.8.

    |w^(t+1) - w*|^2 <= |w^(t) - w*|^2 - 2 eta <v_t, w^(t) - w*> + eta^2 rho^2 (projecting only brings w nearer). Summed
    from w^(1) = 0 with |w*| <= B: mean <v_t, w^(t) - w*> <= B^2 / (2 eta T) + eta rho^2 / 2, smallest at eta = B/(rho
    sqrt T). Convexity and Jensen bound f(mean) - f(w*) by the left side.
    """
    positive(B=B, rho=rho, T=T)
    return B * rho / np.sqrt(T)


def strongly_convex_step(lam: float) -> Schedule:
    """eta_t = 1 / (lambda t), t = 1, 2, ... (the schedule counts from 0), for ``strongly_convex_bound``."""
    positive(lam=lam)
    return lambda step: 1 / (lam * (step + 1))


def strongly_convex_bound(rho: float, lam: float, T: Numbers) -> Numbers:
    r"""rho^2 / (2 lambda T) (1 + log T): E f(mean of w^(t)) - f(w*) at most, f lambda-strongly convex, Theorem 14.11.

    Strong convexity adds -lambda/2 |w^(t) - w*|^2 to each term of the sum above. With 1/eta_t = lambda t the distances
    then telescope to nothing, whatever w^(1), and sum_t eta_t rho^2 / 2 is left: a harmonic sum, below 1 + log T.
    """
    positive(rho=rho, lam=lam, T=T)
    return rho**2 / (2 * lam * T) * (1 + np.log(T))

"""Bayesian linear regression: a belief over w, what it predicts, and the evidence. Sections 13.1 and 24.5 of the book.

Prior w ~ N(0, I / alpha), data y = X w + N(0, I / beta): X (m, d) holds the d basis functions of m inputs, y (m,) the
targets. alpha and beta are precisions, that is one over a variance. Everything is Gaussian, so everything is exact.
"""

from dataclasses import dataclass

import numpy as np

from papers.understanding_ml.linear_regression import check
from shared.tree import Array


@dataclass(frozen=True)
class Belief:
    """w ~ N(mean, covariance): mean (d,), covariance (d, d)."""

    mean: Array
    covariance: Array


def positive(**precisions: float) -> None:
    """ValueError unless each is finite and above 0."""
    for name, value in precisions.items():
        if not 0 < value < np.inf:
            raise ValueError(f"{name}={value}: a precision must be finite and above 0")


def about(belief: Belief, X: Array) -> None:
    """ValueError unless X is (m, d) and finite, with the d of the belief."""
    check(X, np.zeros(X.shape[:1]))
    if X.shape[1:] != belief.mean.shape:
        raise ValueError(f"the belief is about {len(belief.mean)} weights, but an example has {X.shape[1]} features")


def prior(d: int, alpha: float) -> Belief:
    """What is believed without data: w ~ N(0, I / alpha) in d dimensions."""
    positive(alpha=alpha)
    return Belief(np.zeros(d), np.eye(d) / alpha)


def posterior(X: Array, y: Array, alpha: float, beta: float) -> Belief:
    r"""N(w; m_N, S_N) after all examples at once; without examples (m = 0) it is the prior.

    log p(w | y) = -beta/2 |y - X w|^2 - alpha/2 |w|^2 + const, whose Hessian is -(alpha I + beta X^T X) = -S_N^-1 and
    whose maximum solves S_N^-1 m_N = beta X^T y. A quadratic is the log of a Gaussian, so this is all there is to know.
    Over beta, the maximum is ridge regression (13.1) with ridge = alpha / beta: MAP, the mode and the mean are one.
    """
    if X.ndim != 2 or len(X) or y.shape != (0,):
        check(X, y)
    positive(alpha=alpha, beta=beta)
    precision = alpha * np.eye(X.shape[1]) + beta * X.T @ X
    return Belief(np.linalg.solve(precision, beta * X.T @ y), np.linalg.inv(precision))


def update(belief: Belief, x: Array, y: float, beta: float) -> Belief:
    r"""The belief after one more example (x, y), x (d,): today's posterior is tomorrow's prior.

    The precision gains beta x x^T. By Sherman and Morrison S' = S - k (S x)^T with k = S x / (1/beta + x^T S x), and
    the mean moves along this gain k by the error of the prediction. No system is solved: d^2 operations.
    """
    about(belief, x[None])
    check(x[None], np.array([y]))
    positive(beta=beta)
    Sx = belief.covariance @ x
    gain = Sx / (1 / beta + x @ Sx)
    return Belief(belief.mean + gain * (y - x @ belief.mean), belief.covariance - np.outer(gain, Sx))


def predict(belief: Belief, X: Array, beta: float) -> tuple[Array, Array]:
    r"""Mean (m,) and variance (m,) of y at the rows of X: noise plus what is not known about w.

    y = x^T w + noise is a sum of independent Gaussians: mean x^T m_N, variance 1/beta + x^T S_N x. An example z takes
    (z^T S x)^2 / (1/beta + z^T S z) from it (see ``update``), so no example ever adds to it.
    """
    about(belief, X)
    positive(beta=beta)
    return X @ belief.mean, 1 / beta + np.einsum("ij,jk,ik->i", X, belief.covariance, X)


def log_evidence(X: Array, y: Array, alpha: float, beta: float) -> float:
    r"""log p(y | X, alpha, beta), w integrated out: y ~ N(0, I / beta + X X^T / alpha), computed in d dimensions.

    p(y) = p(y | w) p(w) / p(w | y) for every w, so also for w = m_N:
    m/2 log(beta / 2 pi) - beta/2 |y - X m_N|^2 + d/2 log alpha - alpha/2 |m_N|^2 - 1/2 log det(alpha I + beta X^T X).
    """
    X, y = check(X, y)
    positive(alpha=alpha, beta=beta)
    m, d = X.shape
    precision = alpha * np.eye(d) + beta * X.T @ X
    w = np.linalg.solve(precision, beta * X.T @ y)
    fit = m * np.log(beta / (2 * np.pi)) - beta * ((y - X @ w) ** 2).sum()
    size = d * np.log(alpha) - alpha * w @ w
    return float(fit + size - np.linalg.slogdet(precision)[1]) / 2


def maximise_evidence(X: Array, y: Array, tolerance: float = 1e-10, rounds: int = 10_000) -> tuple[float, float]:
    r"""alpha and beta that make y most probable, by fixed-point updates until neither changes by more than tolerance.

    With l_i the eigenvalues of beta X^T X and gamma = sum_i l_i / (alpha + l_i), the log evidence has the derivatives
    (gamma / alpha - |m_N|^2) / 2 in alpha and ((m - gamma) / beta - |y - X m_N|^2) / 2 in beta: both vanish for
    alpha = gamma / |m_N|^2, beta = (m - gamma) / |y - X m_N|^2. gamma counts the weights that the data determine.
    In the basis of the singular vectors of X an update costs d operations.
    ValueError where there is no maximum: y is fitted without error, or as if there were nothing but noise.
    """
    X, y = check(X, y)
    m = len(y)
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    projected = U.T @ y
    outside = float(((y - U @ projected) ** 2).sum())  # the part of |y|^2 that no w explains
    outside = outside if outside > 1e-24 * (y @ y) else 0.0  # less is rounding
    variance = float(np.var(y))
    alpha, beta = 1.0, 1 / variance if variance > 0 else np.inf
    for _ in range(rounds):
        if not (0 < alpha < np.inf and 0 < beta < np.inf):
            break
        total = alpha + beta * s**2
        size = ((beta * s * projected / total) ** 2).sum()
        loss = outside + ((alpha * projected / total) ** 2).sum()
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            # m - gamma, without the cancellation where there are as many weights as examples.
            new = (beta * s**2 / total).sum() / size, (m - len(s) + (alpha / total).sum()) / loss
        if abs(new[0] - alpha) <= tolerance * alpha and abs(new[1] - beta) <= tolerance * beta:
            return float(new[0]), float(new[1])
        alpha, beta = new
    raise ValueError(
        f"the evidence has no maximum in reach (alpha={alpha:.3g}, beta={beta:.3g}): X explains nothing of y, or all"
    )


def bumps(x: Array, centres: Array, width: float) -> Array:
    """Gaussian bumps exp(-(x - c)^2 / (2 width^2)) of x (m,), one a centre c, after a constant 1: (m, centres + 1)."""
    if not width > 0:
        raise ValueError(f"width={width}: must be above 0")
    return np.column_stack([np.ones(len(x)), np.exp(-((x[:, None] - centres) ** 2) / (2 * width**2))])

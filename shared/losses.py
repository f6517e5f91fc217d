"""Losses: one value a datapoint (summed over features) and the pullback to the first argument.

    loss, pullback = f(prediction, target)      dprediction = pullback(dloss),  dloss (...,) one cotangent a datapoint

The mean over a batch of N is the caller's: dloss = full(N, 1/N).
"""

from collections.abc import Callable

import numpy as np

from shared.tree import Array

LossPullback = Callable[[Array], Array]


def bernoulli_with_logits(s: Array, x: Array) -> tuple[Array, LossPullback]:
    r"""-log p(x) = sum_i softplus(s_i) - x_i s_i; s, x (..., D), value (...,); x in [0, 1] (grey values allowed).

    p = sigmoid(s) gives -x log p - (1-x) log(1-p) = softplus(s) - x s, and d/ds softplus(s) = sigmoid(s), so
        ds = dloss (sigmoid(s) - x).
    Nothing overflows: softplus(s) = max(s, 0) + log1p(exp(-|s|)) and sigmoid(s) = (1 + tanh(s/2)) / 2.
    """
    t = np.abs(s)
    np.negative(t, out=t)
    np.exp(t, out=t)
    np.log1p(t, out=t)
    t += np.maximum(s, 0)
    loss = t.sum(-1) - np.einsum("...i,...i->...", x, s)

    def pullback(dloss: Array) -> Array:
        ds = s * 0.5
        np.tanh(ds, out=ds)
        ds += 1
        ds *= 0.5
        ds -= x
        ds *= dloss[..., None]
        return ds

    return loss, pullback


def gaussian_kl(mu: Array, logvar: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    r"""KL(N(mu, diag exp(logvar)) || N(0, I)) = -1/2 sum_j (1 + logvar_j - mu_j^2 - exp(logvar_j)); (..., J) -> (...,).

    Kingma and Welling 2013, appendix B. dmu = dloss mu, dlogvar = dloss (exp(logvar) - 1) / 2.
    """
    var = np.exp(logvar)
    kl = 0.5 * (mu * mu + var - 1 - logvar).sum(-1)

    def pullback(dloss: Array) -> tuple[Array, Array]:
        return dloss[..., None] * mu, dloss[..., None] * (0.5 * (var - 1))

    return kl, pullback


def gaussian_nll(mu: Array, logvar: Array, x: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    r"""-log N(x; mu, diag exp(logvar)) = 1/2 sum_i (log 2 pi + logvar_i + r_i^2 / var_i), r = x - mu; (..., D) -> (...,).

    dmu = -dloss r / var and dlogvar = dloss (1 - r^2 / var) / 2.
    """
    r = x - mu
    precision = np.exp(-logvar)
    squared = r * r * precision
    loss = 0.5 * (np.log(2 * np.pi) * mu.shape[-1] + (logvar + squared).sum(-1))

    def pullback(dloss: Array) -> tuple[Array, Array]:
        return -dloss[..., None] * r * precision, dloss[..., None] * (0.5 * (1 - squared))

    return loss.astype(mu.dtype, copy=False), pullback

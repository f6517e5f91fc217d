"""Losses: one value a datapoint (a sum over its features, but for ``mse``) and the pullback to what was predicted.

    loss, pullback = f(prediction, target)      dprediction = pullback(dloss),  dloss (...,) one cotangent a datapoint

The mean over a batch of N is the caller's: dloss = full(N, 1/N).
"""

from collections.abc import Callable

import numpy as np

from shared.tree import Array

LossPullback = Callable[[Array], Array]


def softmax_cross_entropy(logits: Array, y: Array, label_smoothing: float = 0.0) -> tuple[Array, LossPullback]:
    r"""-sum_k q_k log softmax(s)_k; logits s (..., K), labels y (...,) integers in 0..K-1, value (...,).

    The target is q = (1 - a) onehot(y) + a/K, a = label_smoothing (Szegedy et al. 2016, section 7). It sums to 1, so
        loss = logsumexp(s) - (1 - a) s_y - a mean(s),     ds = dloss (softmax(s) - q).
    Nothing overflows: s - max(s) takes the place of s, which changes neither.
    """
    classes = logits.shape[-1]
    check_labels("softmax_cross_entropy", y, logits.shape[:-1], classes, label_smoothing)
    label, on, off = y[..., None], 1 - label_smoothing, label_smoothing / classes
    s = logits - logits.max(-1, keepdims=True)
    loss: Array = -on * np.take_along_axis(s, label, -1)[..., 0]
    if label_smoothing:
        loss -= off * s.sum(-1)
    probability = np.exp(s, out=s)
    total = probability.sum(-1, keepdims=True)
    loss += np.log(total[..., 0])
    probability /= total

    def pullback(dloss: Array) -> Array:
        ds: Array = probability - off
        np.put_along_axis(ds, label, np.take_along_axis(ds, label, -1) - on, -1)
        ds *= dloss[..., None]
        return ds

    return loss, pullback


def linear_softmax_cross_entropy(
    x: Array, W: Array, y: Array, label_smoothing: float = 0.0, unsmoothed: int | None = None
) -> tuple[Array, Callable[[Array], tuple[Array, Array]]]:
    r"""-sum_k q_k log softmax(s)_k for s = x W^T; x (M, d), W (K, d), labels y (M,), value (M,), pullback to (dx, dW).

    For many classes: s (M, K) is made here and overwritten by its exponentials, the only array of this size. The target
    is q = (1 - a) onehot(y) + a u/|u|, a = label_smoothing, u_k = 1 but for 0 at the class ``unsmoothed`` (padding is
    never right). s enters the smoothing's share of the loss, and that share ds, through sums over the classes alone:
        <u, s> = <W^T u, x>,     dx contains -dloss a/|u| (W^T u),     dW contains -a/|u| u (x^T dloss)^T.
    The rest of ds = dloss (softmax(s) - q) is dloss r / Z, r = exp(s) - (1 - a) Z onehot(y), Z = sum_k exp(s_k). As the
    factor dloss / Z of a row is moved past the products, to rows of d entries, none of the sums needs a pass over r:
        dx = dloss / Z (r W) - ...,     dW = r^T (dloss / Z x) - ...
    """
    classes = len(W)
    check_labels("linear_softmax_cross_entropy", y, (len(x),), classes, label_smoothing)
    on = 1 - label_smoothing
    u = np.ones_like(W, shape=classes)
    if unsmoothed is not None:
        u[unsmoothed] = 0
    off = label_smoothing / max(1.0, float(u.sum()))
    Wu = u @ W

    row = np.arange(len(y))
    s = x @ W.T
    s_y, largest = s[row, y], s.max(-1)
    s -= largest[:, None]
    r = np.exp(s, out=s)
    Z = r.sum(-1)
    loss: Array = np.log(Z) + largest - on * s_y - off * (x @ Wu)
    r[row, y] -= on * Z

    def pullback(dloss: Array) -> tuple[Array, Array]:
        scale = (dloss / Z)[:, None]
        dx = r @ W
        dx *= scale
        dx -= np.outer(dloss, off * Wu)
        dW = r.T @ (x * scale)
        if label_smoothing:
            dW -= np.outer(u, off * (dloss @ x))
        return dx, dW

    return loss, pullback


def check_labels(loss: str, y: Array, shape: tuple[int, ...], classes: int, label_smoothing: float) -> None:
    """ValueError for what a softmax and its labels refuse."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{loss}: label_smoothing must be in [0, 1], got {label_smoothing}")
    if y.shape != shape or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{loss}: labels must be integers {shape}, got {y.dtype} {y.shape}")
    if y.size and (y.min() < 0 or y.max() >= classes):
        raise ValueError(f"{loss}: labels must be in 0..{classes - 1}, found {y.min()}..{y.max()}")


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
    r"""-log N(x; mu, diag exp(logvar)) = 1/2 sum_i (log 2 pi + logvar_i + r_i^2/var_i), r = x - mu; (..., D) -> (...,).

    dmu = -dloss r / var and dlogvar = dloss (1 - r^2 / var) / 2.
    """
    r = x - mu
    precision = np.exp(-logvar)
    squared = r * r * precision
    loss = 0.5 * (np.log(2 * np.pi) * mu.shape[-1] + (logvar + squared).sum(-1))

    def pullback(dloss: Array) -> tuple[Array, Array]:
        return -dloss[..., None] * r * precision, dloss[..., None] * (0.5 * (1 - squared))

    return loss.astype(squared.dtype, copy=False), pullback


def mse(prediction: Array, target: Array) -> tuple[Array, LossPullback]:
    r"""1/D sum_i (prediction_i - target_i)^2: the *mean* over the last axis; both (..., D), value (...,).

    dprediction = dloss 2/D (prediction - target). The mean over the datapoints is then the mean over all entries.
    """
    r = prediction - target
    loss: Array = np.einsum("...i,...i->...", r, r) / r.shape[-1]

    def pullback(dloss: Array) -> Array:
        dprediction: Array = r * (dloss[..., None] * (2 / r.shape[-1]))
        return dprediction

    return loss, pullback

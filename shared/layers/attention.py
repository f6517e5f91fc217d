"""Attention: each query reads a mean of the values, weighted by how well it matches their keys."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from shared import tree
from shared.init import Initializer, glorot_uniform
from shared.layers.activation import Softmax
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.linear import Linear
from shared.tree import Array, Tree


def attention(
    q: Array, k: Array, v: Array, kept: Array | None = None, temperature: float = 1.0
) -> tuple[Array, Array, Callable[[Array], tuple[Array, Array, Array]]]:
    r"""(y, A, pullback) of scaled dot-product attention, y = A v with A = softmax(q k^T / (temperature sqrt(d_k))).

    q (..., T, d_k), k (..., S, d_k), v (..., S, d_v), A (..., T, S), y (..., T, d_v). ``kept`` is boolean and
    broadcasts to A: a query gives no weight to a key where it is False, and reads 0 where it is False for all keys
    or there are none (S = 0).
    A score is a sum of d_k products: if q and k are independent with mean 0 and variance 1, its variance is d_k, and
    sqrt(d_k) brings it back to 1. Vaswani et al. 2017, eq. 1.

    With s = q k^T, the softmax's pullback takes dA = dy v^T to ds; then
        dq = ds k,     dk = ds^T q,     dv = A^T dy.
    """
    if not q.shape[-1]:
        raise ValueError(f"attention: queries and keys need at least one feature, got {q.shape} and {k.shape}")
    scores = q @ k.swapaxes(-1, -2)
    if kept is not None:
        scores += masking(kept, scores)
    A, softmax_pullback = Softmax(temperature * sqrt(q.shape[-1]))({}, scores)

    def pullback(dy: Array) -> tuple[Array, Array, Array]:
        ds, _ = softmax_pullback(dy @ v.swapaxes(-1, -2))
        return ds @ k, ds.swapaxes(-1, -2) @ q, A.swapaxes(-1, -2) @ dy

    return A @ v, A, pullback


def masking(kept: Array, scores: Array) -> Array:
    """What is added to the scores (..., T, S): 0 where a key is kept, -inf where it is not; of kept's own shape."""
    if kept.dtype != bool:
        raise ValueError(f"attention: the mask must be boolean, True where a key is kept, got {kept.dtype}")
    sizes = zip(reversed(kept.shape), reversed(scores.shape), strict=False)
    if kept.ndim > scores.ndim or any(mine not in (1, size) for mine, size in sizes):
        raise ValueError(f"attention: the mask {kept.shape} does not broadcast to the scores {scores.shape}")
    return np.where(kept, scores.dtype.type(0), scores.dtype.type(-inf))


def causal(length: int) -> Array:
    """(T, T), for ``kept``: a position sees itself and what is before it."""
    return np.tri(length, dtype=bool)


def split_heads(x: Array, heads: int) -> Array:
    """(..., T, heads d_k) -> (..., heads, T, d_k), a view."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-2, -3)


def join_heads(x: Array) -> Array:
    """(..., heads, T, d_k) -> (..., T, heads d_k)."""
    x = x.swapaxes(-2, -3)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


KeysValues = tuple[Array, Array]  # (..., heads, S, d_k) each


@dataclass(frozen=True)
class MultiHeadAttention:
    r"""y = concat(head_1, ..., head_h) W_O, head_i = attention(x W_Qi, m W_Ki, m W_Vi), d_k = d_v = d_model / heads.

    x (..., T, d_model) asks and the memory m (..., S, d_model) answers, y is like x. Without a memory x is its own
    (self-attention, causal with ``kept=causal(T)``). ``kept`` broadcasts to the weights A (..., heads, T, S): padded
    keys are masked by (N, 1, 1, S). A list passed as ``maps`` gets A appended. The pullback gives (dx, dp), or
    ((dx, dm), dp) with a memory. Vaswani et al. 2017, section 3.2.2, where no projection has a bias.

    The columns of W_Q, W_K and W_V of all heads stand side by side in one matrix "QKV" (d_model, 3 d_model): what has
    the same input is one product, and Q, K and V of all heads are views of it. x is read three times in
    self-attention: dx sums three products, and dx = [dQ dK dV] [W_Q W_K W_V]^T is that sum.
    """

    d_model: int
    heads: int
    bias: bool = False
    temperature: float = 1.0
    weight: Initializer = glorot_uniform  # of each of the three blocks

    def __post_init__(self) -> None:
        if self.heads < 1 or self.d_model < 1 or self.d_model % self.heads:
            sizes = f"d_model={self.d_model} and heads={self.heads}"
            raise ValueError(f"MultiHeadAttention: d_model must be a positive multiple of heads, got {sizes}")
        Softmax(self.temperature)  # refuses one out of range

    @property
    def output(self) -> Linear:
        return Linear(self.d_model, self.d_model, self.weight, self.bias)

    def init(self, rng: np.random.Generator) -> Tree:
        blocks = [self.output.init(rng) for _ in "QKV"]
        return {"QKV": tree.map(side_by_side, *blocks), "O": self.output.init(rng)}

    def __call__(
        self,
        p: Tree,
        x: Array,
        mode: Mode = EVAL,
        *,
        memory: Array | None = None,
        kept: Array | None = None,
        maps: list[Array] | None = None,
    ) -> tuple[Array, Pullback]:
        if memory is None:
            (q, k, v), x_pullback = self.project(p, "QKV", x)
        else:
            (q,), x_pullback = self.project(p, "Q", x)
            (k, v), memory_pullback = self.project(p, "KV", memory)
        heads, A, attention_pullback = attention(q, k, v, kept, self.temperature)
        if maps is not None:
            maps.append(A)
        y, output_pullback = self.output(p["O"], join_heads(heads))

        def pullback(dy: Array) -> tuple[Array | tuple[Array, Array], Tree]:
            djoined, dO = output_pullback(dy)
            dq, dk, dv = attention_pullback(split_heads(djoined, self.heads))
            if memory is None:
                dx, dQKV = x_pullback(dq, dk, dv)
                return dx, {"QKV": dQKV, "O": dO}
            dx, dQ = x_pullback(dq)
            dmemory, dKV = memory_pullback(dk, dv)
            return (dx, dmemory), {"QKV": tree.map(side_by_side, dQ, dKV), "O": dO}

        return y, pullback

    def project(self, p: Tree, names: str, x: Array) -> tuple[list[Array], Callable[..., tuple[Array, Tree]]]:
        """Those of Q, K and V that ``names`` spells, (..., heads, T, d_k) each; their cotangents -> (dx, dp["QKV"])."""
        if x.ndim < 2 or x.shape[-1] != self.d_model:
            raise ValueError(f"MultiHeadAttention: inputs must be (..., T, d_model={self.d_model}), got {x.shape}")
        start, width = "QKV".index(names) * self.d_model, len(names) * self.d_model
        columns = {name: a[..., start : start + width] for name, a in p["QKV"].items()}
        y, linear_pullback = Linear(self.d_model, width, bias=self.bias)(columns, x)

        def pullback(*dheads: Array) -> tuple[Array, Tree]:
            dy = np.stack([dhead.swapaxes(-2, -3) for dhead in dheads], -3)  # (..., T, names, heads, d_k)
            return linear_pullback(dy.reshape(y.shape))

        return [split_heads(part, self.heads) for part in np.split(y, len(names), -1)], pullback

    def keys_values(self, p: Tree, memory: Array) -> KeysValues:
        """Those of a memory (..., S, d_model), for ``read``."""
        (k, v), _ = self.project(p, "KV", memory)
        return k, v

    def extend(self, p: Tree, x: Array, past: KeysValues | None) -> tuple[Array, KeysValues]:
        """Causal self-attention of new entries x (..., 1, d_model), keys and values of earlier ones given: (y, all)."""
        (q, k, v), _ = self.project(p, "QKV", x)
        if past is not None:
            k, v = (np.concatenate(pair, -2) for pair in zip(past, (k, v), strict=True))
        return self.answer(p, q, (k, v)), (k, v)

    def read(self, p: Tree, x: Array, keys_values: KeysValues, kept: Array | None = None) -> Array:
        """y for x (..., T, d_model) and a memory whose keys and values are there already."""
        (q,), _ = self.project(p, "Q", x)
        return self.answer(p, q, keys_values, kept)

    def answer(self, p: Tree, q: Array, keys_values: KeysValues, kept: Array | None = None) -> Array:
        heads, _, _ = attention(q, *keys_values, kept, self.temperature)
        return self.output(p["O"], join_heads(heads))[0]


def side_by_side(*blocks: Array) -> Array:
    return np.concatenate(blocks, -1)

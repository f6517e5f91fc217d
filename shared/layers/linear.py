"""The affine map."""

from dataclasses import dataclass

import numpy as np

from shared.init import Initializer, glorot_uniform
from shared.layers.base import EVAL, Mode, Pullback
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Linear:
    r"""y = x W + b, with x (..., n_in), W (n_in, n_out), b (n_out,), y (..., n_out).

    Flatten the leading axes to rows. With the inner product <A, B> = tr(A^T B) and dl = <dy, d(xW + b)>:
        <dy, dx W>    = <dy W^T, dx>                  so  dx = dy W^T
        <dy, x dW>    = <x^T dy, dW>                  so  dW = x^T dy
        <dy, 1 db^T>  = <dy^T 1, db>                  so  db = sum of the rows of dy
    ``input_is_data`` marks a first layer: nobody asks for dx there, and leaving it out saves one product of three.

    Several networks of one shape train as a stack: W (S, n_in, n_out) and b (S, n_out) map x (S, N, n_in), or one
    x (N, n_in) for all, to y (S, N, n_out). An x shared by the S maps gets the sum of their dx.
    """

    n_in: int
    n_out: int
    weight: Initializer = glorot_uniform
    bias: bool = True
    input_is_data: bool = False

    def __post_init__(self) -> None:
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"Linear: n_in and n_out must be at least 1, got {self.n_in} and {self.n_out}")

    def init(self, rng: np.random.Generator) -> Tree:
        p = {"W": self.weight(rng, (self.n_in, self.n_out))}
        return p | {"b": np.zeros(self.n_out, np.float32)} if self.bias else p

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.shape[-1] != self.n_in:
            raise ValueError(f"Linear: the last axis of x must have n_in={self.n_in} entries, got x {x.shape}")
        W = p["W"]
        stacked = W.ndim == 3
        if stacked and not (x.ndim == 2 or x.shape[:-2] == W.shape[:1]):
            size, n = len(W), self.n_in
            raise ValueError(f"Linear: a stack of {size} takes x (N, {n}) or ({size}, N, {n}), got {x.shape}")
        rows = x if stacked else x.reshape(-1, self.n_in)
        y = rows @ W
        if self.bias:
            y += p["b"][..., None, :]

        def pullback(dy: Array) -> tuple[Array | None, Tree]:
            drows = dy if stacked else dy.reshape(-1, self.n_out)
            dp = {"W": rows.swapaxes(-1, -2) @ drows}
            if self.bias:
                dp["b"] = drows.sum(-2)
            if self.input_is_data:
                return None, dp
            dx = drows @ W.swapaxes(-1, -2)
            return (dx.sum(0) if stacked and x.ndim == 2 else dx.reshape(x.shape)), dp

        return (y if stacked else y.reshape(*x.shape[:-1], self.n_out)), pullback

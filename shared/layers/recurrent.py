"""A recurrent layer: the plainest one, whose state passes through every position in turn."""

from dataclasses import dataclass

import numpy as np

from shared.init import Initializer, glorot_uniform
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.linear import Linear
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Recurrent:
    r"""y_t = tanh(x_t W + y_{t-1} U + b), y_0 = 0: x (..., T, n), W (n, m), U (m, m), b (m,), y (..., T, m).

    With z_t the argument of tanh, y_t reaches the loss by itself and through z_{t+1}, so from the last t to the first
        dz_t = (1 - y_t^2) * (dy_t + dz_{t+1} U^T),     dz_{T+1} = 0,
    and z = x W + b, as in ``Linear``, gives dx = dz W^T, dW = sum_t x_t^T dz_t, db = sum_t dz_t; in the same way
    dU = sum_t y_{t-1}^T dz_t. From y_T to x_1 a gradient passes T slopes of tanh, none above 1, T - 1 factors U^T and
    one W^T. The products with W are one, those with U are T, each waiting for the one before. Elman 1990.
    """

    n_in: int
    n_out: int
    weight: Initializer = glorot_uniform  # of W and of U

    def __post_init__(self) -> None:
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"Recurrent: n_in and n_out must be at least 1, got {self.n_in} and {self.n_out}")

    @property
    def input(self) -> Linear:
        return Linear(self.n_in, self.n_out, self.weight)

    def init(self, rng: np.random.Generator) -> Tree:
        return {**self.input.init(rng), "U": self.weight(rng, (self.n_out, self.n_out))}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        if x.ndim < 2 or x.shape[-1] != self.n_in:
            raise ValueError(f"Recurrent: x must be (..., T, n_in={self.n_in}), got {x.shape}")
        z, input_pullback = self.input(p, x)
        U, y = p["U"], np.empty_like(z)
        state = np.zeros_like(z, shape=(*z.shape[:-2], self.n_out))
        for t in range(x.shape[-2]):
            state = np.tanh(z[..., t, :] + state @ U)
            y[..., t, :] = state

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dz, dlater = np.empty_like(y), np.zeros_like(state)
            slope = 1 - y * y
            for t in reversed(range(y.shape[-2])):
                dz[..., t, :] = slope[..., t, :] * (dy[..., t, :] + dlater)
                dlater = dz[..., t, :] @ U.T
            dx, dp = input_pullback(dz)
            before, after = y[..., :-1, :], dz[..., 1:, :]  # y_0 = 0 adds nothing
            dU = before.reshape(-1, self.n_out).T @ after.reshape(-1, self.n_out)
            return dx, {**dp, "U": dU}

        return y, pullback

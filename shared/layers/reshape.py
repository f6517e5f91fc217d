"""The same numbers in another shape: between images and vectors."""

from dataclasses import dataclass

from shared.layers.activation import Activation
from shared.layers.base import EVAL, Mode, Pullback
from shared.tree import Array, Tree


@dataclass(frozen=True)
class Reshape(Activation):
    r"""y[n] = x[n] in another shape: x (N, ...), y (N, *shape), in C order; Reshape((-1,)) flattens.

    A permutation of coordinates is orthogonal, so its adjoint is its inverse: dx = dy in the shape of x. Before a layer
    whose input is data there is no dy, and no dx.
    """

    shape: tuple[int, ...]

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        return x.reshape(len(x), *self.shape), lambda dy: (None if dy is None else dy.reshape(x.shape), {})

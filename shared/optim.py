"""Optimizers: frozen hyperparameters, ``init(params) -> state``, ``update(params, grads, state)`` in place.

An update walks each array in blocks that stay in the second-level cache and makes all its passes over a block before the
next: each array then crosses the memory bus once, however many elementary operations the formula has.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shared import tree
from shared.tree import Array, Tree

BLOCK = 1 << 15


def blocks(*trees: Tree) -> Iterator[tuple[Array, ...]]:
    """Flat pieces of at most BLOCK scalars, the same piece of each tree; writes to them reach the trees' arrays."""
    for leaf in zip(*(tree.leaves(t) for t in trees), strict=True):
        flat = [array.reshape(-1) for _, array in leaf]
        for start in range(0, flat[0].size, BLOCK):
            yield tuple(array[start : start + BLOCK] for array in flat)


@dataclass(frozen=True)
class Adagrad:
    r"""h <- h + g^2;  theta <- theta - lr g / (sqrt(h) + eps), with g <- g + weight_decay theta first.

    Duchi, Hazan, Singer 2011, fig. 1 (diagonal): each coordinate gets the step that its own past gradients earned.
    """

    learning_rate: float
    weight_decay: float = 0.0
    epsilon: float = 1e-10

    def init(self, params: Tree) -> Tree:
        return {"h": tree.map(np.zeros_like, params)}

    def update(self, params: Tree, grads: Tree, state: Tree) -> None:
        scratch = np.empty((2, BLOCK), next(tree.leaves(params))[1].dtype)
        for p, g, h in blocks(params, grads, state["h"]):
            t, decayed = scratch[:, : p.size]
            if self.weight_decay:
                np.multiply(p, self.weight_decay, out=decayed)
                decayed += g
                g = decayed
            np.multiply(g, g, out=t)
            h += t
            np.sqrt(h, out=t)
            t += self.epsilon
            np.divide(g, t, out=t)
            t *= self.learning_rate
            p -= t

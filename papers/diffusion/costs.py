"""Multiply-adds, counted while they are done: one yardstick for two models that share no architecture."""

from collections.abc import Callable
from typing import Any

import numpy as np

from shared import tree
from shared.tree import Tree


def multiply_adds(f: Callable[..., object], *trees: Tree) -> int:
    """How many multiply-adds the matrix products of f(*trees) make, those of any pullback that it calls included.

    ``trees`` hold the parameters and the images: in the place of each leaf f is given an array that counts, and what is
    computed from it counts too. A product (..., n, k) (..., k, m) makes n k m multiply-adds for each leading index.
    Linear maps, convolutions and attention are such products, forwards and backwards. Elementwise work is left out.
    """
    total = 0

    class Counting(np.ndarray):
        def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
            nonlocal total
            if out:
                options["out"] = tuple(plain(a) for a in out)
            result = getattr(ufunc, method)(*(plain(a) for a in inputs), **options)
            if ufunc is np.matmul:
                total += result.size * inputs[0].shape[-1]
            return out[0] if out else counting(result)

        def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
            return counting(super().__array_function__(function, types, arguments, options))

    def plain(a: Any) -> Any:
        return a.view(np.ndarray) if isinstance(a, Counting) else a

    def counting(a: Any) -> Any:
        return a.view(Counting) if isinstance(a, np.ndarray) else a

    f(*(tree.map(counting, t) for t in trees))
    return total

"""Arrays that count the work of the matrix products they enter: one yardstick for code that shares no formula."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared import tree
from shared.tree import Array, Tree


@dataclass
class Tally:
    """Multiplications in matrix products, and how many of these products had to wait for each other at most.

    A product (..., n, k) (..., k, m) takes n k m multiplications for each leading index, and as many additions.
    Elementwise work is left out, and so is what ``einsum`` does.
    """

    multiplications: int = 0
    chain: int = 0


class Counted(np.ndarray):
    """An array that counts: each knows the longest chain of matrix products behind it, and tells the tally of its own.

    NumPy calls ``__array_ufunc__`` in the place of an operation that has one of these among its operands, and
    ``__array_function__`` in the place of a function.
    """

    tally: Tally
    chain: int

    def __array_finalize__(self, source: Array | None) -> None:
        self.tally, self.chain = getattr(source, "tally", Tally()), getattr(source, "chain", 0)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        chain = longest_chain(inputs)
        if out:
            options["out"] = tuple(plain(x) for x in out)
        found = getattr(ufunc, method)(*map(plain, inputs), **options)
        if ufunc is np.matmul:
            chain += 1
            self.tally.multiplications += found.size * inputs[0].shape[-1]
            self.tally.chain = max(self.tally.chain, chain)
        return counted(found, self.tally, chain) if isinstance(found, np.ndarray) else found

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        found = super().__array_function__(function, types, arguments, options)
        return counted(found, self.tally, longest_chain(arguments)) if isinstance(found, np.ndarray) else found


def plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, Counted) else x


def longest_chain(operands: Any) -> int:
    """Of all counting arrays among the operands and in the lists among them."""

    def chains(operands: Any) -> Iterator[int]:
        for x in operands:
            if isinstance(x, list | tuple):
                yield from chains(x)
            else:
                yield getattr(x, "chain", 0)

    return max(chains(operands), default=0)


def counted(x: Array, tally: Tally, chain: int = 0) -> Array:
    """x, from now on with a tally."""
    y = np.asarray(x).view(Counted)
    y.tally, y.chain = tally, chain
    return y


def tally(f: Callable[..., object], *trees: Tree) -> Tally:
    """What f(*trees) does, any pullback that it calls included: f gets counting arrays in the place of the leaves."""
    found = Tally()
    f(*(tree.map(lambda leaf: counted(leaf, found), t) for t in trees))
    return found

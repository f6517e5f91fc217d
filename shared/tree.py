"""Trees: nested dicts of arrays, the one shape of parameters, gradients and optimizer state."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Tree = dict[str, Any]  # str -> Array | Tree


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Array]]:
    """Yield ("a/b/W", array) in insertion order; an empty sub-tree yields nothing."""
    for name, value in tree.items():
        if isinstance(value, dict):  # not Mapping: this runs in every update, and an abstract class is slow to ask
            yield from leaves(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def map(f: Callable[..., Array], tree: Mapping[str, Any], *rest: Mapping[str, Any]) -> Tree:
    """The tree of f(leaf, *leaves of the rest at the same path). KeyError when a path is missing in the rest."""
    return {
        name: map(f, value, *(r[name] for r in rest))
        if isinstance(value, Mapping)
        else f(value, *(r[name] for r in rest))
        for name, value in tree.items()
    }


def flatten(tree: Tree) -> tuple[Array, Tree]:
    """Copy every leaf into one contiguous buffer: (buffer (size,), the same tree as views of it). One dtype for all."""
    arrays = [array for _, array in leaves(tree)]
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) != 1:
        raise ValueError(f"flatten wants leaves of one dtype, found {sorted(str(d) for d in dtypes)}")
    buffer = np.concatenate([array.ravel() for array in arrays])
    return buffer, views(tree, buffer)


def views(tree: Tree, buffer: Array) -> Tree:
    """The tree's shapes laid over buffer (size,) in the order of ``leaves``."""
    position = 0

    def view(array: Array) -> Array:
        nonlocal position
        start, position = position, position + array.size
        return buffer[start:position].reshape(array.shape)

    return map(view, tree)


def trainable(tree: Tree) -> Tree:
    """The tree without what a layer keeps for itself under "running": the leaves that have gradients, not copied."""
    return {
        name: trainable(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if name != "running"
    }


def stack(trees: Sequence[Tree]) -> Tree:
    """One tree of the leaves of several, (S, ...) each: the parameters of S networks of one shape."""
    return map(lambda *leaves: np.stack(leaves), *trees)


def astype(tree: Tree, dtype: Any) -> Tree:
    """A copy of the tree with every leaf in dtype."""
    return map(lambda array: array.astype(dtype), tree)


def added(parts: Iterable[tuple[float, Tree]]) -> tuple[float, Tree]:
    """The sum of some losses and that of their gradients, in the place of the first ones."""
    left = iter(parts)
    loss, grads = next(left)
    for more, tree in left:
        loss += more
        map(lambda a, b: np.add(a, b, out=a), grads, tree)
    return loss, grads


def size(tree: Tree) -> int:
    """The number of scalars in the tree: the parameter count."""
    return sum(array.size for _, array in leaves(tree))

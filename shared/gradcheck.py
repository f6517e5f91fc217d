"""Gradient checks: a pullback against central differences, in float64 and with a random cotangent."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from shared import tree
from shared.tree import Array, Tree

STEP = 1e-5


def check(
    f: Callable[..., tuple[Any, Callable[[Array], Any]]],
    *arguments: Array | Tree,
    rng: np.random.Generator,
    rtol: float = 1e-6,
    directions: int = 3,
    every_coordinate_up_to: int = 64,
) -> None:
    r"""<dy, (f(a + h v) - f(a - h v)) / 2h> = <pullback(dy), v> for f(*arguments) -> (y, pullback), y of any shape.

    The left side is <dy, J v> + O(h^2), the right one <J^T dy, v>. dy is random: softmax sums to 1, so a cotangent of
    ones would be blind to it. For each leaf of the arguments (arrays or trees, float64), v takes ``directions`` random
    values, and every unit vector where the leaf is small. The pullback answers with one cotangent an argument, None
    where that argument is data. What rounding in y alone can make of the quotient is allowed on top of rtol.

    Raises AssertionError with the leaf's path (argument number / key / ...), the direction and both numbers.
    """
    point = {str(i): argument for i, argument in enumerate(arguments)}
    if wrong := [f"{path} {a.dtype}" for path, a in tree.leaves(point) if a.dtype != np.float64]:
        raise ValueError(f"gradients are checked in float64, found {', '.join(wrong)}")
    y, pullback = f(*arguments)
    dy = rng.standard_normal(np.shape(y))
    rounding = 10 * np.finfo(np.float64).eps * float(np.sum(np.abs(dy * y))) / STEP

    answer = pullback(dy)
    given = answer if isinstance(answer, tuple) else (answer,)
    if len(given) != len(arguments):
        raise AssertionError(f"{len(arguments)} arguments, but the pullback gives {len(given)} cotangents")
    cotangents = dict(tree.leaves({str(i): cotangent for i, cotangent in enumerate(given)}))

    _, moved = tree.flatten(point)  # a copy, so the caller's arrays stay as they are
    for path, leaf in tree.leaves(moved):
        if path in cotangents and cotangents[path] is None:
            continue
        if path not in cotangents or cotangents[path].shape != leaf.shape:
            raise AssertionError(f"argument {path}: the pullback gives no cotangent of its shape {leaf.shape}")
        at = leaf.copy()
        for name, v in _directions(leaf, rng, directions, every_coordinate_up_to):
            leaf[...] = at + STEP * v
            above = np.copy(f(*moved.values())[0])  # f may return its argument
            leaf[...] = at - STEP * v
            below = np.copy(f(*moved.values())[0])
            leaf[...] = at
            difference = float(np.sum(dy * (above - below))) / (2 * STEP)
            slope = float(np.sum(cotangents[path] * v))
            if not abs(slope - difference) <= rtol * max(abs(slope), abs(difference)) + rounding:
                numbers = f"the pullback gives {slope:.10g}, the central difference {difference:.10g}"
                raise AssertionError(f"argument {path}, {name}: {numbers}")


def _directions(leaf: Array, rng: np.random.Generator, random: int, every_up_to: int) -> Iterator[tuple[str, Array]]:
    for i in range(random):
        yield f"random direction {i}", rng.standard_normal(leaf.shape)
    if leaf.size <= every_up_to:
        for index in np.ndindex(leaf.shape):
            unit = np.zeros_like(leaf)
            unit[index] = 1
            yield f"coordinate {index}", unit

"""Threads: those of BLAS, and ours over the parts of a batch. How many is set in this place only."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from shared.tree import Array

T = TypeVar("T")
LARGE = 1 << 18  # scalars from which a second thread saves more than it costs
BLAS = ThreadpoolController().select(user_api="blas")
_count: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def use(n: int) -> Iterator[None]:
    """BLAS and ``spread`` on n threads inside the block."""
    with _counted(n), BLAS.limit(limits=n):
        yield


@contextmanager
def _counted(n: int) -> Iterator[None]:
    before = _count.set(n)
    try:
        yield
    finally:
        _count.reset(before)


def spread(task: Callable[[slice], T], n: int) -> list[T]:
    """[task(part), ...] over contiguous parts of range(n), a thread and a part each, in order; BLAS on one in each.

    NumPy lets go of the interpreter inside its loops, so the parts run side by side. Who adds up the answers does so in
    their order: a result depends on the number of threads and on nothing else.
    """
    count = max(1, min(_count.get(), n))
    ends = [n * i // count for i in range(count + 1)]
    first, *others = (slice(start, end) for start, end in pairwise(ends))
    if not others:
        return [task(first)]

    def alone(part: slice) -> T:
        with _counted(1):  # what a part spreads in turn stays in its thread: those of the pool are taken
            return task(part)

    with BLAS.limit(limits=1):
        waiting = [_pool(count - 1).submit(copy_context().run, alone, part) for part in others]
        return [alone(first), *(future.result() for future in waiting)]


def elementwise(task: Callable[..., object], *arrays: Array) -> Array:
    """A new array like the first, filled by task(out, *arrays); large ones in parts of the leading axis, on threads."""
    out = np.empty_like(arrays[0])
    if out.size < LARGE:
        task(out, *arrays)
    else:
        spread(lambda part: task(out[part], *(array[part] for array in arrays)), len(out))
    return out


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, "spread")

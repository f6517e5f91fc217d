"""Threads: those of BLAS, and ours over the parts of a batch. How many is set in this place only."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np  # noqa: F401  loads the BLAS that the controller looks for
from threadpoolctl import ThreadpoolController

T = TypeVar("T")
BLAS = ThreadpoolController().select(user_api="blas")
_count: ContextVar[int] = ContextVar("threads", default=1)


@contextmanager
def use(n: int) -> Iterator[None]:
    """BLAS and ``spread`` on n threads inside the block."""
    before = _count.set(n)
    try:
        with BLAS.limit(limits=n):
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
    with BLAS.limit(limits=1):
        waiting = [_pool(count - 1).submit(copy_context().run, task, part) for part in others]
        return [task(first), *(future.result() for future in waiting)]


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, "spread")

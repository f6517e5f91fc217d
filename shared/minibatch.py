"""Minibatches whose position is a function of the step, so that resuming needs no state."""

from collections.abc import Iterator

import numpy as np

from shared.tree import Array


def minibatches(n: int, batch_size: int, seed: int, start: int = 0) -> Iterator[Array]:
    """Index arrays (batch_size,) for the steps start, start + 1, ...: each epoch is a fresh permutation of range(n).

    Epoch e is ordered by ``default_rng((seed, e))``; the n mod batch_size datapoints left at its end are dropped.
    ValueError when batch_size is not in 1..n.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size={batch_size}: must be between 1 and the {n} datapoints")
    per_epoch = n // batch_size
    epoch, position = divmod(start, per_epoch)
    while True:
        order = np.random.default_rng((seed, epoch)).permutation(n)
        for i in range(position, per_epoch):
            yield order[i * batch_size : (i + 1) * batch_size]
        epoch, position = epoch + 1, 0

"""Masks: pure functions of weights, mask and rate. Section 1, "Identifying winning tickets"; the rates: Figure 2.

A layer's mask is a boolean array of its weights' shape, True where a weight survives. A network's masks are a dict by
layer: each is pruned by itself, and biases, which have no mask, never are.
"""

from collections.abc import Mapping

import numpy as np

from shared.tree import Array, Tree

Masks = dict[str, Array]


def survivors(n: int, rate: float) -> int:
    """How many of n weights a round leaves, n - round(rate n). ValueError when it would remove none or all of them."""
    if not 0 < rate < 1:
        raise ValueError(f"rate={rate}: must be above 0 and below 1, the share of the surviving weights to remove")
    left = n - round(rate * n)
    if not 0 < left < n:
        raise ValueError(
            f"a round at rate={rate} removes {n - left} of {n} weights: it must remove some and leave some"
        )
    return left


def check_mask(mask: Array, weights: Array) -> None:
    """ValueError for a mask of another shape or type: broadcasting would accept it and prune something else."""
    if mask.shape != weights.shape or mask.dtype != bool:
        raise ValueError(f"a mask must be boolean {weights.shape} like its weights, got {mask.dtype} {mask.shape}")


def keep_largest(weights: Array, mask: Array, left: int) -> Array:
    """The mask of the ``left`` surviving weights of largest magnitude; of equal ones those later in memory stay."""
    check_mask(mask, weights)
    if not np.isfinite(weights).all():
        raise ValueError("weights that are not finite have no order of magnitude to prune by")
    surviving = np.flatnonzero(mask)
    if not 0 < left <= len(surviving):
        raise ValueError(f"cannot keep {left} of {len(surviving)} surviving weights")
    order = np.argsort(np.abs(weights.reshape(-1)[surviving]), kind="stable")
    kept = np.zeros(mask.size, bool)
    kept[surviving[order[len(surviving) - left :]]] = True
    return kept.reshape(mask.shape)


def prune(weights: Array, mask: Array, rate: float) -> Array:
    """One round: the mask without the share ``rate`` of its weights, those of smallest magnitude."""
    return keep_largest(weights, mask, survivors(int(mask.sum()), rate))


def schedule(n: int, rate: float, rounds: int) -> list[int]:
    """How many of n weights are left after 0, 1, ..., ``rounds`` rounds. ValueError for fewer than 0 or too many."""
    if rounds < 0:
        raise ValueError(f"rounds={rounds}: must be 0 or more")
    left = [n]
    for done in range(rounds):
        try:
            left.append(survivors(left[-1], rate))
        except ValueError as error:
            raise ValueError(f"only {done} rounds are possible: {error}") from None
    return left


def levels(sizes: Mapping[str, int], rates: Mapping[str, float], rounds: int) -> list[float]:
    """P_m, the share of the network's weights left after 0, 1, ..., ``rounds`` rounds; ``sizes``: weights by layer."""
    layers = [schedule(n, rates[name], rounds) for name, n in sizes.items()]
    return [sum(counts) / sum(sizes.values()) for counts in zip(*layers, strict=True)]


def unpruned(p: Tree) -> Masks:
    """The masks of the network with parameters p before any round."""
    return {name: np.ones(layer["W"].shape, bool) for name, layer in p.items() if layer}


def iterative(p: Tree, masks: Masks, rates: Mapping[str, float]) -> Masks:
    """The masks after one more round, from the weights p that training ended with."""
    return {name: prune(p[name]["W"], mask, rates[name]) for name, mask in masks.items()}


def one_shot(p: Tree, rates: Mapping[str, float], rounds: int) -> Masks:
    """From the whole network's final weights p at once to what ``rounds`` rounds leave."""
    return {
        name: keep_largest(p[name]["W"], mask, schedule(mask.size, rates[name], rounds)[-1])
        for name, mask in unpruned(p).items()
    }


def shuffled(masks: Masks, rng: np.random.Generator) -> Masks:
    """As many weights in each layer at random places: the randomly sampled sparse networks of Figure 1."""
    return {name: rng.permutation(mask.reshape(-1)).reshape(mask.shape) for name, mask in masks.items()}

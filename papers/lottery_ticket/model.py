"""LeNet-300-100 (LeCun et al. 1998) as the paper trains it, and networks that hold only some of its weights."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from papers.lottery_ticket.pruning import Masks, check_mask
from shared import tree
from shared.init import glorot_normal
from shared.layers.activation import ReLU
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.optim import Optimizer
from shared.tree import Array, Tree

CLASSES = 10


def lenet(n_x: int) -> Sequential:
    """f(x; theta): x (..., n_x) -> logits (..., 10). The weights start as Gaussian Glorot, the biases at 0."""
    first = Linear(n_x, 300, glorot_normal, input_is_data=True)
    return Sequential((first, ReLU(), Linear(300, 100, glorot_normal), ReLU(), Linear(100, CLASSES, glorot_normal)))


class Subnetworks:
    r"""f(x; m * theta) for a stack of S networks that train on the same minibatches.

    A pruned weight is no parameter: theta is the vector of the surviving weights and the biases, the optimizer knows
    no others, and the matrices W that f multiplies with hold theta at the surviving places and 0 elsewhere. So
        dl/dtheta_i = (dl/dW)_j,   j the place of the i-th survivor:
    the gradient is gathered from those places and the step scattered back to them; a mask cannot fail to hold.
    """

    def __init__(self, networks: Sequence[Tree], masks: Sequence[Masks], optimizer: Optimizer) -> None:
        """The full parameters of each network, of which its masks choose. ValueError for masks that do not fit."""
        if len(networks) != len(masks):
            raise ValueError(f"{len(networks)} networks need as many sets of masks, got {len(masks)}")
        for network, own in zip(networks, masks, strict=True):
            for name, mask in own.items():
                check_mask(mask, network[name]["W"])
        self.masks = tree.stack(masks)
        p = tree.stack(networks)
        everything = tree.map(lambda array: np.ones(array.shape, bool), p)
        chosen = {name: leaves | ({"W": self.masks[name]} if leaves else {}) for name, leaves in everything.items()}
        self.p = tree.map(np.multiply, p, chosen)
        # Where everything survives, a slice, which is copied several times faster.
        self.places = [slice(None) if array.all() else np.flatnonzero(array) for _, array in tree.leaves(chosen)]
        kept = [array.reshape(-1)[places] for (_, array), places in zip(tree.leaves(self.p), self.places, strict=True)]
        self.parts = [slice(*pair) for pair in pairwise(np.cumsum([0, *map(len, kept)]))]  # of theta, a leaf of p each
        self.theta = np.concatenate(kept)
        self.optimizer = optimizer
        self.state = optimizer.init({"theta": self.theta})

    def gather(self, matrices: Tree, vector: Array) -> None:
        """Fill a vector like theta from the surviving places of a tree like ``p``."""
        for (_, array), places, part in zip(tree.leaves(matrices), self.places, self.parts, strict=True):
            if isinstance(places, slice):
                vector[part] = array.reshape(-1)
            else:
                array.reshape(-1).take(places, out=vector[part], mode="clip")  # other modes make a copy

    def update(self, grads: Tree) -> None:
        """One step of the optimizer from the gradient in the full matrices."""
        gradient = np.empty_like(self.theta)
        self.gather(grads, gradient)
        self.optimizer.update({"theta": self.theta}, {"theta": gradient}, self.state)
        for (_, array), places, part in zip(tree.leaves(self.p), self.places, self.parts, strict=True):
            array.reshape(-1)[places] = self.theta[part]

    def weights_left(self) -> Array:
        """P_m of each network: the share of its weights, biases not counted, that survive."""
        masks = [mask.reshape(len(mask), -1) for mask in self.masks.values()]
        return np.concatenate(masks, axis=1).mean(1)


def member(stack: Tree, i: int) -> Tree:
    """The i-th network's leaves of a stack."""

    def pick(array: Array) -> Array:
        return array[i]

    return tree.map(pick, stack)

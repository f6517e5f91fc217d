"""What the paper reads off a network besides its errors: the responses of its layers, the gradients that reach them."""

import numpy as np

from papers.resnet.model import Block
from shared import tree
from shared.layers.activation import ReLU
from shared.layers.combinators import Sequential
from shared.tree import Array, Tree


def responses(net: Sequential, p: Tree, x: Array) -> Array:
    """The standard deviation of each 3x3 layer's output over x, after BN and before ReLU or addition: Figure 7."""
    found = []
    for i, layer in enumerate(net.layers):
        own = p[str(i)]
        if isinstance(layer, Block):
            first, _, second = layer.branch.layers
            inner, _ = first(own["branch"]["0"], x)
            outer, _ = second(own["branch"]["2"], ReLU()({}, inner)[0])
            found += [inner.std(), outer.std()]
        x, _ = layer(own, x)
        if isinstance(layer, Sequential):
            found.append(x.std())
    return np.array(found)


def gradient_norms(grads: Tree) -> Array:
    """The Euclidean norm of the gradient of each 3x3 kernel, from the input to the output."""
    kernels = (g for path, g in tree.leaves(grads) if path.endswith("/W") and g.shape[:2] == (3, 3))
    return np.array([np.linalg.norm(g) for g in kernels])

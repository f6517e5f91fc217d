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


def kernel_norms(p: Tree) -> Array:
    """The Euclidean norm of each 3x3 kernel, or of its gradient where p is a gradient, from the input to the output."""
    kernels = (W for path, W in tree.leaves(p) if path.endswith("/W") and W.shape[:2] == (3, 3))
    return np.array([np.linalg.norm(W) for W in kernels])

"""A classifier's loss, its errors and its gradient on a minibatch."""

import numpy as np

from shared.layers.base import Layer, Mode
from shared.losses import softmax_cross_entropy
from shared.tree import Array, Tree

TRAIN = Mode(train=True)


def gradient(net: Layer, p: Tree, x: Array, y: Array) -> tuple[Array, Array, Tree]:
    """(loss in nats (N,), whether it is wrong (N,), gradient of the mean loss) in train mode, for labels y (N,)."""
    logits, pullback = net(p, x, TRAIN)
    loss, loss_pullback = softmax_cross_entropy(logits, y)
    _, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(y))))
    return loss, logits.argmax(1) != y, grads

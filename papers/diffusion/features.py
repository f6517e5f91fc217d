"""The classifier whose features the metrics are taken on: trained on clean images, and asked for no guidance.

The paper measures on an Inception network trained on ImageNet; a distance on this one is a "Fréchet distance over our
MNIST features" and comparable with no FID. The noisy classifier that guides samples has another architecture, other
initial weights and other inputs (x_t with t), so what pleases it need not please this one.
"""

from typing import Any

import numpy as np

from papers.diffusion.images import CLASSES, data
from shared.augment import random_crop
from shared.experiment import Job, Run, Setting
from shared.init import he_normal
from shared.layers.activation import LeakyReLU, Softmax
from shared.layers.base import Layer
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.layers.reshape import Reshape
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Adam
from shared.schedules import Cosine
from shared.tree import Array, Tree

FEATURES = {8: 32, 28: 64}  # F, by the images' side
SHIFT = {8: 1, 28: 2}  # pixels by which training images are moved at most
ACTIVATION = LeakyReLU(0.1)  # with ReLU half of the features were 0 on every image, from the first step on
CHUNK = 500  # images a forward pass


def body(side: int) -> Sequential:
    """x (N, side, side, 1) -> features (N, F): 3x3 convolutions that halve the image down to 7 pixels or less."""
    layers: list[Layer] = [Conv2d(1, 16, 3, padding=1, input_is_data=True), ACTIVATION]
    size, channels = side, 16
    while size > 7:
        layers += [Conv2d(channels, 32, 3, 2, 1), ACTIVATION]
        size, channels = -(-size // 2), 32
    return Sequential((*layers, Reshape((-1,)), Linear(channels * size**2, FEATURES[side], he_normal), ACTIVATION))


def network(side: int) -> Sequential:
    """x (N, side, side, 1) in [-1, 1] -> logits (N, 10): the body, and a linear map of its features."""
    return Sequential((body(side), Linear(FEATURES[side], CLASSES)))


def features_job(cfg: Any, ruler: int = 0) -> Job:
    """A training that all metrics of a scale share. Another ruler is the same network from another seed."""
    return {
        "kind": "features",
        "seed": cfg.seeds[0] + ruler,
        "data": cfg.data,
        "steps": cfg.feature_steps,
        "batch_size": 64,
        "learning_rate": 2e-3,
    }


def fresh(job: Job) -> Tree:
    """The parameters before the first step."""
    return network(data(job["data"]).train.shape[1]).init(np.random.default_rng((job["seed"], 2)))


def trained(job: Job, setting: Setting) -> Tree:
    """The parameters that a finished job ended with."""
    p = fresh(job)
    setting.weights(job, into={"p": p})
    return p


def train(job: Job, run: Run) -> None:
    """Cross-entropy on shifted images; one row: how well it classifies."""
    images = data(job["data"])
    side = images.train.shape[1]
    net, p = network(side), fresh(job)
    optimizer = Adam(Cosine(job["learning_rate"], job["steps"]))
    state = optimizer.init(p)
    run.restore({"p": p, "optimizer": state})
    batches = minibatches(len(images.train), job["batch_size"], job["seed"], start=run.step)
    for _ in run.steps():
        index = next(batches)
        x = random_crop(images.train[index] + 1, run.rng, SHIFT[side]) - 1  # the border is black, -1
        logits, pullback = net(p, x)
        loss, loss_pullback = softmax_cross_entropy(logits, images.train_labels[index])
        run.check(float(loss.mean()))
        optimizer.update(p, pullback(loss_pullback(np.full_like(loss, 1 / len(loss))))[1], state)

    run.record(
        part="classified",
        train_accuracy=float((features(p, images.train)[1].argmax(1) == images.train_labels).mean()),
        test_accuracy=float((features(p, images.test)[1].argmax(1) == images.test_labels).mean()),
    )


def features(p: Tree, x: Array) -> tuple[Array, Array]:
    """(features (N, F), class probabilities (N, 10)) of images x (N, H, W, 1) in [-1, 1]."""
    inner, outer = network(x.shape[1]).layers

    def of(part: Array) -> tuple[Array, Array]:
        h, _ = inner(p["0"], part)
        return h, Softmax()({}, outer(p["1"], h)[0])[0]

    parts = [of(x[start : start + CHUNK]) for start in range(0, len(x), CHUNK)]
    return np.concatenate([h for h, _ in parts]), np.concatenate([probability for _, probability in parts])

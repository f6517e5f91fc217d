"""The jobs of Figures 1, 6 and 7: which networks there are, and how each is trained and read."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from papers.resnet.model import resnet
from papers.resnet.probes import kernel_norms, responses
from shared import tree
from shared.augment import random_crop, random_flip
from shared.classification import gradient
from shared.datasets import load
from shared.errors import BadRequest
from shared.experiment import Job, Run
from shared.layers.combinators import Sequential
from shared.minibatch import minibatches
from shared.optim import Momentum
from shared.schedules import Steps
from shared.tree import Array, Tree

CROP = {"cifar10": 4, "digits": 1}  # pixels of border around a training image before a random crop
MIRRORED = {"cifar10": True, "digits": False}  # a mirrored digit is none
WARM_UP = 0.1, 80.0  # the learning rate's factor, until the training error in percent is below
PROBED = 1_000  # test images for the responses of Figure 7
CHUNK = 500  # images a forward pass in evaluation


class Split(NamedTuple):
    """Pixels x (N, H, W, C), float32, the training set's mean at each pixel subtracted, and labels y (N,)."""

    x: Array
    y: Array


@lru_cache(1)
def images(name: str) -> tuple[Split, Split]:
    """The official training and test sets."""
    source = load(name)
    train, test = (
        pixels.reshape(*pixels.shape[:3], -1).astype(np.float32) / np.float32(source.levels)
        for pixels in (source.train_images, source.test_images)
    )
    mean = train.mean(0)
    train -= mean
    test -= mean
    return Split(train, source.train_labels.astype(np.int64)), Split(test, source.test_labels.astype(np.int64))


def jobs(cfg: Any) -> list[Job]:
    """Every network of the figures, the longest of a seed first; seeds of the shallowest depth alone come last."""
    every = [(depth, seed) for seed in cfg.seeds for depth in sorted(cfg.depths, reverse=True)]
    every += [(min(cfg.depths), seed) for seed in cfg.shallow_seeds]
    return [job(cfg, depth, shortcut, seed) for depth, seed in every for shortcut in cfg.shortcuts]


def job(cfg: Any, depth: int, shortcut: str, seed: int) -> Job:
    """One training: everything that its numbers depend on."""
    return {
        "kind": "train",
        "depth": depth,
        "shortcut": shortcut,
        "seed": seed,
        "data": cfg.data,
        "steps": cfg.iterations,
        "batch_size": cfg.batch_size,
        "learning_rate": cfg.learning_rate,
        "weight_decay": cfg.weight_decay,
        "evaluate_every": cfg.evaluate_every,
        "warm_up": depth >= cfg.warm_up_from,
    }


def check(cfg: Any, n: int) -> None:
    """BadRequest for settings that are each in range and do not go together."""
    if cfg.batch_size > n:
        raise BadRequest(f"batch_size={cfg.batch_size}: must be at most the {n} training images of {cfg.data}")
    if cfg.iterations % cfg.evaluate_every:
        raise BadRequest(f"evaluate_every={cfg.evaluate_every}: must divide iterations={cfg.iterations}")
    for depth in cfg.depths:
        try:
            resnet(depth)
        except ValueError as error:
            raise BadRequest(f"depths={cfg.depths}: {error}") from None
    if both := set(cfg.seeds) & set(cfg.shallow_seeds):
        raise BadRequest(f"shallow_seeds={cfg.shallow_seeds}: {min(both)} is among seeds={cfg.seeds} already")


def network(job: Job) -> tuple[Sequential, Tree]:
    """The network of a job and its parameters at iteration 0."""
    net = resnet(job["depth"], job["shortcut"], images(job["data"])[0].x.shape[-1])
    return net, net.init(np.random.default_rng((job["seed"], 1)))


def train(job: Job, run: Run) -> None:
    """One row an evaluation: errors in percent on the minibatches since the last one, and on the test set."""
    train, test = images(job["data"])
    net, p = network(job)
    trainable = tree.trainable(p)
    warming = np.array(job["warm_up"])
    drops = Steps(job["learning_rate"], (job["steps"] // 2, 3 * job["steps"] // 4))

    def rate(step: int) -> float:
        return drops(step) * (WARM_UP[0] if warming else 1)

    optimizer = Momentum(rate, job["weight_decay"], 0.9)
    state = optimizer.init(trainable)
    sums = np.zeros(3)  # since the last evaluation: wrong answers, nats, images
    run.restore({"p": p, "optimizer": state, "sums": sums, "warming": warming})
    batches = minibatches(len(train.y), job["batch_size"], job["seed"], start=run.step)
    for step in run.steps():
        index = next(batches)
        x, y = augmented(train.x[index], job["data"], run.rng), train.y[index]
        loss, wrong, grads = gradient(net, p, x, y)
        run.check(float(loss.mean()))
        optimizer.update(trainable, grads, state)
        sums += wrong.sum(), loss.sum(), len(y)
        if (step + 1) % job["evaluate_every"] == 0:
            errors, nats, count = sums
            run.record(
                part="curve",
                iteration=step + 1,
                train_error=100 * errors / count,
                train_loss=nats / count,
                test_error=test_error(net, p, test),
                learning_rate=rate(step),
            )
            warming[...] = warming and 100 * errors / count >= WARM_UP[1]
            sums[:] = 0

    probe = train.x[: job["batch_size"]], train.y[: job["batch_size"]]
    moments = network(job)[1], tree.map(np.copy, p)  # start and end
    gradients = np.stack([kernel_norms(gradient(net, q, *probe)[2]) for q in moments])
    kernels = np.stack([kernel_norms(q) for q in moments])
    found = responses(net, p, test.x[:PROBED])
    run.record(
        part="probe",
        response=found.mean(),
        **first_layer("gradient", gradients),
        **first_layer("scaled_gradient", gradients * kernels),
    )
    run.keep(responses=found, gradients=gradients, kernels=kernels)


def first_layer(name: str, values: Array) -> dict[str, float]:
    """The first layer's of values (2, layers), at the start and at the end of training, over the median layer's."""
    start, end = values[:, 0] / np.median(values, axis=1)
    return {f"first_{name}_at_start": start, f"first_{name}_at_end": end}


def augmented(x: Array, data: str, rng: np.random.Generator) -> Array:
    """A random crop of each image out of a border of zeros and, where the class allows it, mirrored or not."""
    x = random_crop(x, rng, CROP[data])
    return random_flip(x, rng) if MIRRORED[data] else x


def test_error(net: Sequential, p: Tree, split: Split) -> float:
    """The share of a split that is classified wrongly, in percent: a single view, running statistics."""
    starts = range(0, len(split.y), CHUNK)
    wrong = (net(p, split.x[i : i + CHUNK])[0].argmax(1) != split.y[i : i + CHUNK] for i in starts)
    return float(100 * np.concatenate(list(wrong)).mean())

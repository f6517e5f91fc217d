"""The jobs of Figure 1 and Table 1: which networks there are, and how each is trained and read."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from papers.rethinking_generalization import corruption
from papers.rethinking_generalization.data import (
    CLASSES,
    CONDITIONS,
    WINDOW,
    Split,
    data,
    random_windows,
    source,
    stream,
    whitened,
)
from papers.rethinking_generalization.model import network
from shared import tree
from shared.classification import gradient
from shared.datasets import Dataset
from shared.errors import BadRequest, RunError
from shared.experiment import Job, Run, read_json
from shared.layers.combinators import Sequential
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Momentum
from shared.tree import Array, Tree

MOMENTUM = 0.9
CHUNK = 500  # images a forward pass in evaluation


def jobs(cfg: Any) -> list[Job]:
    """Figure 1's trainings of every seed, then Table 1's rows that are not among them.

    What has convolutions comes last and is trained with the first seed only.
    """
    found = [job for seed in cfg.seeds for job in figure_1(cfg, seed)]
    for model in sorted(cfg.table, key=convolutional):
        seeds = cfg.seeds[:1] if convolutional(model) else cfg.seeds
        found += [job for seed in seeds for job in table_1(cfg, model, seed)]
    return [job for i, job in enumerate(found) if job not in found[:i]]


def convolutional(model: str) -> bool:
    return not model.startswith("mlp")


def figure_1(cfg: Any, seed: int) -> list[Job]:
    """Panel a: true labels, random labels and the three conditions of the pixels. Panels b and c: the other p."""
    pixels = [job(cfg, cfg.model, seed, condition=condition) for condition in CONDITIONS[1:]]
    labels = [job(cfg, cfg.model, seed, p=p) for p in dict.fromkeys([0.0, 1.0, *map(float, cfg.corruption)])]
    return [*labels[:2], *pixels, *labels[2:]]


def table_1(cfg: Any, model: str, seed: int) -> list[Job]:
    """A model's rows: random labels, no regulariser, weight decay; what has convolutions is cropped there as well.

    What has convolutions may be given more steps where labels are random: the paper does not say how many it took.
    """
    regularised = {"weight_decay": cfg.weight_decay, "crop": convolutional(model)}
    longer = {"steps": cfg.convolutional_random_iterations} if convolutional(model) else {}
    return [job(cfg, model, seed, p=1.0) | longer, job(cfg, model, seed), job(cfg, model, seed, **regularised)]


def job(
    cfg: Any,
    model: str,
    seed: int,
    condition: str = "labels",
    p: float = 0.0,
    weight_decay: float = 0.0,
    crop: bool = False,
) -> Job:
    """One training: everything that its numbers depend on. Conditions share all hyperparameters."""
    images, iterations = cfg.images, cfg.iterations
    if convolutional(model):
        images, iterations = cfg.convolutional_images, cfg.convolutional_iterations
    return {
        "stage": "train",
        "model": model,
        "condition": condition,
        "p": p,
        "weight_decay": weight_decay,
        "crop": crop,
        "seed": seed,
        "data": cfg.data,
        "images": images,
        "steps": iterations,
        "batch_size": cfg.batch_size,
        "learning_rate": cfg.inception_learning_rate if model.startswith("inception") else cfg.learning_rate,
        "decay": cfg.decay,
        "decay_every": cfg.decay_every,
        "evaluate_every": cfg.evaluate_every,
    }


def check(cfg: Any, found: Dataset) -> None:
    """BadRequest for settings that are each in range and do not go together, and for labels that are no classes."""
    n = len(found.train_labels)
    for name in ("images", "convolutional_images"):
        if not cfg.batch_size <= getattr(cfg, name) <= n:
            raise BadRequest(
                f"{name}={getattr(cfg, name)}: must be between batch_size={cfg.batch_size} and the {n} training images "
                f"of {cfg.data}"
            )
    for name in ("iterations", "convolutional_iterations", "convolutional_random_iterations"):
        if getattr(cfg, name) % cfg.evaluate_every:
            raise BadRequest(f"evaluate_every={cfg.evaluate_every}: must divide {name}={getattr(cfg, name)}")
    for name, labels in (("training", found.train_labels), ("test", found.test_labels)):
        try:
            corruption.check_labels(labels, CLASSES)
        except ValueError as error:
            raise BadRequest(f"{cfg.data}, {name} set: {error}") from None


def initial(job: Job) -> tuple[Sequential, Tree]:
    """The network of a job and its parameters before the first step."""
    images = source(job["data"]).train_images
    net = network(job["model"], (WINDOW[job["data"]], WINDOW[job["data"]], images.shape[3]), CLASSES)
    return net, net.init(np.random.default_rng(stream(job["seed"], 1)))


class Trained(NamedTuple):
    """A finished training: its network, its parameters at the end, and its last row.

    ``end`` has train_loss, train_accuracy, test_loss and test_accuracy, nats and percent, in evaluation mode.
    """

    net: Sequential
    p: Tree
    end: dict[str, Any]


def trained(job: Job, run: Run) -> Trained:
    """What a job of ``jobs`` ended with. RunError when it has not ended."""
    net, p = initial(job)
    run.setting.weights(job, into={"p": p})
    path = run.setting.run_folder(job) / "rows.json"
    if not path.exists():
        raise RunError(f"{path} does not exist: that training has not ended. Run it first.")
    return Trained(net, p, next(row for row in read_json(path)["rows"] if row["part"] == "end"))


def train(job: Job, run: Run) -> None:
    """One row an evaluation: loss and error on the minibatches since the last one; in the end one of both sets."""
    train, test = data(job)
    net, p = initial(job)
    trainable = tree.trainable(p)
    optimizer = Momentum(partial(rate, job), job["weight_decay"], MOMENTUM)
    state = optimizer.init(trainable)
    sums = np.zeros(3)  # since the last evaluation: nats, wrong answers, images
    run.restore({"p": p, "optimizer": state, "sums": sums})
    look = cropped(job) if job["crop"] else lambda index, rng: train.x[index]
    batches = minibatches(len(train.y), job["batch_size"], job["seed"], start=run.step)
    for step in run.steps():
        index = next(batches)
        loss, wrong, grads = gradient(net, p, look(index, run.rng), train.y[index])
        run.check(float(loss.mean()))
        optimizer.update(trainable, grads, state)
        sums += loss.sum(), wrong.sum(), len(index)
        if (step + 1) % job["evaluate_every"] == 0:
            nats, errors, count = sums
            run.record(
                part="curve",
                iteration=step + 1,
                loss=nats / count,
                error=100 * errors / count,
                learning_rate=rate(job, step),
            )
            sums[:] = 0

    (train_loss, train_accuracy), (test_loss, test_accuracy) = (evaluate(net, p, split) for split in (train, test))
    run.record(
        part="end",
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        test_loss=test_loss,
        test_accuracy=test_accuracy,
        parameters=tree.size(trainable),
    )


def rate(job: Job, step: int) -> float:
    """The learning rate, times ``decay`` after every ``decay_every`` steps."""
    return float(job["learning_rate"] * job["decay"] ** (step // job["decay_every"]))


def cropped(job: Job) -> Callable[[Array, np.random.Generator], Array]:
    """Training images by their index, each cropped at a random place and then whitened."""
    found = source(job["data"])
    size = WINDOW[job["data"]]
    return lambda index, rng: whitened(random_windows(found.train_images[index], size, rng), found.levels)


def evaluate(net: Sequential, p: Tree, split: Split) -> tuple[float, float]:
    """The mean loss in nats and the accuracy in percent on a split, with running statistics."""
    nats, right = 0.0, 0
    for start in range(0, len(split.y), CHUNK):
        x, y = split.x[start : start + CHUNK], split.y[start : start + CHUNK]
        logits, _ = net(p, x)
        loss, _ = softmax_cross_entropy(logits, y)
        nats += float(loss.sum(dtype=np.float64))
        right += int((logits.argmax(1) == y).sum())
    return nats / len(split.y), 100 * right / len(split.y)

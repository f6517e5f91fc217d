"""The jobs of Figures 1, 3 and 4: which networks there are, and how each is trained and read."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from papers.lottery_ticket import pruning
from papers.lottery_ticket.model import Subnetworks, lenet, member
from papers.lottery_ticket.pruning import Masks
from shared import tree
from shared.datasets import load
from shared.errors import BadRequest
from shared.experiment import Job, Run
from shared.layers.combinators import Sequential
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Adam
from shared.tree import Array, Tree

VALIDATION = {"mnist": 5_000, "digits": 300}  # images held out of the training set, drawn anew in each trial
CHUNK = 500  # images a forward pass: more is no faster


class Split(NamedTuple):
    """Pixels x (N, n_x) in [0, 1], float32, and labels y (N,)."""

    x: Array
    y: Array

    def take(self, index: Array | slice) -> "Split":
        return Split(self.x[index], self.y[index])


@lru_cache(1)
def images(name: str) -> tuple[Split, Split]:
    """The official training and test sets."""
    source = load(name)
    train, test = (
        Split(x.reshape(len(x), -1).astype(np.float32) / np.float32(source.levels), y.astype(np.int64))
        for x, y in ((source.train_images, source.train_labels), (source.test_images, source.test_labels))
    )
    return train, test


class Data(NamedTuple):
    """What a trial trains on, stops by, and reports."""

    train: Split
    validation: Split
    test: Split


@lru_cache(1)
def data(name: str, trial: int) -> Data:
    """The split of one trial."""
    train, test = images(name)
    order = np.random.default_rng((trial, 0)).permutation(len(train.y))
    held_out = VALIDATION[name]
    return Data(train.take(order[held_out:]), train.take(order[:held_out]), test)


def job(cfg: Any, kind: str, level: int, trial: int) -> Job:
    """One stack of networks after ``level`` rounds of pruning: everything that their numbers depend on.

    dense       the whole network
    iterative   the round's ticket, and reinitialisations of it
    controls    the one-shot ticket, and a randomly sampled sparse network, of the same size
    """
    return {
        "kind": kind,
        "level": level,
        "seed": trial,
        "data": cfg.data,
        "steps": cfg.iterations,
        "batch_size": cfg.batch_size,
        "learning_rate": cfg.learning_rate,
        "rate": cfg.rate,
        "output_rate": cfg.output_rate,
        "evaluate_every": cfg.evaluate_every,
        "reinits": cfg.reinits,
    }


def jobs_of(cfg: Any, level: int) -> list[Job]:
    """The jobs of one level, the longest first. They start from the weights that the level before ended with."""
    kinds = ("iterative", "controls") if level else ("dense",)
    return [job(cfg, kind, level, trial) for kind in kinds for trial in cfg.seeds]


def names(job: Job) -> list[str]:
    """The networks of a job's stack."""
    reinits = ["reinit"] * job["reinits"]
    return {"dense": ["dense"], "iterative": ["ticket", *reinits], "controls": ["one-shot", "random"]}[job["kind"]]


def rates(settings: Any) -> dict[str, float]:
    """The share of the surviving weights that a round prunes, by layer: the output layer at its own rate."""
    return {"0": settings["rate"], "2": settings["rate"], "4": settings["output_rate"]}


def layer_sizes(n_x: int) -> dict[str, int]:
    """The number of weights by layer."""
    p = lenet(n_x).init(np.random.default_rng(0))
    return {name: layer["W"].size for name, layer in p.items() if layer}


def check(cfg: Any, n: int, n_x: int) -> None:
    """BadRequest for settings that are each in range and do not go together."""
    if cfg.batch_size > n:
        raise BadRequest(f"batch_size={cfg.batch_size}: must be at most the {n} training images of {cfg.data}")
    if cfg.iterations % cfg.evaluate_every:
        raise BadRequest(f"evaluate_every={cfg.evaluate_every}: must divide iterations={cfg.iterations}")
    try:
        pruning.weights_left(layer_sizes(n_x), rates(vars(cfg)), cfg.rounds)
    except ValueError as error:
        raise BadRequest(f"rounds={cfg.rounds}: {error}") from None


def initial(job: Job, *replicate: int) -> Tree:
    """theta_0 of the trial; with a replicate's number, an independent draw."""
    n_x = images(job["data"])[0].x.shape[1]
    return lenet(n_x).init(np.random.default_rng((job["seed"], 1, *replicate)))


def trained(job: Job, run: Run) -> tuple[Tree, Masks]:
    """The final weights and the masks of the first network of another job's stack."""
    size = len(names(job))
    p = tree.stack([initial(job)] * size)
    masks = tree.stack([pruning.dense(initial(job), rates(job))] * size)
    run.setting.weights(job, into={"p": p, "masks": masks})
    return member(p, 0), member(masks, 0)


def stack(job: Job, run: Run) -> tuple[list[Tree], list[Masks]]:
    """The networks of a job at iteration 0: their parameters, before any is pruned, and their masks.

    A ticket and a one-shot ticket start from theta_0, every reinitialisation and random network from a draw of its own.
    """
    level, theta_0 = job["level"], initial(job)
    whole = job | {"kind": "dense", "level": 0}
    if job["kind"] == "dense":
        return [theta_0], [pruning.dense(theta_0, rates(job))]
    if job["kind"] == "iterative":
        masks = pruning.iterative(*trained(whole if level == 1 else job | {"level": level - 1}, run), rates(job))
        draws = [initial(job, level, i) for i in range(job["reinits"])]
        return [theta_0, *draws], [masks] * (1 + job["reinits"])
    masks = pruning.one_shot(trained(whole, run)[0], rates(job), level)
    rng = np.random.default_rng((job["seed"], 2, level))
    return [theta_0, initial(job, level, job["reinits"])], [masks, pruning.shuffled(masks, rng)]


def train(job: Job, run: Run) -> None:
    """One row a network of the stack: where it stopped early, how good it was there, and how it ended."""
    train, validation, test = data(job["data"], job["seed"])
    net = lenet(train.x.shape[1])
    nets = Subnetworks(*stack(job, run), Adam(job["learning_rate"]))
    every = job["evaluate_every"]
    shape = len(names(job)), job["steps"] // every
    loss_read, test_read = np.zeros(shape), np.zeros(shape)  # validation loss, and test accuracy where it is read
    run.restore(
        {"p": nets.p, "masks": nets.masks, "optimizer": nets.state, "loss_read": loss_read, "test_read": test_read}
    )
    nets.gather(nets.p, nets.theta)
    also = readings(shape[1])
    batches = minibatches(len(train.y), job["batch_size"], job["seed"], start=run.step)
    for step in run.steps():
        batch = train.take(next(batches))
        logits, pullback = net(nets.p, batch.x)
        loss, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(batch.y, logits.shape[:-1]))
        run.check(float(loss.mean()))
        _, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(batch.y))))
        nets.update(grads)
        if (step + 1) % every == 0:
            now = (step + 1) // every - 1
            loss_read[:, now], _ = evaluate(net, nets.p, validation)
            if now in also or (loss_read[:, now] < loss_read[:, :now].min(1, initial=np.inf)).any():
                _, test_read[:, now] = evaluate(net, nets.p, test)

    best = loss_read.argmin(1)
    _, final_train = evaluate(net, nets.p, train)
    for i, name in enumerate(names(job)):
        run.record(
            network=name,
            weights_left=nets.weights_left()[i],
            early_stop=int(best[i] + 1) * every,
            validation_loss=loss_read[i, best[i]],
            test=test_read[i, best[i]],
            final_test=test_read[i, -1],
            final_train=final_train[i],
        )
    shown = sorted(also)
    run.keep(
        iteration=(np.array(shown) + 1) * every,
        test=test_read[:, shown].astype(np.float32),
        pixels=nets.masks["0"][0].sum(1).astype(np.uint16),
    )


def readings(evaluations: int) -> set[int]:
    """The evaluations at which the test set is read besides: sixteen a decade, and the last."""
    return {round(evaluations * 10 ** (-k / 16)) - 1 for k in range(64)} - {-1}


def evaluate(net: Sequential, p: Tree, split: Split) -> tuple[Array, Array]:
    """The mean cross-entropy (S,) in nats and the accuracy (S,) in percent of a stack on a split."""
    loss_sum, right = np.zeros(()), np.zeros(())
    for start in range(0, len(split.y), CHUNK):
        part = split.take(slice(start, start + CHUNK))
        logits, _ = net(p, part.x)
        labels = np.broadcast_to(part.y, logits.shape[:-1])
        loss, _ = softmax_cross_entropy(logits, labels)
        loss_sum = loss_sum + loss.sum(-1, dtype=np.float64)
        right = right + (logits.argmax(-1) == labels).sum(-1)
    return loss_sum / len(split.y), 100 * right / len(split.y)

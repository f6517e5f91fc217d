"""The jobs of Figures 1, 3 and 4: which networks there are, and how each is trained and read."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from papers.lottery_ticket import pruning
from papers.lottery_ticket.model import Subnetworks, lenet, member
from papers.lottery_ticket.pruning import Masks
from shared import tree
from shared.datasets import load
from shared.errors import BadRequest, RunError
from shared.experiment import Job, Run, Setting
from shared.layers.combinators import Sequential
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Adam
from shared.tree import Array, Tree

VALIDATION = {"mnist": 5_000, "digits": 300}  # images held out of the training set, drawn anew in each trial
CHUNK = 1000  # images a forward pass: more is no faster
PRUNING = ("rate", "output_rate", "reinits")  # the keys of a job that the dense network does not depend on
# The first words of what seeds the streams below. Minibatches are drawn from (seed, epoch), and a seed is smaller.
SPLIT, INITIAL, RANDOM = (2**31 + i for i in range(3))


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
    order = np.random.default_rng((SPLIT, trial)).permutation(len(train.y))
    held_out = VALIDATION[name]
    return Data(train.take(order[held_out:]), train.take(order[:held_out]), test)


def job(cfg: Any, kind: str, level: int, trial: int) -> Job:
    """One stack of networks after ``level`` rounds of pruning: everything that their numbers depend on.

    dense       the whole network
    iterative   the round's ticket, and reinitialisations of it
    controls    the one-shot ticket, and a randomly sampled sparse network, of the same size
    """
    common = {
        "kind": kind,
        "level": level,
        "seed": trial,
        "data": cfg.data,
        "steps": cfg.iterations,
        "batch_size": cfg.batch_size,
        "learning_rate": cfg.learning_rate,
        "evaluate_every": cfg.evaluate_every,
    }
    used = {"dense": (), "iterative": PRUNING, "controls": PRUNING[:2]}[kind]
    return common | {key: getattr(cfg, key) for key in used}


def parent(job: Job) -> Job:
    """The job whose first network's final weights decide what the pruned networks of this one keep."""
    if job["kind"] == "iterative" and job["level"] > 1:
        return job | {"level": job["level"] - 1}
    return {key: value for key, value in job.items() if key not in PRUNING} | {"kind": "dense", "level": 0}


def jobs_of(cfg: Any, level: int) -> list[Job]:
    """The jobs of one level, the longest first. They start from the weights that the level before ended with."""
    kinds = ("iterative", "controls") if level else ("dense",)
    return [job(cfg, kind, level, trial) for kind in kinds for trial in cfg.seeds]


def names(job: Job) -> list[str]:
    """The networks of a job's stack."""
    if job["kind"] == "iterative":
        return ["ticket", *["reinit"] * job["reinits"]]
    return {"dense": ["dense"], "controls": ["one-shot", "random"]}[job["kind"]]


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
        pruning.levels(layer_sizes(n_x), rates(vars(cfg)), cfg.rounds)
    except ValueError as error:
        raise BadRequest(f"rounds={cfg.rounds}: {error}") from None


def network(job: Job) -> Sequential:
    """LeNet for the images that the job trains on."""
    return lenet(images(job["data"])[0].x.shape[1])


def initial(job: Job, *replicate: int) -> Tree:
    """theta_0 of the trial; with a level and a number, a reinitialisation's independent draw."""
    return network(job).init(np.random.default_rng((INITIAL, job["seed"], *replicate)))


def trained(job: Job, setting: Setting) -> tuple[Tree, Masks]:
    """The final weights and the masks of the first network of a finished job's stack."""
    size = len(names(job))
    p = tree.stack([initial(job)] * size)
    masks = tree.stack([pruning.unpruned(initial(job))] * size)
    setting.weights(job, into={"p": p, "masks": masks})
    return member(p, 0), member(masks, 0)


def stack(job: Job, p: Tree, masks: Masks) -> tuple[list[Tree], list[Masks]]:
    """The networks of a job at iteration 0: their parameters, before any is pruned, and their masks.

    ``p`` and ``masks`` are the final weights and the masks of the network that they are pruned from; the dense one has
    none, and takes these masks. A ticket and a one-shot ticket start from theta_0, every reinitialisation and random
    network from a draw of its own.
    """
    level, theta_0 = job["level"], initial(job)
    if job["kind"] == "dense":
        return [theta_0], [masks]
    if job["kind"] == "iterative":
        draws = [initial(job, level, i) for i in range(job["reinits"])]
        return [theta_0, *draws], [pruning.iterative(p, masks, rates(job))] * (1 + job["reinits"])
    at_once = pruning.one_shot(p, rates(job), level)
    rng = np.random.default_rng((RANDOM, job["seed"], level))
    return [theta_0, network(job).init(rng)], [at_once, pruning.shuffled(at_once, rng)]


def train(job: Job, run: Run) -> None:
    """One row a network of the stack: where it stopped early, how good it was there, and how it ended."""
    whole = initial(job)
    pruned_from = trained(parent(job), run.setting) if job["level"] else (whole, pruning.unpruned(whole))
    fit(job, run, *stack(job, *pruned_from))


def rehearsal(job: Job, run: Run) -> None:
    """What ``train`` costs, before the network that the masks come from is trained: with masks that theta_0 gives."""
    theta_0 = initial(job)
    masks = pruning.one_shot(theta_0, rates(job), job["level"] - 1) if job["level"] else pruning.unpruned(theta_0)
    fit(job, run, *stack(job, theta_0, masks))


def fit(job: Job, run: Run, networks: list[Tree], masks: list[Masks]) -> None:
    """Train a stack from iteration 0 and record its rows; the k-th reading is after k ``evaluate_every`` iterations."""
    train, validation, test = data(job["data"], job["seed"])
    net = network(job)
    nets = Subnetworks(networks, masks, Adam(job["learning_rate"]))
    every = job["evaluate_every"]
    readings = job["steps"] // every
    loss_read, test_read = np.zeros((2, len(networks), 1 + readings))  # test accuracy only where it is read
    stored = tree.map(np.copy, nets.masks)
    run.restore({"p": nets.p, "masks": stored, "optimizer": nets.state, "loss_read": loss_read, "test_read": test_read})
    if any((mask != stored[name]).any() for name, mask in nets.masks.items()):
        raise RunError(
            f"{run.folder} was begun with other masks: the network that they come from has been trained anew since. "
            f"Delete {run.folder} to start over."
        )
    nets.gather(nets.p, nets.theta)
    shown = on_curve(readings)

    def read(k: int) -> None:
        loss_read[:, k], _ = evaluate(net, nets.p, validation)
        if k in shown or (loss_read[:, k] < loss_read[:, :k].min(1, initial=np.inf)).any():
            _, test_read[:, k] = evaluate(net, nets.p, test)

    if run.step == 0:
        read(0)
    batches = minibatches(len(train.y), job["batch_size"], job["seed"], start=run.step)
    for step in run.steps():
        batch = train.take(next(batches))
        logits, pullback = net(nets.p, batch.x)
        loss, loss_pullback = softmax_cross_entropy(logits, np.broadcast_to(batch.y, logits.shape[:-1]))
        run.check(float(loss.mean()))
        _, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(batch.y))))
        nets.update(grads)
        if (step + 1) % every == 0:
            read((step + 1) // every)

    best, loss_there, test_there = early_stop(loss_read, test_read)
    _, final_train = evaluate(net, nets.p, train)
    for i, name in enumerate(names(job)):
        run.record(
            network=name,
            weights_left=nets.weights_left()[i],
            early_stop=int(best[i]) * every,
            validation_loss=loss_there[i],
            test=test_there[i],
            initial_test=test_read[i, 0],
            final_test=test_read[i, -1],
            final_train=final_train[i],
        )
    if job["kind"] != "controls":  # whose curves and pixels no figure shows
        run.keep(
            iteration=np.array(shown) * every,
            test=test_read[:, shown].astype(np.float32),
            pixels=nets.masks["0"][0].sum(1).astype(np.uint16),
        )


def on_curve(readings: int) -> list[int]:
    """The readings at which the test set is read in any case: sixteen a decade, and the last."""
    return sorted({round(readings * 10 ** (-k / 16)) for k in range(64)} - {0})


def early_stop(loss: Array, test: Array) -> tuple[Array, Array, Array]:
    """(S, readings) -> (S,): which has the smallest validation loss (the first of equals), that loss, test there."""
    best = loss.argmin(1)
    networks = np.arange(len(best))
    return best, loss[networks, best], test[networks, best]


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

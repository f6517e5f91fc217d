"""The jobs of Figure 2 and what each of them does."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from papers.vae.model import METHODS, VAE, bound
from shared import tree
from shared.datasets import load
from shared.errors import Diverged
from shared.experiment import Job, Run
from shared.minibatch import minibatches
from shared.optim import Adagrad
from shared.tree import Array, Tree

TRAIN_SIZE = {"mnist": 50_000, "digits": 1_500}  # the first so many of the training images
EVALUATED = 10_000  # datapoints of each split at most, the first ones
BINARISED = "-binarised"


@dataclass(frozen=True)
class Data:
    """Pixels x (N, n_x) in [0, 1], float32."""

    train: Array
    test: Array


@cache
def pixels(name: str) -> Data:
    """The data of a job; under a "-binarised" name each pixel is drawn once from Bernoulli(grey value), seed 0."""
    source = load(name.removesuffix(BINARISED))
    train, test = (
        images.reshape(len(images), -1).astype(np.float32) / np.float32(source.levels)
        for images in (source.train_images[: TRAIN_SIZE[source.name]], source.test_images)
    )
    if name.endswith(BINARISED):
        rng = np.random.default_rng(0)
        train, test = ((rng.random(x.shape, dtype=np.float32) < x).astype(np.float32) for x in (train, test))
    return Data(train, test)


def network(job: Job) -> VAE:
    return VAE(pixels(job["data"]).train.shape[1], job["hidden"], job["latent"], job["likelihood"], job["std"])


def job(cfg: Any, stage: str, method: str, latent: int, seed: int, steps: int, data: str = "", **more: Any) -> Job:
    """One job of ``train``, ``pilot`` or the analysis: everything that its numbers depend on."""
    return {
        "stage": stage,
        "method": method,
        "latent": latent,
        "seed": seed,
        "data": data or cfg.data,
        "steps": steps,
        "batch_size": cfg.batch_size,
        "hidden": cfg.hidden,
        "likelihood": cfg.likelihood,
        "std": cfg.std,
        **more,
    }


class Learner:
    """A network with its optimizer, data and minibatches: what the pilot and the training have in common."""

    def __init__(self, job: Job, run: Run) -> None:
        self.vae, self.data, self.gradient = network(job), pixels(job["data"]), METHODS[job["method"]]
        n = len(self.data.train)
        _, self.params = tree.flatten(self.vae.init(np.random.default_rng((job["seed"], 1))))
        # The prior p(theta) = N(0, I) adds -|theta|^2 / 2 once to the sum over all n datapoints (section 5, MAP):
        # a weight decay of 1/n in the objective of one.
        self.optimizer = Adagrad(job["learning_rate"], weight_decay=1 / n)
        self.state = self.optimizer.init(self.params)
        self.sum = np.zeros(2)  # of the minibatches' bounds since the last ``running_bound``, and how many
        run.restore({"params": self.params, "optimizer": self.state, "sum": self.sum})
        self.batches = minibatches(n, job["batch_size"], job["seed"], start=run.step)
        self.rng = run.rng

    def step(self) -> float:
        """One update on the next minibatch; the bound on it (nats per datapoint) before the update."""
        value, grads = self.gradient(self.vae, self.params, self.data.train[next(self.batches)], self.rng)
        if np.isfinite(value):
            self.optimizer.update(self.params, grads, self.state)
        self.sum += value, 1
        return value

    def running_bound(self) -> float:
        """The mean bound over the minibatches seen since it was last asked for."""
        mean = float(self.sum[0] / self.sum[1])
        self.sum[:] = 0
        return mean


def pilot(job: Job, run: Run) -> None:
    """The first iterations with one step size: their mean training bound over the last half, -inf if they diverge."""
    learner = Learner(job, run)
    try:
        for step in run.steps():
            run.check(learner.step())
            if step + 1 == job["steps"] // 2:
                learner.running_bound()
    except Diverged:
        run.record(train=-np.inf)
    else:
        run.record(train=learner.running_bound())


def train(job: Job, run: Run) -> None:
    """One curve of Figure 2: rows with the bound (nats per datapoint) on both splits against samples evaluated."""
    learner = Learner(job, run)
    evaluate_at = set(evaluation_steps(job["steps"]))
    for step in run.steps():
        run.check(learner.step())
        if step + 1 in evaluate_at:
            on_train, on_test = (
                mean_bound(learner.vae, learner.params, x[:EVALUATED], np.random.default_rng((job["seed"], step, k)))
                for k, x in enumerate((learner.data.train, learner.data.test))
            )
            run.record(
                samples=(step + 1) * job["batch_size"],
                running=learner.running_bound(),
                train=on_train[0],
                test=on_test[0],
                kl=on_test[1],
            )


def evaluation_steps(total: int) -> list[int]:
    """Three decades up to the last step, eight to a decade, with the marks at 10 %, 30 % and 100 % of the budget."""
    grid = {round(total * 10 ** (-k / 8)) for k in range(25)} | {round(0.3 * total)}
    return sorted(step for step in grid if step >= 1)


def mean_bound(vae: VAE, params: Tree, x: Array, rng: np.random.Generator) -> tuple[float, float]:
    """The bound and its KL term averaged over x (N, n_x), L = 1, in chunks that stay in the cache."""
    totals = np.zeros(2)
    for start in range(0, len(x), 250):
        totals += [part.sum(dtype=np.float64) for part in bound(vae, params, x[start : start + 250], rng)]
    return float(totals[0] / len(x)), float(totals[1] / len(x))


def pilots(cfg: Any) -> list[Job]:
    """Every candidate step size for every curve over its first iterations, with the first of the declared seeds."""
    steps = cfg.pilot_samples // cfg.batch_size
    return [
        job(cfg, "pilot", method, latent, cfg.seeds[0], steps, learning_rate=rate)
        for method, latent in [*curves(cfg), *picture_curves(cfg)]
        for rate in cfg.step_sizes
        if cfg.learning_rate is None
    ]


def curves(cfg: Any) -> list[tuple[str, int]]:
    """Figure 2's curves: (method, N_z)."""
    return [(method, latent) for latent in cfg.latent for method in METHODS]


def picture_curves(cfg: Any) -> list[tuple[str, int]]:
    """What Figures 4 and 5 show and Figure 2 does not."""
    return [("aevb", latent) for latent in cfg.pictured if latent not in cfg.latent]


def chosen_step_sizes(cfg: Any, pilot_rows: pd.DataFrame) -> dict[tuple[str, int], float]:
    """For each curve the candidate with the highest training bound in its pilot: no test data involved."""
    if cfg.learning_rate is not None:
        return dict.fromkeys([*curves(cfg), *picture_curves(cfg)], cfg.learning_rate)
    best = pilot_rows.sort_values("train").drop_duplicates(["method", "latent"], keep="last")
    return {(row["method"], row["latent"]): row["learning_rate"] for row in best.to_dict("records")}


def trainings(cfg: Any, rates: dict[tuple[str, int], float]) -> list[Job]:
    """The curves, one seed after the other, so that an interrupted run has whole seeds."""
    steps = cfg.samples // cfg.batch_size

    def training(curve: tuple[str, int], seed: int, data: str) -> Job:
        return job(cfg, "train", *curve, seed, steps, data, learning_rate=rates[curve])

    jobs = []
    for seed in cfg.seeds:
        jobs += [training(curve, seed, cfg.data) for curve in curves(cfg)]
        if seed == cfg.seeds[0]:
            jobs += [training(curve, seed, cfg.data) for curve in picture_curves(cfg)]
            jobs.append(training(("aevb", cfg.binarised_latent), seed, cfg.data + BINARISED))
    return jobs

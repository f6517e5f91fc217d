"""Reproduce Figure 4a of The Lottery Ticket Hypothesis: `python papers/lottery_ticket/run.py [scale=full] [...]`."""

from dataclasses import dataclass, field
from functools import partial

import hydra
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.lottery_ticket import figure, training
from papers.lottery_ticket.claims import CLAIMS, percent
from shared import plot
from shared.checkpoint import packed
from shared.datasets import load
from shared.experiment import Experiment, finished
from shared.settings import Settings, choice, number
from shared.tree import Array

TITLE = "The Lottery Ticket Hypothesis"
NAMED_BY = ("kind", "level", "seed")
FIGURE_3 = (0, 3, 7, 12, 15, 18)  # rounds before 100, 51.3, 21.1, 7.0, 3.6 and 1.9 % of the weights are left
FIGURE_3_REINITS = (3, 7)


@dataclass
class LotterySettings(Settings):
    """conf/lottery_ticket.yaml and conf/lottery_ticket/<scale>.yaml."""

    data: str = choice(*training.VALIDATION, default="digits")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)  # one a trial
    rounds: int = number(low=1, high=1000, default=19)  # of pruning
    rate: float = number(low=0, high=1, above=True, below=True, default=0.2)  # share pruned in a round
    output_rate: float = number(low=0, high=1, above=True, below=True, default=0.1)  # of the output layer
    reinits: int = number(low=1, high=100, default=3)  # of each ticket
    iterations: int = number(low=1, high=10**9, default=50_000)
    evaluate_every: int = number(low=1, high=10**9, default=100)
    batch_size: int = number(low=1, high=100_000, default=60)
    learning_rate: float = number(low=0, high=1e9, above=True, default=1.2e-3)


@hydra.main(version_base="1.3", config_path="../../conf", config_name="lottery_ticket")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, LotterySettings)
    source = load(config.data, config.mirrors or None)
    n = len(source.train_images) - training.VALIDATION[config.data]
    training.check(config, n, source.train_images[0].size)

    with entry.session("lottery_ticket", cfg, config, NAMED_BY) as session:
        experiment, rows = session.experiment, []
        if config.scale == "full":
            forecast(config, experiment)
        for level in range(config.rounds + 1):
            if not experiment.failures:
                rows.append(experiment.run(training.train, training.jobs_of(config, level)))
        session.finish(
            pd.concat(rows, ignore_index=True),
            CLAIMS,
            config.seeds,
            partial(draw, config, experiment, pd.concat(rows, ignore_index=True)),
            title=TITLE,
            figure="Figure 4a",
            headline_claim=CLAIMS[0].id,
            data=config.data,
            data_checksums=source.checksums,
        )


def forecast(config: LotterySettings, experiment: Experiment) -> None:
    """The time of all that is left, over all levels."""
    every = [job for level in range(config.rounds + 1) for job in training.jobs_of(config, level)]
    experiment.forecast(training.rehearsal, [job for job in every if not finished(experiment.setting.run_folder(job))])


def draw(config: LotterySettings, experiment: Experiment, rows: pd.DataFrame) -> dict[str, bytes]:
    """Every figure as a PNG, and the curves that they show as arrays."""
    data = f"{config.data}, LeNet-300-100, {config.iterations:,} iterations"
    levels = percent(rows)
    curves = collected(config, experiment, levels)
    shown = [levels[level] for level in levels.index if level in FIGURE_3]
    figures = {
        "headline": figure.headline(rows, data),
        "random_networks": figure.random_networks(rows, data),
        "training_curves": figure.training_curves(curves, data),
        "end_of_training": figure.end_of_training(rows, data),
        "one_shot": figure.one_shot(rows, data),
        "pixels": figure.pixels(curves, shown, data),
    }
    return {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()} | {"curves.npz": packed(curves)}


def collected(config: LotterySettings, experiment: Experiment, levels: "pd.Series[float]") -> dict[str, Array]:
    """Figure 3's curves by network and P_m, (trials, iterations) each, and the surviving weights of each pixel."""
    curves: dict[str, Array] = {}
    pixels = []
    for level in levels.index.intersection([*FIGURE_3]):
        jobs = [job for job in training.jobs_of(config, level) if job["kind"] != "controls"]
        arrays = [experiment.arrays(job) for job in jobs]
        curves["iteration"] = arrays[0]["iteration"]
        name = "dense" if level == 0 else "ticket"
        curves[f"{name} {levels[level]:.3g}"] = np.stack([a["test"][0] for a in arrays])
        if level in FIGURE_3_REINITS:
            curves[f"reinit {levels[level]:.3g}"] = np.concatenate([a["test"][1:] for a in arrays])
        pixels.append(np.mean([a["pixels"] for a in arrays], axis=0, dtype=np.float32))
    return curves | {"pixels": np.stack(pixels)}


if __name__ == "__main__":
    entry.start("lottery_ticket", LotterySettings, main)

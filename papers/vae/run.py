"""Reproduce Figure 2 of Auto-Encoding Variational Bayes: `python papers/vae/run.py [scale=full] [name=value ...]`."""

from dataclasses import dataclass, field
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.vae import analysis, figure, training
from papers.vae.claims import CLAIMS
from shared import plot
from shared.checkpoint import packed
from shared.datasets import load
from shared.errors import BadRequest
from shared.experiment import Experiment, Job
from shared.settings import Settings, choice, number
from shared.tree import Array

TITLE = "Auto-Encoding Variational Bayes"
NAMED_BY = ("stage", "method", "latent", "learning_rate", "seed")


@dataclass
class VAESettings(Settings):
    """conf/vae.yaml and conf/vae/<scale>.yaml."""

    data: str = choice(*training.TRAIN_SIZE, default="digits")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    latent: list[int] = number(low=1, high=10_000, default_factory=list)  # N_z of Figure 2's panels
    pictured: list[int] = number(low=1, high=10_000, default_factory=list)  # N_z of Figure 5's blocks
    binarised_latent: int = number(low=1, high=10_000, default=20)  # N_z of the comparison with binarised pixels
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    samples: int = number(low=1, high=10**10, default=10**7)  # training samples evaluated by each curve
    batch_size: int = number(low=1, high=100_000, default=100)  # M
    hidden: int = number(low=1, high=100_000, default=500)
    likelihood: str = choice("bernoulli", "gaussian", default="bernoulli")
    std: float = number(low=0, high=10, above=True, default=0.1)  # of the initial parameters
    step_sizes: list[float] = number(low=0, high=1e9, above=True, default_factory=list)
    learning_rate: float | None = number(low=0, high=1e9, above=True, default=None)
    pilot_samples: int = number(low=2, high=10**10, default=100_000)
    importance_points: int = number(low=1, high=10_000, default=1000)
    importance_draws: int = number(low=2, high=10**6, default=1000)
    gradient_draws: int = number(low=2, high=10**6, default=50)


@hydra.main(version_base="1.3", config_path="../../conf", config_name="vae")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, VAESettings)
    if min(config.samples, config.pilot_samples // 2) < config.batch_size:
        raise BadRequest(f"batch_size={config.batch_size}: must be at most samples and half of pilot_samples")
    source = load(config.data, config.mirrors or None)
    n = training.TRAIN_SIZE[config.data]
    if config.batch_size > n:
        raise BadRequest(f"batch_size={config.batch_size}: must be at most the {n} training images of {config.data}")
    if config.binarised_latent not in config.latent:
        raise BadRequest(f"binarised_latent={config.binarised_latent}: must be one of latent={config.latent}")

    with entry.session("vae", cfg, config, NAMED_BY) as session:
        experiment = session.experiment
        pilot_rows = experiment.run(training.pilot, training.pilots(config))
        jobs = training.trainings(config, training.chosen_step_sizes(config, pilot_rows))
        rows = experiment.run(training.train, jobs, forecast=config.scale == "full")
        analyses = analysis.analyses(config, [] if experiment.failures else jobs)
        analysed = experiment.run(analysis.analyse, analyses)
        data = f"{config.data} (grey pixels), {n:,} training and {min(len(source.test_images), 10_000):,} test images"
        session.finish(
            pd.concat([pilot_rows, rows, analysed], ignore_index=True),
            CLAIMS,
            config.seeds,
            partial(draw, config, experiment, rows, analyses, data),
            title=TITLE,
            figure="Figure 2",
            headline_claim=CLAIMS[0].id,
            data=config.data,
            data_checksums=source.checksums,
        )


def draw(
    config: VAESettings, experiment: Experiment, rows: pd.DataFrame, jobs: list[Job], data: str
) -> dict[str, bytes]:
    """Every figure as a PNG, and the pictures that they show as arrays."""
    pictures = collected(config, experiment, jobs)
    figures = {"headline": figure.headline(rows, data)}
    for name in ("samples", "manifold", "interpolation", "active_units"):
        if name != "manifold" or "manifold" in pictures:
            figures[name] = getattr(figure, name)(pictures, data, config.seeds[0])
    return {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()} | {"pictures.npz": packed(pictures)}


def collected(config: VAESettings, experiment: Experiment, jobs: list[Job]) -> dict[str, Array]:
    """Pictures of the first seed's networks on grey data, named by what they show and N_z."""
    pictures = {}
    for job in jobs:
        if job["seed"] != config.seeds[0] or job["data"] != config.data:
            continue
        arrays, latent = experiment.arrays(job), job["latent"]
        pictures[f"kl_{latent}"] = arrays["kl_units"]
        if latent in config.pictured:
            pictures[f"samples_{latent}"] = arrays["samples"]
        if latent == max(config.pictured):
            pictures[f"interpolation_{latent}"] = arrays["interpolation"]
        if "manifold" in arrays:
            pictures["manifold"] = arrays["manifold"]
    return pictures


if __name__ == "__main__":
    entry.start("vae", VAESettings, main)

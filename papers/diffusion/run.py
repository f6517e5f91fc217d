"""Reproduce Figure 4 of Diffusion Models Beat GANs: `python papers/diffusion/run.py [scale=full] [name=value ...]`."""

from dataclasses import dataclass, field
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.diffusion import features, figure, gan_training, sampling, training
from papers.diffusion.claims import CLAIMS, complete, sweep
from papers.diffusion.guidance import SAMPLERS
from papers.diffusion.images import SIDE
from papers.diffusion.process import SCHEDULES
from shared import plot
from shared.datasets import load
from shared.experiment import Experiment, Job, Run
from shared.settings import Settings, choice, number

TITLE = "Diffusion Models Beat GANs on Image Synthesis"
NAMED_BY = ("kind", "model", "sampler", "sampling_steps", "scale", "truncation", "moment", "seed")
TRAINERS = {
    "model": training.train,
    "classifier": training.train_classifier,
    "features": features.train,
    "gan": gan_training.train,
}


@dataclass
class DiffusionSettings(Settings):
    """conf/diffusion.yaml and conf/diffusion/<scale>.yaml."""

    data: str = choice(*SIDE, default="digits")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)  # of sampling; the first trains too
    schedule: str = choice(*SCHEDULES, default="cosine")
    diffusion_steps: int = number(low=2, high=100_000, default=1000)  # T
    channels: int = number(low=2, high=4096, default=32)
    levels: int = number(low=1, high=5, default=2)  # each at half the side of the one before
    growth: int = number(low=1, high=4, default=2)  # of the channels from level to level
    blocks: int = number(low=1, high=16, default=1)  # residual blocks a level
    attention: list[int] = number(low=1, high=64, empty=True, default_factory=list)  # sides of grids with attention
    head: int = number(low=1, high=4096, default=32)  # channels of an attention head
    patch: int = number(low=1, high=28, default=1)  # pixels a side that are one place of the first grid
    rescale: bool = False  # residual blocks by 1/sqrt(2)
    training_steps: int = number(low=1, high=10**9, default=1000)
    ablation_steps: int = number(low=1, high=10**9, default=1000)  # of the model with additive embedding
    evaluate_every: int = number(low=1, high=10**9, default=100)
    batch_size: int = number(low=1, high=100_000, default=64)
    learning_rate: float = number(low=0, high=1e9, above=True, default=1e-3)
    ema: float = number(low=0, high=1, below=True, default=0.999)
    classifier_channels: int = number(low=2, high=4096, default=16)
    classifier_steps: int = number(low=1, high=10**9, default=1000)
    classifier_rate: float = number(low=0, high=1e9, above=True, default=1e-3)
    feature_steps: int = number(low=1, high=10**9, default=1000)
    gan_steps: int = number(low=1, high=10**9, default=1000)
    gan_channels: int = number(low=1, high=4096, default=16)
    samples: int = number(low=5, high=10**6, default=5000)  # a point
    scales: list[float] = number(low=0, high=1e300, default_factory=list)  # s of both models
    sweep: str = choice(*SAMPLERS, default="ancestral")  # with which they are swept
    ancestral_steps: int = number(low=1, high=100_000, default=250)
    ddim_steps: int = number(low=1, high=100_000, default=25)  # the few steps of every comparison
    other_scales: list[float] = number(low=0, high=1e300, default_factory=list)  # conditional, with the other sampler
    ablated_scales: list[float] = number(low=0, high=1e300, above=True, default_factory=list)  # Sigma left out
    truncations: list[float] = number(low=0, high=100, default_factory=list)  # factors of the GAN's latents
    pictured: list[int] = number(low=0, high=9, default_factory=list)  # classes in the grids


@hydra.main(version_base="1.3", config_path="../../conf", config_name="diffusion")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, DiffusionSettings)
    source = load(config.data, config.mirrors or None)
    training.check(config)
    with entry.session("diffusion", cfg, config, NAMED_BY) as session:
        experiment, full = session.experiment, config.scale == "full"
        if full:
            sampling.forecast(config, experiment)
        sources = sampling.sources(config)
        trained = experiment.run(train, list(sources.values()), forecast=full)
        points = sampling.jobs(config, failed=[outcome.job for outcome in experiment.failures])
        sampled = experiment.run(partial(sampling.measure, sources), points)
        lost = [outcome.job | {"part": "metrics"} for outcome in experiment.failures if outcome.job in points]
        rows = complete(pd.concat([trained, sampled, pd.DataFrame(lost)], ignore_index=True))
        session.finish(
            rows,
            CLAIMS,
            config.seeds,
            partial(draw, config, experiment, rows, points, source.title),
            title=TITLE,
            figure="Figure 4",
            headline_claim=CLAIMS[0].id,
            data=source.title,
            data_checksums=source.checksums,
        )


def train(job: Job, run: Run) -> None:
    """One of the networks."""
    TRAINERS[job["kind"]](job, run)


def draw(
    config: DiffusionSettings, experiment: Experiment, rows: pd.DataFrame, points: list[Job], data: str
) -> dict[str, bytes]:
    """Every figure as a PNG, and the film of the denoising."""
    own = [job for job in points if job["seed"] == config.seeds[0]]
    pictures = {(job["model"], job["scale"]): experiment.arrays(job) for job in own if job.get("swept")}
    of_gan = {job["truncation"]: experiment.arrays(job)["images"] for job in own if job["kind"] == "truncation"}
    figures = {name: getattr(figure, name)(rows, data) for name in figure.OF_ROWS}
    how = figure.how(sweep(rows))
    figures["samples"] = figure.sample_grids(pictures, config.pictured, how, data)
    figures["denoising"] = figure.denoising(pictures, how, data)
    figures["gan"] = figure.gan(of_gan, data)
    drawn = {f"{name}.png": plot.png(one) for name, one in figures.items()}
    return drawn | {"denoising.gif": figure.film(pictures)}


if __name__ == "__main__":
    entry.start("diffusion", DiffusionSettings, main)

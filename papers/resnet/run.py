"""Reproduce Figure 6 of Deep Residual Learning: `python papers/resnet/run.py [scale=full] [name=value ...]`."""

from dataclasses import dataclass, field
from functools import partial

import hydra
import numpy as np
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.resnet import cnn_study, cnn_study_figure, figure, training
from papers.resnet.claims import CLAIMS
from papers.resnet.model import SHORTCUTS
from shared import plot
from shared.datasets import load
from shared.experiment import Experiment, Job, Run
from shared.settings import Settings, choice, number

TITLE = "Deep Residual Learning for Image Recognition"
NAMED_BY = ("kind", "depth", "shortcut", "seed")


@dataclass
class ResNetSettings(Settings):
    """conf/resnet.yaml and conf/resnet/<scale>.yaml."""

    scale: str = choice("smoke", "quick", "full", "paper")
    data: str = choice(*training.CROP, default="digits")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    shallow_seeds: list[int] = number(low=0, high=2**31 - 1, empty=True, default_factory=list)  # shallowest depth only
    depths: list[int] = number(low=8, high=2000, default_factory=list)  # 6n + 2
    shortcuts: list[str] = choice(*SHORTCUTS, default_factory=list)  # "none" is the plain network
    iterations: int = number(low=1, high=10**9, default=64_000)  # the rate drops at 1/2 and 3/4 of them
    evaluate_every: int = number(low=1, high=10**9, default=400)
    batch_size: int = number(low=2, high=100_000, default=128)
    learning_rate: float = number(low=0, high=1e9, above=True, default=0.1)
    weight_decay: float = number(low=0, high=1e9, default=1e-4)
    warm_up_from: int = number(low=8, high=10_000, default=110)  # the depth from which training starts more slowly
    study_steps: int = number(low=1, high=10**9, default=100)  # of the small networks of the CNN study


@hydra.main(version_base="1.3", config_path="../../conf", config_name="resnet")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, ResNetSettings)
    source = load(config.data, config.mirrors or None)
    training.check(config, len(source.train_labels))
    with entry.session("resnet", cfg, config, NAMED_BY) as session:
        jobs, studies = training.jobs(config), cnn_study.jobs(config)
        forecast = config.scale in ("full", "paper")
        rows = session.experiment.run(measure, [*jobs, *studies], forecast=forecast)
        session.finish(
            rows,
            [*CLAIMS, *cnn_study.CLAIMS],
            sorted({*config.seeds, *config.shallow_seeds}),
            partial(draw, session.experiment, rows, jobs, studies[0], source.title),
            title=TITLE,
            figure="Figure 6",
            headline_claim=CLAIMS[0].id,
            data=source.title,
            data_checksums=source.checksums,
        )


def measure(job: Job, run: Run) -> None:
    """One network of the paper, or one seed of the CNN study."""
    (cnn_study.measure if job["kind"] == "study" else training.train)(job, run)


def draw(experiment: Experiment, rows: pd.DataFrame, jobs: list[Job], study: Job, data: str) -> dict[str, bytes]:
    """Every figure as a PNG."""
    probes = {(j["depth"], j["shortcut"], j["seed"]): experiment.arrays(j) for j in jobs}
    responses, gradients, kernels = (
        {name: np.asarray(arrays[what]) for name, arrays in probes.items()}
        for what in ("responses", "gradients", "kernels")
    )
    figures = {
        "headline": figure.headline(rows[rows["kind"] == "train"], data),
        "responses": figure.responses(responses, data),
        "gradients": figure.gradients(gradients, kernels, data),
        "cnn_study": cnn_study_figure.draw(rows[rows["kind"] == "study"], experiment.arrays(study)),
    }
    return {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()}


if __name__ == "__main__":
    entry.start("resnet", ResNetSettings, main)

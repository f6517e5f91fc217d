"""Reproduce Figure 1, rows of Table 1 and section 5 of Understanding Deep Learning Requires Rethinking Generalization.

python papers/rethinking_generalization/run.py [scale=full] [name=value ...]
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.rethinking_generalization import (
    data,
    figure,
    section5,
    section5_claims,
    section5_figure,
    table_1,
    training,
)
from papers.rethinking_generalization.claims import CLAIMS
from papers.rethinking_generalization.model import MODELS
from shared import plot
from shared.claims import Claim
from shared.datasets import load
from shared.experiment import Job, Run
from shared.settings import choice, number

TITLE = "Understanding Deep Learning Requires Rethinking Generalization"
NAMED_BY = ("stage", "study", "model", "condition", "p", "weight_decay", "n", "filters", "seed")


@dataclass
class RethinkingSettings(section5.Section5Settings):
    """conf/rethinking_generalization.yaml and conf/rethinking_generalization/<scale>.yaml."""

    data: str = choice(*data.WINDOW, default="digits")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    model: str = choice(*MODELS, default="mlp3x512")  # of Figure 1
    table: list[str] = choice(*MODELS, default_factory=list)  # the models whose rows of Table 1 are trained
    corruption: list[float] = number(low=0, high=1, default_factory=list)  # p of Figure 1b and c, besides 0 and 1
    images: int = number(low=2, high=10**9, default=50_000)  # the first so many of the training set
    iterations: int = number(low=1, high=10**9, default=39_000)
    convolutional_images: int = number(low=2, high=10**9, default=50_000)  # the same two for what has convolutions
    convolutional_iterations: int = number(low=1, high=10**9, default=19_500)
    convolutional_random_iterations: int = number(low=1, high=10**9, default=39_000)  # where labels are random
    evaluate_every: int = number(low=1, high=10**9, default=130)
    batch_size: int = number(low=2, high=100_000, default=128)
    learning_rate: float = number(low=0, high=1e9, above=True, default=0.01)
    inception_learning_rate: float = number(low=0, high=1e9, above=True, default=0.1)
    decay: float = number(low=0, high=1, above=True, default=0.95)  # of the learning rate, every so many iterations:
    decay_every: int = number(low=1, high=10**9, default=390)
    weight_decay: float = number(low=0, high=1e9, default=1e-4)  # where a row of Table 1 has it


@hydra.main(version_base="1.3", config_path="../../conf", config_name="rethinking_generalization")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, RethinkingSettings)
    section5.check(config)
    names = dict.fromkeys([config.data, config.kernel_data, *(["cifar10"] if config.colour_sizes else [])])
    sets = {name: load(name, config.mirrors or None) for name in names}
    training.check(config, sets[config.data])
    titles, full = {name: found.title for name, found in sets.items()}, config.scale == "full"
    with entry.session("rethinking_generalization", cfg, config, NAMED_BY) as session:
        experiment = session.experiment
        for job in experiment.pending(section5.jobs(config)):
            section5.check_memory(job)
        finish = partial(
            session.finish,
            claims=claims(titles[config.data], titles[config.kernel_data], titles.get("cifar10", "CIFAR-10")),
            seeds=config.seeds,
            title=TITLE,
            figure="Figure 1",
            headline_claim=CLAIMS[0].id,
            data=" and ".join(dict.fromkeys(titles.values())),
            data_checksums={file: digest for found in sets.values() for file, digest in found.checksums.items()},
        )
        trainings = training.jobs(config)
        flat, convolutional = (
            [job for job in trainings if training.convolutional(job["model"]) == side] for side in (False, True)
        )
        if full and (left := experiment.pending(trainings)):
            print('section 5 is not in the forecast (notes.md, "What it costs")')
            experiment.forecast(training.train, left)

        def publish_before(later: list[Job], draw: Callable[[pd.DataFrame], dict[str, bytes]]) -> None:
            """What there is does not wait for jobs that take hours and may fail."""
            if experiment.pending(later):
                finish(rows, draw=partial(draw, rows), final=False)

        of_trainings = partial(draw, title=titles[config.data])
        of_all = partial(draw_all, titles=titles, name=config.data)
        rows = experiment.run(training.train, flat)
        publish_before(convolutional, of_trainings)
        rows = pd.concat([rows, experiment.run(training.train, convolutional)], ignore_index=True)
        studies = section5.jobs(config, without=[outcome.job for outcome in experiment.failures])
        publish_before(studies, of_trainings)
        small, large = ([job for job in studies if section5.large(job) == side] for side in (False, True))
        rows = pd.concat([rows, experiment.run(study, small)], ignore_index=True)
        publish_before(large, of_all)
        with experiment.one_at_a_time():
            rows = pd.concat([rows, experiment.run(study, large)], ignore_index=True)
        finish(rows, draw=partial(of_all, rows))


def claims(trained: str, kernel: str, colour: str) -> list[Claim]:
    """The ledger's, each with the title of the data that it is measured on."""
    groups = (
        (trained, [*CLAIMS, *table_1.CLAIMS]),
        (kernel, section5_claims.KERNELS),
        ("generated", section5_claims.SGD),
        (f"generated, and {kernel}", section5_claims.THEOREM_1),
        (trained, section5_claims.BOUNDS_AND_GAP),
        (colour, section5_claims.CIFAR),
    )
    return [replace(claim, data=data) for data, found in groups for claim in found]


def study(job: Job, run: Run) -> None:
    """One job of section 5, which may need all the memory there is."""
    data.release()
    section5.run(job, run)


def draw(rows: pd.DataFrame, title: str) -> dict[str, bytes]:
    """The figures of the trainings as PNGs."""
    figures = {"headline": figure.headline(rows, title), "table_1": figure.table_1(rows, title)}
    return {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()}


def draw_all(rows: pd.DataFrame, titles: Mapping[str, str], name: str) -> dict[str, bytes]:
    """Those, section 5's and that of the bounds."""
    figures = {"section5": section5_figure.figure(rows, titles), "bounds": section5_figure.bounds(rows, titles[name])}
    return draw(rows, titles[name]) | {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()}


if __name__ == "__main__":
    entry.start("rethinking_generalization", RethinkingSettings, main)

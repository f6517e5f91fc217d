"""The book's theorems and figures, checked: `python papers/understanding_ml/run.py [study=<name>] [name=value ...]`."""

from dataclasses import dataclass
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.understanding_ml.studies import STUDIES
from shared import plot
from shared.experiment import Experiment, Job, Run
from shared.settings import Settings, choice, number

TITLE = "Understanding Machine Learning"
NAMED_BY = ("study", "seed")
ALL = "all"


@dataclass
class BookSettings(Settings):
    """conf/understanding_ml.yaml and conf/understanding_ml/<scale>.yaml."""

    study: str = choice(ALL, *STUDIES, default=ALL)
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    effort: float = number(low=0, high=1000, above=True, default=1.0)  # how often things are repeated; 1 at quick


@hydra.main(version_base="1.3", config_path="../../conf", config_name="understanding_ml")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, BookSettings)
    names = list(STUDIES) if config.study == ALL else [config.study]
    part = "" if config.study == ALL else config.study
    with entry.session("understanding_ml", cfg, config, NAMED_BY, part) as session:
        jobs = [
            {"study": name, "seed": seed, "effort": config.effort, "steps": 1}
            for name in names
            for seed in config.seeds
        ]
        rows = session.experiment.run(measure, jobs, forecast=config.scale == "full")
        session.finish(
            rows,
            [claim for name in names for claim in STUDIES[name].claims],
            config.seeds,
            partial(draw, session.experiment, rows, jobs, names),
            title=TITLE,
            figure=STUDIES[names[0]].title,
            headline_claim=STUDIES[names[0]].claims[0].id,
            data="generated, digits",
            data_checksums={},
        )


def measure(job: Job, run: Run) -> None:
    """One seed of one study."""
    run.restore({})
    for _ in run.steps():
        STUDIES[job["study"]].measure(run, job["effort"])


def draw(experiment: Experiment, rows: pd.DataFrame, jobs: list[Job], names: list[str]) -> dict[str, bytes]:
    """One figure a study; the first one is the headline too."""
    figures = {}
    for name in names:
        first = next(job for job in jobs if job["study"] == name)
        own = rows[rows["study"] == name].dropna(axis=1, how="all")
        figures[f"{name}.png"] = plot.png(STUDIES[name].draw(own, experiment.arrays(first)))
    return figures | {"headline.png": figures[f"{names[0]}.png"]}


if __name__ == "__main__":
    entry.start("understanding_ml", BookSettings, main)

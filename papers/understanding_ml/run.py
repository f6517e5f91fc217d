"""The book's theorems and figures, checked: `python papers/understanding_ml/run.py [study=<name>] [name=value ...]`."""

from dataclasses import dataclass
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.understanding_ml import expressions
from papers.understanding_ml.studies import STUDIES
from papers.understanding_ml.study import own_columns
from shared import plot
from shared.errors import BadRequest
from shared.experiment import Experiment, Job, Run
from shared.settings import Settings, choice, number

TITLE = "Understanding Machine Learning"
NAMED_BY = ("study", "seed")
ALL = "all"
VISUALIZER = "jacobian"  # the study that takes a function


@dataclass
class BookSettings(Settings):
    """conf/understanding_ml.yaml and conf/understanding_ml/<scale>.yaml."""

    study: str = choice(ALL, *STUDIES, default=ALL)
    f: str | None = None  # what study=jacobian shows, such as [x*y, x**2 - y**2]: see expressions.py
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    effort: float = number(low=0, high=1000, above=True, default=1.0)  # how often things are repeated; 1 at quick


@hydra.main(version_base="1.3", config_path="../../conf", config_name="understanding_ml")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, BookSettings)
    if config.f is not None:
        if config.study != VISUALIZER:
            raise BadRequest(f"f={config.f}: only study={VISUALIZER} takes a function")
        readable(config.f)
    names = list(STUDIES) if config.study == ALL else [config.study]
    part = "" if config.study == ALL else config.study
    with entry.session("understanding_ml", cfg, config, NAMED_BY, part) as session:
        jobs = [
            {"study": name, "seed": seed, "effort": config.effort, "steps": 1} | ({"f": config.f} if config.f else {})
            for name in names
            for seed in config.seeds
        ]
        rows = session.experiment.run(measure, jobs, forecast=config.scale == "full")
        claims = [claim for name in names for claim in STUDIES[name].claims]
        session.finish(
            rows,
            # What a study claims of its own example measures nothing of another function.
            [claim for claim in claims if config.f is None or claim.measure(rows)],
            config.seeds,
            partial(draw, session.experiment, rows, jobs, names),
            title=TITLE,
            figure=STUDIES[names[0]].title,
            headline_claim=STUDIES[names[0]].claims[0].id,
            data="generated, digits, a photo",
            data_checksums={},
        )


def readable(text: str) -> None:
    """BadRequest unless the text is a function that can be shown."""
    _ = expressions.read(text).point


def measure(job: Job, run: Run) -> None:
    """One seed of one study."""
    run.restore({})
    for _ in run.steps():
        STUDIES[job["study"]].measure(run, job["effort"])


def draw(experiment: Experiment, rows: pd.DataFrame, jobs: list[Job], names: list[str]) -> dict[str, bytes]:
    """One figure a study, the first one is the headline too, and what else a study publishes."""
    files = {}
    for name in names:
        first = next(job for job in jobs if job["study"] == name)
        own = own_columns(rows[rows["study"] == name])
        arrays = experiment.arrays(first)
        files[f"{name}.png"] = plot.png(STUDIES[name].draw(own, arrays))
        files |= STUDIES[name].more(own, arrays)
    return files | {"headline.png": files[f"{names[0]}.png"]}


if __name__ == "__main__":
    entry.start("understanding_ml", BookSettings, main, texts={"f": readable})

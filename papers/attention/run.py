"""Reproduce Tables 2 and 3 of Attention Is All You Need: `python papers/attention/run.py [scale=full] [name=value]`."""

from dataclasses import dataclass, field
from functools import partial

import hydra
import pandas as pd
from omegaconf import DictConfig

from papers import entry
from papers.attention import attention_study, attention_study_figure, figure, tasks, training
from papers.attention.claims import CLAIMS, HEADLINE
from papers.attention.study_claims import CLAIMS as STUDY_CLAIMS
from shared import plot
from shared.experiment import Experiment, Job, Run
from shared.settings import Settings, choice, number

TITLE = "Attention Is All You Need"
NAMED_BY = ("stage", "study", "variant", "data", "seed")


@dataclass
class AttentionSettings(Settings):
    """conf/attention.yaml and conf/attention/<scale>.yaml."""

    data: str = choice(*tasks.DATA, default="dates")
    mirrors: list[str] = field(default_factory=list)  # base URLs that replace the data set's own
    merges: int = number(low=0, high=1_000_000, default=10_000)  # of the byte-pair encoding
    train_pairs: int = number(low=1, high=10_000_000, default=20_000)  # dates
    test_pairs: int = number(low=1, high=1_000_000, default=500)  # dates, and as many for validation
    seeds: list[int] = number(low=0, high=2**31 - 1, default_factory=list)
    raw_seeds: list[int] = number(low=0, high=2**31 - 1, empty=True, default_factory=list)  # on text as written
    variants: list[str] = choice(*training.VARIANTS, empty=True, default_factory=list)  # of Table 3
    variant_seeds: list[int] = number(low=0, high=2**31 - 1, empty=True, default_factory=list)
    layers: int = number(low=1, high=1000, default=6)
    d_model: int = number(low=1, high=100_000, default=512)
    d_ff: int = number(low=1, high=100_000, default=2048)
    heads: int = number(low=1, high=1000, default=8)
    dropout: float = number(low=0, high=1, below=True, default=0.1)
    positions: str = choice("sinusoidal", "learned", "none", default="sinusoidal")
    label_smoothing: float = number(low=0, high=1, default=0.1)
    tokens: int = number(low=1, high=10_000_000, default=25_000)  # of a batch, on each side, padding counted
    learning_rate: float = number(low=0, high=1e9, above=True, default=1.0)  # times equation 3
    warmup: int = number(low=1, high=10**9, default=4000)
    steps: int = number(low=1, high=10**9, default=100_000)
    variant_steps: int = number(low=1, high=10**9, default=100_000)
    evaluate_every: int = number(low=1, high=10**9, default=1000)
    checkpoints: int = number(low=1, high=1000, default=5)  # averaged at the end
    checkpoint_distance: int = number(low=1, high=10**9, default=1000)  # steps between these
    beam: int = number(low=1, high=1000, default=4)
    alpha: float = number(low=0, high=100, default=0.6)  # of the length penalty


@hydra.main(version_base="1.3", config_path="../../conf", config_name="attention")
@entry.error_boundary()
def main(cfg: DictConfig) -> None:
    config = entry.checked(cfg, AttentionSettings)
    found = {data: training.task(config, data) for data in training.data(config)}
    for task in found.values():
        training.check(config, task)
    with entry.session("attention", cfg, config, NAMED_BY) as session:
        jobs = training.jobs(config)
        *others, times = [*jobs, *attention_study.jobs(config)]
        measured = session.experiment.run(measure, others, forecast=config.scale == "full")
        timed = session.experiment.run(measure, [times])  # when nothing else is done
        rows = pd.concat([measured, timed], ignore_index=True)
        session.finish(
            rows,
            [*CLAIMS, *STUDY_CLAIMS],
            sorted({job["seed"] for job in others}),
            partial(draw, session.experiment, rows, jobs, found[config.data].title),
            title=TITLE,
            figure="Tables 2 and 3",
            headline_claim=HEADLINE[config.data],
            data=found[config.data].title,
            data_checksums={name: digest for task in found.values() for name, digest in task.checksums.items()},
        )


def measure(job: Job, run: Run) -> None:
    """One model of the paper, or one job of the study."""
    (attention_study.run if job["stage"] == "study" else training.train)(job, run)


def draw(experiment: Experiment, rows: pd.DataFrame, jobs: list[Job], data: str) -> dict[str, bytes]:
    """Every figure that has something to show as a PNG, and the translations of every final decoding as text."""
    trained, studied = (rows[rows["stage"] == stage] for stage in ("train", "study"))
    base = [(job, experiment.arrays(job)) for job in jobs if job["variant"] == "base"]
    figures = {"headline": figure.headline(trained, data)} | figure.maps(base[0][1], data)
    if len(base) < len(jobs):
        figures["variants"] = figure.variants(trained, data)
    figures["attention_study"] = attention_study_figure.figure(studied)
    figures["complexity"] = attention_study_figure.complexity(studied)
    files = {f"{name}.png": plot.png(drawn) for name, drawn in figures.items()}
    for job, arrays in base:
        for name in training.DECODINGS:
            files[f"hypotheses-{job['data']}-seed{job['seed']}-{name}.txt"] = arrays[name].tobytes()
    return files


if __name__ == "__main__":
    entry.start("attention", AttentionSettings, main)

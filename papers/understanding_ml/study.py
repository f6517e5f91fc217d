"""What a study is: one question of the book, measured, drawn and judged."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from shared.claims import Claim, per_seed
from shared.experiment import Run
from shared.tree import Array

Rows = pd.DataFrame


@dataclass(frozen=True)
class Study:
    """``measure(run, effort)`` records one seed's rows and keeps the arrays that the figure shows of the first seed.

    All randomness comes from ``run.rng``. ``effort`` scales how often something is repeated: 1 at scale=quick (at most
    90 s for all its seeds on two cores), much less at smoke. Every row has a "part": the measurement it belongs to.
    ``more`` gives what a study publishes beside its one figure, by file name.
    """

    title: str
    measure: Callable[[Run, float], None]
    draw: Callable[[Rows, Mapping[str, Array]], Figure]
    claims: Sequence[Claim]
    more: Callable[[Rows, Mapping[str, Array]], dict[str, bytes]] = lambda rows, arrays: {}


def own_columns(rows: Rows) -> Rows:
    """Rows of one study or part with their own columns and types: a column of another study may hold something else."""
    return rows.dropna(axis=1, how="all").infer_objects()


def repeats(effort: float, at_quick: int, least: int = 2) -> int:
    """How often to do what is done ``at_quick`` times at effort 1."""
    return max(least, round(effort * at_quick))


def measured(study: str, part: str, value: Callable[[Rows], float]) -> Callable[[Rows], list[float]]:
    """A claim's measurement: ``value`` of each seed's rows of one part of a study, nothing where there are none.

    NaN for a seed whose rows hold a NaN, which the max and the min of pandas would skip: all rows of a part have the
    same columns.
    """

    def of_seed(own: Rows) -> float:
        return math.nan if own.isna().any(axis=None) else value(own)

    def measure(rows: Rows) -> list[float]:
        own = rows[(rows["study"] == study) & (rows["part"] == part)]
        return per_seed(own if own.empty else own_columns(own), of_seed)

    return measure


def farthest_from(target: float) -> Callable[[Sequence[float]], float]:
    """A claim's ``average`` where every seed should find the target: the value that is farthest from it."""
    return lambda values: max(values, key=lambda found: abs(found - target))

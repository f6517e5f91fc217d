"""The ledger: a paper's claims as functions of recorded rows, and the verdict that follows from what was measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

Verdict = Literal["reproduced", "same direction", "not reproduced", "not tested at this scale"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
COLUMNS = ("id", "source", "statement", "paper", "measured", "min", "max", "n", "tolerance", "verdict", "data")
NONE_PRINTED = "none printed"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, written down before it is measured.

    ``measure`` maps the recorded rows to one value per seed, and to nothing where the rows hold nothing to measure;
    it is ``unmeasured`` where no scale of ours could.
    ``average`` makes one number of them: the median, or the mean where the paper speaks of means over its trials.
    ``whole`` takes its place where that number is a statistic of all seeds' rows together and no average of the seeds'
    values (a ratio of means, the maximum of a mean curve): the values then only say how many and how far apart.
    ``holds`` says whether that number is within ``tolerance`` (the same rule, in words); where it is
    not, ``same_direction`` says whether the effect is there at all. ``paper`` is the number that the paper prints,
    ``data`` what is measured on where that is not the run's own.
    """

    id: str
    source: str
    statement: str
    measure: Callable[[pd.DataFrame], Sequence[float]]
    holds: Callable[[float], bool]
    tolerance: str
    paper: float | None = None
    same_direction: Callable[[float], bool] | None = None
    average: Callable[[Sequence[float]], float] = median
    whole: Callable[[pd.DataFrame], float] | None = None
    data: str = ""


def unmeasured(rows: pd.DataFrame) -> list[float]:
    """For a number of the paper that stands in the ledger with the reason why it is not tested."""
    return []


def per_seed(rows: pd.DataFrame, value: Callable[[pd.DataFrame], float | None]) -> list[float]:
    """The value of each seed's rows; a seed for which it is None does not count."""
    values = (value(own) for _, own in rows.groupby("seed"))
    return [v for v in values if v is not None]


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's: Pearson's of the ranks, equal values sharing theirs; 0 where one of them is constant."""
    a, b = (pd.Series(values).rank().to_numpy() for values in (x, y))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def judge(
    claims: Sequence[Claim], rows: pd.DataFrame, data: str, lost: Sequence[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """The ledger, one row a claim: average (or ``whole``), range and number of the values on ``rows``, and the verdict.

    ``lost`` are the jobs that ended in NaN or infinity: a claim that has fewer values for it is not reproduced. Values
    that are not all finite have no average (NaN). Raises ValueError when two claims share an id.
    """
    ids = [claim.id for claim in claims]
    if repeated := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"claims share an id: {', '.join(repeated)}")
    rows = rows.reset_index(drop=True)
    complete = _completed(rows, lost)
    return pd.DataFrame([_judge_one(claim, rows, data, lost, complete) for claim in claims], columns=list(COLUMNS))


def _completed(rows: pd.DataFrame, lost: Sequence[Mapping[str, Any]]) -> pd.DataFrame | None:
    """The rows as they would be in number had no job been lost: those of the same job of another seed stand in.

    None where a lost job has no such other.
    """
    dropped, added = list[int](), list[pd.DataFrame]()
    for job in lost:
        same = np.full(len(rows), set(job) <= set(rows))
        for key in (job.keys() - {"seed"}) & set(rows):
            same &= [found == job[key] for found in rows[key]]
        alike = rows[same]
        gone = [other["seed"] for other in lost if {**other, "seed": job["seed"]} == job]
        others = alike[~alike["seed"].isin(gone)] if len(alike) else alike
        if others.empty:
            return None
        dropped += list(alike.index[alike["seed"] == job["seed"]])
        added.append(others[others["seed"] == others["seed"].iloc[0]].assign(seed=job["seed"]))
    return pd.concat([rows.drop(dropped), *added], ignore_index=True)


def _judge_one(
    claim: Claim, rows: pd.DataFrame, data: str, lost: Sequence[Mapping[str, Any]], complete: pd.DataFrame | None
) -> dict[str, object]:
    values = [] if rows.empty else [float(value) for value in claim.measure(rows)]
    expected = 0
    if lost and claim.measure is not unmeasured:  # where nothing tells how many values there should be, none is too few
        expected = 1 if complete is None else len(claim.measure(complete))
    known = bool(values) and all(map(math.isfinite, values))
    middle, low, high = (math.nan,) * 3
    if known:
        middle = claim.average(values) if claim.whole is None else claim.whole(rows)
        low, high = min(values), max(values)

    verdict: Verdict
    if len(values) < expected:
        verdict = "not reproduced"
    elif not values:
        verdict = "not tested at this scale"
    elif known and claim.holds(middle):
        verdict = "reproduced"
    elif known and claim.same_direction is not None and claim.same_direction(middle):
        verdict = "same direction"
    else:
        verdict = "not reproduced"

    return {
        "id": claim.id,
        "source": claim.source,
        "statement": claim.statement,
        "paper": NONE_PRINTED if claim.paper is None else f"{claim.paper:.10g}",
        "measured": _six_digits(middle),
        "min": _six_digits(low),
        "max": _six_digits(high),
        "n": len(values),
        "tolerance": claim.tolerance,
        "verdict": verdict,
        "data": claim.data or data,
    }


def _six_digits(value: float) -> float:
    """``value`` to six significant digits, a count to the last: what differs beyond them is the machine's rounding."""
    return value if value.is_integer() else float(f"{value:.6g}")


def measured_text(row: Mapping[Any, Any]) -> str:
    """The measured average of a ledger's row for a reader, with its range when there is more than one value."""
    if row["n"] == 0:
        return "not measured"
    if math.isnan(row["measured"]):
        return "not finite"
    middle, low, high = (_five_digits(float(row[column])) for column in ("measured", "min", "max"))
    return middle if row["n"] == 1 else f"{middle} [{low}, {high}]"


def _five_digits(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.5g}"


def ledger_text(ledger: pd.DataFrame) -> str:
    """``ledger`` (from ``judge``) as a table for the terminal, with the count of each verdict below."""
    table = [("claim", "paper", "ours [min, max]", "verdict")]
    for row in ledger.to_dict("records"):
        table.append((row["id"], row["paper"], measured_text(row), row["verdict"]))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", verdict_counts(ledger)])


def verdict_counts(ledger: pd.DataFrame) -> str:
    """How many of the claims got which verdict, such as ``3 claims: 2 reproduced, 1 not reproduced``."""
    found = [(verdict, int((ledger["verdict"] == verdict).sum())) for verdict in VERDICTS]
    noun = "claim" if len(ledger) == 1 else "claims"
    return f"{len(ledger)} {noun}: " + ", ".join(f"{count} {verdict}" for verdict, count in found if count)

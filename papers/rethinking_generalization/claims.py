"""The claims about Figure 1 as functions of recorded rows; table_1.py and section5_claims.py have the others."""

from collections.abc import Callable, Sequence
from math import inf, log

import numpy as np
import pandas as pd

from shared.claims import Claim, per_seed, rank_correlation

Rows = pd.DataFrame
FITTED = 1.0  # percent of the minibatches' answers since the last evaluation that are wrong: then it is fitted
STARTED = log(10) / 2  # nats: half of chance's loss, then it has started to fit
NOISE = ("random-pixels", "gaussian")
# What is read of the trainings: a column is missing from the rows when none of them recorded it.
READ = (
    *("part", "data", "images", "model", "condition", "p", "weight_decay", "crop", "steps"),
    *("iteration", "loss", "error", "train_accuracy", "test_accuracy"),
)


def trainings(rows: Rows, part: str) -> Rows:
    """The evaluations ("curve"), or the last readings ("end"), of the networks of Figure 1 and Table 1."""
    found = rows.assign(**dict.fromkeys(column for column in READ if column not in rows))
    return found[(found["stage"] == "train") & (found["part"] == part)]


def figure_1(rows: Rows, part: str) -> Rows:
    """Those of Figure 1: the model that the pixels' conditions are trained with, for as long, unregularised."""
    own = trainings(rows, part)
    pixels = own[own["condition"] != "labels"]
    alike = own["model"].isin(pixels["model"]) & own["steps"].isin(pixels["steps"])
    return own[alike & (own["weight_decay"] == 0) & ~own["crop"].astype(bool)]


def conditions(rows: Rows) -> dict[str, Rows]:
    """Figure 1a's curves by name: labels true and random, and the three conditions of the pixels."""
    labels = rows["condition"] == "labels"
    found = {"true-labels": rows[labels & (rows["p"] == 0)], "random-labels": rows[labels & (rows["p"] == 1)]}
    return found | {str(name): own for name, own in rows[~labels].groupby("condition", sort=False)}


def corrupted(rows: Rows) -> Rows:
    """Figure 1b's and c's: labels resampled with probability p."""
    return rows[rows["condition"] == "labels"]


def fit_time(curve: Rows) -> float:
    """The first evaluation at which the training error since the last one is at most FITTED; infinite if none."""
    return first(curve, curve["error"] <= FITTED)


def start_time(curve: Rows) -> float:
    """The first at which the training loss is at most STARTED."""
    return first(curve, curve["loss"] <= STARTED)


def first(curve: Rows, reached: "pd.Series[bool]") -> float:
    """The iteration of the first evaluation where that is so; infinite if none."""
    return float(curve.loc[reached, "iteration"].min()) if reached.any() else inf


def times(rows: Rows, time: Callable[[Rows], float]) -> Rows:
    """A time of each of Figure 1's trainings: columns condition, p, seed and time."""
    groups = figure_1(rows, "curve").groupby(["condition", "p", "seed"], sort=False)
    return pd.DataFrame(
        [{"condition": c, "p": p, "seed": seed, "time": time(own)} for (c, p, seed), own in groups],
        columns=["condition", "p", "seed", "time"],
    )


def worst(of: Callable[[Rows], Rows], least: int) -> Callable[[Rows], list[float]]:
    """The smallest training accuracy of Figure 1's chosen trainings, of each seed that ended all, at least so many."""

    def measure(rows: Rows) -> list[float]:
        wanted = max(least, begun(of(figure_1(rows, "curve"))))

        def smallest(own: Rows) -> float | None:
            return float(own["train_accuracy"].min()) if len(own) >= wanted else None

        return per_seed(of(figure_1(rows, "end")), smallest)

    return measure


def begun(curves: Rows) -> int:
    """How many trainings a seed began: one that diverged has a curve and no end."""
    return len(curves[["condition", "p"]].drop_duplicates())


def five(rows: Rows) -> Rows:
    """The trainings of Figure 1a."""
    return pd.concat([*conditions(rows).values()])


def of_random_labels(column: str) -> Callable[[Rows], list[float]]:
    """A column of Figure 1's random labels."""
    return lambda rows: list(conditions(figure_1(rows, "end"))["random-labels"][column])


def slowdown(time: Callable[[Rows], float], names: Sequence[str], over: str) -> Callable[[Rows], list[float]]:
    """The largest time of the named conditions over that of another, of each seed that has all."""

    def measure(rows: Rows) -> list[float]:
        def ratio(own: Rows) -> float | None:
            found = {name: condition["time"].to_numpy() for name, condition in conditions(own).items()}
            if any(len(found.get(name, ())) != 1 for name in (*names, over)):
                return None
            largest, base = max(found[name][0] for name in names), found[over][0]
            if np.isinf(base):
                return inf if np.isinf(largest) else 0.0
            return float(largest / base)

        return per_seed(times(rows, time), ratio)

    return measure


def correlation_with_p(of: Callable[[Rows], Rows], column: str) -> Callable[[Rows], list[float]]:
    """Spearman's correlation of a column with p, of each seed that has every p, at least four."""

    def measure(rows: Rows) -> list[float]:
        wanted = max(4, begun(corrupted(figure_1(rows, "curve"))))

        def value(own: Rows) -> float | None:
            return rank_correlation(list(own["p"]), list(own[column])) if len(own) >= wanted else None

        return per_seed(corrupted(of(rows)), value)

    return measure


def test_errors(rows: Rows) -> Rows:
    """The last readings of Figure 1's trainings with the column test_error, in percent."""
    own = figure_1(rows, "end")
    return own.assign(test_error=100 - own["test_accuracy"])


CLAIMS: Sequence[Claim] = (
    Claim(
        id="rethinking-fig1a-fits",
        source="Figure 1a, section 2.1",
        statement="One network fits all five conditions with unchanged hyperparameters (least training accuracy, %)",
        measure=worst(five, least=5),
        holds=lambda accuracy: accuracy >= 99,
        tolerance=">= 99",
    ),
    Claim(
        id="rethinking-random-labels-test",
        source="Section 2.1",
        statement="After random labels, test accuracy is that of guessing (%)",
        measure=of_random_labels("test_accuracy"),
        holds=lambda accuracy: 8.5 <= accuracy <= 11.5,
        tolerance="8.5 to 11.5",
    ),
    Claim(
        id="rethinking-fig1a-noise-starts",
        source="Section 2.1",
        statement="Random pixels and Gaussian noise start fitting earlier than random labels (ratio of the iterations "
        "to half of chance's loss, the larger)",
        measure=slowdown(start_time, NOISE, over="random-labels"),
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
    ),
    Claim(
        id="rethinking-fig1a-noise-fits",
        source="Figure 1a",
        statement="And are fitted earlier (ratio of the iterations to 1 % training error, the larger)",
        measure=slowdown(fit_time, NOISE, over="random-labels"),
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
    ),
    Claim(
        id="rethinking-fig1a-slowdown",
        source="Introduction",
        statement="Random labels are fitted later than true ones, by a small constant factor",
        measure=slowdown(fit_time, ("random-labels",), over="true-labels"),
        holds=lambda ratio: 1 < ratio <= 5,
        tolerance="> 1 and <= 5; same direction above 1",
        same_direction=lambda ratio: 1 < ratio < inf,
    ),
    Claim(
        id="rethinking-fig1b-fits",
        source="Figure 1b, section 2.1",
        statement="The training set is fitted at every p (least training accuracy, %)",
        measure=worst(corrupted, least=3),
        holds=lambda accuracy: accuracy >= 99,
        tolerance=">= 99",
    ),
    Claim(
        id="rethinking-fig1b-time",
        source="Figure 1b",
        statement="Fitting takes longer the more labels are corrupted (Spearman's correlation of time and p)",
        measure=correlation_with_p(lambda rows: times(rows, fit_time), "time"),
        holds=lambda correlation: correlation > 0.9,
        tolerance="> 0.9; same direction above 0",
        same_direction=lambda correlation: correlation > 0,
    ),
    Claim(
        id="rethinking-fig1c-error",
        source="Figure 1c",
        statement="Test error grows with the share of corrupted labels (Spearman's correlation with p)",
        measure=correlation_with_p(test_errors, "test_error"),
        holds=lambda correlation: correlation > 0.9,
        tolerance="> 0.9; same direction above 0",
        same_direction=lambda correlation: correlation > 0,
    ),
    Claim(
        id="rethinking-fig1c-limit",
        source="Figure 1c, section 2.1",
        statement="Test error at p = 1 (%)",
        measure=lambda rows: list(conditions(test_errors(rows))["random-labels"]["test_error"]),
        holds=lambda error: abs(error - 90) <= 1.5,
        tolerance="90 +- 1.5",
        paper=90,
    ),
)

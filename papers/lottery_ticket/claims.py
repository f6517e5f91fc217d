"""The paper's claims about LeNet on MNIST, as functions of recorded rows: a row is one network of one trial.

The paper speaks of means over trials and of curves of means, so a claim measures a ``Statistic`` of all trials
together; ``of_means`` and ``of_curves`` add how far apart the trials are.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from operator import sub, truediv
from statistics import fmean
from typing import Any

import pandas as pd

from shared.claims import Claim

Rows = pd.DataFrame
Statistic = Callable[[Rows], float]  # of the rows of any number of trials; NaN where they hold nothing to measure

AT_21, AT_13, AT_3 = 21.1, 13.5, 3.6  # P_m in percent, as the paper labels its levels
DENSE = 100.0


def own_values(value: Statistic) -> Callable[[Rows], list[float]]:
    """The statistic of each trial's own rows; a trial that holds nothing to measure does not count."""

    def measure(rows: Rows) -> list[float]:
        return [v for _, own in rows.groupby("seed") if not math.isnan(v := value(own))]

    return measure


def shares(value: Statistic) -> Callable[[Rows], list[float]]:
    """The jackknife's pseudo-values n T - (n - 1) T_i: T is the statistic of n trials, T_i that of all but trial i.

    For a mean over trials, or a difference of two, they are the trials' own values; for a ratio or a maximum of means
    they are what each trial adds to it.
    """

    def measure(rows: Rows) -> list[float]:
        trials = [seed for seed, own in rows.groupby("seed") if not math.isnan(value(own))]
        rows, n = rows[rows["seed"].isin(trials)], len(trials)
        if n == 1:
            return [value(rows)]
        without = [value(rows[rows["seed"] != trial]) for trial in trials]
        return [round(n * value(rows) - (n - 1) * t, 6) + 0.0 for t in without]  # as exact as the means are; no -0.0

    return measure


def of_means(statement: str, value: Statistic) -> dict[str, Any]:
    """A claim about means over trials: their statistic, and each trial's share of it as its values."""
    text = f"{statement}; means over trials, range of their shares"
    return {"statement": text, "whole": value, "measure": shares(value)}


def of_curves(statement: str, value: Statistic) -> dict[str, Any]:
    """A claim about where mean curves cross: that level, and each trial's own (a jump has no shares) as its values."""
    text = f"{statement}; curves of means, range of the trials' own"
    return {"statement": text, "whole": value, "measure": own_values(value)}


def by_level(rows: Rows, network: str, column: str) -> "pd.Series[float]":
    """The mean of a column over the trials (and the reinitialisations in each), by number of rounds.

    Rounded, so that means of the same numbers in another order are equal.
    """
    return rows[rows["network"] == network].groupby("level")[column].mean().round(9)


def dense_mean(rows: Rows, column: str) -> float:
    """The dense network's mean over the trials: what everything is compared with."""
    return float(by_level(rows, "dense", column)[0])


def percent(rows: Rows) -> "pd.Series[float]":
    """P_m in percent by number of rounds."""
    return 100 * rows.groupby("level")["weights_left"].first()


def at(means: "pd.Series[float]", rows: Rows, p_m: float) -> float:
    """The entry of a mean by level at P_m (percent), or within a tenth of it: levels depend on the layers' sizes."""
    off = (percent(rows) / p_m - 1).abs()
    return float(means.get(off.idxmin(), math.nan)) if off.min() < 0.1 else math.nan


def within(rows: Rows, low: float, high: float) -> "pd.Index[int]":
    """The pruned levels with P_m in [low, high] percent."""
    levels = percent(rows)
    return levels[(levels >= low) & (levels <= high) & (levels.index > 0)].index


def down_to(p_m: float, value: Statistic) -> Statistic:
    """The statistic where pruning went down to that P_m (percent), nothing elsewhere: it is about all levels."""
    return lambda rows: value(rows) if percent(rows).min() < 1.1 * p_m else math.nan


def compared(column: str, network: str, p_m: float, against: str, how: Callable[[float, float], float]) -> Statistic:
    """``how`` the mean of a network at P_m (percent) compares with that of another one there (or of the dense one)."""

    def value(rows: Rows) -> float:
        own = at(by_level(rows, network, column), rows, p_m)
        return how(own, at(by_level(rows, against, column), rows, DENSE if against == "dense" else p_m))

    return value


def early_stop_ratio(network: str, p_m: float, against: str = "dense") -> Statistic:
    """The early-stop iteration over the other network's."""
    return compared("early_stop", network, p_m, against, truediv)


def gain(network: str, p_m: float, against: str = "dense") -> Statistic:
    """The test accuracy at early stop minus the other network's, in points."""
    return compared("test", network, p_m, against, sub)


def falls_below(network: str) -> Statistic:
    """The largest P_m (percent) from which on a network is less accurate than the dense one; 0 if it never is."""

    def value(rows: Rows) -> float:
        accuracy, levels = by_level(rows, network, "test"), percent(rows)
        last_good = max(accuracy[accuracy >= dense_mean(rows, "test")].index, default=0)
        below = accuracy.index[accuracy.index > last_good]
        return float(levels[below[0]]) if len(below) else 0.0

    return value


def best_gain_at_the_end(rows: Rows) -> float:
    """The largest gain in final test accuracy of any ticket over the dense network, in points."""
    return float(by_level(rows, "ticket", "final_test").max() - dense_mean(rows, "final_test"))


def lowest_training_accuracy(rows: Rows) -> float:
    """The lowest final training accuracy of tickets and reinitialisations with P_m >= 5 %, in percent."""
    own = rows[rows["network"].isin(["ticket", "reinit"]) & (rows["weights_left"] >= 0.05)]
    return float(own["final_train"].min())


def iterative_over_one_shot(over_levels: Callable[["pd.Series[float]"], float]) -> Statistic:
    """How much more accurate iterative tickets are than one-shot ones, in points: one number for P_m <= 10 %.

    NaN where a network of these levels was lost to divergence, and so are the two statistics below.
    """

    def value(rows: Rows) -> float:
        difference = by_level(rows, "ticket", "test") - by_level(rows, "one-shot", "test")
        return float(over_levels(difference.reindex(within(rows, 0, 10))))

    return value


def one_shot_slowest(rows: Rows) -> float:
    """The largest early-stop ratio of one-shot tickets to the dense network over 67.5 >= P_m >= 17.6 %."""
    stops = by_level(rows, "one-shot", "early_stop").reindex(within(rows, 17.6, 67.5))
    return float(stops.max(skipna=False) / dense_mean(rows, "early_stop"))


def one_shot_least_accurate(rows: Rows) -> float:
    """The smallest gain of one-shot tickets over the dense network over 95.0 >= P_m >= 5.17 %, in points."""
    accuracy = by_level(rows, "one-shot", "test").reindex(within(rows, 5.17, 95.0))
    return float(accuracy.min(skipna=False) - dense_mean(rows, "test"))


CLAIMS: Sequence[Claim] = (
    Claim(
        id="lt-fig4a-21-earlier",
        source="Section 2, Figure 4a",
        paper=0.62,
        **of_means(
            "Early-stop iteration of the ticket at P_m = 21.1 % over the dense network's (38 % earlier)",
            early_stop_ratio("ticket", AT_21),
        ),
        holds=lambda ratio: 0.4 <= ratio <= 0.85,
        tolerance="0.4 to 0.85; same direction below 1",
        same_direction=lambda ratio: ratio < 1,
    ),
    Claim(
        id="lt-fig4a-21-accuracy",
        source="Section 2, Figure 4a",
        **of_means(
            "Test accuracy at early stop of the ticket at P_m = 21.1 % minus the dense network's (points)",
            gain("ticket", AT_21),
        ),
        holds=lambda points: points >= 0,
        tolerance=">= 0: no less accurate",
    ),
    Claim(
        id="lt-fig4a-13-accuracy",
        source="Section 2",
        paper=0.3,
        **of_means(
            "Test accuracy at early stop of the ticket at P_m = 13.5 % minus the dense network's (points, > 0.3)",
            gain("ticket", AT_13),
        ),
        holds=lambda points: points > 0.3,
        tolerance="> 0.3; same direction above 0",
        same_direction=lambda points: points > 0,
    ),
    Claim(
        id="lt-fig4a-21-reinit-slower",
        source="Section 2, Figure 4a",
        paper=2.51,
        **of_means(
            "Early-stop iteration of reinitialised tickets over the ticket's, P_m = 21.1 %",
            early_stop_ratio("reinit", AT_21, "ticket"),
        ),
        holds=lambda ratio: 1.5 <= ratio <= 4,
        tolerance="1.5 to 4; same direction above 1",
        same_direction=lambda ratio: ratio > 1,
    ),
    Claim(
        id="lt-fig4a-21-reinit-worse",
        source="Section 2, Figure 4a",
        paper=-0.5,
        **of_means(
            "Test accuracy at early stop of reinitialised tickets minus the ticket's, P_m = 21.1 % (points)",
            gain("reinit", AT_21, "ticket"),
        ),
        holds=lambda points: -0.9 <= points <= -0.2,
        tolerance="-0.9 to -0.2; same direction below 0",
        same_direction=lambda points: points < 0,
    ),
    Claim(
        id="lt-fig4a-3-accuracy",
        source="Section 2",
        paper=0,
        **of_means(
            "At P_m = 3.6 % tickets are back at the dense network's test accuracy (difference, points)",
            gain("ticket", AT_3),
        ),
        holds=lambda points: abs(points) <= 0.2,
        tolerance="within 0.2 points",
    ),
    Claim(
        id="lt-fig4a-3-early-stop",
        source="Section 2",
        paper=1,
        **of_means(
            "At P_m = 3.6 % tickets are back at the dense network's early-stop iteration (ratio)",
            early_stop_ratio("ticket", AT_3),
        ),
        holds=lambda ratio: 0.75 <= ratio <= 1.33,
        tolerance="0.75 to 1.33",
    ),
    Claim(
        id="lt-sec2-reinit-below",
        source="Section 2",
        paper=21.1,
        **of_curves(
            "P_m from which on reinitialised tickets are less accurate than the dense network (percent)",
            down_to(AT_3, falls_below("reinit")),
        ),
        holds=lambda left: 13 <= left <= 33,
        tolerance="13 to 33: two levels either way; same direction when above the tickets' 2.9",
        same_direction=lambda left: left > 2.9,
    ),
    Claim(
        id="lt-sec2-ticket-below",
        source="Section 2",
        paper=2.9,
        **of_curves(
            "P_m from which on tickets are less accurate than the dense network (percent)",
            down_to(1.9, falls_below("ticket")),
        ),
        holds=lambda left: 1.8 <= left <= 4.5,
        tolerance="1.8 to 4.5: two levels either way; same direction when below the reinitialised ones' 21.1",
        same_direction=lambda left: left < 21,
    ),
    Claim(
        id="lt-fig1-21-random-slower",
        source="Figure 1",
        **of_means(
            "Early-stop iteration of random sparse networks over the ticket's, P_m = 21.1 %",
            early_stop_ratio("random", AT_21, "ticket"),
        ),
        holds=lambda ratio: ratio > 1,
        tolerance="> 1",
    ),
    Claim(
        id="lt-fig1-21-random-worse",
        source="Figure 1",
        **of_means(
            "Test accuracy at early stop of random sparse networks minus the ticket's, P_m = 21.1 % (points)",
            gain("random", AT_21, "ticket"),
        ),
        holds=lambda points: points < 0,
        tolerance="< 0",
    ),
    Claim(
        id="lt-fig4b-best-gain",
        source="Section 2, Figure 4b",
        paper=0.35,
        **of_means(
            "Largest gain of a ticket over the dense network in test accuracy at the end of training (points)",
            down_to(AT_3, best_gain_at_the_end),
        ),
        holds=lambda points: 0.15 <= points <= 0.55,
        tolerance="0.15 to 0.55; same direction above 0",
        same_direction=lambda points: points > 0,
    ),
    Claim(
        id="lt-fig4b-train-accuracy",
        source="Section 2, Figure 4b",
        statement="Lowest training accuracy at the end, tickets and reinitialised ones with P_m >= 5 % (percent)",
        paper=100,
        measure=own_values(down_to(5.6, lowest_training_accuracy)),
        average=fmean,
        holds=lambda accuracy: accuracy >= 99.9,
        tolerance=">= 99.9",
    ),
    *(
        Claim(
            id=f"lt-fig4c-iterative-better{suffix}",
            source="Section 2, Figure 4c",
            **of_means(
                f"Test accuracy at early stop, iterative minus one-shot tickets, {which} over P_m <= 10 % (points)",
                down_to(AT_3, iterative_over_one_shot(over_levels)),
            ),
            holds=lambda points: points > 0,
            tolerance="> 0",
        )
        for suffix, which, over_levels in (
            ("", "smallest", partial(pd.Series.min, skipna=False)),
            ("-mean", "mean", fmean),
        )
    ),
    Claim(
        id="lt-fig4c-one-shot-faster",
        source="Section 2, Figure 4c",
        **of_means(
            "One-shot tickets stop before the dense network for 67.5 >= P_m >= 17.6 % (largest ratio)",
            down_to(AT_21, one_shot_slowest),
        ),
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
    ),
    Claim(
        id="lt-fig4c-one-shot-accuracy",
        source="Section 2, Figure 4c",
        **of_means(
            "One-shot tickets beat the dense network for 95.0 >= P_m >= 5.17 % (smallest gain, points)",
            down_to(5.6, one_shot_least_accurate),
        ),
        holds=lambda points: points > 0,
        tolerance="> 0",
    ),
)

"""The paper's claims about LeNet on MNIST, as functions of recorded rows: a row is one network of one trial."""

from collections.abc import Callable, Sequence
from operator import sub, truediv
from statistics import fmean

import pandas as pd

from shared.claims import Claim

Rows = pd.DataFrame

AT_21, AT_13, AT_3 = 21.1, 13.5, 3.6  # P_m in percent, as the paper labels its levels
DENSE = 100.0


def down_to(weights_left: float, measure: Callable[[Rows], list[float]]) -> Callable[[Rows], list[float]]:
    """The measurement where pruning went down to that P_m (percent), nothing elsewhere: a claim about all levels."""
    return lambda rows: measure(rows) if percent(rows).min() < 1.1 * weights_left else []


def by_level(rows: Rows, network: str, column: str) -> "pd.Series[float]":
    """The mean of a column over the trials (and the reinitialisations in each), by number of rounds."""
    return rows[rows["network"] == network].groupby("level")[column].mean()


def dense(rows: Rows, column: str) -> float:
    """The dense network's mean over the trials: what everything is compared with."""
    return float(rows.loc[rows["network"] == "dense", column].mean())


def percent(rows: Rows) -> "pd.Series[float]":
    """P_m in percent by number of rounds."""
    return 100 * rows.groupby("level")["weights_left"].first()


def per_trial(value: Callable[[Rows, Rows], float | None]) -> Callable[[Rows], list[float]]:
    """``value(the trial's rows, all rows)`` of each trial; one for which it is None does not count."""

    def measure(rows: Rows) -> list[float]:
        values = (value(trial, rows) for _, trial in rows.groupby("seed"))
        return [v for v in values if v is not None]

    return measure


def leaving_one_out(value: Callable[[Rows], float | None]) -> Callable[[Rows], list[float]]:
    """A statement about curves of means: its value with each of the trials left out in turn (the jackknife)."""

    def measure(rows: Rows) -> list[float]:
        trials = rows["seed"].unique()
        kept = [rows[rows["seed"] != trial] for trial in trials] if len(trials) > 1 else [rows]
        return [v for v in map(value, kept) if v is not None]

    return measure


def at(means: "pd.Series[float]", rows: Rows, weights_left: float) -> float | None:
    """The entry of a mean by level at a P_m (percent), or within a tenth of it: levels depend on the layers' sizes."""
    levels = percent(rows)
    near = levels[abs(levels / weights_left - 1) < 0.1].index.intersection(means.index)
    return float(means[near[0]]) if len(near) else None


def compared(
    column: str, network: str, weights_left: float, against: str, how: Callable[[float, float], float]
) -> Callable[[Rows], list[float]]:
    """``how`` a trial's mean of a network at a level compares with all trials' mean of another one there (or dense)."""

    def value(trial: Rows, rows: Rows) -> float | None:
        own = at(by_level(trial, network, column), rows, weights_left)
        other = at(by_level(rows, against, column), rows, DENSE if against == "dense" else weights_left)
        return None if own is None or other is None else how(own, other)

    return per_trial(value)


def early_stop_ratio(network: str, weights_left: float, against: str = "dense") -> Callable[[Rows], list[float]]:
    """The trial's early-stop iteration over the other network's."""
    return compared("early_stop", network, weights_left, against, truediv)


def gain(network: str, weights_left: float, against: str = "dense") -> Callable[[Rows], list[float]]:
    """The trial's test accuracy at early stop minus the other network's, in points."""
    return compared("test", network, weights_left, against, sub)


def falls_below(network: str) -> Callable[[Rows], float | None]:
    """The largest P_m (percent) from which on the mean accuracy stays below the dense network's; 0 if it never does."""

    def value(rows: Rows) -> float | None:
        accuracy, levels = by_level(rows, network, "test"), percent(rows)
        last_good = max(accuracy[accuracy >= dense(rows, "test")].index, default=0)
        below = accuracy.index[accuracy.index > last_good]
        return float(levels[below[0]]) if len(below) else 0.0

    return value


def best_gain_at_the_end(rows: Rows) -> float:
    """The largest mean gain in final test accuracy of any ticket over the dense network, in points."""
    return float(by_level(rows, "ticket", "final_test").max() - dense(rows, "final_test"))


def within(rows: Rows, low: float, high: float) -> "pd.Index[int]":
    """The pruned levels with P_m in [low, high] percent."""
    levels = percent(rows)
    return levels[(levels >= low) & (levels <= high) & (levels.index > 0)].index


def iterative_over_one_shot(trial: Rows, rows: Rows) -> float:
    """How much more accurate iterative tickets are than one-shot ones, mean over P_m <= 10 %, in points."""
    difference = by_level(trial, "ticket", "test") - by_level(trial, "one-shot", "test")
    return float(difference[within(rows, 0, 10)].mean())


def lowest_training_accuracy(trial: Rows, rows: Rows) -> float:
    """The lowest final training accuracy of tickets and reinitialisations with P_m >= 5 %, in percent."""
    own = trial[trial["network"].isin(["ticket", "reinit"]) & (trial["weights_left"] >= 0.05)]
    return float(own["final_train"].min())


def one_shot_slowest(rows: Rows) -> float:
    """The largest early-stop ratio of one-shot tickets to the dense network over 67.5 >= P_m >= 17.6 %."""
    stops = by_level(rows, "one-shot", "early_stop")[within(rows, 17.6, 67.5)]
    return float(stops.max() / dense(rows, "early_stop"))


def one_shot_least_accurate(rows: Rows) -> float:
    """The smallest gain of one-shot tickets over the dense network over 95.0 >= P_m >= 5.17 %, in points."""
    accuracy = by_level(rows, "one-shot", "test")[within(rows, 5.17, 95.0)]
    return float(accuracy.min() - dense(rows, "test"))


CLAIMS: Sequence[Claim] = (
    Claim(
        id="lt-fig4a-21-earlier",
        source="Section 2, Figure 4a",
        statement="Early-stop iteration of the ticket at P_m = 21.1 % over the dense network's (38 % earlier)",
        paper=0.62,
        measure=early_stop_ratio("ticket", AT_21),
        average=fmean,
        holds=lambda ratio: 0.4 <= ratio <= 0.85,
        tolerance="0.4 to 0.85; same direction below 1",
        same_direction=lambda ratio: ratio < 1,
    ),
    Claim(
        id="lt-fig4a-21-accuracy",
        source="Section 2, Figure 4a",
        statement="Test accuracy at early stop of the ticket at P_m = 21.1 % minus the dense network's (points)",
        measure=gain("ticket", AT_21),
        average=fmean,
        holds=lambda points: points >= 0,
        tolerance=">= 0: no less accurate",
    ),
    Claim(
        id="lt-fig4a-13-accuracy",
        source="Section 2",
        statement="Test accuracy at early stop of the ticket at P_m = 13.5 % minus the dense network's (points, > 0.3)",
        paper=0.3,
        measure=gain("ticket", AT_13),
        average=fmean,
        holds=lambda points: points > 0.3,
        tolerance="> 0.3; same direction above 0",
        same_direction=lambda points: points > 0,
    ),
    Claim(
        id="lt-fig4a-21-reinit-slower",
        source="Section 2, Figure 4a",
        statement="Early-stop iteration of reinitialised tickets over the ticket's, P_m = 21.1 %",
        paper=2.51,
        measure=early_stop_ratio("reinit", AT_21, "ticket"),
        average=fmean,
        holds=lambda ratio: 1.5 <= ratio <= 4,
        tolerance="1.5 to 4; same direction above 1",
        same_direction=lambda ratio: ratio > 1,
    ),
    Claim(
        id="lt-fig4a-21-reinit-worse",
        source="Section 2, Figure 4a",
        statement="Test accuracy at early stop of reinitialised tickets minus the ticket's, P_m = 21.1 % (points)",
        paper=-0.5,
        measure=gain("reinit", AT_21, "ticket"),
        average=fmean,
        holds=lambda points: -0.9 <= points <= -0.2,
        tolerance="-0.9 to -0.2; same direction below 0",
        same_direction=lambda points: points < 0,
    ),
    Claim(
        id="lt-fig4a-3-accuracy",
        source="Section 2",
        statement="At P_m = 3.6 % tickets are back at the dense network's test accuracy (difference, points)",
        paper=0,
        measure=gain("ticket", AT_3),
        average=fmean,
        holds=lambda points: abs(points) <= 0.2,
        tolerance="within 0.2 points",
    ),
    Claim(
        id="lt-fig4a-3-early-stop",
        source="Section 2",
        statement="At P_m = 3.6 % tickets are back at the dense network's early-stop iteration (ratio)",
        paper=1,
        measure=early_stop_ratio("ticket", AT_3),
        average=fmean,
        holds=lambda ratio: 0.75 <= ratio <= 1.33,
        tolerance="0.75 to 1.33",
    ),
    Claim(
        id="lt-sec2-reinit-below",
        source="Section 2",
        statement="P_m from which on reinitialised tickets are less accurate than the dense network (percent)",
        paper=21.1,
        measure=down_to(AT_3, leaving_one_out(falls_below("reinit"))),
        holds=lambda left: 13 <= left <= 33,
        tolerance="13 to 33: two levels either way; same direction when above the tickets' 2.9",
        same_direction=lambda left: left > 2.9,
    ),
    Claim(
        id="lt-sec2-ticket-below",
        source="Section 2",
        statement="P_m from which on tickets are less accurate than the dense network (percent)",
        paper=2.9,
        measure=down_to(1.9, leaving_one_out(falls_below("ticket"))),
        holds=lambda left: 1.8 <= left <= 4.5,
        tolerance="1.8 to 4.5: two levels either way; same direction when below the reinitialised ones' 21.1",
        same_direction=lambda left: left < 21,
    ),
    Claim(
        id="lt-fig1-21-random-slower",
        source="Figure 1",
        statement="Early-stop iteration of random sparse networks over the ticket's, P_m = 21.1 %",
        measure=early_stop_ratio("random", AT_21, "ticket"),
        average=fmean,
        holds=lambda ratio: ratio > 1,
        tolerance="> 1",
    ),
    Claim(
        id="lt-fig1-21-random-worse",
        source="Figure 1",
        statement="Test accuracy at early stop of random sparse networks minus the ticket's, P_m = 21.1 % (points)",
        measure=gain("random", AT_21, "ticket"),
        average=fmean,
        holds=lambda points: points < 0,
        tolerance="< 0",
    ),
    Claim(
        id="lt-fig4b-best-gain",
        source="Section 2, Figure 4b",
        statement="Largest gain of a ticket over the dense network in test accuracy at the end of training (points)",
        paper=0.35,
        measure=down_to(AT_3, leaving_one_out(best_gain_at_the_end)),
        average=fmean,
        holds=lambda points: 0.15 <= points <= 0.55,
        tolerance="0.15 to 0.55; same direction above 0",
        same_direction=lambda points: points > 0,
    ),
    Claim(
        id="lt-fig4b-train-accuracy",
        source="Section 2, Figure 4b",
        statement="Lowest training accuracy at the end, tickets and reinitialised ones with P_m >= 5 % (percent)",
        paper=100,
        measure=down_to(5.6, per_trial(lowest_training_accuracy)),
        average=fmean,
        holds=lambda accuracy: accuracy >= 99.9,
        tolerance=">= 99.9",
    ),
    Claim(
        id="lt-fig4c-iterative-better",
        source="Section 2, Figure 4c",
        statement="Test accuracy at early stop, iterative minus one-shot tickets, mean over P_m <= 10 % (points)",
        measure=down_to(AT_3, per_trial(iterative_over_one_shot)),
        average=fmean,
        holds=lambda points: points > 0,
        tolerance="> 0",
    ),
    Claim(
        id="lt-fig4c-one-shot-faster",
        source="Section 2, Figure 4c",
        statement="One-shot tickets stop before the dense network for 67.5 >= P_m >= 17.6 % (largest ratio)",
        measure=down_to(21.1, leaving_one_out(one_shot_slowest)),
        average=fmean,
        holds=lambda ratio: ratio < 1,
        tolerance="< 1",
    ),
    Claim(
        id="lt-fig4c-one-shot-accuracy",
        source="Section 2, Figure 4c",
        statement="One-shot tickets beat the dense network for 95.0 >= P_m >= 5.17 % (smallest gain, points)",
        measure=down_to(5.6, leaving_one_out(one_shot_least_accurate)),
        average=fmean,
        holds=lambda points: points > 0,
        tolerance="> 0",
    ),
)

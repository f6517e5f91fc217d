"""The ledger: every rule that leads to a verdict, and a csv that says the same on every machine."""

import io
import math
from collections.abc import Callable, Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.claims import (
    COLUMNS,
    Claim,
    judge,
    ledger_text,
    measured_text,
    rank_correlation,
    unmeasured,
    verdict_counts,
)

ROWS = pd.DataFrame({"seed": [0, 1, 2]})


def a_claim(values: Sequence[float], **changes: object) -> Claim:
    """A claim that measures ``values``, holds from 1 and has the right direction above 0."""
    settings: dict = {
        "id": "gain",
        "source": "Table 1",
        "statement": "it gains",
        "measure": lambda rows: values,
        "holds": lambda value: value >= 1,
        "tolerance": "at least 1",
        "same_direction": lambda value: value > 0,
    }
    return Claim(**settings | changes)


def judged(values: Sequence[float], **changes: object) -> pd.Series:
    return judge([a_claim(values, **changes)], ROWS, "digits").iloc[0]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([1.0, 2.0, 0.0], "reproduced"),
        ([0.5, 2.0, 0.4], "same direction"),
        ([-1.0, 2.0, -0.4], "not reproduced"),
        ([], "not tested at this scale"),
        ([2.0, math.nan, 2.0], "not reproduced"),
        ([math.inf, math.inf, -math.inf], "not reproduced"),
    ],
)
def test_verdict(values: list[float], verdict: str) -> None:
    assert judged(values)["verdict"] == verdict


# Three seeds of a net that lasts and of one that may be lost; a third is trained with the first seed only.
JOBS = [
    {"net": net, "widths": [3], "seed": seed} for net, seeds in (("a", 3), ("b", 3), ("c", 1)) for seed in range(seeds)
]


@pytest.mark.parametrize(
    ("lost", "verdicts"),
    [
        ([], {"each a": "reproduced", "each b": "reproduced", "c": "reproduced", "count": "reproduced"}),
        ([4], {"each a": "reproduced", "each b": "not reproduced", "c": "reproduced", "count": "reproduced"}),
        ([3, 4], {"each a": "reproduced", "each b": "not reproduced", "c": "reproduced", "count": "reproduced"}),
        ([3, 4, 5], {"each a": "reproduced", "each b": "not reproduced", "c": "reproduced", "count": "reproduced"}),
        ([6], {"each a": "reproduced", "each b": "reproduced", "c": "not reproduced", "count": "reproduced"}),
    ],
)
def test_a_claim_that_lost_a_value_is_not_reproduced(lost: list[int], verdicts: dict[str, str]) -> None:
    def of(net: str) -> Callable[[pd.DataFrame], list[float]]:
        return lambda rows: list(rows.loc[(rows["net"] == net) & (rows["part"] == "end"), "gain"])

    rows = [job | {"part": "curve"} for job in JOBS]
    rows += [job | {"part": "end", "gain": 2.0} for i, job in enumerate(JOBS) if i not in lost]
    measures = {"each a": of("a"), "each b": of("b"), "c": of("c"), "count": lambda rows: [1.0]}
    claims = [a_claim([], id=name, measure=measure) for name, measure in measures.items()]
    claims.append(a_claim([], id="no scale's", measure=unmeasured))
    ledger = judge(claims, pd.DataFrame(rows), "digits", [JOBS[i] for i in lost]).set_index("id")
    assert ledger["verdict"].to_dict() == verdicts | {"no scale's": "not tested at this scale"}


def test_a_lost_job_unlike_all_others_leaves_their_claims_alone() -> None:
    rows = pd.DataFrame([{"net": "a", "widths": [3], "seed": 0}])
    measures = {"of a": lambda rows: [1.0] * len(rows), "of none": lambda rows: []}
    claims = [a_claim([], id=name, measure=measure) for name, measure in measures.items()]
    for lost in ({"net": "b", "widths": [3], "seed": 0}, {"net": "a", "widths": [3], "rate": 1.0, "seed": 0}):
        ledger = judge(claims, rows, "digits", [lost])
        assert list(ledger["verdict"]) == ["reproduced", "not reproduced"]


def test_without_any_rows_what_was_lost_is_not_reproduced() -> None:
    ledger = judge([a_claim([])], pd.DataFrame(), "digits", JOBS[:1])
    assert ledger["verdict"].item() == "not reproduced"


def test_without_a_direction_a_miss_is_not_reproduced() -> None:
    assert judged([0.5], same_direction=None)["verdict"] == "not reproduced"


def test_columns_and_values() -> None:
    ledger = judge([a_claim([3.0, 1.0], paper=98.4)], ROWS, "digits")
    assert tuple(ledger.columns) == COLUMNS
    assert ledger.iloc[0].to_dict() == {
        "id": "gain",
        "source": "Table 1",
        "statement": "it gains",
        "paper": "98.4",
        "measured": 2.0,
        "min": 1.0,
        "max": 3.0,
        "n": 2,
        "tolerance": "at least 1",
        "verdict": "reproduced",
        "data": "digits",
    }


def test_a_claim_without_a_printed_number_says_so() -> None:
    assert judged([1.0])["paper"] == "none printed"


def test_no_rows_measure_nothing() -> None:
    claim = a_claim([], measure=lambda rows: rows["bound"])
    assert judge([claim], pd.DataFrame(), "digits")["verdict"].item() == "not tested at this scale"


def test_the_verdict_is_on_the_median_before_it_is_rounded() -> None:
    assert judged([0.9999999])["verdict"] == "same direction"


def test_a_statistic_of_all_rows_takes_the_place_of_the_average() -> None:
    row = judged([0.1, 0.2, 0.3], whole=lambda rows: float(len(rows)))
    assert row[["measured", "min", "max", "n", "verdict"]].tolist() == [3.0, 0.1, 0.3, 3, "reproduced"]
    assert judged([], whole=lambda rows: 2.0)["verdict"] == "not tested at this scale"


def test_a_claim_may_have_data_of_its_own() -> None:
    assert judged([1.0], data="random inputs")["data"] == "random inputs"


def test_two_claims_with_one_id() -> None:
    with pytest.raises(ValueError, match="share an id: gain"):
        judge([a_claim([1.0]), a_claim([2.0])], ROWS, "digits")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=7))
def test_the_csv_is_stable_to_the_last_bits(values: list[float]) -> None:
    ledger = judge([a_claim(values)], ROWS, "digits")
    row = ledger.iloc[0]
    assert row["min"] <= row["measured"] <= row["max"]
    text = ledger.to_csv(index=False)
    assert pd.read_csv(io.StringIO(text), dtype={"paper": str}).to_csv(index=False) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "not measured"),
        ([1.0, math.nan], "not finite"),
        ([0.5], "0.5"),
        ([-97.31234, -98.0, -96.5], "-97.312 [-98, -96.5]"),
        ([1209866.0], "1209866"),
        ([2.5e17], "2.5e+17"),
    ],
)
def test_measured_text(values: list[float], text: str) -> None:
    assert measured_text(judged(values).to_dict()) == text


def test_ledger_text_shows_every_claim_and_the_counts() -> None:
    ledger = judge([a_claim([1.0, 2.0, 3.0]), a_claim([], id="later", paper=7)], ROWS, "digits")
    assert ledger_text(ledger).splitlines() == [
        "claim  paper         ours [min, max]  verdict",
        "-----  ------------  ---------------  ------------------------",
        "gain   none printed  2 [1, 3]         reproduced",
        "later  7             not measured     not tested at this scale",
        "",
        "2 claims: 1 reproduced, 1 not tested at this scale",
    ]
    assert verdict_counts(ledger[:1]) == "1 claim: 1 reproduced"


def test_rank_correlation_shares_the_ranks_of_equal_values() -> None:
    assert rank_correlation([0, 1, 2], [5, 5, 9]) == pytest.approx(math.sqrt(3) / 2)
    assert rank_correlation([0, 1, 2], [3, 1, 0]) == pytest.approx(-1)
    assert rank_correlation([0, 1, 2], [math.inf, math.inf, math.inf]) == 0

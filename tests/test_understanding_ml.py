"""The book's studies: each measures, draws and tests its claims at the smallest effort."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from papers.understanding_ml.studies import STUDIES
from papers.understanding_ml.study import measured
from shared.claims import judge
from shared.experiment import Run, Setting


@pytest.mark.parametrize("name", STUDIES)
def test_study(name: str, tmp_path: Path) -> None:
    study = STUDIES[name]
    job = {"study": name, "seed": 0, "effort": 0.01, "steps": 1}
    run = Run(job, Setting(folder=tmp_path, label="test", named_by=("study", "seed"), code=""))
    study.measure(run, job["effort"])
    rows = pd.DataFrame([job | row for row in run.rows])
    assert rows["part"].notna().all()
    assert run.arrays
    assert all(np.isfinite(array).all() for array in run.arrays.values() if array.dtype.kind == "f")
    assert isinstance(study.draw(rows, run.arrays), Figure)
    assert all(isinstance(data, bytes) and data for data in study.more(rows, run.arrays).values())
    ledger = judge(study.claims, rows, "test")
    assert (ledger["n"] > 0).all(), ledger[ledger["n"] == 0]["id"].tolist()
    assert all(claim.id.startswith("uml-") for claim in study.claims)


def test_a_claim_measures_nothing_where_its_part_was_not_recorded() -> None:
    rows = pd.DataFrame({"study": ["a", "a", "b"], "part": ["p", "p", "p"], "seed": [0, 1, 0], "x": [1.0, 2.0, 3.0]})
    assert measured("a", "p", lambda seed: float(seed["x"].iloc[0]))(rows) == [1, 2]
    assert measured("a", "q", lambda seed: float(seed["x"].iloc[0]))(rows) == []

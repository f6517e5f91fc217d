"""The report: README.md and results/README.md say what the committed files say, here and on a synthetic tree."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from shared.claims import Claim, judge
from shared.report import cell, main

RUN: dict[str, Any] = {
    "title": "Toy | paper",
    "figure": "Figure 2",
    "headline_claim": "gain",
    "command": "python papers/toy/run.py scale=full",
    "data": "MNIST",
    "wall_seconds": 200.4,
    "commit": "0123abc",
    "blas": "OpenBLAS SkylakeX",
    "cpu": "a CPU",
    "versions": {"python": "3.11", "numpy": "2.4"},
}
BENCH = [
    {"name": "step", "numpy_ms": 2.71828, "torch_ms": 5.0, "ratio": 0.5437, "threads": 2, "runs": 9, "cpu": "two cores"}
]
README = "# Title\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"


def a_result(root: Path, scale: str, paper: str = "toy", **changes: Any) -> Path:
    """Write one result folder with two claims and a figure."""
    folder = root / "results" / paper / scale
    folder.mkdir(parents=True)
    claims = [
        Claim("gain", "Table 1", "a < b |c|", lambda rows: [1.0, 2.0, 4.0], lambda value: value > 1, "> 1", paper=1.5),
        Claim("later", "Section 3", "not yet", lambda rows: [], lambda value: True, "any"),
    ]
    judge(claims, pd.DataFrame({"seed": [0]}), "MNIST").to_csv(folder / "claims.csv", index=False)
    (folder / "run.json").write_text(json.dumps(RUN | changes))
    (folder / "config.yaml").write_text("scale: full\n")
    for name in ("extra.png", "headline.png"):
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository root with markers and no results."""
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def table(root: Path) -> list[str]:
    return (root / "README.md").read_text().split("-->\n")[1].split("\n<!--")[0].splitlines()


def test_committed_tables_agree_with_the_committed_files(root: Path, tmp_path: Path) -> None:
    # What git holds, where it holds anything: a run on this machine changes the files that lie here.
    listed = subprocess.run(
        ["git", "ls-files", "-z", "README.md", "results"], cwd=root, capture_output=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        copy = ["git", "checkout-index", "-z", "--stdin", f"--prefix={tmp_path}/"]
        subprocess.run(copy, cwd=root, input=listed.stdout, check=True)
        for notes in root.glob("papers/*/notes.md"):
            target = tmp_path / notes.relative_to(root)
            target.parent.mkdir(parents=True)
            target.touch()
        root = tmp_path
    assert main(["--check"], root) == 0


def test_each_scale_has_a_row_and_full_comes_first(tree: Path) -> None:
    a_result(tree, "quick", data="digits", wall_seconds=42)
    a_result(tree, "full")
    for ignored in ("smoke", "custom-1a2b"):
        a_result(tree, ignored)
    (tree / "papers" / "toy").mkdir(parents=True)
    (tree / "papers" / "toy" / "notes.md").touch()
    assert main([], tree) == 0
    assert table(tree) == [
        "| paper | figure | headline claim | paper's number | ours | verdict | data | time | command |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| [Toy \\| paper](papers/toy/notes.md) | [Figure 2](results/toy/full/headline.png) | a &lt; b \\|c\\| | 1.5 "
        "| 2 [1, 4] | reproduced (2 claims: 1 reproduced, 1 not tested at this scale) | MNIST, full | 3 min 20 s "
        "| `python papers/toy/run.py scale=full` |",
        "| [Toy \\| paper](papers/toy/notes.md) | [Figure 2](results/toy/quick/headline.png) | a &lt; b \\|c\\| | 1.5 "
        "| 2 [1, 4] | reproduced (2 claims: 1 reproduced, 1 not tested at this scale) | digits, quick | 42 s "
        "| `python papers/toy/run.py scale=full` |",
    ]
    assert (tree / "README.md").read_text().endswith("<!-- results:end -->\nafter\n")


def test_details_show_ledger_figures_benchmarks_and_provenance(tree: Path) -> None:
    (a_result(tree, "full") / "bench.json").write_text(json.dumps(BENCH))
    assert main([], tree) == 0
    text = (tree / "results" / "README.md").read_text()
    assert "| `gain` | a &lt; b \\|c\\| | Table 1 | 1.5 | 2 [1, 4] | 3 | > 1 | reproduced | MNIST |" in text
    assert (
        "| `later` | not yet | Section 3 | none printed | not measured | 0 | any | not tested at this scale |" in text
    )
    assert "| step | 2.72 | 0.544 | 2 | 9 | two cores | PyTorch | 5 |" in text
    assert text.index("(toy/full/headline.png)") < text.index("(toy/full/extra.png)")
    assert "commit 0123abc; OpenBLAS SkylakeX; a CPU; 3 min 20 s; numpy 2.4, python 3.11." in text


def test_check_finds_stale_tables_and_writes_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = a_result(tree, "full")
    assert main(["--check"], tree) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert (tree / "README.md").read_text() == README
    assert not (tree / "results" / "README.md").exists()

    assert main([], tree) == 0
    assert main(["--check"], tree) == 0
    (folder / "run.json").write_text(json.dumps(RUN | {"wall_seconds": 60}))
    assert main(["--check"], tree) == 1


def test_a_folder_without_its_files_is_left_out(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (a_result(tree, "full") / "run.json").unlink()
    assert main([], tree) == 0
    assert "results/toy/full is left out: it has no run.json" in capsys.readouterr().err
    assert table(tree) == ["No results yet."]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", "{", "run.json: not valid JSON"),
        ("run.json", "[]", "run.json: expected a dict"),
        ("run.json", json.dumps(RUN | {"wall_seconds": float("nan")}), "run.json: not valid JSON"),
        ("run.json", json.dumps(RUN | {"title": None}), "run.json: 'title' is missing"),
        ("run.json", json.dumps(RUN | {"headline_claim": "other"}), "claims.csv: lacks the headline claim 'other'"),
        ("claims.csv", "", "claims.csv: not a ledger"),
        ("claims.csv", "id,verdict\ngain,reproduced\n", "claims.csv: the columns must be id,source,"),
        ("bench.json", json.dumps([{"name": "step"}]), "bench.json: an entry needs name, numpy_ms"),
    ],
)
def test_malformed_files(tree: Path, capsys: pytest.CaptureFixture[str], file: str, content: str, message: str) -> None:
    (a_result(tree, "full") / file).write_text(content)
    assert main([], tree) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert (tree / "README.md").read_text() == README


def test_an_invented_verdict_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = a_result(tree, "full") / "claims.csv"
    path.write_text(path.read_text().replace("reproduced", "proved"))
    assert main([], tree) == 1
    assert "'proved' is not a verdict" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "<!-- results:end -->\n<!-- results:begin -->\n"])
def test_a_readme_without_markers(tree: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tree / "README.md").write_text(text)
    assert main([], tree) == 1
    assert "lacks <!-- results:begin --> followed by <!-- results:end -->" in capsys.readouterr().err


def test_cell() -> None:
    assert cell("a|b\nc  <!-- d") == "a\\|b c &lt;!-- d"

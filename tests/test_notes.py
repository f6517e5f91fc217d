"""The notes of every paper: code that runs, links that lead somewhere, formulas that close, facts with a source."""

import re
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAPERS = ROOT / "papers"
NOTES = sorted([*PAPERS.glob("*/notes.md"), *PAPERS.glob("*/notes/*.md")])
REFERENCES = sorted(PAPERS.glob("*/reference.csv"))
COLUMNS = ["paper", "claim_id", "source", "quantity", "setting", "value", "unit", "exactness", "verified_how"]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE_MATH = re.compile(r"\$`([^`]*)`\$")
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
# GitHub refuses to render a formula with one of these.
REFUSED = ("operatorname", "mbox", "phantom", "def", "newcommand")

each_notes = pytest.mark.parametrize("notes", NOTES, ids=lambda path: str(path.relative_to(PAPERS)))
each_reference = pytest.mark.parametrize("reference", REFERENCES, ids=lambda path: path.parent.name)


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """The Python blocks as jupytext sees them, each with the number of its first line in the file."""
    position = 0
    for cell in jupytext.reads(text, fmt="md").cells:
        if cell.cell_type == "code":
            position = text.index(cell.source, position)
            yield text.count("\n", 0, position) + 1, cell.source
            position += len(cell.source)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def formulas(text: str) -> list[str]:
    display = [body for _, language, body in FENCE.findall(text) if language == "math"]
    return display + INLINE_MATH.findall(prose(text))


def test_there_are_notes() -> None:
    assert NOTES
    assert REFERENCES


@each_notes
def test_blocks_run_in_order(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the notes need no particular working directory
    namespace = {"__name__": "notes"}
    for line, source in blocks(notes.read_text()):
        # Blank lines in front: a traceback then names the line in notes.md.
        exec(compile("\n" * (line - 1) + source, str(notes), "exec"), namespace)


@each_notes
def test_every_derivation_asserts(notes: Path) -> None:
    found = list(blocks(notes.read_text()))
    silent = [line for line, source in found[1:] if not re.search(r"^\s*(assert |check\()", source, re.MULTILINE)]
    assert len(found) > 1
    assert not silent, f"blocks that check nothing, at lines {silent}"


@each_notes
def test_relative_links_lead_to_files(notes: Path) -> None:
    targets = [t.split("#")[0] for t in LINK.findall(INLINE_CODE.sub("", prose(notes.read_text()))) if "://" not in t]
    paths = [(notes.parent / target).resolve() for target in targets if target]
    # Pictures of results appear with the run that makes them.
    missing = [path for path in paths if not path.is_relative_to(ROOT / "results") and not path.exists()]
    assert paths
    assert not missing


@each_notes
def test_formulas_close(notes: Path) -> None:
    text = notes.read_text()
    found = formulas(text)
    assert found
    for formula in found:
        bare = re.sub(r"\\[\\{}]", "", formula)
        depth = 0
        for character in bare:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0, formula
        assert depth == 0, formula
        assert len(re.findall(r"\\left\b", formula)) == len(re.findall(r"\\right\b", formula)), formula
        assert re.findall(r"\\begin\{(\w+)\}", formula) == re.findall(r"\\end\{(\w+)\}", formula), formula
        refused = [name for name in re.findall(r"\\([a-zA-Z]+)", formula) if name in REFUSED]
        assert not refused, f"GitHub does not render \\{refused[0]}: {formula}"


@each_notes
def test_every_dollar_belongs_to_a_formula(notes: Path) -> None:
    left = INLINE_CODE.sub("", INLINE_MATH.sub("", prose(notes.read_text())))
    assert "$" not in left, left[max(0, left.index("$") - 80) : left.index("$") + 80]
    assert "```" not in left, "a fence that does not close"


@each_reference
def test_facts_of_the_paper_have_a_source(reference: Path) -> None:
    facts = pd.read_csv(reference, dtype=str, keep_default_na=False)
    assert list(facts.columns) == COLUMNS
    assert len(facts)
    assert (facts["paper"] == reference.parent.name).all()
    assert facts["claim_id"].is_unique
    for column in ("claim_id", "source", "quantity", "value", "exactness", "verified_how"):
        assert (facts[column].str.strip() != "").all(), column
    cells = facts.stack().str.lower()
    assert not cells[cells.str.contains("from memory|unverified|read off a plot")].size

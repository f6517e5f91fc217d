"""``python -m shared.report``: the tables in README.md and results/README.md, from the committed result files alone."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from shared.claims import COLUMNS, VERDICTS, measured_text, verdict_counts
from shared.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
SCALES = ("paper", "full", "quick")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

RUN_KEYS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "figure": str,
    "headline_claim": str,
    "command": str,
    "data": str,
    "wall_seconds": (int, float),
    "commit": str,
    "blas": str,
    "cpu": str,
    "versions": dict,
}
BENCH_COLUMNS = ("name", "numpy_ms", "ratio", "threads", "runs", "cpu")
PEERS = {"torch_ms": "PyTorch", "sklearn_ms": "scikit-learn"}


@dataclass(frozen=True)
class Result:
    """One paper at one scale, as it lies in ``results/<paper>/<scale>/``."""

    paper: str
    scale: str
    run: dict[str, Any]
    ledger: pd.DataFrame
    bench: list[dict[str, Any]]
    images: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Relative to results/."""
        return f"{self.paper}/{self.scale}"

    @property
    def headline(self) -> dict[Any, Any]:
        """The ledger's row that stands for the paper."""
        return next(row for row in self.ledger.to_dict("records") if row["id"] == self.run["headline_claim"])


def read_results(root: Path) -> tuple[list[Result], list[str]]:
    """Every paper at its scales, the largest first, and a message for each folder left out because a file is missing.

    Raises RunError where a file is there and is not what it should be.
    """
    results, messages = [], []
    for paper in sorted(path.name for path in (root / "results").glob("*") if path.is_dir()):
        for scale in SCALES:
            folder = root / "results" / paper / scale
            if not folder.is_dir():
                continue
            if missing := [name for name in ("claims.csv", "run.json") if not (folder / name).is_file()]:
                messages.append(f"warning: results/{paper}/{scale} is left out: it has no {' and no '.join(missing)}")
                continue
            results.append(_read_result(folder))
    return results, messages


def _read_result(folder: Path) -> Result:
    run = _read_json(folder / "run.json", dict)
    for key, kind in RUN_KEYS.items():
        if not isinstance(run.get(key), kind):
            raise RunError(f"{folder / 'run.json'}: {key!r} is missing or of a wrong type. Run the paper again.")
    ledger = _read_ledger(folder / "claims.csv")
    if run["headline_claim"] not in set(ledger["id"]):
        raise RunError(f"{folder / 'claims.csv'}: lacks the headline claim {run['headline_claim']!r}. Run it again.")
    bench = _read_json(folder / "bench.json", list) if (folder / "bench.json").is_file() else []
    for entry in bench:
        if not isinstance(entry, dict) or not set(BENCH_COLUMNS) <= set(entry) or len(PEERS.keys() & entry) != 1:
            wanted = f"{', '.join(BENCH_COLUMNS)} and one of {', '.join(PEERS)}"
            raise RunError(f"{folder / 'bench.json'}: an entry needs {wanted}. Run make bench.")
    images = sorted((path.name for path in folder.glob("*.png")), key=lambda name: (name != "headline.png", name))
    return Result(folder.parent.name, folder.name, run, ledger, bench, tuple(images))


def _read_json(path: Path, kind: type) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error}). Restore it or run the paper again.") from error
    if not isinstance(value, kind):
        raise RunError(f"{path}: expected a {kind.__name__}. Restore it or run the paper again.")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _read_ledger(path: Path) -> pd.DataFrame:
    numbers = {"measured": float, "min": float, "max": float, "n": int}
    types = {column: numbers.get(column, str) for column in COLUMNS}
    blanks = {column: ["", "nan"] for column in ("measured", "min", "max")}
    try:
        ledger = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=blanks)
    except ValueError as error:
        raise RunError(f"{path}: not a ledger ({error}). Run the paper again.") from error
    if tuple(ledger.columns) != COLUMNS:
        raise RunError(f"{path}: the columns must be {','.join(COLUMNS)}. Run the paper again.")
    if unknown := sorted(set(ledger["verdict"]) - set(VERDICTS)):
        raise RunError(f"{path}: {unknown[0]!r} is not a verdict. Run the paper again.")
    return ledger


def cell(text: object) -> str:
    """``text`` as the content of one Markdown table cell: a pipe, a line break or a tag would end it early."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the cells are escaped already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def _duration(seconds: float) -> str:
    """``seconds`` in the two largest units that matter: 42 s, 3 min 20 s, 5 h 7 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def overview(results: Sequence[Result], root: Path) -> str:
    """README.md's table: a row per paper and scale with the paper's headline claim."""
    if not results:
        return "No results yet."
    header = ("paper", "figure", "headline claim", "paper's number", "ours", "verdict", "data", "time", "command")
    return _table(header, (_overview_row(result, root) for result in results))


def _overview_row(result: Result, root: Path) -> list[str]:
    run, claim = result.run, result.headline
    title, figure = cell(run["title"]), cell(run["figure"])
    if (root / "papers" / result.paper / "notes.md").is_file():
        title = f"[{title}](papers/{result.paper}/notes.md)"
    if result.images:
        figure = f"[{figure}](results/{result.folder}/{result.images[0]})"
    return [
        title,
        figure,
        cell(claim["statement"]),
        cell(claim["paper"]),
        cell(measured_text(claim)),
        f"{claim['verdict']} ({verdict_counts(result.ledger)})",
        cell(f"{run['data']}, {result.scale}"),
        _duration(run["wall_seconds"]),
        _code(run["command"]),
    ]


def details(results: Sequence[Result]) -> str:
    """The whole of results/README.md: ledger, figures, benchmarks and provenance of each paper at each scale."""
    intro = (
        "# Results\n\nMade by `make report` from the files in these folders; edits here are overwritten. *Ours* is the "
        "median over the seeds, or the mean where the paper reports means over trials, with its range; *n* is how many "
        "values it is made of."
    )
    return "\n\n".join([intro, *(map(_section, results) if results else ["No results yet."])]) + "\n"


def _section(result: Result) -> str:
    run, folder = result.run, result.folder
    header = ("claim", "statement", "source", "paper", "ours", "n", "tolerance", "verdict", "data")
    rows = (row | {"ours": measured_text(row)} for row in result.ledger.to_dict("records"))
    ledger = _table(header, ([_code(row["id"]), *(cell(row[name]) for name in header[1:])] for row in rows))
    images = [f"![{cell(run['title'])}, {result.scale}: {Path(name).stem}]({folder}/{name})" for name in result.images]
    parts = [f"## {cell(run['title'])}: {result.scale}", f"{cell(run['figure'])}, on {cell(run['data'])}.", ledger]
    parts += [verdict_counts(result.ledger) + ".", *images]
    if result.bench:
        columns = ("one step or fit", "NumPy, ms", "ratio", "threads", "runs", "CPU", "against", "its ms")
        parts.append(_table(columns, map(_timing, result.bench)))
    return "\n\n".join([*parts, _provenance(run)])


def _timing(entry: dict[str, Any]) -> list[str]:
    (peer,) = PEERS.keys() & entry
    return [*(cell(_number(entry[column])) for column in BENCH_COLUMNS), PEERS[peer], _number(entry[peer])]


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _provenance(run: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run["versions"].items()))
    facts = (f"commit {run['commit']}", run["blas"], run["cpu"], _duration(run["wall_seconds"]), versions)
    return f"{_code(run['command'])}: " + "; ".join(map(cell, facts)) + "."


def render(root: Path) -> tuple[dict[Path, str], list[str]]:
    """The text that README.md and results/README.md should have, and the messages of ``read_results``.

    Raises RunError for a malformed result file and for a README.md without the two markers.
    """
    results, messages = read_results(root)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise RunError(f"{readme}: lacks {BEGIN} followed by {END}. Put both where the table belongs.")
    table = f"{head}{BEGIN}\n{overview(results, root)}\n{END}{tail}"
    return {readme: table, root / "results" / "README.md": details(results)}, messages


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write both files, or with ``--check`` only say whether they are stale; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m shared.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a table is stale")
    check = parser.parse_args(arguments).check
    try:
        pages, messages = render(root)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for message in messages:
        print(message, file=sys.stderr)
    stale = [page for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    if check and stale:
        print(f"error: {' and '.join(map(str, stale))}: stale. Run make report.", file=sys.stderr)
        return 1
    for page in stale:
        page.parent.mkdir(exist_ok=True)
        page.write_text(pages[page], encoding="utf-8")
        print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A scale's results folder: opened only if it can be used, published whole, with the provenance of every number."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from shared import machine
from shared.errors import BadRequest, Stopped
from shared.experiment import Board, Experiment, Setting
from shared.files import write_files

ROOT = Path(__file__).resolve().parent.parent
CELLS = 4096  # of the board: the stop signal and one step counter a job


def results_root() -> Path:
    """``MLF_RESULTS`` when set, else the repository's ``results``: never a matter of the current directory."""
    return Path(os.environ.get("MLF_RESULTS") or ROOT / "results").expanduser().absolute()


def check_writable(folder: Path) -> None:
    """BadRequest naming the path when the folder, or what would hold it, is no folder or may not be written."""
    existing = folder
    while not existing.exists() and not existing.is_symlink():
        existing = existing.parent
    if not existing.is_dir():
        raise BadRequest(f"{existing} is not a folder, and results go under {folder}. Move it, or set MLF_RESULTS.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BadRequest(f"{existing} cannot be written, and results go under {folder}. Set MLF_RESULTS to another.")


def code_digest(paper: str) -> str:
    """Eight hex digits over the sources that a paper's numbers depend on: ``shared`` and its own package."""
    sources = sorted([*(ROOT / "shared").rglob("*.py"), *(ROOT / "papers" / paper).rglob("*.py")])
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def commit() -> str:
    """The git commit of the sources, with "+" when they differ from it; "unknown" outside a checkout."""
    try:
        git = ["git", "-C", str(ROOT)]
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "shared", "papers", "conf"], capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout else "")


@contextmanager
def opened(folder: Path, setting: Setting, workers: int, cluster: Any = None) -> Iterator[Experiment]:
    """An Experiment in the folder of a scale; SIGINT and SIGTERM inside the block become a stop at the next step."""
    check_writable(folder)
    runs = setting.folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder, runs)
    board_path = runs / f"board-{os.getpid()}"
    write_files({board_path: bytes(8 * CELLS)})
    board = Board(board_path)

    def stop(number: int, frame: FrameType | None) -> None:
        board.stop = number

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Experiment(setting, workers, board, board_path, cluster)
    finally:
        board_path.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def remove_leftovers(folder: Path, runs: Path) -> None:
    """Temporary files of a killed command, and the boards of processes that are gone."""
    for path in folder.glob("*.tmp"):
        path.unlink(missing_ok=True)
    for board in runs.glob("board-*"):
        pid = int(board.name.split("-")[1].split(".")[0])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            board.unlink(missing_ok=True)
        except PermissionError:
            continue


def publish(
    folder: Path,
    experiment: Experiment,
    rows: pd.DataFrame,
    claims: pd.DataFrame,
    figures: Mapping[str, Figure],
    provenance: Mapping[str, Any],
    config: str,
) -> bool:
    """Write rows.csv, claims.csv, the figures, config.yaml and run.json, all or none; False when they are up to date.

    Up to date: nothing was trained, and rows and code are those of the run.json that is there.
    """
    csv = rows.to_csv(index=False)
    digest = hashlib.sha256(csv.encode()).hexdigest()
    record = {
        **provenance,
        "commit": commit(),
        "code": experiment.setting.code,
        "versions": machine.versions(),
        "blas": " ".join(str(value) for value in machine.blas().values()),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "workers": experiment.workers,
        "threads": experiment.setting.threads,
        "wall_seconds": round(sum(record.get("seconds", 0) for record in experiment.records) / experiment.workers, 1),
        "rows_sha256": digest,
        "diverged": [experiment.setting.name(outcome.job) for outcome in experiment.failures],
        "runs": [
            {"name": record["name"], "seconds": round(record.get("seconds", 0), 1), "ran_under": record["history"]}
            for record in experiment.records
        ],
    }
    if not experiment.trained and not experiment.failures and up_to_date(folder, record, figures):
        return False
    files = {
        folder / "rows.csv": csv.encode(),
        folder / "claims.csv": claims.to_csv(index=False).encode(),
        **{folder / f"{name}.png": png(figure) for name, figure in figures.items()},
        folder / "config.yaml": config.encode(),
        folder / "run.json": (json.dumps(record, indent=1) + "\n").encode(),
    }
    if experiment.board.stop:
        reached = int(experiment.board.cells[1:].sum())
        raise Stopped(f"stopped at step {reached}, before the figures; the same command resumes", experiment.board.stop)
    write_files(files)
    return True


def up_to_date(folder: Path, record: Mapping[str, Any], figures: Mapping[str, Figure]) -> bool:
    """Whether the folder's run.json was written from these rows by this code, and its files are all there."""
    try:
        there = json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return False
    names = ["rows.csv", "claims.csv", "config.yaml", *(f"{name}.png" for name in figures)]
    same = all(there.get(key) == record[key] for key in ("rows_sha256", "code"))
    return same and all((folder / name).exists() for name in names)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure (no dates in it)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": f"matplotlib {matplotlib.__version__}"})
    return buffer.getvalue()



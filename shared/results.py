"""A scale's results folder: opened only if it can be used, published whole, with the provenance of every number."""

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd

from shared import machine
from shared.experiment import Board, Experiment, Setting
from shared.files import check_writable, write_files

ROOT = Path(__file__).resolve().parent.parent
CELLS = 4096  # of the board: the stop signal and one step counter a job


def results_root() -> Path:
    """``MLF_RESULTS`` when set, else the repository's ``results``: never a matter of the current directory."""
    return Path(os.path.expanduser(os.environ.get("MLF_RESULTS") or ROOT / "results")).absolute()


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
    runs = setting.folder / "runs"
    for needed in (folder, runs):
        check_writable(needed)
    for needed in (folder, runs):
        needed.mkdir(parents=True, exist_ok=True)
    remove_boards(runs)
    board_path = runs / f"board-{os.getpid()}"
    write_files({board_path: bytes(8 * CELLS)})
    board = Board(board_path)

    def stop(number: int, frame: FrameType | None) -> None:
        board.stop = number

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    experiment = Experiment(folder, setting, workers, board, board_path, cluster)
    try:
        yield experiment
    finally:
        if experiment.held is not None:
            experiment.held.close()
        board_path.unlink(missing_ok=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def remove_boards(runs: Path) -> None:
    """Remove the boards of processes that are gone."""
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
    files: Mapping[str, bytes],
    draw: Callable[[], Mapping[str, bytes]],
    facts: Mapping[str, Any],
) -> bool:
    """Write rows.csv, the files, what ``draw`` gives and run.json, all or none; False when they are up to date.

    Up to date: there was nothing to do, and rows and code are those of the run.json that is there. Figures are drawn
    only when every job has all its rows.
    """
    csv = rows.to_csv(index=False).encode()
    rows_digest = hashlib.sha256(csv).hexdigest()
    if experiment.held is None and up_to_date(folder, rows_digest, experiment.setting.code):
        return False
    experiment.hold()
    everything = {"rows.csv": csv, **files, **({} if experiment.failures else draw())}
    record = {
        **facts,
        "code": experiment.setting.code,
        "versions": machine.versions(),
        "blas": " ".join(str(value) for value in machine.blas().values()),
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "workers": experiment.workers,
        "threads": experiment.setting.threads,
        "wall_seconds": round(wall_seconds(experiment), 1),
        "rows_sha256": rows_digest,
        "files": sorted(everything),
        "diverged": [experiment.setting.name(outcome.job) for outcome in experiment.failures],
        "runs": experiment.records,
    }
    if experiment.board.stop:
        raise experiment.stopped()
    everything["run.json"] = (json.dumps(record, indent=1) + "\n").encode()
    write_files({folder / name: data for name, data in everything.items()})
    return True


def wall_seconds(experiment: Experiment) -> float:
    """How long the jobs take when no core waits: a job that had the threads of several counts as several."""
    busy = sum(run["seconds"] * (run["ran_under"] or [{"threads": 1}])[-1]["threads"] for run in experiment.records)
    return busy / (experiment.workers * experiment.setting.threads)


def up_to_date(folder: Path, rows_digest: str, code: str) -> bool:
    """Whether the folder's run.json was written from these rows by this code and its files are there, none half."""
    try:
        there = json.loads((folder / "run.json").read_text())
        same = (there["rows_sha256"], there["code"]) == (rows_digest, code)
        whole = all((folder / name).exists() for name in there["files"]) and not any(folder.glob("*.tmp"))
        return same and whole
    except (OSError, ValueError, KeyError):
        return False

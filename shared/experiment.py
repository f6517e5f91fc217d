"""The experiment engine: jobs -> rows. It knows nothing of any paper.

A job is a small dict of scalars that decides every number it leads to, ``{"method": "aevb", "latent": 3, "seed": 0,
"steps": 1000, ...}``, and ``train(job, run)`` does it, telling ``run`` what happens. The job's folder is a function of
the job, so the same command run again *is* the resume, and a changed setting is another folder.
"""

import fcntl
import hashlib
import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend import resource_tracker as joblib_tracker
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from shared import checkpoint, machine, threads
from shared.errors import Diverged, InUse, RunError, Stopped
from shared.files import check_writable, write_files
from shared.tree import Array, Tree

Job = dict[str, Any]
Train = Callable[[Job, "Run"], None]
PATIENCE = 2.0  # seconds a lock may stay held by a process that is about to end
tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system's, which a killed worker would leave behind


def digest(settings: Mapping[Any, Any]) -> str:
    """Eight hex digits that stand for a dict of plain values."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def notice(line: str) -> None:
    """One line for the user that does not belong to the result, past any progress bar."""
    tqdm.write(line, file=sys.stderr)


class Board:
    """A few integers that the processes of one command share through a file: the stop signal, then each job's step."""

    def __init__(self, path: Path) -> None:
        with open(path, "r+b") as file:
            self.cells = np.frombuffer(mmap.mmap(file.fileno(), 0), np.int64)

    @property
    def stop(self) -> int:
        return int(self.cells[0])

    @stop.setter
    def stop(self, signal_number: int) -> None:
        self.cells[0] = signal_number


@dataclass(frozen=True)
class Setting:
    """How jobs are run; none of it changes what they compute, but for ``threads`` in the last bit."""

    folder: Path  # of the scale: results/<paper>/<scale>
    label: str  # "<paper>/<scale>"
    named_by: tuple[str, ...]  # the keys of a job that name its folder
    code: str  # digest of the sources
    threads: int = 1
    checkpoint_every: int = 1000
    wait: bool = False

    def name(self, job: Job) -> str:
        """The job's stable name: its naming keys, then a digest of all of it."""
        words = [str(job[k]) if isinstance(job[k], str) else f"{k}{job[k]}" for k in self.named_by if k in job]
        return "-".join([*words, digest(job)])

    def run_folder(self, job: Job) -> Path:
        return self.folder / "runs" / self.name(job)

    def weights(self, job: Job, into: Tree) -> None:
        """Copy the state that a finished job ended with into the leaves of a tree with the same paths."""
        folder = self.run_folder(job)
        found = checkpoint.load(folder) if folder.exists() else None
        if found is None:
            raise RunError(f"{folder} has no checkpoint of its last step. Delete that folder and run again.")
        if found[0] != job["steps"]:
            raise RunError(
                f"{folder} has no checkpoint of its last step. Delete {folder / 'rows.json'} and run again: "
                f"the job goes on from step {found[0]}."
            )
        checkpoint.copy(found[1], into, folder)


class Run:
    """What a training function is given: its random numbers, its steps, and somewhere to put rows and arrays.

    ``restore(state)`` once, with every array that must survive; then ``for step in run.steps()``. At each turn of the
    loop the run may write a checkpoint, or end with one because a signal asked for it.
    """

    def __init__(self, job: Job, setting: Setting, board: Board | None = None, cell: int = 0) -> None:
        self.job, self.setting, self.board, self.cell = job, setting, board, cell
        self.folder = setting.run_folder(job)
        self.label = f"{setting.label}/{setting.name(job)}"
        self.rng = np.random.default_rng(job["seed"])
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.arrays: dict[str, Array] = {}
        self.history: list[dict[str, Any]] = []  # under what it ran: one entry a resume that found something changed
        self.seconds = 0.0
        self.resuming = False
        self._state: Tree = {}
        self._started = time.monotonic()
        self._saved = 0

    def restore(self, state: Tree) -> None:
        """Name the arrays that a checkpoint holds; if there is one, copy it into them and go on from its step."""
        self._state = state
        under = {
            "code": self.setting.code,
            "numpy": np.__version__,
            "blas": machine.blas()["architecture"],
            "threads": self.setting.threads,
        }
        found = checkpoint.load(self.folder) if self.folder.exists() else None
        if found is None:
            self.history = [under]
            if self.resuming:
                notice(f"{self.label}: no checkpoint yet, starting at step 0")
            return
        self.step, arrays, meta = found
        checkpoint.copy(arrays, state, self.folder)
        self.rng.bit_generator.state = meta["rng"]
        self.rows, self.seconds, self.history = meta["rows"], meta["seconds"], meta["history"]
        self._saved = self.step
        notice(f"resuming {self.label} at step {self.step}")
        changed = [key for key in under if under[key] != self.history[-1][key]]
        if changed:
            was = ", ".join(f"{key} {self.history[-1][key]} -> {under[key]}" for key in changed)
            notice(f"warning: {self.label} continues under changed conditions: {was}")
            self.history = [*self.history, under | {"from_step": self.step}]

    def steps(self) -> Iterator[int]:
        """The steps still to do, of the job's ``steps``."""
        total = self.job["steps"]
        while self.step < total:
            yield self.step
            self.step += 1
            if self.board is None:
                continue
            self.board.cells[self.cell] = self.step
            if self.board.stop:
                self.save()
                raise Stopped(f"stopped at step {self.step}", self.board.stop)
            if self.step % self.setting.checkpoint_every == 0:
                self.save()
        if self.board is not None:
            self.save()

    def check(self, loss: float) -> None:
        """Raise Diverged unless the loss of the present step is finite."""
        if not np.isfinite(loss):
            raise self._diverged(f"loss is {loss} at step {self.step}")

    def record(self, **row: Any) -> None:
        """Keep a row of scalars."""
        self.rows.append({key: value.item() if isinstance(value, np.generic) else value for key, value in row.items()})

    def keep(self, **arrays: Array) -> None:
        """Keep arrays (pictures, say) beside the rows."""
        self.arrays.update(arrays)

    def save(self) -> None:
        """Write a checkpoint of the present step."""
        meta = {
            "rng": self.rng.bit_generator.state,
            "rows": self.rows,
            "seconds": self.elapsed(),
            "history": self.history,
        }
        try:
            checkpoint.save(self.folder, self.step, self._state, meta)
        except Diverged as error:
            raise self._diverged(str(error)) from None
        self._saved = self.step

    def _diverged(self, what: str) -> Diverged:
        good = f"last good checkpoint step {self._saved}" if self._saved else "no checkpoint yet"
        return Diverged(f"{what}; {good}. Lower learning_rate.")

    def elapsed(self) -> float:
        return self.seconds + time.monotonic() - self._started


class Outcome(NamedTuple):
    """How one job ended: with the error, if one ended it."""

    job: Job
    error: RunError | None


@contextmanager
def locked(lock: Path, folder: Path, wait: bool, board: Board) -> Iterator[None]:
    """Hold the folder by a lock that dies with its holder. InUse when another process has it (unless ``wait``)."""
    with open(lock, "a+") as file:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if board.stop:
                    raise Stopped(f"stopped while waiting for {folder}", board.stop) from None
                if not wait and time.monotonic() > deadline:
                    file.seek(0)
                    holder = file.read().strip() or "another process"
                    raise InUse(f"{folder} is in use by {holder}. Wait for it, or add wait=true.") from None
                time.sleep(0.05)
        file.truncate(0)
        file.write(f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def execute(train: Train, job: Job, setting: Setting, board_path: Path, cell: int) -> Outcome:
    """Do one job, in this process, from wherever its folder stands. Errors that concern the user are returned."""
    folder = setting.run_folder(job)
    try:
        board = Board(board_path)
        run = Run(job, setting, board, cell)
        if board.stop:
            raise Stopped("stopped before it started", board.stop)
        run.resuming = folder.exists()
        folder.mkdir(exist_ok=True)
        with locked(folder / "lock", folder, setting.wait, board), threads.use(setting.threads):
            checkpoint.clean(folder)
            if not finished(folder):
                _train(train, run)
    except RunError as error:
        return Outcome(job, error)
    except (OSError, MemoryError) as error:
        what = "out of memory" if isinstance(error, MemoryError) else error.strerror or str(error)
        return Outcome(job, RunError(f"{folder}: {what}. Run the same command again."))
    return Outcome(job, None)


def become_worker(parent: int) -> None:
    """Set this process up; it ends when the command does, however that ends: its folder is free for a successor."""
    machine.keep_heap()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train(train: Train, run: Run) -> None:
    """Train, then write the rows: their file is what marks the job as finished."""
    try:
        # Overflow on the way to a NaN is not news: the check of the loss is what reports it.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            train(run.job, run)
    except Diverged:
        write_files({run.folder / "diverged.json": json.dumps(run.rows).encode()})
        raise
    if run.arrays:
        write_files({run.folder / "arrays.npz": checkpoint.packed(run.arrays)})
    record = {"job": run.job, "rows": run.rows, "seconds": run.elapsed(), "history": run.history}
    write_files({run.folder / "rows.json": json.dumps(record, indent=1).encode()})


def read_json(path: Path) -> Any:
    """What one of our files holds. RunError when it cannot be understood."""
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise damaged(path) from None


def damaged(path: Path) -> RunError:
    return RunError(f"{path} is damaged. Delete {path.parent} to do that job again.")


def finished(folder: Path) -> bool:
    """Whether the job of this folder has written its rows."""
    return (folder / "rows.json").exists()


@dataclass
class Experiment:
    """The jobs of one command: ``run`` does them in workers, all in one progress bar."""

    folder: Path  # of the results
    setting: Setting
    workers: int
    board: Board
    board_path: Path
    cluster: Any = None  # a submitit executor; None runs on this machine
    failures: list[Outcome] = field(default_factory=list)
    held: ExitStack | None = None  # the lock on the folder, once there is anything to do in it
    records: list[dict[str, Any]] = field(default_factory=list)

    def run(self, train: Train, jobs: Sequence[Job], forecast: bool = False) -> pd.DataFrame:
        """Every job's rows (the job's own settings in each), doing what is not done yet.

        Raises Stopped after a signal, InUse when another process has a job, RunError when one failed otherwise. A
        diverged job does not raise: its rows are returned as far as they go and it is listed in ``failures``.
        """
        if self.pending(jobs):
            self.hold()
        if pending := self.pending(jobs):  # another command may have done them while this one waited for its lock
            for job in pending:
                check_writable(self.setting.run_folder(job))
            if forecast:
                self.forecast(train, pending)
            self._execute(train, pending)
        rows, older = [], set()
        for job in jobs:
            folder = self.setting.run_folder(job)
            if finished(folder):
                record = read_json(folder / "rows.json")
                older |= {record["history"][-1]["code"]} - {self.setting.code}
            else:
                record = {"rows": read_json(folder / "diverged.json"), "seconds": 0, "history": []}
            self.records.append(
                {"name": folder.name, "seconds": round(record["seconds"], 1), "ran_under": record["history"]}
            )
            rows += [job | row for row in record["rows"]]
        if older:
            notice(
                f"warning: finished runs in {self.setting.label} were made by code {', '.join(sorted(older))}, now "
                f"{self.setting.code}; they are kept. Delete a run's folder to do it again."
            )
        return pd.DataFrame(rows)

    def pending(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that are not finished yet."""
        return [job for job in jobs if not finished(self.setting.run_folder(job))]

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Inside the block a job has the machine to itself: all cores as its threads, and no other workers' memory.

        On a cluster a job keeps the threads that it asked for.
        """
        workers, setting = self.workers, self.setting
        if self.cluster is None:
            get_reusable_executor().shutdown()  # idle workers keep what their last job read
            self.setting = replace(setting, threads=setting.threads * workers)
        self.workers = 1
        try:
            yield
        finally:
            self.workers, self.setting = workers, setting

    def hold(self) -> None:
        """Before the first change: lock the results folder until the command ends, and clear what a killed one left."""
        if self.held is None:
            name = "-".join(("lock", self.setting.folder.name, *self.folder.relative_to(self.setting.folder).parts))
            lock = self.setting.folder / "runs" / name
            with ExitStack() as stack:
                stack.enter_context(locked(lock, self.folder, self.setting.wait, self.board))
                self.held = stack.pop_all()
            for leftover in self.folder.glob("*.tmp"):
                leftover.unlink()

    def arrays(self, job: Job) -> dict[str, Array]:
        """What a finished job gave to ``keep``."""
        path = self.setting.run_folder(job) / "arrays.npz"
        try:
            return checkpoint.unpacked(path.read_bytes())
        except (FileNotFoundError, ValueError):
            raise damaged(path) from None

    def forecast(self, train: Train, jobs: Sequence[Job]) -> float:
        """Print how long the jobs will take, from a second of each kind (jobs that differ in more than the seed).

        What a checkpoint holds already does not count.
        """
        per_step: dict[str, float] = {}
        seconds, left = 0.0, 0
        for job in jobs:
            kind = json.dumps({k: v for k, v in job.items() if k != "seed"}, sort_keys=True)
            if kind not in per_step:
                per_step[kind] = rehearse(train, job, self.setting)
                if self.board.stop:
                    raise self.stopped()
            to_do = job["steps"] - max(checkpoint.steps(self.setting.run_folder(job)), default=0)
            seconds += per_step[kind] * to_do / min(self.workers, len(jobs))
            left += to_do
        print(
            f"forecast for {self.setting.label}: {len(jobs)} jobs, {left:,} steps on "
            f"{self.workers} worker(s), about {seconds / 60:.0f} min (if every worker keeps the speed of one alone)",
            flush=True,
        )
        return seconds

    def stopped(self) -> Stopped:
        return Stopped(f"stopped at step {self.board.cells[1:].sum()}; the same command resumes", self.board.stop)

    def _execute(self, train: Train, jobs: Sequence[Job]) -> None:
        calls = [(train, job, self.setting, self.board_path, i + 1) for i, job in enumerate(jobs)]
        self.board.cells[1:] = 0
        outcomes = []
        with progress(self.board, jobs, self.setting.label):
            for outcome in self._outcomes(calls):
                outcomes.append(outcome)
                if outcome.error is None:
                    print(f"done {self.setting.label}/{self.setting.name(outcome.job)} ({len(outcomes)}/{len(jobs)})")
        errors = [outcome.error for outcome in outcomes if outcome.error]
        if failed := [error for error in errors if not isinstance(error, Stopped | Diverged)]:
            raise min(failed, key=lambda error: isinstance(error, InUse))  # one stands for all, 75 for itself alone
        if self.board.stop:
            raise self.stopped()
        self.failures += [outcome for outcome in outcomes if outcome.error]

    def _outcomes(self, calls: Sequence[tuple[Any, ...]]) -> Iterator[Outcome]:
        if self.cluster is not None:
            yield from self._submitted(calls)
        elif self.workers == 1:
            yield from (execute(*call) for call in calls)
        else:
            pool = Parallel(
                n_jobs=self.workers,
                return_as="generator_unordered",
                initializer=become_worker,
                initargs=(os.getpid(),),
            )
            for helper in (resource_tracker, joblib_tracker):  # joblib's; starting one unblocks the signals
                helper.ensure_running()
            with signals_blocked():
                outcomes = pool(delayed(execute)(*call) for call in calls)
            try:
                yield from outcomes
            except TerminatedWorkerError as error:
                raise RunError("a worker process died (killed, or out of memory). The same command resumes.") from error

    def _submitted(self, calls: Sequence[tuple[Any, ...]]) -> Iterator[Outcome]:
        """The outcomes of jobs handed to submitit; after a signal they have a moment to end, then are cancelled."""
        waiting, running, deadline = list(calls), list[Any](), float("inf")
        at_once = self.workers if self.cluster.cluster == "local" else len(waiting)  # Slurm has a queue of its own
        while waiting or running:
            if self.board.stop:
                waiting, deadline = [], min(deadline, time.monotonic() + PATIENCE)
            if time.monotonic() > deadline:
                for job in running:
                    job.cancel()
                return
            if next_calls := waiting[: at_once - len(running)]:
                with signals_blocked(), self.cluster.batch():
                    running += [self.cluster.submit(execute, *call) for call in next_calls]
                del waiting[: len(next_calls)]
            for job in [job for job in running if job.done()]:
                running.remove(job)
                if job.exception() is not None:
                    raise RunError(f"a submitted job failed, see {job.paths.stderr}. The same command resumes.")
                yield job.result()
            time.sleep(0.1)


class Rehearsed(Exception):
    """The rehearsal's second is over."""


def rehearse(train: Train, job: Job, setting: Setting, seconds: float = 1.0) -> float:
    """Seconds a step of the job takes, measured on a run that is thrown away."""

    class Rehearsal(Run):
        def steps(self) -> Iterator[int]:
            deadline = time.monotonic() + seconds
            for step in range(self.job["steps"]):
                self.step = step
                yield step
                if self.step == 0 < self.job["steps"] - 1:  # the first step pays for what is done once
                    self._started = time.monotonic()
                if time.monotonic() > deadline and self.step:
                    raise Rehearsed

    run = Rehearsal(job, setting)
    run.folder = run.folder / "rehearsal-leaves-no-folder"
    with np.errstate(all="ignore"), threads.use(setting.threads), suppress(Rehearsed, Diverged):
        train(job, run)
    return run.elapsed() / max(run.step, 1)


@contextmanager
def progress(board: Board, jobs: Sequence[Job], label: str) -> Iterator[None]:
    """One bar over the steps of all jobs, with the time left; silent when stderr is not a terminal."""
    over = threading.Event()
    with tqdm(total=sum(job["steps"] for job in jobs), desc=label, unit="step", smoothing=0.05, disable=None) as bar:

        def follow() -> None:
            while not over.wait(0.2):
                bar.update(int(board.cells[1:].sum()) - bar.n)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            bar.update(int(board.cells[1:].sum()) - bar.n)


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Hold signals back inside the block. Children started in it never hear them: the command tells them to stop."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

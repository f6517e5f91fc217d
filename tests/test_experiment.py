"""The engine on toy jobs: resume, workers, locks, the progress bar, the forecast, and submitit."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from shared import checkpoint, cluster, experiment, results
from shared.errors import BadRequest, InUse, RunError, Stopped
from shared.experiment import Job, Run, Setting, Train
from shared.settings import Compute


def walk(
    stop_at: int = -1, number: int = signal.SIGINT, loss: float = 0.0, fail: type[Exception] | None = None
) -> Train:
    """A job that adds noise to a vector; at a step it may send itself a signal, diverge or raise.

    It is a closure, since workers cannot import a test.
    """

    def train(job: Job, run: Run) -> None:
        import os

        state = {"w": np.zeros(3)}
        run.restore({"state": state})
        for step in run.steps():
            if step == stop_at:
                if fail is not None:
                    raise fail
                if loss:
                    run.check(loss)
                else:
                    os.kill(os.getpid(), number)
            state["w"] += job["scale"] * run.rng.standard_normal(3)
            if step % 5 == 4:
                run.record(step_done=step + 1, w=state["w"][0])
        run.keep(w=state["w"])

    return train


def grid(n: int = 3, steps: int = 20) -> list[Job]:
    return [{"kind": "walk", "scale": 0.5, "seed": seed, "steps": steps} for seed in range(n)]


def setting(home: Path, **more: Any) -> Setting:
    return Setting(home / "toy/smoke", "toy/smoke", ("kind", "seed"), "c0dec0de", **{"checkpoint_every": 6} | more)


def do(home: Path, jobs: list[Job], train: Train | None = None, workers: int = 1, **more: Any) -> pd.DataFrame:
    chosen = setting(home, **more)
    with results.opened(chosen.folder, chosen, workers) as opened:
        return opened.run(train or walk(), jobs)


def publish(home: Path, jobs: list[Job], rows: bytes = b"") -> bool:
    chosen = setting(home)
    with results.opened(chosen.folder, chosen, 1) as opened:
        return results.publish(chosen.folder, opened, opened.run(walk(), jobs), {}, lambda: {"a.png": b"figure"}, {})


def weights(home: Path, job: Job) -> np.ndarray:
    into = {"state": {"w": np.zeros(3)}}
    setting(home).weights(job, into)
    return into["state"]["w"]


def test_rows_hold_the_job_and_what_it_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = do(tmp_path, grid(2))
    assert list(rows.columns) == ["kind", "scale", "seed", "steps", "step_done", "w"]
    assert rows["step_done"].tolist() == [5, 10, 15, 20] * 2
    assert rows["w"].iloc[3] == weights(tmp_path, grid()[0])[0]
    out, err = capfd.readouterr()
    assert out.splitlines() == [
        f"done toy/smoke/{setting(tmp_path).name(job)} ({i}/2)" for i, job in enumerate(grid(2), 1)
    ]
    assert err == ""


def test_names_are_stable(tmp_path: Path) -> None:
    assert setting(tmp_path).name(grid()[1]) == "walk-seed1-a394ce02"
    assert setting(tmp_path).name(dict(reversed(grid()[1].items()))) == "walk-seed1-a394ce02"
    assert setting(tmp_path).name(grid()[1] | {"scale": 0.25}) != "walk-seed1-a394ce02"


@pytest.mark.faults(16)
@pytest.mark.parametrize("stop_at", [2, 6, 11, 19])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_and_resumed_is_bit_equal(
    tmp_path: Path, stop_at: int, number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = do(tmp_path / "reference", grid())
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match=rf"^stopped at step {stop_at + 1}; the same command resumes$") as caught:
        do(tmp_path, grid(), walk(stop_at, number))
    assert caught.value.exit_code == 128 + number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    name = setting(tmp_path).name(grid()[0])
    assert checkpoint.steps(setting(tmp_path).run_folder(grid()[0]))[-1] == stop_at + 1
    capfd.readouterr()
    pd.testing.assert_frame_equal(do(tmp_path, grid()), reference, check_exact=True)
    assert capfd.readouterr().err == f"resuming toy/smoke/{name} at step {stop_at + 1}\n"
    for job in grid():
        np.testing.assert_array_equal(weights(tmp_path, job), weights(tmp_path / "reference", job))


def test_two_workers_do_as_one(tmp_path: Path) -> None:
    rows = do(tmp_path / "two", grid(4), workers=2)
    pd.testing.assert_frame_equal(rows, do(tmp_path / "one", grid(4)), check_exact=True)
    assert not list((tmp_path / "two").rglob("*.tmp"))


def test_nothing_to_do_touches_nothing(tmp_path: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    assert publish(tmp_path, grid())
    before = times()
    assert not publish(tmp_path, grid())
    assert times() == before
    record = json.loads((tmp_path / "toy/smoke/run.json").read_text())
    assert record["files"] == ["a.png", "rows.csv"]
    assert [run["name"] for run in record["runs"]] == [setting(tmp_path).name(job) for job in grid()]
    (tmp_path / "toy/smoke/a.png").unlink()
    assert publish(tmp_path, grid())


def test_a_job_that_had_the_machine_alone_counts_for_all_workers() -> None:
    records = [{"seconds": 10, "ran_under": [{"threads": 1}]}, {"seconds": 4, "ran_under": [{"threads": 2}]}]
    records.append({"seconds": 0, "ran_under": []})  # of one that diverged
    own = SimpleNamespace(records=records, workers=2, setting=SimpleNamespace(threads=1))
    assert results.wall_seconds(own) == (10 + 2 * 4) / 2


def test_what_was_kept(tmp_path: Path) -> None:
    chosen = setting(tmp_path)
    with results.opened(chosen.folder, chosen, 1) as opened:
        opened.run(walk(), grid(1))
        np.testing.assert_array_equal(opened.arrays(grid()[0])["w"], weights(tmp_path, grid()[0]))
        path = chosen.run_folder(grid()[0]) / "arrays.npz"
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(RunError, match=rf"^{path} is damaged\. Delete {path.parent} to do that job again\.$"):
            opened.arrays(grid()[0])
        path.unlink()
        with pytest.raises(RunError, match=rf"^{path} is damaged"):
            opened.arrays(grid()[0])


def test_damaged_rows(tmp_path: Path) -> None:
    do(tmp_path, grid(1))
    path = setting(tmp_path).run_folder(grid()[0]) / "rows.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(RunError, match=r"rows\.json is damaged\. Delete "):
        do(tmp_path, grid(1))


def test_weights_are_those_of_the_last_step(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = do(tmp_path, grid(1))
    end = weights(tmp_path, grid()[0])
    folder = setting(tmp_path).run_folder(grid()[0])
    os.truncate(folder / "step-20.npz", 99)
    advice = rf"^{folder} has no checkpoint of its last step\. Delete {folder}/rows\.json .* goes on from step 18\.$"
    for _ in range(2):
        with pytest.raises(RunError, match=advice):
            weights(tmp_path, grid()[0])
    (folder / "rows.json").unlink()
    pd.testing.assert_frame_equal(do(tmp_path, grid(1)), rows)
    np.testing.assert_array_equal(weights(tmp_path, grid()[0]), end)
    for checkpoint_file in folder.glob("step-*"):
        checkpoint_file.unlink()
    with pytest.raises(RunError, match=rf"^{folder} has no checkpoint of its last step\. Delete that folder and run"):
        weights(tmp_path, grid()[0])


@pytest.mark.faults(14)
def test_a_diverged_job_does_not_end_the_others(tmp_path: Path) -> None:
    chosen, jobs = setting(tmp_path), grid(2)
    with results.opened(chosen.folder, chosen, 1) as opened:
        rows = opened.run(walk(13, loss=float("nan")), jobs)
        assert [str(failure.error) for failure in opened.failures] == [
            "loss is nan at step 13; last good checkpoint step 12. Lower learning_rate."
        ] * 2
        assert rows["step_done"].tolist() == [5, 10] * 2
        record = results.publish(chosen.folder, opened, rows, {}, lambda: pytest.fail("a figure was drawn"), {})
    assert record
    assert json.loads((chosen.folder / "run.json").read_text())["diverged"] == [chosen.name(job) for job in jobs]
    assert not any(experiment.finished(chosen.run_folder(job)) for job in jobs)


def test_a_state_that_is_not_finite_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    def train(job: Job, run: Run) -> None:
        state = {"w": np.zeros(1)}
        run.restore(state)
        for step in run.steps():
            state["w"] += np.inf if step == 11 else 1

    chosen = setting(tmp_path)
    with results.opened(chosen.folder, chosen, 1) as opened:
        opened.run(train, grid(1))
        (failure,) = opened.failures
    assert str(failure.error) == "w is not finite at step 12; last good checkpoint step 6. Lower learning_rate."


def test_out_of_memory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"walk-seed0-\w+: out of memory\. Run the same command again\.$"):
        do(tmp_path, grid(2), walk(3, fail=MemoryError))


@pytest.mark.faults(17)
def test_a_held_job_is_left_alone_and_the_others_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "PATIENCE", 0.1)
    folder = setting(tmp_path).run_folder(grid()[1])
    folder.mkdir(parents=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InUse, match=rf"^{folder} is in use by another process\. Wait for it, or add wait=true\.$"):
            do(tmp_path, grid())
        with pytest.raises(RunError, match="out of memory"):  # a real failure is told before "in use"
            do(tmp_path, grid(5), walk(3, fail=MemoryError))
    assert [experiment.finished(setting(tmp_path).run_folder(job)) for job in grid()] == [True, False, True]
    assert len(do(tmp_path, grid())) == 12


def test_job_folder_that_cannot_be_used(tmp_path: Path) -> None:
    folder = setting(tmp_path).run_folder(grid()[0])
    folder.parent.mkdir(parents=True)
    folder.write_text("mine")
    with pytest.raises(BadRequest, match=f"^{folder} is not a folder"):
        do(tmp_path, grid())


def test_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed = []

    def rehearse(train: Train, job: Job, setting: Setting) -> float:
        rehearsed.append(job)
        return 0.5

    chosen, jobs = setting(tmp_path), [*grid(2), *grid(1, steps=200)]
    with results.opened(chosen.folder, chosen, 2) as opened:
        assert experiment.rehearse(walk(), jobs[0], chosen, seconds=0.01) < 0.1
        assert not chosen.run_folder(jobs[0]).exists()
        monkeypatch.setattr(experiment, "rehearse", rehearse)
        assert opened.forecast(walk(), jobs) == 0.5 * 240 / 2
    assert rehearsed == [jobs[0], jobs[2]]  # one of each kind: the seed does not matter
    assert capsys.readouterr().out == (
        "forecast for toy/smoke: 3 jobs, 240 steps on 2 worker(s), about 1 min (if every worker keeps the speed of one "
        "alone)\n"
    )


def test_the_only_step_of_a_job_is_timed(tmp_path: Path) -> None:
    def slow(job: Job, run: Run) -> None:
        for _ in run.steps():
            time.sleep(0.05)

    assert experiment.rehearse(slow, grid(1, steps=1)[0], setting(tmp_path)) >= 0.05


def test_folders_of_one_name_have_locks_of_their_own(tmp_path: Path) -> None:
    chosen = setting(tmp_path)
    folders = [chosen.folder / part / "custom-0" for part in ("one", "two")]
    with results.opened(folders[0], chosen, 1) as first, results.opened(folders[1], chosen, 1) as second:
        first.hold()
        second.hold()
        assert {path.name for path in (chosen.folder / "runs").glob("lock-*")} == {
            "lock-smoke-one-custom-0",
            "lock-smoke-two-custom-0",
        }


def test_a_forecast_counts_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stopped):
        do(tmp_path, grid(1), walk(stop_at=14))
    monkeypatch.setattr(experiment, "rehearse", lambda train, job, setting: 1.0)
    with results.opened(tmp_path / "toy/smoke", setting(tmp_path), 1) as opened:
        assert opened.forecast(walk(), grid(2)) == 5 + 20


def test_one_job_at_a_time_has_the_threads_of_all_workers(tmp_path: Path) -> None:
    chosen = setting(tmp_path, threads=2)

    def train(job: Job, run: Run) -> None:
        import os

        run.restore({})
        for _ in run.steps():
            run.record(process=os.getpid(), threads=run.setting.threads)

    with results.opened(chosen.folder, chosen, 3) as opened:
        with opened.one_at_a_time():
            alone = opened.run(train, grid(2, steps=1))
        beside = opened.run(train, grid(3, steps=1)[2:])
    assert list(alone["threads"]) == [6, 6]
    assert set(alone["process"]) == {os.getpid()}
    assert list(beside["threads"]) == [2]
    assert beside["process"].item() != os.getpid()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_progress_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    do(tmp_path, grid())
    lines = screen.getvalue().replace("\n", "\r").split("\r")
    assert all(line.startswith("toy/smoke: ") for line in lines if line.strip())
    assert "60/60" in lines[-2]


def test_submitit_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = setting(tmp_path)
    executor = cluster.executor(Compute(kind="submitit_local"), 1, chosen.folder)
    with results.opened(chosen.folder, chosen, 2, executor) as opened:
        rows = opened.run(walk(), grid())
    pd.testing.assert_frame_equal(
        rows.sort_values(["seed", "step_done"], ignore_index=True), do(tmp_path / "here", grid()), check_exact=True
    )
    assert len(list((chosen.folder / "runs/submitit").glob("*_log.err"))) == 3


def test_submitit_job_that_fails(tmp_path: Path) -> None:
    chosen = setting(tmp_path)
    executor = cluster.executor(Compute(kind="submitit_local"), 1, chosen.folder)
    message = r"^a submitted job failed, see .*/runs/submitit/\S+_log\.err\. The same command resumes\.$"
    with results.opened(chosen.folder, chosen, 2, executor) as opened, pytest.raises(RunError, match=message):
        opened.run(walk(3, fail=ZeroDivisionError), grid(1))


@pytest.mark.faults(16)
def test_submitit_jobs_are_stopped(tmp_path: Path) -> None:
    chosen = setting(tmp_path)
    executor = cluster.executor(Compute(kind="submitit_local"), 1, chosen.folder)
    command = os.getpid()

    def train(job: Job, run: Run) -> None:
        import os
        import time

        run.restore({"w": np.zeros(1)})
        for _ in run.steps():
            os.kill(command, signal.SIGTERM)
            time.sleep(0.01)

    with results.opened(chosen.folder, chosen, 2, executor) as opened, pytest.raises(Stopped) as caught:
        opened.run(train, grid(3, steps=10**6))
    assert caught.value.exit_code == 143
    assert checkpoint.steps(chosen.run_folder(grid(1, steps=10**6)[0]))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster's commands, of which sbatch only gives a number."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (commands / name).write_text("#!/bin/sh\necho Submitted batch job 17\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return commands


def test_slurm_script(tmp_path: Path, slurm: Path) -> None:
    chosen = setting(tmp_path)
    compute = Compute(kind="slurm", workers=2, minutes=90, partition="cpu")
    executor = cluster.executor(compute, 2, chosen.folder)
    with executor.batch():
        for job in grid():
            executor.submit(experiment.execute, walk(), job, chosen, tmp_path / "board", 1, 0)
    (script,) = (chosen.folder / "runs/submitit").glob("*_submission.sh")
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    for option in ("array=0-2%2", "cpus-per-task=2", "time=90", "partition=cpu", "job-name=ml-foundations", "nodes=1"):
        assert f"#SBATCH --{option}" in lines, script.read_text()
    assert any(line.startswith("srun ") and "submitit.core._submit" in line for line in lines)


def test_slurm_without_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadRequest, match=r"^compute=slurm needs sbatch and srun on the PATH"):
        cluster.executor(Compute(kind="slurm"), 1, tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.faults(18)
def test_check_comes_before_any_folder(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("mine")
    with pytest.raises(BadRequest, match=f"^{tmp_path / 'toy'} is not a folder"):
        do(tmp_path, grid())
    (tmp_path / "toy").unlink()
    (tmp_path / "toy").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadRequest, match=f"^{tmp_path / 'toy'} is not a folder"):
        do(tmp_path, grid())
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_board_of_a_dead_command_is_removed(tmp_path: Path) -> None:
    runs = setting(tmp_path).folder / "runs"
    runs.mkdir(parents=True)
    for name in ("board-4194305", "board-4194305.tmp", f"board-{os.getppid()}"):
        (runs / name).write_bytes(b"")
    do(tmp_path, grid(1))
    assert [path.name for path in runs.glob("board-*")] == [f"board-{os.getppid()}"]


def test_an_idle_worker_ends_with_the_command() -> None:
    """Also one that waits for its first job: it would keep the command's output open for joblib's five minutes."""
    worker = "import time; from shared.experiment import become_worker; become_worker({}); print(1, flush=True)"
    command = f"""
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {worker!r}.format(os.getpid()) + "; time.sleep(60)"])
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, cwd=results.ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        killed = time.monotonic()
        process.stdout.read()  # returns when the last holder of the pipe has ended
    assert time.monotonic() - killed < 10

"""The drill: the faults that a run must survive, injected into `papers/vae/run.py` from outside.

A run is a subprocess. Where the moment matters it is started by a wrapper that patches one function of the process and
then runs the same script: production code has no hooks. Every fault ends in the same question: after the same command
again, are rows, weights and pictures bit-equal to those of a run that was never disturbed?
"""

import contextlib
import hashlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared import checkpoint
from shared.errors import RunError

ROOT = Path(__file__).parents[1]
RUN = "papers/vae/run.py"
# Three trainings of 60 steps and two analyses of 7, one after the other; wide enough that a kill comes in time.
GRID = [
    *("scale=smoke", "hidden=500", "latent=[2]", "pictured=[2]", "learning_rate=0.02"),
    *("samples=1200", "checkpoint_every=10"),
    *("compute.workers=1", "compute.threads=1"),
]
POOL = ["compute.workers=2"]
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")

WRAPPER = """
import itertools, os, re, runpy, signal, sys, time

def before(owner, name, when, act):
    real = getattr(owner, name)
    def patched(*args, **kwargs):
        if when(*args):
            act()
        return real(*args, **kwargs)
    setattr(owner, name, patched)

def nth(n, pattern=None):
    "True at the n-th call, of those on an open file whose path matches."
    count = itertools.count(1)
    def when(first, *rest):
        path = pattern and os.readlink(f"/proc/self/fd/{first}")
        return (pattern is None or re.search(pattern, path) is not None) and next(count) == n
    return when

def send(*numbers):
    def act():
        for number in numbers:
            os.kill(os.getpid(), number)
    return act

def fail(number):
    def act():
        raise OSError(number, os.strerror(number))
    return act

from papers.vae import training
from shared import plot
%s
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SLOWLY = "before(training.Learner, 'step', lambda *a: True, lambda: time.sleep(0.01))"
KILL_AT_STEP = "before(training.Learner, 'step', nth({}), send(signal.SIGKILL))"


def launch(results: Path, *overrides: str, inject: str = "", **more: Any) -> subprocess.Popen[str]:
    """Start the command. It gets a process group of its own, as a shell would give it."""
    script = ["-c", WRAPPER % inject, RUN] if inject else [RUN]
    environment = os.environ | {"MLF_RESULTS": str(results), "PYTHONPATH": str(ROOT)} | more.pop("env", {})
    return subprocess.Popen(
        [sys.executable, *script, *GRID, *overrides],
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **more,
    )


def finish(process: subprocess.Popen[str], code: int) -> list[str]:
    """Wait for the command: its lines on stderr, of which none is part of a traceback."""
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in out + err, err
    assert "Warning" not in err, err
    return err.splitlines()


def run(results: Path, *overrides: str, code: int = 0, inject: str = "", **more: Any) -> list[str]:
    return finish(launch(results, *overrides, inject=inject, **more), code)


def processes(results: Path) -> list[int]:
    """The processes that were started with this results folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"MLF_RESULTS={results}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


def error(lines: list[str]) -> str:
    """The one line that starts with "error: "; it comes last."""
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], lines
    return lines[-1]


def snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of change of every file but locks."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("lock")
    }


def runs(results: Path) -> Path:
    return results / "vae" / "smoke" / "runs"


def folder_of(results: Path) -> Path:
    """The one run folder of a half-done run."""
    (folder,) = (path for path in runs(results).iterdir() if path.is_dir())
    return folder


def outcome(results: Path) -> dict[str, Any]:
    """All that must be bit-equal: rows and pictures, and the weights, generator and rows in every last checkpoint."""
    (published,) = (results / "vae" / "smoke").glob("custom-*")
    found: dict[str, Any] = {name: (published / name).read_bytes() for name in ("rows.csv", "pictures.npz")}
    for folder in runs(results).iterdir():
        if folder.is_dir():
            step, arrays, meta = checkpoint.load(folder) or pytest.fail(f"no checkpoint in {folder}")
            weights = {path: (array.dtype.str, array.tobytes()) for path, array in arrays.items()}
            found[folder.name] = step, weights, meta["rng"], meta["rows"]
    left = [path for path in results.rglob("*") if path.suffix == ".tmp" or path.name.startswith("board-")]
    assert not left, f"left over: {left}"
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """REF: the outcome of a run that nothing disturbs."""
    results = tmp_path_factory.mktemp("reference")
    assert run(results) == []  # quiet, for stderr is no terminal
    return outcome(results)


@pytest.fixture(scope="module")
def half_done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed at step 37 of its first job: checkpoints of steps 20 and 30."""
    results = tmp_path_factory.mktemp("half")
    run(results, inject=KILL_AT_STEP.format(38), code=-signal.SIGKILL)
    assert checkpoint.steps(folder_of(results)) == [20, 30]
    return results


@pytest.fixture
def results(half_done: Path, tmp_path: Path) -> Path:
    """A copy of the half-done run."""
    return shutil.copytree(half_done, tmp_path / "copy")


def wait_for_steps(process: subprocess.Popen[str], results: Path, steps: int) -> None:
    """Until the command has done so many steps since it started, as its board says."""
    while True:
        assert process.poll() is None, process.communicate()
        with contextlib.suppress(OSError, ValueError):
            (board,) = runs(results).glob(f"board-{process.pid}")
            if np.frombuffer(board.read_bytes(), np.int64)[1:].sum() >= steps:
                return
        time.sleep(0.002)


def gone(results: Path, seconds: float = 5.0) -> bool:
    """Whether every process of these results ends within so long."""
    deadline = time.monotonic() + seconds
    while processes(results):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.faults(1)
@LINUX
def test_killed_at_random_steps(tmp_path: Path, reference: dict[str, Any]) -> None:
    random_step, said = random.Random(0).randint, ""
    kills: list[tuple[list[str], int]] = [([], random_step(1, 45)) for _ in range(4)]
    for overrides, steps in [*kills, (POOL, 1)]:  # a pool's workers outlive it by a moment, in which they may do it all
        process = launch(tmp_path, *overrides, inject=SLOWLY)
        wait_for_steps(process, tmp_path, steps)
        process.kill()
        said += process.communicate()[1]
    assert re.search(r"^resuming vae/smoke/train-\S+ at step \d+$", said, re.MULTILINE)
    run(tmp_path)
    assert outcome(tmp_path) == reference
    assert gone(tmp_path)


@pytest.mark.faults(2)
def test_killed_before_the_first_checkpoint(tmp_path: Path, reference: dict[str, Any]) -> None:
    run(tmp_path, inject=KILL_AT_STEP.format(5), code=-signal.SIGKILL)
    name = folder_of(tmp_path).name
    assert run(tmp_path) == [f"vae/smoke/{name}: no checkpoint yet, starting at step 0"]
    assert outcome(tmp_path) == reference


NEWEST = r"/train-aevb[^/]*/step-40\.npz"
IN_A_SAVE = {
    "archive written": f"before(os, 'fsync', nth(1, r'{NEWEST}.tmp'), send(signal.SIGKILL))",
    "checksum written": f"before(os, 'fsync', nth(1, r'{NEWEST}.sha256.tmp'), send(signal.SIGKILL))",
    "before the rename": "before(os, 'replace', lambda a, b: str(b).endswith('step-40.npz'), send(signal.SIGKILL))",
    "before the old one goes": "before(Path, 'unlink', lambda p, **k: p.name == 'step-20.npz', send(signal.SIGKILL))",
}


@pytest.mark.slow
@pytest.mark.faults(3)
@LINUX
def test_killed_in_a_save(results: Path, tmp_path: Path, reference: dict[str, Any]) -> None:
    folder = folder_of(results)
    for moment, inject in IN_A_SAVE.items():
        lines = run(results, inject=f"from pathlib import Path\n{inject}", code=-signal.SIGKILL)
        assert lines == [f"resuming vae/smoke/{folder.name} at step 30"], moment
        whole = checkpoint.load(shutil.copytree(folder, tmp_path / moment))
        assert whole is not None
        assert whole[0] == (40 if moment == "before the old one goes" else 30)
    assert run(results) == [f"resuming vae/smoke/{folder.name} at step 40"]
    assert outcome(results) == reference


DAMAGES: dict[str, Callable[[Path], object]] = {
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "deleted": Path.unlink,
    "bit": lambda path: flip(path, 8 * (path.stat().st_size // 2)),
}


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.faults(4)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint(results: Path, reference: dict[str, Any], damage: str) -> None:
    folder = folder_of(results)
    DAMAGES[damage](folder / "step-30.npz")
    assert run(results) == [
        "warning: checkpoint step-30.npz is damaged (checksum); using step-20",
        f"resuming vae/smoke/{folder.name} at step 20",
    ]
    bad = ["step-30.npz.bad"] * (damage != "deleted") + ["step-30.npz.sha256.bad"]
    assert sorted(path.name for path in folder.glob("*.bad")) == bad
    assert outcome(results) == reference


@pytest.mark.faults(5)
def test_every_flipped_bit_is_found(results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = folder_of(results)
    size = (folder / "step-30.npz").stat().st_size
    # The zip's own headers at both ends, an array's header, and anywhere: exponents too.
    bits = [0, 3, 8 * 10, 8 * 26, 8 * 100, 8 * size - 1, 8 * size - 80, *random.Random(0).sample(range(8 * size), 33)]
    for bit in bits:
        copy = shutil.copytree(folder, tmp_path / "flipped")
        flip(copy / "step-30.npz", bit)
        found = checkpoint.load(copy)
        assert found is not None
        assert found[0] == 20
        assert (copy / "step-30.npz.bad").exists()
        assert capfd.readouterr().err == "warning: checkpoint step-30.npz is damaged (checksum); using step-20\n"
        shutil.rmtree(copy)


@pytest.mark.faults(6)
def test_both_checkpoints_damaged(results: Path) -> None:
    folder = folder_of(results)
    DAMAGES["half"](folder / "step-30.npz")
    DAMAGES["bit"](folder / "step-20.npz")
    before = snapshot(folder)
    assert error(run(results, code=1)) == (
        f"error: no usable checkpoint in {folder} (2 damaged). Delete {folder} to start over."
    )
    assert snapshot(folder) == before
    shutil.rmtree(folder)
    run(results)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("train-images-idx3-ubyte.gz", marks=pytest.mark.faults(7)),
        pytest.param("train-images-idx3-ubyte", marks=pytest.mark.faults(8)),
    ],
)
def test_damaged_data(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_bytes(b"half a file")
    before = snapshot(data)
    line = error(run(tmp_path / "results", "scale=full", env={"MLF_DATA": str(data)}, code=1))
    assert re.fullmatch(rf"error: {name}: expected \d+ bytes .*; found .* Delete it and run again to fetch it\.", line)
    assert snapshot(data) == before
    assert not (tmp_path / "results").exists()


@pytest.mark.faults(9)
def test_no_data_and_no_network(tmp_path: Path) -> None:
    data = tmp_path / "data"
    messages = []
    for _ in range(2):
        began = time.monotonic()
        nowhere = "mirrors=[http://127.0.0.1:9/]"  # the port "discard": nobody listens there
        messages.append(error(run(tmp_path / "results", "scale=full", nowhere, env={"MLF_DATA": str(data)}, code=1)))
        assert time.monotonic() - began < 10
    assert messages[0] == messages[1]
    assert re.fullmatch(rf"error: MNIST not found in {data}/mnist and 127.0.0.1:9 not reachable\. Copy .*", messages[0])
    assert not any(tmp_path.iterdir())


NAN = """
training.bounds = 0
real = training.Learner.step
def step(self):
    training.bounds += 1
    return real(self) if training.bounds < {n} else float("nan")
training.Learner.step = step
"""


@pytest.mark.faults(14)
def test_divergence_from_scratch(tmp_path: Path) -> None:
    began = time.monotonic()
    lines = run(tmp_path, "learning_rate=1e6", code=1)
    assert re.fullmatch(
        r"error: (train-\S+: )?(loss is (nan|-?inf)|\S+ is not finite) at step \d+; "
        r"(no checkpoint yet|last good checkpoint step \d+)\. Lower learning_rate\.",
        error(lines),
    )
    assert len(lines) == 1  # and no warning of NumPy's
    assert time.monotonic() - began < 60
    (published,) = (tmp_path / "vae/smoke").glob("custom-*")
    assert "not reproduced" in (published / "claims.csv").read_text()
    assert not any(published.glob("*.png"))


@pytest.mark.slow
@pytest.mark.faults(14)
def test_divergence_over_a_good_checkpoint(results: Path, reference: dict[str, Any]) -> None:
    folder = folder_of(results)
    (published,) = (results / "vae/smoke").glob("custom-*")
    (published / "headline.png").write_bytes(b"an old figure")
    good = snapshot(folder)
    (line,) = run(results, inject=NAN.format(n=5), code=1)[-1:]  # resumes at step 30, so the fifth is step 34
    assert line == (f"error: {folder.name}: loss is nan at step 34; last good checkpoint step 30. Lower learning_rate.")
    after = snapshot(folder)
    assert after.keys() - good.keys() == {"diverged.json"}
    assert good.items() <= after.items()
    kept = json.loads((folder / "diverged.json").read_text())
    assert kept == [row for row in reference[folder.name][3] if row["samples"] <= 34 * 20]
    assert (published / "headline.png").read_bytes() == b"an old figure"
    assert "not reproduced" in (published / "claims.csv").read_text()
    assert json.loads((published / "run.json").read_text())["diverged"][0] == folder.name
    run(results)
    assert outcome(results) == reference


FULL = {
    "a later save": (r"step-40\.npz", f"before(os, 'fsync', nth(1, r'{NEWEST}.tmp'), fail(28))"),
    "its checksum": (r"step-40\.npz\.sha256", f"before(os, 'fsync', nth(1, r'{NEWEST}.sha256.tmp'), fail(28))"),
    "the rows": (r"rows\.json", "before(os, 'fsync', nth(1, r'/train-aevb[^/]*/rows.json.tmp'), fail(28))"),
    "the figure": (r"headline\.png", "before(os, 'fsync', nth(1, r'headline.png.tmp'), fail(28))"),
}


@pytest.mark.slow
@pytest.mark.faults(15)
@LINUX
def test_disk_full(results: Path, reference: dict[str, Any]) -> None:
    (published,) = (results / "vae/smoke").glob("custom-*")
    (published / "rows.csv").write_bytes(b"old rows")
    (published / "headline.png").write_bytes(b"an old figure")
    folder = folder_of(results)
    old, good = snapshot(published), snapshot(folder)
    for where, (name, inject) in FULL.items():
        line = error(run(results, inject=inject, code=1))
        assert re.fullmatch(
            rf"error: no space left writing {name} \(need \d+\.\d MB, free \d+\.\d MB\) in \S+\. "
            r"Free some and run the same command again\.",
            line,
        ), where
        assert snapshot(published) == old
        assert not [*results.rglob("*.tmp")]
        if where in ("a later save", "its checksum"):
            assert snapshot(folder) == good
    run(results)
    assert outcome(results) == reference


@pytest.mark.faults(15)
def test_first_checkpoint_over_the_file_size_limit(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    line = error(run(tmp_path, "hidden=64", preexec_fn=limit, code=1))
    assert line.startswith("error: no space left writing step-10.npz (need 0.1 MB, free ")
    assert not [*tmp_path.rglob("*.tmp")]
    assert not [*tmp_path.rglob("step-*")]
    run(tmp_path, "hidden=64")


def alone(*command: str) -> bool:
    """Whether we may have a mount namespace of our own."""
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0


@pytest.fixture
def mounting() -> None:
    if not alone():
        pytest.skip("needs unshare -m, which is root's")


@pytest.mark.slow
@pytest.mark.faults(15)
@pytest.mark.usefixtures("mounting")
def test_small_file_system(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    command = f"{sys.executable} {RUN} {' '.join(GRID)} hidden=400"  # 0.4 MB a checkpoint
    script = f"""
        mount -t tmpfs -o size=1m none {tmp_path}/disk
        {command}; echo "exit $?"
        find {tmp_path}/disk -name '*.tmp' -o -name 'step-*.npz' | sed 's/^/left /'
        mount -o remount,size=100m {tmp_path}/disk
        {command}; echo "exit $?"
    """
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script],
        cwd=ROOT,
        env=os.environ | {"MLF_RESULTS": str(tmp_path / "disk"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    exits = [line for line in done.stdout.splitlines() if line.startswith("exit ")]
    assert exits == ["exit 1", "exit 0"], done.stdout + done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert re.match(r"error: no space left writing step-\d+\.npz \(need 0\.\d MB, free 0\.\d MB\) in ", line)
    left = [line.rsplit("/")[-1] for line in done.stdout.splitlines() if line.startswith("left ")]
    assert left
    assert all(re.fullmatch(r"step-\d+\.npz", name) for name in left), left


STOPS = {
    "in a step": (signal.SIGINT, "before(training.Learner, 'step', nth(5), send(signal.SIGINT))"),
    "in a save": (signal.SIGTERM, f"before(os, 'fsync', nth(1, r'{NEWEST}.tmp'), send(signal.SIGTERM))"),
    "twice": (signal.SIGINT, "before(training.Learner, 'step', nth(5), send(signal.SIGTERM, signal.SIGINT))"),
    "in the figure": (signal.SIGTERM, "before(plot, 'png', nth(2), send(signal.SIGTERM))"),
}


@pytest.mark.slow
@pytest.mark.faults(16)
@LINUX
def test_stopped(results: Path, reference: dict[str, Any]) -> None:
    folder = folder_of(results)
    for moment, (number, inject) in STOPS.items():
        lines = run(results, inject=inject, code=128 + number)
        reached = re.fullmatch(r"stopped at step (\d+); the same command resumes", lines[-1])
        assert reached, lines
        if moment != "in the figure":
            step = {"in a step": 35, "in a save": 41, "twice": 46}[moment]
            assert int(reached[1]) == checkpoint.steps(folder)[-1] == step
    run(results)
    assert outcome(results) == reference


@pytest.mark.slow
@pytest.mark.faults(16)
@LINUX
def test_stopped_in_a_pool(results: Path, reference: dict[str, Any]) -> None:
    """As a terminal does it: the signal goes to every process of the group, early and in the middle."""
    for number, steps in ((signal.SIGINT, 0), (signal.SIGTERM, 6)):
        process = launch(results, *POOL)
        wait_for_steps(process, results, steps)
        time.sleep(0 if steps else 0.3)  # while the workers start
        began = time.monotonic()
        for _ in range(2):
            os.killpg(process.pid, number)
        lines = finish(process, 128 + number)
        assert time.monotonic() - began < 5
        assert re.fullmatch(r"stopped at step \d+; the same command resumes", lines[-1]), lines
        assert gone(results, 1)
    run(results, *POOL)
    assert outcome(results) == reference


@pytest.mark.slow
@pytest.mark.faults(16)
@LINUX
def test_killed_worker(results: Path, reference: dict[str, Any]) -> None:
    process = launch(results, *POOL, inject=SLOWLY)
    wait_for_steps(process, results, 5)
    (worker, *_) = (pid for pid in processes(results) if b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(worker, signal.SIGKILL)
    lines = finish(process, 1)
    assert error(lines) == "error: a worker process died (killed, or out of memory). The same command resumes."
    assert gone(results)
    run(results)
    assert outcome(results) == reference


@pytest.fixture
def holder(results: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that holds the results: it stands still in the middle of a step."""
    with launch(results, inject="before(training.Learner, 'step', nth(3), send(signal.SIGSTOP))") as process:
        while "State:\tT" not in Path(f"/proc/{process.pid}/status").read_text():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.faults(17)
@LINUX
def test_two_at_once(results: Path, reference: dict[str, Any], holder: subprocess.Popen[str]) -> None:
    (published,) = (results / "vae/smoke").glob("custom-*")
    before = snapshot(results)
    assert re.fullmatch(
        rf"error: {published} is in use by pid {holder.pid} since \d{{4}}-\S+ \S+\. Wait for it, or add wait=true\.",
        error(run(results, code=75)),
    )
    assert snapshot(results) == before
    waiting = launch(results, "wait=true")
    time.sleep(0.5)
    holder.kill()
    assert holder.wait() == -signal.SIGKILL
    finish(waiting, 0)
    assert outcome(results) == reference


@pytest.mark.slow
@pytest.mark.faults(17)
@LINUX
def test_another_command_with_the_same_job(results: Path, holder: subprocess.Popen[str]) -> None:
    folder = folder_of(results)
    lines = run(results, "importance_points=4", code=75)  # other analyses of the same trainings
    assert error(lines).startswith(f"error: {folder} is in use by pid {holder.pid} since ")
    holder.send_signal(signal.SIGCONT)
    finish(holder, 0)
    assert run(results, "importance_points=4") == []


@pytest.mark.faults(17)
def test_two_different_jobs_at_once(tmp_path: Path, reference: dict[str, Any]) -> None:
    commands = [launch(tmp_path), launch(tmp_path, "seeds=[1]")]
    for command in commands:
        assert finish(command, 0) == []
    for folder in (tmp_path / "vae/smoke").glob("custom-*"):
        if "seeds:\n- 1\n" in (folder / "config.yaml").read_text():
            shutil.rmtree(folder)
    for folder in runs(tmp_path).glob("*-seed1-*"):
        shutil.rmtree(folder)
    assert outcome(tmp_path) == reference


@pytest.mark.faults(18)
@pytest.mark.parametrize("path", ["home", "home/vae/smoke", "home/vae/smoke/runs"])
def test_results_folder_is_a_file(tmp_path: Path, path: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    line = error(run(tmp_path / "home", code=2))
    assert line.startswith(f"error: {file} is not a folder, and results go under {tmp_path / 'home'}")
    assert sorted(tmp_path.rglob("*")) == before
    assert file.read_text() == "mine"


@pytest.mark.faults(18)
def test_run_folder_is_a_file(results: Path) -> None:
    folder = folder_of(results)
    shutil.rmtree(folder)
    folder.write_text("mine")
    assert error(run(results, code=2)).startswith(f"error: {folder} is not a folder, and results go under {folder}")
    assert folder.read_text() == "mine"


@pytest.mark.faults(18)
@pytest.mark.usefixtures("mounting")
@pytest.mark.parametrize("inner", ["", "vae/smoke"])
def test_results_folder_is_read_only(tmp_path: Path, inner: str) -> None:
    home = tmp_path / "results" / inner
    home.mkdir(parents=True)
    command = f"{sys.executable} {RUN} {' '.join(GRID)}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"mount --bind {home} {home} && mount -o remount,ro,bind {home} && {command}"],
        cwd=ROOT,
        env=os.environ | {"MLF_RESULTS": str(tmp_path / "results"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {home} cannot be written, and results go under {tmp_path}/results/vae/smoke")
    assert done.stderr.count("\n") == 1
    assert not any(home.iterdir())


VANISH = "import shutil\nbefore({}, lambda: shutil.rmtree(os.environ['MLF_RESULTS']))"
MOMENTS = {
    "in a step": "training.Learner, 'step', nth(5)",
    "in the figure": "plot, 'png', nth(1)",
}


@pytest.mark.faults(18)
@pytest.mark.parametrize("moment", [*MOMENTS, "in a pool"])
def test_results_folder_vanishes(results: Path, moment: str) -> None:
    if moment == "in a pool":
        process = launch(results, *POOL)
        wait_for_steps(process, results, 3)
        results.rename(results.with_name("gone"))  # at once: workers write while files are deleted one by one
        line = error(finish(process, 1))
    else:
        line = error(run(results, inject=VANISH.format(MOMENTS[moment]), code=1))
    assert str(results / "vae/smoke") in line
    assert line.endswith("Run the same command again.")
    assert not results.exists()


EVIL = b"cos\nsystem\n(S'touch MARKER'\ntR."


def object_array(path: Path) -> None:
    """An archive with an array of Python objects, written without any."""
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("params.npy", member.getvalue() + EVIL)


def outside(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../params.npy", b"")


EVILS: dict[str, tuple[Callable[[Path], object], str]] = {
    "objects": (lambda path: path.write_bytes(EVIL), "contains Python objects"),
    "object array": (object_array, "contains Python objects"),
    "path outside": (outside, "contains the path '../params.npy'"),
}


@pytest.mark.faults(19)
@pytest.mark.parametrize("signed", [True, False], ids=["with its checksum", "in place of the good one"])
@pytest.mark.parametrize("evil", EVILS)
def test_evil_checkpoint(results: Path, evil: str, signed: bool) -> None:
    write, what = EVILS[evil]
    folder = folder_of(results)
    archive = folder / "step-30.npz"
    write(archive)
    if signed:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        (folder / "step-30.npz.sha256").write_text(f"{digest}  step-30.npz\n")
    before = snapshot(folder)
    with pytest.raises(RunError, match=re.escape(f"refusing {archive}: {what}")):
        checkpoint.load(folder)
    if evil == "objects":
        assert error(run(results, code=1)).startswith(f"error: refusing {archive}: {what}")
    assert snapshot(folder) == before
    assert not (ROOT / "MARKER").exists()


@pytest.mark.faults(19)
def test_nothing_in_the_tree_can_load_objects() -> None:
    banned = re.compile(r"pick[l]e|weights_only\s*=\s*False|\bjoblib\.load\b")
    for folder in ("shared", "papers", "conf", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml"):
                text = path.read_text().replace("allow_pickle=False", "")
                assert not banned.search(text), path


@pytest.mark.slow
@pytest.mark.faults(20)
def test_resume_under_changed_conditions(results: Path, reference: dict[str, Any]) -> None:
    other = "from shared import results\nresults.code_digest = lambda paper: '0badc0de'"
    folder = folder_of(results)
    lines = run(results, "compute.threads=2", inject=other)
    (warning,) = (line for line in lines if line.startswith("warning: "))
    assert re.search(r"continues under changed conditions: code \w{8} -> 0badc0de, threads 1 -> 2$", warning)
    (published,) = (results / "vae/smoke").glob("custom-*")
    records = {run["name"]: run for run in json.loads((published / "run.json").read_text())["runs"]}
    first, second = records[folder.name]["ran_under"]
    assert (second["code"], second["threads"], second["from_step"]) == ("0badc0de", 2, 30)
    assert first["threads"] == 1


@pytest.mark.slow
@pytest.mark.faults(20)
def test_finished_job_again(results: Path, reference: dict[str, Any]) -> None:
    run(results)
    before = snapshot(results)
    for overrides in ([], ["compute.threads=2"]):
        assert run(results, *overrides) == ["already done: every file is up to date, none was touched"]
        assert snapshot(results) == before
    # A publication that was killed half-way is done again, from the rows that are there.
    (published,) = (results / "vae/smoke").glob("custom-*")
    (published / "rows.csv.tmp").write_bytes(b"half")
    (published / "headline.png").unlink()
    assert run(results) == []
    assert outcome(results) == reference
    assert (published / "headline.png").exists()

"""The command line: what it refuses, in which words, with which exit code, and that a refusal makes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from papers.entry import GROUPS, check_arguments, quoted
from papers.vae.run import VAESettings
from shared.errors import BadRequest
from shared.settings import fields

ROOT = Path(__file__).parents[1]
NUMBERS = [(name, item.metadata, str(kind)) for name, item, kind in fields(VAESettings) if "low" in item.metadata]
NAMES = [name for name, _, _ in fields(VAESettings)]


def refusal(argument: str) -> str:
    """The one line with which this argument is refused."""
    with pytest.raises(BadRequest) as caught:
        check_arguments([argument], VAESettings)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "papers/vae/run.py", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.faults(11)
@pytest.mark.parametrize("name", [*NAMES, *GROUPS])
def test_misspelt_option(name: str) -> None:
    doubled = name.replace(name[-2], 2 * name[-2])
    for typo in (name[:-1], name + "x", doubled, f"+{name}x", f"++{name[:-1]}"):
        bare = typo.lstrip("+")
        assert refusal(f"{typo}=1") == f"unknown option {bare}. Did you mean {name}?"


@pytest.mark.faults(11)
def test_prefix_of_an_option() -> None:
    assert refusal("learning=1").startswith("unknown option learning. ")
    assert refusal("learnin_rate=1") == "unknown option learnin_rate. Did you mean learning_rate?"
    assert refusal("zebra=1").startswith("unknown option zebra. Valid: batch_size, binarised_latent, ")


def bad_values(limits: Any, kind: str) -> Iterator[str]:
    """What a numeric option refuses, as it is typed."""
    low, high, listed = limits["low"], limits["high"], "list" in kind
    scalars = ["abc", "true", "nan", "inf", "-inf", "-1", f"{low - 1:.0f}", f"{high * 2:.0f}", "1e400", "'3'", "{a: 1}"]
    scalars += ["1.5", "2.0"] if "int" in kind else []
    scalars += [f"{low:.0f}"] if limits["above"] else []
    for value in scalars:
        yield f"[{value}]" if listed else value
    if listed:
        yield from ("[]", "3", "[3,3]", "[3,[4]]", "null", "[null]")
    else:
        yield from ("[3]", "[]", *(() if "None" in kind else ("null",)))


@pytest.mark.faults(12)
@pytest.mark.parametrize(("name", "limits", "kind"), NUMBERS, ids=[name for name, _, _ in NUMBERS])
def test_bad_number(name: str, limits: Any, kind: str) -> None:
    for value in bad_values(limits, kind):
        message = refusal(f"{name}={value}")
        assert message.startswith(f"{name}="), value
        assert ": must be a" in message, value
    for value in (max(limits["low"], 1), limits["high"]):
        check_arguments([f"{name}=[{value}]" if "list" in kind else f"{name}={value}"], VAESettings)


@pytest.mark.faults(12)
def test_words_of_a_refusal() -> None:
    assert refusal("batch_size=-4") == "batch_size=-4: must be an integer >= 1 and <= 100000"
    assert refusal("std=0") == "std=0: must be a number > 0 and <= 10"
    assert refusal("wait=3") == "wait=3: must be true or false"
    assert refusal("seeds=1,2") == "cannot read 'seeds=1,2': a list is written seeds=[...]"
    assert refusal("~std") == "cannot read '~std': std cannot be left out"


@pytest.mark.faults(13)
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("scale=smok", "unknown scale smok. Valid: full, quick, smoke."),
        ("compute=gpu", "unknown compute gpu. Valid: local, slurm, submitit_local."),
        ("data=mnits", "data=mnits: must be one of mnist, digits"),
        ("likelihood=poisson", "likelihood=poisson: must be one of bernoulli, gaussian"),
        ("paper=vae", "unknown option paper. "),
        ("vae=big", "unknown option vae. "),
    ],
)
def test_unknown_name(argument: str, message: str) -> None:
    assert refusal(argument).startswith(message)


def test_free_text_is_quoted_for_hydra() -> None:
    seen: list[str] = []
    for argument in ("f=sin(x)*y", "f= sin(x)*y ", "f='sin(x)*y'", 'f="sin(x)*y"'):
        assert quoted(argument, {"f": seen.append}) == "f='sin(x)*y'"
    assert set(seen) == {"sin(x)*y"}
    assert quoted("+f=[x, y]", {"f": seen.append}) == "+f='[x, y]'"
    assert quoted("f='x\"", {"f": seen.append}) == "f=''x\"'"
    assert seen[-2:] == ["[x, y]", "'x\""]  # what a check sees is all that was typed
    for argument in ("g=sin(x)*y", "f", "--f=x", "scale=smoke"):
        assert quoted(argument, {"f": seen.append}) == argument
    with pytest.raises(BadRequest, match="no text"):
        quoted("f=x", {"f": refuse})


def refuse(text: str) -> None:
    raise BadRequest("no text")


REFUSED = [
    pytest.param(["learnin_rate=1"], "unknown option learnin_rate. Did you mean", marks=pytest.mark.faults(11)),
    pytest.param(["--scal=smoke"], "unknown flag --scal. Options are written name=value", marks=pytest.mark.faults(11)),
    pytest.param(["batch_size=0"], "batch_size=0: must be an integer >= 1", marks=pytest.mark.faults(12)),
    pytest.param(
        ["scale=smoke", "batch_size=30000"], "batch_size=30000: must be at most", marks=pytest.mark.faults(12)
    ),
    pytest.param(["data=cifar"], "data=cifar: must be one of mnist, digits", marks=pytest.mark.faults(13)),
    (["scale=smoke", "binarised_latent=7"], "binarised_latent=7: must be one of latent=[2, 3]"),
    (["+batch_size=3"], "Could not append to config. An item is already at 'batch_size'."),
    (["hydra.foo=1"], "Could not override 'hydra.foo'."),
    (["--config-name=none"], "Cannot find primary config 'none'."),
    (["--cfg=all_of_it"], "argument --cfg/-c: invalid choice: 'all_of_it'"),
    (["--package"], "argument --package/-p: expected one argument"),
    (["compute=slurm"], "compute=slurm needs sbatch and srun on the PATH"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refusal_is_one_line_and_makes_nothing(arguments: list[str], message: str, results_home: Path) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not results_home.exists()


def test_full_trace_on_request() -> None:
    done = command("batch_siz=3", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "shared.errors.BadRequest: unknown option batch_siz" in done.stderr


def test_help(results_home: Path) -> None:
    done = command("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "learning_rate" in done.stdout
    assert not results_home.exists()


@pytest.mark.faults(16)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_run_begins(number: signal.Signals, results_home: Path) -> None:
    script = (
        "import os, runpy, signal, sys; from shared import datasets\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it\n"
        f"datasets.load = lambda *a: os.kill(os.getpid(), {int(number)})\n"
        "sys.argv = ['papers/vae/run.py']; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 128 + number
    assert done.stderr == "stopped before the run began\n"
    assert not results_home.exists()

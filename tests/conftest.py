"""What every test may rely on: no test writes into the committed results, and `make faults` ends in a score."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # a busy machine is not a failure
settings.load_profile("no deadline")
os.environ.pop("OPENBLAS_CORETYPE", None)  # a run that inherits it may warn, where a test expects silence


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def results_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's runs put their results (``MLF_RESULTS``, inherited by subprocesses)."""
    home = tmp_path / "results"
    monkeypatch.setenv("MLF_RESULTS", str(home))
    return home


@pytest.fixture(scope="session")
def torchvision() -> Iterator[ModuleType]:
    """torchvision, whose compiled operators do not load beside a CPU-only torch: then two that its import asks for are
    declared here, without code. The oracles, transforms and models, call neither.
    """
    import torch

    operators = torch.library.Library("torchvision", "FRAGMENT")  # its declarations last as long as it does
    try:
        torch.ops.load_library(Path(find_spec("torchvision").origin).with_name("_C.so"))
    except OSError:
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    yield torchvision  # noqa: PT022 - a return would end the declarations


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write the fault (its number, else the test's name) on the test's report, which crosses from xdist's workers."""
    for item in items:
        if marker := item.get_closest_marker("faults"):
            item.user_properties.append(("fault", marker.args[0] if marker.args else item.name))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A fault is survived when every test that injects it passed."""
    survived: dict[int | str, bool] = {}
    for outcome in ("passed", "failed", "error", "skipped", "xfailed", "xpassed"):
        for report in terminalreporter.getreports(outcome):
            for name, fault in getattr(report, "user_properties", ()):
                if name == "fault":
                    survived[fault] = survived.get(fault, True) and outcome == "passed"
    if survived:
        missed = ", ".join(str(fault) for fault, alive in survived.items() if not alive)
        score = f"faults survived: {sum(survived.values())} of {len(survived)}"
        terminalreporter.write_line(score + (f"; not: {missed}" if missed else ""))

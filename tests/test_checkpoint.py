"""Checkpoints: what is saved comes back, two are kept, and nothing damaged, foreign or not finite passes."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from shared import checkpoint
from shared.errors import Diverged, RunError
from shared.files import write_files

STATE = {"params": {"W": np.arange(6.0).reshape(2, 3)}, "m": np.ones(3, np.float32)}


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoint.save(folder, step, STATE, {"rows": [{"step": step}]})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path, 10)
    step, arrays, meta = checkpoint.load(tmp_path) or pytest.fail("none")
    assert (step, meta) == (10, {"rows": [{"step": 10}]})
    assert arrays["params/W"].dtype == np.float64
    np.testing.assert_array_equal(arrays["params/W"], STATE["params"]["W"])
    into = {"params": {"W": np.zeros((2, 3))}}
    checkpoint.copy(arrays, into, tmp_path)
    np.testing.assert_array_equal(into["params"]["W"], STATE["params"]["W"])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 9, 10, 100)
    assert names(tmp_path) == ["step-10.npz", "step-10.npz.sha256", "step-100.npz", "step-100.npz.sha256"]
    digest, name = (tmp_path / "step-100.npz.sha256").read_text().split()
    assert (len(digest), name) == (64, "step-100.npz")  # as sha256sum --check reads it


def test_nothing_saved(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.steps(tmp_path) == []


def test_saved_twice_is_written_once(tmp_path: Path) -> None:
    save(tmp_path, 10)
    before = (tmp_path / "step-10.npz").stat()
    save(tmp_path, 10)
    assert (tmp_path / "step-10.npz").stat() == before


@pytest.mark.faults(14)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_not_saved(tmp_path: Path, value: float) -> None:
    with pytest.raises(Diverged, match=r"^params/W is not finite at step 3$"):
        checkpoint.save(tmp_path, 3, {"params": {"W": np.array([1, value])}}, {})
    assert names(tmp_path) == []


def test_the_same_arrays_are_the_same_bytes() -> None:
    assert checkpoint.packed({"a": np.ones(2)}) == checkpoint.packed({"a": np.ones(2)})


@pytest.mark.parametrize("other", [{"params": {"W": np.zeros((3, 2))}}, {"params": {"b": np.zeros(3)}}])
def test_another_layout_is_an_error(tmp_path: Path, other: dict[str, dict[str, np.ndarray]]) -> None:
    save(tmp_path, 1)
    found = checkpoint.load(tmp_path)
    assert found is not None
    with pytest.raises(RunError, match=r"has no params/\w of shape .*: other code wrote it\. Delete "):
        checkpoint.copy(found[1], other, tmp_path)


@pytest.mark.faults(4)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"0" * 64])
def test_damaged_checksum(tmp_path: Path, content: bytes) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / "step-2.npz.sha256").write_bytes(content)
    found = checkpoint.load(tmp_path)
    assert found is not None
    assert found[0] == 1
    assert names(tmp_path) == ["step-1.npz", "step-1.npz.sha256", "step-2.npz.bad", "step-2.npz.sha256.bad"]


@pytest.mark.faults(3)
def test_what_a_killed_save_leaves_is_removed(tmp_path: Path) -> None:
    save(tmp_path, 1)
    whole = names(tmp_path)
    for leftover in ("step-2.npz.tmp", "step-2.npz.sha256", "step-2.npz.sha256.tmp", "rows.json.tmp", "step-1.npz.tmp"):
        (tmp_path / leftover).write_bytes(b"half")
    checkpoint.clean(tmp_path)
    assert names(tmp_path) == whole


@pytest.mark.faults(15)
def test_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    whole = names(tmp_path)

    def full(*paths: object) -> None:
        raise OSError(28, os.strerror(28))

    for function in ("replace", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(os, function, full)
            with pytest.raises(RunError, match=r"^no space left writing step-2\.npz"):
                save(tmp_path, 2)
        assert names(tmp_path) == whole


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(
        RunError, match=r"^cannot write b in .*/absent: No such file or directory\. Run the same command"
    ):
        write_files({tmp_path / "a": b"new", tmp_path / "absent" / "b": b"new"})
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


@pytest.mark.faults(19)
def test_unpacking_runs_nothing() -> None:
    archive = io.BytesIO()
    np.savez(archive, a=np.ones(2))
    assert list(checkpoint.unpacked(archive.getvalue())) == ["a"]
    for data in (b"", b"PK", archive.getvalue()[:-30], b"cos\nsystem\n(S'touch MARKER'\ntR."):
        with pytest.raises(ValueError, match=r"."):
            checkpoint.unpacked(data)
    assert not Path("MARKER").exists()

"""Checkpoints that prove their own integrity.

A checkpoint is ``step-N.npz`` (arrays alone: nothing in it can run) beside ``step-N.npz.sha256``. The order of a save
is: temporary archive, checksum, archive under its name; so a kill at any point leaves the previous checkpoint
untouched and at most a ``*.tmp`` that the next start removes.
"""

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from shared import tree
from shared.errors import Diverged, RunError
from shared.files import explained, looks_like_python_objects, sync, write_durably, write_files
from shared.tree import Array, Tree

KEPT = 2
META = "meta.json"


def clean(folder: Path) -> None:
    """Remove what a killed save left: temporary files, and the checksum of an archive that never got its name."""
    for temporary in folder.glob("*.tmp"):
        archive = temporary.with_suffix("")
        if archive.suffix == ".npz" and not archive.exists():
            _checksum_of(archive).unlink(missing_ok=True)
        temporary.unlink()


def _checksum_of(archive: Path) -> Path:
    return archive.with_name(archive.name + ".sha256")


def save(folder: Path, step: int, state: Tree, meta: dict[str, Any]) -> None:
    """Write ``step-N.npz`` (state's arrays and meta as JSON) and keep the newest two. Raises Diverged on NaN or inf."""
    archive = folder / f"step-{step}.npz"
    if archive.exists():
        return
    arrays = dict(tree.leaves(state))
    for path, array in arrays.items():
        if not np.isfinite(array).all():
            raise Diverged(f"{path} is not finite at step {step}")
    data = packed({META: np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays})
    temporary = archive.with_name(archive.name + ".tmp")
    try:
        write_durably(temporary, data)
        write_files({_checksum_of(archive): f"{hashlib.sha256(data).hexdigest()}  {archive.name}\n".encode()})
        os.replace(temporary, archive)
        sync(folder)
    except (OSError, RunError) as error:
        for unfinished in (temporary, _checksum_of(archive)):
            with suppress(OSError):
                unfinished.unlink()
        if isinstance(error, OSError):
            raise explained(error, archive, len(data)) from error
        raise
    for old in steps(folder)[:-KEPT]:
        (folder / f"step-{old}.npz").unlink(missing_ok=True)
        _checksum_of(folder / f"step-{old}.npz").unlink(missing_ok=True)


def packed(arrays: Mapping[str, Array]) -> bytes:
    """The arrays as the bytes of an ``.npz``: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, Array]:
    """The arrays in the bytes of an ``.npz``. ValueError when they are no such archive, or hold Python objects."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: "encrypted" by a flipped bit
        raise ValueError(str(error)) from error


def steps(folder: Path) -> list[int]:
    """The steps of which the folder holds an archive or a checksum, ascending."""
    names = [path.name.split(".")[0] for path in folder.glob("step-*.npz*") if path.suffix in (".npz", ".sha256")]
    return sorted({int(name.removeprefix("step-")) for name in names})


def load(folder: Path) -> tuple[int, dict[str, Array], dict[str, Any]] | None:
    """The newest whole checkpoint as (step, arrays by path, meta); None where there never was one.

    Damaged ones that are newer are renamed ``*.bad`` with a warning. RunError when all are damaged (all are kept), or
    when one holds Python objects or a path that leaves the archive.
    """
    found = steps(folder)
    damaged = []
    for step in reversed(found):
        archive = folder / f"step-{step}.npz"
        contents = _read(archive)
        if contents is None:
            damaged.append(archive)
            continue
        for bad in damaged:
            print(f"warning: checkpoint {bad.name} is damaged (checksum); using step-{step}", file=sys.stderr)
            for path in (bad, _checksum_of(bad)):
                if path.exists():
                    path.rename(path.with_name(path.name + ".bad"))
        meta = json.loads(contents.pop(META).tobytes())
        return step, contents, meta
    if damaged:
        raise RunError(f"no usable checkpoint in {folder} ({len(damaged)} damaged). Delete {folder} to start over.")
    return None


def copy(arrays: Mapping[str, Array], into: Tree, folder: Path) -> None:
    """Copy arrays by path into the leaves of a tree. RunError when the folder's checkpoint is of another layout."""
    for path, array in tree.leaves(into):
        if path not in arrays or arrays[path].shape != array.shape:
            raise RunError(
                f"the checkpoint in {folder} has no {path} of shape {array.shape}: other code wrote it. "
                f"Delete {folder} to start over."
            )
        array[...] = arrays[path]


def _read(archive: Path) -> dict[str, Array] | None:
    """The archive's arrays, or None when it is missing or not the bytes that were saved."""
    try:
        data = archive.read_bytes()
        digest = _checksum_of(archive).read_text().split()[0]
    except (OSError, IndexError, UnicodeDecodeError):
        data, digest = archive.read_bytes() if archive.exists() else b"", ""
    _refuse_code(archive, data)
    if hashlib.sha256(data).hexdigest() != digest:
        return None
    return unpacked(data)


def _refuse_code(archive: Path, data: bytes) -> None:
    """RunError when the bytes are serialized Python objects, or an archive with an object array or an outside path."""
    if looks_like_python_objects(data, b"PK"):
        raise RunError(f"refusing {archive}: contains Python objects. Delete it if you do not know where it is from.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            for name in members.namelist():
                with members.open(name) as member:  # refused as damaged where the two records of the name differ
                    if name.startswith("/") or ".." in name.split("/"):
                        raise RunError(f"refusing {archive}: contains the path {name!r}, outside the archive.")
                    form, major = np.lib.format, np.lib.format.read_magic(member)[0]
                    header = form.read_array_header_1_0 if major == 1 else form.read_array_header_2_0
                    if header(member)[2].hasobject:
                        raise RunError(f"refusing {archive}: contains Python objects.")
    except RunError:
        raise
    except Exception:  # whatever a damaged archive provokes, the checksum is what decides
        return

"""Files that are whole or absent: all of a set is written, or none of it."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from shared.errors import BadRequest, RunError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_writable(folder: Path) -> None:
    """BadRequest naming the path when the folder, or what would hold it, is no folder or may not be written."""
    existing = folder
    while not os.path.lexists(existing):  # below a folder that may not be read, nothing does
        existing = existing.parent
    if not existing.is_dir():
        raise BadRequest(f"{existing} is not a folder, and results go under {folder}. Move it, or set MLF_RESULTS.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise BadRequest(f"{existing} cannot be written, and results go under {folder}. Set MLF_RESULTS to another.")


def write_files(files: dict[Path, bytes]) -> None:
    """Write every file or none: all to ``NAME.tmp`` first, then each renamed into place. The folders must exist.

    Raises RunError naming the file when the disk is full or the folder has gone; no temporary file is left then.
    """
    temporary = {path: path.with_name(path.name + ".tmp") for path in files}
    try:
        for path, data in files.items():
            write_durably(temporary[path], data)
        for path in files:
            os.replace(temporary[path], path)
            sync(path.parent)
    except OSError as error:
        for unfinished in temporary.values():
            with suppress(OSError):
                unfinished.unlink()
        raise explained(error, path, sum(map(len, files.values()))) from error


def write_durably(path: Path, data: bytes) -> None:
    """Write the bytes and wait until they are on the disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Wait until the file, or the folder's renames, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explained(error: OSError, path: Path, need: int) -> RunError:
    """The one line that a failed write of ``need`` bytes to path is worth."""
    name, folder = path.name.removesuffix(".tmp"), path.parent
    if error.errno in FULL:
        free = shutil.disk_usage(folder).free
        return RunError(
            f"no space left writing {name} (need {need / 1e6:.1f} MB, free {free / 1e6:.1f} MB) in {folder}. "
            "Free some and run the same command again."
        )
    return RunError(f"cannot write {name} in {folder}: {os.strerror(error.errno or 0)}. Run the same command again.")


def looks_like_python_objects(data: bytes, magic: bytes) -> bool:
    """Whether bytes that should start with magic are serialized Python objects: such streams end with a STOP, "."."""
    return not data.startswith(magic) and data.endswith(b".")

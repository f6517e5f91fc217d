"""Data files placed by hand or fetched from a mirror: nothing is believed before its digest was checked.

A user's file is only ever read. A download grows in a `.partial-PID` folder beside its target and takes its final name
after verification, so no crash leaves half a file there.
"""

import contextlib
import gzip
import hashlib
import os
import shutil
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from shared.errors import RunError
from shared.files import looks_like_python_objects, sync

GZIP = b"\x1f\x8b"  # the first bytes of every gzip file
ANSWER = 4.0  # seconds in which a mirror must answer, or there is no network
STALL = 20.0  # seconds for which a transfer under way may pause


@dataclass(frozen=True)
class Archive:
    """A published archive."""

    name: str  # on the mirrors and on disk
    sha256: str


@dataclass(frozen=True)
class RemoteFile(Archive):
    """The archive of one file; one that has been gunzipped is as good, under the name without `.gz`."""

    content: str  # "md5:..." or "sha256:..." of the decompressed content
    size: int  # bytes of the decompressed content
    magic: bytes  # the first bytes of the decompressed content

    @property
    def stem(self) -> str:
        return self.name.removesuffix(".gz")


def obtain(title: str, files: Sequence[RemoteFile], mirrors: Sequence[str]) -> list[bytes]:
    """The decompressed, verified contents of `files`, in their order; absent ones are downloaded first.

    They lie in $MLF_DATA/title, $MLF_DATA, or without that variable in the user's cache; downloads go to the first.
    Raises RunError when a file is damaged, holds Python objects, or is absent and no mirror delivers it.
    """
    home, *others = folders(title.lower())
    remove_stale(home)
    contents = {}
    for file in files:
        candidates = (folder / name for folder in (home, *others) for name in (file.name, file.stem))
        if path := next(filter(os.path.isfile, candidates), None):
            contents[file] = read(path, file)
    missing = [file for file in files if file not in contents]
    if missing:
        download(title, missing, home, mirrors)
        contents |= {file: read(home / file.name, file) for file in missing}
    return [contents[file] for file in files]


def folders(*names: str) -> list[Path]:
    """Where files may lie: the folders `names` of $MLF_DATA and itself; without that variable names[0] of the cache.

    Downloads go to the first.
    """
    if data := os.environ.get("MLF_DATA"):
        root = Path(os.path.expanduser(data)).absolute()
        return [*(root / name for name in names), root]
    return [Path(pooch.os_cache("ml-foundations")) / names[0]]


def read(path: Path, file: RemoteFile) -> bytes:
    """The decompressed content of `path`, which has the published size and digest, else RunError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}.") from error
    algorithm, digest = file.content.split(":")
    try:
        content = gzip.decompress(data) if data.startswith(GZIP) else data
    except (EOFError, OSError, zlib.error):
        content, found = b"", f"a damaged gzip of {len(data)} bytes"
    else:
        actual = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
        if len(content) == file.size and actual == digest:
            return content
        found = f"{len(content)} bytes, {algorithm} {actual}"
    if looks_like_python_objects(content, file.magic):
        raise RunError(f"refusing {path}: contains Python objects")
    raise RunError(
        f"{path.name}: expected {file.size} bytes decompressed, {algorithm} {digest}; found {found} ({path}). "
        "Delete it and run again to fetch it."
    )


def download(title: str, files: Sequence[Archive], folder: Path, mirrors: Sequence[str]) -> None:
    """Put verified `files` into `folder`, one after the other; returning or raising, leave nothing unverified."""
    reachable = answering(mirrors)
    if not reachable:
        hosts = ", ".join(urlsplit(mirror).netloc or mirror for mirror in mirrors)
        names = ", ".join(file.name for file in files)
        raise RunError(
            f"{title} not found in {folder} and {hosts} not reachable. "
            f"Copy {names} to {folder} (or set MLF_DATA), or run scale=quick (offline)."
        )
    created = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    partial = folder / f".partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        for file in files:
            transfer(file, reachable, partial / file.name, folder)
            os.replace(partial / file.name, folder / file.name)
            sync(folder)
    except OSError as error:
        raise RunError(f"cannot store {title} in {folder}: {error}. Set MLF_DATA to a folder with room.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for path in created:
            with contextlib.suppress(OSError):  # one that now holds a verified file stays
                path.rmdir()


def answering(mirrors: Sequence[str]) -> list[str]:
    """Those of `mirrors` that answer an HTTP request within ANSWER seconds; all are asked at once, through proxies too.

    In threads that are left behind, because neither a name server nor a list of dead addresses obeys a timeout.
    """
    answered = set()

    def ask(mirror: str) -> None:
        try:
            requests.head(mirror, timeout=ANSWER)
        except requests.exceptions.SSLError:
            pass  # somebody answered: the download will say what is wrong
        except requests.RequestException:
            return
        answered.add(mirror)

    threads = [threading.Thread(target=ask, args=(mirror,), daemon=True) for mirror in mirrors]
    deadline = time.monotonic() + ANSWER
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [mirror for mirror in mirrors if mirror in answered]


def transfer(file: Archive, mirrors: Sequence[str], target: Path, folder: Path) -> None:
    """Write `file` to `target` from the first of `mirrors` that delivers the published archive, else RunError."""
    failures = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        cut = ""
        try:
            # pooch takes a bar only with a total, and puts the archive's in its place.
            with tqdm(desc=file.name, total=1, unit="B", unit_scale=True, disable=None) as bar:
                fetch = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=(ANSWER, STALL))
                fetch(url, str(target), None)
        except requests.HTTPError as error:
            failures.append(str(error))  # status and URL
            continue
        except requests.RequestException as error:
            cut = f"transfer broke off ({type(error).__name__}), "
        found = pooch.file_hash(str(target), alg="sha256")
        if found == file.sha256:
            sync(target)
            return
        failures.append(f"{url}: {cut}expected sha256 {file.sha256}, found {found} ({target.stat().st_size} bytes)")
    raise RunError(f"{file.name}: {'; '.join(failures)}. Try again, or copy it to {folder}.")


def remove_stale(folder: Path) -> None:
    """Remove what downloads whose process is gone have left in `folder`."""
    for path in folder.glob(".partial-[0-9]*"):
        pid = int(path.name.removeprefix(".partial-"))
        try:
            os.kill(pid, 0)
            alive = pid != os.getpid()  # under our number, before we began: of an earlier process
        except ProcessLookupError:
            alive = False
        except PermissionError:
            alive = True  # another user's
        if not alive:
            shutil.rmtree(path, ignore_errors=True)

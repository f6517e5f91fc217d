"""CIFAR-10's loader: layouts, whose files they are, and every wrong file; with 20 records a file instead of 10,000."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.datasets import cifar10, fetch, load
from shared.errors import RunError

RECORD = 3073
FILES = ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"]
FILES += ["test_batch.bin"]
BATCHES = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
REPLACE = f"Put the right one there, or delete all six .bin files and run again to fetch {ARCHIVE}."

Contents = dict[str, bytes]


def contents(seed: int) -> Contents:
    """Six files of 20 records: ten images of each class for training, two for testing, in random order."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([rng.permutation(np.repeat(range(10), count)) for count in (10, 2)]).reshape(6, 20, 1)
    records = np.concatenate([labels, rng.integers(0, 256, (6, 20, RECORD - 1))], axis=2).astype(np.uint8)
    return {name: file.tobytes() for name, file in zip(FILES, records, strict=True)}


def digests(files: Contents) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def tar(files: Contents) -> bytes:
    """The files as the official archive has them: in a folder, in no particular order, among others."""
    target = io.BytesIO()
    members = {name: files[name] for name in sorted(files, key=lambda name: name[::-1])}
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        folder = tarfile.TarInfo(BATCHES)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in (members | {"batches.meta.txt": b"airplane\n", "../data_batch_1.bin": b"another"}).items():
            member = tarfile.TarInfo(f"{BATCHES}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


ORIGINAL, COPY, OTHER = (contents(seed) for seed in range(3))
TAR = tar(ORIGINAL)
DIGEST = hashlib.sha256(TAR).hexdigest()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An absent MLF_DATA folder, and the tiny files as the original and the copy."""
    monkeypatch.setattr(cifar10, "IMAGES", 20)
    monkeypatch.setattr(cifar10, "ARCHIVE", fetch.Archive(ARCHIVE, sha256=DIGEST))
    monkeypatch.setattr(cifar10, "ARCHIVE_SIZE", len(TAR))
    monkeypatch.setattr(cifar10, "DIGESTS", {"CIFAR-10": digests(ORIGINAL), "CIFAR-10 (JPEG copy)": digests(COPY)})
    labels = b"".join(content[::RECORD] for content in COPY.values())
    monkeypatch.setattr(cifar10, "COPY_LABELS", hashlib.sha256(labels).hexdigest())
    monkeypatch.setattr(fetch, "ANSWER", 1.0)
    monkeypatch.setattr(fetch, "STALL", 1.0)
    monkeypatch.setenv("MLF_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


def place(folder: Path, files: Contents) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A mirror on 127.0.0.1 with the files of a folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refusal(data: Path, mirror: str | None = None) -> str:
    """The one-line message with which loading fails, twice the same, changing no file."""
    before = snapshot(data.parent)
    messages = []
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            load("cifar10", [mirror or closed_port()])
        assert caught.value.exit_code == 1
        messages.append(str(caught.value))
        assert snapshot(data.parent) == before
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    return messages[0]


def assert_loads(files: Contents, title: str, mirror: str | None = None) -> None:
    """Every pixel and label where the description of the format has it."""
    source = load("cifar10", [mirror or closed_port()])
    assert (source.name, source.title, source.levels) == ("cifar10", title, 255)
    assert source.checksums == {name: f"sha256:{digest}" for name, digest in digests(files).items()}
    assert list(source.checksums) == FILES
    train, test = b"".join(files[name] for name in FILES[:5]), files[FILES[5]]
    for images, labels, records in (
        (source.train_images, source.train_labels, train),
        (source.test_images, source.test_labels, test),
    ):
        n = len(records) // RECORD
        assert images.dtype == labels.dtype == np.uint8
        assert not images.flags.writeable
        assert not labels.flags.writeable
        assert labels.tolist() == [records[RECORD * i] for i in range(n)]
        assert images.shape == (n, 32, 32, 3)
        for i, row, column in ((0, 0, 0), (n - 1, 31, 31), (n // 2, 3, 17), (1, 30, 2)):
            red = RECORD * i + 1 + 32 * row + column
            assert images[i, row, column].tolist() == [records[red], records[red + 1024], records[red + 2048]]
        total = sum(records) - sum(labels.tolist())
        assert images.sum(dtype=int) == total


@pytest.mark.parametrize("where", ["cifar-10", "cifar10", "."])
@pytest.mark.parametrize("folder", [BATCHES, "."])
def test_files_placed_by_hand(data: Path, where: str, folder: str) -> None:
    place(data / where / folder, ORIGINAL)
    before = snapshot(data)
    assert_loads(ORIGINAL, "CIFAR-10")
    assert snapshot(data) == before


@pytest.mark.parametrize("where", ["cifar-10", "cifar10", "."])
def test_archive_placed_by_hand(data: Path, where: str) -> None:
    place(data / where, {ARCHIVE: TAR})
    before = snapshot(data.parent)
    assert_loads(ORIGINAL, "CIFAR-10")
    assert snapshot(data.parent) == before


def test_verified_archive_is_the_original_whatever_its_files_digests(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "DIGESTS", {})
    place(data, {ARCHIVE: TAR})
    assert_loads(ORIGINAL, "CIFAR-10")


def test_copy(data: Path) -> None:
    place(data / BATCHES, COPY)
    assert_loads(COPY, "CIFAR-10 (JPEG copy)")


def test_copy_from_another_decoder(data: Path) -> None:
    files = {name: flipped(content, 100) for name, content in COPY.items()}
    place(data, files)
    assert_loads(files, "CIFAR-10 (JPEG copy)")


def test_files_nobody_vouches_for(data: Path) -> None:
    place(data, OTHER)
    assert_loads(OTHER, "CIFAR-10 (unverified files)")


def test_other_titles() -> None:
    assert load("digits").title == "digits"


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.faults(8)
@pytest.mark.parametrize("position", [0, 1, RECORD - 1, RECORD, 20 * RECORD - 1], ids=lambda i: f"byte {i}")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("title", "files"), [("CIFAR-10", ORIGINAL), ("CIFAR-10 (JPEG copy)", COPY)])
def test_flipped_bit(data: Path, title: str, files: Contents, name: str, position: int) -> None:
    wrong = flipped(files[name], position)
    place(data, files | {name: wrong})
    assert refusal(data) == (
        f"{name}: expected sha256 {digests(files)[name]}, as others in its folder are those of {title}; "
        f"found {hashlib.sha256(wrong).hexdigest()} ({data / name}). {REPLACE}"
    )


@pytest.mark.faults(8)
def test_batches_that_changed_places_or_sets(data: Path) -> None:
    place(data, ORIGINAL | {FILES[0]: ORIGINAL[FILES[1]], FILES[1]: ORIGINAL[FILES[0]]})
    assert refusal(data).startswith(f"{FILES[0]}: expected sha256 ")
    place(data, ORIGINAL | {FILES[5]: COPY[FILES[5]]})
    assert refusal(data).startswith(f"{FILES[5]}: expected sha256 ")
    place(data, COPY | {FILES[2]: OTHER[FILES[2]]})
    assert refusal(data).startswith(f"{FILES[2]}: expected sha256 ")


@pytest.mark.faults(7)
@pytest.mark.parametrize("name", [FILES[0], FILES[3], FILES[5]])
@pytest.mark.parametrize(
    "damage",
    {
        "half": lambda content: content[: len(content) // 2],
        "odd byte": lambda content: content + b"\0",
        "one byte short": lambda content: content[:-1],
        "one record short": lambda content: content[:-RECORD],
        "empty": lambda content: b"",
        "page": lambda content: b"<html>Please log in</html>",
        "gzipped": gzip.compress,
    }.items(),
    ids=lambda item: item[0],
)
def test_wrong_size(data: Path, damage: tuple[str, Callable[[bytes], bytes]], name: str) -> None:
    wrong = damage[1](COPY[name])
    place(data / BATCHES, COPY | {name: wrong})
    assert refusal(data) == (
        f"{name}: expected 61460 bytes, 20 records of 3073; found {len(wrong)} bytes ({data / BATCHES / name}). "
        f"{REPLACE}"
    )


@pytest.mark.faults(8)
@pytest.mark.parametrize("label", [10, 255])
def test_wrong_label(data: Path, label: int) -> None:
    wrong = bytearray(OTHER[FILES[4]])
    wrong[7 * RECORD] = label
    place(data, OTHER | {FILES[4]: bytes(wrong)})
    assert refusal(data) == (
        f"{FILES[4]}: expected labels 0 to 9; found {label} in record 7 ({data / FILES[4]}). {REPLACE}"
    )


@pytest.mark.faults(8)
def test_wrong_numbers_of_images(data: Path) -> None:
    place(data, dict.fromkeys(FILES, bytes(20 * RECORD)))  # as an interrupted download leaves files
    assert refusal(data) == (
        f"data_batch_1.bin to data_batch_5.bin: expected 10 images of each class; "
        f"found 100, 0, 0, 0, 0, 0, 0, 0, 0, 0 ({data}). {REPLACE}"
    )
    place(data, OTHER | {FILES[5]: bytes(20 * RECORD)})
    assert refusal(data) == (
        f"test_batch.bin: expected 2 images of each class; found 20, 0, 0, 0, 0, 0, 0, 0, 0, 0 ({data}). {REPLACE}"
    )


@pytest.mark.parametrize("name", FILES)
def test_missing_file(data: Path, name: str) -> None:
    (place(data / BATCHES, COPY) / name).unlink()
    expected = f"cannot read {data / BATCHES / name}: No such file or directory. {REPLACE}"
    assert refusal(data) == expected


@pytest.mark.parametrize("name", [FILES[1], ARCHIVE])
def test_folder_in_place_of_a_file(data: Path, name: str) -> None:
    if name != ARCHIVE:
        place(data, COPY)
        (data / name).unlink()
    (data / name).mkdir(parents=True)
    assert refusal(data).startswith(f"cannot read {data / name}: Is a directory. ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", [FILES[1], ARCHIVE])
def test_unreadable_file(data: Path, name: str) -> None:
    place(data, {ARCHIVE: TAR} if name == ARCHIVE else COPY)
    (data / name).chmod(0)
    with pytest.raises(RunError, match=f"cannot read {data / name}: Permission denied"):
        load("cifar10")


def marker(protocol: bytes) -> bytes:
    """Python objects that would make a file when loaded."""
    return protocol + b"cos\nsystem\n(S'touch MARKER'\ntR."


@pytest.mark.faults(19)
@pytest.mark.parametrize("protocol", [b"", b"\x80\x02"])
def test_python_objects_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    place(data, COPY | {FILES[0]: marker(protocol)})
    assert refusal(data) == f"refusing {data / FILES[0]}: contains Python objects. {REPLACE}"
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.faults(19)
@pytest.mark.parametrize("where", ["cifar-10", "cifar10", "."])
@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_1", "data_batch_1"])
def test_python_version_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = data / where / name
    place(path.parent, {path.name: marker(b"")})
    named = data / where / name.split("/")[0]
    assert refusal(data) == (
        f"refusing {named}: CIFAR-10's python version contains Python objects. "
        f"Put the binary version, {ARCHIVE}, beside it, or move it away and run again to fetch that."
    )
    place(data / where, {ARCHIVE: TAR})
    assert_loads(ORIGINAL, "CIFAR-10")
    assert not (tmp_path / "MARKER").exists()


@pytest.mark.faults(7)
@pytest.mark.faults(8)
@pytest.mark.parametrize(
    "damage",
    {
        "half": TAR[: len(TAR) // 2],
        "odd byte": TAR + b"\0",
        "empty": b"",
        "header": flipped(TAR, 0),
        "middle": flipped(TAR, len(TAR) // 2),
        "page": b"<html>Please log in</html>",
        "a member short": tar({name: ORIGINAL[name] for name in FILES[1:]}),
        "the copy": tar(COPY),
        "python objects": marker(b""),
    }.items(),
    ids=lambda item: item[0],
)
def test_wrong_archive(data: Path, damage: tuple[str, bytes]) -> None:
    place(data, {ARCHIVE: damage[1]})
    assert refusal(data) == (
        f"{ARCHIVE}: expected {len(TAR)} bytes, sha256 {DIGEST}; found {len(damage[1])} bytes, "
        f"sha256 {hashlib.sha256(damage[1]).hexdigest()} ({data / ARCHIVE}). Delete it and run again to fetch it."
    )


def test_download(data: Path, tmp_path: Path) -> None:
    with served(place(tmp_path / "mirror", {ARCHIVE: TAR})) as mirror:
        assert_loads(ORIGINAL, "CIFAR-10", mirror)
    assert snapshot(data) == {str(data / "cifar-10"): None, str(data / "cifar-10" / ARCHIVE): TAR}
    assert_loads(ORIGINAL, "CIFAR-10")


def test_cache_folder_without_mlf_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLF_DATA")
    monkeypatch.setattr(fetch.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    with served(place(tmp_path / "mirror", {ARCHIVE: TAR})) as mirror:
        assert_loads(ORIGINAL, "CIFAR-10", mirror)
    assert os.listdir(tmp_path / "cache" / "ml-foundations" / "cifar-10") == [ARCHIVE]
    assert_loads(ORIGINAL, "CIFAR-10")


@pytest.mark.faults(10)
@pytest.mark.parametrize("answer", [None, b"<html>Please log in</html>", tar(COPY)], ids=["404", "page", "copy"])
def test_failed_download_leaves_nothing(data: Path, tmp_path: Path, answer: bytes | None) -> None:
    with served(place(tmp_path / "mirror", {} if answer is None else {ARCHIVE: answer})) as mirror:
        message = refusal(data, mirror)
    url = f"{mirror}{ARCHIVE}"
    what = f"404 Client Error: File not found for url: {url}"
    if answer is not None:
        found = hashlib.sha256(answer).hexdigest()
        what = f"{url}: expected sha256 {DIGEST}, found {found} ({len(answer)} bytes)"
    assert message == f"{ARCHIVE}: {what}. Try again, or copy it to {data / 'cifar-10'}."
    assert not data.exists()


@pytest.mark.faults(9)
def test_no_network(data: Path) -> None:
    mirror = closed_port()
    began = time.monotonic()
    message = refusal(data, mirror)
    assert time.monotonic() - began < 10
    home = data / "cifar-10"
    assert message == (
        f"CIFAR-10 not found in {home} and {mirror.split('/')[2]} not reachable. "
        f"Copy {ARCHIVE} to {home} (or set MLF_DATA), or run scale=quick (offline)."
    )
    assert not data.exists()


@pytest.mark.faults(10)
def test_next_start_removes_what_a_killed_download_left(data: Path) -> None:
    place(data / "cifar-10", {ARCHIVE: TAR})
    place(data / "cifar-10" / f".partial-{os.getpid()}", {ARCHIVE: TAR[:100]})  # our number, before we began
    assert_loads(ORIGINAL, "CIFAR-10")
    assert os.listdir(data / "cifar-10") == [ARCHIVE]


def real_is_here() -> bool:
    """Whether MLF_DATA holds CIFAR-10, from whatever source."""
    places = fetch.folders("cifar-10", "cifar10") if "MLF_DATA" in os.environ else []
    return bool(cifar10.folder_with_files(places)) or any((place / ARCHIVE).exists() for place in places)


@pytest.mark.skipif(not real_is_here(), reason="set MLF_DATA to a folder with CIFAR-10 to read the real files")
def test_real_cifar10() -> None:
    real = load("cifar10", [closed_port()])
    assert real.title in ("CIFAR-10", "CIFAR-10 (JPEG copy)")
    assert [array.shape for array in real[1:5]] == [(50000, 32, 32, 3), (50000,), (10000, 32, 32, 3), (10000,)]
    assert np.bincount(real.train_labels).tolist() == [5000] * 10
    assert np.bincount(real.test_labels).tolist() == [1000] * 10
    # The means of red, green and blue with which everybody normalises the training images.
    mean = real.train_images.mean((0, 1, 2)) / real.levels
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=5e-4)

"""The loaders against every way in which a data file or a mirror can fail, on tiny files in place of MNIST's own."""

import contextlib
import gzip
import hashlib
import http.server
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from shared.datasets import Dataset, fetch, load, mnist
from shared.errors import BadRequest, RunError

ROOT = Path(__file__).parents[1]
NAMES = [file.name for file in mnist.FILES]
IMAGES = NAMES[0]
PART = bytes(1 << 16)  # one chunk of a download
EVIL = b"cos\nsystem\n(S'touch MARKER'\ntR."

Body = Callable[[http.server.BaseHTTPRequestHandler], None]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tiny_arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(12, 4, 3), (12,), (5, 4, 3), (5,)]
    return [rng.integers(0, 256 if len(shape) == 3 else 10, shape, dtype=np.uint8) for shape in shapes]


CONTENTS = {name: idx(array) for name, array in zip(NAMES, tiny_arrays(), strict=True)}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An absent MLF_DATA folder, and the tiny files as the official ones."""
    official = [
        fetch.RemoteFile(
            name,
            sha256=hashlib.sha256(ARCHIVES[name]).hexdigest(),
            content=f"md5:{hashlib.md5(CONTENTS[name]).hexdigest()}",
            size=len(CONTENTS[name]),
            magic=mnist.IDX_UINT8,
        )
        for name in NAMES
    ]
    monkeypatch.setattr(mnist, "FILES", official)
    monkeypatch.setattr(fetch, "ANSWER", 1.0)
    monkeypatch.setattr(fetch, "STALL", 1.0)
    monkeypatch.setenv("MLF_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


@contextlib.contextmanager
def served(special: dict[str, Body] | None = None) -> Iterator[tuple[str, list[str]]]:
    """A mirror on 127.0.0.1 that sends ARCHIVES or lets `special` answer for a name: its URL, the names asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(403)
            self.end_headers()

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            asked.append(name)
            (special or {}).get(name, send_archive)(self)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mnist/", asked
        finally:
            server.shutdown()
            thread.join()


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def send_archive(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, ARCHIVES[handler.path.rpartition("/")[2]])


def send_part(handler: http.server.BaseHTTPRequestHandler, pause: float) -> None:
    send(handler, PART + b"less than a chunk", length=2 * len(PART))
    time.sleep(pause)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def place(folder: Path, raw: bool = False) -> None:
    folder.mkdir(parents=True)
    for name in NAMES:
        content = CONTENTS[name] if raw else ARCHIVES[name]
        (folder / (name.removesuffix(".gz") if raw else name)).write_bytes(content)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refusal(mirrors: list[str]) -> str:
    """The one-line message with which loading fails, twice the same, changing no file."""
    root = Path(os.environ["MLF_DATA"]).parent
    before = snapshot(root)
    messages = []
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            load("mnist", mirrors)
        assert caught.value.exit_code == 1
        messages.append(str(caught.value))
        assert snapshot(root) == before
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    return messages[0]


def assert_tiny(dataset: Dataset) -> None:
    for array, expected in zip(dataset[1:5], tiny_arrays(), strict=True):
        assert array.dtype == np.uint8
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, expected)
    assert dataset.levels == 255
    assert dataset.checksums[IMAGES.removesuffix(".gz")] == mnist.FILES[0].content


@pytest.mark.parametrize("raw", [False, True], ids=["gz", "raw"])
@pytest.mark.parametrize("place_in", ["mnist", "."])
def test_files_placed_by_hand(data: Path, place_in: str, raw: bool) -> None:
    place(data / place_in, raw)
    before = snapshot(data)
    assert_tiny(load("mnist", [closed_port()]))
    assert snapshot(data) == before


def test_gzipped_again_is_the_same_content(data: Path) -> None:
    place(data)
    (data / IMAGES).write_bytes(gzip.compress(CONTENTS[IMAGES], 1, mtime=7))
    assert_tiny(load("mnist", [closed_port()]))


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "odd byte": lambda content: content + b"\0",
    "one byte short": lambda content: content[:-1],
    "empty": lambda content: b"",
    "magic": lambda content: flipped(content, 0),
    "middle": lambda content: flipped(content, len(content) // 2),
    "last": lambda content: flipped(content, len(content) - 1),
}


@pytest.mark.faults(7)
@pytest.mark.faults(8)
@pytest.mark.parametrize("name", NAMES[:2])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("form", ["gz", "raw", "inside gz"])
def test_damaged_file(data: Path, form: str, damage: str, name: str) -> None:
    place(data / "mnist", raw=form == "raw")
    path = data / "mnist" / (name.removesuffix(".gz") if form == "raw" else name)
    if form == "inside gz":
        path.write_bytes(gzip.compress(DAMAGES[damage](CONTENTS[name])))
    elif form == "gz" and damage == "odd byte":
        path.write_bytes(path.read_bytes() + b"x")  # gzip itself allows zeros after the end
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with served() as (mirror, asked):
        message = refusal([mirror])
    content = CONTENTS[name]
    assert message.startswith(
        f"{path.name}: expected {len(content)} bytes decompressed, md5 {hashlib.md5(content).hexdigest()}; found "
    )
    assert message.endswith(f" ({path}). Delete it and run again to fetch it.")
    assert not asked


@pytest.mark.faults(8)
def test_every_flipped_byte_is_found(data: Path) -> None:
    file = mnist.FILES[0]
    data.mkdir()
    path = data / file.stem
    for position in range(file.size):
        path.write_bytes(flipped(CONTENTS[IMAGES], position))
        with pytest.raises(RunError, match="Delete it"):
            fetch.read(path, file)


def test_damage_is_told_in_numbers(data: Path) -> None:
    place(data)
    (data / IMAGES).write_bytes(ARCHIVES[IMAGES][:-9])
    assert f"; found a damaged gzip of {len(ARCHIVES[IMAGES]) - 9} bytes (" in refusal([closed_port()])
    cut = CONTENTS[IMAGES][:50]
    (data / IMAGES).write_bytes(gzip.compress(cut))
    assert f"; found 50 bytes, md5 {hashlib.md5(cut).hexdigest()} (" in refusal([closed_port()])


def test_deleting_the_damaged_file_fetches_it(data: Path) -> None:
    place(data / "mnist")
    path = data / "mnist" / IMAGES
    path.unlink()
    with served() as (mirror, asked):
        assert_tiny(load("mnist", [mirror]))
    assert asked == [IMAGES]
    assert path.read_bytes() == ARCHIVES[IMAGES]


@pytest.mark.faults(19)
@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("name", [IMAGES, IMAGES.removesuffix(".gz")])
def test_python_objects_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrap: Callable[[bytes], bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    place(data, raw=not name.endswith(".gz"))
    (data / name).write_bytes(wrap(EVIL))
    assert refusal([closed_port()]) == f"refusing {data / name}: contains Python objects"
    assert not (tmp_path / "MARKER").exists()


def test_python_objects_rule() -> None:
    assert fetch.looks_like_python_objects(EVIL, b"PK")
    assert not fetch.looks_like_python_objects(b"PK" + EVIL, b"PK")
    assert not fetch.looks_like_python_objects(EVIL[:-1], b"PK")
    assert not fetch.looks_like_python_objects(b"", b"PK")


def test_download(data: Path) -> None:
    with served() as (mirror, asked):
        assert_tiny(load("mnist", [mirror]))
        assert asked == NAMES
        assert_tiny(load("mnist", [mirror]))
        assert asked == NAMES
    assert {path.name: path.read_bytes() for path in (data / "mnist").iterdir()} == ARCHIVES


def test_second_mirror_takes_over(data: Path) -> None:
    with served({IMAGES: lambda handler: handler.send_error(404)}) as (first, _), served() as (second, asked):
        assert_tiny(load("mnist", [closed_port(), first, second.rstrip("/")]))
    assert asked == [IMAGES]


def test_cache_folder_without_mlf_data(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLF_DATA")
    monkeypatch.setattr(fetch.pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    with served() as (mirror, _):
        assert_tiny(load("mnist", [mirror]))
    assert sorted(os.listdir(tmp_path / "cache" / "ml-foundations" / "mnist")) == sorted(NAMES)


PAGE = b"<html>Please log in</html>"
TRANSFERS: dict[str, tuple[Body, str]] = {
    "missing": (lambda handler: handler.send_error(404), "404 Client Error: Not Found for url: {url}"),
    "broken server": (
        lambda handler: handler.send_error(500),
        "500 Server Error: Internal Server Error for url: {url}",
    ),
    "HTML page": (lambda handler: send(handler, PAGE), "{url}: expected sha256 {sha256}, found {page} (26 bytes)"),
    "cut": (
        lambda handler: send_part(handler, pause=0),
        "{url}: transfer broke off (ChunkedEncodingError), expected sha256 {sha256}, found {part} (65536 bytes)",
    ),
    "stalled": (
        lambda handler: send_part(handler, pause=1.5),
        "{url}: transfer broke off (ConnectionError), expected sha256 {sha256}, found {part} (65536 bytes)",
    ),
    "evil": (lambda handler: send(handler, EVIL), "{url}: expected sha256 {sha256}, found {evil} (31 bytes)"),
}


@pytest.mark.faults(10)
@pytest.mark.parametrize("how", TRANSFERS)
def test_failed_transfer(data: Path, how: str) -> None:
    answer, expected = TRANSFERS[how]
    with served({IMAGES: answer}) as (mirror, asked):
        message = refusal([mirror])
    digests = {"page": PAGE, "part": PART, "evil": EVIL, "sha256": ARCHIVES[IMAGES]}
    filled = expected.format(
        url=mirror + IMAGES, **{key: hashlib.sha256(value).hexdigest() for key, value in digests.items()}
    )
    assert message == f"{IMAGES}: {filled}. Try again, or copy it to {data / 'mnist'}."
    assert asked == [IMAGES, IMAGES]  # the other files were not tried after the first failed
    assert not data.exists()


@pytest.mark.faults(10)
def test_verified_files_stay_when_a_later_one_fails(data: Path) -> None:
    with served({NAMES[2]: lambda handler: handler.send_error(404)}) as (mirror, _), pytest.raises(RunError):
        load("mnist", [mirror])
    assert sorted(os.listdir(data / "mnist")) == sorted(NAMES[:2])
    with served() as (mirror, asked):
        assert_tiny(load("mnist", [mirror]))
    assert asked == NAMES[2:]


@pytest.mark.faults(9)
def test_no_network(data: Path) -> None:
    with socket.socket() as silent:  # accepts, never answers: as when packets are dropped
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mirrors = [closed_port(), f"http://127.0.0.1:{silent.getsockname()[1]}/"]
        began = time.monotonic()
        message = refusal(mirrors)
    assert time.monotonic() - began < 2 * fetch.ANSWER + 1
    first, second = (mirror.split("/")[2] for mirror in mirrors)
    home = data / "mnist"
    assert message == (
        f"MNIST not found in {home} and {first}, {second} not reachable. Copy {', '.join(NAMES)} to {home} "
        "(or set MLF_DATA), or run scale=quick (offline)."
    )
    assert not data.exists()


@pytest.mark.faults(9)
def test_no_network_names_only_what_is_missing(data: Path) -> None:
    place(data)
    (data / NAMES[3]).unlink()
    assert f"Copy {NAMES[3]} to " in refusal([closed_port()])


CHILD = """
import signal
import sys
from shared.datasets.fetch import RemoteFile, obtain
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it starts ignored
name, sha256, content, size, mirror = sys.argv[1:]
obtain("MNIST", [RemoteFile(name, sha256, content, int(size), bytes([0, 0, 8]))], [mirror])
"""


@pytest.mark.faults(10)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_a_download(data: Path, number: signal.Signals) -> None:
    release = threading.Event()

    def half(handler: http.server.BaseHTTPRequestHandler) -> None:
        send_part(handler, pause=0)
        release.wait(30)

    file = mnist.FILES[0]
    home = data / "mnist"
    with served({IMAGES: half}) as (mirror, asked):
        arguments = [file.name, file.sha256, file.content, str(file.size), mirror]
        command = [sys.executable, "-c", CHILD, *arguments]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as child:
            while not (asked and any(home.glob(".partial-*/*"))):
                assert child.poll() is None
                time.sleep(0.01)
            child.send_signal(number)
            assert child.wait(10) != 0
        release.set()
    if number == signal.SIGKILL:
        assert os.listdir(home) == [f".partial-{child.pid}"]
        other = home / f".partial-{os.getppid()}"
        other.mkdir()  # of a process that lives
        with served() as (mirror, _):
            assert_tiny(load("mnist", [mirror]))
        assert sorted(os.listdir(home)) == sorted([other.name, *NAMES])
    else:
        assert not data.exists()


@pytest.mark.faults(18)
def test_data_folder_is_a_file(data: Path) -> None:
    data.write_text("mine")
    with served() as (mirror, _):
        message = refusal([mirror])
    assert message.startswith(f"cannot store MNIST in {data / 'mnist'}: ")
    assert message.endswith("Set MLF_DATA to a folder with room.")


@pytest.mark.faults(15)
def test_disk_full_in_a_download(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch, "sync", full)
    with served() as (mirror, _):
        assert "No space left on device" in refusal([mirror])
    assert not data.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(data: Path) -> None:
    place(data)
    (data / IMAGES).chmod(0)
    with pytest.raises(RunError, match=f"cannot read {data / IMAGES}: Permission denied"):
        load("mnist")


@pytest.mark.faults(13)
def test_unknown_name() -> None:
    with pytest.raises(BadRequest, match=r"unknown data set 'mnits'\. Valid: digits, mnist, cifar10\.") as caught:
        load("mnits")
    assert caught.value.exit_code == 2


def test_digits() -> None:
    digits = load("digits")
    assert [array.shape for array in digits[1:5]] == [(1500, 8, 8), (1500,), (297, 8, 8), (297,)]
    assert all(array.dtype == np.uint8 and not array.flags.writeable for array in digits[1:5])
    assert digits.levels == digits.train_images.max() == digits.test_images.max() == 16
    assert set(digits.train_labels) == set(digits.test_labels) == set(range(10))
    # The split itself: another scikit-learn or NumPy must give the same images in the same order.
    assert digits.checksums == {
        "digits-images": "sha256:22ccb51d1417f8119764af32a91d6d7351b6b6f703ee31920487dcfdf6a4e72a",
        "digits-labels": "sha256:0f9ffd7948cafb397f7a000b667568d2e6ff757cc70e9e96e7ac289f51898d6f",
    }


def mnist_is_here() -> bool:
    """Whether MLF_DATA holds MNIST's files; it may hold other data only."""
    places = fetch.folders("mnist") if "MLF_DATA" in os.environ else []
    return all(any((place / n).exists() for place in places for n in (f.name, f.stem)) for f in mnist.FILES)


@pytest.mark.skipif(not mnist_is_here(), reason="set MLF_DATA to a folder with MNIST to read the real files")
def test_real_mnist() -> None:
    real = load("mnist", [closed_port()])
    assert [array.shape for array in real[1:5]] == [(60000, 28, 28), (60000,), (10000, 28, 28), (10000,)]
    assert np.bincount(real.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert real.train_images.mean() / real.levels == pytest.approx(0.1307, abs=5e-5)

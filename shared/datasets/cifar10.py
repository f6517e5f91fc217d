"""CIFAR-10 (Krizhevsky 2009): 60,000 colour photographs, 32x32, of ten classes, in the official binary version.

A record is a label and 32x32 red, then green, then blue values, row by row. Nothing in a file says whose it is, and a
shuffled copy in the same layout, re-encoded as JPEG, goes about: `title_of` tells what captions and run.json call it.
"""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.datasets import Dataset
from shared.datasets.fetch import Archive, download, folders, remove_stale
from shared.errors import RunError
from shared.files import looks_like_python_objects

MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = Archive("cifar-10-binary.tar.gz", sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd")
ARCHIVE_SIZE = 170_052_171  # bytes
FOLDER = "cifar-10-batches-bin"  # of the files in the archive
FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
PYTHON_VERSION = ("cifar-10-python.tar.gz", "cifar-10-batches-py", "data_batch_1")

CLASSES = 10  # airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck
IMAGES = 10_000  # in a file
SIDE = 32  # pixels
RECORD = 1 + 3 * SIDE * SIDE  # bytes

ORIGINAL = "CIFAR-10"
COPY = "CIFAR-10 (JPEG copy)"
UNVERIFIED = "CIFAR-10 (unverified files)"
# sha256. The original's page gives digests of archives only; these are what TorchVision for Ruby checks after unpacking
# ARCHIVE. The copy's were computed, and are equal with Pillow 9.5 and 13.0.
DIGESTS = {
    ORIGINAL: {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    COPY: {
        "data_batch_1.bin": "95bc40a96c189b4ae973b8e377256610c0b0865f59a76bf2e7b5f5d3b6a9cd51",
        "data_batch_2.bin": "5bb5b7448ab13050c953f52e49624887d937f2dbc737ba8308b771b88b6f5ced",
        "data_batch_3.bin": "ecc5c793ff8d4a06b657d4f9dfc1eb1e29f15f7e75fed9b9c34eb4df9459108d",
        "data_batch_4.bin": "9e28b99d5925a27d404ec940d84ec491ea1cd48e3ceb0e9db193afd19c93e65b",
        "data_batch_5.bin": "887c29d30b4a78aa9e3c200efd2298570173503aa557ab013e8e62afb37a242a",
        "test_batch.bin": "4031d37f75019b03cd2c6e0837a85e5935f31d6a5050a8d117ad746543e6f124",
    },
}
COPY_LABELS = "bfecf51857bbd06be1ba2f34c9213e92d5c95dff289417c8b3392370e6abc96b"  # sha256, in the order of FILES

REPLACE = f"Put the right one there, or delete all six .bin files and run again to fetch {ARCHIVE.name}."


def load(mirrors: Sequence[str] = MIRRORS) -> Dataset:
    """Images (50000, 32, 32, 3) and (10000, 32, 32, 3), values 0 to 255, labels (50000,) and (10000,) 0 to 9.

    From FILES or ARCHIVE in $MLF_DATA/cifar-10, $MLF_DATA/cifar10, $MLF_DATA or the user's cache, FILES also in FOLDER
    there; else ARCHIVE is downloaded. Raises RunError when files are damaged, incomplete, not CIFAR-10's or the python
    version's Python objects, and when there are none and no mirror delivers them.
    """
    places = folders("cifar-10", "cifar10")
    remove_stale(places[0])
    if folder := folder_with_files(places):
        contents: Iterator[tuple[str, bytes]] = ((name, content_of(folder / name)) for name in FILES)
    else:
        contents = unpacked(archive(places, mirrors))

    images = np.empty((len(FILES), IMAGES, SIDE, SIDE, 3), np.uint8)
    labels = np.empty((len(FILES), IMAGES), np.uint8)
    digests = {}
    for name, content in contents:
        i = FILES.index(name)
        digests[name] = hashlib.sha256(content).hexdigest()
        records = np.frombuffer(content, np.uint8).reshape(IMAGES, RECORD)
        labels[i] = records[:, 0]
        planes = records[:, 1:].reshape(IMAGES, 3, SIDE, SIDE)
        for channel in range(3):  # thrice as fast as one transposed copy
            images[i, ..., channel] = planes[:, channel]
    images.flags.writeable = labels.flags.writeable = False

    return Dataset(
        "cifar10",
        images[:-1].reshape(-1, SIDE, SIDE, 3),
        labels[:-1].reshape(-1),
        images[-1],
        labels[-1],
        checksums={name: f"sha256:{digests[name]}" for name in FILES},
        levels=255,
        alias=title_of(folder, digests, labels) if folder else ORIGINAL,
    )


def folder_with_files(places: Sequence[Path]) -> Path | None:
    """The first folder, FOLDER in one of `places` or the place itself, that holds any of FILES."""
    for place in places:
        for folder in (place / FOLDER, place):
            if any(os.path.lexists(folder / name) for name in FILES):
                return folder
    return None


def archive(places: Sequence[Path], mirrors: Sequence[str]) -> Path:
    """The archive in the first of `places` that has it, else downloaded to places[0].

    RunError when only the python version is there, or no mirror delivers the archive.
    """
    for path in (place / ARCHIVE.name for place in places):
        if os.path.lexists(path):
            return path
    for path in (place / name for place in places for name in PYTHON_VERSION):
        if os.path.lexists(path):
            raise RunError(
                f"refusing {path}: CIFAR-10's python version contains Python objects. "
                f"Put the binary version, {ARCHIVE.name}, beside it, or move it away and run again to fetch that."
            )
    download(ORIGINAL, [ARCHIVE], places[0], mirrors)
    return places[0] / ARCHIVE.name


def unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each of FILES in the archive, which has the published digest, else RunError."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != ARCHIVE.sha256:
                raise RunError(
                    f"{path.name}: expected {ARCHIVE_SIZE} bytes, sha256 {ARCHIVE.sha256}; found {file.tell()} bytes, "
                    f"sha256 {digest} ({path}). Delete it and run again to fetch it."
                )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:gz") as members:
                for member in members:  # in their own order: going back would decompress the archive again
                    folder, _, name = member.name.rpartition("/")
                    if folder == FOLDER and name in FILES and (content := members.extractfile(member)):
                        yield name, content.read()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}. Delete it and run again to fetch it.") from error


def content_of(path: Path) -> bytes:
    """The records in one of FILES, which has their size and labels, else RunError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}. {REPLACE}") from error
    if all(looks_like_python_objects(content, bytes([label])) for label in range(CLASSES)):
        raise RunError(f"refusing {path}: contains Python objects. {REPLACE}")
    if len(content) != IMAGES * RECORD:
        raise RunError(
            f"{path.name}: expected {IMAGES * RECORD} bytes, {IMAGES} records of {RECORD}; "
            f"found {len(content)} bytes ({path}). {REPLACE}"
        )
    labels = content[::RECORD]
    if max(labels) >= CLASSES:
        record = next(i for i, label in enumerate(labels) if label >= CLASSES)
        raise RunError(
            f"{path.name}: expected labels 0 to {CLASSES - 1}; found {labels[record]} in record {record} ({path}). "
            f"{REPLACE}"
        )
    return content


def title_of(folder: Path, digests: Mapping[str, str], labels: NDArray[np.uint8]) -> str:
    """What to call FILES with these digests and labels (6, IMAGES), both in the order of FILES; else RunError.

    All digests the original's make "CIFAR-10", all the copy's "CIFAR-10 (JPEG copy)"; among some of either, the others
    are wrong. Where no digest is known, another JPEG decoder may have made the copy's pixels, but its labels show; what
    else has CIFAR-10's numbers of images of each class is "CIFAR-10 (unverified files)". In these two cases no damage
    to a pixel is found.
    """
    for title, expected in DIGESTS.items():
        wrong = [name for name in FILES if digests[name] != expected[name]]
        if not wrong:
            return title
        if len(wrong) < len(FILES):
            name = wrong[0]
            raise RunError(
                f"{name}: expected sha256 {expected[name]}, as others in its folder are those of {title}; "
                f"found {digests[name]} ({folder / name}). {REPLACE}"
            )
    if hashlib.sha256(labels.tobytes()).hexdigest() == COPY_LABELS:
        return COPY
    for names, part in ((f"{FILES[0]} to {FILES[-2]}", labels[:-1]), (FILES[-1], labels[-1])):
        counts = np.bincount(part.ravel(), minlength=CLASSES)
        if np.ptp(counts):
            found = ", ".join(map(str, counts))
            raise RunError(
                f"{names}: expected {part.size // CLASSES} images of each class; found {found} ({folder}). {REPLACE}"
            )
    return UNVERIFIED

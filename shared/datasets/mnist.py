"""MNIST (LeCun, Cortes, Burges 1998): 70,000 handwritten digits in four IDX files."""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.datasets import Dataset
from shared.datasets.fetch import RemoteFile, obtain

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
IDX_UINT8 = b"\x00\x00\x08"  # two zeros, then the type code of unsigned bytes; the rank follows
FILES = (
    RemoteFile(
        "train-images-idx3-ubyte.gz",
        sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        content="md5:6bbc9ace898e44ae57da46a324031adb",
        size=47_040_016,
        magic=IDX_UINT8,
    ),
    RemoteFile(
        "train-labels-idx1-ubyte.gz",
        sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        content="md5:a25bea736e30d166cdddb491f175f624",
        size=60_008,
        magic=IDX_UINT8,
    ),
    RemoteFile(
        "t10k-images-idx3-ubyte.gz",
        sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        content="md5:2646ac647ad5339dbf082846283269ea",
        size=7_840_016,
        magic=IDX_UINT8,
    ),
    RemoteFile(
        "t10k-labels-idx1-ubyte.gz",
        sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        content="md5:27ae3e4e09519cfbb04c329615203637",
        size=10_008,
        magic=IDX_UINT8,
    ),
)


def load(mirrors: Sequence[str] = MIRRORS) -> Dataset:
    """Images (60000, 28, 28) and (10000, 28, 28), grey values 0 to 255, labels (60000,) and (10000,) 0 to 9.

    From $MLF_DATA/mnist, $MLF_DATA or the user's cache, else downloaded; `obtain` says what is checked and raised.
    """
    train_images, train_labels, test_images, test_labels = map(parse_idx, obtain("MNIST", FILES, mirrors))
    checksums = {file.stem: file.content for file in FILES}
    return Dataset("mnist", train_images, train_labels, test_images, test_labels, checksums, levels=255)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """The read-only array in a verified IDX file: 0, 0, 8, rank, then `rank` sizes as big-endian uint32, then bytes."""
    rank = content[3]
    shape = struct.unpack_from(f">{rank}I", content, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)

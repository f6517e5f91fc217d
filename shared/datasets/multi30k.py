"""Multi30k (Elliott et al. 2016; arXiv 1605.00459), task 1: captions of Flickr photographs, English and German."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from shared.datasets.fetch import RemoteFile, obtain
from shared.errors import BadRequest, RunError

MIRRORS = ("https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/",)  # of the folders raw and tok
FOLDERS = {"raw": "raw", "lc.norm.tok": "tok"}
SPLITS = ("train", "val", "test_2016_flickr")


@dataclass(frozen=True)
class PlainFile(RemoteFile):
    """A file that is published uncompressed; one that has been gzipped is as good, under the name with `.gz`."""

    @property
    def stem(self) -> str:
        return f"{self.name}.gz"


def raw(name: str, size: int, start: str, archive: str, content: str) -> RemoteFile:
    return RemoteFile(f"{name}.gz", archive, f"sha256:{content}", size, start.encode())


def tokenised(name: str, size: int, start: str, content: str) -> RemoteFile:
    return PlainFile(name, content, f"sha256:{content}", size, start.encode())


# By version: English and German of the three splits in turn.
FILES = {
    "raw": (
        raw(
            "train.en",
            size=1_801_238,
            start="Two young",
            archive="d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            content="460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
        ),
        raw(
            "train.de",
            size=2_110_398,
            start="Zwei junge",
            archive="726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
            content="2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
        ),
        raw(
            "val.en",
            size=63_297,
            start="A group",
            archive="14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
            content="1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
        ),
        raw(
            "val.de",
            size=75_981,
            start="Eine Gruppe",
            archive="f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            content="660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
        ),
        raw(
            "test_2016_flickr.en",
            size=62_076,
            start="A man",
            archive="611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            content="399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
        ),
        raw(
            "test_2016_flickr.de",
            size=70_649,
            start="Ein Mann",
            archive="9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            content="4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
        ),
    ),
    "lc.norm.tok": (
        tokenised(
            "train.lc.norm.tok.en",
            size=1_837_696,
            start="two young",
            content="08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        ),
        tokenised(
            "train.lc.norm.tok.de",
            size=2_150_008,
            start="zwei junge",
            content="cb5a23529b65ec2061f1dc446192a9c37382b63cc75f81a0be59d34894b3a505",
        ),
        tokenised(
            "val.lc.norm.tok.en",
            size=64_608,
            start="a group",
            content="46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
        ),
        tokenised(
            "val.lc.norm.tok.de",
            size=77_273,
            start="eine gruppe",
            content="97232bd273eceb7207f689527386a97e4be2616b18ada47576bdaf96c8ae1f00",
        ),
        tokenised(
            "test_2016_flickr.lc.norm.tok.en",
            size=63_307,
            start="a man",
            content="5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
        ),
        tokenised(
            "test_2016_flickr.lc.norm.tok.de",
            size=71_917,
            start="ein mann",
            content="c6a33d39d48f9f510de147651316cd9d918e09ad0219df734a2f16b6baccacc4",
        ),
    ),
}


class Parallel(NamedTuple):
    """Sentences and their translations: `de[i]` says what `en[i]` says."""

    en: list[str]
    de: list[str]


class Multi30k(NamedTuple):
    """29,000 training, 1,014 validation and 1,000 test pairs, in the published order, no character changed."""

    train: Parallel
    val: Parallel
    test_2016_flickr: Parallel
    checksums: dict[str, str]  # file -> "sha256:digest" of its content, for run.json


def load(version: str, mirrors: Sequence[str] = MIRRORS) -> Multi30k:
    """The text as written ("raw") or lower-cased, normalised and split into words by Moses ("lc.norm.tok").

    From $MLF_DATA/multi30k, $MLF_DATA or the user's cache, each file gzipped or not, else downloaded; `obtain` says
    what is checked and raised. BadRequest for another version, RunError for text that is not UTF-8 or not parallel.
    """
    if version not in FILES:
        raise BadRequest(f"unknown version {version!r} of Multi30k. Valid: {', '.join(FILES)}.")
    files = FILES[version]
    contents = obtain("Multi30k", files, [f"{mirror.rstrip('/')}/{FOLDERS[version]}/" for mirror in mirrors])
    names = [file.name.removesuffix(".gz") for file in files]
    texts = list(map(sentences, names, contents))
    train, val, test = map(parallel, SPLITS, texts[::2], texts[1::2])
    return Multi30k(train, val, test, {name: file.content for name, file in zip(names, files, strict=True)})


def sentences(name: str, content: bytes) -> list[str]:
    """The lines of a UTF-8 file, each ended by a line feed alone: no other character is taken for a line's end."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{name}: not UTF-8 at byte {error.start} ({error.reason}). Fetch the file again.") from error
    return text.removesuffix("\n").split("\n")


def parallel(split: str, en: list[str], de: list[str]) -> Parallel:
    """The two sides of a split, which must have equally many sentences."""
    if len(en) != len(de):
        raise RunError(
            f"{split}: {len(en)} English and {len(de)} German sentences do not pair. Fetch both files again."
        )
    return Parallel(en, de)

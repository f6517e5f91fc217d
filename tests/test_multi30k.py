"""Multi30k's loader on tiny files in place of the published ones; vocabularies, batches and BLEU on tiny texts."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import math
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papers.attention.bleu import cased_detokenised, tokenised_lowercased
from papers.attention.data import (
    BOS,
    EOS,
    PAD,
    SPECIAL,
    UNK,
    UNKNOWN,
    Batches,
    Characters,
    Subwords,
    Vocabulary,
    digest,
    padded,
)
from shared.datasets import multi30k
from shared.errors import BadRequest, RunError

ROOT = Path(__file__).parents[1]
EN = [
    "Two young, White males.",
    "A man\u2028in\x85an \u201corange\u201d hat. ",
    "A girl\u00a0climbs.",
    "It's 2 pm.",
    "Dogs!",
]
DE = ["Zwei junge weiße Männer.", "Ein Mann mit  Hut.", "Ein Mädchen klettert.", "Es ist 14 Uhr.", "Hunde!"]
TEXTS = {
    "train": (EN[:3], DE[:3]),
    "val": (EN[3:4], DE[3:4]),
    "test_2016_flickr": (EN[4:], DE[4:]),
}


def content(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def tiny(version: str) -> dict[str, bytes]:
    """The published files, by name."""
    files = {}
    for split, sides in TEXTS.items():
        for language, lines in zip(("en", "de"), sides, strict=True):
            if version == "raw":
                files[f"{split}.{language}.gz"] = gzip.compress(content(lines), mtime=0)
            else:
                files[f"{split}.lc.norm.tok.{language}"] = content([line.lower() for line in lines])
    return files


def plain(data: bytes) -> bytes:
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An absent MLF_DATA folder, and the tiny files as the published ones."""
    official = {}
    for version in multi30k.FILES:
        files = []
        for name, archive in tiny(version).items():
            text = plain(archive)
            facts = (len(text), text[:3].decode(), hashlib.sha256(text).hexdigest())
            if version == "raw":
                size, start, sha256 = facts
                stem = name.removesuffix(".gz")
                files.append(multi30k.raw(stem, size, start, hashlib.sha256(archive).hexdigest(), sha256))
            else:
                files.append(multi30k.tokenised(name, *facts))
        official[version] = tuple(files)
    monkeypatch.setattr(multi30k, "FILES", official)
    monkeypatch.setenv("MLF_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


def assert_tiny(loaded: multi30k.Multi30k, version: str) -> None:
    for (en, de), split in zip(TEXTS.values(), loaded[:3], strict=True):
        change = str if version == "raw" else str.lower
        assert split.en == list(map(change, en))
        assert split.de == list(map(change, de))
    assert loaded.checksums == {
        name.removesuffix(".gz"): f"sha256:{hashlib.sha256(plain(archive)).hexdigest()}"
        for name, archive in tiny(version).items()
    }


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def place(folder: Path, version: str, form: str) -> None:
    folder.mkdir(parents=True)
    for name, archive in tiny(version).items():
        text = plain(archive)
        if form == "gzipped":
            (folder / f"{name.removesuffix('.gz')}.gz").write_bytes(gzip.compress(text, mtime=7))
        else:
            (folder / name.removesuffix(".gz")).write_bytes(text)


VERSIONS = pytest.mark.parametrize("version", ["raw", "lc.norm.tok"])


@VERSIONS
@pytest.mark.parametrize("form", ["gzipped", "plain"])
@pytest.mark.parametrize("folder", ["multi30k", "."])
def test_files_placed_by_hand(data: Path, folder: str, form: str, version: str) -> None:
    place(data / folder, version, form)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert_tiny(multi30k.load(version, [closed_port()]), version)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """A mirror on 127.0.0.1 that sends the folder's files, texts compressed in transit as the official one does."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if not path.is_file():
                return self.send_error(404)
            body = path.read_bytes()
            self.send_response(200)
            if path.suffix != ".gz":
                self.send_header("Content-Encoding", "gzip")
                body = gzip.compress(body)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/data/task1"
        finally:
            server.shutdown()
            thread.join()


@VERSIONS
def test_download(data: Path, tmp_path: Path, version: str) -> None:
    mirrored = tmp_path / "mirror" / "data" / "task1" / ("raw" if version == "raw" else "tok")
    mirrored.mkdir(parents=True)
    for name, archive in tiny(version).items():
        (mirrored / name).write_bytes(archive)
    with served(tmp_path / "mirror") as mirror:
        assert_tiny(multi30k.load(version, [mirror]), version)
    assert {path.name: path.read_bytes() for path in (data / "multi30k").iterdir()} == tiny(version)
    assert_tiny(multi30k.load(version, [closed_port()]), version)


@VERSIONS
def test_no_network(data: Path, version: str) -> None:
    mirror = closed_port()
    with pytest.raises(RunError) as caught:
        multi30k.load(version, [mirror])
    home = data / "multi30k"
    assert str(caught.value) == (
        f"Multi30k not found in {home} and {mirror.split('/')[2]} not reachable. Copy {', '.join(tiny(version))} to "
        f"{home} (or set MLF_DATA), or run scale=quick (offline)."
    )
    assert not data.exists()


@VERSIONS
def test_another_text_is_refused(data: Path, version: str) -> None:
    place(data, version, "plain")
    name = next(iter(tiny(version))).removesuffix(".gz")
    text = (data / name).read_bytes()
    (data / name).write_bytes(text.replace(b"w", b"v", 1))
    with pytest.raises(RunError) as caught:
        multi30k.load(version, [closed_port()])
    sha256 = hashlib.sha256(text).hexdigest()
    message = str(caught.value)
    assert message.startswith(f"{name}: expected {len(text)} bytes decompressed, sha256 {sha256}; found {len(text)} ")
    assert message.endswith("Delete it and run again to fetch it.")
    assert "\n" not in message


def test_published_files_are_english_and_german_of_each_split() -> None:
    for version, infix in (("raw", ""), ("lc.norm.tok", ".lc.norm.tok")):
        names = [file.name.removesuffix(".gz") for file in multi30k.FILES[version]]
        assert names == [f"{split}{infix}.{language}" for split in TEXTS for language in ("en", "de")]
    digests = [file.content for files in multi30k.FILES.values() for file in files]
    assert len(set(digests)) == len(digests) == 12


def test_unknown_version() -> None:
    with pytest.raises(BadRequest) as caught:
        multi30k.load("tok")
    assert str(caught.value) == "unknown version 'tok' of Multi30k. Valid: raw, lc.norm.tok."


def test_text_that_is_not_utf8() -> None:
    with pytest.raises(RunError) as caught:
        multi30k.sentences("train.de", "Männer\n".encode("latin-1"))
    assert str(caught.value) == "train.de: not UTF-8 at byte 1 (invalid continuation byte). Fetch the file again."


def test_sides_that_do_not_pair() -> None:
    with pytest.raises(RunError) as caught:
        multi30k.parallel("val", EN, DE[:4])
    assert str(caught.value) == "val: 5 English and 4 German sentences do not pair. Fetch both files again."


CORPUS = EN + DE
ALPHABET = sorted(set("".join(CORPUS)))
VOCABULARIES: dict[str, Vocabulary] = {
    "characters": Characters(CORPUS),
    "no merges": Subwords(CORPUS, merges=0),
    "subwords": Subwords(CORPUS, merges=40),
}
each_vocabulary = pytest.mark.parametrize("vocabulary", VOCABULARIES.values(), ids=list(VOCABULARIES))


@each_vocabulary
@given(text=st.text(ALPHABET, max_size=60))
@settings(deadline=None)
def test_decoding_restores_the_text(vocabulary: Vocabulary, text: str) -> None:
    tokens = vocabulary.encode(text)
    assert set(tokens).isdisjoint({PAD, BOS, EOS, UNK})
    assert all(type(token) is int and token < len(vocabulary.pieces) for token in tokens)
    assert vocabulary.decode(tokens) == text
    assert vocabulary.decode(np.array(tokens, np.int32)) == text
    assert vocabulary.decode([BOS, *tokens, EOS, PAD, *tokens]) == text


@each_vocabulary
def test_special_tokens(vocabulary: Vocabulary) -> None:
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert vocabulary.pieces[:4] == SPECIAL
    assert len(set(vocabulary.pieces)) == len(vocabulary.pieces)
    assert vocabulary.decode([]) == vocabulary.decode([EOS]) == vocabulary.decode([PAD, BOS]) == ""
    # Text that looks like a special token is text.
    assert set(vocabulary.encode("</s><pad><s>")).isdisjoint({PAD, BOS, EOS})
    for text in ("y☃y", "☃", "2 pm ☃."):
        tokens = vocabulary.encode(text)
        assert tokens.count(UNK) == sum(character not in ALPHABET for character in text)
        assert vocabulary.decode(tokens) == "".join(c if c in ALPHABET else UNKNOWN for c in text)


def test_sizes_of_vocabularies() -> None:
    assert VOCABULARIES["characters"].pieces[4:] == tuple(ALPHABET)
    # U+2581 stands for the space.
    assert len(VOCABULARIES["no merges"].pieces) == 4 + len(ALPHABET)
    assert len(VOCABULARIES["subwords"].pieces) == 4 + 40 + len(ALPHABET)
    long, short = (
        sum(len(VOCABULARIES[name].encode(sentence)) for sentence in CORPUS) for name in ("no merges", "subwords")
    )
    assert short < 0.8 * long


def test_merges_are_the_most_frequent_pairs() -> None:
    """A corpus whose merges can be followed by hand: e s 9 times, es t 9, l o 7, lo w 7, the space before low 7."""
    words = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
    vocabulary = Subwords(words, merges=5)
    assert vocabulary.pieces[4:9] == ("es", "est", "lo", "low", "\u2581low")
    assert [vocabulary.pieces[i] for i in vocabulary.encode("lowest")] == ["\u2581low", "est"]


PROGRAM = """
import sys
from papers.attention.data import Subwords, digest
vocabulary = Subwords(sys.argv[1:], merges=40)
print(digest(vocabulary), [vocabulary.encode(sentence) for sentence in sys.argv[1:]])
"""


def test_learning_gives_the_same_vocabulary_in_every_process() -> None:
    answers = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, *CORPUS],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout.strip()
        for seed in "123"
    }
    vocabulary = VOCABULARIES["subwords"]
    assert answers == {f"{digest(vocabulary)} {[vocabulary.encode(sentence) for sentence in CORPUS]}"}


def test_digest_tells_vocabularies_apart() -> None:
    assert len({digest(vocabulary) for vocabulary in VOCABULARIES.values()}) == 3
    sha256 = hashlib.sha256(b"<pad>\n<s>\n</s>\n<unk>\na\nb").hexdigest()
    assert digest(Characters(["ba"])) == f"sha256:{sha256}"


@pytest.mark.parametrize("merges", [-1, 10_000])
def test_merges_that_cannot_be_learned(merges: int, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadRequest, match=rf"^merges={merges}: cannot be learned from 10 sentences \(.+\)$") as caught:
        Subwords(CORPUS, merges)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


lengths = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=60)


def sentences_of(pairs: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    """Sentences of the given lengths, each with its own tokens."""
    numbers = count(4)
    sources = [list(islice(numbers, source)) for source, _ in pairs]
    return sources, [list(islice(numbers, target)) for _, target in pairs]


@given(pairs=lengths, tokens=st.integers(21, 200), seed=st.integers(0, 3), epoch=st.integers(0, 3))
@settings(deadline=None)
def test_an_epoch_holds_every_pair_once(pairs: list[tuple[int, int]], tokens: int, seed: int, epoch: int) -> None:
    sources, targets = sentences_of(pairs)
    batches = Batches(sources, targets, tokens)
    n = len(batches)
    for taken in (list(batches), list(islice(batches.stream(seed, start=epoch * n), n))):
        assert len(taken) == n
        assert sorted(np.concatenate([batch.rows for batch in taken])) == list(range(len(pairs)))
        for batch in taken:
            assert {array.dtype for array in batch[1:]} == {np.dtype(np.int32)}
            assert max(batch.source.size, batch.target.size) <= tokens
            np.testing.assert_array_equal(batch.source, padded([[*sources[i], EOS] for i in batch.rows]))
            np.testing.assert_array_equal(batch.decoder_input, padded([[BOS, *targets[i]] for i in batch.rows]))
            np.testing.assert_array_equal(batch.target, padded([[*targets[i], EOS] for i in batch.rows]))


def test_padded() -> None:
    np.testing.assert_array_equal(padded([[5, 6, 7], [], [8]]), [[5, 6, 7], [PAD, PAD, PAD], [8, PAD, PAD]])


@given(pairs=lengths, tokens=st.integers(21, 200), start=st.integers(0, 30))
@settings(deadline=None)
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(
    pairs: list[tuple[int, int]], tokens: int, start: int
) -> None:
    batches = Batches(*sentences_of(pairs), tokens)
    whole, resumed = batches.stream(seed=7), Batches(*sentences_of(pairs), tokens).stream(seed=7, start=start)
    for expected, batch in zip(islice(whole, start, start + 5), islice(resumed, 5), strict=True):
        for a, b in zip(expected, batch, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def sentences() -> tuple[list[list[int]], list[list[int]]]:
    """3,000 pairs with lengths like those of captions: about 14 tokens, correlated."""
    rng = np.random.default_rng(0)
    source = np.clip(rng.gamma(9, 1.55, 3000), 4, 45)
    target = np.clip(source + 2.5 * rng.standard_normal(3000), 4, 45)
    return sentences_of(list(zip(source.astype(int).tolist(), target.astype(int).tolist(), strict=True)))


def test_batches_are_full_and_hold_little_padding(sentences: tuple[list[list[int]], list[list[int]]]) -> None:
    batches = Batches(*sentences, tokens=1024)
    taken = list(islice(batches.stream(seed=0), len(batches)))
    padding = {
        name: np.mean(np.concatenate([getattr(batch, name).ravel() == PAD for batch in taken]))
        for name in ("source", "target")
    }
    assert padding["target"] < 0.03
    assert padding["source"] < 0.15
    shuffled = np.random.default_rng(0).permutation(3000).reshape(-1, 60)
    unsorted = np.mean(np.concatenate([padded([sentences[1][i] for i in rows]).ravel() == PAD for rows in shuffled]))
    assert unsorted > 10 * padding["target"]
    sizes = [max(batch.source.size, batch.target.size) for batch in taken]
    assert np.mean(sizes) > 0.9 * 1024


def test_epochs_and_seeds_differ(sentences: tuple[list[list[int]], list[list[int]]]) -> None:
    batches = Batches(*sentences, tokens=1024)
    n = len(batches)
    epochs = [
        [tuple(batch.rows.tolist()) for batch in islice(batches.stream(seed, start=start), n)]
        for seed, start in ((0, 0), (0, n), (1, 0))
    ]
    for i in range(3):
        others = {rows for epoch in epochs[:i] + epochs[i + 1 :] for rows in epoch}
        assert len(others.intersection(epochs[i])) < n / 2  # most batches are made of other pairs
        widths = [max(len(sentences[1][row]) for row in rows) for rows in epochs[i]]
        assert widths != sorted(widths)
    assert len({tuple(sorted(map(len, epoch))) for epoch in epochs}) == 1


def test_dates_in_batches() -> None:
    sources, targets = ["3 March 1987", "03/04/87", "May 1, 2001"], ["1987-03-03", "1987-03-04", "2001-05-01"]
    vocabulary = Characters(sources + targets)
    encoded = ([vocabulary.encode(text) for text in side] for side in (sources, targets))
    (batch,) = Batches(*encoded, tokens=40)
    assert batch.source.shape == (3, 13)
    assert batch.target.shape == batch.decoder_input.shape == (3, 11)
    assert [vocabulary.decode(row) for row in batch.source] == [sources[i] for i in batch.rows]
    assert [vocabulary.decode(row) for row in batch.target] == [targets[i] for i in batch.rows]


def test_batches_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^2 sources for 1 targets: must be as many, and some$"):
        Batches([[4], [5]], [[6]], tokens=10)
    with pytest.raises(ValueError, match=r"^0 sources for 0 targets"):
        Batches([], [], tokens=10)
    for side in ([[4] * 10, [4]], [[4], [4]]), ([[4], [4]], [[4] * 10, [4]]):
        assert len(Batches(*side, tokens=11)) == 2
        with pytest.raises(BadRequest, match=r"^tokens=10: must be at least 11, the longest sentence$"):
            Batches(*side, tokens=10)


HYPOTHESES = [
    "the cat sat on the red mat .",
    "A dog runs through the deep snow",
    "two men play chess in the park today .",
]
REFERENCES = ["The cat sat on a red mat .", "a dog runs through deep snow .", "two men play chess in a park ."]


def bleu(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> tuple[float, list[float], float]:
    """Papineni et al. 2002, equations 1 to 3, from their definition."""

    def counts(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
        return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))

    precisions = []
    for n in range(1, 5):
        pairs = [(counts(h, n), counts(r, n)) for h, r in zip(hypotheses, references, strict=True)]
        precisions.append(sum((h & r).total() for h, r in pairs) / sum(h.total() for h, _ in pairs))
    c, r = sum(map(len, hypotheses)), sum(map(len, references))
    penalty = min(1.0, math.exp(1 - r / c))
    return 100 * penalty * math.exp(sum(map(math.log, precisions)) / 4), [100 * p for p in precisions], penalty


@pytest.mark.parametrize("shorter", [0, 2])
def test_tokenised_bleu_is_the_definition(shorter: int) -> None:
    hypotheses = [" ".join(sentence.split()[: -shorter or None]) for sentence in HYPOTHESES]
    score = tokenised_lowercased(hypotheses, REFERENCES)
    expected, precisions, penalty = bleu(*([s.lower().split() for s in side] for side in (hypotheses, REFERENCES)))
    assert score.bleu == pytest.approx(expected, rel=1e-12)
    assert score.precisions == pytest.approx(precisions, rel=1e-12)
    assert score.brevity_penalty == pytest.approx(penalty, rel=1e-12)
    assert (penalty < 1) == (shorter > 0)
    assert (score.hypothesis_length, score.reference_length) == (24 - 3 * shorter, 23)
    assert score.signature.startswith("nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:")


def test_detokenised_bleu_sees_capitals_and_sets_punctuation_apart() -> None:
    hypotheses, references = ["The cat sat on the red mat, today."], ["The cat sat on the red mat, today."]
    perfect = cased_detokenised(hypotheses, references)
    assert perfect.bleu == pytest.approx(100)
    assert perfect.hypothesis_length == 10  # eight words, a comma, a full stop
    assert perfect.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    lowered = cased_detokenised([hypotheses[0].lower()], references)
    assert lowered.precisions == pytest.approx((90, 100 * 8 / 9, 87.5, 600 / 7))
    assert tokenised_lowercased([hypotheses[0].lower()], references).bleu == pytest.approx(100)


@pytest.mark.parametrize("measure", [tokenised_lowercased, cased_detokenised])
def test_bleu_of_what_does_not_pair(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match=r"^1 hypotheses for 2 references: must be as many, and some$"):
        measure(["a"], ["a", "b"])
    with pytest.raises(ValueError, match=r"^0 hypotheses for 0 references"):
        measure([], [])

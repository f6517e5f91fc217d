"""What is learned: pairs of sentences, the vocabulary that both sides share, and how translations are scored."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from papers.attention import bleu, dates
from papers.attention.data import Batches, Characters, Subwords, Vocabulary, digest
from papers.attention.dates import Pairs
from shared.datasets import multi30k

DATA = ("dates", "multi30k")
RAW = "-raw"  # after multi30k: the text as written, in place of lower-cased words
SIZES = ("merges", "train_pairs", "test_pairs")  # what a job says about its data besides the name
DATES_SEED = 1  # every job learns from the same dates; the settings were tried out on those of seed 0


class Task(NamedTuple):
    """Three splits; nothing is ever chosen by the test's."""

    train: Pairs
    val: Pairs
    test: Pairs
    vocabulary: Vocabulary
    checksums: dict[str, str]  # file -> "sha256:digest", for run.json
    title: str  # for captions

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        return [self.vocabulary.encode(sentence) for sentence in sentences]

    def decode(self, translations: Sequence[Sequence[int]]) -> list[str]:
        return [self.vocabulary.decode(tokens) for tokens in translations]

    def batches(self, pairs: Pairs, tokens: int) -> Batches:
        return Batches(self.encode(pairs.sources), self.encode(pairs.targets), tokens)


@lru_cache(2)
def load(data: str, merges: int = 0, train_pairs: int = 0, test_pairs: int = 0) -> Task:
    """Generated dates in ISO's form, validated and tested on dates that do not occur in training; or Multi30k, en-de.

    Of ``merges`` and the numbers of pairs, each task has its own.
    """
    if data == "dates":
        train, held_out = dates.generate(train_pairs, 2 * test_pairs, DATES_SEED)
        val, test = (Pairs(*(side[half] for side in held_out)) for half in halves(test_pairs))
        title = f"generated dates, {train_pairs:,} training and {test_pairs:,} test pairs"
        return Task(train, val, test, Characters([*train.sources, *train.targets]), {}, title)
    source = multi30k.load(version(data))
    train, val, test = (Pairs(split.en, split.de) for split in (source.train, source.val, source.test_2016_flickr))
    vocabulary = Subwords([*train.sources, *train.targets], merges)
    checksums = source.checksums | {f"vocabulary ({version(data)})": digest(vocabulary)}
    return Task(train, val, test, vocabulary, checksums, f"Multi30k en-de ({version(data)})")


def version(data: str) -> str:
    """Of Multi30k."""
    return "raw" if data.endswith(RAW) else "lc.norm.tok"


def fetch(data: str, mirrors: Sequence[str]) -> None:
    """See to it that ``load`` finds the data here, from these base URLs if there are any."""
    if data != "dates":
        multi30k.load(version(data), mirrors or multi30k.MIRRORS)


def halves(n: int) -> tuple[slice, slice]:
    return slice(n), slice(n, None)


def of(job: dict[str, Any]) -> Task:
    """The task of a job."""
    return load(job["data"], **{name: job[name] for name in SIZES if name in job})


def score(data: str, hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """``score`` in [0, 100] with its ``signature``: BLEU with its factors, or the share of dates that are right."""
    if data == "dates":
        right = np.mean([ours == theirs for ours, theirs in zip(hypotheses, references, strict=True)])
        return {"score": 100 * float(right), "signature": "exact match"}
    metric = bleu.cased_detokenised if data.endswith(RAW) else bleu.tokenised_lowercased
    found = metric(hypotheses, references)
    return {
        "score": found.bleu,
        **{f"precision_{n}": precision for n, precision in enumerate(found.precisions, 1)},
        "brevity_penalty": found.brevity_penalty,
        "hypothesis_length": found.hypothesis_length,
        "reference_length": found.reference_length,
        "signature": found.signature,
    }

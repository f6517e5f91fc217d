"""From sentences to batches of token numbers: vocabularies shared by both languages, batches of a bounded size."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple, Protocol

import numpy as np
import sentencepiece
from numpy.typing import NDArray

from shared.errors import BadRequest

PAD, BOS, EOS, UNK = range(4)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # what UNK decodes to

Tokens = NDArray[np.int32]


class Vocabulary(Protocol):
    """Text to token numbers and back; PAD, BOS, EOS and UNK come first, and no text contains the first three."""

    pieces: tuple[str, ...]  # the tokens' names, by number

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without BOS and EOS; what was not learned becomes UNK."""

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        """The text up to the first EOS, PAD and BOS left out: decode(encode(text)) == text if nothing is UNK."""


class Characters:
    """The vocabulary of the characters that occur in `sentences`, in the order of their code points."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self.pieces = (*SPECIAL, *sorted(set().union(*sentences)))
        self.numbers = {piece: i for i, piece in enumerate(self.pieces)}

    def encode(self, text: str) -> list[int]:
        return [self.numbers.get(character, UNK) for character in text]

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        shown = {PAD: "", BOS: "", UNK: UNKNOWN}
        return "".join(shown.get(i, self.pieces[i]) for i in until_end(tokens))


class Subwords:
    """Byte-pair encoding (Sennrich et al. 2016; arXiv 1508.07909): the characters, and `merges` pairs joined in turn.

    Each merge joins the two neighbouring tokens that occur most often together in `sentences`, those of both languages,
    within a word; letters, digits and punctuation are not joined with each other. A word's first token contains the
    space before it, written U+2581, so decoding restores every space; that character itself decodes to a space.
    SentencePiece learns them, in one thread and from nothing but `sentences`: the same ones give the same vocabulary.

    BadRequest when `sentences` do not have so many pairs to merge.
    """

    def __init__(self, sentences: Sequence[str], merges: int = 10_000) -> None:
        characters = set().union(*sentences) - {" "} | {"\u2581"}
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=model,
                model_type="bpe",
                vocab_size=len(SPECIAL) + len(characters) + merges,
                character_coverage=1.0,
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                max_sentencepiece_length=100,  # of characters, more than a word has: merges decide
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                unk_surface=UNKNOWN,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise BadRequest(f"merges={merges}: cannot be learned from {len(sentences)} sentences ({error})") from error
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        self.pieces = tuple(map(self.processor.id_to_piece, range(self.processor.get_piece_size())))

    def encode(self, text: str) -> list[int]:
        return self.processor.encode(text)

    def decode(self, tokens: Sequence[int] | Tokens) -> str:
        return self.processor.decode(until_end(tokens))


def until_end(tokens: Sequence[int] | Tokens) -> list[int]:
    """The tokens before the first EOS."""
    tokens = [int(token) for token in tokens]
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


def digest(vocabulary: Vocabulary) -> str:
    """What the token numbers mean, for run.json: "sha256:..." of the tokens' names in order, a line each."""
    return f"sha256:{hashlib.sha256(chr(10).join(vocabulary.pieces).encode()).hexdigest()}"


class Batch(NamedTuple):
    """N pairs of sentences; shorter ones are filled up with PAD to the longest source S and target T."""

    rows: NDArray[np.int64]  # (N,) which pairs these are
    source: Tokens  # (N, S) x, EOS
    decoder_input: Tokens  # (N, T) BOS, y
    target: Tokens  # (N, T) y, EOS


class Batches:
    """Pairs of sentences in batches of at most `tokens` source and as many target tokens, padding counted (sec. 5.1).

    Pairs are sorted by the lengths of target and source, so a batch holds similar ones and little padding, least of all
    in the targets. The lengths in the batches are the same in every epoch; which pairs of a length go together, and the
    order of the batches, are not.

    ValueError when sources and targets do not pair or are none, BadRequest when a sentence is longer than `tokens`.
    """

    def __init__(self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], tokens: int) -> None:
        if not sources or len(sources) != len(targets):
            raise ValueError(f"{len(sources)} sources for {len(targets)} targets: must be as many, and some")
        self.sources, self.targets = sources, targets
        self.lengths = 1 + np.array([list(map(len, sources)), list(map(len, targets))])  # (2, pairs) with EOS
        self.splits = boundaries(self.lengths[:, self.by_length(np.arange(len(sources)))].max(axis=0), tokens)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.splits) + 1

    def __iter__(self) -> Iterator[Batch]:
        """Every pair once, from the shortest to the longest."""
        return map(self.batch, np.split(self.by_length(np.arange(len(self.sources))), self.splits))

    def stream(self, seed: int, start: int = 0) -> Iterator[Batch]:
        """The batches of the steps start, start + 1, ... without end; epoch e is ordered by default_rng((seed, e))."""
        first, position = divmod(start, len(self))
        for epoch in count(first):
            rng = np.random.default_rng((seed, epoch))
            batches = np.split(self.by_length(rng.permutation(len(self.sources))), self.splits)
            for i in rng.permutation(len(batches))[position:]:
                yield self.batch(batches[i])
            position = 0

    def by_length(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """`rows` by target length, then source length; those that are equal in both stay in their order.

        The source lengths rise and fall in turn: without a jump at the next target length, a batch across it needs less
        padding.
        """
        source, target = self.lengths[:, rows]
        return rows[np.lexsort((np.where(target % 2, source, -source), target))]

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        x, y = ([sentences[i] for i in rows] for sentences in (self.sources, self.targets))
        return Batch(
            rows,
            padded([[*sentence, EOS] for sentence in x]),
            padded([[BOS, *sentence] for sentence in y]),
            padded([[*sentence, EOS] for sentence in y]),
        )


def boundaries(lengths: NDArray[np.int64], tokens: int) -> list[int]:
    """Where to cut sentences of these lengths so that each part, padded to its longest, has at most `tokens`."""
    splits, start, longest = [], 0, 0
    for i, length in enumerate(lengths.tolist()):
        if length > tokens:
            raise BadRequest(f"tokens={tokens}: must be at least {lengths.max()}, the longest sentence")
        longest = max(longest, length)
        if (i + 1 - start) * longest > tokens:
            splits.append(i)
            start, longest = i, length
    return splits


def padded(sentences: Sequence[Sequence[int]]) -> Tokens:
    """(N, T) int32, T the longest sentence's length."""
    out = np.full((len(sentences), max(map(len, sentences))), PAD, np.int32)
    for row, sentence in zip(out, sentences, strict=True):
        row[: len(sentence)] = sentence
    return out

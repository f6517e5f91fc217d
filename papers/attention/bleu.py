"""Corpus BLEU (Papineni et al. 2002) by sacrebleu: two definitions, points apart, so each score has its signature.

Neither needs a detokeniser: a model trained on raw text decodes to raw text, since its subwords contain the spaces.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sacrebleu.metrics import BLEU


class Score(NamedTuple):
    """BLEU in [0, 100] and its factors: the geometric mean of four n-gram precisions, times a brevity penalty."""

    bleu: float
    precisions: tuple[float, ...]  # percent, for n = 1, 2, 3, 4
    brevity_penalty: float  # min(1, exp(1 - reference_length / hypothesis_length))
    hypothesis_length: int  # words in all sentences
    reference_length: int
    signature: str  # of the definition, with sacrebleu's version: to be stored with the score


def tokenised_lowercased(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """For text that is tokenised already, words set apart by spaces, capitals ignored."""
    return score(BLEU(tokenize="none", lowercase=True, force=True), hypotheses, references)


def cased_detokenised(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """For text as people write it, which sacrebleu tokenises itself (13a), capitals included."""
    return score(BLEU(tokenize="13a"), hypotheses, references)


def score(metric: BLEU, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """The corpus score with one reference a sentence; ValueError when they do not pair, or there are none."""
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses for {len(references)} references: must be as many, and some")
    result = metric.corpus_score(hypotheses, [references])
    return Score(
        result.score,
        tuple(result.precisions),
        result.bp,
        result.sys_len,
        result.ref_len,
        str(metric.get_signature()),
    )

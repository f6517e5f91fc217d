"""From a trained model to translations: greedy and beam search, without computing any position twice.

A hypothesis Y ends in EOS. It may have as many tokens as its source and EXTRA more, both EOS counted (section 6.1); the
last of these is EOS, whatever its probability. PAD and BOS are never chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import NamedTuple

import numpy as np

from papers.attention.data import BOS, EOS, PAD, Tokens, padded
from papers.attention.model import Transformer, not_padding
from shared import tree
from shared.layers.attention import KeysValues
from shared.threads import spread
from shared.tree import Array, Tree

EXTRA = 50
ROWS = 256  # hypotheses that ``translate`` decodes at a time


@dataclass(frozen=True)
class Prefixes:
    """What N sources and B hypotheses for each have left behind: for every layer, keys and values.

    ``memory`` (N, heads, S, d_k), with ``kept`` (N, 1, 1, S), is read by all B; ``past`` (N, B, heads, t, d_k) is each
    one's own: none before the first token.
    """

    kept: Array
    memory: dict[str, KeysValues]
    past: dict[str, KeysValues]

    def take(self, sources: Array, parents: Array) -> "Prefixes":
        """Of some sources (n,), the hypotheses parents (n, B): a hypothesis goes on in several ways, or in none."""
        rows = sources[:, None], parents
        return Prefixes(
            self.kept[sources],
            {i: (k[sources], v[sources]) for i, (k, v) in self.memory.items()},
            {i: (k[rows], v[rows]) for i, (k, v) in self.past.items()},
        )


def start(model: Transformer, p: Tree, source: Tokens) -> Prefixes:
    """Before the first token: source (N, S) encoded, and its keys and values made for every layer of the decoder."""
    memory, _ = model.encode(p, source)
    layers = p["decoder"]["layers"]
    keys_values = {i: model.decoder_layer.attention.keys_values(q["cross"], memory) for i, q in layers.items()}
    return Prefixes(not_padding(source), keys_values, {})


def step(model: Transformer, p: Tree, tokens: Tokens, t: int, prefixes: Prefixes) -> tuple[Array, Prefixes]:
    """Logits (N, B, vocabulary) of what follows tokens (N, B), which stand at place t of the decoder's input."""
    x, _ = model.embed(p, "decoder", tokens[..., None], start=t)
    x, past = x[..., 0, :], {}
    for i, q in p["decoder"]["layers"].items():
        x, past[i] = model.decoder_layer.step(q, x, prefixes.past.get(i), prefixes.memory[i], prefixes.kept)
    x, _ = model.last_norm(p["decoder"]["norm"], x)
    logits = (x.reshape(-1, model.d_model) @ p["embedding"]["W"].T).reshape(*tokens.shape, model.vocabulary)
    if not np.isfinite(logits.max(-1)).all():
        raise ValueError("the logits are not finite: nothing can be decoded with these parameters")
    return logits, Prefixes(prefixes.kept, prefixes.memory, past)


class Hypothesis(NamedTuple):
    """A translation without its EOS, log p(Y | source) in nats, and what beam search ranks it by."""

    tokens: list[int]
    log_probability: float
    score: float


def length_penalty(length: int, alpha: float) -> float:
    """lp(Y) = ((5 + |Y|) / 6)^alpha, EOS counted. Wu et al. 2016, eq. 14."""
    return ((5 + length) / 6) ** alpha


def limits(model: Transformer, source: Tokens) -> Array:
    """(N,) the most tokens that each source's hypotheses may have."""
    most = EXTRA + np.count_nonzero(source != PAD, axis=1)
    return np.minimum(most, model.longest) if model.positions == "learned" else most


def restrict(logits: Array, last: Array) -> None:
    """Take away, in place, what may not follow: PAD and BOS, and all but EOS where ``last`` (N,)."""
    logits[..., [PAD, BOS]] = -inf
    end = logits[last, ..., EOS]
    logits[last] = -inf
    logits[last, ..., EOS] = end


def greedy(model: Transformer, p: Tree, source: Tokens) -> list[list[int]]:
    """The most probable token at every place, up to EOS, for each row of source (N, S)."""
    active, limit = np.arange(len(source)), limits(model, source)
    found: list[list[int]] = [[] for _ in source]
    tokens, prefixes = np.full((len(source), 1), BOS), start(model, p, source)
    t = 0
    while len(active):
        logits, prefixes = step(model, p, tokens, t, prefixes)
        t += 1
        restrict(logits, limit[active] == t)
        tokens = logits.argmax(-1)
        going = np.flatnonzero(tokens[:, 0] != EOS)
        active, tokens = active[going], tokens[going]
        prefixes = prefixes.take(going, np.zeros((len(going), 1), int))
        for i, token in zip(active.tolist(), tokens[:, 0].tolist(), strict=True):
            found[i].append(token)
    return found


def beam_search(model: Transformer, p: Tree, source: Tokens, beam: int = 4, alpha: float = 0.6) -> list[Hypothesis]:
    r"""The best finished hypothesis for each row of source (N, S), by log p(Y | source) / lp(Y). Section 6.1.

    At every length the ``beam`` most probable hypotheses are looked at: those that end there are finished, and are made
    up for by the next ones that do not. A search ends with ``beam`` finished hypotheses, fairseq's rule, even where one
    that goes on could still become the best: a sure model can lose the right translation to junk that ends early. It
    also ends, as early as this can be known, when none that goes on can become the best: log p only falls and lp only
    rises, so none will ever score more than log p / lp(longest). beam=1 is ``greedy``.
    """
    if beam < 1:
        raise ValueError(f"beam={beam}: must be at least 1")
    if not 0 <= alpha < inf:
        raise ValueError(f"alpha={alpha}: must be finite and not negative")
    active, limit = np.arange(len(source)), limits(model, source)
    finished: list[list[Hypothesis]] = [[] for _ in source]
    tokens = np.full((len(source), beam, 1), BOS)
    log_p = np.full((len(source), beam), -inf)
    log_p[:, 0] = 0  # all hypotheses are the empty one: it counts once
    prefixes = start(model, p, source)
    t = 0
    while len(active):
        logits, prefixes = step(model, p, tokens[..., -1], t, prefixes)
        t += 1
        parents, last, log_p = extensions(logits, log_p, limit[active] == t, 2 * beam)
        ends = last == EOS
        for row, rank in np.argwhere(ends[:, :beam] & (log_p[:, :beam] > -inf)).tolist():
            log_probability = float(log_p[row, rank])
            words = tokens[row, parents[row, rank], 1:].tolist()
            score = log_probability / length_penalty(t, alpha)
            finished[active[row]].append(Hypothesis(words, log_probability, score))
        going = np.argsort(ends, axis=1, kind="stable")[:, :beam]
        parents, last, log_p = (np.take_along_axis(a, going, 1) for a in (parents, last, log_p))
        log_p[last == EOS] = -inf  # there were not enough others
        going_on = [
            len(finished[i]) < beam and log_p[row, 0] / length_penalty(limit[i], alpha) > best(finished[i]).score
            for row, i in enumerate(active)
        ]
        rows = np.flatnonzero(going_on)
        active, log_p, last, parents = active[rows], log_p[rows], last[rows], parents[rows]
        tokens = np.concatenate([tokens[rows[:, None], parents], last[..., None]], -1)
        prefixes = prefixes.take(rows, parents)
    return [best(hypotheses) for hypotheses in finished]


def best(hypotheses: list[Hypothesis]) -> Hypothesis:
    """The one of the highest score; of none, one that any other beats."""
    return max(hypotheses, key=lambda hypothesis: hypothesis.score, default=Hypothesis([], -inf, -inf))


def extensions(logits: Array, log_p: Array, last: Array, n: int) -> tuple[Array, Array, Array]:
    """The n most probable ways to go on, best first: which hypothesis, which token, log p of both, (N, n) each.

    logits (N, B, V) are overwritten; log_p (N, B) is that of the hypotheses, and where ``last`` (N,) all must end.
    """
    logits -= logits.max(-1, keepdims=True)
    logits += (log_p - np.log(np.exp(logits).sum(-1)))[..., None]
    restrict(logits, last)
    flat = logits.reshape(len(logits), -1)
    index = np.argpartition(flat, -min(n, flat.shape[1]), 1)[:, -n:]
    value = np.take_along_axis(flat, index, 1)
    order = np.lexsort((index, -value))
    index, value = (np.take_along_axis(a, order, 1) for a in (index, value))
    return index // logits.shape[-1], index % logits.shape[-1], value


def translate(
    model: Transformer, p: Tree, sources: Sequence[Sequence[int]], beam: int = 4, alpha: float = 0.6
) -> list[list[int]]:
    """A translation for each source, both as tokens without EOS, by ``beam_search``, or by ``greedy`` with beam=1.

    Sentences of similar length are decoded together, in groups that are spread over the threads.
    """
    order = np.argsort([len(source) for source in sources], kind="stable")
    size = max(1, ROWS // max(1, beam))
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    groups = groups[::2] + groups[1::2]  # short and long ones for each of two threads

    def one(rows: Array) -> list[list[int]]:
        source = padded([[*sources[i], EOS] for i in rows])
        if beam == 1:
            return greedy(model, p, source)
        return [hypothesis.tokens for hypothesis in beam_search(model, p, source, beam, alpha)]

    found = spread(lambda part: [one(rows) for rows in groups[part]], len(groups))
    translations = dict(zip(chain(*groups), chain(*chain(*found)), strict=True))
    return [translations[i] for i in range(len(sources))]


def average(trees: Sequence[Tree]) -> Tree:
    """The mean of several checkpoints of one run, parameter by parameter, in their dtype. Section 6.1."""
    if not trees:
        raise ValueError("average: no checkpoints")
    return tree.map(lambda *arrays: np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype), *trees)

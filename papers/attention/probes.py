"""What is read off a trained model besides its translations: that its decoder is causal, its attention, its cost."""

import numpy as np

from papers.attention.data import BOS, Batch, Tokens
from papers.attention.model import Transformer, attention_maps, not_padding
from shared.tree import Array, Tree


def leak(model: Transformer, p: Tree, batch: Batch) -> float:
    """By how much a decoder's output changes at most, at any position, when all later tokens become other ones.

    NaN where an output is; ValueError when no position has a later token.
    """
    length = batch.decoder_input.shape[1]
    if length < 2:
        raise ValueError(f"a decoder input of length {length}: must have at least 2 positions")
    memory, _ = model.encode(p, batch.source)
    kept = not_padding(batch.source)
    outputs, _ = model.decode(p, batch.decoder_input, memory, kept)
    changes: list[float] = []
    for t in range(1, length):
        changed, _ = model.decode(p, others(batch.decoder_input, t, model.vocabulary), memory, kept)
        changes.append(float(np.abs(changed - outputs)[:, :t].max()))
    return float(np.max(changes))


def others(tokens: Tokens, start: int, vocabulary: int) -> Tokens:
    """(N, T) with every token from ``start`` on replaced by the one after it, BOS and PAD left out."""
    changed = tokens.copy()
    changed[:, start:] = (tokens[:, start:] - BOS) % (vocabulary - BOS - 1) + BOS + 1
    return changed


def maps(model: Transformer, p: Tree, batch: Batch) -> dict[str, Array]:
    """The attention of a single pair: "encoder" (layers, heads, S, S), "decoder" (.., T, T), "cross" (.., T, S)."""
    return {name: layers[:, 0] for name, layers in attention_maps(model, p, batch).items()}


def training_flop(model: Transformer, source: float, target: float) -> float:
    """Of training on so many source and target tokens: 6 for each weight that a token meets.

    A weight costs a multiplication and an addition forward and four operations backward. A source token meets the
    encoder's weights and the decoder's W_K and W_V of the memory, a target token the other ones and the logits'.
    """
    d, feed_forward = model.d_model, 2 * model.d_model * model.d_ff
    encoder = model.layers * (4 * d * d + feed_forward + 2 * d * d)
    decoder = model.layers * (6 * d * d + feed_forward) + d * model.vocabulary
    return 6 * (encoder * source + decoder * target)

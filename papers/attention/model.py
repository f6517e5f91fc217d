"""The Transformer of Vaswani et al. (2017): symbols, section and equation numbers are the paper's.

    encoder    N layers of  self-attention, feed-forward
    decoder    N layers of  causal self-attention, attention to the encoder's output, feed-forward          (figure 1)

Each sub-layer stands in LayerNorm(x + Dropout(sub-layer(x))). One matrix embeds source and target tokens and, read the
other way, gives the logits (3.4): it has three gradients, and ``Transformer.loss`` adds them up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from typing import Literal, TypeVar, get_args

import numpy as np

from papers.attention.data import PAD, Batch, Tokens
from shared import tree
from shared.layers.activation import GELU, ReLU
from shared.layers.attention import KeysValues, MultiHeadAttention, causal
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.combinators import Sequential
from shared.layers.dropout import Dropout
from shared.layers.embedding import Embedding, LearnedPositions, SinusoidalPositions, scatter_add
from shared.layers.linear import Linear
from shared.layers.norm import LayerNorm
from shared.losses import linear_softmax_cross_entropy
from shared.threads import spread
from shared.tree import Array, Tree

Positions = Literal["sinusoidal", "learned", "none"]
Norm = Literal["post", "pre", "none"]
Activation = Literal["relu", "gelu"]
R = TypeVar("R")
SHARD = 2048  # tokens, padding counted, that go through the model at a time, on one thread


def feed_forward(d_model: int, d_ff: int, activation: Activation = "relu") -> Sequential:
    """FFN(x) = max(0, x W_1 + b_1) W_2 + b_2, eq. 2: x (..., d_model), each position alone, d_ff hidden units."""
    return Sequential((Linear(d_model, d_ff), ReLU() if activation == "relu" else GELU(), Linear(d_ff, d_model)))


@dataclass(frozen=True)
class AddAndNorm:
    r"""post: y = LayerNorm(x + Dropout(f(x))), as in the paper; pre: y = x + Dropout(f(LayerNorm(x))).

    x and y (..., d_model), f of any kind with values like x; the parameters are the LayerNorm's. In both x is read
    twice, so its gradients add up. "pre" leaves a path from the last layer to the first on which nothing is normalised,
    and trains without warm-up (Xiong et al. 2020). "none" has no LayerNorm, hence no parameters, to see what it does.
    """

    d_model: int
    dropout: float
    norm: Norm

    def init(self, rng: np.random.Generator) -> Tree:
        return {} if self.norm == "none" else LayerNorm(self.d_model).init(rng)

    def before(self, p: Tree, x: Array) -> tuple[Array, Pullback]:
        """What f reads."""
        return LayerNorm(self.d_model)(p, x) if self.norm == "pre" else unchanged(x)

    def after(self, p: Tree, x: Array) -> tuple[Array, Pullback]:
        """What becomes of the sum."""
        return LayerNorm(self.d_model)(p, x) if self.norm == "post" else unchanged(x)

    def __call__(
        self,
        p: Tree,
        x: Array,
        f: Callable[[Array], tuple[Array, Callable[[Array], tuple[Array, R]]]],
        mode: Mode = EVAL,
    ) -> tuple[Array, Callable[[Array], tuple[Array, Tree, R]]]:
        """y and the pullback dy -> (dx, dp, df): df is what f's own pullback gives beside its dx."""
        seen, before_pullback = self.before(p, x)
        z, f_pullback = f(seen)
        z, dropout_pullback = Dropout(self.dropout)({}, z, mode)
        y, after_pullback = self.after(p, x + z)

        def pullback(dy: Array) -> tuple[Array, Tree, R]:
            dsum, dafter = after_pullback(dy)
            dz, _ = dropout_pullback(dsum)
            dseen, df = f_pullback(dz)
            dx, dbefore = before_pullback(dseen)
            return dsum + dx, dafter | dbefore, df

        return y, pullback


def unchanged(x: Array) -> tuple[Array, Pullback]:
    return x, lambda dy: (dy, {})


@dataclass(frozen=True)
class Layer:
    """What encoder and decoder layers are made of."""

    d_model: int
    d_ff: int
    heads: int
    dropout: float
    norm: Norm
    activation: Activation

    @property
    def attention(self) -> MultiHeadAttention:
        return MultiHeadAttention(self.d_model, self.heads)

    @property
    def feed_forward(self) -> Sequential:
        return feed_forward(self.d_model, self.d_ff, self.activation)

    @property
    def add_and_norm(self) -> AddAndNorm:
        return AddAndNorm(self.d_model, self.dropout, self.norm)


@dataclass(frozen=True)
class EncoderLayer(Layer):
    """x (N, S, d_model) -> (N, S, d_model); kept (N, 1, 1, S) is False at padding. Section 3.1."""

    def init(self, rng: np.random.Generator) -> Tree:
        return {
            "self": self.attention.init(rng),
            "self_norm": self.add_and_norm.init(rng),
            "feed_forward": self.feed_forward.init(rng),
            "feed_forward_norm": self.add_and_norm.init(rng),
        }

    def __call__(
        self, p: Tree, x: Array, kept: Array, mode: Mode = EVAL, maps: list[Array] | None = None
    ) -> tuple[Array, Pullback]:
        def attend(x: Array) -> tuple[Array, Pullback]:
            return self.attention(p["self"], x, mode, kept=kept, maps=maps)

        def feed(x: Array) -> tuple[Array, Pullback]:
            return self.feed_forward(p["feed_forward"], x, mode)

        x, attend_pullback = self.add_and_norm(p["self_norm"], x, attend, mode)
        x, feed_pullback = self.add_and_norm(p["feed_forward_norm"], x, feed, mode)

        def pullback(dx: Array) -> tuple[Array, Tree]:
            dp: Tree = {}
            dx, dp["feed_forward_norm"], dp["feed_forward"] = feed_pullback(dx)
            dx, dp["self_norm"], dp["self"] = attend_pullback(dx)
            return dx, {name: dp[name] for name in p}

        return x, pullback


@dataclass(frozen=True)
class DecoderLayer(Layer):
    """x (N, T, d_model), memory (N, S, d_model) -> (N, T, d_model); the pullback gives ((dx, dmemory), dp).

    Self-attention is causal (section 3.1). That is mask enough for the targets' padding, which comes last: no token
    sees any.
    """

    def init(self, rng: np.random.Generator) -> Tree:
        return {
            "self": self.attention.init(rng),
            "self_norm": self.add_and_norm.init(rng),
            "cross": self.attention.init(rng),
            "cross_norm": self.add_and_norm.init(rng),
            "feed_forward": self.feed_forward.init(rng),
            "feed_forward_norm": self.add_and_norm.init(rng),
        }

    def __call__(
        self,
        p: Tree,
        x: Array,
        memory: Array,
        kept: Array,
        mode: Mode = EVAL,
        maps: list[Array] | None = None,
        cross_maps: list[Array] | None = None,
    ) -> tuple[Array, Pullback]:
        past = causal(x.shape[-2])

        def attend(x: Array) -> tuple[Array, Pullback]:
            return self.attention(p["self"], x, mode, kept=past, maps=maps)

        def attend_to_memory(x: Array) -> tuple[Array, Callable[[Array], tuple[Array, tuple[Array, Tree]]]]:
            y, attention_pullback = self.attention(p["cross"], x, mode, memory=memory, kept=kept, maps=cross_maps)

            def pullback(dy: Array) -> tuple[Array, tuple[Array, Tree]]:
                (dx, dmemory), dcross = attention_pullback(dy)
                return dx, (dmemory, dcross)

            return y, pullback

        def feed(x: Array) -> tuple[Array, Pullback]:
            return self.feed_forward(p["feed_forward"], x, mode)

        x, attend_pullback = self.add_and_norm(p["self_norm"], x, attend, mode)
        x, cross_pullback = self.add_and_norm(p["cross_norm"], x, attend_to_memory, mode)
        x, feed_pullback = self.add_and_norm(p["feed_forward_norm"], x, feed, mode)

        def pullback(dx: Array) -> tuple[tuple[Array, Array], Tree]:
            dp: Tree = {}
            dx, dp["feed_forward_norm"], dp["feed_forward"] = feed_pullback(dx)
            dx, dp["cross_norm"], (dmemory, dcross) = cross_pullback(dx)
            dp["cross"] = dcross
            dx, dp["self_norm"], dp["self"] = attend_pullback(dx)
            return (dx, dmemory), {name: dp[name] for name in p}

        return x, pullback

    def step(
        self, p: Tree, x: Array, past: KeysValues | None, memory: KeysValues, kept: Array
    ) -> tuple[Array, KeysValues]:
        """The next position of B hypotheses for each source, x (N, B, d_model): (its value, past with it).

        ``past`` (N, B, heads, t, d_k) are a hypothesis's own keys and values; ``memory`` (N, heads, S, d_k) are those
        of the source, which all B read as if they were B positions.
        """
        seen, _ = self.add_and_norm.before(p["self_norm"], x)
        z, past = self.attention.extend(p["self"], seen[:, :, None], past)
        x, _ = self.add_and_norm.after(p["self_norm"], x + z[:, :, 0])
        seen, _ = self.add_and_norm.before(p["cross_norm"], x)
        x, _ = self.add_and_norm.after(p["cross_norm"], x + self.attention.read(p["cross"], seen, memory, kept))
        seen, _ = self.add_and_norm.before(p["feed_forward_norm"], x)
        z, _ = self.feed_forward(p["feed_forward"], seen)
        x, _ = self.add_and_norm.after(p["feed_forward_norm"], x + z)
        return x, past


@dataclass(frozen=True)
class Transformer:
    """p(target | source) over one vocabulary; the defaults are the base model of table 3.

    ``init``: every weight matrix Glorot uniform, W_Q, W_K and W_V each for itself, biases 0, LayerNorms the identity.
    The embeddings are N(0, 1/d_model), so that those that enter, times sqrt(d_model), have variance 1, and the logits
    of a normalised vector too. ``longest`` bounds the sequences for positions="learned" alone, which also have one
    table for sources and one for targets. norm="pre" ends encoder and decoder in a LayerNorm of their own.
    """

    vocabulary: int
    layers: int = 6
    d_model: int = 512
    d_ff: int = 2048
    heads: int = 8
    dropout: float = 0.1
    positions: Positions = "sinusoidal"
    norm: Norm = "post"
    activation: Activation = "relu"
    longest: int = 512

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("positions", self.positions, get_args(Positions)),
            ("norm", self.norm, get_args(Norm)),
            ("activation", self.activation, get_args(Activation)),
        ):
            if value not in choices:
                raise ValueError(f"Transformer: {name} must be one of {', '.join(choices)}, got {value}")
        for name, number in (("layers", self.layers), ("d_ff", self.d_ff)):
            if number < 1:
                raise ValueError(f"Transformer: {name} must be at least 1, got {number}")
        # The others are refused by the parts that have them.
        _ = self.embedding, self.position, self.encoder_layer.attention, Dropout(self.dropout)

    @property
    def embedding(self) -> Embedding:
        return Embedding(self.vocabulary, self.d_model)

    @property
    def position(self) -> SinusoidalPositions | LearnedPositions | None:
        if self.positions == "sinusoidal":
            return SinusoidalPositions(self.d_model)
        return LearnedPositions(self.longest, self.d_model) if self.positions == "learned" else None

    @property
    def encoder_layer(self) -> EncoderLayer:
        return EncoderLayer(self.d_model, self.d_ff, self.heads, self.dropout, self.norm, self.activation)

    @property
    def decoder_layer(self) -> DecoderLayer:
        return DecoderLayer(self.d_model, self.d_ff, self.heads, self.dropout, self.norm, self.activation)

    def init(self, rng: np.random.Generator) -> Tree:
        p: Tree = {"embedding": self.embedding.init(rng)}
        for side, layer in (("encoder", self.encoder_layer), ("decoder", self.decoder_layer)):
            p[side] = {
                "position": self.position.init(rng) if self.position else {},
                "layers": {str(i): layer.init(rng) for i in range(self.layers)},
                "norm": LayerNorm(self.d_model).init(rng) if self.norm == "pre" else {},
            }
        return p

    def embed(self, p: Tree, side: str, tokens: Tokens, mode: Mode = EVAL, start: int = 0) -> tuple[Array, Pullback]:
        """Dropout(sqrt(d_model) W[tokens] + positions), tokens (..., T) from position ``start`` on. Sections 3.4, 3.5.

        The pullback gives the gradient of W[tokens] (..., T, d_model) and that of this side's positions.
        """
        x, _ = self.embedding(p["embedding"], tokens)
        x *= sqrt(self.d_model)
        x, position_pullback = self.position(p[side]["position"], x, mode, start) if self.position else unchanged(x)
        x, dropout_pullback = Dropout(self.dropout)({}, x, mode)

        def pullback(dx: Array) -> tuple[Array, Tree]:
            dx, _ = dropout_pullback(dx)
            dx, dposition = position_pullback(dx)
            return dx * sqrt(self.d_model), dposition

        return x, pullback

    def last_norm(self, p: Tree, x: Array) -> tuple[Array, Pullback]:
        return LayerNorm(self.d_model)(p, x) if self.norm == "pre" else unchanged(x)

    def encode(
        self, p: Tree, source: Tokens, mode: Mode = EVAL, maps: list[Array] | None = None
    ) -> tuple[Array, Pullback]:
        """source (N, S) -> memory (N, S, d_model); the pullback gives (dW[source], dp["encoder"]).

        ``maps`` gets each layer's attention weights (N, heads, S, S) appended.
        """
        q = p["encoder"]
        x, embed_pullback = self.embed(p, "encoder", source, mode)
        kept = not_padding(source)
        pullbacks = {}
        for i, layer in q["layers"].items():
            x, pullbacks[i] = self.encoder_layer(layer, x, kept, mode, maps)
        x, norm_pullback = self.last_norm(q["norm"], x)

        def pullback(dmemory: Array) -> tuple[Array, Tree]:
            dx, dnorm = norm_pullback(dmemory)
            dlayers: Tree = {}
            for i in reversed(pullbacks):
                dx, dlayers[i] = pullbacks[i](dx)
            dvectors, dposition = embed_pullback(dx)
            return dvectors, {"position": dposition, "layers": {i: dlayers[i] for i in pullbacks}, "norm": dnorm}

        return x, pullback

    def decode(
        self,
        p: Tree,
        decoder_input: Tokens,
        memory: Array,
        kept: Array,
        mode: Mode = EVAL,
        maps: list[Array] | None = None,
        cross_maps: list[Array] | None = None,
    ) -> tuple[Array, Pullback]:
        """decoder_input (N, T) -> x (N, T, d_model), of which x W^T are the logits.

        The pullback gives ((dW[decoder_input], dmemory), dp["decoder"]); every layer reads the memory, so its gradient
        is a sum over them. ``maps`` and ``cross_maps`` get each layer's weights (N, heads, T, T) and (N, heads, T, S).
        """
        q = p["decoder"]
        x, embed_pullback = self.embed(p, "decoder", decoder_input, mode)
        pullbacks = {}
        for i, layer in q["layers"].items():
            x, pullbacks[i] = self.decoder_layer(layer, x, memory, kept, mode, maps, cross_maps)
        x, norm_pullback = self.last_norm(q["norm"], x)

        def pullback(dx: Array) -> tuple[tuple[Array, Array], Tree]:
            dx, dnorm = norm_pullback(dx)
            dmemory = np.zeros_like(memory)
            dlayers: Tree = {}
            for i in reversed(pullbacks):
                (dx, dread), dlayers[i] = pullbacks[i](dx)
                dmemory += dread
            dvectors, dposition = embed_pullback(dx)
            dq = {"position": dposition, "layers": {i: dlayers[i] for i in pullbacks}, "norm": dnorm}
            return (dvectors, dmemory), dq

        return x, pullback

    def loss(
        self, p: Tree, batch: Batch, label_smoothing: float = 0.0, mode: Mode = EVAL
    ) -> tuple[Array, Callable[[Array], Tree]]:
        r"""-log p(y_t | y_<t, source) for each of the batch's M target tokens, (M,) in nats, and dloss (M,) -> dp.

        Padding is no target: those rows are left out before the product with W, the model's largest. Smoothing spreads
        over the vocabulary without PAD (5.4). dW collects, in this order, what W did as the output layer, as the
        embedding of the decoder's input and as the embedding of the source.
        """
        memory, encode_pullback = self.encode(p, batch.source, mode)
        x, decode_pullback = self.decode(p, batch.decoder_input, memory, not_padding(batch.source), mode)
        real = batch.target != PAD
        loss, loss_pullback = linear_softmax_cross_entropy(
            x[real], p["embedding"]["W"], batch.target[real], label_smoothing, unsmoothed=PAD
        )

        def pullback(dloss: Array) -> Tree:
            dx = np.zeros_like(x)
            dx[real], dW = loss_pullback(dloss)
            (dinput, dmemory), ddecoder = decode_pullback(dx)
            dsource, dencoder = encode_pullback(dmemory)
            scatter_add(dW, batch.decoder_input, dinput)
            scatter_add(dW, batch.source, dsource)
            return {"embedding": {"W": dW}, "encoder": dencoder, "decoder": ddecoder}

        return loss, pullback


def not_padding(tokens: Tokens) -> Array:
    """(N, S) -> (N, 1, 1, S), for ``kept``: the same keys for all heads and queries."""
    return (tokens != PAD)[:, None, None]


def attention_maps(model: Transformer, p: Tree, batch: Batch) -> dict[str, Array]:
    """What each layer's heads attend to, as in figures 3 to 5: rows that are distributions over the keys.

    "encoder" (layers, N, heads, S, S), "decoder" (layers, N, heads, T, T) and "cross" (layers, N, heads, T, S).
    """
    maps: dict[str, list[Array]] = {"encoder": [], "decoder": [], "cross": []}
    memory, _ = model.encode(p, batch.source, maps=maps["encoder"])
    kept = not_padding(batch.source)
    model.decode(p, batch.decoder_input, memory, kept, maps=maps["decoder"], cross_maps=maps["cross"])
    return {name: np.stack(layers) for name, layers in maps.items()}


def gradient(
    model: Transformer, p: Tree, batch: Batch, label_smoothing: float, rng: np.random.Generator
) -> tuple[float, Tree]:
    """The training loss, its mean over the batch's target tokens in nats, and the gradient of this mean.

    The batch goes through the model in shards, spread over the threads. Each draws its dropout with a seed from rng:
    the loss and its gradient are the same for any number of threads, but for rounding in the sum.
    """
    pieces = shards(batch)
    seeds = rng.integers(2**63, size=len(pieces))
    weight = 1 / np.count_nonzero(batch.target != PAD)

    def of(some: slice) -> tuple[float, Tree]:
        return tree.added(map(of_one, pieces[some], seeds[some]))

    def of_one(piece: Batch, seed: int) -> tuple[float, Tree]:
        loss, pullback = model.loss(p, piece, label_smoothing, Mode(train=True, rng=np.random.default_rng(seed)))
        return weight * float(loss.sum()), pullback(np.full_like(loss, weight))

    return tree.added(spread(of, len(pieces)))


def shards(batch: Batch) -> list[Batch]:
    """The batch in pieces of as many pairs, of some SHARD tokens at most, each without needless padding."""
    tokens = max(batch.source.size, batch.target.size)
    count = min(len(batch.rows), ceil(tokens / SHARD))
    ends = [len(batch.rows) * i // count for i in range(count + 1)]
    return [part(batch, slice(start, end)) for start, end in pairwise(ends)]


def part(batch: Batch, rows: slice) -> Batch:
    """Some rows, without the columns that hold nothing but padding there."""
    source, target = batch.source[rows], batch.target[rows]
    S, T = (1 + int((tokens != PAD).any(0).nonzero()[0].max(initial=0)) for tokens in (source, target))
    return Batch(batch.rows[rows], source[:, :S], batch.decoder_input[rows, :T], target[:, :T])

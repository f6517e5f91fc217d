"""The Transformer's training step against PyTorch's; an epoch of Multi30k and its beam search, by the clock."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from papers.attention import decoding, tasks
from papers.attention.data import BOS, EOS, PAD, UNK, Batch
from papers.attention.model import Transformer, gradient
from papers.attention.tasks import Task
from shared import machine, threads, tree
from shared.errors import RunError
from shared.files import write_files
from shared.optim import Adam
from shared.tree import Array

PAIRS, LENGTH, VOCABULARY = 256, 16, 10_000  # 4,096 tokens on each side
SIZE = {"layers": 4, "d_model": 128, "d_ff": 256, "heads": 4, "dropout": 0.3}
RATE, BETAS, EPSILON = 1e-3, (0.9, 0.98), 1e-9
TIME = {"blocks": 5, "steps": 5}


def batch() -> Batch:
    """Random words; in each sentence the last place is EOS."""
    words = np.random.default_rng(0).integers(UNK + 1, VOCABULARY, (2, PAIRS, LENGTH - 1)).astype(np.int32)
    source, target = (np.pad(side, ((0, 0), (0, 1)), constant_values=EOS) for side in words)
    return Batch(np.arange(PAIRS), source, np.pad(words[1], ((0, 0), (1, 0)), constant_values=BOS), target)


def step_of(model: Transformer) -> Callable[[Batch], object]:
    """One update on a batch, from fresh parameters on."""
    _, p = tree.flatten(model.init(np.random.default_rng(0)))
    optimizer, rng = Adam(RATE, 0.0, *BETAS, EPSILON), np.random.default_rng(0)
    state = optimizer.init(p)
    return lambda one: optimizer.update(p, gradient(model, p, one, 0.1, rng)[1], state)


class TorchTransformer(nn.Module):
    """The same network of nn.Transformer's parts: by default these have more biases, norms and dropout than ours.

    Dropout falls on what the sub-layers give and on the embeddings; no bias in attention, no norm behind the stacks.
    """

    def __init__(self) -> None:
        super().__init__()
        d, heads, layers = SIZE["d_model"], SIZE["heads"], SIZE["layers"]
        sizes = {"dim_feedforward": SIZE["d_ff"], "dropout": SIZE["dropout"], "batch_first": True}
        self.embedding = nn.Embedding(VOCABULARY, d)
        encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(d, heads, **sizes), layers)
        decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(d, heads, **sizes), layers)
        self.net = nn.Transformer(d, heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
        for layer in (*encoder.layers, *decoder.layers):
            layer.dropout = nn.Identity()  # of the hidden units
            layer.self_attn = nn.MultiheadAttention(d, heads, bias=False, batch_first=True)
        for layer in decoder.layers:
            layer.multihead_attn = nn.MultiheadAttention(d, heads, bias=False, batch_first=True)
        angle = torch.arange(LENGTH)[:, None] * 10_000.0 ** (-torch.arange(0, d, 2) / d)
        self.positions = torch.stack([angle.sin(), angle.cos()], -1).reshape(LENGTH, d)
        self.causal = nn.Transformer.generate_square_subsequent_mask(LENGTH).isinf()

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) * SIZE["d_model"] ** 0.5 + self.positions
        return F.dropout(x, SIZE["dropout"], self.training)

    def forward(self, source: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        padding = source == PAD
        x = self.net(
            self.embed(source),
            self.embed(given),
            tgt_mask=self.causal,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return x @ self.embedding.weight.T


def torch_step() -> Callable[[], object]:
    model = TorchTransformer()
    optimizer = torch.optim.Adam(model.parameters(), RATE, BETAS, EPSILON)
    _, *tokens = (torch.from_numpy(array).long() for array in batch())
    source, given, target = tokens

    def step() -> None:
        optimizer.zero_grad()
        logits = model(source, given)
        F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, label_smoothing=0.1).backward()
        optimizer.step()

    return step


def test_the_two_have_the_same_parameters() -> None:
    ours = Transformer(VOCABULARY, **SIZE).init(np.random.default_rng(0))
    assert tree.size(ours) == sum(parameter.numel() for parameter in TorchTransformer().parameters())


def test_training_step(compare: Callable[..., float]) -> None:
    step, one = step_of(Transformer(VOCABULARY, **SIZE)), batch()
    name = "Transformer 4 + 4, d = 128, ff = 256, 4 heads, 4,096 + 4,096 tokens, vocabulary 10,000, dropout 0.3, Adam"
    assert compare("attention/full", name, lambda: step(one), torch_step(), **TIME) <= 0.9


def note(root: Path, name: str, seconds: float) -> None:
    """Into results/attention/full/times.json, beside those of other CPUs: bench.json holds what has a peer."""
    path = root / "results" / "attention" / "full" / "times.json"
    older = json.loads(path.read_text()) if path.exists() else []
    entry = {"name": name, "seconds": round(seconds, 1), "threads": 2, "cpu": machine.cpu_name()}
    kept = [other for other in older if (other["name"], other["cpu"]) != (name, entry["cpu"])]
    write_files({path: (json.dumps([*kept, entry], indent=1) + "\n").encode()})


@pytest.fixture(scope="module")
def multi30k() -> Task:
    try:
        return tasks.load("multi30k", merges=10_000)
    except RunError as error:
        pytest.skip(str(error))


def test_an_epoch_of_multi30k_takes_two_and_a_half_minutes_at_most(multi30k: Task, root: Path) -> None:
    """Every fifth batch, from the shortest to the longest."""
    batches = list(multi30k.batches(multi30k.train, 4_096))
    step = step_of(Transformer(len(multi30k.vocabulary.pieces), **SIZE))
    with threads.use(2):
        step(batches[0])
        start = time.perf_counter()
        for one in batches[::5]:
            step(one)
        seconds = (time.perf_counter() - start) * len(batches) / len(batches[::5])
    note(root, f"an epoch of Multi30k, {len(batches)} batches of 4,096 tokens", seconds)
    assert seconds <= 150


def test_a_beam_of_5_translates_the_test_set_within_two_minutes(
    multi30k: Task, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every translation as long as its source: the parameters are the first ones, which would end anywhere."""
    allowed = decoding.restrict

    def go_on(logits: Array, last: Array) -> None:
        allowed(logits, last)
        logits[~last, ..., EOS] = -np.inf

    monkeypatch.setattr(decoding, "restrict", go_on)
    monkeypatch.setattr(decoding, "EXTRA", 0)
    model = Transformer(len(multi30k.vocabulary.pieces), **SIZE)
    p, sources = model.init(np.random.default_rng(0)), multi30k.encode(multi30k.test.sources)
    with threads.use(2):
        start = time.perf_counter()
        found = decoding.translate(model, p, sources, beam=5)
        seconds = time.perf_counter() - start
    assert [len(translation) for translation in found] == [len(source) for source in sources]
    note(root, f"beam search of width 5, {len(sources):,} sentences", seconds)
    assert seconds <= 120

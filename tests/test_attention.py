"""What embeddings, positions and attention mean; their layers are also in the table of test_layers.py."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared import tree
from shared.gradcheck import check
from shared.layers.attention import MultiHeadAttention, attention, causal, join_heads, split_heads
from shared.layers.embedding import Embedding, LearnedPositions, SinusoidalPositions, scatter_add
from shared.tree import Array, Tree

N, T, S, D, HEADS = 3, 5, 7, 12, 3


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_parameters(layer: MultiHeadAttention) -> Tree:
    return tree.map(lambda a: a + 0.3 * rng(1).standard_normal(a.shape), tree.astype(layer.init(rng()), np.float64))


def torch_twin(layer: MultiHeadAttention, p: Tree) -> nn.MultiheadAttention:
    """torch keeps the transposed matrices."""
    twin = nn.MultiheadAttention(layer.d_model, layer.heads, bias=layer.bias, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in pairs(p, twin):
            theirs.copy_(torch.tensor(ours.T))
    return twin


def pairs(p: Tree, twin: nn.MultiheadAttention) -> list[tuple[Array, torch.Tensor]]:
    found = [(p["QKV"]["W"], twin.in_proj_weight), (p["O"]["W"], twin.out_proj.weight)]
    if twin.in_proj_bias is not None:
        found += [(p["QKV"]["b"], twin.in_proj_bias), (p["O"]["b"], twin.out_proj.bias)]
    return found


def padding(length: int) -> Array:
    """(N, length), False at the end of the second and third row."""
    return np.arange(length) < np.array([[length], [length - 2], [1]])


MASKS: dict[str, Callable[[int], Array | None]] = {
    "no mask": lambda length: None,
    "padding": lambda length: padding(length)[:, None, None],
    "causal": causal,
    "both": lambda length: causal(length) & padding(length)[:, None, None],
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_self_attention_is_torchs(mask: str, bias: bool) -> None:
    layer, kept = MultiHeadAttention(D, HEADS, bias), MASKS[mask](T)
    p = random_parameters(layer)
    twin = torch_twin(layer, p)
    x = rng(2).standard_normal((N, T, D))
    u = torch.tensor(x, requires_grad=True)
    maps: list[Array] = []
    y, pullback = layer(p, x, kept=kept, maps=maps)
    hidden = None if kept is None else torch.tensor(~np.broadcast_to(kept, (N, HEADS, T, T)).reshape(-1, T, T))
    v, weights = twin(u, u, u, attn_mask=hidden, average_attn_weights=False)
    dy = rng(3).standard_normal(y.shape)
    dx, dp = pullback(dy)
    v.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, v.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(maps[0], weights.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, u.grad.numpy(), rtol=1e-10, atol=1e-12)
    for ours, theirs in pairs(dp, twin):
        np.testing.assert_allclose(ours, grad_of(theirs).T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_cross_attention_is_torchs(bias: bool) -> None:
    layer = MultiHeadAttention(D, HEADS, bias)
    p = random_parameters(layer)
    twin = torch_twin(layer, p)
    x, memory, kept = rng(2).standard_normal((N, T, D)), rng(4).standard_normal((N, S, D)), padding(S)
    u, m = (torch.tensor(a, requires_grad=True) for a in (x, memory))
    y, pullback = layer(p, x, memory=memory, kept=kept[:, None, None])
    v, _ = twin(u, m, m, key_padding_mask=torch.tensor(~kept), need_weights=False)
    dy = rng(3).standard_normal(y.shape)
    (dx, dmemory), dp = pullback(dy)
    v.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, v.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, u.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dmemory, m.grad.numpy(), rtol=1e-10, atol=1e-12)
    for ours, theirs in pairs(dp, twin):
        np.testing.assert_allclose(ours, grad_of(theirs).T, rtol=1e-10, atol=1e-12)


def grad_of(parameter: torch.Tensor) -> Array:
    assert parameter.grad is not None
    return parameter.grad.numpy()


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_gradient_of_attention_in_all_three_inputs(temperature: float) -> None:
    q, k, v = (rng(i).standard_normal((2, 3, n, d)) for i, (n, d) in enumerate([(4, 5), (6, 5), (6, 2)]))
    kept = rng(5).random((2, 1, 4, 6)) < 0.6

    def f(q: Array, k: Array, v: Array) -> tuple[Array, Callable]:
        y, _, pullback = attention(q, k, v, kept, temperature)
        return y, pullback

    check(f, q, k, v, rng=rng(6))


def test_attention_is_equation_1_in_its_plainest_form() -> None:
    q, k, v = (rng(i).standard_normal((n, d)) for i, (n, d) in enumerate([(4, 9), (6, 9), (6, 2)]))
    kept = rng(3).random((4, 6)) < 0.5
    y, A, _ = attention(q, k, v, kept, temperature=0.7)
    for i in range(4):
        weight = {j: math.exp(sum(q[i] * k[j]) / 0.7 / 3) for j in range(6) if kept[i, j]}
        expected = sum((w * v[j] for j, w in weight.items()), np.zeros(2)) / max(sum(weight.values()), 1e-300)
        np.testing.assert_allclose(y[i], expected, rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(A[i] > 0, kept[i])


def test_scores_of_independent_queries_and_keys_have_unit_variance() -> None:
    """Without sqrt(d_k) the weights of wide heads would be one-hot from the start."""
    q, k = rng(0).standard_normal((2000, 256)), rng(1).standard_normal((8, 256))
    _, A, _ = attention(q, k, np.ones((8, 1)))
    log = np.log(A)
    assert (log - log.mean(-1, keepdims=True)).std() == pytest.approx(math.sqrt(7 / 8), rel=0.05)


def test_temperature_runs_from_the_best_match_to_the_mean() -> None:
    q, k, v = (rng(i).standard_normal((6, 4)) for i in range(3))
    cold, _, _ = attention(q, k, v, temperature=1e-4)
    hot, _, _ = attention(q, k, v, temperature=1e6)
    np.testing.assert_allclose(cold, v[(q @ k.T).argmax(-1)], atol=1e-6)
    np.testing.assert_allclose(hot, np.broadcast_to(v.mean(0), v.shape), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_query_that_may_see_nothing_reads_zeros_and_has_no_gradient(dtype: type) -> None:
    q, k, v = (rng(i).standard_normal((2, 4, 3)).astype(dtype) for i in range(3))
    kept = np.ones((2, 4, 4), bool)
    kept[0, 2] = False
    y, A, pullback = attention(q, k, v, kept)
    dq, dk, dv = pullback(np.ones_like(y))
    assert not y[0, 2].any()
    assert not A[0, 2].any()
    assert not dq[0, 2].any()
    assert all(np.isfinite(a).all() for a in (y, A, dq, dk, dv))
    alone, _, alone_pullback = attention(q[:, [0, 1, 3]], k, v)
    np.testing.assert_array_equal(y[0, [0, 1, 3]], alone[0])
    np.testing.assert_allclose(dk[0], alone_pullback(np.ones_like(alone))[1][0], rtol=1e-6, atol=1e-7)


def test_without_keys_a_query_reads_zeros() -> None:
    layer = MultiHeadAttention(D, HEADS)
    p, x = random_parameters(layer), rng(2).standard_normal((N, T, D))
    y, pullback = layer(p, x, memory=np.zeros((N, 0, D)))
    (dx, dmemory), _ = pullback(np.ones_like(y))
    assert not y.any()
    assert not dx.any()
    assert dmemory.shape == (N, 0, D)


def test_queries_without_features_are_refused() -> None:
    q = np.ones((2, 4, 0))
    with pytest.raises(
        ValueError, match=r"^attention: queries and keys need at least one feature, got \(2, 4, 0\) and \(2, 4, 0\)$"
    ):
        attention(q, q, np.ones((2, 4, 3)))


@pytest.mark.parametrize("scale", [1e4, 1e18])
def test_large_scores_do_not_overflow(scale: float) -> None:
    q, k, v = (scale * rng(i).standard_normal((4, 3)).astype(np.float32) for i in range(3))
    y, _, pullback = attention(q, k, v, causal(4))
    assert np.isfinite(y).all()
    assert all(np.isfinite(a).all() for a in pullback(np.zeros_like(y)))


def test_causal_sees_itself_and_the_past() -> None:
    assert causal(4).tolist() == [[j <= i for j in range(4)] for i in range(4)]


def test_later_entries_change_nothing_earlier() -> None:
    layer = MultiHeadAttention(D, HEADS)
    p, x = random_parameters(layer), rng(2).standard_normal((N, T, D))
    y, pullback = layer(p, x, kept=causal(T))
    for t in range(1, T):
        other = x.copy()
        other[:, t:] = rng(t).standard_normal(other[:, t:].shape)
        moved, _ = layer(p, other, kept=causal(T))
        np.testing.assert_array_equal(moved[:, :t], y[:, :t])
        assert np.abs(moved[:, t:] - y[:, t:]).min() > 0
        dy = np.zeros_like(y)
        dy[:, :t] = rng(t).standard_normal(dy[:, :t].shape)
        assert not pullback(dy)[0][:, t:].any()


def test_self_attention_does_not_know_the_order() -> None:
    layer = MultiHeadAttention(D, HEADS)
    p, x, order = random_parameters(layer), rng(2).standard_normal((N, T, D)), rng(5).permutation(T)
    np.testing.assert_allclose(layer(p, x[:, order])[0], layer(p, x)[0][:, order], rtol=1e-12, atol=1e-13)


def test_steps_with_remembered_keys_and_values_are_the_causal_layer() -> None:
    layer = MultiHeadAttention(D, HEADS, bias=True)
    p, x = random_parameters(layer), rng(2).standard_normal((N, T, D))
    y, _ = layer(p, x, kept=causal(T))
    past = None
    for t in range(T):
        z, past = layer.extend(p, x[:, t : t + 1], past)
        np.testing.assert_allclose(z[:, 0], y[:, t], rtol=1e-12, atol=1e-13)


def test_remembered_memory_is_the_cross_attention() -> None:
    layer = MultiHeadAttention(D, HEADS, bias=True)
    p, x, memory = random_parameters(layer), rng(2).standard_normal((N, T, D)), rng(4).standard_normal((N, S, D))
    kept = padding(S)[:, None, None]
    y, _ = layer(p, x, memory=memory, kept=kept)
    np.testing.assert_array_equal(layer.read(p, x, layer.keys_values(p, memory), kept), y)


def test_heads_are_split_and_joined() -> None:
    x = rng().standard_normal((2, 3, 5, D))
    assert split_heads(x, HEADS).shape == (2, 3, HEADS, 5, D // HEADS)
    np.testing.assert_array_equal(split_heads(x, HEADS)[1, 2, 1], x[1, 2, :, 4:8])
    np.testing.assert_array_equal(join_heads(split_heads(x, HEADS)), x)


def test_each_projection_starts_with_its_own_glorot_bound() -> None:
    p = MultiHeadAttention(64, 4).init(rng())
    for W in (*np.split(p["QKV"]["W"], 3, 1), p["O"]["W"]):
        assert np.abs(W).max() == pytest.approx(math.sqrt(6 / 128), rel=1e-2)
        assert W.std() == pytest.approx(math.sqrt(2 / 128), rel=0.05)


@pytest.mark.parametrize("kept", [np.ones((2, 5), bool), np.ones((1, 1, 1, 4, 4), bool), np.ones((3, 1, 4), bool)])
def test_a_mask_of_another_shape_is_refused(kept: Array) -> None:
    q = np.ones((2, 4, 3))
    with pytest.raises(ValueError, match=r"^attention: the mask .* does not broadcast to the scores \(2, 4, 4\)$"):
        attention(q, q, q, kept)


def test_a_mask_of_numbers_is_refused() -> None:
    q = np.ones((2, 4, 3))
    with pytest.raises(
        ValueError, match=r"^attention: the mask must be boolean, True where a key is kept, got float64$"
    ):
        attention(q, q, q, np.zeros((4, 4)))


@pytest.mark.parametrize("x", [np.ones((4, D + 1)), np.ones(D)])
def test_inputs_of_another_width_are_refused(x: Array) -> None:
    layer = MultiHeadAttention(D, HEADS)
    with pytest.raises(ValueError, match=r"^MultiHeadAttention: inputs must be \(\.\.\., T, d_model=12\), got \("):
        layer(random_parameters(layer), x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiHeadAttention(10, 3),
        lambda: MultiHeadAttention(0, 1),
        lambda: MultiHeadAttention(4, 0),
        lambda: MultiHeadAttention(4, 2, temperature=0.0),
        lambda: Embedding(0, 3),
        lambda: Embedding(3, 0),
        lambda: SinusoidalPositions(0),
        lambda: LearnedPositions(0, 3),
    ],
)
def test_a_hyperparameter_out_of_range_is_refused_in_one_line(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"^\w+: .* must be .*, got ") as error:
        make()
    assert "\n" not in str(error.value)


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 4))
def test_scatter_add_adds_up_equal_indices(index: list[int], d: int) -> None:
    rows = rng().standard_normal((len(index), d))
    total = rng(1).standard_normal((6, d))
    expected = total.copy()
    np.add.at(expected, np.array(index, int), rows)
    scatter_add(total, np.array(index, np.int32), rows)
    np.testing.assert_allclose(total, expected, rtol=1e-12, atol=1e-13)


def test_embedding_is_the_product_with_one_hot_rows() -> None:
    layer = Embedding(6, 4)
    p, tokens = tree.astype(layer.init(rng()), np.float64), np.array([[5, 0, 5], [2, 5, 0]], np.int32)
    hot = np.eye(6)[tokens]
    y, pullback = layer(p, tokens)
    np.testing.assert_array_equal(y, hot @ p["W"])
    dx, dp = pullback(dy := rng(1).standard_normal(y.shape))
    assert dx is None
    np.testing.assert_allclose(dp["W"], np.einsum("ntv,ntd->vd", hot, dy), rtol=1e-12, atol=1e-14)


def test_embeddings_start_with_unit_norm_on_average() -> None:
    W = Embedding(500, 64).init(rng())["W"]
    assert (W**2).sum(-1).mean() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("tokens", [np.array([0, 6]), np.array([-1, 2])])
def test_a_token_that_the_vocabulary_lacks_is_refused(tokens: Array) -> None:
    layer = Embedding(6, 4)
    with pytest.raises(ValueError, match=r"^Embedding: tokens must be in 0\.\.5, found "):
        layer(layer.init(rng()), tokens)


def test_tokens_that_are_no_integers_are_refused() -> None:
    layer = Embedding(6, 4)
    with pytest.raises(ValueError, match=r"^Embedding: tokens must be integers, got float64$"):
        layer(layer.init(rng()), np.zeros(3))


def test_sinusoids_are_the_papers() -> None:
    y, _ = SinusoidalPositions(6)({}, np.zeros((2, 50, 6)))
    for t in (0, 1, 7, 49):
        for i in range(3):
            angle = t / 10_000 ** (2 * i / 6)
            np.testing.assert_allclose(
                y[1, t, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)], rtol=0, atol=1e-14
            )


def test_a_shift_of_sinusoids_is_one_linear_map_for_all_positions() -> None:
    y, _ = SinusoidalPositions(8)({}, np.zeros((40, 8)))
    for k in (1, 5):
        shift, *_ = np.linalg.lstsq(y[:-k], y[k:], rcond=None)
        np.testing.assert_allclose(y[:-k] @ shift, y[k:], atol=1e-10)
        np.testing.assert_allclose(shift @ shift.T, np.eye(8), atol=1e-6)  # a rotation of each pair


@pytest.mark.parametrize("layer", [SinusoidalPositions(6), LearnedPositions(9, 6)])
def test_positions_may_start_later(layer: SinusoidalPositions | LearnedPositions) -> None:
    p, x = layer.init(rng()), rng().standard_normal((2, 9, 6))
    whole, _ = layer(p, x)
    late, pullback = layer(p, x[:, 4:], start=4)
    np.testing.assert_array_equal(late, whole[:, 4:])
    for _, dW in tree.leaves(pullback(np.ones_like(late))[1]):
        np.testing.assert_array_equal(dW, np.repeat([[0], [2]], [4, 5], 0) * np.ones(6))


def test_learned_positions_refuse_what_they_have_not_learned() -> None:
    layer = LearnedPositions(4, 6)
    with pytest.raises(ValueError, match=r"^LearnedPositions: sequences may have 4 entries, got 5$"):
        layer(layer.init(rng()), np.zeros((2, 5, 6)))
    with pytest.raises(ValueError, match=r"^LearnedPositions: sequences may have 4 entries, got 5$"):
        layer(layer.init(rng()), np.zeros((2, 1, 6)), start=4)


@pytest.mark.parametrize("layer", [SinusoidalPositions(6), LearnedPositions(4, 6)])
def test_positions_before_the_first_are_refused(layer: SinusoidalPositions | LearnedPositions) -> None:
    with pytest.raises(ValueError, match=r"^\w+Positions: start must be at least 0, got -1$"):
        layer(layer.init(rng()), np.zeros((2, 3, 6)), start=-1)


@pytest.mark.parametrize("x", [np.zeros((3, 5)), np.zeros(6)])
def test_positions_refuse_another_width(x: Array) -> None:
    for layer in (SinusoidalPositions(6), LearnedPositions(4, 6)):
        with pytest.raises(ValueError, match=r"^\w+Positions: x must be \(\.\.\., T, 6\), got \("):
            layer(layer.init(rng()), x)

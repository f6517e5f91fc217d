"""Counting arrays: products against formulas and by hand, and values that stay what they are."""

import numpy as np

from shared.counting import Tally, counted, tally
from shared.layers.attention import MultiHeadAttention
from shared.layers.base import Layer
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.tree import Array, Tree


def test_products_are_those_of_the_formulas() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6, 7, 3)).astype(np.float32)

    def forwards(layer: Layer, x: Array) -> int:
        return tally(lambda p, given: layer(p, given["x"]), layer.init(rng), {"x": x}).multiplications

    def with_pullback(layer: Layer, x: Array) -> int:
        def both(p: Tree, given: Tree) -> None:
            y, pullback = layer(p, given["x"])
            pullback(y)

        return tally(both, layer.init(rng), {"x": x}).multiplications

    linear, conv, attention = Linear(3, 4), Conv2d(3, 8, 3, padding=1), MultiHeadAttention(8, 2)
    assert forwards(linear, x) == x.size * 4
    assert with_pullback(linear, x) == 3 * x.size * 4
    assert forwards(conv, x) == 5 * 6 * 7 * 9 * 3 * 8
    assert with_pullback(conv, x) == 3 * forwards(conv, x)
    tokens = rng.standard_normal((5, 6, 8))
    assert forwards(attention, tokens) == 5 * (4 * 6 * 8 * 8 + 2 * 6 * 6 * 8)
    assert with_pullback(attention, tokens) == 3 * forwards(attention, tokens)


def test_a_chain_is_what_has_to_wait() -> None:
    found, A = Tally(), np.random.default_rng(0).standard_normal((3, 4, 4))
    x = counted(A[0], found)
    side_by_side = x @ A[1] + x @ A[2]
    assert found == Tally(2 * 64, 1)
    after = np.tanh(side_by_side).T[:2] @ A[0]
    assert found == Tally(2 * 64 + 32, 2)
    after += 1
    after @ x
    assert found == Tally(2 * 64 + 64, 3)
    np.testing.assert_allclose(np.asarray(after), np.tanh(A[0] @ A[1] + A[0] @ A[2]).T[:2] @ A[0] + 1)


def test_functions_pass_the_chain_on() -> None:
    found, A = Tally(), np.eye(3)
    x = counted(A, found)
    late = np.concatenate([A, x @ A])
    np.tile(late, 2)[:, :3] @ A
    assert found == Tally(27 + 54, 2)


def test_scalars_and_outputs_are_plain_numpys() -> None:
    x, y = counted(np.arange(6.0), Tally()), np.empty(6)
    assert np.add.reduce(x) == 15
    np.multiply(x, 2, out=y)
    np.testing.assert_array_equal(y, 2 * np.arange(6))

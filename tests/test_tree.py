"""Trees of arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shared import tree
from shared.tree import Tree

ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.just(1.0))
TREES = st.recursive(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), ARRAYS, min_size=1, max_size=3),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, min_size=1, max_size=3),
    max_leaves=4,
)


def a_tree() -> Tree:
    return {"0": {"W": np.arange(6.0).reshape(2, 3), "b": np.zeros(3)}, "1": {}, "2": np.array(7.0)}


def test_leaves_come_in_order_with_their_paths() -> None:
    assert [path for path, _ in tree.leaves(a_tree())] == ["0/W", "0/b", "2"]


def test_map_keeps_the_structure_and_pairs_the_leaves_by_path() -> None:
    doubled = tree.map(lambda a, b: a + b, a_tree(), dict(reversed(a_tree().items())))
    assert doubled.keys() == a_tree().keys()
    assert doubled["1"] == {}
    np.testing.assert_array_equal(doubled["0"]["W"], 2 * a_tree()["0"]["W"])
    with pytest.raises(KeyError, match="2"):
        tree.map(np.add, a_tree(), {"0": a_tree()["0"], "1": {}})


@given(TREES)
def test_flatten_lays_every_leaf_into_one_buffer(t: Tree) -> None:
    buffer, views = tree.flatten(t)
    assert buffer.shape == (tree.size(t),)
    for (path, view), (same_path, leaf) in zip(tree.leaves(views), tree.leaves(t), strict=True):
        assert (path, view.shape, view.dtype) == (same_path, leaf.shape, leaf.dtype)
        np.testing.assert_array_equal(view, leaf)
    buffer += 1
    for (_, view), (_, leaf) in zip(tree.leaves(views), tree.leaves(t), strict=True):
        np.testing.assert_array_equal(view, leaf + 1)  # views see the buffer; the caller's arrays are copies


def test_views_lay_a_tree_over_another_buffer() -> None:
    buffer, _ = tree.flatten(a_tree())
    moved = tree.views(a_tree(), buffer[::-1].copy())
    np.testing.assert_array_equal(moved["0"]["W"], [[7, 0, 0], [0, 5, 4]])


def test_flatten_refuses_mixed_dtypes() -> None:
    with pytest.raises(ValueError, match=r"one dtype, found \['float32', 'float64'\]"):
        tree.flatten({"a": np.zeros(2, np.float32), "b": np.zeros(2)})


def test_astype_copies() -> None:
    t = a_tree()
    cast = tree.astype(t, np.float32)
    assert {a.dtype for _, a in tree.leaves(cast)} == {np.dtype(np.float32)}
    assert not any(np.shares_memory(a, b) for (_, a), (_, b) in zip(tree.leaves(t), tree.leaves(cast), strict=True))


def test_size_counts_scalars() -> None:
    assert tree.size(a_tree()) == 10
    assert tree.size({}) == 0


def test_stack_lays_the_same_leaf_of_every_tree_side_by_side() -> None:
    stacked = tree.stack([a_tree(), tree.map(lambda a: 2 * a, a_tree())])
    assert stacked["0"]["W"].shape == (2, 2, 3)
    np.testing.assert_array_equal(stacked["0"]["W"][1], 2 * a_tree()["0"]["W"])
    assert stacked["1"] == {}

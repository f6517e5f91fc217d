"""The gradient checker accepts what is right and names what is wrong."""

from typing import Any

import numpy as np
import pytest

from shared.gradcheck import check
from shared.layers.activation import Softmax, Tanh
from shared.layers.combinators import Sequential
from shared.layers.linear import Linear
from shared.losses import gaussian_kl, softmax_cross_entropy
from shared.tree import Array, Tree, astype

X = np.random.default_rng(0).standard_normal((3, 5))


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def softmax_without_off_diagonal(x: Array) -> tuple[Array, Any]:
    y, _ = Softmax()({}, x)
    return y, lambda dy: y * (1 - y) * dy


def softmax_without_gradient(x: Array) -> tuple[Array, Any]:
    y, _ = Softmax()({}, x)
    return y, np.zeros_like


class Ones:
    """A generator whose cotangent is all ones, as in checks that sum the outputs; its directions are random."""

    def __init__(self) -> None:
        self.shapes = 0
        self.rng = rng()

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        self.shapes += 1
        return np.ones(shape) if self.shapes == 1 else self.rng.standard_normal(shape)


def test_a_random_cotangent_sees_what_ones_are_blind_to() -> None:
    with pytest.raises(AssertionError, match=r"argument 0, random direction 0: the pullback gives \S+, the central"):
        check(softmax_without_off_diagonal, X, rng=rng())
    with pytest.raises(AssertionError):
        check(softmax_without_gradient, X, rng=rng())
    check(softmax_without_gradient, X, rng=Ones())  # type: ignore[arg-type]


def test_it_names_the_leaf() -> None:
    model = Sequential((Linear(5, 4), Tanh(), Linear(4, 2)))

    def wrong(x: Array, p: Tree) -> tuple[Array, Any]:
        y, pullback = model(p, x)

        def half_the_bias(dy: Array) -> tuple[Array, Tree]:
            dx, dp = pullback(dy)
            return dx, dp | {"2": dp["2"] | {"b": dp["2"]["b"] / 2}}

        return y, half_the_bias

    p = astype(model.init(rng()), np.float64)
    check(lambda x, p: model(p, x), X, p, rng=rng())
    with pytest.raises(AssertionError, match=r"^argument 1/2/b, "):
        check(wrong, X, p, rng=rng())


def test_one_wrong_coordinate_is_found() -> None:
    def wrong(x: Array) -> tuple[Array, Any]:
        def pullback(dy: Array) -> Array:
            dx = 2 * x * dy
            dx[1, 2] *= 1 + 1e-5
            return dx

        return x * x, pullback

    with pytest.raises(AssertionError, match=r"coordinate \(1, 2\)"):
        check(wrong, X, rng=rng(), directions=0)


def test_losses_and_scalars() -> None:
    labels = np.array([0, 4, 2])
    check(lambda s: softmax_cross_entropy(s, labels, 0.1), X, rng=rng())
    check(gaussian_kl, X, X + 0.5, rng=rng())
    check(lambda x: (float((x**3).sum()), lambda dy: 3 * x**2 * dy), X, rng=rng())


def test_an_argument_that_is_data_is_left_out() -> None:
    layer = Linear(5, 2, input_is_data=True)
    check(lambda x, p: layer(p, x), X, astype(layer.init(rng()), np.float64), rng=rng())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda dy: (dy, dy), "1 arguments, but the pullback gives 2 cotangents"),
        (lambda dy: dy.sum(0), r"argument 0: the pullback gives no cotangent of its shape \(3, 5\)"),
        (lambda dy: {}, "argument 0: the pullback gives no cotangent"),
    ],
)
def test_a_cotangent_of_the_wrong_form(answer: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check(lambda x: (x, answer), X, rng=rng())


def test_nan_does_not_pass() -> None:
    with pytest.raises(AssertionError):
        check(lambda x: (x * 2, lambda dy: dy * np.nan), X, rng=rng())


def test_float32_is_refused_and_arguments_stay_as_they_are() -> None:
    with pytest.raises(ValueError, match="0/W float32"):
        check(lambda p: (p["W"], lambda dy: {"W": dy}), {"W": X.astype(np.float32)}, rng=rng())
    x = X.copy()
    x.setflags(write=False)
    check(lambda x: (x * 2, lambda dy: dy * 2), x, rng=rng())
    np.testing.assert_array_equal(x, X)

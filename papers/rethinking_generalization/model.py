"""The networks of appendix A: multilayer perceptrons, a small AlexNet and a small Inception."""

from dataclasses import dataclass
from math import prod

import numpy as np

from shared.init import Normal, he_normal
from shared.layers.activation import ReLU
from shared.layers.base import EVAL, Layer, Mode, Pullback
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.layers.norm import BatchNorm, LocalResponseNorm
from shared.layers.pool import GlobalAveragePool, MaxPool
from shared.layers.reshape import Reshape
from shared.tree import Array, Tree

SMALL = ("mlp1x64", "mlp3x64")  # for 8x8 digits
MODELS = ("mlp1x512", "mlp3x512", "alexnet", "inception", "inception-no-bn", *SMALL)
PARAMETERS = {"mlp1x512": 1_209_866, "mlp3x512": 1_735_178, "alexnet": 1_387_786, "inception": 1_649_402}  # Table 1
Shape = tuple[int, int, int]  # of an image: height, width, channels


def network(model: str, shape: Shape, classes: int = 10) -> Sequential:
    """Images (N, *shape) -> logits (N, classes). ValueError for a name that is not in MODELS."""
    if model not in MODELS:
        raise ValueError(f"network: model must be one of {', '.join(MODELS)}, got {model}")
    if model == "alexnet":
        return alexnet(shape, classes)
    if model.startswith("inception"):
        return inception(shape[2], classes, batch_norm=model == "inception")
    depth, width = map(int, model.removeprefix("mlp").split("x"))
    return mlp(shape, depth, width, classes)


def mlp(shape: Shape, depth: int, width: int, classes: int = 10) -> Sequential:
    """``depth`` hidden layers of ``width`` ReLUs."""
    layers: list[Layer] = [Reshape((-1,))]
    n_in = prod(shape)
    for i in range(depth):
        layers += [Linear(n_in, width, he_normal, input_is_data=i == 0), ReLU()]
        n_in = width
    return Sequential((*layers, Linear(n_in, classes, he_normal, input_is_data=depth == 0)))


def alexnet(shape: Shape, classes: int = 10, channels: int = 64, hidden: tuple[int, int] = (384, 192)) -> Sequential:
    """Two modules (conv 5x5, max pool 3x3, local response normalisation), two hidden layers, a linear one.

    Weights start as in TensorFlow's tutorial on CIFAR-10, which has the same layers (notes.md, "What surprised us").
    """
    height, width, c_in = shape
    dense_weight = Normal(0.04)

    def module(c_in: int, first: bool) -> list[Layer]:
        conv = Conv2d(c_in, channels, 5, padding=2, weight=Normal(0.05), input_is_data=first)
        return [conv, ReLU(), MaxPool(3, 2, 1), LocalResponseNorm()]

    places = -(-height // 4) * -(-width // 4)  # each pool halves, rounding up
    dense = (Linear(places * channels, hidden[0], dense_weight), ReLU(), Linear(*hidden, dense_weight), ReLU())
    last = Linear(hidden[1], classes, Normal(1 / hidden[1]))
    return Sequential((*module(c_in, True), *module(channels, False), Reshape((-1,)), *dense, last))


def convolution(
    c_in: int, c_out: int, kernel: int, batch_norm: bool, stride: int = 1, first: bool = False
) -> Sequential:
    """Conv with biases, BN without parameters of its own, ReLU: so the paper's count comes out, and only so."""
    conv = Conv2d(c_in, c_out, kernel, stride, kernel // 2, he_normal, input_is_data=first)
    norm = [BatchNorm(c_out, affine=False)] if batch_norm else []
    return Sequential((conv, *norm, ReLU()))


@dataclass(frozen=True)
class Beside:
    r"""y = concat(f(x), g(x)) over the channels: x (N, H, W, C), y (N, H', W', C_f + C_g).

    x is read twice and y is two parts side by side, so dx = J_f^T dy[..., :C_f] + J_g^T dy[..., C_f:].
    """

    f: Layer
    g: Layer

    def init(self, rng: np.random.Generator) -> Tree:
        return {"f": self.f.init(rng), "g": self.g.init(rng)}

    def __call__(self, p: Tree, x: Array, mode: Mode = EVAL) -> tuple[Array, Pullback]:
        left, f_pullback = self.f(p["f"], x, mode)
        right, g_pullback = self.g(p["g"], x, mode)

        def pullback(dy: Array) -> tuple[Array, Tree]:
            dx, df = f_pullback(np.ascontiguousarray(dy[..., : left.shape[-1]]))
            dx_g, dg = g_pullback(np.ascontiguousarray(dy[..., left.shape[-1] :]))
            return dx + dx_g, {"f": df, "g": dg}

        return np.concatenate([left, right], -1), pullback


# Figure 3: (channels of 1x1, channels of 3x3) is an Inception module, a number a module that halves the size.
STAGES: tuple[tuple[int, int] | int, ...] = (
    *((32, 32), (32, 48), 80),
    *((112, 48), (96, 64), (80, 80), (48, 96), 96),
    *((176, 160), (176, 160)),
)


def inception(
    c_in: int = 3,
    classes: int = 10,
    batch_norm: bool = True,
    stem: int = 96,
    stages: tuple[tuple[int, int] | int, ...] = STAGES,
) -> Sequential:
    """A 3x3 convolution, Inception and halving modules, the mean over the places, a linear map."""
    layers: list[Layer] = [convolution(c_in, stem, 3, batch_norm, first=True)]
    c = stem
    for stage in stages:
        if isinstance(stage, int):
            layers.append(Beside(convolution(c, stage, 3, batch_norm, stride=2), MaxPool(3, 2, 1)))
            c += stage
        else:
            ones, threes = stage
            layers.append(Beside(convolution(c, ones, 1, batch_norm), convolution(c, threes, 3, batch_norm)))
            c = ones + threes
    return Sequential((*layers, GlobalAveragePool(), Linear(c, classes, he_normal)))

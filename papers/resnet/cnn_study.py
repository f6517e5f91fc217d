r"""A study beside the paper: what initialisation and BatchNorm do to deep networks, on ones that train in a second.

Eight 3x3 convolutions, y_l = conv(a_{l-1}) with or without BN behind it and a_l = f(y_l), then the mean over the places
and a linear layer. Five activations f, three initialisations of the convolutions, BN on and off: thirty configurations.
All start from the same normal numbers, scaled; the last layer is He's in all of them, for no BN follows it.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from math import log
from typing import Any

import numpy as np
import pandas as pd

from papers.resnet.training import Split, images
from shared import tree
from shared.claims import Claim, per_seed
from shared.classification import TRAIN, gradient
from shared.experiment import Job, Run
from shared.init import Initializer, Normal, fans, glorot_normal, he_normal
from shared.layers.activation import ACTIVATIONS
from shared.layers.base import Layer
from shared.layers.combinators import Sequential
from shared.layers.conv import Conv2d
from shared.layers.linear import Linear
from shared.layers.norm import BatchNorm
from shared.layers.pool import AveragePool, GlobalAveragePool
from shared.layers.windows import pair
from shared.losses import softmax_cross_entropy
from shared.minibatch import minibatches
from shared.optim import Momentum
from shared.quadrature import moments
from shared.tree import Array, Tree

Rows = pd.DataFrame
Signals = tuple[list[Array], list[Array]]

SMALL = 0.01  # the standard deviation of Krizhevsky et al. 2012
INITIALISATIONS: dict[str, Initializer] = {"small": Normal(SMALL), "Glorot": glorot_normal, "He": he_normal}
CONFIGURATIONS = tuple(product(ACTIVATIONS, INITIALISATIONS, ("off", "on")))  # BN off and on

LAYERS, CHANNELS, CLASSES = 8, 16, 10
BATCH = 50
# The largest of 0.1 (the paper's), 0.03 and 0.01 with which He's ReLU and leaky ReLU stay finite on five seeds that are
# not the study's: without BN, leaky ReLU does not with 0.1.
RATES = {"off": 0.03, "on": 0.1}
READINGS = 20  # of the training loss
DRAWS = 8  # of the parameters, over which the mean squares of a layer are averaged
MAGNITUDES = np.linspace(-15, 1, 65)  # edges of the histograms: decimal logarithms of |a| and |delta|

DEEP = 20
IMAGES = 2  # a draw of the deep stack
# Kernel, padding, channels. A strip of 64 pixels loses two a layer; of an 8x8 image 20 such layers would leave nothing.
STACKS: dict[str, tuple[Any, int, int]] = {"none": ((1, 3), 0, 128), "zeros": (3, 1, 48)}


def jobs(cfg: Any) -> list[Job]:
    """One job a seed. A step of it is one configuration, trained on ``cfg.study_steps`` minibatches."""
    return [
        {
            "kind": "study",
            "seed": seed,
            "data": "digits",
            "steps": len(CONFIGURATIONS),
            "study_steps": cfg.study_steps,
        }
        for seed in cfg.seeds
    ]


def measure(job: Job, run: Run) -> None:
    """Each configuration's start and training; for ReLU without BN, twenty layers too."""
    train, _ = images(job["data"])
    few = Split(train.x[:BATCH], train.y[:BATCH])
    # The share of a layer's activations, and of its gradients, in each bin of their magnitude.
    histograms = np.zeros((len(CONFIGURATIONS), 2, LAYERS, len(MAGNITUDES) - 1), np.float32)
    run.restore({"histograms": histograms})
    for step in run.steps():
        activation, initialisation, batch_norm = CONFIGURATIONS[step]
        net = network(activation, initialisation, batch_norm)
        # The same normal numbers in every configuration.
        drawn = [net.init(np.random.default_rng((job["seed"], 1, draw))) for draw in range(DRAWS)]
        record = partial(run.record, activation=activation, init=initialisation, batch_norm=batch_norm)
        at_start = [signals(net, p, few) for p in drawn]
        histograms[step] = [[magnitudes(layer) for layer in kind] for kind in at_start[0]]
        squares, gradients = mean_squares(at_start)
        derived = derivation(convolutions(net), activation, initialisation, few.x) if batch_norm == "off" else None
        for iteration, loss in curve(net, drawn[0], train, RATES[batch_norm], job, run):
            record(part="curve", iteration=iteration, loss=loss)
        for l in range(LAYERS):
            theory = {"derived_square": derived[0][l], "derived_gradient": derived[1][l]} if derived else {}
            record(part="depth", layer=l + 1, square=squares[l], gradient=gradients[l], **theory)
        if (activation, batch_norm) == ("relu", "off"):
            for padding in STACKS if initialisation == "He" else ("none",):
                rng = np.random.default_rng((job["seed"], 2, step))
                for l, (square, expected) in enumerate(deep_stack(train.x, initialisation, padding, job, rng)):
                    record(part="variance", padding=padding, layer=l, square=square, derived_square=expected)
    run.keep(histograms=histograms)


def network(activation: str, initialisation: str, batch_norm: str) -> Sequential:
    """x (N, 8, 8, 1) -> logits (N, 10). Layers 2l - 2 and 2l - 1 give y_l and a_l (N, 4, 4, 16), l = 1, ..., 8."""
    layers: list[Layer] = []
    for l in range(LAYERS):
        c_in, stride = (CHANNELS, 1) if l else (1, 2)
        weight, bias = INITIALISATIONS[initialisation], batch_norm == "off"
        conv = Conv2d(c_in, CHANNELS, 3, stride, 1, weight, bias, input_is_data=l == 0)
        layers += [conv if batch_norm == "off" else Sequential((conv, BatchNorm(CHANNELS))), ACTIVATIONS[activation]]
    return Sequential((*layers, GlobalAveragePool(), Linear(CHANNELS, CLASSES, he_normal)))


def convolutions(net: Sequential) -> list[Conv2d]:
    """Those of a network without BN."""
    return [layer for layer in net.layers if isinstance(layer, Conv2d)]


def curve(net: Sequential, p: Tree, train: Split, rate: float, job: Job, run: Run) -> Iterator[tuple[int, float]]:
    """Train p, in place: (iteration, mean loss in nats on the minibatches since the last reading)."""
    steps = job["study_steps"]
    optimizer, trainable = Momentum(rate, momentum=0.9), tree.trainable(p)
    state = optimizer.init(trainable)
    batches = minibatches(len(train.y), BATCH, job["seed"])
    since: list[float] = []
    for iteration in range(1, steps + 1):
        batch = next(batches)
        loss, _, grads = gradient(net, p, train.x[batch], train.y[batch])
        since.append(float(loss.mean()))
        run.check(since[-1])
        optimizer.update(trainable, grads, state)
        if iteration * READINGS // steps > (iteration - 1) * READINGS // steps:
            yield iteration, float(np.mean(since))
            since = []


def signals(net: Sequential, p: Tree, split: Split) -> Signals:
    """Activations a_l and gradients delta_l = dJ/dy_l, J the sum of the losses, for l = 1, ..., 8 in train mode."""
    x, outputs, pullbacks = split.x, [], []
    for i, layer in enumerate(net.layers):
        x, pullback = layer(p[str(i)], x, TRAIN)
        outputs.append(x)
        pullbacks.append(pullback)
    loss, loss_pullback = softmax_cross_entropy(x, split.y)
    delta = loss_pullback(np.ones_like(loss))
    deltas = []
    for pullback in reversed(pullbacks):
        delta, _ = pullback(delta)
        deltas.append(delta)
    return outputs[1 : 2 * LAYERS : 2], deltas[-2 : -2 * LAYERS - 1 : -2]


def mean_squares(drawn: Sequence[Signals]) -> Array:
    """E[a_l^2] and E[delta_l^2], (2, L): means over the draws, the examples, the places and the channels."""
    return np.mean([[[mean_square(layer) for layer in kind] for kind in signal] for signal in drawn], axis=0)


def mean_square(x: Array) -> float:
    """In float64: squares of vanishing signals are below what float32 holds."""
    return float(np.mean(np.square(x, dtype=float)))


def magnitudes(x: Array) -> Array:
    """The share of x's entries in each bin of log10 |x|, the outer ones catching what is beyond; zeros are in none."""
    logarithms = np.log10(np.abs(x[x != 0], dtype=float))
    counts, _ = np.histogram(np.clip(logarithms, MAGNITUDES[0], MAGNITUDES[-1]), MAGNITUDES)
    return counts / x.size


def weight_variance(initialisation: str, conv: Conv2d) -> float:
    """Var w of a convolution's weights."""
    fan_in, fan_out = fans((*pair(conv.kernel), conv.c_in, conv.c_out))
    return {"small": SMALL**2, "Glorot": 2 / (fan_in + fan_out), "He": 2 / fan_in}[initialisation]


def derivation(convs: Sequence[Conv2d], activation: str, initialisation: str, x: Array) -> tuple[Array, Array]:
    r"""(E[a_l^2], E[delta_l^2] / E[delta_L^2]) by layer, (L,) each, of convolutions without BN in front of a mean.

    At each place i let T average over the K taps of its window, with zeros outside of the borders. Independent w of
    mean 0 make y_l(i) normal for many channels, of variance
        q_l = K c_in Var w  T E[a_{l-1}^2],     E[a_l^2] = E[f(z)^2],  z ~ N(0, q_l);
    for ReLU, that is q_l / 2, and exact. An input of variance 1 everywhere loses what T gives at the border: on S x S
    places with a padding of 1, (3 - 2/S)^2 of 9 taps lie inside, 0.84 for S = 8. Later layers have less to lose, as
    the border is fainter there; the ratio tends to the largest eigenvalue of T, ((1 + 2 cos(pi / (S + 1))) / 3)^2 =
    0.92. With W on the way back taken as independent of all on the way forth,
        E[delta_l^2] = E[f'(z)^2]  K c_out Var w  T^T E[delta_{l+1}^2].
    E[a_0^2] is a mean over the images x, at each place.
    """
    square = np.mean(np.square(x, dtype=float), axis=0, keepdims=True)
    squares, slopes, ways_back = [], [], []
    for conv in convs:
        taps, variance = np.prod(pair(conv.kernel)), weight_variance(initialisation, conv)
        average, pullback = AveragePool(conv.kernel, conv.stride, conv.padding)({}, square)
        square, slope = moments(ACTIVATIONS[activation], taps * conv.c_in * variance * average)
        squares.append(square.mean())
        slopes.append(slope)
        ways_back.append((taps * conv.c_out * variance, pullback))
    delta = slopes[-1]  # the mean over the places, above, sends the same to each
    gradients = [delta.mean()]
    for slope, (factor, pullback) in zip(slopes[-2::-1], ways_back[:0:-1], strict=True):
        delta = slope * factor * pullback(delta)[0]
        gradients.append(delta.mean())
    return np.array(squares), np.array(gradients[::-1]) / gradients[0]


def deep_stack(
    x: Array, initialisation: str, padding: str, job: Job, rng: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """(measured, derived) E[a_l^2] / E[a_0^2] of twenty ReLU layers for l = 0, ..., 20, with an input of digits.

    Each of ceil(study_steps / 2) draws of the weights gets images of its own. Without padding an image is read row by
    row as a ring, from a random pixel on, so that no place is darker than another.
    """
    kernel, border, channels = STACKS[padding]
    draws = (job["study_steps"] + 1) // 2
    x = x[rng.choice(len(x), (draws, IMAGES))]
    if padding == "none":
        pixels = x[0, 0].size
        ring = (rng.integers(pixels, size=(draws, IMAGES, 1)) + np.arange(pixels)) % pixels
        x = np.take_along_axis(x.reshape(draws, IMAGES, pixels), ring, axis=2)[:, :, None, :, None]
    weight = INITIALISATIONS[initialisation]
    convs = [Conv2d(channels if l else 1, channels, kernel, 1, border, weight, bias=False) for l in range(DEEP)]
    squares = np.empty((draws, DEEP + 1))
    for draw, a in enumerate(x):
        squares[draw, 0] = mean_square(a)
        for l, conv in enumerate(convs):
            y, _ = conv(conv.init(rng), a)
            a, _ = ACTIVATIONS["relu"]({}, y)
            squares[draw, l + 1] = mean_square(a)
    measured = squares.mean(0)
    derived, _ = derivation(convs, "relu", initialisation, x.reshape(-1, *x.shape[2:]))
    yield from zip(measured / measured[0], [1.0, *derived / measured[0]], strict=True)


def studied(value: Callable[[Rows], float]) -> Callable[[Rows], list[float]]:
    """A claim's measurement: ``value`` of the study's rows of each seed that got through all configurations."""

    def whole(seed: Rows) -> float | None:
        return value(seed) if (seed["part"] == "depth").sum() == len(CONFIGURATIONS) * LAYERS else None

    return lambda rows: per_seed(rows[rows["kind"] == "study"], whole)


def by_layer(rows: Rows, column: str, part: str, **chosen: str) -> "pd.Series[float]":
    """A column of a part's rows by layer, of those whose other columns are as chosen."""
    own = rows[rows["part"] == part]
    for name, value in chosen.items():
        own = own[own[name] == value]
    return own.groupby("layer")[column].median()


def stack_factor(
    initialisation: str, first: int, column: str = "square", padding: str = "none"
) -> Callable[[Rows], float]:
    """What a layer of the deep stack multiplies E[a^2] by, from layer ``first`` to the last: the geometric mean."""

    def value(rows: Rows) -> float:
        squares = by_layer(rows, column, "variance", init=initialisation, padding=padding)
        return float((squares[DEEP] / squares[first]) ** (1 / (DEEP - first)))

    return value


def gradient_factor(rows: Rows, initialisation: str, batch_norm: str, column: str = "gradient") -> float:
    """What a layer of sigmoids multiplies the root mean square of the gradients by, on the way back."""
    squares = by_layer(rows, column, "depth", activation="sigmoid", init=initialisation, batch_norm=batch_norm)
    return float((squares[1] / squares[LAYERS]) ** (1 / (2 * (LAYERS - 1))))


def underived(rows: Rows) -> float:
    """The largest relative difference of the sigmoids' factors without BN from the derived ones."""
    measured, derived = (
        np.array([gradient_factor(rows, name, "off", column) for name in INITIALISATIONS])
        for column in ("gradient", "derived_gradient")
    )
    return float(abs(measured / derived - 1).max())


def final_losses(rows: Rows) -> Rows:
    """The last reading of the training loss: a row for BN off or on and an activation, a column an initialisation."""
    curves = rows[rows["part"] == "curve"].sort_values("iteration")
    return curves.groupby(["batch_norm", "activation", "init"])["loss"].last().unstack("init")


def lacking(rows: Rows) -> "pd.Series[float]":
    """By activation, with BN: how much of the best initialisation's fall below chance, log 10, the worst one lacks.

    Infinite where none has fallen below it.
    """
    fall = log(CLASSES) - final_losses(rows[rows["batch_norm"] == "on"]).droplevel("batch_norm")
    return 1 - fall.min(axis=1) / fall.max(axis=1).clip(lower=0)


def he_gain(rows: Rows) -> float:
    """By how much He's last loss is below Glorot's, for ReLU without BN, in nats."""
    losses = final_losses(rows)
    return float(losses["Glorot"]["off", "relu"] - losses["He"]["off", "relu"])


claim = partial(Claim, data="digits")  # at every scale
CLAIMS: Sequence[Claim] = (
    claim(
        id="resnet-cnn-he-relu",
        source="He et al. 2015, eq. 10",
        statement="He's initialisation keeps E[a^2] over 20 ReLU layers without padding (layer 20 over the input)",
        measure=studied(lambda rows: stack_factor("He", 0)(rows) ** DEEP),
        holds=lambda ratio: 0.8 <= ratio <= 1.2,
        tolerance="1 +- 0.2",
    ),
    claim(
        id="resnet-cnn-glorot-relu",
        source="Derived: n Var w = 1, E[relu(y)^2] = Var y / 2",
        statement="Glorot's lets it shrink, by a half (factor a layer, 19 layers)",
        measure=studied(stack_factor("Glorot", 1)),
        holds=lambda factor: abs(factor - 0.5) <= 0.02,
        tolerance="0.5 +- 0.02; same direction below 1",
        same_direction=lambda factor: factor < 1,
    ),
    claim(
        id="resnet-cnn-small-relu",
        source="Derived: n Var w / 2 = 3 * 128 * 0.01^2 / 2 = 0.0192",
        statement="A standard deviation of 0.01 is too small: E[a^2] shrinks faster (factor a layer, 19 layers)",
        measure=studied(stack_factor("small", 1)),
        holds=lambda factor: abs(factor / 0.0192 - 1) <= 0.04,
        tolerance="0.0192 +- 4 %; same direction below 1",
        same_direction=lambda factor: factor < 1,
    ),
    claim(
        id="resnet-cnn-padding",
        source="Derived: the share of a window inside the border",
        statement="With zeros around 8x8 images E[a^2] shrinks with He's, as the border's windows hold fewer taps "
        "(factor a layer over the derived one; without the border's part it would be 1.08)",
        measure=studied(
            lambda rows: (
                stack_factor("He", 0, padding="zeros")(rows)
                / stack_factor("He", 0, "derived_square", padding="zeros")(rows)
            )
        ),
        holds=lambda ratio: abs(ratio - 1) <= 0.03,
        tolerance="1 +- 0.03",
    ),
    claim(
        id="resnet-cnn-sigmoid-vanishes",
        source="Derived: sigmoid' <= 1/4, n Var w = 1",
        statement="Sigmoid gradients vanish: with Glorot's a layer leaves a quarter of them at most (root mean square)",
        measure=studied(lambda rows: gradient_factor(rows, "Glorot", "off")),
        holds=lambda factor: factor <= 0.25,
        tolerance="<= 0.25; same direction below 1",
        same_direction=lambda factor: factor < 1,
    ),
    claim(
        id="resnet-cnn-sigmoid-derived",
        source="Derived: E[sigmoid'(y)^2] n Var w, and the border",
        statement="By the derived factor a layer, from each initialisation (largest relative difference)",
        measure=studied(underived),
        holds=lambda difference: difference <= 0.1,
        tolerance="<= 0.1",
    ),
    claim(
        id="resnet-cnn-sigmoid-bn",
        source="Ioffe and Szegedy 2015, section 3.3",
        statement="With BN a layer leaves half of the sigmoid's gradients at least",
        measure=studied(lambda rows: gradient_factor(rows, "Glorot", "on")),
        holds=lambda factor: factor >= 0.5,
        tolerance=">= 0.5; same direction above 0.25, the most without BN",
        same_direction=lambda factor: factor > 0.25,
    ),
    claim(
        id="resnet-cnn-he-learns",
        source="He et al. 2015, section 2.2",
        statement="Without BN eight ReLU layers learn faster from He's start than from Glorot's (difference of the "
        "last training losses, nats)",
        measure=studied(he_gain),
        holds=lambda gain: gain >= 0.1,
        tolerance=">= 0.1; same direction above 0",
        same_direction=lambda gain: gain > 0,
    ),
    claim(
        id="resnet-cnn-bn-learns",
        source="Ioffe and Szegedy 2015, section 3.3",
        statement="With BN every activation learns from every initialisation (largest last training loss, nats)",
        measure=studied(lambda rows: float(final_losses(rows).loc["on"].to_numpy().max())),
        holds=lambda loss: loss <= 0.9 * log(CLASSES),
        tolerance="<= 0.9 log 10 = 2.07",
    ),
    claim(
        id="resnet-cnn-bn-insensitive",
        source="Ioffe and Szegedy 2015, section 3.3",
        statement="BN makes ReLU's training insensitive to the initialisation (share of the best one's fall below log "
        "10 that the worst lacks)",
        measure=studied(lambda rows: float(lacking(rows)["relu"])),
        holds=lambda share: share <= 0.25,
        tolerance="<= 0.25; same direction below 1, where the worst learns at all",
        same_direction=lambda share: share < 1,
    ),
    claim(
        id="resnet-cnn-bn-insensitive-all",
        source="Ioffe and Szegedy 2015, section 3.3",
        statement="And that of every activation (the largest of these shares)",
        measure=studied(lambda rows: float(lacking(rows).max())),
        holds=lambda share: share <= 0.5,
        tolerance="<= 0.5; same direction below 1",
        same_direction=lambda share: share < 1,
    ),
)

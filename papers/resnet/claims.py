"""The paper's claims about CIFAR-10, as functions of recorded rows: an evaluation, or a probe, of one network each."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from papers.resnet.model import resnet
from shared import tree
from shared.claims import Claim, unmeasured

Rows = pd.DataFrame
Network = tuple[str, str]  # the shortcut, and which of the depths: "min" or "max"

SHALLOW_PLAIN, DEEP_PLAIN = ("none", "min"), ("none", "max")
SHALLOW_RESIDUAL, DEEP_RESIDUAL = ("A", "min"), ("A", "max")
TEST_ERRORS = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61}  # Table 6, percent; of 110 the mean of five
MILLIONS = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}  # parameters, Table 6
PAPER_ITERATIONS = 64_000


def trainings(rows: Rows, part: str) -> Rows:
    """The evaluations ("curve"), or what was read at the end ("probe"), of the paper's networks."""
    return rows[(rows["kind"] == "train") & (rows["part"] == part)]


def last(rows: Rows) -> Rows:
    """Of one network's evaluations, the one at the end."""
    return rows[rows["iteration"] == rows["steps"]]


def last_half(rows: Rows) -> Rows:
    return rows[rows["iteration"] > rows["steps"] / 2]


def after_a_fifth(rows: Rows) -> Rows:
    """The first evaluation at or after 20 % of the iterations."""
    return rows[rows["iteration"] >= 0.2 * rows["steps"]].head(1)


def of(rows: Rows, network: Network) -> Rows:
    """A network's rows."""
    shortcut, extreme = network
    return rows[(rows["shortcut"] == shortcut) & (rows["depth"] == rows["depth"].agg(extreme))]


def two(rows: Rows, first: Network, second: Network) -> bool:
    """Whether they are two networks: of one shortcut, the least and the largest depth may be the same."""
    return first[0] != second[0] or rows["depth"].nunique() > 1


def gap(
    column: str, first: Network, second: Network, over: Callable[[Rows], Rows] = last
) -> Callable[[Rows], list[float]]:
    """The mean of a column over some rows of the first network minus the second's, of each seed that has both."""

    def measure(rows: Rows) -> list[float]:
        own = trainings(rows, "curve")
        if not two(own, first, second):
            return []
        one, other = (of(own, network) for network in (first, second))
        both = sorted(set(one["seed"]) & set(other["seed"]))
        means = [[over(network[network["seed"] == seed])[column].mean() for seed in both] for network in (one, other)]
        return [a - b for a, b in zip(*means, strict=True)]

    return measure


def ratio(column: str, first: Network, second: Network) -> Callable[[Rows], list[float]]:
    """A probe of the first network over the second's, of each seed that has both."""

    def measure(rows: Rows) -> list[float]:
        own = trainings(rows, "probe")
        if not two(own, first, second):
            return []
        one, other = (of(own, network).set_index("seed")[column] for network in (first, second))
        return list((one / other).dropna())

    return measure


def least(name: str) -> Callable[[Rows], list[float]]:
    """The deep plain network's gradient at the first layer over the median layer's, the smaller of start and end."""

    def measure(rows: Rows) -> list[float]:
        own = of(trainings(rows, "probe"), DEEP_PLAIN)
        return list(own[[f"first_{name}_at_start", f"first_{name}_at_end"]].min(axis=1))

    return measure


def unequal_counts(rows: Rows) -> list[float]:
    """The largest difference between the parameters of a plain and a residual network of one depth."""
    depths = trainings(rows, "probe")["depth"].unique()
    return [float(max(abs(parameters(d, "A") - parameters(d, "none")) for d in depths))] if len(depths) else []


def parameters(depth: int, shortcut: str = "A") -> int:
    """The trainable scalars of the network for CIFAR-10."""
    return tree.size(tree.trainable(resnet(int(depth), shortcut).init(np.random.default_rng(0))))


def count(depth: int) -> Callable[[Rows], list[float]]:
    """Parameters in millions, trained or not."""
    return lambda rows: [parameters(depth) / 1e6]


def at_paper_scale(depth: int, shortcut: str = "A") -> Callable[[Rows], list[float]]:
    """The final test error after the paper's 64,000 iterations on CIFAR-10."""

    def measure(rows: Rows) -> list[float]:
        own = last(trainings(rows, "curve"))
        full = (own["data"] == "cifar10") & (own["steps"] == PAPER_ITERATIONS)
        return list(own.loc[full & (own["depth"] == depth) & (own["shortcut"] == shortcut), "test_error"])

    return measure


def positive(value: float) -> bool:
    return value > 0


CLAIMS = [
    Claim(
        "resnet-degradation",
        "Figure 1 and 6 left",
        "The deep plain network has the higher training error (mean gap over the last half of training, points)",
        gap("train_error", DEEP_PLAIN, SHALLOW_PLAIN, last_half),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-degradation-end",
        "Figure 1 and 6 left",
        "The same at the end of training (points)",
        gap("train_error", DEEP_PLAIN, SHALLOW_PLAIN),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-degradation-test",
        "Figure 1 and 6 left",
        "The deep plain network has the higher test error at the end (points)",
        gap("test_error", DEEP_PLAIN, SHALLOW_PLAIN),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-reversed",
        "Figure 6 middle",
        "With shortcuts the deep network has the lower training error at the end (shallow minus deep, points)",
        gap("train_error", SHALLOW_RESIDUAL, DEEP_RESIDUAL),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-reversed-test",
        "Table 6, ResNet-20 and 56",
        "With shortcuts the deep network has the lower test error at the end (shallow minus deep, points)",
        gap("test_error", SHALLOW_RESIDUAL, DEEP_RESIDUAL),
        positive,
        "> 0",
        paper=1.78,
    ),
    Claim(
        "resnet-against-plain",
        "Figure 6",
        "At the greater depth, shortcuts lower the training error at the end (plain minus residual, points)",
        gap("train_error", DEEP_PLAIN, DEEP_RESIDUAL),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-against-plain-test",
        "Figure 6",
        "At the greater depth, shortcuts lower the test error at the end (plain minus residual, points)",
        gap("test_error", DEEP_PLAIN, DEEP_RESIDUAL),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-faster",
        "Section 4.1, of 18 layers",
        "At the lesser depth, shortcuts lower the training error after a fifth of the iterations (points)",
        gap("train_error", SHALLOW_PLAIN, SHALLOW_RESIDUAL, after_a_fifth),
        positive,
        "> 0",
    ),
    Claim(
        "resnet-responses-depth",
        "Figure 7",
        "The deeper ResNet has the smaller responses (mean standard deviation, deep over shallow)",
        ratio("response", DEEP_RESIDUAL, SHALLOW_RESIDUAL),
        lambda v: v < 1,
        "< 1",
    ),
    Claim(
        "resnet-responses-plain",
        "Figure 7",
        "ResNets have smaller responses than plain networks (mean standard deviation, at the lesser depth)",
        ratio("response", SHALLOW_RESIDUAL, SHALLOW_PLAIN),
        lambda v: v < 1,
        "< 1",
    ),
    Claim(
        "resnet-gradients",
        "Section 4.1",
        "Gradients of the deep plain network do not vanish: first layer over median layer, the smaller of start "
        "and end",
        least("gradient"),
        lambda v: v >= 0.1,
        ">= 0.1",
    ),
    Claim(
        "resnet-gradients-scaled",
        "Section 4.1, our measure",
        "The same of gradient norm times kernel norm, which does not depend on the kernel's scale, as the network does "
        "not (added after the one above had been read)",
        least("scaled_gradient"),
        lambda v: v >= 0.1,
        ">= 0.1",
    ),
    Claim(
        "resnet-equal-parameters",
        "Section 4.2",
        "Option A adds no parameters (largest difference to the plain network)",
        unequal_counts,
        lambda v: v == 0,
        "= 0",
        paper=0,
    ),
    *(
        Claim(
            f"resnet-parameters-{depth}",
            "Table 6",
            f"Parameters of ResNet-{depth} (millions)",
            count(depth),
            lambda v, printed=printed: abs(v - printed) < 0.05 * printed,  # type: ignore[misc]
            "within 5 %, the rounding of two digits",
            paper=printed,
        )
        for depth, printed in MILLIONS.items()
    ),
    *(
        Claim(
            f"resnet-table6-{depth}",
            "Table 6",
            f"Test error of ResNet-{depth} after 64,000 iterations (%)",
            at_paper_scale(depth),
            lambda v, printed=printed: abs(v - printed) <= 0.5,  # type: ignore[misc]
            f"{printed} +- 0.5",
            paper=printed,
        )
        for depth, printed in TEST_ERRORS.items()
    ),
    Claim(
        "resnet-table6-1202",
        "Table 6",
        "Test error of ResNet-1202 after 64,000 iterations (%)",
        at_paper_scale(1202),
        lambda v: abs(v - 7.93) <= 0.5,
        "7.93 +- 0.5",
        paper=7.93,
    ),
    Claim(
        "resnet-plain-110",
        "Figure 6, caption",
        "Test error of the plain network with 110 layers (%)",
        at_paper_scale(110, "none"),
        lambda v: v > 60,
        "> 60",
        paper=60,
    ),
    Claim(
        "resnet-imagenet-34",
        "Table 2",
        "ImageNet top-1 error of ResNet-34, option A (%): ImageNet is not among our data",
        unmeasured,
        lambda v: abs(v - 25.03) <= 0.5,
        "25.03 +- 0.5",
        paper=25.03,
    ),
]

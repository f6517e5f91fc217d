"""Table 1 of the paper: its numbers, our rows, and the claims that compare them; ImageNet's and the networks' sizes."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from papers.rethinking_generalization.claims import Rows, per_seed, trainings
from papers.rethinking_generalization.model import PARAMETERS, network
from shared import tree
from shared.claims import Claim, unmeasured

WHOLE = 50_000  # training images: those of Table 1

# Table 1, train and test accuracy in percent; rows are named by their regularisers, or by "random labels".
PRINTED = {
    ("inception", "crop, weight decay"): (100.0, 89.05),
    ("inception", "crop"): (100.0, 89.31),
    ("inception", "weight decay"): (100.0, 86.03),
    ("inception", "none"): (100.0, 85.75),
    ("inception", "random labels"): (100.0, 9.78),
    ("inception-no-bn", "weight decay"): (100.0, 83.00),
    ("inception-no-bn", "none"): (100.0, 82.00),
    ("inception-no-bn", "random labels"): (100.0, 10.12),
    ("alexnet", "crop, weight decay"): (99.90, 81.22),
    ("alexnet", "crop"): (99.82, 79.66),
    ("alexnet", "weight decay"): (100.0, 77.36),
    ("alexnet", "none"): (100.0, 76.07),
    ("alexnet", "random labels"): (99.82, 9.86),
    ("mlp3x512", "weight decay"): (100.0, 53.35),
    ("mlp3x512", "none"): (100.0, 52.39),
    ("mlp3x512", "random labels"): (100.0, 10.48),
    ("mlp1x512", "weight decay"): (99.80, 50.39),
    ("mlp1x512", "none"): (100.0, 50.51),
    ("mlp1x512", "random labels"): (99.34, 10.61),
}
TITLES = {"mlp3x512": "MLP 3x512", "mlp1x512": "MLP 1x512", "alexnet": "Alexnet", "inception": "Inception"}
TITLES |= {"inception-no-bn": "Inception without BN", "mlp3x64": "MLP 3x64", "mlp1x64": "MLP 1x64"}

# ImageNet is not among our data: (id, source, statement, percent).
IMAGENET = (
    ("top1", "Table 2", "ImageNet top-1 test accuracy of Inception V3 without regularisers (%)", 59.80),
    ("top5", "Table 2", "ImageNet top-5 test accuracy of the same (%)", 80.38),
    ("augmented", "Table 2", "ImageNet top-1 test accuracy with augmentation alone (%)", 72.95),
    ("random", "Table 2, section 2.1", "ImageNet top-1 training accuracy on random labels (%)", 95.20),
)


def row_name(row: "pd.Series[float]") -> str:
    """How Table 1 calls a training of labels."""
    if row["p"] == 1:
        return "random labels"
    return ", ".join(name for name in ("crop", "weight decay") if row[name.replace(" ", "_")]) or "none"


def readings(rows: Rows) -> Rows:
    """The last readings of Table 1's trainings, with their row's name in the column "row".

    Where Figure 1's network has convolutions, its random labels were trained for the longer time of Table 1 as well.
    """
    own = trainings(rows, "end")
    own = own[(own["condition"] == "labels") & own["p"].isin([0, 1])]
    own = own.assign(row=[row_name(row) for _, row in own.iterrows()])
    longest = own.groupby(["model", "row", "seed"])["steps"].transform("max")
    return own[own["steps"] == longest]


def weight_decay_effect(rows: Rows) -> list[float]:
    """The largest |test accuracy with weight decay - without| over the MLPs that have both, in points."""
    own = readings(rows)
    own = own[own["model"].str.startswith("mlp") & own["row"].isin(["none", "weight decay"])]

    def largest(seed: Rows) -> float | None:
        accuracies = seed.pivot_table(index="model", columns="row", values="test_accuracy").dropna()
        both = {"none", "weight decay"} <= set(accuracies.columns) and len(accuracies)
        return float((accuracies["weight decay"] - accuracies["none"]).abs().max()) if both else None

    return per_seed(own, largest)


def cell(model: str, row: str, column: str) -> Callable[[Rows], list[float]]:
    """A reading of a row of Table 1 on the paper's data, all of it."""

    def measure(rows: Rows) -> list[float]:
        own = readings(rows)
        whole = (own["data"] == "cifar10") & (own["images"] == WHOLE)
        return list(own.loc[whole & (own["model"] == model) & (own["row"] == row), column])

    return measure


def alexnet(rows: Rows) -> Rows:
    """Its readings on CIFAR-10, or on a part of it."""
    own = readings(rows)
    return own[(own["model"] == "alexnet") & (own["data"] == "cifar10")]


def alexnet_fits(rows: Rows) -> list[float]:
    """The training accuracy on random labels."""
    own = alexnet(rows)
    return list(own.loc[own["row"] == "random labels", "train_accuracy"])


def alexnet_regularised(rows: Rows) -> list[float]:
    """By how much crops and weight decay raise the test accuracy, in points."""
    own = alexnet(rows)
    if not {"none", "crop, weight decay"} <= set(own["row"]):
        return []
    accuracies = own.pivot_table(index="seed", columns="row", values="test_accuracy")
    return list((accuracies["crop, weight decay"] - accuracies["none"]).dropna())


def reason(model: str, row: str) -> str:
    """That no job trains that row, for its statement; nothing where ``training.table_1`` has one."""
    untrained = not model.startswith("mlp") and row in ("crop", "weight decay")
    return ": no job trains this row, for the time it takes" if untrained else ""


def parameters(model: str) -> int:
    """The trainable scalars of the network for CIFAR-10."""
    return tree.size(tree.trainable(network(model, (28, 28, 3)).init(np.random.default_rng(0))))


CLAIMS: Sequence[Claim] = (
    Claim(
        id="rethinking-weight-decay",
        source="Table 1, section 3",
        statement="Weight decay is tuning: what it changes in an MLP's test accuracy (points, the largest)",
        measure=weight_decay_effect,
        holds=lambda points: points <= 2,
        tolerance="<= 2",
    ),
    *(
        Claim(
            id=f"rethinking-table1-{model}-{row.replace(', ', '-').replace(' ', '-')}-{split}",
            source="Table 1",
            statement=f"{split.capitalize()} accuracy of {TITLES[model]}, {row} (%){reason(model, row)}",
            measure=cell(model, row, f"{split}_accuracy"),
            holds=lambda v, printed=printed: abs(v - printed) <= 2,  # type: ignore[misc]
            tolerance=f"{printed} +- 2",
            paper=printed,
        )
        for (model, row), accuracies in PRINTED.items()
        for split, printed in zip(("train", "test"), accuracies, strict=True)
    ),
    Claim(
        id="rethinking-alexnet-random-labels",
        source="Table 1",
        statement="Alexnet fits random labels, on this scale's images (training accuracy, %)",
        measure=alexnet_fits,
        holds=lambda accuracy: accuracy >= 99,
        tolerance=">= 99",
    ),
    Claim(
        id="rethinking-alexnet-regularisers",
        source="Table 1",
        statement="Crops and weight decay raise Alexnet's test accuracy, on this scale's images (points)",
        measure=alexnet_regularised,
        holds=lambda points: points > 0,
        tolerance="> 0 (81.22 - 76.07 = 5.15 in the paper, on all images)",
    ),
    *(
        Claim(
            id=f"rethinking-parameters-{model}",
            source="Table 1",
            statement=f"Parameters of {TITLES[model]}",
            measure=lambda rows, model=model: [parameters(model)],  # type: ignore[misc]
            holds=lambda v, printed=printed: v == printed,  # type: ignore[misc]
            tolerance="equal",
            paper=printed,
        )
        for model, printed in PARAMETERS.items()
    ),
    *(
        Claim(
            id=f"rethinking-imagenet-{name}",
            source=source,
            statement=f"{statement}: ImageNet is not among our data",
            measure=unmeasured,
            holds=lambda v, printed=printed: abs(v - printed) <= 2,  # type: ignore[misc]
            tolerance=f"{printed} +- 2",
            paper=printed,
        )
        for name, source, statement, printed in IMAGENET
    ),
)

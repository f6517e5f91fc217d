"""The paper's claims as functions of recorded rows: a point of a figure each, or an evaluation in training.

A point whose samples left float32 has a row without metrics: what is said of all of them is then NaN.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from papers.diffusion.imagenet import PRINTED
from shared.claims import Claim, per_seed, rank_correlation

Rows = pd.DataFrame
RULERS = ("frechet", "other_frechet")  # the distance on the features of two networks of one kind
SAMPLED = ("sampler", "sampling_steps", "scale", "with_sigma", "swept", "truncation", "moment")
MEASURED = (*RULERS, "inception_score", "precision", "recall", "accuracy")
TRAINED = ("kind", "model", "seed", "part", "step", "test_loss", "test_bits", "multiply_adds")


def complete(rows: Rows) -> Rows:
    """The rows with all columns that the claims ask for: those of trainings that diverged may lack some."""
    return rows.reindex(columns=rows.columns.union([*TRAINED, *SAMPLED, *MEASURED], sort=False))


def samples(rows: Rows) -> Rows:
    """The points that the diffusion models give."""
    return rows[rows["kind"] == "sample"]


def sweep(rows: Rows, model: str = "conditional") -> Rows:
    """Figure 4's points of a model, by scale."""
    return rows[(rows["swept"] == True) & (rows["model"] == model)].sort_values("scale")  # noqa: E712


def truncated(rows: Rows) -> Rows:
    """The points that the GAN gives."""
    return rows[rows["kind"] == "truncation"].sort_values("truncation")


def history(rows: Rows) -> Rows:
    """The points that the GAN gave in the course of its training."""
    return rows[rows["kind"] == "history"].sort_values("moment")


def with_sampler(rows: Rows, sampler: str) -> Rows:
    """The conditional model's points with a sampler, at the most steps that it took under guidance, by scale."""
    own = samples(rows)
    own = own[(own["model"] == "conditional") & (own["sampler"] == sampler) & (own["with_sigma"] == True)]  # noqa: E712
    return own[own["sampling_steps"] == own.loc[own["scale"] > 0, "sampling_steps"].max()].sort_values("scale")


def by_seed(select: Callable[[Rows], Rows], value: Callable[[Rows], float | None]) -> Callable[[Rows], list[float]]:
    """The value of each sampling seed's part of the selected rows."""
    return lambda rows: per_seed(select(rows), value)


def correlation_with_scale(column: str) -> Callable[[Rows], float | None]:
    """Spearman's, of a column with the scale."""
    return lambda own: rank_correlation(list(own["scale"]), list(own[column])) if len(own) >= 3 else None


def at(own: Rows, scale: float, column: str) -> float | None:
    """The column at a scale, None where that was not sampled."""
    found = own.loc[own["scale"] == scale, column]
    return float(found.iloc[0]) if len(found) else None


def interior_minimum(own: Rows) -> float | None:
    """The lower Frechet distance of the two ends of the sweep over the lowest between them."""
    distance = own["frechet"].to_numpy()
    return float(np.min([distance[0], distance[-1]]) / distance[1:-1].min()) if len(distance) > 2 else None


def compared(
    column: str, first: tuple[str, float], second: tuple[str, float], how: Callable[[float, float], float]
) -> Callable[[Rows], list[float]]:
    """how(column at the first (model, scale), at the second) of each seed that has both."""

    def value(own: Rows) -> float | None:
        one, other = (at(own[own["model"] == model], scale, column) for model, scale in (first, second))
        return None if one is None or other is None else how(one, other)

    return by_seed(both, value)


def both(rows: Rows) -> Rows:
    return pd.concat([sweep(rows, "conditional"), sweep(rows, "unconditional")])


def difference(a: float, b: float) -> float:
    return a - b


def ratio(a: float, b: float) -> float:
    return a / b


def guided_unconditional(own: Rows) -> float | None:
    """The lowest Frechet distance of the guided unconditional model over that of the conditional one without."""
    guided = own[(own["model"] == "unconditional") & (own["scale"] > 0)]["frechet"]
    unguided = at(own[own["model"] == "conditional"], 0.0, "frechet")
    return None if guided.empty or unguided is None else float(guided.min(skipna=False) / unguided)


def ablated(rows: Rows) -> Rows:
    """Ancestral samples with the fewest steps, guided, with and without Sigma in the shift."""
    own = samples(rows)
    own = own[(own["sampler"] == "ancestral") & (own["model"] == "conditional")]
    few = own[own["sampling_steps"] == own["sampling_steps"].min()]
    without = few[few["with_sigma"] == False]  # noqa: E712
    return few[few["scale"].isin(without["scale"])]


def without_sigma(own: Rows) -> float | None:
    """The Frechet distance without Sigma over that with it, the smaller of the scales."""
    table = own.pivot(index="scale", columns="with_sigma", values="frechet")
    return float((table[False] / table[True]).min(skipna=False)) if {True, False} <= set(table) else None


def unguided(rows: Rows) -> Rows:
    """The conditional model without guidance: both samplers, few and many steps."""
    own = samples(rows)
    return own[(own["model"] == "conditional") & (own["scale"] == 0)]


def gaps(own: Rows) -> tuple[float, float] | None:
    """Frechet distance of ancestral over that of DDIM samples, at the fewest and at the most steps."""
    table = own.pivot_table(index="sampling_steps", columns="sampler", values="frechet").dropna()
    if len(table) < 2 or not {"ancestral", "ddim"} <= set(table):
        return None
    found = np.asarray(table["ancestral"] / table["ddim"])
    return float(found[0]), float(found[-1])


def few_steps(own: Rows) -> float | None:
    found = gaps(own)
    return found and found[0]


def gap_shrinks(own: Rows) -> float | None:
    """How much farther from 1, in logarithms, the ratio of the two samplers' distances is at few steps than at many."""
    found = gaps(own)
    return found and float(abs(np.log(found[0])) - abs(np.log(found[1])))


def against_addition(rows: Rows) -> list[float]:
    """Test loss with AdaGN over that with additive embedding, after equally many steps of training, the last shared."""
    curves = rows[(rows["kind"] == "model") & (rows["part"] == "curve")]
    table = curves.pivot_table(index=["seed", "step"], columns="model", values="test_loss")
    table = table.reindex(columns=["conditional", "additive"]).dropna().groupby("seed").tail(1)
    return list(table["conditional"] / table["additive"])


def lowest(points: Rows, ruler: str) -> Rows:
    """The point of the lowest Frechet distance of each seed."""
    return points.loc[points.groupby("seed")[ruler].idxmin()].set_index("seed")


def best_of_gan(rows: Rows, ruler: str) -> Rows:
    """That of the GAN's points: of all its truncations, and of all moments of its training."""
    return lowest(pd.concat([truncated(rows), history(rows)]), ruler)


def frechet_against_gan(sampler: str) -> Callable[[Rows], list[float]]:
    """The GAN's lowest Frechet distance over the conditional model's with a sampler, of each ruler and seed."""

    def measure(rows: Rows) -> list[float]:
        own = with_sampler(rows, sampler)
        ratios = [best_of_gan(rows, ruler)[ruler] / lowest(own, ruler)[ruler] for ruler in RULERS]
        return list(pd.concat(ratios).dropna())

    return measure


def recall_against_gan(sampler: str) -> Callable[[Rows], list[float]]:
    """The conditional model's recall minus the GAN's, each where its Frechet distance is lowest, of each seed."""

    def measure(rows: Rows) -> list[float]:
        ours, gan = lowest(with_sampler(rows, sampler), "frechet"), best_of_gan(rows, "frechet")
        return list((ours["recall"] - gan["recall"]).dropna())

    return measure


def last_over_best(own: Rows) -> float:
    """The GAN's Frechet distance at the end of its training over the lowest in its course."""
    return float(own["frechet"].iloc[-1] / own["frechet"].min(skipna=False))


def budgets(rows: Rows) -> list[float]:
    """Multiply-adds that trained the GAN over those that trained the conditional model and the classifier."""
    costs = rows[rows["part"] == "cost"]
    gan, guide = (costs.loc[costs["kind"] == kind, "multiply_adds"] for kind in ("gan", "classifier"))
    model = costs.loc[costs["model"] == "conditional", "multiply_adds"]
    complete = len(gan) and len(guide) and len(model)
    return [float(gan.iloc[0] / (model.iloc[0] + guide.iloc[0]))] if complete else []


CLAIMS = [
    Claim(
        "diffusion-fig4-interior",
        "Figure 4",
        "The conditional model's Frechet distance is lowest at an interior scale (lower end over lowest interior)",
        by_seed(sweep, interior_minimum),
        lambda v: v > 1,
        "> 1",
    ),
    Claim(
        "diffusion-fig4-precision",
        "Figure 4",
        "Precision rises with the gradient scale (rank correlation, conditional)",
        by_seed(sweep, correlation_with_scale("precision")),
        lambda v: v >= 0.9,
        ">= 0.9; same direction above 0",
        same_direction=lambda v: v > 0,
    ),
    Claim(
        "diffusion-fig4-recall",
        "Figure 4",
        "Recall falls with the gradient scale (rank correlation, conditional)",
        by_seed(sweep, correlation_with_scale("recall")),
        lambda v: v <= -0.9,
        "<= -0.9; same direction below 0",
        same_direction=lambda v: v < 0,
    ),
    Claim(
        "diffusion-fig4-inception-score",
        "Figure 4",
        "The inception score's analogue rises with the gradient scale (rank correlation, conditional)",
        by_seed(sweep, correlation_with_scale("inception_score")),
        lambda v: v >= 0.9,
        ">= 0.9; same direction above 0",
        same_direction=lambda v: v > 0,
    ),
    Claim(
        "diffusion-accuracy",
        "Section 4.3, our measure",
        "An independent classifier finds the wanted class more often at s = 10 than at 0 (share, conditional)",
        compared("accuracy", ("conditional", 10.0), ("conditional", 0.0), difference),
        lambda v: v > 0,
        "> 0",
    ),
    Claim(
        "diffusion-table4-conditional",
        "Table 4, 10.94 to 4.59",
        "Guidance at s = 1 lowers the conditional model's Frechet distance (ratio to none)",
        compared("frechet", ("conditional", 1.0), ("conditional", 0.0), ratio),
        lambda v: v < 1,
        "< 1",
    ),
    Claim(
        "diffusion-figure3-not-enough",
        "Figure 3, section 4.3",
        "s = 1 is not enough for the unconditional model: its class accuracy minus the conditional's without guidance",
        compared("accuracy", ("unconditional", 1.0), ("conditional", 0.0), difference),
        lambda v: v < 0,
        "< 0",
    ),
    Claim(
        "diffusion-figure3-enough",
        "Figure 3, section 4.3",
        "s = 10 is: its class accuracy minus the conditional model's without guidance",
        compared("accuracy", ("unconditional", 10.0), ("conditional", 0.0), difference),
        lambda v: v >= 0,
        ">= 0",
    ),
    Claim(
        "diffusion-table4-unconditional",
        "Table 4, 26.21 to 12.00",
        "s = 10 lowers the unconditional model's Frechet distance (ratio to none)",
        compared("frechet", ("unconditional", 10.0), ("unconditional", 0.0), ratio),
        lambda v: v < 1,
        "< 1",
    ),
    Claim(
        "diffusion-table4-training-on-labels",
        "Table 4, 12.00 against 10.94",
        "Conditional without guidance beats unconditional with the best (Frechet distance, guided over conditional)",
        by_seed(both, guided_unconditional),
        lambda v: v > 1,
        "> 1",
    ),
    Claim(
        "diffusion-sigma",
        "Algorithm 1",
        "Leaving Sigma out of the mean's shift breaks guidance (Frechet distance without over with, smallest ratio)",
        by_seed(ablated, without_sigma),
        lambda v: v >= 2,
        ">= 2; same direction above 1",
        same_direction=lambda v: v > 1,
    ),
    Claim(
        "diffusion-ddim-few",
        "Section 2.1, DDIM Table 1",
        "With few steps DDIM beats ancestral sampling (Frechet distance, ancestral over DDIM, no guidance)",
        by_seed(unguided, few_steps),
        lambda v: v > 1,
        "> 1",
    ),
    Claim(
        "diffusion-ddim-gap",
        "DDIM Table 1",
        "The samplers are nearer to each other with many steps (fall of |log ratio| of their Frechet distances)",
        by_seed(unguided, gap_shrinks),
        lambda v: v > 0,
        "> 0",
    ),
    Claim(
        "diffusion-table3",
        "Table 3",
        "AdaGN is no worse than adding the embedding (test loss of the noise, ratio after equal training)",
        against_addition,
        lambda v: v <= 1.01,
        "<= 1.01",
    ),
    Claim(
        "diffusion-gan-frechet",
        "Title, Table 5",
        "With ancestral sampling the diffusion model's best Frechet distance is below the GAN's best (GAN over "
        "diffusion, features of two networks)",
        frechet_against_gan("ancestral"),
        lambda v: v > 1,
        "> 1",
    ),
    Claim(
        "diffusion-gan-recall",
        "Figure 5, Table 5",
        "... with a higher recall (difference at those two points, first network)",
        recall_against_gan("ancestral"),
        lambda v: v > 0,
        "> 0",
    ),
    Claim(
        "diffusion-gan-frechet-ddim",
        "Table 5, 25 steps",
        "With DDIM's few steps the diffusion model's best Frechet distance is below the GAN's best (GAN over "
        "diffusion, features of two networks)",
        frechet_against_gan("ddim"),
        lambda v: v > 1,
        "> 1",
    ),
    Claim(
        "diffusion-gan-recall-ddim",
        "Table 5, 25 steps",
        "... with a higher recall (difference at those two points, first network)",
        recall_against_gan("ddim"),
        lambda v: v > 0,
        "> 0",
    ),
    Claim(
        "diffusion-gan-budget",
        "Our condition",
        "The GAN was trained with no smaller budget (multiply-adds, over conditional diffusion model and classifier)",
        budgets,
        lambda v: v >= 1,
        ">= 1",
    ),
    Claim(
        "diffusion-gan-history",
        "Our condition",
        "The GAN has not broken down: its Frechet distance at the end of training over the lowest in its course",
        by_seed(history, last_over_best),
        lambda v: v <= 1.25,
        "<= 1.25",
    ),
    *PRINTED,
]

"""The paper's claims about Figure 2 and its text, as functions of recorded rows. The paper prints no numbers here."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pandas as pd

from shared.claims import Claim, per_seed

MARKS = (0.1, 0.3, 1.0)  # of the budget: 10^6, 3 x 10^6 and 10^7 samples at full scale
ORDER = (3, 5, 10, 20)

Rows = pd.DataFrame


def on_grey(rows: Rows, *stages: str) -> Rows:
    """The rows of these stages on the headline's data."""
    data = rows["data"].iloc[0].removesuffix("-binarised")
    return rows[rows["stage"].isin(stages) & (rows["data"] == data)]


def curves(rows: Rows) -> Rows:
    """The rows of Figure 2's curves: trainings on the headline's data."""
    return on_grey(rows, "train")


def compared_sizes(rows: Rows) -> list[int]:
    """Figure 2's latent sizes, also those that a training lost to divergence.

    A size of the pictures alone has only AEVB, and only the first seed.
    """
    tried = on_grey(rows, "pilot", "train")
    several = tried.groupby("latent")["seed"].transform("nunique") > 1
    return sorted(tried.loc[several | (tried["method"] == "wake-sleep"), "latent"].unique())


def compared(rows: Rows) -> Rows:
    """The rows of Figure 2's curves of the compared sizes."""
    own = curves(rows)
    return own[own["latent"].isin(compared_sizes(rows))]


def final(rows: Rows, split: str = "test", method: str = "aevb") -> "pd.Series[float]":
    """The bound at the last sample, by latent size."""
    last = rows[(rows["method"] == method) & (rows["samples"] == rows["steps"] * rows["batch_size"])]
    return last.set_index("latent")[split]


def margin_over_wake_sleep(rows: Rows) -> list[float]:
    """The smallest L_test(AEVB) - L_test(wake-sleep) over every N_z and every mark, in nats."""
    sizes = compared_sizes(rows)

    def smallest(seed: Rows) -> float | None:
        steps, batch_size = seed["steps"].iloc[0], seed["batch_size"].iloc[0]
        wanted = pd.MultiIndex.from_product([sizes, [round(mark * steps) * batch_size for mark in MARKS]])
        table = seed.pivot_table(index=["latent", "samples"], columns="method", values="test")
        table = table.reindex(index=wanted, columns=["aevb", "wake-sleep"])  # NaN where a training diverged
        gaps = table["aevb"] - table["wake-sleep"]
        return None if gaps.isna().any() else float(gaps.min())

    return per_seed(compared(rows), smallest)


def share_of_samples(rows: Rows) -> list[float]:
    """The largest share, over N_z, of wake-sleep's samples with which AEVB reaches wake-sleep's final test bound."""
    sizes = set(compared_sizes(rows))

    def largest(seed: Rows) -> float | None:
        targets = final(seed, method="wake-sleep")
        if not sizes <= set(targets.index) & set(final(seed).index):
            return None
        shares = []
        for latent, target in targets.items():
            aevb = seed[(seed["method"] == "aevb") & (seed["latent"] == latent)]
            reached = aevb[aevb["test"] >= target]["samples"]
            shares.append(reached.min() / aevb["samples"].max() if len(reached) else float("inf"))
        return max(shares)

    return per_seed(compared(rows), largest)


def step_up(lower: int, higher: int) -> Callable[[Rows], list[float]]:
    """L_test(N_z = higher) - L_test(N_z = lower) at the end, in nats."""

    def measure(rows: Rows) -> list[float]:
        def difference(seed: Rows) -> float | None:
            bounds = final(seed)
            return bounds[higher] - bounds[lower] if {lower, higher} <= set(bounds.index) else None

        return per_seed(compared(rows), difference)

    return measure


def gap_growth(lower: int, higher: int) -> Callable[[Rows], list[float]]:
    """How much larger the final train - test gap is at N_z = higher than at N_z = lower, in nats."""

    def measure(rows: Rows) -> list[float]:
        def growth(seed: Rows) -> float | None:
            gap = final(seed, "train") - final(seed)
            return gap[higher] - gap[lower] if {lower, higher} <= set(gap.index) else None

        return per_seed(compared(rows), growth)

    return measure


def analysed(measure: Callable[[Rows], float], *latent: int) -> Callable[[Rows], list[float]]:
    """A measurement on the rows of the analyses of one seed's networks (those of the given latent sizes)."""

    def per_seed_of(rows: Rows) -> list[float]:
        own = on_grey(rows, "analysis")
        if latent:
            own = own[own["latent"].isin(latent)]
        return per_seed(own, measure)

    return per_seed_of


def binarised_difference(rows: Rows) -> list[float]:
    """The final test bound on binarised pixels minus that on grey ones, same N_z and seed, in nats."""
    trainings = rows[rows["stage"] == "train"]
    binarised = trainings[trainings["data"].str.endswith("-binarised")]
    grey = curves(rows)
    grey = grey[grey["latent"].isin(binarised["latent"]) & grey["seed"].isin(binarised["seed"])]
    return [] if binarised.empty or grey.empty else list(final(binarised) - final(grey))


CLAIMS: Sequence[Claim] = (
    Claim(
        id="vae-fig2-better-bound",
        source="Figure 2",
        statement="AEVB's test bound is above wake-sleep's for every N_z at 10, 30 and 100 % of the samples (nats)",
        measure=margin_over_wake_sleep,
        holds=lambda nats: nats > 0,
        tolerance="smallest margin over N_z and marks > 0",
    ),
    Claim(
        id="vae-fig2-faster",
        source="Figure 2, section 5",
        statement="AEVB reaches wake-sleep's final test bound with half of its samples (largest share)",
        measure=share_of_samples,
        holds=lambda share: share <= 0.5,
        tolerance="share <= 0.5; same direction below 1",
        same_direction=lambda share: share < 1,
    ),
    *(
        Claim(
            id=f"vae-fig2-nz{low}-nz{high}",
            source="Our expectation for Figure 2",
            statement=(
                f"The final test bound rises from N_z = {low} to {high} (nats)"
                if high < 20
                else f"The final test bound does not fall from N_z = {low} to {high} by more than a nat (nats)"
            ),
            measure=step_up(low, high),
            holds=(lambda nats: nats > 0) if high < 20 else (lambda nats: nats >= -1),
            tolerance="> 0" if high < 20 else ">= -1 (equal within a nat counts)",
        )
        for low, high in pairwise(ORDER)
    ),
    Claim(
        id="vae-fig2-no-overfit-bound",
        source="Figure 2, section 5",
        statement="Superfluous latents cost at most 3 nats: final test bound at N_z = 200 minus that at N_z = 20",
        measure=step_up(20, 200),
        holds=lambda nats: nats >= -3,
        tolerance=">= -3",
    ),
    Claim(
        id="vae-fig2-no-overfit-gap",
        source="Figure 2, section 5",
        statement="Superfluous latents do not overfit: growth of the train-test gap from N_z = 20 to 200 (nats)",
        measure=gap_growth(20, 200),
        holds=lambda nats: nats <= 2,
        tolerance="<= 2",
    ),
    Claim(
        id="vae-appB-kl",
        source="Appendix B",
        statement="The analytic KL equals its Monte Carlo estimate (largest difference over N_z, in standard errors)",
        measure=analysed(lambda seed: float(seed["kl_standard_errors"].abs().max())),
        holds=lambda errors: errors < 3,
        tolerance="< 3",
    ),
    Claim(
        id="vae-sec2-gradient-variance",
        source="Sections 2.2 and 2.4",
        statement="Variance of the score-function gradient over the reparameterised one's (smallest ratio over N_z)",
        measure=analysed(lambda seed: float((seed["score_variance"] / seed["reparameterised_variance"]).min())),
        holds=lambda ratio: ratio >= 10,
        tolerance=">= 10; same direction above 1",
        same_direction=lambda ratio: ratio > 1,
    ),
    Claim(
        id="vae-eq1-importance",
        source="Equations 1 and 3",
        statement="Importance-sampled log p(x) is above the bound on the same points (smallest difference, nats)",
        measure=analysed(lambda seed: float((seed["log_px"] - seed["bound"]).min())),
        holds=lambda nats: nats > 0,
        tolerance="> 0",
    ),
    Claim(
        id="vae-grey-or-binarised",
        source="Figure 2, our extra",
        statement="Final test bound on binarised minus grey pixels, one N_z, first seed: at least 2 nats apart",
        measure=binarised_difference,
        holds=lambda nats: abs(nats) >= 2,
        tolerance="absolute difference >= 2 nats",
    ),
    Claim(
        id="vae-fig2-active-units",
        source="Section 5, our extra",
        statement="Why N_z = 200 does not overfit: latent units with more than 0.01 nats of KL at N_z = 200",
        measure=analysed(lambda seed: float(seed["active"].iloc[0]), 200),
        holds=lambda units: units < 100,
        tolerance="fewer than half of 200",
    ),
)

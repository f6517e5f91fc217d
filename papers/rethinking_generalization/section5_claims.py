"""The claims of section 5, of theorem 1 and about bounds, as functions of recorded rows."""

from collections.abc import Callable, Sequence

import pandas as pd

from papers.rethinking_generalization.section5 import TEST_IMAGES, TRAINING_IMAGES
from shared.claims import Claim, per_seed, rank_correlation, unmeasured

Rows = pd.DataFrame
NORM_BOUNDS = ("frobenius", "spectral", "spectral_from_start")
BOUNDS = ("parameter_bound", *NORM_BOUNDS)  # from the network itself, without a training on random labels


def own(rows: Rows, name: str, **chosen: object) -> Rows:
    """The rows of a study whose columns are as chosen."""
    found = rows[(rows["stage"] == "section5") & (rows["study"] == name)] if "study" in rows else rows.iloc[:0]
    if found.empty:  # then columns of that study may be missing
        return found
    for column, value in chosen.items():
        found = found[found[column] == value]
    return found


def kernel(rows: Rows, ridge: float | None = 0.0, pixels: bool = True) -> Rows:
    """The interpolations of the data that quick and full have in common: not CIFAR-10's."""
    found = own(rows, "interpolation")
    found = found[found["data"] != "cifar10"] if len(found) else found
    if ridge is not None and len(found):
        found = found[found["ridge"] == ridge]
    return found if found.empty else found[(found["filters"] == 0) == pixels]


def with_whole(rows: Rows, value: Callable[[Rows], float | None]) -> list[float]:
    """The value of each seed's rows on pixels, beside those of the whole training set, which all seeds share.

    Where these alone give the value, and the seed's own do not, it is one measurement for all such seeds.
    """
    if rows.empty:
        return []
    whole = rows["n"] == rows["data"].map(TRAINING_IMAGES)
    of_whole = value(rows[whole]) if whole.any() else None
    values, shared = [], bool(whole.all())
    for seed, own_rows in rows[~whole].groupby("seed"):
        found = value(rows[(rows["seed"] == seed) | whole])
        if found == of_whole != value(own_rows):
            shared = True
        else:
            values.append(found)
    return [v for v in [*values, *([of_whole] if shared else [])] if v is not None]


def along_n(column: str, pixels: bool = True) -> Callable[[Rows], list[float]]:
    """Spearman's correlation of a column of the interpolants with n, of seeds with at least four n.

    Pixels of the whole training set are run once; filters are drawn for each seed.
    """

    def value(found: Rows) -> float | None:
        return rank_correlation(list(found["n"]), list(found[column])) if found["n"].nunique() >= 4 else None

    over_seeds = with_whole if pixels else per_seed
    return lambda rows: over_seeds(kernel(rows, pixels=pixels), value)


def ridge_gain(rows: Rows) -> list[float]:
    """By how much the best ridge lowers the test error, over all n, beyond one test image: points."""

    def value(found: Rows) -> float:
        errors = found.pivot_table(index="n", columns="ridge", values="test_error")
        gain = float((errors[0.0] - errors.drop(columns=0.0).min(axis=1)).max())
        return round(gain - 100 / TEST_IMAGES[found["data"].iloc[0]], 6)  # equal but for rounding counts as equal

    return with_whole(kernel(rows, ridge=None), value)


def filters_against_pixels(rows: Rows) -> Rows:
    """The interpolants on pixels and on filters' answers at one n, side by side, where their errors differ."""
    pixels, answers = (kernel(rows, pixels=side) for side in (True, False))
    if pixels.empty or answers.empty:
        return pixels.iloc[:0]
    whole = pixels["n"] == pixels["data"].map(TRAINING_IMAGES)  # one seed has run what is the same for all
    shared = pixels[whole].drop(columns="seed").merge(answers["seed"].drop_duplicates(), how="cross")
    table = pd.concat([pixels[~whole], shared]).merge(answers, on=["data", "n", "seed"], suffixes=("", "_filters"))
    return table[table["test_error"] != table["test_error_filters"]]


def lower_error_larger_norm(rows: Rows) -> list[float]:
    """The norm of the one with the lower test error over the other's, at the largest n where errors differ."""
    found = filters_against_pixels(rows)

    def value(seed: Rows) -> float | None:
        last = seed.sort_values("n").iloc[-1]
        ratio = last["norm_filters"] / last["norm"]
        return float(ratio if last["test_error_filters"] < last["test_error"] else 1 / ratio)

    return per_seed(found, value)


def least_norm_excess(rows: Rows) -> list[float]:
    """The test error of the width with the least norm, less the least of the sweep, in points."""

    def value(found: Rows) -> float:
        least = found.sort_values("norm").iloc[0]
        return float(least["test_error"] - found["test_error"].min())

    return per_seed(own(rows, "bandwidth"), value)


def reading_excess(rows: Rows) -> list[float]:
    """The test error with bw as gamma of pixels in [0, 1], less the least of the sweep, in points."""

    def value(found: Rows) -> float:
        chosen = found[found["reading"] == "exp(-bw d²)"]["test_error"].iloc[0]
        return float(chosen - found["test_error"].min())

    return per_seed(own(rows, "bandwidth"), value)


def other_readings(rows: Rows) -> list[float]:
    """The least test error with bw as sigma, or as gamma of pixels to 255, in percent."""
    found = own(rows, "bandwidth")
    if found.empty:
        return []
    others = found[found["reading"].isin(["exp(-d²/2bw²)", "exp(-bw d²), pixels to 255"])]
    return list(others.groupby("seed")["test_error"].min())


def column(study: str, name: str, how: str, **chosen: object) -> Callable[[Rows], list[float]]:
    """A column of a study's rows, its largest or smallest of each seed."""

    def measure(rows: Rows) -> list[float]:
        found = own(rows, study, **chosen)
        return [] if found.empty else list(found.groupby("seed")[name].agg(how))

    return measure


def larger_norms(rows: Rows) -> list[float]:
    """The least norm of the other interpolants over that of SGD's from zero."""
    found = own(rows, "sgd", part="end")
    return [] if found.empty else list(found[["norm_from_elsewhere", "norm_sparse"]].min(axis=1) / found["norm"])


def weights_over(rows: Rows) -> list[float]:
    """The largest difference of the number of weights from 2n + d."""
    found = own(rows, "theorem1")
    if found.empty:
        return []
    return list((found["weights"] - 2 * found["n"] - found["d"]).abs().groupby(found["seed"]).max())


def networks(rows: Rows, p: float) -> Rows:
    """The bounds' rows of labels resampled with probability p."""
    return own(rows, "bounds", condition="labels", p=p)


def rademacher(rows: Rows) -> list[float]:
    """The estimates by fitting random labels."""
    found = networks(rows, 1.0)
    return [] if found.empty else list(found["rademacher"])


def least_bound(rows: Rows) -> list[float]:
    """The least of BOUNDS on the gap of true labels."""
    found = networks(rows, 0.0)
    return [] if found.empty else list(found[list(BOUNDS)].min(axis=1))


def least_bound_over_gap(rows: Rows) -> list[float]:
    """The same over the measured gap."""
    found = networks(rows, 0.0)
    return [] if found.empty else list(found[list(BOUNDS)].min(axis=1) / found["gap"])


def grows_with_corruption(name: str) -> Callable[[Rows], list[float]]:
    """A bound on random labels over the same on true ones, of each seed."""

    def measure(rows: Rows) -> list[float]:
        true, random = (networks(rows, p) for p in (0.0, 1.0))
        if true.empty or random.empty:
            return []
        return list((random.set_index("seed")[name] / true.set_index("seed")[name]).dropna())

    return measure


def at(data: str, n: int, name: str, filters: int = 0) -> Callable[[Rows], list[float]]:
    """A column of the interpolation of the paper's size."""

    def measure(rows: Rows) -> list[float]:
        found = own(rows, "interpolation", data=data, n=n, filters=filters, ridge=0.0)
        return [] if found.empty else list(found[name])

    return measure


def near(printed: float, within: float) -> dict[str, object]:
    """What a claim says of a number that the paper prints."""
    return {
        "holds": lambda v: abs(v - printed) <= within,
        "tolerance": f"{printed:g} +- {within:g}",
        "paper": printed,
    }


KERNELS: Sequence[Claim] = (
    Claim(
        id="rethinking-kernel-interpolates",
        source="Section 5",
        statement="A Gaussian kernel interpolates: largest training error without ridge over all n, pixels (%)",
        measure=lambda rows: with_whole(kernel(rows), lambda found: float(found["train_error"].max())),
        holds=lambda error: error == 0,
        tolerance="= 0",
    ),
    Claim(
        id="rethinking-kernel-interpolates-filters",
        source="Section 5",
        statement="On filters' answers too: largest training error without ridge over all n (%)",
        measure=lambda rows: per_seed(kernel(rows, pixels=False), lambda found: float(found["train_error"].max())),
        holds=lambda error: error == 0,
        tolerance="= 0",
    ),
    Claim(
        id="rethinking-kernel-residual",
        source="Section 5",
        statement="And exactly: max |K alpha - Y| over all n (the jitter of the factor is refined away)",
        measure=lambda rows: with_whole(kernel(rows), lambda found: float(found["residual"].max())),
        holds=lambda residual: residual < 1e-6,
        tolerance="< 1e-6",
    ),
    Claim(
        id="rethinking-kernel-falls",
        source="Section 5",
        statement="The interpolant's test error falls with n (Spearman's correlation)",
        measure=along_n("test_error"),
        holds=lambda correlation: correlation < -0.9,
        tolerance="< -0.9; same direction below 0",
        same_direction=lambda correlation: correlation < 0,
    ),
    Claim(
        id="rethinking-kernel-falls-filters",
        source="Section 5",
        statement="On filters' answers too (Spearman's correlation)",
        measure=along_n("test_error", pixels=False),
        holds=lambda correlation: correlation < -0.9,
        tolerance="< -0.9; same direction below 0",
        same_direction=lambda correlation: correlation < 0,
    ),
    Claim(
        id="rethinking-kernel-ridge",
        source="Section 5",
        statement="Ridge does not help: the most that any of four lowers the test error, over all n, beyond one test "
        "image (points)",
        measure=ridge_gain,
        holds=lambda points: points <= 0.1,
        tolerance="<= 0.1 (an image is 0.34 on digits, 0.01 on MNIST)",
    ),
    Claim(
        id="rethinking-norm-preprocessing",
        source="Section 5",
        statement="Of pixels and filters' answers, the one with the lower test error has the larger norm (ratio)",
        measure=lower_error_larger_norm,
        holds=lambda ratio: ratio > 1,
        tolerance="> 1 (390 / 220 = 1.77 in the paper, with wavelets)",
    ),
    Claim(
        id="rethinking-norm-n",
        source="Section 5, our extra",
        statement="The norm grows with n while the error falls (Spearman's correlation of norm and n)",
        measure=along_n("norm"),
        holds=lambda correlation: correlation > 0.9,
        tolerance="> 0.9",
    ),
    Claim(
        id="rethinking-norm-bandwidth",
        source="Section 5, our extra",
        statement="Of all widths, that of the least norm is not the best: its excess test error (points)",
        measure=least_norm_excess,
        holds=lambda points: points > 1,
        tolerance="> 1",
    ),
    Claim(
        id="rethinking-bw-gamma",
        source="README of the first author",
        statement="bw = 0.02 as exp(-bw d^2), pixels in [0, 1]: test error above the best of all widths (points)",
        measure=reading_excess,
        holds=lambda points: points <= 1,
        tolerance="<= 1",
    ),
    Claim(
        id="rethinking-bw-other",
        source="README of the first author",
        statement="bw = 0.02 as a standard deviation, or with pixels to 255: K = I, a constant guess (test error, %)",
        measure=other_readings,
        holds=lambda error: error >= 80,
        tolerance=">= 80",
    ),
    Claim(
        id="rethinking-mnist-pixels",
        source="Section 5",
        statement="MNIST test error of the Gaussian kernel, n = 60,000, no ridge (%; 1.22 in the README)",
        measure=at("mnist", 60_000, "test_error"),
        **near(1.2, 0.1),  # type: ignore[arg-type]
    ),
    Claim(
        id="rethinking-mnist-norm",
        source="Section 5",
        statement="Norm of that interpolant",
        measure=at("mnist", 60_000, "norm"),
        **near(220, 22),  # type: ignore[arg-type]
    ),
    Claim(
        id="rethinking-mnist-wavelets",
        source="Section 5",
        statement="MNIST test error on Gabor wavelets (%): which wavelets is not said",
        measure=unmeasured,
        **near(0.6, 0.1),  # type: ignore[arg-type]
    ),
    Claim(
        id="rethinking-mnist-wavelets-norm",
        source="Section 5",
        statement="Norm of that interpolant: the same",
        measure=unmeasured,
        **near(390, 39),  # type: ignore[arg-type]
    ),
)

SGD: Sequence[Claim] = (
    Claim(
        id="rethinking-sgd-minimum-norm",
        source="Section 5, equation 3",
        statement="SGD from zero ends at the pseudoinverse's solution (relative error)",
        measure=column("sgd", "relative_error", "max", part="end"),
        holds=lambda error: error < 1e-6,
        tolerance="< 1e-6",
    ),
    Claim(
        id="rethinking-sgd-other-norms",
        source="Section 5",
        statement="Interpolants from another start, or with few coordinates, have larger norms (least ratio)",
        measure=larger_norms,
        holds=lambda ratio: ratio > 1,
        tolerance="> 1",
    ),
)

THEOREM_1: Sequence[Claim] = (
    Claim(
        id="rethinking-theorem1-fits",
        source="Theorem 1",
        statement="2n + d weights fit n arbitrary labels: largest error over all n",
        measure=column("theorem1", "fit_error", "max"),
        holds=lambda error: error < 1e-6,
        tolerance="< 1e-6",
    ),
    Claim(
        id="rethinking-theorem1-weights",
        source="Theorem 1",
        statement="And they are 2n + d weights (largest difference)",
        measure=weights_over,
        holds=lambda difference: difference == 0,
        tolerance="= 0",
    ),
    Claim(
        id="rethinking-theorem1-guesses",
        source="Theorem 1, our extra",
        statement="Fitting is not learning: its least test error on the parity of digits (%)",
        measure=column("theorem1", "test_error", "min", part="images"),
        holds=lambda error: error >= 40,
        tolerance=">= 40 (guessing: 50)",
    ),
)

BOUNDS_AND_GAP: Sequence[Claim] = (
    Claim(
        id="rethinking-rademacher",
        source="Section 2.2",
        statement="The Rademacher complexity on the training set is about 1 (estimate by fitting random labels)",
        measure=rademacher,
        holds=lambda estimate: estimate >= 0.95,
        tolerance=">= 0.95",
    ),
    Claim(
        id="rethinking-bounds-vacuous",
        source="Section 2.2",
        statement="Every bound that the network itself gives is vacuous for true labels: the least of four on the gap "
        "(a share; 1 says nothing)",
        measure=least_bound,
        holds=lambda bound: bound >= 1,
        tolerance=">= 1",
    ),
    Claim(
        id="rethinking-bounds-over-gap",
        source="Section 2.2, our extra",
        statement="The least of these four over the measured gap, true labels",
        measure=least_bound_over_gap,
        holds=lambda ratio: ratio >= 10,
        tolerance=">= 10",
    ),
    *(
        Claim(
            id=f"rethinking-bounds-order-{name.replace('_', '-')}",
            source="Bartlett et al. 2017" if name.startswith("spectral") else "Neyshabur et al. 2015",
            statement=f"The {name.replace('_', ' ')} bound is larger after random labels than after true ones (ratio)",
            measure=grows_with_corruption(name),
            holds=lambda ratio: ratio > 1,
            tolerance="> 1",
        )
        for name in NORM_BOUNDS
    ),
)

CIFAR: Sequence[Claim] = (
    Claim(
        id="rethinking-cifar-interpolates",
        source="Section 5",
        statement="Both interpolate CIFAR-10: largest training error without ridge, pixels and filters, over all n (%)",
        measure=column("interpolation", "train_error", "max", data="cifar10", ridge=0.0),
        holds=lambda error: error == 0,
        tolerance="= 0",
    ),
    Claim(
        id="rethinking-cifar-pixels",
        source="Section 5",
        statement="CIFAR-10 test error of a Gaussian kernel on pixels, n = 50,000 (%)",
        measure=at("cifar10", 50_000, "test_error"),
        **near(46, 2),  # type: ignore[arg-type]
    ),
    Claim(
        id="rethinking-cifar-filters",
        source="Section 5",
        statement="CIFAR-10 test error with 32,000 random convolution filters, n = 50,000 (%)",
        measure=at("cifar10", 50_000, "test_error", filters=32_000),
        **near(17, 2),  # type: ignore[arg-type]
    ),
    Claim(
        id="rethinking-cifar-filters-ridge",
        source="Section 5",
        statement="The same with a ridge (%): how large is not said",
        measure=unmeasured,
        **near(15, 2),  # type: ignore[arg-type]
    ),
)

CLAIMS: Sequence[Claim] = (*KERNELS, *SGD, *THEOREM_1, *BOUNDS_AND_GAP, *CIFAR)

"""The claims and figures, on rows that are made up."""

import numpy as np
import pandas as pd
import pytest

from papers.diffusion import claims, figure, imagenet
from papers.diffusion.images import CLASSES, WIDTH, data, grey
from shared.claims import judge


def made_up_rows() -> pd.DataFrame:
    """Two seeds of a sweep in which everything comes out as in the paper."""
    rows = []
    for seed in (0, 1):
        sample = {"kind": "sample", "part": "metrics", "seed": seed, "samples": 9, "with_sigma": True}
        for model, base in (("conditional", 10.0), ("unconditional", 26.0)):
            for i, scale in enumerate((0.0, 0.5, 1.0, 2.0, 5.0, 10.0)):
                distance = (
                    base * {"conditional": (1, 0.7, 0.4, 0.5, 0.6, 0.9)}.get(model, (1, 1.2, 1.3, 0.9, 0.7, 0.5))[i]
                )
                values = {
                    "frechet": distance + seed,
                    "other_frechet": 2 * distance,
                    "swept": True,
                    "precision": 0.5 + 0.05 * i,
                    "recall": 0.6 - 0.05 * i,
                }
                values |= {"inception_score": 5 + i, "accuracy": (0.9 if model == "conditional" else 0.5) + 0.05 * i}
                rows.append(sample | values | {"model": model, "sampler": "ddim", "sampling_steps": 5, "scale": scale})
        plain = sample | {"model": "conditional", "scale": 0.0, "frechet": 20.0, "other_frechet": 10.0, "recall": 0.3}
        rows += [plain | {"sampler": "ancestral", "sampling_steps": 5}]
        rows += [plain | {"sampler": name, "sampling_steps": 50, "frechet": 9.0} for name in ("ancestral", "ddim")]
        for scale in (1.0, 10.0):
            for with_sigma in (True, False):
                own = {"sampler": "ancestral", "sampling_steps": 5, "scale": scale, "with_sigma": with_sigma}
                rows.append(plain | own | {"frechet": 5.0 if with_sigma else 15.0 + scale})
        for psi in (0.5, 1.0):
            gan = {"kind": "truncation", "part": "metrics", "seed": seed, "truncation": psi}
            values = {"frechet": 8.0 / psi, "other_frechet": 6.0, "recall": 0.1}
            rows.append(gan | values | {"precision": 0.9, "inception_score": 3.0})
        moment = {"kind": "history", "seed": seed, "other_frechet": 7.0, "recall": 0.2}
        rows += [moment | {"moment": n, "frechet": 9.0 - n + n // 3} for n in (1, 2, 3)]
    for model, losses in (("conditional", (0.5, 0.3, 0.2)), ("additive", (0.6, 0.4))):
        job = {"kind": "model", "model": model, "seed": 0}
        rows += [
            job | {"part": "curve", "step": i, "test_loss": loss, "test_bits": loss} for i, loss in enumerate(losses)
        ]
    rows.append({"kind": "model", "model": "conditional", "seed": 0, "part": "cost", "multiply_adds": 10})
    rows += [
        {"kind": name, "seed": 0, "part": "cost", "multiply_adds": n} for name, n in (("gan", 11), ("classifier", 1))
    ]
    floor = {"frechet": 1.0, "precision": 0.9, "recall": 0.9, "inception_score": 9.0, "accuracy": 0.9}
    return claims.complete(pd.DataFrame([*rows, {"kind": "floor", "seed": 0, "part": "metrics"} | floor]))


def test_claims_measure_what_they_say() -> None:
    values = {claim.id: claim.measure(made_up_rows()) for claim in claims.CLAIMS}
    assert values["diffusion-fig4-interior"] == pytest.approx([9 / 4, 10 / 5])
    assert values["diffusion-fig4-precision"] == pytest.approx([1, 1])
    assert values["diffusion-fig4-recall"] == pytest.approx([-1, -1])
    assert values["diffusion-fig4-inception-score"] == pytest.approx([1, 1])
    assert values["diffusion-accuracy"] == pytest.approx([0.25, 0.25])
    assert values["diffusion-table4-conditional"] == pytest.approx([4 / 10, 5 / 11])
    assert values["diffusion-figure3-not-enough"] == pytest.approx([0.6 - 0.9] * 2)
    assert values["diffusion-figure3-enough"] == pytest.approx([0.75 - 0.9] * 2)
    assert values["diffusion-table4-unconditional"] == pytest.approx([13 / 26, 14 / 27])
    assert values["diffusion-table4-training-on-labels"] == pytest.approx([13 / 10, 14 / 11])
    assert values["diffusion-sigma"] == pytest.approx([16 / 5] * 2)
    assert values["diffusion-ddim-few"] == pytest.approx([20 / 10, 20 / 11])
    assert values["diffusion-ddim-gap"] == pytest.approx([np.log(2), np.log(20 / 11)])
    assert values["diffusion-table3"] == pytest.approx([0.3 / 0.4])
    assert values["diffusion-gan-frechet"] == pytest.approx([7 / 5, 7 / 5, 6 / 10, 6 / 10])  # a ruler after the other
    assert values["diffusion-gan-recall"] == pytest.approx([0.1, 0.1])
    assert values["diffusion-gan-frechet-ddim"] == pytest.approx([7 / 4, 7 / 5, 6 / 8, 6 / 8])
    assert values["diffusion-gan-recall-ddim"] == pytest.approx([0.3, 0.3])
    assert values["diffusion-gan-budget"] == pytest.approx([1])
    assert values["diffusion-gan-history"] == pytest.approx([1, 1])
    assert not any(value for name, value in values.items() if "imagenet" in name or name.startswith("diffusion-table5"))


def test_points_without_metrics_leave_no_verdict_on_all_of_them() -> None:
    rows = made_up_rows()
    lost = (rows["kind"] == "sample") & (rows["scale"] >= 2)
    rows.loc[lost | (rows["moment"] == 2), list(claims.MEASURED)] = np.nan
    of_all = (
        *("fig4-interior", "fig4-precision", "fig4-recall", "fig4-inception-score", "table4-training-on-labels"),
        *("sigma", "gan-history"),
    )
    ledger = judge(claims.CLAIMS, rows, "digits").set_index("id")
    assert (ledger.loc[[f"diffusion-{name}" for name in of_all], "verdict"] == "not reproduced").all()
    assert ledger.loc["diffusion-table4-conditional", "verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("kinds", "measured"),
    [
        ((), set()),
        (("model",), {"diffusion-table3"}),
        (("model", "gan", "classifier"), {"diffusion-table3", "diffusion-gan-budget"}),
        (("history",), {"diffusion-gan-history"}),
    ],
)
def test_what_was_not_run_is_not_tested(kinds: tuple[str, ...], measured: set[str]) -> None:
    """Rows as those trainings and points alone give them, without the columns of others."""
    rows = made_up_rows()
    own = claims.complete(rows[rows["kind"].isin(kinds)].dropna(axis=1, how="all"))
    assert {claim.id for claim in claims.CLAIMS if claim.measure(own)} == measured


def test_the_conditional_models_claims_need_no_other_model() -> None:
    rows = made_up_rows()
    values = {claim.id: claim.measure(rows[rows["model"] != "unconditional"]) for claim in claims.CLAIMS}
    assert values["diffusion-fig4-interior"] == pytest.approx([9 / 4, 10 / 5])
    assert values["diffusion-table4-unconditional"] == []


def test_an_effect_of_the_other_sign_is_not_in_the_same_direction() -> None:
    for claim in claims.CLAIMS:
        if claim.same_direction is not None:
            assert not claim.same_direction(1.0 if claim.id == "diffusion-sigma" else 0.0), claim.id


def test_an_equal_metric_at_all_scales_is_no_trend() -> None:
    rows = made_up_rows().assign(precision=0.7)
    assert claims.by_seed(claims.sweep, claims.correlation_with_scale("precision"))(rows) == [0, 0]


def test_the_papers_numbers_are_those_of_the_reference() -> None:
    assert imagenet.TABLE4["conditional", 1.0] == (4.59, 0.82, 0.52)
    printed = {claim.id: claim.paper for claim in claims.CLAIMS if "ImageNet" in claim.statement}
    assert printed["diffusion-table4-u-s10-is"] == 95.41
    assert printed["diffusion-table5-128-g25-recall"] == 0.51
    assert printed["diffusion-table5-512-biggan-fid"] == 8.43
    assert printed["diffusion-table3-addgn-fid"] == 15.08
    assert len(printed) == 6 * 4 + 14 * 3 + 2


def test_figures_draw_from_rows_and_the_film_is_a_gif() -> None:
    rows, rng = made_up_rows(), np.random.default_rng(0)
    for draw in (figure.headline, figure.trade_off, figure.table4, figure.embedding, figure.samplers):
        for axes in draw(rows, "digits").axes:
            assert axes.get_xlabel() or axes.get_xticklabels()
            assert axes.get_ylabel()
    own = {
        "images": rng.integers(0, 255, (40, 8, 8, 1), dtype=np.uint8),
        "labels": np.arange(40) % CLASSES,
        "film": rng.integers(0, 255, (25, 36, 8, 8), dtype=np.uint8),
    }
    pictures = {(model, s): own for model in ("conditional", "unconditional") for s in (0.0, 1.0, 10.0)}
    assert len(figure.sample_grids(pictures, list(range(10)), "DDIM", "digits").axes) == 6
    assert figure.denoising(pictures, "DDIM", "digits").axes
    assert figure.gan({1.0: own["images"]}, "digits").axes
    assert figure.film(pictures).startswith(b"GIF89a")


def test_a_grid_shows_each_class_in_its_row() -> None:
    images = np.broadcast_to((np.arange(30) % 3 * 100)[:, None, None, None], (30, 2, 2, 1)).astype(np.uint8)
    picture = figure.grid(images, np.arange(30) % 3, [2, 0])
    assert picture.shape == (5, 3 * figure.COLUMNS - 1)
    assert (picture[:2, :2] == 255 - 200).all()
    assert (picture[3:, :2] == 255).all()


def test_a_grid_has_blank_tiles_for_a_class_without_images() -> None:
    images = np.full((3, 2, 2, 1), 100, np.uint8)
    assert (figure.grid(images, np.array([1, 1, 1]), [7]) == 255).all()
    picture = figure.grid(images, np.array([1, 1, 1]), [7, 1])
    assert (picture[:2] == 255).all()
    assert (picture[3:, -2:] == 155).all()


def test_the_other_samplers_curve_is_the_guided_one_with_the_most_steps() -> None:
    rows = made_up_rows()
    many = rows[(rows["sampler"] == "ancestral") & (rows["scale"] == 10) & (rows["with_sigma"] == True)]  # noqa: E712
    rows = pd.concat([rows, many.assign(sampling_steps=50)])  # fewer points than with 5 steps
    assert set(figure.other_sampler(rows)["sampling_steps"]) == {50}


def test_grey_values_cut_off_what_is_beyond() -> None:
    np.testing.assert_array_equal(grey(np.array([-3.0, -1, 0, 1, 2])), [0, 0, 128, 255, 255])
    levels = np.unique(data("digits").train)
    np.testing.assert_allclose(np.diff(levels), WIDTH["digits"], rtol=1e-6)

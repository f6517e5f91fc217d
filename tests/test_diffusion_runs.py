"""What is trained and sampled: settings, resuming, what is refused, metrics of each point."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from papers.diffusion import sampling, training
from papers.diffusion.images import subset
from papers.diffusion.run import TRAINERS
from papers.diffusion.unet import Plan, UNet
from shared import tree
from shared.counting import tally
from shared.errors import BadRequest, Diverged, RunError
from shared.experiment import Run, Setting
from shared.results import opened

TINY = Plan(side=8, channels=4, multipliers=(1, 2), attention=(4,), head=4, groups=2)


CFG = {
    "data": "digits",
    "seeds": [0, 1],
    "schedule": "cosine",
    "diffusion_steps": 20,
    "channels": 8,
    "levels": 2,
    "growth": 2,
    "blocks": 1,
    "attention": [4],
    "head": 8,
    "patch": 1,
    "rescale": False,
    "training_steps": 4,
    "ablation_steps": 2,
    "evaluate_every": 2,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "ema": 0.9,
    "classifier_channels": 8,
    "classifier_steps": 2,
    "classifier_rate": 1e-3,
    "feature_steps": 2,
    "gan_steps": 2,
    "gan_channels": 8,
    "samples": 6,
    "scales": [0.0, 1.0, 10.0],
    "sweep": "ancestral",
    "ancestral_steps": 5,
    "ddim_steps": 3,
    "other_scales": [0.0, 1.0],
    "ablated_scales": [1.0],
    "truncations": [0.5, 1.0],
}


def settings(**changed: object) -> SimpleNamespace:
    return SimpleNamespace(**CFG | changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 2000}, "batch_size=2000: must be at most the 1500 training images of digits"),
        ({"ddim_steps": 21}, "ddim_steps=21: must be at most diffusion_steps=20"),
        ({"ancestral_steps": 50}, "ancestral_steps=50: must be at most diffusion_steps=20"),
        ({"evaluate_every": 3}, "evaluate_every=3, ablation_steps=2: must rise, up to training_steps=4"),
        ({"training_steps": 5}, "evaluate_every=2: must divide ablation_steps and training_steps"),
        ({"channels": 9}, "channels=9: Plan: channels must be a multiple of groups=8 and 2, got 9"),
        ({"classifier_channels": 4}, "classifier_channels=4: Plan: channels must be a multiple of groups=8"),
        ({"levels": 5}, "channels=8: Plan: side must be a multiple of patch"),
        ({"attention": [3]}, "channels=8: Plan: attention must be at sides among"),
        ({"head": 5}, "channels=8: Plan: head=5 does not split 16 channels into equal heads"),
    ],
)
def test_settings_that_do_not_go_together(changed: dict, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        training.check(settings(**changed))


def test_what_a_run_trains_and_samples() -> None:
    cfg = settings()
    jobs = sampling.jobs(cfg)
    keys = [tuple(v for k, v in job.items() if k not in ("steps", "samples", "rests_on")) for job in jobs]
    assert len(set(keys)) == len(keys)
    swept = [job for job in jobs if job.get("swept")]
    assert jobs[:6] == swept[:6]  # the headline comes first
    assert [job["scale"] for job in swept[:6]] == [0, 1, 10, 0, 1, 10]
    assert {job["with_sigma"] for job in swept} == {True}
    unguided = {(job["sampler"], job["sampling_steps"]) for job in jobs if job.get("scale") == 0}
    assert unguided == {("ancestral", 5), ("ancestral", 3), ("ddim", 5), ("ddim", 3)}
    assert sum(job["kind"] == "truncation" for job in jobs) == 4
    assert jobs[-1]["kind"] == "floor"


def test_a_sample_names_what_it_rests_on() -> None:
    (one, guided, *_), (_, other, *_) = sampling.jobs(settings()), sampling.jobs(settings(classifier_steps=3))
    assert guided["rests_on"] != other["rests_on"]
    assert one == sampling.jobs(settings(gan_steps=3, classifier_steps=3))[0]  # no guidance, and no GAN's


def test_a_training_that_failed_takes_along_what_rests_on_it_and_no_more() -> None:
    cfg, trained = settings(), sampling.sources(settings())

    def left(failed: str) -> set[str]:
        return {job.get("model", job["kind"]) for job in sampling.jobs(cfg, [trained[failed]])}

    assert left("gan") == {"conditional", "unconditional", "floor"}
    assert left("unconditional") == {"conditional", "truncation", "history", "floor"}
    assert {job["scale"] for job in sampling.jobs(cfg, [trained["classifier"]]) if "scale" in job} == {0.0}
    assert left("other features") == set()


def test_table_3_compares_models_in_the_same_part_of_one_schedule() -> None:
    trained = sampling.sources(settings())
    assert trained["additive"]["steps"] < trained["conditional"]["steps"] == trained["conditional"]["horizon"]
    assert trained["additive"]["horizon"] == trained["conditional"]["horizon"]


def test_the_horizon_and_not_the_number_of_steps_sets_the_rate() -> None:
    """One model stops where the other has had as many steps: their losses up to there are the same."""
    losses = []
    for steps in (4, 2):
        job = training.model_job(settings(), "conditional") | {"steps": steps}
        run = Run(job, Setting(Path("nowhere"), "test", ("kind",), code=""))
        training.train(job, run)
        losses.append(run.rows[0]["train_loss"])
    assert losses[0] == losses[1]


def test_a_subset_is_no_prefix_and_always_the_same() -> None:
    images = np.arange(10_000)
    chosen = subset(images, 1000)
    np.testing.assert_array_equal(chosen, subset(images, 5000)[:1000])
    assert len(set(chosen)) == 1000
    assert 4500 < chosen.mean() < 5500
    assert sorted(subset(images[:3], 5)) == [0, 1, 2]


class Interrupted(Exception):
    pass


class Cut(Run):
    """A run that ends after a given step, its checkpoint written."""

    def __init__(self, job: dict, setting: Setting, after: int) -> None:
        super().__init__(job, setting)
        self.after = after

    def steps(self):
        for step in super().steps():
            yield step
            if step + 1 == self.after:
                self.step += 1
                self.save()
                raise Interrupted


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """The folder of a tiny run in which everything has been trained."""
    setting = Setting(tmp_path_factory.mktemp("runs"), "test", ("kind", "model"), code="")
    (setting.folder / "runs").mkdir()
    for job in sampling.sources(settings()).values():
        run = Run(job, setting)
        run.folder.mkdir()
        TRAINERS[job["kind"]](job, run)
        run.save()
    return setting


def measured(job: dict, setting: Setting, run: Run | None = None) -> Run:
    run = run or Run(job, setting)
    sampling.measure(sampling.sources(settings()), job, run)
    return run


def test_every_point_has_its_metrics_and_pictures(runs: Setting) -> None:
    for job in sampling.jobs(settings()):
        if job["seed"] == 0 and job.get("model") != "unconditional":
            run = measured(job, runs)
            (row,) = run.rows
            assert 0 <= row["precision"] <= 1
            assert 0 <= row["recall"] <= 1
            assert np.isfinite([row["frechet"], row["inception_score"]]).all()
            assert row["images"] == 6
            assert run.arrays["images"].shape == (6, 8, 8, 1)
            assert 0 <= row["accuracy"] <= 1
            assert row["other_frechet"] not in (row["frechet"], np.nan)


def test_a_forecast_needs_no_trained_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = settings(seeds=[0], scales=[1.0], other_scales=[1.0], ablated_scales=[1.0], truncations=[1.0])
    with opened(tmp_path / "folder", Setting(tmp_path, "test", ("kind",), code=""), 1) as experiment:
        sampling.forecast(cfg, experiment)
    assert f"forecast for test, samples: {len(sampling.jobs(cfg))} jobs" in capsys.readouterr().out


def test_the_same_noise_starts_all_scales(runs: Setting) -> None:
    films = [measured(job, runs).arrays["film"] for job in sampling.jobs(settings())[:3]]
    np.testing.assert_array_equal(films[0][0], films[2][0])
    assert not np.array_equal(films[0][-1], films[2][-1])


@pytest.mark.parametrize("after", [2, 6])
def test_sampling_resumes_to_the_bit(
    runs: Setting, after: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sampling, "CHUNK", 4)  # 6 images in two chunks of 5 steps
    job = sampling.jobs(settings())[1]
    whole = measured(job, runs)
    cut = Cut(job, runs, after)
    cut.folder.mkdir()
    with pytest.raises(Interrupted):
        measured(job, runs, cut)
    resumed = measured(job, runs)
    assert resumed.rows == whole.rows
    np.testing.assert_array_equal(resumed.arrays["film"], whole.arrays["film"])
    for path in cut.folder.iterdir():
        path.unlink()
    cut.folder.rmdir()


def test_a_scale_that_makes_nan_stops_with_the_step(runs: Setting) -> None:
    job = next(job for job in sampling.jobs(settings(scales=[1e39])) if job["scale"])
    message = r"not finite at step \d of 5 with scale=1e\+39\. Lower scales\."
    with np.errstate(all="ignore"), pytest.raises(Diverged, match=message):
        measured(job, runs)


def test_a_checkpoint_of_another_model_is_refused(runs: Setting) -> None:
    sources = sampling.sources(settings())
    wide = runs.run_folder(training.model_job(settings(channels=16), "conditional"))
    runs.run_folder(sources["conditional"]).rename(wide)
    try:
        with pytest.raises(RunError, match=r"has no average/\S+ of shape .*: other code wrote it"):
            training.trained(training.model_job(settings(channels=16), "conditional"), runs)
    finally:
        wide.rename(runs.run_folder(sources["conditional"]))


def test_training_learns_and_averages() -> None:
    """A few dozen steps halve the loss of predicting nothing, which is 1; the average lags behind the weights."""
    cfg = settings(training_steps=60, ablation_steps=60, evaluate_every=60, batch_size=32, learning_rate=5e-3)
    job = training.model_job(cfg, "conditional")
    run = Run(job, Setting(Path("nowhere"), "test", ("kind",), code=""))
    training.train(job, run)
    curve, cost = run.rows
    assert curve["test_loss"] < 0.6
    assert np.isfinite(curve["test_bits"])
    assert cost["multiply_adds"] == 60 * training.step_cost(job)
    p, average = (dict(tree.leaves(run._state[name])) for name in ("p", "average"))
    assert all(not np.array_equal(p[name], average[name]) for name in p)


def test_a_steps_cost_is_counted_for_the_whole_batch() -> None:
    for job in (training.model_job, lambda cfg, _: training.classifier_job(cfg)):
        costs = [training.step_cost(job(settings(batch_size=n), "conditional")) for n in (1, 3, 8)]
        assert costs == [n * costs[0] for n in (1, 3, 8)]
        assert costs[0] > 0
    net = UNet(TINY)
    p, x, t = net.init(np.random.default_rng(0)), np.zeros((1, 8, 8, 1), np.float32), np.zeros(1)
    forward = tally(lambda p: net(p, x, t), p).multiplications
    both = tally(lambda p: net(p, x, t)[1](np.zeros((1, 8, 8, 2), np.float32)), p).multiplications
    assert 2.5 * forward < both < 3.1 * forward


def test_a_run_that_diverges_ends_in_one_line_and_a_ledger(root: Path, results_home: Path) -> None:
    options = ["scale=smoke", "seeds=[0]", "samples=5", "compute.workers=1", "learning_rate=1e9"]
    done = subprocess.run(
        [sys.executable, "papers/diffusion/run.py", *options],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: model-conditional-seed0-")
    assert line.endswith("Lower learning_rate.")
    (published,) = (results_home / "diffusion/smoke").glob("custom-*")
    ledger = pd.read_csv(published / "claims.csv").set_index("id")
    assert ledger.loc["diffusion-fig4-interior", "verdict"] == "not reproduced"
    assert ledger.loc["diffusion-gan-history", "n"] == 1  # the GAN has not diverged
    assert not any(published.glob("*.png"))

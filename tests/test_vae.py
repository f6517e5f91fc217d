"""The VAE: slopes against finite differences, and what its parts mean."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from papers.vae import analysis, claims, figure, training
from papers.vae.model import VAE, Likelihood, aevb, bound, split, wake_sleep
from shared import tree
from shared.gradcheck import check
from shared.losses import gaussian_kl


class FixedNoise:
    """Stands in for a Generator: the same draws each time, so that a stochastic bound becomes a function."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def standard_normal(self, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        return np.random.default_rng(self.seed).standard_normal(shape)


def tiny(likelihood: Likelihood = "bernoulli", n_z: int = 2) -> tuple[VAE, tree.Tree, np.ndarray]:
    vae = VAE(n_x=5, n_h=4, n_z=n_z, likelihood=likelihood, std=0.5)
    rng = np.random.default_rng(1)
    return vae, tree.astype(vae.init(rng), np.float64), rng.random((3, 5))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_aevb_gradient_is_that_of_the_bound(likelihood: Likelihood) -> None:
    vae, p, x = tiny(likelihood)

    def negative_bound(p: tree.Tree) -> tuple[np.ndarray, Any]:
        value = -bound(vae, p, x, FixedNoise())[0].mean()
        return value, lambda dy: tree.map(lambda g: dy * g, aevb(vae, p, x, FixedNoise())[1])

    check(negative_bound, p, rng=np.random.default_rng(2))


def test_aevb_equals_torch() -> None:
    vae, p, x = tiny()
    value, grads = aevb(vae, p, x, FixedNoise())
    t = tree.map(lambda array: torch.tensor(array, requires_grad=True), p)
    xt = torch.tensor(x)
    hidden = torch.tanh(xt @ t["encoder"]["0"]["W"] + t["encoder"]["0"]["b"])
    mu, logvar = (hidden @ t["encoder"]["2"]["W"] + t["encoder"]["2"]["b"]).chunk(2, 1)
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2))
    z = mu + q.scale * torch.tensor(FixedNoise().standard_normal(mu.shape))
    logits = torch.tanh(z @ t["decoder"]["0"]["W"] + t["decoder"]["0"]["b"]) @ t["decoder"]["2"]["W"]
    logits = logits + t["decoder"]["2"]["b"]
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(torch.zeros(()), torch.ones(()))).sum(1)
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, xt, reduction="none").sum(1)
    loss = (nll + kl).mean()
    loss.backward()
    assert -value == pytest.approx(loss.item(), rel=1e-12)
    for (path, ours), (_, theirs) in zip(tree.leaves(grads), tree.leaves(t), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-13, err_msg=path)


def test_wake_sleep_directions_are_the_gradients_of_its_two_objectives() -> None:
    """Wake: the decoder's gradient of the bound. Sleep: the encoder's of -log q(z|x) on dreams, here by torch."""
    vae, p, x = tiny()

    class Dreams(FixedNoise):
        def random(self, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
            return np.random.default_rng(7).random(shape)

    value, grads = wake_sleep(vae, p, x, Dreams())
    same_value, aevb_grads = aevb(vae, p, x, Dreams())
    assert value == pytest.approx(same_value, rel=1e-12)
    for (path, ours), (_, expected) in zip(
        tree.leaves(grads["decoder"]), tree.leaves(aevb_grads["decoder"]), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, err_msg=path)

    z = FixedNoise().standard_normal((3, 2))
    dream = vae.sample_x(vae.decoder(p["decoder"], z)[0], Dreams())
    assert set(np.unique(dream)) <= {0.0, 1.0}
    t = tree.map(lambda array: torch.tensor(array, requires_grad=True), p["encoder"])
    mu, logvar = (torch.tanh(torch.tensor(dream) @ t["0"]["W"] + t["0"]["b"]) @ t["2"]["W"] + t["2"]["b"]).chunk(2, 1)
    log_q = torch.distributions.Normal(mu, torch.exp(logvar / 2)).log_prob(torch.tensor(z)).sum(1)
    (-log_q.mean()).backward()
    for (path, ours), (_, theirs) in zip(tree.leaves(grads["encoder"]), tree.leaves(t), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-10, atol=1e-13, err_msg=path)


def test_unknown_likelihood() -> None:
    with pytest.raises(ValueError, match="likelihood must be one of bernoulli, gaussian, got Bernoulli"):
        VAE(5, 4, 2, likelihood="Bernoulli")  # type: ignore[arg-type]


def test_parameter_count_is_the_papers() -> None:
    """784-500-(20, 20) and 20-500-784 with biases."""
    expected = (784 * 500 + 500) + (500 * 40 + 40) + (20 * 500 + 500) + (500 * 784 + 784)
    assert tree.size(VAE(784, 500, 20).init(np.random.default_rng(0))) == expected


def test_initial_parameters_have_the_declared_spread() -> None:
    p = VAE(784, 500, 20, std=0.1).init(np.random.default_rng(0))
    assert p["encoder"]["0"]["W"].std() == pytest.approx(0.1, rel=0.01)


def test_samples_of_q_have_the_spread_that_the_kl_charges_for() -> None:
    """A KL and a sampler that disagree on the variance pass every gradient check; this they do not pass."""
    vae, p, x = tiny()
    mu, logvar = split(vae.encoder(p["encoder"], x)[0])
    rng = np.random.default_rng(0)
    z = mu + np.exp(0.5 * logvar) * rng.standard_normal((200_000, *mu.shape))
    np.testing.assert_allclose(z.std(0), np.exp(0.5 * logvar), rtol=0.01)
    log_ratio = (
        torch.distributions.Normal(torch.tensor(mu), torch.tensor(np.exp(0.5 * logvar))).log_prob(torch.tensor(z))
        - torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(z))
    ).sum(-1)
    draws = log_ratio.numpy()
    error = draws.std(0) / math.sqrt(len(z))
    assert (np.abs(draws.mean(0) - gaussian_kl(mu, logvar)[0]) < 4 * error).all()


def test_importance_estimate_is_exact_for_a_decoder_that_ignores_z() -> None:
    """With p(x|z) = p(x), log p(x) is known; the estimate converges to it whatever q is."""
    vae, p, x = tiny()
    p["decoder"]["0"]["W"][:] = 0
    exact = -vae.nll(vae.decoder(p["decoder"], np.zeros((3, 2)))[0], x)[0]
    estimate, _ = analysis.importance_estimate(vae, p, x, 200_000, np.random.default_rng(0))
    np.testing.assert_allclose(estimate, exact, atol=0.01)


def test_both_gradient_estimators_have_one_mean_and_the_score_function_the_larger_variance() -> None:
    vae, p, x = tiny()
    rng = np.random.default_rng(0)
    draws: dict[str, list[np.ndarray]] = {"reparameterised": [], "score": []}
    for _ in range(6000):
        for name, gradient in analysis.encoder_gradients(vae, p, x, rng).items():
            draws[name].append(gradient)
    a, b = np.array(draws["reparameterised"]), np.array(draws["score"])
    error = np.sqrt((a.var(0) + b.var(0)) / len(a))
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error + 1e-12).all()
    assert b.var(0).sum() > 10 * a.var(0).sum()


def test_spherical_interpolation_keeps_to_the_sphere() -> None:
    t = np.linspace(0, 1, 7)[:, None]
    a, b = np.array([3.0, 0, 0]), np.array([0, 0, 3.0])
    path = analysis.spherical(a, b, t)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 3, rtol=1e-12)
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-12)
    np.testing.assert_allclose(analysis.spherical(a, 2 * a, t), analysis.linear(a, 2 * a, t))
    np.testing.assert_array_equal(analysis.spherical(0 * a, b, t), analysis.linear(0 * a, b, t))


def test_manifold_covers_the_prior_evenly() -> None:
    """Equal steps of probability: the grid's latents are standard normal quantiles, z_2 upwards."""
    _, p, _ = tiny()
    seen: dict[str, np.ndarray] = {}

    class Recorder(VAE):
        def mean(self, head: np.ndarray) -> np.ndarray:
            return np.zeros((*head.shape[:-1], 5))

    recorder = Recorder(5, 4, 2)
    original = analysis.images

    def images(vae: VAE, p: tree.Tree, z: np.ndarray) -> np.ndarray:
        seen["z"] = z
        return original(vae, p, z)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "images", images)
        assert analysis.manifold(recorder, p).shape == (20, 20, 5)
    quantiles = torch.distributions.Normal(0.0, 1.0).cdf(torch.tensor(seen["z"][-1, :, 0])).numpy()
    np.testing.assert_allclose(quantiles, (np.arange(20) + 0.5) / 20, atol=1e-6)
    assert seen["z"][0, 0, 1] > seen["z"][-1, 0, 1]


@pytest.mark.parametrize("total", [1, 7, 100, 100_000])
def test_evaluations_hit_the_marks_of_the_claims(total: int) -> None:
    steps = training.evaluation_steps(total)
    assert steps[-1] == total
    assert steps[0] >= 1
    if total >= 10:
        assert {round(0.1 * total), round(0.3 * total)} <= set(steps)


def test_step_size_is_the_candidate_with_the_best_training_bound() -> None:
    cfg = SimpleNamespace(learning_rate=None, latent=[3], pictured=[3])
    rows = pd.DataFrame(
        {
            "method": ["aevb"] * 3 + ["wake-sleep"] * 3,
            "latent": 3,
            "learning_rate": [0.01, 0.02, 0.1] * 2,
            "train": [-5.0, -3.0, -np.inf, -2.0, -4.0, -9.0],
        }
    )
    assert training.chosen_step_sizes(cfg, rows) == {("aevb", 3): 0.02, ("wake-sleep", 3): 0.01}


def test_binarised_pixels_are_bits_with_the_grey_values_as_their_means() -> None:
    grey, bits = training.pixels("digits"), training.pixels("digits-binarised")
    assert set(np.unique(bits.train)) == {0.0, 1.0}
    np.testing.assert_allclose(bits.train.mean(), grey.train.mean(), atol=0.01)
    assert (bits.train[grey.train == 1] == 1).all()
    assert (bits.train[grey.train == 0] == 0).all()


def rows_of_curves(**bounds: float) -> pd.DataFrame:
    """Final and earlier rows of two methods and six sizes: the named final test bounds, rising to them from -200."""
    rows = []
    for seed in (0, 1, 2):
        for latent in (3, 5, 10, 20, 200):
            for method in ("aevb", "wake-sleep"):
                end = bounds.get(f"{method[:1]}{latent}", -100 - (5 if method == "wake-sleep" else 0) - 1 / latent)
                for mark in (0.1, 0.3, 1.0):
                    rows.append(
                        {"stage": "train", "data": "mnist", "method": method, "latent": latent, "seed": seed}
                        | {"steps": 100, "batch_size": 10, "samples": 1000 * mark}
                        | {"test": end - 10 * (1 - mark), "train": end - 10 * (1 - mark) + 1}
                    )
    return pd.DataFrame(rows)


def test_claims_measure_what_they_say() -> None:
    rows = rows_of_curves()
    assert claims.margin_over_wake_sleep(rows) == pytest.approx([5.0] * 3)
    assert claims.step_up(3, 5)(rows) == pytest.approx([1 / 3 - 1 / 5] * 3)
    assert claims.gap_growth(20, 200)(rows) == pytest.approx([0.0] * 3)
    assert claims.share_of_samples(rows) == pytest.approx([1.0] * 3)
    assert claims.share_of_samples(rows_of_curves(**{f"w{n}": -108 for n in (3, 5, 10, 20, 200)})) == [0.3] * 3
    assert claims.share_of_samples(rows_of_curves(a3=-150.0)) == [math.inf] * 3
    assert claims.margin_over_wake_sleep(rows_of_curves(a3=-150.0))[0] < 0


@pytest.mark.parametrize("method", ["aevb", "wake-sleep"])
def test_a_seed_that_lost_a_size_to_divergence_counts_for_no_claim_on_every_size(method: str) -> None:
    rows = rows_of_curves()
    lost = (rows["method"] == method) & (rows["latent"] == 5)
    ended = lost & (rows["seed"] == 0) & (rows["samples"] == 1000)
    for measure in (claims.margin_over_wake_sleep, claims.share_of_samples):
        assert measure(rows[~lost]) == []
        assert measure(rows[~ended]) == measure(rows)[1:]
    early = rows.assign(samples=rows["samples"].where(rows["method"] != method, 1.0))
    assert claims.margin_over_wake_sleep(early) == claims.share_of_samples(early) == []


def test_a_size_of_the_pictures_alone_is_not_compared() -> None:
    rows = rows_of_curves()
    pictured = rows[(rows["method"] == "aevb") & (rows["latent"] == 3) & (rows["seed"] == 0)].assign(latent=2)
    with_pictures = pd.concat([rows, pictured, pictured.assign(stage="pilot")])
    assert claims.margin_over_wake_sleep(with_pictures) == claims.margin_over_wake_sleep(rows)
    assert claims.share_of_samples(with_pictures) == claims.share_of_samples(rows)


def test_a_size_that_wake_sleep_lost_altogether_is_known_by_its_pilots() -> None:
    rows = rows_of_curves()
    alone = rows[(rows["seed"] == 0) & ((rows["method"] == "aevb") | (rows["latent"] > 3))]
    pilots = rows[rows["seed"] == 0].assign(stage="pilot", samples=math.nan, test=math.nan)
    assert claims.margin_over_wake_sleep(pd.concat([pilots, alone])) == []


def test_marks_are_where_the_training_is_evaluated() -> None:
    """With 104 steps the marks are after 10, 31 and 104 of them: AEVB is behind at each in turn."""
    rows = rows_of_curves().assign(steps=104)
    steps = rows["samples"].map({100.0: 10, 300.0: 31, 1000.0: 104})
    rows = rows.assign(samples=10 * steps)
    assert set(steps) <= set(training.evaluation_steps(104))
    for step in (10, 31, 104):
        behind = (rows["method"] == "aevb") & (steps == step)
        assert claims.margin_over_wake_sleep(rows.assign(test=rows["test"] - 8 * behind)) == pytest.approx([-3.0] * 3)


def test_binarised_difference_compares_the_same_size_and_seed() -> None:
    rows = rows_of_curves()
    extra = rows[(rows["method"] == "aevb") & (rows["latent"] == 20) & (rows["seed"] == 0)]
    binarised = extra.assign(data="mnist-binarised", test=extra["test"] - 7)
    assert claims.binarised_difference(pd.concat([rows, binarised])) == pytest.approx([-7.0])
    assert claims.binarised_difference(rows) == []


def test_captions_name_the_seed_of_the_networks() -> None:
    pictures = {
        "samples_2": np.zeros((100, 64), np.uint8),
        "manifold": np.zeros((20, 20, 64), np.uint8),
        "interpolation_2": np.zeros((1, 2, 3, 64), np.uint8),
        "kl_2": np.ones(2),
    }
    for draw in (figure.samples, figure.manifold, figure.interpolation, figure.active_units):
        assert "seed 7." in " ".join(draw(pictures, "digits", 7).get_supxlabel().split())

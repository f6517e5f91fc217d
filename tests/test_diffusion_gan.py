"""The GAN: slopes against differences and torch's, what its game means, truncation, resuming, and what it costs."""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from papers.diffusion import gan_training
from papers.diffusion.gan import (
    GAN,
    TRAIN,
    discriminator_gradient,
    generator_gradient,
    of_generator,
    real_or_fake,
)
from papers.diffusion.images import data
from shared import gradcheck, threads, tree
from shared.counting import tally
from shared.errors import Stopped
from shared.experiment import Run, Setting
from shared.layers.base import Pullback
from shared.tree import Array, Tree

SMALL = GAN(side=8, latent=3, channels=4)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker: layers this small gain nothing from a second one."""
    with threads.use(1):
        yield


def point(rng: np.random.Generator, gan: GAN = SMALL) -> Tree:
    """Float64 parameters, all random: zero biases would hide their use, and weights of 0.02 what comes after them."""
    return tree.map(lambda a: a + 0.2 * rng.standard_normal(a.shape), gan.init(rng))


def batch(rng: np.random.Generator, n: int = 4) -> tuple[Array, Array, Array, Array]:
    """x, y, z, y of the fakes."""
    x, z = rng.uniform(-1, 1, (n, 8, 8, 1)), rng.standard_normal((n, 3))
    return x, rng.integers(10, size=n), z, rng.integers(10, size=n)


def same_statistics(p: Tree) -> Tree:
    """p with running statistics of its own: a forward pass in training writes them."""
    return tree.map(np.copy, p)


def with_running(trainable: Tree, p: Tree) -> Tree:
    """The generator's parameters p with its trainable leaves replaced."""
    return {
        name: trainable[name] | ({"running": same_statistics(own["running"])} if "running" in own else {})
        for name, own in p.items()
    }


def torch_generator(p: dict, z: Tensor, y: Tensor) -> Tensor:
    """G again, in torch's functions and NCHW, from the same parameters."""
    x = torch.cat([z, F.one_hot(y, 10)], 1) @ p["0"]["W"]
    x = x.reshape(len(z), 2, 2, 8).permute(0, 3, 1, 2).contiguous()
    for norm, kernel in (("2", "5"), ("6", "9")):
        own = p[norm]
        x = F.relu(F.batch_norm(x, None, None, own["gamma"], own["beta"], training=True))
        x = F.conv2d(
            F.interpolate(x, scale_factor=2), p[kernel]["W"].permute(3, 2, 0, 1), p[kernel].get("b"), padding=1
        )
    return torch.tanh(x)


def torch_discriminator(p: dict, x: Tensor, y: Tensor) -> Tensor:
    """D again."""
    for name in ("0", "2"):
        x = F.leaky_relu(F.conv2d(x, p[name]["W"].permute(3, 2, 0, 1), p[name]["b"], 2, 1), 0.2)
    phi = x.permute(0, 2, 3, 1).flatten(1)
    return (phi * p["5"]["W"].T[y]).sum(1) + p["5"]["b"][y]


def test_both_losses_and_their_gradients_equal_torchs(rng: np.random.Generator) -> None:
    p, (x, y, z, y_fake) = point(rng), batch(rng)
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    labels, labels_fake = torch.tensor(y), torch.tensor(y_fake)
    fake, pullback = SMALL.generate(p["generator"], z, y_fake, TRAIN)
    fake_torch = torch_generator(q["generator"], torch.tensor(z), labels_fake)
    np.testing.assert_allclose(fake[..., 0], fake_torch[:, 0].detach().numpy(), rtol=1e-9, atol=1e-12)

    def close(grads: Tree, part: str) -> None:
        for (path, ours), (name, leaf) in zip(tree.leaves(grads), tree.leaves(tree.trainable(q[part])), strict=True):
            assert path == name
            np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-7, atol=1e-10, err_msg=path)

    ones = torch.ones(len(x), dtype=torch.float64)
    on_real = torch_discriminator(q["discriminator"], torch.tensor(x).permute(0, 3, 1, 2), labels)
    on_fake = torch_discriminator(q["discriminator"], fake_torch.detach(), labels_fake)
    theirs = F.binary_cross_entropy_with_logits(on_real, ones) + F.binary_cross_entropy_with_logits(on_fake, 0 * ones)
    theirs.backward()
    ours, grads = discriminator_gradient(SMALL, p["discriminator"], x, y, fake, y_fake)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    close(grads, "discriminator")

    theirs = F.binary_cross_entropy_with_logits(torch_discriminator(q["discriminator"], fake_torch, labels_fake), ones)
    theirs.backward()
    ours, grads = generator_gradient(SMALL, p["discriminator"], fake, y_fake, pullback)
    assert ours == pytest.approx(theirs.item(), rel=1e-12)
    close(grads, "generator")


def test_the_discriminators_gradient_is_that_of_its_loss(rng: np.random.Generator) -> None:
    p, (x, y, fake, y_fake) = point(rng)["discriminator"], (*batch(rng)[:2], *batch(rng)[:2])

    def loss(p: Tree) -> tuple[float, Pullback]:
        value, grads = discriminator_gradient(SMALL, p, x, y, fake[:3], y_fake[:3])
        return value, lambda dy: tree.map(lambda g: dy * g, grads)

    gradcheck.check(loss, p, rng=rng, rtol=1e-5)


def test_the_generators_gradient_is_that_of_its_loss_through_the_discriminator(rng: np.random.Generator) -> None:
    p, (_, _, z, y) = point(rng), batch(rng)

    def loss(generator: Tree) -> tuple[float, Pullback]:
        fake, pullback = SMALL.generate(with_running(generator, p["generator"]), z, y, TRAIN)
        value, grads = generator_gradient(SMALL, p["discriminator"], fake, y, pullback)
        return value, lambda dy: tree.map(lambda g: dy * g, grads)

    gradcheck.check(loss, tree.trainable(p["generator"]), rng=rng, rtol=1e-5)


def test_generate_and_judge_pull_back_to_their_inputs(rng: np.random.Generator) -> None:
    p, (x, y, z, _) = point(rng), batch(rng)
    gradcheck.check(
        lambda x: (s := SMALL.judge(p["discriminator"], x, y), (s[0], lambda ds: s[1](ds)[0]))[1], x, rng=rng, rtol=1e-5
    )
    gradcheck.check(
        lambda z: (g := SMALL.generate(p["generator"], z, y), (g[0], lambda dx: g[1](dx)[0]))[1], z, rng=rng, rtol=1e-5
    )


def test_a_generator_that_is_found_out_still_learns() -> None:
    """The slope of -log sigmoid(s) stays where D is sure of a fake; that of the game's own loss is gone."""
    s = np.array([-40.0, 0.0, 40.0])
    one = np.ones(3)
    np.testing.assert_allclose(real_or_fake(s, 1)[1](one), [-1, -0.5, 0], atol=1e-15)
    saturating = -real_or_fake(s, 0)[1](one)  # of log(1 - sigmoid(s)), which G minimises in the game
    np.testing.assert_allclose(saturating, [0, -0.5, -1], atol=1e-15)


def test_a_discriminator_that_cannot_tell_pays_two_log_two(rng: np.random.Generator) -> None:
    p, (x, y, z, y_fake) = point(rng), batch(rng)
    p["discriminator"]["5"] = tree.map(np.zeros_like, p["discriminator"]["5"])
    fake, pullback = SMALL.generate(p["generator"], z, y_fake)
    assert discriminator_gradient(SMALL, p["discriminator"], x, y, fake, y_fake)[0] == pytest.approx(2 * math.log(2))
    assert generator_gradient(SMALL, p["discriminator"], fake, y_fake, pullback)[0] == pytest.approx(math.log(2))


def test_the_best_discriminator_knows_the_ratio_of_the_densities() -> None:
    """On two images, real with probability 3/4 and 1/4, fake the other way round, sigmoid(s) = 3/4 and 1/4 is best."""
    s = np.log([3.0, 1 / 3])
    real, fake = np.array([0.75, 0.25]), np.array([0.25, 0.75])
    slope = real_or_fake(s, 1)[1](real) + real_or_fake(s, 0)[1](fake)
    np.testing.assert_allclose(slope, 0, atol=1e-15)


def test_an_image_is_judged_by_the_weights_of_its_class_alone(rng: np.random.Generator) -> None:
    p, x = point(rng)["discriminator"], batch(rng)[0]
    y = np.array([2, 2, 5, 7])
    s, pullback = SMALL.judge(p, x, y)
    np.testing.assert_allclose(s, SMALL.discriminator(p, x)[0][np.arange(4), y])
    dW = pullback(np.ones(4))[1]["5"]["W"]
    assert set(np.flatnonzero(np.abs(dW).sum(0))) == {2, 5, 7}
    alone = [SMALL.judge(p, x[i : i + 1], y[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(s, np.concatenate(alone))  # nor by its neighbours in the batch


@pytest.mark.parametrize("gan", [SMALL, GAN(28, 64, 6), GAN(4, 1, 1)])
def test_a_generator_is_known_by_its_parameters(gan: GAN) -> None:
    p = gan.init(np.random.default_rng(0))["generator"]
    assert of_generator(p) == gan
    assert gan_training.sample(p, np.zeros(2, int), 1.0, np.random.default_rng(0)).shape == (2, gan.side, gan.side, 1)


@pytest.mark.parametrize("side", [0, 2, 10])
def test_a_side_that_does_not_halve_twice_is_refused(side: int) -> None:
    with pytest.raises(ValueError, match=rf"^GAN: side must be a multiple of 4, got {side}$"):
        GAN(side, 3, 4)


def generator(rng: np.random.Generator) -> Tree:
    """One with running statistics of its own."""
    p = tree.astype(point(rng), np.float32)["generator"]
    gan_training.stand(SMALL, p, 64, rng)
    return p


def test_truncation_scales_the_latents(rng: np.random.Generator) -> None:
    p, y = generator(rng), np.arange(400) % 10
    before = tree.map(np.copy, p)
    spread = []
    for truncation in (0, 0.3, 0.6, 1, 1.5):
        x = gan_training.sample(p, y, truncation, np.random.default_rng(1))
        assert x.dtype == np.float32
        assert np.abs(x).max() <= 1
        z = np.random.default_rng(1).standard_normal((400, SMALL.latent), np.float32)
        np.testing.assert_allclose(x, SMALL.generate(p, np.float32(truncation) * z, y)[0], atol=1e-6)
        spread.append(np.mean([x[y == k].var(0).mean() for k in range(10)]))
        if truncation == 0:
            assert len(np.unique(x.round(4), axis=0)) == 10  # one image a class
    assert (np.diff(spread) > 0).all()
    for (path, now), (_, then) in zip(tree.leaves(p), tree.leaves(before), strict=True):
        np.testing.assert_array_equal(now, then, err_msg=path)


def test_samples_do_not_depend_on_the_chunks(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    p, y = generator(rng), np.arange(50) % 10
    whole = gan_training.sample(p, y, 0.7, np.random.default_rng(1))
    monkeypatch.setattr(gan_training, "CHUNK", 7)
    np.testing.assert_allclose(gan_training.sample(p, y, 0.7, np.random.default_rng(1)), whole, atol=1e-6)


@pytest.mark.parametrize("truncation", [-0.1, math.nan, math.inf])
def test_a_truncation_that_is_none_is_refused(truncation: float, rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"^sample: truncation must be finite and not negative, got"):
        gan_training.sample(generator(rng), np.zeros(1, int), truncation, rng)


def test_standing_statistics_are_those_of_the_generators_own_activations(rng: np.random.Generator) -> None:
    p = tree.astype(point(rng), np.float32)["generator"]
    z, y = gan_training.latents(SMALL, 2000, np.random.default_rng(1))
    in_batch, _ = SMALL.generate(same_statistics(p), z, y, TRAIN)
    before, _ = SMALL.generate(p, z, y)
    gan_training.stand(SMALL, p, 500, rng)
    after, _ = SMALL.generate(p, z, y)
    assert np.abs(before - in_batch).mean() > 10 * np.abs(after - in_batch).mean()


CFG = SimpleNamespace(seeds=[0], data="digits", gan_steps=9, gan_channels=4)


def setting(folder: Path) -> Setting:
    return Setting(folder=folder, label="test", named_by=("kind", "seed"), code="")


class Halted(Run):
    """Stopped by a signal after four steps."""

    def steps(self) -> Iterator[int]:
        for step in super().steps():
            if step == 4:
                self.save()
                raise Stopped("stopped", 2)
            yield step


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    job = gan_training.gan_job(CFG)
    ends = []
    for name in ("whole", "halted"):
        run = Run(job, setting(tmp_path / name))
        run.folder.mkdir(parents=True)
        if name == "halted":
            with pytest.raises(Stopped):
                gan_training.train(job, Halted(job, setting(tmp_path / name)))
        gan_training.train(job, run)
        run.save()
        moments = range(1, gan_training.MOMENTS + 1)
        ends.append((run.rows, {str(n): gan_training.trained(job, setting(tmp_path / name), n) for n in moments}))
    (rows, past), (rows_halted, past_halted) = ends
    assert rows == rows_halted
    assert [row["step"] for row in rows[:-1]] == list(range(1, 10))
    assert rows[-1]["multiply_adds"] == 9 * gan_training.step_cost(job)
    for (path, whole), (_, halted) in zip(tree.leaves(past), tree.leaves(past_halted), strict=True):
        np.testing.assert_array_equal(whole, halted, err_msg=path)
    assert len({own["0"]["W"].tobytes() for own in past.values()}) == gan_training.MOMENTS  # another at each moment


def test_training_brings_samples_to_the_data(tmp_path: Path) -> None:
    """A few hundred steps: the mean image of each class, and the spread of the pixels."""
    job = gan_training.gan_job(SimpleNamespace(**vars(CFG) | {"gan_steps": 600, "gan_channels": 12})) | {"ema": 0.98}
    run = Run(job, setting(tmp_path))
    run.folder.mkdir(parents=True)
    gan_training.train(job, run)
    run.save()
    p, images = gan_training.trained(job, setting(tmp_path)), data("digits")

    def correlations(p: Tree) -> Array:
        y = np.arange(2000) % 10
        x = gan_training.sample(p, y, 1.0, np.random.default_rng(1))
        pairs = [(x[y == k].mean(0), images.train[images.train_labels == k].mean(0)) for k in range(10)]
        return np.array([np.corrcoef(ours.ravel(), real.ravel())[0, 1] for ours, real in pairs])

    assert correlations(p).min() > 0.9
    assert correlations(gan_training.fresh(job)["generator"]).max() < 0.5


def test_counting_changes_no_number(rng: np.random.Generator) -> None:
    p, (_, _, z, y) = point(rng), batch(rng)

    def grads(generator: Tree, discriminator: Tree) -> Tree:
        fake, pullback = SMALL.generate(generator, z, y, TRAIN)
        return generator_gradient(SMALL, discriminator, fake, y, pullback)[1]

    counted = []
    copy = same_statistics(p["generator"])
    tally(lambda *q: counted.append(grads(*q)), copy, p["discriminator"])
    plain = grads(p["generator"], p["discriminator"])
    for (path, ours), (_, expected) in zip(tree.leaves(counted[0]), tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(ours, expected, err_msg=path)
    np.testing.assert_array_equal(copy["2"]["running"]["mean"], p["generator"]["2"]["running"]["mean"])


def test_a_step_costs_what_its_passes_cost() -> None:
    """With g and d multiply-adds forwards an image: 3 g, 3 d for each real and each fake, and 2 d for each fake again.

    The gradients of D's weights in G's part of the step, a third d, are dropped and not charged.
    """
    job = gan_training.gan_job(CFG)
    c, n = job["channels"], job["batch_size"]
    g = (64 + 10) * 4 * 2 * c + 16 * 9 * 2 * c * c + 64 * 9 * c
    d = 16 * 16 * c + 4 * 16 * c * 2 * c + 4 * 2 * c * 10
    assert gan_training.step_cost(job) == n * (3 * g + 8 * d)

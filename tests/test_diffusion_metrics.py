"""The metrics against closed forms, scipy and brute force, and the classifier that they are taken on."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from scipy.stats import entropy, wasserstein_distance
from torch.nn import functional as F

from papers.diffusion import features, metrics
from papers.diffusion.images import data
from shared import gradcheck, threads, tree
from shared.experiment import Run, Setting
from shared.layers.base import Pullback
from shared.losses import softmax_cross_entropy
from shared.tree import Array, Tree


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker: layers this small gain nothing from a second one."""
    with threads.use(1):
        yield


def sample(rng: np.random.Generator, mean: Array, root: Array, n: int = 200) -> Array:
    """n points (n, F) whose mean and covariance *are* mean and root root^T."""
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T).reshape(len(mean), -1)), x.T)
    return mean + (root @ white).T


def test_frechet_distance_of_axis_parallel_gaussians(rng: np.random.Generator) -> None:
    """Commuting covariances: |mu_a - mu_b|^2 + |sigma_a - sigma_b|^2; a rotation or a shift of both changes nothing."""
    (mean_a, mean_b), (sigma_a, sigma_b) = rng.standard_normal((2, 5)), rng.uniform(0.1, 3, (2, 5))
    a, b = sample(rng, mean_a, np.diag(sigma_a)), sample(rng, mean_b, np.diag(sigma_b))
    expected = ((mean_a - mean_b) ** 2).sum() + ((sigma_a - sigma_b) ** 2).sum()
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    assert metrics.frechet_distance(a @ rotation + 7, b @ rotation + 7) == pytest.approx(expected, rel=1e-10)
    assert metrics.frechet_distance(10 * a, 10 * b) == pytest.approx(100 * expected, rel=1e-10)


def test_frechet_distance_equals_scipys_root_of_the_product(rng: np.random.Generator) -> None:
    """Covariances that do not commute: the eigh form against the printed one, tr(S_a + S_b - 2 (S_a S_b)^(1/2))."""
    a, b = (rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + rng.standard_normal(6) for _ in range(2))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    trace = np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + trace
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_in_one_dimension_is_that_of_the_best_transport(rng: np.random.Generator) -> None:
    """x -> mu_b + sigma_b / sigma_a (x - mu_a) moves a's points to b's in order; W_2^2 is the mean squared way."""
    a = rng.standard_normal((400, 1))
    b = 3 + 2 * a
    way = np.mean((np.sort(a, 0) - np.sort(b, 0)) ** 2)
    shift = wasserstein_distance(a[:, 0], b[:, 0])
    assert metrics.frechet_distance(a, b) == pytest.approx((a.mean() - b.mean()) ** 2 + a.var(ddof=1), rel=1e-10)
    assert metrics.frechet_distance(a, b) == pytest.approx(way, rel=0.01)  # N against N - 1
    assert metrics.frechet_distance(a, b) >= shift**2  # W_1 <= W_2


def test_frechet_distance_with_fewer_points_than_features(rng: np.random.Generator) -> None:
    """Singular covariances A A^T and B B^T: tr (R B B^T R)^(1/2) is the sum of the singular values of A^T B."""
    a, b = rng.standard_normal((5, 12)), 2 * rng.standard_normal((7, 12)) + 1
    A, B = ((x - x.mean(0)).T / np.sqrt(len(x) - 1) for x in (a, b))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + (A**2).sum() + (B**2).sum()
    expected -= 2 * np.linalg.svd(A.T @ B, compute_uv=False).sum()
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert metrics.frechet_distance(np.ones((4, 3)), np.zeros((4, 3))) == pytest.approx(3)  # dead features


def test_frechet_distance_of_a_set_to_itself_is_nothing_and_float32_is_no_excuse(rng: np.random.Generator) -> None:
    a = rng.standard_normal((500, 8)).astype(np.float32) + 100
    assert metrics.frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    b = rng.standard_normal((500, 8)) + 101
    assert metrics.frechet_distance(a, b.astype(np.float32)) == pytest.approx(metrics.frechet_distance(a, b), rel=1e-5)


def test_inception_score_has_the_values_that_it_must(rng: np.random.Generator) -> None:
    assert metrics.inception_score(np.eye(10)[np.arange(40) % 10]) == pytest.approx(10)  # sure, and all classes
    assert metrics.inception_score(np.eye(10)[np.zeros(40, int)]) == pytest.approx(1)  # sure, but one class
    assert metrics.inception_score(np.full((40, 10), 0.1)) == pytest.approx(1)  # not sure
    p = rng.dirichlet(np.full(10, 0.3), 50)
    kl = entropy(p, p.mean(0, keepdims=True), axis=1)  # scipy's relative entropy, row by row
    assert metrics.inception_score(p) == pytest.approx(np.exp(kl.mean()), rel=1e-12)
    assert metrics.inception_score(p.astype(np.float32)) == pytest.approx(np.exp(kl.mean()), rel=1e-6)


def brute_force(real: Array, fake: Array, k: int) -> tuple[float, float]:
    """Equations 1 and 2 point by point."""

    def share(points: Array, manifold: Array) -> float:
        radius = np.sort(cdist(manifold, manifold), 1)[:, k]  # column 0 is the point itself
        return float(np.mean([(np.linalg.norm(p - manifold, axis=1) <= radius).any() for p in points]))

    return share(fake, real), share(real, fake)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_equal_brute_force(
    k: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    real, fake = rng.standard_normal((90, 4)), 0.7 * rng.standard_normal((90, 4)) + 1.2
    expected = brute_force(real, fake, k)
    assert 0 < min(expected) < max(expected) < 1
    for block in (7, 90, 256):  # the last block is whole or not
        monkeypatch.setattr(metrics, "BLOCK", block)
        assert metrics.precision_recall(real, fake, k) == expected
        assert metrics.precision_recall(fake, real, k) == expected[::-1]
        assert metrics.precision_recall(real + 1000, fake + 1000, k) == expected


def test_precision_falls_with_bad_samples_and_recall_with_missing_ones(rng: np.random.Generator) -> None:
    centres = 100 * np.eye(4)
    real = centres[np.arange(200) % 4] + rng.standard_normal((200, 4))
    half = np.tile(real[np.arange(200) % 4 < 2], (2, 1))
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(real, half) == (1, 0.5)  # two of four modes: all good, half of them missing
    worse = np.where(np.arange(200)[:, None] < 50, -100, real)
    assert metrics.precision_recall(real, worse)[0] == 0.75
    assert metrics.precision_recall(real, real + 1000) == (0, 0)


def test_points_that_occur_more_than_k_times_are_in_their_own_manifold(rng: np.random.Generator) -> None:
    """Their radius is 0, where the rounding of |a|^2 + |b|^2 - 2 ab would decide."""
    x = np.repeat(rng.standard_normal((20, 32)) * 1000, 5, 0).astype(np.float32)
    assert metrics.precision_recall(x, rng.permutation(x)) == (1, 1)


def test_metrics_refuse_what_they_cannot_measure(rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 3))
    with pytest.raises(ValueError, match=r"^frechet_distance: features must be \(N, F\) with N >= 2, got \(1, 3\)$"):
        metrics.frechet_distance(x[:1], x)
    with pytest.raises(ValueError, match=r"^frechet_distance: features must be of one length, got 3 and 2$"):
        metrics.frechet_distance(x, x[:, :2])
    with pytest.raises(ValueError, match=r"^frechet_distance: features must be finite$"):
        metrics.frechet_distance(x, np.where(x > 0, np.nan, x))
    with pytest.raises(ValueError, match=r"^inception_score: each row must be a distribution"):
        metrics.inception_score(x)
    with pytest.raises(ValueError, match=r"^precision_recall: .* must have one shape, got \(5, 3\) and \(4, 3\)$"):
        metrics.precision_recall(x, x[1:])
    for k in (0, 5):
        with pytest.raises(ValueError, match=rf"^precision_recall: k must be in 1\.\.4, .* got {k}$"):
            metrics.precision_recall(x, x, k)


def torch_classifier(p: dict, x: torch.Tensor) -> torch.Tensor:
    """The 8x8 classifier again, in torch's functions and NCHW, from the same parameters."""
    own = p["0"]
    x = F.conv2d(x.permute(0, 3, 1, 2), own["0"]["W"].permute(3, 2, 0, 1), own["0"]["b"], padding=1)
    x = F.conv2d(F.leaky_relu(x, 0.1), own["2"]["W"].permute(3, 2, 0, 1), own["2"]["b"], stride=2, padding=1)
    x = F.leaky_relu(x, 0.1).permute(0, 2, 3, 1).flatten(1)
    h = F.leaky_relu(x @ own["5"]["W"] + own["5"]["b"], 0.1)
    return h @ p["1"]["W"] + p["1"]["b"]


def test_classifiers_loss_and_gradients_equal_torchs_and_differences(rng: np.random.Generator) -> None:
    x, y = data("digits").test[:3].astype(np.float64), data("digits").test_labels[:3]
    net = features.network(8)
    p = tree.map(lambda a: a + 0.1 * rng.standard_normal(a.shape), net.init(rng))

    def mean_loss(p: Tree) -> tuple[Array, Pullback]:
        logits, pullback = net(p, x)
        loss, loss_pullback = softmax_cross_entropy(logits, y)
        return loss.mean(), lambda dy: pullback(loss_pullback(np.full(len(y), dy / len(y))))[1]

    gradcheck.check(mean_loss, p, rng=rng, rtol=1e-5)
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    F.cross_entropy(torch_classifier(q, torch.tensor(x)), torch.tensor(y)).backward()
    for (path, ours), (_, theirs) in zip(tree.leaves(mean_loss(p)[1](np.float64(1))), tree.leaves(q), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-7, atol=1e-9, err_msg=path)


@pytest.mark.parametrize("side", features.FEATURES)
def test_features_are_what_the_logits_are_a_linear_map_of(
    side: int, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(features, "CHUNK", 4)
    net, x = features.network(side), rng.uniform(-1, 1, (10, side, side, 1)).astype(np.float32)
    p = net.init(rng)
    found, probability = features.features(p, x)
    assert found.shape == (10, features.FEATURES[side])
    logits = found @ p["1"]["W"] + p["1"]["b"]
    np.testing.assert_allclose(logits, net(p, x)[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probability, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-4)


def test_training_classifies_digits_and_its_features_measure_them(tmp_path: Path, rng: np.random.Generator) -> None:
    job = features.features_job(SimpleNamespace(seeds=[0], data="digits", feature_steps=400))
    setting = Setting(folder=tmp_path, label="test", named_by=("kind", "seed"), code="")
    run = Run(job, setting)
    features.train(job, run)
    (row,) = run.rows
    assert row["test_accuracy"] > 0.9
    run.folder.mkdir(parents=True)
    run.save()
    p = features.trained(job, setting)
    real, probability = features.features(p, data("digits").train)
    test, _ = features.features(p, data("digits").test)
    assert real.std(0).min() > 0.05  # no feature is the same for every image
    assert row["train_accuracy"] == np.mean(probability.argmax(1) == data("digits").train_labels)
    noise = features.features(p, rng.uniform(-1, 1, (297, 8, 8, 1)).astype(np.float32))[0]
    assert metrics.frechet_distance(real, noise) > 10 * metrics.frechet_distance(real, test)
    precision, of_noise = (metrics.precision_recall(real[:297], x)[0] for x in (test, noise))
    assert of_noise < 0.5 < precision

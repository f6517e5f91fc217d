"""Rethinking generalisation: the corruptions' properties, the networks against torch, the jobs, the claims."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from papers.entry import check_arguments
from papers.rethinking_generalization import claims, corruption, data, figure, section5, table_1, training
from papers.rethinking_generalization.model import PARAMETERS, Beside, alexnet, convolution, inception, mlp, network
from papers.rethinking_generalization.run import NAMED_BY, RethinkingSettings
from shared import gradcheck, plot, tree
from shared.errors import BadRequest, RunError
from shared.experiment import Run, Setting
from shared.layers.base import EVAL, Mode, Pullback
from shared.layers.combinators import Sequential
from shared.layers.pool import MaxPool
from shared.losses import softmax_cross_entropy
from shared.tree import Array, Tree

TRAIN = Mode(train=True)
K = 10
CLAIMS = [*claims.CLAIMS, *table_1.CLAIMS]


def labels(n: int) -> Array:
    return np.random.default_rng((0, 1)).integers(0, K, n)


def images(n: int, size: int = 6, channels: int = 3) -> Array:
    x = np.random.default_rng(1).integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    x.setflags(write=False)
    return x


def within_five_deviations(count: int, n: int, p: float) -> bool:
    """A binomial count is where it should be."""
    return abs(count - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9


@given(p=st.floats(0, 1), seed=st.integers(0, 2**31))
@settings(max_examples=30)
def test_nine_tenths_of_p_of_the_labels_change(p: float, seed: int) -> None:
    y = labels(20_000)
    before = y.copy()
    corrupted = corruption.corrupted_labels(y, p, seed, K)
    np.testing.assert_array_equal(y, before)
    assert corrupted.dtype == y.dtype
    assert within_five_deviations(int((corrupted != y).sum()), len(y), 0.9 * p)
    np.testing.assert_array_equal(corrupted, corruption.corrupted_labels(y, p, seed, K))
    np.testing.assert_array_equal(corrupted, corruption.corrupted_labels(y.astype(np.uint8), p, seed, K))


def test_no_corruption_changes_nothing() -> None:
    np.testing.assert_array_equal(corruption.corrupted_labels(labels(1000), 0, 3, K), labels(1000))


def test_random_labels_are_uniform_and_know_nothing_of_the_true_ones() -> None:
    y = labels(100_000)
    table = np.zeros((K, K))
    np.add.at(table, (y, corruption.corrupted_labels(y, 1, 0, K)), 1)
    assert all(within_five_deviations(count, len(y), 0.01) for count in table.ravel())


def test_what_is_corrupted_stays_so_at_a_larger_p() -> None:
    y = labels(5000)
    half, most, all_of_them = (corruption.corrupted_labels(y, p, 7, K) for p in (0.5, 0.8, 1))
    changed = half != y
    np.testing.assert_array_equal(half[changed], most[changed])
    np.testing.assert_array_equal(most[most != y], all_of_them[most != y])
    assert (corruption.corrupted_labels(y, 1, 8, K) != all_of_them).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), inf])
def test_p_outside_of_0_to_1_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"^corrupted_labels: p must be in \[0, 1\], got "):
        corruption.corrupted_labels(labels(10), p, 0, K)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array([0, 10]), r"^labels must be in 0..9, found 0..10$"),
        (np.array([-1, 3]), r"^labels must be in 0..9, found -1..3$"),
        (np.array([0.0, 1.0]), r"^labels must be integers \(N,\), got float64 \(2,\)$"),
        (np.array([[0, 1]]), r"^labels must be integers \(N,\), got int64 \(1, 2\)$"),
    ],
)
def test_labels_that_are_no_classes_are_refused(y: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corruption.corrupted_labels(y, 0.5, 0, K)


def colours(x: Array) -> Array:
    """Each image's pixels as sorted numbers, one a place."""
    return np.sort(x.reshape(len(x), -1, 3).astype(int) @ [1, 256, 256**2], axis=1)


@pytest.mark.parametrize("shuffle", [corruption.shuffled_pixels, corruption.random_pixels])
def test_shuffles_keep_each_images_colours_and_depend_on_the_seed_alone(shuffle: Callable) -> None:
    x = images(40)
    y = shuffle(x, 5)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(colours(y), colours(x))
    np.testing.assert_array_equal(y, shuffle(x, 5))
    assert (y != x).any()
    assert (y != shuffle(x, 6)).any()


@pytest.mark.parametrize("shuffle", [corruption.shuffled_pixels, corruption.random_pixels])
def test_no_images_are_shuffled_into_none(shuffle: Callable) -> None:
    assert shuffle(images(0), 5).shape == (0, 6, 6, 3)


def test_shuffled_pixels_have_one_permutation_and_random_pixels_one_each() -> None:
    one = np.broadcast_to(images(1), (50, 6, 6, 3))
    assert len(np.unique(corruption.shuffled_pixels(one, 0), axis=0)) == 1
    assert len(np.unique(corruption.random_pixels(one, 0), axis=0)) == 50
    x = images(7)
    np.testing.assert_array_equal(corruption.shuffled_pixels(x, 3)[2:4], corruption.shuffled_pixels(x[2:4], 3))


def test_every_place_gets_every_pixel_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 4000
    x = np.broadcast_to(np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1), (n, 3, 3, 1))
    y = corruption.random_pixels(x, 0).reshape(n, 9)
    assert all(within_five_deviations(int((y[:, i] == j).sum()), n, 1 / 9) for i in range(9) for j in range(9))
    monkeypatch.setattr(corruption, "CHUNK", 7)
    np.testing.assert_array_equal(corruption.random_pixels(x, 0).reshape(n, 9), y)


def test_gaussian_pixels_match_mean_and_variance_of_each_channel_and_nothing_else() -> None:
    like = images(200) * np.array([1.0, 0.5, 0.1]) + [0, 20, 100]
    n = 3000
    x = corruption.gaussian_pixels(n, like, 4)
    assert x.shape == (n, 6, 6, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, corruption.gaussian_pixels(n, like, 4))
    mean, std = like.mean((0, 1, 2)), like.std((0, 1, 2))
    count = n * 36
    assert (abs(x.mean((0, 1, 2), dtype=float) - mean) <= 5 * std / np.sqrt(count)).all()
    assert (abs(x.std((0, 1, 2), dtype=float) / std - 1) <= 5 / np.sqrt(2 * count)).all()
    z = ((x - mean) / std).reshape(n, -1)
    correlations = (z.T @ z / n)[np.triu_indices(z.shape[1], 1)]
    assert abs(correlations).max() <= 6 / np.sqrt(n)
    assert abs((z**4).mean() - 3) <= 5 * np.sqrt(96 / z.size)


def test_whitened_images_have_mean_0_and_deviation_1_each() -> None:
    x = images(2100, 4)
    y = data.whitened(x, 255)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1, rtol=1e-5)
    one = x[1234] / 255
    np.testing.assert_allclose(y[1234], (one - one.mean()) / one.std(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(data.whitened(corruption.shuffled_pixels(x, 1), 255).sum((1, 2, 3)).round(2), 0)


def test_whitening_bounds_the_deviation_from_below() -> None:
    flat = np.full((1, 5, 5, 3), 77, np.uint8)
    np.testing.assert_allclose(data.whitened(flat, 255), 0, atol=1e-6)
    faint = flat.copy()
    faint[0, 0, 0, 0] += 1  # a deviation below 1/sqrt(75)
    scaled = faint / 255
    np.testing.assert_allclose(data.whitened(faint, 255), (scaled - scaled.mean()) * np.sqrt(75), atol=1e-6)


def test_crops_are_windows_of_the_image() -> None:
    x = images(300, 6)
    np.testing.assert_array_equal(data.centre_crop(x, 4), x[:, 1:5, 1:5])
    windows = data.random_windows(x, 4, np.random.default_rng(0))
    places = set()
    for image, window in zip(x, windows, strict=True):
        found = [(i, j) for i in range(3) for j in range(3) if (image[i : i + 4, j : j + 4] == window).all()]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 9


def test_the_data_of_each_condition() -> None:
    true, test = data.corrupted("digits", "labels", 0.0, 300, 0)
    noisy, also = data.corrupted("digits", "labels", 1.0, 300, 0)
    assert (len(true.y), len(test.y)) == (300, 297)
    np.testing.assert_array_equal(true.x, noisy.x)
    np.testing.assert_array_equal(test.y, also.y)
    assert (true.y != noisy.y).mean() > 0.8
    for condition in data.CONDITIONS[1:]:
        other, other_test = data.corrupted("digits", condition, 0.0, 300, 0)
        np.testing.assert_array_equal(other.y, true.y)
        np.testing.assert_array_equal(other_test.y, test.y)
        assert other.x.shape == true.x.shape
        assert (other.x != true.x).any()
        assert (other_test.x != test.x).any()
    shuffled, shuffled_test = data.corrupted("digits", "shuffled-pixels", 0.0, 300, 0)
    order = [
        np.flatnonzero((true.x.reshape(300, 64) == column[:, None]).all(0)) for column in shuffled.x.reshape(300, 64).T
    ]
    known = [(i, o[0]) for i, o in enumerate(order) if len(o) == 1]  # border pixels are alike
    assert len(known) > 40
    flat, flat_test = test.x.reshape(-1, 64), shuffled_test.x.reshape(-1, 64)
    for i, j in known:
        np.testing.assert_allclose(flat_test[:, i], flat[:, j], atol=1e-6)


def test_no_epochs_order_corrupts_the_data_or_draws_the_weights() -> None:
    """Epoch e is ordered by default_rng((seed, e)); keys are padded with zeros, so (0, 15) would be epoch 15's."""
    epochs = [np.random.default_rng((0, epoch)).random() for epoch in range(200)]
    for purpose in (1, *range(10, 16)):
        assert np.random.default_rng(data.stream(0, purpose)).random() not in epochs
    train, _ = data.corrupted("digits", "labels", 1.0, 300, 0)
    assert (train.y != corruption.corrupted_labels(data.source("digits").train_labels[:300], 1.0, (0, 15), K)).any()
    net, p = training.initial(training.job(cfg(), "mlp1x64", 0))
    assert (p["1"]["W"] != net.init(np.random.default_rng((0, 1)))["1"]["W"]).any()


def test_the_data_of_one_job_at_a_time_are_kept() -> None:
    first = training.job(cfg(), "mlp1x64", 0)
    kept = data.data(first)
    assert data.data(first | {"weight_decay": 1.0}) is kept
    data.data(first | {"p": 1.0})
    assert data.data(first) is not kept
    data.release()
    assert not data._held


@pytest.mark.parametrize(("model", "count"), PARAMETERS.items())
def test_sizes_are_the_papers(model: str, count: int) -> None:
    assert table_1.parameters(model) == count


def test_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^network: model must be one of .*, got mlp2x3$"):
        network("mlp2x3", (8, 8, 1))


def double(p: Tree, seed: int = 0) -> Tree:
    rng = np.random.default_rng(seed)
    return tree.map(lambda a: a.astype(np.float64) + 0.1 * rng.random(a.shape), p)


def affine(p: dict, x: Tensor) -> Tensor:
    return x @ p["W"] + p["b"]


def torch_mlp(p: dict, x: Tensor, train: bool) -> Tensor:
    x = F.relu(affine(p["1"], x.flatten(1)))
    return affine(p["5"], F.relu(affine(p["3"], x)))


def conv(p: dict, x: Tensor, stride: int = 1) -> Tensor:
    kernel = p["W"].permute(3, 2, 0, 1)
    return F.conv2d(x, kernel, p["b"], stride, kernel.shape[-1] // 2)


def torch_alexnet(p: dict, x: Tensor, train: bool) -> Tensor:
    x = x.permute(0, 3, 1, 2)
    for i in ("0", "4"):
        x = F.local_response_norm(F.max_pool2d(F.relu(conv(p[i], x)), 3, 2, 1), 9, 1e-3, 0.75, 1.0)
    x = x.permute(0, 2, 3, 1).flatten(1)
    return affine(p["13"], F.relu(affine(p["11"], F.relu(affine(p["9"], x)))))


def unit(p: dict, x: Tensor, train: bool, stride: int = 1) -> Tensor:
    y = conv(p["0"], x, stride)
    if "running" in p["1"]:
        running = p["1"]["running"]
        y = F.batch_norm(y, running["mean"].detach().clone(), running["var"].detach().clone(), training=train)
    return F.relu(y)


STAGES = ((2, 3), 4, (3, 2))


def torch_inception(p: dict, x: Tensor, train: bool) -> Tensor:
    x = unit(p["0"], x.permute(0, 3, 1, 2), train)
    for i, stage in enumerate(STAGES, 1):
        own = p[str(i)]
        if isinstance(stage, int):
            x = torch.cat([unit(own["f"], x, train, 2), F.max_pool2d(x, 3, 2, 1)], 1)
        else:
            x = torch.cat([unit(own["f"], x, train), unit(own["g"], x, train)], 1)
    return affine(p[str(len(STAGES) + 2)], x.mean((2, 3)))


NETS = {
    "mlp": (mlp((5, 6, 3), 2, 7, 4), torch_mlp),
    "alexnet": (alexnet((5, 6, 3), 4, 12, (6, 5)), torch_alexnet),
    "inception": (inception(3, 4, True, 5, STAGES), torch_inception),
    "inception without BN": (inception(3, 4, False, 5, STAGES), torch_inception),
}


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("name", NETS)
def test_logits_and_gradients_equal_torchs(name: str, train: bool) -> None:
    net, oracle = NETS[name]
    rng = np.random.default_rng(0)
    p, x, y = double(net.init(rng)), rng.standard_normal((6, 5, 6, 3)), rng.integers(0, 4, 6)
    q = tree.map(lambda a: torch.tensor(a, requires_grad=True), p)
    theirs = oracle(q, torch.tensor(x), train)
    logits, pullback = net(p, x, TRAIN if train else EVAL)
    np.testing.assert_allclose(logits, theirs.detach().numpy(), rtol=1e-8, atol=1e-9)
    loss, loss_pullback = softmax_cross_entropy(logits, y)
    dx, grads = pullback(loss_pullback(np.full_like(loss, 1 / len(y))))
    F.cross_entropy(theirs, torch.tensor(y)).backward()
    assert dx is None
    for (path, ours), (also, leaf) in zip(tree.leaves(grads), tree.leaves(tree.trainable(q)), strict=True):
        assert path == also
        scale = float(leaf.grad.abs().max())
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-7, atol=1e-8 * scale + 1e-12, err_msg=path)


@pytest.mark.parametrize("name", NETS)
def test_gradient_of_the_whole_network(name: str) -> None:
    net, _ = NETS[name]
    rng = np.random.default_rng(1)  # with some seeds a difference steps over a kink of a ReLU or of a pool
    p, x = double(net.init(rng)), rng.standard_normal((6, 5, 6, 3))
    gradcheck.check(lambda q: parameters_alone(net, q, p, x), tree.trainable(p), rng=rng, rtol=1e-5)


def parameters_alone(net: Sequential, q: Tree, p: Tree, x: Array) -> tuple[Array, Callable]:
    y, pullback = net(merged(q, p), x, TRAIN)
    return y, lambda dy: pullback(dy)[1]


def merged(trainable: Tree, p: Tree) -> Tree:
    """p with its trainable leaves replaced; the running statistics are copies."""
    return {
        name: (merged(trainable.get(name, {}), value) if name != "running" else tree.map(np.copy, value))
        if isinstance(value, dict)
        else trainable[name]
        for name, value in p.items()
    }


def test_branches_side_by_side_add_their_gradients() -> None:
    layer = Beside(convolution(3, 2, 3, True, stride=2), MaxPool(3, 2, 1))
    rng = np.random.default_rng(0)
    p, x = double(layer.init(rng)), rng.standard_normal((3, 5, 6, 3))
    assert layer(p, x)[0].shape == (3, 3, 3, 5)

    def f(x: Array, q: Tree) -> tuple[Array, Pullback]:
        return layer(merged(q, p), x, TRAIN)

    gradcheck.check(f, x, tree.trainable(p), rng=rng, rtol=1e-5)


CFG = {
    "data": "digits",
    "seeds": [0, 1],
    "model": "mlp1x64",
    "table": ["alexnet", "mlp1x64"],
    "corruption": [0, 0.5, 1],
    "images": 200,
    "iterations": 8,
    "convolutional_images": 100,
    "convolutional_iterations": 2,
    "convolutional_random_iterations": 4,
    "evaluate_every": 2,
    "batch_size": 20,
    "learning_rate": 0.01,
    "inception_learning_rate": 0.1,
    "decay": 0.5,
    "decay_every": 4,
    "weight_decay": 1e-4,
}


def cfg(**changed: object) -> SimpleNamespace:
    return SimpleNamespace(**CFG | changed)


def setting(tmp_path: Path) -> Setting:
    return Setting(folder=tmp_path, label="test", named_by=("model", "condition", "p", "seed"), code="")


def trained(tmp_path: Path, job: dict) -> Run:
    run = Run(job, setting(tmp_path))
    training.train(job, run)
    return run


def test_figure_1_comes_first_and_nothing_twice() -> None:
    jobs = training.jobs(cfg())
    assert [(j["seed"], j["condition"], j["p"]) for j in jobs[:6]] == [
        *((0, "labels", 0), (0, "labels", 1), (0, "shuffled-pixels", 0), (0, "random-pixels", 0), (0, "gaussian", 0)),
        (0, "labels", 0.5),
    ]
    table = [(j["model"], j["seed"], j["p"], j["weight_decay"], j["crop"], j["steps"]) for j in jobs[12:]]
    assert table == [
        *(("mlp1x64", 0, 0, 1e-4, False, 8), ("mlp1x64", 1, 0, 1e-4, False, 8)),
        *(("alexnet", 0, 1, 0, False, 4), ("alexnet", 0, 0, 0, False, 2), ("alexnet", 0, 0, 1e-4, True, 2)),
    ]


def test_conditions_share_their_hyperparameters_and_their_start() -> None:
    jobs = training.figure_1(cfg(), 0)
    differing = {"condition", "p"}
    assert len({str({k: v for k, v in job.items() if k not in differing}) for job in jobs}) == 1
    first, *others = (tree.flatten(training.initial(job)[1])[0] for job in jobs)
    assert all((first == other).all() for other in others)
    assert training.job(cfg(), "inception", 0)["learning_rate"] == 0.1


def test_only_table_1s_random_labels_are_trained_for_longer() -> None:
    settings = cfg(model="alexnet", table=["alexnet"], seeds=[0])
    assert {job["steps"] for job in training.figure_1(settings, 0)} == {2}
    assert [job["steps"] for job in training.jobs(settings) if job["p"] == 1] == [2, 4]
    ends = [job | {"part": "end", "train_accuracy": 100.0 * job["steps"]} for job in training.jobs(settings)]
    rows = pd.DataFrame([end | {"test_accuracy": 50.0} for end in ends])
    assert set(claims.figure_1(rows, "end")["steps"]) == {2}
    assert list(table_1.alexnet(rows.assign(data="cifar10"))["train_accuracy"]) == [200, 400, 200]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": 2000}, "images=2000: must be between batch_size=20 and the 1500 training images of digits"),
        ({"convolutional_images": 10}, "convolutional_images=10: must be between batch_size=20 and the 1500"),
        ({"evaluate_every": 3}, "evaluate_every=3: must divide iterations=8"),
        ({"convolutional_iterations": 5}, "evaluate_every=2: must divide convolutional_iterations=5"),
    ],
)
def test_settings_that_do_not_go_together(changed: dict, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        training.check(cfg(**changed), data.source("digits"))


@pytest.mark.parametrize("argument", ["corruption=[0.5,1.5]", "corruption=[-0.1]", "corruption=[nan]"])
def test_a_p_that_is_none_is_refused_before_anything_else(argument: str) -> None:
    with pytest.raises(BadRequest, match=r"^corruption=.*: must be .* each a number >= 0 and <= 1$"):
        check_arguments([argument], RethinkingSettings)


def test_labels_of_a_data_set_that_are_no_classes() -> None:
    found = data.source("digits")
    wrong = found._replace(test_labels=found.test_labels + 1)
    with pytest.raises(BadRequest, match=r"^digits, test set: labels must be in 0..9, found 1..10$"):
        training.check(cfg(), wrong)


def test_a_training_records_its_curve_and_its_end(tmp_path: Path) -> None:
    (job, *_) = training.jobs(cfg())
    rows = pd.DataFrame(trained(tmp_path, job).rows)
    curve, end = rows[rows["part"] == "curve"], rows[rows["part"] == "end"]
    assert list(curve["iteration"]) == [2, 4, 6, 8]
    np.testing.assert_allclose(curve["learning_rate"], [0.01, 0.01, 0.005, 0.005])
    assert len(end) == 1
    assert end["parameters"].item() == 64 * 64 + 64 + 64 * 10 + 10


def test_the_loss_of_the_first_step_is_the_initial_networks(tmp_path: Path) -> None:
    job = training.job(cfg(evaluate_every=1), "mlp1x64", 0) | {"steps": 1}
    train, _ = data.data(job)
    net, p = training.initial(job)
    index = next(training.minibatches(200, 20, 0))
    loss, _ = softmax_cross_entropy(net(p, train.x[index])[0], train.y[index])
    np.testing.assert_allclose(trained(tmp_path, job).rows[0]["loss"], loss.mean(), rtol=1e-5)


def test_weight_decay_and_crops_change_a_training(tmp_path: Path) -> None:
    plain = training.job(cfg(), "mlp1x64", 0)
    ends = [
        trained(tmp_path / str(i), job).rows[-1]["train_loss"]
        for i, job in enumerate((plain, plain, plain | {"weight_decay": 1.0}, plain | {"crop": True}))
    ]
    assert ends[0] == ends[1]
    assert ends[2] != ends[0]
    np.testing.assert_allclose(ends[3], ends[0], rtol=1e-4)  # digits are as large as their window


def test_a_later_stage_reads_what_a_training_ended_with(tmp_path: Path) -> None:
    job, where = training.job(cfg(), "alexnet", 0), setting(tmp_path)
    with pytest.raises(RunError, match="no checkpoint of its last step"):
        training.trained(job, Run(job, where))
    where.run_folder(job).mkdir(parents=True)
    run = Run(job, where)
    training.train(job, run)
    run.save()
    (run.folder / "rows.json").write_text(f'{{"rows": {str(run.rows).replace(chr(39), chr(34))}}}')
    found = training.trained(job, run)
    train, test = data.data(job)
    np.testing.assert_allclose(training.evaluate(found.net, found.p, test)[1], found.end["test_accuracy"])
    np.testing.assert_allclose(training.evaluate(found.net, found.p, train)[0], found.end["train_loss"])


def made_up_rows() -> pd.DataFrame:
    """Two seeds of Figure 1 on CIFAR-10, fitted after 100 iterations and 400 more at p = 1, and rows of Table 1."""
    rows = []
    base = {
        "stage": "train",
        "model": "mlp3x512",
        "data": "cifar10",
        "images": 50_000,
        "steps": 1000,
        "batch_size": 128,
    }
    fits = {("labels", p): 100 + 400 * p for p in (0.0, 0.25, 0.5, 1.0)}
    fits |= {("shuffled-pixels", 0.0): 120, ("random-pixels", 0.0): 300, ("gaussian", 0.0): 200}
    for seed in (0, 1):
        for (condition, p), fit in fits.items():
            own = base | {"condition": condition, "p": p, "seed": seed, "weight_decay": 0.0, "crop": False}
            for iteration in range(10, 1001, 10):
                left = max(0, 1 - iteration / fit)
                rows.append(own | {"part": "curve", "iteration": iteration, "loss": 2.3 * left, "error": 90 * left})
            test = 52.0 - 42 * p + seed
            rows.append(own | {"part": "end", "train_accuracy": 99.5 + 0.1 * seed, "test_accuracy": test})
        decayed = base | {"condition": "labels", "p": 0.0, "seed": seed, "weight_decay": 1e-4, "crop": False}
        rows.append(decayed | {"part": "end", "train_accuracy": 99.0, "test_accuracy": 53.5 + seed})
        for regularised, test in ((False, 70.0), (True, 74.0)):
            alex = base | {"model": "alexnet", "images": 10_000, "condition": "labels", "p": 0.0, "seed": seed}
            alex |= {"weight_decay": 1e-4 * regularised, "crop": regularised, "part": "end"}
            rows.append(alex | {"train_accuracy": 100.0, "test_accuracy": test + seed})
    return pd.DataFrame(rows)


def test_claims_measure_what_they_say() -> None:
    values = {claim.id.removeprefix("rethinking-"): claim.measure(made_up_rows()) for claim in CLAIMS}
    assert values["fig1a-fits"] == pytest.approx([99.5, 99.6])
    assert values["random-labels-test"] == pytest.approx([10, 11])
    assert values["fig1a-noise-fits"] == pytest.approx([0.6, 0.6])
    assert values["fig1a-noise-starts"] == pytest.approx([0.6, 0.6])
    assert values["fig1a-slowdown"] == pytest.approx([5, 5])
    assert values["fig1b-time"] == pytest.approx([1, 1])
    assert values["fig1c-error"] == pytest.approx([1, 1])
    assert values["fig1c-limit"] == pytest.approx([90, 89])
    assert values["weight-decay"] == pytest.approx([1.5, 1.5])
    assert values["table1-mlp3x512-none-test"] == pytest.approx([52, 53])
    assert values["table1-mlp3x512-weight-decay-train"] == pytest.approx([99, 99])
    assert values["table1-mlp3x512-random-labels-test"] == pytest.approx([10, 11])
    assert values["alexnet-regularisers"] == pytest.approx([4, 4])
    untested = ("alexnet-random-labels", "table1-alexnet-none-test", "table1-inception-crop-train", "imagenet-top1")
    assert not any(values[claim] for claim in untested)


def test_what_is_never_fitted_takes_for_ever() -> None:
    rows = made_up_rows()
    rows.loc[(rows["part"] == "curve") & (rows["p"] == 1), "error"] = 50.0
    values = {claim.id.removeprefix("rethinking-"): claim.measure(rows) for claim in CLAIMS}
    assert values["fig1a-slowdown"] == [inf, inf]
    assert values["fig1b-time"] == pytest.approx([1, 1])
    assert values["fig1a-noise-fits"] == [0, 0]


def test_a_condition_that_is_missing_leaves_claims_untested() -> None:
    rows = made_up_rows()
    values = {
        claim.id.removeprefix("rethinking-"): claim.measure(rows[rows["condition"] != "gaussian"]) for claim in CLAIMS
    }
    assert values["fig1a-fits"] == values["fig1a-noise-fits"] == values["fig1a-noise-starts"] == []
    assert values["fig1a-slowdown"] == pytest.approx([5, 5])


def test_a_seed_that_lost_a_training_counts_for_no_claim_on_all_of_them() -> None:
    rows = made_up_rows()
    lost = rows[(rows["seed"] != 1) | (rows["p"] != 0.5) | (rows["part"] != "end")]  # it diverged and left its curve
    values = {claim.id.removeprefix("rethinking-"): claim.measure(lost) for claim in CLAIMS}
    assert values["fig1b-fits"] == pytest.approx([99.5])
    assert values["fig1c-error"] == pytest.approx([1])
    assert values["fig1a-fits"] == pytest.approx([99.5, 99.6])


def test_rows_of_table_1_that_no_job_trains_say_why() -> None:
    statements = {claim.id: claim.statement for claim in table_1.CLAIMS}
    reason = ": no job trains this row, for the time it takes"
    for row, without in (("crop", True), ("weight-decay", True), ("crop-weight-decay", False), ("none", False)):
        assert statements[f"rethinking-table1-alexnet-{row}-test"].endswith(reason) == without
    assert not statements["rethinking-table1-mlp3x512-weight-decay-test"].endswith(reason)


@pytest.mark.parametrize("found", [[], [{"part": "curve", "iteration": 2, "loss": 9.0, "error": 90.0}]])
def test_without_a_last_reading_nothing_is_measured(found: list[dict]) -> None:
    """All trainings may have diverged, some before their first evaluation."""
    rows = pd.DataFrame(
        [training.job(cfg(), "mlp1x64", 0) | row for row in found] or [{"stage": "section5", "seed": 0}]
    )
    values = {claim.id: claim.measure(rows) for claim in CLAIMS}
    assert not any(value for name, value in values.items() if not name.startswith("rethinking-parameters"))


def test_copying_single_labels_starts_where_the_measured_error_does_and_ends_at_guessing() -> None:
    np.testing.assert_allclose(figure.copied(np.array([0, 1]), 0.48), [0.48, 0.9])
    rng, y = np.random.default_rng(0), labels(200_000)
    copied = np.where(rng.random(len(y)) < 0.3, (y + rng.integers(1, K, len(y))) % K, y)  # the copied image's class
    answers = corruption.corrupted_labels(copied, 0.5, 1, K)
    assert within_five_deviations(int((answers != y).sum()), len(y), float(figure.copied(np.array(0.5), 0.3)))


def test_figures_hold_their_curves() -> None:
    drawn = figure.headline(made_up_rows(), "CIFAR-10")
    losses, slowdown, errors = drawn.axes
    assert len(losses.lines) == 5
    np.testing.assert_allclose(slowdown.lines[0].get_xydata(), [[0, 1], [0.25, 2], [0.5, 3], [1, 5]])
    np.testing.assert_allclose(errors.lines[0].get_ydata(), 100 - np.array([52.5, 42, 31.5, 10.5]))
    table = figure.table_1(made_up_rows(), "CIFAR-10")
    assert errors.lines[1].get_ydata()[0] == pytest.approx(100 - 52.5)
    names = [text.get_text() for text in table.axes[0].get_yticklabels()]
    assert len(names) == 5
    assert names[0] == "MLP 3x512, none\n50,000 images, 1,000 iterations, seeds 0, 1"
    assert all(plot.png(f).startswith(b"\x89PNG") for f in (drawn, table))


# Runs


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[1]
    return subprocess.run(
        [sys.executable, "papers/rethinking_generalization/run.py", "scale=smoke", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
    )


SMALL = ("table=[mlp1x64]", "compute.workers=1")


def ledger(home: Path) -> "pd.Series[str]":
    (path,) = home.glob("rethinking_generalization/smoke/custom-*/claims.csv")
    return pd.read_csv(path).set_index("id")["verdict"]


def test_what_fails_in_section_5_leaves_figure_1(results_home: Path) -> None:
    job = section5.study("sgd", 0, section5.EPOCHS, data="generated")
    scale = results_home / "rethinking_generalization/smoke"
    in_the_way = Setting(folder=scale, label="", named_by=NAMED_BY, code="").run_folder(job)
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("not a folder")
    failed = command(*SMALL)
    assert failed.returncode == 2
    assert f"{in_the_way} is not a folder" in failed.stderr
    (folder,) = scale.glob("custom-*")
    assert {path.name for path in folder.glob("*.png")} == {"headline.png", "table_1.png"}
    verdicts = ledger(results_home)
    assert verdicts["rethinking-fig1a-fits"] == "not reproduced"
    assert verdicts["rethinking-sgd-minimum-norm"] == "not tested at this scale"
    in_the_way.unlink()
    assert command(*SMALL).returncode == 0
    assert ledger(results_home)["rethinking-sgd-minimum-norm"] == "reproduced"
    assert len(list(folder.glob("*.png"))) == 4


def test_trainings_that_all_diverge_end_in_one_line_and_leave_section_5(results_home: Path) -> None:
    diverged = command(*SMALL, "learning_rate=1e8")
    assert diverged.returncode == 1
    assert diverged.stderr.splitlines()[-1].endswith("Lower learning_rate.")
    assert "Traceback" not in diverged.stderr
    verdicts = ledger(results_home)
    assert verdicts["rethinking-fig1a-fits"] == "not reproduced"
    assert verdicts["rethinking-sgd-minimum-norm"] == "reproduced"
    (path,) = results_home.glob("rethinking_generalization/smoke/custom-*/run.json")
    record = json.loads(path.read_text())
    assert len(record["diverged"]) == 7
    assert not any("bounds" in run["name"] for run in record["runs"])


def test_data_that_are_missing_are_missed_before_any_training(tmp_path: Path, results_home: Path) -> None:
    missing = command("colour_sizes=[10]", "mirrors=['http://127.0.0.1:1/']", MLF_DATA=str(tmp_path))
    assert missing.returncode == 1
    assert "127.0.0.1" in missing.stderr
    assert not results_home.exists()
